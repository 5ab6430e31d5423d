"""--stop_when_decided: which stages run, and what is said in the end."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_split import TinySplit, rectangle

from savbench.arguments.declared import ConfigError
from savbench.data.dataset import open_split
from savbench.plan.arms import plan_arms
from savbench.plan.settings import RunConfig
from savbench.results.csv_rows import header_line, row_line
from savbench.results.rows import SummaryRow
from savbench.results.run_folder import rows_in
from savbench.supervise.progress import Progress
from savbench.supervise.sequential import run_until_decided

VIDEOS = 30


@pytest.fixture
def split(tmp_path: Path) -> TinySplit:
    made = TinySplit(tmp_path / "many")
    made.root.mkdir()
    for number in range(VIDEOS):
        made.write_video(f"v{number:02d}", 5, {"000": [rectangle(1, 1, 2, 2, (8, 8))] * 2})
    (made.root / "sav_many.txt").write_text("".join(f"v{number:02d}\n" for number in range(VIDEOS)))
    return made


def settings(split: TinySplit, tmp_path: Path, **changed: Any) -> RunConfig:
    given: dict[str, Any] = {
        "split_dir": split.root, "models": ("static_mask", "flow_mask"), "out_dir": tmp_path / "run", "shuffle_videos": True,
        "stop_when_decided": 0.2,
    }  # fmt: skip
    return RunConfig(**(given | changed))


def runs(score: Callable[[str], float], stages: list[int], status: int = 0) -> Callable[[RunConfig, Sequence[str], Progress], int]:
    """A run that writes rows: the first arm scores 0.8, the others `score(video)`."""

    def stage(config: RunConfig, _: Sequence[str], __: Progress) -> int:
        assert config.out_dir is not None
        assert config.limit_videos is not None
        stages.append(config.limit_videos)
        split = open_split(config.split_dir)
        first, *others = plan_arms(config, split.name)
        targets = split.select(limit_videos=config.limit_videos, shuffle=True, seed=config.seed)
        rows = [SummaryRow(video=t.video, object=t.object, arm_id=first.arm_id, JandF=0.8) for t in targets]
        rows += [SummaryRow(video=t.video, object=t.object, arm_id=a.arm_id, JandF=score(t.video)) for a in others for t in targets]
        config.out_dir.mkdir(exist_ok=True)
        (config.out_dir / "summary.csv").write_text(header_line(SummaryRow) + "".join(map(row_line, rows)))
        return status

    return stage


def decided(config: RunConfig, score: Callable[[str], float], **how: Any) -> tuple[int, list[int], str]:
    out, stages = io.StringIO(), list[int]()
    status = run_until_decided(config, [], Progress(io.StringIO(), out), runs(score, stages, **how))
    return status, stages, out.getvalue()


def test_a_clear_loser_stops_the_run(split: TinySplit, tmp_path: Path) -> None:
    status, stages, said = decided(settings(split, tmp_path), lambda _: 0.1)
    assert (status, stages) == (0, [8, 12, 18])
    assert "flow_mask does not keep 80.0% of static_mask's J&F: decided after " in said
    assert "ran 18 of 30 videos: 40% saved; each error at most 2.5% over all looks" in said
    assert len(rows_in(tmp_path / "run")) == 36


def test_what_stays_open_runs_every_video_and_says_so(split: TinySplit, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = {f"v{number:02d}": float(rng.normal(0.64, 0.05)) for number in range(VIDEOS)}
    _, stages, said = decided(settings(split, tmp_path), noise.__getitem__)
    assert stages == [8, 12, 18, 27, 30]
    assert "flow_mask may or may not keep 80.0% of static_mask's J&F: undecided after 30 videos" in said
    assert "0% saved" in said


def test_a_margin_that_the_split_cannot_decide_is_told_at_once(split: TinySplit, tmp_path: Path) -> None:
    _, _, said = decided(settings(split, tmp_path, stop_when_decided=0.01), lambda _: 0.8)
    assert said.startswith(
        "--stop_when_decided 0.01: to decide that an arm keeps 99.0% takes about 727 videos at a J&F of 0.75, there are 30"
    )


def test_an_interrupted_stage_ends_it_without_a_decision(split: TinySplit, tmp_path: Path) -> None:
    status, stages, said = decided(settings(split, tmp_path), lambda _: 0.1, status=130)
    assert (status, stages) == (130, [8])
    assert "keep" not in said.partition("\n")[2]


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"models": ("static_mask",)}, "there is only static_mask; give two or more"), ({"shuffle_videos": False}, "add --shuffle_videos")],
)
def test_what_cannot_be_decided_is_refused(split: TinySplit, tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        decided(settings(split, tmp_path, **changed), lambda _: 0.1)
