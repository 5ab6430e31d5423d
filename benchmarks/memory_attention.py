"""What memory attention is configured to, costs and is worth: records docs/memory_attention.json and fills in docs/memory_attention.md.

    .venv/bin/python -m benchmarks.memory_attention

Records all of it, with one thread; when `sam2_nano` was trained anew, run it again. `--only` records a part and keeps the rest; `--render`
fills in the page from what is recorded. Published models run with random weights: times do not depend on them.
"""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from omegaconf import OmegaConf

from benchmarks.common import ROOT, table
from runners import RUNNERS, SHIPPED_WEIGHTS
from runners.base import STAGES, BuildOptions, Clip
from runners.sam2 import OWN_CONFIGS
from runners.torch_common import replaced
from savbench.data.demo.split import DEMO_ROLES, DemoClip, make_clip
from savbench.data.prompts import make_prompt
from savbench.finish.metrics import ObjectScorer, frames_to_score
from savbench.results.environment import cpu_name

RECORD, PAGE = ROOT / "docs" / "memory_attention.json", ROOT / "docs" / "memory_attention.md"
COMMAND = ".venv/bin/python -m benchmarks.memory_attention"
PARTS = ("configurations", "costs", "worth")
SEED, VIDEOS, FRAMES, SIZE_HW, STRIDE = 101, 3, 48, (240, 428), 4
"""Of the clips that ablations are scored on, which sam2_nano was not trained on; every `STRIDE`-th frame is annotated."""
COST_FRAMES = {"sam2_nano": 20, "sam2_tiny": 9, "edgetam": 9}
"""Frames of a clip; the last two are measured, when all seven memories are there."""
MEASURED = 2
LARGE_STAGES = ("image_encoder", "memory_attention", "mask_decoder", "memory_encoder")
"""Rows of their own in the table of costs."""


# --- configurations -------------------------------------------------------------------------------------------------------------


def configurations() -> dict[str, dict[str, Any]]:
    """What the installed configurations set, by model."""
    from sam2.modeling.sam2_base import SAM2Base

    defaults = {name: parameter.default for name, parameter in inspect.signature(SAM2Base.__init__).parameters.items()}
    spec = importlib.util.find_spec("sam2")
    assert spec is not None  # it was imported
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    found = {}
    for model in ("sam2_tiny", "sam2_small", "sam2_base", "sam2_large", "sam2_nano"):
        name = RUNNERS[model].config or ""
        path = OWN_CONFIGS / name if model == "sam2_nano" else folder / name
        found[model] = _of_sam2({**defaults, **cast("Any", OmegaConf.load(path)).model})
    return {**found, "edgetam": _of_edgetam()}


def _of_sam2(model: Mapping[str, Any]) -> dict[str, Any]:
    attention = model["memory_attention"]
    layer, neck = attention["layer"], model["image_encoder"]["neck"]
    channels, grid = model["memory_encoder"]["out_dim"], model["image_size"] // 16
    cross, own = layer["cross_attention"], layer["self_attention"]
    per_pointer = attention["d_model"] // channels
    return {
        "image_size": model["image_size"],
        "trunk": f"Hiera from {neck['backbone_channel_list'][-1]} channels",
        "layers": attention["num_layers"],
        "width": attention["d_model"],
        "heads": f"{own['num_heads']}, {cross['num_heads']}",
        "mlp": layer["dim_feedforward"],
        "queries": grid * grid,
        "memories": model["num_maskmem"],
        "memory_channels": channels,
        "tokens_per_memory": grid * grid,
        "pointers": model["max_obj_ptrs_in_encoder"] if model["use_obj_ptrs_in_encoder"] else 0,
        "tokens_per_pointer": per_pointer,
        "keys": model["num_maskmem"] * grid * grid + model["max_obj_ptrs_in_encoder"] * per_pointer,
        "position_at_input": attention["pos_enc_at_input"],
        "position_in_self_attention": layer["pos_enc_at_attn"],
        "position_of_queries": layer["pos_enc_at_cross_attn_queries"],
        "position_of_keys": layer["pos_enc_at_cross_attn_keys"],
        "rotary_grid": f"{own['feat_sizes'][0]} x {own['feat_sizes'][1]}",
        "rotary_keys": "repeated for each memory" if cross["rope_k_repeat"] else "once",
        "pointer_times": "sine of the distance, signed, projected" if model["use_signed_tpos_enc_to_obj_ptrs"] else "sine of the distance",
    }


