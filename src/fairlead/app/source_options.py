"""What the user says about a file that does not say it itself: from flags, fairlead.yaml and the data -> core SourceOptions.

Raises SpecError for a flag that cannot be read, DataError for data that cannot. Imports none of the user's code: the sandbox does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fairlead.core.artifact import SourceOptions
from fairlead.core.dtype import DType
from fairlead.core.interface import TensorSpec, shorten
from fairlead.datasets.load import peek
from fairlead.errors import SpecError

# Files of these names may lack the shapes of their inputs.
_SHAPELESS = {".pt", ".pth", ".safetensors"}
_INPUT = re.compile(r"^\s*(?P<name>[^=\s]{1,200})\s*=\s*(?P<dtype>[A-Za-z0-9]+)\s*\[(?P<dims>[^\]]*)\]\s*$")
_CLASS = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
_NUMPY_NAMES = {
    "float32": "FP32",
    "float": "FP32",
    "float64": "FP64",
    "double": "FP64",
    "float16": "FP16",
    "string": "BYTES",
    "str": "BYTES",
}
_EXAMPLE = "Write it like --input 'x=float32[batch,3,224,224]'; a name or ? in place of a number leaves a size free."


def parse_options(
    model_class: str | None, arguments: Iterable[str], inputs: Iterable[str], import_paths: Iterable[Path], signature: str | None = None
) -> SourceOptions:
    """Return what the flags say. The current folder is where a class's module is looked for unless a path is given."""
    if model_class is not None and not _CLASS.fullmatch(model_class):
        raise SpecError(f"'{shorten(model_class)}' does not name a class.", hint="Write it like --model-class package.module:Class.")
    paths = tuple(import_paths) or ((Path.cwd(),) if model_class else ())
    for path in paths:
        if not path.is_dir():
            raise SpecError(f"'{path}' is not a folder.", hint="Name the folder that holds the module: --import-path src.")
    return SourceOptions(
        model_class=model_class or "",
        model_arguments=dict(map(_argument, arguments)),
        import_paths=paths,
        inputs=tuple(map(parse_input, inputs)),
        signature=signature or "",
    )


def parse_input(text: str) -> TensorSpec:
    """Return the input that e.g. `x=float32[batch,1,28,28]` describes; the first dimension is the batch and always free."""
    match = _INPUT.match(text)
    if match is None:
        raise SpecError(f"Cannot read the input '{shorten(text)}'.", hint=_EXAMPLE)
    word = match["dtype"].lower()
    try:
        dtype = DType(_NUMPY_NAMES.get(word, word.upper()))
    except ValueError:
        raise SpecError(f"'{match['dtype']}' is not an element type.", hint=f"Known: {', '.join(DType)}.") from None
    sizes = [part.strip() for part in match["dims"].split(",")] if match["dims"].strip() else []
    if not sizes or any(not size for size in sizes):
        raise SpecError(f"The input '{shorten(text)}' has no batch dimension.", hint=_EXAMPLE)
    shape = (None, *(int(size) if size.isdecimal() else None for size in sizes[1:]))
    if any(size == 0 for size in shape):
        raise SpecError(f"The input '{shorten(text)}' has a size of 0.", hint=_EXAMPLE)
    return TensorSpec(match["name"], dtype, shape)


def complete_options(options: SourceOptions, model: Path, data: Path | tuple[Any, Any] | None, target: str | None) -> SourceOptions:
    """Return `options` with the inputs that the data's arrays have, for a file that may not record its own and a user who gave none."""
    if options.inputs or model.suffix.lower() not in _SHAPELESS or not isinstance(data, Path):
        return options
    return replace(options, inputs=peek(data, target=target))


def _argument(text: str) -> tuple[str, str | int | float | bool | None]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise SpecError(f"Cannot read the argument '{shorten(text)}'.", hint="Write it like --model-arg hidden=128.")
    try:
        parsed = json.loads(value)
    except ValueError:
        parsed = value
    if not isinstance(parsed, str | int | float | bool | None):
        raise SpecError(f"The argument '{name}' is not a plain value.", hint="Give a number, text, true, false or null.")
    return name, parsed
