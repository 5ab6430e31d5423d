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
from savbench.arguments.errors import UserError
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


class DatasetError(UserError, RuntimeError):
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


class Entries:
    """The entries of a folder, listed once and found by name, however the name is composed."""

    def __init__(self, folder: Path) -> None:
        """Raises ClipError if the folder cannot be listed."""
        self.folder = folder
        names = names_in(folder)
        self._by_name = {**{composed(name): name for name in names}, **{name: name for name in names}}
        self._by_stem: dict[str, list[str]] = {}
        for name in names:
            stem, dot, _ = name.rpartition(".")
            if dot:
                self._by_stem.setdefault(composed(stem), []).append(name)

    def named(self, name: str) -> Path:
        """The entry of this name; `folder / name` if there is none."""
        return self.folder / (self._by_name.get(name) or self._by_name.get(composed(name), name))

    def with_stem(self, stem: str) -> list[str]:
        """Names that are this one and a suffix."""
        return self._by_stem.get(composed(stem), [])

    def refuse_blanks(self, name: str) -> None:
        """
        Raises:
            ClipError: there is no such entry but one whose name differs by blanks at an end, which a list of videos cannot name.
        """
        if composed(name) in self._by_name:
            return
        for other in self._by_name.values():
            stem, _, suffix = other.rpartition(".")
            if name in (other.strip(BLANKS), stem.strip(BLANKS)):
                mended = name if other.strip(BLANKS) == name else f"{name}.{suffix}"
                raise ClipError(
                    f"{self.folder}: there is no {name}, only {other!r}, and lines of the list are read without blanks at their ends; "
                    f"rename it to {mended}"
                )


class Listed(dict[Path, Entries]):
    """Entries by folder, each folder listed once, when it is first asked for. Raises ClipError as `Entries` does."""

    def __missing__(self, folder: Path) -> Entries:
        self[folder] = entries = Entries(folder)
        return entries


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
    line_of: dict[str, int] = {}
    for number, line in _lines(path):
        name = _without_suffix(path.parent, line.removesuffix("/"), video_suffixes)
        _check_id(path, number, name, FRAMES_DIR)
        if name in line_of:
            raise DatasetError(f"{path}, line {number}: {name} is already listed in line {line_of[name]}; remove one of the lines")
        line_of[name] = number
    return list(line_of)


def find_set(folder: Path, split_name: str | None) -> tuple[Path, str]:
    """A list of videos in the folder ImageSets of DAVIS, and its name, for example `2017/val`.

    Args:
        split_name: the list's name, or its last part if no other list has the same; None: the only list.

    Raises:
        DatasetError: there is none, or there are several that it may be.
    """
    lists = {
        path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.txt")) if not is_hidden(path.name)
    }
    names = ", ".join(lists)
    if not lists:
        raise DatasetError(f"{folder}: no list of videos; DAVIS has 2017/val.txt there, with one video id a line")
    wanted = (split_name or "").removesuffix(".txt")
    fitting = [name for name in lists if split_name is None or wanted in (name, name.rpartition("/")[2])]
    if wanted in lists:
        fitting = [wanted]
    if not fitting:
        raise DatasetError(f"{folder / wanted}.txt: no such file; --split_name can be {names}")
    if len(fitting) > 1:
        raise DatasetError(f"{folder}: several lists of videos ({', '.join(fitting)}); choose one with --split_name")
    return lists[fitting[0]], fitting[0]


def read_set(path: Path) -> list[str]:
    """Video ids of a list of DAVIS, in its order.

    In the lists of DAVIS 2016, a line has the path of a frame and of its mask (`/JPEGImages/480p/bear/00000.jpg /Annotations/...`): the
    video is the frame's folder.

    Raises:
        DatasetError: as `read_list`; an id may be listed several times only with paths of frames.
    """
    line_of: dict[str, int] = {}
    for number, line in _lines(path):
        of_frame = line.split()[0].split("/") if line.startswith("/") else []
        name = of_frame[-2] if len(of_frame) > 2 else line
        _check_id(path, number, name, "JPEGImages")
        if name in line_of and not of_frame:
            raise DatasetError(f"{path}, line {number}: {name} is already listed in line {line_of[name]}; remove one of the lines")
        line_of.setdefault(name, number)
    return list(line_of)


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a list that are not blank, by number, without blanks around. Raises DatasetError if it cannot be read or is empty."""
    data = path.read_bytes()
    for mark, encoding in _BOMS:
        if data.startswith(mark) or b"\0" in data[:64]:
            raise DatasetError(f"{path}: cannot be read as a list of video ids: it is {encoding} text; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = data[: error.start].count(b"\n") + 1
        raise DatasetError(f"{path}, line {at}: cannot be read as a list of video ids: not UTF-8 text; save it as UTF-8") from error
    every = enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), start=1)
    lines = [(number, stripped) for number, line in every if (stripped := line.strip(BLANKS))]
    if not lines:
        raise DatasetError(f"{path}: lists no video; put one video id on each line")
    return lines


def _check_id(path: Path, number: int, name: str, folder: str) -> None:
    """Raises DatasetError if a line of a list cannot be a video id."""
    where = f"{path}, line {number}"
    if name in (".", "..") or any(char in name for char in "/\\") or not is_writable(name):
        raise DatasetError(f"{where}: {visible_name(name)!r} is not a video id; ids are names of folders in {folder}")
    if len(os.fsencode(name)) > NAME_BYTES:
        raise DatasetError(
            f"{where}: {name[:30]!r} and so on is not a video id, it has {len(os.fsencode(name))} bytes; ids are names of folders, "
            f"which have at most {NAME_BYTES}"
        )


def _without_suffix(root: Path, name: str, video_suffixes: Collection[str]) -> str:
    stem, _, suffix = name.rpartition(".")
    is_file_name = suffix.lower() in video_suffixes and stem and "/" not in name and len(name) < NAME_BYTES and is_writable(name)
    return stem if is_file_name and (root / MASKS_DIR / stem).is_dir() and not (root / MASKS_DIR / name).is_dir() else name
