import math

import pytest
from registered import add_version, new_house, scaler, write_model

from fairlead.app.observing_rules import ObservingChange, ObservingRules, all_rules, change_observing, observing_of
from fairlead.core.dtype import DType
from fairlead.core.interface import Interface, TensorSpec
from fairlead.errors import NotFoundError, SpecError


@pytest.fixture
def house(tmp_path):
    house = new_house(tmp_path / "home")
    add_version(house, "m", scaler(tmp_path / "m.onnx", 3))
    return house


def treatments(found) -> dict[str, str]:
    return {column.name: column.treatment for column in found.columns}


def test_a_model_of_which_nothing_is_said_is_kept_by_the_settings(house) -> None:
    found = observing_of("m", house)
    assert (found.share, found.keep_s, found.version) == (1.0, 30 * 86_400.0, 1)
    assert set(treatments(found).values()) == {"keep"}
    assert all_rules(house.records) == {}


def test_changes_add_up_and_a_reset_takes_them_back(house) -> None:
    change_observing("m", ObservingChange(share=0.1), house)
    found = change_observing("m", ObservingChange(redact="c0=drop, y*=bucket(0.5)", keep_s=86_400.0), house)
    assert (found.share, found.keep_s) == (0.1, 86_400.0)
    assert treatments(found) == {"input:c0": "drop", "input:c1": "keep", "input:c2": "keep"} | {
        f"output:y[{place}]": "bucket(0.5)" for place in range(3)
    }
    assert all_rules(house.records)["m"] == ObservingRules(share=0.1, redact="c0=drop, y*=bucket(0.5)", keep_s=86_400.0)
    assert change_observing("m", ObservingChange(is_reset=True), house).share == 1.0
    assert all_rules(house.records) == {}


def test_a_model_that_is_off_keeps_nothing(house) -> None:
    assert change_observing("m", ObservingChange(is_on=False), house).share == 0.0
    assert change_observing("m", ObservingChange(is_on=True), house).share == 1.0


def test_what_changes_nothing_is_not_written(house) -> None:
    change_observing("m", ObservingChange(share=0.5), house)
    change_observing("m", ObservingChange(share=0.5), house)
    assert len(house.records.fact_history("observing", "m")) == 1


@pytest.mark.parametrize(
    "change",
    [
        ObservingChange(share=1.5),
        ObservingChange(share=math.nan),
        ObservingChange(keep_s=-1.0),
        ObservingChange(keep_s=math.inf),
        ObservingChange(keep_bytes=-1),
        ObservingChange(redact="nothing like that=drop"),
        ObservingChange(redact="c0=summary"),
        ObservingChange(redact="c0=burn"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_changes(house, change) -> None:
    with pytest.raises(SpecError):
        change_observing("m", change, house)
    assert all_rules(house.records) == {}


def test_a_wrong_name_is_told_the_nearest_right_one(house) -> None:
    with pytest.raises(SpecError, match="Did you mean 'c1'"):
        change_observing("m", ObservingChange(redact="cc1=drop"), house)
    with pytest.raises(NotFoundError):
        observing_of("other", house)


def test_texts_and_images_are_told_by_their_kind_and_given_what_they_can_have(house, tmp_path) -> None:
    from onnx import TensorProto, helper

    ends = [("y", TensorProto.FLOAT, ["b", 28, 28])]
    path = write_model(
        tmp_path / "i.onnx", lambda: [helper.make_node("Identity", ["i"], ["y"])], [("i", TensorProto.FLOAT, ["b", 28, 28])], ends, {}
    )
    interface = Interface((TensorSpec("i", DType.FP32, (None, 28, 28)),), (TensorSpec("y", DType.FP32, (None, 28, 28)),))
    add_version(house, "image", (path, interface))
    assert treatments(observing_of("image", house)) == {"input:i": "summary", "output:y": "summary"}
    assert treatments(change_observing("image", ObservingChange(redact="i=keep, y=drop"), house)) == {"input:i": "keep", "output:y": "drop"}
