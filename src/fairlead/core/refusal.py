"""What a transport tells of a request that it refused because of its caller. Pure values; no bodies."""

from __future__ import annotations

from typing import NamedTuple


class Refusal(NamedTuple):
    """One request that was refused: by which transport ("http", "grpc"), what it asked for, and the status and the sentence that it got.

    `status` is an HTTP status or the name of a gRPC code; `request_id` is "" where there was no whole request.
    """

    request_id: str
    transport: str
    asked: str
    status: str
    sentence: str


def unheard(refusal: Refusal) -> None:
    """Tell nobody of `refusal`."""
    del refusal
