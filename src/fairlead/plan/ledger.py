"""What was measured, held against the promise: who fits, why each other does not, and the smallest relaxation where nobody does. Pure.

Takes Measured values and requirements in the user's order, gives a core Ledger. Measures nothing and decides on nothing that was not
measured: a candidate without a value is undecided, never rejected for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from fairlead.core.ledger import Ledger, LedgerEntry, Measured
from fairlead.core.requirement import METRICS, Requirement
from fairlead.plan.relaxation import Need, needs, relaxations, safe_bound, undecided

_SHOWN_DIGITS = 4


def account(measured: Sequence[Measured], requirements: Sequence[Requirement]) -> Ledger:
    """Return the ledger of `measured` under `requirements`; equal arguments give equal ledgers."""
    entries, feasible = [], []
    for item in measured:
        missing = tuple(dict.fromkeys(one.name for one in requirements if one.name not in item.values))
        entry = _entry(item, requirements, missing)
        if entry is not None:
            entries.append(entry)
        elif not missing:
            feasible.append(item.candidate)
    notes = _unmeasured_notes(measured, requirements)
    if feasible or not measured:
        return Ledger(tuple(entries), tuple(feasible), notes=notes if measured else ("no candidate was measured",))
    known = needs(measured, requirements)
    open_ones = undecided(measured, requirements)
    if not known:
        return Ledger(tuple(entries), undecided=open_ones, notes=(*notes, _nothing_helps(open_ones)))
    chosen = relaxations(known[0], requirements)
    said = [*_reasons(known, requirements), *notes]
    if open_ones:
        said.append(f"not certain to be the smallest: {_listed(open_ones)} may need less, and was not measured fully")
    single = chosen[0] if len(chosen) == 1 else None
    return Ledger(
        tuple(entries),
        relaxation=single,
        together=() if single else chosen,
        alternatives=tuple(relaxations(need, requirements)[0] for need in _alternatives(known)),
        undecided=open_ones,
        notes=tuple(said),
    )


def _entry(item: Measured, requirements: Sequence[Requirement], missing: tuple[str, ...]) -> LedgerEntry | None:
    """Return why `item` is not taken, or None where nothing that is known speaks against it."""
    broken = [one for one in requirements if one.name in item.values and not one.is_met(item.values[one.name])]
    names = tuple(one.name for one in broken)
    if not broken:
        return LedgerEntry(item.candidate, "", math.nan, math.nan, item.failure, (), missing) if item.failure else None
    first = broken[0]
    value = item.values[first.name]
    sentence = broken_sentence(first, value)
    if len(names) > 1:
        sentence += f"; it also breaks {_listed(names[1:])}"
    if item.failure:
        sentence += f"; {item.failure}"
    return LedgerEntry(item.candidate, first.name, value, first.bound, sentence, names, missing)


def broken_sentence(requirement: Requirement, value: float) -> str:
    """Say by how much `value` breaks `requirement`; the number is never rounded to the side that would keep it."""
    operator = ">=" if requirement.is_minimum else "<="
    unit = "" if requirement.is_custom else METRICS[requirement.metric].unit
    unit = f" {unit}" if unit else ""
    if not math.isfinite(value):
        return f"{requirement.name} is {value:g}, needed {operator} {requirement.bound:.15g}{unit}"
    return f"{requirement.name} is {_shown(requirement, value)}{unit}, needed {operator} {requirement.bound:.15g}"


def _shown(requirement: Requirement, value: float) -> str:
    """Return `value` with few digits, as long as it still breaks the bound as clearly."""
    short = f"{value:.{_SHOWN_DIGITS}g}"
    if abs(float(short) - value) <= 0.1 * abs(value - requirement.bound):
        return short
    return f"{safe_bound(requirement, value):.15g}"


def _alternatives(known: Sequence[Need]) -> tuple[Need, ...]:
    """Return the smallest single need of each requirement beside the chosen one's."""
    found: dict[tuple[int, ...], Need] = {}
    for need in known:
        if len(need.broken) == 1:
            found.setdefault(need.broken, need)
    return tuple(need for need in found.values() if need.broken != known[0].broken)


def _reasons(known: Sequence[Need], requirements: Sequence[Requirement]) -> list[str]:
    """Say how the choice was made, where it is not plain."""
    best, said = known[0], []
    if len(best.broken) > 1:
        said.append(f"no single relaxation is enough: every candidate breaks {len(best.broken)} requirements or more at once")
    if any(not requirements[place].bound for place in best.broken):
        said.append("a bound of 0 has no relative change: it gives way only where no other bound does alone")
    rivals = [need for need in known[1:] if need.size == best.size and need.broken != best.broken]
    for rival in rivals[:1]:
        other = _listed([requirements[place].name for place in rival.broken])
        mine = _listed([requirements[place].name for place in best.broken])
        said.append(f"relaxing {other} for {rival.candidate} would be as small; {mine} stands later in your list and gives way first")
    return said


def _unmeasured_notes(measured: Sequence[Measured], requirements: Sequence[Requirement]) -> tuple[str, ...]:
    counts = {one.name: sum(one.name not in item.values and not item.failure for item in measured) for one in requirements}
    return tuple(
        f"{name} was not measured for {count} of {len(measured)} candidates: they broke another requirement before"
        for name, count in counts.items()
        if count
    )


def _nothing_helps(open_ones: tuple[str, ...]) -> str:
    if open_ones:
        return f"no relaxation is known yet: {_listed(open_ones)} was not measured fully"
    return "no relaxation helps: every candidate failed for a reason that no requirement bounds"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
