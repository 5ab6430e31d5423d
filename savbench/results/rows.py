"""The schema of summary.csv; `savbench.results.frame_rows` has that of frames.csv and streaming.csv.

The dataclasses are the schema: they define the columns and their order, drive writer and reader, and hold the dictionary printed in
results/README.md. A missing value is an empty cell; zero never means "not measured".
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from runners.base import PART_MEANINGS, STAGE_MEANINGS
from savbench.arguments.declared import Compared
from savbench.results.attributes import ATTRIBUTE_MEANINGS, COLUMN
from savbench.results.failure_measures import FAILURE_MEANINGS
from savbench.results.power import CONDITIONS, PowerSummary
from savbench.results.quantiles import ROW_MEANINGS
from savbench.results.schema import Cell, column, empty_figures, figures, mapping, setting_column, with_setting_columns

STATUSES = ("ok", "error", "oom", "killed", "timeout", "skipped")
VALID = "ok"
"""Value of `validity` if a row's times can be compared."""

DIAGNOSTICS = Cell("diagnostics", "Details for finding out why a row is unusual.")
FORECAST = Cell("forecast", "With --memory_budget: the arm's budget and forecast.")
CLIP = Cell("clip", "The clip that was tracked, and what makes its object hard to track; see docs/methods.md.")
SESSION = Cell("session", "With --joint_objects or --share_prompts: the shared session. Empty: tracked alone.")
PARTS_MS = Cell("parts_ms", "Parts that make up the latency.")
STAGES_MS = Cell(
    "stages_ms",
    "With --stages: latency by stage. On a GPU a stage is the time between two events in its stream, without synchronizing. The "
    "stages sum to the latency; a stage that the model does not have is missing.",
)
UNTIMED_MS = Cell("untimed_ms", "Times that are not part of the latency.")
AGREEMENT = Cell("agreement", "With --agreement: how far the masks agree with those of another arm, which is no ground truth.")
STREAMING_DETAILS = Cell("streaming", "With --realtime: details of the streaming pass.")
LATENCY_INTERVALS = Cell(
    "latency_intervals", "Intervals of the percentiles of the latency that assume no distribution, as far as the frames carry them."
)
FAILURE = Cell("failure", "When and how the object was lost, and what the mask covers when it is absent; see docs/methods.md.")
STREAMING_FAILURE = Cell("streaming_failure", "With --realtime: the same of the masks known in time.")
ATTENTION_DETAILS = Cell("attention_details", "Number of attention calls, and calls that no native kernel served.")
COMPILE_DETAILS = Cell("compile_details", "What `torch.compile` did. Empty without --compile.")
RUNTIME_DETAILS = Cell("runtime_details", "What runs the exported graphs. Empty with --runtime torch.")
MODEL_DETAILS = Cell("model_details", "Details of the model that was built.")

STAGE_COLUMN = "stage_{}_ms"
"""Name of a stage's value."""


def with_prefix(prefix: str, meanings: dict[str, str]) -> dict[str, str]:
    """Meanings of the keys of a cell that say first what they are of."""
    return {key: f"{prefix}: {meaning}." for key, meaning in meanings.items()}


