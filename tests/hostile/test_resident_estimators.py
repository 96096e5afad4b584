"""F20 while serving: an estimator whose native code crashes for one row kills its own process; everybody else gets an answer."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")

import joblib
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier
from sklearn.tree._tree import Tree

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.engines.python_engine import PythonEngine
from fairlead.errors import UnavailableError
from fairlead.security.sandbox import OneShotSandbox

POISON = 12_345.0
INTERFACE = Interface((TensorSpec("x", DType.FP64, (None, 4)),), (TensorSpec("label", DType.INT64, (None,)),))


def poisoned(path: Path) -> Path:
    """A tree that answers as before, and sends rows near POISON to a node that is not there."""
    rows, answers = load_iris(return_X_y=True)
    estimator = DecisionTreeClassifier(random_state=0).fit(rows, answers)
    state = estimator.tree_.__getstate__()
    nodes = np.concatenate([state["nodes"], state["nodes"][:1], state["nodes"][:1]])
    first, last = len(nodes) - 2, len(nodes) - 1  # the old root; a node for what is larger than everything known
    for node, threshold, left, right in ((0, POISON - 1, first, last), (last, POISON + 1, 2**40, first)):
        nodes[node]["feature"], nodes[node]["threshold"] = 0, threshold
        nodes[node]["left_child"], nodes[node]["right_child"] = left, right
    values = np.concatenate([state["values"], state["values"][:1], state["values"][:1]])
    tree = Tree(4, np.array([3]), 1)
    tree.__setstate__({"nodes": nodes, "node_count": len(nodes), "values": values, "max_depth": state["max_depth"] + 2})
    estimator.tree_ = tree
    joblib.dump(estimator, path)
    return path


def test_f20_a_row_that_crashes_scikit_learn_costs_one_request(tmp_path: Path) -> None:
    path = poisoned(tmp_path / "model.estimator")
    rows, answers = load_iris(return_X_y=True)
    poison = np.array([[POISON, 3.0, 4.0, 1.0]])
    engine = PythonEngine(path, INTERFACE, sandbox=OneShotSandbox())
    try:
        first = engine.pid
        assert np.array_equal(engine.run({"x": rows})["label"], answers)
        assert len(engine.run({"x": poison * 2})["label"]) == 1
        with pytest.raises(UnavailableError, match="SIGSEGV"):
            engine.run({"x": poison})
        assert np.array_equal(engine.run({"x": rows})["label"], answers)
        assert engine.pid not in {0, first}
    finally:
        engine.close()


def test_f20_the_same_row_kills_a_process_that_opens_the_file_itself(tmp_path: Path) -> None:
    code = (
        "import resource, sys, joblib; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); model = joblib.load(sys.argv[1]);"
        f"print(model.predict([[5, 3, 1, 0]]), flush=True); model.predict([[{POISON}, 3, 4, 1]])"
    )
    done = subprocess.run([sys.executable, "-c", code, poisoned(tmp_path / "m")], capture_output=True, text=True, check=False)
    assert done.stdout == "[0]\n"
    assert done.returncode == -signal.SIGSEGV
