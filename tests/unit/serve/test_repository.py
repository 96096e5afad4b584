import asyncio
import json
import threading

import pytest

from fairlead.core.aspired import Selection, choose
from fairlead.errors import CorruptError, ForbiddenError, NotFoundError, RequestError, UnavailableError
from fairlead.serve.follower import Follower
from fairlead.serve.loading import Loader
from fairlead.serve.model_table import ModelTable
from fairlead.serve.repository import Repository


class House:
    """A registry with three versions of m, of which 2 is live, and one of n, which nothing points at."""

    def __init__(self, fakes, **changes) -> None:
        self.source = fakes.Source()
        self.fakes = fakes
        self.pointers = {"m": {"production": 2}, "n": {}}
        self.selection = Selection(("production",))
        self.known = {"m": tuple(fakes.version("m", number) for number in (1, 2, 3)), "n": (fakes.version("n", 1),)}
        for name, versions in self.known.items():
            for item in versions:
                self.source.engines[name, item.number] = fakes.Engine(item.number)
        self.source.aspired = lambda: {
            name: choose(name, self.selection, self.known[name], self.pointers[name], followed="production") for name in self.known
        }
        self.table = ModelTable()
        self.loader = Loader(self.source, self.table, fakes.assemble)
        self.follower = Follower(self.source, self.table, self.loader, label="production", report=lambda _: None)
        self.repository = Repository(self.table, self.follower, is_open=changes.get("is_open", True))

    def move(self, alias: str, number: int) -> None:
        self.pointers["m"] = self.pointers["m"] | {alias: number}
        self.source.changes += 1

    async def begin(self) -> Repository:
        await self.follower.poll()
        await self.follower.settle()
        return self.repository

    def index(self, **arguments) -> list[tuple[str, str, str, str]]:
        return [(item.name, item.version, item.state, item.reason) for item in self.repository.index(**arguments)]


@pytest.fixture
async def house(fakes):
    made = House(fakes)
    await made.begin()
    yield made
    await made.follower.stop()


async def test_the_index_has_every_version_of_the_registry_and_says_why_it_does_not_serve(house) -> None:
    assert house.index() == [
        ("m", "1", "UNAVAILABLE", "not chosen by the version policy"),
        ("m", "2", "READY", ""),
        ("m", "3", "UNAVAILABLE", "not chosen by the version policy"),
        ("n", "1", "UNAVAILABLE", "not chosen by the version policy"),
    ]
    assert house.index(ready_only=True) == [("m", "2", "READY", "")]


async def test_an_unloaded_model_stays_so_until_it_is_loaded_again(house) -> None:
    await house.repository.unload("m")
    assert house.index(ready_only=True) == []
    assert ("m", "2", "UNAVAILABLE", "unloaded by a client") in house.index()
    with pytest.raises(NotFoundError):
        house.table.resolve("m")
    await house.follower.poll()
    assert house.index(ready_only=True) == []
    await house.repository.load("m")
    assert house.table.resolve("m").version.number == 2
    await house.repository.load("m")  # what is loaded stays
    assert house.source.load_count == 2


async def test_a_moved_alias_ends_what_a_client_ordered(house) -> None:
    await house.repository.unload("m")
    house.move("staging", 1)
    await house.follower.poll()
    assert house.index(ready_only=True) == []  # another alias is no reason
    house.move("production", 3)
    await house.follower.poll()
    await house.follower.settle()
    assert house.table.resolve("m").version.number == 3


async def test_a_client_may_choose_versions_by_tritons_policies(house) -> None:
    config = json.dumps({"version_policy": {"specific": {"versions": [1, 3]}}})
    await house.repository.load("m", {"config": config})
    assert sorted(house.table.models["m"].versions) == [1, 3]
    assert house.table.resolve("m").version.number == 1
    await house.repository.load("m", {"config": json.dumps({"version_policy": {"all": {}}})})
    assert sorted(house.table.models["m"].versions) == [1, 2, 3]
    assert house.table.resolve("m").version.number == 2
    await house.repository.load("m", {"config": json.dumps({"version_policy": {"latest": {"num_versions": 1}}})})
    assert sorted(house.table.models["m"].versions) == [2, 3]
    await house.repository.load("m")
    assert sorted(house.table.models["m"].versions) == [2]
    await house.repository.load("n", {"config": json.dumps({"version_policy": {"latest": {}}})})
    assert house.table.is_ready("n", 1)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"file:1/model.onnx": "AAAA"}, "would put a file"),
        ({"backend": "python"}, "'backend' is not offered"),
        ({"config": 3}, "is a text"),
        ({"config": "{"}, "cannot be used"),
        ({"config": "{}"}, "cannot be used"),
        ({"config": '{"version_policy": {"all": {}}, "instance_group": []}'}, "cannot be used"),
        ({"config": '{"version_policy": {"all": {}, "latest": {}}}'}, "one of latest, all and specific"),
        ({"config": '{"version_policy": {"latest": {"num_versions": 0}}}'}, "cannot be used"),
        ({"config": '{"version_policy": {"specific": {"versions": []}}}'}, "cannot be used"),
        ({"config": '{"version_policy": {"specific": {"versions": [-1]}}}'}, "cannot be used"),
        ({"config": "\ud800"}, "cannot be used"),
    ],
)
async def test_parameters_that_are_not_known_are_refused_by_name(house, parameters, said) -> None:
    with pytest.raises(RequestError, match=said):
        await house.repository.load("m", parameters)
    assert house.table.is_ready("m", 2)


