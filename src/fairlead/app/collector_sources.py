"""Which registered version answers where: what a person says, `SERVICE=MODEL`, to the versions that events of services are about.

Takes texts and a House; gives the Sources of a collector. Raises SpecError for a text that makes no sense, NotFoundError for what is not
registered. Versions are read at the start; an alias is followed, and what is known stays in force while the registry is away.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fairlead.app.wiring import House
from fairlead.core.cloud_event import CloudEvent
from fairlead.core.interface import Interface, shorten
from fairlead.core.version import Reference, Version, parse_reference
from fairlead.errors import ConflictError, FairleadError, NotFoundError, RequestError, SpecError
from fairlead.register.resolve import require_name, resolve
from fairlead.stores.document import load
from fairlead.stores.version_files import read_file

ANY = "*"
ANNOTATION = "fairlead-version"
_FOLLOW_S = 5.0
_KNOWN_LIMIT = 64
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?|\*"
_PATTERN = re.compile(rf"(?:(?P<namespace>{_PART})/)?(?P<service>{_PART})(?:/(?P<part>{_PART}))?")
_HINT = "Write it like digits:3, sklearn-iris=iris:3, shop/sklearn-iris=iris@production or shop/graph/classifier=iris:3."
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


class Known(NamedTuple):
    """A version, and what it takes and gives."""

    version: Version
    interface: Interface


@dataclass(frozen=True)
class Source:
    """Whose events are about which version. `reference` without a number and `is_said`: the event says which version."""

    namespace: str
    service: str
    part: str
    reference: Reference
    is_said: bool = False

    def fits(self, event: CloudEvent) -> bool:
        """Whether an event is of this source."""
        return (
            self.namespace in (ANY, event.namespace)
            and self.service in (ANY, event.service)
            and (self.part == ANY or self.part in event.parts)
        )

    @property
    def exactness(self) -> int:
        """How much it says: of several that fit, the one that says most counts."""
        return (self.service != ANY) * 4 + (self.part != ANY) * 2 + (self.namespace != ANY)


def parse_source(text: str) -> Source:
    """Parse `[[NAMESPACE/]SERVICE[/PART]=]MODEL[:N|@ALIAS|:*]`; raises SpecError."""
    before, equals, after = text.rpartition("=")
    is_said = after.endswith(":*")
    reference = parse_reference(after.removesuffix(":*"))
    if not equals:
        return Source(ANY, reference.name, ANY, reference, is_said)
    match = _PATTERN.fullmatch(before)
    if match is None:
        raise SpecError(f"'{shorten(before)}' names no service.", hint=_HINT)
    namespace, part = match["namespace"] or ANY, match["part"] or ANY
    return Source(namespace, match["service"], part, reference, is_said)


class WatchedModel:
    """One source with its versions. `refresh` is called in a thread, everything else in the event loop."""

    def __init__(self, source: Source, house: House) -> None:
        self.source, self._house = source, house
        self.model = source.reference.name
        self.node = ""
        self._known: dict[int, Known] = {}
        self._current: Known | None = None
        require_name(self.model, records=house.records)
        self.refresh()

    @property
    def text(self) -> str:
        """What is watched, in words."""
        source = self.source
        whose = "/".join(name for name in (source.namespace, source.service, source.part) if name != ANY) or "every service"
        current = self._current
        return f"{whose} as {self.model}:*" if current is None else f"{whose} as {current.version.label}"

    def refresh(self) -> None:
        """Look where the reference points now."""
        if self.source.is_said:
            return
        number = self.source.reference.number
        if self._current is not None and self._current.version.number == number:
            return
        version = resolve(self.source.reference, records=self._house.records)
        if self._current is None or self._current.version.number != version.number:
            self._current = self._read(version)

    async def answerer(self, request: CloudEvent, said: str) -> Known:
        """Return the version that answered `request`."""
        if self._current is not None:
            return self._current
        text = _annotated(request) or said
        if not _NUMBER.fullmatch(text):
            raise RequestError(
                f"The event does not say which version of {self.model} answered.",
                hint=f"Annotate the service with {ANNOTATION} and let the logger add it, or collect a fixed version: {self.model}:3.",
            )
        known = self._known.get(int(text))
        if known is None:
            known = await asyncio.to_thread(self._find, int(text))
            if len(self._known) >= _KNOWN_LIMIT:
                self._known.clear()
            self._known[int(text)] = known
        return known

    def _find(self, number: int) -> Known:
        return self._read(self._house.records.version(self.model, number))

    def _read(self, version: Version) -> Known:
        return Known(version, load(read_file(version, "interface.json", self._house.blobs), Interface))


class CollectedModels:
    """The Sources of a collector."""

    def __init__(self, texts: Sequence[str], house: House) -> None:
        if not texts:
            raise SpecError("Say which model's events are collected.", hint=_HINT)
        found = [WatchedModel(parse_source(text), house) for text in texts]
        places = [(item.source.namespace, item.source.service, item.source.part) for item in found]
        if len(set(places)) != len(places):
            raise SpecError("The same service is named twice.", hint="Tell its parts apart: shop/sklearn-iris/canary=iris:4.")
        self._models = sorted(found, key=lambda item: -item.source.exactness)

    @property
    def watched(self) -> tuple[str, ...]:
        """Who is watched, in words."""
        return tuple(item.text for item in self._models)

    def find(self, event: CloudEvent) -> WatchedModel | None:
        """Return whose event it is; see `serve.collect.collector.Sources`."""
        found = next((item for item in self._models if item.source.fits(event)), None)
        if found is None:
            place = shorten("/".join(name for name in (event.namespace, event.service) if name) or "an unnamed service")
            raise NotFoundError(
                f"No model is collected for {place}.", hint=f"Start the collector with {shorten(event.service or ANY)}=MODEL."
            )
        part = found.source.part
        if event.component not in ("", "predictor", part):
            return None
        if event.node and event.node != part and found.source.service != ANY:
            found.node = found.node or event.node
            if event.node != found.node:
                place = "/".join(shorten(name) for name in (event.namespace or ANY, event.service, found.node))
                raise ConflictError(
                    f"Two nodes of one graph send events: '{shorten(found.node)}' and '{shorten(event.node)}'.",
                    hint=f"Say which one is {found.model}: {place}=...",
                )
        return found

    async def follow(self, report: Callable[[str], None]) -> None:
        """Look where aliases point, every few seconds, until cancelled."""
        lost: set[WatchedModel] = set()  # what could not be followed the last time
        while True:
            await asyncio.sleep(_FOLLOW_S)
            told = set[str]()
            for item in self._models:
                before = item.text
                try:
                    await asyncio.to_thread(item.refresh)
                except FairleadError as error:
                    if item not in lost and str(error) not in told:
                        report(f"{before} stays as it is: {error}")
                    told.add(str(error))  # a registry that is away is one mistake, not one of each model
                    lost.add(item)
                    continue
                lost.discard(item)
                if item.text != before:
                    report(f"Collecting {item.text} now, no more {before}.")


def _annotated(event: CloudEvent) -> str:
    """Return the version that the service is annotated with; "" for none."""
    try:
        annotations = json.loads(event.attributes.get("annotations", "{}"))
    except (ValueError, RecursionError):
        return ""
    value = annotations.get(ANNOTATION, "") if isinstance(annotations, dict) else ""
    return value if isinstance(value, str) else ""
