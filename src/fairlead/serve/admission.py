"""Who may wait, and for how long: decisions, all of them pure.

Takes counts and what was measured; gives levels, expected waits and refusals. Raises OverloadedError (no place, or no hope to begin in
time) and DeadlineError (the time has passed). It counts nothing itself and has no clock.
"""

from __future__ import annotations

import math

from fairlead.errors import DeadlineError, OverloadedError

DEFAULT_LEVEL = 1 << 32  # priorities of the V2 protocol: 1 is the highest, 0 the default, which comes after every other one
LOWEST_PRIORITY = DEFAULT_LEVEL + 1  # behind everybody, and no client can ask for it: what is run to compare, or to explain
_RETRY_LIMIT_S = 60


def level_of(priority: int) -> int:
    """Return the place of a V2 priority in the order of service: lower is served first."""
    return priority if 0 < priority < DEFAULT_LEVEL or priority == LOWEST_PRIORITY else DEFAULT_LEVEL


def expected_wait_s(elements: int, element_ms: float, slot_count: int) -> float:
    """Return how long those who wait and run keep `slot_count` slots busy, from what an input element took lately."""
    return elements * element_ms / 1e3 / max(slot_count, 1)


def retry_after_s(wait_s: float) -> int:
    """Return whole seconds after which asking again makes sense: when those who wait now are served; 1 to 60."""
    return min(max(math.ceil(wait_s), 1), _RETRY_LIMIT_S)


def check_place(name: str, taken: int, limit: int, wait_s: float) -> None:
    """Raise OverloadedError unless one of the model's `limit` places is free."""
    if taken >= limit:
        raise OverloadedError(
            f"Model '{name}' has {taken} requests waiting, its limit.", hint="Ask again later.", retry_after_s=retry_after_s(wait_s)
        )


def check_deadline(deadline: float, now: float, wait_s: float) -> None:
    """Raise DeadlineError where the deadline has passed, OverloadedError where it will before the request could begin."""
    if deadline <= now:
        raise passed()
    if now + wait_s > deadline:
        raise OverloadedError(
            f"The request would wait about {wait_s:.1f} s, longer than it may.",
            hint="Ask again later, or allow more time.",
            retry_after_s=retry_after_s(wait_s),
        )


def passed() -> DeadlineError:
    """Return the error for a request whose time is over."""
    return DeadlineError("The time for the answer has passed.", hint="Allow more time, or send fewer rows at once.")
