"""Runs a load in this process, or in several that share it.

Takes a LoadJob; gives the Tally of all. Each process beside this one is `python -m fairlead.probe.load.work`, which reads its LoadJob from
stdin and writes lines of JSON: progress, then its Tally. Raises UnavailableError where no connection can be made or a process died. Ctrl-C
ends the measurement early; what was counted is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import msgspec
import uvloop

from fairlead.errors import FairleadError, UnavailableError
from fairlead.probe.load.driver import LoadDriver
from fairlead.probe.load.job import LoadJob, Tally

Progress = Callable[[float, Tally], None]
T = TypeVar("T")


def drive(job: LoadJob, *, process_count: int, progress: Progress) -> Tally:
    """Return what the load gave; `progress` is told the seconds and the tally so far, of this process where there are several."""
    if process_count == 1:
        return run_loop(_drive_here(job, progress))
    return _Processes(job, process_count).run(progress)


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` in a fast event loop of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def _drive_here(job: LoadJob, progress: Progress) -> Tally:
    driver = LoadDriver(job, progress)
    loop = asyncio.get_running_loop()
    is_main = threading.current_thread() is threading.main_thread()
    if is_main:
        loop.add_signal_handler(signal.SIGINT, driver.stop)
    try:
        return await driver.run()
    finally:
        if is_main:
            loop.remove_signal_handler(signal.SIGINT)


class _Processes:
    """The same load from several processes; each sends its share."""

    def __init__(self, job: LoadJob, count: int) -> None:
        self._jobs = [_share(job, part, count) for part in range(count)]
        self._latest: dict[int, tuple[float, Tally]] = {}
        self._ends: dict[int, Tally] = {}
        self._errors: list[str] = []

    def run(self, progress: Progress) -> Tally:
        """Start them, listen, and add up."""
        command = [sys.executable, "-m", "fairlead.probe.load.work"]
        processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in self._jobs]
        try:
            readers = [threading.Thread(target=self._listen, args=(part, process)) for part, process in enumerate(processes)]
            for job, process, reader in zip(self._jobs, processes, readers, strict=True):
                if process.stdin is not None:
                    process.stdin.write(msgspec.json.encode(job) + b"\n")
                    process.stdin.close()
                reader.start()
            for reader in readers:
                self._wait(reader, progress)
        finally:
            for process in processes:
                process.terminate()
                process.wait()
                if process.stdout is not None:
                    process.stdout.close()
        if len(self._ends) < len(self._jobs):
            raise UnavailableError(self._errors[0] if self._errors else "A process of the load died.", hint="Try fewer --processes.")
        return _sum(list(self._ends.values()))

    def _wait(self, reader: threading.Thread, progress: Progress) -> None:
        said = 0.0
        while reader.is_alive():
            with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C reaches every process of the group: they end by themselves
                reader.join(0.25)
            at = min((at for at, _ in self._latest.values()), default=0.0)
            if len(self._latest) == len(self._jobs) and at > said:
                said = at
                progress(at, _sum([tally for _, tally in self._latest.values()]))

    def _listen(self, part: int, process: subprocess.Popen[bytes]) -> None:
        for line in process.stdout or ():
            message = msgspec.json.decode(line)
            if "error" in message:
                self._errors.append(message["error"])
            elif "end" in message:
                self._ends[part] = Tally.from_plain(message["end"])
            else:
                self._latest[part] = (message["at"], Tally.from_plain(message["tally"]))


def _share(job: LoadJob, part: int, count: int) -> LoadJob:
    concurrency = job.concurrency // count + (part < job.concurrency % count)
    connections = max(job.connection_count // count, 1)
    return replace(
        job, part=part, part_count=count, concurrency=max(concurrency, 1), connection_count=min(connections, max(concurrency, 1))
    )


def _sum(tallies: list[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total.merge(tally)
    return total


def _main() -> None:
    """Be one of several processes."""
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=LoadJob)

    def say(message: dict[str, Any]) -> None:
        sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
        sys.stdout.buffer.flush()

    try:
        say({"end": run_loop(_drive_here(job, lambda at, tally: say({"at": at, "tally": tally.to_plain()}))).to_plain()})
    except FairleadError as error:
        say({"error": error.message})


if __name__ == "__main__":
    _main()
