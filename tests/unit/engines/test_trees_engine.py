"""The engine of compiled trees: outputs by name, batches, threads, and models that do not belong to their interface."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_trees import Shape, classifier, draw_rows, draw_trees, regressor

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.tree_ensemble import Transform, TreeEnsemble
from fairlead.engines.tree_ensemble_engine import TreeEnsembleEngine
from fairlead.engines.tree_ensemble_file import write_tree_ensemble
from fairlead.errors import CorruptError, EnvironmentalError, RequestError, SourceError, UnavailableError

if shutil.which("cc") is None:
    pytest.skip("there is no C compiler", allow_module_level=True)

from fairlead.engines import trees_engine
from fairlead.engines.trees_engine import TreesEngine


def opened(folder: Path, trees: TreeEnsemble, interface: Interface, thread_count: int = 1) -> TreesEngine:
    write_tree_ensemble(folder / "model.trees", trees)
    return TreesEngine(folder / "model.trees", interface, thread_count=thread_count)


def same(trees: TreeEnsemble, interface: Interface, engine: TreesEngine, rows: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        wanted = TreeEnsembleEngine(trees, interface).run({"x": rows})
    found = engine.run({"x": rows})
    assert list(found) == list(wanted)
    for name, tensor in wanted.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        if tensor.dtype.kind == "f":
            np.testing.assert_array_max_ulp(found[name], tensor, maxulp=4)
        else:
            assert found[name].tolist() == tensor.tolist()


@pytest.mark.parametrize("transform", list(Transform))
@pytest.mark.parametrize("outputs", [1, 3])
def test_every_output_is_the_references(transform: Transform, outputs: int, tmp_path: Path) -> None:
    trees = draw_trees(1, Shape(outputs=outputs, more={"transform": transform}))
    names = (None, ("no", "yes") if outputs == 1 else ("a", "b", "c"), (7, 5) if outputs == 1 else (7, 5, 3), ())
    for interface in (regressor(trees), *(classifier(trees, labels) for labels in names)):
        same(trees, interface, opened(tmp_path, trees, interface), draw_rows(2, trees, 40))


@pytest.mark.parametrize("dtype", [DType.FP32, DType.FP64])
def test_rows_and_answers_may_be_of_the_interfaces_own_types(dtype: DType, tmp_path: Path) -> None:
    trees = draw_trees(3, Shape(sums=DType.FP64, more={"transform": Transform.SIGMOID}))
    interface = classifier(trees)
    outputs = (replace(interface.outputs[0], dtype=DType.INT32), replace(interface.outputs[1], dtype=dtype))
    interface = replace(interface, inputs=(replace(interface.inputs[0], dtype=dtype),), outputs=outputs)
    same(trees, interface, opened(tmp_path, trees, interface), draw_rows(4, trees, 40, dtype))
    numbers = replace(interface, inputs=(replace(interface.inputs[0], dtype=DType.INT64),))
    same(trees, numbers, opened(tmp_path, trees, numbers), np.arange(-20, 20).reshape(10, 4))


def test_two_threads_give_the_bits_that_one_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees_engine, "_PIECE_ROWS", 128)
    trees = draw_trees(5, Shape(trees=120, depth=6))
    one, two = (opened(tmp_path, trees, regressor(trees), count) for count in (1, 3))
    handed_on: list[object] = []
    assert two._pool is not None
    submit = two._pool.submit
    monkeypatch.setattr(two._pool, "submit", lambda *given: (handed_on.append(given), submit(*given))[1])
    for count in (1, 63, 127, 128, 129, 1000):
        rows = draw_rows(count, trees, count)
        assert two.run({"x": rows})["prediction"].tobytes() == one.run({"x": rows})["prediction"].tobytes()
    assert len(handed_on) >= 7
    two.close()


def test_calls_from_many_threads_get_what_one_gets(tmp_path: Path) -> None:
    trees = draw_trees(6, Shape(trees=60, depth=6))
    engine = opened(tmp_path, trees, regressor(trees), 2)
    asked = [{"x": draw_rows(number, trees, 1 + 37 * number)} for number in range(6)]
    wanted = [engine.run(rows)["prediction"].tobytes() for rows in asked]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda number: engine.run(asked[number % 6])["prediction"].tobytes() == wanted[number % 6], range(120)))
    assert all(found)
    engine.close()


def test_a_closed_engine_says_so_and_ends_its_threads(tmp_path: Path) -> None:
    trees = draw_trees(6, Shape(trees=200, depth=6))
    engine = opened(tmp_path, trees, regressor(trees), 2)
    rows = {"x": draw_rows(1, trees, 5000)}
    engine.run(rows)
    engine.close()
    engine.close()
    with pytest.raises(UnavailableError):
        engine.run(rows)
    assert not engine._pool._threads or not any(thread.join(10) or thread.is_alive() for thread in engine._pool._threads)


@pytest.mark.parametrize("wrong", ["features", "inputs", "rank", "texts", "outputs", "labels"])
def test_an_interface_of_another_model_is_refused(wrong: str, tmp_path: Path) -> None:
    trees = draw_trees(7)
    interface = classifier(trees)
    spec = interface.inputs[0]
    changed = {
        "features": replace(interface, inputs=(replace(spec, shape=(None, 5)),)),
        "inputs": replace(interface, inputs=(spec, spec)),
        "rank": replace(interface, inputs=(replace(spec, shape=(None,)),)),
        "texts": replace(interface, inputs=(replace(spec, dtype=DType.BYTES),)),
        "outputs": replace(interface, outputs=(TensorSpec("y", DType.FP32, (None, 1)),)),
        "labels": replace(interface, labels=(0, 1, 2)),
    }
    with pytest.raises(SourceError):
        opened(tmp_path, trees, changed[wrong])


def test_a_free_number_of_features_is_refused_since_the_kernel_trusts_it(tmp_path: Path) -> None:
    interface = classifier(trees := draw_trees(7))
    with pytest.raises(SourceError):
        opened(tmp_path, trees, replace(interface, inputs=(replace(interface.inputs[0], shape=(None, None)),)))


@pytest.mark.parametrize("damage", ["cut", "short", "magic", "index"])
def test_a_damaged_file_never_reaches_the_kernel(damage: str, tmp_path: Path) -> None:
    interface = classifier(trees := draw_trees(8))
    write_tree_ensemble(tmp_path / "model.trees", trees)
    data = (tmp_path / "model.trees").read_bytes()
    lefts = trees.left.tobytes()
    changed = {
        "cut": data[:40],
        "short": data[:-1],
        "magic": b"X" + data[1:],
        "index": data.replace(lefts, np.where(trees.left > 0, trees.left + 10**6, 0).astype(np.int32).tobytes()),
    }
    assert changed[damage] != data
    (tmp_path / "model.trees").write_bytes(changed[damage])
    with pytest.raises(CorruptError):
        TreesEngine(tmp_path / "model.trees", interface)


def test_rows_of_another_width_never_reach_the_kernel(tmp_path: Path) -> None:
    interface = classifier(trees := draw_trees(8))
    engine = opened(tmp_path, trees, interface)
    for rows in (np.zeros((2, 3), "f4"), np.zeros((2, 5), "f4"), np.zeros(4, "f4"), np.zeros((0, 4), "f4"), np.zeros((2, 4), "f8")):
        with pytest.raises(RequestError):
            engine.run({"x": rows})


def test_without_a_compiler_nothing_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise EnvironmentalError("no compiler")

    monkeypatch.setattr(trees_engine, "kernel", missing)
    with pytest.raises(EnvironmentalError):
        TreesEngine(tmp_path / "absent.trees", classifier(draw_trees(8)))
