from __future__ import annotations

import json
import time
import zipfile

import h5py
import numpy as np
import pytest

from fairlead.engines.layer_graph_file import read_layer_graph
from fairlead.errors import SourceError, UnsafeContentError, UnsupportedError
from fairlead.ingest.keras_reader import inspect_in_sandbox


def graph_of(answer):
    assert answer["form"] == "layer-graph", answer["problem"]
    return read_layer_graph(answer["scratch"] / answer["file"])


def same(left, right):
    """Whether two files hold the same model: layers, calls and every weight."""
    (graph, weights), (other, others) = left, right
    assert graph.layers.keys() == other.layers.keys()
    assert graph.calls == other.calls
    for name, one in graph.layers.items():
        assert (one.kind, one.config, one.weights) == (other.layers[name].kind, other.layers[name].config, other.layers[name].weights)
    assert weights.keys() == others.keys()
    assert all(np.array_equal(weights[key], others[key]) for key in weights)
    return True


def test_both_formats_of_keras_3_give_one_graph_and_the_same_weights(keras, read):
    assert same(graph_of(read(keras.data / "func.h5")), graph_of(read(keras.data / "func.keras")))


def test_both_formats_of_keras_2_give_one_graph_and_the_same_weights(keras, read):
    assert same(graph_of(read(keras.data / "func_keras2.h5")), graph_of(read(keras.data / "func_keras2.keras")))


def test_a_functional_model_keeps_shared_layers_nested_models_states_and_named_outputs(keras, read):
    answer = read(keras.data / "func.keras")
    graph, _ = graph_of(answer)
    by_layer = [call.layer for call in graph.calls]
    assert by_layer.count("lstm") == 2
    assert by_layer.count("inner/dense_1") == 2
    second = [call for call in graph.calls if call.layer == "lstm"][1]
    assert second.argument_names == ("sequences", "initial_state", "initial_state")
    assert [spec.name for spec in graph.inputs] == ["a", "b"]
    assert [name for name, _ in graph.outputs] == ["score", "td"]
    shapes = {spec["name"]: spec["shape"] for spec in answer["interface"]["outputs"]}
    assert shapes == {"score": (None, 1), "td": (None, 6, 2)}
    attention = next(call for call in graph.calls if call.layer == "mha")
    assert attention.argument_names == ("query", "value", "key")
    assert attention.inputs[1] == attention.inputs[2]


def test_keras_2_counts_the_calls_of_a_nested_model_from_one(keras, read):
    graph, _ = graph_of(read(keras.data / "func_keras2.h5"))
    inner = [call for call in graph.calls if call.layer == "inner/batch_normalization_1"]
    bidirectional = next(call for call in graph.calls if call.layer == "bidirectional")
    dense = [number for number, call in enumerate(graph.calls) if call.layer == "inner/dense_1"]
    assert len(inner) == 2
    assert bidirectional.inputs[0].call == dense[1]  # the second call, which takes the LSTM's sequence


@pytest.mark.parametrize(
    ("activation", "units", "loss", "task", "kind"),
    [
        ("softmax", 3, None, "classification", "argmax"),
        ("sigmoid", 1, None, "classification", "threshold"),
        ("sigmoid", 3, None, None, None),
        ("linear", 1, None, "regression", "value"),
        ("linear", 3, None, None, None),
        ("linear", 3, "mse", "regression", "value"),
        ("linear", 3, "sparse_categorical_crossentropy", "classification", "argmax"),
        ("linear", 1, {"class_name": "BinaryCrossentropy", "config": {"from_logits": True}}, "classification", "threshold"),
        ("linear", 1, {"class_name": "BinaryCrossentropy", "config": {"from_logits": False}}, None, None),
        ("tanh", 1, None, None, None),
    ],
)
def test_the_task_is_told_from_the_last_activation_and_the_loss_or_left_open(keras, read, tmp_path, activation, units, loss, task, kind):
    config = keras.sequential(keras.dense(units=units, activation=activation))
    training = None if loss is None else {"loss": loss}
    answer = read(keras.write_h5(tmp_path / "m.h5", config, keras.arrays(units=units), training=training))
    assert answer["interface"]["task"] == task
    assert (answer["interface"]["decision"] or {"kind": None})["kind"] == kind


