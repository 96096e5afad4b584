"""The script that makes a search's model again says everything that was said, as a shell reads it."""

from __future__ import annotations

import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fairlead.app.intake import Intake
from fairlead.app.search_script import Reproduction
from fairlead.app.source_options import parse_options
from fairlead.core.conversion import RuntimeForm
from fairlead.core.interface import Task
from fairlead.core.lineage import Step
from fairlead.core.requirement import parse_requirements
from fairlead.core.search import Objective, SearchResult


def script(intake: Intake, passes: tuple[str, ...] = (), *, form: RuntimeForm = RuntimeForm.ONNX, command: str = "", note: str = "") -> str:
    digests = {"source": "s" * 64, "converted": "c" * 64}
    result = SearchResult((), "as-converted", "best", (), Objective.LATENCY, 7, 60.0, 1.0, "", digests=digests, command=command)
    steps = tuple(Step("optimize", name, "a", "b" * 64, notes=(note,)) for name in passes)
    proof: Any = SimpleNamespace(candidate=SimpleNamespace(passes=passes), steps=steps)
    return Reproduction(intake, None, result, proof, SimpleNamespace(form=form)).text()  # type: ignore[arg-type]


def command_of(text: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith("fairlead "))
    return shlex.split(line)


def test_everything_that_was_said_of_the_model_and_its_rows_is_said_again(tmp_path: Path) -> None:
    options = parse_options("net:Net", ["hidden=8", 'kind="a b"'], ["x=float32[batch,3,?]"], [tmp_path], "serve")
    intake = Intake(
        Path("my net.pt"), Path("d.csv"), "y", parse_requirements(["accuracy_drop<=0.01"]), Task.CLASSIFICATION, options, "http://here"
    )
    said = command_of(script(intake, ("store_int8", "store_int4(block=64)")))
    assert said[:3] == ["fairlead", "optimize", "my net.pt"]
    pairs = list(zip(said[3::2], said[4::2], strict=True))
    assert pairs == [
        ("--model-class", "net:Net"),
        ("--model-arg", "hidden=8"),
        ("--model-arg", 'kind="a b"'),
        ("--import-path", str(tmp_path)),
        ("--input", "x=FP32[?,3,?]"),
        ("--signature", "serve"),
        ("--tracking-uri", "http://here"),
        ("--task", "classification"),
        ("--data", "d.csv"),
        ("--target", "y"),
        ("--require", "accuracy_drop<=0.01"),
        ("--apply", "store_int8,store_int4(block=64)"),
        ("--out", "$out"),
    ]
    words = dict(pairs)
    assert parse_options(words["--model-class"], ["hidden=8", words["--model-arg"]], [words["--input"]], [tmp_path], "serve") == options


def test_a_model_that_no_pass_touched_is_converted_and_its_digest_is_held_against() -> None:
    text = script(Intake(Path("m.h5"), Path("d.npz"), requirements=parse_requirements(["p99_ms<=1"])))
    assert command_of(text) == ["fairlead", "convert", "m.h5", "--to", "onnx", "--out", "$out"]
    assert f'{"c" * 64}  $out/model.onnx"' in text


def test_a_model_without_an_onnx_form_is_not_made_again() -> None:
    text = script(Intake(Path("m.pkl")), form=RuntimeForm.PYTHON)
    assert "nothing was made" in text
    assert "sha256sum" not in text


def test_bytes_that_will_differ_are_said_to() -> None:
    note = "the time limit shortened training from 24 epochs"
    assert "the bytes will differ" in script(Intake(Path("m.h5")), ("prune_structured",), note=note)
    assert "the bytes will differ" not in script(Intake(Path("m.h5")), ("prune_structured",))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\x0b", "\u2028"])
def test_a_line_within_the_command_stays_a_comment(end: str) -> None:
    text = script(Intake(Path("m.h5")), command=f"fairlead optimize 'm{end}rm -rf me'")
    assert [line for line in text.splitlines() if "rm -rf" in line] == ["# Searched with: fairlead optimize 'm rm -rf me'"]
