"""Videos, objects and masks of a split: what is listed, what is wrong with it, what is chosen of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_split import TinySplit, rectangle
from video_files import picture, write_video

from savbench.data import dataset
from savbench.data.dataset import NothingToTrackError, Target, open_split
from savbench.data.frames import ClipError
from savbench.data.ground_truth import first_prompt

SIZE = (24, 32)


# ---- listing


def test_a_video_is_listed_as_it_is(tiny_split: TinySplit) -> None:
    video = open_split(tiny_split.root).video("alpha")
    assert [path.name for path in video.frames.files or ()] == [f"{index:05d}.jpg" for index in range(13)]
    assert video.object_names == ["000", "001"]
    assert [(index, mask.frame_name) for index, mask in video.object("001").annotations] == [
        (0, "00000"),
        (4, "00004"),
        (8, "00008"),
        (12, "00012"),
    ]
    assert video.read_size() == SIZE


def test_listing_decodes_nothing(tiny_split: TinySplit) -> None:
    for path in tiny_split.root.rglob("*.*g"):
        path.write_bytes(b"")
    split = open_split(tiny_split.root)
    assert split.select() == [Target("alpha", "000"), Target("alpha", "001"), Target("beta", "000")]


def test_the_module_imports_no_torch() -> None:
    program = "import sys, savbench.data.dataset, savbench.data.prompts, savbench.data.demo.split; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])


def test_frames_are_ordered_by_number_not_by_name(tiny_split: TinySplit) -> None:
    for index in range(13):
        tiny_split.frame("alpha", index).rename(tiny_split.frames_dir("alpha") / f"{index}.JPEG")
    video = open_split(tiny_split.root).video("alpha")
    assert [path.stem for path in video.frames.files or ()] == [str(index) for index in range(13)]
    assert [index for index, _ in video.object("000").annotations] == [0, 4, 8, 12]


def test_masks_are_matched_by_number_where_frames_have_gaps(tiny_split: TinySplit) -> None:
    for index in range(13):
        if index % 2:
            tiny_split.frame("alpha", index).unlink()
    video = open_split(tiny_split.root).video("alpha")
    assert [(index, mask.frame_name) for index, mask in video.object("000").annotations] == [
        (0, "00000"),
        (2, "00004"),
        (4, "00008"),
        (6, "00012"),
    ]


def test_hidden_and_other_files_are_passed_over(tiny_split: TinySplit) -> None:
    tiny_split.frame("alpha", 0).with_name("._00000.jpg").write_bytes(b"resource fork")
    tiny_split.frame("alpha", 0).with_name("Thumbs.db").write_bytes(b"")
    tiny_split.mask("alpha", "000", 0).with_name(".DS_Store").write_bytes(b"")
    tiny_split.masks_dir("alpha", ".ipynb_checkpoints").mkdir()
    video = open_split(tiny_split.root).video("alpha")
    assert (len(video.frames), video.object_names, dict(video.defects)) == (13, ["000", "001"], {})


def single_defect(split: TinySplit, video: str) -> str:
    """The message of a video that cannot be used at all, after checking that it makes one row and spares the other video."""
    opened = open_split(split.root)
    [target] = opened.targets(video)
    assert target.object == ""
    assert target.defect is not None
    with pytest.raises(ClipError) as raised:
        opened.video(video)
    assert str(raised.value) == target.defect
    other = {"alpha": "beta", "beta": "alpha"}[video]
    assert all(each.defect is None for each in opened.targets(other))
    return target.defect


def test_a_listed_video_without_frames_folder(tiny_split: TinySplit) -> None:
    tiny_split.frames_dir("beta").rename(tiny_split.root / "moved")
    assert f"{tiny_split.frames_dir('beta')}: cannot be listed (No such file or directory)" in single_defect(tiny_split, "beta")


def test_a_listed_video_with_an_empty_frames_folder(tiny_split: TinySplit) -> None:
    for path in tiny_split.frames_dir("beta").iterdir():
        path.unlink()
    assert f"{tiny_split.frames_dir('beta')}: no .jpg frames" in single_defect(tiny_split, "beta")


def test_a_listed_video_without_annotations(tiny_split: TinySplit) -> None:
    tiny_split.masks_dir("beta").rename(tiny_split.root / "moved")
    assert f"{tiny_split.masks_dir('beta')}: cannot be listed" in single_defect(tiny_split, "beta")


def test_masks_without_a_folder_per_object(tiny_split: TinySplit) -> None:
    for path in tiny_split.masks_dir("beta", "000").iterdir():
        path.rename(tiny_split.masks_dir("beta") / path.name)
    tiny_split.masks_dir("beta", "000").rmdir()
    assert "one folder of masks per object" in single_defect(tiny_split, "beta")


def test_a_frame_without_a_number(tiny_split: TinySplit) -> None:
    tiny_split.frame("beta", 3).rename(tiny_split.frames_dir("beta") / "frame3.jpg")
    assert "frame3.jpg: the name is not a frame number" in single_defect(tiny_split, "beta")


def test_two_frames_of_one_number(tiny_split: TinySplit) -> None:
    (tiny_split.frames_dir("beta") / "3.jpeg").write_bytes(b"")
    assert "00003.jpg and 3.jpeg have the same frame number" in single_defect(tiny_split, "beta")


def object_defect(split: TinySplit) -> str:
    """What is wrong with object 001 of alpha, after checking that object 000 is spared."""
    opened = open_split(split.root)
    first, second = opened.targets("alpha")
    assert first == Target("alpha", "000")
    assert second.object == "001"
    assert second.defect is not None
    with pytest.raises(ClipError) as raised:
        opened.video("alpha").object("001")
    assert str(raised.value) == second.defect
    return second.defect


def test_an_object_without_masks(tiny_split: TinySplit) -> None:
    for path in tiny_split.masks_dir("alpha", "001").iterdir():
        path.unlink()
    assert f"{tiny_split.masks_dir('alpha', '001')}: no .png masks" in object_defect(tiny_split)


def test_a_mask_without_its_frame(tiny_split: TinySplit) -> None:
    for index in (8, 12):
        tiny_split.mask("alpha", "001", index).rename(tiny_split.mask("alpha", "001", index + 100))
    message = object_defect(tiny_split)
    assert f"{tiny_split.mask('alpha', '001', 108)} (and 1 more): the video has no frame of this number" in message


def test_an_unknown_object_is_refused_by_name(tiny_split: TinySplit) -> None:
    with pytest.raises(ClipError, match="video alpha has no object 007; it has 000, 001"):
        open_split(tiny_split.root).video("alpha").object("007")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list any folder")
def test_a_folder_that_may_not_be_listed(tiny_split: TinySplit) -> None:
    tiny_split.frames_dir("beta").chmod(0)
    try:
        assert "Permission denied" in single_defect(tiny_split, "beta")
    finally:
        tiny_split.frames_dir("beta").chmod(0o755)


# ---- videos in one file


def put_into_file(split: TinySplit, name: str, frames: int) -> Path:
    """Replace a video's folder by a file with so many frames."""
    pytest.importorskip("av", reason="needs PyAV")
    shutil.rmtree(split.frames_dir(name))
    return write_video(split.frames_dir(name).with_suffix(".mp4"), frames, size_hw=SIZE)


