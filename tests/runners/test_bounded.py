"""Bounded memory: what is forgotten is what no later frame reads, and masks stay upstream's to the last bit."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from runners import RUNNERS, SHIPPED_WEIGHTS
from runners.base import BuildOptions, Clip, Frame, Prompt, RunnerError
from runners.bounded import FrameSlot, forget_outputs, whole_clip

HEIGHT, WIDTH, IMGSZ = 48, 64, 64
LENGTHS = (1, 2, 7, 8, 15, 16, 17, 130)
"""Around the 7 memories and the 16 object pointers, and far beyond them."""
Logits = npt.NDArray[np.float32]
"""(objects, height, width)."""
FULL_GRID = "SAVBENCH_FULL_GRID"

# ---- what is forgotten


def read_by(frame: int, num_maskmem: int, stride: int, num_pointers: int) -> tuple[set[int], set[int]]:
    """Tracked frames whose memory features, and whose pointers, this frame reads.

    After `_prepare_memory_conditioned_features` of sam2/modeling/sam2_base.py: the frame before, and from there back every `stride`th
    frame counted from 0; pointers of the frames before, one less than there is room for.
    """
    features = set() if num_maskmem < 2 else {frame - 1}
    latest = (frame - 2) // stride * stride
    features |= {latest - back * stride for back in range(num_maskmem - 2)}
    return features, set(range(frame - num_pointers + 1, frame))


@pytest.mark.parametrize(("num_maskmem", "stride"), [*itertools.product(range(1, 8), (1, 2, 3, 5))])
def test_what_later_frames_read_is_kept(num_maskmem: int, stride: int) -> None:
    last, num_pointers = 45, 16
    tracked: dict[int, dict[str, Any]] = {}
    for frame in range(1, last):
        tracked[frame] = {"maskmem_features": frame, "maskmem_pos_enc": [frame], "pred_masks": frame, "obj_ptr": frame}
        forget_outputs(tracked, frame, num_maskmem=num_maskmem, stride=stride, num_pointers=num_pointers)
        features, pointers = set(), set()
        for later in range(frame + 1, last):
            reads = read_by(later, num_maskmem, stride, num_pointers)
            features |= reads[0]
            pointers |= reads[1]
        held = {index for index, output in tracked.items() if output["maskmem_features"] is not None}
        assert {index for index in features if 0 < index <= frame} <= held
        assert {index for index in pointers if 0 < index <= frame} <= set(tracked)
        assert all(output["pred_masks"] is None for output in tracked.values())
        # The frames between those that a stride above 1 reads are held until the span of the memory has passed them.
        assert len(held) <= max(1, stride * (num_maskmem - 1) + 1)
        assert len(tracked) <= max(num_pointers - 1, stride * (num_maskmem - 1) + 1)


def test_a_slot_gives_the_frame_it_holds_and_no_other() -> None:
    slot = FrameSlot(9)
    assert len(slot) == 9
    with pytest.raises(RunnerError, match="asked for frame 0 while frame None is loaded; feed frames without a gap"):
        slot[0]
    image: Any = object()
    slot.put(3, image)
    assert slot[3] is image
    with pytest.raises(RunnerError, match="asked for frame 2 while frame 3"):
        slot[2]


def test_upstreams_loader_is_given_the_frames_that_are_fed(tmp_path: Path) -> None:
    files = []
    for number in range(12):
        path = tmp_path / f"{number}.JPEG"
        Image.new("L", (1, 1), 10 * number).save(path, format="JPEG")
        files.append(path)
    with whole_clip(Clip("clip", 4, 1, 1, tuple(files[2::3]))) as folder:
        listed = sorted(Path(folder).iterdir(), key=lambda path: int(path.stem))
        assert [path.name for path in listed] == ["00000.jpg", "00001.jpg", "00002.jpg", "00003.jpg"]
        assert [path.resolve() for path in listed] == files[2::3]
    assert not Path(folder).exists()
    assert len(list(tmp_path.iterdir())) == 12


def test_a_video_file_is_not_for_upstreams_loader() -> None:
    with pytest.raises(RunnerError, match="--memory upstream: the frames of clip are in a video file"), whole_clip(Clip("clip", 4, 1, 1)):
        pass


# ---- masks


@dataclass(frozen=True)
class Case:
    """One clip, and what is prompted on it."""

    frames: int
    kind: str = "mask"
    start: int = 0
    objects: int = 1
    late: bool = False
    """The second object is prompted two frames after the first instead of with it."""
    num_maskmem: int = 7
    stride: int = 1

    def prompts(self) -> dict[int, list[Prompt]]:
        """By frame."""
        prompts = {self.start: [make_prompt(self.kind, 1)]}
        if self.objects == 2:
            second = min(self.start + 2 * self.late, self.frames - 1)
            prompts.setdefault(second, []).append(make_prompt("mask", 2, top=4))
        return prompts


def grid() -> Iterator[Case]:
    """Every length with every memory and stride, and with every way to prompt; of the longest, every memory once."""
    ways = [
        (kind, middle, objects, late)
        for kind, middle, (objects, late) in itertools.product(("points", "bbox", "mask"), (0, 1), ((1, False), (2, False), (2, True)))
    ]
    turn = itertools.cycle(ways)
    settings = [
        *itertools.product(LENGTHS[:-1], range(1, 8), (1, 2, 3)),
        *((LENGTHS[-1], memories, 1 + memories % 3) for memories in range(1, 8)),
    ]
    for frames, num_maskmem, stride in settings:
        kind, middle, objects, late = next(turn)
        yield Case(frames, kind, middle * (frames // 2), objects, late, num_maskmem, stride)
    for frames, (kind, middle, objects, late) in itertools.product(LENGTHS[:-1], ways):
        yield Case(frames, kind, middle * (frames // 2), objects, late)


SAMPLE = (
    Case(1, "points"),
    Case(2, "bbox", objects=2),
    Case(8, "points", start=4, objects=2, late=True),
    Case(16, "mask", start=8, num_maskmem=1),
    Case(17, "bbox", num_maskmem=2, stride=2),
    Case(17, "mask", objects=2, late=True, num_maskmem=4, stride=3),
    Case(40, "points", start=3, num_maskmem=3, stride=2),
    Case(40, "mask", objects=2, num_maskmem=6),
)


def make_prompt(kind: str, object_id: int, top: int = 16) -> Prompt:
    if kind == "points":
        return Prompt(object_id, "points", points_n2=np.array([[22, top + 8]], np.float32))
    if kind == "bbox":
        return Prompt(object_id, "bbox", box_4=np.array([14, top, 29, top + 15], np.float32))
    mask_hw = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask_hw[top : top + 16, 14:30] = True
    return Prompt(object_id, "mask", mask_hw=mask_hw)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """JPEGs of a square that goes to and fro over a texture that drifts."""
    folder = tmp_path_factory.mktemp("clip")
    rng = np.random.default_rng(2)
    texture_hwc = rng.integers(60, 180, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    paths = []
    for index in range(max(LENGTHS)):
        frame_hwc = np.roll(texture_hwc, index, axis=1)
        left = 14 + abs((2 * index + 20) % 40 - 20)
        frame_hwc[16:32, left : left + 16] = (230, 60, 40)
        paths.append(folder / f"{index:05d}.jpg")
        Image.fromarray(frame_hwc).save(paths[-1], quality=95)
    return tuple(paths)


@pytest.fixture(scope="module")
def frames(files: tuple[Path, ...]) -> list[Frame]:
    return [np.asarray(Image.open(path).convert("RGB")) for path in files]


def build(**changed: Any) -> Any:
    """The shipped model, which is trained: what it tracks differs from frame to frame."""
    pytest.importorskip("torch", reason="needs torch")
    pytest.importorskip("sam2", reason="needs the sam2 package")
    spec = RUNNERS["sam2_nano"]
    assert spec.checkpoint is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return spec.build(BuildOptions(imgsz=IMGSZ, config=spec.config, weights=SHIPPED_WEIGHTS / spec.checkpoint, **changed))


@pytest.fixture(scope="module")
def runners(one_torch_thread: None) -> dict[int, Any]:
    """The bounded runner of each number of memories, built when it is asked for."""

    class Built(dict[int, Any]):
        def __missing__(self, num_maskmem: int) -> Any:
            self[num_maskmem] = build(num_maskmem=num_maskmem)
            return self[num_maskmem]

    return Built()


def run(runner: Any, case: Case, files: Sequence[Path], frames: Sequence[Frame]) -> list[Logits]:
    """Logits of the masks from the prompted frame on: a forgotten pointer may move them and no mask."""
    prompts = case.prompts()
    runner.open(Clip("clip", case.frames, HEIGHT, WIDTH, tuple(files[: case.frames])), frames[0])
    logits = []
    for index in range(case.start, case.frames):
        given = prompts.get(index)
        masks_nhw = runner.track(index, frames[index]) if given is None else runner.prompt(index, frames[index], given)
        logits.append(runner._logits_n1hw[:, 0].numpy().copy())
        np.testing.assert_array_equal(masks_nhw, logits[-1] > 0)
    runner.close()
    return logits


def run_upstream(predictor: Any, case: Case, files: Sequence[Path], folder: Path) -> list[Logits]:
    """The predictor by its public calls alone: its own loader, and everything kept."""
    for index, path in enumerate(files[: case.frames]):
        (folder / f"{index}.jpg").symlink_to(path)
    state = predictor.init_state(str(folder))
    prompts, found = case.prompts(), []
    ends = [*sorted(prompts), case.frames]
    for start, end in itertools.pairwise(ends):
        for prompt in prompts[start]:
            if prompt.mask_hw is not None:
                predictor.add_new_mask(state, start, prompt.object_id, prompt.mask_hw)
            elif prompt.box_4 is not None:
                predictor.add_new_points_or_box(state, start, prompt.object_id, box=prompt.box_4)
            else:
                predictor.add_new_points_or_box(state, start, prompt.object_id, points=prompt.points_n2, labels=np.ones(1, np.int32))
        propagated = predictor.propagate_in_video(state, start_frame_idx=start, max_frame_num_to_track=end - start - 1)
        found += [logits[:, 0].numpy().copy() for _, _, logits in propagated]
    return found


def check(case: Case, runner: Any, files: Sequence[Path], frames: Sequence[Frame], folder: Path) -> bool:
    """Compare a case. True where the masks are neither empty nor full, and change."""
    predictor = runner._predictor
    predictor.memory_temporal_stride_for_eval = case.stride
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs, ours = run_upstream(predictor, case, files, folder), run(runner, case, files, frames)
    finally:
        predictor.memory_temporal_stride_for_eval = 1
    assert len(ours) == len(theirs) == case.frames - case.start
    for index, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        np.testing.assert_array_equal(mine, other, f"{case}, frame {case.start + index}")
    masks = [logits[0] > 0 for logits in ours]
    return any(0 < mask.mean() < 0.9 for mask in masks) and (len(masks) < 3 or len({mask.tobytes() for mask in masks}) > 1)


@pytest.mark.parametrize("case", SAMPLE, ids=lambda case: "-".join(map(str, astuple(case))))
def test_masks_are_upstreams(case: Case, runners: dict[int, Any], files: tuple[Path, ...], frames: list[Frame], tmp_path: Path) -> None:
    assert check(case, runners[case.num_maskmem], files, frames, tmp_path)


@pytest.mark.skipif(os.environ.get(FULL_GRID) != "1", reason=f"280 clips, minutes: {FULL_GRID}=1 runs them")
@pytest.mark.slow
def test_masks_are_upstreams_over_the_whole_grid(
    runners: dict[int, Any], files: tuple[Path, ...], frames: list[Frame], tmp_path: Path
) -> None:
    lively = 0
    cases = list(grid())
    for number, case in enumerate(cases):
        folder = tmp_path / str(number)
        folder.mkdir()
        lively += check(case, runners[case.num_maskmem], files, frames, folder)
    assert lively > 0.9 * len(cases)


def test_memory_as_upstream_keeps_it(runners: dict[int, Any], files: tuple[Path, ...], frames: list[Frame]) -> None:
    case = Case(17, "mask", start=3)
    bounded = run(runners[7], case, files, frames)
    runner = build(memory="upstream")
    assert any("frames prepared by upstream's loader" in note for note in runner.applied.notes)
    # Its own loader has read the frames: what is fed later is not looked at.
    blank = [np.zeros_like(frame) for frame in frames]
    for mine, other in zip(run(runner, case, files, blank), bounded, strict=True):
        np.testing.assert_array_equal(mine, other)
    runner.open(Clip("clip", 17, HEIGHT, WIDTH, files[:17]), frames[0])
    runner.prompt(0, frames[0], [make_prompt("mask", 1)])
    for index in range(1, 17):
        runner.track(index, frames[index])
    [store] = runner._output_stores()
    assert len(store["non_cond_frame_outputs"]) == 16
    assert all(output["maskmem_features"] is not None for output in store["non_cond_frame_outputs"].values())
    assert runner.inspect().finite
    with pytest.raises(RunnerError, match="are in a video file"):
        runner.open(Clip("clip", 17, HEIGHT, WIDTH), frames[0])
    runner.close()


def test_transformers_edgetam_has_no_loader_to_compare_with() -> None:
    pytest.importorskip("torch", reason="needs torch")
    with pytest.raises(RunnerError, match=r"--memory upstream: transformers' EdgeTAM is fed frame by frame.*--edgetam_dir"):
        RUNNERS["edgetam"].build(BuildOptions(imgsz=256, memory="upstream"))
