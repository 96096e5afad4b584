"""Writes the model as ONNX Runtime rewrites it when it loads: operators fused, constants computed. Bounded.

The level is "extended", whose result is the same on every processor. Fused operators add in another order, so last bits may differ. The
result runs in ONNX Runtime alone. Refuses a model in which nothing changes.
"""

from __future__ import annotations

import onnx
import onnxruntime

from fairlead.errors import IdlePassError
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.offline_session import optimized, write

_LEVEL = "extended"


def optimize_graph(job: PassJob) -> PassResult:
    """Write the optimized model of `job.source` to `job.destination`; raises UnsupportedError where that is the model itself."""
    source, destination = job.source, job.destination
    before = [(node.domain, node.op_type) for node in onnx.load_model(source).graph.node]
    model = optimized(source, _LEVEL)
    after = [(node.domain, node.op_type) for node in model.graph.node]
    if sorted(before) == sorted(after):
        raise IdlePassError("ONNX Runtime finds nothing to fuse in this model.", hint="Leave the pass 'optimize_graph' out.")
    write(model, destination)
    fused = sorted({name for domain, name in after if domain.startswith("com.microsoft")})
    notes = (f"{len(before)} operators became {len(after)}", *([f"fused: {', '.join(fused)}"] if fused else []))
    return PassResult({"onnxruntime": onnxruntime.__version__}, {"level": _LEVEL}, notes)
