"""Training of `sam2_nano`: recipe, pool, batches, losses, and that it goes on where it was stopped."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("sam2", reason="needs the sam2 package")

SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))  # where scripts/train_nano.py finds its package

from nano import loop, pool, sampling  # noqa: E402
from nano.export import export  # noqa: E402
from nano.losses import frame_loss  # noqa: E402
from nano.model import FrameOutput, build_model  # noqa: E402
from nano.pool import POOL_FRAMES, POOL_SIDE, ClipPool, PoolConfig, draw_scene, open_pool  # noqa: E402
from nano.recipe import Stage, learning_rate, parse_recipe, stage_of, total_steps  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def square_pool(clips: int = 2) -> ClipPool:
    """Two squares, 40 pixels wide, on grey: the first in the upper left goes right a pixel a frame, the second stays in the lower right."""
    frames = np.full((clips, POOL_FRAMES, POOL_SIDE, POOL_SIDE, 3), 90, np.uint8)
    labels = np.zeros((clips, POOL_FRAMES, POOL_SIDE, POOL_SIDE), np.uint8)
    for t in range(POOL_FRAMES):
        labels[:, t, 20:60, 20 + t : 60 + t] = 1
        labels[:, t, 180:220, 180:220] = 2
    frames[labels > 0] = (200, 60, 60)
    return ClipPool(frames, labels)


def draw(seed: int = 0, **changed: object) -> sampling.Batch:
    arguments = {"side": 64, "frames": 3, "clips": 2, "prompt": "points", **changed}
    return sampling.draw_batch(square_pool(), np.random.default_rng(seed), **arguments)  # type: ignore[arg-type]


def test_recipe_is_read_and_walked_through() -> None:
    recipe = parse_recipe("2:64:1:8:8:1.0:discs,3:128:4:2:6:0.25")
    assert recipe == (
        Stage(steps=2, side=64, frames=1, clips=8, single_frames=8, single_share=1.0, discs=True),
        Stage(steps=3, side=128, frames=4, clips=2, single_frames=6, single_share=0.25),
    )
    assert total_steps(recipe) == 5
    assert [stage_of(recipe, step).side for step in range(6)] == [64, 64, 128, 128, 128, 128]
    with pytest.raises(ValueError, match="write STEPS:SIDE"):
        parse_recipe("2:64:1")


def test_learning_rate_warms_up_and_falls_to_a_fiftieth() -> None:
    rates = [learning_rate(step, 1000, peak=1.0, warmup=100) for step in (0, 49, 99, 100, 550, 1000)]
    assert rates == pytest.approx([0.01, 0.5, 1.0, 1.0, 0.02 + 0.98 / 2, 0.02])


def test_scenes_are_a_function_of_stream_and_number() -> None:
    frames, labels = draw_scene(PoolConfig("train", 4), 3)
    again, _ = draw_scene(PoolConfig("train", 9), 3)
    other, _ = draw_scene(PoolConfig("validation", 4), 3)
    assert frames.shape == (POOL_FRAMES, POOL_SIDE, POOL_SIDE, 3)
    assert np.array_equal(frames, again)
    assert not np.array_equal(frames, other)
    assert labels.max() >= 1


def test_a_pool_is_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = PoolConfig("validation", 1)
    drawn = open_pool(tmp_path, config, workers=1)
    frames, labels = draw_scene(config, 0)
    assert np.array_equal(drawn.frames_ntssc[0], frames)
    assert np.array_equal(drawn.labels_ntss[0], labels)
    monkeypatch.setattr(pool, "_fill", None)
    assert open_pool(tmp_path, config, workers=1).clips == 1
    with pytest.raises(TypeError):  # another pool must be drawn, and cannot
        open_pool(tmp_path, PoolConfig("validation", 2), workers=1)


def test_real_clips_follow_the_masks_there_and_back(davis_sav: Path) -> None:
    config = PoolConfig("train", 0, real_clips=1, real_split=str(davis_sav), real_videos=("dog",))
    frames, labels = pool.draw_real(config, 0)
    assert frames.shape == (POOL_FRAMES, POOL_SIDE, POOL_SIDE, 3)
    assert set(np.unique(labels)) == {0, 1}
    assert all((label == 1).any() for label in labels[:4])


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


def output(logit: float, mask_hw: Any, presence: float) -> FrameOutput:
    logits = (logit * (2 * mask_hw - 1)).expand(1, 4, *mask_hw.shape).clone()
    return FrameOutput(logits, torch.ones(1, 4), torch.tensor([presence]), logits[:, 0])


def test_losses_of_right_and_absent_objects() -> None:
    mask_hw = torch.zeros(16, 16)
    mask_hw[:, :8] = 1
    target_nss = mask_hw.repeat_interleave(4, 0).repeat_interleave(4, 1)[None]
    # certain to either side of the boundary, where alone bilinear logits pass through 0; the IoU it expects is the one it has
    assert frame_loss(output(40.0, mask_hw, 40.0), target_nss).item() == pytest.approx(0, abs=0.15)
    wrong = frame_loss(output(-40.0, mask_hw, 40.0), target_nss).item()
    assert wrong > 100  # cross-entropy of 40 at almost every pixel, five times, for the single mask and the best candidate
    # whatever the masks of an absent object, its presence alone counts
    absent = frame_loss(output(40.0, mask_hw, -3.0), torch.zeros_like(target_nss)).item()
    assert absent == pytest.approx(1.5 * math.log1p(math.exp(-3)), abs=1e-6)


def tiny_run(out_dir: Path) -> loop.TrainConfig:
    recipe = parse_recipe("1:64:1:1:1:1.0:discs,2:64:2:1:1:0.0,1:128:2:1:1:0.0")
    return loop.TrainConfig(
        out_dir, PoolConfig("train", 2), recipe, processes=1, checkpoint_every_s=0.0, validate_every=99, validation_clips=1
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps, never stopped."""
    out_dir = tmp_path_factory.mktemp("trained")
    loop.pools_drawn(tiny_run(out_dir), workers=1)
    loop.train(0, tiny_run(out_dir))
    return out_dir


