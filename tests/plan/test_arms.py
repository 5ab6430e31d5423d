from __future__ import annotations

from pathlib import Path

import pytest

from runners import RUNNERS
from savbench.arguments.declared import ConfigError, cells
from savbench.plan.arms import parse_tag, plan_arms
from savbench.plan.settings import RunConfig
from savbench.plan.settings_models import NOT_APPLICABLE


def config(**settings: object) -> RunConfig:
    return RunConfig(**{"split_dir": Path("/split"), "models": ("sam2_tiny_points",), **settings})  # type: ignore[arg-type]


def test_lists_multiply_in_the_order_given() -> None:
    arms = plan_arms(
        config(models=("sam2_tiny_points", "edgetam_bbox"), autocast_dtypes=("float32", "bfloat16"), imgsz=(512, 1024)), "sav_val"
    )
    assert [(a.tag, a.autocast_dtype, a.imgsz) for a in arms] == [
        (tag, dtype, size) for tag in ("sam2_tiny_points", "edgetam_bbox") for dtype in ("float32", "bfloat16") for size in (512, 1024)
    ]
    assert len({a.arm_id for a in arms}) == 8


def test_models_without_dtype_and_size_get_one_arm() -> None:
    (arm,) = plan_arms(config(models=("static_mask",), autocast_dtypes=("float32", "bfloat16"), imgsz=(512, 1024)), "sav_val")
    assert (arm.autocast_dtype, arm.attention, arm.imgsz) == (NOT_APPLICABLE, NOT_APPLICABLE, None)


def test_size_defaults_to_the_models_own() -> None:
    (arm,) = plan_arms(config(), "sav_val")
    assert arm.imgsz == RUNNERS["sam2_tiny"].imgsz == 1024


@pytest.mark.parametrize(
    "changed", [{"max_frames": 8}, {"frame_stride": 2}, {"warmup_frames": 0}, {"seed": 1}, {"random_weights": True}, {"device": "cpu"}]
)
def test_arm_id_changes_with_what_changes_a_measurement(changed: dict[str, object]) -> None:
    assert plan_arms(config(), "sav_val")[0].arm_id != plan_arms(config(**changed), "sav_val")[0].arm_id


@pytest.mark.parametrize(
    "changed",
    [
        {"out_dir": Path("/elsewhere")},
        {"timeout_s": 5.0},
        {"limit_videos": 3},
        {"save_masks": True},
        {"strict": True},
        {"memory_budget": "auto"},
        {"order": "interleaved"},
        {"split_dir": Path("/moved")},
    ],
)
def test_arm_id_stays_with_what_does_not(changed: dict[str, object]) -> None:
    assert plan_arms(config(), "sav_val")[0].arm_id == plan_arms(config(**changed), "sav_val")[0].arm_id


@pytest.mark.parametrize("changed", [{"compile": "encoder"}, {"compile": "full"}, {"compile": "full", "compile_mode": "default"}])
def test_a_compiled_arm_has_an_id_and_a_label_of_its_own(changed: dict[str, object]) -> None:
    (plain,), (arm,) = plan_arms(config(), "sav_val"), plan_arms(config(**changed), "sav_val")
    assert arm.arm_id != plain.arm_id
    assert arm.label == f"{plain.label} compiled {' '.join(map(str, changed.values()))}"
    without_torch = {**changed, "models": ("static_mask",)}
    assert plan_arms(config(**without_torch), "sav_val") == plan_arms(config(models=("static_mask",)), "sav_val")


def test_an_exported_arm_has_an_id_and_a_label_of_its_own() -> None:
    float32 = {"autocast_dtypes": ("float32",)}
    (plain,), (arm,) = plan_arms(config(**float32), "sav_val"), plan_arms(config(runtime=("onnx",), **float32), "sav_val")
    assert arm.arm_id != plain.arm_id
    assert (arm.runtime, arm.label) == ("onnx", f"{plain.label} onnx")
    (baseline,) = plan_arms(config(runtime=("onnx",), models=("static_mask",)), "sav_val")
    assert [baseline] == plan_arms(config(models=("static_mask",)), "sav_val")
    # both in one command are the arms of two commands: either resumes what the other has measured
    assert plan_arms(config(runtime=("torch", "onnx"), **float32), "sav_val") == [plain, arm]
    assert (plain.arm_id, arm.arm_id) == ("sam2_tiny_points-float32-auto-1024px-87f63fae", "sam2_tiny_points-float32-auto-1024px-63ec5788")


