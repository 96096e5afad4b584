"""The proof in the sandbox: probe rows sit where it hurts, a wrong route is not taken, and nothing inexact comes out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, PowerTransformer, RobustScaler, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from fairlead.convert.sklearn import child
from fairlead.convert.sklearn.assembly import assemble
from fairlead.convert.sklearn.probes import _scaled, _Source, probe_rows
from fairlead.engines.estimator_rows import answers_of, rows_of
from fairlead.errors import UnsupportedError
from fairlead.ingest.sklearn_reader import describe

X, Y = load_iris(return_X_y=True)


def proof(estimator: Any) -> tuple[str, tuple[str, ...]]:
    interface = describe(estimator)
    probes, expected = child.accepted_probes(estimator, interface)
    name, _, notes, _ = child.choose_route(estimator, interface, probes, expected)
    return name, notes


def test_probes_reach_each_node_of_a_scaled_tree_at_its_threshold_and_to_both_sides() -> None:
    model = make_pipeline(StandardScaler(), DecisionTreeClassifier(random_state=0)).fit(X, Y)
    rows = probe_rows(model, describe(model))["x"]
    tree = model[-1].tree_
    scaled = model[0].transform(rows).astype(np.float32)
    paths = model[-1].decision_path(scaled).toarray()
    for node in np.flatnonzero(tree.children_left >= 0):
        away = scaled[:, tree.feature[node]] - np.float32(tree.threshold[node])
        close = np.abs(away) <= 2 * np.spacing(np.abs(np.float32(tree.threshold[node])))
        visits = paths[close & (paths[:, node] == 1)]
        assert visits[:, tree.children_left[node]].any()
        assert visits[:, tree.children_right[node]].any()


@pytest.mark.parametrize(
    "scaler",
    [
        StandardScaler(),
        StandardScaler(with_mean=False),
        StandardScaler(with_std=False),
        MinMaxScaler((-1, 3)),
        MaxAbsScaler(),
        RobustScaler(),
        RobustScaler(with_centering=False),
        RobustScaler(with_scaling=False),
    ],
    ids=str,
)
def test_thresholds_go_back_through_a_scaler_bit_by_bit_as_scikit_learn_takes_them(scaler: Any) -> None:
    scaler.fit(X)
    table = np.zeros((101, 4))
    table[:, 1] = np.linspace(-2, 2, 101)
    back = _scaled(scaler, 1, _Source(1, lambda values: values)).back
    np.testing.assert_array_equal(back(table[:, 1]), scaler.inverse_transform(table)[:, 1])


def test_probes_are_the_same_each_time() -> None:
    model = RandomForestClassifier(5, random_state=0).fit(X, Y)
    first, second = (probe_rows(model, describe(model))["x"] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_probes_hold_missing_values_where_the_model_takes_them() -> None:
    model = HistGradientBoostingClassifier(max_iter=3).fit(X, Y)
    assert np.isnan(probe_rows(model, describe(model))["x"]).any()


def test_rows_that_scikit_learn_refuses_are_left_out_of_the_proof() -> None:
    model = make_pipeline(PowerTransformer("box-cox"), LogisticRegression()).fit(X, Y)
    with pytest.raises(ValueError, match="strictly positive"):
        model.predict(-X)
    probes, expected = child.accepted_probes(model, describe(model))
    assert (probes["x"] > 0).all()
    assert len(expected["label"]) == len(probes["x"]) > 0


def test_a_conversion_with_thresholds_off_by_one_unit_is_noticed() -> None:
    model = DecisionTreeClassifier(random_state=0).fit(X, Y)
    interface = describe(model)
    probes, expected = child.accepted_probes(model, interface)
    onnx_model, _ = assemble(model, interface)
    assert child.compare(onnx_model, interface, probes, expected).is_exact
    for node in onnx_model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "nodes_values":
                moved = np.nextafter(np.array(attribute.floats, dtype=np.float32), np.float32(np.inf))
                del attribute.floats[:]
                attribute.floats.extend(moved.tolist())
    difference = child.compare(onnx_model, interface, probes, expected)
    assert difference.flip_count > 0
    assert not difference.is_exact


@pytest.mark.filterwarnings("ignore::FutureWarning")  # scikit-learn 1.9 deprecates `probability`
def test_rows_on_both_sides_of_the_border_show_what_single_precision_gets_wrong() -> None:
    pytest.importorskip("skl2onnx")
    from fairlead.convert.sklearn.fallback import convert_with_skl2onnx

    model = SVC(probability=True, random_state=0).fit(X[:100], Y[:100])
    interface = describe(model)
    plain = child.accepted_probes(model, interface)
    probes, expected = child.with_boundary_rows(model, interface, *plain)
    assert len(probes["x"]) > len(plain[0]["x"])
    onnx_model, _ = convert_with_skl2onnx(model, interface)
    assert child.compare(onnx_model, interface, *plain).flip_count == 0
    assert child.compare(onnx_model, interface, probes, expected).flip_count > 0

    exact = LogisticRegression(max_iter=500).fit(X, Y)
    interface = describe(exact)
    rows = child.with_boundary_rows(exact, interface, *child.accepted_probes(exact, interface))
    assert child.compare(assemble(exact, interface)[0], interface, *rows).is_exact


def test_a_route_that_differs_is_named_with_its_rows_and_nothing_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = LogisticRegression(max_iter=500).fit(X, Y)
    other = LogisticRegression(max_iter=500).fit(X[:, ::-1], Y)
    monkeypatch.setattr(child, "_ROUTES", (("swapped", lambda _, interface: assemble(other, interface)),))
    with pytest.raises(UnsupportedError, match=r"'swapped' differs in \d+ of \d+ decisions"):
        proof(model)


def test_the_next_route_is_taken_and_the_first_ones_reason_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    model = LogisticRegression(max_iter=500).fit(X, Y)

    def never(_: Any, __: Any) -> Any:
        raise UnsupportedError("not this one.")

    monkeypatch.setattr(child, "_ROUTES", (("fairlead", never), ("second", assemble)))
    name, notes = proof(model)
    assert name == "second"
    assert notes[0].startswith("not this one")


def test_skl2onnx_is_tried_where_there_is_no_converter_of_ours_and_refused_by_name_where_it_is_not_exact() -> None:
    pytest.importorskip("skl2onnx")
    model = GaussianProcessClassifier().fit(X[::5], Y[::5])
    with pytest.raises(UnsupportedError, match=r"GaussianProcessClassifier cannot be converted exactly.*skl2onnx"):
        proof(model)


def test_skl2onnx_serves_what_it_gets_right() -> None:
    pytest.importorskip("skl2onnx")
    from fairlead.convert.sklearn.fallback import convert_with_skl2onnx

    model = LogisticRegression(max_iter=500).fit(X, np.array(["a", "é", "c"])[Y])
    interface = describe(model)
    onnx_model, _ = convert_with_skl2onnx(model, interface)
    expected = answers_of(model, interface, rows_of(interface, {"x": X}))
    assert child.compare(onnx_model, interface, {"x": X}, expected).is_exact
