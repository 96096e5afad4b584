"""A running server whose traffic is divided anew all the time: nothing is lost, every answer is its version's and its caller's own, and
what was taken back nobody meets.
"""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest
from registered import wait_until
from traffic_house import STREAM, House, Peer, Registry, ask, canary, clients, framed, request

from fairlead.core.traffic import Arm, Shadow, TrafficPlan
from fairlead.serve.grpc.schema import MESSAGES


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("worker_count", [0, 2])
def test_nothing_is_lost_while_plans_and_versions_switch(tmp_path, worker_count) -> None:
    draw = random.Random(7)
    count = 3 if worker_count else 6
    registry = Registry(tmp_path, has_processes=worker_count > 0, count=count)
    with House(registry, worker_count=worker_count, keep_warm_s=60.0) as house:
        house.wait_for(1)
        with clients(house) as working:
            for turn in range(5 if worker_count else 40):
                live, candidate, bystander = draw.sample(range(1, count + 1), 3)
                plan = draw.choice(
                    [
                        None,
                        canary(live, candidate, draw.random(), f"r{turn}"),
                        canary(live, candidate, draw.random(), f"r{turn}", shadow=Shadow(bystander, 0.5)),
                        TrafficPlan(f"r{turn}", 0, (Arm("A", live, 0.5), Arm("B", candidate, 0.25), Arm("C", bystander, 0.25))),
                    ]
                )
                house.wait_for(registry.put(live, plan))
                time.sleep(0.02)
    assert [client.wrong for client in working] == [[]] * len(working)
    assert min(len(client.seen) for client in working) > 20
    arms = {arm for client in working for _, _, arm, _ in client.seen}
    assert {"", "live", "candidate"} <= arms
    assert house.running.server.plane.in_flight == 0


@pytest.mark.slow
def test_after_a_rollback_is_in_force_no_new_request_meets_the_bad_version(registry) -> None:
    with House(registry, keep_warm_s=60.0) as house:
        house.wait_for(1)
        spans = []
        with clients(house) as working:
            for turn in range(15):
                house.wait_for(registry.put(1, canary(1, 2, 0.7, f"r{turn}")))
                time.sleep(0.02)
                house.wait_for(registry.put(1))
                back = time.monotonic()
                time.sleep(0.02)
                spans.append((back, time.monotonic()))
    assert [client.wrong for client in working] == [[]] * len(working)
    met = {version for client in working for _, version, _, _ in client.seen}
    assert met == {1, 2}
    for client in working:
        for began, version, _, ended in client.seen:  # one that was sent late may meet the next release
            assert version == 1 or not any(back <= began and ended < until for back, until in spans)


def test_a_candidate_that_cannot_be_loaded_takes_nothing_down(registry) -> None:
    registry.broken = {2}
    with House(registry) as house:
        house.wait_for(1)
        sequence = registry.put(1, canary(1, 2, 0.5))
        with house.in_force:
            assert house.in_force.wait_for(lambda: house.sequence >= sequence and house.applied["m"].has_failed, 30)
        with house.connect() as link:
            answers = [ask(link, 3.0) for _ in range(40)]
        assert {(status, answer["model_version"], answer["parameters"]["arm"]) for status, answer, _ in answers} == {(200, "1", "live")}
        evidence = house.running.server.witness.snapshot()["rel"].step(0).arm("candidate")
        assert 0 < evidence.server_errors == evidence.requests < 40
        assert any("requests for arm 'candidate' go to the live version" in line for line in house.said)


@pytest.mark.slow
def test_a_candidate_whose_processes_die_gives_its_share_to_live(tmp_path) -> None:
    registry = Registry(tmp_path, has_processes=True)
    with House(registry, worker_count=1) as house:
        house.wait_for(1)
        house.wait_for(registry.put(1, canary(1, 2, 0.5)))
        candidate = house.running.server.table.models["m"].versions[2]
        with clients(house, 1) as working:
            wait_until(lambda: any(version == 2 for client in working for _, version, _, _ in client.seen), 60.0)
            house.running._loop.call_soon_threadsafe(candidate.executor.close)  # as if its processes would not stay alive
            met = [len(client.seen) for client in working]
            wait_until(lambda: all(len(client.seen) >= count + 60 for client, count in zip(working, met, strict=True)), 60.0)
    late = [version for client in working for _, version, _, _ in client.seen[-20:]]
    assert set(late) == {1}
    assert all(answer[0] in {503, 14} for client in working for answer in client.wrong)  # what it was computing when it died
    assert house.running.server.witness.snapshot()["rel"].step(0).arm("candidate").server_errors > 0


