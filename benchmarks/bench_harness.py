"""What the benchmark adds to a frame: its session around a runner that does nothing, beside the bare call of that runner.

    python benchmarks/bench_harness.py

- in the latency: what a session reports as the latency of the null runner, less what its bare calls take in a loop of their own. This is
  the part that falsifies a measurement.
- around it: what passes from frame to frame beside the call and the decoding: looking for NaN, keeping masks of annotated frames, telling
  the supervisor, and whatever the threads that sample memory take. It delays a run and changes no figure.

The aim is less than 0.5% of a frame of SAM 2.1 tiny. Its frame is taken from the published 91.2 FPS on an A100 (11 ms), the fastest it is
known to run, so that the share on a board is smaller by as much as its frame is longer. Memory is sampled as in a run; nothing is drawn.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import machine, table, take_turns
from runners.base import Applied, Clip, Frame, FrameReport, Masks, Prompt
from savbench.data.dataset import open_split
from savbench.data.demo.split import MIN_DEMO_FRAMES, generate_demo_split
from savbench.data.feed import PromptMaker
from savbench.measure.devices import PlainCpu
from savbench.measure.session import SessionSettings, track_together
from savbench.plan.settings_models import NOT_APPLICABLE

SIZES = {"480x848": (480, 848), "1080x1920": (1080, 1920)}
PUBLISHED_FPS = 91.2
"""SAM 2.1 tiny on an A100, README of facebookresearch/sam2."""


class NullRunner:
    """Gives the same mask on every frame, without looking at it."""

    applied = Applied(implementation="nothing", device="cpu", imgsz=None, weights="none")
    _report = FrameReport(parts_ms={"preprocess_ms": 0.0, "model_ms": 0.0, "output_ms": 0.0})

    def __init__(self) -> None:
        self._masks_nhw: Masks = np.zeros((1, 0, 0), np.bool_)

    def open(self, clip: Clip, first_frame_hwc: Frame) -> None:
        self._masks_nhw = np.zeros((1, clip.height, clip.width), np.bool_)

    def prompt(self, frame_index: int, frame_hwc: Frame, prompts: Sequence[Prompt]) -> Masks:
        return self._masks_nhw

    def track(self, frame_index: int, frame_hwc: Frame) -> Masks:
        return self._masks_nhw

    def inspect(self) -> FrameReport:
        return self._report

    def close(self) -> None:
        pass


class Session:
    """A session of the null runner over a generated clip, and the bare calls over one of its frames."""

    def __init__(self, folder: Path, size_hw: tuple[int, int], frames: int) -> None:
        split = open_split(generate_demo_split(folder, videos=1, frames=frames, height=size_hw[0], width=size_hw[1]))
        self._video = split.video(split.videos[0])
        self._settings = SessionSettings(autocast_dtype=NOT_APPLICABLE, attention=NOT_APPLICABLE)
        self._track = PromptMaker(self._video, num_points=1, stride=1).track(self._video.objects[0], "mask")
        self._device = PlainCpu()
        self.around_ms: list[float] = []

    def run(self) -> float:
        """Median latency in ms that a session reports; what lies between its timed frames goes into `around_ms`."""
        (measured,) = track_together(NullRunner(), self._device, self._video, [self._track], self._settings)
        frames, spans = measured.frame_rows(("", "", "")), measured.spans
        between = [after[0] - before[1] for before, after in itertools.pairwise(spans)]
        decoding = [frame.decode_ms or 0.0 for frame in frames[1:]]
        self.around_ms.append(statistics.median(gap * 1e3 - ms for gap, ms in zip(between, decoding, strict=True)))
        return statistics.median(frame.latency_ms or 0.0 for frame in frames)

    def bare(self) -> float:
        """Median ms of the same calls in a loop that does nothing else."""
        runner = NullRunner()
        frame_hwc = np.zeros((*self._video.read_size(), 3), np.uint8)
        runner.open(Clip("", 1, *frame_hwc.shape[:2]), frame_hwc)
        samples = []
        for index in range(1000):
            begun = time.perf_counter()
            runner.track(index, frame_hwc)
            samples.append(time.perf_counter() - begun)
        return statistics.median(samples) * 1e3


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Microseconds that the benchmark adds to a frame, as a markdown table.")
    parser.add_argument("--rounds", type=int, default=9, help="sessions of each size (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=96, help="frames of the clip (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one short session, to see that it works")
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1 or arguments.frames < MIN_DEMO_FRAMES:
        parser.error(f"--rounds is 1 or more and --frames {MIN_DEMO_FRAMES} or more")
    rounds, frames = (1, MIN_DEMO_FRAMES) if arguments.quick else (arguments.rounds, arguments.frames)
    sizes = dict([*SIZES.items()][:1]) if arguments.quick else SIZES
    frame_us = 1e6 / PUBLISHED_FPS
    rows = []
    for name, size_hw in sizes.items():
        with tempfile.TemporaryDirectory() as folder:
            session = Session(Path(folder) / "split", size_hw, frames)
            samples = take_turns({"session": session.run, "bare": session.bare}, rounds)
        added_us = statistics.median(a - b for a, b in zip(samples["session"], samples["bare"], strict=True)) * 1e3
        around_us = statistics.median(session.around_ms) * 1e3
        shares = [f"{us / frame_us:.2%}" for us in (added_us, around_us)]
        rows.append([name, f"{statistics.median(samples['bare']) * 1e3:.1f}", f"{added_us:.1f}", shares[0], f"{around_us:.0f}", shares[1]])
    print(f"{machine()}, {rounds} sessions of {frames} frames\n")
    share = f"of {frame_us / 1e3:.0f} ms"
    print(table(["video", "bare call, us", "added to the latency, us", share, "around it, us", share], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
