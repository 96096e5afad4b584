"""Late labels: POST .../feedback, the right answers to requests that were answered while a release ran.

Takes `{"labels": [{"request_id": ..., "label": ...}, ...]}`, or one such object alone; a request with several rows has a list of as many
labels. Answers what became of them. Raises RequestError for labels that cannot be compared, with nothing counted. A long list is read and
compared in pieces, so that it keeps nobody waiting.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

import msgspec

from fairlead.core.interface import Label
from fairlead.core.ports import TrafficWitness
from fairlead.core.traffic_event import Joining, LateLabel
from fairlead.errors import NotFoundError, RequestError
from fairlead.serve.http.body import convert
from fairlead.serve.http.message import Reply, json_reply
from fairlead.serve.http.outline import read_skeleton
from fairlead.serve.http.predict import default_name
from fairlead.serve.http.routes import Call
from fairlead.serve.long_bodies import LongBodies
from fairlead.serve.model_table import ModelTable
from fairlead.serve.steps import LONG_BYTES, Steps, in_turn

_PIECE_COUNT = 256  # labels that take about a millisecond
_ID_LIMIT = 128
_HINT = 'Send {"labels": [{"request_id": "...", "label": ...}]}.'


class Given(msgspec.Struct, forbid_unknown_fields=True):
    """A label, or one for each row, and the request that it belongs to: by its x-request-id, or by the id in its body."""

    request_id: str
    label: str | int | float | bool | list[str | int | float | bool]


class Feedback(msgspec.Struct, forbid_unknown_fields=True):
    """The body: a list, or one label alone."""

    labels: list[Any] | msgspec.UnsetType = msgspec.UNSET
    request_id: str | msgspec.UnsetType = msgspec.UNSET
    label: Any = msgspec.UNSET


class FeedbackHandlers:
    """`witness` compares the labels with what was answered; `long` reads where a body is large."""

    def __init__(self, table: ModelTable, witness: TrafficWitness, long: LongBodies, default_model: str = "") -> None:
        self._table, self._witness, self._long, self._default_model = table, witness, long, default_model

    async def feedback(self, call: Call) -> Reply:
        """POST /v2/models/{name}/feedback, /v1/models/{name}:feedback, and /feedback for the only model, or the default one."""
        name = call.parameters.get("name") or default_name(self._table, self._default_model)
        if name not in self._table.models:
            self._table.resolve(name)  # says which there are
            raise NotFoundError(f"There is no model '{name}' here.")
        reading = _read(call.text)
        labels = await (self._long.read(reading) if len(call.text) > LONG_BYTES else in_turn(reading))
        for place in range(0, len(labels), _PIECE_COUNT):  # 1. all of them make sense
            self._witness.check(name, labels[place : place + _PIECE_COUNT])
            await asyncio.sleep(0)
        total = Joining()
        for place in range(0, len(labels), _PIECE_COUNT):  # 2. so they count
            total = _sum(total, self._witness.join(name, labels[place : place + _PIECE_COUNT]))
            await asyncio.sleep(0)
        return json_reply({"model": name, **asdict(total)})


def _read(text: bytes | bytearray) -> Steps[list[LateLabel]]:
    """Return the labels of a body."""
    skeleton = yield from read_skeleton(text)
    body = convert(skeleton.value, Feedback)
    if not isinstance(body.labels, list):
        if body.request_id is msgspec.UNSET or body.label is msgspec.UNSET:
            raise RequestError("The body has no labels.", hint=_HINT)
        label = yield from skeleton.filled(body.label)
        return [_late(convert({"request_id": body.request_id, "label": label}, Given), 0)]
    if body.request_id is not msgspec.UNSET or body.label is not msgspec.UNSET:
        raise RequestError("The body has a list of labels and one beside it.", hint=_HINT)
    listed = skeleton.list_at(body.labels)
    if listed is None:
        return (yield from _checked((yield from skeleton.filled(body.labels)), 0))
    found: list[LateLabel] = []
    for start, end in listed.pieces:
        found += yield from _checked((yield from skeleton.run(listed, start, end)), len(found))
    return found


def _checked(values: list[Any], before_count: int) -> Steps[list[LateLabel]]:
    """Return labels that stand behind so many others."""
    found: list[LateLabel] = []
    for place, value in enumerate(values, before_count):
        found.append(_late(_given(value, place), place))
        if place % _PIECE_COUNT == _PIECE_COUNT - 1:
            yield
    return found


def _given(value: Any, place: int) -> Given:
    try:
        return convert(value, Given)
    except RequestError as error:
        raise RequestError(f"Label {place}: {error.message}", hint=_HINT) from None


def _late(given: Given, place: int) -> LateLabel:
    if not 0 < len(given.request_id) <= _ID_LIMIT:
        raise RequestError(f"The request_id of label {place} has {len(given.request_id)} characters, allowed are 1 to {_ID_LIMIT}.")
    labels: tuple[Label, ...] = tuple(given.label) if isinstance(given.label, list) else (given.label,)
    return LateLabel(given.request_id, labels)


def _sum(one: Joining, two: Joining) -> Joining:
    both = asdict(two)
    return Joining(**{name: count + both[name] for name, count in asdict(one).items()})
