"""How far the roofline's bound is from measured calls.

    python benchmarks/roofline.py

Models of kinds that differ in what they wait for; one thread; the fastest tenth of the calls, since the bound knows no noise.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from capacity import heavy_model
from fairlead.core.interface import Interface
from fairlead.engines.ceilings import measure_ceilings
from fairlead.engines.latency_profile import ProfileJob, measure_profile
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine, open_session, session_specs
from fairlead.plan.facts import model_facts
from fairlead.plan.roofline import bound_of
from serving import make_models

_BATCHES = (1, 8, 32)


def dense(path: Path, *, width: int, layers: int) -> None:
    """Write a network of dense layers."""
    random = np.random.default_rng(0)
    weights = [numpy_helper.from_array((random.standard_normal((width, width)) / width).astype(np.float32), f"w{n}") for n in range(layers)]
    nodes = []
    for number in range(layers):
        nodes += [helper.make_node("MatMul", [f"a{number}" if number else "x", f"w{number}"], [f"m{number}"])]
        nodes += [helper.make_node("Relu", [f"m{number}"], [f"a{number + 1}" if number + 1 < layers else "y"])]
    takes = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", width])
    gives = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", width])
    graph = helper.make_graph(nodes, "dense", [takes], [gives], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def main() -> None:
    """Print the table."""
    ceilings = measure_ceilings(2.0)
    print("| model | rows | waits for | bound, ms | measured, ms | bound / measured |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_models(folder)
        heavy_model(folder / "heavy.onnx")
        dense(folder / "dense-64.onnx", width=64, layers=4)
        dense(folder / "dense-2048.onnx", width=2048, layers=4)
        for model in ("tabular", "cnn", "heavy", "dense-64", "dense-2048"):
            path = folder / f"{model}.onnx"
            interface = Interface(*session_specs(open_session(path, thread_count=1, optimization="all")))
            facts = model_facts(path, interface)
            random = np.random.default_rng(0)
            rows = {spec.name: random.random([size or 32 for size in spec.shape]).astype(np.float32) for spec in interface.inputs}

            def open_engine(threads: int, path: Path = path, interface: Interface = interface) -> OnnxRuntimeEngine:
                return OnnxRuntimeEngine(path, interface, thread_count=threads)

            profile = measure_profile(ProfileJob(open_engine, rows, batches=_BATCHES, time_s=4.0))
            for point in profile.points:
                bound = bound_of(facts, ceilings, rows=point.batch)
                fast = float(np.percentile(point.sample_ms, 10))
                print(f"| {model} | {point.batch} | {bound.limit} | {bound.total_ms:.3g} | {fast:.3g} | {bound.total_ms / fast:.2f} |")


if __name__ == "__main__":
    main()
