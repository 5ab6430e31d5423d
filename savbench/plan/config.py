"""What a run is asked to do."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from attention import CHOICES, RELATIVE_CHOICES

AUTOCAST_DTYPES = ("float32", "float16", "bfloat16")
MAX_MASKMEM = 7
"""Memories of SAM 2 and EdgeTAM as published."""
CAMERA_FPS = 24.0
"""Frames per second of SA-V."""
ORDERS = ("sequential", "interleaved")
"""Of the arms: one after the other, or in turn, video by video."""
GPU_PREFETCH = 2
"""Frames decoded ahead where the model is on a GPU. On a CPU the decoder would take its time from the model, and is in line by default."""
MEMORY_MODES = ("bounded", "upstream")
"""What is kept of a clip, see `runners.base.BuildOptions.memory`."""
COMPILE_SCOPES = ("off", "encoder", "full")
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
"""Modes of torch.compile that its documentation names."""
EXECUTORS = ("local", "ray")
"""Of the arms: worker processes on this machine, one at a time, or tasks of a Ray cluster."""
PRESETS = {"mlperf": {"min_seconds": 600.0, "min_frames": 1024}}
"""Settings that --preset raises to at least these.

mlperf: how long MLPerf Inference measures its single-stream scenario, in which a query is sent when the last one is answered, as frames are
here. Its rules (mlcommons/inference_policies, inference_rules.adoc, "Scenarios") ask for 600 seconds; the 1024 queries were a second
condition until v1.1, and later gave way to an early-stopping estimate of the 90th percentile that needs 64 at least. Both are kept, so that
either is met. MLPerf's figure is the 90th percentile; the estimate's small penalty is not added to latency_p90_ms here.
"""
NOT_APPLICABLE = "none"
"""Value of autocast_dtype and attention in rows of models that compute without them."""


class ConfigError(ValueError):
    """The arguments cannot be run; the message says what to give instead."""


@dataclass(frozen=True)
class RunConfig:
    """All settings of a run, as the command line gives them. Sizes in pixels, times in seconds."""

    split_dir: Path
    models: tuple[str, ...]
    """Model tags, MODEL_PROMPT."""
    split_name: str | None = None
    weights_dirs: tuple[Path, ...] = (Path("checkpoints"), Path("EdgeTAM/checkpoints"))
    random_weights: bool = False
    imgsz: tuple[int, ...] = ()
    """Sides of the model's input; empty takes each model's own."""
    autocast_dtypes: tuple[str, ...] = ("bfloat16",)
    attention: tuple[str, ...] = ("auto",)
    num_maskmem: int | None = None
    """Memories that the memory attention sees, the prompted frame's included; None takes the model's own."""
    sam1_flow: bool = False
    """Move SAM v1's mask along optical flow before it becomes the next prompt."""
    memory: str = "bounded"
    """One of `MEMORY_MODES`."""
    compile: str = "off"
    """What torch.compile is applied to, one of `COMPILE_SCOPES`."""
    compile_mode: str | None = None
    """One of `COMPILE_MODES`; None takes upstream's, where upstream compiles itself, or torch's default."""
    stages: bool = False
    """Time the stages of every frame."""
    device: str = "auto"
    limit_videos: int | None = None
    limit_objects: int | None = None
    max_frames: int | None = None
    frame_stride: int = 1
    prefetch: int | None = None
    """Frames that are decoded ahead of the tracker; 0 decodes between its calls; None is `GPU_PREFETCH` on a GPU and 0 on a CPU."""
    realtime_fps: float | None = None
    """Track every object once more at the camera's pace, so many frames of the clip per second; None does not."""
    realtime_from: Path | None = None
    """frames.csv or streaming.csv of an earlier run, whose latencies then count instead of those here."""
    seed: int = 0
    shuffle_videos: bool = False
    shard: tuple[int, int] | None = None
    """(number, count): run this part, counted from 1, of what the other settings choose; None runs all of it."""
    warmup_frames: int = 5
    num_points: int = 1
    joint_objects: bool = False
    """Track all objects of a video in one session."""
    share_prompts: bool = False
    """Track one object from several prompts in one session: the arms that differ in the prompt alone."""
    out_dir: Path | None = None
    """None lets the run choose a folder under results/."""
    save_overlays: bool = False
    save_masks: bool = False
    timeout_s: float = 600.0
    power: str = "auto"
    power_interval_s: float = 0.1
    strict: bool = False
    """Take no row whose validity is not ok: wait for the board to cool to `cooldown_c`, try again, and refuse in the end."""
    cooldown_c: float = 50.0
    """Temperature in C that a strict run waits for."""
    min_seconds: float = 0.0
    """Clips are tracked again until an arm's timed frames took so long, every object its share of it."""
    min_frames: int = 0
    """And until an arm has so many timed frames, likewise."""
    order: str = "sequential"
    sustained_minutes: float | None = None
    """Repeat the split until FPS and temperature are steady, at most so long for each arm; None runs it once."""
    memory_budget: float | Literal["auto"] | None = None
    """MiB that an arm may take; auto is what the machine has available; None checks nothing."""
    executor: str = "local"
    """Where the arms run, one of `EXECUTORS`."""
    ray_address: str | None = None
    """As `ray.init` takes it; None takes the cluster at hand, or starts one on this machine."""
    cpus_per_task: int = 1
    """CPUs that Ray sets aside for a task, and threads of torch in it."""
    edgetam_dir: Path | None = None
    sam2_dir: Path | None = None

    def __post_init__(self) -> None:
        for name in ("limit_videos", "limit_objects", "max_frames", "frame_stride", "num_points"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"--{name} {value}: must be 1 or more")
        if self.prefetch is not None and self.prefetch < 0:
            raise ConfigError(f"--prefetch {self.prefetch}: must be 0 or more")
        if self.memory not in MEMORY_MODES:
            raise ConfigError(f"--memory {self.memory}: use {' or '.join(MEMORY_MODES)}")
        if self.memory == "upstream" and self.realtime_fps is not None:
            raise ConfigError("--memory upstream: its loader takes all frames before the first, which no camera can give; use bounded")
        if self.compile not in COMPILE_SCOPES:
            raise ConfigError(f"--compile {self.compile}: use {', '.join(COMPILE_SCOPES[:-1])} or {COMPILE_SCOPES[-1]}")
        if self.compile_mode is not None and self.compile_mode not in COMPILE_MODES:
            raise ConfigError(f"--compile_mode {self.compile_mode}: there is no such mode; use one of {', '.join(COMPILE_MODES)}")
        if self.compile != "off" and self.warmup_frames == 0:
            raise ConfigError("--warmup_frames 0: what --compile compiles would be timed; leave the warm-up in")
        if self.compile_mode is not None and self.compile == "off":
            raise ConfigError(f"--compile_mode {self.compile_mode}: nothing is compiled; add --compile encoder or full")
        if self.warmup_frames < 0:
            raise ConfigError(f"--warmup_frames {self.warmup_frames}: must be 0 or more")
        if self.timeout_s <= 0:
            raise ConfigError(f"--timeout {self.timeout_s:g}: must be above 0 seconds")
        if self.shard is not None:
            number, count = self.shard
            if count < 1:
                raise ConfigError(f"--shard {number}/{count}: the number of shards must be 1 or more")
            if not 1 <= number <= count:
                raise ConfigError(f"--shard {number}/{count}: shards are counted from 1; use 1/{count} to {count}/{count}")
        if self.max_frames is not None and self.max_frames < 2:
            raise ConfigError("--max_frames 1: a clip needs at least 2 frames, one to prompt and one to track")
        if self.min_frames < 0:
            raise ConfigError(f"--min_frames {self.min_frames}: must be 0 or more")
        if not 0 <= self.min_seconds < math.inf:
            raise ConfigError(f"--min_seconds {self.min_seconds:g}: must be 0 or more")
        if self.sustained_minutes is not None and not 0 < self.sustained_minutes < math.inf:
            raise ConfigError(f"--sustained {self.sustained_minutes:g}: must be above 0 minutes")
        if self.order not in ORDERS:
            raise ConfigError(f"--order {self.order}: use {' or '.join(ORDERS)}")
        if self.order == "interleaved" and self.sustained_minutes is not None:
            raise ConfigError("--sustained heats the board with one arm at a time: leave out --order interleaved")
        if self.strict and self.sustained_minutes is not None:
            raise ConfigError("--sustained lets the board throttle and --strict takes no such row: leave one of them out")
        if self.share_prompts and self.sustained_minutes is not None:
            raise ConfigError("--sustained follows one arm at a time: leave out --share_prompts")
        if not -40 <= self.cooldown_c <= 100:
            raise ConfigError(f"--cooldown_c {self.cooldown_c:g}: give a temperature in degrees Celsius, for example 50")
        if self.strict and self.power == "none":
            raise ConfigError("--strict needs to see the board: leave out --power none")
        if isinstance(self.memory_budget, str):
            if self.memory_budget != "auto":
                raise ConfigError(f"--memory_budget {self.memory_budget}: give MiB, for example 6000, or auto")
        elif self.memory_budget is not None and not 0 < self.memory_budget < math.inf:
            raise ConfigError(f"--memory_budget {self.memory_budget:g}: must be above 0 MiB")
        if self.realtime_fps is not None:
            if not 0 < self.realtime_fps < math.inf:
                raise ConfigError(f"--realtime {self.realtime_fps:g}: must be above 0 frames per second")
            if self.joint_objects or self.share_prompts:
                raise ConfigError("--realtime follows one object at a time: leave out --joint_objects and --share_prompts")
        elif self.realtime_from is not None:
            raise ConfigError(f"--realtime_from {self.realtime_from}: goes with --realtime")
        self._check_executor()
        for size in self.imgsz:
            if size < 1:
                raise ConfigError(f"--imgsz {size}: must be 1 or more")
        if not self.autocast_dtypes:
            raise ConfigError(f"--autocast_dtype: name at least one of {', '.join(AUTOCAST_DTYPES)}")
        for dtype in self.autocast_dtypes:
            if dtype not in AUTOCAST_DTYPES:
                raise ConfigError(f"--autocast_dtype {dtype}: use one or more of {', '.join(AUTOCAST_DTYPES)}")

        for choice in self.attention:
            if choice not in CHOICES + RELATIVE_CHOICES:
                known = f"{', '.join(CHOICES)}; for SAM v1 also {', '.join(RELATIVE_CHOICES)}"
                raise ConfigError(f"--attention {choice}: use one or more of {known}")
        if not self.attention:
            raise ConfigError(f"--attention: name at least one of {', '.join(CHOICES)}")
        if self.num_maskmem is not None and not 1 <= self.num_maskmem <= MAX_MASKMEM:
            raise ConfigError(f"--num_maskmem {self.num_maskmem}: use 1 to {MAX_MASKMEM}; the models were trained with {MAX_MASKMEM}")

    def _check_executor(self) -> None:
        if self.executor not in EXECUTORS:
            raise ConfigError(f"--executor {self.executor}: use {' or '.join(EXECUTORS)}")
        if self.cpus_per_task < 1:
            raise ConfigError(f"--cpus_per_task {self.cpus_per_task}: must be 1 or more")
        if self.executor == "local":
            if self.ray_address is not None or self.cpus_per_task != 1:
                raise ConfigError("--ray_address and --cpus_per_task are of --executor ray; add that or leave them out")
            return
        if self.power not in ("auto", "none"):
            raise ConfigError(f"--power {self.power}: is read on this machine, and --executor ray measures on others; leave it out")
        if ":" in self.device:
            raise ConfigError(f"--device {self.device}: Ray gives every task a GPU of its own; use cuda")
        tied_to_a_board = {
            "strict": self.strict,
            "sustained": self.sustained_minutes is not None,
            "memory_budget": self.memory_budget is not None,
            "order interleaved": self.order != "sequential",
        }
        for option in (option for option, given in tied_to_a_board.items() if given):
            raise ConfigError(f"--{option}: goes with one board whose arms run one after the other, not with --executor ray; leave it out")

    def with_preset(self, name: str) -> RunConfig:
        """These settings, raised to what a preset asks for at least.

        Raises:
            ConfigError: there is no such preset.
        """
        if name not in PRESETS:
            raise ConfigError(f"--preset {name}: use {' or '.join(PRESETS)}")
        return replace(self, **{field: max(getattr(self, field), least) for field, least in PRESETS[name].items()})

    def to_json(self) -> dict[str, Any]:
        return {key: _plain(value) for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RunConfig:
        """The inverse of `to_json`."""
        paths = {"split_dir", "out_dir", "edgetam_dir", "sam2_dir", "realtime_from"}
        values: dict[str, Any] = {}
        for name in (field.name for field in fields(cls)):
            value = data[name]
            if name in paths and value is not None:
                value = Path(value)
            elif isinstance(value, list):
                value = tuple(Path(item) if name == "weights_dirs" else item for item in value)
            values[name] = value
        return cls(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
