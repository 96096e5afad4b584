"""Multi-layer perceptrons."""

from __future__ import annotations

from sklearn.neural_network import MLPClassifier, MLPRegressor

from fairlead.convert.sklearn.graph import Answer, Builder, Estimator, Predict, Table, unsupported
from fairlead.convert.sklearn.linear import affine

_ACTIVATIONS = {"identity": "", "relu": "Relu", "tanh": "Tanh", "logistic": "Sigmoid"}


def _forward(builder: Builder, estimator: Estimator, table: Table) -> str:
    """The last layer's sums, before its activation."""
    name = builder.numbers(table, estimator).name
    layers = list(zip(estimator.coefs_, estimator.intercepts_, strict=True))
    for position, (weights, bias) in enumerate(layers):
        name = affine(builder, name, weights.T, bias)
        operation = _ACTIVATIONS[estimator.activation]
        if operation and position < len(layers) - 1:
            name = builder.add(operation, name)
    return name


def _classifier(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    if estimator._label_binarizer.y_type_.startswith("multilabel"):  # noqa: SLF001 - no public name
        raise unsupported(estimator, "several labels at once")
    last = _forward(builder, estimator, table)
    if estimator.out_activation_ == "softmax":
        probabilities = builder.add("Softmax", last, axis=1)
        return Answer(builder.argmax(probabilities), probabilities)
    sure = builder.add("Sigmoid", last)
    above = builder.add("Greater", builder.flat(sure), builder.constant(0.5))
    return Answer(builder.add("Cast", above, to=7), builder.both_sides(sure))


def _regressor(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    if estimator.n_outputs_ > 1:
        raise unsupported(estimator, "several outputs at once")
    last = _forward(builder, estimator, table)
    return Answer(value=builder.add("Exp", last) if estimator.out_activation_ == "exp" else last)


PREDICTORS: dict[type, Predict] = {MLPClassifier: _classifier, MLPRegressor: _regressor}
