"""Sessions of one and of several tracks, with a runner whose masks and times are known by heart."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_split import TinySplit, rectangle

from runners.base import Applied, Clip, CompileReport, Frame, FrameReport, Masks, Prompt
from savbench.data.dataset import NothingToTrackError, open_split
from savbench.data.feed import Feed, PromptMaker, Track, sessions_of
from savbench.data.masks import CompressedMask
from savbench.measure.devices import PlainCpu
from savbench.measure.measured import Measured
from savbench.measure.session import SessionSettings, observe_kernels, track_together
from savbench.results.frame_rows import FrameRow
from savbench.results.rows import SummaryRow

SETTINGS = SessionSettings(autocast_dtype="none", attention="none", warmup_frames=2)


class CountingRunner:
    """Reports 10 ns of its own for the first object, 20 for the second; an object's mask shows its id and the number of frames since."""

    applied = Applied(implementation="counting", device="cpu", imgsz=None, weights="none")

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._since: dict[int, int] = {}
        self._size = (0, 0)

    def open(self, clip: Clip, first_frame_hwc: Frame) -> None:
        self.calls.append("open")
        self._since, self._size = {}, (clip.height, clip.width)

    def prompt(self, frame_index: int, frame_hwc: Frame, prompts: Sequence[Prompt]) -> Masks:
        self.calls.append(f"prompt {frame_index} {','.join(f'{prompt.object_id}:{prompt.kind}' for prompt in prompts)}")
        self._since.update({prompt.object_id: frame_index for prompt in prompts})
        return self._masks(frame_index)

    def track(self, frame_index: int, frame_hwc: Frame) -> Masks:
        self.calls.append(f"track {frame_index}")
        return self._masks(frame_index)

    def _masks(self, frame_index: int) -> Masks:
        masks_nhw = np.zeros((len(self._since), *self._size), np.bool_)
        for row, (object_id, start) in enumerate(self._since.items()):
            masks_nhw[row, object_id, : frame_index - start + 1] = True
        return masks_nhw

    def inspect(self) -> FrameReport:
        return FrameReport(parts_ms={"model_ms": 0.5}, objects_ms=tuple(1e-5 * object_id for object_id in self._since))

    def close(self) -> None:
        self._since = {}


class Told:
    """What was measured, and the rows that tell it."""

    def __init__(self, measured: Measured, track: Track) -> None:
        self.row = measured.row(SummaryRow(prompt=track.prompt.kind))
        self.frames = measured.frame_rows(("arm", "video", track.obj.object))
        self.masks, self.spans = measured.masks, measured.spans


def session(split: TinySplit, video_name: str, requests: Sequence[tuple[str, str]], **changed: object) -> tuple[list[Told], list[str]]:
    """Track (object, prompt kind) together; also returns the calls of the timed passes."""
    settings = SessionSettings(**{**vars(SETTINGS), **changed})
    video = open_split(split.root).video(video_name)
    maker = PromptMaker(video, settings.num_points, settings.frame_stride)
    tracks = [maker.track(video.object(name), kind) for name, kind in requests]  # type: ignore[arg-type]
    (together,) = sessions_of(tracks, settings.frame_stride, takes_late_objects=True)
    runner = CountingRunner()
    tracked = track_together(runner, PlainCpu(), video, together, settings)
    return [Told(one, track) for one, track in zip(tracked, together, strict=True)], runner.calls[runner.calls.index("open", 1) :]


def width_of(mask: CompressedMask) -> int:
    return int(mask.unpack().sum())


def test_one_track_alone_shares_nothing(tiny_split: TinySplit) -> None:
    (tracked,), calls = session(tiny_split, "alpha", [("000", "bbox")])
    assert calls == ["open", "prompt 0 1:bbox", *(f"track {index}" for index in range(1, 13))]
    row = tracked.row
    assert (row.frames, row.passes, row.warmup_frames) == (12, 1, 2)
    assert (row.shared, row.session_tracks, row.session_latency_ms, row.shared_ms) == ("", None, None, None)
    assert [(frame.frame, frame.repeat, frame.session_latency_ms) for frame in tracked.frames] == [(i, 0, None) for i in range(1, 13)]
    assert [frame.latency_ms for frame in tracked.frames] == pytest.approx([(end - begin) * 1e3 for begin, end in tracked.spans])


