"""A house with a model in production, a clock of its own, and what is found there now."""

import time
from dataclasses import replace

from observed import add_proven
from registered import classifier

from fairlead.app.alerting import Round, evaluate, keep_watch
from fairlead.app.finders import Finder
from fairlead.core.finding import Finding, FindingKind, Severity


class Scene:
    """A house with `pets` in production, a clock of its own, and what is found there now."""

    def __init__(self, house, folder) -> None:
        self.now = 1_000_000.0
        self.house = replace(house, clock=lambda: self.now, settings=replace(house.settings, allow_private_webhooks=True))
        self.version = add_proven(self.house, "pets", classifier(folder / "pets.onnx"))
        self.found: tuple[Finding, ...] = ()
        self.problem: Exception | None = None

    def look(self, after_s: float = 0.0) -> Round:
        self.now += after_s
        kinds = frozenset(FindingKind)
        return evaluate(self.house, finders=(Finder("fake", kinds, self._find),))

    def watch(self, tell, *, every_s: float, waits: int, seconds: float = 0.0, is_over=lambda: False) -> None:
        """Keep watch until so many waits are over; each takes as long as it says by this clock, and `seconds` by the clock on the wall."""

        def is_stopped(wait_s: float) -> bool:
            nonlocal waits
            waits -= 1
            self.now += wait_s
            time.sleep(seconds)
            return waits < 0 or is_over()

        finders = (Finder("fake", frozenset(FindingKind), self._find),)
        keep_watch(self.house, (), every_s, tell, is_stopped=is_stopped, finders=finders)

    def _find(self, name: str, house) -> tuple[Finding, ...]:
        if self.problem is not None:
            raise self.problem
        return self.found

    def finding(self, kind: FindingKind = FindingKind.QUALITY, **more: object) -> Finding:
        severity = Severity.CRITICAL
        made = Finding(kind, "pets", self.version.number, "accuracy", severity, 0.7, 500, 0.0, 1.0, "pets:1 is right in 70 %.", 0.95)
        return replace(made, **more)
