"""Data sets in other layouts than SA-V's: what is found, and what is said about what is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_split import SHAPE, labels, save_picture, two_squares, write_davis, write_frames, write_meta
from PIL import Image
from tiny_split import TinySplit, rectangle

from savbench.data.annotation import Annotation
from savbench.data.dataset import LAYOUTS, DatasetError, Split, Target, open_split
from savbench.data.frames import ClipError
from savbench.data.ground_truth import first_prompt
from savbench.data.rle import Rle
from savbench.plan.settings_data import LAYOUTS as CHOICES


def frames_of(annotations: tuple[tuple[int, Annotation], ...]) -> list[int]:
    return [frame for frame, _ in annotations]


@pytest.fixture
def davis(tmp_path: Path) -> Path:
    videos = {"bear": [two_squares(frame) for frame in range(6)], "cows": [two_squares(frame) for frame in range(3)]}
    return write_davis(tmp_path / "DAVIS", videos, lists={"2017/val": ["bear", "cows"], "2016/val": ["cows"]})


def test_the_flag_has_every_layout() -> None:
    assert ("auto", *LAYOUTS) == CHOICES


def test_sav_is_found_first(tiny_split: TinySplit) -> None:
    assert open_split(tiny_split.root).layout.name == "sav"


# ---- davis


def test_davis_is_found_with_its_objects(davis: Path) -> None:
    split = open_split(davis, "2017/val")
    assert (split.layout.name, split.name, split.videos) == ("davis", "2017/val", ["bear", "cows"])
    assert split.layout.frames_per_s == 24
    assert split.select() == [Target(video, name) for video in ("bear", "cows") for name in ("1", "2")]
    video = split.video("bear")
    assert (len(video.frames), video.read_size(), frames_of(video.object("1").annotations)) == (6, SHAPE, list(range(6)))
    for frame, mask in video.object("1").annotations:
        np.testing.assert_array_equal(mask.read(SHAPE), rectangle(4, 2 + frame, 8, 8))
        assert mask.frame_name == f"{frame:05d}"


def test_void_is_no_object_and_no_part_of_one(davis: Path) -> None:
    video = open_split(davis, "2016/val").video("cows")
    assert video.object_names == ["1", "2"]
    assert not any(mask.read()[:2, :2].any() for obj in video.objects for _, mask in obj.annotations)


def test_a_list_is_chosen_by_its_last_part_if_that_is_enough(davis: Path) -> None:
    with pytest.raises(DatasetError, match=r"several lists of videos \(2016/val, 2017/val\); choose one with --split_name"):
        open_split(davis, "val")
    shutil.rmtree(davis / "ImageSets" / "2016")
    assert open_split(davis, "val").name == open_split(davis).name == "2017/val"
    with pytest.raises(DatasetError, match=r"test\.txt: no such file; --split_name can be 2017/val"):
        open_split(davis, "test")


def test_the_lists_of_davis_2016_name_frames(davis: Path) -> None:
    frames = [f"480p/{video}/{frame:05d}" for video in ("cows", "bear") for frame in range(3)]
    lines = [f"/JPEGImages/{frame}.jpg /Annotations/{frame}.png" for frame in frames]
    (davis / "ImageSets" / "480p").mkdir()
    (davis / "ImageSets" / "480p" / "val.txt").write_text("\n".join(lines))
    assert open_split(davis, "480p/val").videos == ["cows", "bear"]


def test_a_grey_mask_of_0_and_255_is_the_object_of_davis_2016(davis: Path) -> None:
    for path in (davis / "Annotations" / "480p" / "cows").iterdir():
        Image.fromarray(rectangle(4, 2, 8, 8).astype(np.uint8) * 255).save(path)
    [obj] = open_split(davis, "2016/val").video("cows").objects
    assert (obj.object, int(obj.annotations[1][1].read().sum())) == ("255", 64)


def test_an_object_that_begins_later_is_not_tracked(davis: Path) -> None:
    save_picture(davis / "Annotations" / "480p" / "cows" / "00001.png", labels((3, rectangle(4, 2, 8, 8))))
    assert open_split(davis, "2016/val").video("cows").object_names == ["1", "2"]


def test_objects_are_in_numerical_order(davis: Path) -> None:
    save_picture(davis / "Annotations" / "480p" / "cows" / "00000.png", labels(*((n, rectangle(n, n, 3, 3)) for n in (10, 9, 2))))
    assert open_split(davis, "2016/val").video("cows").object_names == ["2", "9", "10"]


def test_mose_has_neither_lists_nor_resolutions(tmp_path: Path) -> None:
    root = write_davis(tmp_path / "valid", {"a1": [two_squares(0)] * 4, "b2": [two_squares(0)]}, resolution="", lists={})
    split = open_split(root)
    assert (split.layout.name, split.name, split.videos) == ("davis", "valid", ["a1", "b2"])
    assert [obj.has_truth for video in split.videos for obj in split.video(video).objects] == [True, True, False, False]
    assert open_split(root, "valid").videos == split.videos  # as a worker opens it
    assert split.layout.frames_per_s is None
    with pytest.raises(DatasetError, match="no folder ImageSets with lists, so --split_name val names nothing"):
        open_split(root, "val")


# ---- ytvos


def late(tmp_path: Path, *, with_truth: bool) -> Path:
    """Frames 0, 5, ..., 45; object 1 from frame 0 on, object 2 from frame 20 on. Without truth: only the frames on which one begins."""
    root, numbers = tmp_path / "valid", range(0, 50, 5)
    write_frames(root / "JPEGImages" / "clip", numbers)
    for number in numbers if with_truth else (0, 20):
        seen = [(1, rectangle(4, 2, 8, 8))] if with_truth or number < 20 else []
        if number >= 20:
            seen.append((2, rectangle(15, 20, 6, 5)))
        save_picture(root / "Annotations" / "clip" / f"{number:05d}.png", labels(*seen))
    names = [f"{number:05d}" for number in numbers]
    write_meta(root, {"clip": {"objects": {"1": {"frames": names}, "2": {"frames": names[4:]}}}})
    return root


def test_youtube_vos_lists_objects_that_begin_later(tmp_path: Path) -> None:
    split = open_split(late(tmp_path, with_truth=True))
    assert (split.layout.name, split.name, split.layout.protocol) == ("ytvos", "valid", "davis2017")
    video = split.video("clip")
    assert frames_of(video.object("2").annotations) == list(range(4, 10))
    assert first_prompt(video.object("2"), SHAPE)[0] == 4
    assert all(obj.has_truth for obj in video.objects)


def test_pictures_to_prompt_with_are_no_ground_truth(tmp_path: Path) -> None:
    video = open_split(late(tmp_path, with_truth=False)).video("clip")
    assert [(obj.object, obj.has_truth, first_prompt(obj, SHAPE)[0]) for obj in video.objects] == [("1", False, 0), ("2", False, 4)]


def test_lvos_lists_ranges_of_every_fifth_frame(tmp_path: Path) -> None:
    root = tmp_path / "LVOS"
    write_frames(root / "JPEGImages" / "clip", range(1, 32), digits=8)
    for number in range(1, 32, 5):
        save_picture(root / "Annotations" / "clip" / f"{number:08d}.png", two_squares(0))
    span = {"start": "00000006", "end": "00000027", "frame_nums": "5"}
    write_meta(root, {"clip": {"objects": {"1": {"frame_range": span}}}}, "valid_meta.json")
    split = open_split(root)
    assert (split.layout.name, split.name, split.layout.protocol) == ("ytvos", "valid", "lvos")
    [obj] = split.video("clip").objects
    assert ([mask.frame_name for _, mask in obj.annotations], obj.has_truth) == ([f"{n:08d}" for n in (6, 11, 16, 21, 26)], True)


def test_the_meta_file_of_mose_v2_has_the_length(tmp_path: Path) -> None:
    root = write_davis(tmp_path / "valid", {"clip": [two_squares(0)] * 3}, resolution="", lists={})
    write_meta(root, {"clip": {"length": 3, "height": 24, "width": 32, "objects": ["1", "2"]}})
    split = open_split(root)
    assert (split.layout.name, split.layout.protocol, split.video("clip").object_names) == ("ytvos", "mose", ["1", "2"])
    assert split.video("clip").object("1").has_truth
    (root / "Annotations" / "clip" / "00001.png").unlink()
    assert not split.video("clip").object("1").has_truth


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({}, "its objects cannot be read"),
        ({"objects": {}}, "it has no objects"),
        ({"objects": {"255": {"frames": ["0"]}}}, "labels 255, which must be 1 to 254"),
        ({"objects": {"1": {"frames": []}}}, "its objects cannot be read"),
        ({"objects": {"one": {"frames": ["0"]}}}, "its objects cannot be read"),
        (7, "its objects cannot be read"),
    ],
)
def test_a_damaged_entry_of_a_meta_file_spares_the_others(tmp_path: Path, about: Any, said: str) -> None:
    root = late(tmp_path, with_truth=True)
    meta = json.loads((root / "meta.json").read_text())
    meta["videos"]["bad"] = about
    (root / "meta.json").write_text(json.dumps(meta))
    shutil.copytree(root / "JPEGImages" / "clip", root / "JPEGImages" / "bad")
    shutil.copytree(root / "Annotations" / "clip", root / "Annotations" / "bad")
    good, also_good, bad = open_split(root).select()
    assert (good.defect, also_good.defect, bad.object) == (None, None, "")
    assert f"meta.json: video bad: {said}" in str(bad.defect)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"videos": []}', "[" * 100_000])
def test_another_json_file_is_no_meta_file(tmp_path: Path, content: str) -> None:
    root = late(tmp_path, with_truth=True)
    (root / "meta.json").write_text(content)
    with pytest.raises(DatasetError, match=r"meta\.json: not a meta file of videos and their objects; .*--layout davis"):
        open_split(root)
    assert open_split(root, layout="davis").videos == ["clip"]


def test_an_object_without_pictures_spares_the_others(tmp_path: Path) -> None:
    root = late(tmp_path, with_truth=True)
    for number in range(20, 50, 5):
        (root / "Annotations" / "clip" / f"{number:05d}.png").unlink()
    one, two = open_split(root).targets("clip")
    assert one.defect is None
    assert "no picture on any frame that the meta file lists of object 2" in str(two.defect)


# ---- defects of pictures


def defect(root: Path, video: str = "bear") -> str:
    """What is wrong with a whole video, after checking that it makes one row and spares the other."""
    split = open_split(root, "2017/val")
    [target] = split.targets(video)
    assert all(other.defect is None for other in split.targets("cows"))
    with pytest.raises(ClipError) as raised:
        split.video(video)
    assert str(raised.value) == target.defect
    return str(target.defect)


def test_missing_frames_and_pictures(davis: Path) -> None:
    (davis / "JPEGImages" / "480p" / "bear" / "00003.jpg").unlink()
    assert "00003.png: the video has no frame of this number" in defect(davis)
    shutil.rmtree(davis / "JPEGImages" / "480p" / "bear")
    assert "bear: cannot be listed" in defect(davis)


def test_a_video_without_pictures(davis: Path) -> None:
    for path in (davis / "Annotations" / "480p" / "bear").iterdir():
        path.rename(path.with_suffix(".jpg"))
    assert "bear: no .png masks, but 6 .jpg files; extract the annotations again" in defect(davis)


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (np.zeros(SHAPE, np.uint8), "no object in the first picture of bear"),
        (labels((255, rectangle(0, 0, 4, 4))), "no object in the first picture of bear"),
        (
            np.arange(24 * 32, dtype=np.uint64).reshape(SHAPE).astype(np.uint8),
            "256 different values between 0 and 255, as in masks with smoothed edges",
        ),
    ],
)
def test_a_first_picture_without_objects(davis: Path, picture: Any, said: str) -> None:
    save_picture(davis / "Annotations" / "480p" / "bear" / "00000.png", picture)
    assert said in defect(davis)


def test_a_first_picture_that_is_none(davis: Path) -> None:
    path = davis / "Annotations" / "480p" / "bear" / "00000.png"
    path.write_bytes(path.read_bytes()[:60])
    assert "00000.png: unreadable mask" in defect(davis)
    Image.new("RGB", (32, 24)).save(path)
    assert "00000.png: a colour image with 3 channels" in defect(davis)


def test_a_later_picture_of_another_size_is_told_where_it_is_read(davis: Path) -> None:
    save_picture(davis / "Annotations" / "480p" / "bear" / "00002.png", np.ones((10, 10), np.uint8))
    video = open_split(davis, "2017/val").video("bear")
    with pytest.raises(ClipError, match=r"00002\.png: the mask is 10x10 but the video 32x24"):
        video.object("1").annotations[2][1].read(SHAPE)


def test_a_missing_folder_is_named(davis: Path) -> None:
    shutil.rmtree(davis / "Annotations")
    with pytest.raises(DatasetError, match="no folder Annotations; DAVIS, MOSE and YouTube-VOS have both"):
        open_split(davis)


def test_the_folder_above_is_recognised(davis: Path) -> None:
    with pytest.raises(DatasetError, match=r"did you mean --split_dir .*DAVIS\?"):
        open_split(davis.parent)


def test_a_folder_of_anything_else_names_what_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no layout that is known: SA-V has JPEGImages_24fps"):
        open_split(tmp_path)


@pytest.mark.parametrize("layout", ["sav", "ytvos", "sav-json"])
def test_a_layout_that_is_asked_for_and_not_there(davis: Path, layout: str) -> None:
    with pytest.raises(DatasetError, match=r"no folder JPEGImages_24fps|no meta\.json|no file VIDEO_manual\.json"):
        open_split(davis, layout=layout)


# ---- sav-json


def masklets(root: Path, *, kind: str = "manual", frames: int = 13) -> Path:
    """A video of 13 frames in a folder of JPEGs, with two masklets on frames 0, 4, 8, 12; the second is not visible on frame 0."""
    if not (root / "sav_1").is_dir():
        write_frames(root / "sav_1", range(frames))
    square, other, absent = rectangle(4, 2, 8, 8), rectangle(15, 20, 6, 5), np.zeros(SHAPE, np.bool_)
    on_frames = [[square, absent], [square, other], [square, other], [square, other]]
    entries = [[{"size": list(SHAPE), "counts": Rle.of(mask).counts} for mask in masks] for masks in on_frames]
    about = {"video_id": "sav_1", "video_height": 24.0, "video_width": 32.0, "masklet_id": [0, 1], "masklet": entries}
    path = root / f"sav_1_{kind}.json"
    path.write_text(json.dumps(about))
    return path


def opened_masklets(root: Path) -> Split:
    split = open_split(root)
    assert split.layout.name == "sav-json"
    return split


def test_masklets_are_found_beside_their_video(tmp_path: Path) -> None:
    (tmp_path / "sav_train").mkdir()
    masklets(tmp_path / "sav_train")
    masklets(tmp_path / "sav_train", kind="auto")
    split = opened_masklets(tmp_path / "sav_train")
    assert (split.name, split.videos) == ("sav_train", ["sav_1"])
    assert open_split(split.root, split.name).videos == ["sav_1"]
    video = split.video("sav_1")
    assert video.object_names == ["000", "001", "auto_000", "auto_001"]
    assert [(frame, mask.frame_name, int(mask.read(SHAPE).sum())) for frame, mask in video.object("001").annotations] == [
        (0, "00000", 0), (4, "00004", 30), (8, "00008", 30), (12, "00012", 30)
    ]  # fmt: skip


def test_masklets_may_be_in_parts(tmp_path: Path) -> None:
    (tmp_path / "sav_000").mkdir()
    masklets(tmp_path / "sav_000")
    assert opened_masklets(tmp_path).videos == ["sav_1"]


def test_masklets_beyond_the_video_and_without_it(tmp_path: Path) -> None:
    masklets(tmp_path, frames=12)
    one, two = opened_masklets(tmp_path).targets("sav_1")
    assert "annotated up to frame 12, but the video has 12 frames" in str(one.defect)
    assert two.defect is not None
    shutil.rmtree(tmp_path / "sav_1")
    [target] = opened_masklets(tmp_path).targets("sav_1")
    assert "sav_1: cannot be listed" in str(target.defect)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda about: about.pop("masklet"), "not a file of masklets (KeyError"),
        (lambda about: about.update(masklet=7), "not a file of masklets (TypeError"),
        (lambda about: about["masklet"][1].pop(), "masklet 1: a mask is missing or damaged"),
        (lambda about: about["masklet"][1][1].update(size=[1, 1]), "masklet 1: a mask is missing or damaged"),
        (lambda about: about.update(masklet=[]), "no annotated frame"),
    ],
)
def test_damaged_masklets_are_named(tmp_path: Path, change: Any, said: str) -> None:
    path = masklets(tmp_path)
    about = json.loads(path.read_text())
    change(about)
    path.write_text(json.dumps(about))
    assert said in str(opened_masklets(tmp_path).targets("sav_1")[-1].defect)


def test_a_damaged_run_is_told_where_it_is_read(tmp_path: Path) -> None:
    path = masklets(tmp_path)
    about = json.loads(path.read_text())
    about["masklet"][1][0]["counts"] = "0"
    path.write_text(json.dumps(about))
    with pytest.raises(ClipError, match=r"sav_1_manual\.json, frame 00004: the runs of the mask do not add up to 32x24 pixels"):
        opened_masklets(tmp_path).video("sav_1").object("000").annotations[1][1].read(SHAPE)
