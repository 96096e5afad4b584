import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.serve.http.routes import Permission, Route, Router


async def nothing(call):
    del call


ROUTER = Router(
    [
        Route("GET", "/v2/models/{name}", Permission.VIEW, nothing, "a"),
        Route("POST", "/v2/models/{name}/infer", Permission.INFER, nothing, "b"),
        Route("POST", "/v1/models/{name}/versions/{version}:predict", Permission.INFER, nothing, "c"),
    ]
)


@pytest.mark.parametrize(
    ("method", "target", "summary", "parameters"),
    [
        (b"GET", b"/v2/models/m", "a", {"name": "m"}),
        (b"HEAD", b"/v2/models/m", "a", {"name": "m"}),
        (b"GET", b"/v2/models/m?x=/infer#y", "a", {"name": "m"}),
        (b"GET", b"http://elsewhere/v2/models/m", "a", {"name": "m"}),
        (b"GET", b"/v2/models/%6d%2F..", "a", {"name": "m/.."}),
        (b"POST", b"/v2/models/m/infer", "b", {"name": "m"}),
        (b"POST", b"/v1/models/m/versions/3:predict", "c", {"name": "m", "version": "3"}),
    ],
)
def test_a_target_finds_its_route(method, target, summary, parameters) -> None:
    for _ in range(2):  # searched, then remembered
        match = ROUTER.match(method, target)
        assert match.route is not None
        assert (match.route.summary, match.parameters) == (summary, parameters)


@pytest.mark.parametrize(
    "target", [b"/v2/models/", b"/v2/models/m/", b"//v2/models/m", b"/v2/models/m/infer/x", b"*", b"", b"/V2/models/m", b"v2/models/m"]
)
def test_other_targets_find_nothing(target) -> None:
    match = ROUTER.match(b"GET", target)
    assert match.route is None
    assert match.allowed == ()


def test_a_wrong_method_learns_the_right_ones() -> None:
    assert ROUTER.match(b"POST", b"/v2/models/m").allowed == ("GET", "HEAD")
    assert ROUTER.match(b"GET", b"/v2/models/m/infer").allowed == ("POST",)


@given(st.binary(max_size=60))
def test_any_target_can_be_asked(target) -> None:
    ROUTER.match(b"GET", b"/v2/models/" + target)


def test_what_is_remembered_is_bounded() -> None:
    for number in range(3000):
        ROUTER.match(b"GET", b"/v2/models/m%d" % number)
    assert len(ROUTER._found) <= 1024
