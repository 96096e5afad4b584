"""The OpenAPI 3.1 documents of a running server: its routes, and each loaded model with a request that it is known to answer.

Takes the route table and what is loaded; gives plain data. Pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from fairlead.core.dtype import DType
from fairlead.core.interface import Array, TensorSpec
from fairlead.core.traffic import TrafficPlan
from fairlead.serve.http.openapi_headers import HEADERS, PARAMETERS, answered, asked
from fairlead.serve.http.openapi_schemas import SCHEMAS
from fairlead.serve.http.routes import Accepts, Permission, Route
from fairlead.serve.model_table import ModelTable, ServedVersion
from fairlead.serve.records import column_names, example
from fairlead.serve.tensor_json import plain

_PARAMETER = re.compile(r"\{(\w+)\}")
_DESCRIPTIONS = {"name": "Model name", "version": "Version number, e.g. 3 or v3", "label": "Alias, e.g. production"}
_REQUESTS = {
    "/predict": "Predict",
    "/invocations": "Invocation",
    "/feedback": "Feedback",
    "/v1/models/{name}:feedback": "Feedback",
    "/v2/models/{name}/feedback": "Feedback",
    "/v1/models/{name}:explain": "ExplainRequest",
    "/v2/models/{name}/explain": "ExplainRequest",
    "/v2/models/{name}/versions/{version}/explain": "ExplainRequest",
    "/v2/repository/index": "IndexRequest",
    "/v2/repository/models/{name}/load": "OperateRequest",
    "/v2/repository/models/{name}/unload": "OperateRequest",
}
_ANSWERS = {
    "/predict": "Prediction",
    "/invocations": "Predictions",
    "/v2/repository/index": "Index",
    "/feedback": "Joining",
    "/v1/models/{name}:feedback": "Joining",
    "/v2/models/{name}/feedback": "Joining",
    "/v1/models/{name}:explain": "Explained",
    "/v2/models/{name}/explain": "Explained",
    "/v2/models/{name}/versions/{version}/explain": "Explained",
}
_TEXTS = {"/ping": "An empty line", "/health": "An empty line", "/version": "The version", "/metrics": "Metrics"}
_EXAMPLE_LIMIT = 4096
_RAW = {
    "schema": {"type": "string", "format": "binary", "description": "JSON, and raw tensors behind it: Inference-Header-Content-Length."}
}


def document(routes: Iterable[Route], table: ModelTable, version: str) -> dict[str, Any]:
    """Return the document for the routes and for what is loaded now."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.pattern, {})[route.method.lower()] = _operation(route)
    for name, model in sorted(table.models.items()):
        served = model.versions.get(model.default)
        if served is not None:
            path = f"/v2/models/{name}/infer"
            paths[path] = {"post": _model_operation(served, path, model.traffic)}
    return _whole(paths, "Fairlead", version, "Models served by Fairlead (Open Inference Protocol V2).")


def model_document(
    routes: Iterable[Route], served: ServedVersion, parameters: Mapping[str, str], version: str, plan: TrafficPlan | None = None
) -> dict[str, Any]:
    """Return the document for one model: its own paths, with `parameters` (its name, and the version where one is named) in place; `plan`
    is that of the release that divides its requests.
    """
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        names = set(_PARAMETER.findall(route.pattern))
        if names == set(parameters):
            path = _PARAMETER.sub(lambda match: quote(parameters[match[1]], safe=""), route.pattern)
            is_inference = route.accepts is Accepts.TENSORS
            operation = _model_operation(served, route.pattern, plan) if is_inference else _operation(route)
            if _asks_a_model(route):
                operation["parameters"] = asked(route.pattern, plan)
            else:
                operation.pop("parameters", None)
            paths.setdefault(path, {})[route.method.lower()] = operation
    return _whole(paths, served.version.name, str(served.version.number), f"Served by Fairlead {version} (Open Inference Protocol V2).")


