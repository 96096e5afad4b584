"""One map from error to exit status, so that scripts can tell what happened. Numbers never change their meaning."""

from __future__ import annotations

from fairlead import errors

OK = 0
UNEXPECTED = 1
USAGE = 2
INTERRUPTED = 130

EXIT_CODES: dict[type[errors.FairleadError], int] = {
    errors.SpecError: USAGE,
    errors.RequirementError: USAGE,
    errors.InputError: 3,
    errors.RejectedError: 4,
    errors.NotFoundError: 5,
    errors.ConflictError: 6,
    errors.UnsafeContentError: 7,
    errors.EnvironmentalError: 8,
    errors.StorageError: 9,
    errors.ForbiddenError: 11,
    errors.ServingError: 10,
}
MEANINGS = {
    OK: "done",
    UNEXPECTED: "a defect in Fairlead",
    USAGE: "the command, a requirement or fairlead.yaml is wrong",
    3: "the model or the data cannot be used",
    4: "rejected: a requirement is not met and nothing was registered, or a version was not promoted, or a gate rolled it back",
    5: "no such model, version or alias",
    6: "somebody else changed the same thing first",
    7: "the file holds something unsafe and was not opened",
    8: "this machine lacks something: an extra, a sandbox layer, a free port",
    9: "the registry cannot be read or written",
    10: "the server cannot answer now",
    11: "not allowed: the server was not told to, or a protected model lacks an approval",
    INTERRUPTED: "interrupted",
}


def exit_code(kind: type[errors.FairleadError]) -> int:
    """Return the status of the nearest class of `kind` that has one."""
    return next((EXIT_CODES[parent] for parent in kind.__mro__ if parent in EXIT_CODES), UNEXPECTED)
