import numpy as np
import pytest

from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec
from fairlead.serve.http.limits import HttpLimits

COLUMNS = ("age", "height", "city")
FLOWERS = Interface(
    (TensorSpec("x", DType.FP32, (None, 2), ("age", "height")), TensorSpec("city", DType.BYTES, (None, 1))),
    (TensorSpec("label", DType.BYTES, (None,)), TensorSpec("scores", DType.FP32, (None, 2))),
    Task.CLASSIFICATION,
    Decision(DecisionKind.LABEL, "label", scores="scores"),
    ("no", "yes"),
)


class Flowers:
    """Says yes where the age is above 30 in Paris."""

    description, interface = "flowers 1", FLOWERS

    def run(self, inputs, outputs=()):
        is_yes = (inputs["x"][:, 0] > 30) & (inputs["city"][:, 0] == "Paris")
        return {"label": np.where(is_yes, "yes", "no").astype(object), "scores": np.stack([~is_yes, is_yes], 1).astype(np.float32)}

    def close(self) -> None:
        pass


@pytest.fixture
def house(make_world):
    built = make_world()
    built.load("flowers", 1, Flowers())
    return built


RECORDS = [{"age": 39, "height": 1.8, "city": "Paris"}, {"city": "Rome", "height": None, "age": 50}]
SPLIT = {"columns": ["city", "age", "height"], "index": [5, 6], "data": [["Paris", 39, 1.8], ["Rome", 50, None]]}
CSV = 'city,age,height\nParis,39,1.8\n"Rome",5e1,\n'


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_records": RECORDS},
        {"dataframe_split": SPLIT},
        {"instances": RECORDS},
        {"inputs": {"age": [39, 50], "height": [1.8, None], "city": ["Paris", "Rome"]}},
        {"dataframe_records": RECORDS, "params": {}},
    ],
)
async def test_every_form_gives_labels_for_records(house, body) -> None:
    assert await house.ask("POST", "/invocations", body) == (200, {"predictions": ["yes", "no"]})


@pytest.mark.parametrize("media_type", ["text/csv", "text/csv; charset=utf-8"])
@pytest.mark.parametrize("text", [CSV, "\ufeff" + CSV, CSV.replace("\n", "\r\n"), CSV + "\n\n"])
async def test_csv_gives_labels_too(house, text, media_type) -> None:
    assert await house.ask("POST", "/invocations", text.encode(), content_type=media_type) == (200, {"predictions": ["yes", "no"]})


async def test_a_large_csv_is_read_in_pieces_and_gives_the_same(house) -> None:
    text = "city,age,height\n" + "Paris,39,1.8\nRome,50,2\n" * 10_000
    status, answer = await house.ask("POST", "/invocations", text.encode(), content_type="text/csv")
    assert (status, answer["predictions"]) == (200, ["yes", "no"] * 10_000)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"instances": RECORDS, "inputs": RECORDS},
        {"data": RECORDS},
        {"dataframe_split": {"columns": ["age"], "data": [[1]]}},
        {"dataframe_split": {**SPLIT, "data": [["Paris", 39]]}},
        {"dataframe_split": {**SPLIT, "data": []}},
        {"dataframe_split": {**SPLIT, "columns": ["city", "age", "age"]}},
        {"dataframe_split": {**SPLIT, "columns": ["city", "age", "size"]}},
        {"dataframe_split": {**SPLIT, "data": [[1, 39, 1.8]]}},
        {"dataframe_split": {"columns": ["age"]}},
        {"dataframe_split": []},
        {"dataframe_records": []},
        {"dataframe_records": RECORDS[0]},
        {"dataframe_records": [RECORDS[0], {"age": 1}]},
        {"dataframe_records": [{**RECORDS[0], "extra": 1}]},
        {"instances": []},
        {"inputs": "Paris"},
        b'{"inputs": NaN}',
        b'{"inputs": NaN, "x": [}',
        b'{"inputs": "\xff", "x": NaN}',
        b'{"inputs": {"age": [' + b"9" * 5000 + b", NaN]}}",
        {"dataframe_records": RECORDS, "params": {"top_k": 3}},
        [],
        b"{",
    ],
)
async def test_what_does_not_fit_is_a_400_with_a_reason(house, body) -> None:
    status, answer = await house.ask("POST", "/invocations", body)
    assert (status, list(answer)) == (400, ["error"])
    assert house.said == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "empty"),
        (b"\n", "empty"),
        (b"city,age,height\n", "no rows"),
        (b"city,age,height\nParis,39\n", "Line 2 of the CSV has 2 fields"),
        (b"city,age,height\nParis,old,1\n", "'old' in column 'age'"),
        (b"city,age,height\nParis,1_0,1\n", "'1_0' in column 'age'"),
        (b'city,age,height\n"Paris,39,1\n', "damaged"),
        (b"city,age,height\nPar\xffis,39,1\n", "not UTF-8"),
        (b"city,age,size\nParis,39,1\n", "'size'"),
        (b"city,age,height\n" + b"x" * 200_000 + b",39,1\n", "damaged"),
    ],
)
async def test_csv_that_does_not_fit_is_refused_with_its_line(house, text, said) -> None:
    status, answer = await house.ask("POST", "/invocations", text, content_type="text/csv")
    assert (status, list(answer)) == (400, ["error"])
    assert said in answer["error"]


