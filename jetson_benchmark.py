#!/usr/bin/env python3
"""Benchmark of promptable video segmentation on Jetson boards and desktop GPUs: latency, memory and J&F of SAM 2 and EdgeTAM on SA-V.

python jetson_benchmark.py --split_dir /data/sav_val --models sam2_base_points,edgetam_points --autocast_dtype bfloat16
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from attention import CHOICES
from savbench.plan.arms import all_tags
from savbench.plan.config import (
    AUTOCAST_DTYPES,
    CAMERA_FPS,
    COMPILE_MODES,
    COMPILE_SCOPES,
    EXECUTORS,
    GPU_PREFETCH,
    MEMORY_MODES,
    ORDERS,
    PRESETS,
    ConfigError,
    RunConfig,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).resolve().parent
EXIT_BAD_ARGUMENTS = 2

EPILOG = """\
subcommands (each has its own --help):
  compare             compare results object by object: files, runs, or the arms within them
  report              turn results into one page to read, or into figures for a paper
  validate            check that the files of a run agree with each other
  attention           what attention costs here, call by call, and whether masks stay the same
  demo-data           write a small SA-V-shaped split to try everything on
  doctor              check what a run needs, and name the command that mends what is not right

exit status: 0 every row is ok, 1 some rows are not, 2 bad arguments, 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in SUBCOMMANDS:
        return SUBCOMMANDS[arguments[0]](arguments[1:])
    return run_command(arguments)


def run_command(argv: list[str]) -> int:
    """The main job."""
    args = run_parser().parse_args(argv)
    # What is imported here costs more time than --help may take.
    from savbench.board.power.base import PowerError
    from savbench.data.dataset import DatasetError
    from savbench.finish.overlay import OverlayError
    from savbench.results.csv_rows import ResultsError
    from savbench.results.run_folder import RunFolderError
    from savbench.supervise.finisher_process import FinisherError
    from savbench.supervise.progress import Progress
    from savbench.supervise.ray_cluster import ExecutorError
    from savbench.supervise.run import run

    try:
        return run(config_of(args), [sys.argv[0], *argv], Progress(), retry_failed=args.retry_failed)
    except (ConfigError, DatasetError, ExecutorError, FinisherError, OverlayError, PowerError, ResultsError, RunFolderError) as error:
        print(f"jetson_benchmark: {error}", file=sys.stderr)
        return EXIT_BAD_ARGUMENTS


def demo_data_command(argv: list[str]) -> int:
    """Write the demo split."""
    parser = argparse.ArgumentParser(
        prog="jetson_benchmark.py demo-data", description="Write a small SA-V-shaped split, the same for a seed."
    )
    parser.add_argument("out", type=Path, help="folder to write; it becomes the --split_dir of a run")
    parser.add_argument("--seed", type=int, default=0, help="decides everything in it (default %(default)s)")
    parser.add_argument("--videos", type=int, default=3, help="number of clips (default %(default)s)")
    parser.add_argument("--frames", type=int, default=48, help="frames of a clip, 24 a second (default %(default)s)")
    parser.add_argument("--height", type=int, default=240, help="pixels (default %(default)s)")
    parser.add_argument("--width", type=int, default=428, help="pixels (default %(default)s)")
    args = parser.parse_args(argv)
    from savbench.data.dataset import DatasetError
    from savbench.data.demo.split import generate_demo_split

    try:
        split_dir = generate_demo_split(
            args.out, seed=args.seed, videos=args.videos, frames=args.frames, height=args.height, width=args.width
        )
    except (DatasetError, ValueError) as error:
        print(f"jetson_benchmark demo-data: {error}", file=sys.stderr)
        return EXIT_BAD_ARGUMENTS
    print(f"demo split in {split_dir}")
    return 0


def doctor_command(argv: list[str]) -> int:
    """Check what a run needs."""
    from savbench.doctor.command import main as doctor

    return doctor(argv, _bases())


def compare_command(argv: list[str]) -> int:
    """Compare results files."""
    from savbench.compare.cli import main as compare

    return compare(argv)


def report_command(argv: list[str]) -> int:
    """Turn results into a page or figures."""
    from savbench.report.cli import main as report

    return report(argv)


