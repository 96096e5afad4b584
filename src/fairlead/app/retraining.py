"""Train again: start the user's command, take the model that it writes through plan, proof and registration, and let it take over by steps.

Takes a Policy with a command, the alert that started it, and a House; gives a sentence on what came of it. The command finds in its
environment what it needs (FAIRLEAD_MODEL, FAIRLEAD_VERSION, FAIRLEAD_ALERT: a file with the alert, FAIRLEAD_DATA, FAIRLEAD_HOME, in which
`fairlead observations` finds what was answered, FAIRLEAD_OUTPUT: the folder into which it writes one model file) and ends with 0. Nothing
that it writes is believed: the new version keeps every requirement of the live one, proven on the same kind of data, or is not registered.
Raises what deploy and release raise, UnavailableError and DeadlineError for the command.
"""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from fairlead.app.alert_delivery import check_commands, end_group, kept_environment, split_command
from fairlead.app.quiet import Quiet
from fairlead.app.wiring import House
from fairlead.app.workspace import workspace
from fairlead.core.alert import Alert, Policy
from fairlead.core.interface import Interface, shorten
from fairlead.core.plan import Plan
from fairlead.core.strategy import KEYS, Strategy
from fairlead.core.version import PRODUCTION, Reference, Version
from fairlead.errors import DeadlineError, SourceError, SpecError, UnavailableError
from fairlead.register.resolve import resolve
from fairlead.stores.document import dump, load
from fairlead.stores.version_files import read_file

if TYPE_CHECKING:
    from fairlead.app.strategy_wish import StrategyWish

TRAINING_S = 6 * 3600.0
_LOOK_S = 0.2


def retrain(policy: Policy, alert: Alert, house: House, *, limit_s: float = TRAINING_S, stop: threading.Event | None = None) -> str:
    """Return what came of training again; where `stop` is set, the command is ended and nothing comes of it."""
    check_commands(house)
    live = resolve(Reference(alert.labels["model"], alias=PRODUCTION), records=house.records)
    with workspace(house) as folder:
        model = _train(policy, alert, live, folder, house.settings.home, limit_s, stop or threading.Event())
        version = _deploy(policy, live, model, house)
    return f"Trained {version.label} in place of {live.label}. {_release(policy, version, house)}"


def _train(policy: Policy, alert: Alert, live: Version, folder: Path, home: Path, limit_s: float, stop: threading.Event) -> Path:
    """Run the command and return the one file, or folder, that it wrote."""
    output, told = folder / "trained", folder / "alert.json"
    output.mkdir()
    told.write_bytes(dump(alert))
    environment = kept_environment() | {
        "FAIRLEAD_MODEL": live.name,
        "FAIRLEAD_VERSION": str(live.number),
        "FAIRLEAD_ALERT": str(told),
        "FAIRLEAD_OUTPUT": str(output),
        "FAIRLEAD_DATA": policy.data,
        "FAIRLEAD_HOME": str(home),
    }
    words = split_command(policy.command)
    log = folder / "training.log"
    with log.open("wb") as sink:
        try:
            child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=environment, start_new_session=True)
        except OSError as error:
            raise UnavailableError(f"The command '{shorten(words[0])}' cannot be started: {error.strerror}.") from None
        try:
            _wait(child, limit_s, stop)
        finally:
            end_group(child)
    if child.returncode:
        raise UnavailableError(f"Training ended with {child.returncode}: {_end_of(log)}", hint="Start the command by hand.")
    return _only(output)


def _wait(child: subprocess.Popen[bytes], limit_s: float, stop: threading.Event) -> None:
    end = time.monotonic() + limit_s
    while child.poll() is None:
        if time.monotonic() > end:
            raise DeadlineError(f"Training took longer than {limit_s:g} s.", hint="Train on less, or more often.")
        if stop.wait(_LOOK_S):
            raise UnavailableError("Training was ended with the process that had started it.", hint="Start the command by hand.")


def _only(output: Path) -> Path:
    found = sorted(output.iterdir())
    if len(found) != 1:
        names = ", ".join(path.name for path in found[:5])
        said = f"Training wrote {len(found)} files{f': {names}' if names else ''}."
        raise SourceError(said, hint="It writes one model file to the folder FAIRLEAD_OUTPUT.")
    return found[0]


def _end_of(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(log.stat().st_size - 500, 0))
        lines = file.read().decode("utf-8", "replace").strip().splitlines()
    return shorten(lines[-1], 200) if lines else "it said nothing"


def _deploy(policy: Policy, live: Version, model: Path, house: House) -> Version:
    """Register the new model under the promise of the live one."""
    from fairlead.app.deploy import DeployRequest, deploy  # noqa: PLC0415 - whoever only watches needs none of it

    plan = load(read_file(live, "plan.json", house.blobs), Plan)
    data = Path(policy.data) if policy.data else None
    if data is not None and not data.exists():
        raise SpecError(f"There is no '{data}', on which a new model is to be proven.", hint="Change the policy's --data.")
    request = DeployRequest(
        model,
        live.name,
        data,
        policy.target or None,
        plan.requirements,
        load(read_file(live, "interface.json", house.blobs), Interface).task,
        plan.target,
        alias="",
        command="retraining",
        wish=_wish(live, house),
    )
    return deploy(request, house, Quiet()).version


def _wish(live: Version, house: House) -> StrategyWish:
    """Return what leads to production as the live version was led."""
    from fairlead.app.planned_release import STRATEGY_FILE  # noqa: PLC0415 - as above
    from fairlead.app.strategy_wish import StrategyWish  # noqa: PLC0415 - as above

    if all(entry.name != STRATEGY_FILE for entry in live.manifest.files):
        return StrategyWish()
    strategy = load(read_file(live, STRATEGY_FILE, house.blobs), Strategy)
    said = {key: strategy.value(key) for key, usual in KEYS.items() if strategy.value(key) != usual}
    return StrategyWish(strategy.scenario, strategy.needs, overrides=said)


def _release(policy: Policy, version: Version, house: House) -> str:
    """Begin the release: by the policy's steps, else as the version's plan says, else a person decides."""
    from fairlead.app.planned_release import planned_release  # noqa: PLC0415 - as above
    from fairlead.app.release_begin import ReleaseRequest, begin  # noqa: PLC0415 - as above
    from fairlead.app.release_spec import GATE, STEP_TIME_S, gate_of  # noqa: PLC0415 - as above
    from fairlead.core.release import ReleaseKind  # noqa: PLC0415 - as above
    from fairlead.core.release_text import parse_steps  # noqa: PLC0415 - as above

    if policy.steps:
        steps, gate = parse_steps(policy.steps), gate_of(GATE, ReleaseKind.CANARY)
        begin(ReleaseRequest(ReleaseKind.CANARY, version.label, steps=steps, gate=gate, min_step_s=STEP_TIME_S), house)
        return f"It takes over by {policy.steps}."
    planned = planned_release(version.label, house)
    if planned is None or planned.is_at_once:
        return f"It waits to be promoted: fairlead promote {version.label} --canary 10%,50%"
    begin(planned.request, house)
    return f"It takes over as planned: {planned.options}."
