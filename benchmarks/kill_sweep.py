"""Kill sweep: end a registry operation by SIGKILL before its 1st, 2nd, 3rd ... call that changes the disk, and look at what is left.

    python benchmarks/kill_sweep.py [--json] [--operations register,promote] [--faults killed,full]

For every operation and every such call a child process is stopped there by strace. Then the registry is opened again and has to be sound:
the database's own check passes, the operation happened wholly or not at all, wholly if it was acknowledged, every version has all of its
bytes, a sweep removes every leftover, and the operation can be done again. Other faults let the calls fail instead (disk full, quota,
failed sync), once or from there on. A planted fault (the record before the blobs) has to be caught, else the sweep proves nothing.
Needs strace and the right to trace a child.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import mmap
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fairlead.errors import FairleadError, NoSpaceError
from fairlead.register.collect import referenced, sweep
from fairlead.stores.version_files import read_file
from kill_operations import OPERATIONS, PLANTED, Home, Operation, State, do_register_wrongly, prepare

CHANGING = "write pwrite64 pwritev fsync fdatasync rename renameat renameat2 unlink unlinkat link linkat mkdir mkdirat ftruncate fchmod"
FILLING = "write pwrite64 pwritev fsync fdatasync mkdir mkdirat ftruncate fallocate"
SYNCING = "fsync fdatasync"
PR_SET_PTRACER, PR_SET_PTRACER_ANY = 0x59616D61, ctypes.c_ulong(-1)
ANSWERS = ("no answer", "done", "no space", "refused", "crashed")
_, DONE, NO_SPACE, REFUSED, CRASHED = range(5)


@dataclass
class Outcome:
    """How an operation fared under one kind of fault."""

    operation: str
    fault: str
    tried: int = 0
    survived: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Fault:
    """What strace does to which calls; `is_lasting` keeps it up from one call on, as a full disk does."""

    name: str
    calls: str
    injection: str
    is_lasting: bool = False

    def points(self, trace: Sequence[str]) -> list[int]:
        """Return the positions in `trace` that the fault can hit."""
        return [position for position, call in enumerate(trace) if call in self.calls.split()]

    def arguments(self, trace: Sequence[str], position: int) -> list[str]:
        """Return strace's arguments for the fault at `position`. Strace counts the calls of each name by themselves."""
        calls = self.calls.split() if self.is_lasting else [trace[position]]
        before = Counter(trace[:position])
        last = "+" if self.is_lasting else ""
        return [word for call in calls for word in ("-e", f"inject=?{call}:{self.injection}:when={before[call] + 1}{last}")]


FAULTS = {
    "killed": Fault("killed", CHANGING, "signal=SIGKILL"),
    "full": Fault("disk full from here on", FILLING, "error=ENOSPC", is_lasting=True),
    "full-once": Fault("disk full once", FILLING, "error=ENOSPC"),
    "quota": Fault("quota used up from here on", FILLING, "error=EDQUOT", is_lasting=True),
    "sync": Fault("sync fails from here on", SYNCING, "error=EIO", is_lasting=True),
    "sync-once": Fault("sync fails once", SYNCING, "error=EIO"),
}


def run_under(run: Operation, home: Home, arguments: Sequence[str] = ()) -> tuple[int, bool, list[str]]:
    """Run the operation in a child under strace; return its answer, whether a fault met it, and the names of its calls."""
    answer = mmap.mmap(-1, 1)  # shared memory: to acknowledge takes no call that a fault could hit
    ready, go = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go)
        ctypes.CDLL(None).prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0)
        os.read(ready, 1)
        answer[0] = answer_of(run, home)
        os._exit(0)
    os.close(ready)
    log = home.folder / "strace.log"
    watched = ["-e", "trace=" + ",".join(f"?{call}" for call in CHANGING.split())]
    command = ["strace", "-f", "-qq", "-o", str(log), "-p", str(child), *watched, *arguments]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        wait_for_tracer(child, tracer)
        os.write(go, b"!")
        _, status = os.waitpid(child, 0)
    finally:
        os.close(go)
        tracer.communicate(timeout=30)
    text = log.read_text()
    return answer[0], os.WIFSIGNALED(status) or "(INJECTED)" in text, re.findall(r"^\d+ +(\w+)\(", text, re.MULTILINE)


def answer_of(run: Operation, home: Home) -> int:
    try:
        run(home)
    except NoSpaceError:
        return NO_SPACE
    except FairleadError:
        return REFUSED
    except BaseException:  # noqa: BLE001 - whatever it is, the parent has to hear of it
        return CRASHED
    return DONE


