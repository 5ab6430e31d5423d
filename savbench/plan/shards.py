"""Assign videos of a split to shards: the same assignment on every machine, about the same work in each shard.

Whole videos are assigned, so that objects that share a session, and masks decoded once for all objects, stay together. The work of a video
is the number of frames to track, over all of its objects that run. It is read from file names, and for a video file from its index: no
frame is decoded, and neither the machine nor the models affect it.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from savbench.data.dataset import Target


def take_shard(targets: Sequence[Target], shard: tuple[int, int], *, max_frames: int | None, frame_stride: int) -> list[Target]:
    """The targets of one shard, in the order given.

    The shards of the same targets have no video in common and together hold all of them. With more shards than videos, some are empty.

    Args:
        targets: all targets of the run; objects of one video must be adjacent.
        shard: (number, count), numbered from 1.
        max_frames, frame_stride: settings of the run.

    Raises:
        ValueError: there is no such shard.
    """
    number, count = shard
    if not 1 <= number <= count:
        raise ValueError(f"shards are numbered from 1 to {count}; there is no shard {number}")
    work = video_work(targets, max_frames=max_frames, frame_stride=frame_stride)
    shard_of = dict(zip(work, assign(list(work.values()), count), strict=True))
    return [target for target in targets if shard_of[target.video] == number]


def video_work(targets: Sequence[Target], *, max_frames: int | None, frame_stride: int) -> dict[str, int]:
    """Frames to track in each video, summed over its objects among the targets, in the order in which the videos first appear.

    Counts as `object_work`.
    """
    work: dict[str, int] = {}
    for (video, _), frames in object_work(targets, max_frames=max_frames, frame_stride=frame_stride).items():
        work[video] = work.get(video, 0) + frames
    return work


def object_work(targets: Sequence[Target], *, max_frames: int | None, frame_stride: int) -> dict[tuple[str, str], int]:
    """Frames to track of each object, by video and object, in the order of the targets.

    An object counts its frames from the first annotated one on, which is the prompted frame if the object is visible there. An object or a
    video that cannot be run counts as zero.
    """

    def work(target: Target) -> int:
        end = target.clip_frames if max_frames is None else min(target.clip_frames, max_frames)
        return len(range(target.first_frame, end, frame_stride))

    return {(target.video, target.object): work(target) for target in targets}


def assign(work: Sequence[int], count: int) -> list[int]:
    """A shard number from 1 to `count` for each piece of work: the longest piece first, each to the shard with the least work so far.

    Ties go to the earlier piece and to the lower shard number. The fullest shard then has at most 4/3 - 1/(3 count) times the load of the
    fullest shard under the best division (Graham, Bounds on multiprocessing timing anomalies, SIAM J. Appl. Math. 17, 1969).
    """
    shards = [0] * len(work)
    loads = [(0, number) for number in range(1, count + 1)]
    for index in sorted(range(len(work)), key=lambda index: -work[index]):
        load, number = heapq.heappop(loads)
        shards[index] = number
        heapq.heappush(loads, (load + work[index], number))
    return shards
