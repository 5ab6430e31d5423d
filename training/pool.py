"""A pool of short clips on disk, drawn once and read by every training process.

Drawing a frame costs as much as training on it, so that clips are rendered ahead and sampled with augmentation (`training.sampling`). The
pool is a pure function of its parameters: clip n comes from its own generator.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from savbench.data.demo.planning import plan_scene
from savbench.data.demo.scene import DemoScene
from savbench.data.demo.split import DEMO_HEIGHT, DEMO_ROLES, DEMO_WIDTH
from training.cutouts import Cutout, back_and_forth, cut_out, paste
from training.figures import animate, backdrop, figure_files, read_figure
from training.natural import plan_natural_scene
from training.photos import digest_of, photo_files, read_photos
from training.real import filmed_again, read_video
from training.wear import worn

SCENE_FRAMES = 48
"""Length of a planned scene, 2 s."""
POOL_FRAMES = 16
"""Frames of it that the pool keeps."""
POOL_SIDE = 256
"""Frames are squashed to squares of this side, as the predictor squashes them to its input."""

# Keeps training scenes apart from every split of `jetson_benchmark.py demo-data`, whose seeds are (seed, number of the video).
_STREAM = {"train": 0x6E61_6E6F, "validation": 0x7661_6C69}
_NATURAL_STREAM = 0x6E61_7475
_REAL_STREAM = 0x7265_616C
_FIGURE_STREAM = 0x6669_6775
_DRESSED_STREAM = 0x6472_6573

_WORN_DRAWN, _WORN_NATURAL, _WORN_REAL, _WORN_FIGURES = 0.25, 0.85, 0.5, 0.5
_PASTED_NATURAL, _PASTED_REAL = 0.5, 0.4
"""Shares of the clips that are worn, and that cut-outs are pasted over."""
_FIGURES_IN_REAL = 0.3
"""Share of the clips of figures that have a real video for a backdrop."""
_CUTOUT_SIDE = 160
_MAX_CUTOUTS = 2
_STILLS = 3
"""Frames of each real video that serve as photographs."""

Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class PoolConfig:
    """What is in a pool: drawn scenes, then natural ones, then clips of real videos, then those of figures."""

    stream: str
    """`train` or `validation`: which scenes."""
    scenes: int
    """Number of clips of drawn scenes."""
    natural: int = 0
    """Number of clips of natural scenes, dressed in photographs."""
    photos: str = ""
    """Folder of the photographs; stills of the real videos are added to them."""
    real_clips: int = 0
    """Number of clips cut from real videos."""
    real_split: str = ""
    """Folder of a split in SA-V layout that the real clips, stills and cut-outs come from."""
    real_videos: tuple[str, ...] = ()
    """Names of its videos that may be used."""
    figures: int = 0
    """Number of clips of figures, before the photographs or the real videos."""
    figure_folder: str = ""
    """Folder of the pictures that figures are made of."""
    dressed: float = 0.0
    """Share of the figures each of whose colours is dressed in a photograph."""

    @property
    def clips(self) -> int:
        return self.scenes + self.natural + self.real_clips + self.figures


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
        ValueError: the photographs or real videos that the pool asks for are missing or of no use.
    """
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / "pool.json"
    wanted = {**asdict(config), "real_videos": list(config.real_videos), "frames": POOL_FRAMES, "side": POOL_SIDE}
    if config.natural or config.figures:
        wanted["photos"] = digest_of(photo_files(Path(config.photos)))
    if config.figures:
        wanted["figure_folder"] = digest_of(figure_files(Path(config.figure_folder)))
    if not (marker.is_file() and json.loads(marker.read_text(encoding="utf-8")) == wanted):
        marker.unlink(missing_ok=True)
        shape = (config.clips, POOL_FRAMES, POOL_SIDE, POOL_SIDE)
        np.lib.format.open_memmap(folder / "frames.npy", mode="w+", dtype=np.uint8, shape=(*shape, 3)).flush()
        np.lib.format.open_memmap(folder / "labels.npy", mode="w+", dtype=np.uint8, shape=shape).flush()
        # forked children would inherit threads of torch and OpenCV
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            for done, _ in enumerate(pool.map(_fill, [(folder, config, n) for n in range(config.clips)], chunksize=4), 1):
                if done % 100 == 0 or done == config.clips:
                    print(f"pool {config.stream}: {done} of {config.clips} clips", flush=True)
        marker.write_text(json.dumps(wanted), encoding="utf-8")
    return ClipPool(np.load(folder / "frames.npy", mmap_mode="r"), np.load(folder / "labels.npy", mmap_mode="r"))