def test_training_goes_on_where_it_was_stopped(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pool", "pool_val"):
        (tmp_path / name).symlink_to(trained / name)
    with monkeypatch.context() as patch:
        update = loop._Trainer._update

        def stop_at_the_third(self: loop._Trainer, batch: sampling.Batch) -> float:
            if self.step == 2:
                raise KeyboardInterrupt
            return update(self, batch)

        patch.setattr(loop._Trainer, "_update", stop_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            loop.train(0, tiny_run(tmp_path))
    assert torch.load(loop.latest(tmp_path), weights_only=True)["step"] == 2
    loop.train(0, tiny_run(tmp_path))
    through, resumed = (torch.load(loop.latest(folder), weights_only=True) for folder in (trained, tmp_path))
    assert through["step"] == resumed["step"] == 4
    for kind in ("model", "average"):
        assert all(torch.equal(value, resumed[kind][name]) for name, value in through[kind].items())
    start = build_model(64).state_dict()
    assert any(not torch.equal(value, start[name]) for name, value in through["average"].items())


def test_exported_weights_are_the_averaged_ones_in_half_precision(trained: Path, tmp_path: Path) -> None:
    digest, size = export(loop.latest(trained), tmp_path / "nano.pt")
    average = torch.load(loop.latest(trained), weights_only=True)["average"]
    exported = torch.load(tmp_path / "nano.pt", weights_only=True)["model"]
    assert size == (tmp_path / "nano.pt").stat().st_size < 4_000_000
    assert len(digest) == 64
    assert {value.dtype for value in exported.values()} == {torch.float16}
    assert all(torch.equal(value.half(), exported[name]) for name, value in average.items())


def test_help_and_wrong_arguments() -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, str(SCRIPTS / "train_nano.py"), *arguments], capture_output=True, text=True, timeout=120)

    assert "goes on from the last checkpoint" in run("--help").stdout
    done = run("--out_dir", "x", "--export", "y.pt", "--real_split", "somewhere")
    assert done.returncode == 2
    assert "--real_split and --real_videos go together" in done.stderr
