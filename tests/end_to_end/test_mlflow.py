"""MLflow both ways, with the real thing: its folders in, its server, its loader and its scoring server out."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from fairlead.app.api import _Silence
from fairlead.app.catalogue import export, show
from fairlead.app.deploy import DeployRequest, deploy
from fairlead.app.load import open_model
from fairlead.app.mlflow_source import fetch_mlflow
from fairlead.app.publish import PublishRequest, publish
from fairlead.app.wiring import build_house
from fairlead.errors import EnvironmentalError, NotFoundError, SpecError, UnsupportedError

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
pytest.importorskip("mlflow")
if importlib.util.find_spec("sqlalchemy") is None:
    pytest.skip("needs the whole of MLflow: its server keeps its records by SQLAlchemy", allow_module_level=True)
sklearn = pytest.importorskip("sklearn")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


COLUMNS = ["age", "height", "weight"]
NAMES = ("no", "yes")


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def start(app, folder, port, variables):
    """Start a server of MLflow's in a process group of its own, as its command line does in the end, and without that one's two imports."""
    command = [sys.executable, "-m", "uvicorn", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", app]
    with (folder / "log.txt").open("wb") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=os.environ | variables, start_new_session=True)


def wait_for(process, url, folder):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    pytest.fail((folder / "log.txt").read_text()[-2000:])


def stop(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=20)


@pytest.fixture(scope="module")
def server(tmp_path_factory, estimator):
    """MLflow's own tracking server on SQLite; it starts while the model is trained and MLflow is imported here."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    variables = {
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder}/mlflow.db",
        "_MLFLOW_SERVER_REGISTRY_STORE": f"sqlite:///{folder}/mlflow.db",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "artifacts"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    process = start("mlflow.server.fastapi_app:app", folder, port, variables)
    try:
        import mlflow.sklearn  # noqa: F401

        wait_for(process, f"http://127.0.0.1:{port}/health", folder)
        yield f"http://127.0.0.1:{port}"
    finally:
        stop(process)


@pytest.fixture(scope="module")
def estimator():
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = frame(200)
    answers = np.asarray(NAMES)[(rows["age"] + rows["weight"] > 0).astype(int)]
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, answers)


def frame(count):
    import pandas as pd

    return pd.DataFrame(np.random.default_rng(count).normal(size=(count, 3)), columns=COLUMNS)


