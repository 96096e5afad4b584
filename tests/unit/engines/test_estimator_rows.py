"""What an estimator is handed: texts for one that begins with a text vectorizer, a table for every other."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.engines.estimator_rows import DOCUMENT_INPUT, reads_documents, rows_of

TEXTS = np.array([["good film"], ["bad film"]], dtype=object)


@pytest.mark.parametrize("columns", [(), ("review",), ("text",)])
def test_a_vectorizer_is_handed_texts_also_where_a_data_file_named_them(columns: tuple[str, ...]) -> None:
    pytest.importorskip("sklearn")
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS[:, 0], [1, 0])
    interface = Interface((TensorSpec(DOCUMENT_INPUT, DType.BYTES, (None, 1), columns),), ())
    assert reads_documents(model)
    assert rows_of(interface, {DOCUMENT_INPUT: TEXTS}, model) == ["good film", "bad film"]


def test_a_table_with_a_column_of_that_name_stays_a_table() -> None:
    pytest.importorskip("sklearn")
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import TfidfVectorizer

    model = ColumnTransformer([("t", TfidfVectorizer(), 0)]).fit(TEXTS)
    interface = Interface((TensorSpec(DOCUMENT_INPUT, DType.BYTES, (None, 1), ("text",)),), ())
    assert not reads_documents(model)
    assert np.array_equal(rows_of(interface, {DOCUMENT_INPUT: TEXTS}, model), TEXTS)
