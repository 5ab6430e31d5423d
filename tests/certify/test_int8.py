"""An encoder quantised to int8: within its bound with frames of the split, beyond it with ranges from other images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runners import RUNNERS, SHIPPED_WEIGHTS
from savbench.certify.findings import FORCED, errors_of
from savbench.certify.verdict import Verdict
from savbench.data.dataset import open_split
from savbench.data.demo.split import generate_demo_split
from savbench.measure.calibration import calibration_frames
from savbench.plan.arms import plan_arms
from savbench.plan.job import Job
from savbench.plan.settings import RunConfig

pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("sam2", reason="needs sam2")

from savbench.certify.child import build, certify_object, reference_of

if TYPE_CHECKING:
    from pathlib import Path

FRAMES = 4


@pytest.mark.slow
def test_ranges_of_other_images_are_found_in_the_encoder_on_the_first_frame(exported_dir: Path, tmp_path: Path) -> None:
    split = open_split(generate_demo_split(tmp_path / "demo", videos=1, frames=24, height=96, width=128))
    config = RunConfig(
        split_dir=split.root, models=("sam2_nano_mask",), autocast_dtypes=("float32",), runtime=("onnx-int8",), device="cpu",
        exported_dir=exported_dir,
    )  # fmt: skip
    (arm,) = plan_arms(config, split.name)
    job = Job(config, arm, (), split.name, "", "", tmp_path, weights=SHIPPED_WEIGHTS / (RUNNERS["sam2_nano"].checkpoint or ""))
    reference, frames = build(reference_of(job)), calibration_frames(split, 4)
    video = split.video(next(iter(split.videos))).take(FRAMES)

    def verdict(brightness: float) -> Verdict:
        candidate = build(job, lambda: [(frame * brightness).astype(frame.dtype) for frame in frames])
        found = certify_object(reference, candidate, video, video.objects[0].object, job).found
        return Verdict(arm, (found,), (), None)

    healthy = verdict(1.0)
    assert healthy.problems == []
    encoder = [error.error for error in errors_of(healthy.found, FORCED, "image_encoder")]
    assert 1e-3 < max(encoder) < healthy.bounds["image_encoder"] / 2
    beyond = verdict(0.0).beyond
    assert beyond is not None
    assert (beyond.error.stage, beyond.error.frame) == ("image_encoder", 0)
