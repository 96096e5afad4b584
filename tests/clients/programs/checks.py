"""What every program here shares: checks are functions; each is run, and what became of it is printed as one line of JSON."""

from __future__ import annotations

import asyncio
import inspect
import json
import traceback


def run_all(namespace: dict[str, object], *arguments: object) -> None:
    """Run every function of `namespace` whose name starts with check_."""
    for name, check in list(namespace.items()):
        if name.startswith("check_"):
            problem = ""
            try:
                result = check(*arguments)
                if inspect.isawaitable(result):
                    asyncio.run(result)
            except Exception:  # noqa: BLE001 - it is told
                problem = traceback.format_exc()
            print(json.dumps({"name": name, "problem": problem}), flush=True)


def refused(call, part: str = "") -> Exception:
    """Return what `call` raises; its text has to hold `part`."""
    caught = None
    try:
        call()
    except Exception as error:  # noqa: BLE001 - each client has its own
        caught = error
    assert caught is not None, "nothing was raised"
    assert part in str(caught), str(caught)
    return caught
