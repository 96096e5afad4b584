"""Measure a server that runs, or one of our own that is started for a registered model.

Takes a BenchRequest; gives a BenchReport. Raises NotFoundError for an unknown model, DataError where the data does not fit,
UnavailableError where the server does not start or answer, and what the measurement raises. A server that was started here is stopped here.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fairlead.app.wiring import House
from fairlead.core.interface import Interface, Tensors
from fairlead.core.version import Reference, check_name
from fairlead.datasets.load import load_rows
from fairlead.errors import DataError, SpecError, UnavailableError
from fairlead.probe.http_client import HttpClient
from fairlead.probe.load.bench import BenchJob
from fairlead.probe.load.report import BenchReport
from fairlead.probe.model_facts import ModelFacts, list_models
from fairlead.probe.stage import probe
from fairlead.register.resolve import resolve

_REQUEST_LIMIT = 1024
_DEFAULT_CONCURRENCY = 64
_START_S = 120.0
_STOP_S = 30.0
_VERSION = re.compile(r"[A-Za-z0-9_-]+:[0-9]{1,5}")
_URL = re.compile(r"(http://[^\s\"]+)")
_MODEL_URL = re.compile(r"(.+?)/v2/models/([^/?#]+)(?:/versions/([^/?#]+))?(?:/infer)?/?")
_GRPC = re.compile(r"gRPC.*?((?:\[[\da-f:]+\]|[\w.-]+):\d+)")


@dataclass(frozen=True)
class BenchRequest:
    """What the user asked for. `job.url` is a URL, host:port, or the name of a registered model; the rest of the job is as it will be, but
    for what follows from that and from the files.

    `data` holds rows, `expect` the right outputs for them (.npz, arrays by output name), `job.row_count` of which go into one request.
    """

    job: BenchJob
    data: Path | None = None
    expect: Path | None = None


def bench(request: BenchRequest, house: Callable[[], House], *, report: Callable[[str], None]) -> BenchReport:
    """Return what was measured; `house` is asked for the registry only where `target` is a name, `report` is told how it goes."""
    target = request.job.url
    if request.job.rate and request.job.concurrency:
        raise SpecError("A rate and a concurrency exclude each other.", hint="--rate sends by a schedule, --concurrency as answers come.")
    if request.expect and not request.data:
        raise SpecError("--expect needs the rows that it is the answer to.", hint="Give them with --data.")
    job = _completed(request, report)
    if "://" in target or ":" in target:
        try:
            return probe(job)
        except UnavailableError as error:
            if _VERSION.fullmatch(target):  # host and port, or a model and its version
                hint = f"{error.hint} For a version of a model: fairlead serve {target}, then bench its URL."
                raise UnavailableError(error.message, hint=hint) from None
            raise
    name = check_name(target)
    owner = house()
    resolve(Reference(name), records=owner.records)
    with own_server(name, owner.settings.home, needs_grpc=job.protocol == "grpc") as (url, grpc):
        report(f"started a server of its own for {name} on {url}")
        return probe(replace(job, url=url, model=name, grpc=grpc))


def _completed(request: BenchRequest, report: Callable[[str], None]) -> BenchJob:
    """Return the job with what the files and a model's own URL hold, and what is used where the user said nothing."""
    job = request.job
    if found := _MODEL_URL.fullmatch(job.url):
        job = replace(job, url=found[1], model=job.model or found[2], version=job.version or found[3] or "")
    return replace(
        job,
        concurrency=job.concurrency or (0 if job.rate else _DEFAULT_CONCURRENCY),
        rows=_rows_of(request),
        expected=_expected_of(request),
        command=job.command or shlex.join(sys.argv),
        progress=report,
    )


def _rows_of(request: BenchRequest) -> Callable[[ModelFacts], tuple[Tensors, ...]] | None:
    path = request.data
    if path is None:
        return None

    def rows(model: ModelFacts) -> tuple[Tensors, ...]:
        inputs = load_rows(path, Interface(model.inputs, model.outputs))
        return _sliced(inputs, request.job.row_count)

    return rows


def _expected_of(request: BenchRequest) -> tuple[Tensors, ...]:
    if request.expect is None:
        return ()
    try:
        with np.load(request.expect, allow_pickle=False) as arrays:
            return _sliced({name: arrays[name] for name in arrays.files}, request.job.row_count)
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(
            f"'{request.expect.name}' cannot be read as .npz: {error}.", hint="Write it with numpy.savez(output=...)."
        ) from None


def _sliced(tensors: Tensors, size: int) -> tuple[Tensors, ...]:
    """Return requests of `size` rows each; rows at the end that fill none are left out."""
    count = min((array.shape[0] for array in tensors.values()), default=0)
    starts = range(0, count - size + 1, size)[:_REQUEST_LIMIT]
    return tuple({name: array[start : start + size] for name, array in tensors.items()} for start in starts)


@contextlib.contextmanager
def own_server(name: str, home: Path, *, needs_grpc: bool) -> Iterator[tuple[str, str]]:
    """Run `fairlead serve NAME` on free ports until it is ready; give its URL and, where needed, its gRPC address."""
    command = [sys.executable, "-m", "fairlead", "serve", name, "--port", "0", "--home", str(home)]
    command += ["--no-observe"]  # drawn rows are nobody's requests: watching the model, they would look like drift
    command += ["--grpc-port", "0" if needs_grpc else "none"]
    # A group of its own: Ctrl-C is for the measurement, which then still needs the server.
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, env=os.environ | {"NO_COLOR": "1"})
    # What it writes later has to be read, or it would wait for us to do so.
    reader = threading.Thread(target=lambda: deque(process.stderr or (), maxlen=0), name="fairlead-bench-log", daemon=True)
    try:
        where = _wait_ready(process, name, needs_grpc=needs_grpc)
        reader.start()
        yield where
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if reader.is_alive():
            reader.join()
        if process.stderr is not None:
            process.stderr.close()


def _wait_ready(process: subprocess.Popen[str], name: str, *, needs_grpc: bool) -> tuple[str, str]:
    url, grpc, said = "", "", []
    for line in process.stderr or ():
        said.append(line.strip())
        url = url or next(iter(_URL.findall(line)), "")
        grpc = grpc or next(iter(_GRPC.findall(line)), "")
        if url and (grpc or not needs_grpc):
            break
    if not url:
        raise UnavailableError(f"The server for {name} did not start: {' '.join(said[-3:])}", hint=f"Try it by hand: fairlead serve {name}")
    until = time.monotonic() + _START_S
    while name not in list_models(HttpClient(url)) or HttpClient(url).get("/v2/health/ready").status != 200:
        if process.poll() is not None or time.monotonic() > until:
            raise UnavailableError(f"The server for {name} does not get ready.", hint=f"Try it by hand: fairlead serve {name}")
        time.sleep(0.1)
    return url, grpc
