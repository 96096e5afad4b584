"""What a server's recording goes by: each model's share and redaction, its training data's categories, the key of hashes, and retention.

Takes a House; gives shares and redactors, and removes what is too old. Raises FairleadErrors where the registry or the log is away; what
was read before stays in force. A model whose rules cannot be read is not kept.
"""

from __future__ import annotations

import math
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fairlead.app.observing_rules import ObservingRules, all_rules, redaction_of
from fairlead.app.redaction import Redactor, known_of
from fairlead.app.wiring import House
from fairlead.core.interface import Interface
from fairlead.core.observation_log import ObservationWriter
from fairlead.core.ports import Clock
from fairlead.core.profile import Profile
from fairlead.core.redaction import RedactionRules, Rule, Treatment, parse_rules
from fairlead.core.version import Version
from fairlead.errors import CorruptError, NotFoundError, SpecError, StorageError
from fairlead.stores.document import load
from fairlead.stores.durable_files import make_folder, typed_errors
from fairlead.stores.version_files import read_file

KEY_FILE = "observe.key"
PROFILE_FILE = "profile.json"
_KEY_BYTES = 32
_REDACTOR_LIMIT = 64
_JUMP_S = 3600.0  # more than a clock is ever set right by
_DISBELIEF_S = 86_400.0
_NOTHING = RedactionRules((Rule("*", Treatment.DROP),))


class Rulebook:
    """The rules of all models. `share` is that of models for which nothing is said. Read by one thread; asked by any.

    `monotonic` tells whether the clock has jumped: for a day after that nothing is removed for its age, since a wrong one would remove all.
    """

    def __init__(self, house: House, share: float, *, monotonic: Clock = time.monotonic) -> None:
        self._house, self._share, self._monotonic = house, share, monotonic
        self._offset, self._believed_from = house.clock() - monotonic(), -math.inf
        parse_rules(house.settings.observe_redact)  # what is wrong with it is said at the start
        self._rules: dict[str, ObservingRules] = all_rules(house.records)

    def share_of(self, model: str) -> float:
        """Return which share of the model's requests is kept."""
        rules = self._rules.get(model)
        if rules is None:
            return self._share
        if not rules.is_on:
            return 0.0
        return self._share if rules.share is None else rules.share

    def redaction_of(self, model: str) -> RedactionRules:
        """Return the rules for the model's columns; where they make no sense, nothing is kept."""
        try:
            return redaction_of(self._rules.get(model, ObservingRules()), self._house.settings)
        except SpecError:
            return _NOTHING

    def read(self) -> bool:
        """Read the rules anew; returns whether they changed."""
        before, self._rules = self._rules, all_rules(self._house.records)
        return self._rules != before

    def prune(self, log: ObservationWriter) -> float:
        """Remove what is too old or too much, and return the bytes that are left."""
        settings, now = self._house.settings, self._believed_clock()
        for model in log.models():
            rules = self._rules.get(model, ObservingRules())
            keep_s = settings.observe_keep_s if rules.keep_s is None else rules.keep_s
            log.prune(model=model, before=now - (keep_s or math.inf), keep_bytes=rules.keep_bytes or math.inf)
        return log.prune(keep_bytes=settings.observe_keep_bytes or math.inf).left_bytes

    def _believed_clock(self) -> float:
        """Return the time; minus infinity, before which nothing is old, for a day after the clock has jumped."""
        now, ticks = self._house.clock(), self._monotonic()
        if abs(now - ticks - self._offset) > _JUMP_S:
            self._believed_from = ticks + _DISBELIEF_S
        self._offset = now - ticks
        return now if ticks >= self._believed_from else -math.inf


class Redactors:
    """The redactor of each version. `pause` is called between pieces of long work."""

    def __init__(self, house: House, rulebook: Rulebook, pause: Callable[[], None]) -> None:
        self._house, self._rulebook, self._pause = house, rulebook, pause
        self._key = read_key(house)
        self._found: dict[tuple[str, int], Redactor] = {}

    def of(self, version: Version, interface: Interface) -> Redactor:
        """Return the redactor of a version."""
        key = (version.name, version.number)
        redactor = self._found.get(key)
        if redactor is None:
            if len(self._found) >= _REDACTOR_LIMIT:
                self._found.clear()
            rules = self._rulebook.redaction_of(version.name)
            try:
                known = known_of(interface, self._profile(version))
            except StorageError:  # the registry is away: until it is back, no text is known
                return Redactor(interface, rules, known_of(interface, None), self._key, pause=self._pause)
            redactor = self._found[key] = Redactor(interface, rules, known, self._key, pause=self._pause)
        return redactor

    def forget(self) -> None:
        """Make them anew when they are needed: the rules have changed."""
        self._found.clear()

    def _profile(self, version: Version) -> Profile | None:
        """Return what the version's training data looked like, where anybody noted it."""
        try:
            return load(read_file(version, PROFILE_FILE, self._house.blobs), Profile)
        except (NotFoundError, CorruptError):
            return None


def read_key(house: House) -> bytes:
    """Return what hashes of texts are made with: what the settings say, or a key of this home, which is made once. Raises StorageError."""
    given = house.settings.observe_key
    if given:
        return given.encode("utf-8", "replace")[:64]  # as long as BLAKE2b takes
    path = house.settings.home / KEY_FILE
    with typed_errors("the key of observations", house.settings.home):
        with suppress(FileExistsError):
            _make_key(path)
        return path.read_bytes()


def _make_key(path: Path) -> None:
    """Write a new key, whole or not at all; raises FileExistsError where there is one."""
    make_folder(path.parent)
    incoming = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    handle = os.open(incoming, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(handle, secrets.token_bytes(_KEY_BYTES))
        os.fsync(handle)
        os.link(incoming, path)
    finally:
        os.close(handle)
        incoming.unlink()
