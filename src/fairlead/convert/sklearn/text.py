"""Text vectorizers: the same tokens as scikit-learn finds, in any script.

ONNX's own lower-casing follows the C library, and its regular expressions know only ASCII words. So texts are split into characters, each
character is mapped by Python's own tables (lower case, accents), they are joined again, and words are found with an explicit class of
Python's word characters. What remains different in principle is refused by name: the Greek final sigma, whose lower case depends on
its neighbours, where the vocabulary holds one; patterns and analyzers other than those below.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from onnx import TensorProto, helper
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer, TfidfVectorizer

from fairlead.convert.sklearn.elementwise import normalized
from fairlead.convert.sklearn.graph import Block, Builder, Estimator, Table, Transform, unsupported

_PAD = "\x00"
_UNMAPPED = "\x01"
_BLANK = " "
_MIN_LENGTHS = {r"(?u)\b\w\w+\b": 2, r"\b\w\w+\b": 2, r"\w\w+": 2, r"(?u)\b\w+\b": 1, r"\b\w+\b": 1, r"\w+": 1, r"(?u)\w+": 1}
_SIGMAS = "Σσς"


def _counts(builder: Builder, estimator: Estimator, table: Table) -> Table:
    _check(estimator)
    texts = builder.joined(table)
    if not texts.is_text or texts.width != 1:
        raise unsupported(estimator, "it reads one column of text")
    mapped = _mapped(builder, builder.flat(texts.name), _character_map(bool(estimator.lowercase), estimator.strip_accents))
    tokens = _words(builder, mapped, _MIN_LENGTHS[estimator.token_pattern])
    stop_words = estimator.get_stop_words()
    if stop_words and estimator.ngram_range != (1, 1):
        tokens = _without(builder, tokens, sorted(stop_words))
    return (Block(_grams(builder, estimator, tokens, stop_words or frozenset()), len(estimator.vocabulary_)),)


def _check(estimator: Estimator) -> None:
    if estimator.analyzer != "word":
        raise unsupported(estimator, f"analyzer={estimator.analyzer!r}; only 'word' has an exact form")
    if estimator.preprocessor is not None or estimator.tokenizer is not None or callable(estimator.strip_accents):
        raise unsupported(estimator, "a preprocessor, tokenizer or accent stripper that is Python code")
    if estimator.token_pattern not in _MIN_LENGTHS:
        raise unsupported(estimator, f"token_pattern={estimator.token_pattern!r}; known are {', '.join(sorted(_MIN_LENGTHS))}")
    if np.dtype(estimator.dtype).kind == "f" and np.dtype(estimator.dtype) != np.float64:
        raise unsupported(estimator, f"dtype={np.dtype(estimator.dtype)} would let later steps compute in single precision")
    if estimator.lowercase and any(sigma in word for word in estimator.vocabulary_ for sigma in _SIGMAS):
        raise unsupported(estimator, "its vocabulary holds the Greek letter sigma, whose lower case depends on its neighbours")
    if any(_PAD in word or _UNMAPPED in word for word in estimator.vocabulary_):
        raise unsupported(estimator, "its vocabulary holds control characters")


@cache
def _character_map(is_lower: bool, strip_accents: str | None) -> dict[str, str]:
    """Every character that lower-casing and stripping accents change, and into what."""
    strip: dict[str | None, Callable[[str], str]] = {None: lambda text: text, "unicode": _without_marks, "ascii": _ascii_only}
    accents = strip[strip_accents]
    changed = {}
    for code in range(1, sys.maxunicode + 1):
        if 0xD800 <= code <= 0xDFFF:  # surrogates are not characters
            continue
        character = chr(code)
        result = accents(character.lower() if is_lower else character)
        if result != character:
            changed[character] = result
    return changed


def _without_marks(text: str) -> str:
    return "".join(character for character in unicodedata.normalize("NFKD", text) if not unicodedata.combining(character))


def _ascii_only(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")


def _mapped(builder: Builder, texts: str, changes: dict[str, str]) -> str:
    """Replace characters by `changes` in every text: [batch] to [batch]."""
    if not changes:
        return texts
    padded = builder.add("StringConcat", texts, builder.constant([" "], None))  # the splitter gives no axis where all texts are empty
    letters = builder.add("Tokenizer", padded, domain="com.microsoft", separators=[""], mark=0, mincharnum=1, pad_value=_PAD)
    keys, values = list(changes), list(changes.values())
    found = builder.add(
        "LabelEncoder", letters, domain="ai.onnx.ml", keys_strings=[*keys, _PAD], values_strings=[*values, ""], default_string=_UNMAPPED
    )
    is_kept = builder.add("Equal", found, builder.constant([[_UNMAPPED]], None))
    return _joined(builder, builder.add("Where", is_kept, letters, found))


def _joined(builder: Builder, letters: str) -> str:
    """Concatenate [batch, n] strings along rows: halve the number of columns until one is left."""
    value, text, integer = helper.make_tensor_value_info, TensorProto.STRING, TensorProto.INT64
    steps = [
        helper.make_node("Shape", ["columns"], ["width"], start=1, end=2),
        helper.make_node("Mod", ["width", "two"], ["odd"]),
        helper.make_node("Shape", ["columns"], ["rows"], start=0, end=1),
        helper.make_node("Concat", ["rows", "odd"], ["shape"], axis=0),
        helper.make_node("Expand", ["blank", "shape"], ["extra"]),
        helper.make_node("Concat", ["columns", "extra"], ["even"], axis=1),
        helper.make_node("Slice", ["even", "zero", "far", "one", "two"], ["left"]),
        helper.make_node("Slice", ["even", "one", "far", "one", "two"], ["right"]),
        helper.make_node("StringConcat", ["left", "right"], ["halved"]),
        helper.make_node("Shape", ["halved"], ["left_over"], start=1, end=2),
        helper.make_node("Greater", ["left_over", "one"], ["many"]),
        helper.make_node("Squeeze", ["many"], ["again"]),
    ]
    numbers = {"zero": 0, "one": 1, "two": 2, "far": np.iinfo(np.int64).max}
    constants = [helper.make_tensor(name, integer, [1], [number]) for name, number in numbers.items()]
    empty: Any = [b""]
    constants.append(helper.make_tensor("blank", text, [1, 1], empty))
    body = helper.make_graph(
        steps,
        "halve",
        [value("round", integer, []), value("going", TensorProto.BOOL, []), value("columns", text, [None, None])],
        [value("again", TensorProto.BOOL, []), value("halved", text, [None, None])],
        constants,
    )
    rounds = builder.constant(64, np.int64)
    one = builder.add("Loop", rounds, builder.constant(True, np.bool_), letters, body=body)  # the first condition
    return builder.flat(one)


def _words(builder: Builder, texts: str, shortest: int) -> str:
    """Maximal runs of word characters of at least `shortest`, [batch, tokens], filled up with at least one blank that is no word."""
    pattern = f"{_word_class()}{{{shortest},}}"
    found = builder.add("Tokenizer", texts, domain="com.microsoft", tokenexp=pattern, mark=0, mincharnum=shortest, pad_value=_BLANK)
    rows = builder.add("Shape", texts, start=0, end=1)
    blanks = builder.add("Expand", builder.constant([[_BLANK]], None), builder.add("Concat", rows, builder.integers(1), axis=0))
    return builder.add("Concat", found, blanks, axis=1)


@cache
def _word_class() -> str:
    r"""Python's \w as ranges of code points."""
    is_word = re.compile(r"\w").match
    ranges: list[list[int]] = []
    for code in range(sys.maxunicode + 1):
        if 0xD800 <= code <= 0xDFFF or not is_word(chr(code)):
            continue
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "[" + "".join(f"\\x{{{low:x}}}-\\x{{{high:x}}}" for low, high in ranges) + "]"


