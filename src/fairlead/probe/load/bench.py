"""One benchmark of a server, from its URL to a report.

Takes a BenchJob; gives a BenchReport. Raises what finding the model, preparing the requests and driving them raises. It starts no server
and changes nothing on one.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import metadata

from fairlead.core.interface import Tensors
from fairlead.engines.machine import describe_machine
from fairlead.errors import RequestError, SpecError
from fairlead.probe.http_client import HttpClient
from fairlead.probe.load.capacity import Trial, conclude, next_rate
from fairlead.probe.load.job import LoadJob, Tally
from fairlead.probe.load.prepare import Place, first_answers, make_request
from fairlead.probe.load.report import BenchReport, Result, Setup, client_limits, sum_up
from fairlead.probe.load.schedule import Arrivals
from fairlead.probe.load.work import drive
from fairlead.probe.model_facts import ModelFacts, choose_model, describe_model, describe_server
from fairlead.probe.tensors import FREE_SIZES, valid_inputs

_SHARE_OF_PEAK = 0.5  # the search begins at this share of what a short closed loop gave
_PEAK_CONCURRENCY = 64
_PEAK_S = 2.0
_OPEN_CONCURRENCY = 256
_CALLS_PER_CONNECTION = 32
_LIBRARIES = ("fairlead", "uvloop", "numpy", "protobuf")
_DRAWN_REQUESTS = 16

Rows = Callable[[ModelFacts], tuple[Tensors, ...]]


@dataclass(frozen=True)
class BenchJob:
    """What to measure. Either `rate` or `concurrency` is set; `capacity_p99_ms` > 0 searches the highest rate that keeps it instead.

    `rows` gives the inputs of each request (None: drawn ones of `row_count` rows); `expected` the right outputs for each. `grpc` is
    "host:port". `command` is what the user typed.
    """

    url: str
    model: str | None = None
    version: str = ""
    protocol: str = "http"
    grpc: str = ""
    payload: str = "json"
    concurrency: int = 0
    rate: float = 0.0
    arrivals: Arrivals = Arrivals.POISSON
    duration_s: float = 10.0
    warm_up_s: float = 1.0
    timeout_s: float = 10.0
    process_count: int = 1
    row_count: int = 1
    seed: int = 0
    rows: Rows | None = None
    expected: tuple[Tensors, ...] = ()
    capacity_p99_ms: float = 0.0
    command: str = ""
    progress: Callable[[str], None] = lambda _: None

    def run(self) -> BenchReport:
        """Measure."""
        return _Bench(self).run()


class _Bench:
    def __init__(self, job: BenchJob) -> None:
        self._job = job
        self._is_cut_short = False
        client = HttpClient(job.url)
        self._server = describe_server(client)
        self._model = describe_model(client, choose_model(client, job.model))
        self._place = _place(job, client)
        self._url = client.url
        requests = self._requests(client)
        answers = first_answers(self._place, requests, job.expected)
        self._load = LoadJob(
            host=self._place.host,
            port=self._place.port,
            is_secure=self._place.is_secure,
            protocol=job.protocol,
            requests=requests,
            answers=tuple((head, body) for _, head, body in answers),
            concurrency=max(job.concurrency, 1),
            connection_count=_connections(job.concurrency),
            seed=job.seed,
            arrivals=job.arrivals,
            warm_up_s=job.warm_up_s,
            duration_s=job.duration_s,
            timeout_s=job.timeout_s,
        )

    def run(self) -> BenchReport:
        """Measure once, or search."""
        started_at = time.time()
        if self._job.capacity_p99_ms > 0:
            return self._search(started_at)
        load = self._open(self._job.rate) if self._job.rate > 0 else self._load
        result = sum_up(self._drive(load), load, self._rows)
        return BenchReport(self._setup(load, started_at), result, is_cut_short=self._is_cut_short)

    def _requests(self, client: HttpClient) -> tuple[bytes, ...]:
        job = self._job
        if job.rows is not None:
            batches = job.rows(self._model)
            self._rows = max((int(next(iter(inputs.values())).shape[0]) for inputs in batches), default=0)
            if not self._rows:
                raise SpecError("The data has no rows.")
            return tuple(make_request(self._model, inputs, client, self._place, job.version) for inputs in batches)
        self._rows = job.row_count if self._model.is_batchable else 1
        size = self._free_size(client)
        drawn = (
            valid_inputs(self._model.inputs, rows=self._rows, seed=job.seed + number, free_size=size) for number in range(_DRAWN_REQUESTS)
        )
        return tuple(make_request(self._model, inputs, client, self._place, job.version) for inputs in drawn)

    def _free_size(self, client: HttpClient) -> int:
        """Return a size for open dimensions that the model takes; the first one where all are refused, for its error to be shown."""
        if not any(None in spec.shape[1:] for spec in self._model.inputs):
            return FREE_SIZES[0]
        for size in FREE_SIZES:
            inputs = valid_inputs(self._model.inputs, rows=1, seed=self._job.seed, free_size=size)
            request = make_request(self._model, inputs, client, self._place, self._job.version)
            if self._answers(request):
                return size
        return FREE_SIZES[0]

    def _answers(self, request: bytes) -> bool:
        try:
            first_answers(self._place, (request,))
        except RequestError:
            return False
        return True

    def _open(self, rate: float) -> LoadJob:
        concurrency = self._job.concurrency or _OPEN_CONCURRENCY
        return replace(self._load, rate=rate, concurrency=concurrency, connection_count=_connections(concurrency))

    def _drive(self, load: LoadJob) -> Tally:
        tally = drive(load, process_count=self._job.process_count, progress=lambda at, so_far: self._job.progress(_line(at, load, so_far)))
        self._is_cut_short = self._is_cut_short or tally.measured_s < load.duration_s * 0.98
        return tally

    def _search(self, started_at: float) -> BenchReport:
        job, trials = self._job, list[Trial]()
        peak_load = replace(self._load, concurrency=_PEAK_CONCURRENCY, connection_count=_connections(_PEAK_CONCURRENCY), duration_s=_PEAK_S)
        peak = self._drive(peak_load)
        first = max(peak.right_count / (peak.measured_s or 1.0) * _SHARE_OF_PEAK, 1.0)
        best: tuple[LoadJob, Result] | None = None
        load, result = self._open(first), sum_up(peak, peak_load, self._rows)
        while not self._is_cut_short and (rate := next_rate(trials, first)) is not None:
            load = replace(self._open(rate), seed=job.seed + len(trials))
            tally = self._drive(load)
            result = sum_up(tally, load, self._rows)
            trials.append(_trial(rate, tally, load, job.capacity_p99_ms))
            limit = f" ({trials[-1].limit})" if trials[-1].limit else ""
            said = "holds" if trials[-1].holds else f"does not hold{limit}"
            job.progress(f"{rate:,.0f}/s {said}: p99 {trials[-1].p99_ms:.2f} ms")
            if trials[-1].holds:
                best = (load, result)
        capacity = conclude(trials)
        load, result = best if best is not None else (load, result)
        return BenchReport(self._setup(load, started_at), result, capacity, self._is_cut_short)

    def _setup(self, load: LoadJob, started_at: float) -> Setup:
        job, machine = self._job, describe_machine()
        own = {name: metadata.version(name) for name in _LIBRARIES}
        return Setup(
            command=job.command,
            url=self._url if job.protocol == "http" else f"{self._place.host}:{self._place.port}",
            server=f"{self._server.get('name', 'unknown')} {self._server.get('version', '')}".strip(),
            model=self._model.name,
            version=job.version,
            protocol=job.protocol,
            payload="raw" if job.protocol == "grpc" else job.payload,
            rows=self._rows,
            request_count=len(load.requests),
            data_digest=hashlib.sha256(b"".join(load.requests)).hexdigest(),
            loop="open" if load.is_open else "closed",
            concurrency=load.concurrency,
            rate=load.rate,
            arrivals=load.arrivals.value if load.is_open else "",
            process_count=job.process_count,
            warm_up_s=load.warm_up_s,
            duration_s=load.duration_s,
            timeout_s=load.timeout_s,
            seed=load.seed,
            started_at=started_at,
            machine=machine,
            versions={"python": machine.versions["python"], **own},
        )


def _place(job: BenchJob, client: HttpClient) -> Place:
    if job.protocol != "grpc":
        return Place(client.host, client.port, client.is_secure, "http", job.payload)
    host, _, port = job.grpc.rpartition(":")
    if not port.isdigit():
        raise SpecError(
            "Where does the server speak gRPC?", hint="Say it with --grpc HOST:PORT; `fairlead serve` prints it when it starts."
        )
    return Place((host or client.host).strip("[]"), int(port), is_secure=False, protocol="grpc", payload="raw")


def _connections(concurrency: int) -> int:
    return max(-(-concurrency // _CALLS_PER_CONNECTION), 1)


def _trial(rate: float, tally: Tally, load: LoadJob, p99_ms: float) -> Trial:
    bad = tally.wrong_count + tally.error_count
    late = tally.times.count_above(p99_ms / 1000)
    limits = client_limits(tally, load)
    return Trial(rate, tally.sent_count, late, tally.times.percentile_s(99) * 1000, bad, limits[0] if limits else "")


def _line(at: float, load: LoadJob, tally: Tally) -> str:
    rate = tally.right_count / at if at > 0 else 0.0
    bad = tally.wrong_count + tally.error_count
    p99 = tally.times.percentile_s(99) * 1000
    return f"{min(at, load.duration_s):.0f} s of {load.duration_s:g}: {rate:,.0f}/s, p99 {p99:.2f} ms, {bad} bad"
