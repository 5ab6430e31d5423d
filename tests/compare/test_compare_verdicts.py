from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from compare_files import QUICK, row, rows, write

from savbench.compare.comparison import compare
from savbench.compare.verdicts import judge, parse_condition
from savbench.data.csv_file import InputError
from savbench.results.foreign import load_results
from savbench.results.rows import SummaryRow


def judged(tmp_path: Path, text: str, before: list[SummaryRow], after: list[SummaryRow], *, force: bool = False) -> list[str]:
    paths = [write(tmp_path / "A.csv", before), write(tmp_path / "B.csv", after)]
    return judge(compare(load_results(paths), dataclasses.replace(QUICK, force=force)), [parse_condition(text)])


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("JandF<-0.005", True),
        ("JandF < -0.02", False),
        ("JandF>=-0.01", False),
        ("latency_p90_ms>1.10", True),
        ("latency_p90_ms>1.3", False),
        ("fps<=0.81", True),
        ("lost>0", False),
        ("J<-1e-3", True),
    ],
)
def test_conditions_look_at_differences_of_scores_and_ratios_of_times(tmp_path: Path, text: str, holds: bool) -> None:
    before = [row(f"v{n}", J=0.5, latency_ms=20.0) for n in range(6)]
    after = [row(f"v{n}", J=0.4875, latency_ms=25.0) for n in range(6)]
    assert bool(judged(tmp_path, text, before, after)) == holds


def test_a_condition_that_holds_says_where_and_by_how_much(tmp_path: Path) -> None:
    before = [row(f"v{n}", J=0.5) for n in range(6)]
    after = [row(f"v{n}", J=0.4875) for n in range(6)]
    (line,) = judged(tmp_path, "JandF<-0.005", before, after)
    assert line == (
        "fail_if JandF<-0.005 holds: B against A (sam2_tiny mask 1024 float32 auto): "
        "JandF -0.0125, 95% interval [-0.0125, -0.0125], 6 objects"
    )  # fmt: skip


def test_lost_objects(tmp_path: Path) -> None:
    (line,) = judged(tmp_path, "lost>0", rows(3), rows(2))
    assert line.endswith("2 objects lost")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("JandF", "write a column"),
        ("JandF=1", "write a column"),
        ("JandF<abc", "write a column"),
        ("JandF<1.2.3", "is not a number"),
        ("colour>1", "colour is not compared; there are J, F"),
        ("JandF<-5", "half a point is 0.005"),
        ("latency_ms>-1", "changes by a ratio"),
    ],
)
def test_what_is_no_condition(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_condition(text)


def test_a_count_may_change_by_more_than_one() -> None:
    assert parse_condition("identity_switches>1").limit == 1.0


def test_a_condition_that_cannot_be_judged_does_not_pass(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no object has energy_j_per_frame on both sides"):
        judged(tmp_path, "energy_j_per_frame>1.1", rows(2), rows(2))
    untrained = rows(2, weights="random")
    with pytest.raises(InputError, match="untrained weights"):
        judged(tmp_path, "JandF<-0.005", untrained, untrained)
    assert judged(tmp_path, "JandF<-0.005", untrained, untrained, force=True) == []
    with pytest.raises(InputError, match="no two arms"):
        judge(compare(load_results([write(tmp_path / "A.csv", rows(2))]), QUICK), [parse_condition("lost>0")])
