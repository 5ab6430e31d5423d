"""Verdicts of compare --noninferior."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from compare_files import QUICK, rows, write

import jetson_benchmark
from savbench.compare.comparison import compare
from savbench.compare.noninferiority import MARGIN, judge_noninferiority
from savbench.data.csv_file import InputError
from savbench.results.foreign import load_results


def two_arms(tmp_path: Path, keeps: float, spread: float = 0.0, videos: int = 12) -> Path:
    """float32 and bfloat16, whose J&F is `keeps` times float32's on every object, give or take `spread`."""
    before = rows(videos, JandF=0.8)
    noise = np.random.default_rng(0).normal(0, spread, len(before)) if spread else np.zeros(len(before))
    after = [
        dataclasses.replace(row, arm_id="b", autocast_dtype="bfloat16", JandF=0.8 * keeps + off)
        for row, off in zip(before, noise, strict=True)
    ]
    return write(tmp_path / "run.csv", [*before, *after])


def judged(path: Path, margin: float) -> tuple[str, str]:
    (verdict,) = judge_noninferiority(compare(load_results([path]), QUICK), margin)
    return verdict.answer, verdict.line


def test_the_share_and_its_interval_by_hand(tmp_path: Path) -> None:
    answer, line = judged(two_arms(tmp_path, 0.995), 0.01)
    assert answer == "yes"
    # every object keeps the same share, so that every draw of videos does
    assert line.startswith(
        "bfloat16 keeps at least 99% of float32's J&F: yes, 99.50%, 95% interval [99.50%, 99.50%], 24 objects of 12 videos"
    )
    assert judged(two_arms(tmp_path, 0.995), 0.001)[0] == "no"


def test_an_interval_that_spans_the_margin_decides_nothing(tmp_path: Path) -> None:
    assert judged(two_arms(tmp_path, 0.99, spread=0.05), 0.01)[0] == "undecided"
    answer, line = judged(two_arms(tmp_path, 1.0, videos=3), 0.01)
    assert answer == "undecided"
    assert "no interval with fewer than 6 videos" in line


def test_lost_objects_and_untrained_weights_cannot_be_judged(tmp_path: Path) -> None:
    failed = {"status": "oom", "error": "memory", "J": None, "F": None, "JandF": None, "fps": None, "latency_ms": None}
    path = two_arms(tmp_path, 1.0)
    listed = rows(12, JandF=0.8)
    others = [dataclasses.replace(row, arm_id="b", autocast_dtype="bfloat16") for row in listed]
    write(path, [*listed, dataclasses.replace(others[0], **failed), *others[1:]])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="1 objects have no J&F in bfloat16, and leaving them out would favour it"):
        judged(path, 0.01)
    with pytest.raises(InputError, match="no object has a J&F of trained weights"):
        judged(write(path, [*(dataclasses.replace(row, weights="random") for row in [*listed, *others])]), 0.01)


@pytest.mark.parametrize(("text", "margin"), [("0.01", 0.01), ("99%", 0.01), ("99.9%", 0.001), ("95 %", 0.05)])
def test_a_margin_is_what_may_be_lost_or_what_is_kept(text: str, margin: float) -> None:
    assert MARGIN.parse(text) == margin


@pytest.mark.parametrize(("keeps", "status"), [(1.0, 0), (0.9, 1)])
def test_exit_status_for_ci(tmp_path: Path, capsys: pytest.CaptureFixture[str], keeps: float, status: int) -> None:
    path = two_arms(tmp_path, keeps)
    assert jetson_benchmark.main(["compare", str(path), "--resamples", "1000", "--noninferior", "99%"]) == status
    assert f"J&F: {'no' if status else 'yes'}, " in capsys.readouterr().err


@pytest.mark.parametrize("text", ["1%", "0", "almost", "120%"])
def test_margins_that_make_no_sense_are_refused(tmp_path: Path, text: str) -> None:
    assert jetson_benchmark.main(["compare", str(two_arms(tmp_path, 1.0)), "--noninferior", text]) == 2