async def test_unloading_takes_tritons_one_parameter_and_no_other(house) -> None:
    with pytest.raises(RequestError, match="'force'"):
        await house.repository.unload("m", {"force": True})
    await house.repository.unload("m", {"unload_dependents": True})
    assert not house.table.is_ready("m")


async def test_a_model_that_the_registry_does_not_have_is_not_found(house) -> None:
    for operation in (house.repository.load, house.repository.unload):
        with pytest.raises(NotFoundError, match="'zebra'"):
            await operation("zebra")


async def test_a_model_without_a_chosen_version_cannot_be_loaded_and_the_cure_is_said(house) -> None:
    with pytest.raises(NotFoundError, match="version_policy"):
        await house.repository.load("n")


async def test_a_load_that_fails_says_why_and_leaves_what_serves(house) -> None:
    house.source.engines["m", 3] = CorruptError("File 'model.onnx' is not what was registered.")
    config = json.dumps({"version_policy": {"specific": {"versions": [3]}}})
    with pytest.raises(UnavailableError, match=r"m:3 could not be loaded \(corrupt\): File 'model.onnx'"):
        await house.repository.load("m", {"config": config})
    assert house.table.resolve("m").version.number == 2
    assert [state for name, number, state, _ in house.index() if number == "3"] == ["UNAVAILABLE"]
    house.source.engines["m", 3] = house.fakes.Engine(3.0)
    await house.repository.load("m", {"config": config})  # who asks again does not wait for a retry
    assert house.table.resolve("m").version.number == 3


@pytest.mark.parametrize("numbers", [[9], [2, 9]])
async def test_a_load_of_a_version_that_there_is_not_takes_nothing_away(house, numbers) -> None:
    config = json.dumps({"version_policy": {"specific": {"versions": numbers}}})
    with pytest.raises(NotFoundError, match=r"no version 9; what serves goes on serving\. Registered: 1, 2, 3"):
        await house.repository.load("m", {"config": config})
    assert house.index(ready_only=True) == [("m", "2", "READY", "")]


async def test_clients_may_look_but_not_touch_unless_that_was_allowed(fakes) -> None:
    house = House(fakes, is_open=False)
    repository = await house.begin()
    for operation in (repository.load, repository.unload):
        with pytest.raises(ForbiddenError, match="--allow-model-control"):
            await operation("m")
    assert house.index(ready_only=True) == [("m", "2", "READY", "")]
    await house.follower.stop()


async def test_a_client_sees_what_was_promoted_just_now(house) -> None:
    house.move("production", 3)
    await house.repository.load("m")
    assert house.table.resolve("m").version.number == 3


async def test_a_version_that_still_answers_is_unloading(house) -> None:
    served = house.table.resolve("m")
    house.table.begin_request(served)
    await house.repository.unload("m")
    assert ("m", "2", "UNLOADING", "") in house.index()
    house.table.end_request(served)
    assert ("m", "2", "UNAVAILABLE", "unloaded by a client") in house.index()


async def test_a_version_that_loads_says_so(house) -> None:
    gate = threading.Event()
    house.source.golden_factor["m", 3] = 3.0
    house.source.engines["m", 3] = house.fakes.Engine(3.0, gate=gate)
    house.move("production", 3)
    loading = asyncio.create_task(house.repository.load("m"))
    await asyncio.to_thread(house.fakes.wait_until, lambda: ("m", "3", "LOADING", "") in house.index())
    assert house.table.resolve("m").version.number == 2
    gate.set()
    await loading
    assert house.table.resolve("m").version.number == 3


async def test_a_storm_of_operations_ends_as_the_last_one_said(house) -> None:
    acknowledged = []

    async def operate(is_load: bool) -> None:
        await (house.repository.load if is_load else house.repository.unload)("m")
        acknowledged.append(is_load)

    await asyncio.gather(*(operate(bool(place % 3)) for place in range(60)))
    assert house.table.is_ready("m") == acknowledged[-1]
    opened, closed = house.source.load_count, house.source.engines["m", 2].is_closed
    assert opened > 1
    assert closed  # the same fake stands for every load of the version, and was closed after each


async def test_the_configuration_says_what_is_true(house) -> None:
    config = house.repository.config("m", None)
    assert (config["name"], config["backend"]) == ("m", "fake")
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 2] if not config["max_batch_size"] else [2]}]
    assert config["version_policy"] == {"specific": {"versions": [2]}}
    assert config["parameters"]["digest"] == {"string_value": house.known["m"][1].digest}
    with pytest.raises(NotFoundError):
        house.repository.config("m", 3)


async def test_statistics_are_of_one_version_of_a_model_or_of_everything(house) -> None:
    assert [(entry["name"], entry["version"]) for entry in house.repository.statistics(None, None)] == [("m", "2")]
    assert house.repository.statistics("m", 2)[0]["memory_usage"][0]["byte_size"] > 0
    with pytest.raises(NotFoundError):
        house.repository.statistics("m", 1)