def validate_command(argv: list[str]) -> int:
    """Check the files of a run."""
    from savbench.validate.run import main as validate

    return validate(argv)


def attention_command(argv: list[str]) -> int:
    """Measure attention."""
    from savbench.attention_bench.cli import main as attention

    return attention(argv, _bases())


SUBCOMMANDS: dict[str, Callable[[list[str]], int]] = {
    "compare": compare_command,
    "report": report_command,
    "validate": validate_command,
    "attention": attention_command,
    "demo-data": demo_data_command,
    "doctor": doctor_command,
}


def run_parser() -> argparse.ArgumentParser:
    """The flags of the main job."""
    parser = argparse.ArgumentParser(
        prog="jetson_benchmark.py",
        description="Run a SA-V split through promptable video segmentation models and write latency, memory and J&F per object to CSV.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    data = parser.add_argument_group("data")
    data.add_argument("--split_dir", type=Path, required=True, help="folder with JPEGImages_24fps, Annotations_6fps and the list of videos")
    data.add_argument("--split_name", help="stem of the list, for example sav_val (default: the one .txt file in the folder)")
    data.add_argument("--limit_videos", type=int, metavar="N", help="run the first N videos")
    data.add_argument("--limit_objects", type=int, metavar="N", help="run the first N objects of each video")
    data.add_argument("--max_frames", type=int, metavar="N", help="cut clips after N frames; J&F is then not the published one")
    data.add_argument("--frame_stride", type=int, default=1, metavar="N", help="track every Nth frame, hold masks in between (default 1)")
    data.add_argument(
        "--prefetch", type=int, metavar="N",
        help=f"decode N frames ahead in a thread; 0: between the model's calls (default {GPU_PREFETCH} on a GPU, 0 on a CPU)",
    )  # fmt: skip
    data.add_argument("--shuffle_videos", action="store_true", help="take the videos in an order drawn from --seed")
    data.add_argument(
        "--shard", type=_shard, metavar="I/N",
        help="run part I of N of about the same work, the same on every machine; the summaries of all parts, concatenated, are the whole",
    )  # fmt: skip

    models = parser.add_argument_group("models; lists are comma-separated and multiply into arms")
    models.add_argument("--models", type=_names, required=True, metavar="LIST", help=f"MODEL_PROMPT: {', '.join(all_tags())}")
    models.add_argument(
        "--autocast_dtype", type=_names, default=("bfloat16",), metavar="LIST",
        help=f"torch.amp.autocast around every call: {', '.join(AUTOCAST_DTYPES)}; float32 is none (default bfloat16)",
    )  # fmt: skip
    models.add_argument(
        "--imgsz", type=_sizes, default=(), metavar="LIST", help="side of the model's input in pixels (default: its own, 1024)"
    )
    models.add_argument(
        "--attention", type=_names, default=("auto",), metavar="LIST",
        help=f"what computes attention: {', '.join(CHOICES)}; see FLASH_ATTENTION_FIX.md (default auto: upstream's choice)",
    )  # fmt: skip
    models.add_argument("--num_maskmem", type=int, metavar="N", help="memories that the memory attention sees, 1 to 7 (default 7)")
    models.add_argument(
        "--memory", choices=MEMORY_MODES, default="bounded",
        help="SAM 2 and EdgeTAM: bounded keeps what later frames read, upstream prepares and keeps the whole clip (default bounded)",
    )  # fmt: skip
    models.add_argument(
        "--compile", choices=COMPILE_SCOPES, default="off",
        help="torch.compile: the image encoder, or every part of the model; the warm-up goes on until nothing is compiled (default off)",
    )  # fmt: skip
    models.add_argument(
        "--compile_mode", metavar="MODE",
        help=f"of torch.compile: {', '.join(COMPILE_MODES)} (default: upstream's where it has one, else torch's)",
    )  # fmt: skip
    models.add_argument(
        "--sam1_flow", action="store_true", help="SAM v1: move the mask along optical flow before it prompts the next frame"
    )
    models.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default auto: cuda where it works)")
    models.add_argument("--weights_dir", type=Path, help="folder with the weights files (default: checkpoints, EdgeTAM/checkpoints)")
    models.add_argument("--random_weights", action="store_true", help="untrained weights: true time and memory, meaningless J&F")
    models.add_argument("--sam2_dir", type=Path, help="run SAM 2 from this checkout instead of the installed package")
    models.add_argument("--edgetam_dir", type=Path, help="run EdgeTAM from this checkout (default ./EdgeTAM; without one, transformers)")

    measuring = parser.add_argument_group("prompts and measuring")
    measuring.add_argument("--num_points", type=int, default=1, metavar="N", help="clicks of a points prompt (default 1)")
    measuring.add_argument("--joint_objects", action="store_true", help="track all objects of a video in one session, frames encoded once")
    measuring.add_argument(
        "--share_prompts", action="store_true", help="track an object from points, bbox and mask (tags of one model) in one session"
    )
    measuring.add_argument(
        "--stages", action="store_true", help="time the stages of every frame: encoder, memory attention, decoder and so on"
    )
    measuring.add_argument("--warmup_frames", type=int, default=5, metavar="N", help="untimed frames before each object (default 5)")
    measuring.add_argument(
        "--min_seconds", type=float, default=0.0, metavar="S", help="repeat clips until an arm has timed so many seconds"
    )
    measuring.add_argument("--min_frames", type=int, default=0, metavar="N", help="repeat clips until an arm has timed so many frames")
    measuring.add_argument(
        "--preset", choices=tuple(PRESETS),
        help="mlperf: at least 600 s and 1024 frames an arm, as long as MLPerf's single-stream scenario measures",
    )  # fmt: skip
    measuring.add_argument(
        "--order", choices=ORDERS, default="sequential",
        help="of the arms: one after the other, or interleaved, in turn by video, against drift (default sequential)",
    )  # fmt: skip
    measuring.add_argument(
        "--sustained", type=float, metavar="MINUTES",
        help="repeat the objects until FPS and temperature are steady, at most so long for each arm; writes sustained.csv",
    )  # fmt: skip
    measuring.add_argument(
        "--memory_budget", type=_budget, metavar="MIB",
        help="refuse an arm whose forecast, from its first clip, needs more; auto: what the machine has available",
    )  # fmt: skip
    measuring.add_argument("--seed", type=int, default=0, help="for random weights and --shuffle_videos (default 0)")
    measuring.add_argument(
        "--timeout", type=float, default=900.0, metavar="S", help="seconds without progress before a worker is ended (900)"
    )

    streaming = parser.add_argument_group("streaming: every object once more at the camera's pace, beside its offline score")
    streaming.add_argument(
        "--realtime", type=float, nargs="?", const=CAMERA_FPS, metavar="FPS",
        help=f"frames arrive at this rate whether the model is ready or not, and the newest finished mask counts ({CAMERA_FPS:g})",
    )  # fmt: skip
    streaming.add_argument(
        "--realtime_from", type=Path, metavar="FILE",
        help="simulate it with the latencies in frames.csv of an earlier run, perhaps of another board; masks are computed here",
    )  # fmt: skip

    where = parser.add_argument_group("where it runs")
    where.add_argument(
        "--executor", choices=EXECUTORS, default="local",
        help="local: worker processes here, one at a time; ray: videos as tasks on a Ray cluster, a GPU each (default local)",
    )  # fmt: skip
    where.add_argument(
        "--ray_address", metavar="ADDRESS", help="HOST:PORT or auto (default: RAY_ADDRESS, the cluster on this machine, or a new one)"
    )
    where.add_argument("--cpus_per_task", type=int, default=1, metavar="N", help="with ray: CPUs, and so threads, of a task (default 1)")

    board = parser.add_argument_group("power and heat")
    board.add_argument(
        "--power", default="auto", metavar="SOURCE",
        help="auto, jtop (jetson-stats), sysfs (INA3221 monitors), nvml (desktop GPUs) or none (default auto: the first that answers)",
    )  # fmt: skip
    board.add_argument("--power_interval", type=float, default=0.1, metavar="S", help="seconds between readings (default 0.1)")
    board.add_argument("--strict", action="store_true", help="take only rows whose validity is ok: wait, try again, refuse in the end")
    board.add_argument(
        "--cooldown_c", type=float, default=50.0, metavar="C",
        help="with --strict and --sustained: temperature that is waited for (default 50)",
    )  # fmt: skip

    output = parser.add_argument_group("output")
    output.add_argument("--out_dir", type=Path, help="folder of the run; a run that is there goes on (default results/<time>)")
    output.add_argument("--retry_failed", action="store_true", help="run objects again whose row is not ok")
    output.add_argument("--save_overlays", action="store_true", help="write a video of each object with the masks drawn in")
    output.add_argument("--save_masks", action="store_true", help="write predictions in SA-V layout, for the official evaluator")
    return parser