def _without(builder: Builder, tokens: str, stop_words: list[str]) -> str:
    """Move stop words behind all other tokens of a row and blank them, so that n-grams close over the gap."""
    stopped = builder.add(
        "LabelEncoder", tokens, domain="ai.onnx.ml", keys_strings=stop_words, values_int64s=[1] * len(stop_words), default_int64=0
    )
    places = builder.add(
        "CumSum", builder.add("Add", stopped, builder.add("Sub", builder.integers(1), stopped)), builder.constant(1, np.int64)
    )
    order = builder.add("Add", places, builder.add("Mul", stopped, builder.integers(2**40)))
    width = builder.add("Shape", tokens, start=1, end=2)
    _, index = builder.add_many("TopK", (order, width), 2, axis=1, largest=0, sorted=1)
    moved = builder.add("GatherElements", tokens, index, axis=1)
    is_stopped = builder.add("Cast", builder.add("GatherElements", stopped, index, axis=1), to=TensorProto.BOOL)
    return builder.add("Where", is_stopped, builder.constant([[_BLANK]], None), moved)


def _grams(builder: Builder, estimator: Estimator, tokens: str, stop_words: frozenset[str]) -> str:
    """Count the vocabulary's n-grams, double [batch, vocabulary]. The counting operator is float: exact up to 16 million."""
    by_length: dict[int, list[tuple[list[str], int]]] = {}
    shortest, longest = estimator.ngram_range
    for term, column in estimator.vocabulary_.items():
        words = term.split(" ")
        is_reachable = shortest <= len(words) <= longest and not any(word in stop_words for word in words)
        if is_reachable and all(words):
            by_length.setdefault(len(words), []).append((words, int(column)))
    pool: list[str] = []
    starts: list[int] = []
    columns: list[int] = []
    for length in range(1, longest + 1):
        starts.append(len(pool))
        for words, column in by_length.get(length, []):
            pool.extend(words)
            columns.append(column)
    if not pool:
        raise unsupported(estimator, "no term of its vocabulary can be found with its options")
    counts = builder.add(
        "TfIdfVectorizer",
        tokens,
        mode="TF",
        min_gram_length=shortest,
        max_gram_length=longest,
        max_skip_count=0,
        ngram_counts=starts,
        ngram_indexes=columns,
        pool_strings=pool,
    )
    counts = _filled(builder, builder.doubles(counts), max(columns) + 1, len(estimator.vocabulary_))
    return builder.doubles(builder.add("Greater", counts, builder.constant(0.0))) if estimator.binary else counts


