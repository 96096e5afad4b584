"""The first route that works is taken and tells which failed before it; none installed names the extra; none right names them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.convert.routes import Route, first_right
from fairlead.core.conversion import Conversion
from fairlead.core.interface import Interface
from fairlead.core.lineage import Step
from fairlead.errors import CorruptError, MissingExtraError, SandboxError, UnsupportedError

DONE = Conversion(Path("model.onnx"), Interface((), ()), (Step("convert", "tool", "", "", notes=("its own note",)),))


def route(name: str, error: Exception | None = None, needs: tuple[str, ...] = ()) -> Route:
    def run() -> Conversion:
        if error is not None:
            raise error
        return DONE

    return Route(name, needs, run)


def take(*routes: Route) -> Conversion:
    return first_right(routes, extra="torch", needed_for="This model", hint="Export it.")


def test_the_first_route_that_works_is_taken_and_the_lineage_says_what_failed_before() -> None:
    found = take(route("one", UnsupportedError("no operator.")), route("two", SandboxError("it crashed.")), route("three"), route("four"))
    assert found.steps[0].notes == ("its own note", "another route failed one: no operator.", "another route failed two: it crashed.")
    assert take(route("one")).steps == DONE.steps


def test_where_every_route_fails_each_reason_is_said() -> None:
    with pytest.raises(UnsupportedError, match=r"one: no operator\.; two: it crashed\.") as caught:
        take(route("one", UnsupportedError("no operator.")), route("two", SandboxError("it crashed.")))
    assert caught.value.hint == "Export it."


def test_a_route_whose_modules_are_absent_is_passed_over_and_without_any_the_extra_is_named() -> None:
    absent = route("one", needs=("no_such_module_here",))
    assert take(absent, route("two")).steps[0].notes == ("its own note",)
    with pytest.raises(MissingExtraError, match="torch"):
        take(absent)


def test_an_error_that_is_not_the_routes_own_is_not_taken_for_a_failed_route() -> None:
    with pytest.raises(CorruptError):
        take(route("one", CorruptError("the answer is foreign.")), route("two"))
