"""Time J and F per pair of masks: ours, the algorithm of the literature in plain OpenCV, and optionally the official SA-V evaluator.

    python benchmarks/bench_metrics.py
    python benchmarks/bench_metrics.py --official ../sam2/sav_dataset

The official evaluator is the folder `sav_dataset` of a checkout of facebookresearch/sam2; it needs scikit-image and tqdm besides. Each
round times every implementation once on the same pair, so that whatever else the machine does strikes all of them; times are medians over
the rounds and factors the median of the rounds' own factors. Before timing, all must give the same scores to the last bit.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import machine
from savbench.finish.metrics import boundary_radius, score_frame

Mask = npt.NDArray[np.bool_]
Scorer = Callable[[Mask, Mask], tuple[float, float]]

SIZES = {"480x848": (480, 848), "720p": (720, 1280), "1080p": (1080, 1920)}
COVERAGE = {"3% of the frame": 0.03, "full frame": 0.75}
"""Area of the object over that of the frame. An object of 0.75 touches the middle of all four sides, as an ellipse in a box does."""


def ours(prediction: Mask, truth: Mask) -> tuple[float, float]:
    score = score_frame(prediction, truth)
    return score.J, score.F


def literature(prediction: Mask, truth: Mask) -> tuple[float, float]:
    """Boundaries by comparing neighbours, matches by dilating either boundary with a disk, everything on whole images of bytes."""
    intersection, union = np.count_nonzero(prediction & truth), np.count_nonzero(prediction | truth)
    J = intersection / union if union else 1.0
    radius = boundary_radius(*truth.shape)
    offsets = np.arange(-radius, radius + 1)
    disk = (offsets[:, None] ** 2 + offsets[None, :] ** 2 <= radius**2).astype(np.uint8)
    boundaries = []
    for mask in (prediction, truth):
        continued = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
        boundaries.append((continued[:-1, 1:] != mask) | (continued[1:, :-1] != mask) | (continued[1:, 1:] != mask))
    sizes = [np.count_nonzero(boundary) for boundary in boundaries]
    if not all(sizes):
        return J, float(sizes[0] == sizes[1])
    near = [cv2.dilate(boundary.view(np.uint8), disk).view(np.bool_) for boundary in boundaries]
    precision = np.count_nonzero(boundaries[0] & near[1]) / sizes[0]
    recall = np.count_nonzero(boundaries[1] & near[0]) / sizes[1]
    return J, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def official_scorer(folder: Path) -> Scorer:
    """The official evaluator, fed one frame of one object."""
    path = folder / "utils" / "sav_benchmark.py"
    if not path.is_file():
        raise SystemExit(f"{path} does not exist; --official takes the folder sav_dataset of a checkout of facebookresearch/sam2")
    spec = importlib.util.spec_from_file_location("official_sav_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def official(prediction: Mask, truth: Mask) -> tuple[float, float]:
        evaluator = module.Evaluator()
        evaluator.feed_frame(mask=prediction, gt=truth)
        return evaluator.object_iou[True][0], evaluator.boundary_f[True][0]

    return official


def make_pair(shape: tuple[int, int], coverage: float) -> tuple[Mask, Mask]:
    """A wavy ellipse in the middle of the frame, and the same a few pixels off with other waves; J is about 0.95."""
    height, width = shape
    radius = (coverage * 4 / np.pi) ** 0.5
    rows = (np.arange(height)[:, None] + 0.5) * 2 / height - 1
    columns = (np.arange(width)[None, :] + 0.5) * 2 / width - 1
    masks = []
    for shift, phase in ((0.0, 0.0), (0.04 * radius, 1.0)):
        angle = np.arctan2(rows, columns - shift)
        masks.append(np.asarray(np.hypot(rows, columns - shift) < radius * (1 + 0.03 * np.sin(9 * angle + phase))))
    truth, prediction = masks
    return prediction, truth


def measure(scorers: dict[str, Scorer], prediction: Mask, truth: Mask, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each call, by name, one a round; the scorers take turns in going first."""
    scores = {name: scorer(prediction, truth) for name, scorer in scorers.items()}
    if len(set(scores.values())) != 1:
        raise SystemExit(f"the scores differ, so times would mean nothing: {scores}")
    samples: dict[str, list[float]] = {name: [] for name in scorers}
    names = list(scorers)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            scorers[name](prediction, truth)
            samples[name].append((time.perf_counter() - start) * 1e3)
    return samples


def table(scorers: dict[str, Scorer], rounds: int) -> str:
    others = [name for name in scorers if name != "ours"]
    head = ["size", "object", "J", "F", *(f"{name}, ms" for name in scorers), *(f"{name} / ours" for name in others)]
    lines = [head, ["---"] * 4 + ["---:"] * (len(head) - 4)]
    for size_name, shape in SIZES.items():
        for object_name, coverage in COVERAGE.items():
            prediction, truth = make_pair(shape, coverage)
            J, F = ours(prediction, truth)
            samples = measure(scorers, prediction, truth, rounds)
            times = [f"{statistics.median(samples[name]):.2f}" for name in scorers]
            factors = [statistics.median(a / b for a, b in zip(samples[name], samples["ours"], strict=True)) for name in others]
            lines.append([size_name, object_name, f"{J:.3f}", f"{F:.3f}", *times, *(f"{factor:.0f}x" for factor in factors)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Milliseconds per pair of masks for J and F, as a markdown table.")
    parser.add_argument("--official", type=Path, metavar="DIR", help="folder sav_dataset of a checkout of facebookresearch/sam2")
    parser.add_argument("--rounds", type=int, default=60, help="calls of each implementation per row (default: %(default)s)")
    parser.add_argument("--opencv_threads", type=int, help="threads that OpenCV may use (default: as OpenCV chooses)")
    parser.add_argument("--quick", action="store_true", help="two rounds, to see that it works")
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.rounds = 2
    if arguments.rounds < 1:
        parser.error("--rounds is 1 or more")
    if arguments.opencv_threads is not None:
        cv2.setNumThreads(arguments.opencv_threads)
    scorers: dict[str, Scorer] = {"ours": ours, "two cv2.dilate": literature}
    if arguments.official is not None:
        scorers["official"] = official_scorer(arguments.official)
    opencv = f"OpenCV {cv2.__version__} with {cv2.getNumThreads()} threads"
    print(f"{machine()}, {opencv}, {arguments.rounds} rounds")
    print()
    print(table(scorers, arguments.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
