"""--save_overlays worst:N: which objects keep their video while rows are finished one at a time."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from savbench.finish.saving import overlay_of
from savbench.finish.worst import WorstObjects, worst_rows
from savbench.results.rows import SummaryRow


def row(video: str, JandF: float | None, arm: str = "arm", **changed: Any) -> SummaryRow:
    return SummaryRow(video=video, object="000", arm_id=arm, status="ok", JandF=JandF, **changed)


def write(folder: Path, finished: SummaryRow) -> None:
    path = folder / overlay_of(finished)
    path.parent.mkdir(exist_ok=True)
    path.touch()


def videos(folder: Path) -> set[str]:
    return {path.name.split("__")[0] for path in (folder / "overlays").iterdir()}


def test_the_lowest_of_each_arm_are_chosen_and_only_scored_rows() -> None:
    rows = [row("a", 0.5), row("b", 0.2), row("c", 0.9), row("d", None), row("e", 0.1, "other"), row("f", 0.3, "other")]
    rows.append(SummaryRow(video="g", object="000", arm_id="arm", status="oom"))
    assert [(one.arm_id, one.video) for one in worst_rows(rows, 2)] == [("arm", "b"), ("arm", "a"), ("other", "e"), ("other", "f")]


@pytest.mark.parametrize("seed", range(5))
def test_in_any_order_the_worst_are_left_and_never_more_than_n_lie_on_the_disk(tmp_path: Path, seed: int) -> None:
    rows = [row(f"v{number:02d}", number / 40) for number in range(40)]
    random.Random(seed).shuffle(rows)
    worst, written = WorstObjects(3, tmp_path, []), 0
    for one in rows:
        if worst.takes(one):
            write(tmp_path, one)
            written += 1
            worst.add(one)
        if written:
            assert len(videos(tmp_path)) <= 3
    assert videos(tmp_path) == {"v00", "v01", "v02"}
    assert written < 25


def test_rows_of_an_earlier_invocation_count(tmp_path: Path) -> None:
    earlier = [row("a", 0.1), row("b", 0.2), row("c", 0.9)]
    for one in earlier[:2]:
        write(tmp_path, one)
    worst = WorstObjects(2, tmp_path, earlier)
    assert not worst.takes(row("d", 0.3))
    better = row("e", 0.15)
    assert worst.takes(better)
    write(tmp_path, better)
    worst.add(better)
    assert videos(tmp_path) == {"a", "e"}


def test_an_object_that_runs_again_displaces_no_other(tmp_path: Path) -> None:
    earlier = [row("a", 0.1), row("b", 0.2)]
    for one in earlier:
        write(tmp_path, one)
    worst = WorstObjects(2, tmp_path, earlier)
    assert worst.takes(row("b", 0.2))
    worst.add(row("b", 0.2))
    assert videos(tmp_path) == {"a", "b"}


def test_an_object_without_a_score_has_no_video(tmp_path: Path) -> None:
    assert not WorstObjects(2, tmp_path, []).takes(row("a", None))