def _of_edgetam() -> dict[str, Any]:
    """By transformers' configuration, whose defaults are the published model's."""
    from transformers import EdgeTamVideoConfig

    config: Any = EdgeTamVideoConfig()
    latents = config.perceiver_resampler_num_latents + config.perceiver_resampler_num_latents_2d
    grid, keys = config.memory_attention_rope_feat_sizes, config.memory_attention_rope_k_sizes
    per_pointer = config.memory_attention_hidden_size // config.memory_encoder_output_channels
    return {
        "image_size": config.image_size,
        "trunk": "RepViT M1",
        "layers": config.memory_attention_num_layers,
        "width": config.memory_attention_hidden_size,
        "heads": f"{config.memory_attention_num_attention_heads}, {config.memory_attention_num_attention_heads}",
        "mlp": config.memory_attention_mlp_hidden_size,
        "queries": grid[0] * grid[1],
        "memories": config.num_maskmem,
        "memory_channels": config.memory_encoder_output_channels,
        "tokens_per_memory": latents,
        "pointers": config.max_object_pointers_in_encoder,
        "tokens_per_pointer": per_pointer,
        "keys": config.num_maskmem * latents + config.max_object_pointers_in_encoder * per_pointer,
        # in its code and not in its configuration: the next four
        "position_at_input": True,
        "position_in_self_attention": False,
        "position_of_queries": False,
        "position_of_keys": True,
        "rotary_grid": f"{grid[0]} x {grid[1]}",
        "rotary_keys": f"{keys[0]} x {keys[1]}, the perceiver's 2D latents alone",
        "pointer_times": "sine of the distance, projected" if config.enable_temporal_pos_encoding_for_object_pointers else "none",
        "perceiver": f"{config.perceiver_resampler_num_layers} layers, {config.perceiver_resampler_num_latents} global and "
        f"{config.perceiver_resampler_num_latents_2d} windowed latents",
    }


MEANINGS = {
    "image_size": "side of the input, pixels",
    "trunk": "image encoder",
    "layers": "layers of memory attention",
    "width": "channels of a layer",
    "heads": "heads of self- and cross-attention",
    "mlp": "hidden channels of the MLP",
    "queries": "queries: cells of the frame's grid",
    "memories": "memories of frames",
    "memory_channels": "channels of a memory",
    "tokens_per_memory": "tokens of a memory",
    "perceiver": "what shortens a memory",
    "pointers": "object pointers, at most",
    "tokens_per_pointer": "tokens of a pointer",
    "keys": "keys of a cross-attention, all memories full",
    "position_at_input": "a tenth of the position added at the input",
    "position_in_self_attention": "position added in self-attention",
    "position_of_queries": "position added to the queries of cross-attention",
    "position_of_keys": "position added to its keys",
    "rotary_grid": "rotary positions, grid",
    "rotary_keys": "rotary positions of the keys",
    "pointer_times": "time of a pointer",
}


def configuration_table(found: Mapping[str, Mapping[str, Any]]) -> str:
    def shown(value: Any) -> str:
        return {True: "yes", False: "no"}[value] if isinstance(value, bool) else f"{value:,}" if isinstance(value, int) else str(value)

    groups: dict[str, list[str]] = {}
    for model, settings in found.items():  # models that differ in nothing but their image encoder share a column
        groups.setdefault(json.dumps({**settings, "trunk": ""}), []).append(model)
    rows = [
        [meaning, *(", ".join(dict.fromkeys(shown(found[model].get(name, "-")) for model in group)) for group in groups.values())]
        for name, meaning in MEANINGS.items()
    ]
    return table(["", *(" ".join(f"`{model}`" for model in group) for group in groups.values())], rows, left=1 + len(groups))


