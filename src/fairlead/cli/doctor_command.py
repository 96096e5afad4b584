"""`fairlead doctor`: what this machine has."""

from __future__ import annotations

from collections.abc import Mapping

import click

from fairlead.app.doctor import Diagnosis, examine
from fairlead.app.wiring import build_sandbox, settings_for
from fairlead.cli.printing import emit_json, home_option, json_option, mark, sections


@click.command()
@home_option
@json_option
def doctor(home: str | None, *, as_json: bool) -> None:
    """Say what this machine has, what is missing, and the cure.

    \b
    Example:
      fairlead doctor
    """
    settings = settings_for(home)
    diagnosis = examine(settings.home, build_sandbox(settings))
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
        ("Registry", [f"{diagnosis.home}: {diagnosis.free_bytes / 1e9:,.1f} GB free"]),
        ("What to do", list(diagnosis.advice) or ["Nothing; everything is here."]),
    ]
    return sections(parts)


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
