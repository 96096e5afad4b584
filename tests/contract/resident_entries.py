"""What the exam of resident processes runs inside one. Each function opens a "model" and returns what answers."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

import numpy as np

from fairlead.errors import CorruptError, DataError, MissingExtraError


def doubler(arguments):
    factor = arguments.get("factor", 2)
    return lambda inputs: {
        name: tensor if tensor.dtype == object else tensor * tensor.dtype.type(factor) for name, tensor in inputs.items()
    }


def obeys(arguments):
    """Does what its input's text says, and otherwise counts its answers."""
    count = 0

    def answer(inputs):
        nonlocal count
        count += 1
        order = str(inputs["order"].flat[0])
        if order in ORDERS:
            return ORDERS[order](arguments)
        return {"count": np.array([count])}

    return answer


def segfault(_):
    ctypes.string_at(0)


def hang(_):
    time.sleep(60)


def leave(_):
    os._exit(3)


def refuse(_):
    raise DataError("It does not take \x1b[31mthat.", hint="Send another.")


def call_it_corrupt(_):
    raise CorruptError("Its own words.")


def fail(_):
    raise ValueError("the inner reason")


def exhaust(_):
    return {"y": np.ones((2**34,))}


def answer_oddly(_):
    return {"y": np.ones(2, dtype=np.complex128)}


def spin(_):
    began = time.process_time()
    while time.process_time() - began < 1.2:
        pass
    return {"count": np.array([-1])}


def fill(arguments):
    Path(arguments["scratch"], "big").write_bytes(b"\0" * arguments["fill_bytes"])
    return {"count": np.array([-1])}


def long_answer(_):
    return {"y": np.zeros(2**20)}


ORDERS = {
    item.__name__: item for item in (segfault, hang, leave, refuse, call_it_corrupt, fail, exhaust, answer_oddly, spin, fill, long_answer)
}


# Starts that go wrong


def start_crash(arguments):
    ctypes.string_at(0)


def start_hang(arguments):
    time.sleep(60)


def start_refuse(arguments):
    raise MissingExtraError("torch", needed_for="This file")


def start_corrupt(arguments):
    raise CorruptError("The file is cut.")


def start_fail(arguments):
    raise ValueError("the inner reason")


def start_exhaust(arguments):
    return bytearray(2**40)


def start_leave(arguments):
    os._exit(0)


def no_function(arguments):
    return {"not": "callable"}


def imports_own(arguments):
    import users_own_module

    return lambda inputs: {"y": inputs["x"] + users_own_module.BIAS}


def run_own(arguments):
    import users_own_module

    return {"bias": users_own_module.BIAS}


def run_onnx(arguments):
    """For the exam of the Engine port: an engine of this house, in a process of its own."""
    import msgspec

    from fairlead.core.interface import Interface
    from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(Path(arguments["path"]), msgspec.convert(arguments["interface"], Interface)).run
