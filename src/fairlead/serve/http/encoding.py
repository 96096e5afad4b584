"""Answers, compressed for those who ask for it and only where it pays: never a small one, never one that would not shrink.

Takes a reply and the request's Accept-Encoding; gives the reply to send. Raises nothing. Large answers are compressed in a thread.
"""

from __future__ import annotations

import asyncio
import zlib

from fairlead.serve.http.media_type import content_coding
from fairlead.serve.http.message import Reply

WORTHWHILE_BYTES = 1024  # a smaller answer fits into one packet as it is
_BESIDE_BYTES = 64 * 2**10  # some milliseconds of work
_LEVEL = 1  # JSON of numbers shrinks little more at higher levels, which take several times as long
_WINDOW_BITS = {b"gzip": 31, b"deflate": 15}


async def encoded(reply: Reply, accept_encoding: bytes) -> Reply:
    """Return `reply` in an encoding that is accepted, or as it is."""
    coding = content_coding(accept_encoding)
    if not coding or len(reply.body) <= WORTHWHILE_BYTES:
        return reply
    if len(reply.body) <= _BESIDE_BYTES:
        body = _compress(reply.body, coding)
    else:
        body = await asyncio.to_thread(_compress, reply.body, coding)
    if len(body) >= len(reply.body):
        return reply
    headers = (*reply.headers, b"content-encoding: " + coding, b"vary: accept-encoding")
    return Reply(reply.status, body, reply.content_type, headers)


def _compress(body: bytes, coding: bytes) -> bytes:
    encoder = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW_BITS[coding])
    return encoder.compress(body) + encoder.flush()
