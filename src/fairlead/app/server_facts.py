"""What running servers say of a version on their metrics pages: memory, processor time for its rows, rows a second, and how often its
uncompressed original decided otherwise.

Takes a RecordStore's living servers; gives numbers with what they were read from. A server that does not answer is left out: this tells
what can be told. Raises StorageError where the registry is away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fairlead.app.servers import Roll
from fairlead.app.top import Watching
from fairlead.app.wiring import House
from fairlead.core.version import Version
from fairlead.errors import FairleadError
from fairlead.monitor.families import COMPARISON_FLIPS, COMPARISONS, COMPUTE, CPU, DURATION, ROWS, VERSION_MEMORY
from fairlead.monitor.page import Page
from fairlead.monitor.quality.promises import CPU_COST


def server_facts(version: Version, pages: Sequence[Page]) -> Mapping[str, tuple[float, str]]:
    """Return memory_mb, throughput_rps and cpu_s_per_1000 of a version, as far as servers say."""
    found: dict[str, tuple[float, str]] = {}
    source = f"{len(pages)} server{'s' * (len(pages) != 1)}"
    memory = [value for page in pages if (value := _of(page, VERSION_MEMORY.full_name, version))]
    if memory:
        found["memory_mb"] = max(memory) / 1e6, source
    rows = sum(_of(page, ROWS.full_name, version) for page in pages)
    busy_s = sum(_of(page, f"{COMPUTE.full_name}_sum", version) for page in pages)
    if rows and busy_s:
        found["throughput_rps"] = rows / busy_s, f"{source}, rows for each second that its engine computed"
    every = sum(page.value(ROWS.full_name) or 0.0 for page in pages)
    spent_s = sum(page.value(CPU.full_name) or 0.0 for page in pages)
    if every:
        found[CPU_COST] = spent_s / every * 1000.0, f"{source}, processor time of the whole server for {every:,.0f} rows of all models"
    return found


def twin_flips(version: Version, pages: Sequence[Page]) -> tuple[int, int] | None:
    """Return how many rows the version's original answered beside it, and how many of them it decided otherwise. None where there are no
    such, and where requests have several rows: what is counted are requests.
    """
    twin = {"model": version.name, "version": str(version.number), "kind": "twin"}
    compared = sum(page.value(COMPARISONS.full_name, **twin) or 0.0 for page in pages)
    flipped = sum(page.value(COMPARISON_FLIPS.full_name, **twin) or 0.0 for page in pages)
    rows = sum(_of(page, ROWS.full_name, version) for page in pages)
    requests = sum(_of(page, f"{DURATION.full_name}_count", version) for page in pages)
    return (int(compared), int(flipped)) if compared and rows == requests else None


def _of(page: Page, name: str, version: Version) -> float:
    return page.value(name, model=version.name, version=str(version.number)) or 0.0


def server_pages(house: House) -> Sequence[Page]:
    """Return the metrics pages of the servers that live."""
    found = []
    for beat in Roll(house.records, house.clock).call():
        if beat.url:
            try:
                with Watching(beat.url) as watching:
                    found.append(watching.page())
            except FairleadError:
                continue
    return found
