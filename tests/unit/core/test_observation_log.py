import pytest

from fairlead.core.dtype import DType
from fairlead.core.interface import TensorSpec
from fairlead.core.observation_log import INPUT, OUTPUT, columns_of, row_width


@pytest.mark.parametrize(
    ("shape", "names", "columns"),
    [
        ((None,), (), ("input:x",)),
        ((None, 1), (), ("input:x",)),
        ((None, 1), ("age",), ("input:age",)),
        ((None, 3), ("a", "b", "c"), ("input:a", "input:b", "input:c")),
        ((None, 3), (), ("input:x[0]", "input:x[1]", "input:x[2]")),
        ((None, 2, 2), (), ("input:x[0]", "input:x[1]", "input:x[2]", "input:x[3]")),
        ((None, 28, 28, 1), (), ("input:x",)),
        ((None, None), (), ("input:x",)),
        ((None, 300), tuple(f"c{place}" for place in range(300)), tuple(f"input:c{place}" for place in range(300))),
    ],
)
def test_a_tensor_becomes_columns_by_its_width_and_its_names(shape, names, columns) -> None:
    assert columns_of(TensorSpec("x", DType.FP32, shape, names), INPUT) == columns


def test_answers_have_columns_of_their_own() -> None:
    assert columns_of(TensorSpec("p", DType.FP32, (None, 2)), OUTPUT) == ("output:p[0]", "output:p[1]")


def test_a_free_length_has_no_width() -> None:
    assert row_width(TensorSpec("x", DType.INT64, (None, None, 3))) is None
    assert row_width(TensorSpec("x", DType.INT64, (None, 2, 3))) == 6
