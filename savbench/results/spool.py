"""Masks in transit from a worker to the finisher: one file per row, named in the row's message.

The supervisor in between passes the message on and does not read the file. The process that takes the row removes the file; files left
by a killed run are removed when its folder is opened again.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from savbench.data.masks import CompressedMask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from savbench.data.masks import PackedMask

SPOOL = ".spool"
"""Name of the folder in a run's folder."""

Masks = dict[str, dict[int, CompressedMask]]
"""By name (`masks`, `known`) and frame of the clip."""


class SpoolError(OSError):
    """A file cannot be written; `errno`, `strerror` and `filename` are set."""


def write_masks(folder: Path, masks: Mapping[str, Mapping[int, PackedMask]]) -> Path:
    """Write masks into a new file in a folder, creating the folder if needed.

    The file is one line of JSON with, for each name, a list of (frame, height, width, number of bytes), followed by those bytes in the
    format
        of `CompressedMask`.

    Raises:
        SpoolError: the disk is full or gone; no file is left.
    """
    index: dict[str, list[tuple[int, int, int, int]]] = {}
    parts = []
    for name, of_name in masks.items():
        compressed = {frame: CompressedMask.of(mask) for frame, mask in of_name.items()}
        index[name] = [(frame, *mask.shape, mask.nbytes) for frame, mask in compressed.items()]
        parts += [mask.data for mask in compressed.values()]
    return write_bytes(folder, b"".join([json.dumps(index).encode(), b"\n", *parts]))


def write_bytes(folder: Path, data: bytes) -> Path:
    """Write the bytes of such a file into a new file. Raises SpoolError as `write_masks` does."""
    path = ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, path = tempfile.mkstemp(dir=folder, suffix=".masks")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except OSError as error:
        if path:
            Path(path).unlink(missing_ok=True)
        raise SpoolError(error.errno, error.strerror, path or str(folder)) from error
    return Path(path)


def read_masks(path: Path) -> Masks:
    """The inverse of `write_masks`.

    Raises:
        OSError: the file cannot be read. ValueError: it is not a file of masks.
    """
    data = path.read_bytes()
    head, _, rest = data.partition(b"\n")
    masks: Masks = {}
    at = 0
    for name, entries in json.loads(head).items():
        masks[name] = {}
        for frame, height, width, nbytes in entries:
            masks[name][frame] = CompressedMask(rest[at : at + nbytes], (height, width))
            at += nbytes
    if at != len(rest):
        raise ValueError(f"{path}: {len(rest)} bytes of masks, expected {at}")
    return masks
