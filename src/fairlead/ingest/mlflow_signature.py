"""The signature of an MLflow model: read from the texts in its MLmodel, and brought together with what the model itself says.

`parse_signature` takes the `signature` entry, gives a Signature; raises SourceError for what MLflow would not have written.
`apply_signature` takes the interface of the reader and gives it with what the signature adds, and sentences on where the two differ.
Law: the model itself wins wherever it says something; a signature that cannot belong to it is a SourceError, never passed over in silence.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec, shorten
from fairlead.errors import SourceError

_NUMBERS = ("boolean", "integer", "long", "float", "double")
_SCALARS = (*_NUMBERS, "string", "binary", "datetime")
_COLUMN_LIMIT, _TEXT_LIMIT = 100_000, 2**21
_HINT = "Save the model again with a signature that infer_signature made of its own rows."
# What libraries call the features of a table without names.
_NO_NAME = re.compile(r"(?:f|x|Column_|feature_)?(\d+)")


@dataclass(frozen=True)
class Column:
    """One column of a table: `type` is MLflow's name; "" for a name where there is none."""

    name: str
    type: str
    is_required: bool = True


@dataclass(frozen=True)
class SignatureTensor:
    """One tensor: NumPy's name of the type, and sizes with -1 for a free one."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Signature:
    """What the folder says about the model: columns or tensors that go in, tensors that come out, names of parameters of `predict`."""

    columns: tuple[Column, ...] = ()
    tensors: tuple[SignatureTensor, ...] = ()
    outputs: tuple[SignatureTensor, ...] = ()
    parameters: tuple[str, ...] = ()

    def input_specs(self) -> tuple[TensorSpec, ...]:
        """Return the tensors as inputs, for a file that does not record its own; empty for a table."""
        specs = []
        for position, tensor in enumerate(self.tensors):
            dtype = _dtype(tensor)
            if dtype is None:
                return ()
            sizes = (size if size > 0 else None for size in tensor.shape[1:])
            specs.append(TensorSpec(tensor.name or f"x{position or ''}", dtype, (None, *sizes)))
        return tuple(specs)


def parse_signature(entry: Any) -> Signature | None:
    """Return the signature that an MLmodel's `signature` entry holds; None where there is none."""
    if entry is None:
        return None
    if not isinstance(entry, dict):
        raise SourceError("The signature in the MLmodel file is not a mapping.", hint=_HINT)
    inputs, outputs, parameters = (_listed(entry.get(key), key) for key in ("inputs", "outputs", "params"))
    tensors = tuple(_tensor(item) for item in inputs if item.get("type") == "tensor")
    columns = tuple(_column(item) for item in inputs if item.get("type") != "tensor")
    if tensors and columns:
        raise SourceError("The signature in the MLmodel file mixes columns and tensors.", hint=_HINT)
    names = [name for name in (*(item.name for item in tensors), *(item.name for item in columns)) if name]
    if len(set(names)) != len(names):
        raise SourceError("The signature in the MLmodel file names an input twice.", hint=_HINT)
    return Signature(
        columns,
        tensors,
        tuple(_tensor(item) for item in outputs if item.get("type") == "tensor"),
        tuple(shorten(str(item.get("name", ""))) for item in parameters),
    )


def _listed(text: Any, what: str) -> list[dict[str, Any]]:
    """MLflow stores each part of a signature as a JSON text in the YAML file."""
    if text is None:
        return []
    try:
        items = json.loads(text) if isinstance(text, str) and len(text) <= _TEXT_LIMIT else None
    except (ValueError, RecursionError):
        raise SourceError(f"The signature's {what} in the MLmodel file are not JSON text.", hint=_HINT) from None
    if not isinstance(items, list) or len(items) > _COLUMN_LIMIT or not all(isinstance(item, dict) for item in items):
        raise SourceError(f"The signature's {what} in the MLmodel file are not a list.", hint=_HINT)
    return items


def _column(item: dict[str, Any]) -> Column:
    name, kind, is_required = item.get("name", ""), item.get("type"), item.get("required", not item.get("optional", False))
    if (
        not isinstance(name, str)
        or not name.isprintable()
        or len(name) > 200
        or not isinstance(kind, str)
        or not isinstance(is_required, bool)
    ):
        raise SourceError("The signature in the MLmodel file has a column that is none.", hint=_HINT)
    return Column(name, kind, is_required)


