"""Several registered models become one version: wired, proven against its members, registered, released.

`compose` takes a ComposeRequest, gives Deployed. Members are pinned by digest, and their files become files of the new version: moving an
alias of theirs changes nothing, and no clean-up ever takes what the ensemble needs. Raises SpecError for steps that do not fit together,
NotFoundError for a model that is not registered, RejectedError with the verdict where the ensemble does not answer as its members do one by
one, and what `deploy` raises. Whatever happens, nothing half-made is left.
"""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from fairlead.app.deploy import Deployed, rejection
from fairlead.app.ensemble_reference import MembersOneByOne
from fairlead.app.ensemble_spec import EnsembleSpec, StepSpec, kind_of
from fairlead.app.registry_traits import traits_of
from fairlead.app.release import release_new
from fairlead.app.wiring import House
from fairlead.app.workspace import workspace
from fairlead.core.conversion import MAIN_FILE, TWIN_FILE, RuntimeForm
from fairlead.core.dataset import Dataset
from fairlead.core.ensemble import Ensemble, Member, StepKind
from fairlead.core.ensemble_wiring import Draft, wire
from fairlead.core.golden import Golden
from fairlead.core.interface import Interface
from fairlead.core.lineage import Lineage, Step
from fairlead.core.plan import Candidate, Plan
from fairlead.core.ports import Progress
from fairlead.core.requirement import MetricKind, Requirement
from fairlead.core.target import Target
from fairlead.core.verdict import Verdict, decision_sentence
from fairlead.core.version import PRODUCTION, Version, check_name, parse_reference
from fairlead.datasets.draw import draw
from fairlead.datasets.load import load_dataset
from fairlead.engines.ensemble_engine import EnsembleEngine
from fairlead.engines.machine import describe_machine
from fairlead.engines.stopwatch import TimingLimits
from fairlead.errors import DataError, FairleadError
from fairlead.explain.card import write_card
from fairlead.register.resolve import resolve
from fairlead.register.stage import Registration, register
from fairlead.security.digests import digest_file
from fairlead.stores.document import dump, load
from fairlead.stores.golden_rows import write_golden
from fairlead.stores.version_files import materialize
from fairlead.verify.report import Report, write_report
from fairlead.verify.stage import VerifyJob, verify

DRAWN_ROWS = 64
GOLDEN_ROWS = 4
_ENGINE = "ensemble"
_MAIN = MAIN_FILE[RuntimeForm.ENSEMBLE]
# Of a member's files, those that its engine may need: not its evidence, which stays with its own version.
_EVIDENCE = frozenset(
    {"interface.json", "engine.json", "verdict.json", "plan.json", "lineage.json", "golden.npz", "report.html", "card.md"}
    | {"search.json", "ledger.json", "strategy.json", TWIN_FILE}
)


@dataclass(frozen=True)
class ComposeRequest:
    """What to compose. `data` is a file of rows; without one, rows are drawn. `source` is the file that said so, for the lineage."""

    spec: EnsembleSpec
    name: str
    source: Path
    data: Path | None = None
    target: str | None = None
    requirements: tuple[Requirement, ...] = ()
    alias: str = PRODUCTION
    report: Path | None = None
    command: str = ""


@dataclass(frozen=True)
class Composition:
    """An ensemble that fits together, its interface, its members' versions and their files by the names that they have in it."""

    ensemble: Ensemble
    interface: Interface
    versions: tuple[Version, ...]
    files: dict[str, Path]


def compose(request: ComposeRequest, house: House, progress: Progress) -> Deployed:
    """Lead the ensemble to the alias."""
    check_name(request.name)
    expected = house.records.aliases(request.name).get(request.alias, 0)
    with workspace(house) as folder:
        # 1. Wire it: everything that does not fit together is said before anything runs.
        progress.step("wire")
        composition = wire_members(request.spec, house)
        takes = ", ".join(spec.describe() for spec in composition.interface.inputs)
        progress.done("\n".join([f"{len(composition.versions)} models; takes {takes}", *composition.ensemble.describe()]))
        # 2. The rows.
        progress.step("data")
        rows = _rows(request, composition.interface, house)
        progress.done(rows.description)
        # 3. Prove it against its members.
        files = _lay_out(composition, folder / "ensemble")
        verdict = _prove(request, composition, files, rows, house, progress)
        _write_evidence(request, composition, verdict, files)
        if request.report is not None:
            shutil.copyfile(files["report.html"], request.report)
        if not verdict.is_green:
            raise rejection(verdict)
        # 4. Register and release.
        progress.step("register")
        traits = traits_of(lambda name: files[name].read_bytes(), publisher=house.settings.user)
        registration = Registration(request.name, files, verdict, traits)
        version = register(registration, records=house.records, blobs=house.blobs, clock=house.clock)
        progress.done(f"{version.label}  sha256:{version.digest[:16]}")
    progress.step("release")
    release_new(version, request.alias, house, expected=expected)
    progress.done(f"@{request.alias} -> {version.label}")
    return Deployed(version, verdict, request.alias, expected)


def wire_members(spec: EnsembleSpec, house: House) -> Composition:
    """Return the ensemble that `spec` describes with the versions that its references mean now."""
    versions: list[Version] = []
    drafts = []
    for name, step in spec.steps.items():
        kind = kind_of(step, f"Step '{name}'")
        member = -1
        if kind is StepKind.MODEL:
            version = _version_of(step, name, house)
            if version not in versions:
                versions.append(version)
            member = versions.index(version)
        drafts.append(Draft(name, kind, _wires(step, kind), member, tuple(step.weights)))
    files: dict[str, Path] = {}
    members = [_member(number, version, files, house) for number, version in enumerate(versions, start=1)]
    ensemble, interface = wire(drafts, spec.outputs, members, decision=spec.decision or "")
    return Composition(ensemble, interface, tuple(versions), files)


