"""What a person writes of a release: shares, steps, arms. Pure functions.

Takes text (or numbers of a file), gives core values. Raises SpecError that says what was wrong and how to write it.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence

from fairlead.core.release import ReleaseStep, percent
from fairlead.core.traffic import Arm
from fairlead.errors import SpecError

_STEP_COUNT = 50
_PERCENT = re.compile(r"([0-9]{1,3}(?:[.][0-9]{1,6})?)\s*%")
_ARM = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,31})=([1-9][0-9]{0,8}):([0-9]{1,9}(?:[.][0-9]{1,6})?)%?")
_SUM_TOLERANCE = 1e-9


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
    if kept[0] <= 0 or kept[-1] >= 1 or any(after <= before for before, after in itertools.pairwise(kept)):
        said = ", ".join(percent(share) for share in kept)
        raise SpecError(f"The shares {said} do not grow from above 0% to below 100%.", hint='Write them like "1%,10%,50%".')
    return tuple(ReleaseStep(share) for share in kept)


def parse_arms(texts: Sequence[str]) -> tuple[Arm, ...]:
    """Parse the arms of an experiment, each `A=3:50` (name=version:weight); raises SpecError unless the weights add up to 100 (or 1)."""
    found = [_arm(part) for text in texts for part in re.split(r"[,\s]+", text.strip()) if part]
    if len(found) < 2:
        raise SpecError("An experiment compares at least two versions.", hint="Give its arms: --split A=3:50 B=4:50.")
    names, numbers = [name for name, _, _ in found], [number for _, number, _ in found]
    for what, items in (("name", names), ("version", numbers)):
        if len(set(items)) < len(items):
            raise SpecError(f"Two arms have the same {what}.", hint="Each arm has a name and a version of its own.")
    total = math.fsum(weight for _, _, weight in found)
    whole = 1.0 if total <= 1 + _SUM_TOLERANCE else 100.0
    if abs(total - whole) > whole * _SUM_TOLERANCE:
        raise SpecError(f"The weights add up to {total:g}, not to {whole:g}.", hint="Give shares that make up all of the traffic.")
    return tuple(Arm(name, number, weight / whole) for name, number, weight in found)


def _arm(text: str) -> tuple[str, int, float]:
    match = _ARM.fullmatch(text)
    if match is None:
        raise SpecError(f"'{text[:64]}' is not an arm.", hint="Write it like A=3:50: name=version:weight.")
    if float(match[3]) <= 0:
        raise SpecError(f"Arm '{match[1]}' gets no traffic.", hint="Give it a weight above 0, or leave it out.")
    return match[1], int(match[2]), float(match[3])