def test_a_video_file_takes_the_place_of_the_folder(tiny_split: TinySplit) -> None:
    in_folder = open_split(tiny_split.root).video("alpha")
    path = put_into_file(tiny_split, "alpha", 13)
    split = open_split(tiny_split.root)
    video = split.video("alpha")
    assert (video.objects, video.defects) == (in_folder.objects, in_folder.defects)
    assert (len(video.frames), getattr(video.frames, "path", None), video.frames.files, video.read_size()) == (13, path, None, SIZE)
    assert split.select() == [Target("alpha", "000"), Target("alpha", "001"), Target("beta", "000")]
    with video.frames.reader(SIZE) as reader:
        assert np.abs(reader.read(12).astype(int) - picture(12, *SIZE)).mean() < 8
    cut = video.take(6)
    assert (len(cut.frames), cut.object("000").left_out) == (6, 2)


def test_a_video_both_in_a_folder_and_in_a_file_is_refused(tiny_split: TinySplit) -> None:
    path = tiny_split.frames_dir("beta").with_suffix(".mp4")
    path.touch()
    assert f"{tiny_split.frames_dir('beta')} and {path}: several copies of the frames of one video" in single_defect(tiny_split, "beta")


def test_a_video_in_two_files_is_refused(tiny_split: TinySplit) -> None:
    path = put_into_file(tiny_split, "beta", 5)
    path.with_suffix(".mkv").touch()
    assert f"{path} and {path.with_suffix('.mkv')}: several copies of the frames of one video" in single_defect(tiny_split, "beta")


def test_a_file_that_is_no_video_spares_the_others(tiny_split: TinySplit) -> None:
    path = put_into_file(tiny_split, "beta", 5)
    path.write_bytes(path.read_bytes()[:100])
    assert f"{path}: " in single_defect(tiny_split, "beta")


def test_a_mask_after_the_end_of_a_video_file(tiny_split: TinySplit) -> None:
    put_into_file(tiny_split, "alpha", 12)
    video = open_split(tiny_split.root).video("alpha")
    assert "00012.png: the video has no frame of this number" in video.defects["001"]


# ---- choosing


def many_videos(root: Path, names: list[str]) -> dataset.Split:
    for name in names:
        (root / "JPEGImages_24fps" / name).mkdir(parents=True)
        (root / "JPEGImages_24fps" / name / "00000.jpg").touch()
        for object_name in ("000", "001", "002"):
            (root / "Annotations_6fps" / name / object_name).mkdir(parents=True)
            (root / "Annotations_6fps" / name / object_name / "00000.png").touch()
    (root / "many.txt").write_text("\n".join(names))
    return open_split(root)


