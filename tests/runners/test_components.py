"""Labelling components and filling holes, against scipy and against the official code around it."""

from __future__ import annotations

import sys
import types
import warnings
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
ndimage = pytest.importorskip("scipy.ndimage", reason="needs scipy")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from hypothesis.extra import numpy as hnp  # noqa: E402

from runners import components  # noqa: E402
from runners.base import RunnerError  # noqa: E402
from runners.components import FILLED_LOGIT, HOLE_AREA, connected_components, fill_holes, labels_correctly, provide_components  # noqa: E402

CPU = torch.device("cpu")
EIGHT_NEIGHBOURS = np.ones((3, 3))


def areas_by_scipy(mask_hw: Any) -> Any:
    labels, count = ndimage.label(mask_hw, EIGHT_NEIGHBOURS)
    areas = np.concatenate([[0], ndimage.sum_labels(mask_hw != 0, labels, range(1, count + 1))])
    return areas[labels].astype(np.int64)


def check(masks_nhw: Any) -> None:
    labels, areas = connected_components(torch.tensor(masks_nhw)[:, None])
    for tensor in (labels, areas):
        assert tensor.dtype == torch.int32
        assert tensor.shape == (len(masks_nhw), 1, *masks_nhw.shape[1:])
    expected = np.stack([areas_by_scipy(mask) for mask in masks_nhw])
    np.testing.assert_array_equal(areas[:, 0].numpy(), expected)
    np.testing.assert_array_equal(labels[:, 0].numpy() > 0, masks_nhw != 0)


def spiral(size: int) -> Any:
    """One component as long as it can be: every turn touches the last by a corner at most, and the labels meet late."""
    mask = np.zeros((size, size), np.bool_)
    row, column, step_row, step_column = 0, 0, 0, 1
    for length in [size - 1, *(n for n in range(size - 1, 1, -2) for _ in (0, 1))]:
        for _ in range(length):
            mask[row, column] = True
            row, column = row + step_row, column + step_column
        step_row, step_column = step_column, -step_row
    return mask


def adversarial() -> dict[str, Any]:
    rows, columns = np.indices((64, 64))
    comb = (columns % 2 == 0) | (rows == 63)
    return {
        "empty": np.zeros((64, 64), np.bool_),
        "full": np.ones((64, 64), np.bool_),
        "checkerboard": (rows + columns) % 2 == 0,
        "single pixels": (rows % 2 == 0) & (columns % 2 == 0),
        "stripes": rows % 2 == 0,
        "diagonals": (rows - columns) % 3 == 0,
        "comb": comb,
        "comb upside down": comb[::-1].copy(),
        "spiral": spiral(64),
        "frame of the border": (rows % 63 == 0) | (columns % 63 == 0),
        "corners": (rows % 63 == 0) & (columns % 63 == 0),
        "nested rings": np.maximum(abs(rows - 32), abs(columns - 32)) % 2 == 0,
    }


@pytest.mark.parametrize("name", adversarial())
def test_adversarial_masks(name: str) -> None:
    mask = adversarial()[name]
    check(mask[None])
    check(~mask[None])


@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 3), st.integers(1, 24), st.integers(1, 24))))
def test_random_small_masks(masks_nhw: Any) -> None:
    check(masks_nhw)


@pytest.mark.parametrize("density", [0.02, 0.3, 0.41, 0.5, 0.6, 0.98])
def test_random_masks_at_the_decoder_s_size(density: float) -> None:
    rng = np.random.default_rng(int(density * 100))
    check(rng.random((2, 256, 256)) < density)


def test_masks_of_several_objects_do_not_join() -> None:
    masks = np.zeros((3, 6, 6), np.bool_)
    masks[0, -1] = masks[1, 0] = True
    check(masks)


def test_no_mask_at_all() -> None:
    labels, areas = connected_components(torch.zeros(0, 1, 8, 8, dtype=torch.bool))
    assert labels.shape == areas.shape == (0, 1, 8, 8)


