"""The arms of a run: what its settings multiply into, each with an id that says what it measures."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass, replace
from pathlib import Path

from attention import CHOICES, RELATIVE_CHOICES, refusal
from runners import PROMPT_KINDS, RUNNERS, RunnerSpec
from runners.base import RunnerError
from runners.exported import EXPORT_DTYPES, EXPORTABLE, ON_GPU, TORCH, no_dtype, no_exported_stages, no_gpu
from runners.sizes import check_size
from savbench.arguments.declared import ConfigError, deciding
from savbench.arguments.keyframe import EVERY_FRAME
from savbench.arguments.values import did_you_mean
from savbench.plan.protocols import SAV
from savbench.plan.recorded_latencies import ArmLatencies, RecordedLatencies, RecordedLatenciesError
from savbench.plan.settings import RunConfig
from savbench.plan.settings_models import NOT_APPLICABLE, WITH_MEMORY


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
    """What is compiled, with the mode if one was asked for."""
    runtime: str = TORCH
    """What runs the model's stages."""
    keyframe: str = ""
    """`K:flow` or `K:hold`: the model sees every Kth frame only. Empty: it sees every frame."""

    @property
    def family(self) -> str:
        return RUNNERS[self.model].family

    @property
    def tag(self) -> str:
        return f"{self.model}_{self.prompt}"

    @property
    def label(self) -> str:
        """Readable name: the tag and the settings that apply to it."""
        parts = [self.tag]
        if self.autocast_dtype != NOT_APPLICABLE:
            parts.append(self.autocast_dtype)
        if self.attention not in (NOT_APPLICABLE, "auto"):
            parts.append(self.attention)
        if self.imgsz is not None:
            parts.append(f"{self.imgsz}px")
        if self.compile != "off":
            parts.append(f"compiled {self.compile}")
        if self.runtime != TORCH:
            parts.append(self.runtime)
        if self.keyframe:
            parts.append(f"keyframe {self.keyframe}")
        if "~" in self.arm_id:
            parts.append(f"(changed, ~{self.arm_id.rpartition('~')[2]})")
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
        raise ConfigError(f"--models {tag}: add the prompt, for example {tag}_{RUNNERS[tag].prompts[0]}")
    if model in RUNNERS and prompt in PROMPT_KINDS:
        raise ConfigError(f"--models {tag}: {model} takes {' or '.join(RUNNERS[model].prompts)} prompts only; ask for {model}_mask")
    raise ConfigError(f"--models {tag}: no such model{did_you_mean(tag, all_tags())}; known are {', '.join(all_tags())}")


def all_tags() -> list[str]:
    """Every model tag that can be asked for."""
    return [f"{model}_{prompt}" for model, spec in RUNNERS.items() for prompt in spec.prompts]


def plan_arms(config: RunConfig, split_name: str) -> list[Arm]:
    """Multiply the lists into arms, in the order given. A model that uses neither dtype nor size gets one arm.

    Raises:
        ConfigError: no model is named, a tag is unknown, an attention cannot run under a dtype, a model does not support --implementation
            or --memory upstream, a model or a dtype is not one of --runtime, or the file of --realtime_from has no latencies of an arm.
    """
    recorded = None if config.realtime_from is None else _read_latencies(config.realtime_from)
    if not config.models:
        raise ConfigError(f"--models: name at least one of {', '.join(all_tags())}")
    arms = []
    for tag in config.models:
        model, prompt = parse_tag(tag)
        spec = RUNNERS[model]
        if spec.is_learned:
            sizes: tuple[int | None, ...] = config.imgsz or (spec.imgsz,)
            runtimes = (TORCH,) if runs_in_torch_only(config, model) else config.runtime
            combinations = list(itertools.product(config.autocast_dtypes, sizes, config.attention, config.keyframes, runtimes))
        else:
            combinations = [(NOT_APPLICABLE, None, NOT_APPLICABLE, keyframe, TORCH) for keyframe in config.keyframes]
        for dtype, imgsz, attention, keyframe, runtime in combinations:
            _check_size(spec, imgsz)
            _check_attention(model, attention, dtype, config.device)
            check_implementation(model, config.implementation)
            _check_memory(model, config)
            _check_runtime(model, attention, dtype, runtime, config.device)
            compiled = " ".join(filter(None, (config.compile, config.compile_mode))) if spec.is_learned else "off"
            skipping = "" if keyframe == EVERY_FRAME else keyframe
            arm = Arm(model, prompt, dtype, attention, imgsz, "", compiled, runtime, skipping)
            latencies = None if recorded is None else _latencies_for(recorded, config, arm)
            arms.append(replace(arm, arm_id=_arm_id(config, split_name, arm, latencies)))
    return arms


def runs_in_torch_only(config: RunConfig, model: str) -> bool:
    """Whether --runtime lists torch beside exported graphs, which a learned model does not have: it gets the arms of torch alone."""
    spec = RUNNERS[model]
    return TORCH in config.runtime and config.runtime != (TORCH,) and spec.is_learned and spec.family not in EXPORTABLE


