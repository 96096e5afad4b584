"""Lines 4, 14, 15, 16 and 19: scheduling, repository, statistics, and that requests do not mix."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fairlead.core.interface import Tensors
from fairlead.errors import FairleadError
from fairlead.probe.conformance.judging import answers, first, gives, refused
from fairlead.probe.conformance.outcome import Check, NotOffered, Outcome, Problem, Remark, Skipped
from fairlead.probe.conformance.target import Target
from fairlead.probe.tensors import are_alike, read_answer

_STATES = {"READY", "UNAVAILABLE", "LOADING", "UNLOADING", "UNKNOWN", ""}
_THREADS = 8
_ROUNDS = 6


def _priority(target: Target) -> Outcome:
    found = []
    for priority in (0, 1, 2):
        exchange = target.infer(target.body(parameters={"priority": priority}))
        found.append(gives(exchange, target.outputs or {}, f"priority {priority} is taken"))
    return first(*found)


def _long_timeout(target: Target) -> Outcome:
    return gives(target.infer(target.body(parameters={"timeout": 30_000_000})), target.outputs or {}, "a timeout of 30 s is taken")


def _short_timeout(target: Target) -> Outcome:
    """A microsecond is over before anything runs: each request is answered or refused, and only answered ones count as run."""
    before = _counts(target)
    exchanges = [target.infer(target.body(parameters={"timeout": 1})) for _ in range(10)]
    answered = sum(exchange.status == 200 for exchange in exchanges)
    late = [exchange for exchange in exchanges if exchange.status != 200]
    problem = first(*[refused(exchange, "a request whose time is over is refused", status=exchange.status) for exchange in late])
    if problem is not None or before is None:
        return problem
    after = _counts(target)
    run = None if after is None else after[0] - before[0]
    if run is not None and run > answered:
        return Problem(
            "10 requests with a timeout of 1 us", f"{answered} answers, {run} rows run", "what is refused for its timeout does not run"
        )
    return Remark(f"of 10 requests with a timeout of 1 us, {10 - answered} were refused")


def _index(target: Target, body: object = None) -> tuple[Any, list[dict[str, Any]] | None]:
    exchange = target.http.ask("POST", "/v2/repository/index", b"") if body is None else target.http.post("/v2/repository/index", body)
    content = exchange.content
    fits = exchange.status == 200 and isinstance(content, list) and all(isinstance(entry, dict) for entry in content)
    return exchange, content if fits else None


def _index_bodies(target: Target) -> Outcome:
    found: list[Outcome] = []
    for body in (None, {}, {"ready": False}):
        exchange, entries = _index(target, body)
        says = "the index lists [{name, version, state, reason}]; its body is optional"
        names = {entry.get("name") for entry in entries or ()}
        states = {str(entry.get("state", "")) for entry in entries or ()}
        if entries is None or target.model.name not in names or states - _STATES:
            found.append(Problem(exchange.sent, exchange.came, says))
    return first(*found)


def _index_ready(target: Target) -> Outcome:
    exchange, entries = _index(target, {"ready": True})
    if entries is None:
        return Problem(exchange.sent, exchange.came, "the index takes {ready: true}")
    others = [entry for entry in entries if entry.get("state", "READY") not in {"READY", ""}]
    return Problem(exchange.sent, exchange.came, "{ready: true} lists what is ready") if others else None


def _load_unknown(target: Target) -> Outcome:
    exchange = target.http.post("/v2/repository/models/there-is-no-such-model/load", {})
    return refused(exchange, "a model that does not exist cannot be loaded", status=exchange.status if exchange.status >= 400 else 404)


def _state(target: Target) -> str:
    _, entries = _index(target)
    states = {str(entry.get("state")) for entry in entries or () if entry.get("name") == target.model.name}
    return "READY" if "READY" in states else ", ".join(sorted(states)) or "not listed"


def _load_again(target: Target) -> Outcome:
    exchange = target.http.post(f"/v2/repository/models/{target.model.name}/load", {})
    if exchange.status == 403:
        return NotOffered(f"the server does not let clients load: {exchange.came}")
    return first(
        answers(exchange, "a model that is loaded can be loaded again"),
        gives(target.infer(target.body()), target.outputs or {}, "it answers as before"),
    )


def _unload(target: Target) -> Outcome:
    """Unload, look, ask, load, ask: the model is there again at the end, whatever was found."""
    exchange = target.http.post(f"/v2/repository/models/{target.model.name}/unload", {})
    if exchange.status == 403:
        return NotOffered(f"the server does not let clients unload: {exchange.came}")
    problem = answers(exchange, "a loaded model can be unloaded")
    if problem is not None:
        return problem
    ready, state, asked = target.http.get(f"{target.model.path}/ready"), _state(target), target.infer(target.body())
    loaded = target.http.post(f"/v2/repository/models/{target.model.name}/load", {})
    again = target.infer(target.body())
    return first(
        answers(loaded, "an unloaded model can be loaded"),
        Problem(ready.sent, ready.came, "an unloaded model is not ready") if ready.status == 200 else None,
        Problem("POST /v2/repository/index", state, "an unloaded model is not READY in the index") if state == "READY" else None,
        refused(asked, "an unloaded model does not answer", status=max(asked.status, 400)),
        gives(again, target.outputs or {}, "loaded again, it answers as before"),
    )


def _counts(target: Target) -> tuple[int, int] | None:
    """Return inference_count and execution_count over all versions; None where there are no statistics."""
    exchange = target.http.get(f"{target.model.path}/stats")
    content = exchange.content
    if exchange.status != 200 or not isinstance(content, dict) or not isinstance(content.get("model_stats"), list):
        return None
    stats = [entry for entry in content["model_stats"] if isinstance(entry, dict)]
    try:
        return sum(int(entry["inference_count"]) for entry in stats), sum(int(entry["execution_count"]) for entry in stats)
    except (KeyError, TypeError, ValueError):
        return None


def _cached(target: Target) -> int:
    """Return how many requests were answered from the server's cache, over all versions; 0 where it says nothing of that."""
    content = target.http.get(f"{target.model.path}/stats").content
    try:
        return sum(int(entry["inference_stats"]["cache_hit"]["count"]) for entry in content["model_stats"])
    except (KeyError, TypeError, ValueError):
        return 0


