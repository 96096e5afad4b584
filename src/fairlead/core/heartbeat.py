"""What a running server says of itself, so that whoever moves an alias knows when it has been followed. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Applied:
    """What a server has of one model now: the version that answers by default (0: none), all that are loaded, the release and step whose
    split it follows ("" for none). `problem` says why the wanted default, or an arm of the release, is not there yet; "" where all are.
    `has_failed` says that this is no matter of waiting: it could not be loaded, and will be tried again later only.
    """

    default: int = 0
    versions: tuple[int, ...] = ()
    release: str = ""
    step: int = 0
    problem: str = ""
    has_failed: bool = False


@dataclass(frozen=True)
class ServerBeat:
    """What one running server says of itself, every second: who it is, what it has of each model (`applied`, at the registry's `sequence`),
    and how often it has said so (`count`), by which others tell that it lives whatever their clocks say.
    """

    id: str
    host: str
    pid: int
    url: str
    alias: str
    software: str
    started_at: float
    count: int
    sequence: int
    applied: Mapping[str, Applied] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """How a person finds it: its address, or its process where it does not listen yet."""
        return self.url or f"process {self.pid} on {self.host}"

    def has_caught_up(self, name: str, sequence: int) -> bool:
        """Whether new requests for the model `name` meet what the registry wanted at `sequence`. A server that does not serve it has
        nothing to catch up with.
        """
        found = self.applied.get(name)
        return self.sequence >= sequence and (found is None or not found.problem)

    def has_failed(self, name: str, sequence: int) -> bool:
        """Whether the server looked at what the registry wanted of the model at `sequence`, and could not load it."""
        found = self.applied.get(name)
        return self.sequence >= sequence and found is not None and found.has_failed

    def in_use(self) -> tuple[str, ...]:
        """Return every version that it has loaded: `digits:3`."""
        return tuple(f"{name}:{number}" for name, applied in sorted(self.applied.items()) for number in applied.versions)
