"""Train again: start the user's command, take the model that it writes through plan, proof and registration, and let it take over by steps.

Takes a Policy with a command, the alert that started it, and a House; gives a sentence on what came of it. The command finds in its
environment what it needs (FAIRLEAD_MODEL, FAIRLEAD_VERSION, FAIRLEAD_ALERT: a file with the alert, FAIRLEAD_OUTPUT: the folder into which
it writes one model file) and ends with 0. Nothing that it writes is believed: the new version keeps every requirement of the live one,
proven on the same kind of data, or is not registered. Raises what deploy and release raise, UnavailableError and DeadlineError for the
command.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from fairlead.app.alert_delivery import check_commands, end_group, kept_environment, split_command
from fairlead.app.quiet import Quiet
from fairlead.app.wiring import House
from fairlead.app.workspace import workspace
from fairlead.core.alert import Alert, Policy
from fairlead.core.interface import shorten
from fairlead.core.plan import Plan
from fairlead.core.version import PRODUCTION, Reference, Version
from fairlead.errors import DeadlineError, SourceError, SpecError, UnavailableError
from fairlead.register.resolve import resolve
from fairlead.stores.document import dump, load
from fairlead.stores.version_files import read_file

TRAINING_S = 6 * 3600.0


def retrain(policy: Policy, alert: Alert, house: House, *, limit_s: float = TRAINING_S) -> str:
    """Return what came of training again."""
    check_commands(house)
    live = resolve(Reference(alert.labels["model"], alias=PRODUCTION), records=house.records)
    with workspace(house) as folder:
        model = _train(policy, alert, live, folder, limit_s)
        version = _deploy(policy, live, model, house)
    return f"Trained {version.label} in place of {live.label}. {_release(policy, version, house)}"


def _train(policy: Policy, alert: Alert, live: Version, folder: Path, limit_s: float) -> Path:
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
    }
    words = split_command(policy.command)
    log = folder / "training.log"
    with log.open("wb") as sink:
        try:
            child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=environment, start_new_session=True)
        except OSError as error:
            raise UnavailableError(f"The command '{shorten(words[0])}' cannot be started: {error.strerror}.") from None
        try:
            child.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise DeadlineError(f"Training took longer than {limit_s:g} s.", hint="Train on less, or more often.") from None
        finally:
            end_group(child)
    if child.returncode:
        raise UnavailableError(f"Training ended with {child.returncode}: {_end_of(log)}", hint="Start the command by hand.")
    return _only(output)


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
    request = DeployRequest(model, live.name, data, requirements=plan.requirements, target=plan.target, alias="", command="retraining")
    return deploy(request, house, Quiet()).version


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
