"""Every port: what a step asks of a tool, so that one adapter can stand in for another. One exam in tests/contract for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

from fairlead.core.aspired import Aspired
from fairlead.core.evidence import ReleaseEvidence
from fairlead.core.fact import Change, Fact, Report, Retirement, Traits
from fairlead.core.golden import Golden
from fairlead.core.interface import Array, Interface, Tensors
from fairlead.core.manifest import Manifest
from fairlead.core.observation import BatchObservation, Observation
from fairlead.core.query import Hit, ModelSummary, Query
from fairlead.core.recipe import EngineRecipe
from fairlead.core.traffic_event import Answered, Compared, Joining, LateLabel, Missed, TrafficReading
from fairlead.core.version import AliasMove, Version

Json = Any


class Engine(Protocol):
    """Runs one model of one format."""

    @property
    def interface(self) -> Interface:
        """What the model takes and gives."""
        ...

    @property
    def description(self) -> str:
        """What runs it, with version: e.g. "onnxruntime 1.31.1"."""
        ...

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        """Return the named outputs (all where none are named) for `inputs` that fit the interface. Safe to call from several threads.

        Raises RequestError where the inputs do not fit, UnavailableError where the engine cannot run any more.
        """
        ...

    def close(self) -> None:
        """Give back memory and processes. Idempotent."""
        ...


@dataclass(frozen=True)
class SandboxLimits:
    """What a sandboxed worker may use. Memory bounds the address space."""

    memory_bytes: int = 4 * 2**30
    cpu_s: int = 120
    wall_s: float = 300.0
    file_bytes: int = 4 * 2**30
    output_bytes: int = 4 * 2**20


@dataclass(frozen=True)
class SandboxJob:
    """Call `entry` ("package.module:function") with `arguments` (JSON data) in a one-shot worker.

    The function gets `arguments` plus `scratch` (str: the one folder that it may write) and returns JSON data. It can read
    `readable` (files or folders), Python and the installed libraries, and nothing else. `import_paths` are folders with modules of the
    user's own that it may import.
    """

    entry: str
    scratch: Path
    arguments: Mapping[str, Json] = field(default_factory=dict)
    readable: tuple[Path, ...] = ()
    limits: SandboxLimits = field(default_factory=SandboxLimits)
    import_paths: tuple[Path, ...] = ()


class Resident(Protocol):
    """A sandboxed process that stays: it opened a model once and answers one request after the other."""

    def ask(self, inputs: Tensors, *, timeout_s: float) -> dict[str, Array]:
        """Return the answer to `inputs`. Raises what the entry's function raises (by class), DeadlineError after `timeout_s` and
        UnavailableError where the process is gone; after either of these it has ended, but for a deadline that passed while another
        thread was being answered. Safe to call from several threads: they take turns.
        """
        ...

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked again."""
        ...

    @property
    def peak_memory_bytes(self) -> int:
        """The most resident memory that the process has had so far."""
        ...

    def close(self) -> None:
        """End the process. Idempotent."""
        ...


class Sandbox(Protocol):
    """Runs foreign-file work in processes without network, with limits."""

    def run(self, job: SandboxJob) -> dict[str, Json]:
        """Return what the entry returned. A FairleadError raised inside comes out as the same class; a crash, a limit or a time-out
        is a SandboxError that says which. Everything in the answer and in scratch is untrusted.
        """
        ...

    def start(self, job: SandboxJob) -> Resident:
        """Start a process that stays. The entry, a function of the job's arguments, opens the model and returns a function that takes
        tensors by name and gives tensors by name. Returns once that is done; raises as `run` does. The job's wall-clock limit is for
        starting, its processor time is not limited.
        """
        ...

    def layers(self) -> Mapping[str, str]:
        """Return each layer's name -> "active", or the reason why the kernel does not offer it."""
        ...


