import urllib.error
import urllib.request

import pytest

from fairlead.errors import UnavailableError
from fairlead.serve.http.metrics import prefers_open_metrics
from fairlead.serve.server import ServeJob, ServerThread

PROMETHEUS = (
    b"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


@pytest.mark.parametrize(
    ("accept", "is_open"),
    [
        (PROMETHEUS, True),
        (b"application/openmetrics-text", True),
        (b"Application/OpenMetrics-Text; Version=1.0.0; charset=utf-8", True),
        (b"text/plain;version=0.0.4;q=1,*/*;q=0.1", False),
        (b"application/openmetrics-text;q=0.3,text/plain;q=0.5", False),
        (b"application/openmetrics-text;q=0", False),
        (b"application/openmetrics-text;version=2.0.0", False),
        (b"application/openmetrics-text;q=much", False),
        (b"*/*", False),
        (b"", False),
        (b"text/html,application/xhtml+xml,;;==,q", False),
    ],
)
def test_open_metrics_is_written_where_it_is_asked_for_by_name(accept, is_open) -> None:
    assert prefers_open_metrics(accept) is is_open


def get(url: str, accept: str = "") -> tuple[str, bytes]:
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": accept} if accept else {})) as answer:
        return answer.headers["Content-Type"], answer.read()


def test_the_page_is_written_for_what_the_server_holds(fakes) -> None:
    readings = []

    def source(reading, *, is_open_metrics):
        readings.append((reading, is_open_metrics))
        yield b"one "
        yield b"two"

    registry = fakes.Source()
    registry.point("m", 3)
    registry.point("broken", 1, UnavailableError("it is broken"))
    with ServerThread(ServeJob(registry, port=0, metrics=source, is_strict=True)) as server:
        assert get(f"{server.url}/metrics") == ("text/plain; version=0.0.4; charset=utf-8", b"one two")
        assert get(f"{server.url}/metrics", PROMETHEUS.decode()) == (
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            b"one two",
        )
    (plain, is_open), (_, is_open_then) = readings
    assert (is_open, is_open_then) == (False, True)
    assert [(item.model, item.version, item.is_ready) for item in plain.versions] == [("broken", 1, False), ("m", 3, True)]
    assert plain.connection_count == 1
    assert plain.responses == {}
    assert readings[1][0].responses == {("http", "200"): 1}
    assert not plain.is_ready


def test_without_a_source_there_is_no_such_page(fakes) -> None:
    registry = fakes.Source()
    with ServerThread(ServeJob(registry, port=0)) as server, pytest.raises(urllib.error.HTTPError, match="404") as caught:
        get(f"{server.url}/metrics")
    caught.value.close()
