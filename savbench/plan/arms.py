"""The arms of a run: what its settings multiply into, each with an id that says what it measures."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass, replace
from pathlib import Path

from attention import CHOICES, RELATIVE_CHOICES, refusal
from runners import PROMPT_KINDS, RUNNERS
from savbench.plan.config import NOT_APPLICABLE, ConfigError, RunConfig
from savbench.plan.recorded_latencies import ArmLatencies, RecordedLatencies, RecordedLatenciesError


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
        **({"prefetch": config.prefetch} if config.prefetch is not None else {}),
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
