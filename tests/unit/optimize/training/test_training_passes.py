"""The passes that train, on real digits: each has its effect, keeps the answers, and writes what PyTorch and ONNX Runtime agree on."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

pytest.importorskip("torch", reason="the extra 'torch' is not installed")

from fairlead.core.dataset import Dataset
from fairlead.core.interface import Interface
from fairlead.core.pass_use import PassUse
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine
from fairlead.errors import DataError, SpecError, UnsupportedError
from fairlead.optimize.catalog import PASSES, complete_settings, traits_of
from fairlead.optimize.job import PassJob, PassResult

Digits = tuple[Dataset, Dataset]
NAMES = ("prune_structured", "prune_magnitude", "cluster_weights", "train_int8", "distill_network")
FAST = {"epochs": 6}


class Bench:
    """Runs passes on trained networks."""

    def __init__(self, trained: Callable[[str], Path], digits: Digits, interface: Interface, folder: Path) -> None:
        self.trained, self.digits, self.interface, self.folder = trained, digits, interface, folder

    def job(self, name: str, model: str = "dense", **settings: Any) -> PassJob:
        complete = complete_settings(PassUse(name, {**FAST, **settings}))
        return PassJob(self.trained(model), self.folder / f"{name}.onnx", complete, training=self.digits[0], interface=self.interface)

    def run(self, job: PassJob) -> PassResult:
        name = job.destination.stem
        result: PassResult = PASSES.load(name)(job)
        return result

    def accuracy(self, path: Path) -> float:
        answers = OnnxRuntimeEngine(path, self.interface).run(self.digits[1].inputs)["y"]
        return float((answers.argmax(-1) == self.digits[1].target).mean())


@pytest.fixture
def bench(trained: Callable[[str], Path], digits: Digits, interface: Interface, tmp_path: Path) -> Bench:
    return Bench(trained, digits, interface, tmp_path)


def weights(path: Path) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


def packed(path: Path) -> int:
    return len(gzip.compress(path.read_bytes(), 9))


@pytest.mark.parametrize("name", NAMES)
def test_a_pass_that_trains_keeps_the_answers(name: str, bench: Bench) -> None:
    job = bench.job(name)
    result = bench.run(job)
    assert bench.accuracy(job.destination) >= bench.accuracy(job.source) - 0.04
    assert any("epochs on" in note for note in result.notes)
    assert packed(job.destination) < 0.75 * packed(job.source)
    assert job.source.read_bytes() == bench.trained("dense").read_bytes()


@pytest.mark.parametrize("name", ["prune_structured", "train_int8"])
@pytest.mark.slow
def test_convolutions_with_normalization_are_trained_too(name: str, bench: Bench) -> None:
    job = bench.job(name, "convolutional")
    bench.run(job)
    assert bench.accuracy(job.destination) >= bench.accuracy(job.source) - 0.03
    assert job.destination.stat().st_size < 0.6 * job.source.stat().st_size


def test_pruned_units_are_gone_from_the_file(bench: Bench) -> None:
    job = bench.job("prune_structured", ratio=0.75)
    result = bench.run(job)
    assert weights(job.destination)["w1"].shape == (64, 8)
    assert weights(job.destination)["w2"].shape == (8, 10)
    assert "32 became 8" in result.notes[0]


def test_so_many_weights_are_zero_as_was_asked_and_it_is_said_what_that_brings(bench: Bench) -> None:
    job = bench.job("prune_magnitude", sparsity=0.9)
    result = bench.run(job)
    matrices = [weights(job.destination)[name] for name in ("w1", "w2")]
    zeros = sum(int((matrix == 0).sum()) for matrix in matrices) / sum(matrix.size for matrix in matrices)
    assert zeros == pytest.approx(0.9, abs=0.002)
    assert job.destination.stat().st_size == pytest.approx(job.source.stat().st_size, rel=0.05)
    assert any("neither the file itself" in note for note in result.notes)


def test_shared_weights_take_half_a_byte_each(bench: Bench) -> None:
    job = bench.job("cluster_weights", k=16)
    bench.run(job)
    stored = weights(job.destination)
    assert len(stored["w1_values"]) <= 16
    assert stored["w1_numbers"].nbytes == 64 * 32 / 2
    assert "w1" not in stored


def test_int8_weights_use_seven_bits_and_products_read_rounded_values(bench: Bench) -> None:
    job = bench.job("train_int8")
    bench.run(job)
    whole = [values for values in weights(job.destination).values() if values.dtype == np.int8 and values.ndim == 2]
    assert len(whole) == 2
    assert max(int(np.abs(values).max()) for values in whole) == 63
    assert sum(node.op_type == "QuantizeLinear" for node in onnx.load(job.destination).graph.node) >= 3


def test_a_dense_student_learns_from_a_model_that_training_does_not_know(bench: Bench, tmp_path: Path) -> None:
    """The teacher has an operator without a rule; the rows have no answers."""
    model = onnx.load(bench.trained("dense"))
    model.graph.node[0].input[0] = "hashed"
    model.graph.node.insert(0, onnx.helper.make_node("CumSum", ["x", "axis"], ["sums"]))
    model.graph.node.insert(1, onnx.helper.make_node("Sub", ["sums", "sums"], ["nothing"]))
    model.graph.node.insert(2, onnx.helper.make_node("Add", ["x", "nothing"], ["hashed"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array(1), "axis"))
    onnx.save(model, tmp_path / "teacher.onnx")
    unlabelled = replace(bench.digits[0], target=None)
    job = replace(bench.job("distill_network", student="dense", epochs=12), source=tmp_path / "teacher.onnx", training=unlabelled)
    result = bench.run(job)
    assert bench.accuracy(job.destination) >= bench.accuracy(bench.trained("dense")) - 0.06
    assert any("no right ones" in note for note in result.notes)


def test_fresh_weights_learn_from_the_teacher(bench: Bench) -> None:
    job = bench.job("distill_network", start="fresh", epochs=12)
    bench.run(job)
    assert bench.accuracy(job.destination) >= bench.accuracy(job.source) - 0.05


@pytest.mark.parametrize("name", NAMES)
def test_the_same_job_gives_the_same_bytes_and_another_seed_others(name: str, bench: Bench) -> None:
    written = []
    for seed in (0, 0, 1):
        job = replace(bench.job(name, epochs=2), seed=seed)
        bench.run(job)
        written.append(job.destination.read_bytes())
    assert written[0] == written[1] != written[2]


@pytest.mark.parametrize("name", NAMES)
def test_what_needs_training_says_so(name: str, bench: Bench) -> None:
    assert traits_of(name).needs_training
    with pytest.raises(UnsupportedError, match="no rows to train on"):
        bench.run(replace(bench.job(name), training=None))


def test_a_little_time_is_enough_for_a_result_and_that_is_said(bench: Bench) -> None:
    job = replace(bench.job("prune_structured", epochs=5000), time_s=1.5)
    result = bench.run(job)
    assert job.destination.exists()
    assert any("time limit" in note for note in result.notes)


def test_rows_without_numbers_are_refused_with_their_place(bench: Bench) -> None:
    inputs = bench.digits[0].inputs["x"].copy()
    inputs[7, 3] = np.nan
    with pytest.raises(DataError, match="row 7"):
        bench.run(replace(bench.job("prune_structured"), training=replace(bench.digits[0], inputs={"x": inputs})))


def test_training_that_diverges_is_said(bench: Bench) -> None:
    """Answers that no step can reach: each one is beyond what float32 can square."""
    job = bench.job("prune_magnitude")
    model = onnx.load(job.source)
    del model.graph.node[-1]
    model.graph.node[-1].output[0] = "y"
    onnx.save(model, bench.folder / "logits.onnx")
    absurd = Dataset(bench.digits[0].inputs, np.full((1400, 10), 1e30))
    with pytest.raises(DataError, match="diverges"):
        bench.run(replace(job, source=bench.folder / "logits.onnx", training=absurd, interface=None))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("prune_structured", {"ratio": 1.0}),
        ("prune_structured", {"importance": "luck"}),
        ("prune_magnitude", {"sparsity": -0.1}),
        ("cluster_weights", {"k": 1}),
        ("train_int8", {"weight_bits": 8}),
        ("distill_network", {"student": "none"}),
        ("distill_network", {"teacher": 2.0}),
        ("prune_magnitude", {"epochs": 0}),
    ],
)
def test_settings_without_a_meaning_are_refused(name: str, settings: dict[str, Any], bench: Bench) -> None:
    with pytest.raises(SpecError):
        bench.run(bench.job(name, **settings))


def test_a_model_without_units_to_cut_is_refused(bench: Bench, networks: Any) -> None:
    model = networks.build([("Gemm", ["x", "w"], ["y"], {})], {"w": (64, 10)}, [None, 64], 10)
    onnx.save(model, bench.folder / "linear.onnx")
    with pytest.raises(UnsupportedError, match="no filters or neurons"):
        bench.run(replace(bench.job("prune_structured"), source=bench.folder / "linear.onnx"))