def by_kind(pool: ClipPool, config: PoolConfig) -> tuple[ClipPool, ClipPool, ClipPool]:
    """Drawn scenes, natural scenes and clips of real videos of a pool."""
    first, second = config.scenes, config.scenes + config.natural
    drawn, natural, real = (slice(0, first), slice(first, second), slice(second, None))
    return tuple(ClipPool(pool.frames_ntssc[part], pool.labels_ntss[part]) for part in (drawn, natural, real))  # type: ignore[return-value]


def _fill(task: tuple[Path, PoolConfig, int]) -> None:
    folder, config, number = task
    cv2.setNumThreads(1)
    frames_tssc, labels_tss = draw_clip(config, number)
    np.load(folder / "frames.npy", mmap_mode="r+")[number] = frames_tssc
    np.load(folder / "labels.npy", mmap_mode="r+")[number] = labels_tss


def draw_clip(config: PoolConfig, number: int) -> tuple[Frames, Frames]:
    """Frames and labels of a clip, see `ClipPool`; of which kind follows from its number, see `PoolConfig`."""
    if number < config.scenes:
        return draw_scene(config, number)
    if number < config.scenes + config.natural:
        return draw_natural(config, number - config.scenes)
    if number < config.scenes + config.natural + config.real_clips:
        return draw_real(config, number - config.scenes - config.natural)
    return draw_figures(config, number - config.scenes - config.natural - config.real_clips)


