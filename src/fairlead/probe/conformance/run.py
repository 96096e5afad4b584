"""Runs the conformance list against a server and says what came of it, line by line.

Takes a ConformanceJob; gives a ConformanceReport. Raises UnavailableError where nothing answers, NotFoundError where there is no model to
ask, SpecError for a URL or request that is none. It changes nothing on the server unless it is allowed to unload models or to stop it.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fairlead.errors import DataError, FairleadError
from fairlead.probe.conformance.extension_checks import CHECKS as EXTENSION_CHECKS
from fairlead.probe.conformance.grpc_checks import CHECKS as GRPC_CHECKS
from fairlead.probe.conformance.infer_checks import CHECKS as INFER_CHECKS
from fairlead.probe.conformance.outcome import Check, NotOffered, Outcome, Problem, Remark, Skipped
from fairlead.probe.conformance.server_checks import CHECKS as SERVER_CHECKS
from fairlead.probe.conformance.server_checks import LAST_CHECKS as STOP_CHECKS
from fairlead.probe.conformance.target import Json, Target
from fairlead.probe.conformance.transport_checks import CHECKS as TRANSPORT_CHECKS
from fairlead.probe.conformance.transport_checks import LAST_CHECKS as TRACE_CHECKS
from fairlead.probe.http_client import Exchange, HttpClient
from fairlead.probe.model_facts import ModelFacts, choose_model, describe_model, describe_server, list_models

CHECKS = (*SERVER_CHECKS, *INFER_CHECKS, *TRANSPORT_CHECKS, *EXTENSION_CHECKS, *GRPC_CHECKS, *TRACE_CHECKS, *STOP_CHECKS)
LINES: Mapping[int, str] = {
    1: "health",
    2: "server metadata and extensions",
    3: "model metadata",
    4: "readiness of models",
    5: "infer: data and datatypes",
    6: "infer: id, name, version",
    7: "infer: names of inputs and outputs",
    8: "infer: shapes",
    9: "bodies that are no requests",
    10: "binary tensors",
    11: "compressed bodies",
    12: "gRPC",
    13: "gRPC parameters",
    14: "priority and timeout",
    15: "repository",
    16: "statistics",
    17: "gRPC streams",
    18: "gRPC in KServe's form",
    19: "batches and concurrency",
    20: "headers, versions, quoted names",
}
_MODEL_LIMIT = 16  # of which the datatypes are tried


@dataclass(frozen=True)
class Finding:
    """One check: `status` is "pass", "fail", "not offered" or "skipped". A fail that is not `is_required` is advice."""

    line: int
    check: str
    status: str
    is_required: bool = True
    remark: str = ""
    sent: str = ""
    came: str = ""
    says: str = ""


@dataclass(frozen=True)
class ConformanceReport:
    """What was asked, and every finding in the order of the list."""

    url: str
    server: str
    model: str
    versions: tuple[str, ...]
    extensions: tuple[str, ...]
    grpc: str
    findings: tuple[Finding, ...]

    @property
    def counts(self) -> Mapping[str, int]:
        """How many checks ended in which way; fails that are not required count as "advice"."""
        return Counter(kind_of(finding) for finding in self.findings)

    @property
    def conforms(self) -> bool:
        """Whether no required check failed."""
        return not self.counts.get("fail")


def kind_of(finding: Finding) -> str:
    """Return the status, or "advice" for a fail that is not required."""
    return "advice" if finding.status == "fail" and not finding.is_required else finding.status


@dataclass(frozen=True)
class ConformanceJob:
    """What to ask. `request` is an inference request (JSON) to use where drawn rows do not fit; `drain_pid` is stopped at the very end."""

    url: str
    model: str | None = None
    grpc: str = ""
    may_unload: bool = False
    drain_pid: int = 0
    request: Json | None = None
    timeout_s: float = 10.0
    progress: Callable[[str], None] = lambda _: None

    def run(self) -> ConformanceReport:
        """Go through the list."""
        target = open_target(self)
        try:
            findings = []
            for check in CHECKS:
                self.progress(f"{check.line:>2} {check.name}")
                findings.append(judge(check, target))
        finally:
            if target.grpc is not None:
                target.grpc.close()
        server = f"{target.server.get('name', 'unknown')} {target.server.get('version', '')}".strip()
        ordered = sorted(findings, key=lambda finding: finding.line)
        model = target.model
        return ConformanceReport(target.http.url, server, model.name, model.versions, target.extensions, self.grpc, tuple(ordered))


def open_target(job: ConformanceJob) -> Target:
    """Return the server as the checks see it."""
    seen: list[Exchange] = []
    http = HttpClient(job.url, timeout_s=job.timeout_s, watch=lambda exchange: seen.append(exchange) if exchange.status >= 400 else None)
    server = describe_server(http)
    name = choose_model(http, job.model)
    models = [describe_model(http, name)]
    models += [model for model in map(_described(http), list_models(http)) if model is not None and model.name != name]
    grpc, why_not = _open_grpc(job.grpc, job.timeout_s)
    target = Target(
        http=http,
        server=server,
        models=tuple(models[:_MODEL_LIMIT]),
        grpc=grpc,
        why_no_grpc=why_not,
        may_unload=job.may_unload,
        drain_pid=job.drain_pid,
        given=job.request,
        refusals=seen,
    )
    target.find_request()
    return target


def _described(http: HttpClient) -> Callable[[str], ModelFacts | None]:
    """Return a function that describes a model, or gives None for one whose metadata cannot be used."""

    def describe(name: str) -> ModelFacts | None:
        try:
            return describe_model(http, name)
        except FairleadError:
            return None

    return describe


def _open_grpc(address: str, timeout_s: float) -> tuple[Any, str]:
    if not address:
        return None, "no gRPC address was given: --grpc HOST:PORT"
    try:
        module = importlib.import_module("fairlead.probe.grpc_client")
    except ModuleNotFoundError:
        return None, "grpcio is not installed: pip install 'fairlead[grpc]'"
    return module.GrpcClient(address, timeout_s=timeout_s), ""


def judge(check: Check, target: Target) -> Finding:
    """Make one check, or say why not."""
    why_not = _why_not(check, target)
    try:
        outcome = why_not if why_not is not None else check.run(target)
    except DataError as error:
        outcome = Problem(f"the requests of '{check.name}'", error.message, "an answer in the protocol's form")
    return _finding(check, outcome)


def _why_not(check: Check, target: Target) -> Outcome:
    if check.extension and check.extension not in target.extensions:
        return NotOffered(f"the server does not list '{check.extension}'")
    if "grpc" in check.needs and target.grpc is None:
        return Skipped(target.why_no_grpc)
    if "unload" in check.needs and not target.may_unload:
        return Skipped("unloading a model needs --allow-unload")
    if check.needs and target.outputs is None:
        return Skipped(f"no request worked, give one with --request: {target.why_no_request}")
    return None


def _finding(check: Check, outcome: Outcome) -> Finding:
    if isinstance(outcome, Problem):
        return Finding(check.line, check.name, "fail", outcome.is_required, "", outcome.sent, outcome.came, outcome.says)
    if isinstance(outcome, NotOffered):
        return Finding(check.line, check.name, "not offered", remark=outcome.why)
    if isinstance(outcome, Skipped):
        return Finding(check.line, check.name, "skipped", remark=outcome.why)
    return Finding(check.line, check.name, "pass", remark=outcome.text if isinstance(outcome, Remark) else "")