def _counting(target: Target) -> Outcome:
    """inference_count counts rows, execution_count calls of the model. Nobody else may ask meanwhile."""
    before, cached = _counts(target), _cached(target)
    if before is None:
        exchange = target.http.get(f"{target.model.path}/stats")
        return Problem(exchange.sent, exchange.came, "{model_stats: [{inference_count, execution_count, ...}]}")
    rows = 1
    target.infer(target.body())
    if target.model.is_batchable:
        rows += 3
        target.infer(target.body(target.arrays(rows=3)))
    after = _counts(target) or (0, 0)
    if _cached(target) > cached:
        return Skipped("the server answers from a cache, which counts apart")
    calls = 2 if rows > 1 else 1
    said = f"inference_count grew by {after[0] - before[0]}, execution_count by {after[1] - before[1]}"
    fits = after[0] - before[0] == rows and 1 <= after[1] - before[1] <= calls
    says = f"{rows} rows in {calls} requests: inference_count + {rows}, execution_count + {calls}"
    return None if fits else Problem(f"{calls} requests with {rows} rows together", said, says)


def _by_version(target: Target) -> Outcome:
    found: list[Outcome] = []
    for version in target.model.versions:
        exchange = target.http.get(f"{target.model.path}/versions/{version}/stats")
        content = exchange.content if isinstance(exchange.content, dict) else {}
        entries = content.get("model_stats") or [{}]
        if exchange.status != 200 or str(entries[0].get("version")) != version:
            found.append(Problem(exchange.sent, exchange.came, "statistics of a version are that version's"))
    return first(*found)