@pytest.mark.parametrize("value", [1, 2, 255])
def test_any_uint8_but_zero_is_foreground(value: int) -> None:
    check((np.eye(8) * value).astype(np.uint8)[None])


def test_a_mask_that_is_not_contiguous() -> None:
    mask = torch.zeros(1, 1, 8, 6, dtype=torch.bool)
    mask[0, 0, 2:7, 1] = True
    _, areas = connected_components(mask.transpose(2, 3))
    assert areas[0, 0, 1].tolist() == [0, 0, 5, 5, 5, 5, 5, 0]


def test_masks_of_a_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    mask = torch.rand(2, 1, 64, 64, device="cuda") < 0.5
    labels, areas = connected_components(mask)
    assert labels.device == areas.device == mask.device
    np.testing.assert_array_equal(areas[1, 0].cpu().numpy(), areas_by_scipy(mask[1, 0].cpu().numpy()))


# ---- holes


def logits_with_holes() -> Any:
    logits = torch.full((1, 1, 32, 32), -5.0)
    logits[0, 0, 4:28, 4:28] = 3.0
    logits[0, 0, 6:8, 6:10] = -1.0  # 8 pixels
    logits[0, 0, 12:15, 6:9] = -1.0  # 9 pixels
    logits[0, 0, [20, 21, 22], [6, 7, 8]] = 0.0  # 3 pixels that touch by their corners; 0 is background
    return logits


def test_holes_up_to_8_pixels_are_filled_and_nothing_else() -> None:
    logits = logits_with_holes()
    before = logits.clone()
    filled = fill_holes(logits)
    changed = (filled != before)[0, 0]
    assert changed[6:8, 6:10].all()
    assert changed[[20, 21, 22], [6, 7, 8]].all()
    assert changed.sum() == 8 + 3
    assert (filled[0, 0][changed] == FILLED_LOGIT).all()
    assert torch.equal(logits, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_holes_are_filled_as_the_official_code_fills_them(monkeypatch: pytest.MonkeyPatch, dtype: Any) -> None:
    misc = pytest.importorskip("sam2.utils.misc", reason="needs the sam2 package")
    monkeypatch.setattr(misc, "get_connected_components", misc.get_connected_components)
    assert provide_components(misc, CPU) == "opencv"
    generator = torch.Generator().manual_seed(0)
    logits = torch.nn.functional.avg_pool2d(torch.randn(3, 1, 66, 66, generator=generator), 3, stride=1).to(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        official = misc.fill_holes_in_mask_scores(logits, HOLE_AREA)
    ours = fill_holes(logits)
    assert ours.dtype == official.dtype == dtype
    assert torch.equal(ours, official)
    assert not torch.equal(ours, logits)


# ---- the extension


class FakeMisc(types.ModuleType):
    def __init__(self) -> None:
        super().__init__("sam2.utils.misc")
        self.get_connected_components = self.original

    def original(self, mask: Any) -> Any:
        raise AssertionError("the extension's caller was used")


def as_extension(label: Any) -> types.ModuleType:
    module = types.ModuleType("sam2._C")
    module.get_connected_componnets = label  # type: ignore[attr-defined]
    return module


def test_without_the_extension_opencv_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "_import_extension", lambda _: None)
    misc = FakeMisc()
    assert provide_components(misc, CPU) == "opencv"
    assert misc.get_connected_components is connected_components


def test_an_extension_that_cannot_be_loaded_counts_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    package = types.ModuleType("sam2")
    package.__path__ = []
    monkeypatch.setitem(sys.modules, "sam2", package)
    monkeypatch.setitem(sys.modules, "sam2._C", None)
    assert components._import_extension("sam2") is None


def test_the_extension_is_kept_where_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "_import_extension", lambda _: as_extension(connected_components))
    monkeypatch.setattr(components, "_usable_on", lambda _: True)
    misc = FakeMisc()
    assert provide_components(misc, CPU) == "cuda"
    assert misc.get_connected_components == misc.original


