"""A small SA-V-shaped split, generated: several moving, overlapping, leaving and returning objects with exact masks.

`make_clip` draws clips of the same family into memory, one per seed; `generate_demo_split` writes a few of them in the layout that
`savbench.data.dataset` reads. The same seed gives the same pixels as long as NumPy and OpenCV stay the same.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from savbench.data.demo.motion import ANNOTATION_STRIDE, Role
from savbench.data.demo.planning import plan_scene
from savbench.data.listing import FRAMES_DIR, MASKS_DIR, DatasetError

DEMO_SPLIT_NAME = "sav_demo"
DEMO_SEED = 0
DEMO_VIDEOS = 3
DEMO_FRAMES = 48
DEMO_HEIGHT = 240
DEMO_WIDTH = 428
DEMO_ROLES: tuple[Role, ...] = ("stay", "hide", "leave", "late")
"""What the annotated objects 000, 001, ... of every demo video do."""
MIN_DEMO_FRAMES = 24
"""Minimum number of frames for every object to show its role on annotated frames."""
MIN_DEMO_SIDE = 64

_JPEG_QUALITY = 92
_PARAMETERS_FILE = "demo_split.json"
_GENERATOR_VERSION = 1
"""Raise whenever the pixels of a seed change, so that an older split is not reused as current."""


@dataclass(frozen=True)
class DemoClip:
    """One generated clip with its ground truth."""

    frames_thwc: npt.NDArray[np.uint8]
    """(frames, height, width, 3), RGB, uint8."""
    masks_nthw: npt.NDArray[np.bool_]
    """(objects, frames, height, width), bool: the visible part of each object; no two share a pixel of a frame."""
    roles: tuple[Role, ...]
    """What each object does."""


def make_clip(
    seed: int | Sequence[int],
    frames: int = DEMO_FRAMES,
    height: int = DEMO_HEIGHT,
    width: int = DEMO_WIDTH,
    *,
    roles: Sequence[Role] | None = None,
    distractors: int | None = None,
) -> DemoClip:
    """Draw a clip into memory. A pure function of its arguments.

    Objects vary in shape (rigid, with holes, deforming, articulated), texture, size, rotation and scale; the camera pans, zooms, rolls
    and shakes; unannotated look-alikes and a pillar occlude them. For a few frames out of a long scene, or frames far apart, use
    `savbench.data.demo.planning.plan_scene` and render only those.

    Args:
        seed: one number, or several, for example (seed of the set, number of the clip).
        frames: at least 1.
        height: of the frames in pixels.
        width: of the frames in pixels.
        roles: as in `plan_scene`; None draws two to five.
        distractors: as in `plan_scene`; None draws none to two.
    """
    scene = plan_scene(np.random.default_rng(seed), frames=frames, height=height, width=width, roles=roles, distractors=distractors)
    frames_thwc = np.empty((frames, height, width, 3), np.uint8)
    masks_nthw = np.empty((len(scene.roles), frames, height, width), np.bool_)
    for index in range(frames):
        frames_thwc[index], masks_nthw[:, index] = scene.render(index)
    return DemoClip(frames_thwc, masks_nthw, scene.roles)


def generate_demo_split(
    out_dir: str | os.PathLike[str],
    *,
    seed: int = DEMO_SEED,
    videos: int = DEMO_VIDEOS,
    frames: int = DEMO_FRAMES,
    height: int = DEMO_HEIGHT,
    width: int = DEMO_WIDTH,
) -> Path:
    """Write a demo split and return its folder, ready for `--split_dir`.

    Every video has four annotated objects (see `DEMO_ROLES`) and one look-alike that is not annotated. The list of videos is written
    last, so that an interrupted split is not mistaken for a complete one; running again completes it. A folder that already holds the
    complete split with the same parameters is left unchanged.

    Args:
        out_dir: created if missing.
        seed: 0 or more; each video has its own generator of (seed, number of the video), so a smaller split is a prefix of a larger one.
        videos: number of videos.
        frames: frames per video, at least `MIN_DEMO_FRAMES`.
        height: of the frames in pixels, at least `MIN_DEMO_SIDE`.
        width: of the frames in pixels, at least `MIN_DEMO_SIDE`.

    Raises:
        ValueError: a parameter is out of range.
        DatasetError: the folder holds something else, or cannot be written.
    """
    _check(seed=seed, videos=videos, frames=frames, height=height, width=width)
    root = Path(out_dir)
    parameters = {"generator": _GENERATOR_VERSION, "seed": seed, "videos": videos, "frames": frames, "height": height, "width": width}
    try:
        if _is_complete(root, parameters):
            return root
        root.mkdir(parents=True, exist_ok=True)
        _write_text(root / _PARAMETERS_FILE, json.dumps(parameters, indent=2) + "\n")
        names = [f"demo_{number:03d}" for number in range(videos)]
        for number, name in enumerate(names):
            _write_video(root, name, (seed, number), frames, height, width)
        _write_text(root / f"{DEMO_SPLIT_NAME}.txt", "".join(f"{name}\n" for name in names))
    except OSError as error:
        raise DatasetError(f"{error.filename or root}: cannot write the demo split ({error.strerror}); choose another folder") from error
    return root


def _check(*, seed: int, videos: int, frames: int, height: int, width: int) -> None:
    if seed < 0:
        raise ValueError(f"seed {seed}: must be 0 or more")
    if videos < 1:
        raise ValueError(f"videos {videos}: must be 1 or more")
    if frames < MIN_DEMO_FRAMES:
        raise ValueError(f"frames {frames}: must be {MIN_DEMO_FRAMES} or more, or objects have no time to leave and return")
    if min(height, width) < MIN_DEMO_SIDE:
        raise ValueError(f"size {width}x{height}: each side must be {MIN_DEMO_SIDE} pixels or more")


def _is_complete(root: Path, parameters: dict[str, int]) -> bool:
    """True if the folder holds exactly this split, False if it may be written to.

    Raises:
        DatasetError: it holds something else.
    """
    if not root.exists():
        return False
    if not root.is_dir():
        raise DatasetError(f"{root}: not a folder; choose another one for the demo split")
    try:
        found = json.loads((root / _PARAMETERS_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        if any(child.name != f"{_PARAMETERS_FILE}.part" for child in root.iterdir()):
            raise DatasetError(f"{root}: not empty and not a demo split; choose another folder, nothing here is overwritten") from None
        return False
    except ValueError as error:
        raise DatasetError(f"{root / _PARAMETERS_FILE}: unreadable ({error}); delete {root} and generate the split again") from error
    if found != parameters:
        raise DatasetError(f"{root}: holds another demo split ({found}, asked for {parameters}); choose another folder or delete this one")
    return (root / f"{DEMO_SPLIT_NAME}.txt").is_file()


def _write_video(root: Path, name: str, seed: Sequence[int], frames: int, height: int, width: int) -> None:
    scene = plan_scene(np.random.default_rng(seed), frames=frames, height=height, width=width, roles=DEMO_ROLES, distractors=1)
    frames_dir = root / FRAMES_DIR / name
    frames_dir.mkdir(parents=True, exist_ok=True)
    mask_dirs = [root / MASKS_DIR / name / f"{number:03d}" for number in range(len(scene.roles))]
    for folder in mask_dirs:
        folder.mkdir(parents=True, exist_ok=True)
    for index in range(frames):
        frame_hwc, masks_nhw = scene.render(index)
        Image.fromarray(frame_hwc).save(frames_dir / f"{index:05d}.jpg", quality=_JPEG_QUALITY)
        if index % ANNOTATION_STRIDE == 0:
            for folder, mask_hw in zip(mask_dirs, masks_nhw, strict=True):
                Image.fromarray(mask_hw.astype(np.uint8) * 255).save(folder / f"{index:05d}.png")


def _write_text(path: Path, text: str) -> None:
    """Write a file atomically."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
