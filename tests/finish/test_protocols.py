"""What every protocol scores: its own tool's recorded answers, and what differs between them.

The answers are of the tools named in tests/finish/test_protocols_official.py, which runs them where they are at hand.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from picture_split import save_picture
from protocol_clips import SIZE, Mask, predictions, truth
from tiny_split import rectangle

from savbench.data.annotation import LabelInPicture
from savbench.data.frames import JpegFrames
from savbench.data.masks import CompressedMask, in_one_picture
from savbench.data.video import SplitObject, SplitVideo
from savbench.finish.metrics import ObjectScorer, frames_to_score
from savbench.finish.scoring import TruthMasks, score_object
from savbench.plan.protocols import PROTOCOLS, SAV, protocol_named

DAVIS = {
    (0, 1): (0.5039919011573062, 0.4827586206896552),
    (0, 2): (0.5882105590741017, 0.6339073699404023),
    (0, 3): (0.7269619380743352, 0.7297799285874799),
    (0, 4): (0.7086361204587835, 0.6310744838213903),
    (1, 1): (0.44659536164354546, 0.478843736908253),
    (1, 2): (0.24681854958422775, 0.29508017492711375),
    (1, 3): (0.8407171679332324, 0.8306530525516658),
    (1, 4): (0.6386678469646945, 0.6374870645995399),
}
"""J and F by video and label."""
MOSE = {
    (0, 1): (0.504924131264826, 0.38422024889810735),
    (0, 2): (0.5886575947789666, 0.4601628827888971),
    (0, 3): (0.7272669837655169, 0.4556492719970874),
    (0, 4): (0.7088004971034179, 0.4415807955551614),
    (1, 1): (0.44817388695781357, 0.319240542066629),
    (1, 2): (0.24936260931421333, 0.138632079856234),
    (1, 3): (0.8409363798611142, 0.5396255688776677),
    (1, 4): (0.6390732281066496, 0.4241316253427451),
}


def apart(masks_of: list[list[Mask]]) -> list[dict[int, CompressedMask]]:
    return in_one_picture([{frame: CompressedMask.of(mask) for frame, mask in enumerate(masks)} for masks in masks_of])


@pytest.mark.parametrize(("protocol", "answers"), [("davis2017", DAVIS), ("lvos", DAVIS), ("mose", MOSE)])
def test_the_tools_answers_are_ours(protocol: str, answers: dict[tuple[int, int], tuple[float, float]]) -> None:
    for video in (0, 1):
        pictures = truth(video)
        for label, masks in enumerate(apart(predictions(video)), start=1):
            scorer = ObjectScorer(PROTOCOLS[protocol])
            for frame in frames_to_score(range(len(pictures))):
                scorer.feed_frame(masks[frame].unpack(), pictures[frame] == label)
            score = scorer.conclude()
            assert score is not None
            assert answers[video, label] == (score.J, score.F)


def test_in_one_picture_the_lowest_label_keeps_a_pixel() -> None:
    one, two, three = rectangle(0, 0, 10, 10), rectangle(5, 5, 10, 10), rectangle(0, 0, 24, 32)
    masks = apart([[one], [two], [three]])
    np.testing.assert_array_equal(masks[0][0].unpack(), one)
    np.testing.assert_array_equal(masks[1][0].unpack(), two & ~one)
    np.testing.assert_array_equal(masks[2][0].unpack(), ~(one | two))


def test_frames_before_an_object_appears_count_for_all_but_sav() -> None:
    absent, there = np.zeros(SIZE, np.bool_), rectangle(4, 4, 20, 20, SIZE)
    scores = {}
    for name in ("sav", "davis2017"):
        scorer = ObjectScorer(PROTOCOLS[name])
        for mask in (absent, absent, there):
            scorer.feed_frame(absent, mask)
        scores[name] = scorer.conclude()
    assert dataclasses.astuple(scores["sav"])[::3] == (0, 1)  # type: ignore[arg-type]
    assert dataclasses.astuple(scores["davis2017"])[::3] == (2 / 3, 3)  # type: ignore[arg-type]


def test_an_object_that_is_nowhere_is_scored_by_all_but_sav() -> None:
    absent = np.zeros(SIZE, np.bool_)
    scorers = [ObjectScorer(protocol) for protocol in PROTOCOLS.values()]
    for scorer in scorers:
        scorer.feed_frame(absent, absent)
    assert [None if (score := scorer.conclude()) is None else score.JandF for scorer in scorers] == [None, 1, 1, 1]
    assert all(ObjectScorer(protocol).conclude() is None for protocol in PROTOCOLS.values())


def labelled(tmp_path: Path, *, has_truth: bool) -> SplitVideo:
    """Object 1 on three frames: an 8x8 square beside 8x8 pixels of void."""
    picture = np.zeros((24, 32), np.uint8)
    picture[4:12, 2:10], picture[4:12, 10:18] = 1, 255
    for frame in range(3):
        save_picture(tmp_path / f"{frame:05d}.png", picture)
    annotations = tuple((frame, LabelInPicture(tmp_path, f"{frame:05d}.png", 1)) for frame in range(3))
    obj = SplitObject("clip", "1", annotations, "clip", has_truth=has_truth)
    return SplitVideo("clip", JpegFrames((tmp_path / "none.jpg",) * 3), (obj,))


def test_void_counts_as_background(tmp_path: Path) -> None:
    over_void = {1: CompressedMask.of(rectangle(4, 2, 8, 16))}
    video = labelled(tmp_path, has_truth=True)
    score = score_object(video, "1", over_void, (24, 32), TruthMasks(), protocol=PROTOCOLS["davis2017"]).score
    assert score is not None
    assert score.J == 64 / 128


def test_masks_to_prompt_with_are_not_scored(tmp_path: Path) -> None:
    scored = score_object(labelled(tmp_path, has_truth=False), "1", {}, (24, 32), TruthMasks(), protocol=PROTOCOLS["mose"])
    assert (scored.score, scored.frames) == (None, {})


def test_auto_is_the_layouts_own() -> None:
    assert protocol_named("auto", "mose").name == "mose"
    assert protocol_named("sav", "mose") == SAV