def test_optimizer_state_is_dropped_and_said(keras, read, tmp_path):
    state = {"adam/m": np.zeros(350_000, "f4")}
    path = keras.write_h5(tmp_path / "m.h5", keras.sequential(keras.dense()), keras.arrays(), optimizer=state)
    answer = read(path)
    assert answer["notes"] == ["optimizer state dropped: 1.4 MB"]
    assert answer["facts"]["parameter_count"] == 10


def test_a_mixed_precision_policy_is_computed_in_float32_and_said(keras, read, tmp_path):
    config = keras.sequential(keras.dense(dtype={"module": "keras", "class_name": "DTypePolicy", "config": {"name": "mixed_float16"}}))
    answer = read(keras.write_h5(tmp_path / "m.h5", config, keras.arrays()))
    assert answer["notes"] == ["trained with mixed_float16; computed in float32 here"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda weights: weights.pop("d/bias"), "do not fit its config"),
        (lambda weights: weights.update({"d/kernel": np.zeros((5, 2), "f4")}), "kernel [4, 2]"),
        (lambda weights: weights.update({"d/more": np.zeros(2, "f4")}), "do not fit its config"),
        (lambda weights: weights.update({"d/kernel": np.zeros((4, 2), "S3")}), "not numbers"),
    ],
)
def test_weights_that_do_not_fit_the_config_are_refused(keras, read, tmp_path, change, said):
    weights = keras.arrays()
    change(weights)
    with pytest.raises(SourceError, match=said.replace("[", r"\[").replace("]", r"\]")):
        read(keras.write_h5(tmp_path / "m.h5", keras.sequential(keras.dense()), weights))


def test_swapped_weights_of_one_shape_are_told_by_their_names(keras, read, tmp_path):
    config = keras.sequential(keras.layer("BatchNormalization", "bn", axis=-1))
    names = ["bn/gamma", "bn/beta", "bn/moving_mean", "bn/moving_variance"]
    weights = {name: np.full(4, number, "f4") for number, name in enumerate(names)}
    _, right = graph_of(read(keras.write_h5(tmp_path / "right.h5", config, weights)))
    assert right["bn/beta"][0] == 1
    swapped = {name: weights[name] for name in ("bn/beta", "bn/gamma", "bn/moving_mean", "bn/moving_variance")}
    _, found = graph_of(read(keras.write_h5(tmp_path / "swapped.h5", config, swapped)))
    assert found["bn/beta"][0] == 1  # by name, though listed in another order


def test_a_missing_or_left_over_array_of_a_keras_archive_is_refused(keras, read, tmp_path):
    config = keras.sequential(keras.dense())
    place = {"layers/dense/vars/0": np.zeros((4, 2), "f4"), "layers/dense/vars/1": np.zeros(2, "f4")}
    assert read(keras.write_keras(tmp_path / "ok.keras", config, place))["form"] == "layer-graph"
    with pytest.raises(SourceError, match=r"bias \[2\] is missing"):
        read(keras.write_keras(tmp_path / "less.keras", config, {"layers/dense/vars/0": np.zeros((4, 2), "f4")}))
    with pytest.raises(SourceError, match="belongs to no layer"):
        read(keras.write_keras(tmp_path / "more.keras", config, place | {"layers/dense/vars/2": np.zeros(2, "f4")}))


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (lambda keras: keras.layer("Masking", "m", mask_value=0.0), "Masking"),
        (lambda keras: keras.dense(lora_rank=4), "lora_rank=4"),
        (lambda keras: keras.dense(some_new_option=1), "some_new_option"),
        (lambda keras: keras.dense(activation="glu"), "glu"),
    ],
)
def test_what_only_keras_knows_is_left_to_keras_and_said(keras, read, tmp_path, node, said):
    answer = read(keras.write_h5(tmp_path / "m.h5", keras.sequential(node(keras), keras.dense("e")), keras.arrays("e")))
    assert answer["form"] == "keras-file"
    assert said in answer["problem"]


def test_hard_sigmoid_of_keras_2_is_refused_since_keras_3_means_another_function(keras, read, tmp_path):
    config = keras.sequential(keras.dense(activation="hard_sigmoid"))
    with pytest.raises(UnsupportedError, match="hard_sigmoid of Keras 2"):
        read(keras.write_h5(tmp_path / "m.h5", config, keras.arrays(), version="2.21.0"))
    assert read(keras.write_h5(tmp_path / "n.h5", config, keras.arrays()))["form"] == "layer-graph"


