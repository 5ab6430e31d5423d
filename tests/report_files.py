"""A run folder as an Orin writes it, with figures that are known, for the tests of the report."""

from __future__ import annotations

import csv
import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from savbench.report.arms import Arm, find_arms
from savbench.report.charts import Figure
from savbench.report.content import Report, Settings, make_report
from savbench.report.figures import RC, draw
from savbench.report.sheet import Sheet
from savbench.results.foreign import load_results
from savbench.results.frame_rows import FrameRow
from savbench.results.rows import SummaryRow
from savbench.results.schema import RowSchema, columns, values_of
from savbench.results.telemetry import TelemetryRow

STAGE_SHARES = {
    "stage_image_encoder_ms": 0.42, "stage_memory_attention_ms": 0.4, "stage_mask_decoder_ms": 0.06, "stage_memory_encoder_ms": 0.07,
    "stage_resize_copy_ms": 0.03, "stage_hole_filling_ms": 0.01, "stage_other_ms": 0.01,
}  # fmt: skip


@dataclass
class ArmOfRun:
    """An arm with a J&F and a latency around which its objects lie.

    Attributes:
        row: columns of every row, as SummaryRow or beyond it.
        failing: status and error by VIDEO/OBJECT.
    """

    model: str = "sam2_tiny"
    JandF: float = 0.7
    latency_ms: float = 50.0
    dtype: str = "bfloat16"
    attention: str = "auto"
    prompt: str = "mask"
    row: dict[str, Any] = field(default_factory=dict)
    failing: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def arm_id(self) -> str:
        return str(self.row.get("arm_id") or f"{self.model}_{self.prompt}-{self.dtype}-{self.attention}-{self.row.get('camera_fps', '')}")


def write_run(
    folder: Path,
    arms: Sequence[ArmOfRun],
    *,
    videos: Sequence[str] = ("v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7"),
    objects: int = 2,
    frames: int = 12,
    has_power: bool = True,
    has_stages: bool = False,
    split_dir: Path | None = None,
) -> Path:
    """Write summary.csv, frames.csv, telemetry.csv with power, run.json and environment.json. Returns the folder."""
    folder.mkdir(parents=True)
    rows, frame_rows, telemetry = [], [], []
    clock = _Clock()
    for arm in arms:
        telemetry += clock.readings(arm.arm_id, "", "", "idle", 4, 6.0)
        for number, name in enumerate(f"{video}/{index:03d}" for video in videos for index in range(objects)):
            video, _, object_name = name.rpartition("/")
            row = _row(arm, video, object_name, number, frames, has_power, has_stages)
            rows.append(row)
            if row["status"] != "ok":
                continue
            frame_rows += _frames(arm, video, object_name, number, frames)
            telemetry += clock.readings(arm.arm_id, video, object_name, "timed", 5, 6.0 + 400 / max(arm.latency_ms, 20.0))
    _write(folder / "summary.csv", SummaryRow, rows)
    _write(folder / "frames.csv", FrameRow, frame_rows)
    if has_power:
        _write(folder / "telemetry.csv", TelemetryRow, telemetry)
    about = {"run_id": "r1", "split_dir": str(split_dir or "/data/sav_val"), "split_name": split_dir.name if split_dir else "sav_val"}
    (folder / "run.json").write_text(json.dumps(about))
    invocation = {
        "started_at": "2026-11-20T08:00:00+00:00",
        "argv": [
            "jetson_benchmark.py",
            "--split_dir",
            "/data/sav val",
            "--models",
            ",".join(dict.fromkeys(f"{a.model}_{a.prompt}" for a in arms)),
        ],
        "system": {
            "os": "Ubuntu 22.04.5 LTS",
            "kernel": "5.15.148-tegra",
            "machine": "aarch64",
            "cpu": "ARMv8",
            "cores": 8,
            "ram_mib": 7620,
        },
        "board": {"model": "NVIDIA Jetson Orin Nano", "l4t": "36.4.3", "jetpack": "6.2"},
        "packages": {"torch": "2.5.0a0", "numpy": "1.26.4", "EdgeTAM": None},
        "python": "3.10.12",
    }
    (folder / "environment.json").write_text(json.dumps({"run_id": "r1", "invocations": [invocation]}))
    return folder


