"""What can only be seen on a GPU: `python -m pytest tests/gpu`, about two minutes on one. Skipped without.

The same faults are tested with stand-ins beside the modules they were in; here CUDA itself answers.
"""

from __future__ import annotations

import contextlib
import functools
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
if not torch.cuda.is_available():
    pytest.skip("needs a GPU that this torch can use", allow_module_level=True)

from attention.kernels import observe  # noqa: E402
from benchmarks.gpu_acceptance import SCALE, Pair  # noqa: E402
from runners import RUNNERS, SHIPPED_WEIGHTS  # noqa: E402
from runners.base import BuildOptions, Clip, Masks, Prompt, VideoRunner  # noqa: E402
from runners.components import connected_components, fill_holes, provide_components  # noqa: E402
from runners.preprocessing import FramePreprocessor, tables_of_sam1  # noqa: E402
from runners.resize import Resizer, Size, by_pillow  # noqa: E402
from runners.torch_common import MaskDownload, resolve_device, synchronize  # noqa: E402
from savbench.data.demo.split import make_clip  # noqa: E402
from savbench.data.listing import FRAMES_DIR  # noqa: E402
from savbench.measure.devices import TorchDevice  # noqa: E402
from savbench.measure.failures import status_of  # noqa: E402
from savbench.selfcheck.recorded import load, write_split  # noqa: E402

ROOT = Path(__file__).parents[2]
GPU = resolve_device("cuda")
CPU = torch.device("cpu")
FRAMES = 12
DTYPES = ("float32", "bfloat16", "float16")


@pytest.fixture
def device() -> TorchDevice:
    return TorchDevice(torch, str(GPU))


class GeneratedClip:
    def __init__(self, height: int = 240, width: int = 424) -> None:
        made = make_clip(3, FRAMES, height, width)
        self.frames = made.frames_thwc
        self.clip = Clip("generated", FRAMES, height, width)
        self.prompt = Prompt(1, "mask", mask_hw=next(mask_thw[0] for mask_thw in made.masks_nthw if mask_thw[0].any()))

    def track(self, runner: VideoRunner) -> list[Masks]:
        runner.open(self.clip, self.frames[0])
        try:
            masks = [runner.prompt(0, self.frames[0], [self.prompt])]
            for index in range(1, FRAMES):
                masks.append(runner.track(index, self.frames[index]))
                assert runner.inspect().finite
            return masks
        finally:
            runner.close()


@pytest.fixture(scope="module")
def clip() -> GeneratedClip:
    return GeneratedClip()


def build(where: Any, **options: Any) -> VideoRunner:
    pytest.importorskip("sam2", reason="needs the sam2 package")
    spec = RUNNERS["sam2_nano"]
    weights = SHIPPED_WEIGHTS / "sam2_nano.pt"
    return spec.build(BuildOptions(device=str(where), imgsz=spec.imgsz, config=spec.config, weights=weights, **options))


@pytest.fixture(scope="module")
def nano() -> VideoRunner:
    return build(GPU)


@pytest.fixture(scope="module")
def expected(clip: GeneratedClip) -> list[Masks]:
    """Masks of the CPU."""
    return clip.track(build(CPU))


def agreement(one: Sequence[Masks], other: Sequence[Masks]) -> float:
    """Intersection over union of all masks of a clip."""
    a, b = np.stack(one), np.stack(other)
    return float((a & b).sum() / (a | b).sum())


# ---- from the frame to the model's input


@pytest.mark.parametrize("imgsz", [1024, 512, 192])
@pytest.mark.parametrize("in_hw", [(480, 848), (1080, 1920), (1920, 1080), (1, 37), (397, 401)])
def test_frames_are_resized_on_the_gpu_to_pillows_bits(in_hw: Size, imgsz: int) -> None:
    frame_hwc = np.random.default_rng(1).integers(0, 256, (*in_hw, 3), np.uint8)
    resizer = Resizer("bicubic", GPU)
    resized = resizer(frame_hwc, (imgsz, imgsz))
    assert resized.device == GPU
    assert resizer.way.startswith("exact on cuda")
    np.testing.assert_array_equal(resized.cpu().numpy(), by_pillow(frame_hwc, (imgsz, imgsz), "bicubic"))


def test_inputs_are_those_of_the_cpu() -> None:
    frame_hwc = np.random.default_rng(2).integers(0, 256, (90, 160, 3), np.uint8)
    for how in (("bicubic", None, None), ("bilinear", tables_of_sam1(), (72, 128))):
        kind, tables, out_hw = how
        on_gpu, on_cpu = (FramePreprocessor(128, where, kind, tables)(frame_hwc, out_hw) for where in (GPU, CPU))  # type: ignore[arg-type]
        assert torch.equal(on_gpu.cpu(), on_cpu)


