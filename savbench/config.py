"""What a run is asked to do: the settings, and the arms they multiply into."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from attention import CHOICES, RELATIVE_CHOICES, refusal
from runners import PROMPT_KINDS, RUNNERS

AUTOCAST_DTYPES = ("float32", "float16", "bfloat16")
MAX_MASKMEM = 7
"""Memories of SAM 2 and EdgeTAM as published."""
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
    device: str = "auto"
    limit_videos: int | None = None
    limit_objects: int | None = None
    max_frames: int | None = None
    frame_stride: int = 1
    seed: int = 0
    shuffle_videos: bool = False
    warmup_frames: int = 5
    num_points: int = 1
    out_dir: Path | None = None
    """None lets the run choose a folder under results/."""
    save_overlays: bool = False
    save_masks: bool = False
    timeout_s: float = 600.0
    power: str = "auto"
    power_interval_s: float = 0.1
    edgetam_dir: Path | None = None
    sam2_dir: Path | None = None

    def __post_init__(self) -> None:
        for name in ("limit_videos", "limit_objects", "max_frames", "frame_stride", "num_points"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"--{name} {value}: must be 1 or more")
        if self.warmup_frames < 0:
            raise ConfigError(f"--warmup_frames {self.warmup_frames}: must be 0 or more")
        if self.timeout_s <= 0:
            raise ConfigError(f"--timeout {self.timeout_s:g}: must be above 0 seconds")
        if self.max_frames is not None and self.max_frames < 2:
            raise ConfigError("--max_frames 1: a clip needs at least 2 frames, one to prompt and one to track")
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

    def to_json(self) -> dict[str, Any]:
        return {key: _plain(value) for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RunConfig:
        """The inverse of `to_json`."""
        paths = {"split_dir", "out_dir", "edgetam_dir", "sam2_dir"}
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
        ConfigError: a tag is unknown, a list names something twice, or an attention cannot run under a dtype.
    """
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
            arm_id = _arm_id(config, split_name, model, prompt, dtype, imgsz, attention)
            arms.append(Arm(model, prompt, dtype, attention, imgsz, arm_id))
    return arms


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


def _device_type(device: str) -> str | None:
    """`cuda` or `cpu`; None where the worker is to find out."""
    kind = device.partition(":")[0]
    return kind if kind in ("cuda", "cpu") else None


def _arm_id(config: RunConfig, split_name: str, model: str, prompt: str, dtype: str, imgsz: int | None, attention: str) -> str:
    """A readable name, and a digest of the settings that change a measurement without being part of the name."""
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
        **({"sam1_flow": True} if config.sam1_flow and RUNNERS[model].family == "sam1" else {}),
    }
    digest = hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:8]
    named = [f"{model}_{prompt}"]
    if learned:
        named += [dtype, attention, f"{imgsz}px"]
    return "-".join([*named, digest])


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
