import pytest

from fairlead.serve.trace_context import read_trace

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("parent", "state", "expected"),
    [
        (PARENT, None, PARENT.decode()),
        (PARENT, b"a=1,b=2", f"{PARENT.decode()} a=1,b=2"),
        (PARENT, b"", PARENT.decode()),
        (PARENT, b"a=" + b"x" * 511, PARENT.decode()),  # too long to be carried on
        (PARENT, "ä=1".encode(), PARENT.decode()),
        (None, b"a=1", ""),
        (b"", None, ""),
        (PARENT[:-1], None, ""),
        (PARENT + b" 01", None, ""),  # two headers, or one with a space in it, cannot pass for a tracestate
        (PARENT[:-1] + b"\xff", None, ""),
        (PARENT + b"-" + b"x" * 300, None, ""),
    ],
)
def test_what_callers_say_of_their_trace_is_carried_on_or_left_out(parent, state, expected) -> None:
    assert read_trace(parent, state) == expected
