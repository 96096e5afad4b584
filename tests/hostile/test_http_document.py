"""Requests that the OpenAPI document allows, and such that it does not, to every operation in it (R16): answers are what it says, never a
fault of ours.

The long form is the same with more examples: FAIRLEAD_FUZZ_EXAMPLES=20000.
"""

from __future__ import annotations

import json
import os
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openapi_requests import ANYTHING, conforms, valid
from raw_http import OneModel, ask, connect, post, read_reply

from fairlead.serve.server import ServeJob, ServerThread

EXAMPLES = int(os.environ.get("FAIRLEAD_FUZZ_EXAMPLES", "250"))
VALUES = st.sampled_from(["1", "v1", "9", "live", "candidate", "-", "0", "x" * 200])
NAMES = st.just("m") | st.sampled_from(["1", "production", "nobody", "..", "m:1", "%00"]) | st.text(min_size=1, max_size=9)


@pytest.fixture(scope="module")
def server():
    with ServerThread(ServeJob(OneModel(), port=0, allow_model_control=True)) as running:
        yield running


class Document(dict):
    """A document that examples do not print as a whole."""

    def __repr__(self) -> str:
        return "the document"


@pytest.fixture(scope="module")
def document(server):
    return Document(ask(server, b"GET /openapi.json HTTP/1.1\r\nHost: l\r\n\r\n")[1])


def operations(document) -> list[tuple[str, str, dict]]:
    return [(method, path, operation) for path, item in document["paths"].items() for method, operation in item.items()]


@st.composite
def requests(draw, document):
    """An operation, and a request to it: what the document allows, or anything."""
    method, path, operation = draw(st.sampled_from(operations(document)))
    target, headers = path, []
    for item in operation.get("parameters", ()):
        parameter = document["components"]["parameters"][item["$ref"].rpartition("/")[2]] if "$ref" in item else item
        if parameter["in"] == "header":
            headers += [f"{parameter['name']}: {draw(VALUES)}"] if draw(st.integers(0, 5)) == 0 else []
            continue
        name = "m" if parameter["name"] == "name" and draw(st.booleans()) else draw(NAMES)
        target = target.replace(f"{{{parameter['name']}}}", quote(name, safe=""))
    body = None
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        body = draw(valid(schema, document) if draw(st.integers(0, 3)) else ANYTHING)
    return method, target, operation, body, headers


def complaint(document, operation, status: int, headers, body: bytes) -> str:
    """What is wrong with an answer, "" where nothing is."""
    if status >= 500 and status != 503:
        return f"{status}: {body[:200]!r}"
    response = operation["responses"].get(str(status), operation["responses"]["default"])
    wanted = response["content"].get("application/json")
    kind = headers["content-type"].partition(";")[0]
    if wanted is None or kind != "application/json":
        return "" if kind in response["content"] else f"a {status} of type {kind}"
    fits = conforms(json.loads(body), wanted["schema"], document)
    return "" if fits else f"{status} with {body[:200]!r}, which is not what the document says"


def send(link, stream, method: str, target: str, body, headers=()) -> tuple[int, dict[str, str], bytes]:
    text = b"" if body is None else json.dumps(body).encode()
    link.sendall(post(text, *headers, target=target).replace(b"POST", method.upper().encode(), 1))
    return read_reply(stream)


def explore(server, document, count: int) -> list[str]:
    """Send requests of all kinds; return what was wrong with answers."""
    wrong: list[str] = []
    statuses: set[int] = set()

    with connect(server) as link, link.makefile("rb") as stream:

        @settings(max_examples=count, suppress_health_check=list(HealthCheck))
        @given(requests(document))
        def each(request) -> None:
            method, target, operation, body, asked = request
            status, headers, content = send(link, stream, method, target, body, asked)
            statuses.add(status)
            said = complaint(document, operation, status, headers, content)
            if said:
                wrong.append(f"{method} {target} {asked} {json.dumps(body)[:200]}: {said}")

        each()
    with connect(server) as link, link.makefile("rb") as stream:
        assert send(link, stream, "post", "/v2/repository/models/m/load", {})[0] == 200  # it may have been unloaded
    assert 200 in statuses  # it reaches what is behind the first check, too
    return wrong


@pytest.mark.slow
def test_every_answer_is_what_the_document_says(server, document) -> None:
    assert explore(server, document, EXAMPLES) == []
    assert len(operations(document)) >= 30


def test_the_examples_in_the_document_are_answered(server, document) -> None:
    for method, path, operation in operations(document):
        example = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
        if example is not None:
            with connect(server) as link, link.makefile("rb") as stream:
                status, headers, body = send(link, stream, method, path, example)
            assert (status, complaint(document, operation, status, headers, body)) == (200, "")


def test_control_a_document_that_says_something_else_is_found(server, document) -> None:
    other = Document(json.loads(json.dumps(document)))
    other["components"]["schemas"]["Error"]["required"] = ["mistake"]
    assert any("not what the document says" in text for text in explore(server, other, 100))


def test_control_a_fault_that_is_planted_is_found(document) -> None:
    class Broken(OneModel):
        def load(self, version):
            loaded = super().load(version)

            def run(inputs, outputs=()):
                raise ZeroDivisionError

            loaded.engine.run = run
            return loaded

    with ServerThread(ServeJob(Broken(), port=0, report=lambda _text: None)) as running:
        operation = document["paths"]["/v2/models/m/infer"]["post"]
        example = operation["requestBody"]["content"]["application/json"]["example"]
        with connect(running) as link, link.makefile("rb") as stream:
            assert complaint(document, operation, *send(link, stream, "post", "/v2/models/m/infer", example)).startswith("500")


@settings(max_examples=50)
@given(st.data())
def test_what_is_drawn_for_a_schema_fits_it(document, data) -> None:
    schema = data.draw(st.sampled_from(list(document["components"]["schemas"].values())))
    assert conforms(data.draw(valid(schema, document)), schema, document)
