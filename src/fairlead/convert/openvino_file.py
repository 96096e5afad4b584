"""What OpenVINO IR from the sandbox must be before this process lets the library read it.

Takes model.xml and model.bin. Raises CorruptError for a document with declarations of its own, for operators outside of OpenVINO's sets,
and for constants that lie outside of model.bin. Never follows anything that the document names.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

from fairlead.errors import CorruptError

_LIMIT_BYTES = 256 * 2**20
_SET = re.compile(r"opset\d{1,2}")
_NUMBER = re.compile(r"\d{1,15}")


def check_files(document: Path, weights: Path) -> None:
    """Raise unless every layer is of a standard operator set and every constant lies inside of `weights`."""
    if document.stat().st_size > _LIMIT_BYTES:
        raise _broken("its description is too large")
    text = document.read_bytes()
    if b"<!" in text:
        raise _broken("its description declares something of its own")
    try:
        root = ET.fromstring(text)  # noqa: S314 - declarations, which bombs need, are refused before
    except ET.ParseError:
        raise _broken("its description is no XML") from None
    size = weights.stat().st_size
    for layer in root.iter("layer"):
        if not _SET.fullmatch(layer.get("version", "")):
            raise _broken(f"the operator {layer.get('type')} is not a standard one")
        data = layer.find("data")
        if layer.get("type") == "Const" and (data is None or _end(data) > size):
            raise _broken("a constant lies outside of its weights")


def _end(data: ET.Element) -> int:
    places = [data.get("offset", ""), data.get("size", "")]
    if not all(_NUMBER.fullmatch(place) for place in places):
        raise _broken("a constant does not say where it lies")
    return sum(map(int, places))


def _broken(problem: str) -> CorruptError:
    return CorruptError(f"The model for OpenVINO cannot be used: {problem}.", hint="Please report this model.")
