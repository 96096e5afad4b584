"""How a table's columns get names, and what they are good for afterwards."""

from __future__ import annotations

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec, with_columns
from fairlead.datasets.bind import bind, bind_inputs
from fairlead.datasets.raw import Raw


def test_a_table_names_the_features_of_a_model_that_does_not() -> None:
    interface = Interface((TensorSpec("x", DType.FP64, (None, 2)),), (TensorSpec("y", DType.FP64, (None,)),))
    raw = Raw({"width": np.array([1.0]), "answer": np.array([3.0]), "height": np.array([2.0])}, is_table=True)
    dataset = bind(raw, interface, target="answer")
    assert dataset.columns == ("width", "height")
    named = with_columns(interface, dataset.columns)
    shuffled = Raw({"height": np.array([2.0]), "width": np.array([1.0]), "other": np.array([9.0])}, is_table=True)
    inputs, _, _ = bind_inputs(shuffled, named, target=None, allow_missing=False, allow_extra=True)
    assert inputs["x"].tolist() == [[1.0, 2.0]]
    assert bind(raw, named, target="answer").columns == ()
