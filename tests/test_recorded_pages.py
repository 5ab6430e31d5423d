"""Pages whose tables and pictures a script records: they are what was recorded, and what was recorded is of the code and weights here."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("omegaconf", reason="needs omegaconf, which sam2 brings")

from benchmarks import choosing, memory_attention
from runners import RUNNERS, SHIPPED_WEIGHTS
from runners.base import BuildOptions
from savbench.data.demo.split import make_clip
from savbench.data.prompts import make_prompt

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def record() -> Any:
    return json.loads(memory_attention.RECORD.read_text(encoding="utf-8"))


def test_the_tables_of_memory_attention_are_those_recorded(record: Any) -> None:
    page = memory_attention.PAGE.read_text(encoding="utf-8")
    assert page == memory_attention.rendered(page, record), f"run {memory_attention.COMMAND} --render"


def test_the_configurations_are_those_installed(record: Any) -> None:
    pytest.importorskip("sam2", reason="needs sam2")
    pytest.importorskip("transformers.models.edgetam_video", reason="needs a transformers with EdgeTAM")
    command = f"run {memory_attention.COMMAND} --only configurations"
    assert json.loads(json.dumps(memory_attention.configurations())) == record["configurations"], command


def test_published_configurations_are_as_the_page_says(record: Any) -> None:
    found = record["configurations"]
    sam2 = [found[model] for model in ("sam2_tiny", "sam2_small", "sam2_base", "sam2_large")]
    assert all({**one, "trunk": ""} == {**sam2[0], "trunk": ""} for one in sam2)  # they differ in their image encoders alone
    assert (sam2[0]["keys"], found["edgetam"]["keys"]) == (28_736, 3_648)
    assert (sam2[0]["layers"], found["edgetam"]["layers"]) == (4, 2)


def test_what_parts_are_worth_is_of_the_weights_here(record: Any) -> None:
    digest = hashlib.sha256((SHIPPED_WEIGHTS / str(RUNNERS["sam2_nano"].checkpoint)).read_bytes()).hexdigest()
    assert record["worth"]["weights"] == digest, f"sam2_nano was trained anew: run {memory_attention.COMMAND} and {choosing.COMMAND}"
    assert [arm["arm"] for arm in record["worth"]["arms"]] == [arm.name for arm in memory_attention.ARMS]


def test_every_change_leaves_a_model_that_tracks() -> None:
    pytest.importorskip("sam2", reason="needs sam2")
    clip = make_clip(
        (101, 0), 6, 240, 428, roles=("stay",), distractors=0
    )  # the object must be seen: of one judged absent, logits are constant
    prompts = {0: [make_prompt("mask", clip.masks_nthw[0, 0], 1)]}
    spec = RUNNERS["sam2_nano"]

    def logits(arm: memory_attention.Arm) -> list[Any]:
        weights = SHIPPED_WEIGHTS / str(spec.checkpoint)
        runner: Any = spec.build(BuildOptions(imgsz=spec.imgsz, weights=weights, config=spec.config, num_maskmem=arm.num_maskmem))
        arm.change(runner._predictor)
        seen: list[Any] = []
        memory_attention._play(runner, clip, prompts, lambda _, __: seen.append(runner._logits_n1hw.clone()))
        return seen

    whole, *others = map(logits, memory_attention.ARMS)
    assert len(whole) == 6
    for seen in others:  # each change changes something
        assert any(not a.equal(b) for a, b in zip(whole, seen, strict=True))


def test_published_figures_are_those_of_the_references() -> None:
    page = choosing.PAGE.read_text(encoding="utf-8")
    assert page == choosing.filled(page, {"published": choosing.published()}), f"run {choosing.COMMAND} --render"


def test_pictures_are_there_and_small() -> None:
    names = {f"{video}-{name}.jpg" for video, name, _ in choosing.SHOWN}
    assert {path.name for path in choosing.PICTURES.iterdir()} == names
    assert sum(path.stat().st_size for path in choosing.PICTURES.iterdir()) < 500_000
    page = choosing.PAGE.read_text(encoding="utf-8")
    assert all(f"(choosing/{name})" in page for name in names)
