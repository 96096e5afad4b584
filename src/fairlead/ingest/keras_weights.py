"""The arrays of a Keras file, matched with the variables that its config implies.

Takes built layers and raw arrays; gives each layer's arrays by role. Raises SourceError where one is missing, has another shape or belongs
to no layer. Keras's own order is the law; the names in the file must agree with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from fairlead.core.interface import Array, shorten
from fairlead.errors import SourceError
from fairlead.ingest.keras_graph import BuiltLayer
from fairlead.ingest.keras_names import MODEL_CLASSES
from fairlead.ingest.keras_variables import Variable, variables

Key: TypeAlias = tuple[str, ...]
LayerArrays: TypeAlias = dict[Key, dict[str, Array]]
_DAMAGED = "The file is damaged or its parts come from different models. Save the model again."


@dataclass(frozen=True)
class RawWeights:
    """Arrays by path in the file, without those of training. `names` lists the weights of each layer where the file does (.h5);
    `labels` are the names of layers by path where the file has them (.keras).
    """

    arrays: Mapping[str, Array] = field(repr=False)
    names: Mapping[str, Sequence[str]] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Wanted:
    key: Key
    layer: BuiltLayer
    variable: Variable


def match_weights(config: Mapping[str, Any], layers: Mapping[Key, BuiltLayer], raw: RawWeights) -> LayerArrays:
    """Return the arrays of every layer by role; `config` is the model's, whose order of layers counts."""
    found, used = _match_listed(config, layers, raw) if raw.names is not None else _match_numbered(config, layers, raw)
    for path in raw.arrays.keys() - used:
        raise SourceError(f"The array '{shorten(path)}' belongs to no layer of the model.", hint=_DAMAGED)
    return found


def _wanted(key: Key, layer: BuiltLayer) -> list[_Wanted]:
    has_statistics = layer.source.get("mean") is None
    try:
        expected = variables(layer.kind, layer.config, layer.arguments, has_statistics=has_statistics)
    except ValueError as error:
        raise SourceError(f"Layer '{shorten(layer.name)}' does not fit its input: {error}.", hint=_DAMAGED) from None
    return [_Wanted(key, layer, variable) for variable in expected]


def _leaves(node: Mapping[str, Any], owners: Key) -> Iterator[Key]:
    """Yield the keys of all layers in `node` in the order of the config."""
    for layer in node["layers"]:
        key = (*owners, str(layer["config"].get("name")))
        if layer["class_name"] in MODEL_CLASSES:
            yield from _leaves(layer["config"], key)
        else:
            yield key


def _match_listed(config: Mapping[str, Any], layers: Mapping[Key, BuiltLayer], raw: RawWeights) -> tuple[LayerArrays, set[str]]:
    """.h5: one list of weight names for each layer of the outermost model; those of a nested model follow each other in it."""
    found: LayerArrays = {}
    used: set[str] = set()
    for group, names in (raw.names or {}).items():
        keys = [key for key in _leaves(config, ()) if key[0] == group]
        wanted = [item for key in keys if key in layers for item in _wanted(key, layers[key])]
        wanted.sort(key=lambda item: not (item.variable.is_trained and item.layer.is_trainable))  # stable: Keras lists those first
        kept = [name for name in names if _last(name) != "count"]  # how many rows a Normalization saw
        used |= {f"{group}/{name}" for name in names}
        matched = _in_order(wanted, kept, group, raw) or _by_name(wanted, kept, group, raw)
        if matched is None:
            raise SourceError(
                f"The weights of layer '{shorten(group)}' do not fit its config: expected {_describe(wanted)}, "
                f"found {shorten(', '.join(f'{_last(name)} {list(_array(raw, group, name).shape)}' for name in kept), 300) or 'none'}.",
                hint=_DAMAGED,
            )
        for item, name in matched:
            found.setdefault(item.key, {})[item.variable.role] = _array(raw, group, name)
    for key, layer in layers.items():
        missing = [item for item in _wanted(key, layer) if item.variable.role not in found.get(key, {})]
        if missing:
            raise SourceError(f"Layer '{shorten(layer.name)}' has no {missing[0].variable.role} in the file.", hint=_DAMAGED)
    return found, used


def _array(raw: RawWeights, group: str, name: str) -> Array:
    array = raw.arrays.get(f"{group}/{name}")
    if array is None:
        raise SourceError(f"The weight '{shorten(name)}' of layer '{shorten(group)}' is not in the file.", hint=_DAMAGED)
    return array


def _last(name: str) -> str:
    return name.rpartition("/")[2].partition(":")[0]


def _in_order(wanted: Sequence[_Wanted], names: Sequence[str], group: str, raw: RawWeights) -> list[tuple[_Wanted, str]] | None:
    if len(wanted) != len(names):
        return None
    pairs = list(zip(wanted, names, strict=True))
    fits = all(_is_called(item, name) and _fits(item.variable.shape, _array(raw, group, name)) for item, name in pairs)
    return pairs if fits else None


def _by_name(wanted: Sequence[_Wanted], names: Sequence[str], group: str, raw: RawWeights) -> list[tuple[_Wanted, str]] | None:
    """Frozen layers within a nested model change the order; then each name has to point at one layer only."""
    if len(wanted) != len(names):
        return None
    pairs = []
    for item in wanted:
        places = [
            name
            for name in names
            if item.layer.name in name.split("/") and _is_called(item, name) and _fits(item.variable.shape, _array(raw, group, name))
        ]
        if len(places) != 1:
            return None
        pairs.append((item, places[0]))
    return pairs if len({name for _, name in pairs}) == len(names) else None


