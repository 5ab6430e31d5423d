"""`jetson_benchmark.py attention`: recording, measuring, comparing, tables, and the command as a user meets it."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tiny_split import TinySplit

from runners import RUNNERS
from runners.base import Applied, Clip, Frame, FrameReport, Masks, Prompt, RunnerError
from savbench.attention_bench import accuracy, child, cli, clip, measure, recording
from savbench.attention_bench.accuracy import AccuracyJob
from savbench.attention_bench.child import AttentionJob
from savbench.attention_bench.measure import Effort
from savbench.attention_bench.rows import AccuracyRow, CallRow
from savbench.attention_bench.table import accuracy_tables, call_tables
from savbench.results import dictionary, read_rows

ROOT = Path(__file__).parents[1]


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
    with clip._repeating(model, ("image_encoder", "vision_encoder", "memory_attention")):
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
    assert manual["frame_ms"] is None
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


# ---- tables


def call_row(attention: str, **changes: Any) -> CallRow:
    settings: dict[str, Any] = {
        "model": "sam2_tiny", "imgsz": 1024, "num_maskmem": 7, "autocast_dtype": "float32", "attention": attention,
        "part": "memory attention, cross", "query": "1x1x4096x256", "key": "1x1x28736x256", "value": "1x1x28736x256", "dtypes": "float32",
        "calls": 4, "kernel": "flash_cpu", "samples": 3, "time_p50_ms": 100.0, "time_p90_ms": 110.0, "per_frame_ms": 400.0,
        "frame_share": 0.4, "GFLOP": 120.5, "GFLOP_per_s": 1205.0, "peak_MiB": 12.5, "max_diff": 2e-7, "max_value": 0.5, "frame_ms": 1000.0,
    }  # fmt: skip
    return CallRow(**{**settings, **changes})


def line_of(text: str, *words: str) -> str:
    (line,) = [line for line in text.splitlines() if all(word in line for word in words)]
    return " ".join(line.split())


def test_the_tables_say_what_a_choice_costs() -> None:
    part = {
        "part": "mask decoder",
        "query": "1x8x8x16",
        "key": "1x8x64x16",
        "calls": 2,
        "per_frame_ms": 10.0,
        "time_p50_ms": 5.0,
        "time_p90_ms": 5.5,
    }
    rows = [
        call_row("auto"),
        call_row("auto", **part, max_diff=1e-7),
        call_row("manual", kernel="manual", per_frame_ms=800.0, frame_ms=1500.0, peak_MiB=900.0),
        call_row("manual", kernel="manual", **part, frame_ms=1500.0),
        call_row("cudnn", status="unavailable", error="the CPU has no cudnn kernel", frame_ms=None),
        call_row("cudnn", status="unavailable", error="the CPU has no cudnn kernel", frame_ms=None, **part),
    ]
    text = call_tables(rows, top=1)
    assert line_of(text, "auto", "flash_cpu", "1.00x") == "sam2_tiny 1024 7 float32 auto flash_cpu 6 410.0 1000 41.0% 1.00x 12.5 4e-07"
    assert line_of(text, "manual", "1.50x") == "sam2_tiny 1024 7 float32 manual manual 6 810.0 1500 54.0% 1.50x 900.0 4e-07"
    assert line_of(text, "cudnn", "unavailable for") == "sam2_tiny 1024 7 float32 cudnn unavailable for 6 of 6 calls"
    assert "cudnn: the CPU has no cudnn kernel" in text
    memory = line_of(text, "cross", "482.0")
    assert memory == "cross sam2_tiny 1024 7 float32 4096x28736 256 4 482.0 400.0 800.0 unavailable"
    assert line_of(text, "1 more kinds of calls").startswith("1 more kinds of calls take 40.0% of the frame under auto")
    assert "spread widely" not in text


def test_unsteady_times_and_failed_models_are_mentioned() -> None:
    text = call_tables([call_row("auto", time_p90_ms=200.0), CallRow(model="edgetam", status="oom", error="too large")], top=1)
    assert "the times of 1 of 1 calls spread widely" in text
    assert "edgetam: oom: too large" in text


def test_the_dictionary_of_columns_is_in_step() -> None:
    readme = (ROOT / "savbench" / "attention_bench" / "README.md").read_text(encoding="utf-8")
    for schema in (CallRow, AccuracyRow):
        assert dictionary(schema) in readme, "bring it up to date with savbench.results.dictionary"


# ---- the command


def run_command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "jetson_benchmark.py"), "attention", *map(str, arguments)],
        check=False, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def scripted_child(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A child process that reads its job and does what the script says with `say(event)`."""
    head = (
        "import json, os, signal, sys\n"
        "job = json.loads(sys.stdin.readline())\n"
        "events = os.fdopen(int(sys.argv[2]), 'w')\n"
        "def say(**event): print(json.dumps(event), file=events, flush=True)\n"
    )
    monkeypatch.setattr(cli, "CHILD_COMMAND", (sys.executable, "-c", head + script))


