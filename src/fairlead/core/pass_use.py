"""A pass with its settings, as a person writes it: `clean_graph`, `prune_structured(ratio=0.5)`. Pure values.

    quantize_static_int8,prune_structured(ratio=0.5, is_global=true)
    distill_network(width=0.25, note="half a line")

Numbers without a point are whole; true and false are flags; everything else is text, in double quotes where it is no plain word. Raises
SpecError that shows what was understood and what would have been right. `str()` of a PassUse parses to the same value.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from fairlead.errors import SpecError

Setting = str | int | float | bool
_NAME = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_VALUE = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[^,()"\s]+)\s*')
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_EXAMPLE = "Write it like quantize_static_int8 or prune_structured(ratio=0.5), several with commas between."


@dataclass(frozen=True)
class PassUse:
    """The pass called `name` with `settings`; what is not set is the pass's own default."""

    name: str
    settings: Mapping[str, Setting] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.settings:
            return self.name
        return f"{self.name}({', '.join(f'{key}={_written(value)}' for key, value in self.settings.items())})"


def parse_pass(text: str) -> PassUse:
    """Parse one pass; raises SpecError."""
    uses = parse_passes(text)
    if len(uses) != 1:
        raise SpecError(f"'{text[:200]}' is not one pass.", hint=_EXAMPLE)
    return uses[0]


def parse_passes(text: str) -> tuple[PassUse, ...]:
    """Parse passes with commas between; raises SpecError. Empty text is no pass."""
    uses: list[PassUse] = []
    place = 0
    while text[place:].strip():
        name = _NAME.match(text, place)
        if name is None:
            raise _unreadable(text, place)
        place = name.end()
        settings: dict[str, Setting] = {}
        if text[place : place + 1] == "(":
            settings, place = _settings(text, place + 1)
        uses.append(PassUse(name[1], settings))
        rest = text[place:].lstrip()
        if rest and not rest.startswith(","):
            raise _unreadable(text, place)
        if rest.startswith(",") and not rest[1:].strip():
            raise _unreadable(text, len(text))
        place = len(text) - len(rest) + 1 if rest else len(text)
    return tuple(uses)


def _settings(text: str, place: int) -> tuple[dict[str, Setting], int]:
    """Return the settings that stand from `place` on, and the place behind their closing bracket."""
    settings: dict[str, Setting] = {}
    while True:
        name = _NAME.match(text, place)
        if name is None or text[name.end() : name.end() + 1] != "=":
            raise _unreadable(text, place)
        value = _VALUE.match(text, name.end() + 1)
        if value is None:
            raise _unreadable(text, name.end() + 1)
        if name[1] in settings:
            raise SpecError(f"'{name[1]}' is set twice in '{text[:200]}'.", hint="Keep one of them.")
        settings[name[1]] = _read(value[1], text)
        place = value.end() + 1
        if text[value.end() : place] == ")":
            return settings, place
        if text[value.end() : place] != ",":
            raise _unreadable(text, value.end())


def _read(word: str, text: str) -> Setting:
    if word.startswith('"'):
        try:
            return str(json.loads(word))
        except ValueError:
            raise SpecError(f"{word[:80]} in '{text[:200]}' is not readable text.", hint=_EXAMPLE) from None
    if word in ("true", "false"):
        return word == "true"
    if _WHOLE.fullmatch(word):
        return int(word)
    try:
        number = float(word)
    except ValueError:
        if _WORD.fullmatch(word):
            return word
        raise SpecError(f"'{word[:80]}' in '{text[:200]}' is neither a number nor a word.", hint=_EXAMPLE) from None
    if not math.isfinite(number):
        raise SpecError(f"'{word[:80]}' in '{text[:200]}' is not a finite number.", hint=_EXAMPLE)
    return number


def _written(value: Setting) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        is_plain = _WORD.fullmatch(value) and value.lower() not in ("true", "false", "nan", "inf", "infinity")
        return value if is_plain else json.dumps(value)
    return repr(value)


def _unreadable(text: str, place: int) -> SpecError:
    return SpecError(f"Cannot read '{text[:200]}' from '{text[place : place + 40]}' on.", hint=_EXAMPLE)
