from __future__ import annotations

import json
from pathlib import Path

import pytest

from runners import RUNNERS
from savbench.config import NOT_APPLICABLE, ConfigError, RunConfig, parse_tag, plan_arms


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


@pytest.mark.parametrize("changed", [{"min_seconds": 600.0}, {"min_frames": 1024}])
def test_arm_id_changes_with_how_long_is_measured_and_is_what_it_was_without(changed: dict[str, object]) -> None:
    assert plan_arms(config(), "sav_val")[0].arm_id == plan_arms(config(min_seconds=0.0, min_frames=0), "sav_val")[0].arm_id
    assert plan_arms(config(), "sav_val")[0].arm_id != plan_arms(config(**changed), "sav_val")[0].arm_id


def test_a_preset_raises_what_is_below_it() -> None:
    measured = config(min_seconds=5.0, min_frames=5000).with_preset("mlperf")
    assert (measured.min_seconds, measured.min_frames) == (600.0, 5000)
    assert plan_arms(config().with_preset("mlperf"), "s") == plan_arms(config(min_seconds=600.0, min_frames=1024), "s")
    with pytest.raises(ConfigError, match="--preset fast: use mlperf"):
        config().with_preset("fast")


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
        ("sam3_points", "known are"),
        ("sam2_tiny_scribble", "known are"),
        ("", "known are"),
    ],
)
def test_unknown_tags_say_what_to_give(tag: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        parse_tag(tag)


def test_longest_model_name_wins() -> None:
    assert parse_tag("sam2_base_mask") == ("sam2_base", "mask")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"limit_videos": 0}, "--limit_videos 0"),
        ({"frame_stride": -1}, "--frame_stride -1"),
        ({"warmup_frames": -1}, "--warmup_frames -1"),
        ({"max_frames": 1}, "--max_frames 1"),
        ({"timeout_s": 0.0}, "--timeout 0"),
        ({"autocast_dtypes": ("float8",)}, "--autocast_dtype float8"),
        ({"autocast_dtypes": ()}, "--autocast_dtype"),
        ({"imgsz": (512, -512)}, "--imgsz -512"),
        ({"min_seconds": -1.0}, "--min_seconds -1"),
        ({"min_seconds": float("nan")}, "--min_seconds nan"),
        ({"min_frames": -1}, "--min_frames -1"),
        ({"order": "random"}, "--order random"),
        ({"cooldown_c": 400.0}, "--cooldown_c 400"),
        ({"strict": True, "power": "none"}, "--strict"),
        ({"sustained_minutes": 0.0}, "--sustained 0"),
        ({"sustained_minutes": 10.0, "strict": True}, "--sustained"),
        ({"sustained_minutes": 10.0, "order": "interleaved"}, "--sustained"),
        ({"sustained_minutes": 10.0, "share_prompts": True}, "--sustained"),
        ({"memory_budget": 0.0}, "--memory_budget 0"),
        ({"memory_budget": "all"}, "--memory_budget all"),
    ],
)
def test_values_that_cannot_run_are_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**changed)


@pytest.mark.parametrize("changed", [{"models": ()}, {"models": ("static_mask", "static_mask")}, {"imgsz": (512, 512)}])
def test_lists_that_cannot_run_are_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        plan_arms(config(**changed), "sav_val")


def test_settings_survive_json() -> None:
    before = config(imgsz=(512,), out_dir=Path("/out"), edgetam_dir=Path("/EdgeTAM"), max_frames=9, weights_dirs=(Path("/w"),))
    assert RunConfig.from_json(json.loads(json.dumps(before.to_json()))) == before


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


@pytest.mark.parametrize("memories", [0, 8])
def test_numbers_of_memories_that_no_model_has_are_refused(memories: int) -> None:
    with pytest.raises(ConfigError, match=f"--num_maskmem {memories}: use 1 to 7"):
        config(num_maskmem=memories)
