"""Shards: disjoint, complete, balanced, the same everywhere; and a run in shards is the whole run."""

from __future__ import annotations

import io
import itertools
import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_split import TinySplit, rectangle

import jetson_benchmark
from savbench.arguments.declared import ConfigError
from savbench.data.dataset import Split, Target, open_split
from savbench.plan.settings import RunConfig
from savbench.plan.shards import assign, take_shard, video_work
from savbench.results.csv_rows import read_rows
from savbench.results.rows import SummaryRow
from savbench.results.run_folder import SUMMARY
from savbench.supervise import run as runs
from savbench.supervise.progress import Progress

work_lists = st.lists(st.integers(0, 400), max_size=40)
counts = st.integers(1, 12)


def loads(work: list[int], count: int) -> list[int]:
    shards = assign(work, count)
    return [sum(w for w, shard in zip(work, shards, strict=True) if shard == number) for number in range(1, count + 1)]


def test_the_longest_first_each_to_the_least_loaded() -> None:
    # 7 -> 1, 6 -> 2, 5 -> 3; 4 -> 3 (5), 3 -> 2 (6), 2 -> 1 (7); ties: the earlier piece, the lower shard
    assert assign([2, 7, 4, 3, 6, 5], 3) == [1, 1, 3, 2, 2, 3]
    assert assign([5, 5, 5, 5], 3) == [1, 2, 3, 1]
    assert assign([], 3) == []


@given(work_lists, counts)
def test_every_piece_has_one_shard_and_loads_differ_by_no_more_than_a_piece(work: list[int], count: int) -> None:
    shards = assign(work, count)
    assert len(shards) == len(work)
    assert set(shards) <= set(range(1, count + 1))
    of_shards = loads(work, count)
    assert sum(of_shards) == sum(work)
    assert max(of_shards) - min(of_shards) <= max(work, default=0)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=7), st.integers(1, 3))
def test_the_fullest_shard_keeps_grahams_bound_over_the_best_division(work: list[int], count: int) -> None:
    divisions = itertools.product(range(count), repeat=len(work))
    best = min(max(sum(w for w, n in zip(work, numbers, strict=True) if n == number) for number in range(count)) for numbers in divisions)
    assert max(loads(work, count)) <= best * (4 / 3 - 1 / (3 * count)) + 1e-9


@given(work_lists, counts)
def test_a_piece_without_work_moves_no_other(work: list[int], count: int) -> None:
    without = [w for w in work if w]
    shards = assign(work, count)
    assert [shard for w, shard in zip(work, shards, strict=True) if w] == assign(without, count)


def test_work_is_the_frames_to_track_of_all_objects(tiny_split: TinySplit) -> None:
    split = open_split(tiny_split.root)
    targets = split.select()
    # alpha: two objects annotated from frame 0 of 13 on; beta: one on 5 frames
    assert video_work(targets, max_frames=None, frame_stride=1) == {"alpha": 26, "beta": 5}
    assert video_work(targets, max_frames=4, frame_stride=1) == {"alpha": 8, "beta": 4}
    # frames 0, 4, 8, 12 of alpha, 0 and 4 of beta
    assert video_work(targets, max_frames=None, frame_stride=4) == {"alpha": 8, "beta": 2}
    first_alone = split.select(limit_objects=1)
    assert video_work(first_alone, max_frames=None, frame_stride=1) == {"alpha": 13, "beta": 5}


def test_work_begins_with_the_first_annotation_and_what_cannot_run_is_none(tiny_split: TinySplit) -> None:
    tiny_split.mask("alpha", "001", 0).unlink()
    tiny_split.mask("alpha", "001", 4).unlink()
    tiny_split.masks_dir("beta", "000").joinpath("notanumber.png").touch()
    (tiny_split.root / "sav_tiny.txt").write_text("alpha\nbeta\nnowhere\n")
    split = open_split(tiny_split.root)
    targets = split.select()
    assert Target("nowhere", "", next(t.defect for t in targets if t.video == "nowhere")) in targets
    assert video_work(targets, max_frames=None, frame_stride=1) == {"alpha": 13 + 5, "beta": 0, "nowhere": 0}
    # the later object is cut off and is no work
    assert video_work(targets, max_frames=8, frame_stride=1) == {"alpha": 8, "beta": 0, "nowhere": 0}


