"""What a server says about itself and its models, by the protocol alone.

Takes an HttpClient; gives ModelFacts. Raises NotFoundError where no model can be found or the named one is not there, UnavailableError
where the server does not answer, DataError and UnsupportedError where its metadata cannot be used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fairlead.core.interface import TensorSpec, shorten
from fairlead.errors import NotFoundError
from fairlead.probe.http_client import HttpClient
from fairlead.probe.tensors import is_batchable, read_specs


@dataclass(frozen=True)
class ModelFacts:
    """A model's metadata. `versions` may be empty: the protocol lets a server leave them out."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def path(self) -> str:
        """Where the model is found."""
        return f"/v2/models/{quote(self.name, safe='')}"

    @property
    def is_batchable(self) -> bool:
        """Whether it takes and gives any number of rows."""
        return is_batchable(self.inputs) and is_batchable(self.outputs)


def list_models(client: HttpClient) -> tuple[str, ...]:
    """Return the names of ready models: from the repository's index, or from KServe's list; () where the server offers neither."""
    index = client.ask("POST", "/v2/repository/index", b"{}", {"Content-Type": "application/json"})
    if index.status == 200 and isinstance(index.content, list):
        entries = [entry for entry in index.content if isinstance(entry, dict) and "name" in entry]
        ready = [str(entry["name"]) for entry in entries if entry.get("state", "READY") in {"READY", "", None}]
        return tuple(dict.fromkeys(ready))
    listed = client.get("/v2/models")
    models = listed.content.get("models") if listed.status == 200 and isinstance(listed.content, dict) else None
    return tuple(str(name) for name in models) if isinstance(models, list) else ()


def choose_model(client: HttpClient, name: str | None) -> str:
    """Return `name`, or the first ready model's."""
    if name is not None:
        return name
    listed = list_models(client)
    if not listed:
        raise NotFoundError(f"{client.url} lists no ready model.", hint="Name one with --model.")
    return listed[0]


def describe_model(client: HttpClient, name: str) -> ModelFacts:
    """Return what the server says about the model `name`."""
    exchange = client.require(client.get(f"/v2/models/{quote(name, safe='')}"))
    content = exchange.content
    if exchange.status != 200 or not isinstance(content, dict):
        raise NotFoundError(f"The server does not describe the model '{shorten(name)}': {exchange.came}", hint="See --model.")
    return ModelFacts(
        name=name,
        versions=tuple(str(version) for version in content.get("versions") or ()),
        platform=str(content.get("platform", "")),
        inputs=read_specs(content.get("inputs")),
        outputs=read_specs(content.get("outputs")),
    )


def describe_server(client: HttpClient) -> dict[str, Any]:
    """Return the server's metadata; {} where it has none."""
    content = client.require(client.get("/v2")).content
    return content if isinstance(content, dict) else {}
