"""What a check found. Pure values.

A check gives None where everything is as it should be. `Problem.is_required` is False where the protocol leaves the point open but real
clients rely on it: such a line is shown, and does not make the server fail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fairlead.probe.conformance.target import Target


@dataclass(frozen=True)
class Problem:
    """What was sent, what came, and what the protocol says instead."""

    sent: str
    came: str
    says: str
    is_required: bool = True


@dataclass(frozen=True)
class NotOffered:
    """The server does not list the extension, or says that it does not do this."""

    why: str


@dataclass(frozen=True)
class Skipped:
    """The check could not be made."""

    why: str


@dataclass(frozen=True)
class Remark:
    """As it should be, and this is worth knowing."""

    text: str


Outcome = Problem | NotOffered | Skipped | Remark | None


@dataclass(frozen=True)
class Check:
    """One named check of a line. `extension` has to be listed by the server; `needs` is "", "json" (a request that works, as JSON), "grpc"
    or "unload" (leave to load and unload models).
    """

    line: int
    name: str
    run: Callable[[Target], Outcome]
    extension: str = ""
    needs: str = "json"
