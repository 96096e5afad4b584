"""A client that speaks HTTP/2 frame by frame, rightly or wrongly, over a plain socket; and a server to speak with."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from types import SimpleNamespace

import numpy as np
from hpack import Decoder, Encoder

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.manifest import Manifest
from fairlead.core.ports import LoadedModel
from fairlead.core.version import Version
from fairlead.serve.grpc import frames as h2
from fairlead.serve.grpc.limits import GrpcLimits
from fairlead.serve.grpc.schema import MESSAGES
from fairlead.serve.serve_job import ServeJob
from fairlead.serve.server import ServerThread

INFER = "/inference.GRPCInferenceService/ModelInfer"
LIVE = "/inference.GRPCInferenceService/ServerLive"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
PAIR = Interface((TensorSpec("x", DType.FP32, (None, 2)),), (TensorSpec("y", DType.FP32, (None, 2)),))


SIZES = {"message_bytes": 2**20, "buffered_bytes": 4 * 2**20, "pending_bytes": 2**20, "connection_count": 60}
TIGHT = GrpcLimits(**SIZES)


class Doubling:
    """Doubles its input; a first number of 13 takes a while."""

    interface, description = PAIR, "doubling 1"

    def __init__(self, pause_s: float = 0.3) -> None:
        self.pause_s = pause_s
        self.run_count = 0

    def run(self, inputs, _outputs=()):
        self.run_count += 1
        if (inputs["x"][:, 0] == 13).any():
            time.sleep(self.pause_s)
        return {"y": inputs["x"] * np.float32(2)}

    def close(self) -> None:
        pass


class Source:
    """A registry with one model, m."""

    def __init__(self, engine) -> None:
        self.engine = engine

    def aspired(self):
        return {"m": Version("m", 1, Manifest(()), 0.0)}

    def sequence(self) -> int:
        return 1

    def load(self, version) -> LoadedModel:
        del version
        return LoadedModel(self.engine)


def server(engine=None, **options) -> ServerThread:
    """A server of the model m that speaks gRPC; `options` are those of ServeJob."""
    return ServerThread(ServeJob(Source(engine or Doubling()), port=0, grpc_port=0, **options))


def request(rows=((1.5, 2.0),), **fields) -> bytes:
    """A ModelInferRequest for m, raw."""
    array = np.array(rows, np.float32)
    message = MESSAGES["ModelInferRequest"](model_name=fields.pop("model_name", "m"), **fields)
    message.inputs.add(name="x", datatype="FP32", shape=array.shape)
    message.raw_input_contents.append(array.tobytes())
    return message.SerializeToString()


def doubled(content: bytes) -> np.ndarray:
    """The output of a ModelInferResponse."""
    message = MESSAGES["ModelInferResponse"].FromString(content)
    return np.frombuffer(message.raw_output_contents[0], np.float32).reshape(message.outputs[0].shape)


def framed(message: bytes, flag: int = 0) -> bytes:
    """A gRPC message with its prefix."""
    return struct.pack(">BI", flag, len(message)) + message


class Peer:
    """One connection. `deadline_s` bounds every wait."""

    def __init__(self, address: str, *, settings=None, deadline_s: float = 10.0, is_polite: bool = True, buffer_bytes: int = 0) -> None:
        host, port = address.rsplit(":", 1)
        self.socket = socket.socket()
        if buffer_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        self.socket.settimeout(deadline_s)
        self.socket.connect((host, int(port)))
        self.encoder, self.decoder = Encoder(), Decoder()
        self.rest = b""
        self.next_id = 1
        self.seen = []
        if is_polite:
            self.send(h2.PREFACE, h2.settings(settings or {}))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *parts: bytes) -> None:
        self.socket.sendall(b"".join(parts))

    def fields(self, path: str = INFER, extra=(), **changed):
        pseudo = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "test"}
        regular = {"content-type": "application/grpc", "te": "trailers"}
        for name, value in changed.items():
            (pseudo if f":{name}" in pseudo else regular)[f":{name}" if f":{name}" in pseudo else name.replace("_", "-")] = value
        return [(name, value) for name, value in {**pseudo, **regular}.items() if value is not None] + list(extra)

    def head(self, stream: int, path: str = INFER, *, end: bool = False, extra=(), **changed) -> bytes:
        block = self.encoder.encode(self.fields(path, extra, **changed))
        return h2.frame(h2.HEADERS, h2.END_HEADERS | (h2.END_STREAM if end else 0), stream, block)

    def data(self, stream: int, content: bytes, *, end: bool = True) -> bytes:
        """DATA frames of the size that everybody takes."""
        parts = [content[i : i + h2.FRAME_LIMIT] for i in range(0, len(content), h2.FRAME_LIMIT)] or [b""]
        return b"".join(
            h2.frame(h2.DATA, h2.END_STREAM if end and i == len(parts) - 1 else 0, stream, part) for i, part in enumerate(parts)
        )

    def open(self, path: str = INFER, **changed) -> int:
        stream, self.next_id = self.next_id, self.next_id + 2
        self.send(self.head(stream, path, **changed))
        return stream

    def begin(self, message: bytes, path: str = INFER, *, flag: int = 0, **changed) -> int:
        stream, self.next_id = self.next_id, self.next_id + 2
        self.send(self.head(stream, path, **changed), self.data(stream, framed(message, flag)))
        return stream

    def call(self, message: bytes, path: str = INFER, **changed):
        return self.answer(self.begin(message, path, **changed))

    def frame(self):
        """The next frame, None at the end of the connection."""
        while len(self.rest) < 9 or len(self.rest) < 9 + int.from_bytes(self.rest[:3], "big"):
            try:
                data = self.socket.recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                return None
            self.rest += data
        size = int.from_bytes(self.rest[:3], "big")
        kind, flags, stream = self.rest[3], self.rest[4], int.from_bytes(self.rest[5:9], "big")
        payload, self.rest = self.rest[9 : 9 + size], self.rest[9 + size :]
        if kind == h2.HEADERS:
            payload = dict(self.decoder.decode(payload))
        return SimpleNamespace(kind=kind, flags=flags, stream=stream, payload=payload)

    def until(self, wanted):
        """The first frame that `wanted` holds of; those before it are kept in `seen`."""
        for index, frame in enumerate(self.seen):
            if wanted(frame):
                return self.seen.pop(index)
        while (frame := self.frame()) is not None:
            if wanted(frame):
                return frame
            self.seen.append(frame)
        raise ConnectionError("the server closed the connection")

    def answer(self, stream: int):
        """What a stream was answered: headers, messages, status, text; `reset` is the code of an RST_STREAM."""
        found = SimpleNamespace(headers={}, body=b"", status=None, text="", reset=None, messages=[])
        while True:
            frame = self.until(lambda frame: frame.stream == stream and frame.kind in {h2.DATA, h2.HEADERS, h2.RST_STREAM})
            if frame.kind == h2.RST_STREAM:
                found.reset = int.from_bytes(frame.payload, "big")
                return found
            if frame.kind == h2.DATA:
                found.body += frame.payload
            else:
                found.headers.update(frame.payload)
            if frame.flags & h2.END_STREAM:
                break
        found.status = int(found.headers["grpc-status"]) if "grpc-status" in found.headers else None
        found.text = found.headers.get("grpc-message", "")
        body = found.body
        while body:
            size = int.from_bytes(body[1:5], "big")
            found.messages.append(body[5 : 5 + size])
            body = body[5 + size :]
        return found

    def goaway(self):
        """The code and text of the GOAWAY that ends the connection, which then ends."""
        frame = self.until(lambda frame: frame.kind == h2.GOAWAY and frame.payload[:4] != b"\x7f\xff\xff\xff")
        code, text = int.from_bytes(frame.payload[4:8], "big"), frame.payload[8:].decode()
        with contextlib.suppress(ConnectionError):
            while self.frame() is not None:
                pass
        return code, text

    def ping(self) -> None:
        """The server still talks on this connection."""
        self.send(h2.frame(h2.PING, 0, 0, b"whatever"))
        self.until(lambda frame: frame.kind == h2.PING and frame.flags == h2.ACK and frame.payload == b"whatever")


def connect(server, **options) -> Peer:
    """A peer of a running Server."""
    return Peer(server.grpc_address, **options)


def serves(server) -> bool:
    """Whether a new connection is served as it should be."""
    with connect(server) as peer:
        return doubled(peer.call(request()).messages[0]).tolist() == [[3.0, 4.0]]