def test_objects_of_a_session_keep_their_own_time_and_their_own_masks(tiny_split: TinySplit) -> None:
    (first, late), calls = session(tiny_split, "alpha", [("000", "mask"), ("001", "mask")])
    assert calls[:6] == ["open", "prompt 0 1:mask", "track 1", "track 2", "track 3", "prompt 4 2:mask"]
    # the frame on which the second object is prompted is tracked, and timed for nobody
    assert [frame.frame for frame in first.frames] == [1, 2, 3, *range(5, 13)]
    assert [frame.frame for frame in late.frames] == list(range(5, 13))
    for tracked, others_ms in ((first, 2e-5), (late, 1e-5)):
        row = tracked.row
        assert row.shared == "2 objects in one session, the image encoder once for all"
        assert row.session_tracks == 2
        for frame in tracked.frames:
            both = frame.frame is not None and frame.frame >= 5
            assert frame.session_latency_ms is not None
            assert frame.latency_ms == pytest.approx(frame.session_latency_ms - (others_ms if both else 0.0))
        assert row.latency_ms == pytest.approx(np.mean([frame.latency_ms or 0 for frame in tracked.frames]))
    assert late.row.session_latency_ms is not None
    assert late.row.shared_ms == pytest.approx(late.row.session_latency_ms - 3e-5)
    unpacked = {frame: CompressedMask.of(mask).unpack() for frame, mask in late.masks.items()}
    assert list(unpacked) == [4, 8, 12]
    assert [int(mask_hw[2].sum()) for mask_hw in unpacked.values()] == [1, 5, 9]
    assert not any(mask_hw[1].any() for mask_hw in unpacked.values())
    assert [width_of(CompressedMask.of(mask)) for mask in first.masks.values()] == [1, 5, 9, 13]


def test_prompts_of_one_object_share_a_session(tiny_split: TinySplit) -> None:
    tracked, calls = session(tiny_split, "alpha", [("000", "points"), ("000", "bbox"), ("000", "mask")])
    assert calls[1] == "prompt 0 1:points,2:bbox,3:mask"
    assert [one.row.prompt for one in tracked] == ["points", "bbox", "mask"]
    assert {one.row.shared for one in tracked} == {"3 prompts in one session, the image encoder once for all"}
    assert [one.row.num_points for one in tracked] == [1, None, None]


def test_a_batch_has_no_time_of_its_own(tiny_split: TinySplit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CountingRunner, "inspect", lambda self: FrameReport())
    (first, _), _ = session(tiny_split, "alpha", [("000", "mask"), ("001", "mask")])
    assert first.row.shared == "2 objects in one session, as one batch, whose time is everyone's"
    assert first.row.latency_ms == first.row.session_latency_ms == first.row.shared_ms


@pytest.mark.parametrize(("limits", "passes"), [({"min_frames": 12}, 1), ({"min_frames": 13}, 2), ({"min_frames": 30}, 3), ({}, 1)])
def test_a_clip_is_tracked_again_until_enough_frames_are_timed(tiny_split: TinySplit, limits: dict[str, int], passes: int) -> None:
    (tracked,), calls = session(tiny_split, "alpha", [("000", "mask")], **limits)
    assert tracked.row.passes == passes
    assert tracked.row.frames == len(tracked.frames) == len(tracked.spans) == 12 * passes
    assert calls.count("open") == passes
    assert [(frame.repeat, frame.frame) for frame in tracked.frames] == [(p, i) for p in range(passes) for i in range(1, 13)]


def test_a_clip_is_tracked_again_until_its_frames_took_long_enough(tiny_split: TinySplit) -> None:
    (once,), _ = session(tiny_split, "alpha", [("000", "mask")])
    enough_s = 20 * sum(end - begin for begin, end in once.spans)
    (tracked,), _ = session(tiny_split, "alpha", [("000", "mask")], min_time_s=enough_s)
    timed_s = [end - begin for begin, end in tracked.spans]
    assert sum(timed_s) >= enough_s > sum(timed_s[:-12])


class HastyRunner(CountingRunner):
    """Its clock sees little of a call, or more than there is of it."""

    def __init__(self, model_ms: float) -> None:
        super().__init__()
        self._model_ms = model_ms

    def inspect(self) -> FrameReport:
        parts_ms = {"preprocess_ms": 0.0, "model_ms": self._model_ms, "output_ms": 0.0}
        return FrameReport(parts_ms=parts_ms, stages_ms={"image_encoder": self._model_ms, "other": 0.0})


