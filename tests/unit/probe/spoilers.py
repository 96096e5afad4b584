"""One wrong thing each: what a `FakeV2` does wrong, and which checks have to find it. `m` is asked unless it says otherwise."""

from __future__ import annotations

import json
import threading
import time

_GOOD = b'{"model_name": "m", "model_version": "2", "outputs": []}'


def replies(condition, status=None, body=None, headers=None):
    """Return a spoiler that answers requests for which `condition(method, path, headers, body)` holds with something else."""

    def spoil(request, answer):
        if not condition(*request):
            return answer
        return (answer[0] if status is None else status, answer[1] if headers is None else headers, answer[2] if body is None else body)

    return spoil


def changes(edit, *, paths=()):
    """Return a spoiler that edits the JSON of answers with status 200; `edit(content, request)` returns the new content."""

    def spoil(request, answer):
        status, headers, body = answer
        is_json = status == 200 and "Inference-Header-Content-Length" not in headers and "Content-Encoding" not in headers
        if not is_json or (paths and not any(request[1].split("?")[0].endswith(path) for path in paths)):
            return answer
        return status, headers, json.dumps(edit(json.loads(body), request)).encode()

    return spoil


def at(*endings, method=None):
    return lambda verb, path, headers, body: path.endswith(endings) and method in {None, verb}


def is_infer(method, path, headers, body):
    return path.endswith("/infer") and method == "POST"


def accepts_all(request, answer):
    """Whatever is sent to infer is answered."""
    return (200, {}, _GOOD) if request[1].endswith("/infer") and answer[0] >= 400 else answer


def bare_errors(request, answer):
    return (answer[0], {}, b"Bad Request") if answer[0] >= 400 else answer


def everybody(request, answer):
    """Unknown models and versions are answered."""
    return (200, {}, b'{"name": "m", "ready": true}') if answer[0] == 404 else answer


class Drifts:
    """The same request gets another answer each time."""

    def __init__(self):
        self.count = 0

    def __call__(self, request, answer):
        status, headers, body = answer
        if not is_infer(*request) or status != 200:
            return answer
        self.count += 1
        if headers.get("Inference-Header-Content-Length"):
            size = int(headers["Inference-Header-Content-Length"])
            return status, headers, body[:size] + bytes(byte ^ 1 for byte in body[size : size + 4]) + body[size + 4 :]
        content = json.loads(body)
        for output in content["outputs"]:
            if output["datatype"] == "FP32":
                output["data"][0] += self.count
            else:
                output["data"][0] += "!"
        return status, headers, json.dumps(content).encode()


class Mixes:
    """Of requests that come at the same moment, each gets the answer of another."""

    def __init__(self):
        self.lock, self.active, self.last = threading.Lock(), 0, None

    def __call__(self, request, answer):
        if not is_infer(*request):
            return answer
        with self.lock:
            self.active += 1
        time.sleep(0.01)
        with self.lock:
            is_alone, other, self.last = self.active == 1, self.last, answer
        time.sleep(0.01)
        with self.lock:
            self.active -= 1
        return answer if is_alone or other is None else other


def reverses(content, request):
    """Rows of larger requests come back in the wrong order."""
    for output in content["outputs"]:
        if output["shape"][0] > 3 and "data" in output:
            output["data"].reverse()
    return content


def without(*keys):
    def edit(content, request):
        return {key: value for key, value in content.items() if key not in keys}

    return edit


def shorter(content, request):
    content["outputs"][0]["data"].pop()
    return content


def only_wanted(content, request):
    """All outputs come, whatever was asked for."""
    content["outputs"] = [*content["outputs"], {"name": "more", "datatype": "FP32", "shape": [1], "data": [0.0]}]
    return content


def counted_by_request(content, request):
    for entry in content["model_stats"]:
        entry["inference_count"] = entry["execution_count"]
    return content


def first_rows(content, request):
    """More rows than the limit are cut off without a word."""
    for output in content["outputs"]:
        output["data"], output["shape"] = output["data"][: len(output["data"]) // output["shape"][0]], [1, *output["shape"][1:]]
    return content


def crashes_on(words):
    return lambda method, path, headers, body: path.endswith("/infer") and any(word in body for word in words)


def has(header):
    return lambda method, path, headers, body: header in headers


def has_type(kind):
    return lambda method, path, headers, body: headers.get("content-type", "") == kind


def no_binary_outputs(request, answer):
    """binary_data is not understood."""
    asked = b"binary_data" in request[3]
    return (200, {}, _GOOD) if answer[0] == 200 and asked and is_infer(*request) else answer


def all_binary(request, answer):
    """Outputs are always binary."""
    status, _, _ = answer
    if status != 200 or not is_infer(*request):
        return answer
    head = json.dumps(
        {"model_name": "m", "outputs": [{"name": "y", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}}]}
    )
    return 200, {"Inference-Header-Content-Length": str(len(head))}, head.encode() + b"\0" * 4


_500 = {"status": 500, "body": b'{"error": "internal"}', "headers": {}}
_404 = {"status": 404, "body": b'{"error": "no"}', "headers": {}}
_YES = {"status": 200, "body": b"{}", "headers": {}}

