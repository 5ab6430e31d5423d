"""Names and lists as they are found on disks of other systems."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from PIL import Image
from tiny_split import TinySplit
from video_files import write_video

from savbench.data.dataset import DatasetError, Target, open_split
from savbench.data.frames import ClipError
from savbench.data.listing import is_writable, visible_name

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "fürst") for form in ("NFC", "NFD"))


def rename(split: TinySplit, video: str, name: str) -> None:
    """Give a video another name on the disk, not in the list."""
    split.frames_dir(video).rename(split.frames_dir(name))
    split.masks_dir(video).rename(split.masks_dir(name))


def put_list(split: TinySplit, content: bytes) -> None:
    (split.root / "sav_tiny.txt").write_bytes(content)


# ---- the list


@pytest.mark.parametrize("name", ["two  blanks", "no\u00a0break", "\u00a0at the ends\u00a0", "ideographic\u3000space", "a'b,c\"d"])
def test_ids_are_kept_to_the_letter(tiny_split: TinySplit, name: str) -> None:
    rename(tiny_split, "beta", name)
    put_list(tiny_split, f" {name}\t\r\n".encode())
    assert open_split(tiny_split.root).select() == [Target(name, "000")]


@pytest.mark.parametrize("char", ["\t", "\x0b", "\x1b", "\x85", "\u2028", "\0"])
def test_ids_with_control_characters_are_refused_by_line(tiny_split: TinySplit, char: str) -> None:
    put_list(tiny_split, f"alpha\nbe{char}ta\n".encode())
    with pytest.raises(DatasetError, match=r"line 2: .* is not a video id|is UTF-16 text") as raised:
        open_split(tiny_split.root)
    assert char not in str(raised.value)


def test_a_line_too_long_for_a_name_is_refused(tiny_split: TinySplit) -> None:
    put_list(tiny_split, ("alpha\n" + "ü" * 128).encode())
    with pytest.raises(DatasetError, match=r"line 2: .* is not a video id, it has 256 bytes"):
        open_split(tiny_split.root)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_utf_16_list_is_named(tiny_split: TinySplit, encoding: str) -> None:
    put_list(tiny_split, "alpha\r\nbeta\r\n".encode(encoding))
    with pytest.raises(DatasetError, match="it is UTF-16 text; save it as UTF-8"):
        open_split(tiny_split.root)


def test_bytes_that_are_not_utf_8_are_named_by_line(tiny_split: TinySplit) -> None:
    put_list(tiny_split, b"alpha\nf\xfcrst\n")
    with pytest.raises(DatasetError, match=r"line 2: .*not UTF-8 text; save it as UTF-8"):
        open_split(tiny_split.root)


def test_a_list_made_by_ls_is_understood(tiny_split: TinySplit) -> None:
    put_list(tiny_split, b"alpha/\nbeta.MP4\n")
    assert open_split(tiny_split.root).videos == ["alpha", "beta"]
    put_list(tiny_split, b"beta\nbeta.mp4\n")
    with pytest.raises(DatasetError, match="line 2: beta is already listed in line 1"):
        open_split(tiny_split.root)


def test_an_id_may_end_like_a_video_file(tiny_split: TinySplit) -> None:
    rename(tiny_split, "beta", "beta.mp4")
    put_list(tiny_split, b"beta.mp4\n")
    assert open_split(tiny_split.root).select() == [Target("beta.mp4", "000")]


def test_the_list_itself_may_have_any_ending_of_that_name(tiny_split: TinySplit) -> None:
    (tiny_split.root / "sav_tiny.txt").rename(tiny_split.root / "sav_tiny.TXT")
    (tiny_split.root / "._sav_tiny.TXT").write_bytes(b"resource fork")
    assert open_split(tiny_split.root, "sav_tiny").videos == ["alpha", "beta"]


# ---- names on disk


@pytest.mark.parametrize(("on_disk", "listed"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_names_are_compared_as_composed(tiny_split: TinySplit, on_disk: str, listed: str) -> None:
    rename(tiny_split, "beta", on_disk)
    put_list(tiny_split, f"{listed}\n".encode())
    [target] = open_split(tiny_split.root).select()
    assert target == Target(listed, "000")


@pytest.mark.parametrize("name", ["@eaDir", "__MACOSX", "#recycle", ".Trashes"])
def test_left_overs_are_no_objects_and_no_frames(tiny_split: TinySplit, name: str) -> None:
    for folder in (tiny_split.masks_dir("beta"), tiny_split.masks_dir("beta", "000"), tiny_split.frames_dir("beta")):
        (folder / name).mkdir()
        (folder / name / "00000.png").touch()
        (folder / "._00000.jpg").touch()
        (folder / "._00000.png").touch()
        (folder / ".DS_Store").touch()
    video = open_split(tiny_split.root).video("beta")
    assert (video.object_names, dict(video.defects), len(video.frames)) == (["000"], {}, 5)


@pytest.mark.parametrize(
    ("name", "shown"), [(b"00\xff1", r"00\xff1"), (b"a\nb", r"a\nb"), (b"\x1b[31m", r"\x1b[31m"), (b"tab\there", r"tab\there")]
)
def test_object_folders_that_no_row_can_name_are_defects(tiny_split: TinySplit, name: bytes, shown: str) -> None:
    tiny_split.masks_dir("beta", "000").rename(tiny_split.masks_dir("beta") / os.fsdecode(name))
    [target] = open_split(tiny_split.root).targets("beta")
    assert target.object == shown
    assert target.defect is not None
    assert "rename the folder" in target.defect
    assert is_writable(target.defect)


def test_other_names_are_shown_as_they_are() -> None:
    assert visible_name("zwei  Leerzeichen\u00a0ü 写") == "zwei  Leerzeichen\u00a0ü 写"


def test_a_name_that_the_locale_cannot_write_spares_the_others(tiny_split: TinySplit, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.scandir

    def ascii_only(folder: Path) -> object:
        str(folder).encode("ascii")
        return original(folder)

    rename(tiny_split, "beta", COMPOSED)
    put_list(tiny_split, f"alpha\n{COMPOSED}\n".encode())
    monkeypatch.setattr(os, "scandir", ascii_only)
    targets = open_split(tiny_split.root).select()
    assert [target.defect is None for target in targets] == [True, True, False]
    assert "locale's encoding (ascii); set PYTHONUTF8=1" in str(targets[-1].defect)


# ---- videos in files


@pytest.mark.parametrize("suffix", ["MP4", "MOV", "Mkv"])
def test_endings_of_video_files_are_taken_in_any_case(tiny_split: TinySplit, suffix: str) -> None:
    pytest.importorskip("av")
    for path in tiny_split.frames_dir("beta").iterdir():
        path.unlink()
    tiny_split.frames_dir("beta").rmdir()
    path = write_video(tiny_split.frames_dir("beta").with_name(f"beta.{suffix.lower()}"), 5, size_hw=(24, 32))
    path.rename(path.with_suffix(f".{suffix}"))
    assert len(open_split(tiny_split.root).video("beta").frames) == 5


def test_a_folder_and_a_file_of_any_ending_are_both_seen(tiny_split: TinySplit) -> None:
    tiny_split.frames_dir("beta").with_name("beta.MP4").touch()
    with pytest.raises(ClipError, match=r"beta and .*beta\.MP4: several copies of the frames of one video"):
        open_split(tiny_split.root).video("beta")


@pytest.mark.parametrize("suffix", ["avi", "AVI", "mpg", "wmv"])
def test_a_video_file_that_is_not_read_is_named(tiny_split: TinySplit, suffix: str) -> None:
    tiny_split.frames_dir("beta").rename(tiny_split.root / "moved")
    tiny_split.frames_dir("beta").with_name(f"beta.{suffix}").touch()
    with pytest.raises(ClipError, match=rf"beta\.{suffix}: \.{suffix.lower()} is not read, mp4, .* are; put its frames .*ffmpeg -i beta"):
        open_split(tiny_split.root).video("beta")


# ---- other layouts


def test_frames_of_another_kind_are_named(tiny_split: TinySplit) -> None:
    for path in tiny_split.frames_dir("beta").iterdir():
        Image.open(path).save(path.with_suffix(".png"))
        path.unlink()
    with pytest.raises(ClipError, match=r"beta: no \.jpg frames, but 5 \.png files; extract the video's frames as JPEGs"):
        open_split(tiny_split.root).video("beta")


def test_masks_of_all_objects_in_one_file_are_named(tiny_split: TinySplit) -> None:
    for path in tiny_split.masks_dir("beta", "000").iterdir():
        path.rename(path.parent.parent / path.name)
    tiny_split.masks_dir("beta", "000").rmdir()
    with pytest.raises(ClipError, match=r"no folder of an object, but 2 \.png files; .*as DAVIS has them, into a folder for each"):
        open_split(tiny_split.root).video("beta")


def test_a_file_of_masklets_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "sav_000001_manual.json").write_text("{}")
    with pytest.raises(DatasetError, match="a file of annotations, not a folder"):
        open_split(tmp_path / "sav_000001_manual.json")


# ---- trouble of the system


@pytest.mark.parametrize("name", ["JPEGImages_24fps", "sav_tiny.txt"])
def test_what_may_not_be_read_is_one_line(tiny_split: TinySplit, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for method in ("is_dir", "read_bytes"):
        original = getattr(Path, method)

        def refuse(path: Path, original: object = original) -> object:
            if path.name == name:
                raise PermissionError(13, "Permission denied", str(path))
            return original(path)  # type: ignore[operator]

        monkeypatch.setattr(Path, method, refuse)
    with pytest.raises(DatasetError, match=rf"{name}: cannot be read \(Permission denied\); check its permissions"):
        open_split(tiny_split.root)


def test_a_split_dir_that_no_folder_can_be_called_is_refused() -> None:
    with pytest.raises(DatasetError, match=r"give the folder of a data set|give another --split_dir"):
        open_split("with\0zero")
    with pytest.raises(DatasetError, match="File name too long"):
        open_split("x" * 300)
