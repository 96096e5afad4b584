"""Large bodies, one at a time: read while everybody else has a turn, then asked of the version that they were read for.

Takes steps that come to a request; gives the data plane's response. Raises what reading and asking raise. However many clients send large
bodies, those of small ones wait for one piece of one of them. `read` is for bodies that ask no model.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

from fairlead.serve.data_plane import DataPlane, InferRequest, InferResponse
from fairlead.serve.model_table import ServedVersion
from fairlead.serve.steps import Steps, in_turn

T = TypeVar("T")


class LongBodies:
    """Those of one server; `plane` answers."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._turn = asyncio.Lock()

    async def infer(self, served: ServedVersion, steps: Steps[InferRequest]) -> InferResponse:
        """Return the answer to the request that `steps` come to. `served` is not let go meanwhile."""
        table = self._plane.table
        table.begin_request(served)
        try:
            return await self._plane.infer(await self.read(steps), served)
        finally:
            table.end_request(served)

    async def read(self, steps: Steps[T]) -> T:
        """Return what `steps` come to, once it is their turn."""
        async with self._turn:
            return await in_turn(steps)
