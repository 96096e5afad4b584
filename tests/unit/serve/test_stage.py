"""A server that stops while a call runs whose time is over."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

_SERVER = """
import sys
from pathlib import Path
from fairlead.core.interface import Interface
from fairlead.core.manifest import Manifest
from fairlead.core.ports import LoadedModel
from fairlead.core.version import Version
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine, open_session, session_specs
from fairlead.serve.serve_job import ServeJob
from fairlead.serve.stage import serve

class Source:
    def aspired(self): return {"m": Version("m", 1, Manifest(()), 0.0)}
    def sequence(self): return 1
    def load(self, version):
        path = Path(sys.argv[1])
        interface = Interface(*session_specs(open_session(path, thread_count=1, optimization="all")))
        return LoadedModel(OnnxRuntimeEngine(path, interface))

serve(ServeJob(Source(), port=0, grace_s=0.2, on_listening=lambda url: print(url, flush=True)))
print("stopped", flush=True)
"""
_ASK = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: l\r\nContent-Length: %d\r\n\r\n%b"


def _loop_model(path: Path) -> None:
    """Write a model that adds 1 as often as it is told."""
    scalars = [("i", TensorProto.INT64), ("more", TensorProto.BOOL), ("sum", TensorProto.FLOAT)]
    body = helper.make_graph(
        [helper.make_node("Identity", ["more"], ["more_out"]), helper.make_node("Add", ["sum", "one"], ["sum_out"])],
        "body",
        [helper.make_tensor_value_info(name, kind, []) for name, kind in scalars],
        [helper.make_tensor_value_info("more_out", TensorProto.BOOL, []), helper.make_tensor_value_info("sum_out", TensorProto.FLOAT, [])],
    )
    constants = {"one": np.array(1, np.float32), "yes": np.array(True)}
    graph = helper.make_graph(
        [helper.make_node("Squeeze", ["count"], ["scalar"]), helper.make_node("Loop", ["scalar", "yes", "one"], ["y"], body=body)],
        "loop",
        [helper.make_tensor_value_info("count", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.mark.slow
def test_a_call_that_never_ends_does_not_make_of_a_stop_a_crash(tmp_path) -> None:
    import socket

    _loop_model(tmp_path / "m.onnx")
    command = [sys.executable, "-c", _SERVER, str(tmp_path / "m.onnx")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        host, _, port = process.stdout.readline().strip().removeprefix("http://").partition(":")
        body = b'{"inputs":[{"name":"count","shape":[1],"datatype":"INT64","data":[1000000000]}]}'
        with socket.create_connection((host, int(port))) as peer:
            peer.sendall(_ASK % (len(body), body))
            time.sleep(0.5)  # until the call runs; sooner would test less, not something else
            process.send_signal(signal.SIGTERM)
            said, complained = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "stopped\n"), complained
