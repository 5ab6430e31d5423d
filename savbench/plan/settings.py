"""Every setting of a run, declared once: to add a flag, add a field here (see `savbench.arguments.declared`) and use it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from attention import CHOICES, RELATIVE_CHOICES
from runners import RUNNERS
from savbench.arguments.declared import Column, Compared, ConfigError, check, from_json, setting, to_json
from savbench.arguments.values import (
    SEED,
    AllOrWorst,
    Choice,
    ChoiceOrFile,
    Device,
    Factor,
    FilePath,
    ListOf,
    NumberOrWord,
    Part,
    Pixel,
    Real,
    Switch,
    Text,
    Whole,
)
from savbench.plan.protocols import AUTO, PROTOCOLS

LAYOUTS = ("auto", "sav", "davis", "ytvos", "sav-json", "clips")
"""The keys of `savbench.data.dataset.LAYOUTS`, which is not imported for --help."""
AUTOCAST_DTYPES = ("float32", "float16", "bfloat16")
MAX_MASKMEM = 7
"""Memories that SAM 2 and EdgeTAM were trained with."""
CAMERA_FPS = 24.0
"""Frames per second of SA-V."""
GPU_PREFETCH = 2
"""Default number of frames decoded ahead on a GPU. On a CPU the decoder would compete with the model, so the default there is 0."""
MEMORY_MODES = ("bounded", "upstream")
"""What a model keeps of a clip, see `runners.base.BuildOptions.memory`."""
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
"""Documented modes of torch.compile."""
POWER_SOURCES = ("auto", "jtop", "sysfs", "nvml", "none")
METER = "csv"
"""Prefix of --power for the file of an external meter."""
NOT_APPLICABLE = "none"
"""Value of autocast_dtype and attention in rows of models that use neither."""

LEARNED = frozenset(spec.family for spec in RUNNERS.values() if spec.is_learned)
WITH_MEMORY = frozenset({"sam2", "edgetam"})
"""Families with a memory of past frames."""

DATA = "data"
MODELS = "models; lists are comma-separated and multiply into arms"
MEASURING = "prompts and measuring"
STREAMING = "streaming: track every object once more at the camera's pace, beside its offline score"
WHERE = "where it runs"
BOARD = "power and heat"
OUTPUT = "output"

_BY_PROMPTS = "; ".join(
    f"{', '.join(model for model, spec in RUNNERS.items() if spec.prompts == prompts)} with {', '.join(prompts)}"
    for prompts in dict.fromkeys(spec.prompts for spec in RUNNERS.values())
)
_COUNT = Whole(1, 1_000_000)
_FOLDER = FilePath(absolute=True)
_DAY_S, _WEEK_S = 86_400, 604_800
_PAIRED = Compared.MUST_AGREE
_APART = Compared.TELLS_APART


@dataclass(frozen=True)
class RunConfig:
    """All settings of a run. Sizes in pixels, times in seconds, temperatures in C, memory in MiB."""

    split_dir: Path = setting(_FOLDER, DATA, "folder of a data set: SA-V, DAVIS, MOSE, YouTube-VOS or LVOS", common=True)
    split_name: str | None = setting(
        Text(), DATA, "name of the list of videos, for example sav_val or 2017/val", default=None, default_text="the only list"
    )
    layout: str = setting(
        Choice(LAYOUTS),
        DATA,
        f"how the data set lies on the disk: {', '.join(LAYOUTS)}; see docs/data.md",
        default="auto",
        default_text="auto: the first that the folder has",
    )
    prompts: Path | None = setting(
        FilePath(absolute=True, name="FILE"),
        DATA,
        "clips without ground truth: JSON file of points, boxes and masks by video, see docs/data.md",
        default=None,
        decides=True,
    )
    click: tuple[int, int] | None = setting(
        Pixel(),
        DATA,
        "clips without ground truth: a click on the first frame of videos without other prompts",
        default=None,
        decides=True,
    )
    protocol: str = setting(
        Choice((AUTO, *PROTOCOLS)),
        DATA,
        f"whose rules score the masks: {', '.join((AUTO, *PROTOCOLS))}; see docs/data.md",
        Column(
            "protocol",
            "--protocol: whose rules J and F follow: `sav`, `davis2017`, `lvos` or `mose`, see docs/data.md. Empty: `sav`, in rows of "
            "earlier versions.",
            _PAIRED,
            empty="sav",
        ),
        default=AUTO,
        default_text="auto: the data set's own",
        decides=True,
    )
    limit_videos: int | None = setting(_COUNT, DATA, "run the first N videos", default=None, common=True)
    limit_objects: int | None = setting(_COUNT, DATA, "run the first N objects of each video", default=None)
    max_frames: int | None = setting(
        Whole(2, 1_000_000, hint="a clip needs one frame to prompt and one to track"),
        DATA,
        "cut clips after N frames; J&F then does not compare with published scores",
        Column(
            "max_frames",
            "--max_frames: frames after which the clip was cut. Empty: whole clips, as published scores need.",
            _PAIRED,
            empty="all",
        ),
        default=None,
        decides=True,
    )
    frame_stride: int = setting(
        Whole(1, 10_000),
        DATA,
        "track every Nth frame and repeat its mask in between",
        Column(
            "frame_stride", "--frame_stride: N if every Nth frame is tracked and its mask repeated in between. 1: every frame.", _PAIRED
        ),
        default=1,
        decides=True,
    )
    prefetch: int | None = setting(
        Whole(0, 1_000),
        DATA,
        "decode N frames ahead in a thread; 0: decode between the model's calls",
        Column("prefetch", "Frames decoded ahead of the tracker, --prefetch. 0: decoded between its calls.", _APART, filled="applied"),
        default=None,
        default_text=f"{GPU_PREFETCH} on a GPU, 0 on a CPU",
        decides=True,
    )
    shuffle_videos: bool = setting(Switch(), DATA, "shuffle the videos with --seed", default=False)
    shard: tuple[int, int] | None = setting(
        Part("shards"),
        DATA,
        "run part I of N; parts hold about the same work and are the same on every machine; concatenate their summaries",
        default=None,
    )

    models: tuple[str, ...] = setting(
        ListOf(Text(), may_be_empty=True),
        MODELS,
        f"MODEL_PROMPT, for example sam2_base_points: {_BY_PROMPTS}",
        Column("model", "Model, without its prompt: `sam2_tiny`, `edgetam`, `static`, ...", Compared.ARM, filled="arm"),
        Column("prompt", "`points`, `bbox` or `mask`, taken from the ground truth of the prompted frame.", Compared.ARM, filled="arm"),
        default=(),
        default_text="SAM 2.1 tiny to large and EdgeTAM with points, if their weights are found",
        common=True,
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
        default_text="the model's own, 1024",
        common=True,
    )
    autocast_dtypes: tuple[str, ...] = setting(
        ListOf(Choice(AUTOCAST_DTYPES)),
        MODELS,
        f"torch.amp.autocast around every call: {', '.join(AUTOCAST_DTYPES)}; float32 is none",
        Column(
            "autocast_dtype",
            "dtype of `torch.amp.autocast` around every call of the runner. `float32`: no autocast, and no TF32 on a "
            "GPU. `none`: a model that uses no autocast.",
            Compared.ARM,
            filled="arm",
        ),
        default=("bfloat16",),
        flag="autocast_dtype",
        common=True,
    )
    attention: tuple[str, ...] = setting(
        ListOf(Choice((*CHOICES, *RELATIVE_CHOICES), hint=f"{' and '.join(RELATIVE_CHOICES)} are for SAM v1 only")),
        MODELS,
        f"implementation of attention: {', '.join(CHOICES)}; see FLASH_ATTENTION_FIX.md",
        Column(
            "attention",
            "Attention requested. `auto`: upstream's own choice. `none`: a model without attention.",
            Compared.ARM,
            filled="arm",
        ),
        default=("auto",),
        default_text="auto, upstream's choice",
        common=True,
    )
    num_maskmem: int | None = setting(
        Whole(1, MAX_MASKMEM, hint=f"the models were trained with {MAX_MASKMEM}"),
        MODELS,
        f"memories that memory attention reads, the prompted frame's included, 1 to {MAX_MASKMEM}",
        Column(
            "num_maskmem",
            f"--num_maskmem: memories that memory attention reads. Empty: the model's own, {MAX_MASKMEM}.",
            _PAIRED,
            empty="own",
        ),
        default=None,
        default_text=str(MAX_MASKMEM),
        decides=True,
        families=LEARNED,
    )
    memory: str = setting(
        Choice(MEMORY_MODES),
        MODELS,
        "SAM 2 and EdgeTAM: bounded keeps only what later frames read, upstream prepares and keeps the whole clip",
        Column(
            "memory",
            "--memory. `bounded`: a frame is prepared when it is tracked, and what no later frame reads is freed. `upstream`: as in "
            "the official code, the whole clip is prepared when it is opened (in init_ms, not in latency_ms) and everything is "
            "kept. Masks are the same. Empty: a model without a memory.",
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
        "SAM 2 and EdgeTAM: upstream's postprocessing of masks; on in their predictors, off in their papers' evaluation",
        Column(
            "postprocessing",
            "--postprocessing. `on`, as in upstream's predictors: holes of up to 8 pixels are filled, an unstable single mask is "
            "replaced by the best of three, and a prompted frame's mask is encoded as 0 and 1. `off`, as in upstream's evaluation "
            "script and for published scores. Empty: a model without it.",
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
        "torch.compile: the image encoder, or every part of the model; warm-up continues until nothing is compiled any more",
        Column(
            "compile",
            "--compile: requested for `torch.compile`: `encoder`, `full` or `off`; `none`: a model without torch. Parts that were "
            "not compiled are in compile_fallback.",
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
        Column("compile_mode", "Mode of `torch.compile` applied: upstream's own or --compile_mode.", _APART, filled="applied"),
        default=None,
        default_text="upstream's if it has one, else torch's",
        decides=True,
        families=LEARNED,
    )
    sam1_flow: bool = setting(
        Switch(),
        MODELS,
        "SAM v1: warp the mask along optical flow before it prompts the next frame",
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
        default_text="auto: cuda if it works",
        decides=True,
        families=LEARNED,
        common=True,
    )
    weights_dir: Path | None = setting(
        _FOLDER,
        MODELS,
        "the only folder to search for weights files",
        default=None,
        default_text="checkpoints, EdgeTAM/checkpoints, and the weights shipped with the benchmark",
        common=True,
    )
    random_weights: bool = setting(
        Switch(), MODELS, "untrained weights: valid time and memory, meaningless J&F", default=False, decides=True, families=LEARNED
    )
    sam2_dir: Path | None = setting(_FOLDER, MODELS, "run SAM 2 from this checkout instead of the installed package", default=None)
    edgetam_dir: Path | None = setting(
        _FOLDER, MODELS, "run EdgeTAM from this checkout", default=None, default_text="./EdgeTAM; without one, transformers"
    )

    num_points: int = setting(
        Whole(1, 1_000),
        MEASURING,
        "clicks in a points prompt",
        Column("num_points", "Clicks given with a points prompt.", _PAIRED, empty=NOT_APPLICABLE),
        default=1,
        decides=True,
        prompts=frozenset({"points"}),
    )
    joint_objects: bool = setting(
        Switch(), MEASURING, "track all objects of a video in one session; frames are encoded once", default=False, decides=True
    )
    share_prompts: bool = setting(
        Switch(),
        MEASURING,
        "track each object from points, bbox and mask in one session, if --models names a model with several prompts",
        default=False,
        decides=True,
    )
    stages: bool = setting(
        Switch(), MEASURING, "time the stages of every frame: encoder, memory attention, decoder and others", default=False, decides=True
    )
    warmup_frames: int = setting(
        Whole(0, 10_000),
        MEASURING,
        "untimed frames before each object",
        Column(
            "warmup_frames",
            "Untimed frames run before each object, on the same clip at the same size; the prompted frame included.",
            _APART,
            filled="applied",
        ),
        default=5,
        decides=True,
    )
    min_time_s: float = setting(
        Real(0, _WEEK_S, unit="seconds", name="S"),
        MEASURING,
        "repeat clips until an arm has timed S seconds, shared equally by its objects; 600 with --min_frames 1024 is the length of "
        "MLPerf's single-stream scenario",
        default=0.0,
        flag="min_time",
        decides=True,
    )
    """MLPerf Inference's single-stream scenario sends the next query when the last one is answered, as the benchmark does with frames. Its
    rules (mlcommons/inference_policies, inference_rules.adoc, "Scenarios") ask for 600 seconds. Until v1.1 they also asked for 1024
    queries; later versions replaced that with an early-stopping estimate of the 90th percentile that needs at least 64. MLPerf reports
    the 90th percentile; latency_p90_ms here does not include the estimate's small penalty."""
    min_frames: int = setting(
        Whole(0, 1_000_000_000),
        MEASURING,
        "repeat clips until an arm has timed N frames, shared equally by its objects",
        default=0,
        decides=True,
    )
    order: str = setting(
        Choice(("sequential", "interleaved")),
        MEASURING,
        "order of arms: one after the other, or interleaved (taking turns by video), which cancels linear drift",
        default="sequential",
    )
    sustained_minutes: float | None = setting(
        Real(0.01, _WEEK_S / 60, unit="minutes", name="MINUTES"),
        MEASURING,
        "repeat the objects until FPS and temperature are steady, at most MINUTES for each arm; writes sustained.csv",
        default=None,
        flag="sustained",
    )
    memory_budget: float | Literal["auto"] | None = setting(
        NumberOrWord(Real(1, 2**24, unit="MiB", name="MIB"), "auto"),
        MEASURING,
        "refuse an arm if its forecast, made from its first clip, exceeds MIB; auto: the memory available",
        default=None,
    )
    agreement: str | None = setting(
        Text("ARM"),
        MEASURING,
        "compare the masks of every arm with those of this one, which runs first: MODEL_PROMPT or more of the beginning of its id, "
        "sam2_large_points-float32; no accuracy, see docs/data.md",
        default=None,
        identifies_run=False,
    )
    seed: int = setting(
        SEED, MEASURING, "seed for random weights and --shuffle_videos", Column("seed", "--seed.", _APART), default=0, decides=True
    )
    timeout_s: float = setting(
        Real(0.1, _DAY_S, unit="seconds", name="S"),
        MEASURING,
        "seconds without progress before a worker is stopped",
        default=900.0,
        flag="timeout",
        identifies_run=False,
    )

    realtime_fps: float | None = setting(
        Real(0.01, 10_000, unit="frames per second", name="FPS"),
        STREAMING,
        f"frames arrive at this rate whether or not the model is ready, and the newest finished mask is scored (FPS: {CAMERA_FPS:g})",
        Column("camera_fps", "--realtime: frames of the clip that arrive per second. Empty: not streamed.", _PAIRED | _APART),
        default=None,
        flag="realtime",
        bare=CAMERA_FPS,
        decides=True,
    )
    realtime_from: Path | None = setting(
        FilePath(absolute=True, name="FILE"),
        STREAMING,
        "simulate the stream with the latencies in frames.csv of an earlier run, perhaps on another board; masks are computed here",
        Column(
            "streaming_clock",
            "`live`: in real time. `simulated FILE`: with the latencies in that file, --realtime_from.",
            _APART,
            filled="applied",
        ),
        default=None,
        decides=True,
    )

    stop_when_decided: float | None = setting(
        Real(0.001, 0.5, name="MARGIN"),
        MEASURING,
        "run only as many videos as it takes to decide whether every arm keeps 1 - MARGIN of the first arm's J&F; needs --shuffle_videos",
        default=None,
        identifies_run=False,
    )

    plan: str | None = setting(
        Choice(("estimate", "measure")),
        WHERE,
        "print arms, objects, frames, hours and disk of the run, and stop; measure: first track one object per arm, whose rows are kept",
        default=None,
        bare="estimate",
        identifies_run=False,
    )
    executor: str = setting(
        Choice(("local", "ray")),
        WHERE,
        "local: worker processes on this machine, one at a time; ray: videos as tasks on a Ray cluster, one GPU each",
        default="local",
    )
    ray_address: str | None = setting(
        Text("ADDRESS"),
        WHERE,
        "HOST:PORT or auto",
        default=None,
        default_text="RAY_ADDRESS, the cluster on this machine, or a new one",
        identifies_run=False,
    )
    cpus_per_task: int = setting(Whole(1, 4_096), WHERE, "with ray: CPUs, and torch threads, per task", default=1)

    power: str = setting(
        ChoiceOrFile(POWER_SOURCES, prefix=METER),
        BOARD,
        "auto, jtop (jetson-stats), sysfs (the kernel's power monitors), nvml (desktop GPUs), none, or the growing file of an external "
        "meter with columns time and watts",
        default="auto",
        default_text="auto: the first that answers",
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
    power_scale: tuple[float, float | None] | None = setting(
        Factor(0.2, 5),
        BOARD,
        "multiply the total power by FACTOR, from a calibration against a meter (docs/power.md)",
        default=None,
    )
    strict: bool = setting(Switch(), BOARD, "accept only rows whose validity is ok: wait, try again, refuse in the end", default=False)
    cooldown_c: float = setting(
        Real(-40, 100, unit="degrees Celsius", name="C"),
        BOARD,
        "with --strict and --sustained: wait until the board is this cool",
        default=50.0,
    )

    out_dir: Path | None = setting(
        FilePath(),
        OUTPUT,
        "folder of the run; an earlier run in it is resumed",
        default=None,
        default_text="results/<time>",
        identifies_run=False,
        common=True,
    )
    retry_failed: bool = setting(Switch(), OUTPUT, "rerun objects whose row is not ok", default=False, identifies_run=False)
    accept_changes: bool = setting(
        Switch(),
        OUTPUT,
        "resume a run whose rows were measured on another system (torch, device, power mode, weights); new rows are marked as different",
        default=False,
        identifies_run=False,
    )
    save_overlays: str | None = setting(
        AllOrWorst(10_000),
        OUTPUT,
        "write a video of objects with prediction, ground truth and errors: all, or worst:N for those with the lowest J&F of each arm",
        default=None,
        default_text="none",
        bare=AllOrWorst.ALL,
    )
    save_masks: bool = setting(
        Switch(), OUTPUT, "write predicted masks in the data set's layout, for its official evaluator or server", default=False, common=True
    )

    def __post_init__(self) -> None:
        """
        Raises:
            ConfigError: a setting is out of range, or two settings exclude each other.
        """
        check(self)
        if self.memory == "upstream" and self.realtime_fps is not None:
            raise ConfigError("--memory upstream: loads all frames before tracking, which a camera cannot deliver; use --memory bounded")
        if self.compile != "off" and self.warmup_frames == 0:
            raise ConfigError("--warmup_frames 0: compilation would be timed; --compile needs at least 1")
        if self.compile_mode is not None and self.compile == "off":
            raise ConfigError(f"--compile_mode {self.compile_mode}: nothing is compiled; add --compile encoder or full")
        if self.agreement is not None and (self.order == "interleaved" or self.share_prompts or self.executor != "local"):
            raise ConfigError(
                "--agreement needs its arm to run before the others; leave out --order interleaved, --share_prompts and --executor ray"
            )
        if self.order == "interleaved" and self.sustained_minutes is not None:
            raise ConfigError("--sustained heats the board with one arm at a time; leave out --order interleaved")
        if self.strict and self.sustained_minutes is not None:
            raise ConfigError("--sustained lets the board throttle and --strict rejects such rows; leave one of them out")
        if self.accept_changes and self.sustained_minutes is not None:
            raise ConfigError("--sustained measures only whole arms; leave out --accept_changes and give another --out_dir")
        if self.share_prompts and self.sustained_minutes is not None:
            raise ConfigError("--sustained runs one arm at a time; leave out --share_prompts")
        if self.plan == "measure" and self.sustained_minutes is not None:
            raise ConfigError("--plan measure: --sustained repeats an arm's objects for minutes; use --plan, or leave out --sustained")
        if self.strict and self.power == "none":
            raise ConfigError("--strict needs readings of the board; leave out --power none")
        if self.power_scale is not None and (self.power == "none" or self.power.startswith(f"{METER}:")):
            raise ConfigError(f"--power_scale calibrates the board's own monitors, which --power {self.power} does not read; leave it out")
        if self.realtime_fps is not None:
            if self.joint_objects or self.share_prompts:
                raise ConfigError("--realtime tracks one object at a time; leave out --joint_objects and --share_prompts")
        elif self.realtime_from is not None:
            raise ConfigError(f"--realtime_from {self.realtime_from}: works only with --realtime; add it")
        self._check_executor()

    def _check_executor(self) -> None:
        if self.executor == "local":
            if self.ray_address is not None or self.cpus_per_task != 1:
                raise ConfigError("--ray_address and --cpus_per_task need --executor ray; add it or leave them out")
            return
        if self.power not in ("auto", "none"):
            raise ConfigError(f"--power {self.power}: reads this machine, but --executor ray measures on others; leave it out")
        if ":" in self.device:
            raise ConfigError(f"--device {self.device}: Ray assigns a GPU to every task; use cuda")
        tied_to_a_board = {
            "strict": self.strict,
            "sustained": self.sustained_minutes is not None,
            "memory_budget": self.memory_budget is not None,
            "power_scale": self.power_scale is not None,
            "accept_changes": self.accept_changes,
            "order interleaved": self.order != "sequential",
        }
        for option in (option for option, given in tied_to_a_board.items() if given):
            raise ConfigError(
                f"--{option}: needs one board whose arms run one after the other, which --executor ray does not give; leave it out"
            )

    def to_json(self) -> dict[str, Any]:
        """All settings, for `from_json`."""
        return to_json(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RunConfig:
        """The inverse of `to_json`."""
        return from_json(cls, data)
