import json

import numpy as np
import pytest

from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec

INFER = "/v2/models/table/infer"
SPECS = (TensorSpec("x", DType.FP32, (None, 3), ("age", "height", "weight")), TensorSpec("city", DType.BYTES, (None, 1)))


class Table:
    """Gives the table back."""

    description = "table 1"
    interface = Interface(SPECS, (TensorSpec("y", DType.FP32, (None, 3)),))

    def run(self, inputs, outputs=()):
        return {"y": inputs["x"]}

    def close(self) -> None:
        pass


@pytest.fixture
def table(world):
    world.load("table", 1, Table())
    return world


def column(name: str, data: list, datatype: str = "FP64", shape=None) -> dict:
    return {"name": name, "shape": [len(data)] if shape is None else shape, "datatype": datatype, "data": data}


CITY = column("city", ["Paris", "Rome"], "BYTES", [2, 1])
COLUMNS = [column("weight", [3, 6.5], "FP32"), CITY, column("age", [1, 4], "INT64", [2, 1]), column("height", [2.0, None])]


async def test_a_table_can_be_given_by_its_columns_in_any_order_and_number_type(table) -> None:
    status, answer = await table.ask("POST", INFER, {"inputs": COLUMNS})
    assert status == 200
    assert answer["outputs"][0]["data"] == [1.0, 2.0, 3.0, 4.0, None, 6.5]


async def test_metadata_names_the_columns(table) -> None:
    _, metadata = await table.ask("GET", "/v2/models/table")
    assert json.loads(metadata["properties"]["columns"]) == ["age", "height", "weight", "city"]
    assert "columns" not in (await table.ask("GET", "/v2/models/m"))[1]["properties"]


async def test_columns_can_be_raw(table) -> None:
    age, height = np.array([1, 4], "<i8"), np.array([2, 5], "<f2")
    inputs = [
        {"name": "age", "shape": [2], "datatype": "INT64", "parameters": {"binary_data_size": 16}},
        COLUMNS[0],
        {"name": "height", "shape": [2, 1], "datatype": "FP16", "parameters": {"binary_data_size": 4}},
        CITY,
    ]
    status, answer, _ = await table.ask_raw(INFER, {"inputs": inputs}, age.tobytes(), height.tobytes())
    assert status == 200
    assert answer["outputs"][0]["data"] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.5]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"age": None}, "Column 'age' is missing"),
        ({"age": column("age", ["1", "4"], "BYTES")}, "strings where numbers"),
        ({"age": column("age", [1e39, 0])}, "outside of FP32"),
        ({"age": column("age", [1, 2, 3])}, "different lengths"),
        ({"age": column("age", [1, 2], "FP64", [1, 2])}, "one value for each row"),
        ({"age": column("age", [1], "FP64", [])}, "one value for each row"),
        ({"age": column("age", [1, 2], "FP64", [3])}, "has 2 elements"),
        ({"age": column("age", [1, 2], "COMPLEX")}, "unknown datatype"),
        ({"age": column("age", [1, 2], "BF16")}, "no JSON form"),
        ({"age": {"name": "age", "shape": [2], "datatype": "FP32"}}, "no data"),
        ({"age": column("Age", [1, 2])}, "no input 'Age'"),
        ({"age": column("x", [1] * 6, "FP32", [2, 3])}, "both given"),
        ({"age": column("height", [1, 2])}, "given twice"),
    ],
)
async def test_columns_that_do_not_fit_are_refused_by_name(table, changed, said) -> None:
    inputs = [changed.get(item["name"], item) for item in COLUMNS]
    status, answer = await table.ask("POST", INFER, {"inputs": [item for item in inputs if item is not None]})
    assert (status, list(answer)) == (400, ["error"])
    assert said in answer["error"]
