"""One small run that is really made, and its archive, for the tests of savbench.seal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Sealed:
    split: Path
    run: Path
    archive: Path


@pytest.fixture(scope="session")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Sealed:
    """Not to be changed. Three videos of two objects each, tracked by `static_mask`, with saved masks."""
    # a plugin is loaded with every test
    from sealed_runs import run_benchmark
    from tiny_split import TinySplit, rectangle

    from jetson_benchmark import main

    folder = tmp_path_factory.mktemp("sealed")
    split = TinySplit(folder / "home" / "jane doe" / "sav_tiny")
    for number, video in enumerate(("alpha", "beta", "gamma")):
        squares = [rectangle(4, 2 + step + number, 8, 8) for step in range(4)]
        split.write_video(video, 13, {"000": squares, "001": [rectangle(14, 20 - step, 6, 5) for step in range(4)]})
    (split.root / "sav_tiny.txt").write_text("alpha\nbeta\ngamma\n")
    run, archive = folder / "run", folder / "run.zip"
    run_benchmark(split.root, run, "--save_masks")
    assert main(["seal", str(run), "-o", str(archive), "--submitter", "Jane Doe, jane@example.org"]) == 0
    return Sealed(split.root, run, archive)