# name -> (spoiler, or a class to make one of; the checks that have to fail)
SPOILERS = {
    "health is 500": (replies(at("/live", "/health/ready"), **_500), ["live is 200", "ready is 200"]),
    "health says nothing": (replies(at("/live", "/health/ready"), body=b""), ["both have a JSON body"]),
    "no name": (replies(at("/v2"), **_YES), ["/v2 has name, version, extensions"]),
    "no slash": (replies(at("/v2/"), **_404), ["/v2/ is /v2"]),
    "lists what it lacks": (replies(at("/config"), **_404), ["every listed extension answers"]),
    "no platform": (changes(without("platform"), paths=["/models/m"]), ["metadata"]),
    "no versions": (
        replies(at("/versions/1", "/versions/1/ready", "/versions/1/stats"), **_404),
        ["metadata of each version", "ready by version", "by version"],
    ),
    "everybody": (
        everybody,
        ["unknown model", "unknown version", "infer of what is unknown", "unknown model is not ready", "load of what is unknown"],
    ),
    "never ready": (replies(at("/m/ready"), status=400, body=b'{"error": "no"}'), ["ready by model"]),
    "accepts all": (
        accepts_all,
        [
            "values that are none", "FP16 and BF16 as JSON", "unknown output", "input given twice", "input missing", "unknown input",
            "shape and data disagree", "wrong datatype", "impossible shapes", "malformed JSON", "JSON nested deep", "empty body",
            "body shorter than said", "wrong method", "wrong binary_data_size", "wrong header length", "body cut short", "body too long",
            "bomb",
        ],
    ),
    "errors are no JSON": (bare_errors, ["malformed JSON", "empty body", "unknown model", "wrong Content-Type"]),
    "drifts": (
        Drifts,
        [
            "flat data", "nested data", "no Content-Type", "chunked body", "all inputs binary", "one input binary", "outputs binary",
            "binary_data_output", "gzip and deflate", "priority", "a timeout that is long", "load of what is loaded", "unload and load",
            "outputs by name", "other headers",
        ],
    ),
    "compresses wrongly": (replies(has("accept-encoding"), headers={}, body=b"nonsense"), ["compressed answer"]),
    "data too short": (changes(shorter, paths=["/infer"]), ["the answer is as metadata says"]),
    "crashes on extremes": (replies(crashes_on([b"9223372036854775807"]), **_500), ["extremes of each datatype"]),
    "crashes on null": (replies(crashes_on([b"null"]), **_500), ["missing and infinite floats"]),
    "forgets the id": (changes(without("id"), paths=["/infer"]), ["id comes back"]),
    "needs an id": (replies(lambda m, p, h, b: is_infer(m, p, h, b) and b'"id"' not in b, **_404), ["no id"]),
    "has no name": (changes(without("model_name"), paths=["/infer"]), ["model_name and model_version"]),
    "other version": (changes(lambda c, _: {**c, "model_version": "2"}, paths=["/versions/1/infer"]), ["model_name and model_version"]),
    "all outputs": (changes(only_wanted, paths=["/infer"]), ["outputs by name"]),
    "cuts rows off": (
        lambda request, answer: changes(first_rows)(request, (200, {}, answer[2])) if answer[0] == 200 and len(request[3]) > 2000
        else (200, {}, _GOOD) if answer[0] == 400 else answer,
        ["more rows than the limit"],
    ),
    "crashes on HTML": (replies(has_type("text/html"), **_500), ["wrong Content-Type"]),
    "shows its inside": (
        lambda request, answer: (answer[0], {}, b'{"error": "Traceback (most recent call last): ..."}') if answer[0] >= 400 else answer,
        ["no error shows the inside"],
    ),
    "JSON outputs only": (no_binary_outputs, ["outputs binary", "binary_data_output"]),
    "binary outputs only": (all_binary, ["binary in, JSON out"]),
    "crashes on bad gzip": (replies(lambda m, p, h, b: h.get("content-encoding") == "snappy", **_500), ["broken compression"]),
    "late requests run": (
        changes(lambda c, _: {"model_stats": [{**c["model_stats"][0], "inference_count": time.monotonic_ns()}]}, paths=["/stats"]),
        ["a timeout that is over"],
    ),
    "an empty index": (replies(at("/index"), body=b"[]"), ["index"]),
    "an index of all": (
        replies(at("/index"), body=b'[{"name": "m", "state": "READY"}, {"name": "n", "state": "UNAVAILABLE"}]'),
        ["index of what is ready"],
    ),
    "cannot load": (replies(at("/load"), status=400, body=b'{"error": "no"}'), ["load of what is loaded", "unload and load"]),
    "ready after unload": (replies(at("/m/ready"), **_YES), ["unload and load"]),
    "counts requests": (changes(counted_by_request, paths=["/stats"]), ["rows and calls are counted"]),
    "statistics without fields": (replies(at("/stats"), body=b'{"model_stats": [{"inference_stats": {}}]}'), ["fields", "by version"]),
    "mixes rows": (changes(reverses, paths=["/infer"]), ["several rows"]),
    "mixes callers": (Mixes, ["several requests at once"]),
    "drops the request id": (lambda request, answer: (answer[0], {}, answer[2]), ["x-request-id comes back"]),
    "no v": (replies(at("/v1", "/v2/models/m/versions/v2"), **_404), ["versions with a v"]),
    "no quoting": (replies(at("%6D"), **_404), ["quoted names"]),
}  # fmt: skip
# The same for the model `texts`, which has one input of BYTES.
TEXT_SPOILERS = {
    "accepts all": (accepts_all, ["lengths in BYTES"]),
    "knows no raw requests": (replies(lambda m, p, h, b: h.get("inference-header-content-length") == "0", **_404), ["raw request"]),
}