def test_a_model_whose_answers_are_random_is_refused(keras, read, tmp_path):
    def tensor(name):
        return {"class_name": "__keras_tensor__", "config": {"shape": [None, 4], "dtype": "float32", "keras_history": [name, 0, 0]}}

    def functional(training):
        drop = keras.layer("Dropout", "drop", rate=0.5) | {"inbound_nodes": [{"args": [tensor("x")], "kwargs": {"training": training}}]}
        first = keras.layer("InputLayer", "x", batch_shape=[None, 4], dtype="float32") | {"inbound_nodes": []}
        ends = {"input_layers": [["x", 0, 0]], "output_layers": [["drop", 0, 0]]}
        return {"class_name": "Functional", "config": {"name": "m", "layers": [first, drop], **ends}}

    assert read(keras.write_h5(tmp_path / "calm.h5", functional(False), {}))["form"] == "layer-graph"
    with pytest.raises(UnsupportedError, match="answers are random"):
        read(keras.write_h5(tmp_path / "wild.h5", functional(True), {}))


def test_a_subclass_model_is_refused_by_its_name(keras, read, tmp_path):
    config = {"module": "builtins", "class_name": "MyNet", "config": {"width": 3}, "registered_name": "Custom>MyNet"}
    with pytest.raises(UnsupportedError, match="MyNet"):
        read(keras.write_h5(tmp_path / "m.h5", {k: v for k, v in config.items() if k in ("class_name", "config")}, {}))


def test_names_from_the_file_become_valid_and_stay_apart(keras, read, tmp_path):
    config = keras.sequential(keras.dense("d"))
    config["config"]["layers"][0]["config"]["name"] = "1 weird/name:0"
    answer = read(
        keras.write_keras(tmp_path / "m.keras", config, {"layers/dense/vars/0": np.zeros((4, 2)), "layers/dense/vars/1": np.zeros(2)})
    )
    assert answer["interface"]["inputs"][0]["name"] == "_1_weird_name_0"
    config["config"]["layers"][0]["config"]["name"] = "d"
    config["config"]["layers"][1]["config"]["name"] = "d "
    answer = read(
        keras.write_keras(tmp_path / "n.keras", config, {"layers/dense/vars/0": np.zeros((4, 2)), "layers/dense/vars/1": np.zeros(2)})
    )
    assert answer["interface"]["inputs"][0]["name"] != answer["interface"]["outputs"][0]["name"]


