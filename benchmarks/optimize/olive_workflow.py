"""One Olive workflow over an ONNX network: run by against_olive.py with the interpreter of an environment that has olive-ai.

    PYTHON olive_workflow.py MODEL CALIBRATION.npz EVALUATION.npz OUT BUDGET_S FLOOR

Olive's own pass for networks on a processor (OnnxQuantization: 8 bits, dynamic or static, with the values that it searches by itself), its
TPE sampler, its own metrics of latency and accuracy. Writes OUT/result.json: the best model that keeps the
floor by Olive's own ranking, and what it measured.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

os.environ["OLIVE_DISABLE_TELEMETRY"] = "1"

import numpy as np


class Rows:
    """Rows as (inputs by name, label)."""

    def __init__(self, path: str, name: str, count: int) -> None:
        with np.load(path) as data:
            self._x, self._y, self._name = data["x"][:count], data["y"][:count], name

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, place: int) -> tuple[dict[str, np.ndarray], int]:
        return {self._name: self._x[place]}, int(self._y[place])


def share_right(model: str, path: str) -> float:
    """The share of right answers of an ONNX file on the rows at `path`."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    with np.load(path) as data:
        answers = session.run(None, {session.get_inputs()[0].name: data["x"]})[0]
        return float((answers.argmax(-1) == data["y"]).mean())


def workflow(model: str, calibration: str, evaluation: str, out: str, budget_s: float, floor: float) -> dict[str, object]:
    """Return the configuration that `olive run` takes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    with np.load(evaluation) as data:
        class_count = int(data["y"].max()) + 1

    def rows(label: str, path: str, count: int, batch: int) -> dict[str, object]:
        return {
            "name": label,
            "type": "DataContainer",
            "user_script": str(Path(__file__).resolve()),
            "load_dataset_config": {"type": "npz_rows", "params": {"path": path, "name": name, "count": count}},
            "pre_process_data_config": {"type": "skip_pre_process"},
            "post_process_data_config": {"type": "largest"},
            "dataloader_config": {"type": "default_dataloader", "params": {"batch_size": batch}},
        }

    score = {
        "name": "accuracy_score",
        "priority": 2,
        "metric_config": {"task": "multiclass", "num_classes": class_count},
        "goal": {"type": "threshold", "value": share_right(model, evaluation) - floor},
    }
    metrics = [
        {"name": "accuracy", "type": "accuracy", "backend": "torch_metrics", "data_config": "evaluation", "sub_types": [score]},
        {
            "name": "latency",
            "type": "latency",
            "backend": "torch_metrics",
            "data_config": "one_row",
            "sub_types": [{"name": "avg", "priority": 1}],
        },
    ]
    return {
        "input_model": {"type": "OnnxModel", "model_path": model},
        "systems": {"local": {"type": "LocalSystem", "accelerators": [{"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}]}},
        "data_configs": [
            rows("calibration", calibration, 512, 32),
            rows("evaluation", evaluation, 100_000, 100),
            rows("one_row", evaluation, 64, 1),
        ],
        "evaluators": {"both": {"type": "OnnxEvaluator", "metrics": metrics}},
        "passes": {"quantize": {"type": "OnnxQuantization", "data_config": "calibration"}},
        "search_strategy": {"execution_order": "joint", "sampler": "tpe", "max_iter": 200, "max_time": int(budget_s)},
        "evaluator": "both",
        "host": "local",
        "target": "local",
        "output_dir": out,
        "cache_dir": str(Path(out) / "cache"),
        "log_severity_level": 3,
    }


def main() -> None:
    model, calibration, evaluation, out, budget_s, floor = sys.argv[1:]
    import olive
    from olive.workflows import run

    started = time.perf_counter()
    output = run(workflow(model, calibration, evaluation, out, float(budget_s), float(floor)))
    best = output.get_best_candidate() if output is not None and output.has_output_model() else None
    found = {
        "seconds": time.perf_counter() - started,
        "version": olive.__version__,
        "model": best.model_path if best is not None else None,
        "metrics": best.metrics_value if best is not None else None,
    }
    Path(out, "result.json").write_text(json.dumps(found, default=str))


try:
    from olive.data.registry import Registry

    @Registry.register_dataset()
    def npz_rows(path: str, name: str, count: int, **_rest) -> Rows:
        """The rows of an .npz file."""
        return Rows(path, name, count)

    @Registry.register_post_process()
    def largest(output, **_rest):
        """The place of the largest score."""
        import torch

        scores = output[0] if isinstance(output, list | tuple) else next(iter(output.values())) if isinstance(output, dict) else output
        return torch.as_tensor(np.asarray(scores)).argmax(-1)
except ImportError:
    pass

if __name__ == "__main__":
    main()
