"""Golden requests as an .npz file of data only: one member per tensor, named `inputs/<name>`, `outputs/<name>`, and `tolerance`.

Text is stored as fixed-width unicode, so that numpy opens the file without pickle. Equal values give equal bytes. Raises DataError for
text that would not come back as it was, CorruptError where a file is not what `write_golden` wrote. Never unpickles.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from fairlead.core.golden import Golden
from fairlead.core.interface import Array, Tensors, shorten
from fairlead.errors import CorruptError, DataError

_INPUTS, _OUTPUTS, _TOLERANCE, _SUFFIX = "inputs/", "outputs/", "tolerance", ".npy"


def write_golden(path: Path, golden: Golden) -> None:
    """Write `golden` to `path`."""
    tensors = {_INPUTS + name: tensor for name, tensor in golden.inputs.items()}
    tensors |= {_OUTPUTS + name: tensor for name, tensor in golden.outputs.items()}
    write_tensors(path, tensors | {_TOLERANCE: np.asarray(golden.tolerance, dtype=np.float64)})


def read_golden(path: Path) -> Golden:
    """Return what `write_golden` wrote."""
    tensors = read_tensors(path)
    inputs = {name.removeprefix(_INPUTS): tensor for name, tensor in tensors.items() if name.startswith(_INPUTS)}
    outputs = {name.removeprefix(_OUTPUTS): tensor for name, tensor in tensors.items() if name.startswith(_OUTPUTS)}
    tolerance = tensors.get(_TOLERANCE)
    if tolerance is None or tolerance.shape != () or tolerance.dtype != np.float64 or len(tensors) != len(inputs) + len(outputs) + 1:
        raise CorruptError(f"'{path.name}' does not hold golden requests.", hint="The registry's files were changed.")
    return Golden(inputs, outputs, float(tolerance))


def write_tensors(path: Path, tensors: Tensors) -> None:
    """Write named tensors to `path`, in their order; numpy.load opens it too."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, tensor in tensors.items():
            member = zipfile.ZipInfo(name + _SUFFIX)  # its date is fixed: equal tensors are equal files
            if member.filename != name + _SUFFIX:
                raise DataError(f"A tensor called '{shorten(name)}' cannot be stored.", hint="Rename it.")
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, _storable(name, tensor), allow_pickle=False)


def read_tensors(path: Path) -> dict[str, Array]:
    """Return what `write_tensors` wrote, in the same order."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(_SUFFIX): _read(archive, name) for name in archive.namelist()}
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError) as error:
        raise CorruptError(f"'{path.name}' does not hold tensors: {error}.", hint="The registry's files were changed.") from error


def _read(archive: zipfile.ZipFile, name: str) -> Array:
    with archive.open(name) as file:
        array: Array = np.lib.format.read_array(file, allow_pickle=False)
    return array.astype(object) if array.dtype.kind == "U" else array


def _storable(name: str, tensor: Array) -> Array:
    if tensor.dtype.kind not in "OU":
        return tensor
    if not all(isinstance(text, str) for text in tensor.flat):
        raise DataError(f"Tensor '{shorten(name)}' holds something that is not text.", hint="Replace missing values by a text.")
    fixed = tensor.astype(np.str_)
    if not np.array_equal(fixed.astype(object), tensor.astype(object)):
        raise DataError(f"Tensor '{shorten(name)}' holds text that ends in a zero character.", hint="Remove it.")
    return fixed
