"""What differs between two versions: what their evidence says, and what both answer to the same rows.

`diff` takes two references and, if wanted, a data file; gives a VersionDiff. Both versions are loaded and asked here. Raises NotFoundError,
DataError for rows that do not fit, CorruptError. Where the two cannot be asked the same, the difference says why; it never guesses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from fairlead.app.load import Model, open_model
from fairlead.app.registry_tags import split_tags
from fairlead.app.wiring import House
from fairlead.core.answers import align
from fairlead.core.comparison import AnswerChange, MetricChange, VersionDiff, compare_labels, compare_numbers
from fairlead.core.deciding import labelled
from fairlead.core.interface import Array, DecisionKind, Interface, Tensors
from fairlead.core.intervals import wilson
from fairlead.core.lineage import Lineage
from fairlead.core.plan import Candidate
from fairlead.core.verdict import Quality, Speed, Verdict
from fairlead.core.version import Version, parse_reference
from fairlead.datasets.load import load_dataset, load_rows
from fairlead.errors import DataError, FairleadError, NotFoundError, RequestError, StorageError
from fairlead.register.compatibility import incompatibilities
from fairlead.register.resolve import resolve
from fairlead.stores.document import load
from fairlead.stores.version_files import read_file
from fairlead.verify.run_rows import count_rows, run_in_pieces

_ARRAY_SUFFIXES = frozenset({".npz"})
_SAME = "the same"


class _Side:
    """One version with its documents."""

    def __init__(self, version: Version, house: House) -> None:
        self.version = version
        self.interface = load(read_file(version, "interface.json", house.blobs), Interface)
        self.verdict = load(read_file(version, "verdict.json", house.blobs), Verdict)
        self.lineage = load(read_file(version, "lineage.json", house.blobs), Lineage)
        self.engine = load(read_file(version, "engine.json", house.blobs), Candidate)
        self.tags, self.stage = split_tags(house.records.traits(version.name, version.number))


def diff(left: str, right: str, house: House, *, data: Path | None = None, target: str | None = None) -> VersionDiff:
    """Return what differs between the versions that `left` and `right` name.

    `data` holds rows to ask both (with right answers under `target`, where they are known); without it, both are asked the golden rows that
    were kept with them.
    """
    one, other = (_Side(resolve(parse_reference(text), records=house.records), house) for text in (left, right))
    found = VersionDiff(
        one.version.label,
        other.version.label,
        one.version.digest == other.version.digest,
        incompatibilities(one.interface, other.interface),
        _metrics(one.verdict, other.verdict),
        bool(one.verdict.data_digest) and one.verdict.data_digest == other.verdict.data_digest,
        _costs(one.verdict, other.verdict),
        (one.verdict.machine.processor, one.verdict.machine.core_count)
        == (other.verdict.machine.processor, other.verdict.machine.core_count),
        dict(_made(one, other)),
        one.tags | ({"stage": one.stage} if one.stage else {}),
        other.tags | ({"stage": other.stage} if other.stage else {}),
    )
    try:
        return replace(found, answers=_answers(one, other, house, data, target))
    except StorageError:
        raise
    except (DataError, NotFoundError, RequestError) as error:
        if data is not None:
            raise
        return replace(found, unasked=error.message)
    except FairleadError as error:
        return replace(found, unasked=str(error))


def _metrics(left: Verdict, right: Verdict) -> tuple[MetricChange, ...]:
    ones: Mapping[str, Quality] = {item.metric: item for item in left.quality}
    others: Mapping[str, Quality] = {item.metric: item for item in right.quality}
    return tuple(
        MetricChange(
            metric,
            ones[metric].candidate if metric in ones else None,
            others[metric].candidate if metric in others else None,
            ones[metric].candidate_interval if metric in ones else None,
            others[metric].candidate_interval if metric in others else None,
        )
        for metric in dict.fromkeys((*ones, *others))
    )


def _costs(left: Verdict, right: Verdict) -> dict[str, tuple[float | None, float | None]]:
    ones, others = _single(left), _single(right)
    found: dict[str, tuple[float | None, float | None]] = {
        "size_bytes": (float(left.size_bytes), float(right.size_bytes)),
        "memory_bytes": (float(left.memory_peak_bytes), float(right.memory_peak_bytes)),
    }
    for name in ("p50_ms", "p99_ms", "throughput_rps"):
        found[name] = (getattr(ones, name) if ones else None, getattr(others, name) if others else None)
    return found


def _single(verdict: Verdict) -> Speed | None:
    return next((item for item in verdict.speed if item.batch == 1), None)


def _made(left: _Side, right: _Side) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield what was done otherwise on the way from the source to the version."""
    pairs = {
        "source": (left.lineage.source_name, right.lineage.source_name),
        "source digest": (left.lineage.source_digest[:12], right.lineage.source_digest[:12]),
        "framework": (_framework(left.lineage), _framework(right.lineage)),
        "steps": (_steps(left.lineage), _steps(right.lineage)),
        "passes": (", ".join(left.engine.passes) or "none", ", ".join(right.engine.passes) or "none"),
        "engine": (left.verdict.engine, right.verdict.engine),
        "threads": (str(left.engine.thread_count), str(right.engine.thread_count)),
        "proven with": (left.verdict.data_description, right.verdict.data_description),
    }
    yield from ((what, said) for what, said in pairs.items() if said[0] != said[1])