# --- costs ----------------------------------------------------------------------------------------------------------------------


@contextmanager
def cpu_time() -> Iterator[None]:
    """One thread, and every clock counts this process' CPU time, which other programs leave as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with replaced(time, "perf_counter", time.process_time):
            yield
    finally:
        torch.set_num_threads(before)


def costs() -> dict[str, dict[str, float]]:
    """CPU milliseconds of a tracked frame by part, at the model's own size."""
    found = {}
    for model, frames in COST_FRAMES.items():
        spec = RUNNERS[model]
        runner: Any = spec.build(BuildOptions(device="cpu", imgsz=spec.imgsz, config=spec.config, stages=True))
        spent: dict[str, float] = {}
        _watch(runner, spent)
        clip = make_clip(SEED, frames, *SIZE_HW, roles=("stay",), distractors=0)
        prompts = {0: [make_prompt("mask", clip.masks_nthw[0, 0], 1)]}
        reports: list[dict[str, float]] = []

        def after(_: int, __: Any, reports: Any = reports, runner: Any = runner, spent: dict[str, float] = spent) -> None:
            reports.append({**runner.inspect().stages_ms, **spent})
            spent.update(dict.fromkeys(spent, 0.0))

        with cpu_time():
            _play(runner, clip, prompts, after)
        names = dict.fromkeys(name for report in reports[-MEASURED:] for name in report)
        mean = {name: float(np.mean([report.get(name, 0.0) for report in reports[-MEASURED:]])) for name in names}
        found[model] = {"imgsz": float(spec.imgsz or 0), **{name: round(ms, 3) for name, ms in mean.items()}}
        print(f"{model}: {found[model]}", file=sys.stderr)
    return found


def _watch(runner: Any, spent: dict[str, float]) -> None:
    """Add up the milliseconds within modules of memory attention, and of EdgeTAM's perceiver, in `spent`."""
    model = runner._predictor if hasattr(runner, "_predictor") else runner._model

    def watch(module: torch.nn.Module, name: str) -> None:
        begun: list[float] = []
        module.register_forward_pre_hook(lambda *_: begun.append(time.perf_counter()))

        def add(*_: Any) -> None:
            spent[name] = spent.get(name, 0.0) + (time.perf_counter() - begun.pop()) * 1e3

        module.register_forward_hook(add)

    for layer in model.memory_attention.layers:
        watch(layer.self_attn, "self_attention")
        watch(layer.cross_attn_image, "cross_attention")
    if hasattr(model, "spatial_perceiver"):
        watch(model.spatial_perceiver, "perceiver")


def cost_table(found: Mapping[str, Mapping[str, float]]) -> str:
    rows: list[list[str]] = []

    def add(label: str, value: Callable[[Mapping[str, float]], float | None]) -> None:
        cells = [label]
        for of_model in found.values():
            ms, whole = value(of_model), sum(of_model[stage] for stage in of_model if stage in STAGES)
            cells.append("-" if ms is None else f"{ms:,.1f} ({ms / whole:.0%})")
        rows.append(cells)

    add("image encoder", lambda of: of["image_encoder"])
    add("memory attention", lambda of: of["memory_attention"])
    add("- its self-attention", lambda of: of["self_attention"])
    add("- its cross-attention", lambda of: of["cross_attention"])
    add("- the rest: MLPs, norms, gathering memories", lambda of: of["memory_attention"] - of["self_attention"] - of["cross_attention"])
    add("mask decoder", lambda of: of["mask_decoder"])
    add("memory encoder", lambda of: of["memory_encoder"])
    add("- its perceiver", lambda of: of.get("perceiver"))
    others = tuple(stage for stage in STAGES if stage not in LARGE_STAGES)
    add("resizing, copies, holes, bookkeeping", lambda of: sum(of.get(stage, 0.0) for stage in others))
    add("a frame", lambda of: sum(of.get(stage, 0.0) for stage in STAGES))
    return table(["CPU ms", *(f"`{model}` at {of['imgsz']:.0f}" for model, of in found.items())], rows)


