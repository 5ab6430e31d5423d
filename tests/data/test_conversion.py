"""Data sets from one layout to another and back: not a pixel, frame or name is lost, or the video is left out and named."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import numpy as np
import pytest
from picture_split import labels, save_picture, two_squares, write_davis
from PIL import Image
from tiny_split import TinySplit, rectangle
from video_files import write_video

import jetson_benchmark
from savbench.data.conversion import TARGETS, convert
from savbench.data.dataset import DatasetError, Split, open_split

SMALL = ("--videos", "1", "--frames", "24", "--height", "64", "--width", "96")


def contents(split: Split) -> dict[str, object]:
    """Every frame's bytes and every mask, by video, object and frame."""
    found: dict[str, object] = {"videos": split.videos, "list": split.name.rpartition("/")[2]}
    for name in split.videos:
        video = split.video(name)
        assert not video.defects
        found |= {f"{name} {path.name}": path.read_bytes() for path in video.frames.files or ()}
        for obj in video.objects:
            for frame, annotation in obj.annotations:
                found[f"{name} {obj.object} {frame} {annotation.frame_name}"] = annotation.read().tobytes()
    return found


def there_and_back(tmp_path: Path, split: Split, to: str) -> Split:
    assert not convert(split, tmp_path / "there", to).problems
    there = open_split(tmp_path / "there")
    assert not convert(there, tmp_path / "back", split.layout.name).problems
    return open_split(tmp_path / "back")


@pytest.mark.parametrize("to", TARGETS)
def test_sav_comes_back_as_it_was(tiny_split: TinySplit, tmp_path: Path, to: str) -> None:
    """One of its objects is absent on the first frame."""
    split = open_split(tiny_split.root)
    assert contents(there_and_back(tmp_path, split, to)) == contents(split)


def test_davis_comes_back_as_it_was(tmp_path: Path) -> None:
    root = write_davis(tmp_path / "DAVIS", {"bear": [two_squares(frame) for frame in range(4)]}, lists={"2017/val": ["bear"]})
    split = open_split(root)
    back = there_and_back(tmp_path, split, "sav")
    assert contents(back) == contents(split)
    assert back.name == "2017/val"
    for path in (root / "Annotations" / "480p" / "bear").iterdir():  # void included
        np.testing.assert_array_equal(
            np.array(Image.open(path)), np.array(Image.open(tmp_path / "back" / "Annotations/480p/bear" / path.name))
        )


def test_davis_2016_comes_back_as_it_was(tmp_path: Path) -> None:
    root = write_davis(tmp_path / "DAVIS", {"bear": [two_squares(0)] * 2}, lists={"2017/val": ["bear"]})
    for path in (root / "Annotations" / "480p" / "bear").iterdir():
        Image.fromarray(rectangle(4, 2, 8, 8).astype(np.uint8) * 255).save(path)
    split = open_split(root)
    assert contents(there_and_back(tmp_path, split, "sav")) == contents(split)


def test_what_pictures_cannot_hold_is_left_out_and_named(tiny_split: TinySplit, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_split.write_video("gamma", 5, {"000": [rectangle(4, 2, 8, 8)] * 2, "001": [rectangle(6, 4, 8, 8)] * 2})
    tiny_split.write_video("delta", 5, {"left hand": [rectangle(4, 2, 8, 8)] * 2})
    (tiny_split.root / "sav_tiny.txt").write_text("alpha\nbeta\ngamma\ndelta\n")
    tiny_split.mask("alpha", "001", 12).unlink()
    assert jetson_benchmark.main(["convert", str(tiny_split.root), str(tmp_path / "out"), "--to", "davis"]) == 1
    said = capsys.readouterr()
    assert "left out alpha: alpha: object 001 is annotated on other frames than 000" in said.err
    assert "left out gamma: gamma, frame 00000: object 001 shares pixels with another" in said.err
    assert "left out delta: " in said.err
    assert "objects in pictures have labels from 1 on" in said.err
    assert "1 of 4 videos from sav to davis" in said.out
    assert open_split(tmp_path / "out").videos == ["beta"]
    assert [path.name for path in (tmp_path / "out" / "JPEGImages" / "480p").iterdir()] == ["beta"]


def test_nothing_is_overwritten(tiny_split: TinySplit, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(DatasetError, match="not an empty folder; give a new one"):
        convert(open_split(tiny_split.root), tmp_path / "out", "davis")
    with pytest.raises(DatasetError, match="give a folder outside the data set"):
        convert(open_split(tiny_split.root), tiny_split.root / "davis", "davis")


def test_void_cannot_be_told_in_masklets(tmp_path: Path) -> None:
    picture = labels((1, rectangle(4, 2, 8, 8)), (255, rectangle(0, 0, 2, 2)))
    root = write_davis(tmp_path / "DAVIS", {"bear": [picture]}, lists={})
    save_picture(root / "Annotations" / "480p" / "bear" / "00000.png", picture)
    assert "has void pixels, which masklets cannot tell" in convert(open_split(root), tmp_path / "out", "sav-json").problems["bear"]


@pytest.mark.parametrize("layout", TARGETS)
def test_demo_data_comes_in_every_layout(tmp_path: Path, layout: str) -> None:
    assert jetson_benchmark.main(["demo-data", str(tmp_path / layout), "--layout", layout, *SMALL]) == 0
    split = open_split(tmp_path / layout)
    # an object that begins later is in no first picture, so that a meta file is there
    assert split.layout.name == ("ytvos" if layout == "davis" else layout)
    targets = split.select()
    assert len(targets) == 4
    assert all(target.defect is None for target in targets)


def test_what_was_written_of_other_videos_stays_when_one_is_left_out(tmp_path: Path) -> None:
    split = TinySplit(tmp_path / "split")
    masks = {"000": [rectangle(4, 2, 8, 8, (48, 64))] * 2}
    for name in ("walk", "walk.two"):
        split.write_video(name, 5, masks)
        shutil.rmtree(split.root / "JPEGImages_24fps" / name)
        write_video(split.root / "JPEGImages_24fps" / f"{name}.mp4", 5)
    next((split.root / "Annotations_6fps" / "walk" / "000").glob("*.png")).write_bytes(b"damaged")
    (split.root / "sav_tiny.txt").write_text("walk.two\nwalk\n")

    found = convert(open_split(split.root), tmp_path / "out", "sav")

    assert (found.videos, list(found.problems)) == (("walk.two",), ["walk"])
    assert [path.name for path in (tmp_path / "out" / "JPEGImages_24fps").iterdir()] == ["walk.two.mp4"]


def test_a_full_disk_names_what_could_not_be_written_and_what_to_remove(
    tiny_split: TinySplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(source), None, str(target))

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(DatasetError) as refused:
        convert(open_split(tiny_split.root), tmp_path / "out", "davis")
    assert str(refused.value).startswith(str(tmp_path / "out" / "JPEGImages"))
    assert str(refused.value).endswith(f"(No space left on device); give another folder, or mend that and remove {tmp_path / 'out'}")
