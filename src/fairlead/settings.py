"""Every setting of Fairlead, once: name with its unit, default, environment variable (FAIRLEAD_ + upper-case name), one sentence.

A secret one may stand in a file that FAIRLEAD_ + name + _FILE names, so that no list of processes shows it. Only `app` and the front
doors read settings; steps and tools are handed what they need. Raises SpecError for a value that does not fit.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from fairlead.errors import SpecError

PREFIX = "FAIRLEAD_"
FROM_FILE = "_FILE"
_SECRET_LIMIT = 65536


def _setting(default: Any, sentence: str, *, is_secret: bool = False) -> Any:
    return field(default=default, metadata={"sentence": sentence, "is_secret": is_secret}, repr=not is_secret)


@dataclass(frozen=True)
class Settings:
    """All settings with their defaults. Paths may start with ~."""

    home: Path = _setting(Path("~/.fairlead"), "Folder of the registry, its blobs and work in progress.")
    user: str = _setting("", "Who you are: written to what you publish, approve and change; empty: the system's name for you.")
    registry: str = _setting(
        "", "URL of a registry that several machines share: postgresql://user@host/database; empty: in the home folder.", is_secret=True
    )
    blobs: str = _setting("", "Where its files are: s3://bucket/prefix, or a folder; empty: in the home folder.")
    s3_endpoint: str = _setting("", "URL of the store that `s3://` means; empty: Amazon's.")
    host: str = _setting("127.0.0.1", "Address that `serve` listens on; loopback unless you say otherwise.")
    port: int = _setting(8080, "TCP port that `serve` listens on.")
    grpc_port: str = _setting("", "TCP port for gRPC: a number, 0 (the system chooses) or none; empty: one above the HTTP port.")
    seed: int = _setting(0, "Seed of everything random: drawn rows, bootstrap intervals.")
    follow_interval_s: float = _setting(0.5, "How often a running server looks for moved aliases.")
    grace_s: float = _setting(10.0, "How long a stopping server waits for work in flight.")
    body_limit_bytes: int = _setting(64 * 2**20, "Largest request body.")
    header_deadline_s: float = _setting(10.0, "Time in which a request's headers have to arrive.")
    body_deadline_s: float = _setting(30.0, "Time in which a request's body has to arrive, plus 1 s per MiB.")
    connection_limit: int = _setting(1024, "Connections open at once; more are closed at once.")
    queue_limit: int = _setting(128, "Requests of one model that wait or run at once; more are refused with 503.")
    max_concurrency: str = _setting(
        "", "Calls of a model's engines at once, all versions together: 4 for each model, digits=1 for one, or both; empty: one per core."
    )
    request_timeout_s: float = _setting(60.0, "Longest time that a request may take; then it is answered with 504; 0: for ever.")
    batch_rows_limit: int = _setting(64, "Rows of several requests that the engine takes in one call; 1: never more than one request.")
    batch_delay_ms: float = _setting(2.0, "How long a request may wait for company where measured times say that it pays; 0: never.")
    worker_count: int = _setting(0, "Processes that run each version, sharing its weights; 0: it runs in the server's own process.")
    call_limit_s: float = _setting(0.0, "A worker that takes longer for one call is replaced; 0: what is learned from the golden requests.")
    cache_bytes: int = _setting(0, "Memory for answers that are given again to equal requests; 0: none are kept.")
    version_policy: str = _setting("alias", "Which versions `serve` loads of a model: alias, latest:N or all.")
    memory_budget_bytes: int = _setting(
        0, "Memory for all loaded versions; idle ones are unloaded until they are asked again; 0: no limit."
    )
    twin_share: float = _setting(
        0.0, "Share of requests that also runs on the uncompressed original of a compressed version, to be compared; 0: none."
    )
    keep_warm_s: float = _setting(300.0, "How long the version that answered before stays loaded, for a rollback; 0: it goes at once.")
    load_timeout_s: float = _setting(600.0, "Time that loading a version may take.")
    allow_model_control: bool = _setting(False, "Let clients load and unload models over the network.")
    strict_readiness: bool = _setting(False, "Be ready only while every model serves; else one that cannot be loaded is no obstacle.")
    log_format: str = _setting("text", "What the log of `serve` is written as: text, or json with a line per event.")
    access_log: bool = _setting(False, "Log every request, not only those that failed or were slow.")
    slow_request_ms: float = _setting(1000.0, "Requests that take this long are logged; 0: none are slow.")
    observe: bool = _setting(True, "Keep what `serve` answers, redacted, in the observation log.")
    observe_share: float = _setting(1.0, "Share of the requests that is kept, of models for which nothing else is said.")
    observe_redact: str = _setting("", "Rules for what is kept of inputs and answers, beside the model's own: email=drop, age=bucket(10).")
    observe_flush_s: float = _setting(10.0, "How long answers wait in memory before they are written, at most.")
    observe_keep_s: float = _setting(30 * 86_400.0, "How long observations are kept; 0: for ever.")
    observe_keep_bytes: int = _setting(4 * 2**30, "What the observations of all models may take, together; the oldest go; 0: no limit.")
    observe_key: str = _setting(
        "", "What hashes of texts are made with, where several servers write one log; empty: a key of this home.", is_secret=True
    )
    observations: str = _setting("", "Where the observation log is: s3://bucket/prefix, or a folder; empty: in the home folder.")
    explain_rows: int = _setting(100, "Rows of the data that `deploy` keeps with a version, for answers to be explained against; 0: none.")
    explain_concurrency: int = _setting(1, "Explanations that `serve` works on at once, each in a process; more are refused with 503.")
    explain_budget_s: float = _setting(2.0, "Longest time that `serve` spends on explaining one request.")
    otlp_endpoint: str = _setting("", "URL of an OpenTelemetry collector (OTLP over HTTP) for traces; empty: no traces.")
    otlp_headers: str = _setting(
        "", "Headers for the collector: name=value pairs, divided by commas, percent-encoded; never printed.", is_secret=True
    )
    trace_ratio: float = _setting(1.0, "Share of requests that are traced where the caller has not decided it; at most 100 a second.")
    allow_private_webhooks: bool = _setting(False, "Let webhooks and alerts reach loopback, private and link-local addresses.")
    allow_alert_commands: bool = _setting(False, "Start commands of alerts that a shared registry names; those of your own registry are.")
    sandbox_memory_bytes: int = _setting(0, "Address space of a sandboxed worker; 0: what the job usually needs (4 GiB, frameworks more).")
    sandbox_wall_s: float = _setting(0.0, "Time that a sandboxed worker may take; 0: what the job usually needs (300 s).")
    sandbox_strict: bool = _setting(False, "Refuse to open foreign files where a sandbox layer is missing.")
    verify_call_count: int = _setting(1000, "Timed calls per batch size, at most.")
    verify_time_s: float = _setting(1.0, "Time spent on timed calls per batch size, at most.")
    engines: str = _setting("", "Engines that `deploy` may choose from, separated by commas; empty: all that are installed.")
    search_time_s: float = _setting(
        60.0, "Time that `deploy` spends on finding a compressed model where the converted one does not keep the promise; 0: none."
    )
    engine_choice_time_s: float = _setting(0.3, "Time spent per engine and batch size on finding out which one is fastest.")
    search_pair_time_s: float = _setting(2.0, "Time spent in a search on finding out which of two models is faster, at most.")


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings with FAIRLEAD_* of `environment` (the process's own by default) applied; raises SpecError."""
    source = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    for item in fields(Settings):
        text = source.get(PREFIX + item.name.upper())
        if item.metadata["is_secret"]:
            text = _secret(PREFIX + item.name.upper(), text, source)
        if text is not None:
            values[item.name] = _parse(item.name, item.default, text)
    settings = Settings(**values)
    # Processes of ours work in folders of their own: the home is taken by its whole path.
    home = _expanded(settings.home, "FAIRLEAD_HOME").absolute()
    return replace(settings, home=home, user=check_user(settings.user) or _system_user())