# --- what a part is worth -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arm:
    """`sam2_nano` with a part taken away, without training it again."""

    name: str
    num_maskmem: int | None = None
    change: Callable[[Any], None] = lambda predictor: None


def _no_pointers(predictor: Any) -> None:
    predictor.use_obj_ptrs_in_encoder = False
    forward = predictor.memory_attention.forward
    # memories are stored as bfloat16; the pointers, which are float32, are what makes the keys float32
    predictor.memory_attention.forward = lambda **given: forward(**{**given, "memory": given["memory"].float()})


def _first_layer(predictor: Any) -> None:
    predictor.memory_attention.layers = predictor.memory_attention.layers[:1]


def _nothing(*_: Any, q: torch.Tensor | None = None, **__: Any) -> torch.Tensor:
    """Stands for an attention: adds nothing to the tokens that ask."""
    return torch.zeros_like(_[0] if q is None else q)


def _without(kind: str) -> Callable[[Any], None]:
    def change(predictor: Any) -> None:
        for layer in predictor.memory_attention.layers:
            getattr(layer, kind).forward = _nothing

    return change


ARMS = (
    Arm("as it was trained: 7 memories, 16 pointers, 2 layers"),
    Arm("4 memories (`--num_maskmem 4`)", 4),
    Arm("2 memories: the prompted frame and the last", 2),
    Arm("1 memory: the prompted frame", 1),
    Arm("no object pointers", change=_no_pointers),
    Arm("1 memory, no object pointers", 1, _no_pointers),
    Arm("no temporal encodings", change=lambda predictor: predictor.maskmem_tpos_enc.data.zero_()),
    Arm("the first layer of two", change=_first_layer),
    Arm("no self-attention", change=_without("self_attn")),
    Arm("no cross-attention, so that nothing is remembered", change=_without("cross_attn_image")),
    Arm("no memory at all: every frame as it is", change=lambda predictor: setattr(predictor, "num_maskmem", 0)),
)


def worth(videos: int = VIDEOS) -> dict[str, Any]:
    """J&F of every arm over generated clips, each clip's objects in one session from their first masks."""
    spec = RUNNERS["sam2_nano"]
    clips = [make_clip((SEED, number), FRAMES, *SIZE_HW, roles=DEMO_ROLES, distractors=1) for number in range(videos)]
    found, weights = [], ""
    for arm in ARMS:
        options = BuildOptions(
            device="cpu",
            imgsz=spec.imgsz,
            weights=SHIPPED_WEIGHTS / str(spec.checkpoint),
            config=spec.config,
            num_maskmem=arm.num_maskmem,
            stages=True,
        )
        runner: Any = spec.build(options)
        weights = runner.applied.weights
        arm.change(runner._predictor)
        scores: list[float] = []
        ms, frames = 0.0, 0
        with cpu_time():
            for clip in clips:
                of_clip, spent, tracked = _score(runner, clip)
                scores, ms, frames = [*scores, *of_clip], ms + spent, frames + tracked
        found.append({"arm": arm.name, "JandF": round(float(np.mean(scores)), 4), "memory_attention_ms": round(ms / frames, 3)})
        print(found[-1], file=sys.stderr)
    clip_words = f"{videos} generated clips (seed {SEED}, {FRAMES} frames of {SIZE_HW[1]}x{SIZE_HW[0]}), {len(DEMO_ROLES) * videos} objects"
    return {"weights": weights, "clips": clip_words, "arms": found}