def test_a_cycle_of_layers_is_refused(keras, read, tmp_path):
    def node(name):
        history = {"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0]}}
        return [{"args": [history], "kwargs": {}}]

    first = keras.layer("InputLayer", "x", batch_shape=[None, 4], dtype="float32") | {"inbound_nodes": []}
    layers = [first, keras.dense("a") | {"inbound_nodes": node("b")}, keras.dense("b") | {"inbound_nodes": node("a")}]
    config = {"name": "m", "layers": layers, "input_layers": [["x", 0, 0]], "output_layers": [["b", 0, 0]]}
    with pytest.raises(SourceError, match="no layer gives"):
        read(keras.write_h5(tmp_path / "m.h5", {"class_name": "Functional", "config": config}, {}))


def test_models_that_hold_each_other_twice_many_levels_deep_are_refused(keras, read, tmp_path):
    def node(name):
        return [{"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0]}}], "kwargs": {}}]

    inner = None
    for _ in range(17):
        first = keras.layer("InputLayer", "x", batch_shape=[None, 4], dtype="float32") | {"inbound_nodes": []}
        layers = [first]
        if inner is not None:
            layers += [inner | {"inbound_nodes": node("x") + node("x")}]
        last = "inner" if inner is not None else "x"
        config = {"name": "inner", "layers": layers, "input_layers": [["x", 0, 0]], "output_layers": [[last, 0, 0]]}
        inner = {"class_name": "Functional", "config": config, "name": "inner"}
    top = keras.copy(inner)
    started = time.monotonic()
    with pytest.raises((UnsupportedError, SourceError)):
        read(keras.write_h5(tmp_path / "m.h5", top, {}))
    assert time.monotonic() - started < 20


def test_the_reader_alone_takes_less_than_a_fifth_of_a_second(keras, read, tmp_path):
    config = keras.sequential(keras.dense(units=3))
    path = keras.write_h5(tmp_path / "m.h5", config, keras.arrays(units=3))
    read(path)  # imports
    best = min(_seconds(read, path) for _ in range(3))
    assert best < 0.2


def _seconds(read, path):
    started = time.perf_counter()
    read(path)
    return time.perf_counter() - started


def test_a_config_that_is_not_json_is_refused(keras, read, tmp_path):
    text = json.dumps(keras.sequential(keras.dense()))
    for bad in (text[:-3], text.replace('"units": 2', '"units": 2, "units": 3'), text.replace('"units": 2', '"units": NaN')):
        path = keras.write_keras(tmp_path / f"{len(bad)}.keras", bad, {})
        with pytest.raises(SourceError):
            read(path)


def masked_config(keras, operation="NotEqual"):
    """An embedding whose mask Keras 3.15 writes as an operator."""
    history = {"class_name": "__keras_tensor__", "config": {"shape": [None, 4], "dtype": "int32", "keras_history": ["x", 0, 0]}}
    first = keras.layer("InputLayer", "x", batch_shape=[None, 4], dtype="int32") | {"inbound_nodes": []}
    node = {"module": "keras.src.ops.numpy", "class_name": operation, "config": {"name": "the_mask"}, "registered_name": operation}
    mask = node | {"name": "the_mask", "inbound_nodes": [{"args": [history, 0], "kwargs": {}}]}
    config = {"name": "m", "layers": [first, mask], "input_layers": [["x", 0, 0]], "output_layers": [["the_mask", 0, 0]]}
    return {"module": "keras.src.models.functional", "class_name": "Functional", "config": config, "registered_name": "Functional"}


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_mask_written_as_an_operator_is_left_to_keras_and_named(keras, read, tmp_path, suffix):
    write = keras.write_keras if suffix == "keras" else keras.write_h5
    answer = read(write(tmp_path / f"m.{suffix}", masked_config(keras), {}))
    assert answer["form"] == "keras-file"
    assert "'the_mask'" in answer["problem"]
    assert "NotEqual makes a mask" in answer["problem"]


def test_an_operator_of_keras_that_is_not_known_is_not_called_unsafe(keras, read, tmp_path):
    with pytest.raises(UnsupportedError, match=r"operator Bartlett .*the_mask"):
        read(keras.write_keras(tmp_path / "m.keras", masked_config(keras, "Bartlett"), {}))
    with pytest.raises(UnsafeContentError, match=r"keras\.src\.ops\.numpy\.load"):
        read(keras.write_keras(tmp_path / "n.keras", masked_config(keras, "load"), {}))


def damaged_weights(keras, folder, suffix, config):
    """A file whose config is whole and whose weights are not."""
    if suffix == "keras":
        path = folder / "m.keras"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps(config))
            archive.writestr("model.weights.h5", b"no HDF5 at all")
        return path
    path = keras.write_h5(folder / "m.h5", config, keras.arrays())
    with h5py.File(path, "a") as file:
        del file["model_weights/d"]
    return path


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_an_unsafe_file_is_called_unsafe_even_if_its_weights_are_damaged_too(keras, read, tmp_path, suffix):
    unsafe = keras.sequential(keras.layer("Lambda", "d", function="x"))
    path = damaged_weights(keras, tmp_path, suffix, unsafe)
    with pytest.raises(UnsafeContentError, match="Lambda"):
        read(path)
    arguments = {"path": str(path), "format": "keras-h5" if suffix == "h5" else "keras-zip", "scratch": str(tmp_path)}
    answer = inspect_in_sandbox(arguments)
    assert [finding["is_unsafe"] for finding in answer["findings"]] == [True]
    assert answer["notes"]
    with pytest.raises(SourceError):
        read(damaged_weights(keras, tmp_path, suffix, keras.sequential(keras.dense())))


@pytest.mark.parametrize("kind", ["S1", "f8"])
def test_an_empty_list_of_names_is_read_whatever_type_it_was_written_as(keras, read, tmp_path, kind):
    path = keras.write_h5(tmp_path / "m.h5", keras.sequential(keras.dense("e"), keras.layer("Flatten", "f")), keras.arrays("e"))
    with h5py.File(path, "a") as file:
        file["model_weights/f"].attrs["weight_names"] = np.zeros(0, kind)
    assert read(path)["form"] == "layer-graph"
