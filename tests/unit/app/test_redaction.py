import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.app.redaction import PREFIX, Known, Redactor, bucketed, known_of
from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.observation_log import ObservedRows
from fairlead.core.profile import FeatureKind, FeatureProfile, Profile
from fairlead.core.redaction import parse_rules
from fairlead.stores.prediction_log_columns import LogReader
from fairlead.stores.prediction_log_writing import LogWriter

KEY = b"k" * 32
TABLE = TensorSpec("x", DType.FP32, (None, 3), ("age", "income", "email"))
CITY = TensorSpec("city", DType.BYTES, (None, 1))
IMAGE = TensorSpec("image", DType.UINT8, (None, 28, 28))
SERIES = TensorSpec("series", DType.FP32, (None, None))
WORDS = TensorSpec("words", DType.BYTES, (None, None))
LABEL = TensorSpec("label", DType.BYTES, (None,))


def texts(*values) -> np.ndarray:
    array = np.empty((len(values), 1), object)
    array[:, 0] = values
    return array


def redactor(spec: TensorSpec, rules: str = "", known: Known | None = None, key: bytes = KEY) -> Redactor:
    return Redactor(Interface((spec,), (LABEL,)), parse_rules(rules), known or Known(), key)


def kept(spec: TensorSpec, tensor, rules: str = "", known: Known | None = None):
    return redactor(spec, rules, known).columns({spec.name: tensor}, {})


def test_numbers_of_a_table_are_kept_and_what_sounds_private_is_not() -> None:
    found = kept(TABLE, np.float32([[30, 1000, 7], [40, 2000, 8]]))
    assert {name: column.tolist() for name, column in found.items()} == {"input:age": [30, 40], "input:income": [1000, 2000]}


def test_columns_are_dropped_hashed_and_put_into_buckets_by_rule() -> None:
    found = kept(TABLE, np.float32([[34, 900, 7], [40, 9000, 8]]), "age=bucket(10), income=bucket(1000;5000), email=hash")
    assert found["input:age"].tolist() == [30.0, 40.0]
    assert found["input:income"].tolist() == [-np.inf, 5000.0]
    assert all(value.startswith(PREFIX) for value in found["input:email"].tolist())
    assert kept(TABLE, np.float32([[1, 2, 3]]), "*=drop") == {}


def test_texts_that_nobody_knows_are_hashed_and_equal_ones_stay_equal() -> None:
    known = Known({"input:city": frozenset({"Rome", "Oslo"})})
    column = kept(CITY, texts("Rome", "my secret", "my secret", "other", None), known=known)["input:city"].tolist()
    assert column[0] == "Rome"
    assert column[1] == column[2] != column[3]
    assert column[1].startswith(PREFIX)
    assert column[4] is None


def test_hashes_need_the_key() -> None:
    one = redactor(CITY).columns({"city": texts("Rome")}, {})["input:city"].tolist()
    two = redactor(CITY, key=b"other").columns({"city": texts("Rome")}, {})["input:city"].tolist()
    assert one != two


def test_a_text_that_looks_like_a_hash_is_hashed_itself() -> None:
    assert kept(CITY, texts(PREFIX + "0" * 16))["input:city"].tolist() != [PREFIX + "0" * 16]


def test_a_text_can_be_kept_dropped_or_summarized() -> None:
    assert kept(CITY, texts("Rome"), "city=keep")["input:city"].tolist() == ["Rome"]
    assert kept(CITY, texts("Rome"), "city=drop") == {}
    found = kept(CITY, texts("Rome 1"), "city=summary")
    assert "input:city" not in found
    assert found["input:city.length"].tolist() == [6.0]


def test_a_text_whose_summaries_are_watched_gets_them_beside_its_hash() -> None:
    found = kept(CITY, texts("a review"), known=Known(summarized=frozenset({"input:city"})))
    assert found["input:city"].tolist()[0].startswith(PREFIX)
    assert found["input:city.words"].tolist() == [2.0]


def test_buckets_of_a_text_are_hashed_rather_than_kept() -> None:
    assert kept(CITY, texts("Rome"), "city=bucket(10)")["input:city"].tolist()[0].startswith(PREFIX)


def test_of_an_image_a_summary_is_kept_and_the_image_only_by_rule() -> None:
    image = np.full((2, 28, 28), 200, np.uint8)
    found = kept(IMAGE, image)
    assert found["input:image.mean"].tolist() == [200.0, 200.0]
    assert all(column.ndim == 1 for column in found.values())
    assert np.array_equal(kept(IMAGE, image, "image=keep")["input:image"], image)
    assert kept(IMAGE, image, "image=hash")["input:image"].tolist()[0].startswith(PREFIX)
    assert kept(IMAGE, image, "image=drop") == {}


def test_rows_of_free_length_are_summarized_whether_they_could_be_joined_or_not() -> None:
    joined, apart = np.float32([[1, 3], [5, 7]]), [np.float32([[1, 3]]), np.float32([[5, 7, 9]])]
    assert kept(SERIES, joined)["input:series.mean"].tolist() == [2.0, 6.0]
    assert kept(SERIES, apart)["input:series.mean"].tolist() == [2.0, 7.0]
    assert [row.tolist() for row in kept(SERIES, apart, "series=keep")["input:series"]] == [[1.0, 3.0], [5.0, 7.0, 9.0]]
    assert [row.tolist() for row in kept(SERIES, apart, "series=bucket(4)")["input:series"]] == [[0.0, 0.0], [4.0, 4.0, 8.0]]


