"""LightGBM's model text, taken apart and counted before any library sees it.

Takes the text of a model (a .txt file, or the state of a pickled Booster); gives its header, trees and ends as plain values. Every line
has to be one that LightGBM writes, no key comes twice, every array has as many numbers as the tree has nodes or leaves, and the recorded
sizes are the real ones. Raises SourceError for damage, UnsupportedError for another release's format. Runs nothing, follows nothing.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from fairlead.core.interface import Array, Label, shorten
from fairlead.errors import SourceError, UnsupportedError

SIZE_LIMIT_BYTES = 2**29
_VERSIONS = ("v3", "v4")
_HEADER_KEYS = frozenset({
    "version", "num_class", "num_tree_per_iteration", "label_index", "max_feature_idx", "objective", "average_output", "feature_names",
    "monotone_constraints", "feature_infos", "tree_sizes",
})  # fmt: skip
# Per key of a tree: what it holds, and how many: per inner node, per leaf, or of its own count.
_INTEGERS, _REALS, _STATISTICS = r"[-+0-9 ]*", r"[-+0-9.eE ]*", r"[-+0-9.eEnaif ]*"
_BORDERS = r"([-+0-9.eE ]|inf)*"  # a threshold is infinite where only missing values go the other way
_NODE_ARRAYS = {
    "split_feature": _INTEGERS, "threshold": _BORDERS, "decision_type": _INTEGERS, "left_child": _INTEGERS, "right_child": _INTEGERS,
    "split_gain": _STATISTICS, "internal_value": _STATISTICS, "internal_weight": _STATISTICS, "internal_count": _STATISTICS,
}  # fmt: skip
_LEAF_ARRAYS = {
    "leaf_value": _REALS, "leaf_weight": _STATISTICS, "leaf_count": _STATISTICS, "leaf_const": _STATISTICS, "num_features": _INTEGERS,
}  # fmt: skip
_OWN_ARRAYS = {"cat_boundaries": _INTEGERS, "cat_threshold": _INTEGERS, "leaf_features": _INTEGERS, "leaf_coeff": _STATISTICS}
_SCALARS = {"num_leaves": _INTEGERS, "num_cat": _INTEGERS, "is_linear": _INTEGERS, "shrinkage": _REALS}
_NEEDED_INSIDE = ("split_feature", "threshold", "decision_type", "left_child", "right_child")
_TREE_KEYS = _NODE_ARRAYS | _LEAF_ARRAYS | _OWN_ARRAYS | _SCALARS
_HINT = "Save the model again with booster.save_model(path)."
_CATEGORIES_LIMIT_CHARS = 2**26


@dataclass(frozen=True)
class TextTree:
    """One tree as it stands in the text: inner nodes 0 to leaves - 2, children below zero are leaves (-1 is leaf 0)."""

    leaf_count: int
    arrays: Mapping[str, Array]
    is_linear: bool

    def array(self, name: str) -> Array:
        """Return an array of the tree; one that is not there is empty."""
        return self.arrays.get(name, np.empty(0))


@dataclass(frozen=True)
class LightGbmText:
    """`objective` is the name and its options; `categories` are the texts or numbers behind the codes of pandas columns, in their order,
    and `category_columns` the columns that were told to be categories.
    """

    feature_names: tuple[str, ...]
    outputs: int
    class_count: int
    objective: tuple[str, ...]
    is_averaged: bool
    trees: tuple[TextTree, ...]
    categories: tuple[tuple[Label | None, ...], ...] = ()
    category_columns: tuple[int, ...] = ()


def parse_lightgbm(data: bytes) -> LightGbmText:
    """Return the model in `data`."""
    if len(data) > SIZE_LIMIT_BYTES:
        raise UnsupportedError(f"The LightGBM model is larger than {SIZE_LIMIT_BYTES} bytes.", hint="Train it with fewer trees.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise damaged("it is not UTF-8 text") from None
    if "\r" in text or "\0" in text:
        raise damaged("its lines do not end as LightGBM ends them")
    start, end = text.find("\nTree=0\n") + 1, text.find("\nend of trees\n") + 1
    if not 0 < start < end:
        raise damaged("it has no trees, or breaks off before their end")
    header = _header(text[:start])
    blocks = _blocks(text[start:end])
    _check_sizes(header, blocks)
    categories, columns = _ends(text[end:])
    names = tuple(header["feature_names"].split(" "))
    if len(set(names)) != len(names) or len(names) != _count(header, "max_feature_idx") + 1:
        raise damaged("its feature names are not one for each feature")
    outputs = _count(header, "num_tree_per_iteration")
    if outputs < 1 or len(blocks) % outputs:
        raise damaged(f"its {len(blocks)} trees do not fit {outputs} outputs")
    return LightGbmText(
        feature_names=names,
        outputs=outputs,
        class_count=_count(header, "num_class"),
        objective=tuple(header.get("objective", "").split()),
        is_averaged="average_output" in header,
        trees=tuple(_tree(number, block) for number, block in enumerate(blocks)),
        categories=categories,
        category_columns=columns,
    )


def damaged(problem: str) -> SourceError:
    """Return the error for text that LightGBM does not write."""
    return SourceError(f"The LightGBM model is not sound: {problem}.", hint=_HINT)


def _header(text: str) -> dict[str, str]:
    first, *lines = text.split("\n")
    if first != "tree":
        raise damaged("it does not begin with 'tree'")
    header = _pairs(lines, "its header")
    unknown = header.keys() - _HEADER_KEYS
    if unknown:
        raise damaged(f"its header has the unknown key '{shorten(min(unknown))}'")
    version = header.get("version", "")
    if version not in _VERSIONS:
        raise UnsupportedError(
            f"The LightGBM model has format '{shorten(version, 20)}'.",
            hint=f"Fairlead reads {' and '.join(_VERSIONS)}: LightGBM 2.3 and newer.",
        )
    for needed in ("max_feature_idx", "num_tree_per_iteration", "num_class", "feature_names"):
        if needed not in header:
            raise damaged(f"its header lacks {needed}")
    return header


def _pairs(lines: list[str], where: str) -> dict[str, str]:
    """Lines `key=value` (or a bare key); raises where a key comes twice."""
    pairs: dict[str, str] = {}
    for line in lines:
        if not line:
            continue
        key, _, value = line.partition("=")
        if key in pairs:
            raise damaged(f"{where} has '{shorten(key)}' twice")
        pairs[key] = value
    return pairs


def _count(header: Mapping[str, str], key: str) -> int:
    value = header[key]
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise damaged(f"{key} is '{shorten(value, 30)}'")
    return int(value)


def _blocks(text: str) -> list[str]:
    """Cut the trees apart; each begins with its number."""
    starts = [match.start() for match in re.finditer(r"^Tree=", text, re.MULTILINE)]
    blocks = [text[start:stop] for start, stop in itertools.pairwise([*starts, len(text)])]
    for number, block in enumerate(blocks):
        if not block.startswith(f"Tree={number}\n"):
            raise damaged(f"tree {number} is not where it belongs")
    return blocks


def _check_sizes(header: Mapping[str, str], blocks: list[str]) -> None:
    """LightGBM jumps by these sizes: where they lie, it would read other trees than those that are checked here."""
    if "tree_sizes" not in header:
        return
    real = " ".join(str(len(block.encode())) for block in blocks)
    if header["tree_sizes"] != real:
        raise damaged("tree_sizes does not say how long its trees are")


def _tree(number: int, block: str) -> TextTree:
    values = _pairs(block.split("\n")[1:], f"tree {number}")
    unknown = values.keys() - _TREE_KEYS.keys()
    if unknown:
        raise damaged(f"tree {number} has the unknown key '{shorten(min(unknown))}'")
    leaves, sets = _scalar(number, values, "num_leaves", 1), _scalar(number, values, "num_cat", 0)
    if not re.fullmatch(r"[-+0-9.eE]+", values.get("shrinkage", "1")):
        raise damaged(f"tree {number} has shrinkage={shorten(values['shrinkage'], 30)}")
    if leaves < 1 or "leaf_value" not in values or (leaves > 1 and any(name not in values for name in _NEEDED_INSIDE)):
        raise damaged(f"tree {number} lacks its leaves or splits")
    arrays = {
        name: _array(number, name, values[name], _length(name, leaves, sets))
        for name in values.keys() - _SCALARS.keys()
        if values[name].strip(" ") or _length(name, leaves, sets)
    }
    if "cat_boundaries" in arrays:
        _check_sets(number, arrays)
    elif sets:
        raise damaged(f"tree {number} lacks its sets of categories")
    return TextTree(leaves, arrays, _scalar(number, values, "is_linear", 0) == 1)


def _length(name: str, leaves: int, sets: int) -> int | None:
    """How many numbers an array has to hold; None where the file decides. A tree of one leaf has no splits to speak of."""
    if name in _NODE_ARRAYS:
        return leaves - 1
    if name in _LEAF_ARRAYS:
        return leaves if leaves > 1 or name == "leaf_value" else None
    return sets + 1 if name == "cat_boundaries" else None


def _scalar(number: int, values: Mapping[str, str], key: str, default: int) -> int:
    text = values.get(key, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise damaged(f"tree {number} has {key}={shorten(text, 30)}")
    return int(text)


def _array(number: int, name: str, text: str, length: int | None) -> Array:
    """The numbers of one line, counted before they are taken."""
    where = f"{name} of tree {number}"
    if not re.fullmatch(_TREE_KEYS[name], text):
        raise damaged(f"{where} holds something that is no number")
    items = text.split()
    if length is not None and len(items) != length:
        raise damaged(f"{where} has {len(items)} numbers instead of {length}")
    is_whole = _TREE_KEYS[name] == _INTEGERS
    try:
        array = np.array(items, dtype=np.int64 if is_whole else np.float64)
    except (ValueError, OverflowError):
        raise damaged(f"{where} holds something that is no number") from None
    if (_TREE_KEYS[name] == _REALS and not np.isfinite(array).all()) or (_TREE_KEYS[name] == _BORDERS and np.isnan(array).any()):
        raise damaged(f"{where} holds a number that is not finite")
    return array


def _check_sets(number: int, arrays: Mapping[str, Array]) -> None:
    """Sets of categories: runs of words of 32 bits."""
    ends, words = arrays["cat_boundaries"], arrays.get("cat_threshold", np.empty(0, dtype=np.int64))
    if ends[0] != 0 or (np.diff(ends) < 0).any() or ends[-1] != len(words):
        raise damaged(f"cat_boundaries of tree {number} do not fit its cat_threshold")
    if ((words < 0) | (words >= 2**32)).any():
        raise damaged(f"cat_threshold of tree {number} holds more than 32 bits")


def _ends(text: str) -> tuple[tuple[tuple[Label | None, ...], ...], tuple[int, ...]]:
    """What follows the trees: importances, parameters, and what pandas called the categories."""
    categories: tuple[tuple[Label | None, ...], ...] = ()
    columns: tuple[int, ...] = ()
    seen: set[str] = set()
    for section, line in _sections(text):
        if section in seen and section != "line":
            raise damaged(f"'{shorten(section)}' comes twice")
        if section != "line":
            seen.add(section)
        if section == "pandas_categorical":
            categories = _categories(line)
        if line.startswith("[categorical_feature: "):
            columns = _columns(line)
    return categories, columns


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """Yield (section, "") where one begins, ("pandas_categorical", its value), and ("line", line) inside of the parameters."""
    inside = ""
    for line in text.split("\n")[1:]:
        if line in ("feature_importances:", "parameters:"):
            inside = line
            yield line, ""
        elif line.startswith("pandas_categorical:"):
            inside = ""
            yield "pandas_categorical", line.removeprefix("pandas_categorical:")
        elif line == "end of parameters":
            inside = ""
        elif inside == "parameters:" and line:
            yield "line", line
        elif not inside and line:
            raise damaged(f"'{shorten(line, 40)}' follows after its trees")


def _categories(text: str) -> tuple[tuple[Label | None, ...], ...]:
    if len(text) > _CATEGORIES_LIMIT_CHARS:
        raise damaged("pandas_categorical is too long")
    try:
        lists = json.loads(text)
    except (ValueError, RecursionError):
        raise damaged("pandas_categorical is no JSON") from None
    if lists is None:
        return ()
    is_sound = isinstance(lists, list) and all(
        isinstance(known, list) and all(item is None or isinstance(item, (str, int, float)) for item in known) for known in lists
    )
    if not is_sound:
        raise damaged("pandas_categorical is no list of categories")
    return tuple(tuple(known) for known in lists)


def _columns(line: str) -> tuple[int, ...]:
    """`[categorical_feature: 1,2]`: column numbers; names (`name:a,b`) are not looked up."""
    inner = line.removeprefix("[categorical_feature: ").removesuffix("]")
    return tuple(int(item) for item in inner.split(",")) if re.fullmatch(r"[0-9]{1,9}(,[0-9]{1,9})*", inner) else ()
