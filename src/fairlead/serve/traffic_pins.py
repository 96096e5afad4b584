"""What a request says of who should answer it: a version or an arm, in HTTP headers or gRPC metadata.

Takes lower-case names and values as bytes; gives a Pin, or None where nothing is said. Raises RequestError for what cannot be meant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from fairlead.core.interface import shorten
from fairlead.errors import RequestError

VERSION_FIELD, ARM_FIELD = b"fairlead-version", b"fairlead-arm"
_VERSION = re.compile(rb"v?([1-9][0-9]{0,8})")
_ARM = re.compile(rb"[A-Za-z0-9._-]{1,32}")


class Pin(msgspec.Struct, frozen=True):
    """Either a version's number or an arm's name; the other one is 0 or ""."""

    number: int = 0
    arm: str = ""


def read_pin(fields: Mapping[bytes, bytes]) -> Pin | None:
    """Return what `fairlead-version` or `fairlead-arm` says."""
    version, arm = fields.get(VERSION_FIELD), fields.get(ARM_FIELD)
    if version is None and arm is None:
        return None
    if version is not None and arm is not None:
        raise RequestError("The request names a version and an arm.", hint="Send Fairlead-Version or Fairlead-Arm, not both.")
    if version is not None:
        match = _VERSION.fullmatch(version)
        if match is None:
            raise RequestError(f"Fairlead-Version is '{_text(version)}', not a version number.", hint="Write it like 4.")
        return Pin(number=int(match[1]))
    if arm is None or not _ARM.fullmatch(arm):
        raise RequestError(f"Fairlead-Arm is '{_text(arm or b'')}', which cannot name an arm.")
    return Pin(arm=arm.decode("ascii"))


def _text(value: bytes) -> str:
    return shorten(value.decode("latin-1"))
