"""Which rows to calibrate on, to train on and to evaluate on: chosen with a seed, and checked.

Takes Datasets that fit an interface; gives Datasets (rows keep their order, `description` says what was chosen) and sentences for the
report. Raises DataError that names rows: where evaluation rows are also among those that a model is made with, where calibration rows show
one class only, are all equal, or hold no numbers. Pure: it reads no file, changes no row, and draws nothing without a seed.

Two rows are the same where all their inputs are; what the right answer says does not matter.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fairlead.core.dataset import Dataset
from fairlead.core.interface import Array, DecisionKind, Interface, shorten
from fairlead.errors import DataError

_SHOWN = 5  # rows or classes that a sentence names
_FEW_DISTINCT = 64  # with fewer kinds of rows, equal rows are not the same case seen twice
_DEVIATIONS = 3.0  # beyond the rows that meet by chance


@dataclass(frozen=True)
class Outside:
    """How many values of an input, and in how many rows, lie outside of the range `low` to `high` that calibration rows cover."""

    input: str
    low: float
    high: float
    value_count: int
    row_count: int


def choose(dataset: Dataset, interface: Interface, *, count: int, seed: int) -> Dataset:
    """Return at most `count` rows, classes in proportion and each at least once; the dataset itself where it has no more rows."""
    _check_count(count)
    if dataset.rows <= count:
        return dataset
    quota = _quotas(_strata(dataset, interface), count)
    random = np.random.default_rng(seed)
    chosen = [random.choice(rows, wanted, replace=False) for rows, wanted in quota]
    return _taken(dataset, np.sort(np.concatenate(chosen)), f"{count} of {dataset.rows} rows, seed {seed}")


def set_apart(dataset: Dataset, interface: Interface, *, count: int, seed: int) -> tuple[Dataset, Dataset]:
    """Return about `count` rows, classes in proportion, and the rest. Equal rows stay on one side, so that the two share none.

    A class with one kind of row stays in the rest, and so do rows that occur more often than rows of their class are wanted. With
    fewer than 64 kinds of rows, equal rows are different cases that look alike, and are divided like others. Raises DataError where nothing
    would be left.
    """
    _check_count(count)
    if dataset.rows <= count:
        raise DataError(
            f"{count} rows are to be set apart, and there are {dataset.rows}: none is left to evaluate on.",
            hint="Give more rows, or rows to train and to evaluate on in two files.",
        )
    kinds = _kinds(dataset)
    groups = list(kinds.values()) if len(kinds) >= _FEW_DISTINCT else [[row] for row in range(dataset.rows)]
    of_row = {rows[0]: rows for rows in groups}
    random = np.random.default_rng(seed)
    chosen: list[int] = []
    for rows, wanted in _quotas(_strata(dataset, interface), count):
        heads = random.permutation([row for row in rows.tolist() if row in of_row])
        taken: list[int] = []
        for head in heads[:-1].tolist():
            if len(taken) < wanted and len(of_row[head]) <= wanted:
                taken += of_row[head]
        chosen += taken
    if not chosen:
        raise DataError("The rows are too few or too alike to set some apart.", hint="Give rows to train and to evaluate on in two files.")
    places = np.sort(np.asarray(chosen, dtype=np.int64))
    rest = np.setdiff1d(np.arange(dataset.rows), places)
    said = f"{{}} of {dataset.rows} rows, set apart with seed {seed}"
    return _taken(dataset, places, said.format(len(places))), _taken(dataset, rest, said.format(f"the other {len(rest)}"))


def check_apart(evaluation: Dataset, other: Dataset, *, called: str = "training") -> tuple[str, ...]:
    """Raise DataError where rows of `evaluation` are also in `other`, more than rows that repeat within the data explain.

    By chance a fresh row is one of n known rows with probability 1 - n1/n, where n1 of them occur once (Good 1953, The population
    frequencies of species, section 2). Rows are refused that exceed this expectation by three deviations, seen from both sides; where no
    row repeats, any is too many.
    """
    mine, theirs = _kinds(evaluation), _kinds(other)
    both = [digest for digest in mine if digest in theirs]
    if not both:
        return ()
    shared, back = (sum(len(kinds[digest]) for digest in both) for kinds in (mine, theirs))
    if shared > _by_chance(evaluation.rows, theirs) and back > _by_chance(other.rows, mine):
        pairs = ", ".join(f"{mine[digest][0]} (there {theirs[digest][0]})" for digest in both[:_SHOWN])
        more = f" and {len(both) - _SHOWN} more" if len(both) > _SHOWN else ""
        raise DataError(
            f"{shared} of {evaluation.rows} evaluation rows are also among the {called} rows: row {pairs}{more}.",
            hint=f"A model is proven on rows that it was not made with: leave them out of the {called} data.",
        )
    return (
        f"{shared} of {evaluation.rows} evaluation rows equal {called} rows, no more than rows repeat within these data: taken for chance",
    )


def check_calibration(calibration: Dataset, evaluation: Dataset, interface: Interface, *, decided: Array | None = None) -> tuple[str, ...]:
    """Return what a reader has to know of `calibration`: classes that it lacks, values of `evaluation` outside of its ranges.

    `decided` are the classes of its rows where it has no target. Raises DataError where it shows one class only, where all its rows are
    equal, and where an input holds no finite number. Overlap is `check_apart`'s.
    """
    if calibration.rows > 1 and len(_kinds(calibration)) == 1:
        raise DataError("All calibration rows are equal.", hint="Give rows like those that will be asked.")
    said = list(_class_coverage(calibration, evaluation, interface, decided))
    said += [
        f"{item.value_count} values in {item.row_count} of {evaluation.rows} evaluation rows lie outside of the calibrated range "
        f"{item.low:.6g} to {item.high:.6g} of '{shorten(item.input)}'"
        for item in count_outside(evaluation, calibration)
        if item.value_count
    ]
    return tuple(said)


def count_outside(evaluation: Dataset, calibration: Dataset) -> tuple[Outside, ...]:
    """Return for each input of floats the range that `calibration` covers and what of `evaluation` lies outside. NaN lies nowhere.

    Raises DataError for an input without a finite number.
    """
    found = []
    for name, tensor in calibration.inputs.items():
        if tensor.dtype.kind != "f":
            continue
        known = tensor[np.isfinite(tensor)]
        if not known.size:
            raise DataError(f"No calibration row has a finite number in '{shorten(name)}'.", hint="Give rows without missing values.")
        low, high = float(known.min()), float(known.max())
        asked = evaluation.inputs[name].reshape(evaluation.rows, -1)
        outside = (asked < low) | (asked > high)
        found.append(Outside(name, low, high, int(outside.sum()), int(outside.any(axis=1).sum())))
    return tuple(found)


def _class_coverage(calibration: Dataset, evaluation: Dataset, interface: Interface, decided: Array | None) -> Sequence[str]:
    classes = _classes(calibration.target if decided is None else decided, interface)
    if classes is None:
        return ()
    have = _distinct(classes)
    evaluated = _classes(evaluation.target, interface)
    wanted = have if evaluated is None else _distinct(evaluated)
    if len(have) == 1 and calibration.rows > 1 and (evaluated is None or len(wanted) > 1):
        raise DataError(
            f"All {calibration.rows} calibration rows are of one class, {shorten(str(next(iter(have))))}.",
            hint="Give rows of every class: shuffle a file that is sorted by class.",
        )
    missing = sorted(map(str, wanted.keys() - have.keys()))
    if not missing:
        return ()
    shown = ", ".join(map(shorten, missing[:_SHOWN])) + (", ..." if len(missing) > _SHOWN else "")
    return (f"no calibration row is of {len(missing)} of the {len(wanted)} classes: {shown}",)


def _classes(answers: Array | None, interface: Interface) -> Array | None:
    """The answers where they are classes."""
    rule = interface.decision
    return None if answers is None or rule is None or rule.kind is DecisionKind.VALUE else answers


def _distinct(answers: Array) -> dict[object, int]:
    return dict(Counter(answers.reshape(-1).tolist()))


def _strata(dataset: Dataset, interface: Interface) -> list[Array]:
    """The row numbers of each class; all rows where there is not one class for a row."""
    classes = _classes(dataset.target, interface)
    if classes is None or classes.ndim != 1:
        return [np.arange(dataset.rows)]
    places: dict[object, list[int]] = defaultdict(list)
    for row, label in enumerate(classes.tolist()):
        places[label].append(row)
    return [np.asarray(rows, dtype=np.int64) for rows in places.values()]


def _quotas(strata: Sequence[Array], count: int) -> list[tuple[Array, int]]:
    """Each class with how many of its rows to take: in proportion by largest remainders, one at least as long as `count` allows."""
    total = sum(map(len, strata))
    shares = [count * len(rows) / total for rows in strata]
    wanted = [min(max(math.floor(share), 1), len(rows)) for share, rows in zip(shares, strata, strict=True)]
    order = sorted(range(len(strata)), key=lambda place: wanted[place] - shares[place])
    while sum(wanted) > count:  # more classes than rows asked for, or many that were raised to one
        place = max(range(len(strata)), key=lambda place: (wanted[place] > 1, wanted[place] - shares[place], -len(strata[place])))
        wanted[place] -= 1
    for place in order:
        if sum(wanted) < count and wanted[place] < len(strata[place]):
            wanted[place] += 1
    return list(zip(strata, wanted, strict=True))


def _by_chance(asked: int, known: Mapping[bytes, list[int]]) -> float:
    """The most of `asked` fresh rows that may be among `known` rows by chance."""
    total = sum(map(len, known.values()))
    repeated = sum(len(rows) for rows in known.values() if len(rows) > 1)
    expected = asked * repeated / total
    return expected + _DEVIATIONS * math.sqrt(expected + (asked / total) ** 2 * repeated)


def _kinds(dataset: Dataset) -> dict[bytes, list[int]]:
    """Row numbers by the SHA-256 of the row's inputs, in order of first appearance; -0.0 counts as 0.0, and all NaN are one."""
    names = sorted(dataset.inputs)
    columns = [_plain(dataset.inputs[name]) for name in names]
    kinds: dict[bytes, list[int]] = defaultdict(list)
    for row in range(dataset.rows):
        digest = hashlib.sha256()
        for column in columns:
            data = repr(column[row].tolist()).encode() if column.dtype.kind == "O" else column[row].tobytes()
            digest.update(len(data).to_bytes(8, "big") + data)
        kinds[digest.digest()].append(row)
    return dict(kinds)


def _plain(tensor: Array) -> Array:
    rows = np.ascontiguousarray(tensor).reshape(len(tensor), -1)
    if rows.dtype.kind != "f":
        return rows
    return np.asarray(np.where(np.isnan(rows), rows.dtype.type(np.nan), rows + rows.dtype.type(0)))


def _taken(dataset: Dataset, places: Array, said: str) -> Dataset:
    inputs = {name: tensor[places] for name, tensor in dataset.inputs.items()}
    target = None if dataset.target is None else dataset.target[places]
    return replace(dataset, inputs=inputs, target=target, description=f"{dataset.description}; {said}".removeprefix("; "))


def _check_count(count: int) -> None:
    if count < 1:
        raise DataError(f"{count} rows are to be chosen.", hint="Ask for one or more.")
