"""Every protocol against its own tool, bit for bit: from a data set and predictions in pictures on the disk to means over objects.

Set DAVIS_EVALUATOR_DIR to a checkout of davisvideochallenge/davis2017-evaluation, LVOS_EVALUATOR_DIR to one of LingyiHongfd/lvos-evaluation
and MOSE_TOOLS_DIR to the folder MOSEv2/sam2_rcms/tools of one of henghuiding/MOSE-api; tests of those that are not there are skipped.
tests/finish/test_protocols.py holds their answers about the same clips, without a checkout.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from picture_split import save_picture
from protocol_clips import FRAMES, predictions, truth

from savbench.data.dataset import Split, open_split
from savbench.data.masks import CompressedMask, in_one_picture, save_pictures
from savbench.finish.metrics import ObjectScorer
from savbench.finish.saving import save_pictures_of
from savbench.finish.scoring import TruthMasks, score_object
from savbench.plan.arms import Arm
from savbench.plan.protocols import PROTOCOLS
from savbench.results.scores import ObjectScore, dataset_means

VIDEOS = 12
Masks = Sequence[Sequence[Any]]


@contextmanager
def imported(folder: str, *names: str) -> Iterator[list[ModuleType]]:
    """Modules of a checkout, which are forgotten again."""
    before = set(sys.modules)
    sys.path.insert(0, folder)
    try:
        yield [importlib.import_module(name) for name in names]
    finally:
        sys.path.remove(folder)
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "") or "").startswith(folder):
                del sys.modules[name]


def checkout(variable: str, what: str) -> str:
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f"{variable} is not set to {what}")
    return folder


def write(root: Path, name: str, pictures: Sequence[Any]) -> None:
    """A video of the data set: pictures and as many frames, which no scorer opens."""
    (root / "JPEGImages" / "480p" / name).mkdir(parents=True)
    for frame, picture in enumerate(pictures):
        save_picture(root / "Annotations" / "480p" / name / f"{frame:05d}.png", picture)
        (root / "JPEGImages" / "480p" / name / f"{frame:05d}.jpg").touch()


def scored(split: Split, found: Mapping[str, Masks], protocol: str, results: Path) -> dict[str, ObjectScore]:
    """Scores by VIDEO_OBJECT of predictions that overlap; the pictures that they become are written for the tool."""
    scores = {}
    arm = Arm("static", "mask", "none", "none", None, results.name)
    for name in split.videos:
        video = split.video(name)
        apart = in_one_picture([{frame: CompressedMask.of(mask) for frame, mask in enumerate(masks)} for masks in found[name]])
        size_hw = apart[0][0].shape
        save_pictures_of(results.parent.parent, arm, video, dict(zip(video.object_names, apart, strict=True)), size_hw)
        for label, masks in zip(video.object_names, apart, strict=True):
            score = score_object(video, label, masks, size_hw, TruthMasks(), protocol=PROTOCOLS[protocol]).score
            assert score is not None
            scores[f"{name}_{label}"] = score
    return scores


@pytest.fixture
def clips(tmp_path: Path) -> tuple[Split, dict[str, Masks], Path]:
    found: dict[str, Masks] = {}
    for number in range(VIDEOS):
        write(tmp_path / "data", f"clip{number:02d}", truth(number))
        found[f"clip{number:02d}"] = predictions(number)
    (tmp_path / "data" / "ImageSets" / "2017").mkdir(parents=True)
    (tmp_path / "data" / "ImageSets" / "2017" / "val.txt").write_text("".join(f"{name}\n" for name in found))
    return open_split(tmp_path / "data"), found, tmp_path / "run" / "masks" / "arm"


def davis_answers(folder: str, split: Split, results: Path) -> dict[str, Any]:
    with imported(folder, "davis2017.evaluation") as (evaluation,):
        tool = evaluation.DAVISEvaluation(davis_root=str(split.root), task="semi-supervised", gt_set="val")
        answers: dict[str, Any] = tool.evaluate(str(results))
    return answers


def assert_equal(scores: Mapping[str, ObjectScore], answers: Mapping[str, Any]) -> None:
    for name in ("J", "F"):
        assert {key: getattr(score, name) for key, score in scores.items()} == answers[name]["M_per_object"]
    means = dataset_means(scores.values())
    assert (np.mean(answers["J"]["M"]), np.mean(answers["F"]["M"])) == (means.J, means.F)
    assert means.JandF == (np.mean(answers["J"]["M"]) + np.mean(answers["F"]["M"])) / 2.0


def test_davis_agrees_on_adversarial_clips(clips: tuple[Split, dict[str, Masks], Path]) -> None:
    folder = checkout("DAVIS_EVALUATOR_DIR", "a checkout of davisvideochallenge/davis2017-evaluation")
    split, found, results = clips
    scores = scored(split, found, "davis2017", results)
    assert len(scores) == 4 * VIDEOS
    assert_equal(scores, davis_answers(folder, split, results))


def test_davis_agrees_on_real_clips(davis_sav: Path, tmp_path: Path) -> None:
    """Five real objects; each prediction is the truth of four frames earlier, with a part of another clip's object on top."""
    folder = checkout("DAVIS_EVALUATOR_DIR", "a checkout of davisvideochallenge/davis2017-evaluation")
    real, found = open_split(davis_sav), {}
    for name in real.videos:
        (obj,) = real.video(name).objects
        masks = [mask.read() for _, mask in obj.annotations]
        write(tmp_path / "data", name, [mask.astype(np.uint8) for mask in masks])
        found[name] = [[masks[0], *(mask | np.roll(mask, 30, 1) & np.roll(mask, 9, 0) for mask in masks[:-1])]]
    (tmp_path / "data" / "ImageSets" / "2017").mkdir(parents=True)
    (tmp_path / "data" / "ImageSets" / "2017" / "val.txt").write_text("".join(f"{name}\n" for name in found))
    split, results = open_split(tmp_path / "data"), tmp_path / "run" / "masks" / "arm"
    scores = scored(split, found, "davis2017", results)
    assert len(scores) == 5
    assert_equal(scores, davis_answers(folder, split, results))


