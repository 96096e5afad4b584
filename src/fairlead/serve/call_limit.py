"""How many calls of one model's engines may be under way at once, all its versions together.

Takes a text of limits; gives a CallLimit for each model, which the schedulers of its versions share: one takes a place before each call and
gives it back when the call has ended. Raises SpecError for a text that makes no sense. Laws: never more places are taken than there are;
schedulers that find none are served in the order in which they came, so that no version starves another one. What is run to compare or
to explain takes none: the place would be missing to a caller until the call has ended. It belongs to the event loop's thread and takes no
lock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias
from weakref import WeakValueDictionary

from fairlead.core.interface import shorten
from fairlead.core.version import check_name
from fairlead.errors import SpecError

_FORM = "Write a number of calls, such as 4, names of their own, such as digits=1, or both, divided by commas; 0 is no limit."
Wake: TypeAlias = Callable[[], None]


@dataclass(frozen=True)
class ConcurrencyLimits:
    """Calls at once: `default` for every model, and what models named in `by_model` have instead; 0: no limit."""

    default: int = 0
    by_model: Mapping[str, int] = field(default_factory=dict)

    def of(self, model: str) -> int:
        """Return the limit of `model`; 0: none."""
        return self.by_model.get(model, self.default)


def parse_limits(text: str) -> ConcurrencyLimits:
    """Return the limits that `text` says: `4`, `digits=1`, or `4, digits=1, fraud=2`; raises SpecError."""
    default: int | None = None
    by_model: dict[str, int] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, separator, number = (part.strip() for part in item.rpartition("="))
        count = int(number) if number.isascii() and number.isdecimal() and len(number) < 10 else None
        if count is None:
            raise SpecError(f"'{shorten(item)}' is no limit of calls at once.", hint=_FORM)
        if separator:
            if by_model.setdefault(check_name(name), count) != count:
                raise SpecError(f"Model '{name}' has two limits of calls at once.", hint="Give each model one.")
        elif default is None:
            default = count
        else:
            raise SpecError("There are two limits of calls at once for all models.", hint=_FORM)
    return ConcurrencyLimits(default or 0, by_model)


class CallLimit:
    """`limit` places for calls of one model."""

    def __init__(self, limit: int) -> None:
        self.limit, self.taken = limit, 0
        self._line: dict[Wake, None] = {}  # who found no place, in order

    def take(self, wake: Wake) -> bool:
        """Take a place, or stand in line for one: `wake` is called when it is that one's turn."""
        if self.taken >= self.limit or (self._line and next(iter(self._line)) != wake):
            self._line.setdefault(wake)
            return False
        self._line.pop(wake, None)
        self.taken += 1
        return True

    def give_back(self) -> None:
        """Give a place back."""
        self.taken -= 1
        self._call_next()

    def leave(self, wake: Wake) -> None:
        """Leave the line, if in it: there is nothing left to call."""
        if wake in self._line:
            del self._line[wake]
            self._call_next()

    def _call_next(self) -> None:
        if self._line and self.taken < self.limit:
            next(iter(self._line))()


class CallLimits:
    """The CallLimit of each model; versions that follow each other share it."""

    def __init__(self, limits: ConcurrencyLimits) -> None:
        self._limits = limits
        self._by_model: WeakValueDictionary[str, CallLimit] = WeakValueDictionary()

    def of(self, model: str) -> CallLimit | None:
        """Return what the versions of `model` share; None where it has no limit."""
        count = self._limits.of(model)
        if not count:
            return None
        shared = self._by_model.get(model)
        if shared is None:
            shared = self._by_model[model] = CallLimit(count)
        return shared
