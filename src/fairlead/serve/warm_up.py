"""Ask a freshly loaded version its golden requests before anybody else asks it anything.

Takes a loaded model; gives it as a served version that knows how long a request takes. Raises UnavailableError where an answer differs from
the golden one, and what the engine raises. It never lets a version through that does not answer as it was proven to.
"""

from __future__ import annotations

import time

from fairlead.core.golden import Golden
from fairlead.core.interface import Tensors
from fairlead.core.ports import Engine, LoadedModel
from fairlead.core.version import Version
from fairlead.errors import UnavailableError
from fairlead.serve.model_table import ServedVersion

_ROUNDS = 3  # the first run of an engine allocates; the fastest one says what a request takes


def warm_up(version: Version, loaded: LoadedModel) -> ServedVersion:
    """Return `loaded` ready to serve; closes its engine where it is not."""
    if loaded.golden is None:
        return ServedVersion(version, loaded.engine, may_block=loaded.may_block)
    try:
        element_ms = _answer_rightly(version, loaded.engine, loaded.golden)
        return ServedVersion(version, loaded.engine, element_ms, may_block=loaded.may_block)
    except BaseException:
        loaded.engine.close()
        raise


def _answer_rightly(version: Version, engine: Engine, golden: Golden) -> float:
    """Return milliseconds per input element. All rows at once, then the first alone: both ways that requests come."""
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
                f"{version.label} does not answer its golden requests as it was proven to: {mismatch}.",
                hint="It was proven on another machine or runtime; verify it again here.",
            )
    first = {name: tensor[:1] for name, tensor in golden.inputs.items()}
    return min(_run_ms(engine, first) for _ in range(_ROUNDS)) / sum(tensor.size for tensor in first.values())


def _run_ms(engine: Engine, inputs: Tensors) -> float:
    began = time.perf_counter()
    engine.run(inputs)
    return (time.perf_counter() - began) * 1e3
