"""Dense, EinsumDense and Embedding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fairlead.convert.graph_builder import Value
from fairlead.convert.layer_use import LayerUse
from fairlead.convert.layers.activations import activate
from fairlead.core.dtype import DType
from fairlead.core.interface import Array


def convert_dense(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """Dense on the last axis."""
    kernel = use.weight("kernel")
    if kernel.ndim != 2 or kernel.shape[1] != use.config.get("units"):
        raise use.refusal(f"has a kernel of shape {list(kernel.shape)}")
    bias = use.weight("bias") if use.config.get("use_bias", True) else None
    value = project(use, inputs[0], kernel, bias)
    return [activate(use, use.config.get("activation", "linear"), value)]


def project(use: LayerUse, value: Value, kernel: Array, bias: Array | None) -> Value:
    """Return value @ kernel + bias on the last axis; a flattened image keeps its memory order, the kernel's rows move instead."""
    builder = use.builder
    value = builder.as_float(value)
    if value.shape[-1] is not None and value.shape[-1] != kernel.shape[0]:
        raise use.refusal(f"has a kernel for {kernel.shape[0]} features, its input has {value.shape[-1]}")
    if value.columns is not None:
        kernel = kernel[value.columns]
        value = replace(value, columns=None)
    if value.order and value.order[-1] != value.rank - 1:
        value = builder.arranged(value)
    operands = [value.name, builder.floats(kernel, "kernel")]
    shape = (*value.shape[:-1], kernel.shape[1])
    if value.rank == 2:
        if bias is not None:
            operands.append(builder.floats(bias, "bias"))
        return Value(builder.add("Gemm", operands), shape)
    tensor = builder.add("MatMul", operands)
    if bias is not None:
        tensor = builder.add("Add", [tensor, builder.floats(bias, "bias")])
    return Value(tensor, shape, order=value.order)


def convert_einsum_dense(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """EinsumDense: the equation on input and kernel, then a bias along `bias_axes`, then the activation."""
    builder = use.builder
    value = builder.arranged(builder.as_float(inputs[0]))
    equation, kernel = str(use.config.get("equation")).replace(" ", ""), use.weight("kernel")
    use.config.get("output_shape")  # follows from the kernel and the input
    terms, _, output = equation.partition("->")
    left, _, right = terms.partition(",")
    if "..." in equation and (not left.startswith("...") or not output.startswith("...") or "." in right):
        raise use.refusal(f"has the equation '{equation}', which is not supported")
    free = value.rank - len(left.replace("...", ""))
    sizes: dict[str, int | None] = dict(zip(right, kernel.shape, strict=True))
    for letter, size in zip(left.replace("...", ""), value.shape[free:], strict=True):
        sizes.setdefault(letter, size)
    shape = (*value.shape[:free], *(sizes[letter] for letter in output.replace("...", "")))
    tensor = builder.add("Einsum", [value.name, builder.floats(kernel, "kernel")], equation=equation)
    if use.config.get("bias_axes"):
        # Keras keeps the bias with the axes of `bias_axes` and 1 for those behind the first of them.
        tensor = builder.add("Add", [tensor, builder.floats(use.weight("bias"), "bias")])
    return [activate(use, use.config.get("activation", "linear"), Value(tensor, shape))]


def convert_embedding(use: LayerUse, inputs: Sequence[Value]) -> list[Value]:
    """Embedding: one row of the table for each whole number."""
    builder, table = use.builder, use.weight("embeddings")
    if table.shape != (use.config.get("input_dim"), use.config.get("output_dim")):
        raise use.refusal(f"has a table of shape {list(table.shape)}")
    value = builder.arranged(inputs[0])
    if value.dtype not in (DType.INT32, DType.INT64):
        value = builder.cast(value, DType.INT32)
    tensor = builder.add("Gather", [builder.floats(table, "embeddings"), value.name], axis=0)
    return [Value(tensor, (*value.shape, int(np.shape(table)[1])))]
