"""What this machine has: processor, cores, memory, instruction sets, GPUs, and which runtimes are installed.

Takes nothing, gives a core `Machine`. Reads /proc and the control groups, asks no driver, starts no process and imports no runtime; what
the system does not tell is left empty. Limits of a container count: cores and memory are what this process may use.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from fairlead.core.target import Machine

# The instruction sets that change what a runtime does with a model: vector width, half and int8 arithmetic.
_KNOWN_SETS = {
    "sse4_2": "SSE4.2",
    "avx": "AVX",
    "avx2": "AVX2",
    "fma": "FMA",
    "f16c": "F16C",
    "avx512f": "AVX-512F",
    "avx512bw": "AVX-512BW",
    "avx512_vnni": "AVX-512-VNNI",
    "avx_vnni": "AVX-VNNI",
    "avx512_bf16": "AVX-512-BF16",
    "avx512_fp16": "AVX-512-FP16",
    "amx_tile": "AMX",
    "amx_int8": "AMX-INT8",
    "amx_bf16": "AMX-BF16",
    "asimd": "NEON",
    "asimddp": "NEON-DOT",
    "i8mm": "I8MM",
    "sve": "SVE",
    "bf16": "BF16",
}
_RUNTIMES = ("onnxruntime", "onnx", "numpy", "scikit-learn", "keras", "tensorflow", "torch", "jax", "openvino", "ai-edge-litert")


def describe_machine(root: Path = Path("/")) -> Machine:
    """Return what this machine has; `root` is where /proc and /sys are found."""
    facts = _first_processor(_read(root / "proc/cpuinfo"))
    flags = set(facts.get("flags", facts.get("Features", "")).split())
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=facts.get("model name") or platform.processor() or platform.machine(),
        core_count=usable_cores(root),
        memory_bytes=_memory_bytes(root),
        instruction_sets=tuple(name for flag, name in _KNOWN_SETS.items() if flag in flags),
        gpus=_gpus(root),
        versions=_versions(),
    )


def _first_processor(text: str) -> Mapping[str, str]:
    block = text.split("\n\n", 1)[0]
    pairs = (line.partition(":") for line in block.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def usable_cores(root: Path = Path("/")) -> int:
    """Return the cores that this process may be scheduled on, or fewer where the control group's quota is lower (rounded up)."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, period = _quota(root)
    return max(min(count, math.ceil(quota / period)), 1) if quota > 0 and period > 0 else count


def _quota(root: Path) -> tuple[int, int]:
    """CPU time that the control group may use in each period, both in microseconds; (0, 0) for no limit (cgroup v2, then v1)."""
    words = _read(root / "sys/fs/cgroup/cpu.max").split()
    if len(words) != 2:
        words = [_read(root / f"sys/fs/cgroup/cpu/cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    return (int(words[0]), int(words[1])) if all(word.isdigit() for word in words) else (0, 0)


def _memory_bytes(root: Path) -> int:
    """Physical memory, or the control group's limit where that is lower; 0 where neither is known."""
    facts = dict(line.split(":", 1) for line in _read(root / "proc/meminfo").splitlines() if ":" in line)
    known = [int(facts["MemTotal"].split()[0]) * 1024] if "MemTotal" in facts else []
    for path in ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = _read(root / path).strip()
        if text.isdigit():
            known.append(int(text))
    return min(known, default=0)


def _gpus(root: Path) -> tuple[str, ...]:
    """Names of NVIDIA GPUs as their driver lists them in /proc; empty without driver or device."""
    folder = root / "proc/driver/nvidia/gpus"
    try:
        found = sorted(folder.iterdir())
    except OSError:
        return ()
    return tuple(_first_processor(_read(gpu / "information")).get("Model", "NVIDIA GPU") for gpu in found)


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _RUNTIMES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
