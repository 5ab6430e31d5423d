"""Masks on their way from a worker to the finisher: a file for each row, which the row's message names.

The process between the two reads the message and leaves the file alone. Whoever takes the row removes it; what a killed run has left is
removed when its folder is opened again.
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
"""By what they are of, and frame of the clip."""


class SpoolError(OSError):
    """A file cannot be written; `errno`, `strerror` and `filename` are set."""


def write_masks(folder: Path, masks: Mapping[str, Mapping[int, PackedMask]]) -> Path:
    """Write masks into a new file of a folder, which is made if it is missing.

    The file is a line of JSON, the names and for each frame the height and width of the mask and its number of bytes, and then these bytes,
    as `CompressedMask` takes them.

    Raises:
        SpoolError: the disk is full or gone; nothing is left.
    """
    index: dict[str, list[tuple[int, int, int, int]]] = {}
    parts = []
    for name, of_name in masks.items():
        compressed = {frame: CompressedMask.of(mask) for frame, mask in of_name.items()}
        index[name] = [(frame, *mask.shape, mask.nbytes) for frame, mask in compressed.items()]
        parts += [mask.data for mask in compressed.values()]
    return write_bytes(folder, b"".join([json.dumps(index).encode(), b"\n", *parts]))


def write_bytes(folder: Path, data: bytes) -> Path:
    """Write what such a file holds into a new file. Raises as `write_masks`."""
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
        OSError: it cannot be read. ValueError: it is something else.
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
