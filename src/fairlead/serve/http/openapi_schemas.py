"""The schemas of the OpenAPI documents: what requests and answers look like, whatever the model. Data only."""

from __future__ import annotations

from typing import Any

from fairlead.core.dtype import DType

_PARAMETERS = {"type": ["object", "null"], "additionalProperties": {"type": ["string", "number", "boolean", "null"]}}
_TENSOR = {
    "name": {"type": "string"},
    "shape": {"type": "array", "items": {"type": "integer"}},
    "datatype": {"enum": [dtype.value for dtype in DType]},
    "parameters": _PARAMETERS,
    "data": {"type": ["array", "null"]},
}
_LABEL = {"type": ["string", "number", "boolean", "array"], "items": {"type": ["string", "number", "boolean"]}}
_LABELLED = {"request_id": {"type": "string", "minLength": 1, "maxLength": 128}, "label": _LABEL}
_COUNT = {"type": "integer", "minimum": 0}
SCHEMAS: dict[str, Any] = {
    "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
    "InferRequest": {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": ["string", "null"]},
            "parameters": _PARAMETERS,
            "inputs": {
                "type": "array",
                "items": {"type": "object", "required": ["name", "shape", "datatype"], "properties": _TENSOR},
            },
            "outputs": {
                "type": ["array", "null"],
                "items": {"type": "object", "required": ["name"], "properties": {"name": _TENSOR["name"], "parameters": _PARAMETERS}},
            },
        },
    },
    "InferResponse": {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "parameters": _PARAMETERS,
            "outputs": {
                "type": "array",
                "items": {"type": "object", "required": ["name", "shape", "datatype"], "properties": _TENSOR},
            },
        },
    },
    "Predict": {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "properties": {"input": {}, "inputs": {}, "instances": {"type": "array"}},
        "additionalProperties": False,
    },
    "Prediction": {
        "type": "object",
        "required": ["prediction", "model", "version"],
        "properties": {"prediction": {}, "labels": {"type": "array"}, "model": {"type": "string"}, "version": {"type": "integer"}},
    },
    "Invocation": {
        "type": "object",
        "minProperties": 1,
        "properties": {
            "dataframe_split": {
                "type": "object",
                "required": ["data"],
                "properties": {"columns": {"type": "array"}, "index": {}, "data": {"type": "array", "items": {"type": "array"}}},
            },
            "dataframe_records": {"type": "array", "items": {"type": "object"}},
            "instances": {"type": "array"},
            "inputs": {},
        },
    },
    "Predictions": {"type": "object", "required": ["predictions"], "properties": {"predictions": {}}},
    "Feedback": {
        "type": "object",
        "properties": {
            "labels": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["request_id", "label"],
                    "properties": _LABELLED,
                    "additionalProperties": False,
                },
            },
            **_LABELLED,
        },
        "additionalProperties": False,
    },
    "ExplainRequest": {
        "type": "object",
        "properties": {
            "input": {},
            "inputs": {},
            "instances": {"type": "array"},
            "kind": {"enum": ["explanation", "counterfactual", "rule"]},
            "of": {"type": ["string", "integer"]},
            "to": {"type": ["string", "number"]},
            "keep": {"type": "array", "items": {"type": "string"}},
            "method": {"type": "string"},
            "seed": {"type": "integer"},
            "budget_s": {"type": "number", "exclusiveMinimum": 0},
        },
        "additionalProperties": False,
    },
    "Explained": {
        "type": "object",
        "required": ["model", "version"],
        "properties": {
            "model": {"type": "string"},
            "version": {"type": "integer"},
            "explanations": {"type": "array", "items": {"type": "object"}},
            "counterfactuals": {"type": "array", "items": {"type": ["object", "null"]}},
            "rules": {"type": "array", "items": {"type": "object"}},
        },
    },
    "Joining": {
        "type": "object",
        "required": ["model", "joined", "unknown", "duplicate", "ambiguous", "kept"],
        "properties": {"model": {"type": "string"}} | dict.fromkeys(("joined", "unknown", "duplicate", "ambiguous", "kept"), _COUNT),
    },
    "Index": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["name", "version", "state", "reason"],
            "properties": {name: {"type": "string"} for name in ("name", "version", "state", "reason")},
        },
    },
    "IndexRequest": {"type": "object", "properties": {"ready": {"type": ["boolean", "null"]}}},
    "OperateRequest": {"type": "object", "properties": {"parameters": _PARAMETERS}},
    "TensorFlowRequest": {
        "type": "object",
        "properties": {"instances": {"type": "array"}, "inputs": {}, "signature_name": {"type": "string"}},
    },
}
