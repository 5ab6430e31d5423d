"""The schema of summary.csv, frames.csv and streaming.csv.

The dataclasses below are the schema: they give the columns and their order, drive the writer and the reader, and hold the dictionary that
results/README.md prints. A missing value is an empty cell; no zero stands for "not measured".
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from runners.base import PART_MEANINGS, STAGE_MEANINGS
from savbench.arguments.declared import Compared
from savbench.results.power import CONDITIONS, PowerSummary
from savbench.results.schema import Cell, column, empty_figures, figures, setting_column, with_setting_columns

STATUSES = ("ok", "error", "oom", "killed", "timeout", "skipped")
VALID = "ok"
"""Value of `validity` where nothing speaks against a row."""

DIAGNOSTICS = Cell("diagnostics", "Where to look when a row is odd.")
FORECAST = Cell("forecast", "With --memory_budget: what the arm may take, and will take at most.")
CLIP = Cell("clip", "The clip that was tracked.")
SESSION = Cell("session", "With --joint_objects or --share_prompts: the session that the object shared. Empty: tracked alone.")
PARTS_MS = Cell("parts_ms", "What the latency consists of.")
STAGES_MS = Cell(
    "stages_ms",
    "With --stages: where the latency goes. On a GPU a stage is the time between two events in its stream, without synchronising. The "
    "stages sum to the latency; a stage that the model does not have is missing.",
)
UNTIMED_MS = Cell("untimed_ms", "What takes time and is no part of the latency.")
STREAMING_DETAILS = Cell("streaming", "With --realtime: details of the pass at the camera's pace.")
ATTENTION_DETAILS = Cell("attention_details", "Which attention calls there were, and which no native kernel served.")
COMPILE_DETAILS = Cell("compile_details", "What `torch.compile` did. Empty where nothing was to be compiled.")
MODEL_DETAILS = Cell("model_details", "What was built.")

STAGE_COLUMN = "stage_{}_ms"
"""Name of a stage's figure."""


def _told(what: str, meanings: dict[str, str]) -> dict[str, str]:
    return {key: f"{what}: {meaning}." for key, meaning in meanings.items()}


