"""What `fairlead top` shows, as lines of text: a View fitted into a terminal's width and height. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import click

from fairlead.monitor.live_view import VersionView, View

_GAP = "  "
_NAME_MIN = 8
_UNKNOWN = "-"


@dataclass(frozen=True)
class _Column:
    """`rank` says which columns stay where there is little room: 0 always, then 1, 2, ..."""

    title: str
    rank: int
    cell: Callable[[VersionView], str]


def screen(view: View, url: str, *, width: int, height: int) -> list[str]:
    """Return the lines; no line is wider than `width`, and there are at most `height` of them."""
    head = _head(view, url, width)
    versions = sorted(view.versions, key=lambda item: (-(item.request_rate or 0.0), item.model, item.version))
    room = max(height - len(head) - 2, 1)
    shown = versions if len(versions) <= room else versions[: max(room - 1, 1)]
    lines = [*head, "", *_table(shown, width)]
    if len(shown) < len(versions):
        lines.append(click.style(_cut(f"and {len(versions) - len(shown)} more", width), dim=True))
    if not versions:
        lines.append("Nothing is served yet.")
    return lines[:height]


def _head(view: View, url: str, width: int) -> list[str]:
    rates = [item.request_rate for item in view.versions if item.request_rate is not None]
    state = click.style("ready", fg="green") if view.is_ready else click.style("not ready", fg="yellow")
    facts = [
        f"up {duration(view.uptime_s)}" if view.uptime_s is not None else "",
        f"cpu {view.cpu_ratio * 100:.0f} %" if view.cpu_ratio is not None else "",
        f"memory {size(view.memory_bytes)}",
        f"{view.connection_count} connection{'' if view.connection_count == 1 else 's'}",
        f"{number(sum(rates))} requests/s" if rates else "",
    ]
    if view.dropped_count:
        facts.append(click.style(f"{view.dropped_count} log lines or traces dropped", fg="red"))
    lines, line = [], f"{click.style(_cut(url, max(width - 12, 1)), bold=True)}{_GAP}{state}"
    for fact in filter(None, facts):
        if _width(line) + len(_GAP) + _width(fact) > width:
            lines.append(line)
            line = fact
        else:
            line = f"{line}{_GAP}{fact}"
    return [*lines, line]


def _table(versions: Sequence[VersionView], width: int) -> list[str]:
    if not versions:
        return []
    columns = [column for column in _COLUMNS if column.title != "WORKERS" or any(item.worker_count for item in versions)]
    columns = [column for column in columns if column.title != "CACHED" or any(item.hit_ratio is not None for item in versions)]
    cells = {column: [column.title, *map(column.cell, versions)] for column in columns}
    widths = {column: max(map(_width, texts)) for column, texts in cells.items()}
    longest = max(len("MODEL"), *(len(_name(item, width)) for item in versions))
    while len(columns) > 1 and _NAME_MIN + sum(widths[column] + len(_GAP) for column in columns) > width:
        columns.remove(max(columns, key=lambda column: column.rank))
    name_width = max(min(longest, width - sum(widths[column] + len(_GAP) for column in columns)), 1)
    lines = []
    names = ["MODEL"[:name_width], *(_coloured(_name(item, name_width), item) for item in versions)]
    for row, name in enumerate(names):
        parts = [name + " " * (name_width - _width(name))]
        parts += [" " * (widths[column] - _width(cells[column][row])) + cells[column][row] for column in columns]
        lines.append(_GAP.join(parts))
    return [click.style(lines[0], bold=True), *lines[1:]]


def _name(item: VersionView, width: int) -> str:
    """Return `model:version` in at most `width` characters; a long model's name gives way, as far as anything of it is left."""
    version = f":{item.version}"
    room = width - len(version)
    return _cut(item.model, room) + version if room > 1 else _cut(item.model + version, width)


def _coloured(name: str, item: VersionView) -> str:
    """Return a name in the colour of the state, which may have no column of its own."""
    colour = "yellow" if not item.is_ready else "red" if item.broken_promises else None
    return name if colour is None else click.style(name, fg=colour)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def _width(text: str) -> int:
    return len(click.unstyle(text))


def number(value: float | None) -> str:
    """Return a rate as a person reads it: 0, 0.25, 7.5, 42, 12,345, 1.2M."""
    if value is None:
        return _UNKNOWN
    if value >= 1e6:
        return f"{value / 1e6:.1f}M"
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2g}"


def milliseconds(value: float | None) -> str:
    """Return a latency with three digits that count."""
    if value is None:
        return _UNKNOWN
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def size(count: int) -> str:
    """Return bytes in a unit that fits."""
    if not count:
        return _UNKNOWN
    exponent = min(int(math.log(count, 1024)), 4)
    value = count / 1024**exponent
    return f"{value:.1f} {_UNITS[exponent]}" if exponent and value < 9.95 else f"{value:.0f} {_UNITS[exponent]}"


def duration(seconds: float) -> str:
    """Return a time in its two largest units."""
    left = int(seconds)
    for unit, length, lesser, part in (("d", 86_400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if left >= length:
            return f"{left // length} {unit} {left % length // part} {lesser}"
    return f"{left} s"


_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def _errors(item: VersionView) -> str:
    text = number(item.error_rate)
    return click.style(text, fg="red", bold=True) if item.error_rate else text


def _state(item: VersionView) -> str:
    if not item.is_ready:
        return click.style("not ready", fg="yellow")
    if item.broken_promises:
        return click.style("promise broken", fg="red")
    return "ready"


def _workers(item: VersionView) -> str:
    if not item.worker_count:
        return _UNKNOWN
    text = f"{item.alive_worker_count}/{item.worker_count}"
    return text if item.alive_worker_count == item.worker_count else click.style(text, fg="red", bold=True)


_COLUMNS = (
    _Column("REQ/S", 0, lambda item: number(item.request_rate)),
    _Column("ERR/S", 2, _errors),
    _Column("P50 ms", 3, lambda item: milliseconds(item.p50_ms)),
    _Column("P99 ms", 1, lambda item: milliseconds(item.p99_ms)),
    _Column("QUEUE", 4, lambda item: str(item.queue_length)),
    _Column("RUN", 7, lambda item: str(max(item.in_flight - item.queue_length, 0))),
    _Column("ROWS/S", 8, lambda item: number(item.row_rate)),
    _Column("BATCH", 5, lambda item: number(item.batch_rows)),
    _Column("CACHED", 10, lambda item: _UNKNOWN if item.hit_ratio is None else f"{item.hit_ratio * 100:.0f} %"),
    _Column("MEMORY", 6, lambda item: size(item.memory_bytes)),
    _Column("WORKERS", 9, _workers),
    _Column("STATE", 11, _state),
)
