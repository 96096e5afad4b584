"""Print docs/reference/metrics.md from fairlead.monitor.families."""

from __future__ import annotations

from fairlead.monitor.families import FAMILIES, Kind
from fairlead.monitor.histogram import ROWS, SECONDS

HEAD = """# Metrics

Printed by `scripts/document_metrics.py`. Logs, traces and `fairlead top`: [observing](observing.md).

`GET /metrics` gives them in Prometheus's text format, or as OpenMetrics where the scraper asks for it by name. Scrape it like this:

```yaml
scrape_configs:
  - job_name: fairlead
    static_configs: [{targets: ["127.0.0.1:8080"]}]
```

| name | kind | unit | labels | meaning |
|---|---|---|---|---|"""

TAIL = """
Buckets of durations, in seconds: {seconds}. Buckets of rows: {rows}.

- **Labels are bounded.** `model` and `version` are those that the server has, or had within the last ten minutes; a name that nobody serves
  never becomes a label. `transport` is `http`, `grpc` or `local` (a call in the server's process); `code` is `ok`, the code of one of our
  errors (`bad_request`, `too_large`, `overloaded`, `deadline`, `unavailable`, ...), `internal` (a mistake of ours) or `cancelled`; `sink`
  is `log` or `traces`.
- **Traffic** series are there once a [release](traffic.md) divides requests, for the newest release of each model; `arm` is one of its
  arms, at most eight.
- **Counts are exact.** Every request that found a version is counted once in `fairlead_requests_total`; everything that was answered, by
  whatever, is counted in `fairlead_responses_total`. A request for a model that is not there is in the second alone.
- **What a duration is.** `fairlead_request_duration_seconds` is what a request waited and computed inside; reading and writing its bytes is
  not in it. A cached answer takes 0. `fairlead_compute_duration_seconds` has one value per call of the engine, however many requests
  share it.
- **What it costs.** About a microsecond a request (`python benchmarks/observing.py`); a scrape is written in pieces, between requests.

The same numbers by version are in the statistics extension, `GET /v2/models/NAME[/versions/N]/stats`, and live in `fairlead top`.

Errors as a share, and the 99th percentile, as queries:

```
sum by (model) (rate(fairlead_requests_total{{code!="ok"}}[5m])) / sum by (model) (rate(fairlead_requests_total[5m]))
histogram_quantile(0.99, sum by (model, le) (rate(fairlead_request_duration_seconds_bucket[5m])))
```

Rules that wake somebody: [alerts.yml](../../examples/prometheus/alerts.yml)."""


def main() -> None:
    """Print the page."""
    print(HEAD)
    for family in FAMILIES:
        kind = Kind.GAUGE if family.kind is Kind.INFO else family.kind
        labels = ", ".join(f"`{label}`" for label in family.labels)
        print(f"| `{family.full_name}` | {kind} | {family.unit} | {labels} | {family.meaning} |")
    print(TAIL.format(seconds=_listed(SECONDS.tolist()), rows=_listed(ROWS.tolist())))


def _listed(bounds: list[float]) -> str:
    return ", ".join(f"{bound:.6f}".rstrip("0").rstrip(".") for bound in bounds)


if __name__ == "__main__":
    main()
