"""Listing the folders of a split: lists of videos, names, numbered files, and hints about what is there instead.

Names are compared in composed Unicode (NFC): disks of macOS return decomposed names, while lists written elsewhere are composed. Files that
operating systems and cloud disks leave behind are ignored.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from runners.text import one_line
from savbench.data.frames import ClipError

if TYPE_CHECKING:
    from collections.abc import Collection

FRAMES_DIR = "JPEGImages_24fps"
MASKS_DIR = "Annotations_6fps"
LEFT_BEHIND = frozenset({"@eaDir", "__MACOSX", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"})
"""Folders of NAS devices, unpackers and operating systems. Names that begin with a dot are also hidden."""
BLANKS = " \t"
"""Stripped from the ends of a list's lines."""
NAME_BYTES = 255
"""Longest file name in bytes that file systems allow."""
_BOMS = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))


class DatasetError(RuntimeError):
    """The split as a whole cannot be used; the message says why and what to do."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder is not part of a data set."""
    return name.startswith(".") or name in LEFT_BEHIND


def visible_name(name: str) -> str:
    r"""A name for a row or a message: control characters, line breaks and bytes that are not UTF-8 become escapes, `\n` or
    `\xff`.

    Other characters, also double spaces, stay unchanged.
    """
    shown = []
    for char in name:
        if 0xDC80 <= ord(char) <= 0xDCFF:  # Python's encoding of a file name's byte that is not UTF-8
            shown.append(f"\\x{ord(char) - 0xDC00:02x}")
        else:
            shown.append(char if is_writable(char) else char.encode("unicode_escape").decode())
    return "".join(shown)


def is_writable(name: str) -> bool:
    """Whether a name can be written into a row unchanged: one line of UTF-8 text without control characters."""
    return one_line(name) == name