def test_frames_that_follow_each_other_do_not_mix() -> None:
    resizer = Resizer("bicubic", GPU)
    frames = np.random.default_rng(3).integers(0, 256, (6, 480, 848, 3), np.uint8)
    for frame_hwc in frames:
        resized = resizer(frame_hwc, (512, 512))
        synchronize(GPU)
        np.testing.assert_array_equal(resized.cpu().numpy(), by_pillow(frame_hwc, (512, 512), "bicubic"))


@contextlib.contextmanager
def waits_told(mode: str) -> Iterator[None]:
    """Within, PyTorch tells where the host waits for the GPU: `warn` or `error`. `torch.cuda.synchronize` is not told."""
    torch.cuda.set_sync_debug_mode(mode)
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_between_the_frame_and_the_copy_of_its_masks_nothing_waits() -> None:
    frame_hwc = np.random.default_rng(4).integers(0, 256, (720, 1280, 3), np.uint8)
    prepare, download = FramePreprocessor(1024, GPU), MaskDownload(GPU)
    logits_n1hw = torch.randn(1, 1, 720, 1280, device=GPU)
    for number in range(3):
        with waits_told("error") if number else contextlib.nullcontext():  # the first one pins memory
            prepare(frame_hwc)
            download.begin(logits_n1hw)
        download.wait()


def test_masks_come_home() -> None:
    download = MaskDownload(GPU)
    logits = torch.randn(2, 1, 1080, 1920, device=GPU)
    download.begin(logits)
    first = download.wait()
    download.begin(-logits)
    download.wait()
    np.testing.assert_array_equal(first, (logits[:, 0] > 0).cpu().numpy())


# ---- the model


def test_float32_masks_are_those_of_the_cpu(nano: VideoRunner, device: TorchDevice, clip: GeneratedClip, expected: list[Masks]) -> None:
    with device.autocast("float32"):
        assert agreement(clip.track(nano), expected) >= 0.999


@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_autocast_masks_are_near_those_of_float32(
    nano: VideoRunner, device: TorchDevice, clip: GeneratedClip, expected: list[Masks], dtype: str
) -> None:
    with device.autocast(dtype):
        assert agreement(clip.track(nano), expected) >= 0.95


def test_parts_are_measured_and_lie_within_the_call(nano: VideoRunner, clip: GeneratedClip) -> None:
    clip.track(nano)
    nano.open(clip.clip, clip.frames[0])
    nano.prompt(0, clip.frames[0], [clip.prompt])
    begun = time.perf_counter()
    nano.track(1, clip.frames[1])
    call_ms = (time.perf_counter() - begun) * 1e3
    parts = nano.inspect().parts_ms
    nano.close()
    assert min(parts.values()) > 0
    assert sum(parts.values()) <= call_ms


def test_a_warm_frame_shows_the_same_kernels_every_time(nano: VideoRunner, device: TorchDevice, clip: GeneratedClip) -> None:
    with device.autocast("bfloat16"):
        clip.track(nano)
        nano.open(clip.clip, clip.frames[0])
        nano.prompt(0, clip.frames[0], [clip.prompt])
        seen = [observe(functools.partial(nano.track, index, clip.frames[index])) for index in range(1, 4)]
        nano.close()
    assert seen[1].calls > 0
    assert seen[1] == seen[2]


def waits(call: Callable[[], object]) -> int:
    """How often the host waits for the GPU, as PyTorch tells it, besides `torch.cuda.synchronize`."""
    with warnings.catch_warnings(record=True) as told, waits_told("warn"):
        warnings.simplefilter("always")
        call()
    return sum("synchronizing" in str(warning.message) for warning in told)


def test_a_frame_waits_no_more_often_than_upstream_s_own_loop(tmp_path: Path) -> None:
    pytest.importorskip("sam2", reason="needs the sam2 package")
    write_split(load(), tmp_path, {"clip": SCALE})
    pair = Pair("sam2_nano", tmp_path / FRAMES_DIR / "clip", str(GPU), None, "float32", FRAMES)
    with torch.inference_mode(), pair.device.autocast("float32"):
        pair.runner.open(Clip("clip", FRAMES, *pair.frames[0].shape[:2]), pair.frames[0])
        pair.runner.prompt(0, pair.frames[0], [Prompt(1, "mask", mask_hw=pair.mask_hw)])
        ours = [waits(functools.partial(pair.runner.track, index, pair.frames[index])) for index in range(1, FRAMES)]
        pair.runner.close()
        steps = pair.loop()
        theirs = [waits(functools.partial(next, steps)) for _ in range(FRAMES)][1:]
    assert max(ours[-3:]) <= max(theirs[-3:])


# ---- memory


