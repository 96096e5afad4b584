import gzip
import json
import zlib

import pytest

from fairlead.errors import RequestError, TooLargeError, UnsupportedError
from fairlead.serve.http.body import body_form, read_body
from fairlead.serve.http.limits import HttpLimits

LIMITS = HttpLimits(body_bytes=10_000)
JSON = {b"content-type": b"application/json"}


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
def test_a_quarter_million_levels_are_refused_before_decoding(opening) -> None:
    with pytest.raises(RequestError, match="100 levels"):
        read_body(body_form(JSON), opening * 250_000, HttpLimits())


def test_brackets_in_texts_do_not_count() -> None:
    assert read_body(body_form(JSON), json.dumps(["[" * 500, '\\"{' * 500]).encode(), LIMITS)


@pytest.mark.parametrize(("encoding", "pack"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress), (b"GZIP", gzip.compress)])
def test_compressed_bodies_are_read(encoding, pack) -> None:
    assert read_body(body_form({**JSON, b"content-encoding": encoding}), pack(b'{"a": 1}'), LIMITS).text == b'{"a": 1}'


@pytest.mark.parametrize("size", [10_000, 10_001])
def test_the_limit_holds_after_decompression_to_the_byte(size) -> None:
    headers, body = {**JSON, b"content-encoding": b"gzip"}, gzip.compress(b" " * size)
    if size == 10_000:
        assert len(read_body(body_form(headers), body, LIMITS).text) == size
    else:
        with pytest.raises(TooLargeError, match="10000"):
            read_body(body_form(headers), body, LIMITS)


@pytest.mark.parametrize("encoding", [b"gzip, gzip", b"br", b"compress", b"", b"gzip,deflate", b"zstd"])
def test_an_unknown_or_double_encoding_is_unsupported(encoding) -> None:
    with pytest.raises(UnsupportedError):
        read_body(body_form({**JSON, b"content-encoding": encoding}), gzip.compress(b"{}"), LIMITS)


GZIPPED = gzip.compress(b"{}", mtime=0)


@pytest.mark.parametrize("body", [GZIPPED[:-4], GZIPPED + b"x", GZIPPED * 2, b"not gzip", b""])
def test_a_damaged_compressed_body_is_refused(body) -> None:
    with pytest.raises(RequestError):
        read_body(body_form({**JSON, b"content-encoding": b"gzip"}), body, LIMITS)


@pytest.mark.parametrize(
    "media_type",
    [b"application/json; charset=utf-8", b"application/vnd.x+json", b"Application/JSON", b"", b"application/x-www-form-urlencoded"],
)
def test_json_and_what_curl_says_are_taken(media_type) -> None:
    assert read_body(body_form({b"content-type": media_type}), b"{}", LIMITS).text == b"{}"


@pytest.mark.parametrize(
    "media_type",
    [b"text/plain", b"multipart/form-data", b"text/csv", b"application/x-pickle", b"application/json; charset=latin-1", b"a" * 9999],
)
def test_other_media_types_are_unsupported(media_type) -> None:
    with pytest.raises(UnsupportedError):
        read_body(body_form({b"content-type": media_type}), b"{}", LIMITS)


@pytest.mark.parametrize("media_type", [b"", b"application/x-www-form-urlencoded"])
def test_a_page_in_a_browser_has_to_say_json(media_type) -> None:
    with pytest.raises(UnsupportedError):
        read_body(body_form({b"content-type": media_type, b"origin": b"https://example.com"}), b"{}", LIMITS)
    assert read_body(body_form({**JSON, b"origin": b"https://example.com"}), b"{}", LIMITS)
