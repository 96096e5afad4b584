"""What this machine has: read from files that tests write, and plausible on the machine that runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.engines.machine import describe_machine

CPU = "processor\t: 0\nmodel name\t: Test CPU 3000\nflags\t\t: fpu avx2 fma avx512_vnni\n\nprocessor\t: 1\nmodel name\t: Other\n"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_processor_and_instruction_sets_are_those_of_the_first_core(tmp_path: Path) -> None:
    machine = describe_machine(write(tmp_path, {"proc/cpuinfo": CPU, "proc/meminfo": "MemTotal:  2000 kB\nMemFree: 1 kB\n"}))
    assert machine.processor == "Test CPU 3000"
    assert machine.instruction_sets == ("AVX2", "FMA", "AVX-512-VNNI")
    assert machine.memory_bytes == 2_048_000


@pytest.mark.parametrize(
    "files",
    [
        {"sys/fs/cgroup/cpu.max": "50000 100000\n", "sys/fs/cgroup/memory.max": "1000\n"},
        {
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "1000\n",
        },
    ],
    ids=["v2", "v1"],
)
def test_limits_of_a_container_count(tmp_path: Path, files: dict[str, str]) -> None:
    machine = describe_machine(write(tmp_path, files | {"proc/meminfo": "MemTotal:  2000 kB\n"}))
    assert machine.core_count == 1
    assert machine.memory_bytes == 1000


def test_a_container_without_limits_has_those_of_the_machine(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/cpu.max": "max 100000\n", "sys/fs/cgroup/memory.max": "max\n", "proc/meminfo": "MemTotal:  2000 kB\n"}
    machine = describe_machine(write(tmp_path, files))
    assert machine.core_count >= 1
    assert machine.memory_bytes == 2_048_000


def test_a_graphics_card_is_named_as_its_driver_names_it(tmp_path: Path) -> None:
    folder = "proc/driver/nvidia/gpus/0000:01:00.0/information"
    assert describe_machine(write(tmp_path, {folder: "Model: \t\t NVIDIA Test\nIRQ: 1\n"})).gpus == ("NVIDIA Test",)


def test_a_machine_that_tells_nothing_is_still_described(tmp_path: Path) -> None:
    machine = describe_machine(tmp_path)
    assert machine.memory_bytes == 0
    assert machine.gpus == machine.instruction_sets == ()
    assert machine.core_count >= 1


def test_this_machine_has_cores_memory_and_the_runtime() -> None:
    machine = describe_machine()
    assert machine.memory_bytes > 2**28
    assert "onnxruntime" in machine.versions