class BlobStore(Protocol):
    """Bytes by SHA-256. A blob is there whole or not at all."""

    def put(self, source: BinaryIO) -> str:
        """Store everything in `source` durably and return its digest; a blob that is there already becomes new again (see `discard`).

        Raises NoSpaceError, StorageError; leaves nothing half-written.
        """
        ...

    def open(self, digest: str) -> AbstractContextManager[BinaryIO]:
        """Open a blob for reading. Raises NotFoundError. The caller checks the digest (see `stores.version_files`)."""
        ...

    def has(self, digest: str) -> bool:
        """Whether the blob is there."""
        ...

    def delete(self, digest: str) -> None:
        """Remove the blob; no error where it is absent."""
        ...

    def list(self) -> Iterator[str]:
        """Yield every digest."""
        ...

    def age_s(self, digest: str) -> float:
        """Return the seconds since the blob was last put, by the store's own clock. Raises NotFoundError."""
        ...

    def discard(self, digest: str, *, older_than_s: float) -> bool:
        """Remove the blob if it was last put longer ago than that, and return whether it went.

        No put can slip in between the look at the age and the removal: a blob that was put just now stays.
        """
        ...

    def discard_unfinished(self, *, older_than_s: float) -> int:
        """Remove what puts left behind that were interrupted longer ago than that, and return how many."""
        ...


class RecordStore(Protocol):
    """Versions, aliases and facts. Every method is one transaction that is durable when it returns. Raises StorageError."""

    def add_version(self, name: str, manifest: Manifest, created_at: float, traits: Traits = ...) -> Version:
        """Add the next version of `name` and return it. Numbers start at 1, grow by 1 and are never reused.

        `traits` are what a search knows of it, fixed from then on: texts and numbers by key.
        """
        ...

    def version(self, name: str, number: int) -> Version:
        """Return one version. Raises NotFoundError that says what exists, or when and why it was retired."""
        ...

    def latest(self, name: str) -> Version | None:
        """Return the version of `name` with the highest number that is not retired; None where there is none."""
        ...

    def versions(self, name: str) -> tuple[Version, ...]:
        """Return all versions of `name` that are not retired, oldest first; empty for an unknown name."""
        ...

    def names(self) -> tuple[str, ...]:
        """Return the names of all models that have a version, sorted."""
        ...

    def summaries(self) -> tuple[ModelSummary, ...]:
        """Return what is registered under each name, sorted by name."""
        ...

    def retire_version(self, name: str, number: int, *, at: float, reason: str, after: int | None = None) -> None:
        """Take the version away for good. Raises ConflictError where an alias points at it or, unless that is None, anything changed in the
        registry since the sequence number `after`; NotFoundError where it is not there.
        """
        ...

    def retired(self, name: str) -> tuple[Retirement, ...]:
        """Return every retirement of `name`, by number."""
        ...

    def traits(self, name: str, number: int) -> Traits:
        """Return what a search knows of the version: its traits and, as `tag:<tag>`, its tags. Raises NotFoundError."""
        ...

    def add_traits(self, name: str, number: int, traits: Traits) -> None:
        """Add traits to a version that lacks them. Raises ConflictError where one is there with another value."""
        ...

    def find(self, query: Query, *, limit: int = 1000) -> tuple[Hit, ...]:
        """Return the versions for which `query` holds, by name and number, `limit` at most."""
        ...

    def move_alias(
        self, name: str, alias: str, number: int, *, expected: int, moved_at: float, reason: str, after: int | None = None, author: str = ""
    ) -> AliasMove:
        """Point `alias` at version `number` if it now points at `expected` (0: nowhere) and, unless that is None, its newest move has
        the sequence number `after` (0: it has none); `author` ("": nobody knows) is kept with the move. Raises ConflictError that says
        where it points, NotFoundError for an unknown or retired version.
        """
        ...

    def aliases(self, name: str) -> Mapping[str, int]:
        """Return alias -> version number."""
        ...

    def alias_history(self, name: str, alias: str) -> tuple[AliasMove, ...]:
        """Return every move, oldest first."""
        ...

    def put_fact(self, kind: str, key: str, body: str | None, *, expected: int, at: float, author: str) -> Fact:
        """Replace the fact if its revision is now `expected` (0: there is none), and return the new one; body None removes it.

        Every revision is kept. Of kind "tag", key `digits:3/team`, it is also what a search knows of that version. Raises ConflictError
        that says which revision is there.
        """
        ...

    def fact(self, kind: str, key: str) -> Fact | None:
        """Return the newest revision; None where there is no such fact."""
        ...

    def facts(self, kind: str, prefix: str = "") -> tuple[Fact, ...]:
        """Return the newest revision of every fact of `kind` whose key begins with `prefix`, by key; without what was removed."""
        ...

    def fact_history(self, kind: str, key: str) -> tuple[Fact, ...]:
        """Return every revision, oldest first."""
        ...

    def put_report(self, kind: str, key: str, body: str, at: float) -> None:
        """Keep what somebody says, in place of what was there. No change that followers are told of."""
        ...

    def reports(self, kind: str, prefix: str = "") -> tuple[Report, ...]:
        """Return the reports of `kind` whose key begins with `prefix`, by key."""
        ...

    def drop_report(self, kind: str, key: str) -> None:
        """Forget the report. No error where there is none."""
        ...

    def changes(self, since: int, limit: int = 1000) -> tuple[Change, ...]:
        """Return what happened after sequence number `since`, in order, `limit` at most."""
        ...

    def sequence(self) -> int:
        """Return a number that grows with every change, so that followers know when to look."""
        ...

    def wait_for_change(self, since: int, timeout_s: float) -> int:
        """Return the sequence as soon as it is not `since` any more, or after `timeout_s`."""
        ...


