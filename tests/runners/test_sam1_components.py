"""SAM v1's components: each against its definition, the authors' package and transformers, with the same random weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from sam1_reference import IMGSZ, TINY, make_ours, make_package, make_transformers  # noqa: E402

from attention.relative_position import METHODS  # noqa: E402
from runners.preprocessing import FramePreprocessor, tables_of_sam1  # noqa: E402
from runners.sam1.model import ENCODERS, Sam1  # noqa: E402
from runners.sam1.preprocessing import InputFrame  # noqa: E402
from runners.sam1.relative_position_encoder import relative_vectors, relative_vectors_by_definition, resample  # noqa: E402
from runners.sam1.shared import LayerNorm2D  # noqa: E402
from runners.sam1.windows import partition, unpartition  # noqa: E402

TOLERANCE = 2e-5
MODELS = {"vit_b": 93_735_472, "vit_l": 312_342_832, "vit_h": 641_090_608}


@pytest.fixture(scope="module", autouse=True)
def _inference(one_torch_thread: None) -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def ours() -> Any:
    with torch.inference_mode(False):
        return make_ours()


@pytest.fixture(scope="module")
def package(ours: Any) -> Any:
    return make_package(ours)


@pytest.fixture(scope="module")
def hf(ours: Any) -> Any:
    return make_transformers(ours)


def draw(*shape: int, seed: int = 0) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_near(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=TOLERANCE)


# Small parts ----------------------------------------------------------------------------------------------------------------------


def test_layer_norm_2d_normalises_the_channels_of_each_pixel() -> None:
    norm = LayerNorm2D(2)
    norm.load_state_dict({"weight": torch.tensor([1.0, 10.0]), "bias": torch.tensor([0.0, 1.0])})
    # mean 3 and deviation 1 at every pixel: the channels are -1 and 1
    x_bchw = torch.tensor([2.0, 4.0])[None, :, None, None].expand(1, 2, 3, 5)
    expected_bchw = torch.tensor([-1.0, 11.0])[None, :, None, None].expand(1, 2, 3, 5)
    torch.testing.assert_close(norm(x_bchw), expected_bchw, rtol=1e-5, atol=0)
    # where all channels are equal, only eps keeps it finite
    torch.testing.assert_close(norm(torch.zeros(1, 2, 1, 1)).flatten(), torch.tensor([0.0, 1.0]))


@pytest.mark.parametrize("size", [1, 2, 7])
def test_relative_vectors_are_those_of_the_definition(size: int) -> None:
    table_lc = draw(2 * size - 1, 3)
    assert torch.equal(relative_vectors(table_lc, size), relative_vectors_by_definition(table_lc, size))


def test_relative_vectors_by_hand() -> None:
    # distances -1, 0, 1 of a query row from a key row
    vectors_rcs = relative_vectors(torch.tensor([[10.0], [20.0], [30.0]]), 2)
    assert vectors_rcs[:, 0].tolist() == [[20.0, 10.0], [30.0, 20.0]]


def test_tables_of_another_grid_are_interpolated() -> None:
    ramp_lc = torch.arange(5.0)[:, None]
    # centres of 10 cells on an axis of 5, held at the ends
    expected = [0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 4.0]
    assert resample(ramp_lc, 10)[:, 0].tolist() == expected
    package = pytest.importorskip("segment_anything.modeling.image_encoder", reason="needs the package segment-anything")
    for size in (4, 8, 11):
        table_lc = draw(15, 6)
        theirs_rsc = package.get_rel_pos(size, size, table_lc)
        torch.testing.assert_close(relative_vectors(table_lc, size), theirs_rsc.permute(0, 2, 1), rtol=0, atol=1e-6)


def test_windows_are_padded_at_the_bottom_and_right() -> None:
    x_bhwc = torch.arange(1.0, 7.0).reshape(1, 2, 3, 1)
    windows = partition(x_bhwc, 2)
    assert windows[..., 0].tolist() == [[[1, 2], [4, 5]], [[3, 0], [6, 0]]]
    assert torch.equal(unpartition(windows, 2, 3), x_bhwc)


@pytest.mark.parametrize(("height", "width", "size"), [(8, 8, 3), (5, 7, 4), (3, 3, 3), (2, 2, 14)])
def test_windows_come_together_again(height: int, width: int, size: int) -> None:
    x_bhwc = draw(2, height, width, 5)
    windows = partition(x_bhwc, size)
    assert windows.shape == (2 * -(-height // size) * -(-width // size), size, size, 5)
    assert torch.equal(unpartition(windows, height, width), x_bhwc)


# Against other implementations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("block", range(TINY.depth))
def test_every_encoder_block(ours: Any, package: Any, hf: Any, block: int, method: str) -> None:
    # 8 is no multiple of the windows' 3; in 9 columns of another grid, the tables are resampled
    tokens_bhwc = draw(2, 8, 8, TINY.channels)
    ours.image_encoder.use_attention(method)
    out_bhwc = ours.image_encoder.blocks[block](tokens_bhwc)
    assert_near(out_bhwc, package.image_encoder.blocks[block](tokens_bhwc))
    assert_near(out_bhwc, hf.vision_encoder.layers[block](tokens_bhwc))
    wide_bhwc = draw(1, 5, 9, TINY.channels)
    assert_near(ours.image_encoder.blocks[block](wide_bhwc), package.image_encoder.blocks[block](wide_bhwc))


def test_blocks_are_windowed_and_global_as_configured(ours: Any) -> None:
    assert [block.window for block in ours.image_encoder.blocks] == [3, None, 3, None]


@pytest.mark.parametrize("part", ["attn", "mlp"])
def test_parts_of_a_block(ours: Any, package: Any, part: str) -> None:
    x_bhwc = draw(1, 8, 8, TINY.channels)
    mine, theirs = (getattr(model.image_encoder.blocks[1], part) for model in (ours, package))
    assert_near(mine(x_bhwc), theirs(x_bhwc))


@pytest.mark.parametrize("padding", [0, 50])
def test_image_embeddings(ours: Any, package: Any, hf: Any, padding: int) -> None:
    image_bchw = draw(1, 3, IMGSZ, IMGSZ)
    image_bchw[:, :, IMGSZ - padding :] = 0
    embedding_bchw = ours.image_encoder(image_bchw)
    assert_near(embedding_bchw, package.image_encoder(image_bchw))
    assert_near(embedding_bchw, hf.get_image_embeddings(image_bchw))


def test_other_input_sizes_resample_the_positions(ours: Any) -> None:
    positions_1hwc = ours.image_encoder._positions(4, 4)
    assert positions_1hwc.shape == (1, 4, 4, TINY.channels)
    # the middle of an image at half the size is where four cells of the whole meet, whose mean bicubic sampling is near
    centre_c = ours.image_encoder.pos_embed[0, 4:6, 4:6].mean(dim=(0, 1))
    assert torch.corrcoef(torch.stack([positions_1hwc[0, 2, 2], centre_c]))[0, 1] > 0.8
    assert ours.image_encoder(draw(1, 3, 80, 48)).shape == (1, 256, 5, 3)


POINTS = torch.tensor([[[20.0, 30.0], [100.0, 90.5]], [[0.0, 127.0], [64.0, 64.0]]])
LABELS = torch.tensor([[1, 0], [-1, 1]])
BOXES = torch.tensor([[5.0, 6.0, 70.0, 80.0], [0.0, 0.0, 127.0, 127.0]])
MASKS = draw(2, 1, 32, 32) * 5
PROMPTS = {
    "points": (POINTS, LABELS, None, None),
    "boxes": (None, None, BOXES, None),
    "masks": (None, None, None, MASKS),
    "points, boxes": (POINTS, LABELS, BOXES, None),
    "points, boxes, masks": (POINTS, LABELS, BOXES, MASKS),
}


@pytest.mark.parametrize("given", PROMPTS)
def test_prompt_encoder(ours: Any, package: Any, given: str) -> None:
    points, labels, boxes, masks = PROMPTS[given]
    sparse, dense = ours.prompt_encoder(points, labels, boxes, masks)
    theirs = package.prompt_encoder(points=None if points is None else (points, labels), boxes=boxes, masks=masks)
    assert_near(sparse, theirs[0])
    assert_near(dense, theirs[1])


def test_positions_of_the_image(ours: Any, package: Any, hf: Any) -> None:
    positions = ours.prompt_encoder.dense_positions()
    assert_near(positions, package.prompt_encoder.get_dense_pe())
    assert_near(positions, hf.get_image_wide_positional_embeddings())


def test_prompts_keep_their_place_under_autocast(ours: Any) -> None:
    exact, _ = ours.prompt_encoder(POINTS, LABELS)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, _ = ours.prompt_encoder(POINTS, LABELS)
    assert torch.equal(rounded, exact)


def test_prompts_that_are_none(ours: Any) -> None:
    with pytest.raises(ValueError, match="give points, boxes or masks"):
        ours.prompt_encoder()
    with pytest.raises(ValueError, match="points and their labels come together"):
        ours.prompt_encoder(points_bn2=POINTS)


@pytest.mark.parametrize("layer", [0, 1])
def test_cross_attention_blocks(ours: Any, package: Any, hf: Any, layer: int) -> None:
    tokens, image, token_positions, image_positions = draw(2, 7, 256), draw(2, 64, 256, seed=1), draw(2, 7, 256, seed=2), draw(1, 64, 256)
    mine = ours.mask_decoder.transformer.layers[layer](tokens, image, token_positions, image_positions)
    places = image_positions.expand(2, -1, -1)
    theirs = package.mask_decoder.transformer.layers[layer](tokens, image, token_positions, places)
    others = hf.mask_decoder.transformer.layers[layer](tokens[:, None], image[:, None], token_positions[:, None], places[:, None], None)
    for index in (0, 1):
        assert_near(mine[index], theirs[index])
        assert_near(mine[index], others[index][:, 0])


def test_decoder_attention_self_and_cross(ours: Any, package: Any) -> None:
    queries, keys, values = draw(2, 5, 256), draw(2, 9, 256, seed=1), draw(2, 9, 256, seed=2)
    mine, theirs = (model.mask_decoder.transformer for model in (ours, package))
    assert_near(mine.layers[1].self_attn(queries, queries, values[:, :5]), theirs.layers[1].self_attn(queries, queries, values[:, :5]))
    assert mine.final_attn_token_to_image.q_proj.out_features == 128
    assert_near(mine.final_attn_token_to_image(queries, keys, values), theirs.final_attn_token_to_image(queries, keys, values))


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("given", PROMPTS)
def test_masks_and_their_estimates(ours: Any, package: Any, given: str, multimask: bool) -> None:
    image, positions = draw(1, 256, 8, 8), ours.prompt_encoder.dense_positions()
    sparse, dense = ours.prompt_encoder(*PROMPTS[given])
    logits, iou = ours.mask_decoder(image, positions, sparse, dense, multimask)
    their_logits, their_iou = package.mask_decoder(image, positions, sparse, dense, multimask)
    assert logits.shape == (2, 3 if multimask else 1, 32, 32)
    assert_near(logits, their_logits)
    assert_near(iou, their_iou)


@pytest.mark.parametrize("multimask", [False, True])
def test_whole_model_against_transformers(ours: Any, hf: Any, multimask: bool) -> None:
    image_bchw = draw(1, 3, IMGSZ, IMGSZ)
    image_bchw[:, :, 72:] = 0
    points, labels, boxes, masks = POINTS, torch.tensor([[1, 0], [0, 1]]), BOXES, MASKS[:1]
    theirs = hf(
        pixel_values=image_bchw,
        input_points=points[None],
        input_labels=labels[None],
        input_boxes=boxes[None],
        input_masks=masks,
        multimask_output=multimask,
    )
    # transformers takes one mask for all objects of an image
    sparse, dense = ours.prompt_encoder(points, labels, boxes, masks.expand(2, -1, -1, -1))
    logits, iou = ours.mask_decoder(ours.image_encoder(image_bchw), ours.prompt_encoder.dense_positions(), sparse, dense, multimask)
    assert_near(logits, theirs.pred_masks[0])
    assert_near(iou, theirs.iou_scores[0])


def test_normalisations_have_the_same_eps(ours: Any, package: Any) -> None:
    # too small a difference for the tolerances above
    eps = [{name: module.eps for name, module in model.named_modules() if hasattr(module, "eps")} for model in (ours, package)]
    assert eps[0] == eps[1]
    assert set(eps[0].values()) == {1e-5, 1e-6}


@pytest.mark.parametrize("name", MODELS)
def test_names_and_shapes_are_those_of_the_published_checkpoints(name: str) -> None:
    package = pytest.importorskip("segment_anything", reason="needs the package segment-anything")
    with torch.device("meta"):
        mine, theirs = Sam1(ENCODERS[name]).state_dict(), package.sam_model_registry[name]().state_dict()
    assert {key: value.shape for key, value in mine.items()} == {key: value.shape for key, value in theirs.items()}


@pytest.mark.parametrize(("name", "parameters"), MODELS.items())
def test_number_of_parameters(name: str, parameters: int) -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in Sam1(ENCODERS[name]).parameters()) == parameters


# Preprocessing ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(90, 160), (160, 90), (100, 100), (33, 1000), (720, 1281)])
def test_frames_are_prepared_as_by_the_package(package: Any, height: int, width: int) -> None:
    transforms = pytest.importorskip("segment_anything.utils.transforms", reason="needs the package segment-anything")
    frame_hwc = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    resize = transforms.ResizeLongestSide(IMGSZ)
    resized_chw = torch.from_numpy(resize.apply_image(frame_hwc)).permute(2, 0, 1)
    where = InputFrame(height, width, IMGSZ)
    assert where.resized_hw == resized_chw.shape[1:]
    prepare = FramePreprocessor(IMGSZ, torch.device("cpu"), "bilinear", tables_of_sam1())
    assert torch.equal(prepare(frame_hwc, where.resized_hw), package.preprocess(resized_chw))
    points = np.array([[0, 0], [width - 1, height - 1], [3.5, 7]], np.float32)
    assert np.array_equal(where.points(points), resize.apply_coords(points, (height, width)).astype(np.float32))
    logits = draw(1, 2, 32, 32)
    assert torch.equal(where.enlarge(logits), package.postprocess_masks(logits, where.resized_hw, (height, width)))


def test_a_frame_far_from_square_keeps_a_pixel() -> None:
    where = InputFrame(1, 1000, IMGSZ)
    assert where.resized_hw == (1, IMGSZ)
    prepare = FramePreprocessor(IMGSZ, torch.device("cpu"), "bilinear", tables_of_sam1())
    image_chw = prepare(np.full((1, 1000, 3), 255, np.uint8), where.resized_hw)
    assert image_chw.shape == (3, IMGSZ, IMGSZ)
    assert (image_chw[:, 0] > 1).all()
    assert not image_chw[:, 1:].any()


def test_a_given_mask_comes_back_from_its_logits() -> None:
    mask_hw = np.zeros((90, 160), np.bool_)
    mask_hw[20:60, 40:100] = True
    where = InputFrame(90, 160, IMGSZ)
    logits_1hw = where.logits_of_mask(torch.from_numpy(mask_hw))
    assert logits_1hw.shape == (1, 32, 32)
    assert (float(logits_1hw.max()), float(logits_1hw.min())) == (10.0, -10.0)
    assert (logits_1hw[0, 18:] == -10).all()  # below the frame, which fills 18 of 32 rows
    back_hw = (where.enlarge(logits_1hw[None])[0, 0] > 0).numpy()
    assert (back_hw & mask_hw).sum() / (back_hw | mask_hw).sum() > 0.95
