"""Settings of how an object is prompted, tracked and timed, offline and streamed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from savbench.arguments.declared import Column, Compared, setting
from savbench.arguments.values import SEED, Choice, FilePath, NumberOrWord, Real, Switch, Text, Whole
from savbench.plan.settings_models import NOT_APPLICABLE

CAMERA_FPS = 24.0
"""Frames per second of SA-V."""
MEASURING = "prompts and measuring"
STREAMING = "streaming: track every object once more at a camera's pace"

_DAY_S = 86_400
_WEEK_S = 604_800
_PAIRED = Compared.MUST_AGREE
_APART = Compared.TELLS_APART


@dataclass(frozen=True)
class MeasuringSettings:
    """Settings of prompts and measuring. Times in seconds, memory in MiB."""

    num_points: int = setting(
        Whole(1, 1_000),
        MEASURING,
        "clicks in a points prompt",
        Column("num_points", "Clicks given with a points prompt.", _PAIRED, empty=NOT_APPLICABLE),
        default=1,
        decides=True,
        prompts=frozenset({"points"}),
    )
    joint_objects: bool = setting(
        Switch(), MEASURING, "track all objects of a video in one session; frames are encoded once", default=False, decides=True
    )
    share_prompts: bool = setting(
        Switch(),
        MEASURING,
        "track each object from points, bbox and mask in one session, if --models names a model with several prompts",
        default=False,
        decides=True,
    )
    stages: bool = setting(
        Switch(), MEASURING, "time the stages of every frame: encoder, memory attention, decoder and others", default=False, decides=True
    )
    warmup_frames: int = setting(
        Whole(0, 10_000),
        MEASURING,
        "untimed frames before each object",
        Column(
            "warmup_frames",
            "Untimed frames run before each object, on the same clip at the same size; the prompted frame included.",
            _APART,
            filled="applied",
        ),
        default=5,
        decides=True,
    )
    min_time_s: float = setting(
        Real(0, _WEEK_S, unit="seconds", name="S"),
        MEASURING,
        "repeat clips until an arm has timed S seconds, shared equally by its objects; 600 with --min_frames 1024 is the length of "
        "MLPerf's single-stream scenario",
        default=0.0,
        flag="min_time",
        decides=True,
    )
    """MLPerf Inference's single-stream scenario sends the next query when the last one is answered, as the benchmark does with frames. Its
    rules (mlcommons/inference_policies, inference_rules.adoc, "Scenarios") ask for 600 seconds. Until v1.1 they also asked for 1024
    queries; later versions replaced that with an early-stopping estimate of the 90th percentile that needs at least 64. MLPerf reports
    the 90th percentile; latency_p90_ms here does not include the estimate's small penalty."""
    min_frames: int = setting(
        Whole(0, 1_000_000_000),
        MEASURING,
        "repeat clips until an arm has timed N frames, shared equally by its objects",
        default=0,
        decides=True,
    )
    order: str = setting(
        Choice(("sequential", "interleaved")),
        MEASURING,
        "order of arms: one after the other, or interleaved (taking turns by video), which cancels linear drift",
        default="sequential",
    )
    sustained_minutes: float | None = setting(
        Real(0.01, _WEEK_S / 60, unit="minutes", name="MINUTES"),
        MEASURING,
        "repeat the objects until FPS and temperature are steady, at most MINUTES for each arm; writes sustained.csv",
        default=None,
        flag="sustained",
    )
    memory_budget: float | Literal["auto"] | None = setting(
        NumberOrWord(Real(1, 2**24, unit="MiB", name="MIB"), "auto"),
        MEASURING,
        "refuse an arm if its forecast, made from its first clip, exceeds MIB; auto: the memory available",
        default=None,
    )
    agreement: str | None = setting(
        Text("ARM"),
        MEASURING,
        "compare the masks of every arm with those of this one, which runs first: MODEL_PROMPT or more of the beginning of its id, "
        "sam2_large_points-float32; no accuracy, see docs/data.md",
        default=None,
        identifies_run=False,
    )
    seed: int = setting(
        SEED, MEASURING, "seed for random weights and --shuffle_videos", Column("seed", "--seed.", _APART), default=0, decides=True
    )
    timeout_s: float = setting(
        Real(0.1, _DAY_S, unit="seconds", name="S"),
        MEASURING,
        "seconds without progress before a worker is stopped",
        default=900.0,
        flag="timeout",
        identifies_run=False,
    )

    realtime_fps: float | None = setting(
        Real(0.01, 10_000, unit="frames per second", name="FPS"),
        STREAMING,
        f"frames arrive at this rate whether or not the model is ready, and the newest finished mask is scored (FPS: {CAMERA_FPS:g})",
        Column("camera_fps", "--realtime: frames of the clip that arrive per second. Empty: not streamed.", _PAIRED | _APART),
        default=None,
        flag="realtime",
        bare=CAMERA_FPS,
        decides=True,
    )
    realtime_from: Path | None = setting(
        FilePath(absolute=True, name="FILE"),
        STREAMING,
        "simulate the stream with the latencies in frames.csv of an earlier run, perhaps on another board; masks are computed here",
        Column(
            "streaming_clock",
            "`live`: in real time. `simulated FILE`: with the latencies in that file, --realtime_from.",
            _APART,
            filled="applied",
        ),
        default=None,
        decides=True,
    )

    stop_when_decided: float | None = setting(
        Real(0.001, 0.5, name="MARGIN"),
        MEASURING,
        "run only as many videos as it takes to decide whether every arm keeps 1 - MARGIN of the first arm's J&F; needs --shuffle_videos",
        default=None,
        identifies_run=False,
    )
