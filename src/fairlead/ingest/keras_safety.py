"""The gate before a Keras config is used: every node that names a class is on the allow-list, or the file is refused.

Takes the parsed config, gives findings with the place of each. Raises (from `check_config`) UnsafeContentError for what could run code
or reach outside, UnsupportedError for custom classes. Never imports or looks up anything that the file names.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fairlead.core.interface import shorten
from fairlead.errors import UnsafeContentError, UnsupportedError
from fairlead.ingest.keras_names import ACTIVATION_FUNCTIONS, CODE_CLASSES, OPERATOR_CLASSES, is_allowed, is_operation

_FUNCTION_MODULES = ("builtins", "keras.activations", "keras.src.activations.activations", "tf_keras.activations", "")
_CODE_HINT = "Fairlead runs no code from a model file. Replace it by built-in layers and save the model again."
_CUSTOM_HINT = "Only layers that Keras itself has can be read. Build the model from those, or convert it to ONNX yourself."


@dataclass(frozen=True)
class Refusal:
    """One node that is not allowed. `place` says where, as a path of layer names and keys."""

    is_unsafe: bool
    what: str
    place: str

    def error(self) -> UnsafeContentError | UnsupportedError:
        """Return the error that refuses the file."""
        message = f"{self.what} (at {self.place})."
        return UnsafeContentError(message, hint=_CODE_HINT) if self.is_unsafe else UnsupportedError(message, hint=_CUSTOM_HINT)


def check_config(config: dict[str, Any]) -> None:
    """Raise for the worst node of `config` that is not allowed: unsafe ones before unknown ones."""
    refusals = sorted(find_refusals(config), key=lambda refusal: not refusal.is_unsafe)
    if refusals:
        raise refusals[0].error()


def refuse_unsafe(config: dict[str, Any]) -> None:
    """Raise UnsafeContentError for the first node of `config` that could run code or reach outside, and nothing for the others."""
    for refusal in find_refusals(config):
        if refusal.is_unsafe:
            raise refusal.error()


def find_refusals(config: dict[str, Any]) -> list[Refusal]:
    """Return every node of `config` that is not allowed, in order."""
    return [refusal for place, node in _nodes(config) if (refusal := _judge(node, place)) is not None]


def _nodes(config: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every dict with its place. The settings of training (`compile_config` of the whole model) are never read by anything."""
    top = {key: value for key, value in config.items() if key != "compile_config"}
    stack: list[tuple[str, Any]] = [("", top)]
    while stack:
        place, value = stack.pop()
        if isinstance(value, dict):
            name = value.get("config", {}).get("name") if isinstance(value.get("config"), dict) else value.get("name")
            label = f"layer '{shorten(name)}'" if isinstance(name, str) and "class_name" in value else ""
            here = " > ".join(part for part in (place, label) if part)
            yield here or "the model", value
            stack.extend((here if key == "config" else _join(here, key), child) for key, child in reversed(value.items()))
        elif isinstance(value, list):
            stack.extend((place, child) for child in reversed(value))


def _join(place: str, key: str) -> str:
    return place if key in ("layers", "args", "inbound_nodes", "kwargs") else f"{place} > {shorten(key)}" if place else shorten(key)


def _judge(node: dict[str, Any], place: str) -> Refusal | None:
    if not {"class_name", "module", "registered_name"} & node.keys():
        return None
    class_name, module, registered = (node.get(key) for key in ("class_name", "module", "registered_name"))
    if isinstance(class_name, str) and class_name in CODE_CLASSES:
        return Refusal(is_unsafe=True, what=f"The layer {shorten(class_name)} {CODE_CLASSES[class_name]}", place=place)
    if not isinstance(class_name, str) or not isinstance(module, str | None) or not isinstance(registered, str | None):
        return Refusal(is_unsafe=True, what="A part of the config names no class that Keras could have written", place=place)
    shown = shorten(class_name)
    if class_name in OPERATOR_CLASSES:
        function = node["config"].get("function") if isinstance(node.get("config"), dict) else None
        return Refusal(is_unsafe=False, what=f"The TensorFlow operator '{shorten(str(function))}' ({shown}) is not known", place=place)
    if class_name == "function":
        return _judge_function(node, module or "", place)
    if is_allowed(module or "", class_name):
        if registered in (None, class_name) or not registered:
            return None
        return Refusal(
            is_unsafe=False, what=f"The custom class '{shorten(registered)}' calls itself {shown} but is not Keras's", place=place
        )
    if is_operation(module or "", class_name):
        return Refusal(is_unsafe=False, what=f"The operator {shown} of Keras is not one that Fairlead knows", place=place)
    if module and not _looks_custom(node, class_name, module):
        return Refusal(
            is_unsafe=True, what=f"The config names '{shorten(f'{module}.{class_name}')}', which is no layer of Keras", place=place
        )
    return Refusal(is_unsafe=False, what=f"The class {shown} is not one that Fairlead knows", place=place)


def _judge_function(node: dict[str, Any], module: str, place: str) -> Refusal | None:
    name = node.get("config")
    if module in _FUNCTION_MODULES and isinstance(name, str) and name in ACTIVATION_FUNCTIONS:
        return None
    text = f"{module}.{name}" if module else str(name)
    return Refusal(is_unsafe=True, what=f"The config names the function '{shorten(text)}'", place=place)


def _looks_custom(node: dict[str, Any], class_name: str, module: str) -> bool:
    """Whether this is how Keras writes a class of the user's own: not Keras's, not Python's own, registered, with a config."""
    root = module.partition(".")[0]
    is_foreign = root not in sys.stdlib_module_names | {"keras", "tf_keras", "tensorflow"} or root == "__main__"
    return is_foreign and class_name[:1].isupper() and isinstance(node.get("config"), dict) and isinstance(node.get("registered_name"), str)
