"""The ledger of a plan: which candidates keep the promise, why each other does not, and what would have to give. Pure values.

Laws: an entry names the first requirement in the user's order that its candidate is known to break. A relaxation is written so that typing
it works: its bound is rounded to the side on which the candidate still fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fairlead.core.verdict import Verdict


@dataclass(frozen=True)
class Measured:
    """What is known of a candidate: `values` by `Requirement.name` ("p99_ms", "accuracy_drop", "p99_ms@32"). One that is absent was not
    measured, and is neither kept nor broken.

    `failure` says why the candidate cannot be taken whatever is required ("" for none): a pass crashed, a built-in check failed.
    """

    candidate: str
    values: Mapping[str, float]
    failure: str = ""


@dataclass(frozen=True)
class LedgerEntry:
    """Why `candidate` is not taken: the first `requirement` (its name; "" where it is a failure) that it breaks, and by how much.

    `broken` are the names of all that it is known to break, in the user's order; `unmeasured` of those that nobody measured.
    """

    candidate: str
    requirement: str
    measured: float
    bound: float
    sentence: str
    broken: tuple[str, ...] = ()
    unmeasured: tuple[str, ...] = ()


@dataclass(frozen=True)
class Relaxation:
    """One bound that would have to give: `requirement` (its name) from `from_bound` to `to_bound`, for `candidate` to keep it.

    `text` is the requirement to type instead, `is_minimum` says that it is a floor. `change_ratio` is |exact need - from_bound| /
    |from_bound|, infinite where the bound is 0.
    """

    requirement: str
    from_bound: float
    to_bound: float
    candidate: str
    sentence: str
    text: str = ""
    is_minimum: bool = False
    change_ratio: float = 0.0


@dataclass(frozen=True)
class Ledger:
    """`entries` of the rejected candidates in their order; `feasible` are the names of the others.

    Where nothing fits, `relaxation` is the smallest single one that makes a candidate fit; where no single one does, it is None and
    `together` are the fewest and smallest ones that do so at once. `alternatives` are the smallest single ones of the other requirements.
    `undecided` are candidates that nobody measured enough: one of them may fit with less. `notes` are sentences for a person.
    """

    entries: tuple[LedgerEntry, ...]
    feasible: tuple[str, ...] = ()
    relaxation: Relaxation | None = None
    together: tuple[Relaxation, ...] = ()
    alternatives: tuple[Relaxation, ...] = ()
    undecided: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


def measured_from(verdict: Verdict, candidate: str = "") -> Measured:
    """Return what `verdict` knows of its candidate (or of the one that goes by the name `candidate`): the value of every requirement, and
    the first built-in check that failed.
    """
    values = {check.name: check.measured for check in verdict.checks if check.requirement is not None}
    failed = [check.sentence for check in verdict.failures if check.requirement is None]
    return Measured(candidate or verdict.candidate, values, failed[0] if failed else "")
