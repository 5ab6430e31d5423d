"""SAM 2.1 and EdgeTAM at 1024 as this benchmark drives them, beside upstream's own loop over the same predictor, in turns.

    .venv/bin/python -m benchmarks.gpu_acceptance --out upstream.json
    .venv/bin/python -m benchmarks.gpu_acceptance --rehearse

Upstream's loop prepares the whole clip when it opens it and keeps every output; a frame of it is one step of `propagate_in_video`, of
transformers' EdgeTAM one of `propagate_in_video_iterator` with the masks at the video's size, and the masks brought to the host. Ours
prepares a frame when it is fed: `model_ms` is to be compared with a step, the latency with a step and its masks. Weights are random, which
changes masks and not times. Beyond `MODEL_LIMIT` or `LATENCY_LIMIT` of upstream's the comparison has failed, on a GPU; a rehearsal judges
no times.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.nn import functional

from benchmarks.common import table
from runners import RUNNERS
from runners.base import BuildOptions, Clip, Frame, Prompt
from runners.official import OfficialPredictorRunner
from runners.preprocessing import FramePreprocessor
from runners.torch_common import resolve_device, synchronize
from savbench.data.frames import read_frame
from savbench.data.listing import FRAMES_DIR
from savbench.measure.devices import TorchDevice
from savbench.selfcheck.recorded import load, write_split

MODELS = ("sam2_tiny", "sam2_small", "sam2_base", "sam2_large", "edgetam")
FULL: tuple[tuple[str, ...], int | None, str, int, int] = (MODELS, None, "bfloat16", 16, 4)
REHEARSAL: tuple[tuple[str, ...], int | None, str, int, int] = (("sam2_tiny", "edgetam"), 256, "float32", 6, 1)
"""Models, side of their input (None: their own), dtype, frames and rounds."""
MODEL_LIMIT, LATENCY_LIMIT = 1.03, 1.10
"""What our `model_ms` may take of upstream's step, and our latency of its step with masks, before the acceptance fails."""
SCALE = 4
"""The clip's 180x320 become 720x1280."""
SKIPPED = 3
"""First tracked frames of a turn, in which memory fills and libraries choose their kernels."""


