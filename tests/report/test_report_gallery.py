"""Pictures of objects: which are chosen, and that what is drawn is there."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from report_files import ArmOfRun, write_run
from tiny_split import TinySplit, rectangle

from savbench.data.masks import PackedMask, save_object_masks
from savbench.finish.overlay import MISSED_RGB, PREDICTION_RGB, OverlayWriter, overlay_path, require_encoder
from savbench.report import gallery
from savbench.report.arms import find_arms
from savbench.report.gallery import REMEDY, TALLEST_PX, WIDTH_PX, Gallery, cut_out, make_gallery
from savbench.report.runs import read_runs
from savbench.results.foreign import load_results


def gallery_of(folder: Path, split_dir: Path | None = None, count: int = 1) -> Gallery:
    results = load_results([folder])
    return make_gallery(find_arms(results), results.rows, read_runs([folder], results), split_dir, count)


def pixels(data_uri: str) -> npt.NDArray[np.uint8]:
    """(height, width, 3), RGB."""
    head, _, data = data_uri.partition(",")
    assert head == "data:image/jpeg;base64"
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(decoded[..., ::-1], np.uint8)


def near(picture: npt.NDArray[np.uint8], colour: tuple[int, int, int], tolerance: int) -> int:
    """Pixels of about this colour."""
    return int((np.abs(picture.astype(int) - colour).max(axis=2) <= tolerance).sum())


def save(folder: Path, arm: str, video: str, masks: dict[str, npt.NDArray[np.bool_]]) -> None:
    save_object_masks(folder / "masks", arm, video, "000", {name: PackedMask(mask_hw) for name, mask_hw in masks.items()})  # type: ignore[misc]


@pytest.fixture
def run(tmp_path: Path, tiny_split: TinySplit) -> Path:
    """Two objects under a better arm and a worse one, with masks of the better one."""
    arms = [ArmOfRun(JandF=0.5, row={"arm_id": "worse"}), ArmOfRun("edgetam", 0.7, row={"arm_id": "better"})]
    folder = write_run(tmp_path / "run", arms, videos=["alpha", "beta"], objects=1, split_dir=tiny_split.root)
    for video, frames in (("alpha", (0, 4, 8, 12)), ("beta", (0, 4))):
        save(folder, "better", video, {f"{frame:05d}": rectangle(4, 16, 8, 8) for frame in frames})
    return folder


def test_objects_are_drawn_from_masks_of_the_most_accurate_arm(run: Path, tiny_split: TinySplit) -> None:
    found = gallery_of(run, tiny_split.root)
    assert found.ranked_by == "edgetam_mask"
    # the fixture's scores rise with the number of the object
    assert ([entry.object for entry in found.worst], [entry.object for entry in found.best]) == (["alpha/000"], ["beta/000"])
    better, worse = found.worst[0].pictures
    # J is 0.62 on frame 4, 0.70 on 8 and 0.62 on 12: the median is that of the later one of the two
    assert better.says.endswith(", frame 12")
    assert "ground truth outlined, false positives orange, false negatives blue" in better.alt
    assert pixels(better.data_uri).shape[1] == WIDTH_PX
    assert worse.data_uri == ""
    assert "neither masks nor an overlay" in worse.says
    assert found.reason == ""


def test_a_picture_is_cut_to_both_masks_and_keeps_the_frame() -> None:
    frame = np.full((480, 640, 3), 90, np.uint8)
    truth_hw, prediction_hw = rectangle(200, 300, 40, 40, (480, 640)), rectangle(200, 330, 40, 40, (480, 640))
    before = frame.copy()
    picture = cut_out(frame, prediction_hw, truth_hw)
    assert np.array_equal(frame, before)
    # 70 wide with half of it on each side is 140 of 640 pixels: objects are seen 2.5 times as large
    assert picture.shape == (WIDTH_PX * 3 // 4, WIDTH_PX, 3)
    # 30 of 40 columns are missed, as many are too much, and 10 are right: 1200 of 70 x 2 by 105 pixels each
    for colour in (PREDICTION_RGB, MISSED_RGB):
        share = near(picture, tuple(round(0.75 * part + 0.25 * 90) for part in colour), 25) / picture[..., 0].size  # type: ignore[arg-type]
        assert 0.06 < share < 0.1
    right = cut_out(frame, truth_hw, truth_hw)
    assert near(right, PREDICTION_RGB, 60) == near(right, MISSED_RGB, 60) == 0
    whole = cut_out(frame, np.zeros((480, 640), np.bool_), np.zeros((480, 640), np.bool_))
    assert near(whole, (90, 90, 90), 2) == whole.shape[0] * whole.shape[1]


def test_all_arms_of_an_object_are_cut_alike(run: Path, tiny_split: TinySplit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mask far away widens the pictures of the others too."""
    monkeypatch.setattr(gallery, "SMALLEST_PX", 4)
    monkeypatch.setattr(gallery, "SURROUNDINGS", 0.0)
    alone = pixels(gallery_of(run, tiny_split.root).best[0].pictures[0].data_uri)
    save(run, "worse", "beta", {f"{frame:05d}": rectangle(0, 0, 2, 2) for frame in (0, 4)})
    first, second = (pixels(picture.data_uri) for picture in gallery_of(run, tiny_split.root).best[0].pictures)
    assert first.shape == second.shape
    # what neither mask covers is the same in both, and not as in the picture of one arm
    same = np.abs(first.astype(int) - second).max(axis=2) < 12
    assert same.mean() > 0.5
    assert first.shape != alone.shape or np.abs(first.astype(int) - alone).max() > 60


