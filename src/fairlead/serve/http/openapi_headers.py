"""The headers of inference requests and their answers in the OpenAPI documents: who is asked for, and who answered. Pure.

Takes the path of a route, and the plan by which a model's requests are divided, if any; gives plain data. The values of segments are not
shown: they may name customers.
"""

from __future__ import annotations

from typing import Any

from fairlead.core.traffic import TrafficPlan, header_name

_TEXT = {"type": "string"}
_ASKED = {
    "Fairlead-Version": ({"type": "string", "pattern": "^v?[1-9][0-9]{0,8}$"}, "Have this version answer, outside of any release."),
    "Fairlead-Arm": (
        {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,32}$"},
        "Have this arm of the release answer: `live`, `candidate`. Not together with Fairlead-Version.",
    ),
    "X-Request-Id": (
        {"type": "string", "minLength": 1, "maxLength": 128},
        "The request's id, which the answer, the log and late labels have, too; the server makes one where there is none.",
    ),
}
_ANSWERED = {
    "X-Request-Id": "The request's id.",
    "Fairlead-Version": "The version that answered; in V2's own form only where a release divides requests.",
    "Fairlead-Arm": "The arm that answered, where a release divides requests.",
}
PARAMETERS: dict[str, Any] = {
    name: {"name": name, "in": "header", "required": False, "schema": schema, "description": said}
    for name, (schema, said) in _ASKED.items()
}
HEADERS: dict[str, Any] = {name: {"schema": _TEXT, "description": said} for name, said in _ANSWERED.items()}


def asked(path: str, plan: TrafficPlan | None = None) -> list[dict[str, Any]]:
    """Return the headers that an inference request at `path` may have; a path that names a version leaves nothing to say of it."""
    names = ("X-Request-Id",) if "{version}" in path else PARAMETERS
    found = [{"$ref": f"#/components/parameters/{name}"} for name in names]
    if plan is None or "{version}" in path:
        return found
    said = {segment.header.lower(): f"Some of its values lead to an arm of release {plan.release}." for segment in plan.segments}
    if plan.sticky:
        more = f" Equal values are answered by one arm of release {plan.release}; so is the parameter `{plan.sticky}`, which counts first."
        said[header_name(plan.sticky)] = (said.get(header_name(plan.sticky), "") + more).strip()
    return found + [{"name": name, "in": "header", "required": False, "schema": _TEXT, "description": text} for name, text in said.items()]


def answered() -> dict[str, Any]:
    """Return the headers of an answer."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in HEADERS}
