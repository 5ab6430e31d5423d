"""Clips that the model is trained on: drawn, natural and real, each a function of its number."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from training_clips import write_pictures

from training import pool
from training.figures import _dressed, animate, figure_files, read_figure
from training.photos import digest_of, photo_files, read_photos
from training.pool import POOL_FRAMES, POOL_SIDE, PoolConfig, draw_clip, draw_figures, draw_natural, draw_real, draw_scene, open_pool
from training.real import read_video


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of one photograph, of noise, and a file that is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    cv2.imwrite(str(folder / "noise.png"), noise)
    (folder / "LICENCE").write_text("CC0")
    return folder


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


def test_natural_scenes_are_a_function_of_number_and_photographs(photos: Path) -> None:
    config = PoolConfig("train", 0, natural=2, photos=str(photos))
    frames, labels = draw_natural(config, 1)
    again, _ = draw_clip(PoolConfig("train", 1, natural=2, photos=str(photos)), 2)
    assert frames.shape == (POOL_FRAMES, POOL_SIDE, POOL_SIDE, 3)
    assert np.array_equal(frames, again)
    assert labels.max() >= 1
    assert not np.array_equal(frames, draw_natural(config, 0)[0])


def test_photographs_are_known_by_their_contents(photos: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(photos, tmp_path / "copy"))
    assert digest_of(photo_files(photos)) == digest_of(photo_files(copy))
    cv2.imwrite(str(copy / "noise.png"), np.zeros((8, 8, 3), np.uint8))
    assert digest_of(photo_files(photos)) != digest_of(photo_files(copy))


def test_a_folder_without_photographs_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no photograph; put JPEG or PNG files there"):
        photo_files(tmp_path / "missing")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"broken\.png: cannot be read as an image"):
        read_photos([broken])


def test_clips_of_figures_show_whole_figures_and_label_them(tmp_path: Path) -> None:
    config = PoolConfig("train", 1, figures=3, **write_pictures(tmp_path))  # type: ignore[arg-type]
    frames, labels = draw_figures(config, 1)
    again, _ = draw_clip(config, 2)
    assert frames.shape == (POOL_FRAMES, POOL_SIDE, POOL_SIDE, 3)
    assert np.array_equal(frames, again)
    assert not np.array_equal(frames, draw_figures(config, 2)[0])
    assert labels.max() >= 1


def test_clip_art_is_dressed_in_photographs_by_its_colours(tmp_path: Path) -> None:
    config = PoolConfig("train", 0, figures=3, dressed=1.0, **write_pictures(tmp_path))  # type: ignore[arg-type]
    frames, _ = draw_figures(config, 1)
    assert np.array_equal(frames, draw_figures(config, 1)[0])
    figure, noise = read_figure(figure_files(tmp_path / "figures")[0]), read_photos(photo_files(tmp_path / "photos"))
    seen = figure[..., 3] > 127
    dressed = _dressed(figure, noise, np.random.default_rng(0))
    assert np.array_equal(dressed[..., 3], figure[..., 3])
    assert len(np.unique(figure[seen][:, :3], axis=0)) < 20 < len(np.unique(dressed[seen][:, :3], axis=0))


def test_a_figure_lies_where_its_label_says() -> None:
    frames, labels = np.zeros((POOL_FRAMES, 64, 64, 3), np.uint8), np.zeros((POOL_FRAMES, 64, 64), np.uint8)
    white = np.full((160, 160, 4), 255, np.uint8)
    animate(frames, labels, [white], [np.full((200, 200, 3), 128, np.uint8)], np.random.default_rng(3))
    assert ((frames.max(-1) > 0)[labels > 0]).all()
    assert (frames.max(-1) > 0).sum() < 1.2 * (labels > 0).sum()


def test_a_picture_without_an_alpha_channel_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no figure; put PNG or WebP files"):
        figure_files(tmp_path / "missing")
    cv2.imwrite(str(tmp_path / "opaque.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"opaque\.png: has no alpha channel"):
        read_figure(tmp_path / "opaque.png")


def test_real_clips_show_the_object_that_their_masks_say(davis_sav: Path) -> None:
    config = PoolConfig("train", 0, real_clips=1, real_split=str(davis_sav), real_videos=("dog",))
    frames, labels = draw_real(config, 0)
    assert frames.shape == (POOL_FRAMES, POOL_SIDE, POOL_SIDE, 3)
    assert labels.max() >= 1
    assert (labels[0] == 1).any()


def test_a_video_without_masks_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has 0 masks; name a video with two or more"):
        read_video(tmp_path, "nothing")