def _row(arm: ArmOfRun, video: str, object_name: str, number: int, frames: int, has_power: bool, has_stages: bool) -> dict[str, Any]:
    learned = arm.model not in ("static", "flow")
    row: dict[str, Any] = {
        "video": video, "object": object_name, "model": arm.model, "prompt": arm.prompt, "imgsz": 1024 if learned else "",
        "autocast_dtype": arm.dtype if learned else "none", "attention": arm.attention if learned else "none", "status": "ok",
        "weights": f"{len(arm.model):064x}" if learned else "none", "split": "sav_val", "frame_stride": 1, "seed": 0, "warmup_frames": 5,
        "device": "cuda:0" if learned else "cpu", "device_name": "Orin Nano", "torch_version": "2.5.0a0" if learned else "",
        "implementation": f"{arm.model} 1.1.0", "benchmark_version": "0123456789ab", "arm_id": arm.arm_id, "run_id": "r1",
        "compile": "off" if learned else "none", "memory": "bounded" if learned else "",
    }  # fmt: skip
    failing = arm.failing.get(f"{video}/{object_name}")
    if failing:
        return row | arm.row | {"status": failing[0], "error": failing[1]}
    # objects differ by known amounts, and a little by arm, so that no interval is empty
    score = min(max(arm.JandF + (number % 7 - 3) * 0.03 + (len(arm.dtype) + number) % 3 * 0.002, 0.02), 0.98)
    latency = arm.latency_ms * (1 + number % 5 * 0.02)
    row |= {
        "frames": frames, "fps": 1000 / latency, "latency_ms": latency, "latency_p50_ms": latency * 0.98, "latency_p90_ms": latency * 1.1,
        "latency_p99_ms": latency * 1.3, "J": score - 0.02, "F": score + 0.02, "JandF": score, "setup_ms": 300.0,
        "cpu_peak_rss_MiB": 1900.0,
        "preprocess_ms": latency * 0.05, "model_ms": latency * 0.9, "output_ms": latency * 0.05, "clip_frames": frames + 1, "warnings": 0,
        "gpu_peak_alloc_MiB": 700.0 + arm.latency_ms if learned else "", "gpu_peak_reserved_MiB": 900.0 + arm.latency_ms if learned else "",
        "unified_peak_used_MiB": 4200.0 + arm.latency_ms,
    }  # fmt: skip
    if has_power:
        row |= {
            "power_source": "jtop", "power_of": "VDD_IN", "power_mean_w": 14.0, "energy_j_per_frame": latency * 0.008, "nvpmodel": "MAXN",
            "fps_per_w": 1000 / latency / 14.0, "temperature_start_c": 48.0, "temperature_peak_c": 61.5, "jetson_clocks": "on",
            "validity": "ok",
        }  # fmt: skip
    else:
        row["power_source"] = "none"
    if has_stages and learned:
        row |= {name: share * latency for name, share in STAGE_SHARES.items()}
    return row | arm.row


def _frames(arm: ArmOfRun, video: str, object_name: str, number: int, frames: int) -> list[dict[str, Any]]:
    base = arm.latency_ms * (1 + number % 5 * 0.02)
    return [
        {
            "arm_id": arm.arm_id, "video": video, "object": object_name, "frame": frame, "latency_ms": base * (1 + 0.02 * (frame * 7 % 5)),
            "J": arm.JandF - 0.02 * (frame % 8) if frame % 4 == 0 else "",
        }
        for frame in range(1, frames + 1)
    ]  # fmt: skip


class _Clock:
    """Readings half a second apart."""

    def __init__(self) -> None:
        self._count = 0

    def readings(self, arm_id: str, video: str, object_name: str, phase: str, count: int, watt: float) -> list[dict[str, Any]]:
        made = []
        for _ in range(count):
            self._count += 1
            seconds = self._count * 0.5
            time = datetime.datetime(2026, 11, 20, 8, tzinfo=datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
            heat = 48 + 12 * (1 - 0.995**self._count) + self._count % 3 * 0.2
            made.append({
                "time": time.isoformat(timespec="milliseconds"), "t_s": seconds, "arm_id": arm_id, "video": video, "object": object_name,
                "phase": phase, "source": "jtop", "total_mw": 1000 * watt + 150 * (self._count % 4),
                "temperatures_c": f"cpu={heat - 1:.1f}; tj={heat:.1f}", "alarms": "",
            })  # fmt: skip
        return made


def _write(path: Path, schema: type[RowSchema], rows: Sequence[dict[str, Any]]) -> None:
    """Rows by value; those that lie in cells are put there, and what the schema does not know gets a column."""
    rows = [_packed(schema, row) for row in rows]
    known = list(dict.fromkeys([*columns(schema), *(name for row in rows for name in row)]))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, known, restval="")
        writer.writeheader()
        writer.writerows(rows)


def _packed(schema: type[RowSchema], row: dict[str, Any]) -> dict[str, Any]:
    cells: dict[str, dict[str, Any]] = {}
    for value in values_of(schema):
        if value.cell is not None and row.get(value.name, "") != "":
            cells.setdefault(value.column, {})[value.name] = row[value.name]
    within = {value.name for value in values_of(schema) if value.cell is not None}
    plain = {name: content for name, content in row.items() if name not in within}
    return plain | {column: json.dumps(details) for column, details in cells.items()}


def report_of(folder: Path, **settings: object) -> Report:
    return make_report([folder], Settings(resamples=1000, **settings), [".venv/bin/python", "jetson_benchmark.py", "report", str(folder)])  # type: ignore[arg-type]


def arms_of(*paths: Path, force: bool = False) -> list[Arm]:
    return find_arms(load_results(paths), force=force)


def drawn(figure: Figure, sheet: Sheet) -> Any:
    """Axes of a figure as laid out."""
    matplotlib = pytest.importorskip("matplotlib", reason="charts need matplotlib")
    with matplotlib.rc_context(RC):
        page = draw(figure, sheet)
        page.canvas.draw()
    return page.axes[0]


def legend(axes: Any) -> list[str]:
    return [text.get_text() for found in axes.figure.legends for text in found.get_texts()]
