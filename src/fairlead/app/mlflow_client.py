"""The door to an MLflow tracking server: its client, opened without telemetry, and its errors as ours.

`open_client` takes a tracking URI ("": MLFLOW_TRACKING_URI); gives the client. Raises SpecError without a URI, MissingExtraError without
MLflow. Inside `server_errors` what MLflow raises becomes NotFoundError, ConflictError or EnvironmentalError.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fairlead.core.interface import shorten
from fairlead.errors import ConflictError, EnvironmentalError, MissingExtraError, NotFoundError, SpecError

VARIABLE = "MLFLOW_TRACKING_URI"
# Before MLflow is imported: it reports its use unless told not to, and tries a server that is away for minutes.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_MISSING = ("RESOURCE_DOES_NOT_EXIST", "ENDPOINT_NOT_FOUND", "NOT_FOUND")
_TAKEN = ("RESOURCE_ALREADY_EXISTS", "RESOURCE_CONFLICT", "ALREADY_EXISTS")


def tracking_uri_of(given: str) -> str:
    """Return the URI that was given, else that of the environment; raises SpecError."""
    uri = given or os.environ.get(VARIABLE, "")
    if not uri:
        raise SpecError("Which tracking server?", hint=f"Say it: --tracking-uri http://127.0.0.1:5000, or set {VARIABLE}.")
    return uri


def open_client(tracking_uri: str) -> Any:
    """Return MLflow's client for the server, which its own helpers use from now on, too."""
    uri = tracking_uri_of(tracking_uri)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        mlflow = importlib.import_module("mlflow")
    except ModuleNotFoundError:
        raise MissingExtraError("mlflow", needed_for="A tracking server of MLflow") from None
    with server_errors(uri):
        mlflow.set_tracking_uri(uri)
        return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def server_errors(tracking_uri: str) -> Iterator[None]:
    """Turn what MLflow and its HTTP library raise into our errors."""
    exceptions = importlib.import_module("mlflow.exceptions")
    requests = importlib.import_module("requests.exceptions")
    try:
        yield
    except exceptions.MlflowException as error:
        message = shorten(str(error.message).partition("\n")[0], 300)
        if error.error_code in _MISSING or message.endswith("not found."):  # an unknown alias is an invalid parameter to MLflow
            raise NotFoundError(f"The tracking server says: {message}", hint="Check the name, the version and the alias.") from error
        if error.error_code in _TAKEN:
            raise ConflictError(f"The tracking server says: {message}", hint="Try again.") from error
        if "Max retries exceeded" in message:
            raise _away(tracking_uri) from error
        hint = f"Is {shorten(tracking_uri)} an MLflow server that runs?"
        raise EnvironmentalError(f"The tracking server cannot be used: {message}", hint=hint) from error
    except (requests.RequestException, OSError) as error:
        raise _away(tracking_uri) from error


def _away(tracking_uri: str) -> EnvironmentalError:
    return EnvironmentalError(
        f"The tracking server {shorten(tracking_uri)} does not answer.", hint="Start it (mlflow server), or check --tracking-uri."
    )
