"""Outlooks: what was measured says so, what is guessed does too, and what cannot be known is left out."""

from __future__ import annotations

from fairlead.core.artifact import ArtifactForm
from fairlead.core.facts import ModelFacts
from fairlead.core.latency_profile import LatencyProfile, ProfilePoint
from fairlead.core.outlook import Outlook
from fairlead.core.requirement import parse_requirements
from fairlead.core.target import Target
from fairlead.optimize.catalog import PASSES
from fairlead.plan.families import Means
from fairlead.plan.outlooks import AsConverted, outlooks_of
from fairlead.plan.stage import plan

MEANS = Means(frozenset(PASSES.names()), model=ModelFacts(250, 1000, {"Gemm": 1}, {"matrix": 500.0}, 1000, 40, 20))
PROFILE = LatencyProfile(
    tuple(ProfilePoint(1, threads, 0.5 / threads, 1, 1, 0.5, 0.0, 9, (0.5,)) for threads in (1, 2)), engine="onnxruntime"
)


def told(profile: LatencyProfile | None = PROFILE, *, absent: dict[str, str] | None = None) -> dict[str, Outlook]:
    promise = parse_requirements(["accuracy_drop<=0.01", "p99_ms<=5"])
    found = plan({}, ArtifactForm.LAYER_GRAPH, promise, Target(core_count=2), MEANS)
    outlooks = outlooks_of(found, MEANS, AsConverted(1200, "onnx", profile), absent or {})
    assert [outlook.candidate for outlook in outlooks] == list(found.candidates)
    return {outlook.candidate.name: outlook for outlook in outlooks}


def test_the_model_itself_is_as_it_was_measured() -> None:
    first = told()["as-converted"]
    assert (first.latency_ms, first.size_bytes, first.is_latency_measured, first.loses) == (0.5, 1200, True, "")


def test_a_pass_that_was_not_made_is_a_guess() -> None:
    found = told()
    assert (found["clean-graph"].latency_ms, found["clean-graph"].is_latency_measured) == (0.5, False)
    assert found["clean-graph-2-threads"].latency_ms == 0.25
    assert (found["store-fp16"].latency_ms, found["store-fp16"].is_latency_measured) == (0.5, False)
    assert found["store-fp16"].size_bytes == 700  # half of the weights, and what is no weight


def test_what_is_not_known_is_left_out_and_said_in_words() -> None:
    found = told()
    assert (found["openvino"].latency_ms, found["openvino"].size_bytes) == (None, None)
    assert found["quantize-static-int8"].latency_ms is None
    assert found["quantize-static-int8"].speed
    assert told(None)["as-converted"].latency_ms is None


def test_an_engine_that_is_not_installed_says_how_to_get_it() -> None:
    found = told(absent={"openvino": "pip install 'fairlead[openvino]'"})
    assert found["openvino"].speed == "not installed: pip install 'fairlead[openvino]'"
    assert not found["openvino"].is_installed
    assert found["as-converted"].is_installed
