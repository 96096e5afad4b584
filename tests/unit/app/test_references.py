"""Which engine answers for the original."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from fairlead.app.references import Reference
from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Interface, Tensors, TensorSpec
from fairlead.errors import FairleadError, MissingExtraError, RequestError, SandboxError, UnsupportedError

NUMBERS = Interface((TensorSpec("x", DType.FP32, (None, 1)),), (TensorSpec("y", DType.FP32, (None, 1)),))
ROWS = {"x": np.ones((2, 1), np.float32)}


class FakeEngine:
    """Doubles its input, or fails as told."""

    interface = NUMBERS

    def __init__(self, description: str, failure: FairleadError | None = None) -> None:
        self.description = description
        self.failure = failure
        self.is_closed = False

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        if self.failure:
            raise self.failure
        return {"y": inputs["x"] * 2}

    def close(self) -> None:
        self.is_closed = True


def missing() -> FakeEngine:
    raise MissingExtraError("keras", needed_for="Running the model in Keras itself")


def test_the_framework_answers_where_it_can() -> None:
    reference = Reference(NUMBERS, [lambda: FakeEngine("keras"), missing])
    assert reference.run(ROWS)["y"].tolist() == [[2.0], [2.0]]
    assert (reference.description, reference.note) == ("keras", "")


@pytest.mark.parametrize("failure", [UnsupportedError("Keras cannot open the file."), SandboxError("The import worker crashed.")])
def test_the_reader_answers_where_the_framework_cannot_and_the_note_says_why(failure: FairleadError) -> None:
    keras = FakeEngine("keras", failure)
    reference = Reference(NUMBERS, [lambda: keras, lambda: FakeEngine("reader")])
    assert reference.run(ROWS)["y"].tolist() == [[2.0], [2.0]]
    assert reference.description == "reader"
    assert failure.message in reference.note
    assert keras.is_closed


def test_a_framework_that_is_not_installed_is_passed_over() -> None:
    reference = Reference(NUMBERS, [missing, lambda: FakeEngine("reader")])
    reference.run(ROWS)
    assert "fairlead[keras]" not in reference.note
    assert "needs the extra 'keras'" in reference.note


def test_rows_that_do_not_fit_are_no_reason_to_ask_another_engine() -> None:
    reference = Reference(NUMBERS, [lambda: FakeEngine("keras", RequestError("bad rows")), lambda: FakeEngine("reader")])
    with pytest.raises(RequestError):
        reference.run(ROWS)


def test_where_nothing_can_run_the_original_the_last_reason_is_raised() -> None:
    with pytest.raises(MissingExtraError):
        Reference(NUMBERS, [missing]).run(ROWS)


class CountingEngine(FakeEngine):
    """Says what it was asked."""

    asked: list[int]

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        self.asked = [*getattr(self, "asked", []), len(inputs["x"])]
        return super().run(inputs, outputs)


def test_rows_that_were_prepared_together_are_not_asked_for_again() -> None:
    engine = CountingEngine("keras")
    reference = Reference(NUMBERS, [lambda: engine])
    first, second = ({"x": np.full((count, 1), float(count), np.float32)} for count in (3, 5))
    reference.prepare([first, second])
    assert engine.asked == [8]
    assert reference.run(second)["y"].tolist() == [[10.0]] * 5
    assert reference.run(first)["y"].tolist() == [[6.0]] * 3
    assert engine.asked == [8]
    reference.run(ROWS)
    assert engine.asked == [8, 2]


def test_only_the_last_answers_are_remembered() -> None:
    engine = CountingEngine("keras")
    reference = Reference(NUMBERS, [lambda: engine])
    for count in (1, 2, 3, 4, 1, 5, 1, 2):
        reference.run({"x": np.zeros((count, 1), np.float32)})
    assert engine.asked == [1, 2, 3, 4, 5, 2]


def test_an_answer_that_somebody_changes_does_not_change_what_is_remembered_for_others() -> None:
    reference = Reference(NUMBERS, [lambda: FakeEngine("keras")])
    reference.run(ROWS).pop("y")
    assert reference.run(ROWS)["y"].tolist() == [[2.0], [2.0]]
