from __future__ import annotations

import collections
import contextlib
import functools
import io
import pickle
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.errors import FairleadError, SourceError, UnsafeContentError
from fairlead.security.torch_pickle import STATE_GLOBALS, Made, TensorRecord, check_view, parse


@functools.cache
def good():
    return state_pickle(a=[1.0, 2.0], b=[[3], [4]])


def state_pickle(**values):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    target = io.BytesIO()
    torch.save({name: torch.tensor(value) for name, value in values.items()}, target)
    with zipfile.ZipFile(target) as file:
        return file.read("archive/data.pkl")


def test_a_dictionary_of_tensors_is_read_without_torch():
    value = parse(state_pickle(weight=[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), STATE_GLOBALS).value
    record = value["weight"]
    assert isinstance(record, TensorRecord)
    assert (record.sizes, record.strides, record.offset) == ((2, 3), (3, 1), 0)
    assert (record.storage.dtype, record.storage.count, record.storage.location) == ("float32", 6, "cpu")


def test_plain_values_of_a_checkpoint_are_read_too():
    plain = {"epoch": 3, "rate": 0.5, "names": ["a", "b"], "pair": (1, None), "flag": True, "order": collections.OrderedDict(a=1)}
    assert parse(pickle.dumps(plain, protocol=2), STATE_GLOBALS).value == plain


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "torch._utils.__dict__", "collections.OrderedDict.__init__"])
def test_a_global_that_is_not_listed_is_refused_by_name(name):
    module, _, attribute = name.rpartition(".")
    with pytest.raises(UnsafeContentError, match=attribute):
        parse(f"c{module}\n{attribute}\n.".encode().join([b"\x80\x02", b""]), STATE_GLOBALS)


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (b"\x80\x04N.", "protocol 4"),
        (b"\x80\x02N.N.", "follows after the end"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x02(K\x01K\x02i__builtin__\nlist\n.", "INST"),
        (b"\x80\x02]K\x01]Rq\x00.", "calls something that is no global"),
        (b"\x80\x02K\x05Q.", "refers to something that is no storage"),
        (b"\x80\x02K\x05}b.", "sets the state"),
        (b"\x80\x02}]K\x01s.", "keys that are not plain"),
        (b"\x80\x02ctorch\nFloatStorage\n)R.", "as PyTorch never does"),
        (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "a class that is not its own"),
    ],
)
def test_what_pytorch_never_writes_is_refused(stream, said):
    with pytest.raises(UnsafeContentError, match=said):
        parse(stream, STATE_GLOBALS)


@pytest.mark.parametrize("stream", [b"", b"\x80\x02", b"\x80\x02(", b"\x80\x02h\x05.", b"\x80\x02X\xff\xff\xff\x7fab."])
def test_a_damaged_pickle_is_a_source_error(stream):
    with pytest.raises((SourceError, UnsafeContentError)):
        parse(stream, STATE_GLOBALS)


def test_a_global_of_the_file_itself_is_noted_and_not_made():
    stream = b"\x80\x02c__torch__\nNet\n)\x81}b."
    value = parse(stream, STATE_GLOBALS, is_class={"__torch__.Net"}.__contains__).value
    assert value == Made("__torch__:Net", ())


@pytest.mark.parametrize(
    ("count", "offset", "sizes", "strides"),
    [
        (6, 1, (2, 3), (3, 1)),
        (6, 0, (2, 3), (6, 1)),
        (6, -1, (2,), (1,)),
        (6, 0, (2,), (1, 1)),
        (6, 0, (2**62,), (1,)),
        (6, 0, (2.0,), (1,)),
        (6, 0, (True,), (1,)),
        (0, 0, (1,), (1,)),
    ],
)
def test_a_view_that_reaches_outside_is_refused(count, offset, sizes, strides):
    with pytest.raises(SourceError):
        check_view(count, offset, sizes, strides)


def test_a_view_of_nothing_needs_no_storage():
    assert check_view(0, 0, (0, 5), (5, 1)) == (0, (0, 5), (5, 1))


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_no_bytes_raise_anything_but_our_own_errors(data):
    with contextlib.suppress(FairleadError):
        parse(b"\x80\x02" + data, STATE_GLOBALS)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_no_changed_byte_of_a_good_file_leads_outside_of_its_storage(data):
    stream = bytearray(good())
    place = data.draw(st.integers(0, len(stream) - 1))
    stream[place] = data.draw(st.integers(0, 255))
    try:
        value = parse(bytes(stream), STATE_GLOBALS).value
    except FairleadError:
        return
    for record in value.values() if isinstance(value, dict) else ():
        if isinstance(record, TensorRecord) and 0 not in record.sizes:
            last = record.offset + sum((size - 1) * stride for size, stride in zip(record.sizes, record.strides, strict=True))
            assert 0 <= last < record.storage.count
