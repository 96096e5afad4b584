"""Which loaded versions give way when memory is needed: pure.

Takes what is resident and a need; gives the versions to put to sleep, or None where no choice would make room. Laws: a version with
requests in flight never gives way, nor does one that is protected; what was used longest ago goes first; nobody goes where it would not
suffice, and nobody more than needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Resident:
    """A version in memory. `last_used` only orders: higher is later. A `spare` one serves nobody and goes before all others."""

    name: str
    number: int
    memory_bytes: int
    last_used: int
    is_busy: bool = False
    is_protected: bool = False
    is_spare: bool = False


def choose_victims(residents: Sequence[Resident], *, held_bytes: int, need_bytes: int, budget_bytes: int) -> tuple[Resident, ...] | None:
    """Return who gives way so that `need_bytes` more fit; None where they would not fit even then. A budget of 0 has no end.

    `held_bytes` is what is in memory or promised altogether, the residents included.
    """
    missing = 0 if budget_bytes == 0 else held_bytes + need_bytes - budget_bytes
    victims: list[Resident] = []
    for resident in sorted(residents, key=lambda item: (not item.is_spare, item.last_used)):
        if missing <= 0:
            break
        if not resident.is_busy and not resident.is_protected:
            victims.append(resident)
            missing -= resident.memory_bytes
    if missing > 0:
        return None
    surplus = -missing
    for victim in tuple(reversed(victims)):  # the last one may have been so large that an earlier one need not go
        if victim.memory_bytes <= surplus and not victim.is_spare:
            victims.remove(victim)
            surplus -= victim.memory_bytes
    return tuple(victims)
