"""`fairlead doctor`: what this machine has."""

from __future__ import annotations

from collections.abc import Mapping

import click

from fairlead.app.doctor import Diagnosis, examine
from fairlead.app.store_states import store_states
from fairlead.app.wiring import build_sandbox, settings_for
from fairlead.cli.printing import emit_json, home_option, json_option, mark, sections
from fairlead.core.facts import Ceilings


@click.command()
@click.option("--measure", "is_measured", is_flag=True, help="Time what the machine can do at most (2 seconds).")
@home_option
@json_option
def doctor(home: str | None, *, is_measured: bool, as_json: bool) -> None:
    """Say what this machine has, what is missing, and the cure.

    \b
    Examples:
      fairlead doctor
      fairlead doctor --measure
    """
    settings = settings_for(home)
    diagnosis = examine(settings.home, build_sandbox(settings), is_measured=is_measured, stores=store_states(settings))
    if as_json:
        emit_json(diagnosis)
        return
    click.echo(_text(diagnosis))


def _text(diagnosis: Diagnosis) -> str:
    machine = diagnosis.machine
    parts = [
        (
            "Machine",
            [
                f"{machine.system}",
                f"{machine.processor}: {machine.core_count} cores, {machine.memory_bytes / 2**30:.0f} GiB of memory",
                f"instruction sets: {', '.join(machine.instruction_sets) or 'unknown'}",
                f"GPU: {', '.join(machine.gpus) or 'none'}",
            ],
        ),
        *([("At most", _ceilings(diagnosis.ceilings))] if diagnosis.ceilings else []),
        ("Engines", [f"{mark(is_good=bool(version))} {name} {version}" for name, version in diagnosis.engines.items()]),
        (
            "Extras",
            [
                f"{mark(is_good=extra.is_installed)} {extra.name}: {extra.purpose}"
                + (f": {extra.cure}" if extra.missing else f" ({_listed(extra.versions)})")
                for extra in diagnosis.extras
            ],
        ),
        ("Sandbox", [f"{mark(is_good=state == 'active')} {layer}: {state}" for layer, state in diagnosis.sandbox_layers.items()]),
        (
            "Registry",
            [
                f"{diagnosis.home}: {diagnosis.free_bytes / 1e9:,.1f} GB free",
                *(f"{mark(is_good=not state.problem)} {name}: {state.problem or state.found}" for name, state in diagnosis.stores.items()),
            ],
        ),
        ("What to do", list(diagnosis.advice) or ["Nothing; everything is here."]),
    ]
    return sections(parts)


def _ceilings(ceilings: Ceilings) -> list[str]:
    names = {"FP32": "10^9 operations/s in fp32", "INT8": "10^9 operations/s in int8", "TREES": "10^9 comparisons/s in trees"}
    threads = sorted({item.thread_count for item in ceilings.arithmetic})
    lines = [
        f"{name}: " + ", ".join(f"{ceilings.flops_per_s(dtype, count) / 1e9:,.3g} on {_threads(count)}" for count in threads)
        for dtype, name in names.items()
    ]
    for item in ceilings.memory:
        block = f"{item.block_bytes / 2**20:,.3g} MiB"
        lines.append(f"copies blocks of {block} at {item.bytes_per_s / 1e9:,.3g} GB/s on {_threads(item.thread_count)}")
    caches = ", ".join(f"{level} {size / 1024:,.0f} KiB" for level, size in ceilings.cache_bytes.items())
    calls = f"a call takes {ceilings.call_ms * 1e3:.3g} us, each operator more {ceilings.operator_ms * 1e3:.2g} us"
    return [*lines, calls, f"caches of a core: {caches or 'unknown'}"]


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
