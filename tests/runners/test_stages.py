"""Spans of a call with known times, hooks that leave nothing behind, and the stages of every family."""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from runners import RUNNERS, nvtx, stages  # noqa: E402
from runners.base import STAGES, BuildOptions, Clip, Frame, FrameReport, Masks, Prompt, RunnerError, VideoRunner  # noqa: E402
from runners.stages import ObjectHook, SpanClock, StageHook, Stages  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

CPU = torch.device("cpu")
HEIGHT, WIDTH, FRAMES = 64, 96, 3
MEMORY_STAGES = {"memory_attention", "memory_encoder", "hole_filling"}


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is a second later whenever it is read."""
    ticks = itertools.count()
    monkeypatch.setattr(stages, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))


@pytest.mark.usefixtures("ticking")
def test_a_stage_within_another_counts_once() -> None:
    clock = SpanClock(CPU)
    clock.start()
    with clock.stage("mask_decoder"), clock.stage("hole_filling"):
        pass
    clock.stop()
    assert clock.spans_ms() == [
        ("other", None, 1000.0), ("mask_decoder", None, 1000.0), ("hole_filling", None, 1000.0), ("mask_decoder", None, 1000.0),
        ("other", None, 1000.0),
    ]  # fmt: skip


@pytest.mark.usefixtures("ticking")
def test_objects_and_stages_cross() -> None:
    clock = SpanClock(CPU)
    clock.start()
    with clock.object(0):
        with clock.stage("image_encoder"):
            pass
        with clock.stage("mask_decoder"):
            pass
    with clock.object(1):
        pass
    clock.stop()
    assert [(stage, index) for stage, index, _ in clock.spans_ms()] == [
        ("other", None), ("other", 0), ("image_encoder", 0), ("other", 0), ("mask_decoder", 0), ("other", 0), ("other", None), ("other", 1),
        ("other", None),
    ]  # fmt: skip


def test_on_a_gpu_events_are_recorded_again_and_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    ticks = itertools.count()

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing
            said.append("new")

        def record(self, stream: object) -> None:
            self.at = next(ticks)

        def synchronize(self) -> None:
            said.append("wait")

        def elapsed_time(self, other: Event) -> float:
            return float(other.at - self.at)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "stream")
    clock = SpanClock(torch.device("cuda"))
    for _ in range(2):
        clock.start()
        with clock.stage("image_encoder"):
            pass
        clock.stop()
    assert said == ["new"] * 4
    assert clock.spans_ms() == [("other", None, 1.0), ("image_encoder", None, 1.0), ("other", None, 1.0)]
    assert said == [*["new"] * 4, "wait"]


class Model:
    """Two functions to hook, one of them for each object."""

    def encode(self) -> str:
        return "encoded"

    def decode(self, index: int) -> int:
        if index < 0:
            raise ValueError("no such object")
        return index


class HookedRunner:
    """Encodes, then decodes each object."""

    def __init__(self, *, timed: bool) -> None:
        self.model = Model()
        hooks = [StageHook(self.model, "encode", "image_encoder"), StageHook(self.model, "decode", "mask_decoder")]
        self.stages = Stages(self, CPU, hooks, ObjectHook(self.model, "decode", lambda index: index), timed=timed)

    def open(self) -> None:
        pass

    def prompt(self, frame_index: int, objects: list[int]) -> list[int]:
        self.stages.watch_objects(len(objects))
        return self._advance(objects)

    def track(self, frame_index: int, objects: list[int]) -> list[int]:
        return self._advance(objects)

    def _advance(self, objects: list[int]) -> list[int]:
        self.model.encode()
        return [self.model.decode(index) for index in objects]

    def close(self) -> None:
        self.stages.forget_objects()


def test_nothing_is_hooked_where_nothing_is_wanted() -> None:
    runner = HookedRunner(timed=False)
    assert runner.prompt(0, [0]) == [0]
    assert set(vars(runner)) == {"model", "stages"}
    assert vars(runner.model) == {}
    assert (runner.stages.stages_ms(), runner.stages.objects_ms(1)) == ({}, ())


@pytest.mark.usefixtures("ticking")
def test_stages_sum_to_the_call() -> None:
    runner = HookedRunner(timed=True)
    assert runner.track(0, [0]) == [0]
    assert runner.stages.stages_ms() == {"image_encoder": 1000.0, "mask_decoder": 1000.0, "other": 3000.0}


@pytest.mark.usefixtures("ticking")
def test_objects_are_timed_where_there_are_several_and_only_then() -> None:
    runner = HookedRunner(timed=False)
    runner.prompt(0, [0, 1])
    assert runner.stages.objects_ms(2) == ()  # the first call came before anyone knew of two
    runner.track(1, [0, 1])
    assert runner.stages.objects_ms(2) == (1000.0, 1000.0)
    assert runner.stages.stages_ms() == {}
    runner.close()
    runner.prompt(0, [0])
    assert runner.stages.objects_ms(1) == ()
    assert set(vars(runner)) == {"model", "stages"}


@pytest.mark.usefixtures("ticking")
def test_objects_that_join_in_mid_clip_are_not_given_the_times_of_the_clip_before() -> None:
    runner = HookedRunner(timed=False)
    runner.prompt(0, [0, 1, 2])
    runner.track(1, [0, 1, 2])
    runner.close()
    runner.prompt(0, [0])
    runner.prompt(1, [0, 1])
    assert runner.stages.objects_ms(2) == ()
    runner.track(2, [0, 1])
    assert runner.stages.objects_ms(2) == (1000.0, 1000.0)


def test_a_call_that_raises_leaves_no_hook_behind() -> None:
    runner = HookedRunner(timed=True)
    with pytest.raises(ValueError, match="no such object"):
        runner.track(0, [-1])
    assert vars(runner.model) == {}
    runner.track(0, [0])
    assert set(runner.stages.stages_ms()) == {"image_encoder", "mask_decoder", "other"}


def test_what_was_in_place_of_a_function_comes_back() -> None:
    runner = HookedRunner(timed=True)
    runner.model.encode = lambda: "replaced"  # type: ignore[method-assign]
    mine = runner.model.encode
    runner.track(0, [0])
    assert runner.model.encode is mine


def test_a_function_that_upstream_has_renamed_is_an_error() -> None:
    with pytest.raises(RunnerError, match=r"upstream no longer has Model\._decode"):
        Stages(HookedRunner(timed=False), CPU, [StageHook(Model(), "_decode", "mask_decoder")])


def test_ranges_are_named_after_frames_stages_and_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    fake = SimpleNamespace(range_push=said.append, range_pop=lambda: said.append("pop"))
    monkeypatch.setattr(nvtx, "ranges", lambda: fake)
    runner = HookedRunner(timed=False)
    runner.open()
    runner.track(7, [0])
    with nvtx.nvtx_range("decode"):
        pass
    assert said == ["open", "pop", "frame 7", "image_encoder", "pop", "mask_decoder", "pop", "pop", "decode", "pop"]
    assert runner.stages.stages_ms() == {}


def test_without_the_variable_there_are_no_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAVBENCH_NVTX", raising=False)
    nvtx.ranges.cache_clear()
    assert nvtx.ranges() is None
    assert nvtx.nvtx_range("one") is nvtx.nvtx_range("other")


# the families ---------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def frames() -> list[Frame]:
    rng = np.random.default_rng(0)
    background = rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return [np.roll(background, 2 * index, axis=1) for index in range(FRAMES)]


def prompts(count: int) -> list[Prompt]:
    masks = np.zeros((count, HEIGHT, WIDTH), np.bool_)
    for index, mask_hw in enumerate(masks):
        mask_hw[20:44, 10 + 30 * index : 34 + 30 * index] = True
    return [Prompt(index + 1, "mask", mask_hw=mask_hw) for index, mask_hw in enumerate(masks)]


def run(runner: VideoRunner, count: int) -> tuple[list[Masks], list[FrameReport], list[float]]:
    """Masks of all frames; reports and milliseconds of the tracked ones."""
    fed = frames()
    runner.open(Clip("clip", FRAMES, HEIGHT, WIDTH), fed[0])
    masks, reports, times = [runner.prompt(0, fed[0], prompts(count))], [], []
    for index in range(1, FRAMES):
        begun = time.perf_counter()
        masks.append(runner.track(index, fed[index]))
        times.append((time.perf_counter() - begun) * 1e3)
        reports.append(runner.inspect())
    runner.close()
    return masks, reports, times


@pytest.mark.parametrize(
    ("model", "imgsz", "needs", "stages_of"),
    [
        ("sam2_tiny", 64, "sam2", set(STAGES)),
        ("edgetam", 256, "timm", set(STAGES)),
        ("sam1_base", 64, "torch", set(STAGES) - MEMORY_STAGES),
        ("static", None, "cv2", {"resize_copy", "other"}),
        ("flow", None, "cv2", {"resize_copy", "other"}),
    ],
)
def test_stages_of_a_family(model: str, imgsz: int | None, needs: str, stages_of: set[str]) -> None:
    pytest.importorskip(needs, reason=f"needs {needs}")
    spec = RUNNERS[model]

    def build(**options: Any) -> VideoRunner:
        return spec.build(BuildOptions(imgsz=imgsz, config=spec.config, **options))

    plain, staged = build(), build(stages=True)
    count = 2
    masks, off, _ = run(plain, count)
    masks_staged, on, times = run(staged, count)
    for mine, other in zip(masks_staged, masks, strict=True):
        np.testing.assert_array_equal(mine, other)
    assert all(report.stages_ms == {} for report in off)
    for report, call_ms in zip(on, times, strict=True):
        assert list(report.stages_ms) == [stage for stage in STAGES if stage in stages_of]
        assert all(ms > 0 for ms in report.stages_ms.values())
        assert sum(report.stages_ms.values()) <= call_ms
    # of one frame: another process may come between the two clocks
    assert min(call_ms - sum(report.stages_ms.values()) - 0.03 * call_ms - 0.05 for report, call_ms in zip(on, times, strict=True)) <= 0
    one_by_one = model in ("sam2_tiny", "edgetam")
    for report in (*off, *on):
        assert len(report.objects_ms) == (count if one_by_one else 0)
    if one_by_one:
        # the first object's call contains the image encoder, which is no object's own
        for report in on:
            own = sum(report.stages_ms[stage] for stage in ("memory_attention", "mask_decoder", "memory_encoder", "hole_filling"))
            assert own <= sum(report.objects_ms) <= own + report.stages_ms["other"]
        _, alone, _ = run(plain, 1)
        assert all(report.objects_ms == () for report in alone)
        assert "track" not in vars(plain)