class ObservationSink(Protocol):
    """Takes what the data plane observed. Never raises, never blocks."""

    def record(self, observation: Observation) -> None:
        """Take one observation."""
        ...

    def record_batch(self, batch: BatchObservation) -> None:
        """Take what one call of an engine did."""
        ...


class TrafficWitness(Protocol):
    """Gathers what the requests of releases show. Nothing here blocks, and nothing but `check` raises."""

    def answered(self, answered: Answered) -> None:
        """Take one request that was divided."""
        ...

    def compared(self, compared: Compared) -> None:
        """Take one request that was answered twice."""
        ...

    def missed(self, missed: Missed) -> None:
        """Take one request that was not compared, or not answered by its arm."""
        ...

    def ended(self, model: str) -> None:
        """No release of `model` runs here any more: its answers need not be remembered."""
        ...

    def check(self, model: str, labels: Sequence[LateLabel]) -> None:
        """Raise RequestError for right answers that came later and cannot be compared: of another type, or not one for each row."""
        ...

    def join(self, model: str, labels: Sequence[LateLabel]) -> Joining:
        """Compare right answers that came later with those that were given, and say what became of them."""
        ...

    def snapshot(self) -> Mapping[str, ReleaseEvidence]:
        """Return release id -> what its requests showed in this process so far. Called by any thread."""
        ...

    def read(self) -> TrafficReading:
        """Return the counts for metrics."""
        ...


@dataclass(frozen=True)
class LoadedModel:
    """A version ready to be warmed: its engine, and the golden requests that it has to answer rightly before it serves.

    `may_block` says that a call can take long whatever calls before took: the engine waits for a process that may hang or start anew.
    `release` is called once, when the version has been unloaded: it gives back what the files were held with.
    `is_deterministic` and `is_batch_invariant` are what its verdict says: only then may answers be kept, or rows of requests be joined.
    `recipe` says how worker processes open it; None for an engine that stays in this process or has processes of its own. `open_twin` opens
    the uncompressed original, of `twin_bytes` on the disk, where the version has one.
    """

    engine: Engine
    golden: Golden | None = None
    may_block: bool = False
    is_deterministic: bool = False
    is_batch_invariant: bool = False
    release: Callable[[], None] | None = None
    recipe: EngineRecipe | None = None
    open_twin: Callable[[], Engine] | None = None
    twin_bytes: int = 0


class VersionSource(Protocol):
    """What a server should have loaded, and how to load it. Called from a background thread; may raise StorageError any time."""

    def aspired(self) -> Mapping[str, Aspired | Version]:
        """Return model name -> the versions that are wanted, for every model that may be served here; a Version alone is all of it."""
        ...

    def sequence(self) -> int:
        """Return a number that grows with every change, so that followers know when to look."""
        ...

    def load(self, version: Version) -> LoadedModel:
        """Fetch, check and open `version`. Raises FairleadError with the reason; leaves nothing behind then."""
        ...


@runtime_checkable
class WatchedSource(Protocol):
    """A VersionSource that tells of a change at once. Without it, a follower looks again every interval."""

    def wait(self, since: int, timeout_s: float) -> int:
        """Return the sequence as soon as it differs from `since`, or after `timeout_s`. Called from a background thread, while others may
        call the source's other methods; may raise StorageError any time.
        """
        ...


class Progress(Protocol):
    """Tells a person what long work does. `step` starts a step; `done` ends it with what came out."""

    def step(self, text: str) -> None:
        """A step begins."""
        ...

    def tell(self, text: str) -> None:
        """How far the step is, as often as it changes: what shows it decides how often."""
        ...

    def done(self, text: str) -> None:
        """The step that began last has ended."""
        ...


Clock = Callable[[], float]
