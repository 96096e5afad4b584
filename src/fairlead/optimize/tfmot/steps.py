"""The steps of TensorFlow Model Optimization on a built tf_keras model: prune, cluster, quantization-aware, each keeping what came before.

Takes a model, rows and a Training; gives weights by key. Imports TensorFlow: only the sandboxed child may import this module. Which layers
are touched: those with a kernel that the library knows; the rest trains along as it is. Combinations keep the structure of the steps
before (sparsity-preserving clustering, PQAT, CQAT, PCQAT): https://www.tensorflow.org/model_optimization/guide/combine/collaborative_optimization
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.clustering.keras.experimental import cluster as keeping

from fairlead.core.interface import Array
from fairlead.core.layer_graph import LayerGraph
from fairlead.errors import DataError, UnsupportedError
from fairlead.optimize.tfmot.network import read_weights

if TYPE_CHECKING:
    from fairlead.optimize.tfmot.child import Training

_KERNELS = (
    tf_keras.layers.Dense,
    tf_keras.layers.Conv1D,
    tf_keras.layers.Conv2D,
    tf_keras.layers.DepthwiseConv2D,
    tf_keras.layers.SeparableConv2D,
)
_PRUNED_FROM = 0.3  # share of the weights that is gone at once; the rest goes along a cubic schedule, as in Zhu and Gupta 2017
_BATCH = 128


def start(seed: int, thread_count: int) -> None:
    """Make training repeatable."""
    tf.config.threading.set_intra_op_parallelism_threads(thread_count)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.get_logger().setLevel("ERROR")
    tf_keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


class _Watch(tf_keras.callbacks.Callback):  # type: ignore[misc] # the library has no types
    """Stops when the time is up, and where the loss is no number any more."""

    def __init__(self, until: float) -> None:
        super().__init__()
        self._until = until
        self.is_late = False
        self.has_diverged = False

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Look at the clock and at the loss."""
        del batch
        self.has_diverged = not np.isfinite((logs or {}).get("loss", 0.0))
        self.is_late = self._until > 0 and time.monotonic() > self._until
        if self.has_diverged or self.is_late:
            self.model.stop_training = True


def apply_steps(
    model: Any, graph: LayerGraph, inputs: list[Array], target: Array, loss: tuple[str, bool], job: Training
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Run the steps in their order; return the weights by key, and versions and figures."""
    until = time.monotonic() + job.time_s if job.time_s else 0.0
    batch_count = -(-len(target) // _BATCH)
    owners = {layer.name: layer for layer in model.layers}
    said: dict[str, Any] = {"versions": {"tensorflow-model-optimization": tfmot.__version__, "tensorflow": tf.__version__}}
    done: list[str] = []
    for step in job.steps:
        wrapped = _wrapped(step, model, done, job, batch_count)
        watch = _fit(wrapped, inputs, target, loss, job, until, pruning=step == "prune")
        if watch.is_late:
            said["stopped"] = f"{step}: the time was up"
        model, owners = _stripped(step, wrapped)
        done.append(step)
    trained = read_weights({name: owners[name.replace("/", "_")] for name, layer in graph.layers.items() if layer.weights}, graph)
    kernels = [trained[layer.weights[role]] for layer in graph.layers.values() for role in layer.weights if role.endswith("kernel")]
    zeros = sum(int((kernel == 0).sum()) for kernel in kernels) / max(sum(kernel.size for kernel in kernels), 1)
    return trained, said | {"sparsity": zeros, "distinct": max((len(np.unique(kernel)) for kernel in kernels), default=0)}


def _wrapped(step: str, model: Any, done: list[str], job: Training, batch_count: int) -> Any:
    try:
        if step == "prune":
            schedule = tfmot.sparsity.keras.PolynomialDecay(
                initial_sparsity=min(_PRUNED_FROM, job.sparsity),
                final_sparsity=job.sparsity,
                begin_step=0,
                end_step=max(batch_count * job.epochs * 2 // 3, 1),
                frequency=max(batch_count // 10, 1),
            )
            return _cloned(model, lambda layer: tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=schedule))
        if step == "cluster":
            centroids = tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS
            settings = {"number_of_clusters": job.cluster_count, "cluster_centroids_init": centroids}
            if "prune" in done:
                return _cloned(model, lambda layer: keeping.cluster_weights(layer, **settings, preserve_sparsity=True))
            return _cloned(model, lambda layer: tfmot.clustering.keras.cluster_weights(layer, **settings))
        annotated = tfmot.quantization.keras.quantize_annotate_model(model)
        if "cluster" in done:
            scheme = tfmot.experimental.combine.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity="prune" in done)
        elif "prune" in done:
            scheme = tfmot.experimental.combine.Default8BitPrunePreserveQuantizeScheme()
        else:
            return tfmot.quantization.keras.quantize_apply(annotated)
        return tfmot.quantization.keras.quantize_apply(annotated, scheme)
    except (ValueError, RuntimeError, NotImplementedError, AttributeError) as error:
        said = f"TensorFlow Model Optimization cannot {step} this network: {str(error)[:300]}"
        raise UnsupportedError(said, hint="Leave that step out.") from None


def _cloned(model: Any, wrap: Any) -> Any:
    touched = sum(isinstance(layer, _KERNELS) for layer in model.layers)
    if not touched:
        raise UnsupportedError("The network has no dense or convolutional layers.", hint="Leave the pass out for this model.")
    return tf_keras.models.clone_model(model, clone_function=lambda layer: wrap(layer) if isinstance(layer, _KERNELS) else layer)


def _fit(model: Any, inputs: list[Array], target: Array, loss: tuple[str, bool], job: Training, until: float, *, pruning: bool) -> _Watch:
    name, from_logits = loss
    functions = {
        "mse": tf_keras.losses.MeanSquaredError,
        "binary_crossentropy": tf_keras.losses.BinaryCrossentropy,
        "sparse_categorical_crossentropy": tf_keras.losses.SparseCategoricalCrossentropy,
    }
    function = functions[name]() if name == "mse" else functions[name](from_logits=from_logits)
    losses = [None] * len(model.outputs)
    losses[job.output] = function
    targets = [np.zeros(len(target), np.float32)] * len(model.outputs)
    targets[job.output] = target
    model.compile(tf_keras.optimizers.Adam(job.learning_rate), loss=losses if len(losses) > 1 else function)
    watch = _Watch(until)
    callbacks = [watch, *([tfmot.sparsity.keras.UpdatePruningStep()] if pruning else [])]
    given = targets if len(targets) > 1 else target
    model.fit(inputs, given, batch_size=_BATCH, epochs=job.epochs, verbose=0, callbacks=callbacks)
    if watch.has_diverged:
        raise DataError("Training diverged: the loss is no number any more.", hint="Take a smaller learning_rate.")
    return watch


def _stripped(step: str, model: Any) -> tuple[Any, dict[str, Any]]:
    """Return the model without the wrappers of `step`, and its own layers by name."""
    if step == "prune":
        model = tfmot.sparsity.keras.strip_pruning(model)
    elif step == "cluster":
        model = tfmot.clustering.keras.strip_clustering(model)
    else:
        # Inside a quantized layer the kernel of the moment is the quantized one: the trained one is kept by the wrapper.
        for wrapper in model.layers:
            for weight, _, _ in getattr(wrapper, "_weight_vars", ()):
                setattr(wrapper.layer, weight.name.rpartition("/")[2].partition(":")[0], weight)
        return model, {inner.name: inner for inner in (getattr(layer, "layer", layer) for layer in model.layers)}
    return model, {layer.name: layer for layer in model.layers}
