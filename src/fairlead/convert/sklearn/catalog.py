"""The index of converters: exact class -> function, all families together."""

from __future__ import annotations

from fairlead.convert.sklearn import (
    bayes,
    composition,
    elementwise,
    encoders,
    ensembles,
    histogram_trees,
    kernels,
    linear,
    neighbors,
    networks,
    projections,
    text,
    trees,
)
from fairlead.convert.sklearn.graph import Predict, Transform

TRANSFORMERS: dict[type, Transform] = {
    **elementwise.TRANSFORMERS,
    **encoders.TRANSFORMERS,
    **projections.TRANSFORMERS,
    **composition.TRANSFORMERS,
    **text.TRANSFORMERS,
}
PREDICTORS: dict[type, Predict] = {
    **linear.PREDICTORS,
    **bayes.PREDICTORS,
    **trees.PREDICTORS,
    **histogram_trees.PREDICTORS,
    **kernels.PREDICTORS,
    **neighbors.PREDICTORS,
    **networks.PREDICTORS,
    **ensembles.PREDICTORS,
    **composition.PREDICTORS,
}
