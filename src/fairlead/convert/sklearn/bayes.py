"""Naive Bayes and quadratic discriminants: joint log likelihoods, their largest, and their softmax."""

from __future__ import annotations

import numpy as np
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, ComplementNB, GaussianNB, MultinomialNB

from fairlead.convert.sklearn.graph import Answer, Builder, Estimator, Predict, Table
from fairlead.convert.sklearn.linear import affine
from fairlead.convert.sklearn.projections import product


def _likely(builder: Builder, joint: str) -> Answer:
    return Answer(builder.argmax(joint), builder.add("Softmax", joint, axis=1))


def _gaussian(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    name = builder.add("Unsqueeze", builder.numbers(table, estimator).name, builder.integers(1))
    away = builder.add("Sub", name, builder.constant(estimator.theta_[np.newaxis]))
    spread = builder.add("Div", builder.add("Mul", away, away), builder.constant(estimator.var_[np.newaxis]))
    total = builder.add("ReduceSum", spread, builder.integers(2), keepdims=0)
    constant = np.array([-0.5 * np.sum(np.log(2.0 * np.pi * row)) for row in estimator.var_])
    inner = builder.add("Sub", builder.constant(constant), builder.add("Mul", builder.constant(0.5), total))
    return _likely(builder, builder.add("Add", builder.constant(np.log(estimator.class_prior_)), inner))


def _multinomial(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    name = builder.numbers(table, estimator).name
    return _likely(builder, affine(builder, name, estimator.feature_log_prob_, estimator.class_log_prior_))


def _complement(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    name = builder.numbers(table, estimator).name
    prior = estimator.class_log_prior_ if len(estimator.classes_) == 1 else np.zeros(len(estimator.classes_))
    return _likely(builder, affine(builder, name, estimator.feature_log_prob_, prior))


def _bernoulli(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    name = builder.numbers(table, estimator).name
    if estimator.binarize is not None:
        name = builder.doubles(builder.add("Greater", name, builder.constant(float(estimator.binarize))))
    absent = np.log(1 - np.exp(estimator.feature_log_prob_))
    offset = estimator.class_log_prior_ + absent.sum(axis=1)
    return _likely(builder, affine(builder, name, estimator.feature_log_prob_ - absent, offset))


def _categorical(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    block = builder.numbers(table, estimator)
    total = ""
    for position, table_of in enumerate(estimator.feature_log_prob_):
        column = builder.columns((block,), [position])[0].name
        index = builder.add("Cast", builder.flat(column), to=7)
        part = builder.add("Gather", builder.constant(np.ascontiguousarray(table_of.T)), index, axis=0)
        total = builder.add("Add", total, part) if total else part
    prior = estimator.class_log_prior_
    return _likely(builder, builder.add("Add", total, builder.constant(prior)))


def _quadratic(builder: Builder, estimator: Estimator, table: Table) -> Answer:
    name = builder.numbers(table, estimator).name
    parts = []
    for rotation, scaling, mean in zip(estimator.rotations_, estimator.scalings_, estimator.means_, strict=True):
        turned = product(builder, builder.add("Sub", name, builder.constant(mean)), rotation * (scaling ** (-0.5)))
        parts.append(builder.add("ReduceSum", builder.add("Mul", turned, turned), builder.integers(1), keepdims=1))
    norms = builder.add("Concat", *parts, axis=1)
    volumes = np.asarray([np.sum(np.log(scaling)) for scaling in estimator.scalings_])
    halved = builder.add("Mul", builder.constant(-0.5), builder.add("Add", norms, builder.constant(volumes)))
    joint = builder.add("Add", halved, builder.constant(np.log(estimator.priors_)))
    answer = _likely(builder, joint)
    if len(estimator.classes_) != 2:
        return Answer(answer.index, answer.probabilities, joint)
    second = builder.add("Gather", joint, builder.integers(1), axis=1)
    return Answer(answer.index, answer.probabilities, builder.add("Sub", second, builder.add("Gather", joint, builder.integers(0), axis=1)))


PREDICTORS: dict[type, Predict] = {
    GaussianNB: _gaussian,
    MultinomialNB: _multinomial,
    ComplementNB: _complement,
    BernoulliNB: _bernoulli,
    CategoricalNB: _categorical,
    QuadraticDiscriminantAnalysis: _quadratic,
}
