"""Whether an answer is the right one: byte for byte the first one, or the same values otherwise written.

Takes a LoadJob with its right answers; gives Judgements. Never raises: what cannot be read is wrong. A server may write other bytes for the
same values (an id of its own, the last digit of a float in another batch), so a difference in bytes is read before it is called wrong.
"""

from __future__ import annotations

import enum

from fairlead.core.interface import Tensors
from fairlead.errors import FairleadError
from fairlead.probe.grpc_messages import read_infer_response
from fairlead.probe.load.job import LoadJob
from fairlead.probe.tensors import are_alike, read_answer

_KNOWN_LIMIT = 4096


class Judgement(enum.Enum):
    """What an answer is."""

    RIGHT = 0
    ALIKE = 1
    WRONG = 2


class Judge:
    """Compares answers with `job.answers`; where there are none, the first answer to each request is the right one."""

    def __init__(self, job: LoadJob) -> None:
        self._protocol = job.protocol
        self._heads = [head for head, _ in job.answers] or [b""] * len(job.requests)
        self._right: list[bytes | None] = [body for _, body in job.answers] or [None] * len(job.requests)
        self._outputs: dict[int, Tensors] = {}
        self._known: set[tuple[int, bytes]] = set()

    def judge(self, number: int, head: bytes, body: bytes) -> Judgement:
        """Say what `body` is as an answer to request `number`."""
        right = self._right[number]
        if body == right:
            return Judgement.RIGHT
        if right is None:
            self._right[number], self._heads[number] = body, head
            return Judgement.RIGHT
        key = (number, body)
        if key in self._known:
            return Judgement.ALIKE
        try:
            if number not in self._outputs:
                self._outputs[number] = self._read(self._heads[number], right)
            is_alike = are_alike(self._outputs[number], self._read(head, body))
        except FairleadError:
            return Judgement.WRONG
        if not is_alike:
            return Judgement.WRONG
        if len(self._known) < _KNOWN_LIMIT:
            self._known.add(key)
        return Judgement.ALIKE

    def _read(self, head: bytes, body: bytes) -> Tensors:
        return read_outputs(self._protocol, head, body)


def read_outputs(protocol: str, head: bytes, body: bytes) -> Tensors:
    """Return the outputs in an answer; `head` has HTTP's headers in lower case. Raises DataError."""
    if protocol == "grpc":
        return read_infer_response(body)
    lines = head.decode("latin-1").split("\r\n")[1:]
    headers = dict(line.split(":", 1) for line in lines if ":" in line)
    return read_answer(body, {name: value.strip() for name, value in headers.items()})[1]
