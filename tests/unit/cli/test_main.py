"""The front door: help, near misses, and one line for every error."""

from __future__ import annotations

import importlib
import json

import click
import pytest

from fairlead import errors
from fairlead.cli.exit_codes import EXIT_CODES, MEANINGS, exit_code
from fairlead.cli.main import COMMANDS, run


def all_errors(root: type[errors.FairleadError] = errors.FairleadError) -> list[type[errors.FairleadError]]:
    public = [child for child in root.__subclasses__() if child.__module__ == errors.__name__]
    return [root, *(kind for child in public for kind in all_errors(child))]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_loaded_and_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module, _, attribute = COMMANDS[name][0].partition(":")
    assert isinstance(getattr(importlib.import_module(module), attribute), click.Command)
    assert run([name, "--help"]) == 0
    assert "Usage: fairlead" in capsys.readouterr().out


def test_help_shows_examples_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    printed = capsys.readouterr().out
    assert "fairlead deploy model.h5" in printed
    assert "4  rejected: a requirement is not met" in printed


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["shw"]) == 2
    assert "Did you mean 'show'?" in capsys.readouterr().err


def test_a_mistake_in_a_command_leads_to_its_own_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["alerts", "add", "pigeon", "home"]) == 2
    assert "See: fairlead alerts add --help" in capsys.readouterr().err
    assert run(["deploy", "--no-such-option"]) == 2
    assert "See: fairlead deploy --help" in capsys.readouterr().err


def test_every_error_class_has_its_own_code_and_a_status_with_a_meaning() -> None:
    kinds = all_errors()
    assert len({kind.code for kind in kinds}) == len(kinds)
    for kind in kinds[1:]:
        assert kind in EXIT_CODES or any(parent in EXIT_CODES for parent in kind.__mro__)
    assert set(EXIT_CODES.values()) <= set(MEANINGS)


def test_a_subclass_takes_the_status_of_its_nearest_class() -> None:
    assert exit_code(errors.SourceError) == 3
    assert exit_code(errors.UnsafeContentError) == 7
    assert exit_code(errors.NoSpaceError) == 9


def test_errors_are_json_where_json_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", "no such name", "--json"]) == 2
    said = json.loads(capsys.readouterr().err)
    assert said["code"] == "bad_spec"
    assert "cannot name a model" in said["error"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_each_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    assert "_FAIRLEAD_COMPLETE" in capsys.readouterr().out


def test_nothing_is_coloured_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    run(["nonsense"])
    captured = capsys.readouterr()
    assert "\x1b[" not in captured.out + captured.err
