"""Schemas of the CSVs that `jetson_benchmark.py attention` writes, as dataclasses like those in `savbench.results.rows`."""

from __future__ import annotations

from dataclasses import dataclass

from savbench.results.schema import column


@dataclass
class CallRow:
    """One distinct attention call of one tracked frame, under one choice of attention and one dtype."""

    model: str = column("Model, as in `--models`.", default="")
    imgsz: int | None = column("Side in pixels of the model's square input.")
    num_maskmem: int | None = column("Memories that memory attention reads. Empty: a model without memory.")
    autocast_dtype: str = column("dtype of `torch.amp.autocast` around the frame and the call; `float32`: no autocast.", default="")
    attention: str = column("Choice of attention requested for the call, as in `--attention`.", default="")
    part: str = column("Part of the model that makes the call.", default="")
    query: str = column("Shape of the query: batch (or windows) x heads x queries x width.", default="")
    key: str = column("Shape of the key.", default="")
    value: str = column("Shape of the value.", default="")
    dtypes: str = column("dtype of query, key and value as the model passes them, before autocast casts them.", default="")
    arguments: str = column("Those of mask, causal, scale, dropout and grouped heads that are not the defaults.", default="")
    calls: int | None = column("Number of such calls in one tracked frame.")
    modules: str = column("Modules of the model that make these calls, numbers written as `*`.", default="")
    status: str = column(
        "`ok`; `unavailable`: this choice cannot compute the call; `oom`: out of memory; `killed` or `error`: the measurement failed.",
        default="ok",
    )
    error: str = column("Why there are no figures.", default="")
    kernel: str = column("Kernel that served the call, from the profiler, as in `sdpa_kernels` of summary.csv.", default="")
    samples: int | None = column("Timed repetitions.")
    time_p50_ms: float | None = column("Median time of the call, casts of autocast included.")
    time_p90_ms: float | None = column("90th percentile of the same time.")
    per_frame_ms: float | None = column("time_p50_ms times calls.")
    frame_share: float | None = column("per_frame_ms over frame_ms, 0 to 1.")
    GFLOP: float | None = column(
        "Work of one call, 2 B H Nq Nk (D + Dv) / 10^9 operations, or 4 B H Nq Nk D if key and value are equally wide: both "
        "matrix products, without the softmax."
    )
    GFLOP_per_s: float | None = column("GFLOP over time_p50_ms: the rate achieved.")
    peak_MiB: float | None = column(
        "Peak memory that the call allocates in addition to its inputs, result included: on a GPU from torch's allocator, on a CPU from "
        "the allocations in torch's profiler, which leave out the BLAS library's own."
    )
    max_diff: float | None = column(
        "Largest absolute difference from the same call in float64, over evenly spaced queries if all would take too long."
    )
    max_value: float | None = column("Largest absolute value in the float64 result, the scale of max_diff.")
    frame_ms: float | None = column("Median time of a whole tracked frame under this choice and dtype. Empty if a call cannot be computed.")
    frame_p90_ms: float | None = column("90th percentile of the same time.")
    frame_samples: int | None = column("Timed frames.")
    device: str = column("Device that ran the model.", default="")
    device_name: str = column("Name of the GPU, or of the CPU.", default="")
    threads: int | None = column("Threads of torch on the CPU.")
    torch_version: str = column("Version of torch.", default="")
    implementation: str = column("Package that ran the model, with its version.", default="")
    weights: str = column("sha256 of the weights file, or `random`.", default="")
    seed: int | None = column("--seed.")
    benchmark_version: str = column("Version of this benchmark: git commit, with `+` if tracked files had changes.", default="")
    started_at: str = column("Time at which the measurement of the model started, UTC, ISO 8601.", default="")


@dataclass
class AccuracyRow:
    """Masks of one object under one choice of attention and one dtype, compared with those under float32 and `auto`."""

    model: str = column("Model, as in `--models`.", default="")
    imgsz: int | None = column("Side in pixels of the model's square input.")
    num_maskmem: int | None = column("Memories that memory attention reads. Empty: a model without memory.")
    video: str = column("Video id.", default="")
    object: str = column("Object folder of the video.", default="")
    prompt: str = column("`points`, `bbox` or `mask`, from the ground truth of the prompted frame.", default="")
    autocast_dtype: str = column("dtype of autocast; `float32`: no autocast.", default="")
    attention: str = column("Choice of attention. The row with `float32` and `auto` is a second run of the reference.", default="")
    status: str = column(
        "`ok`; `unavailable`: this choice cannot compute a call; `oom`; `killed` or `error`: the measurement failed.", default="ok"
    )
    error: str = column("Why there are no figures.", default="")
    frames: int | None = column("Tracked frames compared, without the prompted frame.")
    J_mean: float | None = column(
        "Mean over frames of J between the masks and those under float32 and `auto`, 0 to 1; two empty masks score 1."
    )
    J_min: float | None = column("Smallest J of any frame.")
    J_min_frame: int | None = column("Frame of the clip with J_min.")
    identical_frames: int | None = column("Frames whose masks are equal in all pixels.")
    coverage: float | None = column("Mean share of the frame that the reference masks cover; near 0 or 1 the comparison says little.")
    device: str = column("Device that ran the model.", default="")
    device_name: str = column("Name of the GPU, or of the CPU.", default="")
    threads: int | None = column("Threads of torch on the CPU.")
    torch_version: str = column("Version of torch.", default="")
    implementation: str = column("Package that ran the model, with its version.", default="")
    weights: str = column("sha256 of the weights file, or `random`.", default="")
    seed: int | None = column("--seed.")
    benchmark_version: str = column("Version of this benchmark: git commit, with `+` if tracked files had changes.", default="")
    started_at: str = column("Time at which the comparison started, UTC, ISO 8601.", default="")
