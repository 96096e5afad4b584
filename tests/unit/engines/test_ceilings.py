"""The ceilings of a machine: what they are made of, and how they are looked up. How high they are is no test's business."""

from __future__ import annotations

import dataclasses

import pytest

from fairlead.core.facts import ArithmeticCeiling, Ceilings, MemoryCeiling
from fairlead.engines.ceilings import cache_sizes, measure_ceilings


def test_every_ceiling_is_measured_for_one_thread_and_for_all_cores(monkeypatch):
    monkeypatch.setattr("fairlead.engines.ceilings.usable_cores", lambda: 2)
    found = measure_ceilings(0.01)
    assert {(item.dtype, item.thread_count) for item in found.arithmetic} == {(d, n) for d in ("FP32", "INT8", "TREES") for n in (1, 2)}
    assert {item.thread_count for item in found.memory} == {1, 2}
    assert len({item.block_bytes for item in found.memory}) == 4
    assert all(item.flops_per_s > 0 for item in found.arithmetic)
    assert all(item.bytes_per_s > 0 for item in found.memory)
    assert found.call_ms > 0
    assert found.operator_ms >= 0
    assert found.is_measured
    assert found.measured_at > 1.7e9


def test_a_clock_that_stands_for_the_machine_gives_the_figures_that_follow(monkeypatch):
    """Every call takes exactly one tick of 1 ms: 2 x 512^3 operations in a millisecond."""
    monkeypatch.setattr("fairlead.engines.ceilings.usable_cores", lambda: 1)
    ticks = iter(range(10**9))
    found = measure_ceilings(0.02, clock=lambda: next(ticks) * 1e-3)
    assert found.flops_per_s("FP32", 1) == pytest.approx(2 * 512**3 * 1e3)
    assert found.call_ms == pytest.approx(1.0)
    assert found.operator_ms == pytest.approx(0.0)


def test_caches_are_read_by_level_and_the_one_for_instructions_is_none_of_them(tmp_path):
    for number, (level, kind, size) in enumerate(
        (("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", "2048K"), ("3", "Unified", "?"))
    ):
        folder = tmp_path / f"sys/devices/system/cpu/cpu0/cache/index{number}"
        folder.mkdir(parents=True)
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(f"{text}\n")
    assert cache_sizes(tmp_path) == {"L1d": 48 * 1024, "L2": 2048 * 1024}
    assert cache_sizes(tmp_path / "nowhere") == {}


KNOWN = Ceilings(
    processor="p",
    arithmetic=(ArithmeticCeiling("FP32", 1, 10.0), ArithmeticCeiling("FP32", 4, 30.0)),
    memory=(MemoryCeiling(1, 1000, 9.0), MemoryCeiling(1, 10, 90.0), MemoryCeiling(4, 1000, 20.0)),
)


def test_threads_between_two_that_were_measured_get_the_ceiling_of_the_fewer():
    assert [KNOWN.flops_per_s("FP32", count) for count in (1, 3, 4, 9)] == [10.0, 10.0, 30.0, 30.0]
    assert KNOWN.flops_per_s("FP16", 1) == 0.0


def test_data_that_fits_into_no_cache_gets_the_ceiling_of_memory():
    assert [KNOWN.bytes_per_s(1, size) for size in (5, 10, 11, 10**9)] == [90.0, 90.0, 9.0, 9.0]
    assert KNOWN.bytes_per_s(4, 5) == 20.0
    assert dataclasses.replace(KNOWN, memory=()).bytes_per_s(1, 5) == 0.0
