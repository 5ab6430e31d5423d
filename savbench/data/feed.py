"""The input of a session: objects, their prompts, and the frames of the clip in step with the prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runners.base import Clip, RunnerError
from savbench.data.annotation import GivenPrompt
from savbench.data.frames import ReadAhead
from savbench.data.ground_truth import check_values, first_prompt
from savbench.data.prompts import make_prompt
from savbench.data.video import NothingToTrackError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from runners.base import Frame, Prompt, PromptKind
    from savbench.data.png import BoolMask
    from savbench.data.video import SplitObject, SplitVideo


@dataclass(frozen=True)
class Track:
    """One object, tracked from one prompt."""

    obj: SplitObject
    prompt: Prompt
    prompt_frame: int
    """Frame of the clip that is prompted: the first on which the object is visible."""


class PromptMaker:
    """Makes tracks of a clip's objects. The masks of an object are read once for all its prompts."""

    def __init__(self, video: SplitVideo, num_points: int, stride: int) -> None:
        """
        Args:
            video: the clip, already cut by `SplitVideo.take`.
            num_points: number of clicks in a points prompt.
            stride: every `stride`-th frame is fed.
        """
        self._video = video
        self._num_points = num_points
        self._stride = stride
        self._first: dict[str, tuple[int, BoolMask]] = {}
        self._checked: set[Path] = set()

    def track(self, obj: SplitObject, kind: PromptKind) -> Track:
        """
        Raises:
            ClipError: the clip or the object's masks cannot be used.
            NothingToTrackError: no frame is fed after the prompted one.
        """
        frame, prompt = self._prompt(obj, kind)
        if frame + self._stride >= len(self._video.frames):
            raise NothingToTrackError(
                f"{obj.where}: first visible on frame {frame} of {len(self._video.frames)}; no frame is left to track"
            )
        return Track(obj, prompt, frame)

    def _prompt(self, obj: SplitObject, kind: PromptKind) -> tuple[int, Prompt]:
        """The frame to prompt, and its prompt. Raises ClipError."""
        frame, given = obj.annotations[0]
        if isinstance(given, GivenPrompt):
            return frame, given.to_prompt(kind, 1, self._video.read_size())
        if obj.object not in self._first:
            size_hw = self._video.read_size()
            check_values(obj, size_hw, self._checked)
            self._first[obj.object] = first_prompt(obj, size_hw)
        frame, mask_hw = self._first[obj.object]
        return frame, make_prompt(kind, mask_hw, object_id=1, num_points=self._num_points)


def sessions_of(tracks: Iterable[Track], stride: int, *, takes_late_objects: bool) -> list[list[Track]]:
    """Group tracks of a clip into sessions, in the order of their prompts.

    Args:
        stride: every `stride`-th frame is fed; tracks whose prompts are not in step cannot share a session.
        takes_late_objects: whether the model accepts an object while it tracks others; if not, all prompts of a session are on one frame.
    """
    sessions: dict[int, list[Track]] = {}
    for track in sorted(tracks, key=lambda track: track.prompt_frame):
        sessions.setdefault(track.prompt_frame % stride if takes_late_objects else track.prompt_frame, []).append(track)
    return list(sessions.values())


class Feed:
    """The frames fed to a runner, by position.

    With a stride, they are in step with the prompted frames, so the prompted frames are always among them.
    """

    def __init__(self, video: SplitVideo, tracks: Sequence[Track], stride: int) -> None:
        """
        Args:
            tracks: of one session, see `sessions_of`; at least one.

        Raises:
            ClipError: the first frame cannot be read.
        """
        self._source = video.frames
        self.size_hw = video.read_size()
        self._reader = self._source.reader(self.size_hw)
        first = min(track.prompt_frame for track in tracks)
        self._frames = range(first % stride, len(video.frames), stride)
        if any((track.prompt_frame - first) % stride for track in tracks):
            raise RunnerError("the prompts of a session are not in step with its stride; report this as a bug")
        self.start = first // stride
        """Position of the first prompted frame."""
        files = self._source.files
        self.clip = Clip(
            video.name, len(self._frames), *self.size_hw, None if files is None else tuple(files[frame] for frame in self._frames)
        )

    @property
    def to_track(self) -> int:
        """Number of frames after the first prompted one."""
        return len(self._frames) - 1 - self.start

    def read(self, position: int) -> Frame:
        """Decode the frame at this position.

        Raises:
            ClipError: the frame is unreadable or has another size.
        """
        return self._reader.read(self._frames[position])

    def read_ahead(self, position: int, ahead: int) -> ReadAhead:
        """The frames from this position to the last, with `ahead` of them decoded ahead. The caller closes it."""
        return ReadAhead(self._source, self._frames[position:], ahead, self.size_hw)

    def frame_at(self, position: int) -> int:
        """Frame of the clip at this position."""
        return self._frames[position]

    def position_at(self, frame: int) -> int:
        """Position of the last fed frame at or before this frame of the clip."""
        return (frame - self._frames.start) // self._frames.step
