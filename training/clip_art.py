"""Pictures of Debian's package openclipart-png that show one thing with an outline: `python -m training.clip_art PNG_FOLDER OUT`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2

from training.cutouts import box_of

_FOLDERS = (
    *("animals", "buildings", "containers", "electronics", "food", "office", "people", "plants"),
    *("recreation/music", "recreation/sports", "recreation/toys", "tools", "transportation/boating", "transportation/vehicles"),
)
_FLAT = ("transportation",)
"""Folders whose own pictures count, not those of their folders: signs and symbols."""
_LEFT_OUT = frozenset({"bodypart", "smilies", "stickmen"})
_MIN_SIDE = 100
_SHARES = (0.2, 0.97)
"""Of its own box that a picture covers: thinner ones are lines, fuller ones are drawings with a background."""


def pictures(root: Path) -> Iterator[Path]:
    """Those of use, in the order of their folders and names."""
    listed = [path for folder in _FOLDERS for path in sorted((root / folder).rglob("*.png"))]
    listed += [path for folder in _FLAT for path in sorted((root / folder).glob("*.png"))]
    return (path for path in listed if not _LEFT_OUT & set(path.parts) and _is_of_use(path))


def main(argv: Sequence[str] | None = None) -> int:
    """Copy them into one folder, named after the folders that they were in.

    Returns:
        0; 2 where there is none.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    if len(arguments) != 2:
        print(f"usage: {__doc__.rpartition('`')[0].rpartition('`')[2]}", file=sys.stderr)
        return 2
    root, out = (Path(argument) for argument in arguments)
    copied = 0
    for path in pictures(root):
        out.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, out / "_".join(path.relative_to(root).parts))
        copied += 1
    if not copied:
        print(f"error: {root}: has no such picture; give usr/share/openclipart/png of the unpacked package", file=sys.stderr)
        return 2
    print(f"{out}: {copied} pictures")
    return 0


def _is_of_use(path: Path) -> bool:
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None or picture.ndim != 3 or picture.shape[2] != 4 or max(picture.shape[:2]) < _MIN_SIDE:
        return False
    seen = picture[..., 3] > 127
    box = box_of(seen)
    if box is None:
        return False
    top, bottom, left, right = box
    return bool(_SHARES[0] <= seen[top:bottom, left:right].mean() <= _SHARES[1])


if __name__ == "__main__":
    sys.exit(main())
