"""Reads PyTorch files: .pt2, TorchScript, and weights with the class that they belong to. Both functions run in the sandbox.

`read_in_sandbox` opens the file after the checks of `security.torch_check` and gives interface, facts and notes; `inspect_in_sandbox` says
what is in it and opens nothing. Raises SpecError where the user has to say more (`--input`, `--model-class`), SourceError for damage,
UnsafeContentError and UnsupportedError that name what is refused. Never trains.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairlead.core.artifact import ArtifactForm, SourceFormat
from fairlead.core.interface import shorten
from fairlead.errors import UnsafeContentError
from fairlead.ingest.torch_interface import describe
from fairlead.security.torch_check import check_program, check_script
from fairlead.security.torch_file import OpenModel, open_model
from fairlead.security.torch_pickle import element_count
from fairlead.security.torch_state import State, read_state
from fairlead.stores.document import to_plain

_TITLES = {"program": "exported program", "script": "TorchScript", "module": "module"}


def read_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return form, file (none), interface, framework, facts and notes; see ingest.catalog."""
    model = open_model(Path(arguments["path"]), str(arguments["format"]), arguments["options"], Path(arguments["scratch"]))
    interface, _ = describe(model)
    return {
        "form": ArtifactForm.TORCH_FILE.value,
        "file": "",
        "interface": to_plain(interface),
        "framework": f"torch {_version()} ({_TITLES[model.kind]})",
        "facts": _facts(model),
        "notes": [*model.notes, *device_notes(model.devices)],
    }


def inspect_in_sandbox(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known without torch: unsafe findings, numbers, and which devices the weights were on."""
    path, source_format = Path(arguments["path"]), str(arguments["format"])
    target = Path(arguments["scratch"]) / "checked"
    state = State({})
    try:
        if source_format == SourceFormat.TORCH_EXPORTED:
            checked = check_program(path, target)
            count, devices, notes = checked.parameter_count, checked.devices, checked.notes
        elif source_format == SourceFormat.TORCH_SCRIPT:
            checked = check_script(path, target)
            count, devices, notes = checked.parameter_count, checked.devices, checked.notes
        else:
            state = read_state(path, source_format)
            count = sum(element_count(tensor.sizes) for tensor in state.tensors.values())
            devices, notes = set(state.devices), list(state.notes)
    except UnsafeContentError as error:
        return {"framework": "torch", "findings": [{"is_unsafe": True, "what": error.message}]}
    finally:
        target.unlink(missing_ok=True)
    facts: dict[str, int | str] = {"parameter_count": count}
    if state.tensors:
        facts |= {"tensor_count": len(state.tensors), "tensors": shorten(", ".join(state.tensors), 500)}
        notes = [*notes, "it holds weights only: deploy it with --model-class module:Class"]
    return {"framework": "torch", "facts": facts, "notes": [*notes, *device_notes(devices)]}


def device_notes(devices: set[str] | frozenset[str]) -> list[str]:
    """Return the sentence about weights that were on another device; it stands in the lineage, too."""
    return [f"weights were on {', '.join(sorted(devices))}; moved to the CPU"] if devices else []


def _version() -> str:
    from importlib import metadata  # noqa: PLC0415 - only the child needs it

    return metadata.version("torch")


def _facts(model: OpenModel) -> dict[str, int | str]:
    facts: dict[str, int | str] = {"kind": _TITLES[model.kind], "parameter_count": model.parameter_count}
    if model.operators:
        facts["node_count"] = sum(model.operators.values())
        facts["operators"] = shorten(", ".join(sorted(model.operators)), 500)
    return facts