@dataclass
class _ObjectColumns:
    """What is known and measured of one object, without the board's part."""

    video: str = column("Video id, as in the split's list.", default="")
    object: str = column("Object folder of the video, for example `000`. Empty where the video itself could not be used.", default="")
    model: str = setting_column("model")
    imgsz: int | None = setting_column("imgsz")
    autocast_dtype: str = setting_column("autocast_dtype")
    attention: str = setting_column("attention")
    frames: int | None = column("Timed frames: those tracked after the prompted frame.", is_figure=True)
    fps: float | None = column("Frames per second of tracking, 1000 / latency_ms.")
    latency_ms: float | None = column(
        "Mean latency of a timed frame, from the decoded RGB frame in host memory to its mask at video resolution in host memory."
    )
    gpu_peak_alloc_MiB: float | None = column(
        "Peak of torch's allocated GPU memory from opening the clip to its last frame. Empty on a CPU."
    )
    gpu_peak_reserved_MiB: float | None = column("Peak of torch's reserved GPU memory over the same time. Empty on a CPU.")
    cpu_peak_rss_MiB: float | None = column(
        "Peak resident memory of the worker process over the same time, sampled every 20 ms. Building the model, the warm-up and earlier "
        "objects are not in it; process_peak_rss_MiB has them."
    )
    J: float | None = column("Region similarity (intersection over union), mean over the scored frames, 0 to 1.")
    F: float | None = column("Boundary accuracy (F-measure), mean over the scored frames, 0 to 1.")
    JandF: float | None = column("(J + F) / 2.")
    setup_ms: float | None = column("init_ms + first_frame_ms: from a built model to being ready to track this object.")
    overlay: str = column("Video with the masks drawn in, relative to the run's folder; with --save_overlays.", default="")
    status: str = column(
        "`ok`, or why there are no figures: `error`, `oom` (out of memory), `killed`, `timeout` (no progress within --timeout), "
        "`skipped` (nothing to track, for example an object that first appears on the last frame; or the arm was given up or refused).",
        default="ok",
    )
    error: str = column("What went wrong and what to do, on one line. Empty where status is ok.", default="")
    failed_at_frame: int | None = column(
        "Of a row that failed within its clip: the last frame of the clip that is known to be done, warm-up included; word of it comes "
        "every 0.2 s.",
        cell=DIAGNOSTICS,
    )
    prompt: str = setting_column("prompt")
    device: str = setting_column("device")
    device_name: str = column("Name of the GPU, or of the CPU.", default="", compared=Compared.TELLS_APART)
    node: str = column(
        "With --executor ray: name of the machine that ran the object. Empty: the one of environment.json.", default="", cell=DIAGNOSTICS
    )
    unified_peak_used_MiB: float | None = column(
        "On boards whose CPU and GPU share memory: peak of the whole machine's memory in use, MemTotal - MemAvailable, over the same time. "
        "The torch columns are a part of it, not an addition to it. Empty elsewhere."
    )
    process_peak_rss_MiB: float | None = column(
        "Peak resident memory of the worker process since it began, loading the weights, the warm-up and earlier objects included, as the "
        "kernel keeps it. What the process needs to run at all; on a board with little memory this decides."
    )
    memory_budget_MiB: float | None = column(
        "With --memory_budget: what the arm may take, of the whole machine's memory where CPU and GPU share it, of torch's GPU memory "
        "where the GPU has its own, else of resident memory.",
        cell=FORECAST,
    )
    forecast_MiB: float | None = column(
        "With --memory_budget: what the arm will take of it at most, as its first clip tells: the sum of the four that follow.",
        cell=FORECAST,
    )
    forecast_weights_MiB: float | None = column("Taken by the built model and its libraries.", cell=FORECAST)
    forecast_workspace_MiB: float | None = column(
        "Taken beside that at the peak of the first clip, less what grows with size and length.", cell=FORECAST
    )
    forecast_frames_MiB: float | None = column(
        "For the largest frame and the most objects in a session: its pixels, logits and masks at video resolution.",
        cell=FORECAST,
    )
    forecast_state_MiB: float | None = column(
        "For the longest clip: its number of frames times the growth for each frame of the first clip; about 0 where the memory is "
        "bounded.",
        cell=FORECAST,
    )
    latency_min_ms: float | None = column("Smallest latency of a timed frame.")
    latency_p50_ms: float | None = column("Median latency of a timed frame.")
    latency_p90_ms: float | None = column("90th percentile (linear interpolation, as numpy's default).")
    latency_p95_ms: float | None = column("95th percentile.")
    latency_p99_ms: float | None = column("99th percentile.")
    latency_max_ms: float | None = column("Largest latency of a timed frame.")
    passes: int | None = column(
        "How often the clip was tracked for its latencies, with --min_time or --min_frames. Masks and scores are the first pass's.",
        cell=CLIP,
        is_figure=True,
    )
    shared: str = column(
        "With --joint_objects or --share_prompts: what the session tracked together. Empty: this object alone. Of a shared session "
        "latency_ms is the call without the others' own time, so about what this object would take alone; memory, energy, and the parts "
        "and stages of the latency are the whole session's.",
        default="",
        cell=SESSION,
    )
    session_tracks: int | None = column("Tracks in the shared session.", cell=SESSION, is_figure=True)
    session_latency_ms: float | None = column("Mean time of a call for all tracks of the shared session: what a user waits for.")
    shared_ms: float | None = column(
        "Part of session_latency_ms done once for all tracks, the image encoder above all. The rest is the sum of their own times.",
        cell=SESSION,
    )
    parts_ms: dict[str, float] = figures(_told("Mean part of the latency", PART_MEANINGS), cell=PARTS_MS)
    stages_ms: dict[str, float] = figures(_told("Mean part of the latency", STAGE_MEANINGS), STAGE_COLUMN, cell=STAGES_MS)
    decode_ms: float | None = column(
        "Mean time to read and decode a timed frame, in the thread that does so ahead of the tracker. Not part of the latency."
    )
    stage_wait_ms: float | None = column(
        "Mean time that the tracker waited for a timed frame to be decoded; with --prefetch 0 that is decode_ms. Not part of the latency.",
        cell=UNTIMED_MS,
    )
    init_ms: float | None = column(
        "Opening the clip: the tracker's state and what it does with frame 0. Not part of the latency.", cell=UNTIMED_MS
    )
    first_frame_ms: float | None = column("From the prompt to the first mask and its memory. Not part of the latency.")
    build_ms: float | None = column(
        "Importing the model's package, building it, loading its weights and taking their sum; once per worker process.", cell=UNTIMED_MS
    )
    warmup_frames: int | None = setting_column("warmup_frames")
    warmup_ms: float | None = column("Time of the warm-up, decoding left out.", cell=UNTIMED_MS)
    score_ms: float | None = column(
        "Reading the ground truth and scoring, all frames together, in a process of its own while the next clip is tracked.",
        cell=UNTIMED_MS,
    )
    frames_scored: int | None = column(
        "Annotated frames that count in J and F: without the first and last, and none before the object appears.",
        is_figure=True,
    )
    frames_annotated: int | None = column("Annotated frames of the object within the clip.", cell=CLIP)
    camera_fps: float | None = setting_column("camera_fps")
    streaming_J: float | None = column(
        "J of what is known at the time: each annotated frame scored with the newest mask that was finished when it arrived. The same "
        "frames are scored as for J.",
        cell=STREAMING_DETAILS,
    )
    streaming_F: float | None = column("F, likewise.", cell=STREAMING_DETAILS)
    streaming_JandF: float | None = column("(streaming_J + streaming_F) / 2.")
    streaming_fps: float | None = column(
        "Masks finished per second, from the prompt until the last of them; at most the rate at which frames arrive."
    )
    frames_processed: int | None = column(
        "Frames after the prompted one whose masks were finished before the clip was over.", cell=STREAMING_DETAILS, is_figure=True
    )
    frames_dropped: int | None = column(
        "The other frames that arrived after the prompted one: never seen, or under way when the clip was over.",
        cell=STREAMING_DETAILS,
        is_figure=True,
    )
    mask_age_p50_ms: float | None = column(
        "Median age of the newest finished mask when a frame arrives: the time since the frame that it was computed from. Before the first "
        "mask, the time since the prompt.",
        cell=STREAMING_DETAILS,
    )
    mask_age_p90_ms: float | None = column("90th percentile, likewise.", cell=STREAMING_DETAILS)
    deadline_met: float | None = column(
        "Share of the frames that arrived after the prompted one whose mask was finished before the next one arrived, 0 to 1."
    )
    streaming_clock: str = setting_column("streaming_clock", cell=STREAMING_DETAILS)
    streaming_device: str = column(
        "Name of the device that the streaming latencies were measured on.",
        default="",
        cell=STREAMING_DETAILS,
        compared=Compared.TELLS_APART,
    )
    prompt_frame: int | None = column("Frame that was prompted: the first annotated one on which the object is seen. Counted from 0.")
    clip_frames: int | None = column("Frames of the clip, after --max_frames.", cell=CLIP)
    video_height: int | None = column("Height of the video in pixels.", cell=CLIP)
    video_width: int | None = column("Width of the video in pixels.", cell=CLIP)
    max_frames: int | None = setting_column("max_frames")
    frame_stride: int | None = setting_column("frame_stride")
    prefetch: int | None = setting_column("prefetch")
    frames_from: str = column(
        "How the video's frames are stored: `jpg`, or the ending of a video file, such as `mp4`.", default="", cell=CLIP
    )
    num_points: int | None = setting_column("num_points")
    nonfinite_frames: int | None = column(
        "Frames on which the model put out NaN or infinite numbers. Such a row is an error.", cell=DIAGNOSTICS
    )
    warnings: int | None = column("Python warnings raised inside the runner for this object, warm-up included.")
    warning_lines: str = column("First lines of the distinct warnings, separated by ` | `.", default="", cell=DIAGNOSTICS)
    sdpa_kernels: str = column(
        "Kernels that served the attention calls of one untimed frame, from the profiler, with the number of calls: `flash:23 math:4`. "
        "`flash_cpu` is the CPU's own flash kernel, `manual` this benchmark's textbook computation. `cuda_graphs`, with --compile, stands "
        "for those in recorded graphs, which are replayed without a call; attention_calls is empty then.",
        default="",
    )
    attention_calls: int | None = column("Attention calls of a tracked frame: the sum of the former.", cell=ATTENTION_DETAILS)
    attention_fallbacks: int | None = column(
        "With --attention fallback: calls that no native kernel could serve, prompt and tracking.", cell=ATTENTION_DETAILS
    )
    attention_fallback_reasons: str = column("Why, with the number of calls, separated by ` | `.", default="", cell=ATTENTION_DETAILS)
    compile: str = setting_column("compile")
    compile_mode: str = setting_column("compile_mode")
    compile_ms: float | None = column(
        "Time of the calls in which something was compiled, their own first run included, since the model was built. None of them is timed "
        "but those of timed_compilations.",
        cell=COMPILE_DETAILS,
    )
    recompilations: int | None = column(
        "Graphs that were compiled for code that had been compiled before, as for another number of memories, since the model was built.",
        cell=COMPILE_DETAILS,
    )
    timed_compilations: int | None = column(
        "Graphs compiled during timed frames; above 0 the largest latencies hold compiling.", cell=COMPILE_DETAILS
    )
    graph_breaks: int | None = column("Places where a compiled part goes back to Python.", cell=COMPILE_DETAILS)
    compile_fallback: str = column(
        "Parts of the model that ran uncompiled although they were to be compiled, and why, separated by ` | `. Empty: none.",
        default="",
        cell=COMPILE_DETAILS,
    )
    num_maskmem: int | None = setting_column("num_maskmem")
    memory: str = setting_column("memory")
    postprocessing: str = setting_column("postprocessing")
    implementation: str = column("Package and version that ran the model.", default="", compared=Compared.TELLS_APART)
    hole_filling: str = column(
        "What labelled the small holes in masks that SAM 2 and EdgeTAM fill: `cuda` (their compiled extension) or `opencv`, with the same "
        "masks; `off`: none are filled. Part of the latency.",
        default="",
        compared=Compared.NOTED,
    )
    resize: str = column(
        "What resized the frames to the model's input, part of preprocess_ms: `exact on cuda, as pillow 13.0.0` (or `on cpu`), this "
        "project's own computation with the same bits as that release of Pillow; `pillow 13.0.0`, Pillow itself. The bits of one release "
        "of Pillow may differ from another's. Empty: a model without such an input.",
        default="",
        cell=MODEL_DETAILS,
    )
    scorer_replaced: str = column(
        "Why the first process that was to score this object was replaced by a second one, which did. Empty: it was not.",
        default="",
        cell=DIAGNOSTICS,
    )
    notes: str = column("Adjustments made to upstream at run time, separated by ` | `.", default="", cell=MODEL_DETAILS)
    parameters: int | None = column("Number of the model's parameters.", cell=MODEL_DETAILS)
    weights: str = column(
        "sha256 of the weights file; `random` with --random_weights, `none` for a model without weights.",
        default="",
        compared=Compared.MUST_AGREE,
    )
    weights_file: str = column("Name of the weights file.", default="", cell=MODEL_DETAILS)
    accepted_changes: str = column(
        "With --accept_changes: what had changed since the run's earlier rows of this arm, which are kept apart under their own arm_id.",
        default="",
        cell=MODEL_DETAILS,
    )
    torch_version: str = column(
        "Version of torch in the worker process; empty where it was not used.", default="", compared=Compared.TELLS_APART
    )
    seed: int | None = setting_column("seed")
    split: str = column("Name of the split.", default="", compared=Compared.MUST_AGREE)
    benchmark_version: str = column(
        "Version of this benchmark: git commit, with `+` where the tree had changes.", default="", compared=Compared.NOTED
    )
    started_at: str = column("When the object was begun, UTC, ISO 8601.", default="")
    arm_id: str = column("The arm: what is compared, and a digest of the settings that change a measurement.", default="")
    run_id: str = column("The run, as in environment.json.", default="")


