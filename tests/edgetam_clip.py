"""A small clip for EdgeTAM's two implementations; run as a script, the process in which the official one gives its results.

The official package is called `sam2` like SAM 2's, so it cannot share a process with tests of SAM 2.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from runners.base import BuildOptions, Clip, Frame, Masks, Prompt, RunnerError
from runners.implementations import build_edgetam as build

ROOT = Path(__file__).parents[1]
HEIGHT, WIDTH, FRAMES = 90, 160, 4
MANY = 17
"""More frames than the 15 object pointers that are kept."""
IMGSZ = 256


def count_for(kind: str) -> int:
    return MANY if kind == "mask" else FRAMES


def make_frames(count: int = FRAMES) -> list[Frame]:
    """A textured background that moves right under a bright square that moves left."""
    rng = np.random.default_rng(0)
    texture_hwc = rng.integers(0, 256, (HEIGHT // 10, WIDTH // 5, 3), dtype=np.uint8).repeat(10, axis=0).repeat(10, axis=1)
    frames = []
    for index in range(count):
        frame_hwc = texture_hwc[:, 2 * index : 2 * index + WIDTH].copy()
        frame_hwc[30:60, 100 - 2 * index : 130 - 2 * index] = (250, 240, 60)
        frames.append(frame_hwc)
    return frames


def make_prompt(kind: str, object_id: int = 1) -> Prompt:
    if kind == "points":
        return Prompt(object_id, "points", points_n2=np.array([[114.0, 44.0]], np.float32))
    if kind == "clicks":
        return Prompt(object_id, "points", points_n2=np.array([[114.0, 44.0], [104.0, 34.0]], np.float32))
    if kind == "bbox":
        return Prompt(object_id, "bbox", box_4=np.array([100, 30, 129, 59], np.float32))
    mask_hw = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask_hw[30:60, 100:130] = True
    mask_hw[40:46, 110:117] = False
    return Prompt(object_id, "mask", mask_hw=mask_hw)


def other_mask(object_id: int) -> Prompt:
    mask_hw = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask_hw[5:80, 10:60] = True
    return Prompt(object_id, "mask", mask_hw=mask_hw)


def run_clip(runner: Any, prompts: Sequence[Prompt], start: int = 0, count: int = FRAMES) -> tuple[list[Masks], list[Any], list[bool]]:
    """Masks, (objects, height, width) float32 logits, and whether all was finite, of each frame from the prompted one on."""
    frames = make_frames(count)
    masks, logits, finite = [], [], []
    runner.open(Clip("square", count, HEIGHT, WIDTH), frames[0])
    for index in range(start, count):
        masks.append(runner.prompt(index, frames[index], prompts) if index == start else runner.track(index, frames[index]))
        outputs = runner._outputs[0] if hasattr(runner, "_outputs") else runner._logits_n1hw
        logits.append(outputs[:, 0].float().cpu().numpy().copy())
        report = runner.inspect()
        if len(report.object_scores) != len(masks[-1]):
            raise AssertionError(f"{len(report.object_scores)} object scores for {len(masks[-1])} objects")
        finite.append(report.finite)
    runner.close()
    return masks, logits, finite


def left_by_prompt(runner: Any, prompt: Prompt) -> tuple[Any, Any]:
    """Object pointer, (256,), and memory features, (512, 64) float32, that a prompt on frame 0 leaves for later frames."""
    frames = make_frames(2)
    runner.open(Clip("square", 2, HEIGHT, WIDTH), frames[0])
    runner.prompt(0, frames[0], [prompt])
    if hasattr(runner, "_session"):
        output = runner._session.output_dict_per_obj[0]["cond_frame_outputs"][0]
    else:
        output = runner._state["output_dict"]["cond_frame_outputs"][0]
    pointer = output["object_pointer" if "object_pointer" in output else "obj_ptr"]
    memory = output["maskmem_features"]
    assert memory.dtype == torch.bfloat16
    runner.close()
    return pointer.flatten().numpy().copy(), memory[0].float().numpy().copy()


def lively_weights(model: Any) -> dict[str, Any]:
    """The model's own random weights, moved away from the initial zeros and ones that would hide a wrong mapping, objects present."""
    generator = torch.Generator().manual_seed(1)
    state = {}
    for key, value in model.state_dict().items():
        if not value.is_floating_point():
            state[key] = value.clone()
        elif "running_var" in key:
            state[key] = value * (1 + 0.2 * torch.rand(value.shape, generator=generator))
        else:
            scale = 0.1 if value.ndim <= 1 or key.startswith("no_") or "tpos" in key else 0.0
            state[key] = value + scale * torch.randn(value.shape, generator=generator)
    state["sam_mask_decoder.pred_obj_score_head.layers.2.bias"] += 1.0
    return state


