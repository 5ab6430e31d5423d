"""What one version of the protocol gives on a fixed clip: prompts, times and scores, with a clock that only the planted model moves.

`PYTHONPATH=. .venv/bin/python tests/protocol_record.py` records it for the present `PROTOCOL_VERSION`, unless that is recorded already:
other figures need another number.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import protocol_clips
from tiny_split import TinySplit

from runners.base import Applied, Clip, Frame, FrameReport, Masks, Prompt
from savbench.data import frames
from savbench.data.dataset import SplitVideo, open_split
from savbench.data.feed import PromptMaker, sessions_of
from savbench.data.masks import CompressedMask, PackedMask, in_one_picture
from savbench.data.prompts import points_n2, tight_box
from savbench.finish.scoring import TruthMasks, score_object
from savbench.measure.devices import PlainCpu
from savbench.measure.measured import Measured
from savbench.measure.session import SessionSettings, track_together
from savbench.measure.streaming import Camera, Processed, Timeline
from savbench.plan.protocols import PROTOCOL_VERSION, PROTOCOLS
from savbench.results.rows import SummaryRow
from savbench.results.schema import values_of

FOLDER = Path(__file__).parent / "protocol_versions"
OF_THE_MACHINE = ("cpu_peak_rss_MiB", "process_peak_rss_MiB", "unified_peak_used_MiB", "background_cpus", "warnings", "warning_lines")


class Clock:
    """Stands still but where the model or the decoder works."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def work(self, ms: float) -> None:
        self.now_s += ms / 1e3


class PlantedRunner:
    """Takes 700 ms to open a clip, 90 for a prompt, 10 and more for a frame, 3 to tell about it, 5 to close."""

    applied = Applied(implementation="planted", device="cpu", imgsz=None, weights="none")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._objects, self._size_hw = 0, (0, 0)

    def open(self, clip: Clip, first_frame_hwc: Frame) -> None:
        self._clock.work(700)
        self._objects, self._size_hw = 0, (clip.height, clip.width)

    def prompt(self, frame_index: int, frame_hwc: Frame, prompts: Sequence[Prompt]) -> Masks:
        self._clock.work(90)
        self._objects += len(prompts)
        return np.zeros((self._objects, *self._size_hw), np.bool_)

    def track(self, frame_index: int, frame_hwc: Frame) -> Masks:
        self._clock.work(10 + frame_index**2 / 4)
        return np.zeros((self._objects, *self._size_hw), np.bool_)

    def inspect(self) -> FrameReport:
        self._clock.work(3)
        return FrameReport(parts_ms={"preprocess_ms": 1, "model_ms": 2, "output_ms": 3}, objects_ms=(0.5,) * self._objects)

    def close(self) -> None:
        self._clock.work(5)


def outputs() -> dict[str, Any]:
    """Everything, as JSON; numbers with 9 digits, which no version of NumPy changes."""
    with tempfile.TemporaryDirectory() as folder:
        video = _clip(Path(folder))
        made = {"prompts": _prompts(), "timing": _timing(video), "streaming": _streaming(), "scoring": _scoring(video)}
    rounded: dict[str, Any] = json.loads(json.dumps(made), parse_float=lambda text: float(f"{float(text):.9g}"))
    return rounded


def _clip(folder: Path) -> SplitVideo:
    split = TinySplit(folder)
    pictures = protocol_clips.truth(1)
    # a mask on every fourth frame, as in SA-V
    split.write_video("clip", 4 * (len(pictures) - 1) + 1, {f"{label:03d}": [of == label for of in pictures] for label in range(1, 5)})
    (folder / "val.txt").write_text("clip\n")
    return open_split(folder).video("clip")


def _prompts() -> list[Any]:
    masks = [mask for of_object in protocol_clips.predictions(3) for mask in of_object[:3] if mask.any()]
    return [[points_n2(mask_hw, 3).tolist(), tight_box(mask_hw).tolist()] for mask_hw in masks]


def _timing(video: SplitVideo) -> dict[str, Any]:
    """Frames and rows of an object alone, again in several passes, and of two objects in one session."""
    settings = SessionSettings(autocast_dtype="none", attention="none", warmup_frames=2)
    twice = SessionSettings(autocast_dtype="none", attention="none", warmup_frames=0, frame_stride=3, min_frames=12)
    runs = {"alone": (["001"], settings), "twice": (["001"], twice), "together": (["001", "002"], settings)}
    found = {}
    for name, (objects, how) in runs.items():
        clock, real = Clock(), frames.read_frame

        def read_slowly(*args: Any, clock: Clock = clock, real: Any = real) -> Frame:
            clock.work(40)
            pixels: Frame = real(*args)
            return pixels

        maker = PromptMaker(video, 1, how.frame_stride)
        tracks = [maker.track(video.object(one), "mask") for one in objects]
        (session,) = sessions_of(tracks, how.frame_stride, takes_late_objects=True)
        with mock.patch.object(time, "perf_counter", clock), mock.patch.object(frames, "read_frame", read_slowly):
            tracked = track_together(PlantedRunner(clock), PlainCpu(), video, session, how)
        found[name] = [_told(one) for one in tracked]
    return found


def _told(measured: Measured) -> dict[str, Any]:
    row = measured.row(SummaryRow())
    figures = {value.name: value.of(row) for value in values_of(SummaryRow) if value.is_figure and value.name not in OF_THE_MACHINE}
    return {
        "row": {name: content for name, content in figures.items() if content not in (None, {})},
        "frames": [[frame.frame, frame.repeat, frame.latency_ms, frame.decode_ms] for frame in measured.frame_rows(("", "", ""))],
        "masks": sorted(measured.masks),
    }


def _streaming() -> dict[str, Any]:
    """A camera of 10 frames a second, and a tracker that takes 130 ms a frame."""
    steps = [Processed(0, 0, 130, 130), Processed(2, 200, 130, 330), Processed(4, 400, 130, 530), Processed(6, 600, 130, 730)]
    timeline = Timeline(Camera(range(8), 10.0), tuple(steps))
    ages = timeline.mask_ages_ms
    known = [timeline.known_at(100.0 * index) for index in range(8)]
    return {
        "known": [None if step is None else step.index for step in known],
        "ages": [ages.p50, ages.p90],
        "fps": timeline.fps,
        "dropped": timeline.dropped,
        "deadline_met": timeline.deadline_met,
    }


def _scoring(video: SplitVideo) -> dict[str, Any]:
    found = {}
    predicted = protocol_clips.predictions(1)
    masks = [{4 * index: CompressedMask.of(PackedMask(mask_hw)) for index, mask_hw in enumerate(of)} for of in predicted]
    for protocol in PROTOCOLS.values():
        shown = in_one_picture(masks) if protocol.in_one_picture else masks
        for label, of_object in enumerate(shown, 1):
            scored = score_object(video, f"{label:03d}", of_object, protocol_clips.SIZE, TruthMasks(), 0, protocol)
            found[f"{protocol.name} {label}"] = {
                "score": None if scored.score is None else vars(scored.score),
                "frames": {frame: vars(facts) for frame, facts in scored.frames.items()},
                "failure": scored.failure,
            }
    return found


def main() -> int:
    path = FOLDER / f"{PROTOCOL_VERSION}.json"
    if path.exists():
        print(f"{path}: recorded already; raise PROTOCOL_VERSION in savbench/plan/protocols.py first", file=sys.stderr)
        return 1
    FOLDER.mkdir(exist_ok=True)
    sections = [f"{json.dumps(name)}: {json.dumps(content)}" for name, content in outputs().items()]
    path.write_text("{\n" + ",\n".join(sections) + "\n}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