def test_texts_of_free_length_are_hashed_as_a_whole() -> None:
    words = np.empty((1, 3), object)
    words[0] = ["my", "secret", None]
    (value,) = kept(WORDS, [words, words[:, :2]])["input:words"][:1].tolist()
    assert value.startswith(PREFIX)
    assert kept(WORDS, words, "words=keep")["input:words"].tolist()[0].startswith(PREFIX)  # lists of texts have no form in the log


def test_labels_that_the_model_knows_are_kept_in_answers() -> None:
    interface = Interface((TABLE,), (LABEL,), labels=("cat", "dog"))
    one = Redactor(interface, parse_rules(""), known_of(interface, None), KEY)
    answers = np.array(["cat", "a whole story"], object)
    column = one.columns({}, {"label": answers})["output:label"].tolist()
    assert column[0] == "cat"
    assert column[1].startswith(PREFIX)


def test_what_a_profile_knows_are_its_categories_and_its_summaries() -> None:
    features = (
        FeatureProfile("city", FeatureKind.CATEGORY, "city", categories=("Rome",)),
        FeatureProfile("review.length", FeatureKind.SUMMARY, "review", "length"),
        FeatureProfile("age", FeatureKind.NUMBER, "x"),
    )
    known = known_of(Interface((CITY,), ()), Profile(features, (), 10, "rows"))
    assert known == Known({"input:city": frozenset({"Rome"})}, frozenset({"input:review"}))


def test_long_work_lets_others_have_their_turn() -> None:
    pauses = []
    one = Redactor(Interface((CITY,), ()), parse_rules(""), Known(), KEY, pause=lambda: pauses.append(1))
    one.columns({"city": texts(*map(str, range(2000)))}, {})
    assert len(pauses) == 3


@given(st.lists(st.floats(width=32), min_size=1, max_size=50), st.floats(0.5, 100))
def test_a_bucket_is_at_most_a_width_below_its_number(values, width) -> None:
    numbers = np.array(values)
    for number, bucket in zip(numbers, bucketed(numbers, (width,)), strict=True):
        if np.isfinite(number) and abs(number) < 1e6:
            assert -1e-6 * (1 + abs(number)) <= number - bucket <= width + 1e-6 * (1 + abs(number))
        elif np.isnan(number):
            assert np.isnan(bucket)


SECRET_TEXTS = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=8, max_size=40)
SPECS = [
    CITY,
    LABEL,
    WORDS,
    TensorSpec("review", DType.BYTES, (None, 3), ("title", "body", "email")),
    TensorSpec("wide", DType.BYTES, (None, 300)),
]


def stored(columns, rows: int) -> bytes:
    """Return the log's file of the columns, and all of its values as text."""
    facts = {"at": np.zeros(rows), "request_id": np.full(rows, "r", object)}
    log = LogWriter(Caught())
    log.append(ObservedRows("m", 1, facts | columns))
    content = log._files.content
    return log._files.path.encode() + content + repr(LogReader(pa.BufferReader(content)).table().to_pylist()).encode()


class Caught:
    """Files that are looked at."""

    content = b""

    def write(self, path, *parts) -> None:
        self.content, self.path = b"".join(parts), path


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(SPECS), st.lists(SECRET_TEXTS, min_size=1, max_size=6), st.integers(0, 2), st.booleans(), st.data())
def test_no_text_that_nobody_knows_reaches_the_disk_wherever_it_is_planted(spec, secrets, rule, is_summarized, data) -> None:
    width = [3 if size is None else size for size in spec.shape[1:]]
    tensor = np.full((len(secrets), *width), "Rome", object)
    for row, secret in zip(tensor.reshape(len(secrets), -1), secrets, strict=True):
        row[data.draw(st.integers(0, len(row) - 1))] = secret
    rules = ["", "*=hash", "*=bucket(10), nothing=keep"][rule]
    known = Known({f"input:{spec.name}": frozenset({"Rome"})}, frozenset({f"input:{spec.name}"} if is_summarized else ()))
    given_ = [tensor[:1], tensor[1:]] if len(tensor) > 1 and spec is WORDS and data.draw(st.booleans()) else tensor
    content = stored(kept(spec, given_, rules, known), len(secrets))
    assert [secret for secret in secrets if secret.encode() in content or repr(secret)[1:-1].encode() in content] == []


@settings(max_examples=20, deadline=None)
@given(st.lists(SECRET_TEXTS, min_size=1, max_size=6, unique=True))
def test_the_search_finds_every_text_that_a_rule_keeps(secrets) -> None:
    content = stored(kept(CITY, texts(*secrets), "city=keep"), len(secrets))
    assert all(secret.encode() in content for secret in secrets)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(1e4, 1e9, width=32), min_size=1, max_size=6), st.sampled_from(["email", "cardNumber", "ssn", "api_key", "x"]))
def test_no_number_of_a_column_that_sounds_private_reaches_the_disk(numbers, name) -> None:
    table = np.column_stack([np.arange(len(numbers)), numbers]).astype(np.float32)
    content = stored(kept(TensorSpec("t", DType.FP32, (None, 2), ("age", name)), table), len(numbers))
    found = [struct.pack("<f", number) in content for number in table[:, 1].tolist()]
    assert all(found) if name == "x" else not any(found)  # x is the control


@pytest.mark.parametrize("value", ["s3cr3t", "ключ", "a\x00b", "\ud800"])
def test_no_hashed_value_is_in_what_is_kept(value: str) -> None:
    assert value not in str(kept(CITY, texts(value)))
