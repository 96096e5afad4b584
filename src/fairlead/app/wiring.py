"""The composition root: the one module that knows every concrete class. Everything else is handed ports."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from fairlead.app.configured_sandbox import ConfiguredSandbox
from fairlead.core.ports import BlobStore, Clock, RecordStore, Sandbox
from fairlead.errors import SpecError
from fairlead.security.sandbox import OneShotSandbox
from fairlead.settings import Settings, load_settings
from fairlead.stores.catalog import BLOB_STORES, RECORD_STORES
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


def settings_for(home: str | Path | None, registry: str | None = None, blobs: str | None = None) -> Settings:
    """Return the settings, with `home`, `registry` and `blobs` in place of FAIRLEAD_HOME, FAIRLEAD_REGISTRY and FAIRLEAD_BLOBS where they
    are given; raises SpecError.
    """
    settings = load_settings()
    return replace(
        settings,
        home=settings.home if home is None else Path(home).expanduser().absolute(),
        registry=settings.registry if registry is None else registry,
        blobs=settings.blobs if blobs is None else blobs,
    )


def build_sandbox(settings: Settings) -> Sandbox:
    """Return the sandbox in which foreign files are opened."""
    inside = OneShotSandbox(strict=settings.sandbox_strict)
    return ConfiguredSandbox(inside, settings.sandbox_memory_bytes, settings.sandbox_wall_s)


def open_records(settings: Settings) -> RecordStore:
    """Open (or begin) the records where FAIRLEAD_REGISTRY says, or in the home folder; raises StorageError, SpecError,
    MissingExtraError.
    """
    if not settings.registry:
        return SqliteRecords(settings.home / RECORDS)
    records: RecordStore = RECORD_STORES.load(scheme(settings.registry))(settings.registry, password=postgres_password())
    return records


def open_blobs(settings: Settings) -> BlobStore:
    """Return the blobs: in the home folder, or where FAIRLEAD_BLOBS says; raises SpecError, MissingExtraError."""
    if "://" not in settings.blobs:
        return FolderBlobs(Path(settings.blobs).expanduser().absolute() if settings.blobs else settings.home / BLOBS)
    blobs: BlobStore = BLOB_STORES.load(scheme(settings.blobs))(settings.blobs, endpoint=settings.s3_endpoint)
    return blobs


def scheme(url: str) -> str:
    """Return what stands before :// in the URL of a store; raises SpecError that does not repeat the URL, which may hold a password."""
    before, mark, _ = url.partition("://")
    if not mark:
        raise SpecError(
            "FAIRLEAD_REGISTRY is not a URL.", hint="Write it like postgresql://user@host/database; a folder is said with FAIRLEAD_HOME."
        )
    return before.lower()


def postgres_password() -> str:
    """Return the password that PostgreSQL's own programs take from the environment, for URLs that name none."""
    return os.environ.get("PGPASSWORD", "")


def build_house(home: str | Path | None = None, registry: str | None = None, blobs: str | None = None) -> House:
    """Open (or begin) the registry that the settings name; `home`, `registry` and `blobs` take their place. Raises StorageError."""
    settings = settings_for(home, registry, blobs)
    return House(
        settings=settings,
        records=open_records(settings),
        blobs=open_blobs(settings),
        sandbox=build_sandbox(settings),
        clock=time.time,
        loaded=settings.home / LOADED,
        work=settings.home / WORK,
    )
