"""compare on streaming columns: means, intervals, camera rates and which arm is ahead at each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from compare_files import rows, write

import jetson_benchmark
from savbench.compare.comparison import compare
from savbench.compare.findings import Comparison, Options
from savbench.compare.tables import render_table
from savbench.data.csv_file import InputError
from savbench.results.foreign import load_results
from savbench.results.rows import SummaryRow


def streamed(model: str, fps: float, JandF: float, **changes: Any) -> list[SummaryRow]:
    """Sixteen objects of eight videos, all with this streaming score."""
    figures = {
        "camera_fps": fps, "streaming_J": JandF, "streaming_F": JandF, "streaming_JandF": JandF, "streaming_fps": 10.0, "deadline_met": 0.5,
        "mask_age_p50_ms": 80.0, "mask_age_p90_ms": 120.0, "streaming_clock": "live", "streaming_device": "Orin",
    }  # fmt: skip
    return rows(model=model, **{"arm_id": f"{model}-{fps:g}", **figures, **changes})


def sweep(tmp_path: Path, **changes: Any) -> Path:
    """A small model that keeps up and a large one that does not."""
    listed = []
    for fps, small, large in ((6.0, 0.70, 0.75), (12.0, 0.68, 0.68), (24.0, 0.6, 0.4)):
        listed += streamed("edgetam", fps, small, **changes) + streamed("sam2_large", fps, large, J=0.5, latency_ms=600.0, **changes)
    return write(tmp_path / "sweep.csv", listed)


def compared(path: Path, *by: str) -> Comparison:
    return compare(load_results([path]), Options(by=by, resamples=1000))


def test_a_sweep_shows_every_rate_and_who_is_ahead_there(tmp_path: Path) -> None:
    text = render_table(compared(sweep(tmp_path)))
    section = text[text.index("streaming J&F by camera rate") :].splitlines()
    assert section[0] == "streaming J&F by camera rate, at the pace of Orin: prompt mask, 1024 px, dtype float32"
    assert section[2].split() == ["arm", "offline", "6", "FPS", "12", "FPS", "24", "FPS"]
    assert section[4].split() == ["edgetam", "0.4750", "0.7000", "0.6800", "0.6000"]
    assert section[5].split() == ["sam2_large", "0.5750", "0.7500", "0.6800", "0.4000"]
    assert section[6].split() == ["highest", "sam2_large", "sam2_large", "edgetam,", "sam2_large", "edgetam"]


def test_streaming_scores_are_differences_and_ages_ratios(tmp_path: Path) -> None:
    listed = [*streamed("edgetam", 24, 0.6), *streamed("sam2_large", 24, 0.4, mask_age_p50_ms=160.0)]
    comparison = compared(write(tmp_path / "run.csv", listed))
    ((pair,),) = (block.comparisons for block in comparison.blocks)
    changes = {change.measure.column: change for change in pair.changes}
    found = [(round(changes[name].change, 9), changes[name].verdict) for name in ("streaming_JandF", "mask_age_p50_ms", "deadline_met")]
    assert found == [(-0.2, "worse"), (2.0, "worse"), (0.0, "=")]
    text = render_table(comparison)
    assert "streaming J&F  streaming FPS" in text
    # a single rate makes no curve
    assert "by camera rate" not in text


def test_untrained_weights_win_nowhere(tmp_path: Path) -> None:
    text = render_table(compared(sweep(tmp_path, weights="random")))
    assert "0.7500*" in text
    assert text[text.index("highest") :].splitlines()[0].split() == ["highest", "?", "?", "?", "?"]


def test_rates_can_be_compared_with_each_other(tmp_path: Path) -> None:
    blocks = compared(sweep(tmp_path), "camera_fps").blocks
    assert [[arm.arm for arm in block.arms] for block in blocks] == [["6", "12", "24"]] * 2


def test_runs_at_two_rates_are_not_set_against_each_other_by_mistake(tmp_path: Path) -> None:
    slow, fast = (write(tmp_path / f"{fps}.csv", streamed("edgetam", fps, 0.5)) for fps in (12, 24))
    with pytest.raises(InputError, match="camera_fps: 12 and 24"):
        compare(load_results([slow, fast]), Options(resamples=1000))
    offline = write(tmp_path / "offline.csv", rows(model="edgetam", arm_id="edgetam"))
    assert compare(load_results([offline, fast]), Options(resamples=1000)).blocks[0].comparisons[0].pairs == 16


def test_a_share_above_one_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "run.csv", streamed("edgetam", 24, 60.0))
    with pytest.raises(InputError, match="streaming_J: 60 is not in its range, 0 to 1"):
        load_results([path])


def test_machines_can_read_it_and_conditions_can_ask_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sweep(tmp_path)
    assert jetson_benchmark.main(["compare", str(path), "--format", "json", "--resamples", "1000"]) == 0
    arms = [arm for block in json.loads(capsys.readouterr().out)["blocks"] for arm in block["arms"]]
    assert {(arm["arm"], round(arm["figures"]["streaming_JandF"], 6)) for arm in arms} >= {("edgetam", 0.6), ("sam2_large", 0.75)}
    assert jetson_benchmark.main(["compare", str(path), "--fail_if", "streaming_JandF<-0.1", "--resamples", "1000"]) == 1
