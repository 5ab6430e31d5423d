"""A pool of short clips on disk, drawn once and read by every training process.

Drawing a frame costs as much as training on it, so that scenes are rendered ahead and sampled with augmentation (`nano.sampling`). The
pool is a pure function of its parameters: scene n comes from its own generator, so that a smaller pool is the beginning of a larger one.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from savbench.data.dataset import FRAMES_DIR, MASKS_DIR
from savbench.data.demo.planning import plan_scene
from savbench.data.demo.split import DEMO_HEIGHT, DEMO_ROLES, DEMO_WIDTH

SCENE_FRAMES = 48
"""Length of a planned scene, 2 s."""
POOL_FRAMES = 16
"""Frames of it that the pool keeps."""
POOL_SIDE = 256
"""Frames are squashed to squares of this side, as the predictor squashes them to its input."""

# Keeps training scenes apart from every split of `jetson_benchmark.py demo-data`, whose seeds are (seed, number of the video).
_STREAM = {"train": 0x6E61_6E6F, "validation": 0x7661_6C69}
_REAL_STREAM = 0x7265_616C

Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class PoolConfig:
    """What is in a pool."""

    stream: str
    """`train` or `validation`: which scenes."""
    scenes: int
    """Number of synthetic clips."""
    real_clips: int = 0
    """Number of clips cut from real videos, after the synthetic ones."""
    real_split: str = ""
    """Folder of a split in SA-V layout that the real clips come from."""
    real_videos: tuple[str, ...] = ()
    """Names of its videos that may be used."""

    @property
    def clips(self) -> int:
        return self.scenes + self.real_clips


@dataclass(frozen=True)
class ClipPool:
    """Arrays of a pool, mapped from disk."""

    frames_ntssc: Frames
    """(clips, POOL_FRAMES, POOL_SIDE, POOL_SIDE, 3), RGB, uint8."""
    labels_ntss: Frames
    """(clips, POOL_FRAMES, POOL_SIDE, POOL_SIDE), uint8: 0 for the background, k + 1 for object k."""

    @property
    def clips(self) -> int:
        return len(self.frames_ntssc)


def open_pool(folder: Path, config: PoolConfig, workers: int) -> ClipPool:
    """Map a pool, drawing it first where the folder does not hold this very one.

    Args:
        folder: where it is kept, about 4 MiB a clip.
        workers: processes that draw.

    Raises:
        ValueError: real clips are asked for and no video has enough annotated frames.
    """
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / "pool.json"
    wanted = {**asdict(config), "real_videos": list(config.real_videos), "frames": POOL_FRAMES, "side": POOL_SIDE}
    if not (marker.is_file() and json.loads(marker.read_text(encoding="utf-8")) == wanted):
        marker.unlink(missing_ok=True)
        shape = (config.clips, POOL_FRAMES, POOL_SIDE, POOL_SIDE)
        np.lib.format.open_memmap(folder / "frames.npy", mode="w+", dtype=np.uint8, shape=(*shape, 3)).flush()
        np.lib.format.open_memmap(folder / "labels.npy", mode="w+", dtype=np.uint8, shape=shape).flush()
        # forked children would inherit threads of torch and OpenCV
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            for done, _ in enumerate(pool.imap_unordered(_fill, [(folder, config, n) for n in range(config.clips)], chunksize=4), 1):
                if done % 100 == 0 or done == config.clips:
                    print(f"pool {config.stream}: {done} of {config.clips} clips", flush=True)
        marker.write_text(json.dumps(wanted), encoding="utf-8")
    return ClipPool(np.load(folder / "frames.npy", mmap_mode="r"), np.load(folder / "labels.npy", mmap_mode="r"))


def _fill(task: tuple[Path, PoolConfig, int]) -> None:
    folder, config, number = task
    cv2.setNumThreads(1)
    draw = draw_scene if number < config.scenes else draw_real
    frames_tssc, labels_tss = draw(config, number)
    np.load(folder / "frames.npy", mmap_mode="r+")[number] = frames_tssc
    np.load(folder / "labels.npy", mmap_mode="r+")[number] = labels_tss


def draw_scene(config: PoolConfig, number: int) -> tuple[Frames, Frames]:
    """Frames and labels of a synthetic clip, see `ClipPool`: a window of a scene at a stride of 1, 2 or 3.

    Every other scene is cast as those of demo splits are; the rest have two to five objects of any role and up to two look-alikes.
    """
    rng = np.random.default_rng((_STREAM[config.stream], number))
    as_demo = number % 2 == 0
    scene = plan_scene(
        rng,
        frames=SCENE_FRAMES,
        height=DEMO_HEIGHT,
        width=DEMO_WIDTH,
        roles=DEMO_ROLES if as_demo else None,
        distractors=1 if as_demo else None,
    )
    stride = int(rng.integers(1, SCENE_FRAMES // POOL_FRAMES + 1))
    start = int(rng.integers(0, SCENE_FRAMES - (POOL_FRAMES - 1) * stride))
    frames_tssc = np.empty((POOL_FRAMES, POOL_SIDE, POOL_SIDE, 3), np.uint8)
    labels_tss = np.empty((POOL_FRAMES, POOL_SIDE, POOL_SIDE), np.uint8)
    for index in range(POOL_FRAMES):
        frame_hwc, masks_nhw = scene.render(start + index * stride)
        label_hw = (masks_nhw * np.arange(1, len(masks_nhw) + 1, dtype=np.uint8)[:, None, None]).max(0)
        frames_tssc[index], labels_tss[index] = _squash(frame_hwc, label_hw)
    return frames_tssc, labels_tss


def draw_real(config: PoolConfig, number: int) -> tuple[Frames, Frames]:
    """Frames and labels of a clip cut from a real video, see `ClipPool`: a random crop of the frames that have masks.

    A video shorter than `POOL_FRAMES` masks is run back and forth.
    """
    rng = np.random.default_rng((_REAL_STREAM, number))
    video = config.real_videos[int(rng.integers(len(config.real_videos)))]
    root = Path(config.real_split)
    objects = sorted(path for path in (root / MASKS_DIR / video).iterdir() if path.is_dir())
    masks = sorted(objects[0].glob("*.png"))
    if len(masks) < 2:
        raise ValueError(f"{objects[0]}: has {len(masks)} masks; name a video with two or more")
    there_and_back = [*range(len(masks)), *range(len(masks) - 2, 0, -1)]
    start = int(rng.integers(len(there_and_back)))
    crop = rng.uniform(0.55, 1.0)
    place_x, place_y = rng.uniform(0, 1, 2)
    frames_tssc = np.empty((POOL_FRAMES, POOL_SIDE, POOL_SIDE, 3), np.uint8)
    labels_tss = np.empty((POOL_FRAMES, POOL_SIDE, POOL_SIDE), np.uint8)
    for index in range(POOL_FRAMES):
        mask_path = masks[there_and_back[(start + index) % len(there_and_back)]]
        frame_hwc = _read(root / FRAMES_DIR / video / f"{mask_path.stem}.jpg", cv2.IMREAD_COLOR)[..., ::-1]
        label_hw: Frames = np.zeros(frame_hwc.shape[:2], np.uint8)
        for object_number, folder in enumerate(objects, 1):
            label_hw[_read(folder / mask_path.name, cv2.IMREAD_GRAYSCALE) > 0] = object_number
        full_height, full_width = frame_hwc.shape[:2]
        height, width = round(crop * full_height), round(crop * full_width)
        top, left = round(place_y * (full_height - height)), round(place_x * (full_width - width))
        window = (slice(top, top + height), slice(left, left + width))
        frames_tssc[index], labels_tss[index] = _squash(np.ascontiguousarray(frame_hwc[window]), label_hw[window])
    return frames_tssc, labels_tss


def _read(path: Path, flags: int) -> Frames:
    image = cv2.imread(os.fspath(path), flags)
    if image is None:
        raise ValueError(f"{path}: cannot be read as an image")
    return np.asarray(image, np.uint8)


def _squash(frame_hwc: Frames, label_hw: Frames) -> tuple[Frames, Frames]:
    size = (POOL_SIDE, POOL_SIDE)
    shrinks = frame_hwc.shape[0] * frame_hwc.shape[1] > POOL_SIDE * POOL_SIDE
    frame = cv2.resize(frame_hwc, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    label = cv2.resize(label_hw, size, interpolation=cv2.INTER_NEAREST)
    return np.asarray(frame, np.uint8), np.asarray(label, np.uint8)
