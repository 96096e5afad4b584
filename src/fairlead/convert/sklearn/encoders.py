"""Encoders of categories, and imputers of what is missing.

An encoder becomes a table: category -> the row that scikit-learn itself makes of it, so that every option (drop, infrequent categories,
encoded missing values, target means) is right by construction. Missing text cannot be told apart from text in a tensor: only categories
that are text take part.
"""

from __future__ import annotations

import numpy as np
from onnx import numpy_helper
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

from fairlead.convert.sklearn.graph import Block, Builder, Estimator, Table, Transform, unsupported
from fairlead.core.interface import Array


def _encoder(builder: Builder, estimator: Estimator, table: Table) -> Table:
    dtype = np.dtype(getattr(estimator, "dtype", np.float64))
    if dtype.kind == "f" and dtype != np.float64:
        raise unsupported(estimator, f"dtype={dtype} would let later steps compute in single precision")
    knows_unknown = getattr(estimator, "handle_unknown", "ignore") != "error"
    parts = []
    for position, categories in enumerate(estimator.categories_):
        column = builder.columns(table, [position])[0]
        rows = _rows(estimator, position, knows_unknown=knows_unknown)
        index = _index(builder, column, categories)
        gathered = builder.add("Gather", builder.constant(rows), builder.flat(index), axis=0)
        if rows.shape[1]:
            parts.append(Block(gathered, rows.shape[1]))
    if not knows_unknown:
        builder.notes.append(
            f"{type(estimator).__name__}(handle_unknown='error') refuses unseen categories in scikit-learn; "
            "the converted model treats them as no category"
        )
    return (builder.joined(tuple(parts)),)


def _index(builder: Builder, column: Block, categories: Array) -> str:
    """The place of each value among its categories, int64 [batch, 1]; their count for an unknown one."""
    default = len(categories)
    if not column.is_text:
        return builder.add(
            "LabelEncoder",
            column.name,
            domain="ai.onnx.ml",
            keys_tensor=numpy_helper.from_array(np.asarray(categories, dtype=np.float64)),
            values_tensor=numpy_helper.from_array(np.arange(default, dtype=np.int64)),
            default_tensor=numpy_helper.from_array(np.array([default], dtype=np.int64)),
        )
    known = [(str(category), place) for place, category in enumerate(categories) if isinstance(category, str)]
    return builder.add(
        "LabelEncoder",
        column.name,
        domain="ai.onnx.ml",
        keys_strings=[text for text, _ in known] or ["\0"],
        values_int64s=[place for _, place in known] or [default],
        default_int64=default,
    )


def _rows(estimator: Estimator, position: int, *, knows_unknown: bool) -> Array:
    """What the encoder gives for each category of one column and, last, for an unknown one: (categories + 1, width)."""
    categories = list(estimator.categories_[position])
    samples = [*categories, _unknown(categories)] if knows_unknown else categories
    table = np.empty((len(samples), len(estimator.categories_)), dtype=object)
    for other, known in enumerate(estimator.categories_):
        table[:, other] = known[0]
    table[:, position] = samples
    if all(np.asarray(known).dtype.kind in "iufb" for known in estimator.categories_):
        table = table.astype(np.float64)
    encoded = estimator.transform(table)
    dense = np.asarray(encoded.toarray() if hasattr(encoded, "toarray") else encoded, dtype=np.float64)
    width = _widths(estimator)
    start = sum(width[:position])
    rows = dense[:, start : start + width[position]]
    return rows if knows_unknown else np.vstack([rows, np.zeros((1, rows.shape[1]))])


def _widths(estimator: Estimator) -> list[int]:
    if isinstance(estimator, OneHotEncoder):
        return [int(width) for width in estimator._n_features_outs]  # noqa: SLF001 - the only place that counts dropped ones
    if isinstance(estimator, TargetEncoder) and estimator.target_type_ == "multiclass":
        raise unsupported(estimator, "a multiclass target spreads one column over several")
    return [1] * len(estimator.categories_)


def _unknown(categories: list[object]) -> object:
    numbers = [float(c) for c in categories if isinstance(c, (int, float, np.number)) and not np.isnan(c)]
    if len(numbers) == len([c for c in categories if c is not None and c == c]) and numbers:  # noqa: PLR0124 - NaN is not itself
        return max(numbers) + 1.0
    return "\x02" + "".join(str(c) for c in categories if isinstance(c, str))[:64]


def _imputer(builder: Builder, estimator: Estimator, table: Table) -> Table:
    statistics = list(estimator.statistics_)
    kept: list[Block] = []
    for position, statistic in enumerate(statistics):
        column = builder.columns(table, [position])[0]
        is_empty = isinstance(statistic, float) and np.isnan(statistic)
        if is_empty and not estimator.keep_empty_features:
            continue
        kept.append(_imputed(builder, estimator, column, statistic))
    if estimator.add_indicator and estimator.indicator_ is not None:
        kept.extend(_indicator(builder, estimator.indicator_, table))
    return merged(builder, kept)


def _imputed(builder: Builder, estimator: Estimator, column: Block, statistic: object) -> Block:
    missing = _missing(builder, column, estimator.missing_values)
    if not missing:
        return column
    value = builder.constant([[statistic]], None) if column.is_text else builder.constant([[float(str(statistic))]])
    return Block(builder.add("Where", missing, value, column.name), 1, column.is_text)


def _missing(builder: Builder, column: Block, marker: object) -> str:
    """Where the column holds the marker, bool [batch, n]; "" where it cannot hold it."""
    if column.is_text:
        return builder.add("Equal", column.name, builder.constant([[marker]], None)) if isinstance(marker, str) else ""
    if marker is None or isinstance(marker, str):
        return ""
    if np.isnan(float(str(marker))):
        return builder.add("IsNaN", column.name)
    return builder.add("Equal", column.name, builder.constant(float(str(marker))))


def _indicator(builder: Builder, estimator: Estimator, table: Table) -> Table:
    parts = []
    for position in estimator.features_:
        column = builder.columns(table, [int(position)])[0]
        missing = _missing(builder, column, estimator.missing_values)
        if not missing:
            raise unsupported(estimator, "missing text cannot be marked in a tensor")
        parts.append(Block(builder.doubles(missing), 1))
    return tuple(parts)


def merged(builder: Builder, blocks: list[Block]) -> Table:
    """Join neighbours of one kind, so that a table has few blocks."""
    runs: list[list[Block]] = []
    for block in blocks:
        if runs and runs[-1][0].is_text == block.is_text:
            runs[-1].append(block)
        else:
            runs.append([block])
    return tuple(builder.joined(tuple(run)) for run in runs)


TRANSFORMERS: dict[type, Transform] = {
    OneHotEncoder: _encoder,
    OrdinalEncoder: _encoder,
    TargetEncoder: _encoder,
    SimpleImputer: _imputer,
    MissingIndicator: _indicator,
}
