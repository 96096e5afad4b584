"""Lines 1 to 4: health, server metadata, model metadata, readiness."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from fairlead.probe.conformance.judging import answers, first, refused
from fairlead.probe.conformance.outcome import Check, Outcome, Problem, Remark, Skipped
from fairlead.probe.conformance.target import Target
from fairlead.probe.http_client import Exchange

_NOWHERE = "there-is-no-such-model"
_NO_VERSION = "999999999"
_DRAIN_S = 15.0


def _live(target: Target) -> Outcome:
    return answers(target.http.get("/v2/health/live"), "a server that runs answers 200")


def _ready(target: Target) -> Outcome:
    return answers(target.http.get("/v2/health/ready"), "a server whose models are ready answers 200")


def _health_bodies(target: Target) -> Outcome:
    says = "health has a JSON body: KServe's client reads it"
    for path in ("/v2/health/live", "/v2/health/ready"):
        exchange = target.http.get(path)
        if not isinstance(exchange.content, dict):
            return Problem(exchange.sent, exchange.came, says, is_required=False)
    return None


def _drain(target: Target) -> Outcome:
    """The last check of all: it ends the server."""
    if not target.drain_pid:
        return Skipped("stopping the server needs --drain-pid PID")
    os.kill(target.drain_pid, signal.SIGTERM)
    until = time.monotonic() + _DRAIN_S
    while time.monotonic() < until:
        exchange = target.http.get("/v2/health/ready")
        if exchange.status != 200:
            return Remark(f"while stopping: {exchange.came}")
        time.sleep(0.02)
    return Problem(f"SIGTERM, then {exchange.sent}", exchange.came, "a server that stops is not ready")


def _metadata(target: Target) -> Outcome:
    exchange = target.http.get("/v2")
    problem = answers(exchange, "GET /v2 gives the server's metadata")
    if problem is not None:
        return problem
    content = exchange.content
    fits = (
        isinstance(content, dict)
        and isinstance(content.get("name"), str)
        and isinstance(content.get("version"), str)
        and isinstance(content.get("extensions"), list)
        and all(isinstance(name, str) for name in content["extensions"])
    )
    return None if fits else Problem(exchange.sent, exchange.came, "{name: string, version: string, extensions: [string]}")


def _slash(target: Target) -> Outcome:
    one, two = target.http.get("/v2"), target.http.get("/v2/")
    same = two.status == 200 and one.content == two.content
    says = "/v2/ is /v2: the specification's YAML writes the one, its text the other"
    return None if same else Problem(two.sent, two.came, says, is_required=False)


def _extensions(target: Target) -> Outcome:
    said: list[str] = []
    found: list[Outcome] = []
    for name in target.extensions:
        exchange = _ask_extension(target, name)
        if exchange is None:
            said.append(name)
        elif exchange.status != 200:
            found.append(Problem(exchange.sent, exchange.came, f"the server lists '{name}', so this has to work"))
    remark = Remark(f"listed, and not known how to ask: {', '.join(said)}") if said else None
    return first(*found, remark)


def _ask_extension(target: Target, name: str) -> Exchange | None:
    """Return what the smallest use of an extension gives; None for one that has no use by itself."""
    http, path = target.http, target.model.path
    gets = {
        "statistics": f"{path}/stats",
        "model_configuration": f"{path}/config",
        "trace": "/v2/trace/setting",
        "logging": "/v2/logging",
        "system_shared_memory": "/v2/systemsharedmemory/status",
        "cuda_shared_memory": "/v2/cudasharedmemory/status",
    }
    if name in gets:
        return http.get(gets[name])
    if name == "model_repository":
        return http.ask("POST", "/v2/repository/index", b"")
    if target.outputs is None:
        return None
    parameters: dict[str, Any] = {"schedule_policy": {"priority": 1, "timeout": 10_000_000}, "parameters": {"a_parameter": "of mine"}}
    if name in parameters:
        return target.infer(target.body(parameters=parameters[name]))
    if name == "binary_tensor_data":
        return target.infer_binary(target.inputs)
    if name == "classification":
        output = next(iter(target.outputs))
        return target.infer(target.body(outputs=[{"name": output, "parameters": {"classification": 1}}]))
    return None


def _model_metadata(target: Target) -> Outcome:
    exchange = target.http.get(target.model.path)
    content = exchange.content if isinstance(exchange.content, dict) else {}
    tensors = [tensor for key in ("inputs", "outputs") for tensor in content.get(key) or ()]
    has_tensors = all(isinstance(content.get(key), list) for key in ("inputs", "outputs"))
    fits = (
        exchange.status == 200
        and content.get("name") == target.model.name
        and isinstance(content.get("platform"), str)
        and has_tensors
        and all(isinstance(tensor, dict) and {"name", "datatype", "shape"} <= set(tensor) for tensor in tensors)
    )
    says = "{name, platform, inputs: [{name, datatype, shape}], outputs: [...]}"
    return None if fits else Problem(exchange.sent, exchange.came, says)


def _versioned_metadata(target: Target) -> Outcome:
    if not target.model.versions:
        return Skipped("the model's metadata lists no versions")
    for version in target.model.versions:
        exchange = target.http.get(f"{target.model.path}/versions/{version}")
        content = exchange.content if isinstance(exchange.content, dict) else {}
        if exchange.status != 200 or content.get("name") != target.model.name:
            return Problem(exchange.sent, exchange.came, "a version that is listed has metadata")
    return None


def _unknown_model(target: Target) -> Outcome:
    return refused(target.http.get(f"/v2/models/{_NOWHERE}"), "an unknown model is refused", status=404)


def _unknown_version(target: Target) -> Outcome:
    return refused(target.http.get(f"{target.model.path}/versions/{_NO_VERSION}"), "an unknown version is refused", status=404)


def _unknown_infer(target: Target) -> Outcome:
    body = target.body()
    model = target.http.post(f"/v2/models/{_NOWHERE}/infer", body)
    version = target.http.post(f"{target.model.path}/versions/{_NO_VERSION}/infer", body)
    says = "nobody else answers for an unknown {}"
    return first(refused(model, says.format("model"), status=404), refused(version, says.format("version"), status=404))


def _model_ready(target: Target) -> Outcome:
    return answers(target.http.get(f"{target.model.path}/ready"), "a model that answers is ready")


def _version_ready(target: Target) -> Outcome:
    if not target.model.versions:
        return Skipped("the model's metadata lists no versions")
    problems = [
        answers(target.http.get(f"{target.model.path}/versions/{version}/ready"), "a version that is listed is ready")
        for version in target.model.versions
    ]
    return first(*problems)


def _unknown_ready(target: Target) -> Outcome:
    exchange = target.http.get(f"/v2/models/{_NOWHERE}/ready")
    return Problem(exchange.sent, exchange.came, "an unknown model is not ready") if exchange.status in {0, 200} else None


CHECKS = (
    Check(1, "live is 200", _live, needs=""),
    Check(1, "ready is 200", _ready, needs=""),
    Check(1, "both have a JSON body", _health_bodies, needs=""),
    Check(2, "/v2 has name, version, extensions", _metadata, needs=""),
    Check(2, "/v2/ is /v2", _slash, needs=""),
    Check(2, "every listed extension answers", _extensions, needs=""),
    Check(3, "metadata", _model_metadata, needs=""),
    Check(3, "metadata of each version", _versioned_metadata, needs=""),
    Check(3, "unknown model", _unknown_model, needs=""),
    Check(3, "unknown version", _unknown_version, needs=""),
    Check(3, "infer of what is unknown", _unknown_infer, needs="json"),
    Check(4, "ready by model", _model_ready, needs=""),
    Check(4, "ready by version", _version_ready, needs=""),
    Check(4, "unknown model is not ready", _unknown_ready, needs=""),
)
LAST_CHECKS = (Check(1, "not ready while stopping", _drain, needs=""),)
