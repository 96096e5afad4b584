"""Which findings become alerts: the rules that hold where nobody wrote others, and how a finding becomes a signal. Pure.

Takes Findings and AlertRules; gives Signals. A finding becomes the alert of the first rule that takes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fairlead.core.alert import NAME, AlertRule, Signal
from fairlead.core.finding import Finding, FindingKind

# Drift and quality are tested for good before they are findings; promises are measured anew each time, so they have to last.
RULES = (
    AlertRule("BudgetBurn", (FindingKind.PROMISE,), subject="burn *", keep_s=300.0),
    AlertRule("PromiseBroken", (FindingKind.PROMISE,), for_s=120.0, keep_s=300.0),
    AlertRule("QualityLoss", (FindingKind.QUALITY,), keep_s=900.0),
    AlertRule("CompressionLoss", (FindingKind.COMPRESSION,), keep_s=900.0),
    AlertRule("DataQuality", (FindingKind.DATA_QUALITY,), for_s=120.0, keep_s=900.0),
    AlertRule("Drift", (FindingKind.DRIFT, FindingKind.PREDICTION_DRIFT), keep_s=900.0),
    AlertRule("Outliers", (FindingKind.OUTLIER,), for_s=300.0, keep_s=900.0),
)
ABOUT = {
    "BudgetBurn": "a promise's error budget burns too fast",
    "PromiseBroken": "a requirement of the release is not kept",
    "QualityLoss": "answers are right less often than at release",
    "CompressionLoss": "the compressed model loses more than was promised",
    "DataQuality": "inputs are missing, unknown or out of range",
    "Drift": "inputs or answers are distributed otherwise than at release",
    "Outliers": "rows are unlike everything in the release",
}


def signals(findings: Iterable[Finding], rules: Sequence[AlertRule] = RULES) -> tuple[Signal, ...]:
    """Return what the findings say of alerts; findings that no rule takes are told nobody."""
    found = []
    for finding in findings:
        rule = next((rule for rule in rules if rule.takes(finding.kind, finding.subject, finding.severity)), None)
        if rule is not None:
            found.append(signal(finding, rule))
    return tuple(found)


def signal(finding: Finding, rule: AlertRule) -> Signal:
    """Return what one finding says of its rule's alert."""
    labels = {
        NAME: rule.name,
        "model": finding.model,
        "version": str(finding.version),
        "kind": finding.kind.value,
        "subject": finding.subject,
        "severity": finding.severity.value,
        **rule.labels,
    }
    annotations = {"summary": finding.sentence, "value": f"{finding.value:.6g}", "rows": str(finding.rows)}
    if finding.bound is not None:
        annotations["bound"] = f"{finding.bound:.6g}"
    if finding.interval is not None:
        annotations["interval"] = f"{finding.interval[0]:.6g} to {finding.interval[1]:.6g}"
    if finding.advice:
        annotations["advice"] = " ".join(advice.sentence for advice in finding.advice)
    return Signal(labels, annotations, finding.value, rule.for_s, rule.keep_s)
