"""The clip of the self-check and the masks that `sam2_nano` gives on it in float32, recorded on a CPU.

Both lie in `recorded.npz`, the frames as JPEGs, so that they are the same wherever the check runs. When the weights of `sam2_nano` have
been trained anew, `.venv/bin/python -m savbench.selfcheck.recording` records the masks again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from savbench.data.dataset import Split, open_split
from savbench.data.listing import FRAMES_DIR, MASKS_DIR

PATH = Path(__file__).with_name("recorded.npz")
COMMAND = ".venv/bin/python -m savbench.selfcheck.recording"
OBJECTS = ("000", "001")
PROMPTS = ("points", "mask")
"""Of each object."""
CLIP, LARGE = "clip", "large"

Masks = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Recorded:
    """What the file holds."""

    jpegs: tuple[bytes, ...]
    prompts_nhw: Masks
    """Ground truth of each object on the first frame, (objects, height, width)."""
    masks_nthw: Masks
    """Of each object, (objects, frames, height, width)."""
    weights: str
    """sha256 of the weights that gave the masks."""


def load(path: Path = PATH) -> Recorded:
    """Read the file."""
    with np.load(path, allow_pickle=False) as stored:
        data, ends = stored["jpeg_bytes"].tobytes(), [int(end) for end in stored["jpeg_ends"]]
        jpegs = tuple(data[begin:end] for begin, end in zip([0, *ends], ends, strict=False))
        return Recorded(jpegs, _unpacked(stored, "prompts"), _unpacked(stored, "masks"), str(stored["weights"]))


def save(recorded: Recorded, path: Path = PATH) -> None:
    """Write the file."""
    arrays = {
        "jpeg_bytes": np.frombuffer(b"".join(recorded.jpegs), np.uint8),
        "jpeg_ends": np.cumsum([len(jpeg) for jpeg in recorded.jpegs]),
        "weights": np.array(recorded.weights),
    }
    for name, masks in (("prompts", recorded.prompts_nhw), ("masks", recorded.masks_nthw)):
        arrays |= {f"{name}_bits": np.packbits(masks), f"{name}_shape": np.array(masks.shape)}
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type] # of NumPy's declaration of its own option


def _unpacked(stored: np.lib.npyio.NpzFile, name: str) -> Masks:
    shape = tuple(int(side) for side in stored[f"{name}_shape"])
    return np.unpackbits(stored[f"{name}_bits"], count=int(np.prod(shape))).view(np.bool_).reshape(shape)


def write_split(recorded: Recorded, root: Path, videos: dict[str, int]) -> Split:
    """Write a split of the clip under several names, as a run reads it.

    Args:
        videos: how many times the clip's sides are enlarged, by name of the video.
    """
    for name, scale in videos.items():
        frames, masks = root / FRAMES_DIR / name, root / MASKS_DIR / name
        frames.mkdir(parents=True)
        for index, jpeg in enumerate(recorded.jpegs):
            (frames / f"{index:05d}.jpg").write_bytes(jpeg if scale == 1 else _enlarged(jpeg, scale))
        for object_name, mask_hw in zip(OBJECTS, recorded.prompts_nhw, strict=True):
            (masks / object_name).mkdir(parents=True)
            large_hw = mask_hw.repeat(scale, axis=0).repeat(scale, axis=1)
            (masks / object_name / "00000.png").write_bytes(_encoded(".png", large_hw.view(np.uint8) * np.uint8(255)))
    (root / "selfcheck.txt").write_text("".join(f"{name}\n" for name in videos), encoding="utf-8")
    return open_split(root)


def _enlarged(jpeg: bytes, scale: int) -> bytes:
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None  # it is in the file that lies beside
    return _encoded(".jpg", image.repeat(scale, axis=0).repeat(scale, axis=1))


def _encoded(suffix: str, image: npt.NDArray[Any]) -> bytes:
    return bytes(cv2.imencode(suffix, image)[1].tobytes())