def _tensor(item: dict[str, Any]) -> SignatureTensor:
    spec, name = item.get("tensor-spec"), item.get("name") or ""
    shape = spec.get("shape") if isinstance(spec, dict) else None
    is_sound = isinstance(shape, list) and len(shape) <= 16 and all(type(size) is int and -1 <= size < 2**31 for size in shape)
    try:
        dtype = np.dtype(str(spec["dtype"])).name if isinstance(spec, dict) else ""
    except (KeyError, TypeError, ValueError):
        is_sound = False
    if not is_sound or not isinstance(shape, list) or not isinstance(name, str) or not name.isprintable():
        raise SourceError("The signature in the MLmodel file has a tensor without a known type and shape.", hint=_HINT)
    return SignatureTensor(name[:200], dtype, tuple(shape))


def apply_signature(interface: Interface, signature: Signature) -> tuple[Interface, tuple[str, ...]]:
    """Return `interface` with the column names that `signature` adds, and where the two differ."""
    said: list[str] = []
    if signature.parameters:
        said.append(f"the signature's parameters ({', '.join(signature.parameters[:10])}) are not passed on; the model runs with its own")
    if signature.columns:
        interface = replace(interface, inputs=_with_columns(interface.inputs, signature.columns, said))
    if signature.tensors:
        _compare_tensors(interface.inputs, signature.tensors, said)
    if len(interface.outputs) == len(signature.outputs) == 1 and not _may_be(interface.outputs[0], signature.outputs[0]):
        said.append(f"the signature's output {list(signature.outputs[0].shape)} is not the model's {interface.outputs[0].describe()}")
    return interface, tuple(said)


def _with_columns(specs: tuple[TensorSpec, ...], columns: tuple[Column, ...], said: list[str]) -> tuple[TensorSpec, ...]:
    unusual = [column.type for column in columns if column.type not in _SCALARS]
    is_flat = len(specs) == 1 and len(specs[0].shape) == 2
    has_one_each = len(specs) > 1 and all(spec.shape[1:] == (1,) for spec in specs)
    if unusual or not (is_flat or has_one_each):
        takes = ", ".join(spec.describe() for spec in specs)
        said.append(f"the signature's columns ({_listing(columns)}) are not used: the model takes {takes}")
        return specs
    specs = (_flat(specs[0], columns, said),) if is_flat else _one_each(specs, columns, said)
    _compare_types(specs, columns, said)
    return specs


def _flat(spec: TensorSpec, columns: tuple[Column, ...], said: list[str]) -> TensorSpec:
    """One table of n features: it gets the signature's names where the model has none."""
    names = tuple(column.name for column in columns)
    if spec.columns and not _is_unnamed(spec.columns):
        _compare_names(spec.columns, columns, said)
        return spec
    if spec.shape[1] not in (None, len(columns)):
        raise SourceError(f"The MLflow signature has {len(columns)} columns, the model takes {spec.shape[1]}.", hint=_HINT)
    return replace(spec, shape=(spec.shape[0], len(names)), columns=names) if all(names) else spec


def _one_each(specs: tuple[TensorSpec, ...], columns: tuple[Column, ...], said: list[str]) -> tuple[TensorSpec, ...]:
    own = tuple(spec.columns[0] if spec.columns else spec.name for spec in specs)
    if not _is_unnamed(own):
        _compare_names(own, columns, said)
        return specs
    if len(specs) != len(columns):
        raise SourceError(f"The MLflow signature has {len(columns)} columns, the model takes {len(specs)}.", hint=_HINT)
    return tuple(replace(spec, columns=(column.name,)) if column.name else spec for spec, column in zip(specs, columns, strict=True))


