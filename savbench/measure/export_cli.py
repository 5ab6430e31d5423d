"""`jetson_benchmark.py export`: makes a model's graphs before a run needs them, or on another machine, and checks them against torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runners import RUNNERS
from runners.base import BuildOptions, RunnerError
from runners.exported import EXPORT_DTYPES, EXPORTABLE
from runners.sizes import check_size
from savbench.arguments.declared import ConfigError
from savbench.arguments.values import Choice, FilePath, Whole, did_you_mean

if TYPE_CHECKING:
    import argparse

    from savbench.arguments.parser import Parser

RUNTIME = "onnx"
"""What the graphs are checked in, on the CPU, which every machine has."""
DESCRIPTION = """\
Export the four stages of a model of SAM 2 or EdgeTAM as ONNX graphs, and run each once in ONNX Runtime on the CPU against torch. A run with
--runtime makes what is missing by itself; this makes it before, and says how far each stage is from torch. Beside the graphs, manifest.json
says what they were made from. See docs/runtimes.md.
"""


def add_flags(flags: Parser) -> None:
    """Declare the flags of the subcommand."""
    flags.description = DESCRIPTION
    flags.add_argument("model", metavar="MODEL", help="model, without a prompt")
    flags.add_argument("--out", type=FilePath(), help="folder to keep graphs in, a run's --exported_dir (default: where a run looks)")
    flags.add_argument("--imgsz", type=Whole(16, 8_192, unit="pixels"), help="side of the input (default: the model's own)")
    flags.add_argument(
        "--autocast_dtype",
        type=Choice(EXPORT_DTYPES[RUNTIME]),
        default=EXPORT_DTYPES[RUNTIME][0],
        help="dtype of the graphs (default %(default)s)",
    )
    flags.add_argument("--weights_dir", type=FilePath(), help="folder with its weights (default: where a run looks)")
    flags.add_argument("--edgetam_dir", type=FilePath(), help="checkout of the official EdgeTAM (default: where a run looks)")
    flags.add_argument("--random_weights", action="store_true", help="untrained weights")


def main(args: argparse.Namespace) -> int:
    """Export a model. Returns the exit status.

    Raises:
        ConfigError: the model cannot be exported, its weights are missing, or a package is.
    """
    from savbench.plan.upstream import edgetam_checkout, weights_folders
    from savbench.plan.weights import find_weights

    exportable = [name for name, spec in RUNNERS.items() if spec.family in EXPORTABLE]
    if args.model not in exportable:
        raise ConfigError(f"{args.model}: no model with exported stages{did_you_mean(args.model, exportable)}; use {', '.join(exportable)}")
    spec = RUNNERS[args.model]
    assert spec.checkpoint is not None  # exported families are learned
    assert spec.imgsz is not None
    weights = None if args.random_weights else find_weights(spec.checkpoint, args.model, weights_folders(args.weights_dir))
    imgsz = args.imgsz or spec.imgsz
    try:
        check_size(spec.family, imgsz)
        runner = spec.build(
            BuildOptions(
                imgsz=imgsz,
                config=spec.config,
                weights=weights,
                source_dir=edgetam_checkout(args.edgetam_dir) if spec.family == "edgetam" else None,
                runtime=RUNTIME,
                autocast_dtype=args.autocast_dtype,
                exported_dir=None if args.out is None else args.out.absolute(),
            )
        )
    except RunnerError as error:
        raise ConfigError(str(error)) from error
    report = runner.applied.runtime
    assert report is not None  # of every runtime but torch
    print(f"{report.folder}: {report.size_mib:.1f} MiB, exported in {report.export_s:.0f} s, {report.version}")
    for placed, differs in zip(report.placement.split(" | "), report.difference.split(" | "), strict=True):
        print(f"{placed} nodes, within {differs.split()[1]} of torch")
    print(f"run them with: --runtime {RUNTIME} --autocast_dtype {args.autocast_dtype} --exported_dir {report.folder.parent}")
    return 0
