from __future__ import annotations

import json
from pathlib import Path

import pytest

from savbench.plan.config import ConfigError, RunConfig


def config(**settings: object) -> RunConfig:
    return RunConfig(**{"split_dir": Path("/split"), "models": ("sam2_tiny_points",), **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"compile": "everything"}, "use off, encoder or full"),
        ({"compile": "full", "compile_mode": "fastest"}, "use one of default, reduce-overhead, max-autotune, max-autotune-no-cudagraphs"),
        ({"compile_mode": "default"}, "nothing is compiled; add --compile encoder or full"),
        ({"compile": "full", "warmup_frames": 0}, "leave the warm-up in"),
    ],
)
def test_what_cannot_be_compiled_is_refused(changed: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        config(**changed)


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


def test_settings_survive_json() -> None:
    before = config(imgsz=(512,), out_dir=Path("/out"), edgetam_dir=Path("/EdgeTAM"), max_frames=9, weights_dirs=(Path("/w"),))
    assert RunConfig.from_json(json.loads(json.dumps(before.to_json()))) == before


@pytest.mark.parametrize("memories", [0, 8])
def test_numbers_of_memories_that_no_model_has_are_refused(memories: int) -> None:
    with pytest.raises(ConfigError, match=f"--num_maskmem {memories}: use 1 to 7"):
        config(num_maskmem=memories)
