"""Plain tf.function modules with signatures, as people write them without Keras, and some that have to be refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Array = Any
TF = Any
Save = Callable[[TF, Path], None]


@dataclass(frozen=True)
class FunctionCase:
    """`save(tf, folder)` writes the SavedModel. `draw(rows, length)` gives its inputs; none for a model that has to be refused."""

    name: str
    covers: str
    save: Save
    draw: Callable[[int, int], Mapping[str, Array]] | None
    lengths: tuple[int, ...] = (5,)
    expected: str = "right"
    options: Mapping[str, str] = field(default_factory=dict)


def _numbers(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _export(tf: TF, folder: Path, specs: list[Any], call: Callable[..., Any], **kept: Any) -> None:
    module = tf.Module()
    for name, value in kept.items():
        setattr(module, name, value)
    module.call = tf.function(call, input_signature=specs, autograph=False)
    tf.saved_model.save(module, str(folder), signatures=module.call.get_concrete_function())


def _logistic(tf: TF, folder: Path) -> None:
    weight, bias = tf.Variable(_numbers(1, 6, 3)), tf.Variable(_numbers(2, 3))
    spec = tf.TensorSpec([None, 6], tf.float32, name="features")
    _export(tf, folder, [spec], lambda x: {"probabilities": tf.nn.softmax(x @ weight + bias)}, kept=[weight, bias])


def _same_shapes(tf: TF, folder: Path) -> None:
    names = ("b", "a10", "a2", "a")
    specs = [tf.TensorSpec([None, 4], tf.float32, name=name) for name in names]
    _export(tf, folder, specs, lambda b, a10, a2, a: {"out10": a10 - 2 * b, "out2": a * a2, "out": a + 3 * b - a10 * a2})


def _gelu(tf: TF, folder: Path) -> None:
    weight = tf.Variable(_numbers(3, 5, 5))
    spec = tf.TensorSpec([None, 5], tf.float32, name="x")
    _export(tf, folder, [spec], lambda x: {"y": tf.nn.gelu(x @ weight) + tf.math.erfc(x)}, kept=weight)


def _loop(tf: TF, folder: Path) -> None:
    weight = tf.Variable(_numbers(4, 3, 3) / 2)

    def call(x: Any) -> Mapping[str, Any]:
        def body(step: Any, state: Any) -> tuple[Any, Any]:
            return step + 1, tf.tanh(state @ weight + x[:, step])

        _, state = tf.while_loop(lambda step, _: step < tf.shape(x)[1], body, (tf.constant(0), tf.zeros_like(x[:, 0])))
        return {"state": state}

    _export(tf, folder, [tf.TensorSpec([None, None, 3], tf.float32, name="x")], call, kept=weight)


def _image(tf: TF, folder: Path) -> None:
    kernel = tf.Variable(_numbers(5, 3, 3, 3, 4))

    def call(image: Any) -> Mapping[str, Any]:
        scaled = tf.image.resize(tf.cast(image, tf.float32) / 255.0, (10, 10))
        features = tf.nn.relu(tf.nn.conv2d(scaled, kernel, 2, "SAME"))
        return {"features": tf.reduce_mean(features, (1, 2)), "largest": tf.argmax(tf.reduce_max(features, (1, 2)), -1)}

    _export(tf, folder, [tf.TensorSpec([None, 16, 16, 3], tf.uint8, name="image")], call, kept=kernel)


def _embedding(tf: TF, folder: Path) -> None:
    table = tf.Variable(_numbers(6, 20, 4))

    def call(ids: Any) -> Mapping[str, Any]:
        mask = tf.cast(ids > 0, tf.float32)[..., None]
        mean = tf.math.divide_no_nan(tf.reduce_sum(tf.gather(table, ids) * mask, 1), tf.reduce_sum(mask, 1))
        return {"score": tf.sigmoid(tf.reduce_sum(mean, -1, keepdims=True))}

    _export(tf, folder, [tf.TensorSpec([None, None], tf.int64, name="ids")], call, kept=table)


def _top(tf: TF, folder: Path) -> None:
    def call(x: Any) -> Mapping[str, Any]:
        values, places = tf.math.top_k(x, 3)
        return {"values": values, "places": places, "sorted": tf.sort(x, direction="DESCENDING"), "total": tf.cumsum(x, 1)}

    _export(tf, folder, [tf.TensorSpec([None, 7], tf.float32, name="x")], call)


def _double(tf: TF, folder: Path) -> None:
    weight = tf.constant(_numbers(7, 4, 2).astype(np.float64))
    _export(tf, folder, [tf.TensorSpec([None, 4], tf.float64, name="x")], lambda x: {"y": tf.exp(-tf.abs(x)) @ weight})


def _dense(tf: TF, folder: Path) -> None:
    weights = [tf.Variable(_numbers(8 + place, *shape) / 8) for place, shape in enumerate(((64, 96), (96, 96), (96, 10)))]

    def call(x: Any) -> Mapping[str, Any]:
        for weight in weights[:-1]:
            x = tf.nn.relu(x @ weight)
        return {"probabilities": tf.nn.softmax(x @ weights[-1])}

    _export(tf, folder, [tf.TensorSpec([None, 64], tf.float32, name="x")], call, kept=weights)


def _texts(tf: TF, folder: Path) -> None:
    keys, values = tf.constant(["a", "b", "ü"]), tf.constant([3, 5, 7], tf.int64)
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), -1)
    _export(tf, folder, [tf.TensorSpec([None, 2], tf.string, name="words")], lambda words: {"ids": table.lookup(words)}, kept=table)


def _on_gpu(tf: TF, folder: Path) -> None:
    """As a model that was trained and saved on a GPU: every node is placed there."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    _logistic(tf, folder)
    path = folder / "saved_model.pb"
    model = SavedModel.FromString(path.read_bytes())
    for graph in model.meta_graphs:
        functions = graph.graph_def.library.function
        for node in (*graph.graph_def.node, *(node for function in functions for node in function.node_def)):
            node.device = "/job:localhost/replica:0/task:0/device:GPU:0"
    path.write_bytes(model.SerializeToString())


