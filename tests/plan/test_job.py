from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import numpy as np

from savbench.data.masks import PackedMask
from savbench.plan.arms import plan_arms
from savbench.plan.job import Job
from savbench.plan.settings import RunConfig
from savbench.results.delivery import Delivery, EventWriter, blank_row
from savbench.results.frame_rows import FrameRow
from savbench.results.rows import SummaryRow
from savbench.results.spool import read_masks


def make_job() -> Job:
    config = RunConfig(split_dir=Path("/split"), models=("edgetam_points",), max_frames=9, seed=3, out_dir=Path("/out"))
    (arm,) = plan_arms(config, "sav_val")
    return Job(
        config=config,
        arm=arm,
        targets=(("a", "000"), ("b", "001")),
        split_name="sav_val",
        run_id="run",
        benchmark_version="abc+",
        spool=Path("/out/.spool"),
        weights=Path("/weights/edgetam.pt"),
        source_dir=Path("/EdgeTAM"),
        companions=(dataclasses.replace(arm, prompt="mask"),),
        objects_in_arm=5,
    )


def test_a_job_survives_the_pipe() -> None:
    line = make_job().to_line()
    assert line.count("\n") == 1
    assert Job.from_line(line) == make_job()


def test_a_blank_row_says_who_and_what_and_measures_nothing() -> None:
    row = blank_row(make_job(), make_job().arm, "a", "000")
    assert (row.video, row.object, row.model, row.prompt, row.autocast_dtype, row.imgsz) == (
        "a",
        "000",
        "edgetam",
        "points",
        "bfloat16",
        1024,
    )
    assert (row.max_frames, row.seed, row.split, row.run_id, row.benchmark_version) == (9, 3, "sav_val", "run", "abc+")
    assert row.key == (make_job().arm.arm_id, "a", "000")
    assert row.fps is row.J is row.cpu_peak_rss_MiB is None


def test_rows_survive_the_pipe_to_the_last_bit(tmp_path: Path) -> None:
    pipe = io.StringIO()
    mask_hw = np.random.default_rng(0).random((5, 7)) < 0.5
    row = SummaryRow(video="ä", latency_ms=0.1 + 0.2, J=None, video_height=5, video_width=7)
    frames, spans = [FrameRow(frame=1, latency_ms=1 / 3)], [(0.1, 0.1 + 0.2), (1 / 3, 2 / 3)]
    EventWriter(pipe, tmp_path / "spool").send_row(row, frames, spans, {4: PackedMask(mask_hw)}, known={8: PackedMask(~mask_hw)})
    delivery = Delivery.from_event(json.loads(pipe.getvalue()))
    assert (delivery.row, delivery.frames, delivery.spans) == (row, frames, spans)
    assert delivery.masks_file is not None
    read = read_masks(delivery.masks_file)
    assert {name: list(masks) for name, masks in read.items()} == {"masks": [4], "known": [8]}
    np.testing.assert_array_equal(read["masks"][4].unpack(), mask_hw)
    np.testing.assert_array_equal(read["known"][8].unpack(), ~mask_hw)
    delivery.discard()
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_row_without_masks_leaves_no_file(tmp_path: Path) -> None:
    pipe = io.StringIO()
    EventWriter(pipe, tmp_path / "spool").send_row(SummaryRow(video="a", status="error"))
    assert Delivery.from_event(json.loads(pipe.getvalue())).masks_file is None
    assert not (tmp_path / "spool").exists()
