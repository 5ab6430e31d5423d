"""J and F against the official SA-V evaluator, bit for bit: single pairs, sequences, and its whole run over a folder of PNG files.

Set SAV_EVALUATOR_DIR to the folder `sav_dataset` of a checkout of facebookresearch/sam2; without it these tests are skipped.
"""

from __future__ import annotations

import importlib.util
import multiprocessing.dummy
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from mask_oracle import Mask, random_pairs, real_pairs, rectangle
from PIL import Image

from savbench.finish.metrics import FrameScore, ObjectScorer, frames_to_score, score_frame
from savbench.results.scores import ObjectScore, dataset_means


@pytest.fixture(scope="module")
def official() -> ModuleType:
    """The module of the official evaluator, from a checkout; it needs OpenCV, Pillow, scikit-image and tqdm."""
    folder = os.environ.get("SAV_EVALUATOR_DIR")
    if not folder:
        pytest.skip("SAV_EVALUATOR_DIR is not set to the folder sav_dataset of a checkout of facebookresearch/sam2")
    path = Path(folder) / "utils" / "sav_benchmark.py"
    spec = importlib.util.spec_from_file_location("official_sav_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def official_score(official: ModuleType, prediction: Mask, truth: Mask) -> FrameScore | None:
    evaluator = official.Evaluator()
    evaluator.feed_frame(mask=prediction, gt=truth)
    if True not in evaluator.object_iou:
        return None
    return FrameScore(*(float(values[True][0]) for values in (evaluator.object_iou, evaluator.boundary_f)))


def count_equal(official: ModuleType, pairs: Iterable[tuple[Mask, Mask]]) -> int:
    compared = 0
    for prediction, truth in pairs:
        expected = official_score(official, prediction, truth)
        if expected is not None:
            assert score_frame(prediction, truth) == expected
            compared += 1
    return compared


def test_random_pairs_equal_the_official_evaluator(official: ModuleType) -> None:
    assert count_equal(official, random_pairs(2400)) > 2000


def test_real_masks_equal_the_official_evaluator(official: ModuleType) -> None:
    assert count_equal(official, real_pairs(every=3)) > 800


@pytest.mark.parametrize("seed", range(20))
def test_sequences_equal_the_official_evaluator(official: ModuleType, seed: int) -> None:
    """Objects that appear late, in the prediction first, vanish, come back, or never are in the truth."""
    rng = np.random.default_rng(seed)
    scorer, evaluator = ObjectScorer(), official.Evaluator()
    for _ in range(int(rng.integers(1, 30))):
        masks = np.stack([rectangle((90, 120), *(int(side) for side in rng.integers(1, 50, size=4))) for _ in range(2)])
        masks[rng.random(2) < (0.7, 0.95 if seed % 5 == 0 else 0.6)] = False
        scorer.feed_frame(masks[0], masks[1])
        evaluator.feed_frame(mask=masks[0], gt=masks[1])
    all_J, all_F = evaluator.conclude()
    score = scorer.conclude()
    if score is None:
        assert all_J == {}
        return
    assert (score.J * 100, score.F * 100, score.frames_scored) == (all_J[True], all_F[True], len(evaluator.object_iou[True]))


def test_dataset_means_equal_the_official_evaluator(
    official: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its whole run over PNG files in SA-V's layout: the frames left out, the means of objects and of the dataset."""
    rng = np.random.default_rng(3)
    scores: dict[tuple[str, str], ObjectScore] = {}
    for video in ("sav_000011", "sav_000002", "sav_000103"):
        for obj in ("000", "001", "002", "003"):
            scorer = ObjectScorer()
            names = [f"{frame:05d}.png" for frame in range(0, 44, 4)]
            for name in names:
                prediction, truth = (rectangle((90, 120), *(int(side) for side in rng.integers(5, 60, size=4))) for _ in range(2))
                # absent at the start and in between, the two not alike
                truth &= name > "00012.png" or obj == "000"
                prediction &= name != "00024.png"
                for root, mask in (("truth", truth), ("predictions", prediction)):
                    path = tmp_path / root / video / obj / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(mask.astype(np.uint8) * 255).save(path)
                if name in frames_to_score(names):
                    scorer.feed_frame(prediction, truth)
            concluded = scorer.conclude()
            assert concluded is not None
            scores[video, obj] = concluded
    # threads, for a module loaded from a path cannot be found by other processes
    monkeypatch.setattr(official, "Pool", multiprocessing.dummy.Pool)
    (JandF,), (J,), (F,), (objects,) = official.benchmark([str(tmp_path / "truth")], [str(tmp_path / "predictions")], verbose=False)
    means = dataset_means(scores[key] for key in sorted(scores))
    assert (means.J_percent, means.F_percent, means.JandF_percent) == (J, F, JandF)
    assert means.objects == 12
    for (video, obj), score in scores.items():
        of_J, of_F = (by_object[obj] for by_object in objects[video])
        assert (of_J, of_F) == (score.J * 100, score.F * 100)