def _secret(variable: str, text: str | None, source: Mapping[str, str]) -> str | None:
    """Return `text`, or what stands in the file that VARIABLE_FILE names, as mounted secrets do; raises SpecError."""
    path = source.get(variable + FROM_FILE)
    if not path:
        return text
    if text:
        raise SpecError(f"{variable} and {variable}{FROM_FILE} are both set.", hint="Leave one of them out.")
    try:
        with _expanded(Path(path), variable + FROM_FILE).open(encoding="utf-8") as file:
            found = file.read(_SECRET_LIMIT + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise SpecError(f"The file that {variable}{FROM_FILE} names cannot be read: {reason}.", hint="Name a text file with it.") from None
    if len(found) > _SECRET_LIMIT:
        raise SpecError(f"The file that {variable}{FROM_FILE} names is too long for a secret.", hint=f"At most {_SECRET_LIMIT} characters.")
    return found.strip()


def _expanded(path: Path, variable: str) -> Path:
    """Return `path` with the folder that ~ stands for; raises SpecError where nobody knows it."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise SpecError(f"Nobody knows where '{path.parts[0]}' is, with which {variable} begins.", hint="Set it to a whole path.") from None


def check_user(name: str) -> str:
    """Return `name` if it can be a person's (or is empty); raises SpecError."""
    if len(name) > 128 or not name.isprintable() or name != name.strip():
        raise SpecError("That cannot be the name of a user.", hint="Use at most 128 printable characters, without spaces around them.")
    return name


def _system_user() -> str:
    """Return who the system says that runs this process: what the environment claims is not asked."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid-{os.getuid()}"


def _parse(name: str, default: Any, text: str) -> Any:
    try:
        if isinstance(default, bool):
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[text.lower()]
        return type(default)(text) if not isinstance(default, Path) else Path(text)
    except (KeyError, ValueError):
        raise SpecError(f"{PREFIX}{name.upper()}='{text}' is not a {type(default).__name__}.", hint=f"The default is {default}.") from None
