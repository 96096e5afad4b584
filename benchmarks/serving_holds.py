"""For how long a large body holds the event loop at most, in processor time, so that a busy machine does not count.

    python benchmarks/serving_holds.py [--mib 16] [--forms v2 predict texts ...]

The api of the server in this process, with the models of serving_large.py; one body of each form is answered, while a callback that is
called in every round of the loop notes what the rounds took. Prints, for each form, what the body took in all and the longest rounds; of
gRPC, where protobuf's own parser takes a message at once, also what that took.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import tempfile
import time
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fairlead.core.interface import Interface
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.ports import LoadedModel
from fairlead.core.version import Version
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine, open_session, session_specs
from fairlead.serve.assembly import Assembly
from fairlead.serve.batching import BatchPolicy
from fairlead.serve.data_plane import DataPlane
from fairlead.serve.grpc.calls import Call, Method
from fairlead.serve.grpc.inference import Inference
from fairlead.serve.grpc.limits import GrpcLimits
from fairlead.serve.grpc.schema import MESSAGES
from fairlead.serve.http.api import Api, ApiJob
from fairlead.serve.http.limits import HttpLimits
from fairlead.serve.http.message import HttpRequest
from fairlead.serve.http.routes import Permission
from fairlead.serve.model_table import ModelTable
from fairlead.serve.serve_job import NullSink
from serving import make_models
from serving_large import COLUMNS, FORMS, MEDIA_TYPES, large_body, write_texts

T = TypeVar("T")
GRPC_FORMS = ("grpc-typed", "grpc-columns", "grpc-raw-columns")


def plane_of(model: Path, *, has_columns: bool = False) -> DataPlane:
    """Return a data plane that serves one file as version 1 of `m`."""
    interface = Interface(*session_specs(open_session(model, thread_count=1, optimization="all")))
    if has_columns:
        spec = interface.inputs[0]
        interface = replace(interface, inputs=(replace(spec, columns=tuple(f"c{place}" for place in range(spec.shape[1] or 0))),))
    version = Version("m", 1, Manifest((FileEntry("model.onnx", 1, "0" * 64),)), 0.0)
    served = Assembly(NullSink(), 1, BatchPolicy()).assemble(version, LoadedModel(OnnxRuntimeEngine(model, interface)))
    table = ModelTable()
    table.switch(served, "production")
    return DataPlane(table, NullSink(), queue_limit=8)


async def rounds_of(answering: Coroutine[Any, Any, T]) -> tuple[T, list[float]]:
    """Return the answer, and what the rounds of the loop took in processor seconds meanwhile."""
    loop, rounds, is_over = asyncio.get_running_loop(), [0.0], False
    last = time.thread_time()

    def note() -> None:
        nonlocal last
        now = time.thread_time()
        rounds.append(now - last)
        last = now
        if not is_over:
            loop.call_soon(note)

    note()
    await asyncio.sleep(0)
    answer = await answering
    is_over = True
    return answer, rounds


def line(form: str, mib: int, rounds: list[float], more: str = "") -> str:
    """Return a line of the table."""
    longest = sorted(rounds)[-3:]
    return f"| {form}, {mib} MiB | {sum(rounds):.2f} s | {' '.join(f'{value * 1e3:.1f}' for value in reversed(longest))} ms{more} |"


async def measure(model: Path, name: str, form: str, mib: int) -> str:
    """Return a line of the table."""
    api = Api(ApiJob(plane_of(model), HttpLimits(), "", lambda: "", print))
    body, _ = large_body(mib, form, name)
    headers = {b"content-type": MEDIA_TYPES.get(form, "application/json").encode()}
    reply, rounds = await rounds_of(api.handle(HttpRequest(b"POST", FORMS[form][0].encode(), headers, body, request_id="1")))
    if reply.status != 200:
        raise SystemExit(f"{form} was answered {reply.status}: {reply.body[:300]!r}")
    return line(form, mib, rounds)


async def measure_grpc(model: Path, name: str, form: str, mib: int) -> str:
    """Return a line of the table: the whole table with typed contents, or its columns, typed as FP64 or raw."""
    inference = Inference(plane_of(model, has_columns=form != "grpc-typed"), GrpcLimits())
    message = MESSAGES["ModelInferRequest"](model_name="m")
    rows = mib * 2**20 // (COLUMNS * 8)
    if form == "grpc-typed":
        tensor = message.inputs.add(name=name, datatype="FP32", shape=[2 * rows, COLUMNS])
        tensor.contents.fp32_contents.extend([0.5] * (2 * rows * COLUMNS))
    for place in range(COLUMNS if form != "grpc-typed" else 0):
        tensor = message.inputs.add(name=f"c{place}", datatype="FP64", shape=[rows])
        if form == "grpc-columns":
            tensor.contents.fp64_contents.extend([0.5] * rows)
        else:
            message.raw_input_contents.append(np.full(rows, 0.5).tobytes())
    content = message.SerializeToString()
    began = time.thread_time()
    MESSAGES["ModelInferRequest"].FromString(content)
    parsed_ms = (time.thread_time() - began) * 1e3
    call = Call(Method("", Permission.INFER, inference.infer), "1")
    _, rounds = await rounds_of(inference.infer(call, content))
    return line(form, mib, rounds, f" (parsed in {parsed_ms:.1f})")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=16)
    parser.add_argument("--forms", nargs="+", default=[*FORMS, *GRPC_FORMS], choices=[*FORMS, *GRPC_FORMS])
    arguments = parser.parse_args()
    print("| body | in all | longest rounds |\n|---|---|---|")
    gc.collect()
    gc.freeze()  # as the server does
    gc.set_threshold(20_000, 20, 50)
    with tempfile.TemporaryDirectory() as folder:
        numbers, body = make_models(Path(folder))["tabular"]
        texts = write_texts(Path(folder) / "texts.onnx")
        name = json.loads(body.read_text())["inputs"][0]["name"]
        for form in arguments.forms:
            way = measure_grpc if form in GRPC_FORMS else measure
            row = way(texts, "x", form, arguments.mib) if form == "texts" else way(numbers, name, form, arguments.mib)
            print(asyncio.run(row), flush=True)


if __name__ == "__main__":
    main()