def wait_for_tracer(child: int, tracer: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 10
    while "TracerPid:\t0\n" in Path(f"/proc/{child}/status").read_text():
        if tracer.poll() is not None or time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise SystemExit(f"strace cannot trace a child here: {tracer.stderr.read() if tracer.stderr else ''}")
        time.sleep(0.001)


def problems_in(home: Home, before: State, after: State, *, is_acknowledged: bool) -> list[str]:
    """Return what is wrong with the registry."""
    records, blobs, state = home.records, home.blobs, home.state()
    problems = [*records.check()]
    if state not in (before, after):
        problems.append(f"neither as before nor as after: {state}")
    if is_acknowledged and state != after:
        problems.append("acknowledged, but not there")
    for name in records.names():
        for version in records.versions(name):
            for entry in version.manifest.files:
                try:
                    read_file(version, entry.name, blobs)
                except FairleadError as error:
                    problems.append(error.message)
    sweep(records=records, blobs=blobs, grace_s=-1.0)
    if set(blobs.list()) != referenced(records):
        problems.append("blobs that no version lists survive a sweep")
    if any((home.folder / "blobs" / "incoming").glob("*")):
        problems.append("leftovers survive a sweep")
    return problems


def try_point(run: Operation, home: Home, arguments: list[str], states: tuple[State, State]) -> tuple[str, list[str]]:
    """Run the operation once with a fault; return its answer and what is wrong afterwards."""
    before, after = states
    answer, is_met, _ = run_under(run, home, arguments)
    problems = problems_in(home, before, after, is_acknowledged=answer == DONE)
    if not is_met:
        problems.append("the fault did not meet the operation")
    if answer == CRASHED:
        problems.append("the operation failed with an error of no known type")
    if not problems and home.state() != after:
        run(home)
        if home.state() != after:
            problems.append("it cannot be done again")
    return ANSWERS[answer], problems


def sweep_operation(name: str, run: Operation, faults: Sequence[Fault]) -> list[Outcome]:
    """Run the operation with each fault at each of its calls."""
    memory = Path("/dev/shm")  # noqa: S108 - a kill loses no memory, and syncs cost nothing here; the folder has a random name
    with tempfile.TemporaryDirectory(prefix="kill-sweep-", dir=memory if os.access(memory, os.W_OK) else None) as place:
        template = prepare(name, Path(place) / "template")
        before = copy_of(template, Path(place) / "before").state()  # a copy, since looking at an old registry renews it
        sample = copy_of(template, Path(place) / "sample")
        _, _, trace = run_under(run, sample)
        states, outcomes = (before, sample.state()), []
        for fault in faults:
            outcomes.append(outcome := Outcome(name, fault.name))
            for position in fault.points(trace):
                home = copy_of(template, Path(place) / "home")
                answer, problems = try_point(run, home, fault.arguments(trace, position), states)
                shutil.rmtree(home.folder)
                outcome.tried += 1
                outcome.survived += not problems
                outcome.answers[answer] += 1
                if problems:
                    outcome.violations.append(f"at call {position + 1} ({trace[position]}): {'; '.join(problems)}")
    return outcomes


def copy_of(template: Home, folder: Path) -> Home:
    """Return a copy of the registry whose work files are found in the copy too."""
    return Home(Path(shutil.copytree(template.folder, folder)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print data")
    parser.add_argument("--operations", default=",".join(OPERATIONS), help="which, with commas between")
    parser.add_argument("--faults", default="killed", help=f"which, with commas between, of {', '.join(FAULTS)}; or all")
    chosen = parser.parse_args()
    if shutil.which("strace") is None:
        raise SystemExit("strace is not installed.")
    began_at = time.monotonic()
    faults = [FAULTS[name] for name in (FAULTS if chosen.faults == "all" else chosen.faults.split(","))]
    outcomes = [outcome for name in chosen.operations.split(",") for outcome in sweep_operation(name, OPERATIONS[name], faults)]
    planted = sweep_operation(PLANTED, do_register_wrongly, [fault for fault in faults if fault is FAULTS["killed"]])
    is_caught = all(outcome.violations for outcome in planted)
    if chosen.json:
        print(json.dumps({"outcomes": [vars(outcome) for outcome in outcomes], "planted": [vars(outcome) for outcome in planted]}))
    else:
        show(outcomes, planted, time.monotonic() - began_at)
    return 0 if is_caught and not any(outcome.violations for outcome in outcomes) else 1


def show(outcomes: list[Outcome], planted: list[Outcome], took_s: float) -> None:
    print(f"{'operation':32}{'fault':30}{'survived / tried':>18}  answers")
    for outcome in outcomes:
        answers = ", ".join(f"{count} {answer}" for answer, count in sorted(outcome.answers.items()))
        print(f"{outcome.operation:32}{outcome.fault:30}{outcome.survived:>10} / {outcome.tried:<5}  {answers}")
        for violation in outcome.violations:
            print(f"    VIOLATION {violation}")
    survived, tried = sum(outcome.survived for outcome in outcomes), sum(outcome.tried for outcome in outcomes)
    print(f"points survived / tried: {survived} / {tried} in {took_s:.0f} s")
    for outcome in planted:
        print(f"{PLANTED}: " + (f"caught at {len(outcome.violations)} of {outcome.tried} points" if outcome.violations else "NOT CAUGHT"))


if __name__ == "__main__":
    sys.exit(main())