def test_the_extension_is_not_used_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "_import_extension", lambda _: as_extension(connected_components))
    assert provide_components(FakeMisc(), CPU) == "opencv"


def four_neighbours(mask: Any) -> Any:
    labels, count = ndimage.label(mask[0, 0].numpy())
    areas = np.concatenate([[0], ndimage.sum_labels(labels > 0, labels, range(1, count + 1))])[labels]
    return torch.from_numpy(labels)[None, None], torch.from_numpy(areas)[None, None].int()


def no_kernel(mask: Any) -> Any:
    raise RuntimeError("CUDA error: no kernel image is available for execution on the device")


@pytest.mark.parametrize(
    "label",
    [
        no_kernel,
        four_neighbours,
        lambda mask: (torch.zeros_like(mask, dtype=torch.int32),) * 2,  # kernels that were not launched leave what was allocated
        lambda mask: (connected_components(mask)[0] * 0, connected_components(mask)[1]),
    ],
)
def test_an_extension_that_labels_wrongly_is_replaced(monkeypatch: pytest.MonkeyPatch, label: Any) -> None:
    assert not labels_correctly(label, CPU)
    monkeypatch.setattr(components, "_import_extension", lambda _: as_extension(label))
    monkeypatch.setattr(components, "_usable_on", lambda _: True)
    assert provide_components(FakeMisc(), CPU) == "opencv"


def test_a_right_function_passes_the_check() -> None:
    assert labels_correctly(connected_components, CPU)


class LastError:
    """CUDA's: a launch that fails leaves it, the next kernel that PyTorch launches raises it, and then it is gone unless it sticks."""

    def __init__(self, *, sticks: bool = False) -> None:
        self.is_pending = False
        self._sticks = sticks

    def label(self, mask: Any) -> Any:
        self.is_pending = True
        return (torch.zeros_like(mask, dtype=torch.int32),) * 2

    def launch(self, device: Any) -> None:
        if self.is_pending:
            self.is_pending = self._sticks
            raise RuntimeError("CUDA error: no kernel image is available for execution on the device")


def test_an_extension_for_another_gpu_leaves_no_error_to_the_next_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    error = LastError()
    monkeypatch.setattr(components, "_import_extension", lambda _: as_extension(error.label))
    monkeypatch.setattr(components, "_usable_on", lambda _: True)
    monkeypatch.setattr(components, "_launch", error.launch)
    assert provide_components(FakeMisc(), CPU) == "opencv"
    assert not error.is_pending


def test_an_extension_that_breaks_cuda_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    error = LastError(sticks=True)
    monkeypatch.setattr(components, "_launch", error.launch)
    with pytest.raises(RunnerError, match=r"the extension _C has broken CUDA .*uninstall it"):
        labels_correctly(error.label, CPU)


# ---- in the model


def test_sam2_fills_holes_and_raises_no_warning() -> None:
    pytest.importorskip("sam2", reason="needs the sam2 package")
    from runners import RUNNERS
    from runners.base import BuildOptions, Clip, Prompt
    from runners.sam2 import Sam2Runner

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        runner = Sam2Runner(BuildOptions(imgsz=128, config=RUNNERS["sam2_tiny"].config))
        assert runner.applied.hole_filling == "opencv"
        mask_hw = np.zeros((128, 128), np.bool_)
        mask_hw[20:100, 20:100] = True
        mask_hw[40:48, 40:48] = False  # 2 x 2 at the decoder's resolution
        frame = np.full((128, 128, 3), 90, np.uint8)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            runner.open(Clip("square", 2, 128, 128), frame)
            masks = runner.prompt(0, frame, [Prompt(1, "mask", mask_hw=mask_hw)])
            runner.track(1, frame)
        assert masks[0, 42:46, 42:46].all()
    finally:
        torch.set_num_threads(threads)
