"""The conformance list against our own server, over HTTP and gRPC, unloading and stopping included.

    python benchmarks/conformance.py              the matrix as text; exits with 4 where a required check fails
    python benchmarks/conformance.py --json       for tests
    python benchmarks/conformance.py --write docs/reference/conformance.md

The server is a process of its own with models that take and give every datatype: they echo, so that a wrong bit would show.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.core.manifest import Manifest
from fairlead.core.ports import LoadedModel
from fairlead.core.version import Version

MARKS = ("<!-- matrix begin -->", "<!-- matrix end -->")
NUMBERS = [dtype for dtype in DType if dtype not in {DType.BYTES, DType.FP16}]


def specs(names: dict[str, DType], width: int = 3) -> tuple[TensorSpec, ...]:
    """Return tensors of any number of rows."""
    return tuple(TensorSpec(name, dtype, (None, width)) for name, dtype in names.items())


INTERFACES = {
    "mixed": Interface(specs({"x": DType.FP32, "k": DType.INT64}), specs({"x": DType.FP32, "k": DType.INT64})),
    "numbers": Interface(*[specs({dtype.value.lower(): dtype for dtype in NUMBERS})] * 2),
    "single": Interface(*[specs({"x": DType.FP64})] * 2),
    "texts": Interface(*[specs({"text": DType.BYTES})] * 2),
}


@dataclass(frozen=True)
class Echo:
    """An engine whose outputs are its inputs."""

    interface: Interface
    description: str = "echo 1"

    def run(self, inputs: dict[str, np.ndarray], outputs: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
        """Return the inputs."""
        return {name: inputs[name].copy() for name in outputs or inputs}

    def close(self) -> None:
        """Nothing to give back."""


class Echoes:
    """A registry of the echoing models, each in two versions."""

    def aspired(self) -> dict[str, Version]:
        """Return every model."""
        return {name: Version(name, 2, Manifest(()), 0.0) for name in INTERFACES}

    def sequence(self) -> int:
        """Nothing changes."""
        return 1

    def load(self, version: Version) -> LoadedModel:
        """Return the model."""
        return LoadedModel(Echo(INTERFACES[version.name]), is_batch_invariant=True)


def serve_echoes() -> None:
    """Be the server: everything that `fairlead serve` has, on free ports that are printed."""
    from fairlead.monitor.stage import WatchJob, watch
    from fairlead.serve.serve_job import ServeJob
    from fairlead.serve.stage import serve

    def say(line: str) -> None:
        print(line, flush=True)

    watcher = watch(WatchJob(lambda _name, _number: (), say))
    job = ServeJob(
        Echoes(), port=0, grpc_port=0, sink=watcher, statistics=watcher.statistics, allow_model_control=True, on_listening=say, report=say,
        software_version="(this tree)",
    )  # fmt: skip
    try:
        serve(job)
    finally:
        watcher.close()


def addresses(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Read where the server listens, and wait until its models are loaded."""
    url = grpc = ""
    served = 0
    for line in process.stdout or ():
        url = url or next(iter(re.findall(r"http://\S+", line)), "")
        grpc = grpc or next(iter(re.findall(r"gRPC.*?([\w.]+:\d+)", line)), "")
        served += "is served" in line
        if url and grpc and served == len(INTERFACES):
            return url, grpc
    raise SystemExit("The server did not start.")


def main() -> None:
    """Start a server, ask it everything, print."""
    from fairlead.cli.main import run

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", type=Path, help="put the table between the marks in this page")
    arguments = parser.parse_args()
    if arguments.serve:
        serve_echoes()
        return
    with subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True) as process:
        try:
            url, grpc = addresses(process)
            form = ["--json"] if arguments.json else ["--markdown"] if arguments.write else []
            told = ["conformance", url, "--grpc", grpc, "--model", "mixed", "--allow-unload", "--drain-pid", str(process.pid), *form]
            with contextlib.redirect_stdout(io.StringIO()) if arguments.write else contextlib.nullcontext() as printed:
                status = run(told)
        finally:
            process.terminate()
    if printed is not None:
        page = arguments.write.read_text()
        begin, end = (page.index(mark) for mark in MARKS)
        arguments.write.write_text(f"{page[:begin]}{MARKS[0]}\n\n{printed.getvalue().strip()}\n\n{page[end:]}")
    sys.exit(status)


if __name__ == "__main__":
    main()