@pytest.fixture
def many(tmp_path: Path) -> Split:
    split = TinySplit(tmp_path / "many")
    square = rectangle(4, 2, 8, 8)
    for number, frames in enumerate((3, 9, 5, 3, 13, 7)):
        split.write_video(f"v{number}", frames, {f"{index:03d}": [square] * (frames // 4 + 1) for index in range(1 + number % 3)})
    (split.root / "val.txt").write_text("".join(f"v{number}\n" for number in range(6)))
    return open_split(split.root)


@pytest.mark.parametrize("count", [1, 2, 4, 9])
def test_shards_are_disjoint_complete_and_in_order(many: Split, count: int) -> None:
    targets = many.select()
    shards = [take_shard(targets, (number, count), max_frames=None, frame_stride=1) for number in range(1, count + 1)]
    videos = [{target.video for target in shard} for shard in shards]
    assert all(one.isdisjoint(other) for one, other in itertools.combinations(videos, 2))
    assert sorted(target for shard in shards for target in map(str, shard)) == sorted(map(str, targets))
    for shard in shards:
        assert shard == [target for target in targets if target in shard]


def test_a_shard_is_the_same_wherever_the_split_lies_and_changes_with_the_order_of_equals_alone(many: Split, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "moved"
    moved.parent.mkdir()
    many.root.rename(moved)
    elsewhere = open_split(moved)
    shard = take_shard(elsewhere.select(), (1, 2), max_frames=None, frame_stride=1)
    # works: v0 3, v1 18, v2 15, v3 3, v4 26, v5 21 -> 26+15, 21+18, then 3 and 3 to the second: 39, 42 and 41
    assert list(dict.fromkeys(target.video for target in shard)) == ["v2", "v3", "v4"]


def test_there_is_no_shard_0_and_none_beyond_the_last(many: Split) -> None:
    for number in (0, 3):
        with pytest.raises(ValueError, match="numbered from 1 to 2"):
            take_shard(many.select(), (number, 2), max_frames=None, frame_stride=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0/4", "shards are numbered from 1; use 1/4 to 4/4"),
        ("5/4", "shards are numbered from 1; use 1/4 to 4/4"),
        ("1/0", "use 1 to 1000000 shards"),
        ("a/b", "for example 2/4"),
        ("2", "for example 2/4"),
    ],
)
def test_bad_shards_say_what_to_give(tiny_split: TinySplit, capsys: pytest.CaptureFixture[str], text: str, message: str) -> None:
    arguments = ["--split_dir", str(tiny_split.root), "--models", "static_mask", "--shard", text]
    assert jetson_benchmark.main(arguments) == 2
    assert message in capsys.readouterr().err


def config(tiny_split: TinySplit, out_dir: Path, shard: tuple[int, int] | None) -> RunConfig:
    return RunConfig(split_dir=tiny_split.root, models=("static_mask",), out_dir=out_dir, warmup_frames=1, power="none", shard=shard)


def test_the_setting_survives_json_and_is_no_part_of_the_arm(tiny_split: TinySplit, tmp_path: Path) -> None:
    one = config(tiny_split, tmp_path, (1, 2))
    assert RunConfig.from_json(json.loads(json.dumps(one.to_json()))) == one
    with pytest.raises(ConfigError, match="numbered from 1"):
        config(tiny_split, tmp_path, (3, 2))


def test_shards_concatenated_are_the_whole_run(tiny_split: TinySplit, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = io.StringIO()
    shards = {"whole": None, "first": (1, 2), "second": (2, 2), "none": (3, 3)}
    rows: dict[str, list[SummaryRow]] = {}
    for name, shard in shards.items():
        assert runs.run(config(tiny_split, tmp_path / name, shard), [], Progress(said, said)) == 0
        rows[name] = read_rows(SummaryRow, tmp_path / name / SUMMARY)
    assert [len(rows[name]) for name in shards] == [3, 2, 1, 0]

    same = {"arm_id", "video", "object", "model", "status", "J", "F", "frames", "frames_scored", "prompt_frame", "clip_frames", "split"}
    merged = [{name: value for name, value in asdict(row).items() if name in same} for row in rows["first"] + rows["second"]]
    assert merged == [{name: value for name, value in asdict(row).items() if name in same} for row in rows["whole"]]

    (tmp_path / "shards.csv").write_text("".join((tmp_path / name / SUMMARY).read_text() for name in ("first", "second", "none")))
    capsys.readouterr()
    # forced, for what else the machine does meanwhile may make rows invalid
    arguments = ["--force", "--fail_if", "lost>0", str(tmp_path / "whole")]
    assert jetson_benchmark.main(["compare", *arguments, str(tmp_path / "shards.csv")]) == 0
    compared = capsys.readouterr().out
    assert "3 objects" in compared
    # half of it is missing, and is said to be
    assert jetson_benchmark.main(["compare", *arguments, str(tmp_path / "first")]) == 1
