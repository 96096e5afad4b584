from dataclasses import replace

import click
from hypothesis import given
from hypothesis import strategies as st

from fairlead.app.quality_report import QualityView
from fairlead.app.watching import ServerLook, Watched
from fairlead.cli.watch_screen import screen
from fairlead.core.alert import Alert, AlertPhase
from fairlead.core.finding import Finding, FindingKind, Severity
from fairlead.core.outcome import Keeping, Measured, PromiseReading, WindowQuality
from fairlead.monitor.live_view import VersionView

SENTENCE = "pets:1 is right in 70.0% of 500 labelled answers (66.0% to 74.0%); at release it was 95.0%, which is so much more."
FOUND = Finding(FindingKind.QUALITY, "pets", 1, "accuracy", Severity.CRITICAL, 0.7, 500, 0.0, 1.0, SENTENCE)
ALERT = Alert({"alertname": "QualityLoss", "model": "pets"}, {"summary": SENTENCE}, 0.7, AlertPhase.FIRING, 50.0, fired_at=50.0)
BUSY = ServerLook("http://127.0.0.1:8080", (VersionView("pets", "1", True, 1234.5, 3.0, 99.0, 0.42, 1.9, 8.1, None, 3, 17, 1, 0, 0, 0),))
PROMISE = PromiseReading("accuracy>=0.9", "pets", 1, Keeping.BROKEN, Measured(0.7, 0.66, 0.74, 500), 0.95, "500 labels")
QUALITY = QualityView(
    "pets",
    1,
    0.0,
    100.0,
    WindowQuality(0.0, 100.0, 1, "", 600, 500, {"accuracy": PROMISE.measured}),
    promises=(PROMISE,),
    findings=(FOUND,),
)
FULL = Watched("pets", 1, 100.0, (BUSY,), QUALITY, None, (ALERT,), (), 90.0, alerts_at=80.0)
EMPTY = Watched("pets", 1, 100.0, (), None, None, (), (), 0.0, is_unwatched=True)


def text(found: Watched, width: int = 120, height: int = 60) -> str:
    return click.unstyle("\n".join(screen(found, width=width, height=height)))


def test_everything_is_shown_where_there_is_room() -> None:
    shown = text(FULL)
    for part in ("1,234", "p99 1.90 ms", "firing  QualityLoss", "✗ accuracy>=0.9", "600 rows answered, 500 labelled", "critical  pets:1"):
        assert part in shown


def test_a_long_sentence_goes_on_in_the_next_line_of_a_narrow_screen() -> None:
    narrow = text(FULL, 60)
    assert "at release it was" in " ".join(narrow.split())
    assert "which is so" in " ".join(narrow.split())


@given(st.integers(12, 200), st.integers(0, 40))
def test_every_screen_is_kept_to(width: int, height: int) -> None:
    for found in (FULL, EMPTY, replace(FULL, alerts=(ALERT,) * 20, notes=("x" * 500,))):
        lines = screen(found, width=width, height=height)
        assert len(lines) <= height
        assert max((len(click.unstyle(line)) for line in lines), default=0) <= width


def test_alerts_about_the_live_version_come_first_and_the_worst_of_them() -> None:
    def about(version: str, severity: str) -> Alert:
        return replace(
            ALERT, labels={**ALERT.labels, "version": version, "severity": severity}, annotations={"summary": version + severity}
        )

    shown = text(replace(FULL, quality=None, alerts=(about("2", "critical"), about("1", "warning"), about("1", "critical"))))
    assert shown.index("1critical") < shown.index("1warning") < shown.index("2critical")


def test_a_low_screen_says_that_there_is_more() -> None:
    assert text(FULL, 80, 6).splitlines()[-1].startswith("and ")
    assert "fairlead watch pets --once" in text(FULL, 80, 6)


def test_what_is_not_known_yet_is_said() -> None:
    shown = text(EMPTY)
    assert "no server serves it" in shown
    assert "is being read" in shown
    assert "nobody has looked for any yet: start fairlead alerts run" in shown
    assert "none at 00:01:20 UTC" in text(replace(FULL, alerts=()))
    assert "since 00:01:20" in text(replace(FULL, alerts=(), is_unwatched=True))
    assert "is being read" not in text(replace(EMPTY, notes=("The log cannot be read.",)))
