"""The schema of summary.csv and frames.csv, in one place.

The dataclasses below are the schema: they give the columns and their order, drive the writer and the reader, and hold the dictionary that
results/README.md prints. A missing value is an empty cell; no zero stands for "not measured".
"""

from __future__ import annotations

import csv
import io
import re
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

from savbench.power.energy import PowerSummary
from savbench.schema import RowSchema, column

if TYPE_CHECKING:
    from collections.abc import Iterable


STATUSES = ("ok", "error", "oom", "killed", "timeout", "skipped")


class ResultsError(ValueError):
    """A results file cannot be read; the message names the file and the line."""


@dataclass
class _ObjectColumns:
    """What is known and measured of one object, without the board's part."""

    video: str = column("Video id, as in the split's list.", default="")
    object: str = column("Object folder of the video, for example `000`. Empty where the video itself could not be used.", default="")
    model: str = column("Model, without its prompt: `sam2_tiny`, `edgetam`, `static`, ...", default="")
    imgsz: int | None = column(
        "Side in pixels of the model's square input, as the built model reports it. Empty: works at video resolution."
    )
    autocast_dtype: str = column(
        "dtype of `torch.amp.autocast` around every call of the runner; `float32` is no autocast, `none` a model that has no use for it.",
        default="",
    )
    attention: str = column("Attention that was asked for; `auto` is upstream's own choice, `none` a model without attention.", default="")
    frames: int | None = column("Timed frames: those tracked after the prompted frame.")
    fps: float | None = column("Frames per second of tracking, 1000 / latency_ms.")
    latency_ms: float | None = column(
        "Mean latency of a timed frame, from the decoded RGB frame in host memory to its mask at video resolution in host memory."
    )
    gpu_peak_alloc_MiB: float | None = column(
        "Peak of torch's allocated GPU memory from opening the clip to its last frame. Empty on a CPU."
    )
    gpu_peak_reserved_MiB: float | None = column("Peak of torch's reserved GPU memory over the same time. Empty on a CPU.")
    cpu_peak_rss_MiB: float | None = column(
        "Peak resident memory of the worker process over the same time, sampled every 20 ms. Higher with --save_overlays, whose encoder's "
        "memory stays with the process."
    )
    J: float | None = column("Region similarity (intersection over union), mean over the scored frames, 0 to 1.")
    F: float | None = column("Boundary accuracy (F-measure), mean over the scored frames, 0 to 1.")
    JandF: float | None = column("(J + F) / 2.")
    setup_ms: float | None = column("init_ms + first_frame_ms: from a built model to being ready to track this object.")
    overlay: str = column("Video with the masks drawn in, relative to the run's folder; with --save_overlays.", default="")
    status: str = column(
        "`ok`, or why there are no figures: `error`, `oom` (out of memory), `killed`, `timeout` (no progress within --timeout), "
        "`skipped` (nothing to track, for example an object that first appears on the last frame).",
        default="ok",
    )
    error: str = column("What went wrong and what to do, on one line. Empty where status is ok.", default="")
    prompt: str = column("`points`, `bbox` or `mask`, taken from the ground truth of the prompted frame.", default="")
    device: str = column("Device that ran the model, as the built model reports it.", default="")
    device_name: str = column("Name of the GPU, or of the CPU.", default="")
    unified_peak_used_MiB: float | None = column(
        "On boards whose CPU and GPU share memory: peak of the whole machine's memory in use, MemTotal - MemAvailable, over the same time. "
        "The torch columns are a part of it, not an addition to it. Empty elsewhere."
    )
    latency_min_ms: float | None = column("Smallest latency of a timed frame.")
    latency_p50_ms: float | None = column("Median latency of a timed frame.")
    latency_p90_ms: float | None = column("90th percentile (linear interpolation, as numpy's default).")
    latency_p95_ms: float | None = column("95th percentile.")
    latency_p99_ms: float | None = column("99th percentile.")
    latency_max_ms: float | None = column("Largest latency of a timed frame.")
    preprocess_ms: float | None = column("Mean part of the latency: resize, normalise, upload.")
    model_ms: float | None = column("Mean part of the latency: the model, with the upscaling of its logits to video resolution.")
    output_ms: float | None = column("Mean part of the latency: threshold and copy to the host.")
    decode_ms: float | None = column("Mean time to read and decode a timed frame's JPEG. Not part of the latency.")
    init_ms: float | None = column("Opening the clip: the tracker's state and what it does with frame 0. Not part of the latency.")
    first_frame_ms: float | None = column("From the prompt to the first mask and its memory. Not part of the latency.")
    build_ms: float | None = column("Importing the model's package, building it and loading its weights; once per worker process.")
    warmup_frames: int | None = column("Frames run before, untimed, on the same clip at the same size; the prompted frame included.")
    warmup_ms: float | None = column("Time of the warm-up, decoding left out.")
    score_ms: float | None = column("Reading the ground truth and scoring, all frames together. Not part of the latency.")
    frames_scored: int | None = column(
        "Annotated frames that count in J and F: without the first and last, and none before the object appears."
    )
    frames_annotated: int | None = column("Annotated frames of the object within the clip.")
    prompt_frame: int | None = column("Frame that was prompted: the first annotated one on which the object is seen. Counted from 0.")
    clip_frames: int | None = column("Frames of the clip, after --max_frames.")
    video_height: int | None = column("Height of the video in pixels.")
    video_width: int | None = column("Width of the video in pixels.")
    max_frames: int | None = column("--max_frames: the clip was cut after so many frames. Empty: whole clips, as published scores need.")
    frame_stride: int | None = column("--frame_stride: every so many frames are tracked, masks are held in between. 1: every frame.")
    num_points: int | None = column("Clicks given with a points prompt.")
    nonfinite_frames: int | None = column("Frames on which the model put out NaN or infinite numbers. Such a row is an error.")
    warnings: int | None = column("Python warnings raised inside the runner for this object, warm-up included.")
    warning_lines: str = column("First lines of the distinct warnings, separated by ` | `.", default="")
    sdpa_kernels: str = column(
        "Kernels that served the attention calls of one untimed frame, from the profiler, with the number of calls: `flash:23 math:4`. "
        "`flash_cpu` is the CPU's own flash kernel, `manual` this benchmark's textbook computation.",
        default="",
    )
    attention_calls: int | None = column("Attention calls of a tracked frame: the sum of the former.")
    attention_fallbacks: int | None = column("With --attention fallback: calls that no native kernel could serve, prompt and tracking.")
    attention_fallback_reasons: str = column("Why, with the number of calls, separated by ` | `.", default="")
    num_maskmem: int | None = column("--num_maskmem: memories that the memory attention sees. Empty: the model's own, 7.")
    implementation: str = column("Package and version that ran the model.", default="")
    postprocess: str = column(
        "What labelled the small holes in masks that SAM 2 and EdgeTAM fill: `cuda` (their compiled extension) or `opencv`, with the same "
        "masks; `off`: none are filled. Part of the latency.",
        default="",
    )
    notes: str = column("Adjustments made to upstream at run time, separated by ` | `.", default="")
    parameters: int | None = column("Number of the model's parameters.")
    weights: str = column("sha256 of the weights file; `random` with --random_weights, `none` for a model without weights.", default="")
    weights_file: str = column("Name of the weights file.", default="")
    torch_version: str = column("Version of torch in the worker process; empty where it was not used.", default="")
    seed: int | None = column("--seed.")
    split: str = column("Name of the split.", default="")
    benchmark_version: str = column("Version of this benchmark: git commit, with `+` where the tree had changes.", default="")
    started_at: str = column("When the object was begun, UTC, ISO 8601.", default="")
    arm_id: str = column("The arm: what is compared, and a digest of the settings that change a measurement.", default="")
    run_id: str = column("The run, as in environment.json.", default="")


