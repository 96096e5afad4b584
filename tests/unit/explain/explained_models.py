"""Models that are plain functions, tree ensembles that are drawn, and Shapley values by their definition: for tests of explanations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, Decision, DecisionKind, Interface, Task, Tensors, TensorSpec
from fairlead.core.tree_ensemble import Missing, Split, TreeEnsemble


class FunctionEngine:
    """An engine that is a function of tensors by name."""

    description = "a function"

    def __init__(self, interface: Interface, function: Callable[[Tensors], dict[str, Array]]) -> None:
        self.interface, self._function = interface, function
        self.asked_rows = 0

    def run(self, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, Array]:
        self.asked_rows += self.interface.check_inputs(inputs)
        return self._function(inputs)

    def close(self) -> None:
        pass


def regression(count: int, columns: tuple[str, ...] = ()) -> Interface:
    return Interface(
        (TensorSpec("x", DType.FP32, (None, count), columns),),
        (TensorSpec("y", DType.FP64, (None, 1)),),
        Task.REGRESSION,
        Decision(DecisionKind.VALUE, "y"),
    )


def number_engine(count: int, function: Callable[[Array], Array], columns: tuple[str, ...] = ()) -> FunctionEngine:
    """A regression of one table: `function` takes (rows, count) in double precision and gives (rows,)."""
    return FunctionEngine(regression(count, columns), lambda inputs: {"y": function(inputs["x"].astype(np.float64)).reshape(-1, 1)})


def loan_engine() -> FunctionEngine:
    """Approves loans by age, income and job; the fourth column has no say."""
    interface = Interface(
        (TensorSpec("x", DType.FP32, (None, 3), ("age", "income", "shoe")), TensorSpec("job", DType.BYTES, (None, 1))),
        (TensorSpec("p", DType.FP32, (None, 2)),),
        Task.CLASSIFICATION,
        Decision(DecisionKind.ARGMAX, "p", "p"),
        ("no", "yes"),
    )

    def answer(inputs: Tensors) -> dict[str, Array]:
        x = inputs["x"].astype(np.float64)
        sums = (x[:, 0] - 40) / 10 + (x[:, 1] - 50) / 20 + 1.5 * (inputs["job"][:, 0] == "clerk")
        yes = 1 / (1 + np.exp(-sums))
        return {"p": np.stack([1 - yes, yes], axis=1).astype(np.float32)}

    return FunctionEngine(interface, answer)


def review_engine() -> FunctionEngine:
    """Finds texts good for each "fine" in them, bad for each "dull"."""
    interface = Interface(
        (TensorSpec("t", DType.BYTES, (None,)),),
        (TensorSpec("p", DType.FP64, (None, 2)),),
        Task.CLASSIFICATION,
        Decision(DecisionKind.ARGMAX, "p", "p"),
        ("bad", "good"),
    )

    def answer(inputs: Tensors) -> dict[str, Array]:
        good = np.array([0.5 + 0.15 * text.split().count("fine") - 0.1 * text.lower().split().count("dull") for text in inputs["t"]])
        return {"p": np.stack([1 - good, good], axis=1)}

    return FunctionEngine(interface, answer)


def loan_rows(count: int, seed: int = 0) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    numbers = [random.uniform(20, 70, count), random.normal(50, 20, count), random.normal(size=count)]
    return {
        "x": np.stack(numbers, axis=1).astype(np.float32),
        "job": random.choice(["clerk", "cook", "smith"], (count, 1)).astype(object),
    }


def shapley_by_definition(worth: Callable[[Array], float | Array], count: int) -> Array:
    """Return the values by summing over all sets (Shapley 1953); `worth` takes which features are known, bool (count,)."""
    worths = [np.asarray(worth(np.array([bool(chosen >> place & 1) for place in range(count)]))) for chosen in range(1 << count)]
    values = np.zeros((count, *worths[0].shape))
    for place in range(count):
        for chosen in range(1 << count):
            if not chosen >> place & 1:
                size = chosen.bit_count()
                share = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
                values[place] += share * (worths[chosen | 1 << place] - worths[chosen])
    return values


def draw_trees(
    random: np.random.Generator, *, trees: int = 5, depth: int = 4, features: int = 4, outputs: int = 1, width: int = 1
) -> TreeEnsemble:
    """Return an ensemble with all kinds of splits and of missing values, leaves at any depth."""
    nodes: list[dict[str, object]] = []
    members: list[list[int]] = []

    def grow(left: int) -> int:
        place = len(nodes)
        nodes.append({})
        members.append([])
        if left == 0 or random.random() < 0.2:
            nodes[place] = {"leaf_values": random.normal(size=width).astype(np.float32).astype(np.float64)}
            return place
        split = Split(int(random.integers(1, 6)))
        if split is Split.CATEGORY:
            members[place] = sorted(int(member) for member in random.choice(4, 2, replace=False))
        nodes[place] = {
            "splits": int(split),
            "features": int(random.integers(features)),
            "thresholds": 0.0 if split is Split.CATEGORY else float(np.float32(round(random.normal(), 1))),
            "missing": int(random.choice([int(kind) for kind in Missing])),
            "missing_left": bool(random.integers(2)),
            "unknown_category_left": bool(random.integers(2)),
            "leaf_values": np.zeros(width),
        }
        nodes[place]["left"] = grow(left - 1)
        nodes[place]["right"] = grow(left - 1)
        return place

    roots = [grow(depth) for _ in range(trees)]

    def column(name: str, kind: str) -> Array:
        return np.array([node.get(name, 0) for node in nodes], dtype=kind)

    found = TreeEnsemble(
        features,
        outputs,
        np.array(roots, dtype=np.int32),
        np.array([number % outputs if width == 1 else 0 for number in range(trees)], dtype=np.int32),
        column("splits", "u1"),
        column("features", "i4"),
        column("thresholds", "f8"),
        column("left", "i4"),
        column("right", "i4"),
        column("missing", "u1"),
        column("missing_left", "?"),
        np.stack([np.asarray(node["leaf_values"]) for node in nodes]),
        random.normal(size=outputs).astype(np.float32).astype(np.float64),
        np.cumsum([0, *map(len, members)]).astype(np.int32),
        np.array([member for own in members for member in own], dtype=np.int32),
        column("unknown_category_left", "?"),
    )
    found.check()
    return found


def draw_rows(random: np.random.Generator, count: int, features: int) -> Array:
    """Return rows that hit thresholds, zeros, categories and missing values often."""
    rows = random.normal(size=(count, features)).round(1)
    kinds = random.integers(0, 8, rows.shape)
    rows = np.where(kinds == 0, np.nan, np.where(kinds == 1, 0.0, np.where(kinds == 2, random.integers(-2, 5, rows.shape), rows)))
    return rows.astype(np.float32)
