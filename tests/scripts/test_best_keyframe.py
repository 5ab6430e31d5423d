"""scripts/best_keyframe.py on rows whose best keyframe is known."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from savbench.results.csv_rows import header_line, row_line
from savbench.results.rows import SummaryRow

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import best_keyframe

NANO = SummaryRow(
    video="v", object="000", model="sam2_nano", prompt="mask", imgsz=192, autocast_dtype="float32", attention="auto", JandF=0.8,
    latency_p50_ms=50.0, camera_fps=30.0, streaming_clock="live", validity="ok",
)  # fmt: skip


def write(folder: Path, *rows: SummaryRow) -> str:
    (folder / "summary.csv").write_text(header_line(SummaryRow) + "".join(map(row_line, rows)))
    return str(folder)


def row(keyframe: str, streaming: float, dropped: int, **changes: object) -> SummaryRow:
    kinds = {"key_latency_p50_ms": 52.0, "between_latency_p50_ms": 4.0} if keyframe else {}
    kinds |= {"between_frames_scored": 0} if keyframe == "2:flow" else {}
    processed = 30 - dropped
    about = {
        "keyframe": keyframe,
        "streaming_JandF": streaming,
        "frames_dropped": dropped,
        "frames_processed": processed,
        **kinds,
        **changes,
    }
    return dataclasses.replace(NANO, **about)  # type: ignore[arg-type]


def test_the_highest_of_those_that_keep_up_is_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row("", 0.7, 12), row("2:flow", 0.6, 1), row("4:flow", 0.65, 1), row("4:hold", 0.5, 0)]
    assert best_keyframe.main([write(tmp_path, *rows)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "sam2_nano mask float32 192, camera 30 FPS, 1 object",
        "keyframe     J&F  key ms  between ms  streaming J&F   dropped  keeps up",
        "       1   0.800    50.0                      0.700  12 of 30        no",
        "  2:flow  0.800*    52.0         4.0          0.600   1 of 30       yes",
        "  4:flow   0.800    52.0         4.0          0.650   1 of 30       yes",
        "  4:hold   0.800    52.0         4.0          0.500   0 of 30       yes",
        "* every scored frame is a key frame: the offline score says nothing of those between",
        "best for a camera of 30 FPS: --keyframe 4:flow, streaming J&F 0.650",
    ]


def test_where_none_keeps_up_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert best_keyframe.main([write(tmp_path, row("", 0.3, 20), row("2:flow", 0.4, 9))]) == 0
    assert "none keeps up with a camera of 30 FPS; highest streaming J&F 0.400 with --keyframe 2:flow" in capsys.readouterr().out


def test_only_objects_that_all_keyframes_have_and_valid_rows_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        row("", 0.5, 0), row("2:flow", 0.4, 0), row("", 0.1, 9, object="001"), row("", 0.9, 0, object="002"),
        row("2:flow", 0.95, 0, object="002", validity="throttled"),
    ]  # fmt: skip
    assert best_keyframe.main([write(tmp_path, *rows)]) == 0
    assert "--keyframe 1, streaming J&F 0.500" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([dataclasses.replace(NANO)], "no valid row has a streaming_JandF; run scripts/sweep.sh keyframes"),
        ([row("", 0.5, 0), row("", 0.5, 0, num_maskmem=2)], "two rows of sam2_nano mask float32 192 with keyframe 1 for v/000 at 30.0 FPS"),
        ([row("", 0.5, 0), row("2:flow", 0.5, 0, object="001")], "no object is ok under every keyframe"),
    ],
)
def test_what_cannot_be_judged_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: list[SummaryRow], message: str) -> None:
    assert best_keyframe.main([write(tmp_path, *rows)]) == 2
    assert message in capsys.readouterr().err
