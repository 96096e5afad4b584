"""Nearest neighbours: distances to all stored rows, the k nearest, and their vote or mean.

Where scikit-learn uses a tree, distances are summed feature by feature as it does; where it multiplies matrices, so does this. Among
equally distant rows at the k-th place scikit-learn's choice depends on its search order; here the first stored row wins.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestCentroid

from fairlead.convert.sklearn.graph import Answer, Builder, Estimator, Predict, Table, unsupported
from fairlead.convert.sklearn.kernels import squared_distances
from fairlead.core.interface import Array


def _distances(builder: Builder, estimator: Estimator, name: str) -> str:
    """Distances [batch, rows], Euclidean ones squared."""
    rows = estimator._fit_X  # noqa: SLF001 - no public name
    rows = np.asarray(rows.toarray() if hasattr(rows, "toarray") else rows, dtype=np.float64)
    metric = estimator.effective_metric_
    power = {"euclidean": 2.0, "manhattan": 1.0, "l1": 1.0, "l2": 2.0, "cityblock": 1.0}.get(str(metric), 0.0)
    if power == 0.0:
        raise unsupported(estimator, f"metric={metric!r}; known are euclidean and manhattan")
    if power == 2.0 and estimator._fit_method == "brute":  # noqa: SLF001 - no public name
        return squared_distances(builder, name, rows)
    return _summed(builder, name, rows, is_squared=power == 2.0)


def _summed(builder: Builder, name: str, rows: Array, *, is_squared: bool) -> str:
    """Add |x - y| or its square feature by feature: a scan over columns that carries [batch, rows]."""
    value = helper.make_tensor_value_info
    double = TensorProto.DOUBLE
    steps = [
        helper.make_node("Unsqueeze", ["x", "one"], ["column"]),
        helper.make_node("Sub", ["column", "y"], ["away"]),
        helper.make_node("Mul", ["away", "away"], ["term"]) if is_squared else helper.make_node("Abs", ["away"], ["term"]),
        helper.make_node("Add", ["carried", "term"], ["sum"]),
    ]
    one = helper.make_tensor("one", TensorProto.INT64, [1], [1])
    body = helper.make_graph(
        steps,
        "add_feature",
        [value("carried", double, [None, None]), value("x", double, [None]), value("y", double, [None])],
        [value("sum", double, [None, None])],
        [one],
    )
    batch = builder.add("Shape", name, start=0, end=1)
    start = builder.add("Expand", builder.constant([[0.0]]), builder.add("Concat", batch, builder.integers(len(rows)), axis=0))
    columns = builder.add("Transpose", name, perm=[1, 0])
    return builder.add("Scan", start, columns, builder.constant(np.ascontiguousarray(rows.T)), body=body, num_scan_inputs=2)


def _nearest(builder: Builder, estimator: Estimator, table: Table) -> tuple[str, str]:
    """Row numbers [batch, k] of the nearest, and their weights [batch, k] ("" for equal ones)."""
    distances = _distances(builder, estimator, builder.numbers(table, estimator).name)
    near, index = builder.add_many("TopK", (distances, builder.integers(estimator.n_neighbors)), 2, axis=1, largest=0, sorted=1)
    if estimator.weights in (None, "uniform"):
        return index, ""
    if estimator.weights != "distance":
        raise unsupported(estimator, "weights is Python code")
    away = near if estimator.effective_metric_ in ("manhattan", "l1", "cityblock") else builder.add("Sqrt", near)
    is_same = builder.doubles(builder.add("Equal", away, builder.constant(0.0)))
    has_same = builder.add("Greater", builder.add("ReduceMax", is_same, builder.integers(1), keepdims=1), builder.constant(0.0))
    return index, builder.add("Where", has_same, is_same, builder.add("Div", builder.constant(1.0), away))


def _noted(builder: Builder) -> None:
    builder.notes.append("among equally distant neighbours at the k-th place the first stored row is taken")


def _classifier(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    if estimator.outputs_2d_:
        raise unsupported(estimator, "several outputs at once")
    index, weights = _nearest(builder, estimator, table)
    _noted(builder)
    labels = np.eye(len(estimator.classes_))[np.ravel(estimator._y)]  # noqa: SLF001 - no public name
    votes = builder.add("Gather", builder.constant(labels), index, axis=0)
    if weights:
        votes = builder.add("Mul", votes, builder.add("Unsqueeze", weights, builder.integers(2)))
    total = builder.sum_in_order(votes)
    everything = builder.add("ReduceSum", total, builder.integers(1), keepdims=1)
    return Answer(builder.argmax(total), builder.add("Div", total, everything))


def _regressor(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    targets = np.asarray(estimator._y, dtype=np.float64)  # noqa: SLF001 - no public name
    if targets.ndim > 1 and targets.shape[1] > 1:
        raise unsupported(estimator, "several outputs at once")
    index, weights = _nearest(builder, estimator, table)
    _noted(builder)
    values = builder.add("Gather", builder.constant(np.ravel(targets)), index, axis=0)
    if not weights:
        mean = builder.add("Div", builder.sum_in_order(values), builder.constant(float(estimator.n_neighbors)))
        return Answer(value=builder.column_of(mean))
    top, bottom = builder.sum_in_order(builder.add("Mul", values, weights)), builder.sum_in_order(weights)
    return Answer(value=builder.column_of(builder.add("Div", top, bottom)))


def _centroid(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    if estimator.metric != "euclidean" or not np.allclose(getattr(estimator, "class_prior_", 0.0), 1 / len(estimator.classes_)):
        raise unsupported(estimator, "only the Euclidean metric with equal priors has a decision without scores")
    name = builder.numbers(table, estimator).name
    distances = _summed(builder, name, np.asarray(estimator.centroids_, dtype=np.float64), is_squared=True)
    return Answer(builder.add("ArgMin", distances, axis=1, keepdims=0))


PREDICTORS: dict[type, Predict] = {
    KNeighborsClassifier: _classifier,
    KNeighborsRegressor: _regressor,
    NearestCentroid: _centroid,
}
