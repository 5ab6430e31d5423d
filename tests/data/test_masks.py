"""Masks in memory and on disk: what goes in comes out, whole or not at all, and the official evaluator reads it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from savbench.data import masks as masks_module
from savbench.data.masks import CompressedMask, PackedMask, save_object_masks
from savbench.data.png import BoolMask, read_mask
from savbench.finish.metrics import ObjectScorer, frames_to_score
from savbench.results.scores import dataset_means

EVALUATE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from utils.sav_benchmark import benchmark
global_jf, global_j, global_f, objects = benchmark([sys.argv[2]], [sys.argv[3]], True, 1, verbose=False)
print(json.dumps([global_jf[0], global_j[0], global_f[0], objects[0]]))
"""


def _square(top: int, left: int, size: int = 8, shape: tuple[int, int] = (24, 31)) -> BoolMask:
    mask_hw = np.zeros(shape, np.bool_)
    mask_hw[top : top + size, left : left + size] = True
    return mask_hw


@given(st.integers(1, 19), st.integers(1, 19), st.integers(0, 2**32 - 1))
def test_packing_keeps_every_pixel(height: int, width: int, seed: int) -> None:
    mask_hw = np.random.default_rng(seed).random((height, width)) < 0.5

    unpacked = PackedMask(mask_hw).unpack()

    assert unpacked.dtype == np.bool_
    np.testing.assert_array_equal(unpacked, mask_hw)


def test_a_packed_mask_takes_an_eighth_of_the_memory_and_is_a_copy() -> None:
    mask_hw = np.ones((480, 854), np.bool_)
    packed = PackedMask(mask_hw)
    mask_hw[:] = False

    assert packed.shape == (480, 854)
    assert packed.bits.nbytes == 480 * 854 // 8
    assert packed.unpack().all()


def test_a_view_into_a_larger_array_packs_as_it_looks() -> None:
    masks_nhw = np.random.default_rng(3).random((3, 9, 14)) < 0.5

    np.testing.assert_array_equal(PackedMask(masks_nhw[1, ::2, ::-1]).unpack(), masks_nhw[1, ::2, ::-1])


@given(st.integers(1, 19), st.integers(1, 19), st.integers(0, 2**32 - 1))
def test_a_compressed_mask_survives_as_text(height: int, width: int, seed: int) -> None:
    mask_hw = np.random.default_rng(seed).random((height, width)) < 0.5

    for compressed in (CompressedMask.of(mask_hw), CompressedMask.of(PackedMask(mask_hw))):
        np.testing.assert_array_equal(CompressedMask(compressed.data, (height, width)).unpack(), mask_hw)


def test_a_compressed_mask_of_another_size_is_refused() -> None:
    data = CompressedMask.of(np.ones((8, 8), np.bool_)).data
    with pytest.raises(ValueError, match="8 bytes are not a mask of 9x8 pixels"):
        CompressedMask(data, (8, 9)).unpack()


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.uint8), np.zeros((1, 4, 4), np.bool_)])
def test_what_is_no_mask_is_refused(wrong: npt.NDArray[np.bool_]) -> None:
    with pytest.raises(ValueError, match="boolean \\(height, width\\) array"):
        PackedMask(wrong)


