"""What a reader answered from the sandbox, as checked values. The worker handled a foreign file: its answer is as foreign as the file.

Takes JSON data and the scratch folder, gives values of core. Raises CorruptError for whatever a reader of ours would not have said.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any

import msgspec

from fairlead.core.artifact import ArtifactForm, Finding
from fairlead.core.interface import DecisionKind, Interface, TensorSpec, shorten
from fairlead.errors import CorruptError

_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_TENSOR_LIMIT, _AXIS_LIMIT, _NOTE_LIMIT, _FACT_LIMIT = 256, 16, 64, 64
_HINT = "The file is most likely damaged, or made to do harm; save the model again from its source."


class ReaderAnswer(msgspec.Struct, frozen=True):
    """What `read_in_sandbox` of a reader gives; see ingest.catalog."""

    framework: str
    interface: Interface | None = None
    form: ArtifactForm = ArtifactForm.ESTIMATOR_FILE
    file: str = ""
    facts: dict[str, int | float | str] = {}
    notes: tuple[str, ...] = ()
    problem: str = ""
    activation: str = ""  # of the last layer, and the name of the loss: for the decision of a model that only Keras can describe
    loss: str = ""
    findings: tuple[Finding, ...] = ()


def parse_answer(answer: dict[str, Any]) -> ReaderAnswer:
    """Return the answer with everything in it bounded and printable."""
    try:
        parsed = msgspec.convert(answer, ReaderAnswer)
    except (msgspec.ValidationError, ValueError, RecursionError) as error:
        raise _refusal(str(error)) from None
    if parsed.interface is not None:
        check_interface(parsed.interface)
    if len(parsed.facts) > _FACT_LIMIT or len(parsed.notes) > _NOTE_LIMIT or not all(map(_NAME.fullmatch, parsed.facts)):
        raise _refusal("too many facts or notes")
    facts = {name: shorten(value, 2000) if isinstance(value, str) else value for name, value in parsed.facts.items()}
    return msgspec.structs.replace(
        parsed,
        framework=shorten(parsed.framework, 100),
        facts=facts,
        notes=tuple(shorten(note, 500) for note in parsed.notes),
        problem=shorten(parsed.problem, 500),
        findings=tuple(Finding(item.is_unsafe, shorten(item.what, 500), shorten(item.where, 200)) for item in parsed.findings[:100]),
    )


def check_interface(interface: Interface) -> None:
    """Raise CorruptError unless names, shapes and the decision of `interface` mean something."""
    for what, specs in (("input", interface.inputs), ("output", interface.outputs)):
        if not 1 <= len(specs) <= _TENSOR_LIMIT or len({spec.name for spec in specs}) != len(specs):
            raise _refusal(f"the {what}s are none, too many or named twice")
        for spec in specs:
            if not _NAME.fullmatch(spec.name) or not _has_sound_shape(spec):
                raise _refusal(f"{what} '{shorten(spec.name)}' has no sound name or shape")
    names = {spec.name for spec in interface.outputs}
    decision = interface.decision
    if decision is not None and (decision.output not in names or decision.scores not in (names | {""})):
        raise _refusal("the decision is taken from an output that does not exist")
    if decision is not None and decision.kind is DecisionKind.ARGMAX and len(interface.output(decision.output).shape) < 2:
        raise _refusal("the decision is the largest of one score")


def _has_sound_shape(spec: TensorSpec) -> bool:
    is_small = len(spec.shape) <= _AXIS_LIMIT and all(size is None or 0 < size < 2**31 for size in spec.shape)
    return is_small and (not spec.columns or (len(spec.shape) == 2 and len(spec.columns) == spec.shape[1]))


def written_path(scratch: Path, file: str) -> Path:
    """Return the file or folder `file` that the worker wrote into `scratch`; a link, or anything beside it, is refused."""
    path = scratch / file
    if not _FILE.fullmatch(file):
        raise _refusal("it names a file outside its folder")
    try:
        found = [path, *(path.iterdir() if stat.S_ISDIR(path.lstat().st_mode) else ())]
        is_sound = all(stat.S_ISREG(item.lstat().st_mode) or item == path for item in found) and not path.is_symlink()
    except OSError:
        raise _refusal("the file that it names is not there") from None
    if not is_sound:
        raise _refusal("it left a link or a device")
    return path


def _refusal(what: str) -> CorruptError:
    return CorruptError(f"The import worker's answer is not sound: {shorten(what, 200)}.", hint=_HINT)
