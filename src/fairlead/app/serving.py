"""Serve what the registry says: versions behind an alias, followed as it moves.

`RegistrySource` is the server's view of the registry: what an alias aspires to, and how to load it. Raises StorageError where the registry
is away, CorruptError where a version's files are not what was registered.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from fairlead._version import __version__
from fairlead.app.model import open_version
from fairlead.app.observing import Observers, observing
from fairlead.app.wiring import House
from fairlead.core.plan import Plan
from fairlead.core.ports import LoadedModel
from fairlead.core.requirement import Requirement
from fairlead.core.version import PRODUCTION, Reference, Version, check_name
from fairlead.errors import SpecError
from fairlead.register.resolve import require_name, resolve
from fairlead.serve.http.limits import HttpLimits
from fairlead.serve.serve_job import ServeJob
from fairlead.serve.stage import serve as serve_job
from fairlead.settings import Settings
from fairlead.stores.document import load
from fairlead.stores.version_files import read_file

_WORKER_LIMIT = 256


@dataclass(frozen=True)
class RegistrySource:
    """Aspires to the version that `alias` points at, for `names` or, where there are none, for every model that has the alias.

    `is_apart` says that worker processes open what they can, so that this one need not.
    """

    house: House
    names: tuple[str, ...] = ()
    alias: str = PRODUCTION
    is_apart: bool = False

    def aspired(self) -> Mapping[str, Version]:
        """Return model name -> version."""
        records = self.house.records
        found = {}
        for name in self.names or records.names():
            number = records.aliases(name).get(self.alias)
            if number is not None:
                found[name] = records.version(name, number)
        return found

    def sequence(self) -> int:
        """Return a number that grows with every change in the registry."""
        return self.house.records.sequence()

    def load(self, version: Version) -> LoadedModel:
        """Unpack, check and start `version`."""
        return open_version(version, self.house, is_apart=self.is_apart)


@dataclass(frozen=True)
class ServeRequest:
    """What the user asked for. None takes the setting; no names serve everything that `alias` points at. `is_exposed` allows
    an address that other machines reach.
    """

    names: tuple[str, ...] = ()
    host: str | None = None
    port: int | None = None
    default: str | None = None
    alias: str = PRODUCTION
    is_exposed: bool = False
    cache_bytes: int | None = None
    worker_count: int | None = None


def serve(request: ServeRequest, house: House, *, on_listening: Callable[[str], None]) -> None:
    """Serve until a signal asks to stop; raises NotFoundError for an unknown name, PortInUseError, and what is wrong with the address."""
    for name in request.names:
        resolve(Reference(check_name(name), alias=request.alias), records=house.records)
    if request.default is not None:
        require_name(check_name(request.default), records=house.records)
    _check_exposure(request.host or house.settings.host, is_exposed=request.is_exposed)
    with observing(house.settings, lambda name, number: promises(name, number, house)) as observers:
        if not RegistrySource(house, request.names, request.alias).aspired():
            observers.log.say(f"Nothing has @{request.alias} yet; waiting for a deployment.")
        serve_job(_job(request, house, observers, on_listening))


def promises(name: str, number: int, house: House) -> tuple[Requirement, ...]:
    """Return what a version was registered for."""
    return load(read_file(house.records.version(name, number), "plan.json", house.blobs), Plan).requirements


def _job(request: ServeRequest, house: House, observers: Observers, on_listening: Callable[[str], None]) -> ServeJob:
    settings = house.settings
    worker_count = settings.worker_count if request.worker_count is None else request.worker_count
    _check_workers(worker_count)
    return ServeJob(
        source=RegistrySource(house, request.names, request.alias, is_apart=worker_count > 0),
        host=request.host or settings.host,
        port=settings.port if request.port is None else request.port,
        default_model=request.default or "",
        alias=request.alias,
        follow_interval_s=settings.follow_interval_s,
        grace_s=settings.grace_s,
        queue_limit=settings.queue_limit,
        cache_bytes=settings.cache_bytes if request.cache_bytes is None else request.cache_bytes,
        worker_count=worker_count,
        call_limit_s=settings.call_limit_s,
        limits=_limits(settings),
        sink=observers.watcher,
        statistics=observers.watcher.statistics,
        metrics=observers.metrics,
        on_listening=observers.announced(on_listening),
        report=observers.log.say,
        software_version=__version__,
    )


def _check_workers(count: int) -> None:
    if not 0 <= count <= _WORKER_LIMIT:
        raise SpecError(
            f"{count} workers are not possible.", hint=f"Between 0 and {_WORKER_LIMIT}; 0: none, models run in the server's own."
        )
    if count and sys.platform != "linux":
        raise SpecError("Worker processes need Linux.", hint="Without --workers, models run in the server's own process.")


def _check_exposure(host: str, *, is_exposed: bool) -> None:
    """Refuse an address that others reach, unless the user said that this is meant: nobody is asked for a key yet."""
    if is_exposed or host == "localhost":
        return
    try:
        is_loopback = ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise SpecError(
            f"On {host}, everybody who reaches this machine could ask the models: there is no authentication yet.",
            hint="Put a proxy that asks for a key in front of 127.0.0.1, or say that it is meant: --unsafe-expose.",
        )


def _limits(settings: Settings) -> HttpLimits:
    return HttpLimits(
        body_bytes=settings.body_limit_bytes,
        header_deadline_s=settings.header_deadline_s,
        body_deadline_s=settings.body_deadline_s,
        connection_count=settings.connection_limit,
    )