@dataclass
@with_setting_columns
class SummaryRow(PowerSummary, _ObjectColumns):
    """One object of one video under one arm. The columns of the last base come first."""

    background_cpus: float | None = column(
        "CPUs that other programs kept busy during the timed pass, on average, in units of one CPU; the benchmark's own processes, "
        "interrupts and the kernel's threads are not in it.",
        cell=CONDITIONS,
    )
    validity: str = column(
        "`ok`, or what speaks against comparing this row's times with others': throttled, clocks not locked, power mode changed, swap "
        "touched, hot at the start, background load; separated by `; `. Empty where neither clocks nor heat were read and nothing else was "
        "wrong.",
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
    repeat: int | None = column("Pass over the clip, counted from 0; above 0 with --min_time or --min_frames.")
    latency_ms: float | None = column("Latency of this frame; the same boundaries as in summary.csv.")
    session_latency_ms: float | None = column("Of a shared session: time of the call for all its tracks.")
    parts_ms: dict[str, float] = figures(_told("Part of the latency", PART_MEANINGS))
    stages_ms: dict[str, float] = figures(_told("With --stages, part of the latency", STAGE_MEANINGS), STAGE_COLUMN)
    decode_ms: float | None = column("Reading and decoding the frame; not part of the latency.")
    stage_wait_ms: float | None = column("Waiting for the frame to be decoded; not part of the latency.")
    J: float | None = column("Region similarity, where the frame is scored.")
    F: float | None = column("Boundary accuracy, where the frame is scored.")

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.arm_id, self.video, self.object)


