"""Every exception of Fairlead. The command line and the server map `code` to an exit status or an HTTP status, each in one place.

FairleadError
├── InputError                 what the user gave cannot be used
│   ├── SourceError            the model file is missing, empty, truncated, or not what its name says
│   ├── UnsafeContentError     the file holds something that could run code or reach outside
│   ├── UnsupportedError       a layer, estimator, operator or format that Fairlead does not know
│   │   └── IdlePassError      a pass that would change nothing
│   ├── DataError              the data does not fit the model
│   ├── RequirementError       a requirement is nonsense, or contradicts another
│   ├── SpecError              fairlead.yaml, a flag or a setting is wrong
│   └── RequestError           an inference request does not fit the interface
│       └── TooLargeError      ... because it is larger than a limit
├── RejectedError              the verdict is red: a requirement is not met
├── NotFoundError              no such model, version, alias or blob
├── ConflictError              somebody else was faster
├── ForbiddenError             the server was not told to let clients do this
│   └── ApprovalError          a protected model's version has no approval, or not by another person
├── EnvironmentalError         this machine lacks something
│   ├── MissingExtraError      an optional dependency is not installed
│   ├── SandboxError           the import worker died or ran into a limit
│   └── PortInUseError         the address is taken
├── StorageError               a store failed
│   ├── StoreAwayError         it cannot be reached now; what it holds is not lost
│   ├── NoSpaceError           the disk is full
│   └── CorruptError           what is stored is not what was stored
└── ServingError               the server cannot answer now
    ├── OverloadedError        the queue is full
    ├── UnavailableError       not loaded, draining, or its worker is gone
    └── DeadlineError          the time for the answer has passed
"""

from __future__ import annotations


class FairleadError(Exception):
    """Base of all errors: one sentence on what is wrong and where, and a hint on what to do next.

    `code` is stable and machine-readable; messages may be reworded, codes may not.
    """

    code = "error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InputError(FairleadError):
    """What the user gave cannot be used."""

    code = "bad_input"


class SourceError(InputError):
    """The model file is missing, empty, truncated, or not what its name says."""

    code = "bad_source"


class UnsafeContentError(InputError):
    """The file holds something that could run code or reach outside of it."""

    code = "unsafe_content"


class UnsupportedError(InputError):
    """A layer, estimator, operator or format that Fairlead does not know; the message names it."""

    code = "unsupported"


class IdlePassError(UnsupportedError):
    """A pass would change nothing on this model: with others it is left out, alone there is nothing to make."""

    code = "idle_pass"


class DataError(InputError):
    """The data does not fit the model: names, shapes, dtypes, labels or missing values."""

    code = "bad_data"


class RequirementError(InputError):
    """A requirement cannot be parsed, has no meaning, or contradicts another."""

    code = "bad_requirement"


class SpecError(InputError):
    """fairlead.yaml, a flag, a name or a setting is wrong."""

    code = "bad_spec"


class RequestError(InputError):
    """An inference request does not fit the model's interface or the protocol."""

    code = "bad_request"


class TooLargeError(RequestError):
    """A request exceeds a limit; the message names the limit."""

    code = "too_large"


class RejectedError(FairleadError):
    """The verdict is red: nothing was registered."""

    code = "rejected"


class NotFoundError(FairleadError):
    """No such model, version, alias or blob."""

    code = "not_found"


class ConflictError(FairleadError):
    """Somebody else changed the same thing first."""

    code = "conflict"


class ForbiddenError(FairleadError):
    """Whoever runs the server has not allowed this to its clients."""

    code = "forbidden"


class ApprovalError(ForbiddenError):
    """The model is protected, and nobody but its publisher stands for the version."""

    code = "approval_needed"


class EnvironmentalError(FairleadError):
    """The machine lacks something that the work needs."""

    code = "environment"


class MissingExtraError(EnvironmentalError):
    """An optional dependency is not installed; the hint is the command that installs it."""

    code = "missing_extra"

    def __init__(self, extra: str, *, needed_for: str) -> None:
        super().__init__(f"{needed_for} needs the extra '{extra}'.", hint=f"Install it: pip install 'fairlead[{extra}]'")
        self.extra = extra


class SandboxError(EnvironmentalError):
    """The sandboxed worker died, hung, or ran into a limit."""

    code = "sandbox"


class PortInUseError(EnvironmentalError):
    """The address to listen on is taken."""

    code = "port_in_use"


class StorageError(FairleadError):
    """A store failed."""

    code = "storage"


class StoreAwayError(StorageError):
    """A store cannot be reached, or does not answer in time. What it holds is not lost; asking again later makes sense."""

    code = "store_away"


class NoSpaceError(StorageError):
    """No space is left on the device."""

    code = "no_space"


class CorruptError(StorageError):
    """What is stored is not what was stored: a digest differs or a file is missing."""

    code = "corrupt"


class ServingError(FairleadError):
    """The server cannot answer this request now."""

    code = "serving"


class OverloadedError(ServingError):
    """The queue is full, or too long for the request's deadline. `retry_after_s` says when asking again makes sense."""

    code = "overloaded"

    def __init__(self, message: str, *, hint: str = "", retry_after_s: int = 1) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class UnavailableError(ServingError):
    """The model is not loaded, the server drains, or the worker is gone."""

    code = "unavailable"


class DeadlineError(ServingError):
    """The time for the answer has passed."""

    code = "deadline"