def alone(split: TinySplit, runner: CountingRunner, *, min_frames: int = 0) -> tuple[Told, list[tuple[str, float]]]:
    """Object 000 of alpha, and the phases that were told; the runner's calls have them too."""
    video = open_split(split.root).video("alpha")
    track = PromptMaker(video, 1, 1).track(video.object("000"), "mask")
    phases: list[tuple[str, float]] = []

    def on_phase(phase: str, t_s: float) -> None:
        phases.append((phase, t_s))
        runner.calls.append(f"phase {phase}")

    settings = replace(SETTINGS, min_frames=min_frames)
    (measured,) = track_together(runner, PlainCpu(), video, [track], settings, on_phase=on_phase)
    return Told(measured, track), phases


def test_parts_and_stages_sum_to_the_call_whatever_passes_between_the_clocks(tiny_split: TinySplit) -> None:
    tracked, _ = alone(tiny_split, HastyRunner(1e-5))
    measured: list[FrameRow | SummaryRow] = [*tracked.frames, tracked.row]
    for of in measured:
        assert sum(of.parts_ms.values()) == pytest.approx(of.latency_ms, rel=1e-9)
        assert sum(of.stages_ms.values()) == pytest.approx(of.latency_ms, rel=1e-9)
        assert of.parts_ms["model_ms"] == of.stages_ms["image_encoder"] == pytest.approx(1e-5)


def test_no_part_is_negative_where_the_runners_clock_runs_ahead(tiny_split: TinySplit) -> None:
    tracked, _ = alone(tiny_split, HastyRunner(1e6))
    assert {frame.parts_ms["output_ms"] for frame in tracked.frames} == {frame.stages_ms["other"] for frame in tracked.frames} == {0.0}


def test_the_timed_phase_is_told_before_the_first_timed_frame_of_each_pass(tiny_split: TinySplit) -> None:
    runner = CountingRunner()
    tracked, phases = alone(tiny_split, runner, min_frames=24)
    assert [phase for phase, _ in phases] == ["warm-up", "", "timed", "", "timed", ""]
    timed_at = [index for index, call in enumerate(runner.calls) if call == "phase timed"]
    assert [runner.calls[index - 1 : index + 2] for index in timed_at] == [["prompt 0 1:mask", "phase timed", "track 1"]] * 2
    assert [t_s for _, t_s in phases] == sorted(t_s for _, t_s in phases)
    first, last = tracked.spans[0], tracked.spans[11]
    assert phases[2][1] <= first[0]
    assert phases[3][1] == last[1]


def test_the_process_has_held_at_least_what_it_held_while_frames_were_timed(tiny_split: TinySplit) -> None:
    tracked, _ = alone(tiny_split, CountingRunner())
    # the kernel keeps its count of pages per thread and adds them up now and then
    assert (tracked.row.process_peak_rss_MiB or 0) >= (tracked.row.cpu_peak_rss_MiB or 0) - 1


def test_the_progress_counts_every_frame_once_and_names_it(tiny_split: TinySplit) -> None:
    video = open_split(tiny_split.root).video("beta")
    track = PromptMaker(video, 1, 1).track(video.object("000"), "mask")
    told: list[tuple[int, int, int]] = []
    settings = SessionSettings(autocast_dtype="none", attention="none", warmup_frames=2, min_frames=5)
    track_together(CountingRunner(), PlainCpu(), video, [track], settings, lambda *progress: told.append(progress))
    assert told == [(1, 7, 0), (2, 7, 1), *((3 + i, 7, i) for i in range(5)), *((8 + i, 12, i) for i in range(5))]


@pytest.fixture
def several(tmp_path: Path) -> TinySplit:
    """A clip whose three objects appear on frames 0, 4 and 8."""
    split = TinySplit(tmp_path / "several")
    absent, there = np.zeros((24, 32), np.bool_), rectangle(4, 4, 6, 6)
    split.write_video("clip", 13, {"000": [there] * 4, "001": [absent, there, there, there], "002": [absent, absent, there, there]})
    (split.root / "several.txt").write_text("clip\n")
    return split


