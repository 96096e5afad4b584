"""What a process of ours keeps from others: its memory when it dies, and its secrets from the processes that it starts.

Takes and gives plain values; never raises. What is left out of an environment is left out by name: it has to be named like a secret.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
from collections.abc import Mapping

# FAIRLEAD_REGISTRY may hold a password, FAIRLEAD_OTLP_HEADERS and _OBSERVE_KEY are secrets: see fairlead.settings.
_SECRET = re.compile(
    r"(?i)(^|_)(password|passwd|passphrase|pgpassword|secret|token|credentials?|apikey|key|auth|cookie)s?(_|$)"
    r"|^(AWS_|AZURE_|GOOGLE_APPLICATION_|MLFLOW_TRACKING_)|^FAIRLEAD_(REGISTRY|OTLP_HEADERS|OBSERVE_KEY)$"
)


def leave_no_core() -> None:
    """Let this process, and those that it starts, write no core file: it would hold inputs, answers and passwords.

    The hard limit stays, so that whoever looks for a crash can raise it: `prlimit --core=unlimited --pid PID`.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def environment_without_secrets(source: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment (this process's, where no `source` is given) without the variables that are named like a secret."""
    return {name: value for name, value in (os.environ if source is None else source).items() if not _SECRET.search(name)}
