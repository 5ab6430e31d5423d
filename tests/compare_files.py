"""Results files with figures that are known by heart, for the tests of compare."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from savbench.compare.findings import Options
from savbench.results.csv_rows import header_line, row_line
from savbench.results.rows import SummaryRow

LEGACY_WITH_PRECISION = (
    "video,object,model,imgsz,precision,frames,processed_end_frame,fps,latency_ms,gpu_peak_alloc_MiB,gpu_peak_reserved_MiB,"
    "cpu_peak_rss_MiB,J,F,JandF,overlay,input_H,input_W,infer_H,infer_W,setup_ms"
)
LEGACY_WITH_PROXY = (
    "video,object,model,imgsz,frames,fps,latency_ms,gpu_peak_alloc_MiB,gpu_peak_reserved_MiB,cpu_peak_rss_MiB,J,JandF_proxy,overlay,"
    "cudnn_benchmark,setup_ms"
)


def row(
    video: str = "v0", object_name: str = "000", *, J: float | None = 0.5, latency_ms: float | None = 20.0, **changes: Any
) -> SummaryRow:
    """A row as a run writes it. J and F are equal; percentiles are fixed multiples of the latency."""
    measured = latency_ms is not None
    made = SummaryRow(
        video=video,
        object=object_name,
        model="sam2_tiny",
        imgsz=1024,
        autocast_dtype="float32",
        attention="auto",
        prompt="mask",
        frames=10 if measured else None,
        fps=1000 / latency_ms if latency_ms else None,
        latency_ms=latency_ms,
        latency_p50_ms=latency_ms,
        latency_p90_ms=latency_ms * 1.25 if latency_ms else None,
        latency_p99_ms=latency_ms * 1.5 if latency_ms else None,
        gpu_peak_alloc_MiB=500.0 if measured else None,
        J=J if measured else None,
        F=J if measured else None,
        JandF=J if measured else None,
        frame_stride=1,
        weights="a" * 64,
        split="sav_val",
        device="cuda:0",
        device_name="Orin",
        torch_version="2.5",
        seed=0,
        run_id="run",
    )
    made = dataclasses.replace(made, **changes)
    arm = f"{made.model}_{made.prompt}-{made.autocast_dtype}-{made.imgsz}-{made.max_frames}"
    return made if made.arm_id else dataclasses.replace(made, arm_id=arm)


def rows(videos: int = 8, objects: int = 2, **changes: Any) -> list[SummaryRow]:
    """Objects of several videos; J is 0.40, 0.41, ... and the latency 20, 21, ... in order."""
    J, latency_ms = changes.pop("J", 0.4), changes.pop("latency_ms", 20.0)
    made = []
    for number in range(videos * objects):
        figures = {"J": J + number / 100, "latency_ms": latency_ms + number}
        made.append(row(f"v{number // objects}", f"{number % objects:03d}", **(figures | changes)))
    return made


def write(path: Path, listed: Iterable[SummaryRow]) -> Path:
    path.write_text(header_line(SummaryRow) + "".join(map(row_line, listed)), encoding="utf-8")
    return path


def write_legacy(path: Path, header: str, listed: Iterable[dict[str, Any]]) -> Path:
    """Rows by column; what is not given is empty."""
    names = header.split(",")
    lines = [",".join(str(cells.get(name, "")) for name in names) for cells in listed]
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


QUICK = Options(resamples=1000)
