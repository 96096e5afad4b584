"""A small server of the protocol that does everything right, or exactly one thing wrong: what the checks are checked with.

The model `m`: x FP32 [-1, 4] and k INT64 [-1, 1] -> y = 2x + k FP32 [-1, 4] and t BYTES [-1, 1], k in words. `texts` takes BYTES.
"""

from __future__ import annotations

import gzip
import json
import threading
import urllib.parse
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

VERSIONS = ("1", "2")
EXTENSIONS = ["binary_tensor_data", "model_repository", "statistics", "model_configuration", "schedule_policy", "parameters"]
DTYPES = {"FP32": np.float32, "INT64": np.int64}
MODELS = {
    "m": {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}, {"name": "k", "datatype": "INT64", "shape": [-1, 1]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 4]}, {"name": "t", "datatype": "BYTES", "shape": [-1, 1]}],
    },
    "texts": {
        "inputs": [{"name": "s", "datatype": "BYTES", "shape": [-1, 1]}],
        "outputs": [{"name": "s", "datatype": "BYTES", "shape": [-1, 1]}],
    },
}
MAX_BATCH = 64


class RefusedError(Exception):
    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class Server:
    """The protocol, without sockets: `answer` takes a request and gives (status, headers, body)."""

    def __init__(self, extensions=EXTENSIONS):
        self.extensions = list(extensions)
        self.loaded = set(MODELS)
        self.rows = self.calls = 0
        self.lock = threading.Lock()

    def answer(self, method, path, headers, body):
        try:
            status, more, content = self.route(method, urllib.parse.unquote(path).rstrip("/"), headers, body)
        except RefusedError as refusal:
            status, more, content = refusal.status, {}, {"error": str(refusal)}
        if "x-request-id" in headers:
            more = {**more, "X-Request-Id": headers["x-request-id"]}
        return status, more, content if isinstance(content, bytes) else json.dumps(content).encode()

    def route(self, method, path, headers, body):
        if path in {"/v2/health/live", "/v2/health/ready"}:
            return 200, {}, {path.rpartition("/")[2]: True}
        if path == "/v2":
            return 200, {}, {"name": "fake", "version": "1", "extensions": self.extensions}
        if path.startswith("/v2/repository"):
            return 200, {}, self.repository(path.split("/")[3:], body)
        parts = path.split("/")
        if parts[:3] != ["", "v2", "models"] or len(parts) < 4:
            raise RefusedError(404, "nothing here")
        name, rest, version = parts[3], parts[4:], ""
        if rest[:1] == ["versions"]:
            version, rest = rest[1].removeprefix("v"), rest[2:]
        if name not in MODELS or (version and version not in VERSIONS):
            raise RefusedError(404, "no such model or version")
        if rest == ["infer"]:
            if method != "POST":
                raise RefusedError(405, "POST only")
            if name not in self.loaded:
                raise RefusedError(400, "not loaded")
            return self.infer(name, version or "2", headers, body)
        return 200, {}, self.about(name, version, rest)

    def about(self, name, version, rest):
        if not rest:
            return {"name": name, "versions": list(VERSIONS), "platform": "fake", **MODELS[name]}
        if rest == ["ready"]:
            if name not in self.loaded:
                raise RefusedError(400, "not ready")
            return {"name": name, "ready": True}
        if rest == ["config"]:
            return {"name": name, "max_batch_size": MAX_BATCH}
        if rest == ["stats"]:
            duration = {"count": self.calls, "ns": 1}
            stats = dict.fromkeys(("success", "fail", "queue", "compute_input", "compute_infer", "compute_output"), duration)
            one = {"name": name, "version": version or "2", "inference_count": self.rows, "execution_count": self.calls}
            return {"model_stats": [{**one, "inference_stats": stats}]}
        raise RefusedError(404, "nothing here")

    def repository(self, parts, body):
        if parts == ["index"]:
            is_ready_only = bool(body) and json.loads(body).get("ready")
            names = sorted(self.loaded) if is_ready_only else sorted(MODELS)
            states = {name: "READY" if name in self.loaded else "UNAVAILABLE" for name in names}
            return [{"name": name, "version": "2", "state": state, "reason": ""} for name, state in states.items()]
        _, name, verb = parts
        if name not in MODELS:
            raise RefusedError(404, "no such model")
        (self.loaded.add if verb == "load" else self.loaded.discard)(name)
        return {}

    def infer(self, name, version, headers, body):
        body = self.inflate(headers, body)
        if headers.get("content-type", "").startswith("multipart"):
            raise RefusedError(415, "not this")
        request, inputs = self.read(name, headers, body)
        parameters = request.get("parameters") or {}
        if parameters.get("timeout") == 1:
            raise RefusedError(504, "too late")
        with self.lock:
            self.rows += len(next(iter(inputs.values())))
            self.calls += 1
        outputs = compute(name, inputs)
        wanted = request.get("outputs") or [{"name": output} for output in outputs]
        if any(output["name"] not in outputs for output in wanted):
            raise RefusedError(400, "no such output")
        is_binary = bool(parameters.get("binary_data_output"))
        listed, raws = [], b""
        for output in wanted:
            array = outputs[output["name"]]
            dtype = "BYTES" if array.dtype == object else "FP32"
            entry = {"name": output["name"], "datatype": dtype, "shape": list(array.shape)}
            if (output.get("parameters") or {}).get("binary_data", is_binary):
                raw = b"".join(len(s).to_bytes(4, "little") + s.encode() for s in array.ravel()) if dtype == "BYTES" else array.tobytes()
                raws += raw
                entry["parameters"] = {"binary_data_size": len(raw)}
            else:
                entry["data"] = array.ravel().tolist()
            listed.append(entry)
        answer = {"model_name": name, "model_version": version, "outputs": listed}
        if request.get("id") is not None:
            answer["id"] = request["id"]
        head = json.dumps(answer).encode()
        more = {"Inference-Header-Content-Length": str(len(head))} if raws else {}
        if "gzip" in headers.get("accept-encoding", ""):
            return 200, {**more, "Content-Encoding": "gzip"}, gzip.compress(head + raws)
        return 200, more, head + raws

    def inflate(self, headers, body):
        encoding = headers.get("content-encoding")
        if encoding is None:
            return body
        try:
            opener = zlib.decompressobj({"gzip": 31, "deflate": 15}[encoding])
            plain = opener.decompress(body, 2**20)
        except (KeyError, zlib.error):
            raise RefusedError(415, "not this encoding") from None
        if not opener.eof or opener.unused_data:
            raise RefusedError(413 if opener.unconsumed_tail else 400, "too large, cut, or with a tail")
        return plain

    def read(self, name, headers, body):
        size = headers.get("inference-header-content-length")
        rest = b""
        if size is not None:
            if size == "0":
                spec = MODELS[name]["inputs"][0]
                if len(MODELS[name]["inputs"]) > 1:
                    raise RefusedError(400, "several inputs")
                entry = {**spec, "shape": [1, *spec["shape"][1:]], "parameters": {"binary_data_size": len(body)}}
                body, rest = json.dumps({"inputs": [entry]}).encode(), body
            elif not size.isdigit() or int(size) > len(body):
                raise RefusedError(400, "bad header length")
            else:
                body, rest = body[: int(size)], body[int(size) :]
        try:
            request = json.loads(body, parse_constant=no_constant)
            given = {}
            for entry in request["inputs"]:
                if entry["name"] in given:
                    raise RefusedError(400, "given twice")
                given[entry["name"]], rest = tensor(MODELS[name], entry, rest)
            missing = {spec["name"] for spec in MODELS[name]["inputs"]} ^ set(given)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError, AttributeError) as error:
            raise RefusedError(400, f"bad request: {type(error).__name__}") from None
        if missing or rest:
            raise RefusedError(400, "missing, unknown or too much")
        if len({len(array) for array in given.values()}) != 1 or len(next(iter(given.values()))) > MAX_BATCH:
            raise RefusedError(400, "bad number of rows")
        return request, given


