from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

import jetson_benchmark
from savbench.arguments.declared import ConfigError, Setting, flag_of, settings_of
from savbench.arguments.values import FilePath, ListOf, Number, NumberOrWord, Whole
from savbench.plan.command_line import config_of
from savbench.plan.settings import RunConfig


def config(**settings: object) -> RunConfig:
    return RunConfig(**{"split_dir": Path("/split"), "models": ("sam2_tiny_points",), **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"compile": "everything"}, "use off, encoder or full"),
        ({"compile": "full", "compile_mode": "fastest"}, "use default, reduce-overhead, max-autotune or max-autotune-no-cudagraphs"),
        ({"compile_mode": "default"}, "nothing is compiled; add --compile encoder or full"),
        ({"compile": "full", "warmup_frames": 0}, "--compile needs at least 1"),
        ({"memory_selection": "samurai", "runtime": ("onnx",)}, "--memory_selection samurai: is done around the official code; leave out"),
        ({"memory_selection": "samurai", "implementation": "transformers"}, "leave out --runtime and --implementation"),
        ({"compile": "full", "runtime": ("onnx",)}, "--runtime onnx runs no code that torch compiles; leave one of them out"),
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
        ({"shard": (5, 4)}, "--shard 5/4: shards are numbered from 1; use 1/4 to 4/4"),
        ({"imgsz": (512, 512)}, "--imgsz 512,512: names a value twice"),
        ({"autocast_dtypes": ("float8",)}, "--autocast_dtype float8"),
        ({"autocast_dtypes": ()}, "--autocast_dtype"),
        ({"imgsz": (512, -512)}, "--imgsz -512"),
        ({"min_time_s": -1.0}, "--min_time -1"),
        ({"min_time_s": float("nan")}, "--min_time nan"),
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
    before = config(imgsz=(512,), out_dir=Path("/out"), edgetam_dir=Path("/EdgeTAM"), max_frames=9, weights_dir=Path("/w"), shard=(2, 4))
    assert RunConfig.from_json(json.loads(json.dumps(before.to_json()))) == before


@pytest.mark.parametrize("memories", [0, 8])
def test_numbers_of_memories_that_no_model_has_are_refused(memories: int) -> None:
    with pytest.raises(ConfigError, match=f"--num_maskmem {memories}: use 1 to 7"):
        config(num_maskmem=memories)


def given(*arguments: str) -> RunConfig:
    return config_of(jetson_benchmark.parse(["--split_dir", "/split", "--models", "static_mask", *arguments]))


def test_what_the_command_line_leaves_out_has_the_default_of_the_settings() -> None:
    bare = given()
    assert bare == RunConfig(
        split_dir=Path("/split"), models=("static_mask",), edgetam_dir=bare.edgetam_dir, efficienttam_dir=bare.efficienttam_dir
    )


def numbers() -> list[tuple[str, str, Number]]:
    """Field, flag and range of every setting that is a number."""
    found = []
    for field, declared in settings_of(RunConfig):
        kind = declared.kind
        kind = kind.number if isinstance(kind, NumberOrWord) else kind.item if isinstance(kind, ListOf) else kind
        if isinstance(kind, Number):
            found.append((field.name, flag_of(field), kind))
    return found


PAIRS = ("click", "shard", "power_scale")
"""Settings of two numbers, whose kinds check both."""


def test_every_number_of_the_settings_has_a_range() -> None:
    of_numbers = {
        field.name
        for field, _ in settings_of(RunConfig)
        if any(kind in str(field.type).replace("[", " ").replace(",", " ").split() for kind in ("int", "float")) and field.name not in PAIRS
    }
    assert of_numbers == {name for name, _, _ in numbers()}
    assert {"timeout_s", "seed", "imgsz", "limit_videos", "limit_objects", "power_interval_s"} <= of_numbers
    assert all(math.isfinite(kind.low) and math.isfinite(kind.high) for _, _, kind in numbers())


