"""A Planned for a person: facts, promise, candidates, capacity, hardware with its cost, and the strategy, within a screen or two."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import click

from fairlead.app.plan_model import Planned
from fairlead.cli.printing import mark, sections, table
from fairlead.core.facts import ModelFacts
from fairlead.core.hardware import HardwareOption, Obstacle
from fairlead.core.manifest import readable_size
from fairlead.core.outlook import Outlook
from fairlead.core.strategy import KEYS, Reason, Strategy, Value
from fairlead.plan.strategy import shown

_OFFERS_SHOWN = 6
_FAR = 10**9  # more bytes than any cache holds
_WIDTH, _LEAST_WIDTH = 160, 100  # of what is no terminal; of a narrow one, whose lines wrap
_SHARED = {
    Obstacle.BUDGET: "over the budget (--all says by how much)",
    Obstacle.SPEED: "too slow for the p99 (--all says by how much)",
    Obstacle.ROOM: "too small (--all says by how much)",
}
_TITLES = {
    "rollout.kind": "roll-out",
    "rollout.shadow_ratio": "unseen first",
    "rollout.steps": "steps",
    "rollout.gates": "gates",
    "rollout.is_automatic": "by itself",
    "batching.rows_limit": "rows a call",
    "batching.delay_ms": "wait ms",
    "serving.replica_floor": "replicas >=",
    "watch.metrics": "watched",
    "watch.false_alarms_per_month": "false alarms/month",
    "watch.twin_ratio": "twin",
    "security.is_signing_required": "signed",
    "security.is_approver_required": "approver",
    "security.is_encrypted_at_rest": "encrypted at rest",
    "security.is_encrypted_in_transit": "encrypted in transit",
    "security.is_audited": "audit log",
    "security.network": "network",
    "explanations.policy": "explained",
    "retention.audit_days": "audit days",
}
_ALWAYS = ("rollout.kind", "rollout.gates", "batching.rows_limit", "batching.delay_ms", "watch.metrics", "security.network")


def plan_text(planned: Planned, *, is_whole: bool = False) -> str:
    """Return the plan. `is_whole` shows what is left out for brevity: machines that do not fit, values that are defaults."""
    parts = [
        ("Model", _model(planned)),
        ("Promise", _promise(planned)),
        ("Candidates, in the order in which they are worth trying", _candidates(planned)),
        ("Capacity on this machine", _capacity(planned)),
        (f"Hardware ({planned.catalogue})", _hardware(planned, is_whole=is_whole)),
        (_strategy_title(planned.strategy), _strategy(planned.strategy, is_whole=is_whole)),
        ("To know", [*planned.strategy.notes, *planned.notes]),
    ]
    text = sections([(title, lines) for title, lines in parts if lines])
    return "\n" + (text if is_whole else "\n".join(_fitted(line) for line in text.splitlines()))


def _fitted(line: str) -> str:
    """Return the line, cut where the terminal ends; style is taken off a line that is cut."""
    width = max(shutil.get_terminal_size((_WIDTH, 24)).columns, _LEAST_WIDTH)
    plain = click.unstyle(line)
    return line if len(plain) <= width else click.style(f"{plain[: width - 1]}…", dim="\x1b[2m" in line, bold="\x1b[1m" in line)


def _model(planned: Planned) -> list[str]:
    machine = planned.machine
    sets = ", ".join(machine.instruction_sets) or "unknown instruction sets"
    lines = [
        f"{planned.model}: {planned.framework}",
        f"{readable_size(planned.size_bytes)} as converted{_facts(planned.facts)}",
        f"measured with {planned.data}" if planned.look else f"not measured; rows: {planned.data}",
        f"here: {machine.processor}, {_counted(machine.core_count, 'core')}, {machine.memory_bytes / 2**30:.0f} GiB, {sets}",
    ]
    if planned.look is not None:
        ceilings = planned.look.ceilings
        flops, memory = ceilings.flops_per_s("FP32", 1), ceilings.bytes_per_s(1, _FAR)
        lines.append(f"one thread here: {flops / 1e9:,.0f} GFLOP/s, {memory / 1e9:,.1f} GB/s; a call of nothing {ceilings.call_ms:.3g} ms")
    return lines


def _facts(facts: ModelFacts | None) -> str:
    if facts is None:
        return ""
    trees = f", {facts.tree_count:,} trees of depth {facts.max_depth}" if facts.tree_count else ""
    work = f"; {_quantity(facts.flops_per_row)} operations a row in {_counted(facts.operator_count, 'operator')}"
    return f"{trees}{work}, {readable_size(facts.bytes_moved_per_row)} moved"


def _promise(planned: Planned) -> list[str]:
    rows = []
    for item in planned.promise:
        sign = " " if item.is_kept is None else mark(is_good=item.is_kept)
        rows.append((sign, item.requirement, click.style(item.sentence, fg="red") if item.is_impossible else item.sentence))
    return _indented(rows) if rows else ["none: the first candidate that answers as the original does is taken"]


def _candidates(planned: Planned) -> list[str]:
    rows = [
        (str(number), outlook.candidate.name, _size_text(outlook), _latency_text(outlook), _what(outlook))
        for number, outlook in enumerate(planned.outlooks, start=1)
    ]
    lines = table(rows, ("", "CANDIDATE", "SIZE", "p50, 1 ROW", "")).splitlines()
    reasons: dict[str, list[str]] = {}
    for name, reason in planned.plan.refused:
        reasons.setdefault(reason, []).append(name)
    ruled_out = [f"ruled out: {', '.join(names)}: {reason}" for reason, names in reasons.items()]
    return [*lines, *(click.style(line, dim=True) for line in ruled_out)]


def _size_text(outlook: Outlook) -> str:
    if outlook.size_bytes is None:
        return ""
    return f"{'' if not outlook.candidate.passes else '~'}{readable_size(outlook.size_bytes)}"


def _latency_text(outlook: Outlook) -> str:
    if outlook.latency_ms is None:
        return ""
    return f"{'' if outlook.is_latency_measured else '~'}{outlook.latency_ms:.3g} ms"


def _what(outlook: Outlook) -> str:
    loses = f"; loses: {outlook.loses.partition(';')[0]}" if outlook.loses else ""
    if not outlook.is_installed:  # first, since a narrow screen cuts what comes last
        return f"{outlook.speed}; {outlook.candidate.reason}{loses}"
    speed = f" ({outlook.speed})" if outlook.latency_ms is None and outlook.speed and outlook.loses else ""
    return f"{outlook.candidate.reason}{speed}{loses}"


def _capacity(planned: Planned) -> list[str]:
    if planned.capacity is None:
        return []
    shape = planned.capacity.shape
    joined = f"up to {shape.batch_rows_limit} rows a call" if shape.batch_rows_limit > 1 else "requests do not share calls"
    first = click.style(planned.capacity.sentence, bold=True)
    return [first, f"{_counted(shape.thread_count, 'thread')} a call, {joined}", *planned.capacity.reasons, *planned.capacity.notes]


def _hardware(planned: Planned, *, is_whole: bool) -> list[str]:
    choice = planned.hardware
    if choice is None:
        return []
    fitting = [option for option in choice.options if not option.refused]
    others = [option for option in choice.options if option.refused]
    lines = [click.style(f"{choice.chosen}: {choice.reason}" if choice.chosen else choice.reason, bold=True)]
    header = ("OFFER", "KIND", "WHERE", "MACHINES", "p99 ms", "A MONTH", "A MILLION", "")
    shown_options = fitting if is_whole else fitting[:_OFFERS_SHOWN]
    if shown_options:
        lines += table([_offer(option) for option in shown_options], header).splitlines()
    if len(fitting) > len(shown_options):
        lines.append(click.style(f"and {_counted(len(fitting) - len(shown_options), 'dearer machine')}: --all", dim=True))
    is_told = is_whole or not choice.chosen  # where nothing fits, it matters by how much
    return [*lines, *(click.style(line, dim=True) for line in _not_fitting(others, is_whole=is_told)), *choice.notes]


def _offer(option: HardwareOption) -> tuple[str, ...]:
    offer, cost = option.offer, option.cost
    sign = "~" if offer.price_is_estimate else ""
    where = f"{offer.provider} {offer.region}".strip()
    note = "" if offer.is_runnable else "no engine of Fairlead computes there yet"
    if cost is None or option.p99_ms is None:
        return (offer.name, offer.kind.value, where, "", "", "", "", note)
    p99 = f"{'~' if option.is_predicted else ''}{option.p99_ms:.3g}"
    money = (f"{sign}{cost.per_month:,.2f} {cost.currency}", f"{sign}{_money(cost.per_million)}")
    return (offer.name, offer.kind.value, where, str(cost.machine_count), p99, *money, note)


def _not_fitting(others: Sequence[HardwareOption], *, is_whole: bool) -> list[str]:
    """Say why offers do not fit: each on its own, or those of one kind of reason together."""
    if is_whole:
        return [f"not {option.offer.name}: {option.refused}" for option in others]
    groups: dict[str, list[HardwareOption]] = {}
    for option in others:
        key = option.refused if option.obstacle is Obstacle.PLACE else str(option.obstacle)
        groups.setdefault(key, []).append(option)
    return [f"not {', '.join(option.offer.name for option in group)}: {_shared_reason(group)}" for group in groups.values()]


def _shared_reason(group: Sequence[HardwareOption]) -> str:
    first = group[0]
    if len(group) == 1 or first.obstacle not in _SHARED:
        return first.refused
    return _SHARED[first.obstacle]


def _money(amount: float) -> str:
    return f"{amount:,.2f}" if amount >= 1 else f"{amount:.2g}"


def _strategy_title(strategy: Strategy) -> str:
    scenario = f"scenario {strategy.scenario.value}" if strategy.scenario else "no scenario"
    needs = f", needs {', '.join(need.value for need in strategy.needs)}" if strategy.needs else ""
    return f"Strategy ({scenario}{needs})"


def _strategy(strategy: Strategy, *, is_whole: bool) -> list[str]:
    rows = []
    for key, reason in strategy.reasons.items():
        is_own = reason.origin == "fairlead.yaml"
        is_told = key in _ALWAYS or (key in _TITLES and (is_own or strategy.value(key) != KEYS[key]))
        if is_whole or is_told:
            rows.append((key if is_whole else _TITLES[key], _value(key, strategy.value(key)), click.style(_because(reason), dim=True)))
    return _indented(rows)


def _value(key: str, value: Value) -> str:
    if key == "rollout.steps" and isinstance(value, tuple):
        return ", ".join(f"{100 * float(share):g} %" for share in value) or "none"
    if key.endswith("_ratio") and isinstance(value, int | float):
        return f"{100 * value:g} %"
    return shown(value)


def _because(reason: Reason) -> str:
    if reason.origin == "default":
        return "default"
    return f"{reason.origin}: {reason.text}"


def _indented(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return an aligned table without a header."""
    return table(rows, ("",) * len(rows[0])).splitlines()[1:] if rows else []


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _quantity(number: float) -> str:
    for limit, name in ((1e9, "billion"), (1e6, "million")):
        if number >= limit:
            return f"{number / limit:.3g} {name}"
    return f"{number:,.0f}"
