"""What the registry's search knows of a version, said once: from its evidence to keys with a text or a number each. Pure.

Takes the values that a version keeps (verdict, chosen candidate, lineage, plan, interface); gives traits. Raises nothing. Never guesses:
what the evidence does not say has no key, and numbers that are no numbers (NaN, infinite) are left out.
"""

from __future__ import annotations

import math
import re

from fairlead.core.fact import TEXT_LIMIT, Traits
from fairlead.core.interface import Interface, shorten
from fairlead.core.lineage import Lineage
from fairlead.core.plan import Candidate, Plan
from fairlead.core.verdict import Verdict

Trait = str | float

PUBLISHER, PROMISE = "publisher", "promise"
_KEY = re.compile(r"[a-z][a-z0-9_]{0,63}")


def version_traits(
    verdict: Verdict,
    engine: Candidate,
    lineage: Lineage,
    plan: Plan,
    interface: Interface,
    *,
    publisher: str,
    extra: Traits | None = None,
) -> dict[str, Trait]:
    """Return the traits of a version with that evidence. `publisher` is who registers it ("": not known); `extra` adds what else is known
    (parameter_count) and never replaces what the evidence says.
    """
    found: dict[str, Trait] = dict(extra or {})
    found |= _origin(lineage) | _way(engine) | _numbers(verdict)
    found |= {PUBLISHER: publisher, PROMISE: ", ".join(str(item) for item in plan.requirements)}
    if interface.task is not None:
        found["task"] = interface.task.value
    if interface.labels:
        found["label_count"] = float(len(interface.labels))
    return {key: _short(value) for key, value in sorted(found.items()) if _is_told(key, value)}


def _origin(lineage: Lineage) -> dict[str, Trait]:
    """Where it comes from: `keras 3.15.1` becomes framework `keras` and framework_version `3.15.1`."""
    found: dict[str, Trait] = {"source": lineage.source_name, "source_digest": lineage.source_digest}
    if not lineage.steps:
        return found
    first = lineage.steps[0]
    name, _, version = first.versions.get("source", "").partition(" ")
    return found | {"format": first.tool, "framework": name.lower(), "framework_version": version}


def _way(engine: Candidate) -> dict[str, Trait]:
    passes = " ".join(use.name for use in engine.uses)
    return {"engine": engine.engine, "form": engine.form, "candidate": engine.name, "passes": passes}


def _numbers(verdict: Verdict) -> dict[str, Trait]:
    found: dict[str, Trait] = {item.metric: float(item.candidate) for item in verdict.quality}
    found |= {"size_bytes": float(verdict.size_bytes), "memory_bytes": float(verdict.memory_peak_bytes)}
    single = next((item for item in verdict.speed if item.batch == 1), None)
    if single is not None:
        found |= {"p50_ms": single.p50_ms, "p99_ms": single.p99_ms, "throughput_rps": single.throughput_rps}
    if verdict.parity.decision_flip_count is not None:
        found["flips"] = float(verdict.parity.decision_flip_count)
    return found


def _is_told(key: str, value: Trait) -> bool:
    if not _KEY.fullmatch(key):
        return False  # a metric of the user's own ("shop.metrics:profit") is no word that a query could hold
    return bool(value.strip()) if isinstance(value, str) else math.isfinite(value)


def _short(value: Trait) -> Trait:
    return shorten(value, TEXT_LIMIT) if isinstance(value, str) else float(value)
