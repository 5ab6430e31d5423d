"""The exact resize against Pillow, bit for bit, by the code for a CPU and by that for a GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from PIL import Image  # noqa: E402

from runners import resize  # noqa: E402
from runners.preprocessing import FramePreprocessor, tables_of_sam1, tables_of_sam2  # noqa: E402
from runners.resize import ORDERS, Exact, Filter, OnDevice, OnHost, Resizer, Size, by_pillow, weights  # noqa: E402
from runners.sam1.preprocessing import InputFrame  # noqa: E402

CPU = torch.device("cpu")
FILTERS: tuple[Filter, ...] = ("bicubic", "bilinear")
STEPS: list[type[OnHost | OnDevice]] = [OnHost, OnDevice] if OnHost.is_faster() else [OnDevice]

SIZES: dict[str, tuple[Size, Size]] = {
    "480p to 1024": ((480, 848), (1024, 1024)),
    "720p to 1024": ((720, 1280), (1024, 1024)),
    "1080p to 512": ((1080, 1920), (512, 512)),
    "1080p to 192": ((1080, 1920), (192, 192)),
    "portrait, 1080p to 512": ((1920, 1080), (512, 512)),
    "portrait, 720p to 192": ((1280, 720), (192, 192)),
    "as it is": ((256, 256), (256, 256)),
    "height stays": ((256, 300), (256, 256)),
    "width stays": ((300, 256), (256, 256)),
    "up, as much as to fill": ((3, 5), (256, 256)),
    "one pixel": ((1, 1), (64, 64)),
    "one row": ((1, 37), (64, 64)),
    "one column": ((37, 1), (64, 64)),
    "to one pixel": ((31, 17), (1, 1)),
    "half": ((512, 512), (256, 256)),
    "double": ((128, 128), (256, 256)),
    "prime numbers": ((397, 401), (251, 257)),
}


def noise(hw: Size, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*hw, 3), np.uint8)


def exact_results(
    step: type[OnHost | OnDevice], frame_hwc: npt.NDArray[np.uint8], out_hw: Size, kind: Filter
) -> list[npt.NDArray[np.uint8]]:
    """By either order of the axes."""
    in_hw = (frame_hwc.shape[0], frame_hwc.shape[1])
    return [Exact(step, in_hw, out_hw, kind, CPU, order)(torch.from_numpy(frame_hwc)).numpy() for order in ORDERS]


def check(frame_hwc: npt.NDArray[np.uint8], out_hw: Size, kind: Filter) -> None:
    """One of the orders gives Pillow's bits, the same by both ways, and it is the one that a resizer takes."""
    expected = by_pillow(frame_hwc, out_hw, kind)
    for step in STEPS:
        assert any(np.array_equal(result, expected) for result in exact_results(step, frame_hwc, out_hw, kind))
    np.testing.assert_array_equal(Resizer(kind, CPU)(frame_hwc, out_hw).numpy(), expected)


@pytest.mark.parametrize("name", SIZES)
def test_noise(name: str) -> None:
    check(noise(SIZES[name][0]), SIZES[name][1], "bicubic")


@pytest.mark.parametrize("in_hw", [(480, 848), (848, 480), (90, 160), (1, 200)])
def test_noise_as_sam1_resizes_it(in_hw: Size) -> None:
    check(noise(in_hw), InputFrame(*in_hw, 512).resized_hw, "bilinear")


@given(
    in_hw=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    out_hw=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    kind=st.sampled_from(FILTERS),
    seed=st.integers(0, 1000),
    extreme=st.booleans(),
)
def test_any_small_size(in_hw: Size, out_hw: Size, kind: Filter, seed: int, extreme: bool) -> None:
    frame_hwc = noise(in_hw, seed)
    check(((frame_hwc > 127) * 255).astype(np.uint8) if extreme else frame_hwc, out_hw, kind)


@pytest.mark.parametrize("value", [0, 1, 127, 254, 255])
def test_what_is_one_colour_stays_it(value: int) -> None:
    frame_hwc = np.full((45, 80, 3), value, np.uint8)
    resized = Resizer("bicubic", CPU)(frame_hwc, (64, 64)).numpy()
    assert (resized == value).all()


@pytest.mark.parametrize("imgsz", [1024, 512, 192])
def test_real_frames(davis_sav: Path, imgsz: int) -> None:
    resizer = Resizer("bicubic", CPU)
    for folder in sorted((davis_sav / "JPEGImages_24fps").iterdir()):
        frame_hwc = np.asarray(Image.open(sorted(folder.iterdir())[0]).convert("RGB")).copy()
        np.testing.assert_array_equal(resizer(frame_hwc, (imgsz, imgsz)).numpy(), by_pillow(frame_hwc, (imgsz, imgsz), "bicubic"))


