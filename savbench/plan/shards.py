"""Which videos of a split belong to which shard: the same on every machine, and about the same work in each.

A split is divided by whole videos, so that objects which share a session, and masks that are decoded once for all of them, stay together.
The work of a video is counted in frames to track, over all of its objects that are run. It is read from the names of files, and of a video
file from its index: no picture is decoded, and nothing about the machine or the models comes into it.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from savbench.data.frames import ClipError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from savbench.data.dataset import Split, SplitVideo, Target


def take_shard(
    split: Split, targets: Sequence[Target], shard: tuple[int, int], *, max_frames: int | None, frame_stride: int
) -> list[Target]:
    """The targets of one shard, in the order they are given.

    The shards of the same targets have no video in common and hold together all of them. With more shards than videos some are empty.

    Args:
        targets: what the whole run would do; the objects of a video follow each other.
        shard: (number, count), the number from 1 on.
        max_frames, frame_stride: as the clips are run.

    Raises:
        ValueError: there is no such shard.
    """
    number, count = shard
    if not 1 <= number <= count:
        raise ValueError(f"shards are counted from 1 to {count}, there is no {number}")
    work = video_work(split, targets, max_frames=max_frames, frame_stride=frame_stride)
    shard_of = dict(zip(work, assign(list(work.values()), count), strict=True))
    return [target for target in targets if shard_of[target.video] == number]


def video_work(split: Split, targets: Sequence[Target], *, max_frames: int | None, frame_stride: int) -> dict[str, int]:
    """Frames to track of each video, over its objects among the targets, in the order in which the videos first come.

    Of an object they are the frames from its first annotated one on, which is the prompted one wherever the object is on it. An object
    or a video that cannot be run is no work.
    """
    objects: dict[str, list[str]] = {}
    for target in targets:
        objects.setdefault(target.video, []).append(target.object)
    return {name: _work(split, name, objects_of, max_frames, frame_stride) for name, objects_of in objects.items()}


def assign(work: Sequence[int], count: int) -> list[int]:
    """A shard from 1 to `count` for each piece of work: the longest piece first, each to the shard that has the least so far.

    Of pieces of the same length the earlier one goes first, of shards with the same load the lower one takes it. No shard then has more
    than 4/3 - 1/(3 count) times the load that the best division gives to its fullest shard (Graham, Bounds on multiprocessing timing
    anomalies, SIAM J. Appl. Math. 17, 1969).
    """
    shards = [0] * len(work)
    loads = [(0, number) for number in range(1, count + 1)]
    for index in sorted(range(len(work)), key=lambda index: -work[index]):
        load, number = heapq.heappop(loads)
        shards[index] = number
        heapq.heappush(loads, (load + work[index], number))
    return shards


def _work(split: Split, name: str, objects: Sequence[str], max_frames: int | None, frame_stride: int) -> int:
    try:
        video = split.video(name).take(max_frames)
    except ClipError:
        return 0
    return sum(_frames_to_track(video, obj, frame_stride) for obj in objects)


def _frames_to_track(video: SplitVideo, object_name: str, frame_stride: int) -> int:
    try:
        first, _ = video.object(object_name).annotations[0]
    except ClipError:
        return 0
    return len(range(first, len(video.frames), frame_stride))