def _fields(target: Target) -> Outcome:
    exchange = target.http.get(f"{target.model.path}/stats")
    content = exchange.content if isinstance(exchange.content, dict) else {}
    entry = next(iter(content.get("model_stats") or [{}]))
    stats = entry.get("inference_stats", {})
    missing = {"success", "fail", "queue", "compute_infer"} - set(stats)
    counted = all(isinstance(value, dict) and {"count", "ns"} <= set(value) for value in stats.values())
    says = "inference_stats has success, fail, queue, compute_input, compute_infer, compute_output, each {count, ns}"
    return None if not missing and counted else Problem(exchange.sent, exchange.came, says)


# -- 19


def _batched(target: Target) -> Outcome:
    if not target.model.is_batchable:
        return Skipped("the model takes one row at a time")
    if _is_random(target):
        return Skipped("the model answers the same request differently each time")
    rows = target.arrays(rows=5, seed=7)
    together = target.infer(target.body(rows))
    problem = answers(together, "a request may have several rows")
    if problem is not None:
        return problem
    for row in range(5):
        alone = target.infer(target.body({name: array[row : row + 1] for name, array in rows.items()}))
        try:
            expected = {name: array[row : row + 1] for name, array in read_answer(together.body, together.headers)[1].items()}
        except FairleadError as error:
            return Problem(together.sent, error.message, "the answer has a row for each row")
        problem = gives(alone, expected, "a row has the same answer alone and among others")
        if problem is not None:
            return problem
    return None


def _is_random(target: Target) -> bool:
    exchanges = [target.infer(target.body()) for _ in range(2)]
    try:
        one, two = (read_answer(exchange.body, exchange.headers)[1] for exchange in exchanges)
    except FairleadError:
        return False
    return not are_alike(one, two)


def _concurrent(target: Target) -> Outcome:
    """Different requests at the same moment, of different sizes where the model allows it: each gets its own answer."""
    if target.given is not None:
        return Skipped("one given request cannot tell whose answer came")
    if _is_random(target):
        return Skipped("the model answers the same request differently each time")
    sizes = [1 + number % 3 if target.model.is_batchable else 1 for number in range(_THREADS)]
    inputs = [target.arrays(rows=size, seed=100 + number) for number, size in enumerate(sizes)]
    expected: list[Tensors] = []
    for tensors in inputs:
        alone = target.infer(target.body(tensors))
        problem = answers(alone, "a request that fits is answered")
        if problem is not None:
            return problem
        expected.append(read_answer(alone.body, alone.headers)[1])
    with ThreadPoolExecutor(_THREADS) as pool:
        numbers = [number for _ in range(_ROUNDS) for number in range(_THREADS)]
        exchanges = list(pool.map(lambda number: target.infer(target.body(inputs[number])), numbers))
    return first(
        *[
            gives(exchange, expected[number], "at the same moment as others, a request has the answer that it has alone")
            for number, exchange in zip(numbers, exchanges, strict=True)
        ]
    )


CHECKS = (
    Check(14, "priority", _priority, "schedule_policy"),
    Check(14, "a timeout that is long", _long_timeout, "schedule_policy"),
    Check(14, "a timeout that is over", _short_timeout, "schedule_policy"),
    Check(15, "index", _index_bodies, "model_repository", needs=""),
    Check(15, "index of what is ready", _index_ready, "model_repository", needs=""),
    Check(15, "load of what is unknown", _load_unknown, "model_repository", needs=""),
    Check(15, "load of what is loaded", _load_again, "model_repository", needs="unload"),
    Check(15, "unload and load", _unload, "model_repository", needs="unload"),
    Check(16, "rows and calls are counted", _counting, "statistics"),
    Check(16, "by version", _by_version, "statistics"),
    Check(16, "fields", _fields, "statistics"),
    Check(19, "several rows", _batched),
    Check(19, "several requests at once", _concurrent),
)
