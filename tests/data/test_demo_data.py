from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from savbench.data.dataset import DatasetError, SplitVideo, open_split
from savbench.data.demo import split as demo_data
from savbench.data.demo.motion import ROLES, Role, monotone_cubic
from savbench.data.demo.planning import plan_scene
from savbench.data.demo.scene import DemoScene
from savbench.data.demo.shapes import SHAPE_KINDS, make_shape
from savbench.data.demo.split import DEMO_ROLES, generate_demo_split, make_clip
from savbench.data.demo.textures import BACKGROUND_TEXTURES, OBJECT_TEXTURES, background_texture, noise, object_texture, oklch
from savbench.data.ground_truth import first_prompt

SMALL: dict[str, Any] = {"frames": 24, "height": 64, "width": 96}


def tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def scene(seed: int, roles: tuple[Role, ...] = DEMO_ROLES, frames: int = 48, height: int = 96, width: int = 160) -> DemoScene:
    return plan_scene(np.random.default_rng(seed), frames=frames, height=height, width=width, roles=roles, distractors=1)


def annotated_masks(of: DemoScene) -> npt.NDArray[np.bool_]:
    """(objects, annotated frames, height, width)."""
    return np.stack([of.render(index)[1] for index in range(0, of.num_frames, 4)], 1)


