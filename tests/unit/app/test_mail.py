import socket
import ssl
from types import SimpleNamespace

import pytest
from smtp_server import MailServer

from fairlead.app.mail import Postbox, addresses, check_postbox, send_letter
from fairlead.errors import DeadlineError, ForbiddenError, SpecError, UnavailableError

LETTER = ("[FIRING:1] Drift digits", "age moved: größer\n.\nWhat to do: look.\n")


def box(port: int, scheme: str = "smtp", **more: object) -> Postbox:
    return Postbox(f"{scheme}://127.0.0.1:{port}", "fairlead@example.com", ("ops@example.com", "me@example.com"), **more)


def send(server: MailServer, *, timeout_s: float = 10.0, allow_private: bool = True, **more: object) -> None:
    send_letter(box(server.port, **more), "secret", LETTER, allow_private=allow_private, timeout_s=timeout_s)


def test_a_letter_arrives_with_everything_that_a_person_reads() -> None:
    with MailServer() as server:
        send(server)
        (letter,) = server.letters
        rcpt = [command for command in server.commands if command.startswith("rcpt")]
    assert len(rcpt) == 2
    assert "Subject: [FIRING:1] Drift digits" in letter
    assert "Auto-Submitted: auto-generated" in letter
    assert "To: ops@example.com, me@example.com" in letter


@pytest.mark.parametrize("replies", [{"RCPT": "550 nobody"}, {"MAIL": "550 later"}, {"DATA": "550 no"}])
def test_what_a_server_refuses_is_said(replies: dict[str, str]) -> None:
    with MailServer(replies) as server, pytest.raises(UnavailableError, match=r"127\.0\.0\.1") as caught:
        send(server)
    assert "550" in caught.value.message


def test_an_address_that_is_refused_among_others_is_named() -> None:
    with MailServer({"rcpt to:<me@example.com>": "550 nobody"}) as server:
        with pytest.raises(UnavailableError, match=r"refused me@example\.com; the others"):
            send(server)
        assert len(server.letters) == 1


def test_a_server_that_hangs_holds_nobody_up() -> None:
    with MailServer(is_silent=True) as server:
        with pytest.raises(DeadlineError, match="did not answer"):
            send(server, timeout_s=1.0)
        server.let_go.set()


def test_the_time_that_the_name_took_is_gone(monkeypatch) -> None:
    now = [0.0]

    def slow(*_, **__):
        now[0] += 3600.0
        return ((int(socket.AF_INET), ("127.0.0.1", server.port)),)

    monkeypatch.setattr("fairlead.app.mail.resolve", slow)
    monkeypatch.setattr("fairlead.app.mail.time", SimpleNamespace(monotonic=lambda: now[0]))
    with MailServer(is_silent=True) as server:
        with pytest.raises(DeadlineError, match="did not answer within 3600 s"):
            send(server, timeout_s=3600.0)
        server.let_go.set()


def test_a_server_that_never_comes_to_an_end_holds_nobody_up() -> None:
    with MailServer(is_dripping=True) as server, pytest.raises(DeadlineError, match="did not answer"):
        send(server, timeout_s=1.0)


def test_who_cannot_say_good_bye_has_taken_the_letter_all_the_same() -> None:
    with MailServer({"QUIT": "500 what"}) as server:
        send(server)
        assert len(server.letters) == 1


def test_a_server_that_does_not_want_us_is_said() -> None:
    with MailServer(greeting="554 not you") as server, pytest.raises(UnavailableError, match="554 not you"):
        send(server)


def test_of_several_addresses_the_first_that_answers_gets_it(monkeypatch) -> None:
    with MailServer() as server, socket.socket(socket.AF_INET) as bound:
        bound.bind(("127.0.0.1", 0))  # nobody listens there
        places = tuple((int(socket.AF_INET), ("127.0.0.1", port)) for port in (bound.getsockname()[1], server.port))
        monkeypatch.setattr("fairlead.app.mail.resolve", lambda *_, **__: places)
        send(server)
        assert len(server.letters) == 1


def test_a_private_address_is_refused_unless_it_is_meant() -> None:
    with MailServer() as server:
        with pytest.raises(ForbiddenError, match="not a public address"):
            send(server, allow_private=False)
        assert not server.commands


def test_nobody_there_is_said() -> None:
    with MailServer() as server:
        port = server.port
    with pytest.raises(UnavailableError, match="cannot be reached"):
        send_letter(box(port), "", LETTER, allow_private=True, timeout_s=5.0)


def test_a_password_is_never_sent_in_clear() -> None:
    with pytest.raises(SpecError, match="in clear"):
        check_postbox(box(25, user="ops"))
    with MailServer() as server:
        with pytest.raises(UnavailableError, match=r"STARTTLS"):
            send(server, scheme="smtp+starttls", user="ops")
        assert not any("AUTH" in command.upper() or "secret" in command for command in server.commands)


def test_a_certificate_that_nobody_trusts_ends_it(tmp_path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # without a certificate no handshake succeeds
    with MailServer(tls=context) as server:
        with pytest.raises(UnavailableError):
            send(server, scheme="smtp+starttls")
        assert not server.letters


@pytest.mark.parametrize(
    "text",
    ["mail.example.com", "http://mail.example.com", "smtp://", "smtp://user:word@host", "smtp://host/path", "smtp://ho st", "smtp://h:0"],
)
def test_what_is_no_mail_server_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        check_postbox(Postbox(text, "a@example.com", ("b@example.com",)))


@pytest.mark.parametrize("text", ["ops", "ops@", "a@b\nBcc: c@d", "<a@b.c>", "a b@c.d"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        check_postbox(Postbox("smtp://host", "a@example.com", (text,)))
    assert addresses(" a@b.c, d@e.f ,") == ("a@b.c", "d@e.f")