def _filled(builder: Builder, counts: str, width: int, size: int) -> str:
    """Append columns of zeros for the last terms of the vocabulary, where these cannot occur."""
    if width == size:
        return counts
    rows = builder.add("Shape", counts, start=0, end=1)
    shape = builder.add("Concat", rows, builder.integers(size - width), axis=0)
    return builder.add("Concat", counts, builder.add("Expand", builder.constant([[0.0]]), shape), axis=1)


def _tfidf(builder: Builder, estimator: Estimator, table: Table) -> Table:
    return _weighted(builder, estimator, builder.numbers(_counts(builder, estimator, table), estimator))


def _tfidf_transformer(builder: Builder, estimator: Estimator, table: Table) -> Table:
    return _weighted(builder, estimator, builder.numbers(table, estimator))


def _weighted(builder: Builder, estimator: Estimator, block: Block) -> Table:
    name = block.name
    if estimator.sublinear_tf:
        is_zero = builder.add("Equal", name, builder.constant(0.0))
        safe = builder.add("Where", is_zero, builder.constant(1.0), name)
        grown = builder.add("Add", builder.add("Log", safe), builder.constant(1.0))
        name = builder.add("Where", is_zero, builder.constant(0.0), grown)
    if estimator.use_idf:
        name = builder.add("Mul", name, builder.constant(estimator.idf_))
    if estimator.norm is not None:
        name = normalized(builder, name, estimator.norm)
    return (Block(name, block.width),)


TRANSFORMERS: dict[type, Transform] = {CountVectorizer: _counts, TfidfVectorizer: _tfidf, TfidfTransformer: _tfidf_transformer}
