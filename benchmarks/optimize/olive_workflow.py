"""One Olive workflow over an ONNX network: run by against_olive.py with the interpreter of an environment that has olive-ai.

    PYTHON olive_workflow.py MODEL CALIBRATION.npz EVALUATION.npz OUT BUDGET_S FLOOR

Olive's own passes for networks on a processor (8-bit quantization, dynamic and static, with its own values to search; half precision), its
TPE sampler, its own latency metric; accuracy by a function on the evaluation rows. Writes OUT/result.json: the best model that keeps the
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


def accuracy(model, _device=None, _providers=None, *, path: str, name: str, **_rest) -> dict[str, float]:
    """The share of right answers of an Olive model on the rows at `path`."""
    import onnxruntime

    with np.load(path) as data:
        x, y = data["x"], data["y"]
    session = onnxruntime.InferenceSession(model.model_path, providers=["CPUExecutionProvider"])
    answers = session.run(None, {name: x})[0]
    return {"right": float((answers.argmax(-1) == y).mean())}


def workflow(model: str, calibration: str, evaluation: str, out: str, budget_s: float, floor: float) -> dict[str, object]:
    """Return the configuration that `olive run` takes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    right = accuracy(type("Model", (), {"model_path": model}), path=evaluation, name=name)["right"]

    def rows(label: str, path: str, count: int, batch: int) -> dict[str, object]:
        return {
            "name": label,
            "type": "DataContainer",
            "user_script": str(Path(__file__).resolve()),
            "load_dataset_config": {"type": "npz_rows", "params": {"path": path, "name": name, "count": count}},
            "pre_process_data_config": {"type": "skip_pre_process"},
            "post_process_data_config": {"type": "skip_post_process"},
            "dataloader_config": {"params": {"batch_size": batch}},
        }

    script = {"user_script": str(Path(__file__).resolve())}
    known = {"evaluate_func": "accuracy", "evaluate_func_kwargs": {"path": evaluation, "name": name}}
    metrics = [
        {
            "name": "accuracy",
            "type": "custom",
            "backend": "torch_metrics",
            "user_config": {**script, **known},
            "sub_types": [
                {"name": "right", "priority": 2, "higher_is_better": True, "goal": {"type": "threshold", "value": right - floor}},
            ],
        },
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
        "systems": {
            "local": {"type": "LocalSystem", "accelerators": [{"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}]}
        },
        "data_configs": [rows("calibration", calibration, 512, 32), rows("one_row", evaluation, 64, 1)],
        "evaluators": {"both": {"metrics": metrics}},
        "passes": {
            "quantize": [
                {"type": "OnnxDynamicQuantization"},
                {"type": "OnnxStaticQuantization", "data_config": "calibration"},
                {"type": "OnnxFloatToFloat16", "keep_io_types": True},
            ]
        },
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
        "count": len(output.get_output_models()) if output is not None else 0,
        "model": best.model_path if best is not None else None,
        "metrics": best.metrics_value if best is not None else None,
        "pass": best.from_pass if best is not None else None,
        "config": best.get_inference_config() if best is not None else None,
    }
    Path(out, "result.json").write_text(json.dumps(found, default=str))


try:
    from olive.data.registry import Registry

    @Registry.register_dataset()
    def npz_rows(path: str, name: str, count: int, **_rest) -> Rows:
        """The rows of an .npz file."""
        return Rows(path, name, count)
except ImportError:
    pass

if __name__ == "__main__":
    main()
