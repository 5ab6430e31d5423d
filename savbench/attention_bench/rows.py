"""The schemas of the CSVs that `jetson_benchmark.py attention` writes. As in `savbench.results.rows`, the dataclasses are the schema."""

from __future__ import annotations

from dataclasses import dataclass

from savbench.results.schema import column


@dataclass
class CallRow:
    """One distinct attention call of one tracked frame, computed by one choice of attention under one dtype."""

    model: str = column("Model, as in `--models`.", default="")
    imgsz: int | None = column("Side in pixels of the model's square input.")
    num_maskmem: int | None = column("Memories that the memory attention sees. Empty: a model without memory.")
    autocast_dtype: str = column("dtype of `torch.amp.autocast` around the frame and the call; `float32` is no autocast.", default="")
    attention: str = column("What was to compute the call, as in `--attention`.", default="")
    part: str = column("Part of the model that makes the call.", default="")
    query: str = column("Shape of the query: batch (or windows) x heads x queries x width.", default="")
    key: str = column("Shape of the key.", default="")
    value: str = column("Shape of the value.", default="")
    dtypes: str = column("dtype of query, key and value as the model hands them over, before autocast casts them.", default="")
    arguments: str = column("Mask, causal, scale, dropout and grouped heads, where they are not the defaults.", default="")
    calls: int | None = column("Calls of this kind in one tracked frame.")
    modules: str = column("Modules of the model that make them, numbers written as `*`.", default="")
    status: str = column(
        "`ok`; `unavailable`: this choice cannot compute the call; `oom`: out of memory; `killed` or `error`: the measurement failed.",
        default="ok",
    )
    error: str = column("Why there are no figures.", default="")
    kernel: str = column("Kernel that served the call, from the profiler, as in `sdpa_kernels` of summary.csv.", default="")
    samples: int | None = column("Timed repetitions.")
    time_p50_ms: float | None = column("Median time of the call, casts of autocast included.")
    time_p90_ms: float | None = column("90th percentile.")
    per_frame_ms: float | None = column("time_p50_ms times calls.")
    frame_share: float | None = column("per_frame_ms over frame_ms, 0 to 1.")
    GFLOP: float | None = column(
        "Work of one call, 2 B H Nq Nk (D + Dv) / 10^9 operations, which is 4 B H Nq Nk D where key and value are equally wide: both "
        "matrix products, without the softmax."
    )
    GFLOP_per_s: float | None = column("GFLOP over time_p50_ms: the rate achieved.")
    peak_MiB: float | None = column(
        "Memory that the call takes at its peak beyond its inputs, its result included: on a GPU from torch's allocator, on a CPU from the "
        "allocations that torch's profiler reports, which leave out what the BLAS library takes by itself."
    )
    max_diff: float | None = column(
        "Largest difference from the same call in float64, on evenly spaced queries where all would take too long."
    )
    max_value: float | None = column("Largest magnitude in the float64 result, to judge max_diff by.")
    frame_ms: float | None = column(
        "Median time of a whole tracked frame under this choice and dtype. Empty where a call cannot be computed."
    )
    frame_p90_ms: float | None = column("90th percentile.")
    frame_samples: int | None = column("Timed frames.")
    device: str = column("Device that ran the model.", default="")
    device_name: str = column("Name of the GPU, or of the CPU.", default="")
    threads: int | None = column("Threads of torch on the CPU.")
    torch_version: str = column("Version of torch.", default="")
    implementation: str = column("Package and version that ran the model.", default="")
    weights: str = column("sha256 of the weights file, or `random`.", default="")
    seed: int | None = column("--seed.")
    benchmark_version: str = column("Version of this benchmark: git commit, with `+` where the tree had changes.", default="")
    started_at: str = column("When the measurement of the model was begun, UTC, ISO 8601.", default="")


@dataclass
class AccuracyRow:
    """Masks of one object under one choice of attention and one dtype, against those of float32 and `auto`."""

    model: str = column("Model, as in `--models`.", default="")
    imgsz: int | None = column("Side in pixels of the model's square input.")
    num_maskmem: int | None = column("Memories that the memory attention sees. Empty: a model without memory.")
    video: str = column("Video id.", default="")
    object: str = column("Object folder of the video.", default="")
    prompt: str = column("`points`, `bbox` or `mask`, from the ground truth of the prompted frame.", default="")
    autocast_dtype: str = column("dtype of autocast; `float32` is no autocast.", default="")
    attention: str = column("What computed attention. The row `float32` and `auto` is the reference run a second time.", default="")
    status: str = column(
        "`ok`; `unavailable`: this choice cannot compute a call; `oom`; `killed` or `error`: the measurement failed.", default="ok"
    )
    error: str = column("Why there are no figures.", default="")
    frames: int | None = column("Tracked frames that were compared; the prompted one is not among them.")
    J_mean: float | None = column(
        "Mean over the frames of J between the masks and those under float32 and `auto`, 0 to 1; two empty masks score 1."
    )
    J_min: float | None = column("Smallest J of a frame.")
    J_min_frame: int | None = column("Frame of the clip that has it.")
    identical_frames: int | None = column("Frames whose masks are equal in every pixel.")
    coverage: float | None = column("Mean share of the frame that the reference masks cover; near 0 or 1 a comparison says little.")
    device: str = column("Device that ran the model.", default="")
    device_name: str = column("Name of the GPU, or of the CPU.", default="")
    threads: int | None = column("Threads of torch on the CPU.")
    torch_version: str = column("Version of torch.", default="")
    implementation: str = column("Package and version that ran the model.", default="")
    weights: str = column("sha256 of the weights file, or `random`.", default="")
    seed: int | None = column("--seed.")
    benchmark_version: str = column("Version of this benchmark: git commit, with `+` where the tree had changes.", default="")
    started_at: str = column("When the comparison was begun, UTC, ISO 8601.", default="")
