"""Serve what the registry says: versions behind an alias, or chosen by another policy, followed as it changes.

Takes a ServeRequest and a House; returns when the server was stopped. Raises NotFoundError for what is not registered, SpecError for a
policy or an address that makes no sense, PortInUseError.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from ipaddress import ip_address

from fairlead._version import __version__
from fairlead.app.explain_serving import ServedExplainer
from fairlead.app.observing import Observers, observing
from fairlead.app.recording import LabelKeeper, Recording, recording
from fairlead.app.registry_source import RegistrySource
from fairlead.app.release_keeper import ReleaseKeeper, keeping
from fairlead.app.wiring import House
from fairlead.core.aspired import parse_policy
from fairlead.core.interface import shorten
from fairlead.core.plan import Plan
from fairlead.core.requirement import Requirement
from fairlead.core.version import PRODUCTION, Reference, check_name, parse_reference
from fairlead.engines.machine import usable_cores
from fairlead.errors import SpecError
from fairlead.register.resolve import require_name, resolve
from fairlead.serve.batching import BatchPolicy
from fairlead.serve.call_limit import parse_limits
from fairlead.serve.explaining import ExplainLimits
from fairlead.serve.grpc.limits import GrpcLimits
from fairlead.serve.http.limits import HttpLimits
from fairlead.serve.serve_job import ServeJob
from fairlead.serve.stage import serve as serve_job
from fairlead.serve.traffic_witness import TrafficCounter
from fairlead.settings import Settings
from fairlead.stores.document import load
from fairlead.stores.version_files import read_file

_WORKER_LIMIT = 256


@dataclass(frozen=True)
class ServeRequest:
    """What the user asked for. None takes the setting; no names serve every model. `versions` is the policy for names without a number or
    an alias of their own. `is_exposed` allows an address that other machines reach; `allow_model_control` lets clients load and unload.
    `is_observed` says whether requests are kept in the observation log, `observe_share` which share of them.
    """

    names: tuple[str, ...] = ()
    host: str | None = None
    port: int | None = None
    default: str | None = None
    alias: str = PRODUCTION
    is_exposed: bool = False
    cache_bytes: int | None = None
    worker_count: int | None = None
    versions: str | None = None
    memory_budget_bytes: int | None = None
    allow_model_control: bool | None = None
    grpc_port: str | None = None
    is_observed: bool | None = None
    observe_share: float | None = None


def serve(request: ServeRequest, house: House, *, on_listening: Callable[[str], None]) -> None:
    """Serve until a signal asks to stop; raises NotFoundError for an unknown name, PortInUseError, and what is wrong with the address."""
    source = _source(request, house)
    for text in request.names:
        reference = parse_reference(text)
        if reference.number is None and reference.alias is None and request.versions in {None, "alias"}:
            reference = Reference(reference.name, alias=request.alias)
        resolve(reference, records=house.records)
    if request.default is not None:
        require_name(check_name(request.default), records=house.records)
    check_exposure(request.host or house.settings.host, is_exposed=request.is_exposed)
    with (
        observing(house.settings, lambda name, number: promises(name, number, house)) as observers,
        _recording(request, house, observers) as recorder,
    ):
        if not any(item.versions for item in source.aspired().values()):
            observers.log.say("Nothing to serve is registered yet; waiting for a deployment.")
        tell = observers.log.say
        witness = TrafficCounter(on_defect=tell) if recorder is None else LabelKeeper(recorder, tell)
        with keeping(ReleaseKeeper(house, request.alias, witness, tell)) as keeper:
            job = _job(request, house, source, observers, on_listening)
            buffer = None if recorder is None else recorder.buffer
            observers.metrics.recording = None if recorder is None else recorder.read
            listening = keeper.announced(job.on_listening)
            serve_job(replace(job, witness=witness, recorder=buffer, on_applied=keeper.applied, on_listening=listening))


def _recording(request: ServeRequest, house: House, observers: Observers) -> AbstractContextManager[Recording | None]:
    is_on = house.settings.observe if request.is_observed is None else request.is_observed
    return recording(house, observers.log.say, is_on=is_on, share=request.observe_share)


def promises(name: str, number: int, house: House) -> tuple[Requirement, ...]:
    """Return what a version was registered for."""
    return load(read_file(house.records.version(name, number), "plan.json", house.blobs), Plan).requirements


def _source(request: ServeRequest, house: House) -> RegistrySource:
    policy = parse_policy(request.versions or house.settings.version_policy, followed=request.alias)
    return RegistrySource(house, request.names, request.alias, policy=policy, is_apart=_worker_count(request, house.settings) > 0)


def _worker_count(request: ServeRequest, settings: Settings) -> int:
    count = settings.worker_count if request.worker_count is None else request.worker_count
    _check_workers(count)
    return count


def _job(
    request: ServeRequest, house: House, source: RegistrySource, observers: Observers, on_listening: Callable[[str], None]
) -> ServeJob:
    settings = house.settings
    port = settings.port if request.port is None else request.port
    return ServeJob(
        source=source,
        host=request.host or settings.host,
        port=port,
        grpc_port=grpc_port(settings.grpc_port if request.grpc_port is None else request.grpc_port, port),
        default_model=request.default or "",
        alias=request.alias,
        follow_interval_s=settings.follow_interval_s,
        grace_s=settings.grace_s,
        queue_limit=settings.queue_limit,
        request_timeout_s=settings.request_timeout_s,
        batch=BatchPolicy(max_rows=max(settings.batch_rows_limit, 1), max_delay_ms=settings.batch_delay_ms),
        cache_bytes=settings.cache_bytes if request.cache_bytes is None else request.cache_bytes,
        memory_budget_bytes=settings.memory_budget_bytes if request.memory_budget_bytes is None else request.memory_budget_bytes,
        keep_warm_s=settings.keep_warm_s,
        load_timeout_s=settings.load_timeout_s,
        allow_model_control=settings.allow_model_control if request.allow_model_control is None else request.allow_model_control,
        is_strict=settings.strict_readiness,
        worker_count=_worker_count(request, settings),
        call_limit_s=settings.call_limit_s,
        thread_count=usable_cores(),
        concurrency=parse_limits(settings.max_concurrency),
        limits=http_limits(settings),
        grpc_limits=GrpcLimits(
            message_bytes=settings.body_limit_bytes,
            header_deadline_s=settings.header_deadline_s,
            body_deadline_s=settings.body_deadline_s,
            connection_count=settings.connection_limit,
        ),
        twin_share=_twin_share(settings),
        explainer=ServedExplainer(house),
        explain_limits=ExplainLimits(settings.explain_concurrency, settings.explain_budget_s),
        sink=observers.watcher,
        statistics=observers.watcher.statistics,
        metrics=observers.metrics,
        on_listening=observers.announced(on_listening),
        report=observers.log.say,
        on_refused=observers.log.refused,
        software_version=__version__,
    )


def grpc_port(text: str, http_port: int) -> int | None:
    """Return the port that `text` says: a number, "none" for none, "" for the one above the HTTP port (any, where that is any)."""
    if text == "none":
        return None
    if not text:
        return min(http_port + 1, 65535) if http_port else 0
    if not text.isdecimal() or int(text) > 65535:
        raise SpecError(f"'{shorten(text)}' is no port for gRPC.", hint="Give a number up to 65535, 0 for any free one, or none.")
    return int(text)


def _twin_share(settings: Settings) -> float:
    if not 0.0 <= settings.twin_share <= 1.0:
        raise SpecError(f"The setting twin_share is {settings.twin_share}, not a share.", hint="It is between 0 and 1.")
    return settings.twin_share


def _check_workers(count: int) -> None:
    if not 0 <= count <= _WORKER_LIMIT:
        raise SpecError(
            f"{count} workers are not possible.", hint=f"Between 0 and {_WORKER_LIMIT}; 0: none, models run in the server's own."
        )
    if count and sys.platform != "linux":
        raise SpecError("Worker processes need Linux.", hint="Without --workers, models run in the server's own process.")


def check_exposure(host: str, *, is_exposed: bool, what: str = "ask the models") -> None:
    """Refuse an address that others reach, who could do `what`, unless the user said that this is meant: nobody is asked for a key yet."""
    if is_exposed or host == "localhost":
        return
    try:
        is_loopback = ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise SpecError(
            f"On {host}, everybody who reaches this machine could {what}: there is no authentication yet.",
            hint="Put a proxy that asks for a key in front of 127.0.0.1, or say that it is meant: --unsafe-expose.",
        )


def http_limits(settings: Settings) -> HttpLimits:
    """Return the limits of the HTTP port that the settings say."""
    return HttpLimits(
        body_bytes=settings.body_limit_bytes,
        header_deadline_s=settings.header_deadline_s,
        body_deadline_s=settings.body_deadline_s,
        connection_count=settings.connection_limit,
    )
