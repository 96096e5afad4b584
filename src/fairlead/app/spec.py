"""fairlead.yaml: one file that says what to deploy, on what evidence, for what promise.

Takes the file's text, gives a Spec; raises SpecError that names the key, the nearest right one, and the line where YAML itself is
broken. Never follows a path in it and never builds objects from YAML tags.
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec
import yaml
from msgspec import Meta

from fairlead.app.plan_spec import BudgetSpec, LoadSpec, StrategySpec
from fairlead.core.interface import Task
from fairlead.core.requirement import Requirement, parse_requirements
from fairlead.core.strategy import Need, Scenario
from fairlead.errors import SpecError

S = TypeVar("S", bound=msgspec.Struct)
SIZE_LIMIT_BYTES = 2**20
SCHEMA_ID = "urn:fairlead:schema:fairlead-yaml:1"


class DataSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Rows to prove the model with."""

    path: Annotated[str, Meta(description="A .npz, .npy, .csv or .parquet file, relative to this file.")]
    target: Annotated[str | None, Meta(description="Column (or array) that holds the right answers.")] = None


class TargetSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What one replica may use."""

    hardware: Annotated[str, Meta(description="Kind of hardware.", pattern="^cpu$")] = "cpu"
    cores: Annotated[int, Meta(description="CPU cores that one replica may use.", ge=1, le=1024)] = 1


class SourceSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a model does not say itself: the class of PyTorch weights, the inputs of TorchScript, the server of a URI."""

    model_class: Annotated[str | None, Meta(description="package.module:Class (or function) that the weights belong to.")] = None
    arguments: Annotated[dict[str, str | int | float | bool | None], Meta(description="Keyword arguments of that class.")] = {}
    inputs: Annotated[list[str], Meta(description="Inputs, such as x=float32[batch,3,224,224].")] = []
    import_paths: Annotated[list[str], Meta(description="Folders with the class's module, relative to this file.")] = []
    signature: Annotated[str | None, Meta(description="Which signature of a TensorFlow SavedModel that has several.")] = None
    rename: Annotated[dict[str, str], Meta(description="What clients call a tensor, by its own name: {dense_3: scores}.")] = {}
    tracking_uri: Annotated[str | None, Meta(description="MLflow server of models:/ and runs:/; MLFLOW_TRACKING_URI unless given.")] = None


class ServeSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How `fairlead serve` listens."""

    host: Annotated[str | None, Meta(description="Address to listen on; 127.0.0.1 unless you say otherwise.")] = None
    port: Annotated[Annotated[int, Meta(ge=0, le=65535)] | None, Meta(description="TCP port to listen on.")] = None
    default: Annotated[str | None, Meta(description="Model that answers /predict where several are served.")] = None


class Spec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A deployment: the model, the data that proves it, the promise, and where it runs."""

    model: Annotated[str | None, Meta(description="The model file, relative to this file; or a URI of MLflow (models:/, runs:/).")] = None
    name: Annotated[str | None, Meta(description="Name to register it under; the file's name unless given.")] = None
    data: Annotated[str | DataSpec | None, Meta(description="Rows to prove the model with: a path, or path and target.")] = None
    require: Annotated[
        list[str] | dict[str, str], Meta(description="The promise: 'accuracy>=0.95', ... or a mapping from metric to '>=0.95'.")
    ] = []
    task: Annotated[Task | None, Meta(description="What the model is for, where it cannot be told from the model.")] = None
    source: Annotated[SourceSpec, Meta(description="What the model file does not say itself.")] = SourceSpec()
    engine: Annotated[str | None, Meta(description="The engine to run it; the fastest on this machine unless given.")] = None
    target: Annotated[TargetSpec, Meta(description="What one replica may use.")] = TargetSpec()
    serve: Annotated[ServeSpec, Meta(description="How `fairlead serve` listens.")] = ServeSpec()
    train: Annotated[str | None, Meta(description="Rows with right answers that passes may train on; never those that prove it.")] = None
    scenario: Annotated[Scenario | None, Meta(description="A trade whose usual needs are taken: see docs/reference/planning.md.")] = None
    needs: Annotated[list[Need], Meta(description="What is true of the deployment: user-facing, regulated, offline, edge.")] = []
    load: Annotated[LoadSpec | None, Meta(description="The load that has to be carried.")] = None
    budget: Annotated[BudgetSpec | None, Meta(description="What the machines may cost.")] = None
    strategy: Annotated[StrategySpec, Meta(description="What you want otherwise than scenario and needs bring it.")] = StrategySpec()
    catalogue: Annotated[str | None, Meta(description="Your own catalogue of machines and prices, relative to this file.")] = None

    def data_path(self) -> str | None:
        """Return the data file as written, or None."""
        return self.data.path if isinstance(self.data, DataSpec) else self.data

    def data_target(self) -> str | None:
        """Return the column of right answers, or None."""
        return self.data.target if isinstance(self.data, DataSpec) else None

    def requirements(self) -> tuple[Requirement, ...]:
        """Return the typed promise; raises RequirementError."""
        texts = self.require if isinstance(self.require, list) else [f"{metric}{bound}" for metric, bound in self.require.items()]
        return parse_requirements(texts)


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of fairlead.yaml, for editors."""
    schema = msgspec.json.schema(Spec)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, "title": "fairlead.yaml", **schema}


def read_spec(path: Path) -> Spec:
    """Read a spec file; raises SpecError."""
    return parse_spec(read_text(path), name=str(path))


def read_text(path: Path) -> bytes:
    """Return the bytes of a YAML file that a person wrote; raises SpecError."""
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT_BYTES + 1)
    except OSError as error:
        raise SpecError(f"Cannot read '{path}': {error.strerror}.", hint="Give the path of a YAML file that you may read.") from error
    if len(data) > SIZE_LIMIT_BYTES:
        raise SpecError(f"'{path}' is larger than 1 MiB.", hint="A fairlead.yaml has a few dozen lines.")
    return data


def parse_spec(text: bytes | str, *, name: str = "fairlead.yaml") -> Spec:
    """Parse the text of a spec file; raises SpecError."""
    return parse_as(Spec, text, name=name, start="model: model.h5", hint=_hint)


def parse_as(kind: type[S], text: bytes | str, *, name: str, start: str, hint: Callable[[Mapping[str, Any]], str]) -> S:
    """Parse YAML as a `kind`; raises SpecError. `start` is how such a file begins, `hint` what to say of one whose values do not fit."""
    try:
        plain = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - _StrictLoader is SafeLoader that also refuses doubles
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SpecError(f"{name} is not YAML: {_first_line(error)}", hint="Check the indentation and the quotes at that place.") from error
    if plain is None:
        plain = {}
    if not isinstance(plain, dict):
        raise SpecError(f"{name} holds a {type(plain).__name__}, not keys and values.", hint=f"Start with `{start}`.")
    _check_keys(plain, kind, name, "")
    try:
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        choices = _choices(kind, str(error))
        raise SpecError(f"{name}: {_readable(str(error))}", hint=f"Known: {', '.join(choices)}." if choices else hint(plain)) from error


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, and aliases (a small file of aliases can expand to gigabytes)."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not allowed", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.MarkedYAMLError(problem=f"the key '{key}' is given twice", problem_mark=key_node.start_mark)
            if isinstance(key, str):
                seen.add(key)
        return super().construct_mapping(node, deep)


def _check_keys(plain: Mapping[Any, Any], kind: type[msgspec.Struct], name: str, where: str) -> None:
    """Raise SpecError for a key that `kind` does not have; names the nearest."""
    known = [item.name for item in msgspec.structs.fields(kind)]
    hints = get_type_hints(kind)
    for key, value in plain.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            hint = f"Did you mean '{near[0]}'?" if near else f"Known keys: {', '.join(known)}."
            raise SpecError(f"{name}: unknown key '{where}{str(key)[:64]}'.", hint=hint)
        choices = () if get_origin(hints[key]) in (dict, list) else get_args(hints[key])
        nested = [item for item in (hints[key], *choices) if isinstance(item, type) and issubclass(item, msgspec.Struct)]
        if nested and isinstance(value, dict):
            _check_keys(value, nested[0], name, f"{where}{key}.")
            continue
        inner = next((item for item in reversed(get_args(hints[key])) if isinstance(item, type) and issubclass(item, msgspec.Struct)), None)
        if inner is not None and get_origin(hints[key]) in (dict, list):  # keys of the user's own, or a list: each with known keys
            pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
            for own, item in pairs:
                if isinstance(item, dict):
                    _check_keys(item, inner, name, f"{where}{key}.{str(own)[:64]}.")


def _choices(kind: Any, message: str) -> tuple[str, ...]:
    """Return the values of the enumeration that msgspec missed one of, () for any other message."""
    problem, _, place = message.partition(" - at `$")
    if not problem.startswith("Invalid enum value"):
        return ()
    for part in place.strip(".`").split("."):
        name = part.partition("[")[0]
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            return ()
        hint = get_type_hints(kind).get(name)
        kind = next(
            (item for item in (hint, *get_args(hint)) if isinstance(item, type) and issubclass(item, msgspec.Struct | enum.Enum)), None
        )
    return tuple(str(item.value) for item in kind) if isinstance(kind, type) and issubclass(kind, enum.Enum) else ()


def _hint(plain: Mapping[str, Any]) -> str:
    if isinstance(plain.get("target"), str):
        return "`target` says what a replica may use. The column of right answers goes under data: {path: rows.csv, target: label}."
    return "`fairlead schema` prints what each key takes."


def _readable(message: str) -> str:
    """Turn msgspec's `... - at `$.serve.port`` into `serve.port: ...`."""
    text, _, place = message.partition(" - at `$")
    return f"{place.strip('.`')}: {text}." if place.strip(".`") else f"{text}."


def _first_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}." if mark is not None else f"{problem}."
