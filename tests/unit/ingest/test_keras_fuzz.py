"""Whatever stands in a config, the reader ends in a model or in one clear error of ours, never in another exception."""

from __future__ import annotations

import copy
import functools
import json
import tempfile
from pathlib import Path

import h5py
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.errors import FairleadError
from fairlead.ingest.keras_files import KerasFile, read_h5
from fairlead.ingest.keras_graph import GraphBuilder
from fairlead.ingest.keras_json import DEPTH_LIMIT, parse_json
from fairlead.ingest.keras_layers import Translator
from fairlead.ingest.keras_reader import read_model
from fairlead.ingest.keras_safety import check_config, find_refusals

DATA = Path(__file__).parents[2] / "data" / "keras_reader"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**40) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["class_name", "config", "name", "items"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@functools.cache
def good(name):
    return read_h5(DATA / name, check_config)


@functools.cache
def places(name):
    """Every place in the config, as a path of keys."""
    found = []
    stack = [((), good(name).config)]
    while stack:
        path, value = stack.pop()
        found.append(path)
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        stack += [((*path, key), child) for key, child in items]
    return [path for path in found if path]


def changed(config, path, value):
    config = copy.deepcopy(config)
    inner = config
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return config


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(["func.h5", "func_keras2.h5"]))
def test_any_value_at_any_place_of_a_config_ends_well(data, name):
    file = good(name)
    config = changed(file.config, data.draw(st.sampled_from(places(name))), data.draw(JSON))
    other = KerasFile(config, file.version, file.weights)
    error = None
    try:
        check_config(config)
        read_model(other)
    except FairleadError as caught:
        error = caught
    assert error is None or error.message


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_the_gate_takes_any_json(value):
    assert isinstance(find_refusals({"config": value}), list)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_json_object_or_refused(data):
    result = None
    try:
        result = parse_json(data, "config.json")
    except FairleadError as error:
        assert error.hint  # noqa: PT017 - either end is right
    assert result is None or json.loads(data) == result


def test_json_deeper_than_the_limit_is_refused_before_it_is_parsed():
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        inside = '{"a": ' + opening * DEPTH_LIMIT + "1" + closing * DEPTH_LIMIT + "}"
        error = None
        try:
            parse_json(inside.encode(), "config.json")
        except FairleadError as caught:
            error = caught
        assert error is not None
        assert "levels deep" in error.message
    assert parse_json(b'{"a": "[[[[' + b"[" * 1000 + b'"}', "x")["a"].startswith("[[")


def test_a_config_is_not_changed_by_reading_it_twice():
    file = good("func.h5")
    before = json.dumps(file.config)
    first = GraphBuilder(Translator(is_keras2=False))
    first.build(file.config)
    second = GraphBuilder(Translator(is_keras2=False))
    second.build(file.config)
    assert first.calls == second.calls
    assert json.dumps(file.config) == before


def test_a_file_of_noise_behind_a_good_signature_is_refused():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.h5"
        with h5py.File(path, "w") as file:
            file.attrs["model_config"] = [1, 2, 3]
        error = None
        try:
            read_h5(path, check_config)
        except FairleadError as caught:
            error = caught
        assert error is not None
        assert "not text" in error.message
