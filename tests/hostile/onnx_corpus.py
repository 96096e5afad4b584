"""Builders of bad ONNX files, made at test time. See corpus.py."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from corpus import Case
from onnx import TensorProto, helper, numpy_helper

# O01: what a location may try. None is a bare file name.
LOCATIONS = (
    "../secret", "../../secret", "a/../../secret", "./secret", "/etc/passwd", "//etc/passwd", "a/b", "a/../secret", "..", ".", "",
    "..\\secret", "a\\b", "\\\\server\\share", "C:\\secret", "C:secret", "file:///etc/passwd", "http://127.0.0.1/x", "~/secret", "~root",
    "$HOME/secret", "%2e%2e/secret", "%2e%2e%2fsecret", "..%2fsecret", "secret\0.bin", "secret\n", " secret", "secret ", "secret.", "...",
    ".secret", "-secret", "/proc/self/environ", "/dev/stdin", "..\u2215secret", "\uff0e\uff0e/secret", "se\u0301cret", "NUL:",
    "secret:stream", "a/./b", "x" * 300, "%252e%252e%252fsecret", "..%c0%afsecret", "..;/secret", "x#../secret", "x?../secret", "./", " ",
    "\u202eterces", "x" * 255, "x" * 4096, "secret\t", "a//b", "..../secret", "\u2024\u2024/secret", "/", "\\", "s\u00e9cret", "secret\r\n",
)  # fmt: skip


def model(
    *, weights: Any = None, batch: Any = "N", nodes: Any = None, functions: Any = (), opsets: Any = None, inputs: Any = None
) -> onnx.ModelProto:
    """A small softmax model: x (batch, 4) -> y (batch, 3)."""
    tensor = numpy_helper.from_array(np.arange(12, dtype=np.float32).reshape(4, 3) / 12, "W") if weights is None else weights
    graph = helper.make_graph(
        nodes or [helper.make_node("MatMul", ["x", "W"], ["m"]), helper.make_node("Softmax", ["m"], ["y"])],
        "g",
        inputs or [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 3])],
        [tensor],
    )
    opsets = opsets or [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=list(functions))


def save(proto: onnx.ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(proto.SerializeToString())
    return path


def external(location: str, **entries: str) -> onnx.ModelProto:
    """The small model with its weights outside, at `location`."""
    tensor = TensorProto(name="W", data_type=TensorProto.FLOAT, dims=[4, 3], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    return model(weights=tensor)


SECRET = b"sk_live_TEST" * 4  # as many bytes as the weights have


def build_external(location: str) -> Callable[[Path, Path], Path]:
    def build(folder: Path, _: Path) -> Path:
        (folder / "inner").mkdir()
        (folder / "secret").write_bytes(SECRET)
        return save(external(location), folder / "inner")

    return build


def linked(make: Callable[[Path, Path], None]) -> Callable[[Path, Path], Path]:
    def build(folder: Path, _: Path) -> Path:
        (folder / "secret").write_bytes(SECRET)
        make(folder / "secret", folder / "data.bin")
        return save(external("data.bin"), folder)

    return build


def symlink(secret: Path, place: Path) -> None:
    place.symlink_to(secret)


def hard_link(secret: Path, place: Path) -> None:
    os.link(secret, place)


def fifo(_: Path, place: Path) -> None:
    os.mkfifo(place)


def folder_instead(_: Path, place: Path) -> None:
    place.mkdir()


def bad_tensors() -> dict[str, onnx.TensorProto]:
    """O07: data that does not fit the shape."""

    def tensor(**fields: Any) -> onnx.TensorProto:
        return TensorProto(**{"name": "W", "data_type": TensorProto.FLOAT, "dims": [4, 3], **fields})

    return {
        "short": tensor(raw_data=bytes(47)),
        "long": tensor(raw_data=bytes(49)),
        "empty": tensor(),
        "overflow": tensor(dims=[2**62, 2**62], raw_data=bytes(48)),
        "wraps-to-48": tensor(dims=[2**32, 2**32, 12], raw_data=bytes(48)),
        "negative": tensor(dims=[-4, -3], raw_data=bytes(48)),
        "int4": tensor(data_type=TensorProto.INT4, raw_data=bytes(5)),
        "unknown-type": tensor(data_type=99, raw_data=bytes(48)),
        "undefined-type": tensor(data_type=0, raw_data=bytes(48)),
        "wrong-field": tensor(int64_data=[0] * 12),
        "two-fields": tensor(raw_data=bytes(48), float_data=[0.0] * 12),
        "few-floats": tensor(float_data=[0.0] * 11),
        "few-strings": tensor(data_type=TensorProto.STRING, string_data=[b"a"] * 3),
    }


def bad_operators() -> dict[str, onnx.ModelProto]:
    """O09: operators that need somebody's code, or load other files."""

    def with_node(op_type: str, domain: str) -> onnx.ModelProto:
        nodes = [helper.make_node("MatMul", ["x", "W"], ["m"]), helper.make_node(op_type, ["m"], ["y"], domain=domain)]
        return model(nodes=nodes, opsets=[helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])])

    inner = helper.make_graph(
        [helper.make_node("Evil", ["m"], ["i"], domain="evil")], "inner", [], [helper.make_tensor_value_info("i", TensorProto.FLOAT, None)]
    )
    branch = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    constant = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("c", TensorProto.BOOL, [], [True]))
    hidden = model(nodes=[helper.make_node("MatMul", ["x", "W"], ["m"]), constant, branch])
    circle = [
        helper.make_function(
            "own", name, ["a"], ["b"], [helper.make_node(other, ["a"], ["b"], domain="own")], [helper.make_opsetid("own", 1)]
        )
        for name, other in (("F", "G"), ("G", "F"))
    ]
    recursive = model(
        nodes=[helper.make_node("MatMul", ["x", "W"], ["m"]), helper.make_node("F", ["m"], ["y"], domain="own")],
        functions=circle,
        opsets=[helper.make_opsetid("", 17), helper.make_opsetid("own", 1)],
    )

    def own(domain: str, name: str) -> onnx.ModelProto:
        """A model that defines an operator which there is already."""
        opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
        function = helper.make_function(domain, name, ["a"], ["b"], [helper.make_node("Neg", ["a"], ["b"])], [helper.make_opsetid("", 17)])
        nodes = [helper.make_node("MatMul", ["x", "W"], ["m"]), helper.make_node(name, ["m"], ["y"], domain=domain)]
        return model(nodes=nodes, functions=[function], opsets=opsets)

    body = helper.make_graph(
        [helper.make_node("Evil", ["v"], ["o"], domain="evil"), helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [helper.make_tensor_value_info(name, kind, []) for name, kind in (("i", TensorProto.INT64), ("go", TensorProto.BOOL))]
        + [helper.make_tensor_value_info("v", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []), helper.make_tensor_value_info("o", TensorProto.FLOAT, None)],
    )
    loop = model(
        nodes=[helper.make_node("MatMul", ["x", "W"], ["m"]), helper.make_node("Loop", ["", "", "m"], ["y"], body=body)],
        opsets=[helper.make_opsetid("", 17), helper.make_opsetid("evil", 1)],
    )
    return {
        "in-a-loop": loop,
        "redefines-relu": own("", "Relu"),
        "redefines-gelu-of-the-runtime": own("com.microsoft", "Gelu"),
        "extensions-library": with_node("StringUpper", "ai.onnx.contrib"),
        "layout-of-the-runtime": with_node("Conv", "com.microsoft.nchwc"),
        "domain-in-capitals": with_node("Relu", "AI.ONNX"),
        "domain-with-another-letter": with_node("Relu", "\u0430i.onnx"),
        "unknown-of-ml": with_node("RunShell", "ai.onnx.ml"),
        "tokenizer-of-the-runtime": with_node("Tokenizer", "com.microsoft"),
        "evil-domain": with_node("Relu", "evil"),
        "unknown-standard": with_node("RunShell", ""),
        "runtime-context": with_node("EPContext", "com.microsoft"),
        "runtime-python": with_node("PythonOp", "com.microsoft"),
        "aten": with_node("ATen", "org.pytorch.aten"),
        "training": with_node("Adam", "ai.onnx.preview.training"),
        "in-a-branch": hidden,
        "circle-of-functions": recursive,
    }


def bad_graphs() -> dict[str, onnx.ModelProto]:
    """O07: graphs that name what is not there, or name it twice."""

    def changed(change: Callable[[onnx.ModelProto], Any]) -> onnx.ModelProto:
        proto = model()
        change(proto)
        return proto

    return {
        "weight-that-is-not-there": changed(lambda proto: proto.graph.initializer.pop()),
        "two-weights-of-one-name": changed(lambda proto: proto.graph.initializer.append(proto.graph.initializer[0])),
        "circle-of-nodes": model(nodes=[helper.make_node("Add", ["x", "y"], ["m"]), helper.make_node("Relu", ["m"], ["y"])]),
        "output-of-no-node": changed(lambda proto: setattr(proto.graph.output[0], "name", "nowhere")),
        "node-without-outputs": changed(lambda proto: proto.graph.node[0].ClearField("output")),
        "node-without-inputs": changed(lambda proto: proto.graph.node[0].ClearField("input")),
        "two-nodes-write-one-value": model(nodes=[helper.make_node("MatMul", ["x", "W"], ["y"]), helper.make_node("Relu", ["y"], ["y"])]),
        "input-without-a-type": changed(lambda proto: proto.graph.input[0].ClearField("type")),
        "input-of-undefined-type": model(inputs=[helper.make_tensor_value_info("x", 0, ["N", 4])]),
        "sequence-for-input": model(inputs=[helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, ["N", 4])]),
        "no-inputs": model(nodes=[helper.make_node("Relu", ["W"], ["y"])]),
        "attribute-of-another-type": model(
            nodes=[helper.make_node("MatMul", ["x", "W"], ["m"]), helper.make_node("Softmax", ["m"], ["y"], axis="evil")]
        ),
    }


