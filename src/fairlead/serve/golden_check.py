"""Ask an engine a version's golden requests: in the server's own process, and in the process that its workers are copies of.

Takes an engine and the golden requests; gives what an input element takes. Raises UnavailableError where an answer differs from the golden
one, and what the engine raises.
"""

from __future__ import annotations

import time

from fairlead.core.golden import Golden
from fairlead.core.interface import Tensors
from fairlead.core.ports import Engine
from fairlead.errors import UnavailableError

_ROUNDS = 3  # the first run of an engine allocates; the fastest one says what a request takes


def answer_rightly(label: str, engine: Engine, golden: Golden) -> float:
    """Return milliseconds per input element. All rows at once, then the first alone: both ways that requests come.

    `label` is the version in words, for the error.
    """
    rows = int(next(iter(golden.inputs.values())).shape[0])
    for count in (rows, 1):
        part = Golden(
            {name: tensor[:count] for name, tensor in golden.inputs.items()},
            {name: tensor[:count] for name, tensor in golden.outputs.items()},
            golden.tolerance,
        )
        mismatch = part.mismatch(engine.run(part.inputs))
        if mismatch:
            raise UnavailableError(
                f"{label} does not answer its golden requests as it was proven to: {mismatch}.",
                hint="It was proven on another machine or runtime; verify it again here.",
            )
    first = {name: tensor[:1] for name, tensor in golden.inputs.items()}
    return min(_run_ms(engine, first) for _ in range(_ROUNDS)) / sum(tensor.size for tensor in first.values())


def _run_ms(engine: Engine, inputs: Tensors) -> float:
    began = time.perf_counter()
    engine.run(inputs)
    return (time.perf_counter() - began) * 1e3
