"""Each check of the self-check can fail: figures with a planted fault are judged `failed`, with what that means and what to do."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from runners.base import CompileReport, FrameReport
from savbench.board.power.base import Reading
from savbench.measure.measured import Peaks, SessionFacts, TimedFrame
from savbench.selfcheck.outcome import Outcome

pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("sam2", reason="needs sam2")

import torch

from runners.components import connected_components
from savbench.selfcheck.attention import judge_choice
from savbench.selfcheck.clocks import Clocked, judge_clocks, judge_sums, judge_turns
from savbench.selfcheck.compiling import judge_compiled
from savbench.selfcheck.components import compare_labels
from savbench.selfcheck.laboratory import mean_j
from savbench.selfcheck.masks import judge_dtype, judge_recorded
from savbench.selfcheck.memory import FRAMES, FULL_AT, judge_cpu_arm, judge_growth, judge_peaks
from savbench.selfcheck.telemetry import judge_readings
from savbench.selfcheck.trouble import judge_nonfinite, judge_oom

CPU = torch.device("cpu")


def fails(outcome: Outcome) -> bool:
    """Whether it failed and says what that means and what to do."""
    if outcome.status != "failed":
        assert not outcome.meaning
        assert not outcome.remedy
        return False
    assert outcome.meaning
    assert outcome.remedy
    return True


def _square(row: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    masks_thw = np.zeros((3, 40, 40), np.bool_)
    masks_thw[:, row : row + 10, 5:25] = True
    return masks_thw


def test_masks_that_are_shifted() -> None:
    assert mean_j(_square(5), _square(5)) == 1
    assert mean_j(_square(5), _square(6)) == pytest.approx(180 / 220)  # 9 of 10 rows are common
    assert not fails(judge_recorded([1.0, 0.9995], "a" * 64, "a" * 64))
    assert fails(judge_recorded([1.0, mean_j(_square(5), _square(6))], "a" * 64, "a" * 64))


def test_recorded_masks_of_other_weights() -> None:
    outcome = judge_recorded([1.0, 1.0], "a" * 64, "b" * 64)
    assert fails(outcome)
    assert "savbench.selfcheck.recording" in outcome.remedy


def test_a_dtype_that_costs_masks() -> None:
    assert not fails(judge_dtype("bfloat16", 0.98))
    assert fails(judge_dtype("bfloat16", 0.9))
    assert fails(judge_dtype("float16", 0.97))


@pytest.mark.parametrize(
    ("choice", "device_type", "kernels", "is_wrong"),
    [
        ("flash", "cpu", "flash_cpu:17", False),
        ("flash", "cuda", "flash:17", False),
        ("flash", "cuda", "flash:15 math:2", True),
        ("math", "cpu", "flash_cpu:17", True),
        ("manual", "cpu", "manual:17", False),
        ("manual", "cpu", "", True),
        ("fallback", "cuda", "flash:15 manual:2", False),
        ("fallback", "cuda", "", True),
    ],
)
def test_a_kernel_that_is_not_the_forced_one(choice: str, device_type: str, kernels: str, is_wrong: bool) -> None:
    assert fails(judge_choice("attention", choice, device_type, "float32", 1.0, kernels)) == is_wrong


def test_attention_that_changes_masks() -> None:
    assert fails(judge_choice("attention", "math", "cpu", "float32", 0.99, "math:17"))
    assert not fails(judge_choice("attention", "math", "cpu", "bfloat16", 0.99, "math:17"))


def _clocked(*, returned: float = 10, idle: float = 10, events: float | None = 10) -> list[Clocked]:
    return [Clocked(returned, idle, events)] * 5


def test_a_runner_that_returns_before_the_device_is_idle() -> None:
    assert fails(next(judge_clocks([10.0] * 5, _clocked(returned=8))))
    assert fails(next(judge_clocks([8.0] * 5, _clocked())))
    assert not any(fails(outcome) for outcome in judge_clocks([10.1] * 5, _clocked()))


def test_events_on_another_clock() -> None:
    synchronised, events = judge_clocks([10.0] * 5, _clocked(events=9))
    assert not fails(synchronised)
    assert fails(events)


def test_without_a_gpu_events_are_not_applicable() -> None:
    assert list(judge_clocks([10.0] * 5, _clocked(events=None)))[1].status == "not applicable"


def _timed(parts_ms: dict[str, float], stages_ms: dict[str, float]) -> list[TimedFrame]:
    report = FrameReport(parts_ms=parts_ms, stages_ms=stages_ms)
    return [TimedFrame(1, 1, 0, (0.0, 0.010), 0.0, 0.0, report)] * 3


def test_parts_and_stages_that_do_not_sum() -> None:
    parts = {"preprocess_ms": 1.0, "model_ms": 8.0, "output_ms": 1.0}
    stages = {"image_encoder": 6.0, "other": 4.0}
    assert [fails(outcome) for outcome in judge_sums(_timed(parts, stages))] == [False, False]
    # half of the time is in no part by the runner's own clock, and a stage is longer than its call
    assert [fails(outcome) for outcome in judge_sums(_timed({**parts, "model_ms": 5.0}, stages))] == [True, False]
    assert [fails(outcome) for outcome in judge_sums(_timed(parts, {**stages, "image_encoder": 20.0}))] == [False, True]


@pytest.mark.parametrize(
    ("on_ms", "is_wrong"),
    [([[10.1], [10.4]], False), ([[10.7], [10.8]], True), ([[12.0], [12.1]], True), ([[8.0], [8.1]], True), ([[12.0], [15.0]], False)],
)
def test_watching_that_costs_more_than_noise(on_ms: Sequence[Sequence[float]], is_wrong: bool) -> None:
    assert fails(judge_turns("stages", [[10.0], [10.2]], on_ms)) == is_wrong


def test_peaks_that_depend_on_what_ran_before() -> None:
    assert not fails(judge_peaks((100.0, 120.0), (100.0, 120.0)))
    assert fails(judge_peaks((100.0, 120.0), (100.0, 180.0)))
    assert fails(judge_peaks((100.0, 120.0), (110.0, 120.0)))
    assert fails(judge_peaks((None, None), (100.0, 120.0)))


@pytest.mark.parametrize("on_gpu", [False, True])
def test_memory_that_grows(on_gpu: bool) -> None:
    filling = [100.0 + min(frame, FULL_AT - 1) for frame in range(FRAMES)]
    assert not fails(judge_growth(filling, on_gpu=on_gpu))
    assert fails(judge_growth([mib + 0.5 * frame for frame, mib in enumerate(filling)], on_gpu=on_gpu))


def test_a_cpu_arm_on_the_gpu() -> None:
    assert not fails(judge_cpu_arm(0))
    assert fails(judge_cpu_arm(512))


def test_labels_of_an_extension() -> None:
    assert not fails(compare_labels(connected_components, CPU))

    def without_corners(masks_n1hw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        labels, areas = connected_components(masks_n1hw)
        areas[0, 0, 0, 0] += 1
        return labels, areas

    def for_another_gpu(masks_n1hw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device")

    assert fails(compare_labels(without_corners, CPU))
    outcome = compare_labels(for_another_gpu, CPU)
    assert fails(outcome)
    assert "no kernel image" in outcome.said


def _session(compiled: CompileReport | None, timed_compilations: int = 0) -> SessionFacts:
    return SessionFacts(
        clip_frames=16, frames_from="jpeg", size_hw=(180, 320), tracks=1, shared="", warmup_frames=3, warmup_ms=1.0, init_ms=1.0,
        first_frame_ms=1.0, passes=1, peaks=Peaks(None, None, None, None, None), background_cpus=None, warnings=0, warning_lines="",
        attention_fallbacks=None, attention_fallback_reasons="", resize="", compiled=compiled, timed_compilations=timed_compilations,
        nonfinite_frames=0, error="",
    )  # fmt: skip


def test_compiled_models() -> None:
    report = CompileReport(mode="default", graphs=3)
    assert not fails(judge_compiled("full", _session(report), 1.0, ["flash:17", "flash:17"]))
    assert fails(judge_compiled("full", _session(report), 0.9, ["flash:17", "flash:17"]))
    assert fails(judge_compiled("full", _session(report, timed_compilations=1), 1.0, ["flash:17", "flash:17"]))
    assert fails(judge_compiled("full", _session(report), 1.0, ["flash:73", "flash:17"]))
    fell_back = judge_compiled("full", _session(dataclasses.replace(report, graphs=0, fallback="no C++ compiler")), 1.0, ["", ""])
    assert fell_back.status == "not applicable"
    assert "no C++ compiler" in fell_back.said


def test_nonsense_that_goes_unnoticed() -> None:
    assert not fails(judge_nonfinite(6, "NaN or infinite output on 6 of 6 frames"))
    assert fails(judge_nonfinite(0, ""))


@pytest.mark.parametrize(
    ("statuses", "is_wrong"),
    [({"hog": "oom", "next": "ok"}, False), ({"hog": "error", "next": "ok"}, True), ({"hog": "oom"}, True), ({}, True)],
)
def test_a_hog_that_is_not_recognised(statuses: dict[str, str], is_wrong: bool) -> None:
    assert fails(judge_oom(statuses, {}, ["hog", "next"])) == is_wrong


def _readings(watts: Sequence[float]) -> list[Reading]:
    return [Reading(t_s=float(second), unix_s=float(second), total_mw=power * 1e3) for second, power in enumerate(watts)]


IDLE, LOADS = (0.0, 4.0), [(5.0, 9.0), (11.0, 15.0)]


def _judged(watts: Sequence[float]) -> list[bool]:
    return [fails(outcome) for outcome in judge_readings(_readings(watts), IDLE, LOADS, 1.0, "nvml")]


def test_readings_that_do_not_move() -> None:
    load = [20.0, 20.0, 20.5, 20.0, 20.0]
    assert _judged([5.0] * 5 + load + [5.0] + load) == [False, False]
    assert _judged([5.0] * 16) == [True, False]
    assert _judged([]) == [True]


def test_energy_of_a_fixed_load_that_differs() -> None:
    assert _judged([5.0] * 5 + [20.0, 20.5, 20.0, 20.0, 20.0] + [5.0] + [30.0] * 5) == [False, True]
