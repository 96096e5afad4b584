"""How commands print: results on stdout (text, or JSON with --json), progress on stderr, colour only on a terminal."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import click

from fairlead.settings import FROM_FILE, PREFIX

if TYPE_CHECKING:
    from fairlead.core.verdict import Check

F = TypeVar("F", bound=Callable[..., Any])
WIDTH = 9
_TELL_S = 0.2  # on a terminal
_TELL_LOG_S = 10.0  # in a log


class ByteSize(click.ParamType[int]):
    """A number of bytes as a person writes it: 512kB, 64MB, 1GiB, or a plain number."""

    name = "size"
    _UNITS: ClassVar[Mapping[str, int]] = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of bytes."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", value)
        if match is None or match[2].lower() not in self._UNITS:
            self.fail(f"'{value}' is not a size. Write it like 64MB or 1GiB.", param, ctx)
        return int(float(match[1]) * self._UNITS[match[2].lower()])


class Duration(click.ParamType[float]):
    """A time as a person writes it: 90s, 10m, 1h, 30d, or seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h|d|)\s*", str(value))
        if match is None:
            self.fail(f"'{value}' is not a time. Write it like 90s, 10m, 1h or 30d.", param, ctx)
        return float(match[1]) * {"d": 86_400, "h": 3600, "m": 60, "min": 60}.get(match[2], 1)


def json_option(function: F) -> F:
    """Add --json to a command."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(function)


def home_option(function: F) -> F:
    """Add --home, --registry and --blobs to a command. The last two are settings for this run: the command's function does not see them,
    everything that reads settings does, processes that it starts too.
    """
    for option in (
        click.option("--blobs", metavar="URL", expose_value=False, callback=_set_for_this_run, help="Where files are, as FAIRLEAD_BLOBS."),
        click.option(
            "--registry", metavar="URL", expose_value=False, callback=_set_for_this_run, help="A shared registry, as FAIRLEAD_REGISTRY."
        ),
        click.option("--home", metavar="FOLDER", help="Registry folder instead of FAIRLEAD_HOME (~/.fairlead)."),
    ):
        function = option(function)
    return function


def _set_for_this_run(context: click.Context, option: click.Parameter, value: str | None) -> None:
    """Put a setting into the environment until the command has ended, in place of what stands there, or in a file that is named there."""
    if value is None or option.name is None:
        return
    name = PREFIX + option.name.upper()
    before = {one: os.environ.pop(one, None) for one in (name, name + FROM_FILE)}
    os.environ[name] = value

    def put_back() -> None:
        os.environ.pop(name, None)
        os.environ.update({one: text for one, text in before.items() if text is not None})

    context.call_on_close(put_back)


def source_options(function: F) -> F:
    """Add the options that say what a model file does not say itself."""
    for option in (
        click.option("--tracking-uri", metavar="URI", help="MLflow server of models:/ and runs:/.  [default: MLFLOW_TRACKING_URI]"),
        click.option("--signature", metavar="NAME", help="Which signature of a SavedModel that has several."),
        click.option("--import-path", multiple=True, type=click.Path(path_type=Path), help="Folder with the class's module.  [default: .]"),
        click.option("--input", multiple=True, metavar="SPEC", help="E.g. 'x=float32[batch,28,28]', where the file does not say."),
        click.option("--model-arg", multiple=True, metavar="NAME=VALUE", help="Argument of the model's class. Repeat for more."),
        click.option("--model-class", metavar="MODULE:CLASS", help="Class of a PyTorch file that holds weights only."),
    ):
        function = option(function)
    return function


def emit_json(value: object) -> None:
    """Print a core value, or plain data, as JSON."""
    from fairlead.stores.document import dump_pretty  # noqa: PLC0415 - msgspec is not needed for text

    click.echo(dump_pretty(value))


def table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """Return an aligned text table."""
    widths = [max(_width(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = ["  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)) for row in [header, *rows]]
    lines = [line.rstrip() for line in lines]
    lines[0] = click.style(lines[0], bold=True)
    return "\n".join(lines)


def _width(cell: str) -> int:
    return len(click.unstyle(cell))


class StepProgress:
    """Prints each step with what came out of it and how long it took; on a terminal, also while it runs."""

    def __init__(self, *, is_silent: bool = False) -> None:
        self.is_silent = is_silent
        self._is_live = sys.stderr.isatty() and not is_silent
        self._every_s = _TELL_S if self._is_live else _TELL_LOG_S
        self._name = ""
        self._started = self._told_at = 0.0

    def step(self, text: str) -> None:
        """A step begins: `name` or `name: what`."""
        self._name, _, detail = text.partition(": ")
        self._started = self._told_at = time.perf_counter()
        if self._is_live:
            click.echo(f"\r\x1b[K  {self._name:<{WIDTH}} {click.style(detail or '...', dim=True)}", err=True, nl=False)

    def tell(self, text: str) -> None:
        """How far the step is: in its place on a terminal, a line of its own in a log, now and then."""
        now = time.perf_counter()
        if self.is_silent or now - self._told_at < self._every_s:
            return
        self._told_at = now
        if self._is_live:  # a line that wraps cannot be replaced
            room = shutil.get_terminal_size().columns - WIDTH - 4
            text = text if len(text) <= room else text[: max(room - 1, 1)] + "…"
        line = f"  {self._name:<{WIDTH}} {click.style(text, dim=True)}"
        click.echo(f"\r\x1b[K{line}" if self._is_live else line, err=True, nl=not self._is_live)

    def done(self, text: str) -> None:
        """The step ended: the first line is the result, further lines are notes."""
        if self.is_silent:
            return
        first, *more = text.splitlines() or [""]
        seconds = f"{time.perf_counter() - self._started:.1f} s"
        prefix = "\r\x1b[K" if self._is_live else ""
        click.echo(f"{prefix}  {click.style(f'{self._name:<{WIDTH}}', fg='cyan')} {first}  {click.style(seconds, dim=True)}", err=True)
        for line in more:
            click.echo(f"  {'':<{WIDTH}} {click.style(line, dim=True)}", err=True)


def mark(*, is_good: bool) -> str:
    """Return a tick or a cross."""
    return click.style("✓", fg="green") if is_good else click.style("✗", fg="red")


def check_mark(check: Check) -> str:
    """Return a tick, a cross, or a point for what is told and was not asked."""
    return mark(is_good=check.is_met) if check.is_met or check.is_gate else click.style("·", dim=True)


def write_page(text: str, out: Path | None, name: str) -> Path:
    """Write a page, without a path into the folder for temporary files, where the browser finds it. Raises StorageError."""
    from fairlead.stores.durable_files import typed_errors  # noqa: PLC0415 - few commands write pages

    place = out or Path(tempfile.mkdtemp(prefix="fairlead-")) / f"{name.replace(':', '-')}.html"
    with typed_errors("the page", place.parent):
        place.write_text(text, encoding="utf-8")
    return place


def open_page(place: Path) -> None:
    """Show a page in the browser, or say that there is none."""
    if click.launch(str(place)) != 0:
        click.echo(f"No browser could be started here. Open {place} yourself.", err=True)


def sections(parts: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Return titled blocks of lines."""
    return "\n\n".join("\n".join([click.style(title, bold=True), *(f"  {line}" for line in lines)]) for title, lines in parts)
