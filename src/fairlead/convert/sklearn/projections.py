"""Transformers that choose or mix columns: feature selection, PCA, truncated SVD, discriminant axes, cluster distances."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import (
    RFE,
    RFECV,
    GenericUnivariateSelect,
    SelectFdr,
    SelectFpr,
    SelectFromModel,
    SelectFwe,
    SelectKBest,
    SelectPercentile,
    SequentialFeatureSelector,
    VarianceThreshold,
)

from fairlead.convert.sklearn.graph import Block, Builder, Estimator, Table, Transform, unsupported
from fairlead.core.interface import Array


def _selected(builder: Builder, estimator: Estimator, table: Table) -> Table:
    return builder.columns(table, [int(index) for index in np.flatnonzero(estimator.get_support())])


def _pca(builder: Builder, estimator: Estimator, table: Table) -> Table:
    block = builder.numbers(table, estimator)
    name = product(builder, block.name, estimator.components_.T)
    name = builder.add("Sub", name, builder.constant(np.reshape(estimator.mean_, (1, -1)) @ estimator.components_.T))
    if estimator.whiten:
        scale = np.sqrt(estimator.explained_variance_)
        name = builder.add("Div", name, builder.constant(np.maximum(scale, np.finfo(scale.dtype).eps)))
    return (Block(name, len(estimator.components_)),)


def _svd(builder: Builder, estimator: Estimator, table: Table) -> Table:
    block = builder.numbers(table, estimator)
    return (Block(product(builder, block.name, estimator.components_.T), len(estimator.components_)),)


def _discriminant(builder: Builder, estimator: Estimator, table: Table) -> Table:
    name = builder.numbers(table, estimator).name
    if estimator.solver == "lsqr":
        raise unsupported(estimator, "solver='lsqr' does not transform")
    if estimator.solver == "svd":
        name = builder.add("Sub", name, builder.constant(estimator.xbar_))
    axes = estimator.scalings_[:, : estimator._max_components]  # noqa: SLF001 - no public name
    return (Block(product(builder, name, axes), axes.shape[1]),)


def product(builder: Builder, name: str, matrix: Array) -> str:
    """[batch, n] times a constant (n, m).

    Gemm, not MatMul: ONNX Runtime fuses a MatMul with a scalar factor beside it and keeps that factor in single precision.
    """
    return builder.add("Gemm", name, builder.constant(np.ascontiguousarray(matrix, dtype=np.float64)))


TRANSFORMERS: dict[type, Transform] = {
    PCA: _pca,
    TruncatedSVD: _svd,
    LinearDiscriminantAnalysis: _discriminant,
    **dict.fromkeys(
        (
            GenericUnivariateSelect,
            SelectFdr,
            SelectFpr,
            SelectFromModel,
            SelectFwe,
            SelectKBest,
            SelectPercentile,
            SequentialFeatureSelector,
            VarianceThreshold,
            RFE,
            RFECV,
        ),
        _selected,
    ),
}
