"""Transformers that treat every number by itself: scalers, binning, powers, quantiles, known functions.

Operations stand in scikit-learn's order (subtract, then divide: never times a reciprocal), so that results have the same bits. Logarithms
and exponentials are the exceptions: two libraries may differ in their last bit.
"""

from __future__ import annotations

from itertools import combinations, combinations_with_replacement

import numpy as np
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from fairlead.convert.sklearn.graph import Block, Builder, Estimator, Table, Transform, unsupported
from fairlead.core.interface import Array


def _standard(builder: Builder, estimator: Estimator, table: Table) -> Table:
    center = estimator.mean_ if estimator.with_mean else None
    return _shifted(builder, builder.numbers(table, estimator), center, estimator.scale_ if estimator.with_std else None)


def _robust(builder: Builder, estimator: Estimator, table: Table) -> Table:
    center = estimator.center_ if estimator.with_centering else None
    return _shifted(builder, builder.numbers(table, estimator), center, estimator.scale_ if estimator.with_scaling else None)


def _shifted(builder: Builder, block: Block, center: Array | None, scale: Array | None) -> Table:
    name = block.name
    if center is not None:
        name = builder.add("Sub", name, builder.constant(center))
    if scale is not None:
        name = builder.add("Div", name, builder.constant(scale))
    return (Block(name, block.width),)


def _min_max(builder: Builder, estimator: Estimator, table: Table) -> Table:
    block = builder.numbers(table, estimator)
    name = builder.add("Add", builder.add("Mul", block.name, builder.constant(estimator.scale_)), builder.constant(estimator.min_))
    if estimator.clip:
        name = clipped(builder, name, *map(float, estimator.feature_range))
    return (Block(name, block.width),)


def _max_abs(builder: Builder, estimator: Estimator, table: Table) -> Table:
    block = builder.numbers(table, estimator)
    name = builder.add("Div", block.name, builder.constant(estimator.scale_))
    if getattr(estimator, "clip", False):
        name = clipped(builder, name, -1.0, 1.0)
    return (Block(name, block.width),)


def _normalizer(builder: Builder, estimator: Estimator, table: Table) -> Table:
    block = builder.numbers(table, estimator)
    return (Block(normalized(builder, block.name, estimator.norm), block.width),)


def normalized(builder: Builder, name: str, norm: str) -> str:
    """Divide each row by its norm (l1, l2 or max); rows of zeros stay."""
    if norm == "l2":
        length = builder.add("Sqrt", builder.sum_in_order(builder.add("Mul", name, name)))
    elif norm == "l1":
        length = builder.sum_in_order(builder.add("Abs", name))
    else:
        length = builder.add("ReduceMax", builder.add("Abs", name), builder.integers(1), keepdims=0)
    safe = builder.add("Where", builder.add("Equal", length, builder.constant(0.0)), builder.constant(1.0), length)
    return builder.add("Div", name, builder.column_of(safe))


def _binarizer(builder: Builder, estimator: Estimator, table: Table) -> Table:
    block = builder.numbers(table, estimator)
    return (Block(builder.doubles(builder.add("Greater", block.name, builder.constant(float(estimator.threshold)))), block.width),)


def _bins(builder: Builder, estimator: Estimator, table: Table) -> Table:
    block = builder.numbers(table, estimator)
    parts: list[Block] = []
    for position, edges in enumerate(estimator.bin_edges_):
        column = builder.columns((block,), [position])[0].name
        ordinal = searched(builder, column, np.asarray(edges)[1:-1])
        if estimator.encode == "ordinal":
            parts.append(Block(builder.doubles(ordinal), 1))
            continue
        codes = builder.constant(np.arange(len(edges) - 1), np.int64)
        parts.append(Block(builder.doubles(builder.add("Equal", ordinal, codes)), len(edges) - 1))
    return (builder.joined(tuple(parts)),)


def searched(builder: Builder, column: str, edges: Array) -> str:
    """How many `edges` are at or below each value, int64 [batch, 1]: numpy's searchsorted(edges, x, side="right")."""
    if len(edges) == 0:
        return builder.add("Cast", builder.add("Mul", column, builder.constant(0.0)), to=7)
    above = builder.add("Cast", builder.add("GreaterOrEqual", column, builder.constant(np.reshape(edges, (1, -1)))), to=7)
    return builder.add("ReduceSum", above, builder.integers(1), keepdims=1)


