"""Frames read from JPEG files: their pixels, and what is said of those that cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_split import TinySplit

from savbench.data.dataset import open_split
from savbench.data.frames import ClipError, read_frame

SIZE = (24, 32)


def test_a_frame_is_decoded_as_pillow_does(tiny_split: TinySplit) -> None:
    path = tiny_split.frame("alpha", 0)
    frame_hwc = read_frame(path, SIZE)
    assert frame_hwc.shape == (24, 32, 3)
    assert frame_hwc.dtype == np.uint8
    assert frame_hwc.flags.writeable
    np.testing.assert_array_equal(frame_hwc, np.asarray(Image.open(path).convert("RGB")))


def test_channels_are_red_green_blue(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), (250, 120, 10)).save(tmp_path / "0.jpg", quality=95)
    assert np.abs(read_frame(tmp_path / "0.jpg").reshape(-1, 3).astype(int) - (250, 120, 10)).max() <= 3


def test_gray_frames_become_three_channels(tmp_path: Path) -> None:
    Image.new("L", (8, 6), 77).save(tmp_path / "0.jpg")
    assert (read_frame(tmp_path / "0.jpg") == 77).all()
    assert read_frame(tmp_path / "0.jpg").shape == (6, 8, 3)


def test_exif_orientation_is_not_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees to view
    Image.new("RGB", (32, 24)).save(tmp_path / "0.jpg", exif=exif)
    assert read_frame(tmp_path / "0.jpg").shape == (24, 32, 3)


def test_a_truncated_frame(tiny_split: TinySplit) -> None:
    path = tiny_split.frame("alpha", 5)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ClipError, match=r"00005\.jpg: unreadable frame \(.*truncated"):
        read_frame(path)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>"])
def test_a_frame_that_is_no_image(tiny_split: TinySplit, content: bytes) -> None:
    path = tiny_split.frame("alpha", 0)
    path.write_bytes(content)
    with pytest.raises(ClipError, match="unreadable frame"):
        read_frame(path)
    with pytest.raises(ClipError, match="unreadable frame"):
        open_split(tiny_split.root).video("alpha").read_size()


def test_a_frame_that_is_gone_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match="No such file"):
        read_frame(tmp_path / "0.jpg")
    (tmp_path / "1.jpg").mkdir()
    with pytest.raises(ClipError, match="Is a directory"):
        read_frame(tmp_path / "1.jpg")


def test_a_frame_of_another_size(tiny_split: TinySplit) -> None:
    Image.new("RGB", (30, 24)).save(tiny_split.frame("alpha", 7))
    with pytest.raises(ClipError, match=r"00007\.jpg: the frame is 30x24, but the first frame of its video 32x24"):
        read_frame(tiny_split.frame("alpha", 7), SIZE)
