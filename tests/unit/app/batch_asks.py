"""What tests of batch runs share: rows in every format, rows of which some do not fit, and how to ask."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from fairlead.app.batch import BatchRequest, run_batch
from fairlead.app.load import open_model

ROWS = np.random.default_rng(4).normal(size=(500, 4)).astype(np.float32)
IDS = [f"r{number}" for number in range(500)]


class Quiet:
    """Watches nothing, but counts."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, float]] = []
        self.said: list[str] = []

    def step(self, text):
        pass

    def done(self, text):
        self.said.append(text)

    def advance(self, rows, fraction):
        self.seen.append((rows, fraction))


def table(rows=ROWS, ids=IDS) -> pa.Table:
    return pa.table({"id": ids} | {f"c{place}": rows[:, place] for place in range(4)})


def ask(house, folder, source="rows.parquet", output="out.parquet", reference="pets", **said):
    request = BatchRequest(reference, folder / source, folder / output, **said)
    return run_batch(request, house, Quiet())


def wanted(house, rows=ROWS, reference="pets"):
    with open_model(reference, house) as model:
        return model.predict_labels(rows).tolist(), model.predict(rows)


def check(found: dict, house, ids=IDS, rows=ROWS) -> None:
    labels, scores = wanted(house, rows)
    assert found["prediction"] == labels
    for place, label in enumerate(("cat", "dog", "owl")):
        np.testing.assert_allclose(np.asarray(found[f"score_{label}"], np.float32), scores[:, place], rtol=1e-5)
    if ids is not None:
        assert found["id"] == ids


def write_source(tmp_path):
    """The rows as every format that is read."""
    pa_parquet.write_table(table(), tmp_path / "rows.parquet", row_group_size=70)
    pa_csv.write_csv(table(), tmp_path / "rows.csv")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table().to_pylist()))
    np.savez_compressed(tmp_path / "rows.npz", x=ROWS, id=np.array(IDS))
    np.save(tmp_path / "rows.npy", ROWS)
    return tmp_path


def write_spoiled(tmp_path):
    """Rows 5, 77 and 499 do not fit: text in a number's place, a field too many, infinity."""
    lines = ["id,c0,c1,c2,c3"] + [f"r{number},{','.join(str(value) for value in row)}" for number, row in enumerate(ROWS)]
    lines[1 + 5] = "r5,1,two,3,4"
    lines[1 + 77] = "r77,1,2,3,4,5"
    lines[1 + 499] = "r499,1,2,inf,4"
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    return tmp_path
