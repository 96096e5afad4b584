"""A version with a profile, and a log of requests to it, for tests of drift."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace

import numpy as np

from fairlead.app.observations import open_log
from fairlead.app.wiring import House
from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, TensorSpec
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.observation_log import ObservedRows
from fairlead.core.profile import Profile
from fairlead.monitor.drift.joint import embed
from fairlead.monitor.drift.reference import profile_column
from fairlead.stores.document import dump

HOUR = 3600.0
STATUS = "ok"
START = 1_800_000_000.0 - 1_800_000_000.0 % 86_400
INTERFACE = Interface(
    (TensorSpec("x", DType.FP64, (None, 3), ("age", "noise", "kept")),),
    (TensorSpec("y", DType.FP64, (None, 1)),),
    decision=Decision(DecisionKind.VALUE, "y"),
)


class Silent:
    """Nobody is told."""

    def step(self, text: str) -> None: ...
    def tell(self, text: str) -> None: ...
    def done(self, text: str) -> None: ...


def reference() -> Profile:
    generator = np.random.default_rng(0)
    columns = {name: generator.normal(size=3000) for name in ("age", "noise", "kept")}
    features = tuple(profile_column(name, values, input_name="x") for name, values in columns.items())
    features = tuple(replace(feature, use=use) for feature, use in zip(features, (0.9, 0.0, 0.2), strict=True))
    answers = (profile_column("value", columns["age"] * 3, input_name="y"),)
    return Profile(features, answers, 3000, "rows.csv, 3000 rows", shuffled_change=1.1, embedding=embed(features, columns, seed=0))


def add_version(house: House, files: dict[str, bytes]) -> None:
    entries = []
    for name, data in sorted(files.items()):
        house.blobs.put(io.BytesIO(data))
        entries.append(FileEntry(name, len(data), hashlib.sha256(data).hexdigest()))
    house.records.add_version("tab", Manifest(tuple(entries)), START)


def add_watched(house: House) -> House:
    add_version(house, {"profile.json": dump(reference()), "interface.json": dump(INTERFACE)})
    return house


def observe(
    house: House,
    hour: float,
    age: np.ndarray,
    noise: np.ndarray | None = None,
    *,
    per_request: int = 1,
    share: float = 1.0,
    name: str = "r",
    **more: np.ndarray,
) -> None:
    rows = len(age)
    generator = np.random.default_rng(int(hour))
    columns = (
        {
            "at": START + hour * HOUR + np.sort(generator.random(rows)) * HOUR,
            "request_id": np.array([f"{name}{hour}-{row // per_request}" for row in range(rows)], object),
            "own_id": np.full(rows, "", object),
            "row": np.arange(rows) % per_request,
            "version": np.ones(rows, np.int64),
            "arm": np.full(rows, "", object),
            "latency_s": np.full(rows, 0.001),
            "route": np.full(rows, "http", object),
            "status": np.full(rows, STATUS, object),
            "share": np.full(rows, share, np.float32),
            "input:age": age,
            "input:noise": generator.normal(size=rows) if noise is None else noise,
        }
        | ({"output:y": 3 * age} if STATUS == "ok" else {})
        | more
    )
    open_log(house).append(ObservedRows("tab", 1, columns))