@dataclass
class _ObjectColumns:
    """Settings and measurements of one object, without the board's."""

    video: str = column("Video id, as in the split's list.", default="")
    object: str = column("Object folder of the video, for example `000`. Empty if the video itself could not be used.", default="")
    model: str = setting_column("model")
    imgsz: int | None = setting_column("imgsz")
    autocast_dtype: str = setting_column("autocast_dtype")
    attention: str = setting_column("attention")
    frames: int | None = column("Timed frames: frames tracked after the prompted frame.", is_figure=True)
    fps: float | None = column("Frames per second of tracking, 1000 / latency_ms.")
    latency_ms: float | None = column(
        "Mean latency of a timed frame, from the decoded RGB frame in host memory to its mask at video resolution in host memory."
    )
    gpu_peak_alloc_MiB: float | None = column(
        "Peak of torch's allocated GPU memory from opening the clip to its last frame. Empty on a CPU."
    )
    gpu_peak_reserved_MiB: float | None = column("Peak of torch's reserved GPU memory over the same time. Empty on a CPU.")
    cpu_peak_rss_MiB: float | None = column(
        "Peak resident memory of the worker process over the same time, sampled every 20 ms. Excludes building the model, the warm-up and "
        "earlier objects, which process_peak_rss_MiB includes."
    )
    J: float | None = column("Region similarity (intersection over union), mean over the scored frames, 0 to 1.")
    F: float | None = column("Boundary accuracy (F-measure), mean over the scored frames, 0 to 1.")
    JandF: float | None = column("(J + F) / 2.")
    setup_ms: float | None = column("init_ms + first_frame_ms: time from a built model until this object can be tracked.")
    overlay: str = column(
        "With --save_overlays: path of the object's video, relative to the run's folder. Empty with worst:N, where a later object may take "
        "the place of this one; the videos are `overlays/VIDEO__OBJECT__ARM.mp4`.",
        default="",
    )
    status: str = column(
        "`ok`, or why the row has no figures: `error`, `oom` (out of memory), `killed`, `timeout` (no progress within --timeout), "
        "`skipped` (nothing to track, for example an object that first appears on the last frame; or the arm was abandoned or refused).",
        default="ok",
    )
    error: str = column("What went wrong and what to do, on one line. Empty if status is ok.", default="")
    failed_at_frame: int | None = column(
        "If the row failed within its clip: the last frame known to be finished, warm-up included; the worker reports progress "
        "every 0.2 s.",
        cell=DIAGNOSTICS,
    )
    prompt: str = setting_column("prompt")
    device: str = setting_column("device")
    device_name: str = column(
        "Name of the GPU, or of the CPU, with the board's name on a Jetson.", default="", compared=Compared.TELLS_APART
    )
    node: str = column(
        "With --executor ray: name of the machine that ran the object. Empty: the machine in environment.json.",
        default="",
        cell=DIAGNOSTICS,
    )
    unified_peak_used_MiB: float | None = column(
        "On boards whose CPU and GPU share memory: peak memory in use on the whole machine, MemTotal - MemAvailable, over the same time. "
        "It includes the torch columns. Empty on other machines."
    )
    process_peak_rss_MiB: float | None = column(
        "Peak resident memory of the worker process since it started, as the kernel counts it, including loading the weights, the warm-up "
        "and earlier objects. What the process needs to run; on a board with little memory this is the limit."
    )
    memory_budget_MiB: float | None = column(
        "With --memory_budget: the arm's budget, in memory of the whole machine if CPU and GPU share it, in torch's GPU memory "
        "if the GPU has its own, else in resident memory.",
        cell=FORECAST,
    )
    forecast_MiB: float | None = column(
        "With --memory_budget: forecast of the arm's peak, made from its first clip: the sum of the four values that follow.",
        cell=FORECAST,
    )
    forecast_weights_MiB: float | None = column("Memory of the built model and its libraries.", cell=FORECAST)
    forecast_workspace_MiB: float | None = column(
        "Additional memory at the peak of the first clip, without what grows with frame size and clip length.", cell=FORECAST
    )
    forecast_frames_MiB: float | None = column(
        "Memory for the largest frame with the most objects in a session: its pixels, logits and masks at video resolution.",
        cell=FORECAST,
    )
    forecast_state_MiB: float | None = column(
        "Memory that grows with the longest clip: its frames times the growth per frame of the first clip; about 0 if the memory is "
        "bounded.",
        cell=FORECAST,
    )
    latency_min_ms: float | None = column("Smallest latency of a timed frame.")
    latency_p50_ms: float | None = column("Median latency of a timed frame.")
    latency_p90_ms: float | None = column("90th percentile (linear interpolation, as numpy's default).")
    latency_p95_ms: float | None = column("95th percentile.")
    latency_p99_ms: float | None = column("99th percentile.")
    latency_max_ms: float | None = column("Largest latency of a timed frame.")
    latency_intervals: dict[str, float] = figures(ROW_MEANINGS, cell=LATENCY_INTERVALS)
    keyframe: str = setting_column("keyframe", cell=CLIP)
    key_frames: int | None = column("With --keyframe: timed frames that the model saw.", cell=CLIP, is_figure=True)
    key_latency_p50_ms: float | None = column("With --keyframe: median latency of a timed frame that the model saw.", cell=CLIP)
    between_frames_scored: int | None = column(
        "With --keyframe: scored frames that the model did not see. 0: every scored frame is a key frame, because K divides the step of "
        "the annotations, and J and F say nothing of the others.",
        cell=CLIP,
        is_figure=True,
    )
    between_latency_p50_ms: float | None = column("With --keyframe: median latency of a timed frame between.", cell=CLIP)
    passes: int | None = column(
        "Times the clip was tracked and timed, above 1 with --min_time or --min_frames. Masks and scores are from the first pass.",
        cell=CLIP,
        is_figure=True,
    )
    shared: str = column(
        "With --joint_objects or --share_prompts: what the session tracked together. Empty: this object alone. In a shared session, "
        "latency_ms is the call without the other tracks' own time, so about the latency of this object alone; memory, energy, parts and "
        "stages are those of the whole session.",
        default="",
        cell=SESSION,
    )
    session_tracks: int | None = column("Tracks in the shared session.", cell=SESSION, is_figure=True)
    session_latency_ms: float | None = column("Mean time of a call for all tracks of the shared session, which a user waits for.")
    shared_ms: float | None = column(
        "Part of session_latency_ms done once for all tracks, mainly the image encoder. The rest is the sum of their own times.",
        cell=SESSION,
    )
    parts_ms: dict[str, float] = figures(with_prefix("Mean part of the latency", PART_MEANINGS), cell=PARTS_MS)
    stages_ms: dict[str, float] = figures(with_prefix("Mean part of the latency", STAGE_MEANINGS), STAGE_COLUMN, cell=STAGES_MS)
    decode_ms: float | None = column(
        "Mean time to read and decode a timed frame, measured in the decoding thread. Not part of the latency."
    )
    stage_wait_ms: float | None = column(
        "Mean time that the tracker waited for a timed frame to be decoded; decode_ms with --prefetch 0. Not part of the latency.",
        cell=UNTIMED_MS,
    )
    init_ms: float | None = column(
        "Time to open the clip: the tracker's state and its work on frame 0. Not part of the latency.", cell=UNTIMED_MS
    )
    first_frame_ms: float | None = column("Time from the prompt to the first mask and its memory. Not part of the latency.")
    build_ms: float | None = column(
        "Time to import the model's package, build the model, load its weights and hash them; once per worker process.", cell=UNTIMED_MS
    )
    warmup_frames: int | None = setting_column("warmup_frames")
    warmup_ms: float | None = column("Time of the warm-up without decoding.", cell=UNTIMED_MS)
    score_ms: float | None = column(
        "Time to read the ground truth and score all frames, in another process while the next clip is tracked.",
        cell=UNTIMED_MS,
    )
    frames_scored: int | None = column(
        "Annotated frames that J and F are computed from: without the first and last, and under `sav` without frames before the object "
        "appears. 0: the split publishes only the masks to prompt with.",
        is_figure=True,
    )
    frames_annotated: int | None = column("Annotated frames of the object in the clip.", cell=CLIP)
    failure: dict[str, float] = figures(FAILURE_MEANINGS, cell=FAILURE)
    attributes: dict[str, float] = figures(ATTRIBUTE_MEANINGS, COLUMN, cell=CLIP)
    agreement_with: str = column("Id of the arm whose masks these are compared with.", default="", cell=AGREEMENT)
    agreement_J: float | None = column(
        "Intersection over union with the masks of that arm, mean over the tracked frames after the prompted one, 0 to 1. No accuracy.",
        cell=AGREEMENT,
    )
    agreement_F: float | None = column("Agreement of boundaries, computed as F between prediction and truth.", cell=AGREEMENT)
    agreement_JandF: float | None = column("(agreement_J + agreement_F) / 2.", cell=AGREEMENT)
    agreement_frames: int | None = column("Frames compared.", cell=AGREEMENT, is_figure=True)
    identical_frames: int | None = column("Frames on which the two masks are the same in every pixel.", cell=AGREEMENT, is_figure=True)
    camera_fps: float | None = setting_column("camera_fps")
    streaming_J: float | None = column(
        "J of the masks known in time: each annotated frame is scored with the newest mask finished when the frame arrived. The same "
        "frames are scored as for J.",
        cell=STREAMING_DETAILS,
    )
    streaming_F: float | None = column("F of the masks known in time, as for streaming_J.", cell=STREAMING_DETAILS)
    streaming_JandF: float | None = column("(streaming_J + streaming_F) / 2.")
    streaming_fps: float | None = column(
        "Masks finished per second, from the prompt to the last mask; at most the rate at which frames arrive."
    )
    frames_processed: int | None = column(
        "Frames after the prompted one whose masks were finished before the clip ended.", cell=STREAMING_DETAILS, is_figure=True
    )
    frames_dropped: int | None = column(
        "All other frames that arrived after the prompted one: never tracked, or unfinished when the clip ended.",
        cell=STREAMING_DETAILS,
        is_figure=True,
    )
    mask_age_p50_ms: float | None = column(
        "Median age of the newest finished mask when a frame arrives: the time since the mask's frame arrived. Before the first "
        "mask, the time since the prompt.",
        cell=STREAMING_DETAILS,
    )
    mask_age_p90_ms: float | None = column("90th percentile of the same age.", cell=STREAMING_DETAILS)
    deadline_met: float | None = column(
        "Share of the frames after the prompted one whose mask was finished before the next frame arrived, 0 to 1."
    )
    streaming_clock: str = setting_column("streaming_clock", cell=STREAMING_DETAILS)
    streaming_device: str = column(
        "Name of the device that the streaming latencies were measured on.",
        default="",
        cell=STREAMING_DETAILS,
        compared=Compared.TELLS_APART,
    )
    streaming_failure: dict[str, float] = figures(FAILURE_MEANINGS, "streaming_{}", cell=STREAMING_FAILURE)
    prompt_frame: int | None = column("Frame that was prompted: the first annotated frame on which the object is visible. Counted from 0.")
    clip_frames: int | None = column("Frames of the clip, after --max_frames.", cell=CLIP)
    video_height: int | None = column("Height of the video in pixels.", cell=CLIP)
    video_width: int | None = column("Width of the video in pixels.", cell=CLIP)
    max_frames: int | None = setting_column("max_frames")
    frame_stride: int | None = setting_column("frame_stride")
    prefetch: int | None = setting_column("prefetch")
    protocol: str = setting_column("protocol", cell=CLIP)
    protocol_version: int | None = column(
        "Version of how this benchmark times and scores, which changes whenever one of the two does. Results of two versions are compared "
        "only with --force. Empty in rows from before version 1.",
        cell=CLIP,
        compared=Compared.MUST_AGREE,
    )
    frames_from: str = column(
        "Storage of the video's frames: `jpg`, or the extension of a video file, such as `mp4`.", default="", cell=CLIP
    )
    num_points: int | None = setting_column("num_points")
    nonfinite_frames: int | None = column(
        "Frames for which the model returned NaN or infinite values. Such a row has status `error`.", cell=DIAGNOSTICS
    )
    warnings: int | None = column("Python warnings raised inside the runner for this object, warm-up included.")
    warning_lines: str = column("First lines of the distinct warnings, separated by ` | `.", default="", cell=DIAGNOSTICS)
    sdpa_kernels: str = column(
        "Kernels that served the attention calls of one untimed frame, with the number of calls, from the profiler: `flash:23 math:4`. "
        "`flash_cpu`: the CPU's flash kernel. `manual`: this benchmark's textbook computation. `cuda_graphs`, with --compile: "
        "calls inside recorded graphs, which are replayed without a call; attention_calls is then empty.",
        default="",
    )
    attention_calls: int | None = column(
        "Attention calls of a tracked frame: the sum of the numbers in sdpa_kernels.", cell=ATTENTION_DETAILS
    )
    attention_fallbacks: int | None = column(
        "With --attention fallback: calls that no native kernel could serve, in prompting and tracking.", cell=ATTENTION_DETAILS
    )
    attention_fallback_reasons: str = column(
        "Reasons for these calls, with the number of calls, separated by ` | `.", default="", cell=ATTENTION_DETAILS
    )
    compile: str = setting_column("compile")
    compile_mode: str = setting_column("compile_mode")
    compile_ms: float | None = column(
        "Total time of the calls in which something was compiled since the model was built, first run included. None of them is timed "
        "except those counted in timed_compilations.",
        cell=COMPILE_DETAILS,
    )
    recompilations: int | None = column(
        "Graphs compiled again for the same code since the model was built, for example for another number of memories.",
        cell=COMPILE_DETAILS,
    )
    timed_compilations: int | None = column(
        "Graphs compiled during timed frames; above 0, the largest latencies include compiling.", cell=COMPILE_DETAILS
    )
    graph_breaks: int | None = column("Places where a compiled part returns to Python.", cell=COMPILE_DETAILS)
    compile_fallback: str = column(
        "Parts of the model that --compile should have compiled but that ran uncompiled, and why, separated by ` | `. Empty: none.",
        default="",
        cell=COMPILE_DETAILS,
    )
    runtime: str = setting_column("runtime")
    runtime_version: str = column(
        "Package that ran the exported graphs, with its version.", default="", cell=RUNTIME_DETAILS, compared=Compared.TELLS_APART
    )
    runtime_placement: str = column(
        "Number of nodes of each stage's graph by what ran them, from a profile of one call; nodes that compute shapes are left out. Nodes "
        "on another provider than the one asked for are an error.",
        default="",
        cell=RUNTIME_DETAILS,
    )
    runtime_difference: str = column(
        "Largest difference of each stage from torch's in float32, on one example of noise, relative to the largest value: whether a graph "
        "computes what it should, not what that costs in J&F.",
        default="",
        cell=RUNTIME_DETAILS,
    )
    runtime_export_s: float | None = column(
        "Seconds that exporting the graphs took, when they were put into the cache. Never timed.", cell=RUNTIME_DETAILS
    )
    runtime_load_s: float | None = column(
        "Seconds until the graphs could run: reading, optimising, and on TensorRT building engines. Never timed.", cell=RUNTIME_DETAILS
    )
    runtime_MiB: float | None = column("Size of the graphs' files, or of the engines, in MiB.", cell=RUNTIME_DETAILS)
    num_maskmem: int | None = setting_column("num_maskmem")
    memory: str = setting_column("memory")
    postprocessing: str = setting_column("postprocessing")
    implementation: str = column("Package that ran the model, with its version.", default="", compared=Compared.TELLS_APART)
    hole_filling: str = column(
        "What found the small holes in masks that SAM 2 and EdgeTAM fill: `cuda` (their compiled extension) or `opencv`, with the same "
        "masks; `off`: none are filled. Part of the latency.",
        default="",
        compared=Compared.NOTED,
    )
    resize: str = column(
        "What resized the frames to the model's input, part of preprocess_ms. `exact on cuda, as pillow 13.0.0` (or `on cpu`): this "
        "project's own computation, bit-identical to that release of Pillow. `pillow 13.0.0`: Pillow itself. Releases of Pillow may "
        "differ in single bits. Empty: a model without a fixed input size.",
        default="",
        cell=MODEL_DETAILS,
    )
    scorer_replaced: str = column(
        "Why a second process scored this object in place of the first. Empty: the first did.",
        default="",
        cell=DIAGNOSTICS,
    )
    memory_selection: str = setting_column("memory_selection", cell=MODEL_DETAILS)
    notes: str = column("Adjustments made to upstream at run time, separated by ` | `.", default="", cell=MODEL_DETAILS)
    parameters: int | None = column("Number of the model's parameters.", cell=MODEL_DETAILS)
    licence: str = column(
        "Licence of the model's code and weights, with whatever restricts their use (docs/models.md).", default="", cell=MODEL_DETAILS
    )
    spike_causes: dict[str, float] = mapping(
        "Number of frames beyond the 99th percentile by cause, as in spike_cause of frames.csv.", cell=DIAGNOSTICS
    )
    weights: str = column(
        "sha256 of the weights file; `random` with --random_weights, `none` for a model without weights.",
        default="",
        compared=Compared.MUST_AGREE,
    )
    weights_file: str = column("Name of the weights file.", default="", cell=MODEL_DETAILS)
    accepted_changes: str = column(
        "With --accept_changes: what had changed since the run's earlier rows of this arm, which have another arm_id.",
        default="",
        cell=MODEL_DETAILS,
    )
    torch_version: str = column(
        "Version of torch in the worker process; empty if it was not used.", default="", compared=Compared.TELLS_APART
    )
    seed: int | None = setting_column("seed")
    split: str = column("Name of the split.", default="", compared=Compared.MUST_AGREE)
    benchmark_version: str = column(
        "Version of this benchmark: git commit, with `+` if tracked files had changes.", default="", compared=Compared.NOTED
    )
    started_at: str = column("Time at which the object started, UTC, ISO 8601.", default="")
    arm_id: str = column("Id of the arm: what is compared, and a digest of the settings that change a measurement.", default="")
    run_id: str = column("Id of the run, as in environment.json.", default="")


@dataclass
@with_setting_columns
class SummaryRow(PowerSummary, _ObjectColumns):
    """One object of one video under one arm. Columns of the last base class come first."""

    background_cpus: float | None = column(
        "Mean number of CPUs that other programs kept busy during the timed pass; without the benchmark's own processes, "
        "interrupts and kernel threads.",
        cell=CONDITIONS,
    )
    validity: str = column(
        "`ok`, or reasons not to compare this row's times with others: throttled, clocks not locked, power mode changed, swap "
        "touched, hot at the start, background load; separated by `; `. Empty if neither clocks nor temperatures were read and nothing was "
        "wrong.",
        default="",
    )

    @property
    def key(self) -> tuple[str, str, str]:
        """Arm id, video and object, which identify a row."""
        return (self.arm_id, self.video, self.object)


def without_figures(row: SummaryRow, status: str, error: str) -> SummaryRow:
    """A row that failed after it was measured: its settings, status and error, without figures."""
    return dataclasses.replace(row, **empty_figures(SummaryRow), status=status, error=error)


def is_valid(validity: str) -> bool:
    """Whether a row's times can be compared, as far as the board was read."""
    return validity in ("", VALID)
