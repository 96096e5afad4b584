import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.alert import AlertRule, Matcher, Silence, fingerprint, parse_matcher, parse_matchers
from fairlead.core.finding import FindingKind, Severity
from fairlead.errors import SpecError

LABELS = st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True), st.text(max_size=10), max_size=5)


@given(LABELS)
def test_equal_labels_have_one_fingerprint_in_whatever_order(labels: dict[str, str]) -> None:
    assert fingerprint(labels) == fingerprint(dict(reversed(labels.items())))
    assert fingerprint(labels) != fingerprint({**labels, "another": "x"})


def test_labels_that_run_into_each_other_are_not_the_same() -> None:
    assert fingerprint({"a": "bc"}) != fingerprint({"ab": "c"})


@pytest.mark.parametrize(
    ("text", "labels", "holds"),
    [
        ("model=digits", {"model": "digits"}, True),
        ("model=digits", {}, False),
        ("model!=digits", {}, True),
        ("alertname=Drift*", {"alertname": "DriftOfAll"}, True),
        ("alertname = drift", {"alertname": "Drift"}, False),
        ('subject="a = b"', {"subject": "a = b"}, True),
        ("subject=", {}, True),
    ],
)
def test_a_matcher_says_what_it_is_written_to_say(text: str, labels: dict[str, str], holds: bool) -> None:
    assert parse_matcher(text).matches(labels) is holds


@given(st.from_regex(r"[a-z]{1,5}", fullmatch=True), st.from_regex(r"[a-zA-Z0-9 .*-]{0,9}", fullmatch=True).map(str.strip), st.booleans())
def test_a_matcher_reads_what_it_writes(label: str, value: str, is_not: bool) -> None:
    matcher = Matcher(label, value, is_not)
    assert parse_matcher(str(matcher)) == matcher


@pytest.mark.parametrize("text", ["", "model", "=x", "1model=x", "mo del=x", "a=" + "x" * 501])
def test_what_is_no_matcher_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="no matcher"):
        parse_matchers([text])


def test_a_silence_hides_in_its_time_and_only_what_all_its_matchers_hold_for() -> None:
    silence = Silence("s", parse_matchers(["model=digits", "severity!=critical"]), 100.0, 200.0, "me")
    labels = {"model": "digits", "severity": "warning"}
    assert [silence.hides(labels, at) for at in (99.0, 100.0, 199.0, 200.0)] == [False, True, True, False]
    assert not silence.hides({**labels, "severity": "critical"}, 150.0)


def test_a_rule_takes_findings_of_its_kinds_that_matter_enough() -> None:
    rule = AlertRule("Burn", (FindingKind.PROMISE,), subject="burn *")
    assert rule.takes(FindingKind.PROMISE, "burn p99_ms<=5", Severity.CRITICAL)
    assert not rule.takes(FindingKind.PROMISE, "p99_ms<=5", Severity.CRITICAL)
    assert not rule.takes(FindingKind.PROMISE, "burn p99_ms<=5", Severity.INFO)
    assert not rule.takes(FindingKind.DRIFT, "burn p99_ms<=5", Severity.CRITICAL)