def latencies_for(config: RunConfig, arm: Arm) -> ArmLatencies | None:
    """The recorded latencies that an arm's simulated clock uses; None if its clock is live.

    Raises:
        ConfigError: the file cannot be read, or has no latencies of the arm.
    """
    return None if config.realtime_from is None else _latencies_for(_read_latencies(config.realtime_from), config, arm)


def _read_latencies(path: Path) -> RecordedLatencies:
    try:
        return RecordedLatencies(path)
    except RecordedLatenciesError as error:
        raise ConfigError(str(error)) from error


def _latencies_for(recorded: RecordedLatencies, config: RunConfig, arm: Arm) -> ArmLatencies:
    named = ("model", "prompt", "imgsz", "autocast_dtype", "attention", "keyframe", "runtime")
    wanted: dict[str, str | int | None] = {name: getattr(arm, name) for name in named}
    try:
        return recorded.select({**wanted, "num_maskmem": config.num_maskmem, "frame_stride": config.frame_stride})
    except RecordedLatenciesError as error:
        raise ConfigError(str(error)) from error


def _check_size(spec: RunnerSpec, imgsz: int | None) -> None:
    """
    Raises:
        ConfigError: the family cannot run at this size.
    """
    if imgsz is not None:
        try:
            check_size(spec.family, imgsz, spec.config)
        except RunnerError as error:
            raise ConfigError(f"--imgsz: {error}") from error


def _check_attention(model: str, attention: str, dtype: str, device: str) -> None:
    """Refuse an attention that cannot run; the worker checks the rest on the device.

    Raises:
        ConfigError: the model or the dtype does not allow it.
    """
    if attention in RELATIVE_CHOICES:
        if not RUNNERS[model].has_relative_positions:
            raise ConfigError(f"--attention {attention}: {model} has no relative positions; use {', '.join(CHOICES)}")
    elif attention != NOT_APPLICABLE and (reason := refusal(attention, dtype, _device_type(device))):
        raise ConfigError(f"--attention {attention}: {reason}")


def check_implementation(model: str, implementation: str) -> None:
    """
    Raises:
        ConfigError: the model has several implementations, and this is none of them.
    """
    having = RUNNERS[model].implementations
    if having and implementation not in ("auto", *having):
        raise ConfigError(f"--implementation {implementation}: {model} runs from {' or '.join(having)} only; leave it out")


def _check_memory(model: str, config: RunConfig) -> None:
    if config.memory == "upstream" and RUNNERS[model].implementations == ("transformers",):
        raise ConfigError(f"--memory upstream: {model} runs from transformers, which is fed frame by frame; run it separately")
    if config.memory == "upstream" and RUNNERS[model].family not in WITH_MEMORY:
        raise ConfigError(f"--memory upstream: {model} has no such choice; run it separately from SAM 2 and EdgeTAM, with --memory bounded")


def _check_runtime(model: str, attention: str, dtype: str, runtime: str, device: str) -> None:
    """
    Raises:
        ConfigError: the model, the attention, the dtype or the device is not one of the runtime.
    """
    if runtime == TORCH:
        return
    if RUNNERS[model].family not in EXPORTABLE:
        raise ConfigError(no_exported_stages(model, runtime))
    if attention != "auto":
        raise ConfigError(f"--attention {attention}: exported graphs hold their own attention; use auto, or --runtime {TORCH}")
    if dtype not in EXPORT_DTYPES[runtime]:
        raise ConfigError(no_dtype(runtime, dtype))
    if runtime in ON_GPU and device == "cpu":
        raise ConfigError(no_gpu(runtime, device))


def _device_type(device: str) -> str | None:
    """`cuda` or `cpu`; None if the worker will find out."""
    kind = device.partition(":")[0]
    return kind if kind in ("cuda", "cpu") else None


def _arm_id(config: RunConfig, split_name: str, arm: Arm, latencies: ArmLatencies | None) -> str:
    """A readable name, and a digest of the settings that change a measurement without being part of the name."""
    settings = deciding(config, arm)
    # for share_prompts and realtime_from, the prompts shared and the latencies used decide, not the setting's value
    if "share_prompts" in settings and len(shared := _shared_prompts(config, arm.model)) > 1:
        settings["share_prompts"] = shared
    else:
        settings.pop("share_prompts", None)
    if settings.get("protocol") == SAV.name:  # what all results of earlier versions were scored by
        del settings["protocol"]
    if arm.runtime != TORCH:
        settings["runtime"] = arm.runtime
    if latencies is not None:
        settings["realtime_from"] = latencies.digest
    digest = hashlib.sha256(json.dumps({"split": split_name, **settings}, sort_keys=True).encode()).hexdigest()[:8]
    named = [arm.tag]
    if RUNNERS[arm.model].is_learned:
        named += [arm.autocast_dtype, arm.attention, f"{arm.imgsz}px"]
    if arm.keyframe:
        named.append(f"key{arm.keyframe.replace(':', '')}")
    return "-".join([*named, digest])


def _shared_prompts(config: RunConfig, model: str) -> list[str]:
    """The prompts that share a session of the model."""
    return sorted(prompt for name, prompt in map(parse_tag, config.models) if name == model)
