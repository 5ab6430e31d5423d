"""Settings of what tracks: models, their sizes, dtypes, attention, memory and weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from attention import CHOICES, RELATIVE_CHOICES
from runners import IMPLEMENTATIONS, RUNNERS
from runners.exported import EXPORTABLE, RUNTIMES, TORCH
from savbench.arguments.declared import Column, Compared, setting
from savbench.arguments.keyframe import EVERY_FRAME, Keyframe
from savbench.arguments.values import Choice, Device, FilePath, ListOf, Switch, Text, Whole

AUTOCAST_DTYPES = ("float32", "float16", "bfloat16")
MAX_MASKMEM = 7
"""Memories that SAM 2, EdgeTAM and EfficientTAM were trained with."""
MEMORY_MODES = ("bounded", "upstream")
"""What a model keeps of a clip, see `runners.base.BuildOptions.memory`."""
SELECTIONS = ("latest", "samurai")
"""Which frames a model reads of its memory, see `runners.base.BuildOptions.memory_selection`."""
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
"""Documented modes of torch.compile."""
NOT_APPLICABLE = "none"
"""Value of autocast_dtype and attention in rows of models that use neither."""

LEARNED = frozenset(spec.family for spec in RUNNERS.values() if spec.is_learned)
WITH_MEMORY = frozenset({"sam2", "edgetam", "efficienttam", "sam3"})
"""Families with a memory of past frames."""

WITH_IMPLEMENTATIONS = frozenset(spec.family for spec in RUNNERS.values() if spec.implementations)
"""Families that --implementation applies to."""

IMPLEMENTATION = Choice(("auto", *IMPLEMENTATIONS))

MODELS = "models; lists are comma-separated and multiply into arms"

_BY_PROMPTS = "; ".join(
    f"{', '.join(model for model, spec in RUNNERS.items() if spec.prompts == prompts)} with {', '.join(prompts)}"
    for prompts in dict.fromkeys(spec.prompts for spec in RUNNERS.values())
)
_FOLDER = FilePath(absolute=True)
_PAIRED = Compared.MUST_AGREE
_APART = Compared.TELLS_APART


@dataclass(frozen=True)
class ModelSettings:
    """Settings of the models. Sizes in pixels."""

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
            "Side in pixels of the model's square input, as the built model reports it; of Cutie the shorter side that frames "
            "are shrunk to. Empty: works at video resolution.",
            Compared.ARM,
            filled="arm",
            empty=NOT_APPLICABLE,
            kind=int,
        ),
        default=(),
        default_text="the model's own, 1024 for most",
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
    keyframes: tuple[str, ...] = setting(
        ListOf(Keyframe()),
        MODELS,
        "the model on every Kth frame, 1 on all; between, flow moves its masks along optical flow (K alone), hold keeps them",
        Column(
            "keyframe",
            "--keyframe. `4:flow`: the model ran on prompted frames and on every 4th frame after one, and optical flow moved its masks on "
            "the frames between; `4:hold`: the last masks were kept there. Latencies, their percentiles and FPS cover both kinds of "
            "frames; key_latency_p50_ms and between_latency_p50_ms tell them apart. Missing: the model on every frame.",
            _PAIRED,
            filled="arm",
            empty=EVERY_FRAME,
        ),
        default=(EVERY_FRAME,),
        flag="keyframe",
    )
    num_maskmem: int | None = setting(
        Whole(1, MAX_MASKMEM, hint=f"the models were trained with {MAX_MASKMEM}"),
        MODELS,
        f"memories that memory attention reads, the prompted frame's included, 1 to {MAX_MASKMEM}",
        Column(
            "num_maskmem",
            f"--num_maskmem: memories that memory attention reads. Empty: the model's own, {MAX_MASKMEM}; of Cutie 5.",
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
        "SAM 2, EdgeTAM and EfficientTAM: bounded keeps only what later frames read, upstream prepares and keeps the whole clip",
        Column(
            "memory",
            "--memory. `bounded`: a frame is prepared when it is tracked, and what no later frame reads is freed. `upstream`: as in "
            "the official code, the whole clip is prepared when it is opened (in init_ms, not in latency_ms) and everything is "
            "kept. Masks are the same. Empty: a model that has no such choice.",
            _APART,
            elsewhere="",
        ),
        default="bounded",
        decides=True,
        families=WITH_MEMORY,
    )
    memory_selection: str = setting(
        Choice(SELECTIONS),
        MODELS,
        "SAM 2's official code: frames that memory attention reads: latest, as upstream, or samurai, the last good ones, with motion in "
        "the choice of masks (docs/models.md)",
        Column(
            "memory_selection",
            "--memory_selection: frames that memory attention reads besides the prompted ones: `latest`, the last ones, or `samurai`, the "
            "last good ones, with motion in the choice of masks. Empty: a model that has no such choice.",
            _APART,
            elsewhere="",
        ),
        default=SELECTIONS[0],
        decides=True,
        families=frozenset({"sam2"}),
    )
    postprocessing: str = setting(
        Choice(("on", "off")),
        MODELS,
        "SAM 2, EdgeTAM and EfficientTAM: upstream's postprocessing of masks; on in their predictors, off in their papers' evaluation",
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
        Choice(COMPILE_MODES, name="MODE"),
        MODELS,
        f"mode of torch.compile: {', '.join(COMPILE_MODES)}",
        Column("compile_mode", "Mode of `torch.compile` applied: upstream's own or --compile_mode.", _APART, filled="applied"),
        default=None,
        default_text="upstream's if it has one, else torch's",
        decides=True,
        families=LEARNED,
    )
    runtime: tuple[str, ...] = setting(
        ListOf(Choice(RUNTIMES)),
        MODELS,
        f"SAM 2, official EdgeTAM: what runs the model's stages: {', '.join(RUNTIMES)}; all but torch run graphs exported from it, see "
        "docs/runtimes.md",
        Column(
            "runtime",
            "--runtime: what ran the model's stages: `torch`, or exported graphs in another runtime. `none`: a model without exported "
            "stages.",
            _APART,
            filled="arm",
            elsewhere=NOT_APPLICABLE,
        ),
        default=(TORCH,),
        families=EXPORTABLE,
    )
    exported_dir: Path | None = setting(
        _FOLDER,
        MODELS,
        "folder of exported graphs, for --runtime",
        default=None,
        default_text="savbench/exported in XDG_CACHE_HOME or ~/.cache",
        identifies_run=False,
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
    implementation: str = setting(
        IMPLEMENTATION,
        MODELS,
        "SAM 2, EdgeTAM, SAM 3: official is their authors' code, transformers the package of that name, the only one that runs SAM 3; the "
        "column implementation says what ran",
        default="auto",
        default_text="auto: official where it is found",
        decides=True,
        families=WITH_IMPLEMENTATIONS,
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
    efficienttam_dir: Path | None = setting(
        _FOLDER,
        MODELS,
        "run EfficientTAM from this checkout",
        default=None,
        default_text="./EfficientTAM; without one, an installed package",
    )
