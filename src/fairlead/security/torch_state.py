"""A dictionary of tensors, from a PyTorch archive (.pt, .pth) or a safetensors file, without PyTorch's loader and without its pickle.

Takes a path; gives names with numbers as bytes. Raises UnsafeContentError for whatever is not numbers, SourceError for damage,
UnsupportedError for a checkpoint in which it is not clear which tensors are the model's. Never imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairlead.core.artifact import SourceFormat
from fairlead.core.interface import shorten
from fairlead.errors import UnsafeContentError, UnsupportedError
from fairlead.security.archive import open_zip
from fairlead.security.safetensors_check import read_safetensors
from fairlead.security.torch_check import Checked, Members, check_storages
from fairlead.security.torch_pickle import STATE_GLOBALS, TensorRecord, parse

# Where training loops keep the weights within a checkpoint, and what wrappers put before the names.
_PLACES = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params")
_WRAPPERS = ("module.", "_orig_mod.")
_TENSOR_LIMIT = 100_000


@dataclass(frozen=True)
class StateTensor:
    """Numbers of one tensor: `data` is its whole storage, of which it is a view."""

    dtype: str
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class State:
    """Tensors by name; devices other than the CPU that they were saved from; sentences for the user."""

    tensors: Mapping[str, StateTensor]
    devices: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def read_state(path: Path, source_format: str) -> State:
    """Return the tensors of the model in the file at `path`."""
    if source_format == SourceFormat.SAFETENSORS:
        state = State({name: StateTensor(*found) for name, found in read_safetensors(path).items()})
    else:
        state = _read_archive(path)
    return _unwrapped(state)


def _read_archive(path: Path) -> State:
    with open_zip(path) as archive:
        members = Members(archive)
        members.check_small()
        parsed = parse(members.read("data.pkl"), STATE_GLOBALS)
        checked = Checked()
        held = check_storages(members, parsed.storages, "data", checked)
        members.refuse_rest(["data.pkl", *held])
        records, notes = _find(parsed.value)
        data = {key: members.weights(f"data/{key}") for key in {record.storage.key for record in records.values()}}
    tensors = {
        name: StateTensor(record.storage.dtype, record.sizes, record.strides, record.offset, data[record.storage.key])
        for name, record in records.items()
    }
    return State(tensors, frozenset(checked.devices), notes)


def _find(value: Any) -> tuple[dict[str, TensorRecord], tuple[str, ...]]:
    """Return the tensors of the model: the whole dictionary, or the one within a checkpoint that training loops keep them in."""
    if not isinstance(value, dict):
        raise UnsupportedError(
            "The file holds something other than a dictionary.", hint="Save the weights: torch.save(model.state_dict(), path)."
        )
    if _is_state(value):
        return value, ()
    places = [place for place in _PLACES if _is_state(value.get(place))]
    if len(places) != 1:
        what = f"several: {', '.join(places)}" if places else "none"
        raise UnsupportedError(
            f"The file holds a checkpoint, and which dictionary of tensors in it is the model's is not clear (found {what}).",
            hint="Save the weights alone: torch.save(model.state_dict(), path).",
        )
    rest = ", ".join(str(key) for key in value if key != places[0])
    return value[places[0]], (f"the weights are '{places[0]}' of a checkpoint; left out: {shorten(rest, 200)}",)


def _is_state(value: Any) -> bool:
    if not isinstance(value, dict) or not 0 < len(value) <= _TENSOR_LIMIT:
        return False
    return all(isinstance(key, str) and isinstance(item, TensorRecord) for key, item in value.items())


def _unwrapped(state: State) -> State:
    """Return the state without what DataParallel and torch.compile put before every name."""
    for name, tensor in state.tensors.items():
        if not name.isprintable() or len(name) > 512 or len(tensor.sizes) > 32:
            raise UnsafeContentError(f"A weight is called '{shorten(name)}'.", hint="Save the model again.")
    for prefix in _WRAPPERS:
        if all(name.startswith(prefix) for name in state.tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in state.tensors.items()}
            return State(tensors, state.devices, (*state.notes, f"'{prefix}' taken off the names of the weights"))
    return state