def clipped(builder: Builder, name: str, low: float, high: float) -> str:
    """Clip to [low, high]; NaN stays."""
    return builder.add("Clip", name, builder.constant(low), builder.constant(high))


def _polynomial(builder: Builder, estimator: Estimator, table: Table) -> Table:
    block = builder.numbers(table, estimator)
    lowest, highest = estimator._min_degree, estimator._max_degree  # noqa: SLF001 - degree is an int or a pair; these are the pair
    choose = combinations if estimator.interaction_only else combinations_with_replacement
    parts: list[Block] = []
    powers: list[Array] = []
    if estimator.include_bias:
        ones = builder.add("Expand", builder.constant([[1.0]]), _batch_by_one(builder, block.name))
        parts.append(Block(ones, 1))
        powers.append(np.zeros(block.width, dtype=int))
    names = block.name
    previous: list[tuple[int, ...]] = [(index,) for index in range(block.width)]
    for degree in range(1, highest + 1):
        if degree > 1:
            current = list(choose(range(block.width), degree))
            if not current:
                break
            where = {combination: index for index, combination in enumerate(previous)}
            rest = builder.add("Gather", names, builder.integers(*(where[c[1:]] for c in current)), axis=1)
            first = builder.add("Gather", block.name, builder.integers(*(c[0] for c in current)), axis=1)
            previous, names = current, builder.add("Mul", rest, first)
        if degree >= lowest:
            parts.append(Block(names, len(previous)))
            powers.extend(np.bincount(c, minlength=block.width) for c in previous)
    if not np.array_equal(np.array(powers), estimator.powers_):
        raise unsupported(estimator, "this release of scikit-learn orders its terms in an unknown way")
    return (builder.joined(tuple(parts)),)


def _batch_by_one(builder: Builder, name: str) -> str:
    rows = builder.add("Shape", name, start=0, end=1)
    return builder.add("Concat", rows, builder.integers(1), axis=0)


def log1p(builder: Builder, name: str) -> str:
    """log(1 + x) without losing small x: x * log(u) / (u - 1) with u = 1 + x (Kahan; Goldberg 1991, theorem 4)."""
    one = builder.constant(1.0)
    u = builder.add("Add", name, one)
    less = builder.add("Sub", u, one)
    is_small = builder.add("Equal", less, builder.constant(0.0))
    scaled = builder.add("Div", builder.add("Mul", name, builder.add("Log", u)), builder.add("Where", is_small, one, less))
    return builder.add("Where", is_small, name, scaled)


def expm1(builder: Builder, name: str) -> str:
    """exp(x) - 1 without losing small x: (u - 1) * x / log(u) with u = exp(x) (Kahan)."""
    one = builder.constant(1.0)
    u = builder.add("Exp", name)
    less = builder.add("Sub", u, one)
    is_small = builder.add("Equal", less, builder.constant(0.0))
    is_plain = builder.add("Greater", builder.add("Abs", less), builder.constant(0.5))
    is_direct = builder.add("Or", is_small, is_plain)
    logarithm = builder.add("Log", builder.add("Where", is_direct, builder.constant(2.0), u))
    exact = builder.add("Div", builder.add("Mul", less, name), logarithm)
    return builder.add("Where", is_small, name, builder.add("Where", is_plain, less, exact))


def _power(builder: Builder, estimator: Estimator, table: Table) -> Table:
    block = builder.numbers(table, estimator)
    curve = _box_cox if estimator.method == "box-cox" else _yeo_johnson
    parts = [
        Block(curve(builder, builder.columns((block,), [position])[0].name, float(exponent)), 1)
        for position, exponent in enumerate(estimator.lambdas_)
    ]
    joined = (builder.joined(tuple(parts)),)
    return builder.transform(estimator._scaler, joined) if estimator.standardize else joined  # noqa: SLF001 - no public name


def _box_cox(builder: Builder, name: str, exponent: float) -> str:
    logarithm = builder.add("Log", name)
    if exponent == 0.0:
        return logarithm
    grown = expm1(builder, builder.add("Mul", logarithm, builder.constant(exponent)))
    return builder.add("Div", grown, builder.constant(exponent))


def _yeo_johnson(builder: Builder, name: str, exponent: float) -> str:
    is_left = builder.add("Less", name, builder.constant(0.0))
    right = _grown(builder, builder.add("Where", is_left, builder.constant(0.0), name), exponent)
    magnitude = builder.add("Where", is_left, builder.add("Neg", name), builder.constant(0.0))
    left = builder.add("Neg", _grown(builder, magnitude, 2.0 - exponent))
    return builder.add("Where", is_left, left, right)