def test_rows_reach_the_file_and_decide_the_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = (
        "say(event='say', text='recording')\n"
        "say(event='row', row=dict(model=job['model'], attention='auto', query='1x1x2x8', key='1x1x2x8', calls=1, kernel='math'))\n"
        "say(event='row', row=dict(model=job['model'], attention='flash', query='1x1x2x8', key='1x1x2x8', calls=1, status='unavailable'))\n"
    )
    scripted_child(monkeypatch, script)
    out = tmp_path / "new" / "a.csv"
    assert cli.main(["--models", "sam2_tiny", "--out", str(out)]) == 0
    assert [row.status for row in read_rows(CallRow, out)] == ["ok", "unavailable"]
    said = capsys.readouterr()
    assert f"2 rows in {out}" in said.out
    assert "recording" in said.err
    assert cli.main(["--models", "sam2_tiny", "--out", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_child_that_dies_leaves_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    scripted_child(monkeypatch, "print('the last words'); sys.stdout.flush(); os.kill(os.getpid(), signal.SIGSEGV)\n")
    out = tmp_path / "a.csv"
    assert cli.main(["--models", "sam2_tiny,edgetam", "--out", str(out)]) == 1
    assert [(row.model, row.status) for row in read_rows(CallRow, out)] == [("sam2_tiny", "killed"), ("edgetam", "killed")]
    said = capsys.readouterr()
    assert "the last words" in said.err
    assert "SIGSEGV" in said.out


def test_the_parent_loads_no_torch(tmp_path: Path) -> None:
    script = (
        "import sys, jetson_benchmark\n"
        "status = jetson_benchmark.main(['attention', '--models', 'sam2_tiny', '--weights_dir', '/nowhere'])\n"
        "print(status, 'torch' in sys.modules)\n"
    )
    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert said.splitlines()[-1] == "2 False"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--models", "sam9"],
            "--models sam9: use one or more of sam2_nano, sam2_tiny" if "sam2_nano" in RUNNERS else "use one or more of",
        ),
        (["--models", "static"], "--models static: use one or more of"),
        (["--models", ""], "--models: name at least one of"),
        (["--attention", "fast"], "--attention fast: use one or more of auto, flash"),
        (["--attention", "auto,auto"], "names something twice"),
        (["--autocast_dtype", "float8"], "--autocast_dtype float8"),
        (["--num_maskmem", "8"], "--num_maskmem 8: use one or more of 1, 2"),
        (["--repeats", "0"], "--repeats 0: must be 1 or more"),
        (["--min_time", "nan"], "--min_time nan: must be 0 seconds or more"),
        (["--weights_dir", "/nowhere"], "is not in /nowhere"),
        (["--sam2_dir", "/nowhere"], "holds no sam2 package"),
        (["--accuracy", "/nowhere"], "/nowhere: no such folder"),
        (["--out", "/dev/null/a.csv"], "cannot be written"),
    ],
)
def test_bad_arguments_end_with_2(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    if "--out" not in arguments:
        arguments = [*arguments, "--out", str(tmp_path / "a.csv")]
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "a.csv").exists()


def test_edgetam_from_end_to_end(tmp_path: Path) -> None:
    """Its compressed memory: 7 x 512 latents and 16 x 4 pointer tokens at every size."""
    for name in ("torch", "transformers", "timm"):
        pytest.importorskip(name, reason=f"needs {name}")
    out = tmp_path / "a.csv"
    done = run_command(
        "--models", "edgetam", "--imgsz", "256", "--device", "cpu", "--attention", "auto", "--repeats", "1", "--min_time", "0", "--out", out
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    with out.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["calls"]) for row in rows) == 19
    cross = {(row["query"], row["key"], row["calls"]) for row in rows if row["part"] == "memory attention, cross"}
    assert cross == {("1x1x256x256", "1x1x3648x256", "2")}
    assert all(float(row["frame_ms"]) > 0 and row["kernel"] == "flash_cpu" for row in rows)
    assert "Memory attention, all calls of a frame together" in done.stdout
