"""The process that explains for a server: `python -c "..." <folder of fairlead> <descriptor>`, started by `explain_serving`.

Takes jobs from a Wire: which files a version has, rows, and what is asked; gives JSON values or an error. It asks the model through the
server, and gives way to everything else on the machine. Ends with the wire, and where nothing was asked for a while. Opens only what
Fairlead itself wrote.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fairlead.app.explain_aids import Aids, aids_of
from fairlead.app.explain_asked import answer
from fairlead.app.explain_model import Explainer
from fairlead.app.explain_wire import Wire, error_of
from fairlead.core.explanation import Method
from fairlead.core.interface import Array, Interface, Tensors
from fairlead.errors import FairleadError
from fairlead.security.sandbox_failures import describe_failure
from fairlead.stores.document import load

NICENESS = 10
_IDLE_S = 300.0
_KEPT = 8  # versions whose aids are at hand


class _AskedEngine:
    """An engine at the other end of the wire."""

    description = "the server"

    def __init__(self, wire: Wire, interface: Interface) -> None:
        self._wire, self.interface = wire, interface

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        """Return the answer; raises what the server raised."""
        self._wire.send({"ask": list(outputs)}, inputs)
        words, answers = self._wire.receive()
        if "error" in words:
            raise error_of(words)
        return answers

    def close(self) -> None:
        """The model is the server's."""


def main() -> None:
    """Answer jobs until nobody asks any more."""
    _give_way()
    wire = Wire(int(sys.argv[2]))
    kept: OrderedDict[str, Aids] = OrderedDict()
    with contextlib.suppress(EOFError, TimeoutError):
        wire.send({"ready": True})
        while True:
            words, rows = wire.receive(_IDLE_S)
            wire.send(_answered(words, rows, wire, kept))


def _answered(words: Mapping[str, Any], rows: Tensors, wire: Wire, kept: OrderedDict[str, Aids]) -> dict[str, Any]:
    if words["wish"].get("method") == Method.GRADIENTS and "torch" not in sys.modules:
        wire.send({"loading": True})  # takes longer than an explanation may
    try:
        interface = load(words["interface"].encode(), Interface)
        explainer = Explainer(words["label"], _AskedEngine(wire, interface), _aids(words, interface, kept))
        return {"done": answer(explainer, rows, words["wish"], words["budget_s"])}
    except FairleadError as error:
        return describe_failure(error)


def _aids(words: Mapping[str, Any], interface: Interface, kept: OrderedDict[str, Aids]) -> Aids:
    digest = words["digest"]
    if digest not in kept:
        kept[digest] = aids_of({name: Path(path) for name, path in words["files"].items()}, interface)
        while len(kept) > _KEPT:
            kept.popitem(last=False)
    kept.move_to_end(digest)
    return kept[digest]


def _give_way() -> None:
    """Let predictions go first, and be the first that the system ends where memory is short."""
    os.nice(NICENESS)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