@pytest.mark.parametrize(("name", "flag", "kind"), numbers())
def test_numbers_out_of_their_range_are_refused_with_what_to_give(name: str, flag: str, kind: Number) -> None:
    for text in (
        kind.show(kind.low - 1),
        kind.show(kind.high + 1),
        "9" * 400,
        *(() if isinstance(kind, Whole) else ("inf", "-inf", "nan")),
    ):
        with pytest.raises(ConfigError) as refused:
            given(f"{flag}={text}")
        assert f"{flag} " in str(refused.value)
        assert f"use {kind.show(kind.low)} to {kind.show(kind.high)}" in str(refused.value)
    with pytest.raises(ConfigError, match="some: give a"):
        given(f"{flag}=some")


@pytest.mark.parametrize(("name", "flag", "kind"), numbers())
def test_the_ends_of_a_range_are_in_it(name: str, flag: str, kind: Number) -> None:
    for value in (kind.low, kind.high):
        also = ("--compile", "off", "--executor", "ray") if name == "cpus_per_task" else ()
        parsed = getattr(given(f"{flag}={kind.show(value)}", *also), name)
        assert parsed in (value, (value,))


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:12"])
def test_devices_as_torch_names_them(device: str) -> None:
    assert given("--device", device).device == device


@pytest.mark.parametrize("device", ["", "gpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cuda:1234", "cpu:0", "cuda:0 ", "mps"])
def test_other_devices_are_refused_before_torch_is_loaded(device: str) -> None:
    with pytest.raises(ConfigError, match=r"--device .*: use auto, cpu, cuda, or cuda:N"):
        given("--device", device)


def paths() -> list[tuple[str, str]]:
    return [(field.name, flag_of(field)) for field, declared in settings_of(RunConfig) if isinstance(declared.kind, FilePath)]


@pytest.mark.parametrize(("name", "flag"), paths())
def test_the_home_folder_is_found_in_every_path(name: str, flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for package in ("sam2", "efficient_track_anything"):
        (tmp_path / "x" / package).mkdir(parents=True)
    assert getattr(given(f"{flag}=~/x"), name) == tmp_path / "x"


def test_no_path_is_forgotten() -> None:
    assert {name for name, _ in paths()} == {
        "split_dir",
        "weights_dir",
        "exported_dir",
        "sam2_dir",
        "edgetam_dir",
        "efficienttam_dir",
        "realtime_from",
        "out_dir",
        "prompts",
    }


def test_every_field_is_a_setting_and_every_setting_survives_json_with_another_value() -> None:
    assert [field.name for field in dataclasses.fields(RunConfig)] == [field.name for field, _ in settings_of(RunConfig)]
    for field, declared in settings_of(RunConfig):
        value = another(field, declared)
        data = json.loads(json.dumps(declared.kind.to_json(value)))
        assert declared.kind.from_json(data) == value, field.name


def another(field: dataclasses.Field[object], declared: Setting) -> object:
    """A value of a setting that is not its default."""
    kind = declared.kind
    texts = {
        "shard": "2/4",
        "click": "412,300",
        "models": "flow_mask",
        "attention": "manual",
        "autocast_dtypes": "float32,float16",
        "imgsz": "512,1024",
        "save_overlays": "worst:10",
    }
    if not kind.metavar:
        return True
    if isinstance(kind, Number):
        return kind.parse(kind.show(kind.high))
    return kind.parse(texts.get(field.name, "3"))


def test_keyframe_k_alone_is_with_flow() -> None:
    assert given("--keyframe", "1,2,4:hold").keyframes == ("1", "2:flow", "4:hold")


@pytest.mark.parametrize("value", ["0", "1:flow", "4:static", "x", "1001", "-2", "2:flow:hold", "²"])
def test_a_keyframe_that_is_none_is_refused_with_what_to_give(value: str) -> None:
    with pytest.raises(
        ConfigError, match=r"--keyframe .*: give 1 \(the model on every frame\), or K, K:flow or K:hold with K from 2 to 1000"
    ):
        config(keyframes=(value,))


def test_keyframes_and_upstreams_memory_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="prepares every frame for the model, also those that --keyframe skips"):
        config(keyframes=("4:flow",), memory="upstream")
