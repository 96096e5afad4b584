"""Whether one version can take over from another without its clients noticing: what they send fits, and what comes back means the same.

Pure: takes two Interfaces, gives sentences, one for each thing that differs in a way that a client would notice; none where all is well.
Law: an interface is compatible with itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from fairlead.core.interface import Interface, TensorSpec

_SHOWN = 5


def incompatibilities(live: Interface, candidate: Interface) -> tuple[str, ...]:
    """Return what a client of `live` would notice of `candidate`: tensors, shapes, element types, columns, labels, how it decides."""
    return (*tensor_changes(live, candidate), *_meanings(live, candidate))


def tensor_changes(live: Interface, candidate: Interface) -> tuple[str, ...]:
    """Return what differs in the tensors: then one request cannot be answered by either of the two."""
    inputs = _tensors("input", live.inputs, candidate.inputs, may_add=False)
    return (*inputs, *_tensors("output", live.outputs, candidate.outputs, may_add=True))


def _meanings(live: Interface, candidate: Interface) -> Iterator[str]:
    if candidate.labels != live.labels:
        yield f"labels were {_listed(live.labels)}, are {_listed(candidate.labels)}"
    if candidate.task is not live.task:
        yield f"the task was {live.task or 'none'}, is {candidate.task or 'none'}"
    if _rule(candidate) != _rule(live):  # a threshold may move: it is the model's own matter
        yield f"a decision was {_rule(live)}, is {_rule(candidate)}"


def _tensors(what: str, before: tuple[TensorSpec, ...], after: tuple[TensorSpec, ...], *, may_add: bool) -> Iterator[str]:
    known = {spec.name: spec for spec in after}
    for spec in before:
        other = known.pop(spec.name, None)
        if other is None:
            yield f"{what} '{spec.name}' is gone"
        else:
            yield from _tensor(what, spec, other)
    if not may_add:
        yield from (f"{what} '{name}' is new, and clients do not send it" for name in known)


def _tensor(what: str, before: TensorSpec, after: TensorSpec) -> Iterator[str]:
    if before.dtype is not after.dtype:
        yield f"{what} '{before.name}' was {before.dtype.value}, is {after.dtype.value}"
    if not _is_shape_kept(what, before, after):
        yield f"{what} '{before.name}' was {before.describe()}, is {after.describe()}"
    if before.columns and after.columns != before.columns:
        yield f"the columns of {what} '{before.name}' were {_listed(before.columns)}, are {_listed(after.columns)}"
    if before.is_category is not after.is_category:
        yield f"{what} '{before.name}' {'is no category any more' if before.is_category else 'is a category now'}"


def _is_shape_kept(what: str, before: TensorSpec, after: TensorSpec) -> bool:
    """What was free for clients to send stays free; what they could rely on getting stays fixed."""
    if len(before.shape) != len(after.shape):
        return False
    wide, narrow = (after.shape, before.shape) if what == "input" else (before.shape, after.shape)
    return all(allowed is None or allowed == size for allowed, size in zip(wide, narrow, strict=True))


def _rule(interface: Interface) -> str:
    rule = interface.decision
    return "none" if rule is None else f"the {rule.kind} of '{rule.output}'"


def _listed(items: tuple[object, ...]) -> str:
    shown = ", ".join(str(item) for item in items[:_SHOWN]) or "none"
    return shown + (f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else "")
