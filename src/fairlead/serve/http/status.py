"""The one map from errors to HTTP statuses. A client's mistake is never a 5xx; an error of ours never shows its text."""

from __future__ import annotations

from fairlead import errors
from fairlead.serve.http.message import Reply, error_reply

# The most special class that an error is an instance of decides.
_STATUSES: dict[type[errors.FairleadError], int] = {
    errors.UnsupportedError: 415,
    errors.RequestError: 400,
    errors.TooLargeError: 413,
    errors.NotFoundError: 404,
    errors.ConflictError: 409,
    errors.ForbiddenError: 403,
    errors.StoreAwayError: 503,
    errors.NoSpaceError: 507,
    errors.ServingError: 503,
    errors.OverloadedError: 503,
    errors.UnavailableError: 503,
    errors.DeadlineError: 504,
}
_RETRY_AFTER = (b"retry-after: 1",)


def status_of(error: Exception) -> int:
    """Return the status for `error`; 500 for what is not the client's doing and has no status of its own."""
    for kind in type(error).__mro__:
        if kind in _STATUSES:
            return _STATUSES[kind]
    return 500


def reply_to(error: Exception) -> Reply:
    """Return `error` as a reply."""
    status = status_of(error)
    if status in (500, 507):
        return error_reply(status, "The server failed to answer this request." if status == 500 else "The server is out of space.")
    if isinstance(error, errors.StoreAwayError):  # where it is, is no client's business
        return error_reply(status, "The registry cannot be reached now.", _RETRY_AFTER)
    if isinstance(error, errors.OverloadedError):
        return error_reply(status, str(error), (b"retry-after: %d" % error.retry_after_s,))
    return error_reply(status, str(error), _RETRY_AFTER if status == 503 else ())