def _grown(builder: Builder, magnitude: str, exponent: float) -> str:
    logarithm = log1p(builder, magnitude)
    if abs(exponent) < np.spacing(1.0):
        return logarithm
    return builder.add("Div", expm1(builder, builder.add("Mul", logarithm, builder.constant(exponent))), builder.constant(exponent))


def _quantile(builder: Builder, estimator: Estimator, table: Table) -> Table:
    if estimator.output_distribution != "uniform":
        raise unsupported(estimator, "output_distribution='normal' needs the inverse error function, which ONNX does not have")
    block = builder.numbers(table, estimator)
    references = np.asarray(estimator.references_)
    parts: list[Block] = []
    for position in range(block.width):
        column = builder.columns((block,), [position])[0].name
        quantiles = estimator.quantiles_[:, position]
        up = interpolated(builder, column, quantiles, references)
        down = interpolated(builder, builder.add("Neg", column), -quantiles[::-1], -references[::-1])
        mean = builder.add("Mul", builder.constant(0.5), builder.add("Sub", up, down))
        at_top = builder.add("Equal", column, builder.constant(float(quantiles[-1])))
        at_bottom = builder.add("Equal", column, builder.constant(float(quantiles[0])))
        topped = builder.add("Where", at_top, builder.constant(1.0), mean)
        parts.append(Block(builder.add("Where", at_bottom, builder.constant(0.0), topped), 1))
    return (builder.joined(tuple(parts)),)


def interpolated(builder: Builder, column: str, xs: Array, ys: Array) -> str:
    """Interpolate as numpy's interp(column, xs, ys) for [batch, 1]: slope * (x - x_left) + y_left, constant outside."""
    xs, ys = np.asarray(xs, dtype=np.float64), np.asarray(ys, dtype=np.float64)
    if len(xs) == 1:
        return builder.add("Add", builder.add("Mul", column, builder.constant(0.0)), builder.constant(float(ys[0])))
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.append(np.diff(ys) / np.diff(xs), 0.0)
    segments = np.stack([xs, ys, np.where(np.isfinite(slopes), slopes, 0.0)])
    place = builder.add("Sub", searched(builder, column, xs), builder.integers(1))
    inside = builder.add("Max", place, builder.integers(0))
    left, base, slope = (builder.add("Gather", builder.constant(values), inside, axis=0) for values in segments)
    line = builder.add("Add", builder.add("Mul", slope, builder.add("Sub", column, left)), base)
    is_before = builder.add("Less", place, builder.integers(0))
    bounded = builder.add("Where", is_before, builder.constant(float(ys[0])), line)
    exact = builder.add("Equal", column, left)
    return builder.add("Where", exact, base, bounded)


def _function(builder: Builder, estimator: Estimator, table: Table) -> Table:
    known = {None: "", np.log: "Log", np.exp: "Exp", np.sqrt: "Sqrt", np.abs: "Abs", np.negative: "Neg", np.floor: "Floor"}
    if estimator.kw_args:
        raise unsupported(estimator, "its function takes further arguments")
    if estimator.func is None:
        return table
    block = builder.numbers(table, estimator)
    if estimator.func is np.log1p:
        return (Block(log1p(builder, block.name), block.width),)
    if estimator.func is np.expm1:
        return (Block(expm1(builder, block.name), block.width),)
    if estimator.func is np.square:
        return (Block(builder.add("Mul", block.name, block.name), block.width),)
    if estimator.func not in known:
        name = getattr(estimator.func, "__name__", "func")
        raise unsupported(estimator, f"its function '{name}' is Python code; known are numpy's log, log1p, exp, expm1, sqrt, abs, square")
    return (Block(builder.add(known[estimator.func], block.name), block.width),)


TRANSFORMERS: dict[type, Transform] = {
    StandardScaler: _standard,
    RobustScaler: _robust,
    MinMaxScaler: _min_max,
    MaxAbsScaler: _max_abs,
    Normalizer: _normalizer,
    Binarizer: _binarizer,
    KBinsDiscretizer: _bins,
    PolynomialFeatures: _polynomial,
    PowerTransformer: _power,
    QuantileTransformer: _quantile,
    FunctionTransformer: _function,
}
