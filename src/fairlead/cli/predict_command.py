"""`fairlead predict`: ask a registered model in this process."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import click
import numpy as np

from fairlead.app.load import Model, open_model
from fairlead.app.wiring import build_house
from fairlead.cli.printing import emit_json, home_option, json_option
from fairlead.core.deciding import labelled, undecided
from fairlead.core.interface import Array, Tensors


@click.command()
@click.argument("version")
@click.option("--input", "source", type=click.Path(path_type=Path), required=True, help="Rows: .csv, .parquet, .npz, .npy or .json.")
@click.option("--output", type=click.Path(path_type=Path), help="Write the answers here (CSV) instead of printing them.")
@home_option
@json_option
def predict(version: str, source: Path, output: Path | None, home: str | None, *, as_json: bool) -> None:
    """Ask VERSION (digits, digits:3 or digits@production) for every row of a file, without a server.

    \b
    Examples:
      fairlead predict digits --input rows.csv
      fairlead predict digits:2 --input rows.npz --json
    """
    with open_model(version, build_house(home)) as model:
        _, outputs = model.predict_file(source)
        missing = undecided(model.interface, outputs)
        if missing.any():
            click.echo(f"{int(missing.sum())} of {len(missing)} rows have no decision: the model's scores are NaN there.", err=True)
        if as_json:
            labels = labelled(model.interface, outputs).tolist()
            emit_json(
                {"version": model.version.label, "predictions": labels, "outputs": {name: out.tolist() for name, out in outputs.items()}}
            )
            return
        text = _as_csv(model, outputs)
    if output is None:
        click.echo(text, nl=False)
        return
    output.write_text(text)
    click.echo(f"{output}: {text.count(chr(10)) - 1} rows", err=True)


def _as_csv(model: Model, outputs: Tensors) -> str:
    """Return a line per row: the decision (empty where there is none), and the score of each class where there are scores."""
    decided = labelled(model.interface, outputs)
    scores = _scores(model, outputs)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    labels = model.interface.labels or tuple(range(scores.shape[1] if scores is not None else 0))
    writer.writerow(["prediction", *([f"score_{label}" for label in labels] if scores is not None else [])])
    for row, decision in enumerate(decided):
        plain = decision.tolist() if isinstance(decision, np.ndarray) else decision
        writer.writerow([plain, *([f"{score:.6g}" for score in scores[row]] if scores is not None else [])])
    return buffer.getvalue()


def _scores(model: Model, outputs: Tensors) -> Array | None:
    rule = model.interface.decision
    name = "" if rule is None else rule.scores
    return outputs[name] if name and outputs[name].ndim == 2 else None