def _version_of(step: StepSpec, name: str, house: House) -> Version:
    try:
        return resolve(parse_reference(step.model or ""), records=house.records)
    except FairleadError as error:
        error.message = f"Step '{name}': {error.message}"
        raise


def _wires(step: StepSpec, kind: StepKind) -> dict[str, str]:
    if kind is StepKind.MODEL:
        return dict(step.inputs)
    listed = {StepKind.AVERAGE: step.average, StepKind.VOTE: step.vote, StepKind.CONCAT: step.concat}[kind]
    return {str(place): text for place, text in enumerate(listed or ())}


def _member(number: int, version: Version, files: dict[str, Path], house: House) -> Member:
    """Return the member; its files join `files` under names of their own, which keep what stands behind the first dot."""
    own = materialize(version, house.blobs, house.loaded)
    candidate = load(own["engine.json"].read_bytes(), Candidate)
    prefix = f"member-{number}."
    files |= {prefix + name: path for name, path in own.items() if name not in _EVIDENCE}
    main = MAIN_FILE[RuntimeForm(candidate.form)]
    interface = load(own["interface.json"].read_bytes(), Interface)
    return Member(version.label, version.digest, interface, candidate.engine, prefix + main, candidate.thread_count, candidate.session)


def _lay_out(composition: Composition, folder: Path) -> dict[str, Path]:
    """Put the ensemble and its members' files into one folder, as they will lie when the version is unpacked."""
    folder.mkdir(mode=0o700)
    files = {name: folder / name for name in (*composition.files, _MAIN)}
    for name, path in composition.files.items():
        shutil.copyfile(path, files[name])
    files[_MAIN].write_bytes(dump(composition.ensemble))
    return files


def _rows(request: ComposeRequest, interface: Interface, house: House) -> Dataset:
    if request.data is None:
        needing = [str(item) for item in request.requirements if item.kind is MetricKind.QUALITY]
        if needing:
            raise DataError(f"'{needing[0]}' needs rows with right answers.", hint="Give them: --data rows.csv --target column.")
        return draw(interface, rows=DRAWN_ROWS, seed=house.settings.seed)
    return load_dataset(request.data, interface, target=request.target, allow_missing=True)


def _prove(
    request: ComposeRequest, composition: Composition, files: dict[str, Path], rows: Dataset, house: House, progress: Progress
) -> Verdict:
    progress.step(f"verify: the ensemble against its members one by one, {rows.rows} rows")
    members = [load(read.read_bytes(), Verdict) for read in _verdicts(composition, house)]
    with (
        closing(EnsembleEngine(files[_MAIN], composition.interface, sandbox=house.sandbox)) as engine,
        closing(MembersOneByOne(composition.ensemble, composition.interface, composition.versions, house)) as reference,
    ):
        job = VerifyJob(
            reference=reference,
            candidate=engine,
            candidate_name=_ENGINE,
            model_path=files[_MAIN],
            model_digest=digest_file(files[_MAIN]),
            original_size_bytes=sum(path.stat().st_size for path in composition.files.values()),
            size_bytes=sum(path.stat().st_size for path in files.values()),
            dataset=rows,
            machine=describe_machine(),
            engine_name=_ENGINE,
            # The members were compared with their originals when they were registered; here only what joins them is in question, but
            # rows in batches may differ by as much as any member's rows do.
            tolerance=max(verdict.parity.tolerance for verdict in members),
            requirements=request.requirements,
            limits=TimingLimits(house.settings.verify_call_count, house.settings.verify_time_s),
            seed=house.settings.seed,
            notes=tuple(f"{version.label} (sha256:{version.digest[:12]}) is a member" for version in composition.versions),
            command=request.command,
        )
        verdict = verify(job)
        golden = rows.take(0, GOLDEN_ROWS).inputs
        write_golden(files.setdefault("golden.npz", files[_MAIN].parent / "golden.npz"), Golden(golden, engine.run(golden)))
    progress.done(f"against {verdict.reference}: {'green' if verdict.is_green else 'red'}\n{decision_sentence(verdict.parity)}")
    return verdict


def _verdicts(composition: Composition, house: House) -> list[Path]:
    return [materialize(version, house.blobs, house.loaded)["verdict.json"] for version in composition.versions]


def _write_evidence(request: ComposeRequest, composition: Composition, verdict: Verdict, files: dict[str, Path]) -> None:
    """Write what every version has, so that whatever shows, serves or compares versions needs to know nothing of ensembles."""
    candidate = Candidate(_ENGINE, (), _ENGINE, 1, "an ensemble runs in one way", RuntimeForm.ENSEMBLE.value)
    plan = Plan(request.requirements, Target(), (candidate,))
    source = digest_file(request.source)
    pinned = {f"member-{number}": f"{one.label} sha256:{one.digest}" for number, one in enumerate(composition.versions, start=1)}
    step = Step("compose", _ENGINE, source, verdict.model_digest, parameters=pinned, notes=composition.ensemble.describe())
    lineage = Lineage(source, request.source.name, (step,))
    folder = files[_MAIN].parent
    documents = {
        "interface.json": composition.interface,
        "engine.json": candidate,
        "verdict.json": verdict,
        "plan.json": plan,
        "lineage.json": lineage,
    }
    for name, value in documents.items():
        files[name] = folder / name
        files[name].write_bytes(dump(value))
    for name in ("report.html", "card.md"):
        files[name] = folder / name
    write_report(Report(request.name, verdict, plan, lineage), files["report.html"])
    write_card(request.name, composition.interface, verdict, plan, lineage, files["card.md"])
