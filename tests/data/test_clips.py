"""Videos without ground truth: what may be prompted with, and what is said about what may not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_split import SHAPE, labels, save_picture, write_frames
from PIL import Image
from tiny_split import TinySplit, rectangle
from video_files import write_video

from savbench.data.clips import Given
from savbench.data.dataset import DatasetError, Target, open_split
from savbench.data.feed import PromptMaker
from savbench.data.frames import ClipError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`walk`, 6 frames in a folder of JPEGs."""
    write_frames(tmp_path / "videos" / "walk", range(6))
    return tmp_path / "videos"


def with_prompts(folder: Path, entry: Any, video: str = "walk") -> Given:
    path = folder.parent / "prompts.json"
    path.write_text(json.dumps({video: entry}))
    return Given(prompts=path)


def test_a_folder_of_video_files_is_found(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="needs PyAV")
    write_video(tmp_path / "walk.mp4", 6, size_hw=SHAPE)
    prompts = with_prompts(tmp_path / "elsewhere", {"1": {"points": [[5, 6]]}}, "walk.mp4")
    split = open_split(tmp_path, given=prompts)
    assert (split.layout.name, split.name, split.videos, split.select()) == ("clips", tmp_path.name, ["walk"], [Target("walk", "1")])
    assert len(split.video("walk").frames) == 6


def test_points_boxes_and_masks_of_the_file(folder: Path) -> None:
    Image.fromarray(rectangle(4, 2, 8, 8).astype(np.uint8) * 255).save(folder.parent / "three.png")
    objects = {"2": {"box": [1, 2, 9, 20], "frame": 2}, "10": {"mask": "three.png"}, "1": {"points": [[5, 6], [7, 8]]}}
    video = open_split(folder, None, "clips", with_prompts(folder, objects)).video("walk")
    assert video.object_names == ["1", "2", "10"]
    assert not any(obj.has_truth for obj in video.objects)
    maker = PromptMaker(video, 1, 1)
    clicks = maker.track(video.object("1"), "points")
    assert clicks.prompt.points_n2 is not None
    assert (clicks.prompt_frame, clicks.prompt.points_n2.tolist()) == (0, [[5, 6], [7, 8]])
    box = maker.track(video.object("2"), "bbox")
    assert box.prompt.box_4 is not None
    assert (box.prompt_frame, box.prompt.box_4.tolist()) == (2, [1, 2, 9, 20])
    for kind in ("points", "bbox", "mask"):
        assert maker.track(video.object("10"), kind).prompt.kind == kind
    with pytest.raises(ClipError, match=r"walk, object 1: has points only; run MODEL_points, or give a mask, from which bbox is taken"):
        maker.track(video.object("1"), "bbox")


def test_a_picture_beside_the_video_comes_before_a_click(folder: Path) -> None:
    save_picture(folder / "walk.png", labels((1, rectangle(4, 2, 8, 8)), (2, rectangle(15, 20, 6, 5))))
    write_frames(folder / "run", range(3))
    split = open_split(folder, None, "clips", Given(click=(31, 23)))
    assert split.select() == [Target("run", "1"), Target("walk", "1"), Target("walk", "2")]
    assert PromptMaker(split.video("walk"), 1, 1).track(split.video("walk").object("2"), "mask").prompt_frame == 0
    assert PromptMaker(split.video("run"), 1, 1).track(split.video("run").object("1"), "points").prompt.kind == "points"


def test_a_video_without_a_prompt_says_how_to_give_one(folder: Path) -> None:
    [target] = open_split(folder, None, "clips").select()
    assert "walk: nothing says what to track; put it into the file of --prompts" in str(target.defect)


@pytest.mark.parametrize("click", [(32, 0), (0, 24)])
def test_a_click_outside_of_the_video(folder: Path, click: tuple[int, int]) -> None:
    video = open_split(folder, None, "clips", Given(click=click)).video("walk")
    with pytest.raises(ClipError, match="--click on walk: lies outside of the video, which is 32x24; x comes first"):
        PromptMaker(video, 1, 1).track(video.object("1"), "points")


@pytest.mark.parametrize(
    ("label", "entry", "said"),
    [
        ("0", {"points": [[1, 1]]}, "the label of an object is a number from 1 to 254"),
        ("01", {"points": [[1, 1]]}, "the label of an object is a number from 1 to 254"),
        ("dog", {"points": [[1, 1]]}, "the label of an object is a number from 1 to 254"),
        ("1", {}, "give exactly one of points, box and mask"),
        ("1", [], "give exactly one of points, box and mask"),
        ("1", {"points": [[1, 1]], "box": [0, 0, 1, 1]}, "give exactly one of points, box and mask"),
        ("1", {"point": [[1, 1]]}, "give exactly one of points, box and mask"),
        ("1", {"points": [[1, 1]], "frame": 6}, "frame 6 is not one of the video, which has frames 0 to 5"),
        ("1", {"points": [[1, 1]], "frame": "0"}, "frame 0 is not one of the video"),
        ("1", {"points": []}, "points are [[x, y], ...]"),
        ("1", {"points": [[1, "x"]]}, "points are [[x, y], ...]"),
        ("1", {"points": [[1, float("nan")]]}, "points are [[x, y], ...]"),
        ("1", {"box": [1, 2, 3]}, "a box is [x_min, y_min, x_max, y_max]"),
        ("1", {"box": [9, 2, 3, 4]}, "its end lies before its start"),
        ("1", {"mask": 7}, "mask is the name of a PNG"),
    ],
)
def test_entries_that_are_no_prompts_spare_the_others(folder: Path, label: str, entry: Any, said: str) -> None:
    split = open_split(folder, None, "clips", with_prompts(folder, {label: entry, "7": {"points": [[1, 1]]}}))
    defects = {target.object: target.defect for target in split.select()}
    assert said in str(defects[label])
    assert defects["7"] is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not JSON"),
        ("[]", "not a file of prompts"),
        ('{"walk": []}', "not a file of prompts"),
        ('{"ran": {}}', "ran is not there; the videos are walk"),
    ],
)
def test_a_file_that_is_none_of_prompts(folder: Path, content: str, said: str) -> None:
    (folder.parent / "prompts.json").write_text(content)
    with pytest.raises(DatasetError, match=said):
        open_split(folder, None, "clips", Given(prompts=folder.parent / "prompts.json"))


def test_ground_truth_and_prompts_exclude_each_other(tiny_split: TinySplit) -> None:
    with pytest.raises(DatasetError, match=r"has ground truth to prompt with \(--layout sav\); leave out --prompts and --click"):
        open_split(tiny_split.root, given=Given(click=(1, 2)))
