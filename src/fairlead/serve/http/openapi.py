"""The OpenAPI 3.1 document of a running server: its routes, and each loaded model with its own inputs as example.

Takes the route table and the model table; gives plain data. Pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.serve.http.routes import Route
from fairlead.serve.model_table import ModelTable
from fairlead.serve.records import column_names, example

_PARAMETER = re.compile(r"\{(\w+)\}")
_DESCRIPTIONS = {"name": "Model name", "version": "Version number, e.g. 3 or v3", "label": "Alias, e.g. production"}
_PARAMETERS = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
_TENSOR = {
    "name": {"type": "string"},
    "shape": {"type": "array", "items": {"type": "integer"}},
    "datatype": {"enum": [dtype.value for dtype in DType]},
    "parameters": _PARAMETERS,
    "data": {"type": "array"},
}
_SCHEMAS: dict[str, Any] = {
    "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
    "InferRequest": {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": _PARAMETERS,
            "inputs": {
                "type": "array",
                "items": {"type": "object", "required": ["name", "shape", "datatype", "data"], "properties": _TENSOR},
            },
            "outputs": {
                "type": "array",
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
            "outputs": {
                "type": "array",
                "items": {"type": "object", "required": ["name", "shape", "datatype", "data"], "properties": _TENSOR},
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
    "TensorFlowRequest": {
        "type": "object",
        "properties": {"instances": {"type": "array"}, "inputs": {}, "signature_name": {"type": "string"}},
    },
}


def document(routes: Iterable[Route], table: ModelTable, version: str) -> dict[str, Any]:
    """Return the document for the routes and for what is loaded now."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.pattern, {})[route.method.lower()] = _operation(route)
    for name, model in sorted(table.models.items()):
        served = model.versions.get(model.default)
        if served is not None:
            paths[f"/v2/models/{name}/infer"] = {"post": _model_operation(name, served.interface)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Fairlead", "version": version, "description": "Models served by Fairlead (Open Inference Protocol V2)."},
        "paths": paths,
        "components": {"schemas": _SCHEMAS},
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{route.pattern}").rstrip("_"),
        "summary": route.summary,
        "x-permission": route.permission.value,
        "responses": _responses(_answer_schema(route)),
    }
    if route.pattern == "/v2/":
        operation["operationId"] += "_slash"
    parameters = _PARAMETER.findall(route.pattern)
    if parameters:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "description": _DESCRIPTIONS[name], "schema": {"type": "string"}}
            for name in parameters
        ]
    schema = _request_schema(route)
    if schema:
        operation["requestBody"] = _body({"$ref": f"#/components/schemas/{schema}"})
    return operation


def _model_operation(name: str, interface: Interface) -> dict[str, Any]:
    """The inference operation of one model, with a request that it answers."""
    body = _body({"$ref": "#/components/schemas/InferRequest"})
    body["content"]["application/json"]["example"] = {"inputs": [_example_tensor(spec) for spec in interface.inputs]}
    columns = column_names(interface)
    takes = "; ".join(spec.describe() for spec in interface.inputs)
    gives = "; ".join(spec.describe() for spec in interface.outputs)
    more = f" Columns: {', '.join(columns)}." if any(spec.columns for spec in interface.inputs) else ""
    return {
        "operationId": f"infer_{re.sub(r'[^a-z0-9]', lambda match: f'_{ord(match[0]):x}_', name)}",
        "summary": f"Ask {name}",
        "description": f"Takes {takes}. Gives {gives}.{more}",
        "requestBody": body,
        "responses": _responses("InferResponse"),
    }


def _example_tensor(spec: TensorSpec) -> dict[str, Any]:
    shape = [1 if size is None else size for size in spec.shape]
    if math.prod(shape) > 4096:  # an example that nobody would read
        return {"name": spec.name, "shape": shape, "datatype": spec.dtype.value, "data": []}
    return {"name": spec.name, "shape": shape, "datatype": spec.dtype.value, "data": [example(spec)]}


def _request_schema(route: Route) -> str:
    if route.method != "POST":
        return ""
    return "Predict" if route.pattern == "/predict" else "TensorFlowRequest" if route.pattern.endswith(":predict") else "InferRequest"


def _answer_schema(route: Route) -> str:
    if route.method != "POST" or route.pattern.endswith(":predict"):
        return ""
    return "Prediction" if route.pattern == "/predict" else "InferResponse"


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _responses(schema: str) -> dict[str, Any]:
    good = {"$ref": f"#/components/schemas/{schema}"} if schema else {"type": "object"}
    bad = {"description": "What was wrong", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    return {"200": {"description": "The answer", "content": {"application/json": {"schema": good}}}, "default": bad}
