"""Builders of bad SavedModels and .tflite files, made at test time without TensorFlow; see corpus.py for what a case is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from corpus import Case

# As TensorFlow Serving opens a SavedModel: everything that is there to be run first is run, then the answer is asked for.
CONTROLS = {
    "saved_model": (
        "import os\n"
        "os.environ.update(CUDA_VISIBLE_DEVICES='-1', TF_CPP_MIN_LOG_LEVEL='3')\n"
        "import tensorflow as tf\n"
        "with tf.Graph().as_default(), tf.compat.v1.Session() as session:\n"
        "    tf.compat.v1.saved_model.load(session, ['serve'], path)\n"
        "    session.run('y:0', {'x:0': [[1.0]]})"
    )
}
FLOAT, STRING = 1, 7


# The wire format of protobuf, written by hand: https://protobuf.dev/programming-guides/encoding/


def varint(number: int) -> bytes:
    number &= 2**64 - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def entry(key: str, value: bytes) -> bytes:
    return field(1, key) + field(2, value)


def attribute(name: str, value: bytes) -> bytes:
    return field(5, entry(name, value))


def kind(number: int) -> bytes:
    return field(6, number)


def node(name: str, op: str, inputs: tuple[str, ...] = (), *attributes: bytes) -> bytes:
    return field(1, name) + field(2, op) + b"".join(field(3, item) for item in inputs) + b"".join(attributes)


def text(name: str, *values: str) -> bytes:
    shape = field(2, field(2, field(1, len(values)))) if len(values) > 1 else field(2, b"")
    tensor = field(1, STRING) + shape + b"".join(field(8, value) for value in values)
    return node(name, "Const", (), attribute("dtype", kind(STRING)), attribute("value", field(8, tensor)))


def identity(name: str, source: str, *more: str) -> bytes:
    return node(name, "Identity", (source, *more), attribute("T", kind(FLOAT)))


def placeholder() -> bytes:
    return node("x", "Placeholder", (), attribute("dtype", kind(FLOAT)))


def tensor_info(name: str, dtype: int = FLOAT, shape: tuple[int, ...] = (-1, 1)) -> bytes:
    sizes = b"".join(field(2, field(1, size)) for size in shape)
    return field(1, name) + field(2, dtype) + field(3, sizes)


def signature() -> bytes:
    return field(1, entry("x", tensor_info("x:0"))) + field(2, entry("y", tensor_info("y:0"))) + field(3, "tensorflow/serving/predict")


def function(name: str, *nodes: bytes) -> bytes:
    """A function without arguments or results."""
    return field(1, field(1, name)) + b"".join(field(3, item) for item in nodes)


def graph(*nodes: bytes, functions: tuple[bytes, ...] = (), tag: str = "serve", more: bytes = b"") -> bytes:
    library = field(2, b"".join(field(1, item) for item in functions))
    graph_def = b"".join(field(1, item) for item in nodes) + library + field(4, field(1, 1))
    info = field(4, tag) + field(5, "2.21.0")
    return field(2, field(1, info) + field(2, graph_def) + field(5, entry("serving_default", signature())) + more)


def harmless(*nodes: bytes, functions: tuple[bytes, ...] = (), more: bytes = b"", control: str = "") -> bytes:
    """A model that hands its input on, with other nodes beside; `control` has to be run before the answer."""
    answer = identity("y", "x", f"^{control}") if control else identity("y", "x")
    return field(1, 1) + graph(placeholder(), answer, *nodes, functions=functions, more=more)


def index(*tensors: tuple[str, int, tuple[int, ...], int, int], shards: int = 1) -> bytes:
    """A checkpoint's table with one block: (name, type, shape, offset, size)."""
    entries = [(b"", field(1, shards))]
    for name, dtype, shape, offset, size in tensors:
        dims = b"".join(field(2, field(1, length)) for length in shape)
        entries.append((name.encode(), field(1, dtype) + field(2, dims) + field(4, offset) + field(5, size)))
    data = _block(entries)
    handle = varint(0) + varint(len(data) - 5)
    table = _block([(b"zzz", handle)])
    footer = varint(0) + varint(0) + varint(len(data)) + varint(len(table) - 5)
    return data + table + footer.ljust(40, b"\0") + (0xDB4775248B80FB57).to_bytes(8, "little")


def _block(entries: list[tuple[bytes, bytes]]) -> bytes:
    body = b"".join(varint(0) + varint(len(key)) + varint(len(value)) + key + value for key, value in entries)
    return body + (0).to_bytes(4, "little") + (1).to_bytes(4, "little") + bytes(5)  # one restart, no compression, no checksum


def folder(model: Callable[[Path], bytes], table: bytes | None = None) -> Callable[[Path, Path], Path]:
    def build(place: Path, canary: Path) -> Path:
        path = place / "model"
        (path / "variables").mkdir(parents=True)
        (path / "saved_model.pb").write_bytes(model(canary))
        (path / "variables" / "variables.index").write_bytes(index() if table is None else table)
        (path / "variables" / "variables.data-00000-of-00001").write_bytes(bytes(16))
        return path

    return build


# K16: operators that reach out


