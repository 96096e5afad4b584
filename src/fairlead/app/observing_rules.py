"""What is kept of a model's requests, as people say it: whether, which share, how redacted, how long. Running servers follow in seconds.

Takes a House, a model and what is to change; gives the rules as they are now. Raises SpecError for what makes no sense (also for a rule
about a column that the model does not have), NotFoundError for a model, ConflictError. Every change is kept with its author.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, replace

from fairlead.app.wiring import House
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.observation_log import INPUT, OUTPUT, columns_of, is_text, row_width
from fairlead.core.ports import RecordStore
from fairlead.core.redaction import RedactionRules, Rule, Treatment, merged, parse_rules
from fairlead.core.version import check_name
from fairlead.errors import CorruptError, SpecError
from fairlead.register.resolve import require_name
from fairlead.settings import Settings
from fairlead.stores.document import dump, load
from fairlead.stores.version_files import read_file

KIND = "observing"


@dataclass(frozen=True)
class ObservingRules:
    """Of one model. `share`, `keep_s` and `keep_bytes` None: what the settings say. `redact` counts before the settings' rules."""

    is_on: bool = True
    share: float | None = None
    redact: str = ""
    keep_s: float | None = None
    keep_bytes: int | None = None


@dataclass(frozen=True)
class ObservingChange:
    """What is to become different; None leaves it. `is_reset` takes back first what was said before."""

    is_on: bool | None = None
    share: float | None = None
    redact: str | None = None
    keep_s: float | None = None
    keep_bytes: int | None = None
    is_reset: bool = False


@dataclass(frozen=True)
class ObservedColumn:
    """What is kept of a column. `origin` says why: a rule, the column's name, or its kind."""

    name: str
    treatment: str
    origin: str


@dataclass(frozen=True)
class Observing:
    """How a model is observed: the rules in force, and what that means for each column of its newest version."""

    model: str
    rules: ObservingRules
    share: float
    keep_s: float
    keep_bytes: int
    version: int
    columns: tuple[ObservedColumn, ...]


def all_rules(records: RecordStore) -> dict[str, ObservingRules]:
    """Return model -> its rules, of those that have any. What cannot be read keeps nothing of the model: that is the safe side."""
    found: dict[str, ObservingRules] = {}
    for fact in records.facts(KIND):
        if fact.body is not None:
            try:
                found[fact.key] = load(fact.body.encode(), ObservingRules)
            except CorruptError:
                found[fact.key] = ObservingRules(is_on=False)
    return found


def redaction_of(rules: ObservingRules, settings: Settings) -> RedactionRules:
    """Return the rules for columns: the model's own before those of the settings. Raises SpecError."""
    return merged(parse_rules(rules.redact), parse_rules(settings.observe_redact))


def observing_of(name: str, house: House) -> Observing:
    """Return how a model is observed."""
    require_name(check_name(name), records=house.records)
    rules = all_rules(house.records).get(name, ObservingRules())
    number, interface = _newest(name, house)
    settings, redaction = house.settings, redaction_of(rules, house.settings)
    return Observing(
        name,
        rules,
        share=0.0 if not (rules.is_on and settings.observe) else settings.observe_share if rules.share is None else rules.share,
        keep_s=settings.observe_keep_s if rules.keep_s is None else rules.keep_s,
        keep_bytes=settings.observe_keep_bytes if rules.keep_bytes is None else rules.keep_bytes,
        version=number,
        columns=tuple(_columns(interface, redaction)),
    )


def change_observing(name: str, change: ObservingChange, house: House) -> Observing:
    """Change how a model is observed, and return how it is now."""
    require_name(check_name(name), records=house.records)
    fact = house.records.fact(KIND, name)
    known = ObservingRules() if fact is None or fact.body is None or change.is_reset else load(fact.body.encode(), ObservingRules)
    wanted = {key: value for key, value in vars(change).items() if value is not None and key != "is_reset"}
    rules = replace(known, **wanted)
    _check(rules, name, house)
    body = None if rules == ObservingRules() else dump(rules).decode()
    if body != (None if fact is None else fact.body):
        expected = 0 if fact is None else fact.revision
        house.records.put_fact(KIND, name, body, expected=expected, at=house.clock(), author=house.settings.user)
    return observing_of(name, house)