def no_constant(text):
    raise ValueError(text)


def tensor(model, entry, rest):
    """Return the tensor of an input, strictly, and what is left of the binary part."""
    spec = next((spec for spec in model["inputs"] if spec["name"] == entry["name"]), None)
    shape = entry["shape"]
    fits = spec is not None and entry["datatype"] == spec["datatype"] and isinstance(shape, list) and len(shape) == len(spec["shape"])
    if not fits or any(type(size) is not int or size < 1 for size in shape):
        raise RefusedError(400, "not an input of this model")
    if any(want not in {-1, got} for want, got in zip(spec["shape"], shape, strict=True)):
        raise RefusedError(400, "not an input of this model")
    size = (entry.get("parameters") or {}).get("binary_data_size")
    if size is None:
        return from_json(entry, shape), rest
    if type(size) is not int or not 0 <= size <= len(rest):
        raise RefusedError(400, "bad binary_data_size")
    raw, rest = rest[:size], rest[size:]
    if entry["datatype"] == "BYTES":
        texts = []
        while raw:
            length = int.from_bytes(raw[:4], "little")
            if len(raw) < 4 + length:
                raise RefusedError(400, "bad BYTES")
            texts.append(raw[4 : 4 + length].decode())
            raw = raw[4 + length :]
        return np.array(texts, object).reshape(shape), rest
    return np.frombuffer(raw, DTYPES[entry["datatype"]]).reshape(shape), rest


