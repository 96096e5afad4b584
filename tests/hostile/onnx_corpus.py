"""Builders of bad ONNX files, made at test time. See corpus.py."""

from __future__ import annotations

import os
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
    "secret:stream", "a/./b", "x" * 300,
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
    return {
        "evil-domain": with_node("Relu", "evil"),
        "unknown-standard": with_node("RunShell", ""),
        "runtime-context": with_node("EPContext", "com.microsoft"),
        "runtime-python": with_node("PythonOp", "com.microsoft"),
        "aten": with_node("ATen", "org.pytorch.aten"),
        "training": with_node("Adam", "ai.onnx.preview.training"),
        "in-a-branch": hidden,
        "circle-of-functions": recursive,
    }


def hostile_cases() -> Iterator[Case]:
    """Yield every case that is a single bad ONNX model."""
    fixed = "the installed onnx refuses it, too; a naive join of folder and name reads the secret (tests/hostile/test_hostile_onnx.py)"
    for location in LOCATIONS:
        yield Case("O01", repr(location)[1:-1][:40], build_external(location), "", fixed)
    for make in (symlink, hard_link, fifo, folder_instead):
        yield Case("O02", make.__name__, linked(make), "", fixed)
    for name, tensor in bad_tensors().items():
        yield Case("O07", name, _saved(model(weights=tensor)), "", "no code: would be read past its end or be misread")
    for name, proto in bad_operators().items():
        yield Case("O09", name, _saved(proto), "", "needs the attacker's library to be loaded")
    whole = model().SerializeToString()
    for stop in (10, len(whole) // 2, len(whole) - 40):
        yield Case("O14", f"truncated-at-{stop}", _written(whole[:stop]), "", "no code: damage")


def _saved(proto: onnx.ModelProto) -> Callable[[Path, Path], Path]:
    return lambda folder, _: save(proto, folder)


def _written(data: bytes) -> Callable[[Path, Path], Path]:
    def build(folder: Path, _: Path) -> Path:
        path = folder / "model.onnx"
        path.write_bytes(data)
        return path

    return build
