"""A module of the user's own class, with weights from a file put into it. For the sandboxed worker only: this runs the user's code.

Takes a State, "module:Class" (or a function that returns the model) and its arguments; gives the module in inference mode. Raises SpecError
where the class cannot be found or made, UnsupportedError that names every weight that is missing, left over or of another shape: nothing
is loaded partially.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from fairlead.core.interface import shorten
from fairlead.errors import SpecError, UnsupportedError
from fairlead.security.torch_state import State, StateTensor

_SHOWN = 8


def build_module(torch: Any, state: State, location: str, arguments: Mapping[str, Any]) -> tuple[Any, tuple[str, ...]]:
    """Return the module that `location` names, with the weights of `state`, and sentences for the user."""
    module = _make(torch, location, arguments)
    wanted = module.state_dict()
    tensors = {name: _tensor(torch, tensor) for name, tensor in state.tensors.items()}
    tied = _tied(wanted, tensors)
    tensors |= {name: tensors[other] for name, other in tied.items()}
    _check_fit(location, wanted, tensors)
    changed = sorted({f"{tensor.dtype}".removeprefix("torch.") for name, tensor in tensors.items() if tensor.dtype != wanted[name].dtype})
    module.load_state_dict(tensors, strict=True)
    module.eval()
    notes = [f"weights saved as {', '.join(changed)} are computed with in the type of the class's own"] if changed else []
    return module, (*notes, *(f"'{name}' shares the weights of '{other}'" for name, other in list(tied.items())[:_SHOWN]))


def _make(torch: Any, location: str, arguments: Mapping[str, Any]) -> Any:
    module_name, _, name = location.partition(":")
    try:
        factory = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise SpecError(
            f"The class {shorten(location)} cannot be imported: {shorten(str(error), 200)}.",
            hint="Give --model-class module:Class, and --import-path with the folder of the module.",
        ) from error
    except Exception as error:  # importing the user's module runs it
        raise SpecError(
            f"The module of {shorten(location)} fails: {_first_line(error)}.", hint="Import it in Python to see why."
        ) from error
    try:
        module = factory(**arguments)
    except Exception as error:  # the user's own code
        raise SpecError(
            f"{shorten(location)} cannot be made: {_first_line(error)}.", hint="Give what it needs with --model-arg name=value."
        ) from error
    if not isinstance(module, torch.nn.Module):
        raise SpecError(f"{shorten(location)} gives a {type(module).__name__}, not a torch.nn.Module.", hint="Name the model's class.")
    return module


def _first_line(error: Exception) -> str:
    first = next((line for line in str(error).splitlines() if line.strip()), "")
    return shorten(f"{type(error).__name__}: {first}".rstrip(": ."), 200)


def _tensor(torch: Any, tensor: StateTensor) -> Any:
    dtype = getattr(torch, tensor.dtype)
    if not tensor.data:
        return torch.empty(tensor.sizes, dtype=dtype)
    flat = torch.frombuffer(bytearray(tensor.data), dtype=dtype)
    return flat.as_strided(tensor.sizes, tensor.strides, tensor.offset)


def _tied(wanted: Mapping[str, Any], tensors: Mapping[str, Any]) -> dict[str, str]:
    """Return missing weight -> the one that it shares its numbers with in the class: safetensors keeps only one of them."""
    places: dict[tuple[int, Any, Any], str] = {}
    for name in tensors:
        if name in wanted:
            places.setdefault(_place(wanted[name]), name)
    missing = [name for name in wanted if name not in tensors and wanted[name].numel()]
    return {name: places[_place(wanted[name])] for name in missing if _place(wanted[name]) in places}


def _place(tensor: Any) -> tuple[int, Any, Any]:
    return tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride())


def _check_fit(location: str, wanted: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    problems = []
    for what, names in (("lacks", wanted.keys() - given.keys()), ("has no place for", given.keys() - wanted.keys())):
        if names:
            shown = ", ".join(sorted(names)[:_SHOWN])
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            subject = "the file" if what == "lacks" else "the class"
            problems.append(f"{subject} {what} {shorten(shown, 300)}{more}")
    for name in sorted(wanted.keys() & given.keys()):
        mine, other = tuple(wanted[name].shape), tuple(given[name].shape)
        if mine != other and len(problems) < _SHOWN:
            problems.append(f"{shorten(name)} has shape {list(other)} in the file and {list(mine)} in the class")
    if problems:
        raise UnsupportedError(
            f"The weights do not belong to {shorten(location)}: {'; '.join(problems)}.",
            hint="Name the class that they were saved from, with the arguments that it was made with (--model-arg).",
        )