def tracks_of(split: TinySplit, stride: int = 1) -> list[Track]:
    video = open_split(split.root).video("clip")
    maker = PromptMaker(video, 1, stride)
    return [maker.track(obj, "mask") for obj in reversed(video.objects)]


def test_which_tracks_can_share_a_session(several: TinySplit) -> None:
    def starts(stride: int, *, late: bool) -> list[list[int]]:
        tracks = tracks_of(several, stride)
        return [[track.prompt_frame for track in session] for session in sessions_of(tracks, stride, takes_late_objects=late)]

    assert starts(1, late=True) == [[0, 4, 8]]
    assert starts(4, late=True) == [[0, 4, 8]]
    assert starts(3, late=True) == [[0], [4], [8]]
    assert starts(1, late=False) == [[0], [4], [8]]


def test_a_feed_of_prompts_out_of_step_is_a_bug(several: TinySplit) -> None:
    with pytest.raises(RuntimeError, match="not in step"):
        Feed(open_split(several.root).video("clip"), tracks_of(several), 3)


def test_an_object_on_the_last_frame_fed_has_nothing_to_track(several: TinySplit) -> None:
    video = open_split(several.root).video("clip")
    with pytest.raises(NothingToTrackError, match="first visible on frame 8 of 13"):
        PromptMaker(video, 1, 5).track(video.object("002"), "mask")


class WatchedDevice(PlainCpu):
    """Notes when it is asked for what, among the calls of the runner; sees three attention calls in what it observes."""

    def __init__(self, calls: list[str]) -> None:
        super().__init__()
        self._calls = calls

    def release_memory(self) -> None:
        self._calls.append("release")

    def reset_peaks(self) -> None:
        self._calls.append("reset")

    def observe(self, function: Callable[[], object]) -> Mapping[str, int]:
        function()
        return {"flash": 2, "math": 1}


def test_memory_is_given_back_before_the_warm_up(several: TinySplit) -> None:
    # after it the timed frames would have to ask for it again
    runner = CountingRunner()
    track_together(runner, WatchedDevice(runner.calls), open_split(several.root).video("clip"), tracks_of(several)[-1:], SETTINGS)
    assert runner.calls[:6] == ["release", "open", "prompt 0 1:mask", "track 1", "reset", "open"]


@pytest.mark.parametrize(
    ("compiled", "expected"),
    [
        (None, ("flash:2 math:1", 3)),
        (CompileReport("default", graphs=2), ("flash:2 math:1", 3)),
        (CompileReport("max-autotune", graphs=2, replays_graphs=True), ("flash:2 math:1 cuda_graphs", None)),
    ],
)
def test_which_kernels_are_seen(several: TinySplit, compiled: CompileReport | None, expected: tuple[str, int | None]) -> None:
    class Runner(CountingRunner):
        def inspect(self) -> FrameReport:
            return FrameReport(compiled=compiled)

    runner = Runner()
    video = open_split(several.root).video("clip")
    assert observe_kernels(runner, WatchedDevice(runner.calls), video, tracks_of(several)[-1], SETTINGS) == expected
    assert runner.calls == ["open", "prompt 0 1:mask", "track 1", "track 2"]


def test_what_is_there_after_the_first_warm_up_is_exempt_from_garbage_collection(
    tiny_split: TinySplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen: list[list[str]] = []
    runner = CountingRunner()
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(list(runner.calls)))
    monkeypatch.setattr(gc, "get_freeze_count", lambda: len(frozen))
    video = open_split(tiny_split.root).video("alpha")
    track = PromptMaker(video, 1, 1).track(video.object("000"), "mask")
    for _ in range(2):
        track_together(runner, PlainCpu(), video, [track], SETTINGS)
    assert frozen == [["open", "prompt 0 1:mask", "track 1"]]


class SlowOnce(CountingRunner):
    """Takes 300 ms for one frame, in which it may compile a graph."""

    def __init__(self, slow: int, *, compiles: bool = False, memory_frames: int = 0) -> None:
        super().__init__()
        self.applied = replace(self.applied, memory_frames=memory_frames)
        self._slow, self._compiles, self._graphs = slow, compiles, 1

    def track(self, frame_index: int, frame_hwc: Frame) -> Masks:
        if frame_index == self._slow:
            time.sleep(0.3)
            self._graphs += self._compiles
        return super().track(frame_index, frame_hwc)

    def inspect(self) -> FrameReport:
        # the warm-up of a compiled model is longer, and uses every size
        return FrameReport(compiled=CompileReport("default", graphs=self._graphs) if self._compiles else None)


