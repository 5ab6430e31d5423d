"""Every setting of a run, declared once: to add a flag, add a field here (see `savbench.arguments.declared`) and use it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from attention import CHOICES, RELATIVE_CHOICES
from runners import RUNNERS
from savbench.arguments.declared import Column, Compared, ConfigError, check, from_json, setting, to_json
from savbench.arguments.values import SEED, Choice, Device, FilePath, ListOf, NumberOrWord, Part, Real, Switch, Text, Whole

AUTOCAST_DTYPES = ("float32", "float16", "bfloat16")
MAX_MASKMEM = 7
"""Memories of SAM 2 and EdgeTAM as published."""
CAMERA_FPS = 24.0
"""Frames per second of SA-V."""
GPU_PREFETCH = 2
"""Frames decoded ahead where the model is on a GPU. On a CPU the decoder would take its time from the model, and is in line by default."""
MEMORY_MODES = ("bounded", "upstream")
"""What is kept of a clip, see `runners.base.BuildOptions.memory`."""
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
"""Modes of torch.compile that its documentation names."""
POWER_SOURCES = ("auto", "jtop", "sysfs", "nvml", "none")
NOT_APPLICABLE = "none"
"""Value of autocast_dtype and attention in rows of models that compute without them."""

LEARNED = frozenset(spec.family for spec in RUNNERS.values() if spec.is_learned)
WITH_MEMORY = frozenset({"sam2", "edgetam"})
"""Families whose trackers keep memories of frames."""

DATA = "data"
MODELS = "models; lists are comma-separated and multiply into arms"
MEASURING = "prompts and measuring"
STREAMING = "streaming: every object once more at the camera's pace, beside its offline score"
WHERE = "where it runs"
BOARD = "power and heat"
OUTPUT = "output"

_COUNT = Whole(1, 1_000_000)
_FOLDER = FilePath(absolute=True)
_DAY_S, _WEEK_S = 86_400, 604_800
_PAIRED = Compared.MUST_AGREE
_APART = Compared.TELLS_APART


@dataclass(frozen=True)
class RunConfig:
    """All settings of a run. Sizes in pixels, times in seconds, temperatures in C, memory in MiB."""

    split_dir: Path = setting(_FOLDER, DATA, "folder with JPEGImages_24fps, Annotations_6fps and the list of videos")
    split_name: str | None = setting(
        Text(), DATA, "stem of the list, for example sav_val", default=None, default_said="the one .txt file in the folder"
    )
    limit_videos: int | None = setting(_COUNT, DATA, "run the first N videos", default=None)
    limit_objects: int | None = setting(_COUNT, DATA, "run the first N objects of each video", default=None)
    max_frames: int | None = setting(
        Whole(2, 1_000_000, hint="a clip needs a frame to prompt and one to track"),
        DATA,
        "cut clips after N frames; J&F is then not the published one",
        Column(
            "max_frames",
            "--max_frames: the clip was cut after so many frames. Empty: whole clips, as published scores need.",
            _PAIRED,
            empty="all",
        ),
        default=None,
        decides=True,
    )
    frame_stride: int = setting(
        Whole(1, 10_000),
        DATA,
        "track every Nth frame, hold masks in between",
        Column("frame_stride", "--frame_stride: every so many frames are tracked, masks are held in between. 1: every frame.", _PAIRED),
        default=1,
        decides=True,
    )
    prefetch: int | None = setting(
        Whole(0, 1_000),
        DATA,
        "decode N frames ahead in a thread; 0: between the model's calls",
        Column("prefetch", "Frames decoded ahead of the tracker, --prefetch. 0: decoded between its calls.", _APART, filled="applied"),
        default=None,
        default_said=f"{GPU_PREFETCH} on a GPU, 0 on a CPU",
        decides=True,
    )
    shuffle_videos: bool = setting(Switch(), DATA, "take the videos in an order drawn from --seed", default=False)
    shard: tuple[int, int] | None = setting(
        Part("shards"),
        DATA,
        "run part I of N of about the same work, the same on every machine; the summaries of all parts, concatenated, are the whole",
        default=None,
    )

    models: tuple[str, ...] = setting(
        ListOf(Text(), may_be_empty=True),
        MODELS,
        f"MODEL_PROMPT: {', '.join(f'{model}_{prompt}' for model, spec in RUNNERS.items() for prompt in spec.prompts)}",
        Column("model", "Model, without its prompt: `sam2_tiny`, `edgetam`, `static`, ...", Compared.ARM, filled="arm"),
        Column("prompt", "`points`, `bbox` or `mask`, taken from the ground truth of the prompted frame.", Compared.ARM, filled="arm"),
        default=(),
        default_said="SAM 2.1 tiny to large and EdgeTAM with points, those whose weights are found",
    )
    imgsz: tuple[int, ...] = setting(
        ListOf(Whole(16, 8_192, unit="pixels"), may_be_empty=True),
        MODELS,
        "side of the model's input in pixels",
        Column(
            "imgsz",
            "Side in pixels of the model's square input, as the built model reports it. Empty: works at video resolution.",
            Compared.ARM,
            filled="arm",
            empty=NOT_APPLICABLE,
            kind=int,
        ),
        default=(),
        default_said="its own, 1024",
    )
    autocast_dtypes: tuple[str, ...] = setting(
        ListOf(Choice(AUTOCAST_DTYPES)),
        MODELS,
        f"torch.amp.autocast around every call: {', '.join(AUTOCAST_DTYPES)}; float32 is none",
        Column(
            "autocast_dtype",
            "dtype of `torch.amp.autocast` around every call of the runner; `float32` is no autocast, and without TF32 on a "
            "GPU; `none` a model that has no use for it.",
            Compared.ARM,
            filled="arm",
        ),
        default=("bfloat16",),
        flag="autocast_dtype",
    )
    attention: tuple[str, ...] = setting(
        ListOf(Choice((*CHOICES, *RELATIVE_CHOICES), hint=f"{' and '.join(RELATIVE_CHOICES)} are for SAM v1 alone")),
        MODELS,
        f"what computes attention: {', '.join(CHOICES)}; see FLASH_ATTENTION_FIX.md",
        Column(
            "attention",
            "Attention that was asked for; `auto` is upstream's own choice, `none` a model without attention.",
            Compared.ARM,
            filled="arm",
        ),
        default=("auto",),
        default_said="auto, upstream's choice",
    )
    num_maskmem: int | None = setting(
        Whole(1, MAX_MASKMEM, hint=f"the models were trained with {MAX_MASKMEM}"),
        MODELS,
        f"memories that the memory attention sees, the prompted frame's included, 1 to {MAX_MASKMEM}",
        Column(
            "num_maskmem",
            f"--num_maskmem: memories that the memory attention sees. Empty: the model's own, {MAX_MASKMEM}.",
            _PAIRED,
            empty="own",
        ),
        default=None,
        default_said=str(MAX_MASKMEM),
        decides=True,
        families=LEARNED,
    )
    memory: str = setting(
        Choice(MEMORY_MODES),
        MODELS,
        "SAM 2 and EdgeTAM: bounded keeps what later frames read, upstream prepares and keeps the whole clip",
        Column(
            "memory",
            "--memory: `bounded`, frames are prepared when they are tracked and what no later frame reads is forgotten; `upstream`, as "
            "the official code does it, the whole clip is prepared when it is opened (in init_ms, not in latency_ms) and everything "
            "kept. Masks are the same. Empty: a model without such a memory.",
            _APART,
            elsewhere="",
        ),
        default="bounded",
        decides=True,
        families=WITH_MEMORY,
    )
    postprocessing: str = setting(
        Choice(("on", "off")),
        MODELS,
        "SAM 2 and EdgeTAM: upstream's postprocessing of masks, which their predictors have on and their papers' evaluation off",
        Column(
            "postprocessing",
            "--postprocessing: `on`, as upstream's predictors are built: holes of up to 8 pixels are filled, an unstable single mask gives "
            "way to the best of three, and a prompted frame's mask is encoded as 0 and 1. `off`, as upstream's evaluation script runs, "
            "and so as published scores were taken. Empty: a model without it.",
            _PAIRED,
            elsewhere="",
        ),
        default="on",
        decides=True,
        families=WITH_MEMORY,
    )
    compile: str = setting(
        Choice(("off", "encoder", "full")),
        MODELS,
        "torch.compile: the image encoder, or every part of the model; the warm-up goes on until nothing is compiled",
        Column(
            "compile",
            "--compile: what `torch.compile` was to be applied to, `encoder`, `full` or `off`; `none` is a model without torch. What it "
            "was not applied to is in compile_fallback.",
            _APART,
            elsewhere=NOT_APPLICABLE,
        ),
        default="off",
        decides=True,
        families=LEARNED,
    )
    compile_mode: str | None = setting(
        Choice(COMPILE_MODES),
        MODELS,
        "mode of torch.compile",
        Column("compile_mode", "Mode it was applied with, upstream's own or that of --compile_mode.", _APART, filled="applied"),
        default=None,
        default_said="upstream's where it has one, else torch's",
        decides=True,
        families=LEARNED,
    )
    sam1_flow: bool = setting(
        Switch(),
        MODELS,
        "SAM v1: move the mask along optical flow before it prompts the next frame",
        default=False,
        decides=True,
        families=frozenset({"sam1"}),
    )
    device: str = setting(
        Device(),
        MODELS,
        "auto, cpu, cuda or cuda:N",
        Column("device", "Device that ran the model, as the built model reports it.", _APART, filled="applied"),
        default="auto",
        default_said="auto, cuda where it works",
        decides=True,
        families=LEARNED,
    )
    weights_dir: Path | None = setting(
        _FOLDER,
        MODELS,
        "folder with the weights files, the only one that is searched",
        default=None,
        default_said="checkpoints, EdgeTAM/checkpoints, and the weights that come with the benchmark",
    )
    random_weights: bool = setting(
        Switch(), MODELS, "untrained weights: true time and memory, meaningless J&F", default=False, decides=True, families=LEARNED
    )
    sam2_dir: Path | None = setting(_FOLDER, MODELS, "run SAM 2 from this checkout instead of the installed package", default=None)
    edgetam_dir: Path | None = setting(
        _FOLDER, MODELS, "run EdgeTAM from this checkout", default=None, default_said="./EdgeTAM; without one, transformers"
    )

    num_points: int = setting(
        Whole(1, 1_000),
        MEASURING,
        "clicks of a points prompt",
        Column("num_points", "Clicks given with a points prompt.", _PAIRED, empty=NOT_APPLICABLE),
        default=1,
        decides=True,
        prompts=frozenset({"points"}),
    )
    joint_objects: bool = setting(
        Switch(), MEASURING, "track all objects of a video in one session, frames encoded once", default=False, decides=True
    )
    share_prompts: bool = setting(
        Switch(), MEASURING, "track an object from points, bbox and mask (tags of one model) in one session", default=False, decides=True
    )
    stages: bool = setting(
        Switch(), MEASURING, "time the stages of every frame: encoder, memory attention, decoder and so on", default=False, decides=True
    )
    warmup_frames: int = setting(
        Whole(0, 10_000),
        MEASURING,
        "untimed frames before each object",
        Column(
            "warmup_frames",
            "Frames run before, untimed, on the same clip at the same size; the prompted frame included.",
            _APART,
            filled="applied",
        ),
        default=5,
        decides=True,
    )
    min_time_s: float = setting(
        Real(0, _WEEK_S, unit="seconds", name="S"),
        MEASURING,
        "repeat clips until an arm has timed so many seconds, every object its share of them; 600 with --min_frames 1024 is as long as "
        "MLPerf's single-stream scenario measures",
        default=0.0,
        flag="min_time",
        decides=True,
    )
    """MLPerf Inference sends the next query of its single-stream scenario when the last one is answered, as frames are here. Its rules
    (mlcommons/inference_policies, inference_rules.adoc, "Scenarios") ask for 600 seconds; the 1024 queries were a second condition until
    v1.1, and later gave way to an early-stopping estimate of the 90th percentile that needs 64 at least. MLPerf's figure is the 90th
    percentile; the estimate's small penalty is not added to latency_p90_ms here."""
    min_frames: int = setting(
        Whole(0, 1_000_000_000), MEASURING, "repeat clips until an arm has timed so many frames, likewise", default=0, decides=True
    )
    order: str = setting(
        Choice(("sequential", "interleaved")),
        MEASURING,
        "of the arms: one after the other, or interleaved, in turn by video, against drift",
        default="sequential",
    )
    sustained_minutes: float | None = setting(
        Real(0.01, _WEEK_S / 60, unit="minutes", name="MINUTES"),
        MEASURING,
        "repeat the objects until FPS and temperature are steady, at most so long for each arm; writes sustained.csv",
        default=None,
        flag="sustained",
    )
    memory_budget: float | Literal["auto"] | None = setting(
        NumberOrWord(Real(1, 2**24, unit="MiB", name="MIB"), "auto"),
        MEASURING,
        "refuse an arm whose forecast, from its first clip, needs more; auto: what the machine has available",
        default=None,
    )
    seed: int = setting(
        SEED, MEASURING, "for random weights and --shuffle_videos", Column("seed", "--seed.", _APART), default=0, decides=True
    )
    timeout_s: float = setting(
        Real(0.1, _DAY_S, unit="seconds", name="S"),
        MEASURING,
        "seconds without progress before a worker is ended",
        default=900.0,
        flag="timeout",
        identifies_run=False,
    )

    realtime_fps: float | None = setting(
        Real(0.01, 10_000, unit="frames per second", name="FPS"),
        STREAMING,
        f"frames arrive at this rate whether the model is ready or not, and the newest finished mask counts ({CAMERA_FPS:g})",
        Column("camera_fps", "--realtime: frames of the clip per second, at which they arrive. Empty: not streamed.", _PAIRED | _APART),
        default=None,
        flag="realtime",
        bare=CAMERA_FPS,
        decides=True,
    )
    realtime_from: Path | None = setting(
        FilePath(absolute=True, name="FILE"),
        STREAMING,
        "simulate it with the latencies in frames.csv of an earlier run, perhaps of another board; masks are computed here",
        Column(
            "streaming_clock",
            "`live`: in real time; `simulated FILE`: with the latencies in that file, --realtime_from.",
            _APART,
            filled="applied",
        ),
        default=None,
        decides=True,
    )

    executor: str = setting(
        Choice(("local", "ray")),
        WHERE,
        "local: worker processes here, one at a time; ray: videos as tasks on a Ray cluster, a GPU each",
        default="local",
    )
    ray_address: str | None = setting(
        Text("ADDRESS"),
        WHERE,
        "HOST:PORT or auto",
        default=None,
        default_said="RAY_ADDRESS, the cluster on this machine, or a new one",
        identifies_run=False,
    )
    cpus_per_task: int = setting(Whole(1, 4_096), WHERE, "with ray: CPUs, and so threads of torch, of a task", default=1)

    power: str = setting(
        Choice(POWER_SOURCES),
        BOARD,
        "auto, jtop (jetson-stats), sysfs (INA3221 monitors), nvml (desktop GPUs) or none",
        default="auto",
        default_said="auto, the first that answers",
        identifies_run=False,
    )
    power_interval_s: float = setting(
        Real(0.01, 60, unit="seconds", name="S"),
        BOARD,
        "seconds between readings",
        default=0.1,
        flag="power_interval",
        identifies_run=False,
    )
    strict: bool = setting(Switch(), BOARD, "take only rows whose validity is ok: wait, try again, refuse in the end", default=False)
    cooldown_c: float = setting(
        Real(-40, 100, unit="degrees Celsius", name="C"),
        BOARD,
        "with --strict and --sustained: temperature that is waited for",
        default=50.0,
    )

    out_dir: Path | None = setting(
        FilePath(),
        OUTPUT,
        "folder of the run; a run that is there goes on",
        default=None,
        default_said="results/<time>",
        identifies_run=False,
    )
    retry_failed: bool = setting(Switch(), OUTPUT, "run objects again whose row is not ok", default=False, identifies_run=False)
    accept_changes: bool = setting(
        Switch(),
        OUTPUT,
        "go on with a run whose rows were measured on another system (torch, device, power mode, weights); new ones are kept apart",
        default=False,
        identifies_run=False,
    )
    save_overlays: bool = setting(Switch(), OUTPUT, "write a video of each object with the masks drawn in", default=False)
    save_masks: bool = setting(Switch(), OUTPUT, "write predictions in SA-V layout, for the official evaluator", default=False)

    def __post_init__(self) -> None:
        """
        Raises:
            ConfigError: a setting is not in its range, or two do not go together.
        """
        check(self)
        if self.memory == "upstream" and self.realtime_fps is not None:
            raise ConfigError("--memory upstream: its loader takes all frames before the first, which no camera can give; use bounded")
        if self.compile != "off" and self.warmup_frames == 0:
            raise ConfigError("--warmup_frames 0: what --compile compiles would be timed; leave the warm-up in")
        if self.compile_mode is not None and self.compile == "off":
            raise ConfigError(f"--compile_mode {self.compile_mode}: nothing is compiled; add --compile encoder or full")
        if self.order == "interleaved" and self.sustained_minutes is not None:
            raise ConfigError("--sustained heats the board with one arm at a time: leave out --order interleaved")
        if self.strict and self.sustained_minutes is not None:
            raise ConfigError("--sustained lets the board throttle and --strict takes no such row: leave one of them out")
        if self.accept_changes and self.sustained_minutes is not None:
            raise ConfigError("--sustained heats the board with whole arms: leave out --accept_changes and give another --out_dir")
        if self.share_prompts and self.sustained_minutes is not None:
            raise ConfigError("--sustained follows one arm at a time: leave out --share_prompts")
        if self.strict and self.power == "none":
            raise ConfigError("--strict needs to see the board: leave out --power none")
        if self.realtime_fps is not None:
            if self.joint_objects or self.share_prompts:
                raise ConfigError("--realtime follows one object at a time: leave out --joint_objects and --share_prompts")
        elif self.realtime_from is not None:
            raise ConfigError(f"--realtime_from {self.realtime_from}: goes with --realtime")
        self._check_executor()

    def _check_executor(self) -> None:
        if self.executor == "local":
            if self.ray_address is not None or self.cpus_per_task != 1:
                raise ConfigError("--ray_address and --cpus_per_task are of --executor ray; add that or leave them out")
            return
        if self.power not in ("auto", "none"):
            raise ConfigError(f"--power {self.power}: is read on this machine, and --executor ray measures on others; leave it out")
        if ":" in self.device:
            raise ConfigError(f"--device {self.device}: Ray gives every task a GPU of its own; use cuda")
        tied_to_a_board = {
            "strict": self.strict,
            "sustained": self.sustained_minutes is not None,
            "memory_budget": self.memory_budget is not None,
            "accept_changes": self.accept_changes,
            "order interleaved": self.order != "sequential",
        }
        for option in (option for option, given in tied_to_a_board.items() if given):
            raise ConfigError(f"--{option}: goes with one board whose arms run one after the other, not with --executor ray; leave it out")

    def to_json(self) -> dict[str, Any]:
        """All settings, for `from_json`."""
        return to_json(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RunConfig:
        """The inverse of `to_json`."""
        return from_json(cls, data)
