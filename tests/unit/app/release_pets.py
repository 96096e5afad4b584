"""Three versions of a small classifier in a registry that is a dictionary, and releases of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import registered

from fairlead.app.release_begin import ReleaseRequest
from fairlead.app.wiring import House
from fairlead.core.gate import parse_gate
from fairlead.core.release import ReleaseKind
from fairlead.core.release_text import parse_steps
from memory_records import MemoryRecords


def three_pets(house: House, tmp_path: Path) -> House:
    """Three versions of `pets`, the first of them live."""
    house = dataclasses.replace(house, records=MemoryRecords(), settings=dataclasses.replace(house.settings, user="ann"))
    for seed in range(3):
        model = registered.classifier(tmp_path / f"{seed}.onnx", seed=seed)
        registered.add_version(house, "pets", model, alias="" if seed else "production")
    return house


def request(reference: str = "pets:2", **changes) -> ReleaseRequest:
    steps = {"steps": parse_steps("10%,50%"), "gate": parse_gate("error_rate")}
    return ReleaseRequest(ReleaseKind.CANARY, reference, **(steps | changes))


def live(house: House) -> int:
    return house.records.aliases("pets")["production"]
