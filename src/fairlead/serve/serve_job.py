"""What a server is told: what to serve and how. A value; it does nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fairlead.core.ports import ObservationSink, TrafficWitness, VersionSource
from fairlead.core.refusal import Refusal, unheard
from fairlead.core.version import PRODUCTION
from fairlead.serve.batching import BatchPolicy
from fairlead.serve.call_limit import ConcurrencyLimits
from fairlead.serve.explaining import AnswerExplainer, ExplainLimits
from fairlead.serve.follower import OnApplied, unheard_applied
from fairlead.serve.grpc.limits import GrpcLimits
from fairlead.serve.http.api import StatisticsSource
from fairlead.serve.http.limits import HttpLimits
from fairlead.serve.http.metrics import MetricsSource
from fairlead.serve.record import AnswerBuffer


class NullSink:
    """An ObservationSink that nobody reads."""

    def record(self, observation: object) -> None:
        """Drop it."""

    def record_batch(self, batch: object) -> None:
        """Drop it."""


def _silent(_: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class ServeJob:
    """What to serve and how. Times in seconds; port 0 lets the system choose, and without `grpc_port` there is no gRPC; `thread_count` is
    how many slow calls of one version run at once, `concurrency` how many of all versions of a model, `request_timeout_s` how long any
    request may take (0: for ever). `cache_bytes` is for answers that are given again to equal requests (0: none are kept),
    `memory_budget_bytes` that for all loaded versions together (0: no limit). The version that answered before stays loaded for
    `keep_warm_s`, so that a rollback need not load it. `allow_model_control` lets clients load and unload; `is_strict` says that the server
    is ready only while every model serves.

    Versions run in `worker_count` processes each (0: in this one); one that takes longer than `call_limit_s` for a call counts as hung
    (0: what is learned from the golden requests).

    `recorder` is left every answer with its tensors, where they are written down.

    Of all requests the share `twin_share` also runs on the uncompressed original of the version that answered, where it has one; `witness`
    gathers what requests of releases show (a new one where None is given).

    `explainer` explains answers, beside inference and within `explain_limits`; None where that is not offered.

    `on_listening` is told the URL once, `report` every sentence for the log, `on_refused` of callers' mistakes, `on_applied` what is in
    force of each model whenever that changes, with the source's sequence: in the event loop, so it must not wait. `software_version` is
    what server metadata says.
    """

    source: VersionSource
    host: str = "127.0.0.1"
    port: int = 8080
    grpc_port: int | None = None
    default_model: str = ""
    alias: str = PRODUCTION
    follow_interval_s: float = 0.5
    grace_s: float = 10.0
    queue_limit: int = 128
    request_timeout_s: float = 60.0
    thread_count: int = 2
    worker_count: int = 0
    call_limit_s: float = 0.0
    concurrency: ConcurrencyLimits = field(default_factory=ConcurrencyLimits)
    batch: BatchPolicy = field(default_factory=BatchPolicy)
    cache_bytes: int = 0
    memory_budget_bytes: int = 0
    keep_warm_s: float = 300.0
    load_timeout_s: float = 600.0
    allow_model_control: bool = False
    is_strict: bool = False
    limits: HttpLimits = field(default_factory=HttpLimits)
    grpc_limits: GrpcLimits = field(default_factory=GrpcLimits)
    twin_share: float = 0.0
    witness: TrafficWitness | None = None
    recorder: AnswerBuffer | None = None
    explainer: AnswerExplainer | None = None
    explain_limits: ExplainLimits = field(default_factory=ExplainLimits)
    sink: ObservationSink = field(default_factory=NullSink)
    statistics: StatisticsSource | None = None
    metrics: MetricsSource | None = None
    on_listening: Callable[[str], None] = _silent
    report: Callable[[str], None] = _silent
    on_refused: Callable[[Refusal], None] = unheard
    on_applied: OnApplied = unheard_applied
    software_version: str = ""
