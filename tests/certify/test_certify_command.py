"""`jetson_benchmark.py certify` from the command line to its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import jetson_benchmark
from savbench.data.demo.split import generate_demo_split


@pytest.fixture(scope="module")
def split_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("split") / "demo"
    generate_demo_split(folder, videos=1, frames=24, height=96, width=128)
    return folder


def certify(split_dir: Path, *arguments: str) -> int:
    short = ("--limit_objects", "1", "--max_frames", "3", "--imgsz", "96", "--device", "cpu")
    return jetson_benchmark.main(["certify", "--split_dir", str(split_dir), *short, *arguments])


def test_an_arm_is_certified_and_every_error_is_in_the_file(split_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sam2", reason="needs sam2")
    file = tmp_path / "c.json"
    assert certify(split_dir, "--models", "sam2_nano_mask", "--autocast_dtype", "bfloat16", "--json", str(file)) == 0
    said = capsys.readouterr().out
    assert "sam2_nano_mask bfloat16 96px against torch float32: 1 object of 1 video" in said
    assert said.splitlines()[-1] == "certified: every stage within its bound on every frame"
    (arm,) = json.loads(file.read_text(encoding="utf-8"))["arms"]
    assert arm["certified"]
    forced = [error for error in arm["objects"][0]["errors"] if error["mode"] == "forced" and error["stage"] == "memory_encoder"]
    assert [error["frame"] for error in forced] == [0, 1, 2]
    assert all(0 < error["error"] < arm["bounds"][error["stage"]] for error in forced)


def test_a_model_without_stages_is_refused_with_what_it_works_for(split_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="needs torch")
    assert certify(split_dir, "--models", "static_mask") == 2
    said = capsys.readouterr().err
    assert said.startswith("jetson_benchmark certify: StaticRunner has no stages that can be compared one by one; it works for")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--weights_dir", "/nowhere"), "--models: not given, and no weights of sam2_tiny, sam2_small"),  # as a run
        (("--models", "sam2_nano"), "add the prompt"),
        (("--models", "sam2_nano_mask", "--json", "/dev/null/c.json"), "--json /dev/null/c.json: cannot be written"),
    ],
)
def test_bad_arguments_are_refused_before_torch_is_loaded(
    split_dir: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert certify(split_dir, *arguments) == 2
    assert message in capsys.readouterr().err