def test_beside_torch_a_model_without_exported_stages_runs_in_torch_only() -> None:
    models = ("sam2_tiny_points", "sam1_base_mask", "static_mask")
    settings = config(runtime=("onnx", "torch"), models=models, autocast_dtypes=("float32",))
    arms = plan_arms(settings, "sav_val")
    assert [(arm.model, arm.runtime) for arm in arms] == [
        ("sam2_tiny", "onnx"), ("sam2_tiny", "torch"), ("sam1_base", "torch"), ("static", "torch"),
    ]  # fmt: skip
    assert [arm for arm in arms if arm.runtime == "torch"] == plan_arms(config(models=models, autocast_dtypes=("float32",)), "sav_val")
    assert [cells(settings, arm)["runtime"] for arm in arms] == ["onnx", "torch", "none", "none"]


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"models": ("sam3_points",)}, "sam3 has no exported stages, only edgetam and sam2 have; use --runtime torch"),
        ({"models": ("sam1_base_mask",)}, "sam1_base has no exported stages"),
        ({"autocast_dtypes": ("bfloat16",)}, "--runtime onnx: has no bfloat16; use --autocast_dtype float32 or float16"),
        ({"runtime": ("tensorrt",), "device": "cpu"}, "runs on NVIDIA GPUs only, not on cpu; use --runtime onnx"),
        ({"runtime": ("torch", "onnx"), "autocast_dtypes": ("float32", "bfloat16")}, "--runtime onnx: has no bfloat16"),
        ({"attention": ("manual",)}, "--attention manual: exported graphs hold their own attention; use auto"),
    ],
)
def test_what_cannot_be_exported_is_refused(changed: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        plan_arms(config(**{"runtime": ("onnx",), "autocast_dtypes": ("float32",), **changed}), "sav_val")


def test_an_arm_with_stages_has_an_id_of_its_own() -> None:
    assert plan_arms(config(), "sav_val")[0].arm_id != plan_arms(config(stages=True), "sav_val")[0].arm_id


@pytest.mark.parametrize("changed", [{"min_time_s": 600.0}, {"min_frames": 1024}])
def test_arm_id_changes_with_how_long_is_measured_and_is_what_it_was_without(changed: dict[str, object]) -> None:
    assert plan_arms(config(), "sav_val")[0].arm_id == plan_arms(config(min_time_s=0.0, min_frames=0), "sav_val")[0].arm_id
    assert plan_arms(config(), "sav_val")[0].arm_id != plan_arms(config(**changed), "sav_val")[0].arm_id


def test_clicks_concern_points_prompts_only() -> None:
    def ids(points: int) -> list[str]:
        return [a.arm_id for a in plan_arms(config(models=("sam2_tiny_points", "sam2_tiny_mask"), num_points=points), "s")]

    assert ids(1)[0] != ids(3)[0]
    assert ids(1)[1] == ids(3)[1]


@pytest.mark.parametrize(
    ("tag", "hint"),
    [
        ("sam2_tiny", "sam2_tiny_points"),
        ("static_points", "static_mask"),
        ("sam9_points", "known are"),
        ("sam2_tiny_scribble", "known are"),
        ("", "known are"),
    ],
)
def test_unknown_tags_say_what_to_give(tag: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        parse_tag(tag)


def test_longest_model_name_wins() -> None:
    assert parse_tag("sam2_base_mask") == ("sam2_base", "mask")


@pytest.mark.parametrize("changed", [{"models": ()}, {"models": ("static_mask", "static_mask")}, {"imgsz": (512, 512)}])
def test_lists_that_cannot_run_are_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        plan_arms(config(**changed), "sav_val")


def test_relative_positions_are_chosen_for_sam_v1_alone() -> None:
    arms = plan_arms(config(models=("sam1_base_mask",), attention=("auto", "bias", "augmented")), "sav_val")
    assert [arm.attention for arm in arms] == ["auto", "bias", "augmented"]
    with pytest.raises(ConfigError, match="--attention bias: sam2_tiny has no relative positions"):
        plan_arms(config(attention=("bias",)), "sav_val")


@pytest.mark.parametrize(
    ("attention", "dtype", "device", "reason"),
    [
        ("flash", "float32", "cuda", "flash has no float32 kernel"),
        ("cudnn", "float32", "auto", "cudnn has no float32 kernel"),
        ("efficient", "bfloat16", "cpu", "the CPU has no efficient kernel"),
    ],
)
def test_attention_that_cannot_run_is_refused_before_anything_loads(attention: str, dtype: str, device: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        plan_arms(config(attention=(attention,), autocast_dtypes=(dtype,), device=device), "sav_val")


def test_attention_multiplies_into_arms() -> None:
    arms = plan_arms(config(models=("static_mask", "sam2_tiny_points"), attention=("auto", "manual")), "sav_val")
    assert [(arm.tag, arm.attention) for arm in arms] == [
        ("static_mask", "none"), ("sam2_tiny_points", "auto"), ("sam2_tiny_points", "manual"),
    ]  # fmt: skip
    assert len({arm.arm_id for arm in arms}) == 3


def test_settings_of_frames_and_memory_change_an_arm_where_they_are_not_the_default() -> None:
    [usual] = plan_arms(config(), "sav_val")
    assert plan_arms(config(prefetch=None, memory="bounded"), "sav_val") == [usual]
    others = [plan_arms(config(**changed), "sav_val")[0].arm_id for changed in ({"prefetch": 0}, {"prefetch": 2}, {"memory": "upstream"})]
    assert len({usual.arm_id, *others}) == 4


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"prefetch": -1}, "--prefetch -1: use 0 to 1000"),
        ({"memory": "flat"}, "--memory flat: use bounded or upstream"),
        ({"memory": "upstream", "realtime_fps": 24.0}, "--memory upstream: loads all frames before tracking"),
        ({"memory": "upstream", "models": ("static_mask",)}, "--memory upstream: static has no such choice"),
    ],
)
def test_frames_and_memory_that_cannot_be_run_are_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_arms(config(**changed), "sav_val")


def test_keyframes_multiply_into_arms_and_every_frame_is_the_arm_that_was_there_before() -> None:
    arms = plan_arms(config(models=("sam2_tiny_mask", "flow_mask"), keyframes=("1", "4:flow", "4:hold")), "sav_val")
    assert [(arm.model, arm.keyframe) for arm in arms] == [(m, k) for m in ("sam2_tiny", "flow") for k in ("", "4:flow", "4:hold")]
    assert len({arm.arm_id for arm in arms}) == 6
    assert arms[0] == plan_arms(config(models=("sam2_tiny_mask",)), "sav_val")[0]
    assert arms[1].label == f"{arms[0].label} keyframe 4:flow"
    assert "-key4flow-" in arms[1].arm_id
