"""The observation log as people ask for it: what is kept of a model, rows of it, and questions in SQL.

Takes a House, a model and a window; gives plain frozen values. Raises NotFoundError for a model of which nothing is kept, SpecError,
MissingExtraError where SQL is asked for and its extra is not installed, StorageError. It changes nothing.
"""

from __future__ import annotations

from pathlib import Path

from fairlead.app.wiring import House, scheme
from fairlead.core.observation_log import ObservationLog
from fairlead.settings import Settings
from fairlead.stores.catalog import LOG_STORES
from fairlead.stores.prediction_log import LogFiles, PredictionLog
from fairlead.stores.prediction_log_folder import LogFolder

FOLDER = "observations"


def open_log(house: House) -> ObservationLog:
    """Return the observation log that the settings name; nothing is made before something is written. Raises SpecError."""
    return PredictionLog(_files(house.settings))


def _files(settings: Settings) -> LogFiles:
    if "://" not in settings.observations:
        return LogFolder(Path(settings.observations).expanduser().absolute() if settings.observations else settings.home / FOLDER)
    files: LogFiles = LOG_STORES.load(scheme(settings.observations))(settings.observations, endpoint=settings.s3_endpoint)
    return files
