from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.verdict import OutputParity
from fairlead.core.version import AliasMove, Version
from fairlead.errors import CorruptError
from fairlead.stores.document import dump, dump_pretty, load, to_plain

ENTRY = FileEntry("model.onnx", 3, "0" * 64)


@given(st.integers(1, 10**9), st.floats(allow_nan=False, allow_infinity=False), st.text(st.characters(codec="utf-8")))
def test_what_is_dumped_loads_as_the_same_value(number, at, reason):
    for value in (Version("digits", number, Manifest((ENTRY,)), at), AliasMove("digits", "production", number, 0, at, 7, reason)):
        assert load(dump(value), type(value)) == value
        assert load(dump_pretty(value).encode(), type(value)) == value


def test_equal_values_are_equal_bytes_whatever_the_order_of_their_keys():
    assert dump({"b": 1, "a": [1.5, None]}) == dump({"a": [1.5, None], "b": 1}) == b'{"a":[1.5,null],"b":1}'


def test_numbers_that_json_cannot_write_are_words_and_come_back():
    written = dump([math.nan, math.inf, -math.inf, 1.0])
    assert written == b'["NaN","Infinity","-Infinity",1.0]'
    read = load(written, tuple[float, ...])
    assert math.isnan(read[0])
    assert read[1:] == (math.inf, -math.inf, 1.0)


def test_a_text_that_looks_like_such_a_number_stays_a_text():
    parity = OutputParity("NaN", math.inf, 0.5, math.inf)
    assert load(dump(parity), OutputParity) == parity


@given(st.lists(st.floats(), min_size=3, max_size=3), st.text(st.characters(codec="utf-8")))
def test_any_figure_comes_back(numbers, name):
    value = OutputParity(name, *numbers)
    assert dump(load(dump(value), OutputParity)) == dump(value)


@pytest.mark.parametrize("number", ['"1.5"', '"inf"', '" NaN"', '"0"', "true", "null", "[]"])
def test_other_texts_are_no_numbers(number):
    with pytest.raises(CorruptError, match="OutputParity"):
        load(b'{"output":"y","max_abs":"NaN","mean_abs":0.0,"max_rel":%s}' % number.encode(), OutputParity)


def test_arrays_and_paths_are_plain():
    assert to_plain({"a": np.arange(3), "b": np.float32(0.5), "p": Path("x/y")}) == {"a": [0, 1, 2], "b": 0.5, "p": "x/y"}
    assert load(b'"x/y"', Path) == Path("x/y")


def test_what_has_no_form_is_refused():
    with pytest.raises(TypeError, match="object is not part of a document"):
        dump(object())


def test_keys_of_newer_releases_are_ignored():
    assert load(b'{"name":"a","size_bytes":1,"digest":"%s","colour":"red"}' % (b"0" * 64), FileEntry) == FileEntry("a", 1, "0" * 64)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"name":1}', b"\xff", b'{"name":"a","size_bytes":"1","digest":""}'])
def test_what_is_not_such_a_document_is_corrupt(data):
    with pytest.raises(CorruptError, match="is not a FileEntry"):
        load(data, FileEntry)