def visible(masks: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.bool_]]:
    """For each object, on which annotated frames it is seen."""
    return [np.asarray(masks_thw.any((1, 2))) for masks_thw in masks]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo split as `make demo` generates it."""
    return generate_demo_split(tmp_path_factory.mktemp("demo") / "split")


def ground_truth(video: SplitVideo) -> npt.NDArray[np.bool_]:
    """(objects, annotated frames, height, width)."""
    return np.stack([[annotation.read(video.read_size()) for _, annotation in obj.annotations] for obj in video.objects])


# ---- clips


def test_a_clip_is_a_function_of_its_seed() -> None:
    first, again, other = make_clip(7, **SMALL), make_clip(7, **SMALL), make_clip((7, 1), **SMALL)
    np.testing.assert_array_equal(first.frames_thwc, again.frames_thwc)
    np.testing.assert_array_equal(first.masks_nthw, again.masks_nthw)
    assert first.roles == again.roles
    assert not np.array_equal(first.frames_thwc, other.frames_thwc)


def test_a_clip_has_the_shapes_that_it_says() -> None:
    clip = make_clip(3, roles=("stay", "late", "hide"), distractors=2, **SMALL)
    assert clip.frames_thwc.shape == (24, 64, 96, 3)
    assert clip.frames_thwc.dtype == np.uint8
    assert clip.masks_nthw.shape == (3, 24, 64, 96)
    assert clip.masks_nthw.dtype == np.bool_
    assert clip.roles == ("stay", "late", "hide")


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_clips_can_be_short(frames: int) -> None:
    for seed in range(6):
        clip = make_clip(seed, frames, 48, 48, roles=ROLES)
        assert clip.masks_nthw.shape == (4, frames, 48, 48)
        assert clip.masks_nthw[0, 0].any()


def test_frames_can_be_drawn_in_any_order() -> None:
    drawn = scene(5, frames=24)
    late, _ = drawn.render(20)
    drawn.render(3)
    np.testing.assert_array_equal(drawn.render(20)[0], late)


def test_drawn_clips_differ_in_cast() -> None:
    clips = [plan_scene(np.random.default_rng(seed), frames=4, height=48, width=64) for seed in range(40)]
    assert {len(each.roles) for each in clips} == {2, 3, 4, 5}
    assert {role for each in clips for role in each.roles} == set(ROLES)
    assert {sum(layer.object_index is None and layer.solid for layer in each.layers) for each in clips} == {0, 1, 2}


@pytest.mark.parametrize("seed", range(12))
def test_objects_keep_to_their_roles(seed: int) -> None:
    masks = annotated_masks(scene(seed))
    assert masks.sum(0).max() == 1, "masks share a pixel"
    stay, hide, leave, late = visible(masks)
    assert stay[0]
    for seen in (hide, leave):
        assert seen[0]
        gone = int(np.argmin(seen))
        assert not seen[gone]
        assert seen[gone:].any(), "never returns"
    assert not late[:2].any()
    assert late.any()


@pytest.mark.parametrize(("frames", "height", "width"), [(24, 64, 64), (25, 160, 90), (100, 54, 96)])
def test_roles_hold_for_other_lengths_and_shapes_of_frame(frames: int, height: int, width: int) -> None:
    for seed in range(4):
        _, hide, leave, late = visible(annotated_masks(scene(seed, frames=frames, height=height, width=width)))
        assert hide[0]
        assert leave[0]
        assert not hide.all()
        assert not leave.all()
        assert not late[0]
        assert late.any()


def test_one_who_hides_is_in_view_but_behind_the_pillar() -> None:
    for seed in range(6):
        whole = scene(seed)
        [hiding] = [layer for layer in whole.layers if layer.object_index == 1]
        alone = dataclasses.replace(whole, layers=(hiding,))
        covered = [not whole.render(i)[1][1].any() and bool(alone.render(i)[1][1].any()) for i in range(0, 48, 4)]
        assert any(covered)
        # the pillar alone does it: with the other objects gone it is covered all the same
        [pillar] = [layer for layer in whole.layers if not layer.solid]
        behind = [dataclasses.replace(whole, layers=(hiding, pillar)).render(i)[1][1] for i in range(0, 48, 4)]
        assert not all(mask_hw.any() for mask_hw in behind)


def test_nearer_objects_cover_farther_ones() -> None:
    """Where two objects alone would overlap, the pixels belong to the upper one."""
    overlaps = 0
    for seed in range(6):
        whole = scene(seed, roles=("stay", "stay", "stay"))
        order = [layer for layer in whole.layers if layer.object_index is not None]
        for frame in range(0, 48, 4):
            seen = dataclasses.replace(whole, layers=tuple(order)).render(frame)[1]
            full = np.zeros_like(seen)
            for layer in order:
                full |= dataclasses.replace(whole, layers=(layer,)).render(frame)[1]
            bottom, middle, top = (layer.object_index for layer in order)
            for below, above in ((bottom, middle), (bottom, top), (middle, top)):
                both = full[below] & full[above]
                overlaps += bool(both.any())
                assert not seen[below][both].any()
            np.testing.assert_array_equal(seen[top], full[top])
    assert overlaps >= 5


def test_masks_lie_on_the_pixels_of_their_object() -> None:
    """Another texture changes the inside of the mask and nothing farther than a pixel from it."""
    whole = scene(2, roles=("stay",), frames=8)
    recoloured = dataclasses.replace(
        whole,
        layers=tuple(
            dataclasses.replace(layer, texture=255 - layer.texture) if layer.object_index == 0 else layer for layer in whole.layers
        ),
    )
    frame, masks = whole.render(4)
    changed = np.abs(frame.astype(int) - recoloured.render(4)[0]).max(2) > 0
    assert changed[masks[0]].mean() > 0.98
    reach = np.zeros_like(masks[0])
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            reach |= np.roll(masks[0], (down, right), (0, 1))
    assert not changed[~reach].any()


def test_textures_stick_to_their_object() -> None:
    whole = scene(2, roles=("stay",))
    [layer] = [each for each in whole.layers if each.object_index == 0]
    texture = np.zeros_like(layer.texture)
    middle = len(texture) // 2
    texture[middle - 2 : middle + 2, middle - 2 : middle + 2] = 255
    marked = dataclasses.replace(whole, layers=(dataclasses.replace(layer, texture=texture),))
    for index in (0, 20, 40):
        frame, masks = marked.render(index)
        rows, columns = np.nonzero(masks[0] & (frame.min(2) > 128))
        np.testing.assert_allclose([columns.mean(), rows.mean()], layer.centres_t2[index], atol=1)


# ---- parts


@pytest.mark.parametrize("kind", SHAPE_KINDS)
def test_shapes_keep_within_the_unit_circle_and_fill_some_of_it(kind: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        shape = make_shape(kind, rng)
        for seconds in (0.0, 0.7, 2.9):
            points = np.concatenate([contour for part in shape.parts(seconds) for contour in part])
            reach = np.linalg.norm(points, axis=1).max()
            assert 0.6 < reach <= 1 + 1e-6


@pytest.mark.parametrize("kind", ["amoeba", "worm", "walker"])
def test_living_shapes_move(kind: str) -> None:
    shape = make_shape(kind, np.random.default_rng(0))
    before, after = (np.concatenate([contour for part in shape.parts(t) for contour in part]) for t in (0.0, 0.3))
    assert np.abs(before - after).max() > 0.03


def test_a_ring_has_a_hole() -> None:
    [part] = make_shape("ring", np.random.default_rng(0)).parts(0)
    outer, inner = part
    assert np.linalg.norm(inner, axis=1).max() < np.linalg.norm(outer, axis=1).min()


def test_textures_are_colour_images_of_the_size_asked() -> None:
    rng = np.random.default_rng(0)
    colours = [oklch(level, 0.1, 0.3) for level in (0.3, 0.5, 0.7, 0.9)]
    for kind in OBJECT_TEXTURES:
        texture = object_texture(kind, rng, 40, colours[:3])
        assert texture.shape == (40, 40, 3)
        assert 0 <= texture.min() < texture.max() <= 255
    for kind in BACKGROUND_TEXTURES:
        texture = background_texture(kind, rng, 50, 70, 50, colours)
        assert texture.shape == (50, 70, 3)
        assert texture.std((0, 1)).min() > 3, "a flat background gives a tracker nothing to hold on to"


def test_unknown_kinds_are_refused_by_name() -> None:
    rng = np.random.default_rng(0)
    colours = [oklch(0.5, 0.1, 0.3)] * 4
    with pytest.raises(ValueError, match="'cube' is not one of polygon"):
        make_shape("cube", rng)
    with pytest.raises(ValueError, match="'fur' is not one of stripes"):
        object_texture("fur", rng, 8, colours[:3])
    with pytest.raises(ValueError, match="'lava' is not one of ground"):
        background_texture("lava", rng, 8, 8, 8, colours)


@pytest.mark.parametrize(
    ("lightness", "chroma", "hue", "rgb"),
    [
        (0, 0, 0, (0, 0, 0)),
        (1, 0, 0, (255, 255, 255)),
        # CSS Color 4: red is oklch(62.8% 0.25768 29.234), green (lime) oklch(86.644% 0.29483 142.4953), blue oklch(45.2% 0.31321 264.052)
        (0.62796, 0.25768, 29.234 / 360, (255, 0, 0)),
        (0.86644, 0.29483, 142.4953 / 360, (0, 255, 0)),
        (0.45201, 0.31321, 264.052 / 360, (0, 0, 255)),
    ],
)
def test_oklch_against_known_colours(lightness: float, chroma: float, hue: float, rgb: tuple[int, int, int]) -> None:
    np.testing.assert_allclose(oklch(lightness, chroma, hue), rgb, atol=1)


def test_noise_is_normalised() -> None:
    field = noise(np.random.default_rng(0), 50, 80, 20)
    assert field.shape == (50, 80)
    assert abs(field.mean()) < 1e-5
    assert field.std() == pytest.approx(1, abs=1e-4)


def test_paths_rest_where_their_waypoints_do() -> None:
    knots, values = np.array([0.0, 0.3, 0.6, 1.0]), np.array([5.0, -20.0, -20.0, 8.0])
    at = np.linspace(0, 1, 101)
    path = monotone_cubic(knots, values, at)
    np.testing.assert_allclose(path[[0, 30, 60, 100]], values)
    np.testing.assert_allclose(path[30:61], -20)
    assert (np.diff(path[:31]) <= 1e-12).all()
    assert (np.diff(path[60:]) >= -1e-12).all()
    # without a turning point the slope at the middle knot is the harmonic mean of 1 and 3, so 1.5: value halfway 0.5*1 - 0.125*1.5
    np.testing.assert_allclose(monotone_cubic(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 4.0]), np.array([0.5])), 0.5 - 0.125 * 1.5)


# ---- the split


def test_the_demo_split_reads_as_any_other(demo: Path) -> None:
    split = open_split(demo)
    assert split.name == "sav_demo"
    assert split.videos == ["demo_000", "demo_001", "demo_002"]
    targets = split.select()
    assert len(targets) == 12
    assert all(target.defect is None for target in targets)
    for name in split.videos:
        video = split.video(name)
        assert len(video.frames) == 48
        assert video.read_size() == (240, 428)
        assert video.object_names == ["000", "001", "002", "003"]
        for obj in video.objects:
            assert [index for index, _ in obj.annotations] == list(range(0, 48, 4))
        assert video.frames.reader((240, 428)).read(47).shape == (240, 428, 3)


def test_the_demo_split_has_what_it_promises(demo: Path) -> None:
    split = open_split(demo)
    for name in split.videos:
        video = split.video(name)
        masks = ground_truth(video)
        assert masks.sum(0).max() == 1, "masks share a pixel"
        stay, hide, leave, late = visible(masks)
        assert stay[0]
        assert hide[0]
        assert leave[0]
        for seen in (hide, leave):
            assert seen[int(np.argmin(seen)) :].any()
            assert not seen.all()
        assert not late[0]
        start, first_mask = first_prompt(video.object("003"), video.read_size())
        assert start > 0
        assert first_mask.sum() > 100, "prompted with a sliver"


def test_frames_on_disk_are_the_clip(demo: Path) -> None:
    clip = make_clip((demo_data.DEMO_SEED, 1), roles=DEMO_ROLES, distractors=1)
    video = open_split(demo).video("demo_001")
    np.testing.assert_array_equal(ground_truth(video), clip.masks_nthw[:, ::4])
    error = video.frames.reader().read(9).astype(int) - clip.frames_thwc[9]
    assert np.abs(error).mean() < 4, "JPEG at quality 92 is close to what was drawn"


def test_the_same_parameters_give_the_same_bytes(tmp_path: Path) -> None:
    one = tree(generate_demo_split(tmp_path / "one", videos=1, **SMALL))
    two = tree(generate_demo_split(tmp_path / "two", videos=1, **SMALL))
    assert one == two
    assert len(one) == 24 + 4 * 6 + 2
    other = tree(generate_demo_split(tmp_path / "other", videos=1, seed=1, **SMALL))
    assert one["JPEGImages_24fps/demo_000/00000.jpg"] != other["JPEGImages_24fps/demo_000/00000.jpg"]


def test_more_videos_begin_with_the_same(tmp_path: Path) -> None:
    fewer = tree(generate_demo_split(tmp_path / "fewer", videos=1, **SMALL) / "JPEGImages_24fps")
    more = tree(generate_demo_split(tmp_path / "more", videos=2, **SMALL) / "JPEGImages_24fps")
    assert fewer.items() < more.items()


def test_a_finished_split_is_left_alone(tmp_path: Path) -> None:
    root = generate_demo_split(tmp_path / "demo", videos=1, **SMALL)
    victim = root / "JPEGImages_24fps" / "demo_000" / "00003.jpg"
    victim.write_bytes(b"touched")
    generate_demo_split(root, videos=1, **SMALL)
    assert victim.read_bytes() == b"touched"


def test_an_interrupted_split_is_not_usable_and_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tree(generate_demo_split(tmp_path / "whole", videos=2, **SMALL))
    save, saved = Image.Image.save, 0

    def interrupted(self: Image.Image, *args: object, **options: object) -> None:
        nonlocal saved
        saved += 1
        if saved == 30:
            raise KeyboardInterrupt
        save(self, *args, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            generate_demo_split(tmp_path / "demo", videos=2, **SMALL)
    with pytest.raises(DatasetError):
        open_split(tmp_path / "demo")
    generate_demo_split(tmp_path / "demo", videos=2, **SMALL)
    assert tree(tmp_path / "demo") == whole


def test_foreign_folders_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DatasetError, match="not empty and not a demo split; choose another folder"):
        generate_demo_split(tmp_path, **SMALL)
    assert tree(tmp_path) == {"thesis.tex": b"years of work"}
    with pytest.raises(DatasetError, match="not a folder"):
        generate_demo_split(tmp_path / "thesis.tex", **SMALL)


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    assert open_split(generate_demo_split(tmp_path, videos=1, **SMALL)).videos == ["demo_000"]


def test_another_demo_split_is_not_overwritten(tmp_path: Path) -> None:
    root = generate_demo_split(tmp_path / "demo", videos=1, **SMALL)
    before = tree(root)
    with pytest.raises(DatasetError, match=r"holds another demo split .*'seed': 0.*asked for .*'seed': 5.*delete this one"):
        generate_demo_split(root, videos=1, seed=5, **SMALL)
    parameters = json.loads((root / "demo_split.json").read_text())
    (root / "demo_split.json").write_text(json.dumps({**parameters, "generator": 0}))
    with pytest.raises(DatasetError, match="holds another demo split"):
        generate_demo_split(root, videos=1, **SMALL)
    (root / "demo_split.json").write_text("{")
    with pytest.raises(DatasetError, match="unreadable"):
        generate_demo_split(root, videos=1, **SMALL)
    before.pop("demo_split.json")
    assert before.items() <= tree(root).items()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"seed": -1}, "seed -1"),
        ({"videos": 0}, "videos 0"),
        ({"frames": 23}, "frames 23: must be 24 or more"),
        ({"height": 63}, "size 428x63: each side"),
    ],
)
def test_parameters_out_of_range_are_refused_before_anything_is_written(tmp_path: Path, parameters: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate_demo_split(tmp_path / "demo", **parameters)
    assert not (tmp_path / "demo").exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="cannot write the demo split"):
        generate_demo_split(tmp_path / "file" / "demo", **SMALL)
