"""The report: it shows what was measured, nothing from elsewhere, and no markup of others."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fairlead.core.engine_choice import EngineChoice, EngineTiming
from fairlead.core.ledger import Ledger, LedgerEntry, Relaxation
from fairlead.core.lineage import Lineage, Step
from fairlead.core.paired import Comparison, Outcome
from fairlead.core.plan import Candidate, Plan
from fairlead.core.requirement import parse_requirement
from fairlead.core.search import Objective, PointStatus, SearchPoint, SearchResult
from fairlead.core.target import Machine, Target
from fairlead.core.verdict import Calibration, Check, Flip, OutputParity, Parity, Quality, Speed, Verdict
from fairlead.verify.report import Report, interval_marks, number, render_report, size, write_report

HOSTILE = "<script>alert(1)</script>"


def report(*, is_met: bool = True, name: str = "digits") -> Report:
    requirement = parse_requirement("accuracy>=0.95")
    verdict = Verdict(
        candidate="as-converted",
        engine="onnxruntime 1.31.1",
        reference="keras 3.15.1",
        checks=(
            Check("accuracy", is_met, 0.9412345, ">= 0.95", "how", requirement),
            Check("parity", is_met=True, measured=1e-7, bound="<= 1e-05"),
        ),
        parity=Parity(1010, 10, (OutputParity(name, 1e-7, 1e-8, 1e-7),), 0, {"1": 0.0}, is_deterministic=True, tolerance=1e-5),
        quality=(Quality("accuracy", 0.95, 0.94, (0.93, 0.96), (0.92, 0.955), 1000),),
        speed=(Speed(1, 0.1, 0.2, 0.3, 0.15, 6666.6, 1000, 1),),
        size_bytes=1_391_775,
        memory_peak_bytes=20_000_000,
        original_size_bytes=4_200_000,
        model_digest="c" * 64,
        data_digest="d" * 64,
        data_description=f"{name}.npz",
        row_count=1000,
        seed=0,
        machine=Machine("Linux", "Test CPU", 2, 8 * 10**9, ("AVX2",), (), {"onnxruntime": "1.31.1"}),
        notes=(f"note on {name}",),
        command=f"fairlead deploy model.h5 --name {name}",
    )
    plan = Plan((requirement,), Target(), (Candidate("as-converted", (), "onnxruntime", 1, "first"),), (("int8", "too early"),))
    lineage = Lineage("a" * 64, f"{name}.h5", (Step("convert", "tool", "a" * 64, "c" * 64, {"onnx": "1.23"}, notes=(name,)),))
    return Report(name, verdict, plan, lineage)


def test_the_engines_that_were_timed_and_those_that_are_absent_are_shown() -> None:
    bare = report()
    timings = (EngineTiming("as-converted", "onnxruntime 1.31", 1, 0.5, 900), EngineTiming("openvino", f"openvino {HOSTILE}", 1, 0.25, 900))
    choice = EngineChoice(timings, (("tflite", f"pip install {HOSTILE}"),), ("openvino", "as-converted"))
    page = render_report(replace(bare, plan=replace(bare.plan, choice=choice)))
    assert "Which engine?" in page
    assert page.index("0.25") < page.index("onnxruntime 1.31</td>")  # the fastest first
    assert "without tflite" in page
    assert HOSTILE not in page
    assert "Which engine?" not in render_report(bare)


def searched(text: str) -> SearchResult:
    base = Candidate("as-converted", (), "onnxruntime", 1, "")
    half = Candidate(text, ("prune_structured(ratio=0.5)",), "onnxruntime", 1, "")
    slow = Candidate("int8", ("quantize_static_int8",), "onnxruntime", 1, "")
    compared = Comparison(0.25, 0.24, 0.26, Outcome.FASTER, 40)
    points = (
        SearchPoint(slow, "c", PointStatus.UNDONE, 360_000, 280_000, latency_ms=0.07, reason=f"1.2x slower here {text}"),
        SearchPoint(base, "a", PointStatus.KEPT, 1_391_775, 1_290_000, latency_ms=0.06),
        SearchPoint(half, "b", PointStatus.KEPT, 94_323, 83_782, {"accuracy_drop": 0.001}, 0.015, compared, 0.001),
        SearchPoint(dataclasses.replace(slow, name="crash"), "", PointStatus.FAILED, reason="the runtime crashed"),
    )
    return SearchResult(
        points,
        base.name,
        half.name,
        (half.name,),
        Objective.LATENCY,
        7,
        600.0,
        123.0,
        f"everything was tried {text}",
        rows=(f"selected on 500 rows {text}",),
        undone=(("quantize_static_int8", "8-bit products were slower here"),),
        missing_extras=(("train_tfmot", "tfmot"),),
    )


def test_a_search_is_shown_with_its_picture_and_the_one_that_was_taken_first() -> None:
    page = render_report(replace(report(), search=searched("half")))
    assert "4 trials in 123 s (budget 600 s, seed 7)" in page
    assert page.count("<circle") == 3
    assert "1 of them could not be made or were not timed" in page
    assert page.index("<td><b>half</b>") < page.index("<td>as-converted") < page.index("<td>int8") < page.index("<td>crash")
    assert "4x faster (time 0.25, 99% 0.24-0.26, 40 pairs)" in page
    assert "8-bit products were slower here" in page
    assert "train_tfmot would be tried with: <code>pip install 'fairlead[tfmot]'" in page
    assert tags(page).open == []
    assert HOSTILE not in render_report(replace(report(), search=searched(HOSTILE)))
    assert "<svg" not in render_report(report())


def test_the_ledger_says_why_not_and_what_would_have_to_give() -> None:
    entry = LedgerEntry(f"int8 {HOSTILE}", "accuracy_drop", 0.02, 0.005, f"loses too much {HOSTILE}")
    relaxation = Relaxation("accuracy_drop", 0.005, 0.0201, "int8", "then int8 fits", "accuracy_drop<=0.0201")
    page = render_report(replace(report(), ledger=Ledger((entry,), relaxation=relaxation)))
    assert page.index("Why not the others?") < page.index("accuracy_drop&lt;=0.0201")
    assert HOSTILE not in page
    assert tags(page).open == []
    both = render_report(replace(report(), ledger=Ledger((entry,), together=(relaxation, relaxation))))
    assert "No single change is enough" in both


class Tags(HTMLParser):
    """Every start tag with its attributes; raises where elements are not closed in order."""

    VOID = frozenset({"meta", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags(page: str) -> Tags:
    parser = Tags()
    parser.feed(page)
    return parser


def test_a_person_sees_verdict_measured_and_needed_first() -> None:
    page = render_report(report(is_met=False))
    assert "✗ Red" in page
    assert "accuracy is 0.9412, needed ≥ 0.95" in page
    assert page.index("✗ failed") < page.index("Does it compute the same?")


def test_a_green_verdict_says_so() -> None:
    page = render_report(report())
    assert "✓ Green" in page
    assert "Every requirement is met (1 requirement, 2 checks in all)" in page
    assert "failed" not in page


def test_everything_that_is_needed_to_measure_again_is_there() -> None:
    page = render_report(report())
    for text in (
        "c" * 64,
        "d" * 64,
        "a" * 64,
        "fairlead deploy model.h5",
        "Test CPU",
        "AVX2",
        "onnxruntime 1.31.1",
        "keras 3.15.1",
        "too early",
    ):
        assert text in page


def test_the_page_is_whole_and_takes_nothing_from_elsewhere() -> None:
    page = render_report(report())
    parsed = tags(page)
    assert parsed.open == []
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in parsed.found}
    assert not [attributes for _, attributes in parsed.found if {"src", "href"} & set(attributes)]
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_names_of_others_are_text_and_never_markup() -> None:
    page = render_report(report(name=HOSTILE))
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page
    assert "script" not in {tag for tag, _ in tags(page).found}


def test_the_count_of_flips_stands_there_and_the_first_of_them() -> None:
    assert "0 decision flips in 1,000 rows, 0 in 10 rows at its thresholds" in render_report(report())
    plain = report()
    flips = (Flip(17, is_probe=False, original="größer", candidate=HOSTILE), Flip(3, is_probe=True, original="a", candidate="b"))
    parity = dataclasses.replace(plain.verdict.parity, decision_flip_count=5, probe_flip_count=3, flips=flips)
    page = render_report(dataclasses.replace(plain, verdict=dataclasses.replace(plain.verdict, parity=parity)))
    assert "2 decision flips in 1,000 rows, 3 in 10 rows at its thresholds" in page
    assert page.index('<td class="n">17</td><td>in the data</td><td><code>größer</code>') < page.index("at a threshold of the model</td>")
    assert HOSTILE not in page


def test_calibration_stands_there_where_it_was_measured() -> None:
    plain = report()
    assert "alibration" not in render_report(plain)
    measured = dataclasses.replace(plain.verdict, calibration=Calibration(0.02, 0.0312, 15, 1000))
    page = render_report(dataclasses.replace(plain, verdict=measured))
    assert "Expected calibration error: <b>0.0312</b>, original 0.02." in page


def test_it_is_written_where_it_was_asked_for(tmp_path: Path) -> None:
    write_report(report(), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render_report(report())


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (12345.0, "12,345"), (12345.67, "12,345.7"), (0.0001234567, "0.0001235"), (math.inf, "inf"), (math.nan, "nan")],
)
def test_numbers_are_written_for_a_person(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(("count", "text"), [(931, "931 B"), (354_933, "354.9 kB"), (1_391_775, "1.4 MB"), (2 * 10**9, "2.00 GB")])
def test_sizes_are_written_for_a_person(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize("interval", [(0.9, 0.95), (0.93, 0.93), (0.5, 1.0)])
def test_both_intervals_lie_on_one_scale(interval: tuple[float, float]) -> None:
    marks = interval_marks(Quality("accuracy", 0.93, 0.93, (0.92, 0.94), interval, 100))
    for mark in marks.values():
        assert 0 <= mark["start"] <= mark["point"] <= mark["start"] + mark["width"] + 0.01
        assert mark["start"] + mark["width"] <= 100
    assert re.fullmatch(r"[\d.]+", str(marks["original"]["point"]))


def test_a_metric_that_is_no_number_is_drawn_nowhere() -> None:
    marks = interval_marks(Quality("ece", 0.1, math.nan, (0.05, 0.2), (math.nan, math.nan), 10))
    assert marks["candidate"] == {"start": 0.0, "width": 0.0, "point": 0.0}
    assert 0 < marks["original"]["start"] < marks["original"]["point"] < 100
