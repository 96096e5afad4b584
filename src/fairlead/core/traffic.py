"""Which version answers which request while a release runs: arms with shares, segments, and the draw by a key. Pure.

Takes a plan and what a request says of itself; gives an arm. Raises SpecError where a plan makes no sense. Laws: the same plan and key
always give the same arm; raising an arm's share, where no other one rises, never takes a key away from it; two releases (two salts) divide
keys independently of each other; what is drawn for a shadow run says nothing about the arm.
"""

from __future__ import annotations

import hashlib
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from fairlead.errors import SpecError

LIVE, CANDIDATE = "live", "candidate"
ARM_LIMIT = 8  # one digest holds as many draws
_SEGMENT_LIMIT, _VALUE_LIMIT = 64, 1024
_SUM_TOLERANCE = 1e-6  # thirds, written with six digits
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_DRAWS = struct.Struct("<8Q")
_UNIT = 2.0**-53  # between two doubles below 1
_log = math.log


@dataclass(frozen=True)
class Arm:
    """A version and the share of the requests that it answers, 0 to 1."""

    name: str
    version: int
    share: float

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise SpecError(f"{self.name[:64]!r} cannot name an arm.", hint="Use letters, digits, '.', '_' and '-', at most 32.")
        if self.version < 1:
            raise SpecError(f"Arm '{self.name}' has no version.", hint="Write it like A=3:50.")
        _check_share(self.share, f"of arm '{self.name}'")


@dataclass(frozen=True)
class Segment:
    """Requests whose header (or gRPC metadata) of that name has one of `values` go to `arm`, whatever the split."""

    header: str
    values: tuple[str, ...]
    arm: str

    def __post_init__(self) -> None:
        _check_field(self.header, "a header")
        if not 0 < len(self.values) <= _VALUE_LIMIT:
            raise SpecError(f"The segment by '{self.header}' has {len(self.values)} values, allowed are 1 to {_VALUE_LIMIT}.")


@dataclass(frozen=True)
class Shadow:
    """A version that also runs a share of the requests, after they were answered; its answers are compared, never returned."""

    version: int
    share: float

    def __post_init__(self) -> None:
        if self.version < 1:
            raise SpecError("A shadow needs a version.")
        _check_share(self.share, "of the shadow")


@dataclass(frozen=True)
class TrafficPlan:
    """How requests that name no version are divided while the release `release` is at `step`. `arms[0]` is the live one.

    Shares sum to 1. `sticky` names the parameter, header or metadata by whose value a request is drawn instead of by its id. The share
    `twin_share` of the requests also runs on the uncompressed original of the version that answered. `salt` is the release's own.
    """

    release: str
    step: int
    arms: tuple[Arm, ...]
    sticky: str = ""
    segments: tuple[Segment, ...] = ()
    shadow: Shadow | None = None
    twin_share: float = 0.0
    salt: str = ""

    def __post_init__(self) -> None:
        _check_arms(self.arms)
        if self.sticky:
            _check_field(self.sticky, "a sticky key")
        if len(self.segments) > _SEGMENT_LIMIT:
            raise SpecError(f"There are {len(self.segments)} segments, allowed are {_SEGMENT_LIMIT}.")
        for segment in self.segments:
            self.arm(segment.arm)
        _check_share(self.twin_share, "of the twin")

    @property
    def live(self) -> Arm:
        """The arm that everything is compared with, and that takes over where another cannot answer."""
        return self.arms[0]

    @property
    def versions(self) -> frozenset[int]:
        """Every version that has to be loaded for it, arms with a share of 0 and the shadow included."""
        return frozenset(arm.version for arm in self.arms) | (frozenset() if self.shadow is None else {self.shadow.version})

    def arm(self, name: str) -> Arm:
        """Return the arm called `name`; raises SpecError that lists the arms."""
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise SpecError(f"There is no arm '{name[:64]}'.", hint=f"Arms: {', '.join(arm.name for arm in self.arms)}.")


def assign(plan: TrafficPlan, key: str) -> Arm:
    """Return the arm that `key` is drawn for; an arm with a share of 0 is never drawn.

    Every arm has a draw u of its own from the key, and the smallest -ln(u) / share wins: exponential variables with the shares as rates,
    the smallest of which is each one with the probability of its share (weighted rendezvous hashing: Thaler and Ravishankar, IEEE/ACM
    Transactions on Networking 6(1), 1998; weights as in Efraimidis and Spirakis, Information Processing Letters 97(5), 2006).
    """
    arms, draws = plan.arms, _draws(plan.salt, key)
    best, latest = arms[0], -math.inf
    for place, arm in enumerate(arms):
        share = arm.share
        if share:
            time = _log(((draws[place] >> 11) + 1) * _UNIT) / share  # negative: the largest wins
            if time > latest:
                best, latest = arm, time
    return best


def segment_arm(plan: TrafficPlan, metadata: Mapping[str, str]) -> Arm | None:
    """Return the arm of the first segment that a request belongs to by its headers (lower-case names); None where it is in none."""
    for segment in plan.segments:
        if metadata.get(segment.header.lower()) in segment.values:
            return plan.arm(segment.arm)
    return None


def is_drawn(share: float, salt: str, purpose: str, key: str) -> bool:
    """Whether `key` is among the share of all keys that are drawn for `purpose`: a draw apart from all others."""
    return share > 0.0 and ((_draws(f"{salt}/{purpose}", key)[0] >> 11) + 0.5) * _UNIT < share


def header_name(sticky: str) -> str:
    """Return the header or gRPC metadata that a sticky key travels in: `user_id` in `user-id`."""
    return sticky.lower().replace("_", "-")


def _draws(salt: str, key: str) -> tuple[int, ...]:
    """Return eight independent numbers of 64 bits."""
    digest = _hasher(salt).copy()
    digest.update(key.encode("utf-8", "surrogatepass"))
    return _DRAWS.unpack(digest.digest())


@lru_cache(maxsize=256)
def _hasher(salt: str) -> hashlib.blake2b:
    said = salt.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(len(said).to_bytes(8, "little") + said, digest_size=64)


def _check_arms(arms: tuple[Arm, ...]) -> None:
    if not 0 < len(arms) <= ARM_LIMIT:
        raise SpecError(f"There are {len(arms)} arms, allowed are 1 to {ARM_LIMIT}.")
    names = [arm.name for arm in arms]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SpecError(f"There are two arms called '{twice}'.", hint="Give each arm a name of its own.")
    total = math.fsum(arm.share for arm in arms)
    if abs(total - 1.0) > _SUM_TOLERANCE:
        shares = " + ".join(f"{arm.share * 100:g} %" for arm in arms)
        raise SpecError(f"The shares add up to {total * 100:g} %, not to 100 %: {shares}.", hint="Give the rest to the live version.")


def _check_share(share: float, whose: str) -> None:
    if not 0.0 <= share <= 1.0:  # NaN is neither
        raise SpecError(f"The share {whose} is {share:g}, not between 0 and 1.")


def _check_field(name: str, what: str) -> None:
    if not _FIELD.fullmatch(name):
        raise SpecError(f"{name[:64]!r} cannot name {what}.", hint="Use letters, digits, '_' and '-', at most 64, a letter first.")