def _is_called(item: _Wanted, name: str) -> bool:
    # Some files number variables ("vars/0") or suffix them ("kernel_1").
    last = re.sub(r"_\d+$", "", _last(name))
    if last.isdigit():
        return True
    if last not in item.variable.known_names:
        return False
    parts = item.variable.role.split("/")
    # The parts of attention differ by name only: query/kernel and key/kernel may have one shape.
    return item.layer.kind != "MultiHeadAttention" or parts[0] in name.split("/")


def _fits(shape: Sequence[int | None], array: Array) -> bool:
    return len(shape) == array.ndim and all(want in (None, got) for want, got in zip(shape, array.shape, strict=True))


def _describe(wanted: Sequence[_Wanted]) -> str:
    parts = (f"{item.variable.role} {['?' if size is None else size for size in item.variable.shape]}" for item in wanted)
    return shorten(", ".join(parts), 300) or "none"


def _match_numbered(config: Mapping[str, Any], layers: Mapping[Key, BuiltLayer], raw: RawWeights) -> tuple[LayerArrays, set[str]]:
    """.keras: folders named by class and counted, with numbered variables."""
    places = dict(_places(config, (), ""))
    found: LayerArrays = {}
    used = {path for path in raw.arrays if "seed_generator" in path.split("/")}  # the state of random layers
    for key, layer in layers.items():
        if key not in places:  # an operator such as x + y
            continue
        place = _first_place(key, places, layers, raw)
        label = raw.labels.get(f"{place}/vars")
        if label not in (None, layer.name):
            raise SourceError(f"The weights of layer '{shorten(layer.name)}' are those of '{shorten(str(label))}'.", hint=_DAMAGED)
        wanted = _wanted(key, layer)
        for item in wanted:
            path = _numbered_path(place, item.variable, raw)
            if path is None or not _fits(item.variable.shape, raw.arrays[path]):
                what = "is missing" if path is None else f"has the shape {list(raw.arrays[path].shape)}"
                raise SourceError(f"Layer '{shorten(layer.name)}': {_describe([item])} {what} in the file.", hint=_DAMAGED)
            used.add(path)
            found.setdefault(key, {})[item.variable.role] = raw.arrays[path]
        if layer.kind == "Normalization" and wanted:
            used.add(f"{place}/vars/2")  # count
    return found, used


def _first_place(key: Key, places: Mapping[Key, str], layers: Mapping[Key, BuiltLayer], raw: RawWeights) -> str:
    """Return where the weights of `key` lie. Keras writes a layer that is shared between models once, where it meets it first."""
    place = places[key]
    if any(path.startswith(f"{place}/") for path in raw.arrays):
        return place
    others = [
        places[other]
        for other, layer in layers.items()
        if other != key
        and other in places
        and (other[-len(key) :] == key or key[-len(other) :] == other)
        and (layer.kind, layer.config) == (layers[key].kind, layers[key].config)
        and any(path.startswith(f"{places[other]}/") for path in raw.arrays)
    ]
    return others[0] if len(others) == 1 else place


def _numbered_path(place: str, variable: Variable, raw: RawWeights) -> str | None:
    # Keras 2 and early Keras 3 write the private names of attributes: _query_dense.
    for folder in (variable.folder, f"_{variable.folder}"):
        path = "/".join(part for part in (place, folder, "vars", str(variable.index)) if part)
        if path in raw.arrays:
            return path
    return None


def _places(node: Mapping[str, Any], owners: Key, prefix: str) -> Iterator[tuple[Key, str]]:
    counts: dict[str, int] = {}
    for layer in node["layers"]:
        if ".ops" in str(layer.get("module")):
            continue
        name = _snake(layer["class_name"])
        count = counts.get(name, 0)
        counts[name] = count + 1
        place = f"{prefix}layers/{name}{f'_{count}' if count else ''}"
        key = (*owners, str(layer["config"].get("name")))
        if layer["class_name"] in MODEL_CLASSES:
            yield from _places(layer["config"], key, f"{place}/")
        else:
            yield key, place


def _snake(class_name: str) -> str:
    """Return how Keras names the folder of a class: GlobalAveragePooling1D -> global_average_pooling1d."""
    split = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", class_name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", split).lower()


def finish(layer: BuiltLayer, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return a layer's arrays as core.layer_graph has them: float32, and statistics of Normalization in a shape that broadcasts."""
    result = {role: as_float32(layer.name, array) for role, array in arrays.items()}
    if layer.kind == "Normalization":
        shape = next(iter(layer.arguments.values()))[0]
        axis = layer.config["axis"]
        kept = {item % len(shape) for item in (axis if isinstance(axis, list) else [] if axis is None else [axis])}
        if any(shape[place] is None for place in kept):
            raise SourceError(f"Layer '{shorten(layer.name)}' normalizes an axis of free size.", hint=_DAMAGED)
        sizes = tuple((shape[place] or 0) if place in kept else 1 for place in range(len(shape)))
        for role in ("mean", "variance"):
            value = result.get(role)
            if value is None:
                value = as_float32(layer.name, np.asarray(layer.source.get(role)))
            result[role] = value.reshape(sizes) if value.size == np.prod(sizes) else np.broadcast_to(value, sizes)
    return result


def as_float32(name: str, array: Array) -> Array:
    """Return `array` as float32; raises SourceError where it does not hold numbers."""
    if array.dtype.kind not in "fiu":
        raise SourceError(f"A weight of layer '{shorten(name)}' holds {array.dtype}, not numbers.", hint=_DAMAGED)
    return np.ascontiguousarray(array, dtype=np.float32)
