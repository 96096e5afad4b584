"""`fairlead export` and `import`: a version as one file for another registry, or as a folder for another server."""

from __future__ import annotations

from pathlib import Path

import click

from fairlead.app.catalogue import export as export_folder
from fairlead.app.registry_export import export_file
from fairlead.app.registry_import import import_file
from fairlead.app.wiring import build_house
from fairlead.cli.printing import emit_json, home_option, json_option
from fairlead.core.bundle import SUFFIX
from fairlead.core.manifest import readable_size

_FILE = "file"


@click.command()
@click.argument("version")
@click.option("--out", type=click.Path(path_type=Path), required=True, help=f"File (something{SUFFIX}) or folder to write.")
@click.option(
    "--layout",
    "--to",
    type=click.Choice([_FILE, "open-inference", "mlflow"]),
    help=f"file: for fairlead import. The others are folders.  [default: file for {SUFFIX}, else open-inference]",
)
@click.option("--force", "may_replace", is_flag=True, help="Replace a file that is there.")
@home_option
@json_option
def export(version: str, out: Path, layout: str | None, home: str | None, *, may_replace: bool, as_json: bool) -> None:
    """Write a version as one file that another registry takes, or as a folder that other servers take."""
    house = build_house(home)
    if (layout or (_FILE if out.suffix == SUFFIX else "")) == _FILE:
        written = export_file(version, out, house, may_replace=may_replace)
        if as_json:
            emit_json(written)
            return
        click.echo(f"{written.path}  {written.version}, {readable_size(written.size_bytes)}")
        click.echo(f"  version sha256:{written.digest}")
        click.echo(f"  file    sha256:{written.sha256}")
        return
    files = export_folder(version, layout or "open-inference", out, house)
    if as_json:
        emit_json({name: str(path) for name, path in files.items()})
        return
    for path in files.values():
        click.echo(str(path))


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--name", default="", help="What the model is called here.  [default: as it was called there]")
@home_option
@json_option
def import_(file: Path, name: str, home: str | None, *, as_json: bool) -> None:
    """Register the version in a file that `fairlead export` wrote. Nothing points at it until you promote it."""
    taken = import_file(file, build_house(home), name=name)
    if as_json:
        emit_json(taken)
        return
    state = f"registered; it was {taken.origin}" if taken.is_new else f"was here already (the file holds it as {taken.origin})"
    click.echo(f"{taken.version}  {state}")
    click.echo(f"  sha256:{taken.digest}, every file checked; {taken.trial}")
    click.echo("  its measurements were taken elsewhere and are believed: fairlead show says on which machine")
    if taken.aliases:
        click.echo(f"  there, {', '.join('@' + alias for alias in taken.aliases)} pointed at it; here, nothing does yet")
    if taken.stage:
        click.echo(f"  there, its stage was {taken.stage}; here it has none yet: fairlead stage {taken.version} {taken.stage}")
    click.echo(f"Put it in production: fairlead promote {taken.version}")
