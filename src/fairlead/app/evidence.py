"""The files of a version: the model, what it takes and gives, and everything that was proven about it.

Takes an Evidence value, writes plain files into a folder, gives name -> path. What is written is data only; nothing in it runs.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from fairlead.app.background import BACKGROUND_FILE, draw_background, write_background
from fairlead.app.prove import Proof
from fairlead.core.artifact import Artifact
from fairlead.core.conversion import MAIN_FILE, TWIN_FILE, Conversion, RuntimeForm
from fairlead.core.dataset import Dataset
from fairlead.core.ledger import Ledger
from fairlead.core.lineage import Lineage, Step
from fairlead.core.plan import Plan
from fairlead.core.search import SearchResult
from fairlead.core.strategy import Strategy
from fairlead.core.traits import Trait, version_traits
from fairlead.explain.card import write_card
from fairlead.optimize.catalog import is_lossy
from fairlead.stores.document import dump
from fairlead.stores.golden_rows import write_golden
from fairlead.verify.report import Report, write_report


@dataclass(frozen=True)
class Evidence:
    """All that one deployment knows; `search` and `ledger` say what else was tried and why it was not taken, `strategy` how it is to be led
    into production, where anything was said. `compressed` is the ONNX file that passes of a search made, None for the converted one.
    """

    name: str
    artifact: Artifact
    conversion: Conversion
    rows: Dataset
    plan: Plan
    proof: Proof
    search: SearchResult | None = None
    ledger: Ledger | None = None
    strategy: Strategy | None = None
    compressed: Path | None = None

    @property
    def lineage(self) -> Lineage:
        """From the user's file to the registered one."""
        source = self.artifact.source
        taken = Step(
            "ingest",
            self.artifact.format.value,
            source.digest,
            source.digest,
            {"source": self.artifact.framework},
            notes=self.artifact.notes,
        )
        return Lineage(source.digest, source.files[0].name, (taken, *self.conversion.steps, *self.proof.steps))

    def traits(self, publisher: str) -> dict[str, Trait]:
        """Return what the registry's search is to know of the version, which `publisher` registers."""
        known: dict[str, Trait] = {}
        count = self.artifact.facts.get("parameter_count")
        if isinstance(count, int):
            known["parameter_count"] = float(count)
        point = None if self.search is None else self.search.point(self.proof.candidate.name)
        if point is not None and point.compressed_bytes:
            known["gzip_bytes"] = float(point.compressed_bytes)
        proof, interface = self.proof, self.conversion.interface
        return version_traits(proof.verdict, proof.candidate, self.lineage, self.plan, interface, publisher=publisher, extra=known)


def _models(evidence: Evidence, folder: Path) -> dict[str, Path]:
    """Copy the proven model's files, the ONNX file that they were made of (for export), its twin, and what came with the model."""
    sources = dict(evidence.proof.model.files)
    conversion = evidence.conversion
    if conversion.form is RuntimeForm.ONNX:
        sources.setdefault(MAIN_FILE[RuntimeForm.ONNX], evidence.compressed or conversion.path)
        if is_lossy(evidence.proof.candidate.uses):
            sources[TWIN_FILE] = conversion.path
    for name, path in evidence.artifact.attachments.items():
        sources.setdefault(name, path)
    copies = {name: folder / name for name in sources}
    for name, path in sources.items():
        shutil.copyfile(path, copies[name])
    return copies


def write_evidence(evidence: Evidence, folder: Path, *, background_rows: int) -> dict[str, Path]:
    """Write every file of the version into `folder`; at most `background_rows` of the data go with it, to be explained against."""
    folder.mkdir(mode=0o700)
    proof = evidence.proof
    files = {name: folder / name for name in ("golden.npz", "report.html", "card.md")} | _models(evidence, folder)
    documents = {
        "interface.json": evidence.conversion.interface,
        "engine.json": proof.candidate,
        "verdict.json": proof.verdict,
        "plan.json": evidence.plan,
        "lineage.json": evidence.lineage,
    }
    told = {"search.json": evidence.search, "ledger.json": evidence.ledger, "strategy.json": evidence.strategy}
    documents |= {name: value for name, value in told.items() if value is not None}
    for name, value in documents.items():
        files[name] = folder / name
        files[name].write_bytes(dump(value))
    write_golden(files["golden.npz"], proof.golden)
    background = draw_background(evidence.rows, background_rows)
    if background:
        files[BACKGROUND_FILE] = folder / BACKGROUND_FILE
        write_background(files[BACKGROUND_FILE], background)
    page = Report(evidence.name, proof.verdict, evidence.plan, evidence.lineage, evidence.search, evidence.ledger)
    write_report(page, files["report.html"])
    write_card(evidence.name, evidence.conversion.interface, proof.verdict, evidence.plan, evidence.lineage, files["card.md"])
    return files