def config_of(args: argparse.Namespace) -> RunConfig:
    """Arguments to settings, with every path made absolute, since workers run in another folder.

    Raises:
        ConfigError: a value cannot be run.
    """
    weights_dirs = [base / name for base in _bases() for name in ("checkpoints", "EdgeTAM/checkpoints")]
    if args.weights_dir is not None:
        weights_dirs = [args.weights_dir]
    edgetam_dir = args.edgetam_dir or next((base / "EdgeTAM" for base in _bases() if (base / "EdgeTAM" / "sam2").is_dir()), None)
    for option, folder in (("sam2_dir", args.sam2_dir), ("edgetam_dir", args.edgetam_dir)):
        if folder is not None and not (folder / "sam2").is_dir():
            raise ConfigError(f"--{option} {folder}: holds no sam2 package; give the top of the checkout")
    config = RunConfig(
        split_dir=_absolute(args.split_dir),
        models=args.models,
        split_name=args.split_name,
        weights_dirs=tuple(map(_absolute, weights_dirs)),
        random_weights=args.random_weights,
        imgsz=args.imgsz,
        autocast_dtypes=args.autocast_dtype,
        attention=args.attention,
        num_maskmem=args.num_maskmem,
        sam1_flow=args.sam1_flow,
        memory=args.memory,
        compile=args.compile,
        compile_mode=args.compile_mode,
        stages=args.stages,
        device=args.device,
        limit_videos=args.limit_videos,
        limit_objects=args.limit_objects,
        max_frames=args.max_frames,
        frame_stride=args.frame_stride,
        prefetch=args.prefetch,
        realtime_fps=CAMERA_FPS if args.realtime is None and args.realtime_from is not None else args.realtime,
        realtime_from=None if args.realtime_from is None else _absolute(args.realtime_from),
        seed=args.seed,
        shuffle_videos=args.shuffle_videos,
        shard=args.shard,
        warmup_frames=args.warmup_frames,
        num_points=args.num_points,
        joint_objects=args.joint_objects,
        share_prompts=args.share_prompts,
        out_dir=args.out_dir,
        save_overlays=args.save_overlays,
        save_masks=args.save_masks,
        timeout_s=args.timeout,
        power=args.power,
        power_interval_s=args.power_interval,
        strict=args.strict,
        cooldown_c=args.cooldown_c,
        min_seconds=args.min_seconds,
        min_frames=args.min_frames,
        order=args.order,
        sustained_minutes=args.sustained,
        memory_budget=args.memory_budget,
        executor=args.executor,
        ray_address=args.ray_address,
        cpus_per_task=args.cpus_per_task,
        edgetam_dir=None if edgetam_dir is None else _absolute(edgetam_dir),
        sam2_dir=None if args.sam2_dir is None else _absolute(args.sam2_dir),
    )
    return config if args.preset is None else config.with_preset(args.preset)


def _bases() -> list[Path]:
    """Where default folders are looked for: the current folder, then the benchmark's own."""
    return list(dict.fromkeys((Path.cwd(), ROOT)))


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in (part.strip() for part in text.split(",")) if name)


def _shard(text: str) -> tuple[int, int]:
    number, slash, count = text.partition("/")
    try:
        if not slash:
            raise ValueError
        return int(number), int(count)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: give the part and the number of parts, for example 2/4") from None


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(name) for name in _names(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: sizes are whole numbers of pixels, for example 512,1024") from None


def _budget(text: str) -> float | Literal["auto"]:
    if text == "auto":
        return "auto"
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: give MiB, for example 6000, or auto") from None


if __name__ == "__main__":
    sys.exit(main())