def _whole(paths: dict[str, dict[str, Any]], title: str, version: str, description: str) -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": description},
        "paths": paths,
        "components": {"schemas": SCHEMAS, "parameters": PARAMETERS, "headers": HEADERS},
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{route.pattern}").rstrip("_"),
        "summary": route.summary,
        "x-permission": route.permission.value,
        "responses": _responses(_answer_schema(route), _TEXTS.get(route.pattern, ""), answered() if _asks_a_model(route) else None),
    }
    if route.pattern == "/v2/":
        operation["operationId"] += "_slash"
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "description": _DESCRIPTIONS[name], "schema": {"type": "string"}}
        for name in _PARAMETER.findall(route.pattern)
    ]
    if _asks_a_model(route):
        parameters += asked(route.pattern)
    if parameters:
        operation["parameters"] = parameters
    if route.accepts is not Accepts.NOTHING:
        operation["requestBody"] = _body(route)
    return operation


def _asks_a_model(route: Route) -> bool:
    return route.permission is Permission.INFER and not route.pattern.endswith(("feedback", "explain"))


def _model_operation(served: ServedVersion, path: str, plan: TrafficPlan | None) -> dict[str, Any]:
    """The inference operation of one model, with a request that it answers: its own first golden one."""
    name, interface = served.version.name, served.interface
    content: dict[str, Any] = {"schema": {"$ref": "#/components/schemas/InferRequest"}}
    tensors = [_example_tensor(spec, served.example.get(spec.name)) for spec in interface.inputs]
    if all(tensors):
        content["example"] = {"inputs": tensors}
    columns = column_names(interface)
    takes = "; ".join(spec.describe() for spec in interface.inputs)
    gives = "; ".join(spec.describe() for spec in interface.outputs)
    more = f" Columns: {', '.join(columns)}." if any(spec.columns for spec in interface.inputs) else ""
    return {
        "operationId": f"infer_{re.sub(r'[^a-z0-9]', lambda match: f'_{ord(match[0]):x}_', name)}",
        "summary": f"Ask {name}",
        "description": f"Takes {takes}. Gives {gives}.{more}",
        "x-permission": Permission.INFER.value,
        "parameters": asked(path, plan),
        "requestBody": {"required": True, "content": {"application/json": content, "application/octet-stream": _RAW}},
        "responses": _responses("InferResponse", headers=answered()),
    }


def _example_tensor(spec: TensorSpec, golden: Array | None) -> dict[str, Any] | None:
    """None for an input without a JSON form, or one that nobody would read."""
    shape = [1 if size is None else size for size in spec.shape] if golden is None else list(golden.shape)
    if spec.dtype is DType.FP16 or math.prod(shape) > _EXAMPLE_LIMIT:
        return None
    data = [example(spec)] if golden is None else plain(golden)
    return {"name": spec.name, "shape": shape, "datatype": spec.dtype.value, "data": data}


def _answer_schema(route: Route) -> str:
    if route.method != "POST":
        return ""
    return _ANSWERS.get(route.pattern, "InferResponse" if route.accepts is Accepts.TENSORS else "")


def _body(route: Route) -> dict[str, Any]:
    schema = "InferRequest" if route.accepts is Accepts.TENSORS else _REQUESTS.get(route.pattern, "")
    if route.pattern.endswith(":predict"):
        schema = "TensorFlowRequest"
    content: dict[str, Any] = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"} if schema else {"type": "object"}}}
    if route.accepts is Accepts.TENSORS:
        content["application/octet-stream"] = _RAW
    elif route.accepts is Accepts.TABLE:
        content["text/csv"] = {"schema": {"type": "string", "description": "A line of column names, then one line for each row."}}
    return {"required": route.accepts is not Accepts.OPTIONAL_JSON, "content": content}


def _responses(schema: str, text: str = "", headers: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return what is answered: JSON of a schema, or a text."""
    form = {"$ref": f"#/components/schemas/{schema}"} if schema else {"type": "object"}
    good = {"text/plain": {"schema": {"type": "string", "description": text}}} if text else {"application/json": {"schema": form}}
    bad = {"description": "What was wrong", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    more = {} if headers is None else {"headers": headers}
    return {"200": {"description": "The answer", "content": good, **more}, "default": bad}