def test_lvos_agrees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects begin and end on different frames; the tool numbers frames in steps of five."""
    folder = checkout("LVOS_EVALUATOR_DIR", "a checkout of LingyiHongfd/lvos-evaluation")
    root, results, found, meta = tmp_path / "LVOS", tmp_path / "run" / "masks" / "arm", {}, {}
    for number in range(6):
        name = f"clip{number:02d}"
        (root / "JPEGImages" / name).mkdir(parents=True)
        for frame, picture in enumerate(truth(number)):
            save_picture(root / "Annotations" / name / f"{1 + 5 * frame:08d}.png", picture)
            (root / "JPEGImages" / name / f"{1 + 5 * frame:08d}.jpg").touch()
        spans = {label: (int(label) % 3, FRAMES - int(label) % 2) for label in "1234"}
        of = {k: {"start": f"{1 + 5 * a:08d}", "end": f"{1 + 5 * b:08d}", "frame_nums": str(b - a)} for k, (a, b) in spans.items()}
        meta[name] = {"objects": {label: {"frame_range": of[label]} for label in "1234"}}
        found[name] = predictions(number)
    (root / "valid_meta.json").write_text(json.dumps({"videos": meta}))
    split = open_split(root)
    assert split.layout.protocol == "lvos"
    scores = scored(split, found, "lvos", results)
    monkeypatch.chdir(folder)  # it reads its lists of unseen videos there
    with imported(folder, "lvos.evaluation") as (evaluation,):
        for name in ("db_eval_iou", "db_eval_boundary"):  # NumPy 2 stores no array of one value in an element, as the tool asks it to
            original = getattr(evaluation, name)
            monkeypatch.setattr(evaluation, name, lambda *args, original=original, **named: float(np.squeeze(original(*args, **named))))
        answers, _, _ = evaluation.LVOSEvaluation(lvos_root=str(root), task="semi-supervised", gt_set="valid").evaluate(str(results))
    for name in ("J", "F"):
        assert {key: getattr(score, name) for key, score in scores.items()} == answers[name]["M_per_object"]


def test_mose_agrees(clips: tuple[Split, dict[str, Masks], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = checkout("MOSE_TOOLS_DIR", "the folder MOSEv2/sam2_rcms/tools of a checkout of henghuiding/MOSE-api")
    split, found, results = clips
    scores = scored(split, found, "mose", results)
    meta = {name: {"length": FRAMES, "height": None, "width": None} for name in split.videos}
    masks_dir = split.root / "Annotations" / "480p"
    with imported(folder, "metricsv2") as (metrics,):
        monkeypatch.setitem(sys.modules, "track_progress_rich", ModuleType("track_progress_rich"))
        sys.modules["track_progress_rich"].track_progress_rich = None  # type: ignore[attr-defined] # its bar of progress
        monkeypatch.setitem(sys.modules, "metricsv2", metrics)
        with imported(folder, "score") as (tool,):
            for key, score in scores.items():
                video, _, label = key.partition("_")
                arguments = (video, meta, str(results), str(masks_dir), 1, FRAMES - 1, label)
                J, F, *_ = tool.merge_chunk_results([tool.process_video_chunk(*arguments, 0)], video, label)
                assert (score.J, score.F) == (J, F)


def test_single_masks_of_any_size_agree_with_mose() -> None:
    """The radius follows the object's size, up to a limit that is not whole."""
    folder = checkout("MOSE_TOOLS_DIR", "the folder MOSEv2/sam2_rcms/tools of a checkout of henghuiding/MOSE-api")
    rng = np.random.default_rng(0)
    with imported(folder, "metricsv2") as (metrics,):
        for _ in range(150):
            size_hw = tuple(int(side) for side in rng.integers(20, 500, 2))
            masks = np.zeros((2, *size_hw), np.bool_)
            for mask in masks:
                top, left = (int(rng.integers(0, side)) for side in size_hw)
                mask[top : top + int(rng.integers(0, size_hw[0])), left : left + int(rng.integers(0, size_hw[1]))] = True
            scorer = ObjectScorer(PROTOCOLS["mose"])
            score = scorer.feed_frame(masks[0], masks[1])
            (J,), _ = metrics.db_eval_iou(masks[1:].astype(np.uint8), masks[:1].astype(np.uint8))
            _, (F,) = metrics.db_eval_boundary(masks[1:].astype(np.uint8), masks[:1].astype(np.uint8), bound_th=0.1, bound_mode="area")
            assert score is not None
            assert (score.J, score.F) == (J, F)


def test_saved_pictures_are_in_the_colours_of_davis(tmp_path: Path) -> None:
    from PIL import Image

    folder = save_pictures(tmp_path, "arm", "clip", [("00000", np.arange(256, dtype=np.uint8).reshape(16, 16))])
    with Image.open(folder / "00000.png") as image:
        assert image.mode == "P"
        palette = np.array(image.getpalette()).reshape(-1, 3)
    assert palette[:9].tolist() == [
        [0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128], [0, 128, 128], [128, 128, 128], [64, 0, 0]
    ]  # fmt: skip
    assert palette[255].tolist() == [224, 224, 192]