def memory_modes_agree(options: BuildOptions, folder: Path) -> dict[str, bool]:
    """Whether masks in bounded memory are those of upstream's own loader with everything kept, by case."""
    files = []
    for index, frame_hwc in enumerate(make_frames(MANY + 1)):
        files.append(folder / f"{index:05d}.jpg")
        Image.fromarray(frame_hwc).save(files[-1], quality=95)
    frames = [np.asarray(Image.open(path).convert("RGB")) for path in files]
    runners: list[Any] = [build(options), build(replace(options, memory="upstream"))]
    cases = {
        "one frame": ([make_prompt("points")], 0, 1, 1),
        "prompt in mid-clip": ([make_prompt("bbox")], 3, 8, 1),
        "two objects": ([make_prompt("mask"), other_mask(2)], 0, 9, 1),
        "longer than the memory": ([make_prompt("mask")], 0, MANY + 1, 1),
        "stride": ([make_prompt("points")], 1, MANY, 2),
    }
    agree = {}
    for name, (prompts, start, count, stride) in cases.items():
        masks = []
        for runner in runners:
            runner._predictor.memory_temporal_stride_for_eval = stride
            runner.open(Clip("square", count, HEIGHT, WIDTH, tuple(files[:count])), frames[0])
            masks.append([runner.prompt(start, frames[start], prompts), *(runner.track(i, frames[i]) for i in range(start + 1, count))])
            runner.close()
        agree[name] = all(np.array_equal(a, b) for a, b in zip(*masks, strict=True)) and any(mask.any() for mask in masks[0])
    return agree


def checkouts() -> list[Path]:
    """Folders with the official EdgeTAM: those of $EDGETAM_DIR, separated by colons, then ./EdgeTAM."""
    named = [*os.environ.get("EDGETAM_DIR", "").split(os.pathsep), str(ROOT / "EdgeTAM")]
    return [Path(path).resolve() for path in named if path and (Path(path) / "sam2" / "modeling" / "perceiver.py").is_file()]


def checkout() -> Path | None:
    """The first of them, or None."""
    return next(iter(checkouts()), None)


def official_main(source_dir: str, out_dir: str) -> None:
    """Save random weights, run every kind of prompt with them, and write down what happened."""
    torch.set_num_threads(1)
    out = Path(out_dir)
    options = BuildOptions(imgsz=IMGSZ, source_dir=Path(source_dir), seed=3)
    runner: Any = build(options)
    predictor = runner._predictor
    report: dict[str, Any] = {"class": type(runner).__name__, "package": sys.modules["sam2"].__file__, "applied": vars(runner.applied)}
    again: Any = build(options)
    report["same_seed_same_weights"] = all(
        torch.equal(a, b) for a, b in zip(predictor.state_dict().values(), again._predictor.state_dict().values(), strict=True)
    )
    torch.save({"model": lively_weights(predictor)}, out / "edgetam.pt")
    options = BuildOptions(imgsz=IMGSZ, source_dir=Path(source_dir), weights=out / "edgetam.pt")
    runner = build(options)
    arrays = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for kind in ("points", "clicks", "bbox", "mask"):
            masks, logits, finite = run_clip(runner, [make_prompt(kind)], count=count_for(kind))
            arrays[kind] = np.stack(logits)
            report[f"finite_{kind}"] = all(finite)
            arrays[f"pointer_{kind}"], arrays[f"memory_{kind}"] = left_by_prompt(runner, make_prompt(kind))
            report[f"masks_{kind}"] = [str(masks[0].dtype), *masks[0].shape]
        arrays["late"] = np.stack(run_clip(runner, [make_prompt("mask")], start=2)[1])
        arrays["one"] = np.stack(run_clip(runner, [other_mask(2)])[1])
        arrays["both"] = np.stack(run_clip(runner, [make_prompt("mask"), other_mask(2)])[1])
        for dtype in ("bfloat16", "float16"):
            with torch.amp.autocast("cpu", getattr(torch, dtype)):
                _, logits, finite = run_clip(runner, [make_prompt("points")], count=2)
            arrays[dtype] = np.stack(logits)
            report[f"finite_{dtype}"] = all(finite)
        plain = build(dataclasses.replace(options, postprocessing="off"))
        for kind in ("points", "mask"):
            arrays[f"plain_{kind}"] = np.stack(run_clip(plain, [make_prompt(kind)])[1])
    report["warnings"] = [str(warning.message) for warning in caught]
    report["memory_modes_agree"] = memory_modes_agree(options, out)
    frames = make_frames(4)
    runner.open(Clip("square", 4, HEIGHT, WIDTH), frames[0])
    runner.prompt(0, frames[0], [make_prompt("bbox")])
    runner.track(1, frames[1])
    try:
        runner.prompt(2, frames[2], [make_prompt("bbox", object_id=9)])
    except RunnerError as error:
        report["late_object"] = str(error)
    for imgsz in (512, 768):
        larger: Any = build(BuildOptions(imgsz=imgsz, source_dir=Path(source_dir), weights=out / "edgetam.pt"))
        arrays[f"at_{imgsz}"] = np.stack(run_clip(larger, [make_prompt("points")], count=2)[1])
    state = torch.load(out / "edgetam.pt", weights_only=True)
    del state["model"]["no_obj_ptr"]
    torch.save(state, out / "short.pt")
    try:
        build(BuildOptions(imgsz=IMGSZ, source_dir=Path(source_dir), weights=out / "short.pt"))
    except RunnerError as error:
        report["missing_key"] = str(error)
    np.savez(out / "logits.npz", allow_pickle=False, **arrays)
    (out / "report.json").write_text(json.dumps(report, default=str))


if __name__ == "__main__":
    official_main(*sys.argv[1:])