def test_limits_keep_the_first_videos_and_objects(tmp_path: Path) -> None:
    split = many_videos(tmp_path, ["c", "a", "b"])
    assert [(t.video, t.object) for t in split.select(limit_videos=2, limit_objects=2)] == [
        ("c", "000"),
        ("c", "001"),
        ("a", "000"),
        ("a", "001"),
    ]


def test_shuffling_depends_on_the_seed_alone(tmp_path: Path) -> None:
    names = [f"v{number}" for number in range(12)]
    split = many_videos(tmp_path / "all", names)
    fewer = many_videos(tmp_path / "fewer", names[3:])

    def order(of: dataset.Split, seed: int) -> list[str]:
        return [target.video for target in of.select(limit_objects=1, shuffle=True, seed=seed)]

    assert order(split, 0) == order(split, 0)
    assert order(split, 0) != order(split, 1)
    assert sorted(order(split, 0)) == sorted(names)
    assert order(split, 0) != names
    assert order(fewer, 0) == [name for name in order(split, 0) if name in names[3:]]
    # by `printf 0/v11 | sha256sum` and so on, sorted
    assert order(split, 0)[:4] == ["v11", "v7", "v9", "v6"]


@pytest.mark.parametrize("limits", [{"limit_videos": 0}, {"limit_objects": -1}])
def test_limits_below_one_are_refused(tiny_split: TinySplit, limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        open_split(tiny_split.root).select(**limits)  # type: ignore[arg-type]


# ---- taking a part


def test_max_frames_drops_later_annotations(tiny_split: TinySplit) -> None:
    video = open_split(tiny_split.root).video("alpha").take(max_frames=6)
    assert len(video.frames) == 6
    assert [index for index, _ in video.object("000").annotations] == [0, 4]
    assert video.object("000").left_out == 2


def test_an_object_left_without_annotations_has_nothing_to_track(tiny_split: TinySplit) -> None:
    tiny_split.mask("alpha", "001", 0).unlink()
    video = open_split(tiny_split.root).video("alpha").take(max_frames=3)
    assert [obj.object for obj in video.objects] == ["000"]
    assert video.object_names == ["000", "001"]
    with pytest.raises(NothingToTrackError, match=r"none of its 3 annotated frames is among the first 3 frames; raise --max_frames"):
        video.object("001")


def test_taking_everything_changes_nothing(tiny_split: TinySplit) -> None:
    video = open_split(tiny_split.root).video("alpha")
    assert video.take() == video
    with pytest.raises(ValueError, match="1 or more"):
        video.take(max_frames=0)


# ---- the first prompt


def test_an_object_that_comes_late_is_prompted_where_it_is_first_seen(tiny_split: TinySplit) -> None:
    video = open_split(tiny_split.root).video("alpha")
    index, mask_hw = first_prompt(video.object("000"), SIZE)
    assert index == 0
    np.testing.assert_array_equal(mask_hw, rectangle(4, 2, 8, 8))
    index, mask_hw = first_prompt(video.object("001"), SIZE)
    assert index == 4
    np.testing.assert_array_equal(mask_hw, rectangle(15, 20, 6, 5))


def test_masks_after_the_first_prompt_are_not_decoded(tiny_split: TinySplit) -> None:
    tiny_split.mask("alpha", "001", 8).write_bytes(b"broken")
    assert first_prompt(open_split(tiny_split.root).video("alpha").object("001"), SIZE)[0] == 4


def test_an_object_that_is_never_seen(tiny_split: TinySplit) -> None:
    for index in (4, 8, 12):
        Image.new("L", (32, 24)).save(tiny_split.mask("alpha", "001", index))
    with pytest.raises(ClipError, match=r"alpha/001: all its 4 masks are empty"):
        first_prompt(open_split(tiny_split.root).video("alpha").object("001"), SIZE)


def test_an_object_that_is_seen_after_max_frames(tiny_split: TinySplit) -> None:
    video = open_split(tiny_split.root).video("alpha").take(max_frames=4)
    with pytest.raises(NothingToTrackError, match="--max_frames left out 3 more"):
        first_prompt(video.object("001"), SIZE)


# ---- real clips


def test_real_clips(davis_sav: Path) -> None:
    split = open_split(davis_sav)
    assert split.name == "sav_val"
    targets = split.select()
    assert [(target.video, target.object, target.defect) for target in targets] == [
        (name, "000", None) for name in ("blackswan", "car-shadow", "dog", "libby", "motocross-jump")
    ]
    video = split.video("dog")
    assert (len(video.frames), video.read_size()) == (60, (480, 854))
    index, mask_hw = first_prompt(video.object("000"), video.read_size())
    assert (index, mask_hw.shape, int(mask_hw.sum())) == (0, (480, 854), 43977)
    assert video.frames.reader(video.read_size()).read(59).shape == (480, 854, 3)
