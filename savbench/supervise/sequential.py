"""`--stop_when_decided`: run only as many videos as it takes to decide whether the arms keep a share of the first arm's J&F."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from savbench.arguments.declared import ConfigError
from savbench.plan.arms import plan_arms
from savbench.plan.split import split_of
from savbench.results.decision import ALPHA, Decision, decide, fewest_videos, video_differences
from savbench.results.run_folder import choose_out_dir, rows_in
from savbench.results.systems import whole_id
from savbench.supervise.run import EXIT_FAILED_ROWS, EXIT_OK, run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from savbench.plan.arms import Arm
    from savbench.plan.settings import RunConfig
    from savbench.results.rows import SummaryRow
    from savbench.supervise.progress import Progress

FIRST_VIDEOS = 8
GROWTH = 1.5
"""Each stage has so many times the videos of the one before: a model is built anew for every stage, and late ones cost most."""
TYPICAL_JANDF = 0.75


def run_until_decided(
    config: RunConfig, argv: Sequence[str], progress: Progress, run_stage: Callable[[RunConfig, Sequence[str], Progress], int] = run
) -> int:
    """Run stages of more and more videos until every arm is decided against the first, or there are no more. Returns the exit status.

    Each stage goes on in the same folder. Raises as `run`; ConfigError also if there is only one arm, or the videos are not shuffled.
    """
    margin = config.stop_when_decided
    assert margin is not None
    split = split_of(config)
    arms = plan_arms(config, split.name)
    if len(arms) < 2:
        raise ConfigError(f"--stop_when_decided compares arms with the first one, and there is only {arms[0].label}; give two or more")
    if not config.shuffle_videos:
        raise ConfigError("--stop_when_decided needs videos in random order, a list may be sorted; add --shuffle_videos")
    videos = list(dict.fromkeys(target.video for target in split.select(limit_videos=config.limit_videos, shuffle=True, seed=config.seed)))
    if (needed := fewest_videos(margin, TYPICAL_JANDF)) > len(videos):
        progress.say(
            f"--stop_when_decided {margin:g}: to decide that an arm keeps {1 - margin:.1%} takes about {needed} videos at a J&F of "
            f"{TYPICAL_JANDF:g}, there are {len(videos)}; that it does not may be decided sooner. A wider margin needs fewer"
        )
    config = dataclasses.replace(config, out_dir=config.out_dir or choose_out_dir(config)[0])
    count = 0
    while count < len(videos):
        count = min(len(videos), max(FIRST_VIDEOS, int(count * GROWTH)))
        status = run_stage(dataclasses.replace(config, limit_videos=count), argv, progress)
        if status not in (EXIT_OK, EXIT_FAILED_ROWS) or config.plan is not None or config.out_dir is None:
            return status
        decisions = _decisions(arms, rows_in(config.out_dir), videos[:count], margin)
        if all(decision.answer != "undecided" for decision in decisions.values()):
            break
    for label, decision in decisions.items():
        progress.say(f"{label} {_in_words(decision, margin, arms[0].label)}")
    saved = len(videos) - count
    progress.say(f"ran {count} of {len(videos)} videos: {saved / len(videos):.0%} saved; each error at most {ALPHA:.1%} over all looks")
    return status


def _decisions(arms: Sequence[Arm], rows: Sequence[SummaryRow], videos: Sequence[str], margin: float) -> dict[str, Decision]:
    """By label of every arm but the first."""
    of_arm = {arm.arm_id: [row for row in rows if whole_id(row.arm_id) == arm.arm_id] for arm in arms}
    baseline = of_arm[arms[0].arm_id]
    return {arm.label: decide(video_differences(baseline, of_arm[arm.arm_id], videos, margin), margin) for arm in arms[1:]}


def _in_words(decision: Decision, margin: float, baseline: str) -> str:
    share = f"{1 - margin:.1%} of {baseline}'s J&F"
    if decision.answer == "undecided":
        return f"may or may not keep {share}: undecided after {decision.videos} videos"
    return f"{'keeps' if decision.answer == 'yes' else 'does not keep'} {share}: decided after {decision.videos} videos"
