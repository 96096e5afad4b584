"""Every route with every verb and bodies of every kind, seeded (R16): never a fault of ours, always an error that a program can read.

The long form is the same with more examples: FAIRLEAD_FUZZ_EXAMPLES=20000.
"""

from __future__ import annotations

import json
import os
import random
from urllib.parse import quote

import pytest
from raw_http import BODY, OneModel, ask, connect, post, read_reply

from fairlead.serve.server import ServeJob, ServerThread

EXAMPLES = int(os.environ.get("FAIRLEAD_FUZZ_EXAMPLES", "1500"))
VERBS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE")
NAMES = ("m", "nobody", "m m", "..", "%00", "a" * 300, "größe", "m:1", "")
NUMBERS = ("1", "v1", "0", "-1", "99999999999999999999", "x", "1.0")
JUNK = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    -(2**64),
    0.5,
    1e39,
    1e308,
    "",
    "x",
    "FP32",
    "INT64",
    "NaN",
    "\ud83d",
    [],
    {},
    [[]],
    [None],
    {"a": 1},
    "\x00",
    "a" * 5000,
    [1] * 100,
    [[[[1]]]],
    float("nan"),
    float("inf"),
)
PARAMETERS = ("binary_data_size", "binary_data", "priority", "timeout", "sequence_id", "classification", "shared_memory_region", "triton_x")
HEADERS = (
    "Inference-Header-Content-Length: 0",
    "Inference-Header-Content-Length: 5",
    "Inference-Header-Content-Length: x",
    "Content-Encoding: gzip",
    "Content-Encoding: br",
    "Content-Type: text/csv",
    "Content-Type: text/html",
    "Accept: text/plain",
    "Accept-Encoding: gzip",
    "Origin: http://a",
    "X-Request-Id: 1",
    "traceparent: 00-0",
    "Range: bytes=0-1",
)


@pytest.fixture(scope="module")
def server():
    said = []
    with ServerThread(ServeJob(OneModel(), port=0, report=said.append)) as running:
        yield running
    assert [line for line in said if "failed" in line] == []


def targets(server) -> list[str]:
    return sorted({route.pattern for route in server.server.api.router.routes})


def fill(pattern: str, generator: random.Random) -> str:
    name = "m" if generator.random() < 0.6 else generator.choice(NAMES)
    number = "1" if generator.random() < 0.5 else generator.choice(NUMBERS)
    named = pattern.replace("{name}", quote(name, safe="") or "m").replace("{version}", number).replace("{label}", name[:9] or "x")
    return quote(named, safe="/:%?") + generator.choice(("", "", "", "?a=b", "/", "//", "/../x"))


def spoil(value, generator: random.Random, depth: int = 0):
    """Return JSON with something in it exchanged, left out, doubled or renamed."""
    if generator.random() < 0.15 + 0.1 * depth:
        return generator.choice(JUNK)
    if isinstance(value, dict):
        items = [(key, spoil(item, generator, depth + 1)) for key, item in value.items() if generator.random() > 0.05]
        if generator.random() < 0.2:
            items.append(("parameters", {generator.choice(PARAMETERS): generator.choice(JUNK)}))
        return dict(items)
    if isinstance(value, list):
        return [spoil(item, generator, depth + 1) for item in value] * generator.choice((1, 1, 1, 2))
    return value


def body_of(generator: random.Random) -> bytes:
    forms = (
        json.loads(BODY),
        {"instances": [[1.0, 2.0]]},
        {"inputs": {"x": [[1.0, 2.0]]}},
        {"input": [[1, 2]]},
        {"dataframe_split": {"columns": ["a"]}},
        {"dataframe_records": [{"a": 1}]},
        {"ready": True},
        {"parameters": {"unload_dependents": True}},
    )
    form = generator.choice(forms)
    text = json.dumps(form if generator.random() < 0.2 else spoil(form, generator)).encode("utf-8", "surrogatepass")
    way = generator.random()
    if way < 0.15:
        return text[: generator.randrange(len(text) + 1)]
    if way < 0.3:
        place = generator.randrange(len(text) + 1)
        return text[:place] + generator.randbytes(generator.randrange(8)) + text[place:]
    return text


def request_of(server, generator: random.Random) -> tuple[str, bytes]:
    verb, target = generator.choice((*VERBS, "POST", "POST", "POST")), fill(generator.choice(targets(server)), generator)
    body = body_of(generator) if verb in {"POST", "PUT", "PATCH"} else b""
    more = generator.sample(HEADERS, generator.choice((0, 0, 0, 1, 2)))
    return verb, post(body, *more, target=target).replace(b"POST", verb.encode(), 1)


def complaint(verb: str, raw: bytes, status: int, headers: dict[str, str], body: bytes) -> str:
    """Return what is wrong with an answer, "" where nothing is."""
    if status >= 500:
        return f"{status} {body[:200]!r} to {raw[:300]!r}"
    if status >= 400 and verb != "HEAD":
        content = json.loads(body)
        if set(content) - {"error", "name", "ready", "error_code", "message"} or not content.get("error", content.get("message")):
            return f"no error in {body[:200]!r} to {raw[:300]!r}"
        if "Traceback" in body.decode() or "/src/" in body.decode() or ".py" in body.decode():
            return f"the inside shows in {body[:200]!r}"
    return ""


def fuzz(server, count: int, seed: int) -> tuple[list[str], dict[int, int]]:
    """Send `count` requests, as many on one connection as it stays open for."""
    generator, complaints, statuses, sent = random.Random(seed), [], {}, 0
    while sent < count:
        with connect(server) as link, link.makefile("rb") as stream:
            is_open = True
            while sent < count and is_open:
                verb, raw = request_of(server, generator)
                link.sendall(raw)
                sent += 1
                status, headers, body = read_answer(stream, verb)
                statuses[status] = statuses.get(status, 0) + 1
                complaints += filter(None, [complaint(verb, raw, status, headers, body)])
                is_open = headers.get("connection") != "close"
    return complaints, statuses


def read_answer(stream, verb: str):
    """Read one answer; to HEAD there is none but its headers."""
    if verb != "HEAD":
        return read_reply(stream)
    status = int(stream.readline().split()[1])
    headers = {}
    while (line := stream.readline()) not in {b"\r\n", b""}:
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    return status, headers, b""


@pytest.mark.parametrize("seed", range(2))
def test_no_request_is_answered_with_a_fault_of_ours(server, seed) -> None:
    complaints, statuses = fuzz(server, EXAMPLES // 2, seed)
    assert complaints == []
    assert {200, 400, 404, 405} <= set(statuses)  # the fuzz reaches what is behind the first check, too
    assert ask(server, post(BODY))[1]["outputs"][0]["data"] == [3.0, 4.0]


def test_every_route_was_there_to_be_fuzzed(server) -> None:
    assert len(targets(server)) >= 20


def test_control_a_fault_that_is_planted_is_found() -> None:
    """A model that breaks on the number 2 answers 500, and the fuzz says so: it does not overlook what it looks for."""

    class Broken(OneModel):
        def load(self, version):
            loaded = super().load(version)
            right = loaded.engine.run

            def run(inputs, outputs=()):
                if (inputs["x"] == 2).any():
                    raise ZeroDivisionError
                return right(inputs, outputs)

            loaded.engine.run = run
            return loaded

    with ServerThread(ServeJob(Broken(), port=0)) as running:
        complaints, _ = fuzz(running, EXAMPLES // 2, 0)
    assert [text for text in complaints if text.startswith("500")]