def _framework(lineage: Lineage) -> str:
    return lineage.steps[0].versions.get("source", "") if lineage.steps else ""


def _steps(lineage: Lineage) -> str:
    return " -> ".join(f"{step.room} {step.tool}" for step in lineage.steps)


def _answers(left: _Side, right: _Side, house: House, data: Path | None, target: str | None) -> AnswerChange:
    """Ask both the same rows and compare."""
    with ExitStack() as close:
        one, other = (close.enter_context(open_model(side.version.label, house)) for side in (left, right))
        if data is None:
            rows, source = _golden_rows(one, other)
            return _compare(left, right, [model.predict_all(rows) for model in (one, other)], source)
        asked = [_read(data, side.interface, target) for side in (left, right)]
        if count_rows(asked[0][0]) != count_rows(asked[1][0]):
            raise DataError(f"The two versions take different rows of {data.name}.", hint="Ask each alone: fairlead predict.")
        answers = [run_in_pieces(model.engine, rows) for model, (rows, _) in zip((one, other), asked, strict=True)]
        found = _compare(left, right, answers, data.name)
        rights = [_right(side.interface, got, truth) for side, got, (_, truth) in zip((left, right), answers, asked, strict=True)]
        return found if rights[0] is None or rights[1] is None else _with_rights(found, rights[0], rights[1])


def _golden_rows(one: Model, other: Model) -> tuple[Tensors, str]:
    """Return the rows that were kept with either version, each once, or the first one's where the two cannot stand in one tensor."""
    kept = [model.golden.inputs for model in (one, other) if model.golden is not None]
    if len(kept) < 2:
        raise NotFoundError("A version has no golden rows.", hint="Give rows: --data FILE.")
    first, second = kept
    if set(first) != set(second) or any(first[name].shape[1:] != second[name].shape[1:] for name in first):
        return first, "the golden rows of the first"
    if all(first[name].shape == second[name].shape and bool(np.all(first[name] == second[name])) for name in first):
        return first, "the golden rows"
    return {name: np.concatenate([first[name], second[name]]) for name in first}, "the golden rows of both"


def _read(path: Path, interface: Interface, target: str | None) -> tuple[Tensors, Array | None]:
    if target is None and path.suffix.lower() not in _ARRAY_SUFFIXES:
        return load_rows(path, interface), None
    dataset = load_dataset(path, interface, target=target, allow_missing=True)
    return dataset.inputs, dataset.target


def _compare(left: _Side, right: _Side, answers: list[dict[str, Array]], source: str) -> AnswerChange:
    if _is_number(left.interface) or _is_number(right.interface):
        one, other = (_deciding(side.interface, got) for side, got in zip((left, right), answers, strict=True))
        return compare_numbers(one, other, source)
    one, other = (labelled(side.interface, got) for side, got in zip((left, right), answers, strict=True))
    found = compare_labels(one, other, source)
    return replace(found, interval=wilson((found.flip_count or 0) / found.row_count, found.row_count))


def _is_number(interface: Interface) -> bool:
    return interface.decision is None or interface.decision.kind is DecisionKind.VALUE


def _deciding(interface: Interface, outputs: Tensors) -> Array:
    tensor = np.asarray(outputs[interface.decision.output if interface.decision is not None else interface.outputs[0].name])
    if tensor.dtype.kind not in "fiub":
        raise DataError("One version answers with numbers, the other with labels.", hint="There is nothing to compare row by row.")
    return tensor.reshape(len(tensor)) if tensor.size == len(tensor) else tensor


def _right(interface: Interface, outputs: Tensors, truth: Array | None) -> Array | None:
    """Return which rows are answered rightly, bool (rows,); None where that is not known, or no matter of right and wrong."""
    if truth is None or _is_number(interface):
        return None
    answers = align(interface, truth, outputs)
    right: Array = np.all(np.asarray(answers.right == answers.said).reshape(len(truth), -1), axis=1)
    return right


def _with_rights(found: AnswerChange, left: Array, right: Array) -> AnswerChange:
    return replace(
        found,
        left_right=int(left.sum()),
        right_right=int(right.sum()),
        only_left=int((left & ~right).sum()),
        only_right=int((right & ~left).sum()),
    )
