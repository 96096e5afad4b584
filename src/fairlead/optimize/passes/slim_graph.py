"""Lets onnxslim rewrite the graph: transposes that cancel, shapes that are known, normalizations folded into convolutions. Bounded.

Folded weights are computed in another order, so last bits may differ. Writes standard operators only. Refuses a model in which no operator
goes. Needs the extra `slim` (so do `torch` and `keras`, which bring onnxslim).
"""

from __future__ import annotations

import onnx
import onnxslim

from fairlead.core.interface import shorten
from fairlead.errors import IdlePassError, UnsupportedError
from fairlead.optimize.job import PassJob, PassResult
from fairlead.optimize.offline_session import keep_surface, write


def slim_graph(job: PassJob) -> PassResult:
    """Write the slimmed model of `job.source` to `job.destination`; raises UnsupportedError where onnxslim fails or finds nothing."""
    original = onnx.load_model(job.source)
    try:
        slim = onnxslim.slim(onnx.load_model(job.source))
    except Exception as error:  # noqa: BLE001 - onnxslim raises whatever a graph that it cannot follow makes it
        said = shorten(f"{type(error).__name__}: {error}", 200)
        raise UnsupportedError(f"onnxslim cannot follow this graph ({said}).", hint="Leave the pass 'slim_graph' out.") from None
    before, after = len(original.graph.node), len(slim.graph.node)
    if after >= before:
        raise IdlePassError("onnxslim finds no operator to take out of this model.", hint="Leave the pass 'slim_graph' out.")
    keep_surface(slim, original)
    write(slim, job.destination)
    sizes = job.source.stat().st_size, job.destination.stat().st_size
    note = f"{before} operators became {after}, {sizes[0]} bytes became {sizes[1]}"
    return PassResult({"onnxslim": onnxslim.__version__}, notes=(note,))
