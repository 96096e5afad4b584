"""The parameters of a request in the V2 protocol: which are honoured, which are refused, which are the caller's own.

Takes names and values as they came, over REST or gRPC; gives the priority, the deadline and the caller's own parameters. Raises
RequestError for one that would change the answer and is not offered, since to ignore it would be a wrong answer, and for a value out of
range. Sources: the extensions schedule_policy, parameters, sequence, classification and shared_memory of the protocol.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from fairlead.core.interface import shorten
from fairlead.errors import RequestError

Value: TypeAlias = str | int | float | bool
PRIORITY_LIMIT = 2**32 - 1
_COUNT_LIMIT = 64
# Not offered. At these values they ask for nothing, and clients that always send them are not in the way.
_REFUSED: dict[str, object] = {
    "sequence_id": 0,
    "sequence_start": False,
    "sequence_end": False,
    "headers": None,
    "classification": 0,
    "shared_memory_region": None,
    "shared_memory_offset": None,
    "shared_memory_byte_size": None,
}


class Parameters(msgspec.Struct, frozen=True):
    """What a request's parameters ask for. `priority`: 1 is the highest, 0 the default; `deadline`: time.monotonic() seconds after which
    the work is not begun; `is_binary` asks for raw outputs; `rest` is the caller's own.
    """

    priority: int = 0
    deadline: float = math.inf
    is_binary: bool = False
    rest: Mapping[str, Value] = {}


NONE = Parameters()
_BINARY = Parameters(is_binary=True)


def read_parameters(given: Mapping[str, Value | None]) -> Parameters:
    """Return what a request's parameters ask for; `timeout` is in microseconds from now, 0 for none."""
    if not given:
        return NONE
    if len(given) == 1 and given.get("binary_data_output") is True:
        return _BINARY  # what clients say that send raw tensors
    _check(given)
    priority = _whole(given, "priority", PRIORITY_LIMIT)
    timeout_us = _whole(given, "timeout", 2**63 - 1)
    is_binary = given.get("binary_data_output")
    if is_binary is not None and not isinstance(is_binary, bool):
        raise RequestError("The parameter 'binary_data_output' is not true or false.")
    rest = {name: value for name, value in given.items() if value is not None and name not in _OWN and name not in _REFUSED}
    return Parameters(priority, time.monotonic() + timeout_us / 1e6 if timeout_us else math.inf, bool(is_binary), rest)


def check_tensor_parameters(given: Mapping[str, Value | None]) -> None:
    """Raise RequestError for a parameter of a tensor that asks for what is not offered. The binary extension's are the transport's."""
    if len(given) != 1 or _BINARY_SIZE not in given:
        _check(given)


_BINARY_SIZE = "binary_data_size"
_OWN = frozenset({"priority", "timeout", "binary_data_output"})


def _check(given: Mapping[str, Value | None]) -> None:
    if len(given) > _COUNT_LIMIT:
        raise RequestError(f"There are {len(given)} parameters, allowed are {_COUNT_LIMIT}.")
    for name, value in given.items():
        if name in _REFUSED and value is not None and value != _REFUSED[name] and value != "":
            raise RequestError(f"The parameter '{name}' is not offered here.", hint="Leave it out.")
        if name.startswith("triton_"):
            raise RequestError(f"The parameter '{shorten(name)}' is reserved, as all that start with 'triton_'.", hint="Leave it out.")


def _whole(given: Mapping[str, Value | None], name: str, limit: int) -> int:
    value = given.get(name)
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
        raise RequestError(f"The parameter '{name}' is not a whole number from 0 to {limit}.")
    return value
