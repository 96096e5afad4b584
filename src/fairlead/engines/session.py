"""Settings of an engine's session, as a candidate has them: "name=value" each. Pure.

Takes texts and the settings that an engine has; gives values by name. Raises SpecError for a setting or a value that it does not have. What
is not said stays the engine's default, which is the first of the values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fairlead.errors import SpecError

Settings = Mapping[str, tuple[str, ...]]  # name -> values, the default first


def read_session(texts: Sequence[str], known: Settings, *, engine: str) -> dict[str, str]:
    """Return the value of each setting that `texts` name."""
    found: dict[str, str] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if value not in known.get(name, ()):
            hint = "; ".join(f"{one}={'|'.join(values)}" for one, values in known.items())
            raise SpecError(f"{engine} has no setting '{text}'.", hint=f"Known: {hint or 'none'}.")
        found[name] = value
    return found