def test_masks_are_written_as_one_bit_png_in_sav_layout(tmp_path: Path) -> None:
    square, nothing = _square(3, 5), np.zeros((24, 31), np.bool_)

    folder = save_object_masks(
        tmp_path, "static_mask", "sav_1", "002", {"00000": CompressedMask.of(nothing), "00004": CompressedMask.of(square)}
    )

    assert folder == tmp_path / "static_mask/sav_1/002"
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()) == [
        "static_mask/sav_1/002/00000.png",
        "static_mask/sav_1/002/00004.png",
    ]
    for name, mask_hw in (("00000", nothing), ("00004", square)):
        with Image.open(folder / f"{name}.png") as image:
            assert image.mode == "1"
            np.testing.assert_array_equal(np.asarray(image), mask_hw)
        read = cv2.imread(str(folder / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
        assert read is not None
        np.testing.assert_array_equal(np.asarray(read) > 0, mask_hw)


def test_another_run_of_the_object_replaces_all_of_its_masks(tmp_path: Path) -> None:
    old, new = CompressedMask.of(_square(0, 0)), CompressedMask.of(_square(9, 9))
    save_object_masks(tmp_path, "arm", "video", "000", {"00000": old, "00004": old})
    save_object_masks(tmp_path, "arm", "video", "001", {"00000": old})

    save_object_masks(tmp_path, "arm", "video", "000", {"00000": new})

    video = tmp_path / "arm/video"
    assert sorted(path.relative_to(video).as_posix() for path in video.rglob("*")) == ["000", "000/00000.png", "001", "001/00000.png"]
    np.testing.assert_array_equal(read_mask(video / "000/00000.png"), _square(9, 9))


def test_a_run_that_dies_half_way_leaves_the_old_masks_and_the_next_one_cleans_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = CompressedMask.of(_square(0, 0)), CompressedMask.of(_square(9, 9))
    folder = save_object_masks(tmp_path, "arm", "video", "000", {"00000": old, "00004": old})
    write = masks_module._png
    written: list[BoolMask] = []

    def dies_at_the_second(mask_hw: BoolMask) -> bytes:
        if written:
            raise OSError("No space left on device")
        written.append(mask_hw)
        return write(mask_hw)

    with monkeypatch.context() as patch:
        patch.setattr(masks_module, "_png", dies_at_the_second)
        with pytest.raises(OSError, match="No space"):
            save_object_masks(tmp_path, "arm", "video", "000", {"00000": new, "00004": new})
    for name in ("00000", "00004"):
        np.testing.assert_array_equal(read_mask(folder / f"{name}.png"), _square(0, 0))

    save_object_masks(tmp_path, "arm", "video", "000", {"00000": new, "00004": new})

    assert [path.name for path in folder.parent.iterdir()] == ["000"]
    np.testing.assert_array_equal(read_mask(folder / "00004.png"), _square(9, 9))


def test_nothing_is_ever_half_there_under_the_final_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    write = masks_module._png

    def looks(mask_hw: BoolMask) -> bytes:
        seen.append((tmp_path / "arm/video/000").exists())
        return write(mask_hw)

    monkeypatch.setattr(masks_module, "_png", looks)
    save_object_masks(tmp_path, "arm", "video", "000", {f"{i:05d}": CompressedMask.of(_square(1, 1)) for i in range(3)})

    assert seen == [False, False, False]


@pytest.mark.parametrize(
    ("arm", "video", "object_id", "frame"),
    [("a/b", "v", "0", "0"), ("a", "../v", "0", "0"), ("a", "v", "..", "0"), ("a", "v", "0", "x/0"), ("", "v", "0", "0")],
)
def test_a_name_that_would_leave_the_folder_is_refused(tmp_path: Path, arm: str, video: str, object_id: str, frame: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name"):
        save_object_masks(tmp_path, arm, video, object_id, {frame: CompressedMask.of(_square(1, 1))})
    assert not any(tmp_path.iterdir())


def test_an_object_without_masks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no masks"):
        save_object_masks(tmp_path, "arm", "video", "000", {})


def _made_up_split(truth_dir: Path) -> dict[tuple[str, str], dict[str, tuple[BoolMask, BoolMask]]]:
    """Write ground truth; returns truth and prediction by frame for every object."""
    empty = np.zeros((48, 63), np.bool_)
    objects: dict[tuple[str, str], dict[str, tuple[BoolMask, BoolMask]]] = {}
    for (video, object_id), first_seen, last_seen in ((("alpha", "000"), 0, 9), (("alpha", "001"), 2, 5), (("beta", "000"), 0, 9)):
        frames = {}
        for number in range(8):
            truth = _square(2 * number, 3 * number, 17, (48, 63)) if first_seen <= number < last_seen else empty
            # what is tracked drifts away, and is given up on the last but one frame
            drifting = _square(2 * number, 2 * number, 15, (48, 63)) if first_seen <= number != 6 else empty
            frames[f"{4 * number:05d}"] = truth, drifting
        objects[video, object_id] = frames
        folder = truth_dir / video / object_id
        folder.mkdir(parents=True)
        for name, (truth, _) in frames.items():
            assert cv2.imwrite(str(folder / f"{name}.png"), truth.astype(np.uint8) * 255)
    return objects


def test_the_official_evaluator_reads_the_masks_and_agrees_with_our_scores(tmp_path: Path) -> None:
    evaluator = os.environ.get("SAV_EVALUATOR_DIR")
    if not evaluator:
        pytest.skip("SAV_EVALUATOR_DIR is not set to the folder sav_dataset of a checkout of facebookresearch/sam2")
    truth_dir = tmp_path / "Annotations_6fps"
    objects = _made_up_split(truth_dir)
    scores = {}
    for (video, object_id), frames in objects.items():
        save_object_masks(
            tmp_path / "masks", "arm", video, object_id, {name: CompressedMask.of(prediction) for name, (_, prediction) in frames.items()}
        )
        scorer = ObjectScorer()
        for name in frames_to_score(sorted(frames)):
            truth, prediction = frames[name]
            scorer.feed_frame(prediction, truth)
        score = scorer.conclude()
        assert score is not None
        scores[video, object_id] = score

    done = subprocess.run(
        [sys.executable, "-c", EVALUATE, evaluator, str(truth_dir), str(tmp_path / "masks/arm")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    global_jf, global_j, global_f, official = json.loads(done.stdout.splitlines()[-1])
    for (video, object_id), score in scores.items():
        J_by_object, F_by_object = official[video]
        assert 0 < score.J < 1
        assert (J_by_object[object_id], F_by_object[object_id]) == (score.J * 100, score.F * 100)
    means = dataset_means(scores[key] for key in sorted(scores))
    assert (means.JandF_percent, means.J_percent, means.F_percent) == (global_jf, global_j, global_f)