def spike_causes_of(runner: SlowOnce, split: TinySplit) -> dict[int | None, str]:
    video = open_split(split.root).video("alpha")
    track = PromptMaker(video, 1, 1).track(video.object("000"), "mask")
    (tracked,) = track_together(runner, PlainCpu(), video, [track], SETTINGS)
    return {frame.frame: frame.spike_cause for frame in tracked.frame_rows(("arm", "alpha", "000")) if frame.spike_cause}


def test_a_frame_that_compiles_is_a_spike_with_that_cause(tiny_split: TinySplit) -> None:
    (spike,) = spike_causes_of(SlowOnce(5, compiles=True), tiny_split).items()
    assert spike[0] == 5
    assert "recompilation" in spike[1]


def test_a_memory_size_is_a_cause_only_the_first_time(tiny_split: TinySplit) -> None:
    runner = SlowOnce(5, memory_frames=6)
    first, again = spike_causes_of(runner, tiny_split), spike_causes_of(runner, tiny_split)
    assert "first use of a memory size" in first[5]
    assert "first use of a memory size" not in again[5]
    # the warm-up used sizes 0 and 1, and from 6 on nothing grows
    assert "first use of a memory size" not in spike_causes_of(SlowOnce(9, memory_frames=6), tiny_split)[9]


class TwoKinds(CountingRunner):
    """Says that every third frame after a prompt is a key frame; only those use a memory of a new size."""

    def __init__(self) -> None:
        super().__init__()
        self.applied = replace(self.applied, memory_frames=6)
        self._key = self._frame = 0

    def prompt(self, frame_index: int, frame_hwc: Frame, prompts: Sequence[Prompt]) -> Masks:
        self._key = self._frame = frame_index
        return super().prompt(frame_index, frame_hwc, prompts)

    def track(self, frame_index: int, frame_hwc: Frame) -> Masks:
        self._frame = frame_index
        if frame_index - self._key == 3:
            self._key = frame_index
            time.sleep(0.02)
        return super().track(frame_index, frame_hwc)

    def inspect(self) -> FrameReport:
        return FrameReport(kind="key" if self._frame == self._key else "between")


def test_with_keyframes_both_kinds_have_their_latency_and_the_model_is_warmed_up_on_as_many_frames_as_without(
    tiny_split: TinySplit,
) -> None:
    video = open_split(tiny_split.root).video("alpha")
    track = PromptMaker(video, 1, 1).track(video.object("000"), "mask")
    runner = TwoKinds()
    (measured,) = track_together(runner, PlainCpu(), video, [track], replace(SETTINGS, warmup_frames=3, keyframe_every=3))
    told = Told(measured, track)
    kinds = {frame.frame: frame.frame_kind for frame in told.frames}
    assert [frame for frame, kind in kinds.items() if kind == "key"] == [3, 6, 9, 12]
    assert set(kinds.values()) == {"key", "between"}
    row = told.row
    assert row.warmup_frames == 7, "the prompted frame and two key frames, with those between"
    assert (row.frames, row.key_frames) == (12, 4)
    by_kind = {kind: [frame.latency_ms or 0.0 for frame in told.frames if frame.frame_kind == kind] for kind in ("key", "between")}
    assert row.key_latency_p50_ms == pytest.approx(np.median(by_kind["key"]))
    assert row.between_latency_p50_ms == pytest.approx(np.median(by_kind["between"]))
    assert np.median(by_kind["key"]) >= 20
    assert not any("first use" in frame.spike_cause for frame in told.frames if frame.frame_kind == "between")


@pytest.mark.parametrize(("every", "last"), [(1, 2), (3, 6), (5, 10), (8, 8), (13, 12)])
def test_kernels_are_observed_on_the_second_frame_that_the_model_sees(tiny_split: TinySplit, every: int, last: int) -> None:
    video = open_split(tiny_split.root).video("alpha")
    track = PromptMaker(video, 1, 1).track(video.object("000"), "mask")
    runner = CountingRunner()
    observe_kernels(runner, PlainCpu(), video, track, replace(SETTINGS, keyframe_every=every))
    assert runner.calls[-1] == f"track {last}"
