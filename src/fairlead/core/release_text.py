"""What a person writes of a release: shares, steps, arms. Pure functions.

Takes text (or numbers of a file), gives core values. Raises SpecError that says what was wrong and how to write it.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence

from fairlead.core.release import ReleaseStep, percent
from fairlead.core.traffic import CANDIDATE, Arm, Segment
from fairlead.errors import SpecError

_STEP_COUNT = 50
_PERCENT = re.compile(r"([0-9]{1,3}(?:[.][0-9]{1,6})?)\s*%")
_ARM = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,31})=([1-9][0-9]{0,8}):([0-9]{1,9}(?:[.][0-9]{1,6})?)%?")
_SPAN = re.compile(r"([0-9]{1,9}(?:[.][0-9]{1,6})?)\s*(s|m|min|h|)")
_SUM_TOLERANCE = 1e-6  # thirds, written with six digits


def parse_share(text: str) -> float:
    """Parse `10%` or `0.1`; raises SpecError for anything that is no share."""
    match = _PERCENT.fullmatch(text.strip())
    try:
        share = float(match[1]) / 100 if match else float(text)
    except ValueError:
        raise SpecError(f"'{text[:32]}' is not a share of the traffic.", hint="Write it like 10% or 0.1.") from None
    if not match and share > 1:
        raise SpecError(f"'{text[:32]}' is more than all of the traffic.", hint=f"Did you mean {text.strip()[:16]}%?")
    if not 0 <= share <= 1:  # NaN too
        raise SpecError(f"'{text[:32]}' is not between 0% and 100%.", hint="Write it like 10%.")
    return share


def parse_steps(text: str) -> tuple[ReleaseStep, ...]:
    """Parse the shares of a canary, `1%,10%,50%`; raises SpecError unless they grow and stay below all of the traffic."""
    return canary_steps([parse_share(part) for part in text.split(",") if part.strip()])


def canary_steps(shares: Sequence[float]) -> tuple[ReleaseStep, ...]:
    """Return the steps of a canary; raises SpecError unless the shares grow. A last step of 100 % is the promotion, so it is left out."""
    kept = [share for place, share in enumerate(shares) if share < 1 or place < len(shares) - 1]
    if not kept:
        raise SpecError("A canary needs a share below 100%.", hint='Give its steps: --canary "1%,10%,50%".')
    if len(kept) > _STEP_COUNT:
        raise SpecError(f"{len(kept)} steps are too many.", hint=f"At most {_STEP_COUNT}.")
    if not (kept[0] > 0 and kept[-1] < 1 and all(before < after for before, after in itertools.pairwise(kept))):  # NaN is none of these
        said = ", ".join(percent(share) for share in kept)
        raise SpecError(f"The shares {said} do not grow from above 0% to below 100%.", hint='Write them like "1%,10%,50%".')
    return tuple(ReleaseStep(share) for share in kept)


def parse_span(text: str) -> float:
    """Parse a time span, `90s`, `10m` or `1h`, as seconds; raises SpecError."""
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        raise SpecError(f"'{text[:32]}' is not a time.", hint="Write it like 90s, 10m or 1h.")
    return float(match[1]) * {"h": 3600, "m": 60, "min": 60}.get(match[2], 1)


def parse_segment(text: str, *, arm: str = CANDIDATE) -> Segment:
    """Parse `x-country=FR,BE` (to the candidate) or `x-country=FR:B` (to arm B); raises SpecError."""
    header, equals, rest = text.partition("=")
    values, _, named = rest.partition(":")
    found = tuple(value.strip() for value in values.split(",") if value.strip())
    if not equals or not found:
        raise SpecError(f"'{text[:64]}' is not a segment.", hint="Write it like x-country=FR,BE or x-country=FR:B.")
    return Segment(header.strip(), found, named.strip() or arm)


def parse_arms(texts: Sequence[str]) -> tuple[Arm, ...]:
    """Parse the arms of an experiment, each `A=3:50` (name=version:weight); raises SpecError unless the weights add up to 100 (or 1)."""
    found = [_arm(part) for text in texts for part in re.split(r"[,\s]+", text.strip()) if part]
    total = math.fsum(weight for _, _, weight in found)
    whole = 1.0 if total <= 1 + _SUM_TOLERANCE else 100.0
    if found and abs(total - whole) > whole * _SUM_TOLERANCE:
        raise SpecError(f"The weights add up to {total:g}, not to {whole:g}.", hint="Give shares that make up all of the traffic.")
    return check_arms([Arm(name, number, weight / whole) for name, number, weight in found])


def check_arms(arms: Sequence[Arm]) -> tuple[Arm, ...]:
    """Return the arms of an experiment (none for anything else) if they can be compared; raises SpecError."""
    if len(arms) == 1:
        raise SpecError("An experiment compares at least two versions.", hint="Give its arms: --split A=3:50 B=4:50.")
    names, numbers = [arm.name for arm in arms], [arm.version for arm in arms]
    for what, items in (("name", names), ("version", numbers)):
        if len(set(items)) < len(items):
            raise SpecError(f"Two arms have the same {what}.", hint="Each arm has a name and a version of its own.")
    if arms and abs(math.fsum(arm.share for arm in arms) - 1.0) > _SUM_TOLERANCE:
        raise SpecError(
            f"The shares add up to {percent(math.fsum(arm.share for arm in arms))}, not to 100%.", hint="Give the rest to the live version."
        )
    return tuple(arms)


def _arm(text: str) -> tuple[str, int, float]:
    match = _ARM.fullmatch(text)
    if match is None:
        raise SpecError(f"'{text[:64]}' is not an arm.", hint="Write it like A=3:50: name=version:weight.")
    if float(match[3]) <= 0:
        raise SpecError(f"Arm '{match[1]}' gets no traffic.", hint="Give it a weight above 0, or leave it out.")
    return match[1], int(match[2]), float(match[3])