def _write(canary: Path) -> tuple[bytes, ...]:
    return text("name", str(canary)), text("content", "x"), node("write", "WriteFile", ("name", "content"))


def _writes(canary: Path) -> bytes:
    return harmless(*_write(canary), control="write")


def _writes_in_a_function(canary: Path) -> bytes:
    inner = (text("name", str(canary)), text("content", "x"), node("write", "WriteFile", ("name:output:0", "content:output:0")))
    call = node("call", "StatefulPartitionedCall", (), attribute("f", field(10, field(1, "evil"))), *_no_types())
    return harmless(call, functions=(function("evil", *inner),), control="call")


def _no_types() -> tuple[bytes, ...]:
    return attribute("Tin", field(1, b"")), attribute("Tout", field(1, b""))


def _writes_when_loaded(canary: Path) -> bytes:
    main = field(4, entry("saved_model_main_op", field(1, field(1, "write"))))
    return harmless(*_write(canary), more=main)


def _prints_to_a_file(canary: Path) -> bytes:
    stream = attribute("output_stream", field(2, f"file://{canary}"))
    return harmless(text("content", "x"), node("print", "PrintV2", ("content",), stream), control="print")


def _saves(canary: Path) -> bytes:
    types = attribute("T", field(1, field(6, STRING) * 2))
    save = node("save", "Save", ("name", "names", "content", "content"), types)
    return harmless(text("name", str(canary)), text("names", "a", "b"), text("content", "x"), save, control="save")


def _saves_beside_the_saver(canary: Path) -> bytes:
    """The saver's own operator, where an answer needs it."""
    save = node("save", "SaveV2", ("name", "names", "names", "content"), attribute("dtypes", field(1, field(6, STRING))))
    return harmless(text("name", str(canary)), text("names", "a", "b"), text("content", "x"), save, control="save")


def _one(op: str, *nodes: bytes, inputs: tuple[str, ...] = ()) -> Callable[[Path], bytes]:
    return lambda _: harmless(*nodes, node("evil", op, inputs), control="evil")


def _custom(_: Path) -> bytes:
    return harmless(node("evil", "EvilOperatorOfALibrary"), control="evil")


def _second_graph(canary: Path) -> bytes:
    return harmless() + graph(placeholder(), identity("y", "x", "^write"), *_write(canary), tag="train")


def _foreign_object(_: Path) -> bytes:
    kinds = field(4, field(1, "evil_object"))
    return harmless(more=field(7, field(1, kinds)))


def _registered_class(_: Path) -> bytes:
    return harmless(more=field(7, field(1, field(4, field(1, "_generic_user_object")) + field(13, "Evil>Class"))))


def _missing_function(_: Path) -> bytes:
    return harmless(node("call", "PartitionedCall", (), attribute("f", field(10, field(1, "not_there")))), control="call")


def _assets(_: Path) -> bytes:
    return harmless(more=field(6, field(1, field(1, "x:0")) + field(2, "../../../etc/passwd")))


def hostile_cases() -> Iterator[Case]:
    """Yield the K15 and K16 cases."""
    for name, make in (
        ("writes-a-file", _writes),
        ("writes-a-file-in-a-function", _writes_in_a_function),
        ("writes-a-file-when-loaded", _writes_when_loaded),
        ("prints-to-a-file", _prints_to_a_file),
        ("saves-old-checkpoint", _saves),
    ):
        yield Case("K16", name, folder(make), "saved_model", library="tensorflow")
    yield Case("K16", "saves-beside-the-saver", folder(_saves_beside_the_saver), "", "writes files beside the canary's name")
    for op in ("ReadFile", "MatchingFiles"):
        yield Case("K16", op.lower(), folder(_one(op, text("name", "/etc/passwd"), inputs=("name",))), "", "reads, and makes nothing")
    for op in ("PyFunc", "EagerPyFunc", "PyFuncStateless", "IteratorGetNextSync", "RpcClient", "_Send", "XlaHostCompute", "SqlDataset"):
        yield Case("K16", op.lower(), folder(_one(op)), "", "needs a partner outside of the file")
    yield Case("K16", "custom-operator", folder(_custom), "", "its library is not there")
    yield Case("K16", "second-graph", folder(_second_graph), "", "the raw loader opens the first graph", door="ingest")
    yield Case("K16", "foreign-object", folder(_foreign_object), "", "TensorFlow knows no such object")
    yield Case("K16", "registered-class", folder(_registered_class), "", "TensorFlow knows no such class")
    yield Case("K16", "asset-outside", folder(_assets), "", "TensorFlow joins the name, and reads nothing by itself", door="ingest")
    yield Case("K15", "missing-function", folder(_missing_function), "", "TensorFlow refuses it itself")
    yield Case("K15", "variable-outside", folder(lambda _: harmless(), index(("v", FLOAT, (4,), 8, 16))), "", "damage, not code")
    yield Case("K15", "variable-of-another-size", folder(lambda _: harmless(), index(("v", FLOAT, (4,), 0, 8))), "", "damage, not code")
    yield Case("K15", "no-data-file", folder(lambda _: harmless(), index(shards=2)), "", "damage, not code")