def names_in(folder: Path) -> list[str]:
    """Sorted names in a folder, without hidden ones.

    Raises:
        ClipError: the folder cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not is_hidden(entry.name))
    except UnicodeEncodeError as error:
        raise ClipError(
            f"{folder}: its name cannot be written in this locale's encoding ({error.encoding}); set PYTHONUTF8=1 and give the same "
            "command again"
        ) from error
    except OSError as error:
        raise ClipError(f"{folder}: cannot be listed ({error.strerror}); extract this video again or remove it from the list") from error


def folders_in(folder: Path) -> list[str]:
    """Sorted names of the subfolders, without hidden ones. Raises ClipError as `names_in` does."""
    return [name for name in names_in(folder) if (folder / name).is_dir()]


def entry_named(folder: Path, name: str, names: Collection[str]) -> Path:
    """The entry of this name in a folder, also if it is composed differently; `folder / name` if there is none.

    Args:
        names: names in the folder.
    """
    if name not in names:
        name = next((other for other in names if composed(other) == composed(name)), name)
    return folder / name


def refuse_blanks(folder: Path, name: str, names: Collection[str]) -> None:
    """
    Args:
        names: names in the folder.

    Raises:
        ClipError: the folder has no such entry but one whose name differs by blanks at an end, which a list of videos cannot name.
    """
    if any(composed(other) == composed(name) for other in names):
        return
    for other in names:
        stem, _, suffix = other.rpartition(".")
        if name in (other.strip(BLANKS), stem.strip(BLANKS)):
            mended = name if other.strip(BLANKS) == name else f"{name}.{suffix}"
            raise ClipError(
                f"{folder}: there is no {name}, only {other!r}, and lines of the list are read without blanks at their ends; rename it to "
                f"{mended}"
            )


def composed(name: str) -> str:
    """The name in composed form (NFC), for comparisons."""
    return unicodedata.normalize("NFC", name)


def numbered_files(folder: Path, suffixes: tuple[str, ...]) -> dict[int, str]:
    """Names of files with one of the suffixes, by the number in the name, in numerical order.

    Raises:
        ClipError: the folder cannot be listed, a name is not a number, or two numbers are equal.
    """
    named: dict[int, str] = {}
    for name in names_in(folder):
        stem, _, suffix = name.rpartition(".")
        if suffix.lower() not in suffixes:
            continue
        if not (stem.isascii() and stem.isdecimal()):
            raise ClipError(f"{folder / name}: the name is not a frame number such as 00004.{suffix}; rename or remove it")
        number = int(stem)
        if number in named:
            raise ClipError(f"{folder}: {named[number]} and {name} have the same frame number; remove one of them")
        named[number] = name
    return dict(sorted(named.items()))


def beside_them(folder: Path) -> str:
    """For messages about missing files: what the folder has instead, `, but 24 .png files`."""
    kinds = Counter(name.rpartition(".")[2].lower() for name in names_in(folder) if "." in name)
    return "".join(f", but {count} .{kind} file{'s' * (count > 1)}" for kind, count in kinds.most_common(1))


def find_list(root: Path, split_name: str | None) -> Path:
    """The list of videos of a split.

    Raises:
        DatasetError: there is none, or there are several and no name was given.
    """
    found = sorted(path for path in root.iterdir() if path.suffix.lower() == ".txt" and not is_hidden(path.name) and path.is_file())
    names = ", ".join(path.stem for path in found)
    if split_name is not None:
        path = next((path for path in found if path.stem == split_name or path.name == split_name), root / f"{split_name}.txt")
        if path not in found:
            raise DatasetError(f"{path}: no such file; --split_name can be {names}" if found else f"{path}: no such file")
        return path
    if len(found) > 1:
        raise DatasetError(f"{root}: several lists of videos ({names}); choose one with --split_name")
    if not found:
        raise DatasetError(f"{root}: no list of videos; SA-V has sav_val.txt or sav_test.txt there, with one video id a line")
    return found[0]


def read_list(path: Path, video_suffixes: Collection[str]) -> list[str]:
    """Video ids, in the order of the list.

    If a line is the name of a video file, as from `ls`, and the annotations' folder has the name without the extension, the id is that
    name.

    Args:
        video_suffixes: extensions of video files.

    Raises:
        DatasetError: the list cannot be read, is empty, names an id twice, or has a line that cannot be an id.
    """
    data = path.read_bytes()
    for mark, encoding in _BOMS:
        if data.startswith(mark) or b"\0" in data[:64]:
            raise DatasetError(f"{path}: cannot be read as a list of video ids: it is {encoding} text; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = data[: error.start].count(b"\n") + 1
        raise DatasetError(f"{path}, line {at}: cannot be read as a list of video ids: not UTF-8 text; save it as UTF-8") from error
    line_of: dict[str, int] = {}
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), start=1):
        name = line.strip(BLANKS)
        if not name:
            continue
        where = f"{path}, line {number}"
        name = _without_suffix(path.parent, name.removesuffix("/"), video_suffixes)
        if name in (".", "..") or any(char in name for char in "/\\") or not is_writable(name):
            raise DatasetError(f"{where}: {visible_name(name)!r} is not a video id; ids are names of folders in {FRAMES_DIR}")
        if len(os.fsencode(name)) > NAME_BYTES:
            raise DatasetError(
                f"{where}: {name[:30]!r} and so on is not a video id, it has {len(os.fsencode(name))} bytes; ids are names of folders, "
                f"which have at most {NAME_BYTES}"
            )
        if name in line_of:
            raise DatasetError(f"{where}: {name} is already listed in line {line_of[name]}; remove one of the lines")
        line_of[name] = number
    if not line_of:
        raise DatasetError(f"{path}: lists no video; put one video id on each line")
    return list(line_of)


def _without_suffix(root: Path, name: str, video_suffixes: Collection[str]) -> str:
    stem, _, suffix = name.rpartition(".")
    is_file_name = suffix.lower() in video_suffixes and stem and "/" not in name and len(name) < NAME_BYTES and is_writable(name)
    return stem if is_file_name and (root / MASKS_DIR / stem).is_dir() and not (root / MASKS_DIR / name).is_dir() else name


def recognised(root: Path) -> str:
    """For messages: what a folder that is not a split seems to be, and what to do."""
    for inside in sorted(root.glob(f"*/{FRAMES_DIR}")):
        return f"did you mean --split_dir {inside.parent}?"
    layouts = [name for name in ("JPEGImages", "Annotations") if (root / name).is_dir()]
    if layouts:
        return (
            f"its {' and '.join(layouts)} have the layout of DAVIS, MOSE and YouTube-VOS, with all objects of a frame in one file: put "
            f"frames into {FRAMES_DIR}/VIDEO/00000.jpg, masks of each object into {MASKS_DIR}/VIDEO/OBJECT/00000.png, and the ids of the "
            "videos into a .txt file beside them"
        )
    if any(True for _ in root.glob("*_manual.json")) or any(True for _ in root.glob("*_auto.json")):
        return (
            "its .json files are masklets of SA-V's training set, which cannot be read: use the val or test split of SA-V, or write their "
            f"masks as PNGs into {MASKS_DIR}/VIDEO/OBJECT"
        )
    return "SA-V splits have both, extract them there"
