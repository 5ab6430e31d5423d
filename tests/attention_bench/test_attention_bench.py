"""`jetson_benchmark.py attention`: recording calls, measuring them, comparing masks."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tiny_split import TinySplit

from runners import RUNNERS
from runners.base import Applied, Clip, Frame, FrameReport, Masks, Prompt, RunnerError
from savbench.attention_bench import accuracy, child, clip, measure, recording
from savbench.attention_bench.accuracy import AccuracyJob
from savbench.attention_bench.child import AttentionJob
from savbench.attention_bench.measure import Effort
from savbench.attention_bench.table import accuracy_tables


@pytest.fixture
def torch(one_torch_thread: None) -> Any:
    return pytest.importorskip("torch", reason="needs torch")


def job(**changes: Any) -> AttentionJob:
    settings: dict[str, Any] = {
        "model": "sam2_tiny",
        "imgsz": (64,),
        "num_maskmem": (None,),
        "autocast_dtypes": ("float32",),
        "attention": ("auto", "manual"),
        "device": "cpu",
        "repeats": 1,
        "min_time_s": 0.0,
        "seed": 0,
        "benchmark_version": "",
    }
    return AttentionJob(**{**settings, **changes})


# ---- recording


def small_model(torch: Any) -> Any:
    """A model with the names of a tracker: 2 windowed calls, 1 global one, 2 cross-attentions with a mask, 1 of no known part."""
    nn: Any = torch.nn

    class Attend(torch.nn.Module):  # type: ignore[misc]
        def __init__(self, shape: tuple[int, ...], keys: int, window_size: int = 0, **options: Any) -> None:
            super().__init__()
            self.shape, self.keys, self.window_size, self.options = shape, keys, window_size, options

        def forward(self) -> Any:
            query = torch.randn(self.shape)
            key = torch.randn(*self.shape[:2], self.keys, self.shape[3])
            return nn.functional.scaled_dot_product_attention(query, key, key, **self.options)

    model = nn.Module()
    model.image_encoder = nn.Module()
    model.image_encoder.blocks = nn.ModuleList([Attend((9, 2, 4, 8), 4, window_size=2) for _ in range(2)] + [Attend((1, 2, 16, 8), 16)])
    layer = nn.Module()
    layer.cross_attn_image = Attend((1, 1, 16, 32), 40, attn_mask=torch.ones(16, 40, dtype=torch.bool), scale=32**-0.5)
    model.memory_attention = nn.Module()
    model.memory_attention.layers = nn.ModuleList([layer])
    model.head = Attend((1, 1, 3, 8), 5, is_causal=True, scale=0.5)
    model.run = lambda: [
        *(block() for block in model.image_encoder.blocks),
        *(model.memory_attention.layers[0].cross_attn_image() for _ in range(2)),
        model.head(),
    ]
    return model


def test_calls_that_are_alike_are_recorded_together(torch: Any) -> None:
    native = torch.nn.functional.scaled_dot_product_attention
    model = small_model(torch)
    found = recording.record_calls(model.run, model)
    assert [(call.part, call.calls, call.shapes[0], call.shapes[1], recording.arguments_text(call)) for call in found] == [
        ("image encoder, windows", 2, (9, 2, 4, 8), (9, 2, 4, 8), ""),
        ("image encoder, global", 1, (1, 2, 16, 8), (1, 2, 16, 8), ""),
        ("memory attention, cross", 2, (1, 1, 16, 32), (1, 1, 40, 32), "mask=bool 16x40"),
        ("head", 1, (1, 1, 3, 8), (1, 1, 5, 8), "is_causal=True scale=0.5"),
    ]
    assert dict(found[0].modules) == {"image_encoder.blocks.*": 2}
    assert torch.nn.functional.scaled_dot_product_attention is native
    assert recording.dtypes_text(found[0]) == "float32"


def test_recording_is_undone_after_an_error(torch: Any) -> None:
    native = torch.nn.functional.scaled_dot_product_attention
    model = small_model(torch)

    def run() -> None:
        model.head()
        raise KeyError("stop")

    with pytest.raises(KeyError):
        recording.record_calls(run, model)
    assert torch.nn.functional.scaled_dot_product_attention is native
    assert [call.part for call in recording.record_calls(model.head, model)] == ["head"]  # no hook was left, no module is still active


def test_a_recorded_call_can_be_made_again(torch: Any) -> None:
    results = []
    model = small_model(torch)
    found = recording.record_calls(lambda: results.append(model.head()), model)
    assert torch.equal(found[0].on(torch.device("cpu"))(), results[0])


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("memory_attention.layers.0.self_attn", "memory attention, self"),
        ("memory_attention.layers.3.cross_attn_image", "memory attention, cross"),
        ("sam_mask_decoder.transformer.layers.0.cross_attn_token_to_image", "mask decoder"),
        ("image_encoder.trunk.blocks.5.attn", "image encoder, global"),
        ("vision_encoder.backbone.blocks.5.attn", "image encoder, global"),
        ("spatial_perceiver.layers.0.cross_attn", "memory compression"),
        ("prompt_encoder.layer", "prompt encoder"),
        ("", "other"),
    ],
)
def test_parts_have_names(path: str, part: str) -> None:
    assert recording.part_of(path, windowed=False) == part


@pytest.mark.parametrize(
    ("query", "key", "value_width", "flop"),
    [
        ((1, 1, 4096, 256), (1, 1, 28736, 256), 256, 4 * 4096 * 28736 * 256),
        ((25, 4, 196, 96), (25, 4, 196, 96), 96, 4 * 25 * 4 * 196 * 196 * 96),
        ((2, 8, 3, 16), (2, 2, 5, 16), 32, 2 * 2 * 8 * 3 * 5 * (16 + 32)),  # grouped heads
        ((1, 8, 3, 16), (4, 1, 5, 16), 16, 4 * 4 * 8 * 3 * 5 * 16),  # broadcast
    ],
)
def test_work_is_counted(torch: Any, query: tuple[int, ...], key: tuple[int, ...], value_width: int, flop: int) -> None:
    inputs = tuple(torch.empty(shape, device="meta") for shape in (query, key, (*key[:3], value_width)))
    assert recording.RecordedCall("", inputs, None, {}).flop == flop


# ---- a clip with full memory


def test_modules_are_repeated_within_the_block_alone(torch: Any) -> None:
    class Counting(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.times = 0

        def forward(self) -> dict[str, Any]:
            self.times += 1
            return {"levels": [torch.full((2,), float(self.times))]}

    model = SimpleNamespace(image_encoder=Counting(), memory_attention=None)
    with clip.repeating(model, ("image_encoder", "vision_encoder", "memory_attention")):
        first = model.image_encoder()
        first["levels"][0] += 10  # as SAM 2 changes what the encoder gives it
        assert model.image_encoder()["levels"][0].tolist() == [1.0, 1.0]
    assert model.image_encoder()["levels"][0].tolist() == [2.0, 2.0]
    assert "forward" not in vars(model.image_encoder)


@pytest.mark.parametrize("num_maskmem", [None, 3])
def test_memory_is_as_full_as_after_tracking_whole_frames(torch: Any, num_maskmem: int | None) -> None:
    pytest.importorskip("sam2", reason="needs the sam2 package")
    from runners.base import BuildOptions

    spec = RUNNERS["sam2_tiny"]
    runner: Any = spec.build(BuildOptions(imgsz=64, config=spec.config, num_maskmem=num_maskmem))

    def shapes(track: Any) -> list[tuple[Any, ...]]:
        found = recording.record_calls(track, clip.model_of(runner))
        return [(call.part, call.calls, call.shapes, recording.dtypes_text(call)) for call in found]

    filled = clip.FullMemoryClip(runner)
    recorded = shapes(filled.track)
    again = shapes(filled.track)
    runner.close()
    frame_hwc, mask_hw = clip._scene()
    runner.open(Clip("whole", 30, *mask_hw.shape), frame_hwc)
    runner.prompt(0, frame_hwc, [Prompt(1, "mask", mask_hw=mask_hw)])
    for index in range(1, 19):
        runner.track(index, frame_hwc)
    whole = shapes(lambda: runner.track(19, frame_hwc))
    runner.close()
    assert recorded == whole
    assert again == whole
    cross = [found for found in recorded if found[0] == "memory attention, cross"]
    memories = 7 if num_maskmem is None else num_maskmem
    assert cross == [("memory attention, cross", 4, ((1, 1, 16, 256), *[(1, 1, 16 * memories + 64, 256)] * 2), "float32")]
    assert sum(found[1] for found in recorded) == 27


# ---- measuring


def recorded_call(torch: Any, queries: int = 6, **options: Any) -> Any:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, 2, length, 8, generator=generator) for length in (queries, 5, 5))
    return recording.RecordedCall("part", (query, key, value), None, options, calls=1)


def test_the_difference_from_float64_is_found_on_any_row(torch: Any) -> None:
    call = recorded_call(torch)
    reference = measure.Reference(call)
    right = call.on(torch.device("cpu"))()
    assert reference.largest_difference(right) < 1e-6
    assert reference.max_value == pytest.approx(float(right.abs().max()), rel=1e-5)
    for row in range(6):
        wrong = right.clone()
        wrong[0, 1, row, 3] += 0.25
        assert reference.largest_difference(wrong) == pytest.approx(0.25, abs=1e-6)
    wrong[0, 0, 0, 0] = torch.nan
    assert np.isnan(reference.largest_difference(wrong))


def test_long_calls_are_compared_on_some_rows_with_the_first_and_the_last(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "COMPARED_SCORES", 3 * 2 * 5)
    call = recorded_call(torch, queries=7)
    reference = measure.Reference(call)
    right = call.on(torch.device("cpu"))()
    seen = []
    for row in range(7):
        wrong = right.clone()
        wrong[0, 0, row, 0] += 1
        if reference.largest_difference(wrong) > 0.5:
            seen.append(row)
    assert seen == [0, 3, 6]
    causal = recorded_call(torch, queries=5, is_causal=True)
    assert measure.Reference(causal).largest_difference(causal.on(torch.device("cpu"))()) < 1e-6


def test_peak_memory_on_the_cpu_is_what_is_held_at_a_time(torch: Any) -> None:
    cpu = torch.device("cpu")

    def mebibytes(count: int) -> Any:
        return torch.empty(count << 18)

    def one_after_the_other() -> Any:
        mebibytes(3)
        return mebibytes(2)

    assert measure.peak_mib(lambda: mebibytes(4), cpu) == pytest.approx(4, abs=0.01)
    assert measure.peak_mib(lambda: (mebibytes(3), mebibytes(2)), cpu) == pytest.approx(5, abs=0.01)
    assert measure.peak_mib(one_after_the_other, cpu) == pytest.approx(3, abs=0.01)


@pytest.mark.parametrize(
    ("repeats", "samples", "enough"),
    [(100, [400.0, 400.0], False), (100, [400.0] * 3, True), (100, [1.0] * 3, False), (2, [1.0] * 2, True), (100, [1.0] * 100, True)],
)
def test_how_long_is_long_enough(repeats: int, samples: list[float], enough: bool) -> None:
    assert Effort(repeats, min_time_s=1.0).enough(samples) is enough


class SmallRunner:
    """A `VideoRunner` around a torch module that makes one attention call a frame."""

    def __init__(self, torch: Any) -> None:
        self._model = small_model(torch).head
        self.applied = Applied(implementation="small", device="cpu", imgsz=64, weights="random")

    def open(self, clip: Clip, first_frame_hwc: Frame) -> None:
        pass

    def prompt(self, frame_index: int, frame_hwc: Frame, prompts: Sequence[Prompt]) -> Masks:
        return np.zeros((1, *frame_hwc.shape[:2]), np.bool_)

    def track(self, frame_index: int, frame_hwc: Frame) -> Masks:
        self._model()
        return np.zeros((1, *frame_hwc.shape[:2]), np.bool_)

    def inspect(self) -> FrameReport:
        return FrameReport()

    def close(self) -> None:
        pass


def rows_of_child(the_job: AttentionJob) -> list[dict[str, Any]]:
    events = io.StringIO()
    child._Child(the_job, events).run()
    return [event["row"] for event in map(json.loads, events.getvalue().splitlines()) if event["event"] == "row"]


def test_every_choice_has_a_row_with_figures_or_a_reason(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNNERS, "sam2_tiny", SimpleNamespace(imgsz=64, config=None, build=lambda _: SmallRunner(torch)))
    rows = rows_of_child(job(attention=("auto", "manual", "cudnn"), autocast_dtypes=("float32", "bfloat16")))
    assert [(row["autocast_dtype"], row["attention"], row["status"], row["kernel"]) for row in rows] == [
        (dtype, *found)
        for dtype in ("float32", "bfloat16")
        for found in (("auto", "ok", "flash_cpu"), ("manual", "ok", "manual"), ("cudnn", "unavailable", ""))
    ]
    assert "the CPU has no cudnn kernel" in rows[2]["error"]
    for row in rows:
        assert (row["query"], row["key"], row["calls"]) == ("1x1x3x8", "1x1x5x8", 1)
        assert row["GFLOP"] == pytest.approx(4 * 3 * 5 * 8 / 1e9)
        if row["status"] == "ok":
            assert row["time_p50_ms"] > 0
            assert row["frame_share"] == pytest.approx(row["time_p50_ms"] / row["frame_ms"])
            assert row["GFLOP_per_s"] == pytest.approx(row["GFLOP"] / row["time_p50_ms"] * 1e3)
            assert 0 < row["max_diff"] < (1e-6 if row["autocast_dtype"] == "float32" else 0.05)
        else:
            assert row["time_p50_ms"] is row["frame_ms"] is None


def test_out_of_memory_is_a_finding_about_one_choice(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNNERS, "sam2_tiny", SimpleNamespace(imgsz=64, config=None, build=lambda _: SmallRunner(torch)))

    def exhausted(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 471.00 MiB")

    monkeypatch.setattr("attention.manual.scaled_dot_product_attention", exhausted)
    auto, manual = rows_of_child(job())
    assert (auto["status"], manual["status"]) == ("ok", "oom")
    assert auto["frame_ms"] > 0
    assert (manual["attention"], manual["query"], manual["frame_ms"]) == ("manual", "1x1x3x8", None)
    assert "471.00 MiB" in manual["error"]


def test_a_size_that_fails_does_not_stop_the_next(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(options: Any) -> Any:
        if options.imgsz == 33:
            raise RunnerError("33 is not a size it can run")
        return SmallRunner(torch)

    monkeypatch.setitem(RUNNERS, "sam2_tiny", SimpleNamespace(imgsz=64, config=None, build=build))
    rows = rows_of_child(job(imgsz=(33, 64), attention=("auto",)))
    assert [(row["imgsz"], row["status"], row["error"]) for row in rows] == [
        (33, "error", "33 is not a size it can run"),
        (64, "ok", ""),
    ]


def test_a_job_survives_the_pipe() -> None:
    whole = job(weights="/w.pt", accuracy=AccuracyJob("/data/sav", "sav", 1, None, "mask"))
    assert AttentionJob.from_line(whole.to_line()) == whole


def test_a_model_without_memory_is_measured_once(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNNERS, "sam2_tiny", SimpleNamespace(imgsz=64, config=None, build=lambda _: SmallRunner(torch)))
    rows = rows_of_child(job(num_maskmem=(1, 4, 7), attention=("auto",)))
    assert [row["num_maskmem"] for row in rows] == [None]


# ---- accuracy


class ShiftedRunner:
    """Puts out the prompted mask, one column further right for each frame under `manual`, and nothing finite under `math`."""

    applied = Applied(implementation="shifted", device="cpu", imgsz=64, weights="random")

    def __init__(self, device: ChoiceDevice) -> None:
        self._device = device
        self._mask_hw: Any = None

    def open(self, clip: Clip, first_frame_hwc: Frame) -> None:
        pass

    def prompt(self, frame_index: int, frame_hwc: Frame, prompts: Sequence[Prompt]) -> Masks:
        self._mask_hw = prompts[0].mask_hw
        return np.zeros((1, *frame_hwc.shape[:2]), np.bool_)

    def track(self, frame_index: int, frame_hwc: Frame) -> Masks:
        moved_hw: Any = np.roll(self._mask_hw, frame_index if self._device.choice == "manual" else 0, axis=1)
        masks_nhw: Masks = moved_hw[None]
        return masks_nhw

    def inspect(self) -> FrameReport:
        return FrameReport(finite=self._device.choice != "math")

    def close(self) -> None:
        pass


class ChoiceDevice:
    """A device that remembers the choice in force."""

    choice = ""

    @contextlib.contextmanager
    def attention(self, choice: str) -> Iterator[Mapping[str, int]]:
        self.choice = choice
        yield {}

    def autocast(self, dtype: str) -> Any:
        return contextlib.nullcontext()


def test_masks_are_compared_frame_by_frame(tiny_split: TinySplit) -> None:
    device: Any = ChoiceDevice()
    runner: Any = ShiftedRunner(device)
    settings = AccuracyJob(str(tiny_split.root), "sav_tiny", limit_videos=1, max_frames=4, prompt="mask")
    arms = [("float32", "auto"), ("float32", "manual"), ("float32", "math"), ("float32", "cudnn")]
    rows = list(accuracy.compare_masks(runner, device, settings, arms, lambda _: None))
    assert [(row.attention, row.status) for row in rows] == [
        ("auto", "ok"), ("manual", "ok"), ("math", "unavailable"), ("cudnn", "unavailable"),
    ]  # fmt: skip
    assert (rows[0].J_mean, rows[0].J_min, rows[0].identical_frames, rows[0].frames) == (1.0, 1.0, 3, 3)
    # an 8x8 square, shifted by 1, 2 and 3 columns
    expected = [7 / 9, 6 / 10, 5 / 11]
    assert rows[1].J_mean == pytest.approx(np.mean(expected))
    assert rows[1].J_min == pytest.approx(5 / 11)
    assert (rows[1].J_min_frame, rows[1].identical_frames) == (3, 0)
    assert rows[1].coverage == pytest.approx(64 / (24 * 32))
    assert "NaN or infinite output on frame 1" in rows[2].error
    table = accuracy_tables(rows)
    assert "0.61077" in table
    assert "math: unavailable: NaN" in table


def test_a_clip_that_cannot_be_used_is_a_row(tiny_split: TinySplit) -> None:
    tiny_split.frame("alpha", 0).write_bytes(b"no image")
    device: Any = ChoiceDevice()
    settings = AccuracyJob(str(tiny_split.root), "sav_tiny", limit_videos=2, max_frames=None, prompt="mask")
    runner: Any = ShiftedRunner(device)
    rows = list(accuracy.compare_masks(runner, device, settings, [("float32", "auto")], lambda _: None))
    assert [(row.video, row.status) for row in rows] == [("alpha", "error"), ("beta", "ok")]