def _two_signatures(tf: TF, folder: Path) -> None:
    module = tf.Module()
    spec = tf.TensorSpec([None, 3], tf.float32, name="x")
    module.double = tf.function(lambda x: {"y": 2 * x}, input_signature=[spec])
    module.half = tf.function(lambda x: {"y": x / 2}, input_signature=[spec])
    tf.saved_model.save(module, str(folder), signatures={"double": module.double, "half": module.half})


def _counter(tf: TF, folder: Path) -> None:
    count = tf.Variable(0.0)

    def call(x: Any) -> Mapping[str, Any]:
        return {"y": x + count.assign_add(1.0)}

    _export(tf, folder, [tf.TensorSpec([None, 3], tf.float32, name="x")], call, kept=count)


def _random(tf: TF, folder: Path) -> None:
    _export(tf, folder, [tf.TensorSpec([None, 3], tf.float32, name="x")], lambda x: {"y": x + tf.random.normal(tf.shape(x))})


def _one_number(tf: TF, folder: Path) -> None:
    _export(tf, folder, [tf.TensorSpec([None, 3], tf.float32, name="x")], lambda x: {"mean": tf.reduce_mean(x)})


def _fixed_batch(tf: TF, folder: Path) -> None:
    _export(tf, folder, [tf.TensorSpec([4, 3], tf.float32, name="x")], lambda x: {"y": x * 2})


def _vocabulary_file(tf: TF, folder: Path) -> None:
    words = folder.parent / f"{folder.name}.words.txt"
    words.write_text("one\ntwo\n")
    initializer = tf.lookup.TextFileInitializer(
        str(words), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
    )
    table = tf.lookup.StaticHashTable(initializer, -1)
    _export(tf, folder, [tf.TensorSpec([None, 1], tf.string, name="words")], lambda words: {"ids": table.lookup(words)}, kept=table)


def _reads_a_file(tf: TF, folder: Path) -> None:
    spec = tf.TensorSpec([None, 1], tf.float32, name="x")
    _export(tf, folder, [spec], lambda x: {"y": x + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)})


def _rows(*shape: int | None, name: str = "x", dtype: str = "float32") -> Callable[[int, int], Mapping[str, Array]]:
    """Return how to draw one input; None is a free length."""

    def draw(rows: int, length: int) -> Mapping[str, Array]:
        sizes = (rows, *(length if size is None else size for size in shape))
        random = np.random.default_rng([rows, length])
        drawn = random.normal(size=sizes) if dtype.startswith("float") else random.integers(0, 20, sizes)
        return {name: drawn.astype(dtype)}

    return draw


def _four(rows: int, _: int) -> Mapping[str, Array]:
    return {name: _numbers(place + rows, rows, 4) for place, name in enumerate(("a", "a2", "a10", "b"))}


def _words(rows: int, _: int) -> Mapping[str, Array]:
    return {"words": np.array(["a", "b", "ü", "?"], dtype=object)[np.random.default_rng(rows).integers(0, 4, (rows, 2))]}


CASES = (
    FunctionCase("logistic", "variables, softmax", _logistic, _rows(6, name="features")),
    FunctionCase("same_shapes", "four inputs and three outputs of one shape, numbers in their names", _same_shapes, _four),
    FunctionCase("gelu", "gelu, erfc", _gelu, _rows(5)),
    FunctionCase("loop", "a while loop over a free length", _loop, _rows(None, 3), (5, 11)),
    FunctionCase("image", "bytes, resize, convolution, argmax", _image, _rows(16, 16, 3, name="image", dtype="uint8")),
    FunctionCase("embedding", "gather, mask, sigmoid; a free length", _embedding, _rows(None, name="ids", dtype="int64"), (5, 11)),
    FunctionCase("top", "top k, sort, cumulative sum", _top, _rows(7)),
    FunctionCase("double", "double precision", _double, _rows(4, dtype="float64")),
    FunctionCase("dense", "three dense layers of 96", _dense, _rows(64)),
    FunctionCase("on_gpu", "every node placed on a GPU", _on_gpu, _rows(6, name="features")),
    FunctionCase("named_signature", "one of two signatures", _two_signatures, _rows(3), options={"signature": "half"}),
    FunctionCase("texts", "a table of texts", _texts, _words, expected="refused or right"),
    FunctionCase("two_signatures", "no signature chosen", _two_signatures, None, expected="refused"),
    FunctionCase("counter", "a variable that grows", _counter, None, expected="refused"),
    FunctionCase("random", "noise in the answer", _random, None, expected="refused"),
    FunctionCase("one_number", "one answer for all rows", _one_number, None, expected="refused"),
    FunctionCase("fixed_batch", "four rows at a time", _fixed_batch, None, expected="refused"),
    FunctionCase("vocabulary_file", "a table in a file of its own", _vocabulary_file, None, expected="refused"),
    FunctionCase("reads_a_file", "ReadFile", _reads_a_file, None, expected="refused"),
)
