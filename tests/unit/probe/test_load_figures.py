"""What a load's figures are made of, as pure functions: histogram, schedule, capacity search, confidence, judgement of answers."""

from __future__ import annotations

import itertools
import json
import math
import random
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.errors import SpecError
from fairlead.probe.grpc_messages import infer_request, read_infer_response
from fairlead.probe.load.answers import Judge, Judgement
from fairlead.probe.load.capacity import Trial, bounds, conclude, next_rate, share_limit
from fairlead.probe.load.grpc_status import header_block, status_of
from fairlead.probe.load.histogram import ERROR_RATIO, Histogram
from fairlead.probe.load.job import LoadJob, Tally
from fairlead.probe.load.report import client_limits
from fairlead.probe.load.schedule import BURST_SIZE, Arrivals, schedule

TIMES = st.floats(2e-6, 80_000.0)


def histogram_of(times) -> Histogram:
    made = Histogram()
    for value in times:
        made.add(value)
    return made


@given(st.lists(TIMES, min_size=1, max_size=200), st.floats(0.1, 100.0))
@settings(max_examples=50)
def test_every_percentile_is_within_one_percent_of_the_exact_one(times, percent) -> None:
    exact = sorted(times)[max(math.ceil(percent * len(times) / 100 - 1e-9), 1) - 1]
    assert histogram_of(times).percentile_s(percent) == pytest.approx(exact, rel=ERROR_RATIO * 1.0001)


@given(st.lists(TIMES, max_size=100), st.lists(TIMES, max_size=100))
@settings(max_examples=50)
def test_histograms_add_up_and_travel(one, two) -> None:
    merged = histogram_of(one)
    merged.merge(Histogram.from_plain(json.loads(json.dumps(histogram_of(two).to_plain()))))
    both = histogram_of([*one, *two])
    assert (merged.counts, merged.count, merged.largest_s, merged.smallest_s) == (both.counts, both.count, both.largest_s, both.smallest_s)
    assert merged.mean_s == pytest.approx(both.mean_s)


@given(st.lists(TIMES, min_size=1, max_size=100), TIMES)
def test_times_above_a_limit_are_never_counted_too_few_and_only_near_it_too_many(times, limit) -> None:
    counted = histogram_of(times).count_above(limit)
    assert sum(value > limit for value in times) <= counted <= sum(value > limit * 0.97 for value in times)


@given(st.lists(TIMES, min_size=1, max_size=300))
@settings(max_examples=50)
def test_the_bars_hold_every_time_once(times) -> None:
    bars = histogram_of(times).bars(12)
    assert len(bars) <= 12
    assert sum(count for _, _, count in bars) == len(times)
    assert bars[0][0] <= min(times) * 1.0001
    assert max(times) <= bars[-1][1] * 1.0001
    assert all(one[1] == pytest.approx(two[0]) for one, two in itertools.pairwise(bars))


def test_times_outside_the_range_count_at_its_ends_and_none_is_lost() -> None:
    made = histogram_of([0.0, 1e-9, 1e9])
    assert (made.count, sum(made.counts), made.largest_s, made.smallest_s) == (3, 3, 1e9, 0.0)
    assert made.percentile_s(100) == 1e9
    assert Histogram().percentile_s(99) == 0.0
    with pytest.raises(ValueError, match="percentile"):
        made.percentile_s(0)


@given(st.floats(0.5, 1e5), st.integers(0, 5), st.integers(1, 4))
def test_the_parts_of_a_constant_schedule_interleave_to_the_whole(rate, seed, parts) -> None:
    whole = list(itertools.islice(schedule(Arrivals.CONSTANT, rate, seed=seed), 40))
    split = [list(itertools.islice(schedule(Arrivals.CONSTANT, rate, seed=seed, part=part, part_count=parts), 40)) for part in range(parts)]
    assert sorted(itertools.chain(*split))[:40] == pytest.approx(whole)
    assert whole[1:] == pytest.approx([number / rate for number in range(1, 40)])


@given(st.floats(1, 1e5), st.integers(0, 2**32))
@settings(max_examples=10)
def test_poisson_arrivals_have_the_rate_and_the_spread_that_they_should(rate, seed) -> None:
    times = list(itertools.islice(schedule(Arrivals.POISSON, rate, seed=seed), 4000))
    gaps = [two - one for one, two in itertools.pairwise(times)]
    assert min(gaps) >= 0
    assert statistics.mean(gaps) * rate == pytest.approx(1, abs=0.12)
    assert statistics.stdev(gaps) * rate == pytest.approx(1, abs=0.2)  # an exponential law's deviation is its mean
    assert times == list(itertools.islice(schedule(Arrivals.POISSON, rate, seed=seed), 4000))