@pytest.mark.parametrize("line", [b"1,2", b",", b"", b"5"])
async def test_csv_that_grows_when_it_is_decoded_is_refused_before_it_is(make_world, line) -> None:
    small = make_world(limits=HttpLimits(body_bytes=2**16))
    small.load("flowers", 1, Flowers())
    for line_end in (b"\n", b"\r"):
        text = (line + line_end) * (2**16 // (len(line) + 1))
        status, answer = await small.ask("POST", "/invocations", text, content_type="text/csv")
        assert (status, "when decoded" in answer["error"]) == (413, True)


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-parquet", "text/csv; charset=latin-1", "application/json; charset=utf-16"]
)
async def test_other_media_types_are_415(house, media_type) -> None:
    assert (await house.ask("POST", "/invocations", CSV.encode(), content_type=media_type))[0] == 415


async def test_csv_is_taken_by_invocations_only(house) -> None:
    assert (await house.ask("POST", "/predict", CSV.encode(), content_type="text/csv"))[0] == 415


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [[1, 2], [3, 4]]},
        {"inputs": [[1, 2], [3, 4]]},
        {"inputs": {"x": [[1, 2], [3, 4]]}},
        {"dataframe_split": {"columns": [0, 1], "data": [[1, 2], [3, 4]]}},
        {"dataframe_split": {"data": [[1, 2], [3, 4]]}},
        {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [3, 4]]}},
        {"dataframe_records": [{"0": 1, "1": 2}, {"0": 3, "1": 4}]},
    ],
)
async def test_a_model_without_column_names_takes_columns_in_their_order(world, body) -> None:
    assert await world.ask("POST", "/invocations", body) == (200, {"predictions": [[2.0, 4.0], [6.0, 8.0]]})


async def test_a_csv_without_its_line_of_names_is_not_read_as_if_it_had_one(world) -> None:
    assert await world.ask("POST", "/invocations", b"0,1\n1,2\n", content_type="text/csv") == (200, {"predictions": [[2.0, 4.0]]})
    status, answer = await world.ask("POST", "/invocations", b"5.1,3.5\n1,2\n", content_type="text/csv")
    assert (status, "line of names" in answer["error"]) == (400, True)


async def test_a_regression_gives_one_number_for_each_row(world) -> None:
    interface = Interface(
        (TensorSpec("x", DType.FP32, (None, 1)),),
        (TensorSpec("y", DType.FP32, (None, 1)),),
        Task.REGRESSION,
        Decision(DecisionKind.VALUE, "y"),
    )
    world.load("m", 4, world.fakes.Engine(3.0, interface=interface))
    assert await world.ask("POST", "/invocations", {"inputs": [[1], [2]]}) == (200, {"predictions": [3.0, 6.0]})


async def test_health_is_told_as_mlflow_tells_it(world) -> None:
    for path in ("/ping", "/health"):
        reply = await world.send("GET", path)
        assert (reply.status, reply.body) == (200, b"\n")
    assert (await world.send("GET", "/version")).body == b"1.2.3"
    world.reason = "Nothing is loaded."
    for path in ("/ping", "/health"):
        assert await world.ask("GET", path) == (503, {"error": "Nothing is loaded."})


@pytest.mark.slow
async def test_mlflows_own_client_is_answered(house) -> None:
    pandas = pytest.importorskip("pandas")
    utils = pytest.importorskip("mlflow.utils.proto_json_utils")
    deployments = pytest.importorskip("mlflow.deployments")
    text = utils.dump_input_data(pandas.DataFrame(RECORDS))
    assert "NaN" in text  # not JSON, and what the client sends
    reply = await house.send("POST", "/invocations", text.encode(), content_type="application/json")
    answer = deployments.PredictionsResponse.from_json(reply.body.decode())
    assert answer.get_predictions().iloc[:, 0].tolist() == ["yes", "no"]
