"""Which folders are a split, which list names it, and how those that are none are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_split import TinySplit

from savbench.data.dataset import DatasetError, open_split
from savbench.data.frames import ClipError


def test_the_only_list_names_the_split(tiny_split: TinySplit) -> None:
    split = open_split(tiny_split.root)
    assert (split.name, split.videos) == ("sav_tiny", ["alpha", "beta"])


def test_several_lists_need_a_name(tiny_split: TinySplit) -> None:
    (tiny_split.root / "sav_test.txt").write_text("beta\n")
    with pytest.raises(DatasetError, match=r"several lists of videos \(sav_test, sav_tiny\).*--split_name"):
        open_split(tiny_split.root)
    assert open_split(tiny_split.root, "sav_test").videos == ["beta"]
    assert open_split(tiny_split.root, "sav_test.txt").videos == ["beta"]


def test_an_unknown_list_is_refused_by_name(tiny_split: TinySplit) -> None:
    with pytest.raises(DatasetError, match=r"sav_val\.txt: no such file; --split_name can be sav_tiny"):
        open_split(tiny_split.root, "sav_val")


def test_no_list(tiny_split: TinySplit) -> None:
    (tiny_split.root / "sav_tiny.txt").unlink()
    with pytest.raises(DatasetError, match="no list of videos"):
        open_split(tiny_split.root)


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere: no such folder.*--split_dir"):
        open_split(tmp_path / "nowhere")


def test_a_file_is_no_split(tiny_split: TinySplit) -> None:
    with pytest.raises(DatasetError, match="not a folder"):
        open_split(tiny_split.root / "sav_tiny.txt")


def test_the_parent_of_a_split_is_recognised(tiny_split: TinySplit) -> None:
    with pytest.raises(DatasetError, match=r"did you mean --split_dir .*sav_tiny\?"):
        open_split(tiny_split.root.parent)


def test_missing_annotations_are_named(tiny_split: TinySplit) -> None:
    (tiny_split.root / "Annotations_6fps").rename(tiny_split.root / "elsewhere")
    with pytest.raises(DatasetError, match="no folder Annotations_6fps;"):
        open_split(tiny_split.root)


def test_blank_lines_crlf_spaces_and_bom_are_harmless(tiny_split: TinySplit) -> None:
    (tiny_split.root / "sav_tiny.txt").write_bytes(b"\xef\xbb\xbf\r\nalpha  \r\n\r\n\tbeta")
    assert open_split(tiny_split.root).videos == ["alpha", "beta"]


@pytest.mark.parametrize("folder", ["JPEGImages_24fps", "Annotations_6fps"])
@pytest.mark.parametrize("name", [" alpha", "alpha ", "\talpha"])
def test_a_folder_with_a_blank_at_an_end_of_its_name_is_named(tiny_split: TinySplit, folder: str, name: str) -> None:
    (tiny_split.root / folder / "alpha").rename(tiny_split.root / folder / name)
    (target,) = open_split(tiny_split.root).targets("alpha")
    assert target.defect is not None
    assert f"{folder}: there is no alpha, only {name!r}" in target.defect
    assert target.defect.endswith("rename it to alpha")


def test_a_video_file_with_a_blank_in_front_of_its_name_is_named(tiny_split: TinySplit) -> None:
    shutil.rmtree(tiny_split.frames_dir("alpha"))
    (tiny_split.root / "JPEGImages_24fps" / " alpha.mp4").touch()
    with pytest.raises(ClipError, match=r"there is no alpha, only ' alpha\.mp4', and lines .* rename it to alpha\.mp4"):
        open_split(tiny_split.root).video("alpha")


def test_a_folder_with_a_blank_does_not_stand_in_the_way_of_one_without(tiny_split: TinySplit) -> None:
    (tiny_split.root / "JPEGImages_24fps" / " alpha").mkdir()
    assert len(open_split(tiny_split.root).video("alpha").frames) == 13


@pytest.mark.parametrize("name", ["..", ".", "../alpha", "alpha/000", "/etc", "alpha\\000"])
def test_ids_cannot_point_out_of_the_split(tiny_split: TinySplit, name: str) -> None:
    (tiny_split.root / "sav_tiny.txt").write_text(f"beta\n{name}\n")
    with pytest.raises(DatasetError, match=r"line 2: .* is not a video id"):
        open_split(tiny_split.root)


def test_an_id_listed_twice_is_refused_with_both_lines(tiny_split: TinySplit) -> None:
    (tiny_split.root / "sav_tiny.txt").write_text("alpha\n\nbeta\nalpha\n")
    with pytest.raises(DatasetError, match="line 4: alpha is already listed in line 1"):
        open_split(tiny_split.root)


@pytest.mark.parametrize(("content", "message"), [(b" \n\n", "lists no video"), (b"\xff\xfe\x00", "cannot be read")])
def test_an_empty_or_binary_list_is_refused(tiny_split: TinySplit, content: bytes, message: str) -> None:
    (tiny_split.root / "sav_tiny.txt").write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        open_split(tiny_split.root)
