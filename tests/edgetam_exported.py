"""The official EdgeTAM in torch and as exported graphs on the same small clip; run as a script, as `edgetam_clip` and for its reason."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from edgetam_clip import FRAMES, IMGSZ, ROOT, lively_weights, make_frames, make_prompt, other_mask, run_clip

from runners import RUNNERS
from runners.base import BuildOptions
from runners.exported.boundary import SIGNATURES
from runners.exported.edgetam import EdgeTamBoundary
from runners.exported.graphs import examples
from runners.exported.ort import OrtStage
from runners.implementations import build_edgetam as build

LONG = 11
"""Frames of a session whose memory becomes full: the prompted frame and six others."""
ON_CPU = ("onnx:float32", "onnx:float16", "onnx-int8:float32")


def report_of(source_dir: Path, out: Path, device: str, *arms: str) -> dict[str, Any]:
    """What a process with the official code sees; most of its time goes into exporting, once per folder `out`.

    Args:
        arms: RUNTIME:DTYPE each.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, str(source_dir), str(out), device, *arms]
    done = subprocess.run(command, env=environment, cwd=out, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(json.loads((out / "report.json").read_text()))


def relative(expected: torch.Tensor, found: torch.Tensor) -> float:
    """Largest difference over the largest value."""
    return float((found - expected).abs().max() / expected.abs().max())


def of_sizes(native: Any, folder: Path) -> dict[str, float]:
    """How far memory attention is from torch's, by memories and pointers."""
    boundary = EdgeTamBoundary(native._predictor)
    given = examples(boundary)["memory_attention"]
    features, position, memory, _, pointer, _ = given
    stage, graph = boundary.torch_stages()["memory_attention"], folder / "memory_attention.onnx"
    exported = OrtStage("memory_attention", graph, torch.device("cpu"), given)
    found = {}
    for memories, pointers in ((1, 1), (2, 16), (7, 2), (8, 16)):
        held = [torch.randn(count, *one.shape[1:]) for count, one in ((memories, memory), (4 * pointers, pointer)) for _ in range(2)]
        inputs = (features, position, *held)
        found[f"{memories} memories, {pointers} pointers"] = relative(stage(*inputs)[0], exported(*inputs)[0])
    return found


def of_places(native: Any, folder: Path) -> dict[str, float]:
    """How much the exported memory attention changes when latents change places: those of the grid have one, the others have none."""
    given = examples(EdgeTamBoundary(native._predictor))["memory_attention"]
    exported = OrtStage("memory_attention", folder / "memory_attention.onnx", torch.device("cpu"), given)
    features, position, memories, memory_positions, *pointers = given

    def changed(part: slice) -> float:
        turned = [x.clone() for x in (memories, memory_positions)]
        for x in turned:
            x[:, part] = x[:, part].flip(1)
        return relative(exported(*given)[0], exported(features, position, *turned, *pointers)[0])

    return {"global": changed(slice(0, 256)), "grid": changed(slice(256, 512))}


def main(source_dir: str, out_dir: str, device: str, *arms: str) -> None:
    """Write down how the arms, RUNTIME:DTYPE, differ from torch; on the CPU also what is in the graphs."""
    torch.set_num_threads(1)
    out = Path(out_dir)
    config = RUNNERS["edgetam"].config
    options = BuildOptions(imgsz=IMGSZ, config=config, source_dir=Path(source_dir), seed=3, device=device, exported_dir=out / "graphs")
    random: Any = build(replace(options, device="cpu"))
    torch.save({"model": lively_weights(random._predictor)}, out / "edgetam.pt")
    options = replace(options, weights=out / "edgetam.pt", calibration=lambda: make_frames(2))
    native: Any = build(options)
    prompts = {"points": [make_prompt("points")], "two": [make_prompt("mask"), other_mask(2)]}
    lengths = {"points": FRAMES, "two": LONG}
    report: dict[str, Any] = {"arms": {}}
    with torch.inference_mode():
        expected = {name: run_clip(native, given, count=lengths[name]) for name, given in prompts.items()}
        for runtime, dtype in (arm.split(":") for arm in arms):
            runner: Any = build(replace(options, runtime=runtime, autocast_dtype=dtype))
            applied = runner.applied
            memories: list[int] = []
            attend = runner._predictor.memory_attention.forward

            def counted(*, num_spatial_mem: int, attend: Any = attend, memories: list[int] = memories, **given: Any) -> Any:
                memories.append(num_spatial_mem)
                return attend(num_spatial_mem=num_spatial_mem, **given)

            runner._predictor.memory_attention.forward = counted
            arm: dict[str, Any] = {"difference": applied.runtime.difference, "placement": applied.runtime.placement, "notes": applied.notes}
            sessions = prompts if (runtime, dtype) == ("onnx", "float32") else {"points": prompts["points"]}
            for name, given in sessions.items():
                with torch.autocast(device, getattr(torch, dtype), enabled=dtype != "float32"):
                    masks, logits, finite = run_clip(runner, given, count=lengths[name])
                wanted, wanted_logits, _ = expected[name]
                arm[name] = {
                    "frames": len(masks),
                    "objects": len(masks[0]),
                    "finite": all(finite),
                    "logits": max(float(np.abs(a - b).max()) for a, b in zip(wanted_logits, logits, strict=True)),
                    "pixels": max(int((a != b).sum()) for a, b in zip(wanted, masks, strict=True)),
                    "foreground": min(int(mask.sum()) for mask in wanted),
                }
            arm["memories"] = max(memories)
            report["arms"][f"{runtime} {dtype}"] = arm
        if device == "cpu":
            (folder,) = (out / "graphs").iterdir()
            report["sizes"], report["places"] = of_sizes(native, folder), of_places(native, folder)
            report["folder"], report["identity"] = folder.name, json.loads((folder / "manifest.json").read_text())["identity"]
    report["native"] = native.applied.runtime
    report["stages"] = list(SIGNATURES)
    (out / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