@dataclass
class SummaryRow(PowerSummary, _ObjectColumns):
    """One object of one video under one arm. The columns of the last base come first."""

    validity: str = column(
        "`ok`, or what speaks against comparing this row's times with others': throttled, clocks not locked, power mode changed, swap "
        "touched, hot at the start; separated by `; `. Empty where nothing was read.",
        default="",
    )

    @property
    def key(self) -> tuple[str, str, str]:
        """What a row is unique by."""
        return (self.arm_id, self.video, self.object)


@dataclass
class FrameRow:
    """One timed frame."""

    arm_id: str = column("As in summary.csv.", default="")
    video: str = column("As in summary.csv.", default="")
    object: str = column("As in summary.csv.", default="")
    frame: int | None = column("Frame of the clip, counted from 0.")
    latency_ms: float | None = column("Latency of this frame; the same boundaries as in summary.csv.")
    preprocess_ms: float | None = column("Part of the latency: resize, normalise, upload.")
    model_ms: float | None = column("Part of the latency: the model, with the upscaling of its logits.")
    output_ms: float | None = column("Part of the latency: threshold and copy to the host.")
    decode_ms: float | None = column("Reading and decoding the JPEG; not part of the latency.")
    J: float | None = column("Region similarity, where the frame is scored.")
    F: float | None = column("Boundary accuracy, where the frame is scored.")

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.arm_id, self.video, self.object)


