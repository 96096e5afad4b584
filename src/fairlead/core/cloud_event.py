"""CloudEvents of payload loggers, as values: which kind one is, what it belongs to, when it happened.

Takes attributes by lower-case name and the data; gives a CloudEvent. Raises RequestError for one that lacks what the specification asks for
(cloudevents.io, versions 0.3 and 1.0), or what pairs it with its other half. It never looks into the data. The names are those of KServe's
agent (pkg/logger/worker.go) and of Seldon Core 1's executor (executor/logger/worker.go).
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b

from fairlead.core.interface import shorten
from fairlead.errors import RequestError

ID_LIMIT = 128  # as of ids of our own requests
_IDS = ("id", "requestid")
_ATTRIBUTE_LIMIT = 4096
_OVERHEAD_BYTES = 2048  # what an event takes beside texts and data
_VERSIONS = ("1.0", "0.3")
_NEEDED = ("specversion", "id", "type")
# What is read of an event; what else it says of itself, it need not carry while it waits.
ATTRIBUTES = frozenset(
    {*_NEEDED, "time", "requestid", "inferenceservicename", "namespace", "component", "endpoint", "modelid", "annotations"}
)


class EventKind(enum.Enum):
    """What an event tells of."""

    REQUEST = "request"
    ANSWER = "answer"
    FEEDBACK = "feedback"


_KINDS = {
    "org.kubeflow.serving.inference.request": EventKind.REQUEST,
    "org.kubeflow.serving.inference.response": EventKind.ANSWER,
    "io.seldon.serving.inference.request": EventKind.REQUEST,
    "io.seldon.serving.inference.response": EventKind.ANSWER,
    "io.seldon.serving.feedback": EventKind.FEEDBACK,
}


@dataclass(frozen=True)
class CloudEvent:
    """One event. `attributes` are those that mean something here, by lower-case name; `data` is what was sent, or answered."""

    kind: EventKind
    attributes: Mapping[str, str]
    data: bytes

    @property
    def size_bytes(self) -> int:
        """What it takes in memory, about."""
        return len(self.data) + sum(map(len, self.attributes.values())) + _OVERHEAD_BYTES

    @property
    def request_id(self) -> str:
        """What request and answer have in common: Seldon's `requestid`, KServe's `id`."""
        return self.attributes.get("requestid") or self.attributes["id"]

    @property
    def service(self) -> str:
        """The InferenceService or SeldonDeployment; "" where it is not said."""
        return self.attributes.get("inferenceservicename", "")

    @property
    def namespace(self) -> str:
        """Its namespace; "" where it is not said."""
        return self.attributes.get("namespace", "")

    @property
    def component(self) -> str:
        """What of a KServe InferenceService it is: predictor, transformer or explainer; "" where it is not said."""
        return self.attributes.get("component", "")

    @property
    def node(self) -> str:
        """The node of Seldon's graph; "" where it is not said."""
        return self.attributes.get("modelid", "")

    @property
    def parts(self) -> frozenset[str]:
        """All that says which part of the service it is, KServe's `default` or `canary` endpoint and Seldon's predictor included."""
        return frozenset({self.component, self.node, self.attributes.get("endpoint", "")} - {""})

    @property
    def pair(self) -> bytes:
        """What only its other half has, too: 16 bytes, whatever was sent."""
        whose = (self.namespace, self.service, self.component, self.node, self.attributes.get("endpoint", ""), self.request_id)
        return blake2b(repr(whose).encode("utf-8", "backslashreplace"), digest_size=16).digest()

    def at(self) -> float:
        """Return when it happened, Unix seconds; NaN where that is not said, or not understood."""
        try:
            time = datetime.fromisoformat(self.attributes.get("time", ""))
            return (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return math.nan


def cloud_event(attributes: Mapping[str, str], data: bytes) -> CloudEvent:
    """Return the event; raises RequestError that says what it lacks."""
    attributes = {name: value for name, value in attributes.items() if name in ATTRIBUTES}
    for name in _NEEDED:
        if not attributes.get(name):
            raise RequestError(f"The event has no {name}.", hint=f"Send it as the header ce-{name}, or in the JSON of a structured event.")
    if attributes["specversion"] not in _VERSIONS:
        version = shorten(attributes["specversion"])
        raise RequestError(f"CloudEvents {version} are not understood.", hint=f"Send one of {', '.join(_VERSIONS)}.")
    for name, value in attributes.items():
        limit = ID_LIMIT if name in _IDS else _ATTRIBUTE_LIMIT
        if len(value) > limit:
            raise RequestError(f"The event's {name} is too long.", hint=f"It may have {limit} characters.")
    kind = _KINDS.get(attributes["type"])
    if kind is None:
        raise RequestError(
            f"Events of type '{shorten(attributes['type'])}' are not collected.", hint=f"Understood are {', '.join(_KINDS)}."
        )
    return CloudEvent(kind, attributes, data)
