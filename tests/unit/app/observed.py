"""Answers in the observation log, as a server would have left them, and a registered classifier to have given them."""

from __future__ import annotations

import hashlib
import shutil
import time
from pathlib import Path

import numpy as np
import registered

from fairlead.app.observations import open_log
from fairlead.app.wiring import House
from fairlead.core.conversion import TWIN_FILE
from fairlead.core.golden import Golden
from fairlead.core.interface import Interface
from fairlead.core.lineage import Lineage, Step
from fairlead.core.observation_log import INPUT, OUTPUT, ObservedRows, columns_of
from fairlead.core.outcome import RELIABILITY, Reliability
from fairlead.core.plan import Plan
from fairlead.core.requirement import parse_requirements
from fairlead.core.target import Target
from fairlead.core.verdict import Check, OutputParity, Parity, Quality, Speed, Verdict
from fairlead.core.version import Version
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.register.aliases import promote
from fairlead.register.stage import Registration, register
from fairlead.stores.document import dump
from fairlead.stores.golden_rows import write_golden


def add_proven(
    house: House,
    name: str,
    model: tuple[Path, Interface],
    *requirements: str,
    accuracy: float = 0.95,
    twin: Path | None = None,
    reliability: Reliability | None = None,
) -> Version:
    """Register a version that was proven to keep `requirements` and to be right in `accuracy` of 1,000 rows."""
    path, interface = model
    folder = path.parent / f"proven-{name}-{time.monotonic_ns()}"
    folder.mkdir()
    shutil.copyfile(path, folder / "model.onnx")
    if twin is not None:
        shutil.copyfile(twin, folder / TWIN_FILE)
    engine = OnnxRuntimeEngine(path, interface)
    rows = registered.draw(interface, 3)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    promised = parse_requirements(requirements)
    interval = (accuracy - 0.015, accuracy + 0.012)
    verdict = Verdict(
        "onnx",
        engine.description,
        "original",
        (registered.CHECK, *(Check(one.name, is_met=True, measured=accuracy, bound="", requirement=one) for one in promised)),
        Parity(4, 0, (OutputParity("y", 0.0, 0.0, 0.0),), 0, {"1": 0.0}, is_deterministic=True, tolerance=1e-5),
        (Quality("accuracy", accuracy, accuracy, interval, interval, 1000),),
        (Speed(1, 0.01, 0.01, 0.01, 0.01, 1e5, 100, 1),),
        1,
        1,
        1,
        digest,
        "",
        "1000 rows",
        1000,
        0,
        registered.MACHINE,
    )
    source = "0" * 64
    documents = {
        "interface.json": interface,
        "engine.json": registered.CANDIDATE,
        "verdict.json": verdict,
        "plan.json": Plan(promised, Target(), (registered.CANDIDATE,)),
        "lineage.json": Lineage(source, path.name, (Step("convert", "copy", source, digest),)),
    }
    documents |= {} if reliability is None else {RELIABILITY: reliability}
    for file, value in documents.items():
        (folder / file).write_bytes(dump(value))
    write_golden(folder / "golden.npz", Golden(rows, engine.run(rows)))
    (folder / "report.html").write_text("<p>report</p>")
    (folder / "card.md").write_text("# card")
    files = {entry.name: entry for entry in folder.iterdir()}
    version = register(Registration(name, files, verdict), records=house.records, blobs=house.blobs, clock=time.time)
    promote(name, version.number, alias="production", records=house.records, clock=time.time)
    return version


def answer(
    house: House,
    version: Version,
    model: tuple[Path, Interface],
    x: np.ndarray,
    *,
    latency_ms: float = 2.0,
    first: int = 0,
    **more: np.ndarray,
) -> tuple[list[str], list[str]]:
    """Write what the model answers to `x` to the log; return the requests' ids and the answers' labels."""
    path, interface = model
    count, now = len(x), time.time()
    scores = OnnxRuntimeEngine(path, interface).run({"x": x})["scores"]
    ids = [f"r{first + place}" for place in range(count)]

    def texts(values: list[str]) -> np.ndarray:
        found = np.empty(count, object)
        found[:] = values
        return found

    columns = {
        "at": now - np.linspace(3000.0, 1.0, count),
        "request_id": texts(ids),
        "own_id": texts([""] * count),
        "row": np.zeros(count, np.int32),
        "version": np.full(count, version.number),
        "arm": texts([""] * count),
        "latency_s": np.full(count, latency_ms / 1e3),
        "route": texts(["http"] * count),
        "status": texts(["ok"] * count),
        "share": np.ones(count),
        **{name: x[:, place] for place, name in enumerate(columns_of(interface.inputs[0], INPUT))},
        **{name: scores[:, place] for place, name in enumerate(columns_of(interface.outputs[0], OUTPUT))},
        **more,
    }
    open_log(house).append(ObservedRows(version.name, version.number, columns))
    return ids, [str(interface.labels[place]) for place in scores.argmax(axis=1)]


def write_labels(path: Path, ids: list[str], labels: list[str]) -> Path:
    """Write a file of labels."""
    path.write_text("request_id,label\n" + "".join(f"{one},{other}\n" for one, other in zip(ids, labels, strict=True)))
    return path


def wrong(labels: list[str], every: int) -> list[str]:
    """Return right answers of which each `every`-th is not what was said."""
    return [("cat" if label != "cat" else "dog") if place % every == 0 else label for place, label in enumerate(labels)]
