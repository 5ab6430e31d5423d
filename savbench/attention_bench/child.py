"""The process that builds one model and measures its attention; `savbench.attention_bench.cli` starts it.

The parent writes a job as one line of JSON to standard input and keeps that pipe open. The child sends events as lines of JSON on another
pipe: `say` with a line to show, `row` with a row of the CSV.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import faulthandler
import gc
import json
import os
import sys
import traceback
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from attention import refusal
from runners import RUNNERS
from runners.base import BuildOptions, Implementation, RunnerError
from savbench.attention_bench.accuracy import AccuracyJob, compare_masks
from savbench.attention_bench.clip import FullMemoryClip, model_of
from savbench.attention_bench.measure import CallUnderTest, Effort, sample_wall_ms
from savbench.attention_bench.recording import RecordedCall, arguments_text, dtypes_text, record_calls, shape_text
from savbench.attention_bench.rows import AccuracyRow, CallRow
from savbench.measure.devices import TorchDevice
from savbench.measure.failures import status_of
from savbench.measure.parent import leave_with_parent
from savbench.results.latency import LatencySamples

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runners.base import VideoRunner


@dataclass(frozen=True)
class AttentionJob:
    """The measurements that one process makes of one model."""

    model: str
    imgsz: tuple[int | None, ...]
    num_maskmem: tuple[int | None, ...]
    """None: the model's own."""
    autocast_dtypes: tuple[str, ...]
    attention: tuple[str, ...]
    device: str
    repeats: int
    min_time_s: float
    seed: int
    benchmark_version: str
    weights: str | None = None
    source_dir: str | None = None
    implementation: Implementation = "auto"
    accuracy: AccuracyJob | None = None
    """Compare masks instead of timing calls."""

    def to_line(self) -> str:
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_line(cls, line: str) -> AttentionJob:
        data: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in json.loads(line).items()}
        if data["accuracy"] is not None:
            data["accuracy"] = AccuracyJob(**data["accuracy"])
        return cls(**data)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job read from standard input; events go to the file descriptor `--events`."""
    parser = argparse.ArgumentParser(description="Measures one model; `jetson_benchmark.py attention` starts it.")
    parser.add_argument("--events", type=int, required=True)
    args = parser.parse_args(argv)
    faulthandler.enable()
    with os.fdopen(args.events, "w", encoding="utf-8") as file:
        job = AttentionJob.from_line(sys.stdin.readline())
        leave_with_parent()
        _Child(job, file).run()
    return 0


class _Child:
    def __init__(self, job: AttentionJob, events: IO[str]) -> None:
        self._job = job
        self._events = events
        self._effort = Effort(job.repeats, job.min_time_s)
        self._about: dict[str, Any] = {
            "model": job.model,
            "seed": job.seed,
            "benchmark_version": job.benchmark_version,
            "started_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        }

    def run(self) -> None:
        """Measure every size and number of memories. A failure becomes a row, and the next one runs."""
        schema = CallRow if self._job.accuracy is None else AccuracyRow
        for imgsz in self._job.imgsz:
            for num_maskmem in self._job.num_maskmem:
                about: dict[str, Any] = {**self._about, "imgsz": imgsz, "num_maskmem": num_maskmem}
                try:
                    self._run_one(imgsz, num_maskmem, about)
                except RunnerError as error:
                    self._send_row(schema(**about, status="error", error=str(error)))
                except (RuntimeError, MemoryError) as error:
                    # Usually out of memory, which a smaller size may avoid. The log has the stack.
                    traceback.print_exc()
                    self._send_row(schema(**about, status=status_of(error), error=f"{type(error).__name__}: {error}"))
                gc.collect()
                if about["num_maskmem"] is None:
                    # Either the model's own number was requested or it has no memory; there is no other to measure.
                    break

    def _run_one(self, imgsz: int | None, num_maskmem: int | None, about: dict[str, Any]) -> None:
        runner = self._build(imgsz, num_maskmem)
        import torch

        device = TorchDevice(torch, runner.applied.device)
        about |= {
            "imgsz": runner.applied.imgsz,
            "weights": runner.applied.weights,
            "num_maskmem": getattr(model_of(runner), "num_maskmem", None),
            "device": runner.applied.device,
            "device_name": device.name,
            "threads": torch.get_num_threads(),
            "torch_version": device.torch_version,
            "implementation": runner.applied.implementation,
        }
        if num_maskmem is not None and about["num_maskmem"] not in (None, num_maskmem):
            raise RunnerError(f"--num_maskmem {num_maskmem}: the built model has {about['num_maskmem']} memories; report this as a bug")
        if self._job.accuracy is not None:
            arms = [(dtype, choice) for dtype in self._job.autocast_dtypes for choice in self._job.attention]
            self._say(f"{_named(about)}: tracking under float32 auto, the reference")
            for row in compare_masks(runner, device, self._job.accuracy, arms, self._say):
                self._send_row(dataclasses.replace(row, **about))
            return
        for dtype in self._job.autocast_dtypes:
            _Frame(runner, device, dtype, self._job.attention, self._effort, about, self._say).measure(self._send_row)

    def _build(self, imgsz: int | None, num_maskmem: int | None) -> VideoRunner:
        job, spec = self._job, RUNNERS[self._job.model]
        options = BuildOptions(
            device=job.device,
            imgsz=spec.imgsz if imgsz is None else imgsz,
            weights=None if job.weights is None else Path(job.weights),
            seed=job.seed,
            config=spec.config,
            source_dir=None if job.source_dir is None else Path(job.source_dir),
            num_maskmem=num_maskmem,
            implementation=job.implementation,
        )
        self._say(f"{job.model}: building at {options.imgsz} px")
        return spec.build(options)

    def _say(self, text: str) -> None:
        self._send("say", text=text)

    def _send_row(self, row: CallRow | AccuracyRow) -> None:
        self._send("row", row=asdict(row))

    def _send(self, event: str, **data: Any) -> None:
        self._events.write(json.dumps({"event": event, **data}) + "\n")
        self._events.flush()


class _Frame:
    """Measures one tracked frame of one model under one dtype: its calls and the whole frame, under every choice of attention."""

    def __init__(
        self,
        runner: VideoRunner,
        device: TorchDevice,
        dtype: str,
        choices: Sequence[str],
        effort: Effort,
        about: dict[str, Any],
        say: Callable[[str], None],
    ) -> None:
        import torch

        self._runner = runner
        self._device = device
        self._on = torch.device(runner.applied.device)
        self._dtype = dtype
        self._choices = choices
        self._effort = effort
        self._about = about
        self._say = say

    def measure(self, send: Callable[[CallRow], None]) -> None:
        """Record a frame, measure its distinct calls, then whole frames, and send a row per call and choice."""
        name = f"{_named(self._about)} {self._dtype}"
        try:
            with warnings.catch_warnings(), self._device.attention("auto"), self._device.autocast(self._dtype):
                warnings.simplefilter("ignore")
                clip = FullMemoryClip(self._runner)
                recorded = record_calls(clip.track, model_of(self._runner))
            self._say(f"{name}: {sum(call.calls for call in recorded)} attention calls a frame, {len(recorded)} distinct")
            rows: dict[str, list[CallRow]] = {choice: [] for choice in self._choices}
            for number, call in enumerate(sorted(recorded, key=lambda call: -call.calls * call.flop), start=1):
                self._say(f"  {number} of {len(recorded)}: {call.part}, {shape_text(call.shapes[0])} x {shape_text(call.shapes[1])}")
                for row in self._measure_call(call):
                    rows[row.attention].append(row)
            for choice in self._choices:
                self._time_frames(clip, choice, rows[choice])
                for row in rows[choice]:
                    send(row)
        finally:
            self._runner.close()

    def _measure_call(self, recorded: RecordedCall) -> list[CallRow]:
        under_test = CallUnderTest(recorded, self._on, self._device)
        return [self._measure_choice(under_test, recorded, choice) for choice in self._choices]

    def _measure_choice(self, under_test: CallUnderTest, recorded: RecordedCall, choice: str) -> CallRow:
        row = CallRow(
            **self._about,
            autocast_dtype=self._dtype,
            attention=choice,
            part=recorded.part,
            query=shape_text(recorded.shapes[0]),
            key=shape_text(recorded.shapes[1]),
            value=shape_text(recorded.shapes[2]),
            dtypes=dtypes_text(recorded),
            arguments=arguments_text(recorded),
            calls=recorded.calls,
            modules=" ".join(recorded.modules),
            GFLOP=recorded.flop / 1e9,
        )
        if reason := refusal(choice, self._dtype, self._on.type):
            row.status, row.error = "unavailable", reason
            return row
        try:
            with warnings.catch_warnings(), self._device.attention(choice), self._device.autocast(self._dtype):
                warnings.simplefilter("ignore")
                figures = under_test.measure(self._effort)
        except RunnerError as error:
            row.status, row.error = "unavailable", str(error)
            return row
        except (RuntimeError, MemoryError) as error:
            # Out of memory is a result for this choice; after any error, the other choices can still be measured.
            row.status, row.error = status_of(error), f"{type(error).__name__}: {error}"
            return row
        row.kernel = figures.kernel
        row.samples = figures.samples.count
        row.time_p50_ms, row.time_p90_ms = figures.samples.p50, figures.samples.p90
        row.peak_MiB, row.max_diff, row.max_value = figures.peak_mib, figures.max_diff, figures.max_value
        if row.time_p50_ms:
            row.per_frame_ms = recorded.calls * row.time_p50_ms
            row.GFLOP_per_s = recorded.flop / row.time_p50_ms / 1e6
        return row

    def _time_frames(self, clip: FullMemoryClip, choice: str, rows: Sequence[CallRow]) -> None:
        """Time whole frames under a choice that can serve all calls, and set the columns that depend on them."""
        if any(row.status != "ok" for row in rows):
            return
        self._say(f"  whole frames: {choice}")
        with warnings.catch_warnings(), self._device.attention(choice), self._device.autocast(self._dtype):
            warnings.simplefilter("ignore")
            clip.track()
            frames = LatencySamples(sample_wall_ms(clip.track, self._effort))
        for row in rows:
            row.frame_ms, row.frame_p90_ms, row.frame_samples = frames.p50, frames.p90, frames.count
            if frames.p50 and row.per_frame_ms is not None:
                row.frame_share = row.per_frame_ms / frames.p50


def _named(about: dict[str, Any]) -> str:
    memories = "" if about["num_maskmem"] is None else f", {about['num_maskmem']} memories"
    return f"{about['model']} at {about['imgsz']} px{memories}"


if __name__ == "__main__":
    sys.exit(main())