@pytest.mark.parametrize(("height", "width"), [(480, 1), (1, 480), (1, 1), (2000, 2)])
def test_videos_of_any_shape_have_a_picture_of_a_usual_size(height: int, width: int) -> None:
    for mask_hw in (np.ones((height, width), np.bool_), np.zeros((height, width), np.bool_), rectangle(0, 0, 1, 1, (height, width))):
        picture = cut_out(np.zeros((height, width, 3), np.uint8), mask_hw, mask_hw)
        assert 1 <= picture.shape[0] <= TALLEST_PX
        assert 1 <= picture.shape[1] <= WIDTH_PX


@pytest.mark.parametrize("is_told", [True, False], ids=["path in the row", "worst:N"])
def test_without_the_split_overlays_are_taken(is_told: bool, run: Path, tiny_split: TinySplit) -> None:
    try:
        require_encoder()
    except RuntimeError as error:
        pytest.skip(str(error))
    (run / "overlays").mkdir()
    name = "alpha.mp4" if is_told else overlay_path("alpha", "000", "worse").name
    with OverlayWriter(run / "overlays" / name, 48, 64) as overlay:
        for index in range(14):
            overlay.add(np.full((48, 64, 3), 15 * index, np.uint8), None)
    lines = (run / "summary.csv").read_text().splitlines()
    place = lines[0].split(",").index("overlay")
    cells = lines[1].split(",")
    assert cells[0] == "alpha"
    cells[place] = "overlays/alpha.mp4" if is_told else ""
    (run / "summary.csv").write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")
    (tiny_split.root / "sav_tiny.txt").unlink()
    found = gallery_of(run, tiny_split.root)
    _, worse = found.worst[0].pictures
    frame = int(worse.says.rpartition(" ")[2])
    # the upper panel, below its title
    assert abs(float(pixels(worse.data_uri)[40:140].mean()) - 15 * frame) < 8
    assert any("--split_dir" in note for note in found.notes)


def test_a_split_that_only_the_run_names_is_not_opened(run: Path, tiny_split: TinySplit) -> None:
    """The folder of a run may be anyone's, and the page shows what is read."""
    found = gallery_of(run)
    assert found.reason != ""
    assert any("say where it is with --split_dir" in note and str(tiny_split.root) in note for note in found.notes)
    moved = tiny_split.root.rename(run / "moved")
    assert gallery_of(run, split_dir=moved).reason == ""


def test_links_out_of_the_folder_are_not_followed(run: Path, tiny_split: TinySplit, tmp_path: Path) -> None:
    (run / "masks").rename(tmp_path / "elsewhere")
    (run / "masks").symlink_to(tmp_path / "elsewhere")
    found = gallery_of(run, tiny_split.root)
    assert all(picture.data_uri == "" for entry in (*found.best, *found.worst) for picture in entry.pictures)
    assert any("a link out of the run's folder, not followed" in note for note in found.notes)
    for name in ("frames.csv", "telemetry.csv", "run.json", "environment.json"):
        (run / name).rename(tmp_path / name)
        (run / name).symlink_to(tmp_path / name)
    results = load_results([run])
    (read,) = read_runs([run], results)
    assert (len(read.frames), len(read.telemetry), read.about, read.invocations) == (0, 0, {}, [])
    assert len([note for note in read.notes if "not followed" in note]) == 4


def test_without_pictures_the_flags_are_named_and_scores_listed(tmp_path: Path) -> None:
    found = gallery_of(write_run(tmp_path / "run", [ArmOfRun()], videos=["v0", "v1", "v2"], objects=1), count=5)
    assert found.reason == f"There are no pictures. {REMEDY}"
    assert (len(found.worst), len(found.best)) == (1, 1)
    assert Gallery.scores(found.worst).header == ["object", "sam2_tiny_mask"]
    single = gallery_of(write_run(tmp_path / "single", [ArmOfRun()], videos=["v0"], objects=1))
    assert (single.worst, [entry.object for entry in single.best]) == ((), ["v0/000"])
    unscored = gallery_of(write_run(tmp_path / "unscored", [ArmOfRun(row={"J": "", "F": "", "JandF": ""})]))
    assert "No row has J&F" in unscored.reason


def test_names_from_a_file_lead_nowhere_else(run: Path, tiny_split: TinySplit) -> None:
    text = (run / "summary.csv").read_text().replace("alpha,000", "../alpha,000")
    (run / "summary.csv").write_text(text)
    # everything is there for whoever follows the name
    shutil.copytree(tiny_split.frames_dir("alpha"), tiny_split.root / "alpha")
    shutil.copytree(tiny_split.masks_dir("alpha", "000"), tiny_split.root / "alpha" / "000")
    shutil.copytree(run / "masks" / "better" / "alpha", run / "masks" / "alpha")
    found = gallery_of(run, tiny_split.root)
    assert found.worst[0].object == "../alpha/000"
    assert all(picture.data_uri == "" for picture in found.worst[0].pictures)
