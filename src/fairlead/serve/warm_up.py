"""Ask a freshly loaded version its golden requests before anybody else asks it anything.

Takes a loaded model; gives it as a served version whose scheduler knows how long a request takes. Raises UnavailableError where an answer
differs from the golden one, and what the engine raises. It never lets a version through that does not answer as it was proven to.
"""

from __future__ import annotations

from fairlead.core.ports import LoadedModel
from fairlead.core.version import Version
from fairlead.serve.assembly import Assemble
from fairlead.serve.golden_check import answer_rightly
from fairlead.serve.model_table import ServedVersion
from fairlead.serve.workers.worker_executor import WorkerExecutor


def warm_up(version: Version, loaded: LoadedModel, assemble: Assemble) -> ServedVersion:
    """Return `loaded` ready to serve, put together by `assemble`; closes its engine where it is not."""
    golden = loaded.golden
    try:
        served = assemble(version, loaded)
    except BaseException:
        loaded.engine.close()
        raise
    try:
        element_ms = _element_ms(version, loaded, served)
    except BaseException:
        served.close()
        raise
    if golden is not None:
        elements = sum(tensor[:1].size for tensor in golden.inputs.values())
        served.scheduler.expect(elements, element_ms * elements)
    return served


def _element_ms(version: Version, loaded: LoadedModel, served: ServedVersion) -> float:
    """Ask the golden requests, unless they were asked where the version's processes were started."""
    if isinstance(served.executor, WorkerExecutor):
        return served.executor.element_ms
    return 0.0 if loaded.golden is None else answer_rightly(version.label, loaded.engine, loaded.golden)
