from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import DeadlineError, FairleadError, ForbiddenError, SpecError, UnavailableError
from fairlead.security.outbound import Answer, check_url, post, resolve

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Peer:
    """A listener on loopback that answers each connection with `answer`, piece by piece, and keeps what it was sent."""

    def __init__(self, *answer: bytes, pause_s: float = 0.0, keeps_open: bool = False) -> None:
        self.answer, self.pause_s, self.keeps_open = answer, pause_s, keeps_open
        self.requests: list[bytes] = []
        self.count = 0
        self._stop = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def _run(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = self._listener.accept()
                self.count += 1
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(5)
                    self.requests.append(self._request(connection))
                    for piece in self.answer:
                        connection.sendall(piece)
                        if self._stop.wait(self.pause_s):
                            break
                    if self.keeps_open:
                        self._stop.wait(30)

    def _request(self, connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(next(line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")))
        while len(body) < length:
            body += connection.recv(65536)
        return head + b"\r\n\r\n" + body

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._listener.close()


@contextlib.contextmanager
def peer(*answer: bytes, **options: object) -> Iterator[Peer]:
    one = Peer(*answer, **options)
    try:
        yield one
    finally:
        one.close()


def call(url: str, *, allow_private: bool = True, timeout_s: float = 10.0, **more: object) -> Answer:
    return post(check_url(url), b'{"a":1}', {"webhook-id": "msg_1"}, allow_private=allow_private, timeout_s=timeout_s, **more)


def test_what_is_sent_is_one_plain_request():
    with peer(OK) as one:
        assert call(one.url + "?key=1") == Answer(200)
    head, _, body = one.requests[0].partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"POST /hook?key=1 HTTP/1.1"
    assert f"Host: 127.0.0.1:{one.port}".encode() in head
    assert b"webhook-id: msg_1" in head
    assert body == b'{"a":1}'


# What the SSRF list names (G01, G15): ways to say loopback, private or link-local. {port} is where the listener is.
NEAR = [
    *("http://127.0.0.1:{port}", "http://0:{port}", "http://2130706433:{port}", "http://0x7f.1:{port}", "http://127.1:{port}"),
    *("http://[::]:{port}", "http://[::1]:{port}", "http://[::ffff:127.0.0.1]:{port}", "http://[::ffff:169.254.169.254]:{port}"),
    *("http://[64:ff9b::a9fe:a9fe]:{port}", "http://[2002:7f00:1::]:{port}", "http://100.64.0.1:{port}", "http://169.254.169.254:{port}"),
    *("http://10.0.0.1:{port}", "http://192.168.1.1:{port}", "http://localhost:{port}", "https://127.0.0.1:{port}"),
]


@pytest.mark.parametrize("url", NEAR)
def test_no_near_address_is_reached_and_nobody_is_called(url):
    with peer(OK) as one:
        with pytest.raises((ForbiddenError, UnavailableError)) as caught:
            call(url.format(port=one.port), allow_private=False)
        assert one.count == 0
    assert isinstance(caught.value, ForbiddenError) or "cannot be resolved" in caught.value.message  # a system may not know such a number


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "http://2130706433:{port}", "http://0x7f.1:{port}", "http://localhost:{port}"])
def test_the_same_addresses_are_reached_where_that_is_allowed(url):
    """The positive control: without the guard these do reach the listener."""
    with peer(OK) as one:
        assert call(url.format(port=one.port)).status == 200
        assert one.count == 1


@pytest.mark.parametrize(
    "url",
    [
        *("", "hooks.example.com", "ftp://example.com/", "file:///etc/passwd", "gopher://x/", "http://", "http:///x", "http://user@host/"),
        *("http://good.example@127.0.0.1/", "http://a:b@c/", "http://x/#frag", "http://x/ y", "http://x\r\nHost: y/", "http://x\\@y/"),
        *(
            "http://x:0/",
            "http://x:99999/",
            "http://x:abc/",
            "http://[::1/",
            "http://[fe80::1%25eth0]/",
            "http://%31/",
            "http://bücher.example/",
        ),
        *("http://-x/", "http://x/" + "a" * 3000, "javascript:alert(1)", "//example.com/x", "http://exa mple.com"),
    ],
)
def test_what_is_no_plain_url_is_refused_before_anybody_is_asked(url):
    with pytest.raises(SpecError):
        check_url(url)


@given(st.text(max_size=60))
def test_no_text_gives_a_destination_that_could_smuggle_anything(text):
    with contextlib.suppress(SpecError):
        found = check_url(text)
        assert found.scheme in {"http", "https"}
        assert 0 < found.port < 65536
        assert not set("\r\n\t @#\\") & set(found.host + found.authority + found.target)
        assert found.target.startswith("/") or found.target.startswith("?")


def places(*addresses: str) -> object:
    return lambda _host, port: [(socket.AF_INET6 if ":" in one else socket.AF_INET, (one, port)) for one in addresses]


def test_a_public_name_with_one_near_address_is_refused():
    destination = check_url("http://hooks.example.com/")
    with pytest.raises(ForbiddenError, match=r"hooks\.example\.com is 169.254.169.254"):
        resolve(destination, allow_private=False, timeout_s=1.0, look_up=places("93.184.216.34", "169.254.169.254"))
    found = resolve(destination, allow_private=False, timeout_s=1.0, look_up=places("93.184.216.34"))
    assert [where[0] for _, where in found] == ["93.184.216.34"]


def test_a_name_is_resolved_once_and_the_address_is_pinned():
    """A name server that says one thing to the check and another to the connection is asked only once."""
    asked = []

    with peer(OK) as one:

        def rebinding(_host, _port):
            asked.append(1)
            return [(socket.AF_INET, ("127.0.0.1", one.port))] if len(asked) == 1 else [(socket.AF_INET, ("127.0.0.2", 1))]

        assert call("http://hooks.example.com/", look_up=rebinding).status == 200
    assert len(asked) == 1
    assert b"Host: hooks.example.com\r\n" in one.requests[0]


def test_groups_are_not_called_even_where_private_addresses_are():
    with pytest.raises(ForbiddenError):
        resolve(check_url("http://x.example/"), allow_private=True, timeout_s=1.0, look_up=places("224.0.0.1"))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_is_not_followed(status):
    with peer(OK) as other, peer(f"HTTP/1.1 {status} Moved\r\nLocation: {other.url}\r\n\r\n".encode()) as one:
        assert call(one.url).status == status
        assert other.count == 0


def test_interim_answers_are_passed_over_and_a_wish_to_wait_is_read():
    with peer(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Busy\r\nRetry-After: 120\r\n\r\n") as one:
        assert call(one.url) == Answer(503, 120.0)


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 2000 OK\r\n\r\n", b"", b"\x00" * 40_000])
def test_what_is_no_answer_is_said_to_be_none(answer):
    with peer(answer) as one, pytest.raises(UnavailableError, match="does not answer"):
        call(one.url)


def test_an_endless_head_is_read_to_its_limit_only():
    with peer(b"HTTP/1.1 200 OK\r\n", *[b"x: " + b"y" * 4000 + b"\r\n"] * 64) as one:
        assert call(one.url).status == 200


def test_a_receiver_that_hangs_costs_the_time_that_was_given_and_no_more():
    with peer(keeps_open=True) as one, pytest.raises(DeadlineError, match="did not answer within"):
        call(one.url, timeout_s=0.2)


def test_a_receiver_that_drips_bytes_does_not_get_more_time():
    with peer(*[b"H"] * 2000, pause_s=0.05) as one, pytest.raises(DeadlineError):
        call(one.url, timeout_s=0.5)


def test_a_name_server_that_hangs_is_not_waited_for():
    done = threading.Event()
    try:
        with pytest.raises(DeadlineError, match="not resolved"):
            call("http://x.example/", timeout_s=0.1, look_up=lambda *_: done.wait(30) and [])
    finally:
        done.set()


def test_an_address_that_is_silent_leaves_time_for_the_next_one_of_the_name():
    with socket.create_server(("127.0.0.1", 0), backlog=0) as silent, peer(OK) as one, contextlib.ExitStack() as fill:
        silent_place = silent.getsockname()
        for _ in range(4):  # a full queue: who connects now hears nothing
            waiting = fill.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(silent_place)
        found = [(socket.AF_INET, silent_place), (socket.AF_INET, ("127.0.0.1", one.port))]
        assert call("http://x.example/", timeout_s=3.0, look_up=lambda *_: found) == Answer(200)


def test_nobody_there_is_said_in_words():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(UnavailableError, match="cannot be reached"):
        call(f"http://127.0.0.1:{port}/")
    with pytest.raises(UnavailableError, match="no address"):
        call("http://x.example/", look_up=places())


def test_a_certificate_that_nobody_trusts_is_refused():
    with peer(b"not tls at all") as one, pytest.raises(UnavailableError):
        call(one.url.replace("http:", "https:"), tls=ssl.create_default_context())


def test_a_header_with_a_line_break_is_never_sent():
    with peer(OK) as one:
        with pytest.raises(SpecError):
            post(check_url(one.url), b"", {"x": "a\r\nHost: b"}, allow_private=True, timeout_s=1.0)
        assert one.count == 0


def test_every_refusal_is_one_of_fairleads_own_errors():
    def broken(_host: str, _port: int) -> list[object]:
        raise UnicodeError("label too long")

    with pytest.raises(FairleadError):
        call("http://" + "a" * 60 + ".example/", look_up=broken)
