"""What it saves to track several objects, or one object from several prompts, in one session: --joint_objects and --share_prompts.

    python benchmarks/bench_sessions.py [--models sam2_tiny,edgetam] [--device cuda]

A session encodes every frame once, whatever it tracks. The factor is the time of separate sessions over that of the joint one, over the
same frames, prompted ones left out. The ceiling is what sharing the image encoder alone could give: with n tracks and the encoder taking a
share e of a frame of one track, n / (e + n (1 - e)). A factor above it means that something else is shared too, such as a batch.

The sessions take turns; the encoder's share is from a session of one track with stages on, beside them.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks.common import machine, ratio, table, take_turns
from benchmarks.passes import GeneratedClip, build, of_device
from runners import PROMPT_KINDS
from runners.base import STAGES, Prompt
from runners.torch_common import resolve_device

OBJECTS = 3


def encoder_share(model: str, imgsz: int | None, device: torch.device, clip: GeneratedClip) -> float:
    """Share of the image encoder in a frame of one track, 0 to 1."""
    calls = clip.track(build(model, imgsz, device, stages=True), clip.prompts(["points"], 1))
    return statistics.median(call.report.stages_ms[STAGES[0]] / call.wall_ms for call in calls)


def measure(model: str, imgsz: int | None, device: torch.device, clip: GeneratedClip, rounds: int) -> list[list[str]]:
    runner = build(model, imgsz, device)
    share = encoder_share(model, imgsz, device, clip)
    rows = []

    def session_ms(sessions: list[list[Prompt]]) -> float:
        return sum(call.ms for prompts in sessions for call in clip.track(runner, prompts))

    together = {
        f"{OBJECTS} objects": clip.prompts(["points"], OBJECTS),
        f"1 object, {len(PROMPT_KINDS)} prompts": clip.prompts(["points", "bbox", "mask"], 1),
    }
    for what, prompts in together.items():
        calls = {"joint": functools.partial(session_ms, [prompts]), "separate": functools.partial(session_ms, [[one] for one in prompts])}
        calls["joint"]()  # warms up
        samples = take_turns(calls, rounds)
        frames = clip.clip.num_frames - 1
        ms = [f"{statistics.median(samples[name]) / frames:.1f}" for name in ("separate", "joint")]
        ceiling = len(prompts) / (share + len(prompts) * (1 - share))
        rows.append([model, what, *ms, f"{ratio(samples, 'separate', 'joint'):.2f}x", f"{ceiling:.2f}x", f"{share:.0%}"])
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Factors of joint over separate sessions, as a markdown table.")
    parser.add_argument("--models", default="sam2_tiny,edgetam", help="default: %(default)s")
    parser.add_argument("--imgsz", type=int, help="side of the model's input in pixels (default: its own, 1024)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=9, help="frames of the clip (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="sessions of each kind (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="sam2_nano on three frames, to see that it works")
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1 or arguments.frames < 2:
        parser.error("--rounds is 1 or more and --frames 2 or more")
    if arguments.quick:
        arguments.models, arguments.frames, arguments.rounds = "sam2_nano", 3, 1
    device = resolve_device(arguments.device)
    clip = GeneratedClip(arguments.frames, OBJECTS, device)
    with of_device(device) as where:
        rows = [row for model in arguments.models.split(",") for row in measure(model, arguments.imgsz, device, clip, arguments.rounds)]
    settings = f"{arguments.imgsz or 'own'} px, float32, {arguments.frames} frames, {arguments.rounds} rounds"
    print(f"{machine()}, {where}, {settings}\n")
    print(table(["model", "tracked", "separate, ms a frame", "joint", "factor", "ceiling", "encoder's share"], rows, left=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
