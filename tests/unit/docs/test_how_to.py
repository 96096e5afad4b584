"""What the how-to pages show is run."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from fairlead.app.ensemble_spec import parse_ensemble
from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec

sys.path.append(str(Path(__file__).parents[1] / "app"))
import registered

PAGES = Path(__file__).parents[3] / "docs" / "how-to"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (PAGES / page).read_text(), flags=re.MULTILINE | re.DOTALL)


def digits_model(path: Path):
    """Ten scores of a 28x28 picture."""
    weights = np.random.default_rng(0).normal(size=(784, 10)).astype(np.float32)
    nodes = lambda: [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["m"]),
        helper.make_node("Softmax", ["m"], ["scores"]),
    ]
    registered.write_model(
        path, nodes, [("x", TensorProto.FLOAT, ["b", 28, 28, 1])], [("scores", TensorProto.FLOAT, ["b", 10])], {"w": weights}
    )
    inputs, outputs = (TensorSpec("x", DType.FP32, (None, 28, 28, 1)),), (TensorSpec("scores", DType.FP32, (None, 10)),)
    return path, Interface(inputs, outputs, Task.CLASSIFICATION, Decision(DecisionKind.ARGMAX, "scores", scores="scores"))


@pytest.fixture
def digits_home(tmp_path, monkeypatch):
    house = registered.new_house(tmp_path / "home")
    registered.add_version(house, "digits", digits_model(tmp_path / "digits.onnx"))
    monkeypatch.setenv("FAIRLEAD_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_on_models_in_process_runs(digits_home, capsys) -> None:
    said: dict = {}
    for block in blocks("in-process.md", "python"):
        if "fastapi" not in block:
            exec(compile(block, "in-process.md", "exec"), said)  # noqa: S102 - the page's own code
    assert said["scores"].shape == (3, 10)
    assert said["labels"].shape == (3,)
    assert list(said["outputs"]) == ["scores"]
    assert [answer.shape for answer in said["answers"]] == [(1, 10)] * 100
    assert capsys.readouterr().out == "digits:1\n"


def test_the_handler_on_the_page_answers(digits_home) -> None:
    pytest.importorskip("fastapi", reason="FastAPI is not installed")
    said: dict = {}
    for block in blocks("in-process.md", "python"):
        if "fastapi" in block or "import fairlead" in block:
            exec(compile(block, "in-process.md", "exec"), said)  # noqa: S102 - the page's own code

    async def ask():
        app = said["app"]
        async with app.router.lifespan_context(app):
            return await asyncio.gather(*(post(app, "/digit", np.zeros((28, 28, 1)).tolist()) for _ in range(5)))

    for status, answer in asyncio.run(ask()):
        assert status == 200
        assert answer["digit"] in range(10)


async def post(app, path, content):
    """Ask an ASGI app as a server would."""
    body, sent = json.dumps(content).encode(), []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http", "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": headers, "server": ("test", 80), "client": ("test", 1),
    }  # fmt: skip
    await app(scope, receive, send)
    return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


@pytest.mark.parametrize("block", blocks("ensembles.md", "yaml"))
def test_the_ensembles_on_the_page_are_read(block: str) -> None:
    spec = parse_ensemble(block)
    assert list(spec.steps) == ["scale", "linear", "forest", "blend"]
    assert [str(item) for item in spec.requirements()] == ["accuracy>=0.95", "p99_ms<=50"]