def bad_bytes() -> dict[str, bytes]:
    """O14: what a parser of protobuf may stumble over."""
    whole = model().SerializeToString()

    def version(ir_version: int, opset: int) -> bytes:
        proto = model()
        proto.ir_version, proto.opset_import[0].version = ir_version, opset
        return proto.SerializeToString()

    return {
        "declares-3-GiB": b"\x08\x0a\x3a\x80\x80\x80\x80\x0c" + whole,
        "declares-2-EiB": b"\x08\x0a\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x1f" + whole,
        "endless-number": b"\x08\x0a\x3a" + b"\xff" * 64,
        "group-that-never-ends": b"\x08\x0a\x3b" * 2000,
        "wrong-wire-type": b"\x08\x0a\x38\x01" + whole[2:],
        "nested-3000-deep": b"\x08\x0a" + _nested(3000),
        "only-a-version": b"\x08\x0a",
        "zeros-behind": whole + bytes(1000),
        "text-instead-of-a-graph": b"\x08\x0a\x3a\x05hello",
        "ir-version-99": version(99, 17),
        "ir-version-of-63-bits": version(2**63 - 1, 17),
        "opset-999": version(10, 999),
        "opset-below-zero": version(10, -1),
        "opset-of-63-bits": version(10, 2**63 - 1),
    }


