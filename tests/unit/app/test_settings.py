from __future__ import annotations

import os
import pwd

import pytest

from fairlead.errors import SpecError
from fairlead.settings import load_settings


def test_who_says_nothing_is_called_as_the_system_calls_him_whatever_the_environment_claims():
    name = pwd.getpwuid(os.getuid()).pw_name
    assert load_settings({"USER": "somebody", "LOGNAME": "somebody"}).user == name
    assert load_settings({"FAIRLEAD_USER": ""}).user == name


def test_a_name_is_printable_text():
    assert load_settings({"FAIRLEAD_USER": "Ann Müller"}).user == "Ann Müller"
    for name in ("a\nb", " ann", "x" * 129, "\x1b[1m"):
        with pytest.raises(SpecError, match="name of a user"):
            load_settings({"FAIRLEAD_USER": name})


def test_a_user_without_an_entry_is_called_by_number(monkeypatch):
    def unknown(_: int) -> object:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert load_settings({}).user == f"uid-{os.getuid()}"
