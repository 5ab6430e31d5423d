"""--agreement: masks of every arm against those of one that runs first, apart from J&F."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from picture_split import save_picture, two_squares, write_frames
from PIL import Image
from scripted_run import config
from tiny_split import rectangle

from savbench.arguments.declared import ConfigError
from savbench.finish.metrics import score_frame
from savbench.results.csv_rows import read_rows
from savbench.results.rows import SummaryRow
from savbench.supervise.progress import Progress
from savbench.supervise.run import run
from savbench.validate.run import validate

FRAMES = 6


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A picture that is shifted by a pixel a frame, so that optical flow moves the first mask and `static` does not."""
    folder = tmp_path / "videos"
    write_frames(folder / "walk", range(FRAMES))
    rng = np.random.default_rng(0)
    noise = np.kron(rng.integers(0, 256, (8, 11, 3), dtype=np.uint8), np.ones((4, 4, 1), np.uint8))[:24, :32]
    for frame in range(FRAMES):
        Image.fromarray(np.roll(noise, frame, axis=1)).save(folder / "walk" / f"{frame:05d}.jpg", quality=95)
    save_picture(folder / "walk.png", np.where(rectangle(4, 2, 12, 12), 1, 0).astype(np.uint8))
    return folder


def run_arms(clips: Path, out: Path, *models: str, **settings: object) -> tuple[dict[str, SummaryRow], str]:
    said = io.StringIO()
    status = run(config(clips, out, models=models, warmup_frames=0, layout="clips", **settings), [], Progress(said, said))
    assert status == 0
    rows = read_rows(SummaryRow, out / "summary.csv")
    return {row.model: row for row in rows}, said.getvalue()


def test_masks_are_compared_with_those_of_the_arm_that_is_named(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    rows, said = run_arms(clips, out, "flow_mask", "static_mask", agreement="static", save_masks=True)
    assert list(rows) == ["static", "flow"]
    static, flow = rows["static"], rows["flow"]
    assert (static.agreement_with, static.agreement_JandF) == ("", None)
    masks = [np.array(Image.open(out / "masks" / flow.arm_id / "walk" / f"{frame:05d}.png")) == 1 for frame in range(1, FRAMES)]
    scores = [score_frame(mask, rectangle(4, 2, 12, 12)) for mask in masks]
    assert flow.agreement_J == float(np.mean([score.J for score in scores])) < 1
    assert flow.agreement_F == float(np.mean([score.F for score in scores]))
    assert (flow.agreement_with, flow.agreement_frames, flow.J, flow.JandF) == (static.arm_id, FRAMES - 1, None, None)
    assert flow.identical_frames == sum(score.J == 1 for score in scores)
    assert "agreement of flow_mask with static_mask, no accuracy: J 0." in said
    assert validate(out).problems == []


def test_rows_without_agreement_run_again_once_it_is_asked_for(clips: Path, tmp_path: Path) -> None:
    before, _ = run_arms(clips, tmp_path / "run", "flow_mask", "static_mask")
    rows, said = run_arms(clips, tmp_path / "run", "flow_mask", "static_mask", agreement="static_mask")
    assert "running 1 objects with which others are compared again" in said
    assert before["flow"].agreement_JandF is None
    assert rows["flow"].agreement_JandF is not None
    again, said = run_arms(clips, tmp_path / "run", "flow_mask", "static_mask", agreement="static_mask")
    assert again == rows
    assert "again" not in said.replace("run the same command again", "")


@pytest.mark.parametrize(
    ("agreement", "settings", "said"),
    [
        ("flow", {}, r"--agreement flow: no arm begins so; give more of one of static_mask-\w+"),
        ("static", {"order": "interleaved"}, "needs its arm to run before the others"),
    ],
)
def test_an_arm_that_cannot_be_the_reference_is_refused(
    clips: Path, tmp_path: Path, agreement: str, settings: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        run_arms(clips, tmp_path / "run", "static_mask", agreement=agreement, **settings)


def test_two_objects_of_a_picture_agree_each_for_itself(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    write_frames(folder / "walk", range(FRAMES))
    save_picture(folder / "walk.png", two_squares(0))
    said = io.StringIO()
    settings = config(folder, tmp_path / "run", models=("static_mask", "flow_mask"), warmup_frames=0, layout="clips", agreement="static")
    run(settings, [], Progress(said, said))
    rows = read_rows(SummaryRow, tmp_path / "run" / "summary.csv")
    assert [(row.model, row.object, row.agreement_JandF is None) for row in rows] == [
        ("static", "1", True), ("static", "2", True), ("flow", "1", False), ("flow", "2", False)
    ]  # fmt: skip
