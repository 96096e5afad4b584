"""Flags and fairlead.yaml together: flags win, paths in the file are relative to the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.app.deploy import name_from
from fairlead.app.requests import Flags, build_request
from fairlead.core.strategy import Need, RolloutKind, Scenario
from fairlead.errors import SpecError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_spec(folder: Path) -> Path:
    path = folder / "fairlead.yaml"
    path.write_text("model: net.h5\nname: from-file\ndata: {path: rows.csv, target: y}\nrequire: [accuracy>=0.5]\ntarget: {cores: 3}\n")
    return path


def test_a_file_alone_says_everything(folder: Path) -> None:
    write_spec(folder)
    request = build_request(Flags())
    assert (request.model, request.name, request.data, request.target_column) == (Path("net.h5"), "from-file", Path("rows.csv"), "y")
    assert (str(request.requirements[0]), request.target.core_count, request.alias) == ("accuracy>=0.5", 3, "production")


def test_flags_win_over_the_file(folder: Path) -> None:
    spec = write_spec(folder)
    request = build_request(Flags(spec=spec, name="flag", require=("p99_ms<=5",), cores=2, target="z", task="regression"))
    assert (request.name, [str(item) for item in request.requirements], request.target.core_count) == ("flag", ["p99_ms<=5"], 2)
    assert (request.target_column, request.task) == ("z", "regression")


def test_a_version_that_is_only_registered_moves_no_alias(folder: Path) -> None:
    write_spec(folder)
    assert build_request(Flags(is_registered_only=True)).alias == ""
    with pytest.raises(SpecError, match="which one to move"):
        build_request(Flags(is_registered_only=True, alias="staging"))


def test_paths_in_a_file_are_relative_to_the_file(folder: Path) -> None:
    inner = folder / "inner"
    inner.mkdir()
    request = build_request(Flags(spec=write_spec(inner)))
    assert (request.model, request.data) == (inner / "net.h5", inner / "rows.csv")


def test_a_model_on_the_command_line_does_not_pick_up_a_file_that_lies_around(folder: Path) -> None:
    write_spec(folder)
    request = build_request(Flags(model=Path("other.h5")))
    assert (request.name, request.requirements) == ("other", ())


def test_a_model_of_a_tracking_server_is_no_path_and_its_server_stands_in_the_file(folder: Path) -> None:
    inner = folder / "inner"
    inner.mkdir()
    spec = inner / "fairlead.yaml"
    spec.write_text("model: models:/Churn@champion\nsource: {tracking_uri: 'http://127.0.0.1:5000'}\n")
    request = build_request(Flags(spec=spec))
    assert (str(request.model), request.name, request.tracking_uri) == ("models:/Churn@champion", "churn", "http://127.0.0.1:5000")
    assert build_request(Flags(spec=spec, tracking_uri="http://127.0.0.1:6000")).tracking_uri == "http://127.0.0.1:6000"


def test_a_bound_on_cores_bounds_the_replica(folder: Path) -> None:
    assert build_request(Flags(model=Path("m.h5"), require=("cores<=2",), cores=8)).target.core_count == 2


def test_no_model_anywhere_is_an_error_that_says_both_ways(folder: Path) -> None:
    with pytest.raises(SpecError, match=r"fairlead deploy model\.h5"):
        build_request(Flags())


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("model.h5", "model"),
        ("Churn Model.joblib", "churn-model"),
        ("a/b/Net_2.keras", "net_2"),
        ("x.pkl.gz", "x"),
        ("ünïcode.onnx", "n-code"),
    ],
)
def test_a_model_without_a_name_is_called_like_its_file(path: str, name: str) -> None:
    assert name_from(Path(path)) == name


def test_a_file_name_that_gives_no_name_asks_for_one() -> None:
    with pytest.raises(SpecError, match="--name"):
        name_from(Path("数字.h5"))


def test_scenario_needs_and_load_of_the_file_make_a_strategy_and_flags_win(folder: Path) -> None:
    spec = write_spec(folder)
    assert not build_request(Flags(spec=spec)).wish.is_stated
    spec.write_text(spec.read_text() + "scenario: finance\nload: {rate_rps: 50}\nstrategy: {rollout: {kind: canary}}\n")
    wish = build_request(Flags(spec=spec)).wish
    assert (wish.scenario, wish.needs, wish.rate_rps, wish.overrides) == (Scenario.FINANCE, (), 50, {"rollout.kind": RolloutKind.CANARY})
    strategy = build_request(Flags(spec=spec, need=("edge",), rate=9.0, scenario="logistics")).wish.decide(())
    assert strategy is not None
    assert (strategy.scenario, Need.EDGE in strategy.needs) == (Scenario.LOGISTICS, True)


def test_names_of_tensors_are_said_by_flags_or_by_the_file(tmp_path):
    file = tmp_path / "fairlead.yaml"
    file.write_text("model: model.h5\nsource: {rename: {dense_3: scores}}\n")
    assert build_request(Flags(spec=file)).names == {"dense_3": "scores"}
    assert build_request(Flags(spec=file, rename=("dense_3=dense_1", "input_2=x"))).names == {"dense_3": "dense_1", "input_2": "x"}
    with pytest.raises(SpecError, match="--rename dense_3=scores"):
        build_request(Flags(spec=file, rename=("dense_3",)))
