import pytest

from fairlead import errors
from fairlead.serve.http.status import reply_to, status_of

EXPECTED = {
    errors.RequestError: 400,
    errors.TooLargeError: 413,
    errors.UnsupportedError: 415,
    errors.NotFoundError: 404,
    errors.ConflictError: 409,
    errors.OverloadedError: 503,
    errors.UnavailableError: 503,
    errors.DeadlineError: 504,
    errors.NoSpaceError: 507,
    errors.StorageError: 500,
    errors.CorruptError: 500,
    errors.SandboxError: 500,
}


@pytest.mark.parametrize(("kind", "status"), EXPECTED.items())
def test_each_error_has_its_status(kind, status) -> None:
    assert status_of(kind("what happened")) == status


def test_an_error_of_ours_never_shows_its_text() -> None:
    for error in (errors.CorruptError("/var/lib/secret"), errors.NoSpaceError("/var/lib/secret"), ValueError("/var/lib/secret")):
        assert b"secret" not in reply_to(error).body


def test_who_may_come_back_is_told_when() -> None:
    assert reply_to(errors.OverloadedError("full")).headers == (b"retry-after: 1",)