@pytest.fixture(scope="module")
def logged(server, estimator):
    """The model as a user logs and registers it: run id and registered name."""
    import mlflow
    from mlflow.models import infer_signature

    mlflow.set_tracking_uri(server)
    with mlflow.start_run() as run:
        mlflow.sklearn.log_model(
            estimator,
            name="model",
            signature=infer_signature(frame(5), estimator.predict(frame(5))),
            input_example=frame(5),
            registered_model_name="churn",
            metadata={"team": "risk"},
            serialization_format="skops",
            pip_requirements=["scikit-learn", "skops"],  # MLflow finds them out in a process of its own otherwise
        )
    mlflow.MlflowClient().set_registered_model_alias("churn", "champion", "1")
    return run.info.run_id


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:  # a house of a whole module is built before the environment of a test is set
        patch.setenv("FAIRLEAD_ENGINES", "onnxruntime")
        return build_house(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def deployed(server, logged, house):
    request = DeployRequest(Path("models:/churn@champion"), "churn", tracking_uri=server)
    return deploy(request, house, _Silence()).version


@pytest.fixture(scope="module")
def exported(deployed, house, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "churn"
    export(deployed.label, "mlflow", folder, house)
    return folder


@pytest.fixture(scope="module")
def scoring(exported, tmp_path_factory):
    """MLflow's own scoring server on the exported folder: starts at once, is waited for by the test that asks it."""
    folder, port = tmp_path_factory.mktemp("scoring"), free_port()
    process = start("mlflow.pyfunc.scoring_server.app:app", folder, port, {"__pyfunc_model_path__": str(exported)})
    yield process, f"http://127.0.0.1:{port}", folder
    stop(process)


def test_a_registered_model_is_deployed_by_its_alias_on_its_own_example(deployed, house, server, logged):
    view = show(deployed.label, house)
    assert view.verdict.is_green
    assert view.interface.inputs[0].columns == tuple(COLUMNS)
    assert "own input example, 5 rows" in view.verdict.data_description
    notes = " ".join(note for step in view.lineage.steps for note in step.notes)
    assert f"from models:/churn@champion at {server}" in notes
    assert f"MLflow version churn/1 of run {logged}" in notes


def test_every_kind_of_uri_gives_the_same_folder(server, logged, deployed, tmp_path):
    from mlflow import MlflowClient

    (output,) = MlflowClient(server).get_run(logged).outputs.model_outputs
    uris = ["models:/churn/1", "models:/churn/latest", f"runs:/{logged}/model", f"models:/{output.model_id}"]
    texts = {(fetch_mlflow(uri, tmp_path / str(at), tracking_uri=server).folder / "MLmodel").read_bytes() for at, uri in enumerate(uris)}
    assert len(texts) == 1


@pytest.mark.parametrize("uri", ["models:/nobody/1", "models:/churn/99", "models:/churn@nobody", f"runs:/{'0' * 32}/model"])
def test_what_the_server_does_not_have_is_said(uri, server, logged, tmp_path):
    with pytest.raises(NotFoundError):
        fetch_mlflow(uri, tmp_path / "to", tracking_uri=server)


def test_a_server_that_is_away_is_said(tmp_path):
    with pytest.raises(EnvironmentalError, match="does not answer"):
        fetch_mlflow("models:/churn/1", tmp_path / "to", tracking_uri=f"http://127.0.0.1:{free_port()}")


def test_no_server_at_all_is_said(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(SpecError, match="Which tracking server"):
        fetch_mlflow("models:/churn/1", tmp_path / "to")


def test_mlflow_loads_the_exported_folder_and_answers_as_the_version(exported, deployed, house):
    import mlflow
    import onnx

    rows = frame(20)
    with open_model(deployed.label, house) as model:
        expected = model.predict_all(rows)
    answers = mlflow.pyfunc.load_model(str(exported)).predict(rows[["weight", "age", "height"]])
    assert list(answers["label"]) == list(expected["label"])
    assert np.array_equal(answers[[f"probabilities_{name}" for name in NAMES]].to_numpy(), expected["probabilities"])
    onnx.checker.check_model(mlflow.onnx.load_model(str(exported)))


def test_the_exported_folder_says_what_was_proven_and_keeps_what_the_source_said(exported, deployed, logged):
    from mlflow.models import Model

    model = Model.load(str(exported))
    assert model.run_id == logged
    assert model.metadata["team"] == "risk"
    evidence = model.metadata["fairlead"]
    assert (evidence["version"], evidence["digest"], evidence["verdict"]) == (deployed.label, deployed.digest, "green")
    assert "sklearn" in evidence["source"]["flavors"]
    assert [column.name for column in model.signature.inputs.inputs] == COLUMNS
    assert model.load_input_example(str(exported)).shape == (4, 3)


def test_the_same_version_is_exported_to_the_same_bytes(exported, deployed, house, tmp_path):
    export(deployed.label, "mlflow", tmp_path / "again", house)
    for path in sorted(exported.iterdir()):
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.usefixtures("scoring")  # which starts meanwhile
def test_publishing_twice_adds_one_version_with_evidence_and_the_round_trip_holds(server, deployed, house, tmp_path):
    from mlflow import MlflowClient

    request = PublishRequest(server, "churn-proven", "champion")
    first, second = publish(deployed.label, request, house), publish(deployed.label, request, house)
    assert (first.is_new, second.is_new, second.version) == (True, False, first.version)
    client = MlflowClient(server)
    found = client.get_model_version_by_alias("churn-proven", "champion")
    assert found.tags["fairlead.digest"] == deployed.digest
    assert found.tags["fairlead.verdict"] == "green"
    assert {item.path for item in client.list_artifacts(first.run_id, "evidence")} >= {"evidence/verdict.json", "evidence/report.html"}
    again = deploy(DeployRequest(Path("models:/churn-proven@champion"), "again", tracking_uri=server), house, _Silence()).version
    rows = frame(10)
    with open_model(deployed.label, house) as one, open_model(again.label, house) as two:
        assert list(one.predict(rows)) == list(two.predict_all(rows)["label"])
    export(again.label, "mlflow", tmp_path / "out", house)


def test_a_version_without_onnx_is_refused_by_name(deployed, house, tmp_path):
    from fairlead.ship.stage import ship
    from fairlead.stores.version_files import materialize

    files = dict(materialize(deployed, house.blobs, house.loaded))
    files.pop("model.onnx")
    with pytest.raises(UnsupportedError, match="no ONNX form"):
        ship(deployed, files, tmp_path / "out", layout="mlflow")


def test_mlflows_scoring_server_gives_the_same_answers(scoring, exported, deployed, house):
    process, url, folder = scoring
    wait_for(process, f"{url}/ping", folder)
    body = (exported / "serving_input_example.json").read_bytes()
    asked = urllib.request.Request(f"{url}/invocations", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        predictions = json.load(answer)["predictions"]
    with open_model(deployed.label, house) as model:
        golden = model.golden
    assert [row["label"] for row in predictions] == list(golden.outputs["label"])
    got = [[row[f"probabilities_{name}"] for name in NAMES] for row in predictions]
    assert np.allclose(got, golden.outputs["probabilities"], rtol=0, atol=1e-12)
