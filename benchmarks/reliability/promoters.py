"""R05: promoters in several server processes move one alias at the same moment, round after round; exactly one may win each round.

    python benchmarks/reliability/promoters.py --store sqlite --rounds 2000
    python benchmarks/reliability/promoters.py --store postgres --rounds 2000     # starts a PostgreSQL of its own

Every promoter expects the version that was current before the round. Afterwards the history has to hold one move for each round, each
beginning where the one before it ended. Positive control: with --planted-fault promoters look first and move then, whatever they expect,
and more than one wins.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from fairlead.app.wiring import open_records
from fairlead.core.manifest import Manifest
from fairlead.core.ports import RecordStore
from fairlead.errors import ConflictError
from fairlead.settings import Settings

NAME, ALIAS = "digits", "production"


def opened(place: str) -> RecordStore:
    """Return the registry: a URL's, or that of a home folder."""
    return open_records(Settings(registry=place) if "://" in place else Settings(home=Path(place)))


def turns(number: int) -> tuple[int, int]:
    """Return where the alias is expected before a round, and where promoters move it: 0 -> 1 -> 2 -> 1 ..."""
    return (0 if number == 0 else 1 + (number - 1) % 2), 1 + number % 2


def work(place: str, count: int, *, is_planted: bool) -> None:
    """Be a server process with `count` promoters: at each line of stdin all try at once; tell how many won."""
    records = opened(place)
    start, end, won = threading.Barrier(count + 1), threading.Barrier(count + 1), []
    rounds = [-1]

    def promote() -> None:
        while True:
            start.wait()
            if rounds[0] < 0:
                return
            expected, number = turns(rounds[0])
            if is_planted:
                expected = records.aliases(NAME).get(ALIAS, 0)
            with suppress(ConflictError):
                records.move_alias(NAME, ALIAS, number, expected=expected, moved_at=time.time(), reason="promote")
                won.append(1)
            end.wait()

    threads = [threading.Thread(target=promote) for _ in range(count)]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    for line in sys.stdin:
        rounds[0] = int(line)
        won.clear()
        start.wait()
        end.wait()
        print(len(won), flush=True)
    rounds[0] = -1
    start.wait()
    for thread in threads:
        thread.join()


@contextmanager
def servers(place: str, processes: int, count: int, *, is_planted: bool) -> Iterator[list[subprocess.Popen[str]]]:
    """Start the processes and wait until all of their promoters are there."""
    command = [sys.executable, __file__, "--work", place, "--promoters", str(count), *(["--planted-fault"] if is_planted else [])]
    with ExitStack() as stack:
        running = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(processes)
        ]
        for process in running:
            said(process)
        yield running


def said(process: subprocess.Popen[str]) -> str:
    """Return the next line of a process."""
    if process.stdout is None or not (line := process.stdout.readline()):
        raise SystemExit("A server process ended.")
    return line.strip()


def run(place: str, rounds: int, processes: int, promoters: int, *, is_planted: bool) -> dict[str, object]:
    """Run all rounds and return what came of them."""
    records = opened(place)
    for _ in range(2):
        records.add_version(NAME, Manifest(()), 0.0)
    winners: list[int] = []
    began_at = time.perf_counter()
    with servers(place, processes, promoters // processes, is_planted=is_planted) as running:
        for number in range(rounds):
            for process in running:
                if process.stdin is not None:
                    print(number, file=process.stdin, flush=True)
            winners.append(sum(int(said(process)) for process in running))
    history = records.alias_history(NAME, ALIAS)
    is_linear = all(later.previous == earlier.number for earlier, later in itertools.pairwise(history))
    return {
        "rounds": rounds,
        "promoters": promoters,
        "processes": processes,
        "one winner": winners.count(1),
        "moves": len(history),
        "is_linear": is_linear,
        "seconds": round(time.perf_counter() - began_at, 1),
    }


@contextmanager
def registry(store: str) -> Iterator[str]:
    """Give the place of an empty registry."""
    with ExitStack() as stack:
        if store == "sqlite":
            yield stack.enter_context(tempfile.TemporaryDirectory(prefix="promoters-"))
            return
        sys.path.append(str(Path(__file__).parents[2] / "tests"))
        from postgres_server import find_binaries, postgres_server  # of the tests, which start one too

        binaries = find_binaries()
        if binaries is None:
            raise SystemExit("PostgreSQL is not installed.")
        yield stack.enter_context(postgres_server(binaries)).url()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--at", help="home folder or URL of an empty registry, in place of a new one")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--promoters", type=int, default=16)
    parser.add_argument("--planted-fault", action="store_true")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    if chosen.work:
        work(chosen.work, chosen.promoters, is_planted=chosen.planted_fault)
        return 0
    with ExitStack() as stack:
        place = chosen.at or stack.enter_context(registry(chosen.store))
        found = run(place, chosen.rounds, chosen.processes, chosen.promoters, is_planted=chosen.planted_fault)
    if chosen.json:
        print(json.dumps(found))
    else:
        print(f"{chosen.store}: {found['rounds']:,} rounds of {found['promoters']} promoters in {found['processes']} processes:")
        linear = "linear" if found["is_linear"] else "NOT LINEAR"
        print(f"  exactly one won in {found['one winner']:,}; {found['moves']:,} moves, history {linear}, {found['seconds']} s")
    return 0 if found["one winner"] == found["moves"] == chosen.rounds and found["is_linear"] else 1


if __name__ == "__main__":
    sys.exit(main())
