"""Bad input through the front door: one clear error that says what to do, the right status, nothing half-written, no code run."""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from fairlead.app.wiring import WORK
from fairlead.cli.main import run

BAD_INPUT, USAGE, NOT_FOUND, UNSAFE, ENVIRONMENT, STORAGE = 3, 2, 5, 7, 8, 9


def refusal(capsys: pytest.CaptureFixture[str], home: Path, *arguments: str) -> tuple[int, str]:
    """Run a command that must fail; return its status and the error, which must be one error with a hint and leave nothing behind."""
    capsys.readouterr()
    status = run(list(arguments))
    said = capsys.readouterr().err
    assert said.count("error: ") == 1, said
    assert "Traceback" not in said
    assert "defect" not in said, said
    assert not list((home / WORK).glob("*")), "work in progress was left behind"
    capsys.readouterr()
    assert run(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [], "something was registered"
    return status, said


def lambda_config(canary: Path) -> dict[str, object]:
    """Return the config of a Sequential model that holds a Lambda layer, as Keras 3 writes it."""
    code = {"class_name": "__lambda__", "config": {"code": f"open({str(canary)!r}, 'w')", "defaults": None, "closure": None}}
    layers = [
        {"module": "keras.layers", "class_name": "InputLayer", "config": {"batch_shape": [None, 3], "dtype": "float32", "name": "x"}},
        {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "boom", "function": code}, "registered_name": None},
    ]
    return {"module": "keras", "class_name": "Sequential", "config": {"name": "m", "layers": layers}, "registered_name": None}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.h5", b"", "empty"),
        ("text.h5", b"these are words\n" * 50, "text.h5"),
        ("model.onnx", b"\x89HDF\r\n\x1a\n" + bytes(600), "model.onnx"),
        ("model.keras", b"PK\x05\x06" + bytes(18), "model.keras"),
        ("model.xyz", b"something", "model.xyz"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(
    name: str, content: bytes, said: str, tmp_path: Path, fairlead_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    status, error = refusal(capsys, fairlead_home, "deploy", str(path))
    assert status == BAD_INPUT
    assert said in error


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path, fairlead_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(capsys, fairlead_home, "deploy", str(tmp_path / "nothing.h5"))[0] == BAD_INPUT
    (tmp_path / "folder.h5").mkdir()
    assert refusal(capsys, fairlead_home, "deploy", str(tmp_path / "folder.h5"))[0] == BAD_INPUT


@pytest.mark.parametrize("length", [100, 2_000, 1_000_000, 4_000_000])
def test_a_truncated_file_is_refused(digits_here: Path, length: int, fairlead_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut = digits_here / "cut.h5"
    cut.write_bytes((digits_here / "model.h5").read_bytes()[:length])
    status, _ = refusal(capsys, fairlead_home, "deploy", "cut.h5", "--data", "digits.npz")
    assert status in (BAD_INPUT, ENVIRONMENT)


def test_a_lambda_layer_in_an_h5_file_is_refused_and_never_run(
    tmp_path: Path, fairlead_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    canary, path = tmp_path / "canary", tmp_path / "lambda.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(lambda_config(canary))
        file.attrs["keras_version"] = "3.15.1"
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = np.array([b"boom"])
        weights.create_group("boom").attrs["weight_names"] = np.array([])
    status, error = refusal(capsys, fairlead_home, "deploy", str(path))
    assert (status, canary.exists()) == (UNSAFE, False)
    assert "Lambda" in error
    assert run(["inspect", str(path)]) == UNSAFE


def test_a_lambda_layer_in_a_keras_file_is_refused_and_never_run(
    tmp_path: Path, fairlead_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    canary, path, weights = tmp_path / "canary", tmp_path / "lambda.keras", tmp_path / "model.weights.h5"
    with h5py.File(weights, "w") as file:
        file.create_group("layers")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(lambda_config(canary)))
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1", "date_saved": "2026-11-22@00:00:00"}))
        archive.write(weights, "model.weights.h5")
    status, error = refusal(capsys, fairlead_home, "deploy", str(path))
    assert (status, canary.exists()) == (UNSAFE, False)
    assert "Lambda" in error


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.canary}",)


def test_a_pickle_with_a_command_is_refused_and_never_run(tmp_path: Path, fairlead_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    canary, path = tmp_path / "canary", tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(Bomb(canary)))
    status, error = refusal(capsys, fairlead_home, "deploy", str(path))
    assert (status, canary.exists()) == (UNSAFE, False)
    assert "system" in error
    pickle.loads(path.read_bytes())  # positive control: the file is live
    assert canary.exists()


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": np.zeros((5, 28, 27, 1), np.float32), "y": np.zeros(5, np.int64)}, "28, 27"),
        ({"x": np.zeros((5, 28, 28, 1), np.float32), "y": np.zeros(4, np.int64)}, "4"),
        ({"x": np.full((5, 28, 28, 1), np.nan, np.float32), "y": np.zeros(5, np.int64)}, "NaN"),
        ({"x": np.zeros((5, 28, 28, 1), np.float32), "y": np.full(5, 11)}, "11"),
        ({"x": np.array([["a"] * 784] * 5).reshape(5, 28, 28, 1), "y": np.zeros(5, np.int64)}, "x"),
        ({"pixels": np.zeros((5, 3)), "more": np.zeros(5)}, "pixels"),
    ],
    ids=["shape", "rows", "NaN", "labels", "text", "names"],
)
def test_data_that_does_not_fit_is_refused_with_the_array_named(
    digits_here: Path, arrays: dict[str, np.ndarray], said: str, fairlead_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(digits_here / "bad.npz", **arrays)
    status, error = refusal(capsys, fairlead_home, "deploy", "model.h5", "--data", "bad.npz", "--require", "accuracy>=0.5")
    assert status == BAD_INPUT
    assert said in error


@pytest.mark.parametrize(
    "requirement", ["acuracy>=0.9", "accuracy=0.9", "accuracy<=0.9", "p99_ms<=0", "p99_ms<=-1", "accuracy>=2", "no:such"]
)
def test_a_requirement_without_meaning_is_refused(
    requirement: str, fairlead_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal(capsys, fairlead_home, "deploy", str(tmp_path / "model.h5"), "--require", requirement)[0] == USAGE


def test_unknown_names_versions_and_commands_are_refused(fairlead_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["show", "nothing"], ["rollback", "nothing"], ["serve", "nothing"], ["promote", "nothing:1"], ["show", "nothing:7"]):
        assert refusal(capsys, fairlead_home, *arguments)[0] == NOT_FOUND
    for arguments in (["show", "../etc"], ["promote", "digits"], ["show", "digits:x"], ["serve", "Digits"]):
        assert refusal(capsys, fairlead_home, *arguments)[0] == USAGE


def test_a_port_in_use_is_said(fairlead_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        status, error = refusal(capsys, fairlead_home, "serve", "--port", str(taken.getsockname()[1]))
    assert status == ENVIRONMENT
    assert "in use" in error


def test_an_address_that_others_reach_is_refused_until_it_is_meant(fairlead_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, error = refusal(capsys, fairlead_home, "serve", "--host", "0.0.0.0")
    assert status == USAGE
    assert "--unsafe-expose" in error


def test_a_full_disk_is_said_and_leaves_nothing(digits_here: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        command = [sys.executable, "-m", "fairlead", "deploy", "model.h5", "--data", "digits.npz", "--home", str(disk)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == STORAGE, done.stderr
        assert "No space" in done.stderr
        assert not list((disk / WORK).glob("*"))
    finally:
        subprocess.run(["umount", disk], check=True)