def check_share(share: float) -> float:
    """Return a share of requests; raises SpecError."""
    if not 0.0 <= share <= 1.0:  # NaN is none
        raise SpecError(f"{share} is no share of the requests.", hint="Write it like 25% or 0.25.")
    return share


def _check(rules: ObservingRules, name: str, house: House) -> None:
    check_share(1.0 if rules.share is None else rules.share)
    for value in (rules.keep_s, rules.keep_bytes):
        if value is not None and not 0 <= value < math.inf:
            raise SpecError("What is kept is bounded by a time and a size, not below 0.", hint="0 takes the bound away.")
    interface = _newest(name, house)[1]
    for rule in parse_rules(rules.redact).rules:
        _check_rule(rule, interface)


def _check_rule(rule: Rule, interface: Interface) -> None:
    """Raise SpecError where a rule is about no column, or asks for what the column cannot give."""
    sides = _sides(interface)
    names = [name for side, spec in sides for name in (*columns_of(spec, side), side + spec.name)]
    if not any(rule.fits(name) for name in names):
        plain = [name.partition(":")[2] for name in names]
        near = difflib.get_close_matches(rule.pattern, plain, n=1)
        hint = f"Did you mean '{near[0]}'?" if near else f"It has: {', '.join(plain[:12])}."
        raise SpecError(f"The model has no column '{rule.pattern[:64]}'.", hint=hint)
    for side, spec in sides:
        if any(rule.fits(name) for name in (*columns_of(spec, side), side + spec.name)):
            is_table = row_width(spec) == len(columns_of(spec, side))
            if rule.treatment is Treatment.BUCKET and is_text(spec):
                raise SpecError(f"'{rule.pattern[:64]}' is a text: it has no buckets.", hint="Hash it, or drop it.")
            if rule.treatment is Treatment.KEEP and is_text(spec) and not is_table:
                raise SpecError(f"Lists of texts, like '{rule.pattern[:64]}', have no place in the log.", hint="Hash them, or drop them.")
            if rule.treatment is Treatment.SUMMARY and (is_table != is_text(spec)):
                raise SpecError(f"There is no summary of '{rule.pattern[:64]}'.", hint="Keep it, put it into buckets, or drop it.")


def _newest(name: str, house: House) -> tuple[int, Interface]:
    version = house.records.latest(name)
    if version is None:
        raise SpecError(f"'{name}' has no version.", hint="Deploy one: fairlead deploy MODEL")
    return version.number, load(read_file(version, "interface.json", house.blobs), Interface)


def _columns(interface: Interface, redaction: RedactionRules) -> list[ObservedColumn]:
    found: list[ObservedColumn] = []
    for side, spec in _sides(interface):
        is_table = row_width(spec) == len(columns_of(spec, side))
        usual = Treatment.KEEP if is_table else Treatment.SUMMARY
        if is_text(spec):
            usual = Treatment.KNOWN if is_table else Treatment.HASH
        for name in columns_of(spec, side):
            rule = redaction.find(name, side + spec.name)
            if rule is None:
                found.append(ObservedColumn(name, usual.value, "by its kind"))
            else:
                origin = f"rule {rule}" if rule in redaction.rules else "by its name"
                found.append(ObservedColumn(name, str(rule).rpartition("=")[2], origin))
    return found


def _sides(interface: Interface) -> list[tuple[str, TensorSpec]]:
    return [(side, spec) for side, specs in ((INPUT, interface.inputs), (OUTPUT, interface.outputs)) for spec in specs]
