"""Ask a freshly loaded version its golden requests before anybody else asks it anything.

Takes a loaded model; gives it as a served version that knows how long a request takes. Raises UnavailableError where an answer differs from
the golden one, and what the engine raises. It never lets a version through that does not answer as it was proven to.
"""

from __future__ import annotations

from fairlead.core.ports import LoadedModel
from fairlead.core.version import Version
from fairlead.serve.golden_check import answer_rightly
from fairlead.serve.model_table import ServedVersion


def warm_up(version: Version, loaded: LoadedModel) -> ServedVersion:
    """Return `loaded` ready to serve; closes its engine where it is not."""
    if loaded.golden is None:
        return ServedVersion(version, loaded.engine, may_block=loaded.may_block)
    try:
        element_ms = answer_rightly(version.label, loaded.engine, loaded.golden)
        return ServedVersion(version, loaded.engine, element_ms, may_block=loaded.may_block)
    except BaseException:
        loaded.engine.close()
        raise