@dataclass
class StreamingRow:
    """One frame of the camera in a streaming pass, the prompted one included. Times in ms since the prompt."""

    arm_id: str = column("As in summary.csv.", default="")
    video: str = column("As in summary.csv.", default="")
    object: str = column("As in summary.csv.", default="")
    frame: int | None = column("Frame of the clip, counted from 0. The first of an object is the prompted one.")
    arrived_ms: float | None = column("When the camera delivered it, in ms since the prompt.")
    taken_ms: float | None = column("When the tracker took it. Empty, with the next two: it was never seen.")
    latency_ms: float | None = column("How long the tracker took for it; the same boundaries as in summary.csv.")
    finished_ms: float | None = column("When its mask was finished, taken_ms + latency_ms.")
    known_frame: int | None = column("Frame whose mask was the newest finished one when this one arrived. Empty: none was finished yet.")
    mask_age_ms: float | None = column("Age of that mask: time since known_frame arrived; since the prompt where none was finished.")
    J: float | None = column("Region similarity of what was known when this frame arrived, where it is scored.")
    F: float | None = column("Boundary accuracy, likewise.")

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.arm_id, self.video, self.object)


def without_figures(row: SummaryRow, status: str, error: str) -> SummaryRow:
    """A row that failed after it was measured: who, where and why, and nothing that could be averaged."""
    return dataclasses.replace(row, **empty_figures(SummaryRow), status=status, error=error)


def is_valid(validity: str) -> bool:
    """Whether nothing speaks against a row, as far as was read."""
    return validity in ("", VALID)