def test_in_the_steady_state_no_memory_is_taken_from_cuda(nano: VideoRunner, device: TorchDevice, clip: GeneratedClip) -> None:
    there_and_back = [*clip.frames, *clip.frames[-2:0:-1]] * 2
    full = 24
    """By this frame the memory of frames and pointers is full."""
    taken: list[tuple[int, int]] = []
    with device.autocast("bfloat16"):
        nano.open(Clip("long", len(there_and_back), *clip.frames[0].shape[:2]), clip.frames[0])
        nano.prompt(0, clip.frames[0], [clip.prompt])
        for index, frame_hwc in enumerate(there_and_back[1:], 1):
            nano.track(index, frame_hwc)
            stats = torch.cuda.memory_stats(GPU)
            taken.append((stats["segment.all.allocated"], stats["num_alloc_retries"]))
        nano.close()
    assert len(set(taken[full:])) == 1


def reserved_mib(device: TorchDevice, runner: VideoRunner, clip: GeneratedClip) -> float:
    device.release_memory()
    device.reset_peaks()
    clip.track(runner)
    peak = device.peaks_mib()[1]
    assert peak is not None
    return peak


def test_peaks_do_not_depend_on_what_ran_before(nano: VideoRunner, device: TorchDevice, clip: GeneratedClip) -> None:
    reserved_mib(device, nano, clip)  # libraries take their workspaces
    before = reserved_mib(device, nano, clip)
    reserved_mib(device, nano, GeneratedClip(1080, 1920))
    # PyTorch takes memory from CUDA in pieces of 2 MiB
    assert abs(reserved_mib(device, nano, clip) - before) <= 2


def test_free_memory_is_read_with_and_without_a_number(device: TorchDevice) -> None:
    memory = device.gpu_memory_mib()
    assert memory is not None
    assert memory.free > 0
    assert TorchDevice(torch, "cuda").gpu_memory_mib() is not None


def test_a_lack_of_memory_is_told_and_the_next_object_runs(nano: VideoRunner, device: TorchDevice, clip: GeneratedClip) -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 50, dtype=torch.uint8, device=GPU)
    assert status_of(raised.value) == "oom"
    with device.autocast("float32"):
        assert clip.track(nano)[-1].shape == (1, 240, 424)


def test_a_model_on_the_cpu_leaves_the_gpu_alone() -> None:
    code = (
        "import torch, numpy as np\n"
        "from runners import RUNNERS\n"
        "from runners.base import BuildOptions, Clip, Prompt\n"
        "spec = RUNNERS['sam2_nano']\n"
        "runner = spec.build(BuildOptions(device='cpu', imgsz=spec.imgsz, config=spec.config))\n"
        "frame, mask = np.zeros((64, 64, 3), np.uint8), np.eye(64, dtype=bool)\n"
        "runner.open(Clip('c', 2, 64, 64), frame); runner.prompt(0, frame, [Prompt(1, 'mask', mask_hw=mask)]); runner.track(1, frame)\n"
        "assert not torch.cuda.is_initialized()\n"
    )
    pytest.importorskip("sam2", reason="needs the sam2 package")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ---- numbers


def test_float32_convolutions_are_not_computed_in_tf32(device: TorchDevice) -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((1, 256, 32, 32), (256, 256, 3, 3)))
    exact = torch.nn.functional.conv2d(x, weight)
    with device.autocast("float32"):
        found = torch.nn.functional.conv2d(x.float().to(GPU), weight.float().to(GPU)).double().cpu()
    # TF32 has 10 bits of mantissa: it is off by 1e-4 of the largest value and more
    assert float((found - exact).abs().max() / exact.abs().max()) < 2e-5


# ---- components


def test_holes_are_filled_as_on_the_cpu_whatever_labels_them() -> None:
    misc = pytest.importorskip("sam2.utils.misc", reason="needs the sam2 package")
    generator = torch.Generator().manual_seed(0)
    logits = torch.nn.functional.avg_pool2d(torch.randn(3, 1, 66, 66, generator=generator), 3, stride=1)
    how = provide_components(misc, GPU)
    assert how in ("cuda", "opencv")
    # a `_C` that does not fit leaves an error to the next kernel, which would be this one
    on_gpu = logits.to(GPU) + 0
    assert torch.equal(misc.fill_holes_in_mask_scores(on_gpu, 8).cpu(), fill_holes(logits))
    for one, other in zip(misc.get_connected_components((on_gpu <= 0).to(torch.uint8)), connected_components(logits <= 0), strict=True):
        assert torch.equal(one.cpu() > 0, other > 0)


# ---- the second GPU


def test_a_model_on_the_second_gpu(clip: GeneratedClip, expected: list[Masks]) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    try:
        runner = build("cuda:1")
        with TorchDevice(torch, "cuda:1").autocast("float32"):
            assert agreement(clip.track(runner), expected) >= 0.999
    finally:
        torch.cuda.set_device(GPU)
