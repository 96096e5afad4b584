import csv
import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.errors import RequestError
from fairlead.serve.table_text import read_csv

INTERFACE = Interface(
    (
        TensorSpec("number", DType.FP64, (None, 1)),
        TensorSpec("whole", DType.INT64, (None, 1)),
        TensorSpec("truth", DType.BOOL, (None, 1)),
        TensorSpec("text", DType.BYTES, (None, 1)),
    ),
    (TensorSpec("y", DType.FP32, (None,)),),
)
ALL = 2**62  # fields at once
rows = st.lists(
    st.tuples(
        st.floats(allow_nan=False) | st.none(),
        st.integers(-(2**63), 2**63 - 1),
        st.booleans(),
        st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    ),
    min_size=1,
    max_size=8,
)


@given(rows, st.sampled_from(["\n", "\r\n"]))
def test_what_is_written_as_csv_is_read_as_it_was(values, line_end) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator=line_end, quoting=csv.QUOTE_ALL)
    writer.writerow(["number", "whole", "truth", "text"])
    writer.writerows([["" if row[0] is None else repr(row[0]), *row[1:]] for row in values])
    ((names, read),) = read_csv(INTERFACE, out.getvalue().encode(), ALL)
    assert names == ["number", "whole", "truth", "text"]
    assert [tuple(row) for row in read] == values


@given(st.binary(max_size=100))
def test_any_bytes_are_read_or_refused(data) -> None:
    try:
        ((names, read),) = read_csv(INTERFACE, b"number,whole,truth,text\n" + data, ALL)
    except RequestError:
        return
    assert all(len(row) == len(names) == 4 for row in read)


@pytest.mark.parametrize(("field", "value"), [('""', None), (" ", None), ("NaN", math.nan), ("1e3", 1000.0), ("-0", -0.0), (" 5", 5.0)])
def test_numbers_are_read_as_they_are_written(field, value) -> None:
    ((_, [[got]]),) = read_csv(INTERFACE, f"number\n{field}\n".encode(), ALL)
    assert got == value or (value is not None and math.isnan(value) and math.isnan(got))


@pytest.mark.parametrize(
    ("column", "field"),
    [("number", "1_000"), ("number", "x"), ("number", "١"), ("whole", "0x1"), ("whole", ""), ("truth", "yes"), ("truth", "")],
)
def test_a_field_that_is_not_of_the_columns_type_is_refused_with_its_line(column, field) -> None:
    with pytest.raises(RequestError, match=f"Line 2 of the CSV: .* in column '{column}'"):
        list(read_csv(INTERFACE, f"{column},text\n{field},a\n".encode(), ALL))
