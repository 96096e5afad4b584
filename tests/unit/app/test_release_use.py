"""Promotion, canary, rollback and release.yaml with servers that only say what they have: no model runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import registered
from release_pets import Server, live, request, servers, three_pets

from fairlead.app import release_view
from fairlead.app.release import promote, release_new, rollback
from fairlead.app.release_begin import ReleaseRequest, begin
from fairlead.app.release_outlook import EVIDENCE, compared, comparison_of, evidence_of, judgement
from fairlead.app.wiring import House
from fairlead.core.evidence import Outcome, ReleaseCounter
from fairlead.core.gate import GateVerdict, parse_gate
from fairlead.core.release import ReleaseKind, ReleaseStatus
from fairlead.core.release_text import parse_arms
from fairlead.errors import ApprovalError, ConflictError, NotFoundError, RejectedError, SpecError
from fairlead.register import promotion
from fairlead.register.approval import approve, protect
from fairlead.stores.document import dump


@pytest.fixture
def pets(house: House, tmp_path: Path) -> House:
    return three_pets(house, tmp_path)


# At once.


def test_without_a_server_the_alias_moves_and_nobody_is_waited_for(pets):
    outcome = promote("pets:2", pets)
    assert (outcome.number, outcome.previous, outcome.followed.servers) == (2, 1, ())
    assert live(pets) == 2


def test_with_servers_the_alias_moves_once_all_have_the_version(pets):
    with servers(Server(pets, "one"), Server(pets, "two")):
        outcome = promote("pets:2", pets)
    assert (live(pets), len(outcome.followed.servers), outcome.followed.behind) == (2, 2, ())
    assert [entry.event.status.value for entry in release_view.history("pets", pets) if entry.event] == ["running", "promoting", "promoted"]


def test_what_one_server_cannot_load_is_not_promoted(pets):
    with servers(Server(pets, "one"), Server(pets, "two", cannot=frozenset({2}))), pytest.raises(RejectedError, match="pets:2 is damaged"):
        promote("pets:2", pets)
    assert live(pets) == 1
    assert promotion.running(pets.records) == ()


def test_a_server_that_does_not_follow_is_named_and_it_goes_on_by_itself(pets):
    told = []
    with servers(Server(pets, "deaf", is_deaf=True)):
        outcome = promote("pets:2", pets, wait_s=0.3, tell=told.append)
    assert (outcome.number, outcome.release.status) == (1, ReleaseStatus.RUNNING)
    assert [beat.label for beat in outcome.followed.behind] == ["http://deaf"]
    assert told == ["http://deaf: has not looked at it yet"]


def test_promoting_what_is_live_moves_nothing(pets):
    before = pets.records.sequence()
    assert promote("pets:1", pets).number == 1
    assert pets.records.sequence() == before


@pytest.mark.parametrize(
    ("reference", "error", "said"),
    [
        ("pets:9", NotFoundError, "no version pets:9"),
        ("cats:1", NotFoundError, "Did you mean pets|Nothing is registered"),
        ("pets", SpecError, "does not say which version"),
        ("pets@production", SpecError, "does not say which version"),
        ("../pets:1", SpecError, "cannot name a model"),
    ],
)
def test_what_is_not_there_is_not_promoted(pets, reference, error, said):
    with pytest.raises(error, match=said):
        promote(reference, pets)
    with pytest.raises(error, match=said):
        begin(request(reference), pets)


def test_a_changed_interface_is_refused_unless_it_is_meant(pets, tmp_path):
    labels = registered.classifier(tmp_path / "labels.onnx", labels=("cat", "dog", "cow"))
    number = registered.add_version(pets, "pets", labels, alias="").number
    for act in (lambda: promote(f"pets:{number}", pets), lambda: begin(request(f"pets:{number}"), pets)):
        with pytest.raises(RejectedError, match="labels were cat, dog, owl, are cat, dog, cow"):
            act()
    assert promote(f"pets:{number}", pets, allow_interface_change=True).number == number


def test_requests_are_not_split_between_versions_of_other_tensors_even_where_that_is_meant(pets, tmp_path):
    wider = registered.classifier(tmp_path / "wider.onnx", width=5, columns=("a", "b", "c", "d", "e"))
    number = registered.add_version(pets, "pets", wider, alias="").number
    with pytest.raises(RejectedError, match="cannot be split between pets:1 and"):
        begin(request(f"pets:{number}", allow_interface_change=True), pets)
    assert promote(f"pets:{number}", pets, allow_interface_change=True).number == number


def test_a_red_version_is_refused(pets, tmp_path, monkeypatch):
    red = dataclasses.replace(registered.CHECK, is_met=False, is_gate=True)
    monkeypatch.setattr("fairlead.register.stage._check_verdict", lambda _: None)  # as another registry may have let it in
    monkeypatch.setattr(registered, "CHECK", red)
    number = registered.add_version(pets, "pets", registered.classifier(tmp_path / "red.onnx", seed=9), alias="").number
    for act in (lambda: promote(f"pets:{number}", pets), lambda: begin(request(f"pets:{number}"), pets)):
        with pytest.raises(RejectedError, match=r"is red \(batch invariance\)"):
            act()


def test_a_protected_model_needs_an_approval_in_every_way(pets):
    published = dataclasses.replace(pets.records.version("pets", 2))
    pets.records.add_traits("pets", 2, {"publisher": "ann"})
    protect("pets", records=pets.records, clock=pets.clock, author="ann")
    for act in (lambda: promote("pets:2", pets), lambda: begin(request(), pets)):
        with pytest.raises(ApprovalError, match="has no approval"):
            act()
    approve(published, records=pets.records, clock=pets.clock, approver="bob")
    assert promote("pets:2", pets).number == 2


def test_what_was_registered_and_cannot_become_live_is_said_to_be_registered_with_what_is_left_to_do(pets):
    version = pets.records.version("pets", 2)
    begin(request("pets:3"), pets)
    with pytest.raises(ConflictError, match=r"pets:2 is registered, but @production stays: A canary of pets:3 .* is running"):
        release_new(version, "production", pets, expected=1)
    release_view.say("pets", "stop", pets)
    with pytest.raises(ConflictError, match="pets:2 is registered, but another deployment moved @production meanwhile"):
        release_new(version, "production", pets, expected=0)
    pets.records.add_traits("pets", 2, {"publisher": "ann"})
    protect("pets", records=pets.records, clock=pets.clock, author="ann")
    with pytest.raises(ApprovalError, match="Registered as pets:2, not live yet: pets is protected") as refused:
        release_new(version, "production", pets, expected=1)
    assert refused.value.hint.endswith("fairlead approve pets:2. Then: fairlead promote pets:2")
    assert live(pets) == 1
    approve(version, records=pets.records, clock=pets.clock, approver="bob")
    move = release_new(version, "production", pets, expected=1)
    assert (move.number, move.reason, move.author) == (2, "deploy", "ann")


# Canary.


def test_a_release_is_begun_with_all_that_was_said(pets):
    release = begin(request(sticky="user_id", min_step_s=60.0), pets).release
    assert (release.live, release.candidate, release.author, release.sticky, release.min_step_s) == (1, 2, "ann", "user_id", 60.0)
    assert release.log[0].sentence == "Began a canary: 10%, then 50%, gate: error_rate."


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"reference": "pets:1"}, SpecError, "pets:1 is live already"),
        ({"alias": "staging"}, SpecError, "nothing to compare with"),
        ({"alias": "Staging!"}, SpecError, "not an alias"),
        ({"twin_share": 0.1}, SpecError, "no uncompressed original"),
        ({"gate": parse_gate("twin_flips")}, SpecError, "no uncompressed original"),
        ({"kind": ReleaseKind.EXPERIMENT, "arms": parse_arms(["A=2:50", "B=3:50"]), "steps": ()}, SpecError, "No arm is the live version"),
        ({"kind": ReleaseKind.EXPERIMENT, "arms": parse_arms(["A=1:50", "B=9:50"]), "steps": ()}, NotFoundError, "no version pets:9"),
        (
            {"kind": ReleaseKind.EXPERIMENT, "arms": parse_arms(["A=1:50", "B=2:50"]), "steps": (), "gate": parse_gate("disagreement")},
            SpecError,
            "cannot compare answers",
        ),
    ],
)
def test_what_cannot_run_is_not_begun(pets, changes, error, said):
    changes = {"reference": "pets:2", **changes}
    kind = changes.pop("kind", ReleaseKind.CANARY)
    before = pets.records.sequence()
    with pytest.raises(error, match=said):
        begin(dataclasses.replace(request(), kind=kind, **changes), pets)
    assert pets.records.sequence() == before


def test_a_version_that_a_clean_up_took_in_the_moment_before_ends_the_release_that_names_it(pets):
    put = pets.records.put_fact

    def put_fact(kind: str, *arguments: object, **options: object) -> object:
        if not pets.records.retired("pets"):
            pets.records.retire_version("pets", 2, at=1.0, reason="old")
        return put(kind, *arguments, **options)

    pets.records.put_fact = put_fact
    with pytest.raises(NotFoundError, match="retired"):
        begin(request(), pets)
    ended = promotion.current("pets", records=pets.records).release
    assert (ended.status, live(pets)) == (ReleaseStatus.STOPPED, 1)
    assert "pets:2 was retired" in ended.log[-1].sentence


def test_a_gate_that_compares_answers_gets_answers_to_compare(pets):
    assert [step.shadow for step in begin(request(gate=parse_gate("disagreement<=0.02")), pets).release.steps] == [0.1, 0.1]


def test_one_release_at_a_time(pets):
    begin(request(), pets)
    with pytest.raises(ConflictError, match="A canary of pets:2 for pets@production is running"):
        begin(request("pets:3"), pets)
    with pytest.raises(ConflictError, match="is running"):
        promote("pets:3", pets)


def test_promoting_the_candidate_of_a_canary_ends_it(pets):
    begin(request(), pets)
    outcome = promote("pets:2", pets)
    assert (outcome.number, outcome.release.status) == (2, ReleaseStatus.PROMOTED)
    assert "ann promoted pets:2 at once." in [event.sentence for event in outcome.release.log]


def test_a_persons_word_is_kept_in_the_log(pets):
    begin(request(), pets)
    assert [release_view.say("pets", word, pets).release.status.value for word in ("hold", "resume", "advance", "stop")] == [
        "held",
        "running",
        "running",
        "stopped",
    ]
    with pytest.raises(NotFoundError, match="No release of pets is running"):
        release_view.say("pets", "hold", pets)
    with pytest.raises(NotFoundError, match="Nothing is registered"):
        release_view.say("dogs", "hold", pets)
    with pytest.raises(SpecError, match="hold, resume, stop, advance"):
        release_view.say("pets", "pause", pets)


def tell(house: House, server: str, arm: str, outcome: Outcome, count: int) -> None:
    """Let a server tell what it counted."""
    release = promotion.current("pets", records=house.records).release
    counter = ReleaseCounter(release.id)
    for _ in range(count):
        counter.arm(0, "live").answered(1_000_000, Outcome.OK)
        counter.arm(0, arm).answered(1_000_000, outcome)
    house.records.put_report(EVIDENCE, f"{release.id}/{server}", dump(counter.read()).decode(), 1.0)


def test_who_moved_the_alias_is_known_also_where_the_gate_did(pets):
    promote("pets:2", pets)
    rollback("pets", dataclasses.replace(pets, settings=dataclasses.replace(pets.settings, user="bob")))
    kept = begin(request(), pets)
    decided = kept.release.with_event(1.0, "Promoting.", "gate", status=ReleaseStatus.PROMOTING)
    pets.records.put_fact("release", "pets", dump(decided).decode(), expected=kept.revision, at=1.0, author="gate")
    promotion.settle(promotion.current("pets", records=pets.records), records=pets.records, clock=pets.clock)
    moves = pets.records.alias_history("pets", "production")[1:]
    assert [(move.reason, move.author) for move in moves] == [("promote", "ann"), ("rollback", "bob"), ("canary", "gate")]


def test_what_servers_counted_is_added_up_and_what_cannot_be_read_left_out(pets):
    kept = begin(request(), pets)
    tell(pets, "one", "candidate", Outcome.SERVER, 40)
    tell(pets, "two", "candidate", Outcome.SERVER, 60)
    pets.records.put_report(EVIDENCE, f"{kept.release.id}/three", '{"release": 3}', 1.0)
    assert evidence_of(kept.release, pets.records).step(0).arm("candidate").server_errors == 100
    seen = release_view.view("pets", pets)
    assert seen.decision.verdict is GateVerdict.ROLL_BACK
    ended = rollback("pets", pets).release
    assert ended.log[-1].basis.findings[0].requests == 100  # the numbers stay when the counts go


def test_the_counts_of_a_former_release_are_forgotten_when_the_next_begins(pets):
    first = begin(request(), pets).release
    tell(pets, "one", "candidate", Outcome.OK, 1)
    rollback("pets", pets)
    begin(request("pets:3"), pets)
    assert pets.records.reports(EVIDENCE, f"{first.id}/") == ()


def test_answers_that_share_a_batch_count_as_one_where_an_experiments_arms_are_compared(pets):
    counter = ReleaseCounter("r")
    for arm in ("A", "B"):
        for number in range(800):
            counter.arm(0, arm).answered(1_000_000 + number * 1000, Outcome.OK)
    arms = parse_arms(["A=1:50", "B=2:50"])
    widths = []
    for gate in (None, parse_gate("error_rate, cluster=8")):
        kept = begin(ReleaseRequest(ReleaseKind.EXPERIMENT, "pets", arms=arms, gate=gate), pets)
        found = comparison_of(kept.release, counter.read())
        widths += [one.high - one.low for one in found.estimates if one.metric == "error_rate"]
        rollback("pets", pets)
    assert widths[2] > 2 * widths[0]


def test_what_a_shadow_saw_is_said_with_an_interval():
    counter = ReleaseCounter("r")
    assert compared(counter.read()) == "Nothing was compared."
    counter.shadow(0).failed()
    assert compared(counter.read()) == "Nothing was compared; answers that never came: 1."
    for number in range(200):
        counter.shadow(0).compared(is_flip=number < 5, difference=0.25, latency_ns=1, live_latency_ns=1)
    said = compared(counter.read())
    assert said.startswith("200 answers were compared: 5 decided otherwise, 2.500% (95 %: ")
    assert said.endswith("; numbers differ by 0.25 at most; answers that never came: 1.")


def test_which_arm_of_an_experiment_the_gate_takes_back_is_said(pets):
    counter = ReleaseCounter("r")
    for arm, outcome in (("A", Outcome.OK), ("B", Outcome.OK), ("C", Outcome.SERVER)):
        for _ in range(200):
            counter.arm(0, arm).answered(1_000_000, outcome)
    arms = parse_arms(["A=1:40", "B=2:30", "C=3:30"])
    kept = begin(ReleaseRequest(ReleaseKind.EXPERIMENT, "pets", arms=arms, gate=parse_gate("error_rate")), pets)
    decision = judgement(kept.release, counter.read(), 10.0)
    assert decision.verdict is GateVerdict.ROLL_BACK
    assert decision.sentence.startswith("C against A: Roll back: error_rate: candidate 100 %, live 0 %")


def test_an_experiment_is_viewed_with_intervals_and_ended_by_a_choice(pets):
    arms = parse_arms(["B=2:50", "A=1:50"])
    kept = begin(ReleaseRequest(ReleaseKind.EXPERIMENT, "pets", arms=arms), pets)
    assert [arm.name for arm in kept.release.arms] == ["A", "B"]  # the live one comes first
    tell(pets, "one", "B", Outcome.OK, 50)
    seen = release_view.view("pets", pets)
    assert {item.arm for item in seen.comparison.estimates} == {"A", "B"}
    ended = release_view.choose("pets", "B", pets).release
    assert (ended.status, live(pets)) == (ReleaseStatus.PROMOTED, 2)
    assert any(event.basis.estimates for event in ended.log)
