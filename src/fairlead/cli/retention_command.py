"""`fairlead gc`: retire versions that nothing uses, and remove the files that no version lists."""

from __future__ import annotations

import click

from fairlead.app.registry_gc import Collected, collect
from fairlead.app.wiring import build_house
from fairlead.cli.printing import Duration, StepProgress, emit_json, home_option, json_option, table
from fairlead.core.manifest import readable_size


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--keep", type=click.IntRange(min=1), help="Newest versions of each model that stay.  [default: as its strategy says, else 5]"
)
@click.option("--older-than", "min_age_s", type=Duration(), default=0.0, help="Only versions older than that go, e.g. 30d.")
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Say what would go, and change nothing.")
@home_option
@json_option
def gc(names: tuple[str, ...], keep: int | None, min_age_s: float, home: str | None, *, is_dry_run: bool, as_json: bool) -> None:
    """Retire versions that nothing uses and free their space, of all models or of those named.

    What an alias points at or a rollback goes back to stays; so does what a release, a server or a process uses, and what somebody tagged
    `protected`, staged or approved.
    """
    progress = StepProgress(is_silent=as_json)
    collected = collect(build_house(home), names, keep_count=keep, min_age_s=min_age_s, is_dry_run=is_dry_run, progress=progress)
    if as_json:
        emit_json(collected)
        return
    if not collected.fates:
        click.echo("No models yet.")
        return
    rows = [
        (fate.version, "stays" if fate.stays else click.style("goes", fg="red"), readable_size(fate.size_bytes), "; ".join(fate.why))
        for fate in collected.fates
    ]
    click.echo(table(rows, ("VERSION", "", "SIZE", "WHY")))
    click.echo(f"\n{_summary(collected)}")


def _summary(collected: Collected) -> str:
    count, files = len(collected.retired), collected.file_count
    versions = f"{count} version{'' if count == 1 else 's'}"
    freed = f"{readable_size(collected.freed_bytes)} in {files} file{'' if files == 1 else 's'}"
    later = f" {collected.waiting_count} more are younger than a day and go with a later run." if collected.waiting_count else ""
    if collected.is_dry_run:
        if not count and not files:
            return "Nothing would go."
        return f"Would retire {versions} and free {freed}.{later} Nothing was changed: leave --dry-run out to do it."
    return f"Retired {versions}, freed {freed}.{later}" if count or files else "Nothing went."