def test_weights_of_a_picture_that_is_doubled() -> None:
    positions, whole = weights(4, 8, "bilinear")
    # the second pixel lies a quarter of the way from the first of the picture to the next
    assert positions[1].tolist()[:2] == [0, 1]
    assert (whole[1][:2] / 2**22).tolist() == [0.75, 0.25]
    assert (whole.sum(axis=1) == 2**22).all()


def test_the_order_of_the_axes_shows_in_the_bits() -> None:
    # or noise could not tell which of them this Pillow takes
    first, second = exact_results(OnDevice, noise((72, 128)), (64, 64), "bicubic")
    assert (first != second).any()


def test_what_is_shrunk_beyond_what_float32_can_sum_is_left_to_pillow() -> None:
    frame_hwc = noise((1, 3000))
    resizer = Resizer("bicubic", CPU)
    np.testing.assert_array_equal(resizer(frame_hwc, (4, 4)).numpy(), by_pillow(frame_hwc, (4, 4), "bicubic"))
    assert resizer.way == f"pillow {PIL.__version__}"


def test_a_pillow_with_other_bits_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    def nearest(frame_hwc: npt.NDArray[np.uint8], out_hw: Size, kind: Filter) -> npt.NDArray[np.uint8]:
        return np.array(Image.fromarray(frame_hwc).resize(out_hw[::-1], Image.Resampling.NEAREST))

    monkeypatch.setattr(resize, "by_pillow", nearest)
    resizer = Resizer("bicubic", CPU)
    frame_hwc = noise((30, 40))
    np.testing.assert_array_equal(resizer(frame_hwc, (16, 16)).numpy(), nearest(frame_hwc, (16, 16), "bicubic"))
    assert resizer.way == f"pillow {PIL.__version__}"


@pytest.mark.skipif(OnHost not in STEPS, reason="this torch has no FBGEMM, and uses Pillow on a CPU")
@pytest.mark.parametrize("order", ORDERS)
def test_the_order_of_this_pillow_is_found(monkeypatch: pytest.MonkeyPatch, order: tuple[resize.Axis, resize.Axis]) -> None:
    def pillow_of(frame_hwc: npt.NDArray[np.uint8], out_hw: Size, kind: Filter) -> npt.NDArray[np.uint8]:
        in_hw = (frame_hwc.shape[0], frame_hwc.shape[1])
        return np.asarray(Exact(OnDevice, in_hw, out_hw, kind, CPU, order)(torch.from_numpy(frame_hwc)))

    monkeypatch.setattr(resize, "by_pillow", pillow_of)
    resizer = Resizer("bicubic", CPU)
    frame_hwc = noise((72, 128), seed=5)
    np.testing.assert_array_equal(resizer(frame_hwc, (64, 64)).numpy(), pillow_of(frame_hwc, (64, 64), "bicubic"))
    assert resizer.way.startswith("exact on cpu")


def test_what_ran_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OnHost, "is_faster", lambda: False)
    resizer = Resizer("bicubic", CPU)
    assert resizer.way == ""
    resizer(noise((9, 9)), (8, 8))
    assert resizer.way == f"pillow {PIL.__version__}"


def test_under_autocast_the_bits_are_the_same() -> None:
    frame_hwc = noise((45, 80))
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        check(frame_hwc, (64, 64), "bicubic")


def test_a_frame_that_cannot_be_written_to() -> None:
    frame_hwc = noise((16, 16))
    frame_hwc.setflags(write=False)
    prepare = FramePreprocessor(16, CPU)
    expected = tables_of_sam2()[np.arange(3)[:, None, None], frame_hwc.transpose(2, 0, 1)]
    np.testing.assert_array_equal(prepare(frame_hwc).numpy(), expected)


def test_the_rest_of_the_input_is_zero_also_after_a_larger_frame() -> None:
    prepare = FramePreprocessor(32, CPU, "bilinear", tables_of_sam1())
    prepare(noise((20, 32)), (20, 32))
    image_chw = prepare(noise((32, 10)), (32, 10)).numpy()
    assert image_chw[:, :, :10].all()
    assert not image_chw[:, :, 10:].any()
    np.testing.assert_array_equal(image_chw[:, :, :10], tables_of_sam1()[np.arange(3)[:, None, None], noise((32, 10)).transpose(2, 0, 1)])