Row = TypeVar("Row", bound=RowSchema)


def columns(schema: type[Row]) -> list[str]:
    return [f.name for f in fields(schema)]


def header_line(schema: type[Row]) -> str:
    return _csv_line(columns(schema))


def row_line(row: Row) -> str:
    """The row as one line of CSV. Line breaks within a value become spaces, so that a line is always a row."""
    return _csv_line([_cell(getattr(row, name)) for name in columns(type(row))])


def read_rows(schema: type[Row], path: Path) -> list[Row]:
    """Read a results file of this version.

    Raises:
        ResultsError: the header is not this schema's, or a value has the wrong type; names file and line.
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, None)
        if header != columns(schema):
            raise ResultsError(f"{path}:1: not the columns of this version; move the file away or give another --out_dir")
        return [_parse(schema, cells, f"{path}:{reader.line_num}") for cells in reader]


def dictionary(schema: type[Row]) -> str:
    """A markdown table of every column and its meaning, for results/README.md."""
    lines = ["| column | meaning |", "|---|---|"]
    lines += [f"| `{f.name}` | {f.metadata['meaning']} |" for f in fields(schema)]
    return "\n".join(lines)


def with_dictionary(readme: str) -> str:
    """The text of results/README.md with the tables of columns brought up to date."""
    # telemetry.py builds on this module
    from savbench.power.telemetry import TelemetryRow

    tables = {"summary.csv": dictionary(SummaryRow), "frames.csv": dictionary(FrameRow), "telemetry.csv": dictionary(TelemetryRow)}
    for title, table in tables.items():
        heading = f"## {title}\n\n"
        before, _, after = readme.partition(heading)
        readme = before + heading + table + "\n" + re.sub(r"\A(\|.*\n?)*", "", after)
    return readme


def _parse(schema: type[Row], cells: list[str], where: str) -> Row:
    kinds = _kinds(schema)
    names = columns(schema)
    if len(cells) != len(names):
        raise ResultsError(f"{where}: {len(cells)} cells, expected {len(names)}")
    values: dict[str, Any] = {}
    for name, text in zip(names, cells, strict=True):
        kind = kinds[name]
        try:
            values[name] = text if kind is str else (None if text == "" else kind(text))
        except ValueError as error:
            raise ResultsError(f"{where}: column {name}: {text!r} is not a number") from error
    return schema(**values)


def _kinds(schema: type[Row]) -> dict[str, type]:
    """Type of each column without its None: `int | None` is int."""
    hints = get_type_hints(schema)
    return {name: next((t for t in get_args(hints[name]) if t is not type(None)), hints[name]) for name in columns(schema)}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(float(value))
    return " ".join(str(value).split()) if isinstance(value, str) else str(value)


def _csv_line(cells: Iterable[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


if __name__ == "__main__":
    # python -m savbench.results brings results/README.md into step with the schema.
    path = Path(__file__).resolve().parents[1] / "results" / "README.md"
    path.write_text(with_dictionary(path.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {path}", file=sys.stderr)
