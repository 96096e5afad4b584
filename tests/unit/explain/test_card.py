"""The model card: it says what was measured, what is not known, and lets no name become markup."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fairlead.core.dtype import DType
from fairlead.core.interface import Decision, DecisionKind, Interface, Task, TensorSpec
from fairlead.core.lineage import Lineage, Step
from fairlead.core.plan import Plan
from fairlead.core.profile import FeatureKind, FeatureProfile, Profile
from fairlead.core.requirement import parse_requirement
from fairlead.core.strategy import Strategy
from fairlead.core.target import Machine, Target
from fairlead.core.verdict import Calibration, Check, ExplanationParity, Flip, Parity, Quality, Speed, Verdict
from fairlead.explain.card import WRITTEN, CardFacts, card_markdown, card_page, write_card
from fairlead.explain.slices import Slice

HOSTILE = "a|b`<script>\n# c"


def card(
    folder: Path,
    *,
    name: str = "age",
    quality: tuple[Quality, ...] = (),
    columns: int = 2,
    flips: tuple[Flip, ...] = (),
    calibration: Calibration | None = None,
) -> str:
    requirement = parse_requirement("accuracy>=0.95")
    interface = Interface(
        (TensorSpec("x", DType.FP32, (None, columns), (name, *(f"c{number}" for number in range(1, columns)))),),
        (TensorSpec("y", DType.FP32, (None, 2)),),
        Task.CLASSIFICATION,
        Decision(DecisionKind.ARGMAX, "y"),
        (name, "yes"),
    )
    verdict = Verdict(
        candidate="as-converted",
        engine="onnxruntime 1.31.1",
        reference="original",
        checks=(Check("accuracy", is_met=True, measured=0.96, bound=">= 0.95", requirement=requirement),),
        parity=Parity(10, 0, (), len(flips), {}, is_deterministic=True, tolerance=1e-5, flips=flips),
        calibration=calibration,
        quality=quality,
        speed=(Speed(1, 0.1, 0.2, 0.3, 0.15, 6666.6, 1000, 1),),
        size_bytes=1_400_000,
        memory_peak_bytes=2_000_000,
        original_size_bytes=4_200_000,
        model_digest="c" * 64,
        data_digest="d" * 64,
        data_description=f"{name}.csv",
        row_count=10,
        seed=0,
        machine=Machine("Linux", "Test CPU", 2, 1),
        notes=("rows were few",),
    )
    lineage = Lineage("a" * 64, f"{name}.h5", (Step("convert", "layers to onnx", "a", "c", {"onnx": "1.23"}, notes=(f"dropped {name}",)),))
    write_card("digits", interface, verdict, Plan((requirement,), Target(), ()), lineage, folder / "card.md")
    return (folder / "card.md").read_text(encoding="utf-8")


def test_it_says_what_the_model_takes_keeps_and_costs(tmp_path: Path) -> None:
    text = card(tmp_path, quality=(Quality("accuracy", 0.97, 0.96, (0.95, 0.98), (0.94, 0.97), 10),))
    for part in (
        "# digits",
        "x FP32 [batch, 2]",
        "`age`",
        "| `accuracy` | 0.96 | >= 0.95 | yes |",
        "0.94 to 0.97",
        "median 0.1 ms",
        "1.4 MB",
    ):
        assert part in text


def test_it_says_how_many_decisions_flip_and_shows_the_first(tmp_path: Path) -> None:
    assert "0 decision flips in 10 rows." in card(tmp_path)
    flipped = card(tmp_path, flips=(Flip(7, is_probe=False, original="größer", candidate=HOSTILE),))
    assert "1 decision flip in 10 rows." in flipped
    assert "| 7 | `größer` | `" in flipped
    assert "<script>" not in flipped
    assert "| threshold row 7 |" in card(tmp_path, flips=(Flip(7, is_probe=True, original="a", candidate="b"),))


def test_it_says_how_well_probabilities_are_calibrated(tmp_path: Path) -> None:
    quality = (Quality("accuracy", 0.97, 0.96, (0.95, 0.98), (0.94, 0.97), 10),)
    assert "alibration" not in card(tmp_path, quality=quality)
    text = card(tmp_path, quality=quality, calibration=Calibration(0.02, 0.0312, 15, 10))
    assert "off by 0.0312 on average, the original's by 0.02" in text


def test_it_says_what_is_not_known(tmp_path: Path) -> None:
    text = card(tmp_path)
    assert "Not measured: there were no rows with right answers." in text
    assert "What it was trained on" in text
    assert "rows were few" in text


def test_a_name_of_others_cannot_change_the_page(tmp_path: Path) -> None:
    plain, hostile = card(tmp_path), card(tmp_path, name=HOSTILE)
    assert "<script>" not in hostile
    assert len(hostile.splitlines()) == len(plain.splitlines())
    assert hostile.count("|") == plain.count("|")
    assert hostile.count("`") == plain.count("`")


def test_many_columns_are_counted_instead_of_listed(tmp_path: Path) -> None:
    assert "and 80 more" in card(tmp_path, columns=100)


def test_what_its_data_looked_like_and_how_it_is_led_stand_on_it_where_they_are_known() -> None:
    profile = Profile(
        (
            FeatureProfile("age", FeatureKind.NUMBER, "x", "0", count=90, missing=2, mean=41.0, low=18.0, high=77.0, use=0.4),
            FeatureProfile("job", FeatureKind.CATEGORY, "job", count=90, categories=("cook", HOSTILE), counts=(50, 40), use=0.9),
        ),
        (),
        90,
        "people.csv",
    )
    facts = replace(facts_of(), profile=profile, strategy=Strategy(), standing=("Aliases: production",))
    text = card_markdown(facts)
    for part in ("## What its data looked like", "| `age` | 18 to 77, mean 41 | 2 | 0.4 |", "## How it is led", "- Aliases: production"):
        assert part in text
    assert text.index("`job`") < text.index("`age` | 18")
    page = card_page(facts)
    assert "<td><code>age</code></td>" in page
    assert "<script" not in page


def facts_of() -> CardFacts:
    requirement = parse_requirement("accuracy>=0.95")
    interface = Interface((TensorSpec("x", DType.FP32, (None, 2)),), (TensorSpec("y", DType.FP32, (None, 2)),))
    verdict = Verdict(
        "as-converted", "onnxruntime 1.31.1", "original", (), Parity(10, 0, (), 0, {}, is_deterministic=True, tolerance=1e-5), (), (),
        1_400_000, 2_000_000, 4_200_000, "c" * 64, "d" * 64, "people.csv", 10, 0, Machine("Linux", "Test CPU", 2, 1),
    )  # fmt: skip
    return CardFacts("digits:4", interface, verdict, Plan((requirement,), Target(), ()), Lineage("a" * 64, "m.h5", ()))


def test_what_people_say_and_how_it_is_explained_and_watched_stand_on_it() -> None:
    explanation = ExplanationParity(0.981, 0.93, 32, 49)
    facts = replace(
        facts_of(),
        verdict=replace(facts_of().verdict, explanation=explanation, command="fairlead deploy m.h5", seed=7),
        written={"purpose": f"Reads digits {HOSTILE}", "owner": "the post office"},
        watched=("No requests are kept",),
        explained=("Against 100 background rows",),
        slices=(Slice("job", HOSTILE, 40, "accuracy", 0.925, (0.8, 0.97)),),
        slice_source="people.csv",
    )
    text = card_markdown(facts)
    for part in (
        "- What it is for: Reads digits",
        "- Who answers for it: the post office",
        "rank correlation 0.981 on average, 0.93 in the worst tenth of 32 rows",
        "- No requests are kept",
        "- Against 100 background rows",
        "In parts of people.csv:",
        "| `accuracy` | 0.925 | 0.8 to 0.97 | 40 |",
        "What it must not be used for; What it was trained on; Whom its errors hurt: not in the file.",
        "Say it: `fairlead tag digits:4 card.users='...'`",
        "Measured by `fairlead deploy m.h5`, seed 7.",
    ):
        assert part in text
    assert "<script" not in text
    assert "<script" not in card_page(facts)
    everything = card_markdown(replace(facts, written=dict.fromkeys(WRITTEN, "said")))
    assert "Say it:" not in everything
