import math
import time

import pytest

from fairlead.errors import RequestError
from fairlead.serve.parameters import NONE, check_tensor_parameters, read_parameters


def test_no_parameters_ask_for_nothing() -> None:
    assert read_parameters({}) == NONE
    assert NONE.deadline == math.inf


def test_priority_and_timeout_are_honoured() -> None:
    before = time.monotonic()
    read = read_parameters({"priority": 2, "timeout": 1_500_000})
    assert read.priority == 2
    assert before + 1.5 <= read.deadline <= time.monotonic() + 1.5


def test_a_timeout_of_zero_is_none() -> None:
    assert read_parameters({"timeout": 0, "priority": 0}).deadline == math.inf


def test_the_callers_own_parameters_are_kept_apart() -> None:
    given = {"mine": "a", "n": 1.5, "none": None, "priority": 1, "binary_data_output": True, "sequence_id": 0}
    read = read_parameters(given)
    assert read.rest == {"mine": "a", "n": 1.5}
    assert read.is_binary


@pytest.mark.parametrize(
    "given",
    [
        {"priority": -1},
        {"priority": 2**32},
        {"priority": 1.0},
        {"priority": "1"},
        {"priority": True},
        {"timeout": -1},
        {"timeout": 0.5},
        {"timeout": "5"},
        {"timeout": 2**63},
        {"binary_data_output": 1},
        {"sequence_id": 7},
        {"sequence_id": "a"},
        {"sequence_start": True},
        {"sequence_end": True},
        {"headers": "x"},
        {"triton_anything": 0},
        {f"p{number}": 1 for number in range(65)},
    ],
)
def test_a_parameter_that_cannot_be_honoured_is_refused_by_name(given) -> None:
    with pytest.raises(RequestError):
        read_parameters(given)


@pytest.mark.parametrize("name", ["classification", "shared_memory_region", "shared_memory_offset", "shared_memory_byte_size"])
def test_parameters_of_a_tensor_that_are_not_offered_are_refused(name) -> None:
    with pytest.raises(RequestError, match=name):
        check_tensor_parameters({name: 3})
    check_tensor_parameters({"content_type": "np", name: None})
