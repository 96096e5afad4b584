"""For how long a large body holds the event loop at most, in processor time, so that a busy machine does not count.

    python benchmarks/serving_holds.py [--mib 16] [--forms v2 predict texts ...]

The api of the server in this process, with the models of serving_large.py; one body of each form is answered, while a callback that is
called in every round of the loop notes what the rounds took. Prints, for each form, what the body took in all and the longest rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import tempfile
import time
from pathlib import Path

from fairlead.core.interface import Interface
from fairlead.core.manifest import FileEntry, Manifest
from fairlead.core.ports import LoadedModel
from fairlead.core.version import Version
from fairlead.engines.onnxruntime_engine import OnnxRuntimeEngine, open_session, session_specs
from fairlead.serve.assembly import Assembly
from fairlead.serve.batching import BatchPolicy
from fairlead.serve.data_plane import DataPlane
from fairlead.serve.http.api import Api, ApiJob
from fairlead.serve.http.limits import HttpLimits
from fairlead.serve.http.message import HttpRequest
from fairlead.serve.model_table import ModelTable
from fairlead.serve.serve_job import NullSink
from serving import make_models
from serving_large import FORMS, large_body, write_texts


def api_of(model: Path) -> Api:
    """Return an api that serves one file as version 1 of `m`."""
    interface = Interface(*session_specs(open_session(model, thread_count=1, optimization="all")))
    version = Version("m", 1, Manifest((FileEntry("model.onnx", 1, "0" * 64),)), 0.0)
    served = Assembly(NullSink(), 1, BatchPolicy()).assemble(version, LoadedModel(OnnxRuntimeEngine(model, interface)))
    table = ModelTable()
    table.switch(served, "production")
    return Api(ApiJob(DataPlane(table, NullSink(), queue_limit=8), HttpLimits(), "", lambda: "", print))


async def measure(model: Path, name: str, form: str, mib: int) -> str:
    """Return a line of the table."""
    api, loop, rounds, is_over = api_of(model), asyncio.get_running_loop(), [0.0], False
    body, _ = large_body(mib, form, name)
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
    reply = await api.handle(HttpRequest(b"POST", FORMS[form][0].encode(), {}, body, request_id="1"))
    is_over = True
    if reply.status != 200:
        raise SystemExit(f"{form} was answered {reply.status}: {reply.body[:300]!r}")
    longest = sorted(rounds)[-3:]
    return f"| {form}, {mib} MiB | {sum(rounds):.2f} s | {' '.join(f'{value * 1e3:.1f}' for value in reversed(longest))} ms |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=16)
    parser.add_argument("--forms", nargs="+", default=list(FORMS), choices=FORMS)
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
            row = measure(texts, "x", form, arguments.mib) if form == "texts" else measure(numbers, name, form, arguments.mib)
            print(asyncio.run(row), flush=True)


if __name__ == "__main__":
    main()
