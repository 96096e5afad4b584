"""Whether a server keeps to the Open Inference Protocol V2: the door for the command line and for Python.

Takes a URL and what the user allows; gives a ConformanceReport. Raises SourceError for a request file that is none, and what the probe
raises.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from fairlead.errors import SourceError
from fairlead.probe.conformance.run import ConformanceJob, ConformanceReport
from fairlead.probe.conformance.target import Json
from fairlead.probe.stage import probe


def conformance(
    url: str,
    *,
    model: str | None = None,
    grpc: str = "",
    request: Path | None = None,
    may_unload: bool = False,
    drain_pid: int = 0,
    report: Callable[[str], None] = lambda _: None,
) -> ConformanceReport:
    """Return what the list found; `report` is told the name of each check before it is made. See ConformanceJob for the rest."""
    given = _read_request(request) if request is not None else None
    return probe(
        ConformanceJob(url, model, grpc, may_unload=may_unload, drain_pid=drain_pid, request=given, progress=report),
    )


def _read_request(path: Path) -> Json:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise SourceError(f"Cannot read the request '{path.name}': {error.strerror}.") from error
    except (ValueError, RecursionError):
        raise SourceError(f"'{path.name}' is not JSON.") from None
    if not isinstance(content, dict) or not isinstance(content.get("inputs"), list):
        raise SourceError(f"'{path.name}' is not an inference request.", hint='It needs {"inputs": [{name, shape, datatype, data}]}.')
    return content
