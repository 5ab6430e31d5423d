"""Batches: prompts belong to their objects, and objects that go come back."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from training_clips import draw, square_pool

torch = pytest.importorskip("torch", reason="needs torch")

from training import sampling  # noqa: E402
from training.pool import POOL_SIDE  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.mark.parametrize("prompt", ["points", "bbox", "mask"])
def test_prompts_belong_to_their_objects(prompt: str) -> None:
    for seed in range(8):
        batch = draw(seed, prompt=prompt)
        first_nss = batch.targets_tnss[0] > 0
        assert batch.targets_tnss.shape[:2] == (3, len(batch.clip_n))
        if prompt == "mask":
            assert batch.mask_n1ss is not None
            assert torch.equal(batch.mask_n1ss[:, 0] > 0, first_nss)
            continue
        assert batch.points_np2 is not None
        for mask_ss, points_p2 in zip(first_nss, batch.points_np2, strict=True):
            if prompt == "points":
                assert all(mask_ss[int(y), int(x)] for x, y in points_p2)
            else:
                x, y = points_p2.mean(0)
                assert mask_ss[round(float(y)), round(float(x))]


def test_batches_are_a_function_of_their_seed() -> None:
    one, same, other = draw(1), draw(1), draw(2)
    assert torch.equal(one.images_bcss, same.images_bcss)
    assert torch.equal(one.targets_tnss, same.targets_tnss)
    assert not torch.equal(one.images_bcss, other.images_bcss)


def test_discs_lie_around_the_prompts() -> None:
    batch = draw(frames=1, prompt="bbox")
    assert batch.points_np2 is not None
    batch = dataclasses.replace(batch, points_np2=torch.tensor([[[10.0, 20.0], [29.0, 39.0]]]).expand(len(batch.clip_n), 2, 2))
    disc_ss = sampling.discs(batch).targets_tnss[0, 0]
    assert disc_ss.sum().item() == pytest.approx(math.pi * 10.5**2, rel=0.05)
    rows, columns = disc_ss.nonzero(as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 39, 10, 29)
    with pytest.raises(ValueError, match="clicks or boxes"):
        sampling.discs(draw(prompt="mask"))


def test_windows_of_objects_that_return_show_them_go_and_return(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_RETURNS", 1.0)
    monkeypatch.setattr(sampling, "_CUTAWAY", 0.0)
    pool = square_pool(hidden=(5, 9))
    for seed in range(8):
        visible_tn = draw(seed, pool, frames=5).targets_tnss.flatten(2).any(2)
        assert visible_tn[0].all()
        # some object of the batch, the one that hides, is gone on a frame and seen on a later one
        gone_tn = (~visible_tn).cumsum(0) > 0
        assert (gone_tn & visible_tn).any()


def test_a_clip_in_which_nothing_returns_has_no_such_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_RETURNS", 1.0)
    assert sampling._picks(square_pool().labels_ntss[0], np.random.default_rng(0), 5, jump=False) == []


def test_cutaways_show_nothing_of_the_clip_between_its_first_and_last_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_RETURNS", 0.0)
    monkeypatch.setattr(sampling, "_EVENTFUL", 0.0)
    monkeypatch.setattr(sampling, "_ZOOMS", 0.0)
    monkeypatch.setattr(sampling, "_CUTAWAY", 1.0)
    for seed in range(8):
        visible_tn = draw(seed, frames=5).targets_tnss.flatten(2).any(2)
        assert visible_tn[[0, -1]].all()
        assert not visible_tn.all(0).any()


def test_zooms_change_the_size_of_what_they_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = square_pool().labels_ntss[0]
    grown = []
    for seed in range(12):
        crop_t, corner_t2 = sampling._zoom(labels, np.random.default_rng(seed))
        assert (corner_t2 >= 0).all()
        assert (corner_t2 + crop_t[:, None] <= POOL_SIDE).all()
        grown.append(crop_t[0] / crop_t[-1])
    assert min(grown) < 0.7
    assert max(grown) > 1.4
    monkeypatch.setattr(sampling, "_ZOOMS", 1.0)
    areas = [draw(seed).targets_tnss.sum((2, 3)) for seed in range(8)]
    assert any((area[-1] > 1.5 * area[0]).any() for area in areas)
