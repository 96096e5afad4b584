"""Lines 9, 10, 11 and 20: bodies that are broken, binary or compressed, and headers."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Array
from fairlead.errors import FairleadError
from fairlead.probe.conformance.judging import answers, first, gives, refused, survives
from fairlead.probe.conformance.outcome import Check, NotOffered, Outcome, Problem, Remark, Skipped
from fairlead.probe.conformance.target import Target
from fairlead.probe.http_client import Exchange
from fairlead.probe.tensors import binary_request, json_tensors, raw_of, read_answer

_BINARY = "binary_tensor_data"
_BOMB_BYTES = 128 * 2**20  # twice what servers take
_TRACE = re.compile(
    r'Traceback \(most recent|File "[^"]+", line \d+|\bat [\w.$]+\([\w]+\.java:\d+\)|\w+\.(?:cc|cpp|py|go|rs):\d+|0x[0-9a-f]{8,}'
)
_JSON = {"Content-Type": "application/json"}


def _send(target: Target, body: bytes, headers: Mapping[str, str] | None = None) -> Exchange:
    return target.http.ask("POST", target.infer_path(), body, _JSON if headers is None else headers)


def _malformed(target: Target) -> Outcome:
    good = json.dumps(target.body()).encode()
    bodies = (
        good[:-2],
        b"{",
        b"\xff\xfe",
        b"[]",
        b'"text"',
        b"null",
        good + b"x",
        b'{"inputs": 1}',
        b'{"inputs": [1]}',
        b'{"inputs": [{}]}',
    )
    return first(*[refused(_send(target, body), "a body that is no request is refused") for body in bodies])


def _deep(target: Target) -> Outcome:
    body = b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    return refused(_send(target, body), "JSON nested 100,000 deep is refused")


def _empty(target: Target) -> Outcome:
    return refused(_send(target, b""), "an empty body is refused")


def _no_type(target: Target) -> Outcome:
    exchange = _send(target, json.dumps(target.body()).encode(), {})
    return gives(exchange, target.outputs or {}, "a request without Content-Type is JSON: tritonclient sends none", is_required=False)


def _wrong_type(target: Target) -> Outcome:
    body = json.dumps(target.body()).encode()
    kinds = ("text/html", "application/xml", "multipart/form-data; boundary=x")
    return first(*[survives(_send(target, body, {"Content-Type": kind}), "a wrong Content-Type is refused or ignored") for kind in kinds])


def _short(target: Target) -> Outcome:
    if target.http.is_secure:
        return Skipped("not over TLS")
    body = json.dumps(target.body()).encode()
    exchange = target.http.ask("POST", target.infer_path(), body, _JSON, length=len(body) + 10)
    if exchange.status == 0:
        return None  # closing without a word is an answer too: nobody knows whether the peer still listens
    return refused(exchange, "a body shorter than its Content-Length is refused")


def _chunked(target: Target) -> Outcome:
    body = json.dumps(target.body()).encode()
    parts = [body[place : place + 7] for place in range(0, len(body), 7)]
    exchange = target.http.ask("POST", target.infer_path(), parts, _JSON)
    return gives(exchange, target.outputs or {}, "a chunked body is a body (RFC 9112, 7.1)")


def _method(target: Target) -> Outcome:
    exchange = target.http.get(target.infer_path())
    return refused(exchange, "infer takes POST only", status=405)


def _traces(target: Target) -> Outcome:
    """Over everything that was refused so far, hence the last of its lines."""
    for exchange in target.refusals:
        found = _TRACE.search(exchange.body.decode("utf-8", "replace"))
        if found is not None:
            return Problem(exchange.sent, exchange.came, f"no error shows the inside of the server: '{found[0]}'", is_required=False)
    return Remark(f"{len(target.refusals)} refusals were read")


# -- 10


def _all_binary(target: Target) -> Outcome:
    return gives(target.infer_binary(target.inputs), target.outputs or {}, "binary inputs mean what JSON inputs mean")


def _mixed(seen: Target) -> Outcome:
    target = seen.where(lambda model: len(model.inputs) > 1)
    if target is None:
        return Skipped("no model has two inputs")
    name, array = next(iter(target.inputs.items()))
    rest = {other: value for other, value in target.inputs.items() if other != name}
    raw = raw_of(array)
    tensor = {
        "name": name,
        "shape": list(array.shape),
        "datatype": DType.of(array.dtype).value,
        "parameters": {"binary_data_size": len(raw)},
    }
    head = json.dumps({"inputs": [tensor, *json_tensors(rest)]}).encode()
    return gives(target.send_binary(head + raw, str(len(head))), target.outputs or {}, "one input binary, the others JSON")


def _binary_outputs(target: Target) -> Outcome:
    outputs = [{"name": name, "parameters": {"binary_data": True}} for name in target.outputs or {}]
    exchange = target.infer(target.body(outputs=outputs))
    return first(_is_binary(exchange), gives(exchange, target.outputs or {}, "binary outputs hold what JSON outputs hold"))


def _binary_by_default(target: Target) -> Outcome:
    exchange = target.infer(target.body(parameters={"binary_data_output": True}))
    return first(_is_binary(exchange), gives(exchange, target.outputs or {}, "binary outputs hold what JSON outputs hold"))


def _is_binary(exchange: Exchange) -> Problem | None:
    says = "outputs that are asked for as binary come as binary, after the JSON whose length Inference-Header-Content-Length says"
    has_length = exchange.headers.get("inference-header-content-length", "").isdigit()
    return None if exchange.status != 200 or has_length else Problem(exchange.sent, exchange.came, says)


def _wrong_sizes(target: Target) -> Outcome:
    found: list[Outcome] = []
    for wrong in (-1, 1, "8", None, 2**40):
        body, size = binary_request(target.inputs)
        request = json.loads(body[:size])
        parameters = request["inputs"][0]["parameters"]
        given = parameters["binary_data_size"] + wrong if isinstance(wrong, int) else wrong
        parameters["binary_data_size"] = given
        head = json.dumps(request).encode()
        exchange = target.send_binary(head + body[size:], str(len(head)))
        found.append(refused(exchange, f"binary_data_size {given!r} does not fit the tensor"))
    return first(*found)


def _wrong_header(target: Target) -> Outcome:
    body, size = binary_request(target.inputs)
    lengths = (str(len(body) + 1), "99999999999", "-1", "1e3", "x", str(size - 1))
    return first(*[refused(target.send_binary(body, length), f"Inference-Header-Content-Length: {length} is wrong") for length in lengths])


def _cut_binary(target: Target) -> Outcome:
    body, size = binary_request(target.inputs)
    return refused(target.send_binary(body[:-1], str(size)), "a binary body that ends too early is refused")


def _surplus(target: Target) -> Outcome:
    body, size = binary_request(target.inputs)
    return refused(target.send_binary(body + b"\0" * 4, str(size)), "bytes that belong to no input are refused", is_required=False)


def _raw(seen: Target) -> Outcome:
    """Inference-Header-Content-Length 0: the body is the one input, of one row."""
    target = seen.where(lambda model: len(model.inputs) == 1 and model.is_batchable)
    if target is None:
        return Skipped("no model has one input and a free batch, which a raw request needs")
    (array,) = target.inputs.values()
    raw = raw_of(array)
    return gives(target.send_binary(raw, "0"), target.outputs or {}, "length 0: the whole body is the only input", is_required=False)


def _texts(seen: Target) -> Outcome:
    target = seen.where(lambda model: any(spec.dtype is DType.BYTES for spec in model.inputs))
    if target is None:
        return Skipped("no model takes BYTES")
    name = next(spec.name for spec in target.model.inputs if spec.dtype is DType.BYTES)
    raw = raw_of(target.inputs[name])
    found: list[Outcome] = []
    for bad in (raw[:3], b"\xff\xff\xff\x7f" + raw[4:], raw[:-1], raw + b"\0\0"):
        tensors = []
        for other, array in target.inputs.items():
            sent = bad if other == name else raw_of(array)
            tensors.append((other, array, sent))
        found.append(refused(_send_raws(target, tensors), "lengths of BYTES that do not fit are refused"))
    return first(*found)


def _send_raws(target: Target, tensors: list[tuple[str, Array, bytes]]) -> Exchange:
    listed: list[dict[str, Any]] = [
        {"name": name, "shape": list(array.shape), "datatype": DType.of(array.dtype).value, "parameters": {"binary_data_size": len(raw)}}
        for name, array, raw in tensors
    ]
    head = json.dumps({"inputs": listed}).encode()
    return target.send_binary(head + b"".join(raw for _, _, raw in tensors), str(len(head)))


# -- 11


def _compressed(target: Target) -> Outcome:
    body, found = json.dumps(target.body()).encode(), list[Outcome]()
    for name, packed in (("gzip", gzip.compress(body)), ("deflate", zlib.compress(body))):
        exchange = _send(target, packed, {**_JSON, "Content-Encoding": name})
        if exchange.status == 200:
            found.append(gives(exchange, target.outputs or {}, f"a {name} body means what it says"))
        else:
            found.append(NotOffered(f"{name}: {exchange.came}"))
    return first(*found)


def _bad_compression(target: Target) -> Outcome:
    body = gzip.compress(json.dumps(target.body()).encode())
    cases = ((body[:-8], "gzip"), (b"not gzip at all", "gzip"), (body, "snappy"), (body, "deflate"), (body + b"tail", "gzip"))
    found = []
    for data, name in cases:
        exchange = _send(target, data, {**_JSON, "Content-Encoding": name})
        found.append(survives(exchange, f"a body that is not {name} is refused"))
    return first(*found)


def _bomb(target: Target) -> Outcome:
    packer = zlib.compressobj(9, wbits=31)
    packed = b"".join(packer.compress(b" " * 2**20) for _ in range(_BOMB_BYTES // 2**20)) + packer.flush()
    exchange = _send(target, packed, {**_JSON, "Content-Encoding": "gzip"})
    says = f"a body of {len(packed) // 1024} KiB that grows to {_BOMB_BYTES // 2**20} MiB is refused"
    return first(
        refused(exchange, says, status=exchange.status), answers(target.http.get("/v2/health/live"), "the server is alive after it")
    )


def _compressed_answer(target: Target) -> Outcome:
    exchange = target.infer(target.body(), {"Accept-Encoding": "gzip"})
    encoding = exchange.headers.get("content-encoding", "identity")
    says = "the answer is the same to a client that takes gzip"
    if encoding == "identity":
        return first(gives(exchange, target.outputs or {}, says), Remark("the answer to a small request came as it is"))
    try:
        body = gzip.decompress(exchange.body)
    except (OSError, EOFError, zlib.error) as error:
        return Problem(exchange.sent, f"{encoding}: {error}", says)
    return gives(Exchange(exchange.sent, exchange.status, exchange.headers, body), target.outputs or {}, says)


# -- 20


def _request_id(target: Target) -> Outcome:
    exchange = target.infer(target.body(), {"X-Request-Id": "conformance-42"})
    same = exchange.headers.get("x-request-id") == "conformance-42"
    return (
        None if same else Problem(exchange.sent, "no such header", "x-request-id comes back: proxies and logs need it", is_required=False)
    )


def _other_headers(target: Target) -> Outcome:
    headers = {"Seldon-Model": target.model.name, "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "X-Mine": "ä"}
    return gives(target.infer(target.body(), headers), target.outputs or {}, "headers that mean nothing here do no harm")


def _version_names(target: Target) -> Outcome:
    numbers = [version for version in target.model.versions if version.isdigit()]
    if not numbers:
        return Skipped("the model has no version that is a number")
    exchange = target.http.get(f"{target.model.path}/versions/v{numbers[0]}")
    return answers(exchange, f"v{numbers[0]} is {numbers[0]}: examples of the protocol write versions with a v", is_required=False)


def _quoted(target: Target) -> Outcome:
    quoted = "".join(f"%{byte:02X}" for byte in target.model.name.encode())
    exchange = target.http.get(f"/v2/models/{quoted}")
    return answers(exchange, "a path may be written with every letter quoted (RFC 3986, 2.3)", is_required=False)


def _same_as_json(target: Target) -> Outcome:
    """An answer to binary inputs as JSON, and the other way round: what is asked for decides, not what was sent."""
    outputs = [{"name": name, "parameters": {"binary_data": False}} for name in target.outputs or {}]
    exchange = target.infer_binary(target.inputs, {"outputs": outputs})
    try:
        content = read_answer(exchange.body, exchange.headers)[0]
    except FairleadError:
        return answers(exchange, "binary inputs, outputs as JSON")
    is_plain = all("data" in item for item in content["outputs"])
    return (
        None
        if is_plain and np.ndim(content["outputs"][0]["data"])
        else Problem(exchange.sent, exchange.came, "outputs as JSON were asked for")
    )


CHECKS = (
    Check(9, "malformed JSON", _malformed),
    Check(9, "JSON nested deep", _deep),
    Check(9, "empty body", _empty),
    Check(9, "no Content-Type", _no_type),
    Check(9, "wrong Content-Type", _wrong_type),
    Check(9, "body shorter than said", _short),
    Check(9, "chunked body", _chunked),
    Check(9, "wrong method", _method),
    Check(10, "all inputs binary", _all_binary, _BINARY),
    Check(10, "one input binary", _mixed, _BINARY),
    Check(10, "outputs binary", _binary_outputs, _BINARY),
    Check(10, "binary_data_output", _binary_by_default, _BINARY),
    Check(10, "binary in, JSON out", _same_as_json, _BINARY),
    Check(10, "wrong binary_data_size", _wrong_sizes, _BINARY),
    Check(10, "wrong header length", _wrong_header, _BINARY),
    Check(10, "body cut short", _cut_binary, _BINARY),
    Check(10, "body too long", _surplus, _BINARY),
    Check(10, "raw request", _raw, _BINARY),
    Check(10, "lengths in BYTES", _texts, _BINARY),
    Check(11, "gzip and deflate", _compressed),
    Check(11, "broken compression", _bad_compression),
    Check(11, "bomb", _bomb),
    Check(11, "compressed answer", _compressed_answer),
    Check(20, "x-request-id comes back", _request_id),
    Check(20, "other headers", _other_headers),
    Check(20, "versions with a v", _version_names),
    Check(20, "quoted names", _quoted),
)
LAST_CHECKS = (Check(9, "no error shows the inside", _traces, needs=""),)
