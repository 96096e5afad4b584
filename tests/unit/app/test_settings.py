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


def test_a_secret_may_stand_in_a_file(tmp_path):
    file = tmp_path / "registry"
    file.write_text("postgresql://ann:secret@db/models\n")
    assert load_settings({"FAIRLEAD_REGISTRY_FILE": str(file)}).registry == "postgresql://ann:secret@db/models"
    assert load_settings({"FAIRLEAD_HOST_FILE": str(file)}).host == "127.0.0.1"  # no secret: as any variable that means nothing
    with pytest.raises(SpecError, match="both set"):
        load_settings({"FAIRLEAD_REGISTRY_FILE": str(file), "FAIRLEAD_REGISTRY": "postgresql://db/other"})


def test_a_file_that_holds_no_secret_is_said_without_telling_what_it_holds(tmp_path):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "long").write_text("x" * 70_000)
    for name, why in (("absent", "No such file"), ("bytes", "no text"), ("long", "too long"), (".", "directory")):
        with pytest.raises(SpecError, match=why):
            load_settings({"FAIRLEAD_OBSERVE_KEY_FILE": str(tmp_path / name)})


@pytest.mark.parametrize("variable", ["FAIRLEAD_HOME", "FAIRLEAD_OBSERVE_KEY_FILE"])
def test_a_folder_of_nobody_is_a_mistake_of_the_setting(variable):
    with pytest.raises(SpecError, match=f"Nobody knows where '~no-such-user' is, with which {variable} begins"):
        load_settings({variable: "~no-such-user/place"})
