from __future__ import annotations

from savbench.data.dataset import Target
from savbench.plan.order import turns

TARGETS = [Target("v1", "000"), Target("v1", "001"), Target("v2", "000"), Target("v3", "000"), Target("v4", "000")]


def in_words(arms: list[str], order: str) -> list[str]:
    planned = turns(arms, TARGETS, order)
    return [f"{turn.arm}: " + " ".join(f"{target.video}/{target.object}" for target in turn.targets) for turn in planned]


def test_sequential_is_one_turn_an_arm() -> None:
    everything = "v1/000 v1/001 v2/000 v3/000 v4/000"
    assert in_words(["A", "B"], "sequential") == [f"A: {everything}", f"B: {everything}"]


def test_interleaved_arms_take_turns_by_video_there_and_back() -> None:
    assert in_words(["A", "B"], "interleaved") == [
        "A: v1/000 v1/001",
        "B: v1/000 v1/001 v2/000",
        "A: v2/000 v3/000",
        "B: v3/000 v4/000",
        "A: v4/000",
    ]


def test_three_arms_take_part_alike_and_everything_runs_once() -> None:
    planned = turns(["A", "B", "C"], TARGETS, "interleaved")
    assert [turn.arm for turn in planned] == ["A", "B", "C", "B", "A", "B", "C", "B", "A"]
    for arm in "ABC":
        assert [target for turn in planned if turn.arm == arm for target in turn.targets] == TARGETS


def test_one_arm_has_one_turn() -> None:
    assert len(turns(["A"], TARGETS, "interleaved")) == 1