def test_parts_of_a_poisson_schedule_are_independent_and_a_rate_of_nothing_is_refused() -> None:
    one, two = (list(itertools.islice(schedule(Arrivals.POISSON, 10, seed=1, part=part, part_count=2), 5)) for part in range(2))
    assert one != two
    for rate in (0, -1, math.inf):
        with pytest.raises(SpecError):
            schedule(Arrivals.POISSON, rate, seed=0)


def search(holds, first: float, *, limit: str = "", count: int = 10_000) -> list[Trial]:
    """Run the search against a server that keeps the promise where `holds(rate)` says so."""
    trials: list[Trial] = []
    while (rate := next_rate(trials, first)) is not None:
        is_kept = holds(rate)
        trials.append(Trial(rate, count, 0 if is_kept else count // 10, 1.0, limit="" if is_kept else limit))
    return trials


@given(st.floats(1.0, 1e5), st.floats(0.02, 300.0))
def test_the_search_ends_within_five_percent_below_the_true_capacity(capacity, ratio) -> None:
    found = conclude(search(lambda rate: rate <= capacity, max(capacity * ratio, 1.0)))
    if found.rate == 0:  # it gives up where a thousandth of the first guess does not hold
        assert capacity < capacity * ratio / 500
        return
    assert capacity / 1.06 <= found.rate <= capacity
    assert found.is_sure
    assert found.run_count == 4
    assert capacity < found.failed_rate <= found.rate * 1.06


@given(st.integers(0, 10_000))
@settings(max_examples=60)
def test_a_noisy_server_ends_the_search_and_what_is_found_held_mostly(seed) -> None:
    generator = random.Random(seed)
    trials = search(lambda rate: rate * generator.uniform(0.8, 1.2) <= 1000, 500.0)
    held, ceiling = bounds(trials)
    found = conclude(trials)
    assert len(trials) <= 40
    assert found.rate == held
    at_held = [trial.holds for trial in trials if trial.rate == held]
    assert sum(at_held) > len(at_held) / 2 or held == 0
    assert (found.kept_count, found.run_count) == (sum(at_held), len(at_held))
    assert held < ceiling


def test_a_client_that_cannot_send_is_named_and_nothing_held_is_no_capacity() -> None:
    found = conclude(search(lambda rate: rate <= 3000, 1000.0, limit="the client was busy"))
    assert found.limit == "the client was busy"
    nothing = conclude(search(lambda _: False, 1000.0))
    assert (nothing.rate, nothing.is_sure) == (0.0, False)


def test_one_bad_trial_is_tried_again_and_two_count() -> None:
    good, bad = Trial(100.0, 1000, 0, 1.0), Trial(100.0, 1000, 500, 9.0)
    assert next_rate([bad], 100.0) == 100.0
    assert next_rate([bad, good], 100.0) == 100.0
    assert next_rate([bad, good, good], 100.0) == 200.0
    assert next_rate([bad, bad], 100.0) == 50.0


def test_few_requests_are_not_enough_to_be_sure() -> None:
    assert not conclude(search(lambda rate: rate <= 100, 50.0, count=60)).is_sure
    assert conclude(search(lambda rate: rate <= 100, 50.0, count=600)).is_sure


@given(st.integers(0, 500), st.integers(1, 100_000))
def test_the_limit_of_a_share_lies_above_it_and_narrows_with_the_count(late, extra) -> None:
    total = late + extra
    limit = share_limit(late, total)
    assert late / total <= limit <= 1
    assert share_limit(late * 10, total * 10) <= limit + 1e-12


def test_the_limit_of_a_share_covers_the_true_one_as_often_as_it_says() -> None:
    generator = np.random.default_rng(3)
    late = generator.binomial(2000, 0.01, 4000)
    covered = np.mean([share_limit(int(count), 2000) >= 0.01 for count in late])
    assert 0.93 <= covered <= 0.98
    assert share_limit(0, 0) == 1.0


def job(**changes) -> LoadJob:
    given = {"host": "h", "port": 1, "is_secure": False, "protocol": "http", "requests": (b"a",), "answers": (), "concurrency": 1}
    return LoadJob(**{**given, **changes})


def answer(value: float, **more) -> bytes:
    return json.dumps({**more, "outputs": [{"name": "y", "datatype": "FP32", "shape": [1], "data": [value]}]}).encode()


def test_an_answer_is_right_alike_or_wrong_by_its_values_not_its_bytes() -> None:
    judge = Judge(job(answers=((b"", answer(1.0)),)))
    assert judge.judge(0, b"", answer(1.0)) is Judgement.RIGHT
    assert judge.judge(0, b"", answer(1.0, id="other")) is Judgement.ALIKE
    assert judge.judge(0, b"", answer(1.0000001)) is Judgement.ALIKE
    assert judge.judge(0, b"", answer(1.001)) is Judgement.WRONG
    assert judge.judge(0, b"", b"garbage") is Judgement.WRONG
    assert Judge(job()).judge(0, b"", answer(5.0)) is Judgement.RIGHT


def test_grpc_answers_are_judged_by_their_tensors() -> None:
    def message(value: float, request_id: str) -> bytes:
        request = infer_request("m", {"y": np.float32([value])}, request_id=request_id)
        return read_and_turn(request)

    judge = Judge(job(protocol="grpc", answers=((b"", message(1.0, "a")),)))
    assert judge.judge(0, b"", message(1.0, "a")) is Judgement.RIGHT
    assert judge.judge(0, b"", message(1.0, "b")) is Judgement.ALIKE
    assert judge.judge(0, b"", message(2.0, "a")) is Judgement.WRONG
    assert judge.judge(0, b"", b"\xff") is Judgement.WRONG


def read_and_turn(request) -> bytes:
    """Return a response with a request's tensors."""
    from fairlead.probe.grpc_messages import make

    response = make("ModelInferResponse", model_name="m", id=request.id, raw_output_contents=list(request.raw_input_contents))
    for tensor in request.inputs:
        response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    return response.SerializeToString()


@given(st.sampled_from([np.float32, np.int64, np.uint8, np.bool_, object]), st.integers(1, 5))
def test_tensors_come_back_raw_and_typed(dtype, rows) -> None:
    array = np.array([["a", "ü"]] * rows, object) if dtype is object else np.arange(rows * 2).reshape(rows, 2).astype(dtype)
    for is_raw in (True, False):
        request = infer_request("m", {"y": array}, is_raw=is_raw)
        if is_raw:
            back = read_infer_response(read_and_turn(request))["y"]
            assert back.dtype == array.dtype
            assert back.tolist() == array.tolist()
        else:
            assert not request.raw_input_contents


@pytest.mark.parametrize("code", range(17))
def test_a_status_is_read_plain_and_in_huffmans_code(code) -> None:
    digits = str(code).encode()
    codes = {b: f"{n:05b}" for n, b in enumerate(b"012")} | {b: f"{25 + n - 3:06b}" for n, b in enumerate(b"3456789", 3)}
    bits = "".join(codes[byte] for byte in digits)
    bits += "1" * (-len(bits) % 8)
    packed = int(bits, 2).to_bytes(len(bits) // 8)
    plain_name, packed_name = b"\x0bgrpc-status", b"\x88" + bytes.fromhex("9acac8b21234da8f")
    for name in (plain_name, packed_name):
        assert status_of(b"\x00" + name + bytes([len(digits)]) + digits) == code
        assert status_of(b"\x10" + name + bytes([0x80 | len(packed)]) + packed + b"\x00\x01a\x01b") == code


@given(st.binary(max_size=60))
def test_trailers_of_any_bytes_give_a_status(block) -> None:
    assert status_of(block) >= 0
    assert status_of(b"") == 2


def test_a_request_header_names_the_method_and_the_host() -> None:
    block = header_block("h" * 200)
    assert b"/inference.GRPCInferenceService/ModelInfer" in block
    assert b"\x7f\x49" + b"h" * 200 in block  # 127 + 73, as RFC 7541 section 5.1 writes 200


def test_a_client_at_its_limit_says_so() -> None:
    tally = Tally(cpu_shares=[0.5, 0.99], measured_s=1)
    assert "99%" in client_limits(tally, job())[0]
    late = Tally(cpu_shares=[0.5])
    for _ in range(100):
        late.times.add(0.002)
        late.lags.add(0.05)
    assert "late" in client_limits(late, job(rate=10.0))[0]
    assert client_limits(late, job()) == ()
    assert client_limits(Tally(cpu_shares=[0.5]), job()) == ()


def test_bursts_come_sixteen_at_once_at_the_same_rate():
    times = list(itertools.islice(schedule(Arrivals.BURSTS, 1000, seed=3), 16_000))
    assert len(set(times)) == 1000
    assert all(len(set(times[start : start + BURST_SIZE])) == 1 for start in range(0, 16_000, BURST_SIZE))
    assert times == sorted(times)
    assert times[-1] == pytest.approx(16, rel=0.15)