def _score(runner: Any, clip: DemoClip) -> tuple[list[float], float, int]:
    """J&F of each object, milliseconds in memory attention, and the number of objects tracked, summed over frames."""
    annotated = list(range(0, FRAMES, STRIDE))
    first = [next(frame for frame in annotated if masks_thw[frame].any()) for masks_thw in clip.masks_nthw]
    order = sorted(range(len(first)), key=lambda number: first[number])  # of prompting, and so of masks
    prompts: dict[int, list[Any]] = {}
    for number in order:
        prompts.setdefault(first[number], []).append(make_prompt("mask", clip.masks_nthw[number, first[number]], number + 1))
    seen: dict[int, Any] = {}
    spent_ms, tracked = 0.0, 0

    def after(position: int, masks_nhw: Any) -> None:
        nonlocal spent_ms, tracked
        seen[position] = masks_nhw
        if position not in prompts:
            spent_ms += runner.inspect().stages_ms["memory_attention"]
            tracked += len(masks_nhw)

    _play(runner, clip, prompts, after)
    scores = []
    for place, number in enumerate(order):
        scorer, absent = ObjectScorer(), np.zeros(SIZE_HW, np.bool_)
        for frame in frames_to_score([frame for frame in annotated if frame >= first[number]]):
            scorer.feed_frame(seen[frame][place] if frame in seen else absent, clip.masks_nthw[number, frame])
        scored = scorer.conclude()
        if scored is not None:
            scores.append(scored.JandF)
    return scores, spent_ms, tracked


def worth_table(found: Mapping[str, Any]) -> str:
    whole = found["arms"][0]
    rows = [
        [arm["arm"], f"{arm['JandF']:.3f}", f"{arm['JandF'] - whole['JandF']:+.3f}", f"{arm['memory_attention_ms']:.1f}"]
        for arm in found["arms"]
    ]
    rows[0][2] = ""
    return table(["`sam2_nano`", "J&F", "change", "memory attention, CPU ms a frame"], rows)


# --- record and page ------------------------------------------------------------------------------------------------------------


def _play(runner: Any, clip: DemoClip, prompts: Mapping[int, Sequence[Any]], after: Callable[[int, Any], None]) -> None:
    frames_thwc = clip.frames_thwc
    count, height, width = frames_thwc.shape[:3]
    try:
        runner.open(Clip("generated", count, height, width), frames_thwc[0])
        for position in range(min(prompts), count):
            frame_hwc = frames_thwc[position]
            given = prompts.get(position)
            masks = runner.prompt(position, frame_hwc, given) if given else runner.track(position, frame_hwc)
            after(position, masks)
    finally:
        runner.close()


def tables(record: Mapping[str, Any]) -> dict[str, str]:
    """Markdown tables of the page by name."""
    worth_note = f"{record['worth']['clips']}; weights {record['worth']['weights'][:12]}, float32, mask prompt."
    return {
        "configurations": configuration_table(record["configurations"]),
        "costs": f"{cost_table(record['costs'])}\n\nOne thread of {record['cpu']}, torch {record['torch']}, float32.",
        "worth": f"{worth_table(record['worth'])}\n\nOn {worth_note}",
    }


def rendered(page: str, record: Mapping[str, Any]) -> str:
    """The page with its tables filled in.

    Raises:
        ValueError: the page has no place for a table.
    """
    for name, text in tables(record).items():
        begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
        if begin not in page or end not in page:
            raise ValueError(f"the page has no {begin.strip()} and {end.strip()}; put them where the table goes")
        page = f"{page[: page.index(begin)]}{begin}\n{text}\n{page[page.index(end) :]}"
    return page


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Records docs/memory_attention.json and fills in docs/memory_attention.md.")
    parser.add_argument("--only", choices=PARTS, action="append", help="record this part and keep the rest; may be given again")
    parser.add_argument("--render", action="store_true", help="record nothing; fill in the page")
    args = parser.parse_args(argv)
    record: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
    measure: dict[str, Callable[[], Any]] = {"configurations": configurations, "costs": costs, "worth": worth}
    for name in () if args.render else args.only or PARTS:
        record[name] = measure[name]()
        if name == "costs":
            record |= {"cpu": cpu_name(), "torch": torch.__version__}
        RECORD.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if all(name in record for name in PARTS):
        PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8"), record), encoding="utf-8")
    print(f"CPU time {time.process_time():.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