def draw_scene(config: PoolConfig, number: int) -> tuple[Frames, Frames]:
    """A drawn clip: a window of a scene at a stride of 1, 2 or 3.

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
    frames_thwc, labels_thw = _rendered(scene, rng)
    frames_tssc, labels_tss = _squashed(frames_thwc, labels_thw)
    # the validation's scenes are those of every earlier recipe, so that scores compare
    wears = config.stream == "train" and rng.random() < _WORN_DRAWN
    return (worn(frames_tssc, rng) if wears else frames_tssc), labels_tss


def draw_natural(config: PoolConfig, number: int) -> tuple[Frames, Frames]:
    """A clip of a scene dressed in photographs, at times with real objects pasted over it, most of them worn."""
    rng = np.random.default_rng((_STREAM[config.stream], _NATURAL_STREAM, number))
    photos = (*_photos(config.photos), *_stills(config.real_split, config.real_videos))
    scene = plan_natural_scene(rng, photos, frames=SCENE_FRAMES, height=DEMO_HEIGHT, width=DEMO_WIDTH)
    frames_thwc, labels_thw = _rendered(scene, rng)
    if config.real_videos and rng.random() < _PASTED_NATURAL:
        _paste_some(frames_thwc, labels_thw, config, rng)
    frames_tssc, labels_tss = _squashed(frames_thwc, labels_thw)
    return (worn(frames_tssc, rng) if rng.random() < _WORN_NATURAL else frames_tssc), labels_tss


def draw_real(config: PoolConfig, number: int) -> tuple[Frames, Frames]:
    """A clip cut from a real video, of its frames that have masks, through a window that drifts, zooms and turns.

    A video shorter than `POOL_FRAMES` masks is run back and forth.
    """
    rng = np.random.default_rng((_REAL_STREAM, number))
    name = config.real_videos[int(rng.integers(len(config.real_videos)))]
    video = read_video(Path(config.real_split), name)
    picks = back_and_forth(len(video.labels_thw), int(rng.integers(2 * len(video.labels_thw) - 2)), POOL_FRAMES)
    frames_thwc, labels_thw = filmed_again(video, picks, (DEMO_HEIGHT, DEMO_WIDTH), rng)
    if rng.random() < _PASTED_REAL:
        _paste_some(frames_thwc, labels_thw, config, rng)
    frames_tssc, labels_tss = _squashed(frames_thwc, labels_thw)
    return (worn(frames_tssc, rng) if rng.random() < _WORN_REAL else frames_tssc), labels_tss


def draw_figures(config: PoolConfig, number: int) -> tuple[Frames, Frames]:
    """A clip of figures before a photograph, or before a real video whose objects are annotated too; half of them worn."""
    rng = np.random.default_rng((_STREAM[config.stream], _DRESSED_STREAM if config.dressed else _FIGURE_STREAM, number))
    photos = _photos(config.photos)
    if config.real_videos and rng.random() < _FIGURES_IN_REAL:
        video = read_video(Path(config.real_split), config.real_videos[int(rng.integers(len(config.real_videos)))])
        picks = back_and_forth(len(video.labels_thw), int(rng.integers(2 * len(video.labels_thw) - 2)), POOL_FRAMES)
        frames_tssc, labels_tss = _squashed(*filmed_again(video, picks, (DEMO_HEIGHT, DEMO_WIDTH), rng))
    else:
        frames_tssc = backdrop(photos[int(rng.integers(len(photos)))], rng, POOL_FRAMES, POOL_SIDE)
        labels_tss = np.zeros(frames_tssc.shape[:3], np.uint8)
    animate(frames_tssc, labels_tss, _figures(config.figure_folder), photos, rng, config.dressed)
    return (worn(frames_tssc, rng) if rng.random() < _WORN_FIGURES else frames_tssc), labels_tss


def _rendered(scene: DemoScene, rng: np.random.Generator) -> tuple[Frames, Frames]:
    """A window of a scene at a stride of 1, 2 or 3."""
    stride = int(rng.integers(1, SCENE_FRAMES // POOL_FRAMES + 1))
    start = int(rng.integers(0, SCENE_FRAMES - (POOL_FRAMES - 1) * stride))
    frames, labels = [], []
    for index in range(POOL_FRAMES):
        frame_hwc, masks_nhw = scene.render(start + index * stride)
        frames.append(frame_hwc)
        labels.append((masks_nhw * np.arange(1, len(masks_nhw) + 1, dtype=np.uint8)[:, None, None]).max(0))
    return np.stack(frames), np.stack(labels)


def _paste_some(frames_thwc: Frames, labels_thw: Frames, config: PoolConfig, rng: np.random.Generator) -> None:
    cutouts = _cutouts(config.real_split, config.real_videos)
    label = int(labels_thw.max())
    for offset in range(1, 1 + int(rng.integers(1, _MAX_CUTOUTS + 1))):
        paste(frames_thwc, labels_thw, cutouts[int(rng.integers(len(cutouts)))], label + offset, rng)


@functools.lru_cache(maxsize=1)
def _photos(folder: str) -> tuple[Frames, ...]:
    return tuple(read_photos(photo_files(Path(folder))))


@functools.lru_cache(maxsize=1)
def _figures(folder: str) -> tuple[Frames, ...]:
    return tuple(read_figure(path) for path in figure_files(Path(folder)))


@functools.lru_cache(maxsize=1)
def _stills(split: str, videos: tuple[str, ...]) -> tuple[Frames, ...]:
    stills: list[Frames] = []
    for name in videos:
        frames_thwc = read_video(Path(split), name).frames_thwc
        stills += [frames_thwc[round(place)] for place in np.linspace(0, len(frames_thwc) - 1, _STILLS)]
    return tuple(stills)


@functools.lru_cache(maxsize=1)
def _cutouts(split: str, videos: tuple[str, ...]) -> tuple[Cutout, ...]:
    found: list[Cutout] = []
    for name in videos:
        video = read_video(Path(split), name)
        for label in range(1, int(video.labels_thw.max()) + 1):
            cutout = cut_out(video.frames_thwc, video.labels_thw == label, _CUTOUT_SIDE)
            if cutout is not None:
                found.append(cutout)
    return tuple(found)


def _squashed(frames_thwc: Frames, labels_thw: Frames) -> tuple[Frames, Frames]:
    size = (POOL_SIDE, POOL_SIDE)
    shrinks = frames_thwc.shape[1] * frames_thwc.shape[2] > POOL_SIDE * POOL_SIDE
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    frames = np.stack([cv2.resize(frame, size, interpolation=way) for frame in frames_thwc])
    labels = np.stack([cv2.resize(label, size, interpolation=cv2.INTER_NEAREST) for label in labels_thw])
    return np.asarray(frames, np.uint8), np.asarray(labels, np.uint8)
