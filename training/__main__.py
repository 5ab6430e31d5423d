"""Train `sam2_nano`, the small model that the repository ships, and export its checkpoint.

Everything follows from --seed and the recipe. Interrupt it when you like: the same command goes on from the last checkpoint in --out_dir.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.recipe import RECIPE, read_recipe

if TYPE_CHECKING:
    from training.loop import TrainConfig


_DRESSED = 0.6
"""Share of the clip art each of whose colours is dressed in a photograph: clip art has no textures of its own."""


def main(argv: Sequence[str] | None = None) -> int:
    """Train and export.

    Returns:
        0; 2 where what was asked for cannot be done, with a line that says why; 130 after an interrupt.
    """
    arguments = parse(argv)
    try:
        digest, size = _trained_and_exported(arguments)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    print(f"{arguments.export}: {size} bytes, sha256 {digest}")
    return 0


def _trained_and_exported(arguments: argparse.Namespace) -> tuple[str, int]:
    import torch.multiprocessing

    from training.export import export
    from training.loop import held_to_its_settings, latest, pools_drawn, train

    if not arguments.export_only:
        if not hasattr(torch.optim, "Muon"):
            raise ValueError(f"torch {torch.__version__} has no Muon; train with torch 2.9 or newer")
        config = config_of(arguments)
        config.out_dir.mkdir(parents=True, exist_ok=True)
        held_to_its_settings(config)
        pools_drawn(config, workers=arguments.processes)
        (config.out_dir / "rendezvous").unlink(missing_ok=True)
        if config.processes == 1:
            train(0, config)
        else:
            torch.multiprocessing.spawn(train, args=(config,), nprocs=config.processes, daemon=True)
    return export(latest(arguments.out_dir), arguments.export)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out_dir", type=Path, required=True,
        help="pools of clips (about 4 MiB a clip) and checkpoints; training goes on from what is there",
    )  # fmt: skip
    parser.add_argument("--export", type=Path, required=True, help="file to write the averaged weights to, in float16")
    parser.add_argument("--export_only", action="store_true", help="write that file from the last checkpoint, without training")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches (default 0); the scenes of the pool have their own")
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="processes that share each step, each with a batch of the recipe's size (default 1)",
    )  # fmt: skip
    parser.add_argument("--device", default="cpu", help="cpu, or cuda with --processes 1 (default cpu)")
    parser.add_argument("--scenes", type=int, default=1200, metavar="N", help="clips of drawn scenes in the pool (default 1200)")
    parser.add_argument("--photos", type=Path, help="folder of photographs that natural scenes are dressed in (default none)")
    parser.add_argument("--natural", type=int, default=1200, metavar="N", help="clips of natural scenes, with --photos (default 1200)")
    parser.add_argument("--real_split", type=Path, help="split in SA-V layout whose videos are mixed in (default none)")
    parser.add_argument("--real_videos", default="", metavar="LIST", help="names of its videos to use, separated by commas")
    parser.add_argument("--real_clips", type=int, default=320, metavar="N", help="clips to cut from them (default 320)")
    parser.add_argument("--figures", type=Path, help="folder of pictures with an alpha channel, with --photos; needed by the card's recipe")
    parser.add_argument("--clip_art", type=Path, help="folder of more such pictures, with --figures; needed by the card's recipe")
    parser.add_argument("--figure_clips", type=int, default=1000, metavar="N", help="clips of each of the two (default 1000)")
    parser.add_argument(
        "--recipe", type=Path, metavar="FILE",
        help="JSON with rounds and stages, as a run notes its own in settings.json (default: those of the card)",
    )  # fmt: skip
    arguments = parser.parse_args(argv)
    if (arguments.real_split is None) != (not arguments.real_videos):
        parser.error("--real_split and --real_videos go together: name the videos, so that others stay for validation")
    if arguments.figures is not None and arguments.photos is None:
        parser.error("--figures needs --photos: figures move before photographs")
    if arguments.clip_art is not None and arguments.figures is None:
        parser.error("--clip_art needs --figures: a stage's shares name both kinds in this order")
    if arguments.processes < 1:
        parser.error(f"--processes {arguments.processes}: 1 or more")
    if arguments.device != "cpu" and arguments.processes != 1:
        parser.error(f"--device {arguments.device}: one process trains there; give --processes 1")
    return arguments


def config_of(arguments: argparse.Namespace) -> TrainConfig:
    """The run that the arguments ask for.

    Raises:
        ValueError: the recipe cannot be read.
    """
    from training.loop import TrainConfig
    from training.pool import PoolConfig

    pool = PoolConfig("train", arguments.scenes)
    sources: dict[str, Any] = {}
    if arguments.photos is not None:
        sources["photos"] = str(arguments.photos)
        pool = replace(pool, natural=arguments.natural)
    if arguments.real_split is not None:
        sources.update(real_split=str(arguments.real_split), real_videos=tuple(arguments.real_videos.split(",")))
        pool = replace(pool, real_clips=arguments.real_clips)
    figures = tuple(
        PoolConfig("train", 0, figures=arguments.figure_clips, figure_folder=str(folder), dressed=dressed, **sources)
        for folder, dressed in ((arguments.figures, 0.0), (arguments.clip_art, _DRESSED))
        if folder is not None
    )
    return TrainConfig(
        out_dir=arguments.out_dir,
        pool=replace(pool, **sources),
        recipe=RECIPE if arguments.recipe is None else read_recipe(arguments.recipe),
        figures=figures,
        seed=arguments.seed,
        processes=arguments.processes,
        device=arguments.device,
    )


if __name__ == "__main__":
    sys.exit(main())