def _compare_names(own: tuple[str, ...], columns: tuple[Column, ...], said: list[str]) -> None:
    by_name = {column.name: column for column in columns if column.name}
    if not by_name:
        if len(columns) != len(own):
            raise SourceError(f"The MLflow signature has {len(columns)} columns, the model takes {len(own)}.", hint=_HINT)
        return
    missing = [name for name in own if name not in by_name]
    extra = [name for name in by_name if name not in own]
    if missing or any(by_name[name].is_required for name in extra):
        differing = ", ".join(f"'{shorten(name)}'" for name in (missing or extra)[:5])
        raise SourceError(f"The MLflow signature and the model do not name the same columns: {differing}.", hint=_HINT)
    if extra:
        said.append(f"columns that the signature calls optional and the model does not take: {', '.join(map(shorten, extra[:10]))}")


def _compare_types(specs: tuple[TensorSpec, ...], columns: tuple[Column, ...], said: list[str]) -> None:
    by_name = {column.name: column for column in columns}
    for spec in specs:
        names = spec.columns or (() if spec.name not in by_name else (spec.name,))
        found = [by_name[name] for name in names if name in by_name]
        texts = [column for column in found if (column.type in ("string", "binary")) != (spec.dtype is DType.BYTES)]
        if spec.is_category:  # a whole number stands for its text
            texts = [column for column in texts if column.type not in ("integer", "long")]
        differing = [column for column in texts if column.type != "datetime"]
        if differing:
            said.append(f"the signature calls {_listing(tuple(differing))}, the model takes {spec.dtype.value} there")
        dates = [column.name for column in found if column.type == "datetime"]
        if dates:
            said.append(
                f"dates ({', '.join(map(shorten, dates[:10]))}) reach the model as {'text' if spec.dtype is DType.BYTES else 'numbers'}"
            )
    optional = [column.name for column in columns if not column.is_required]
    if optional:
        said.append(f"the signature calls these columns optional: {', '.join(map(shorten, optional[:10]))}; give NaN where one is missing")


def _compare_tensors(specs: tuple[TensorSpec, ...], tensors: tuple[SignatureTensor, ...], said: list[str]) -> None:
    if len(specs) != len(tensors):
        raise SourceError(f"The MLflow signature has {len(tensors)} tensors, the model takes {len(specs)}.", hint=_HINT)
    by_name = {tensor.name: tensor for tensor in tensors}
    if len(specs) > 1 and set(by_name) != {spec.name for spec in specs}:
        said.append(f"the signature calls the inputs {', '.join(by_name)}; the model's own names are {', '.join(s.name for s in specs)}")
        return
    for spec in specs:
        tensor = by_name.get(spec.name, tensors[0]) if len(specs) == 1 else by_name[spec.name]
        if not _may_be(spec, tensor):
            raise SourceError(f"The MLflow signature says {list(tensor.shape)}, the model takes {spec.describe()}.", hint=_HINT)
        if _dtype(tensor) is not spec.dtype:
            said.append(f"the signature says {tensor.dtype} for '{spec.name}', the model takes {spec.dtype.value}")
        if any(want is None and size > 0 for want, size in zip(spec.shape[1:], tensor.shape[1:], strict=True)):
            said.append(f"the signature knows '{spec.name}' as {list(tensor.shape)} only; the model takes other sizes, too")


def _may_be(spec: TensorSpec, tensor: SignatureTensor) -> bool:
    sizes = zip(spec.shape[1:], tensor.shape[1:], strict=False)
    return len(spec.shape) == len(tensor.shape) and all(want is None or size < 0 or want == size for want, size in sizes)


def _dtype(tensor: SignatureTensor) -> DType | None:
    try:
        return DType.of(np.dtype(tensor.dtype))
    except (KeyError, TypeError, ValueError):
        return None


def _is_unnamed(names: tuple[str, ...]) -> bool:
    """Whether the names only count: f0, f1, ... or 1, 2, ..."""
    found = [_NO_NAME.fullmatch(name) for name in names]
    numbers = [int(match[1]) for match in found if match]
    return len(numbers) == len(names) and numbers in (list(range(len(names))), list(range(1, len(names) + 1)))


def _listing(columns: tuple[Column, ...]) -> str:
    shown = ", ".join(f"{shorten(column.name) or '?'}: {shorten(column.type)}" for column in columns[:10])
    return shown + (f" and {len(columns) - 10} more" if len(columns) > 10 else "")
