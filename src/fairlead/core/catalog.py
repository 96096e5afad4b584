"""The index of a room's variants: name -> "module:attribute", imported on first use and extended by entry points.

Raises UnsupportedError for an unknown name, MissingExtraError where the variant's library is not installed.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from fairlead.errors import MissingExtraError, UnsupportedError


@dataclass(frozen=True)
class Variant:
    """Where a variant lives and the extra that brings its library ("" for none)."""

    location: str
    extra: str = ""


@dataclass(frozen=True)
class Catalog:
    """`kind` is what a person calls the variants ("engine"); `group` is the entry-point group that may add more."""

    kind: str
    group: str
    variants: Mapping[str, Variant] = field(default_factory=dict)

    def names(self) -> tuple[str, ...]:
        """Return every name, built-in ones first."""
        added = {point.name for point in metadata.entry_points(group=self.group)} - set(self.variants)
        return (*self.variants, *sorted(added))

    def load(self, name: str) -> Any:
        """Import and return the variant called `name`. Built-in names cannot be taken over by an entry point."""
        variant = self.variants.get(name)
        if variant is None:
            for point in metadata.entry_points(group=self.group):
                if point.name == name:
                    return point.load()
            raise UnsupportedError(f"There is no {self.kind} '{name}'.", hint=f"Known: {', '.join(self.names())}.")
        module, _, attribute = variant.location.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            if not variant.extra or (error.name or "").startswith("fairlead"):
                raise
            raise MissingExtraError(variant.extra, needed_for=f"The {self.kind} '{name}'") from error