def from_json(entry, shape):
    data = entry["data"]
    while data and isinstance(data[0], list):
        data = [item for part in data for item in part]
    if entry["datatype"] == "BYTES":
        if not all(isinstance(item, str) for item in data):
            raise RefusedError(400, "not text")
        made = np.empty(len(data), object)
        made[:] = data
        return made.reshape(shape)
    kinds = (int,) if entry["datatype"] == "INT64" else (int, float, type(None))
    if any(not isinstance(item, kinds) or isinstance(item, bool) for item in data):
        raise RefusedError(400, "not a number")
    if entry["datatype"] == "FP32":
        data = [np.nan if item is None else item for item in data]
        if any(abs(item) > 3.4028235e38 for item in data):
            raise RefusedError(400, "too large for FP32")
    return np.array(data, DTYPES[entry["datatype"]]).reshape(shape)


def compute(name, inputs):
    if name == "texts":
        return {"s": inputs["s"]}
    k = inputs["k"]
    with np.errstate(over="ignore"):
        y = (inputs["x"] * 2 + k).astype(np.float32)
    return {"y": y, "t": np.array([[f"k={value}"] for value in k[:, 0]], object)}


class FakeV2:
    """`Server` behind a socket. `spoil(request, answer) -> answer` makes it wrong; request is (method, path, headers, body)."""

    def __init__(self, spoil=None, extensions=EXTENSIONS):
        self.server, self.spoil = Server(extensions), spoil
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                self.connection.settimeout(10)

            def handle_any(self):
                headers = {key.lower(): value for key, value in self.headers.items()}
                body = self.read_body(headers)
                if body is None:
                    answer = 400, {}, b'{"error": "the body ended too early"}'
                else:
                    answer = fake.server.answer(self.command, self.path, headers, body)
                if fake.spoil is not None:
                    answer = fake.spoil((self.command, self.path, headers, body), answer)
                status, more, content = answer
                self.send_response(status)
                for key, value in more.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_GET(self):
                self.handle_any()

            def do_POST(self):
                self.handle_any()

            def read_body(self, headers):
                if headers.get("transfer-encoding") == "chunked":
                    body = b""
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                    return body
                size = int(headers.get("content-length", "0"))
                body = self.rfile.read(size)
                return body if len(body) == size else None

            def log_message(self, *_):
                pass

        class Listener(ThreadingHTTPServer):
            request_queue_size = 128
            daemon_threads = True

        self.listener = Listener(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.listener.server_address[1]}"
        self.thread = threading.Thread(target=self.listener.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown()
        self.thread.join()
        self.listener.server_close()
