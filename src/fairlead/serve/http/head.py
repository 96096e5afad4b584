"""What the head of a request has to be like, beyond what the parser sees to. Takes parsed headers; gives the refusal that they deserve."""

from __future__ import annotations

import re

from fairlead.serve.http.message import HttpRequest, Reply, error_reply

_HOST = re.compile(rb"[A-Za-z0-9.\-_~%!$&'()*+,;=:\[\]]*")


def check_head(request: HttpRequest, body_limit: int) -> Reply | None:
    """Return the refusal that the headers deserve, if any; a body may have `body_limit` bytes."""
    headers = request.headers
    host = headers.get(b"host")
    if (host is None and not request.is_old) or (host is not None and not _HOST.fullmatch(host)):
        return error_reply(400, "The request needs one well-formed Host header.")
    if headers.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
        return error_reply(400, "The only transfer encoding understood is 'chunked'.")
    if int(headers.get(b"content-length", b"0")) > body_limit:  # the parser has let only digits through
        return too_large(body_limit)
    if headers.get(b"expect", b"100-continue").lower() != b"100-continue":
        return error_reply(417, "The only expectation understood is '100-continue'.")
    return None


def too_large(body_limit: int) -> Reply:
    """Return the refusal of a body larger than `body_limit` bytes."""
    hint = "Send fewer rows at once, or raise the server's setting body_limit_bytes."
    return error_reply(413, f"The body is larger than {body_limit} bytes, the limit. {hint}")