class Pair:
    """One model, driven by our runner and by upstream's own loop."""

    def __init__(self, model: str, folder: Path, device: str, imgsz: int | None, dtype: str, frames: int) -> None:
        spec = RUNNERS[model]
        self.runner = spec.build(BuildOptions(device=device, imgsz=imgsz or spec.imgsz, config=spec.config))
        self.device = TorchDevice(torch, self.runner.applied.device)
        self._on = torch.device(self.runner.applied.device)
        self._dtype = dtype
        self._folder = folder
        self.frames: list[Frame] = [read_frame(path) for path in sorted(folder.iterdir())[:frames]]
        self.mask_hw = load().prompts_nhw[0].repeat(SCALE, axis=0).repeat(SCALE, axis=1)

    def ours(self) -> dict[str, list[float]]:
        """Milliseconds of tracked frames: `latency` of the call, `model` as the runner tells it."""
        runner, found = self.runner, {"latency": [], "model": []}  # type: tuple[Any, dict[str, list[float]]]
        with self.device.autocast(self._dtype):
            runner.open(Clip("acceptance", len(self.frames), *self.frames[0].shape[:2]), self.frames[0])
            runner.prompt(0, self.frames[0], [Prompt(1, "mask", mask_hw=self.mask_hw)])
            for index, frame_hwc in enumerate(self.frames[1:], 1):
                begun = time.perf_counter()
                runner.track(index, frame_hwc)
                found["latency"].append((time.perf_counter() - begun) * 1e3)
                found["model"].append(runner.inspect().parts_ms["model_ms"])
            runner.close()
        return {name: samples[SKIPPED:] for name, samples in found.items()}

    def upstreams(self) -> dict[str, list[float]]:
        """Milliseconds of tracked frames in upstream's loop: `step`, and `masks` with their way to the host."""
        found: dict[str, list[float]] = {"step": [], "masks": []}
        with torch.inference_mode(), self.device.autocast(self._dtype):
            steps = self.loop()
            next(steps)
            for _ in self.frames[1:]:
                synchronize(self._on)
                begun = time.perf_counter()
                logits_n1hw = next(steps)
                synchronize(self._on)
                stepped = time.perf_counter()
                (logits_n1hw > 0.0).cpu().numpy()
                found["step"].append((stepped - begun) * 1e3)
                found["masks"].append((time.perf_counter() - begun) * 1e3)
        return {name: samples[SKIPPED:] for name, samples in found.items()}

    def loop(self) -> Iterator[torch.Tensor]:
        """Upstream's own loop over the runner's model: logits at the video's size, (1, 1, height, width), from the prompted frame on."""
        model: Any = next(value for value in vars(self.runner).values() if isinstance(value, torch.nn.Module))
        return self._official_loop(model) if isinstance(self.runner, OfficialPredictorRunner) else self._transformers_loop(model)

    def _official_loop(self, predictor: Any) -> Iterator[torch.Tensor]:
        state = predictor.init_state(video_path=str(self._folder))
        predictor.add_new_mask(state, 0, 1, torch.tensor(self.mask_hw))
        for _, _, logits_n1hw in predictor.propagate_in_video(state):
            yield logits_n1hw

    def _transformers_loop(self, model: Any) -> Iterator[torch.Tensor]:
        from transformers import EdgeTamVideoInferenceSession

        size, size_hw = model.image_size, self.mask_hw.shape
        prepare = FramePreprocessor(size, self._on)
        session = EdgeTamVideoInferenceSession(
            video=torch.stack([prepare(frame_hwc).clone() for frame_hwc in self.frames]),
            video_height=size_hw[0],
            video_width=size_hw[1],
            inference_device=self._on,
            inference_state_device=self._on,
            video_storage_device=self._on,
            dtype=torch.float32,
        )
        mask_11hw = torch.tensor(self.mask_hw, dtype=torch.float32, device=self._on)[None, None]
        resized_11hw = functional.interpolate(mask_11hw, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
        session.add_mask_inputs(session.obj_id_to_idx(1), 0, (resized_11hw >= 0.5).float())
        session.obj_with_new_inputs.append(1)
        for output in model.propagate_in_video_iterator(session, start_frame_idx=0):
            yield functional.interpolate(output.pred_masks.float(), size=size_hw, mode="bilinear", align_corners=False)


def compare(model: str, folder: Path, device: str, imgsz: int | None, dtype: str, frames: int, rounds: int) -> dict[str, Any]:
    """Medians in ms of a model, and their ratios within a round."""
    pair = Pair(model, folder, device, imgsz, dtype, frames)
    pair.ours(), pair.upstreams()  # what is done once
    turns: list[dict[str, float]] = []
    for number in range(rounds):
        halves = [pair.ours, pair.upstreams] if number % 2 == 0 else [pair.upstreams, pair.ours]
        turns.append({name: median(samples) for half in halves for name, samples in half().items()})
    found: dict[str, Any] = {name: median(turn[name] for turn in turns) for name in turns[0]}
    found = {"model": model, "dtype": dtype, **{f"{name}_p50_ms": value for name, value in found.items()}}
    found["model_to_step"] = median(turn["model"] / turn["step"] for turn in turns)
    found["latency_to_masks"] = median(turn["latency"] / turn["masks"] for turn in turns)
    return {**found, "device": pair.device.name, "torch": pair.device.torch_version, "rounds": turns}


def main(argv: Sequence[str] | None = None) -> int:
    """Compare every model; one that fails becomes a line that says so. Returns 0, or 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="also write the figures to this file, as JSON, after each model")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rehearse", action="store_true", help="small sizes, few frames, float32: only to see that all runs")
    args = parser.parse_args(argv)
    models, imgsz, dtype, frames, rounds = REHEARSAL if args.rehearse else FULL
    device = str(resolve_device(args.device))
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        write_split(load(), Path(temporary), {"clip": SCALE})
        folder = Path(temporary) / FRAMES_DIR / "clip"
        for model in models:
            try:
                found.append(compare(model, folder, device, imgsz, dtype, frames, rounds))
            # the other models can still be compared
            except Exception as error:  # noqa: BLE001
                traceback.print_exc()
                found.append({"model": model, "error": f"{type(error).__name__}: {error}"})
            if args.out is not None:
                args.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    names = ("latency_p50_ms", "model_p50_ms", "step_p50_ms", "masks_p50_ms", "model_to_step", "latency_to_masks")
    print(table(("model", *names), [[one["model"], *(f"{one[name]:.3f}" if name in one else "" for name in names)] for one in found]))
    beyond = [] if args.rehearse else list(beyond_limits(found))
    for line in beyond:
        print(line)
    return 1 if beyond or any("error" in one for one in found) else 0


def beyond_limits(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A line for every figure that is beyond its limit."""
    for one in found:
        for name, limit in (("model_to_step", MODEL_LIMIT), ("latency_to_masks", LATENCY_LIMIT)):
            if one.get(name, 0.0) > limit:
                yield f"{one['model']}: {name} is {one[name]:.3f}, above {limit:.2f}"


if __name__ == "__main__":
    sys.exit(main())