def test_a_registry_that_goes_away_is_said_once_and_what_serves_goes_on(registry) -> None:
    with House(registry) as house:
        house.wait_for(registry.put(1, canary(1, 2, 0.5)))
        registry.is_away = True
        with registry.changed:
            registry.count += 1
            registry.changed.notify_all()
        with house.connect() as link:
            until = time.monotonic() + 30
            while not any("cannot be read" in line for line in house.said):
                assert time.monotonic() < until
                assert ask(link, 2.0)[0] == 200
            time.sleep(1.2)  # two more polls
            assert {ask(link, 2.0)[1]["model_version"] for _ in range(40)} == {"1", "2"}
            assert sum("cannot be read" in line for line in house.said) == 1
            registry.is_away = False
            house.wait_for(registry.put(3))
            assert ask(link, 2.0)[1]["model_version"] == "3"
        assert sum("can be read again" in line for line in house.said) == 1


def test_a_change_is_followed_at_once_where_the_source_tells(registry) -> None:
    with House(registry, keep_warm_s=60.0, follow_interval_s=600.0) as house:
        house.wait_for(1)
        for number in (2, 1) * 4:
            house.wait_for(registry.put(number))


def test_a_pin_a_sticky_key_and_an_arm_by_name_over_a_socket(registry) -> None:
    with House(registry) as house, house.connect() as link, Peer(house.running.server.grpc_address) as peer:
        house.wait_for(registry.put(1, canary(1, 2, 0.5, sticky="user_id")))
        assert ask(link, 1.0, fairlead_version="2")[1]["model_version"] == "2"
        assert ask(link, 1.0, fairlead_arm="candidate")[1]["model_version"] == "2"
        assert ask(link, 1.0, "/v2/models/m/versions/1/infer")[1]["model_version"] == "1"
        for user in ("anna", "ben", "eva", "tom"):
            versions = {ask(link, 1.0, user_id=user)[1]["model_version"] for _ in range(10)}
            message = MESSAGES["ModelInferResponse"].FromString(peer.call(request(), user_id=user).messages[0])
            assert versions == {message.model_version}
        found = peer.call(request(), fairlead_version="2")
        assert MESSAGES["ModelInferResponse"].FromString(found.messages[0]).model_version == "2"
        assert peer.call(request(), fairlead_version="two").status == 3
        assert peer.call(request(), fairlead_arm="B").status == 5


def test_each_message_of_a_stream_is_drawn_for_itself(registry) -> None:
    with House(registry) as house, Peer(house.running.server.grpc_address) as peer:
        house.wait_for(registry.put(1, canary(1, 2, 0.5)))
        stream = peer.open(STREAM)
        for count in range(40):
            peer.send(peer.data(stream, framed(request(((count, 1.0),))), end=count == 39))
        answers = [MESSAGES["ModelStreamInferResponse"].FromString(message).infer_response for message in peer.answer(stream).messages]
        drawn = [(answer.parameters["arm"].string_param, answer.model_version) for answer in answers]
        assert len(drawn) == 40
        assert set(drawn) == {("live", "1"), ("candidate", "2")}


def test_what_compression_costs_is_known_from_live_requests(registry) -> None:
    registry.twin_factors = {1: -1}  # the original decides every second request otherwise
    with House(registry, twin_share=1.0) as house, house.connect() as link:
        house.wait_for(1)
        until = time.monotonic() + 30
        comparisons = {}
        while comparisons.get(("m", "1", "twin"), 0) < 10:
            assert time.monotonic() < until
            status, answer, headers = ask(link, 5.0)
            assert (status, answer["model_version"], "fairlead-arm" in headers) == (200, "1", False)
            comparisons = house.running.server.witness.read().comparisons
        reading = house.running.server.witness.read()
        assert reading.flips["m", "1", "twin"] == reading.comparisons["m", "1", "twin"]
        assert reading.differences["m", "1", "twin"] == 10.0
        served = house.running.server.table.models["m"].versions[1]
        assert served.memory_bytes >= 2 * served.twin.size_bytes > 0
        link.request("GET", "/metrics")
        assert link.getresponse().read() is not None
        house.wait_for(registry.put(2))
        assert ask(link, 5.0)[1]["model_version"] == "2"


def test_late_labels_reach_the_evidence_through_a_socket(registry) -> None:
    with House(registry) as house, house.connect() as link:
        house.wait_for(registry.put(1, canary(1, 2, 0.5)))
        ids = [ask(link, value)[2]["x-request-id"] for value in (9.0, 0.5, 9.0)]
        labels = [{"request_id": identity, "label": "first"} for identity in ids]
        link.request("POST", "/v2/models/m/feedback", json.dumps({"labels": labels}), {"Content-Type": "application/json"})
        assert json.loads(link.getresponse().read())["joined"] == 3
        step = house.running.server.witness.snapshot()["rel"].step(0)
        assert sum(arm.labelled for arm in step.arms.values()) == 3
        assert sum(arm.right for arm in step.arms.values()) == 2
