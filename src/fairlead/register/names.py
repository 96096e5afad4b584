"""The names by which clients know a model's tensors: kept from version to version, though frameworks count on.

Keras calls the same layer `dense_1` today and `dense_3` tomorrow. Pure: takes Interfaces and names (a tensor's own name -> the one that
clients use), gives names and Interfaces. Raises SpecError for names that make no sense. Laws: what a person says goes first; nothing is
kept that is not certain, which is: a name that a framework made up, the only one of its kind on both sides, and an interface that is the
live one but for such names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from fairlead.core.interface import Interface, TensorSpec, shorten
from fairlead.core.layer_kinds import KNOWN_KINDS
from fairlead.errors import SpecError
from fairlead.register.compatibility import tensor_changes

Names = Mapping[str, str]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/-]{0,127}")
_COUNTER = re.compile(r"_\d+(?=_|$)")
_CAMEL = (re.compile(r"(.)([A-Z][a-z]+)"), re.compile(r"([a-z])([A-Z])"))


def _snake_case(kind: str) -> str:
    """Return the name that Keras makes of a class: `GlobalAveragePooling2D` is `global_average_pooling2d`."""
    for pattern in _CAMEL:
        kind = pattern.sub(r"\1_\2", kind)
    return kind.lower()


_MADE_UP = frozenset({*map(_snake_case, KNOWN_KINDS), "input", "input_layer", "keras_tensor", "output"})


def parse_renames(texts: Iterable[str]) -> dict[str, str]:
    """Return the names in texts like `dense_3=scores`; raises SpecError."""
    names: dict[str, str] = {}
    for text in texts:
        own, equals, public = text.partition("=")
        if not equals or not own or own in names:
            raise SpecError(f"'{shorten(text)}' does not say one tensor's other name.", hint="Write it like --rename dense_3=scores.")
        names[own] = public
    return names


def renamed(interface: Interface, names: Names) -> Interface:
    """Return the interface with other names; raises SpecError for a tensor that it has not, and where two would have one name."""
    own = [spec.name for spec in (*interface.inputs, *interface.outputs)]
    unknown = [name for name in names if name not in own]
    if unknown:
        raise SpecError(f"The model has no tensor '{shorten(unknown[0])}' to rename.", hint=f"It has: {', '.join(own)}.")
    odd = [name for name in names.values() if not _NAME.fullmatch(name)]
    if odd:
        raise SpecError(f"'{shorten(odd[0])}' cannot name a tensor.", hint="Use letters, digits and _ . : / -, a letter first.")
    public = Counter(names.get(name, name) for name in own)
    twice = [name for name, count in public.items() if count > 1]
    if twice and len(set(own)) == len(own):
        raise SpecError(f"Two tensors would be called '{shorten(twice[0])}'.", hint="Give each a name of its own.")

    def called(spec: TensorSpec) -> TensorSpec:
        return replace(spec, name=names.get(spec.name, spec.name))

    rule = interface.decision
    if rule is not None:
        rule = replace(rule, output=names.get(rule.output, rule.output), scores=names.get(rule.scores, rule.scores))
    return replace(interface, inputs=tuple(map(called, interface.inputs)), outputs=tuple(map(called, interface.outputs)), decision=rule)


def kept_names(live: Interface, own: Interface) -> dict[str, str]:
    """Return the names of a new version's tensors that differ from those of the live one by a framework's counter only: own -> live.

    Empty unless the two fit together that way.
    """
    names = {**_recounted(live.inputs, own.inputs), **_recounted(live.outputs, own.outputs)}
    try:
        return names if names and not tensor_changes(live, renamed(own, names)) else {}
    except SpecError:  # a name would be there twice
        return {}


def _recounted(before: Sequence[TensorSpec], after: Sequence[TensorSpec]) -> dict[str, str]:
    """Return own -> live where a made-up name is the only one of its kind on both sides."""
    kinds = [{name: names[0] for name, names in _by_kind(specs).items() if len(names) == 1} for specs in (before, after)]
    return {own: kinds[0][kind] for kind, own in kinds[1].items() if kind in kinds[0] and kinds[0][kind] != own}


def _by_kind(specs: Sequence[TensorSpec]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for spec in specs:
        kind = _COUNTER.sub("", spec.name)
        if kind.removesuffix("_input") in _MADE_UP:
            found.setdefault(kind, []).append(spec.name)
    return found


def proposal(live: Interface, candidate: Interface) -> str:
    """Return the options that would give a candidate the live names, tensor by tensor in their order; "" where more than names differs.

    Whether they mean the same, only a person knows.
    """
    if len(live.inputs) != len(candidate.inputs) or len(live.outputs) != len(candidate.outputs):
        return ""
    pairs = zip((*live.inputs, *live.outputs), (*candidate.inputs, *candidate.outputs), strict=True)
    names = {after.name: before.name for before, after in pairs if before.name != after.name}
    try:
        if not names or tensor_changes(live, renamed(candidate, names)):
            return ""
    except SpecError:
        return ""
    return " ".join(f"--rename {own}={public}" for own, public in names.items())
