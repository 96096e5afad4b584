from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
import registered

from fairlead.app.registry_source import RegistrySource, selections
from fairlead.app.serving import ServeRequest, serve
from fairlead.core.aspired import Selection
from fairlead.errors import CorruptError, NotFoundError, SpecError

ALIAS = Selection(("production",))


@pytest.fixture
def three(house, tmp_path: Path):
    """`scale` with versions 1, 2 and 3, of which 2 is live and 3 in staging."""
    for number, alias in ((1, "production"), (2, "production"), (3, "staging")):
        registered.add_version(house, "scale", registered.scaler(tmp_path / f"{number}.onnx", factor=number), alias=alias)
    return house


def numbers(source: RegistrySource, name: str = "scale") -> tuple[list[int], int]:
    aspired = source.aspired()[name]
    return [version.number for version in aspired.versions], aspired.default


def unpacked(house) -> set[str]:
    return {path.name for path in house.loaded.iterdir() if len(path.name) == 64}


def test_the_live_version_is_served_and_every_version_and_alias_is_known(three) -> None:
    source = RegistrySource(three)
    assert numbers(source) == ([2], 2)
    aspired = source.aspired()["scale"]
    assert [version.number for version in aspired.known] == [1, 2, 3]
    assert aspired.aliases == {"production": 2, "staging": 3}


def test_what_a_person_named_is_served_and_the_first_answers_by_default(three) -> None:
    assert numbers(RegistrySource(three, ["scale:3", "scale:1"])) == ([1, 3], 3)
    assert numbers(RegistrySource(three, ["scale@staging"])) == ([3], 3)
    assert numbers(RegistrySource(three, ["scale", "scale@staging"])) == ([2, 3], 2)
    assert numbers(RegistrySource(three, policy=Selection(latest_count=1))) == ([2, 3], 2)
    assert numbers(RegistrySource(three, alias="staging")) == ([3], 3)


def test_names_are_taken_apart_once() -> None:
    found = selections(["a", "b:3", "b@staging", "a:1"], ALIAS)
    assert found == {"a": Selection(("production", 1)), "b": Selection((3, "staging"))}
    with pytest.raises(SpecError):
        selections(["b:zero"], ALIAS)


def test_one_damaged_record_does_not_hide_the_other_models(three, tmp_path) -> None:
    registered.add_version(three, "pets", registered.classifier(tmp_path / "pets.onnx"))
    source = RegistrySource(three)
    with sqlite3.connect(three.settings.home / "registry.sqlite") as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE versions SET manifest = '{}' WHERE name = 'pets'")
    connection.close()
    aspired = source.aspired()
    assert isinstance(aspired["pets"].problem, CorruptError)
    assert aspired["pets"].aliases == {"production": 1}
    assert aspired["scale"].default == 2


def test_loading_removes_unpacked_versions_that_nobody_wants_or_uses(three) -> None:
    known = RegistrySource(three).aspired()["scale"].known
    first, second, third = known
    other = RegistrySource(three, ["scale:1"])
    used = other.load(first)  # another server, say
    source = RegistrySource(three)
    source.aspired()
    loaded = source.load(third)
    loaded.release()
    loaded.engine.close()
    assert unpacked(three) == {first.digest, third.digest}
    live = source.load(second)
    assert unpacked(three) == {first.digest, second.digest}  # 3 is neither wanted nor used
    used.release()
    used.engine.close()
    again = source.load(second)
    assert unpacked(three) == {second.digest}
    for item in (live, again):
        item.release()
        item.engine.close()
    source.load(third).release()
    assert second.digest in unpacked(three)  # it is wanted, though nobody uses it at the moment


def test_nonsense_is_refused_before_anything_is_served(three) -> None:
    def refuse(url: str) -> None:
        pytest.fail(url)

    for request, error in (
        (ServeRequest(("zebra",)), NotFoundError),
        (ServeRequest(("scale:9",)), NotFoundError),
        (ServeRequest(("scale@canary",)), NotFoundError),
        (ServeRequest(("scale",), alias="canary"), NotFoundError),
        (ServeRequest(versions="newest"), SpecError),
        (ServeRequest(("scale:",)), SpecError),
    ):
        with pytest.raises(error):
            serve(request, replace(three, settings=replace(three.settings, port=0)), on_listening=refuse)