def _nested(depth: int) -> bytes:
    """A graph in an attribute of a node of a graph and so on: fields 7, 1, 5, 6, 1, 5, 6 ... of the messages, each with its length."""
    inner = b""
    for level in range(3 * depth):
        inner = (b"\x32", b"\x2a", b"\x0a")[level % 3] + _size(len(inner)) + inner
    return b"\x3a" + _size(len(inner)) + inner


def _size(number: int) -> bytes:
    return bytes([number & 127 | 128]) + _size(number >> 7) if number > 127 else bytes([number])


def tar_as(name: str, member: str) -> Callable[[Path, Path], Path]:
    """O05: an archive in place of the model; unpacked by a library, a member lands outside."""

    def build(folder: Path, canary: Path) -> Path:
        path = folder / name
        with tarfile.open(path, "w:gz" if name.endswith("gz") else "w") as archive:
            archive.addfile(tarfile.TarInfo(member.format(canary=canary)), io.BytesIO(b""))
        return path

    return build


def hostile_cases() -> Iterator[Case]:
    """Yield every case that is a single bad ONNX model."""
    fixed = "the installed onnx refuses it, too; a naive join of folder and name reads the secret (tests/hostile/test_hostile_onnx.py)"
    for place, location in enumerate(LOCATIONS):
        shown = repr(location)[1:-1]
        yield Case("O01", shown if len(shown) <= 40 else f"{shown[:30]}... ({place})", build_external(location), "", fixed)
    yield Case("O01", "CON", build_external("CON"), "", "a device elsewhere; a missing file here")
    for make in (symlink, hard_link, fifo, folder_instead):
        yield Case("O02", make.__name__, linked(make), "", fixed)
    for name in ("model.onnx", "model.tar.gz", "model.onnx.tar"):
        yield Case("O05", f"{name}-traversal", tar_as(name, "../canary"), "tar")
        yield Case("O05", f"{name}-absolute", tar_as(name, "{canary}"), "tar")
    for name, tensor in bad_tensors().items():
        yield Case("O07", name, _saved(model(weights=tensor)), "", "no code: would be read past its end or be misread", door=_door(name))
    for name, proto in bad_graphs().items():
        yield Case("O07", name, _saved(proto), "", "no code: would be computed from what is not there", door=_door(name))
    for name, proto in bad_operators().items():
        yield Case("O09", name, _saved(proto), "", "needs the attacker's library to be loaded")
    whole = model().SerializeToString()
    for stop in (10, len(whole) // 2, len(whole) - 40):
        yield Case("O14", f"truncated-at-{stop}", _written(whole[:stop]), "", "no code: damage")
    for name, data in bad_bytes().items():
        yield Case("O14", name, _written(data), "", "no code: damage, or made to exhaust a parser")


def _door(name: str) -> str:
    """Inspection names these as unsupported, which is no danger; reading refuses them."""
    return "ingest" if name in ("unknown-type", "undefined-type", "no-inputs") else "inspect"


def _saved(proto: onnx.ModelProto) -> Callable[[Path, Path], Path]:
    return lambda folder, _: save(proto, folder)


def _written(data: bytes) -> Callable[[Path, Path], Path]:
    def build(folder: Path, _: Path) -> Path:
        path = folder / "model.onnx"
        path.write_bytes(data)
        return path

    return build
