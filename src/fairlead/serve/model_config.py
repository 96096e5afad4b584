"""A served version's configuration in the words of Triton's ModelConfig, as far as they are true here. Pure.

Takes a ServedVersion and what is wanted of its model; gives JSON data that fits the message `inference.ModelConfig`. Fields that would say
something untrue are left out rather than filled.
"""

from __future__ import annotations

from typing import Any

from fairlead.core.aspired import Aspired
from fairlead.core.dtype import DType
from fairlead.core.interface import TensorSpec
from fairlead.serve.joining import has_free_batch
from fairlead.serve.model_table import ServedVersion

_TYPE_NAMES = {DType.BYTES: "TYPE_STRING"}


def model_config(served: ServedVersion, aspired: Aspired) -> dict[str, Any]:
    """Return the configuration. `max_batch_size` 0 means that dims hold the batch dimension too, as the protocol says.

    Dims are without the batch dimension where rows may be joined to batches; a free dimension is -1.
    """
    interface, policy = served.interface, served.scheduler.policy
    is_batched = policy.is_enabled and policy.max_rows > 1 and has_free_batch(interface)
    runtime = served.executor.description
    config: dict[str, Any] = {
        "name": served.version.name,
        "platform": served.platform,
        "backend": served.backend,
        "version_policy": {"specific": {"versions": [version.number for version in aspired.versions] or [served.version.number]}},
        "max_batch_size": policy.max_rows if is_batched else 0,
        "input": [_tensor(spec, is_batched=is_batched) for spec in interface.inputs],
        "output": [_tensor(spec, is_batched=is_batched) for spec in interface.outputs],
        "instance_group": [{"name": served.version.name, "kind": "KIND_CPU", "count": served.scheduler.slot_count}],
        "parameters": {
            "digest": {"string_value": served.version.digest},
            "runtime": {"string_value": runtime},
            "is_deterministic": {"string_value": str(served.is_deterministic).lower()},
        },
    }
    if is_batched:
        config["dynamic_batching"] = {
            "preferred_batch_size": list(policy.preferred_rows),
            "max_queue_delay_microseconds": round(policy.max_delay_ms * 1e3),
        }
    return config


def _tensor(spec: TensorSpec, *, is_batched: bool) -> dict[str, Any]:
    dims = spec.shape[1:] if is_batched else spec.shape
    return {
        "name": spec.name,
        "data_type": _TYPE_NAMES.get(spec.dtype, f"TYPE_{spec.dtype.value}"),
        "dims": [-1 if size is None else size for size in dims],
    }
