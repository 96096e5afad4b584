"""The composition root: the one module that knows every concrete class. Everything else is handed ports."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from fairlead.app.configured_sandbox import ConfiguredSandbox
from fairlead.core.ports import BlobStore, Clock, RecordStore, Sandbox
from fairlead.security.sandbox import OneShotSandbox
from fairlead.settings import Settings, load_settings
from fairlead.stores.folder_blobs import FolderBlobs
from fairlead.stores.sqlite_records import SqliteRecords

RECORDS = "registry.sqlite"
BLOBS = "blobs"
LOADED = "loaded"
WORK = "work"


@dataclass(frozen=True)
class House:
    """The tools that use cases work with. `loaded` is where versions are unpacked to run, `work` where deployments are made."""

    settings: Settings
    records: RecordStore
    blobs: BlobStore
    sandbox: Sandbox
    clock: Clock
    loaded: Path
    work: Path


def settings_for(home: str | Path | None) -> Settings:
    """Return the settings, with `home` in place of FAIRLEAD_HOME where it is given; raises SpecError."""
    settings = load_settings()
    return settings if home is None else replace(settings, home=Path(home).expanduser().absolute())


def build_sandbox(settings: Settings) -> Sandbox:
    """Return the sandbox in which foreign files are opened."""
    inside = OneShotSandbox(strict=settings.sandbox_strict)
    return ConfiguredSandbox(inside, settings.sandbox_memory_bytes, settings.sandbox_wall_s)


def build_house(home: str | Path | None = None) -> House:
    """Open (or begin) the registry in the home folder; raises StorageError."""
    settings = settings_for(home)
    return House(
        settings=settings,
        records=SqliteRecords(settings.home / RECORDS),
        blobs=FolderBlobs(settings.home / BLOBS),
        sandbox=build_sandbox(settings),
        clock=time.time,
        loaded=settings.home / LOADED,
        work=settings.home / WORK,
    )
