"""What a run is asked to do: the settings, and the arms they multiply into."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from attention import CHOICES, RELATIVE_CHOICES, refusal
from runners import PROMPT_KINDS, RUNNERS
from savbench.recorded_latencies import ArmLatencies, RecordedLatencies, RecordedLatenciesError

AUTOCAST_DTYPES = ("float32", "float16", "bfloat16")
MAX_MASKMEM = 7
"""Memories of SAM 2 and EdgeTAM as published."""
CAMERA_FPS = 24.0
"""Frames per second of SA-V."""
ORDERS = ("sequential", "interleaved")
"""Of the arms: one after the other, or in turn, video by video."""
DEFAULT_PREFETCH = 2
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
    prefetch: int = DEFAULT_PREFETCH
    """Frames that are decoded ahead of the tracker; 0 decodes between its calls."""
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
        if self.prefetch < 0:
            raise ConfigError(f"--prefetch {self.prefetch}: must be 0 or more")
        if self.memory not in MEMORY_MODES:
            raise ConfigError(f"--memory {self.memory}: use {' or '.join(MEMORY_MODES)}")
        if self.memory == "upstream" and self.realtime_fps is not None:
            raise ConfigError("--memory upstream: its loader takes all frames before the first, which no camera can give; use bounded")
        if self.compile not in COMPILE_SCOPES:
            raise ConfigError(f"--compile {self.compile}: use {', '.join(COMPILE_SCOPES[:-1])} or {COMPILE_SCOPES[-1]}")
        if self.compile_mode is not None and self.compile_mode not in COMPILE_MODES:
            raise ConfigError(f"--compile_mode {self.compile_mode}: there is no such mode; use one of {', '.join(COMPILE_MODES)}")
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


@dataclass(frozen=True)
class Arm:
    """One combination of what is compared. One arm runs in one worker process, which builds its model once."""

    model: str
    prompt: str
    autocast_dtype: str
    attention: str
    imgsz: int | None
    arm_id: str
    """Readable and unique among settings that change a measurement: the same id means the same measurement."""
    compile: str = "off"
    """What is compiled, with the mode where one was asked for."""

    @property
    def tag(self) -> str:
        return f"{self.model}_{self.prompt}"

    @property
    def label(self) -> str:
        """For people: the tag and whatever applies to it."""
        parts = [self.tag]
        if self.autocast_dtype != NOT_APPLICABLE:
            parts.append(self.autocast_dtype)
        if self.attention not in (NOT_APPLICABLE, "auto"):
            parts.append(self.attention)
        if self.imgsz is not None:
            parts.append(f"{self.imgsz}px")
        if self.compile != "off":
            parts.append(f"compiled {self.compile}")
        return " ".join(parts)


def parse_tag(tag: str) -> tuple[str, str]:
    """Split a model tag into model and prompt.

    Raises:
        ConfigError: there is no such model, or it does not take that prompt.
    """
    model, _, prompt = tag.rpartition("_")
    if model in RUNNERS and prompt in RUNNERS[model].prompts:
        return model, prompt
    if tag in RUNNERS:
        raise ConfigError(f"--models {tag}: say with which prompt, for example {tag}_{RUNNERS[tag].prompts[0]}")
    if model in RUNNERS and prompt in PROMPT_KINDS:
        raise ConfigError(f"--models {tag}: {model} takes {' or '.join(RUNNERS[model].prompts)} prompts only; ask for {model}_mask")
    raise ConfigError(f"--models {tag}: no such model; known are {', '.join(all_tags())}")


def all_tags() -> list[str]:
    """Every model tag that can be asked for."""
    return [f"{model}_{prompt}" for model, spec in RUNNERS.items() for prompt in spec.prompts]


def plan_arms(config: RunConfig, split_name: str) -> list[Arm]:
    """Multiply the lists into arms, in the order given. Models that compute without dtype and size get one arm each.

    Raises:
        ConfigError: a tag is unknown, a list names something twice, an attention cannot run under a dtype, a model has no such memory, or
            the file of --realtime_from has no latencies of an arm.
    """
    recorded = None if config.realtime_from is None else _read_latencies(config.realtime_from)
    lists = {"models": config.models, "imgsz": config.imgsz, "autocast_dtype": config.autocast_dtypes, "attention": config.attention}
    for option, values in lists.items():
        if len(set(values)) < len(values):
            raise ConfigError(f"--{option} {','.join(map(str, values))}: names something twice")
    if not config.models:
        raise ConfigError(f"--models: name at least one of {', '.join(all_tags())}")
    arms = []
    for tag in config.models:
        model, prompt = parse_tag(tag)
        spec = RUNNERS[model]
        if spec.is_learned:
            sizes: tuple[int | None, ...] = config.imgsz or (spec.imgsz,)
            combinations = list(itertools.product(config.autocast_dtypes, sizes, config.attention))
        else:
            combinations = [(NOT_APPLICABLE, None, NOT_APPLICABLE)]
        for dtype, imgsz, attention in combinations:
            _check_attention(model, attention, dtype, config.device)
            _check_memory(model, config)
            compiled = " ".join(filter(None, (config.compile, config.compile_mode))) if spec.is_learned else "off"
            arm = Arm(model, prompt, dtype, attention, imgsz, "", compiled)
            latencies = None if recorded is None else _latencies_for(recorded, config, arm)
            arms.append(replace(arm, arm_id=_arm_id(config, split_name, arm, latencies)))
    return arms


def latencies_for(config: RunConfig, arm: Arm) -> ArmLatencies | None:
    """The latencies that an arm is held to; None where its clock is live.

    Raises:
        ConfigError: as `plan_arms`.
    """
    return None if config.realtime_from is None else _latencies_for(_read_latencies(config.realtime_from), config, arm)


def _read_latencies(path: Path) -> RecordedLatencies:
    try:
        return RecordedLatencies(path)
    except RecordedLatenciesError as error:
        raise ConfigError(str(error)) from error


def _latencies_for(recorded: RecordedLatencies, config: RunConfig, arm: Arm) -> ArmLatencies:
    wanted: dict[str, str | int | None] = {name: getattr(arm, name) for name in ("model", "prompt", "imgsz", "autocast_dtype", "attention")}
    try:
        return recorded.select({**wanted, "num_maskmem": config.num_maskmem, "frame_stride": config.frame_stride})
    except RecordedLatenciesError as error:
        raise ConfigError(str(error)) from error


def _check_attention(model: str, attention: str, dtype: str, device: str) -> None:
    """Refuse what certainly cannot run; the worker asks the device about the rest.

    Raises:
        ConfigError: the model or the dtype does not allow it.
    """
    if attention in RELATIVE_CHOICES:
        if not RUNNERS[model].has_relative_positions:
            raise ConfigError(f"--attention {attention}: {model} has no relative positions; use {', '.join(CHOICES)}")
    elif attention != NOT_APPLICABLE and (reason := refusal(attention, dtype, _device_type(device))):
        raise ConfigError(f"--attention {attention}: {reason}")


def _check_memory(model: str, config: RunConfig) -> None:
    if config.memory == "upstream" and RUNNERS[model].family not in ("sam2", "edgetam"):
        raise ConfigError(f"--memory upstream: {model} keeps no frames; run it apart from SAM 2 and EdgeTAM, with --memory bounded")


def _device_type(device: str) -> str | None:
    """`cuda` or `cpu`; None where the worker is to find out."""
    kind = device.partition(":")[0]
    return kind if kind in ("cuda", "cpu") else None


def _arm_id(config: RunConfig, split_name: str, arm: Arm, latencies: ArmLatencies | None) -> str:
    """A readable name, and a digest of the settings that change a measurement without being part of the name."""
    model, prompt = arm.model, arm.prompt
    learned = RUNNERS[model].is_learned
    deciding = {
        "split": split_name,
        "max_frames": config.max_frames,
        "frame_stride": config.frame_stride,
        "warmup_frames": config.warmup_frames,
        "seed": config.seed,
        "num_points": config.num_points if prompt == "points" else None,
        "device": config.device if learned else None,
        "random_weights": config.random_weights if learned else None,
        "num_maskmem": config.num_maskmem if learned else None,
        **{name: value for name, value in (("min_seconds", config.min_seconds), ("min_frames", config.min_frames)) if value},
        **({"joint_objects": True} if config.joint_objects else {}),
        **({"shared_prompts": shared} if len(shared := _shared_prompts(config, model)) > 1 else {}),
        **({"memory": config.memory} if config.memory != "bounded" else {}),
        **({"prefetch": config.prefetch} if config.prefetch != DEFAULT_PREFETCH else {}),
        **({"compile": arm.compile} if arm.compile != "off" else {}),
        **({"stages": True} if config.stages else {}),
        **({"sam1_flow": True} if config.sam1_flow and RUNNERS[model].family == "sam1" else {}),
        **({} if config.realtime_fps is None else {"realtime_fps": config.realtime_fps}),
        **({} if latencies is None else {"realtime_from": latencies.digest}),
    }
    digest = hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:8]
    named = [f"{model}_{prompt}"]
    if learned:
        named += [arm.autocast_dtype, arm.attention, f"{arm.imgsz}px"]
    return "-".join([*named, digest])


def _shared_prompts(config: RunConfig, model: str) -> list[str]:
    """With --share_prompts: the prompts that share a session of the model."""
    return sorted(prompt for name, prompt in map(parse_tag, config.models) if name == model) if config.share_prompts else []


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
