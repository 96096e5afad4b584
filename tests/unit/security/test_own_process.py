from __future__ import annotations

import resource
from dataclasses import fields

import pytest

from fairlead.cli.main import run
from fairlead.security.own_process import environment_without_secrets, leave_no_core
from fairlead.settings import PREFIX, Settings


def test_variables_that_are_named_like_a_secret_are_left_out() -> None:
    kept = {
        "PATH": "1", "HOME": "2", "FAIRLEAD_HOME": "3", "FAIRLEAD_ENGINES": "4", "KERAS_BACKEND": "5", "OMP_NUM_THREADS": "6",
        "LC_ALL": "7", "LD_LIBRARY_PATH": "8", "TOKENIZERS_PARALLELISM": "9", "KEYBOARD": "10", "AUTHOR": "11",
    }  # fmt: skip
    secret = (
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PGPASSWORD", "FAIRLEAD_REGISTRY", "FAIRLEAD_OTLP_HEADERS",
        "FAIRLEAD_OBSERVE_KEY", "GITHUB_TOKEN", "OPENAI_API_KEY", "DB_PASSWD", "SMTP_PASSWORD", "MLFLOW_TRACKING_URI",
        "aws_secret_access_key",
    )  # fmt: skip
    assert environment_without_secrets(kept | dict.fromkeys(secret, "x")) == kept


def test_no_secret_setting_is_handed_on() -> None:
    names = {PREFIX + one.name.upper() for one in fields(Settings) if one.metadata["is_secret"]}
    assert names
    assert environment_without_secrets(dict.fromkeys(names, "x")) == {}


def test_a_core_is_not_written_but_could_be_again() -> None:
    before = resource.getrlimit(resource.RLIMIT_CORE)
    try:
        leave_no_core()
        assert resource.getrlimit(resource.RLIMIT_CORE) == (0, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


@pytest.mark.parametrize("command", [["serve", "nobody"], ["collect", "nobody:1"], ["alerts", "run", "nobody", "--once"]])
def test_what_runs_on_and_holds_secrets_leaves_no_core(command: list[str]) -> None:
    before = resource.getrlimit(resource.RLIMIT_CORE)
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
        assert run(command) == 5
        assert resource.getrlimit(resource.RLIMIT_CORE) == (0, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
