"""What a manifest states: facts that follow from the sealed files, which a check computes again, and what only the machine knew."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from savbench.data.clips import Given
from savbench.data.dataset import AUTO, ClipError, open_split
from savbench.data.video_file import VideoFile
from savbench.results.csv_rows import read_rows
from savbench.results.rows import SummaryRow
from savbench.results.run_folder import ENVIRONMENT, RUN, SUMMARY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from savbench.data.video import SplitObject, SplitVideo

_CHUNK = 1 << 20


@dataclass(frozen=True)
class SealedRun:
    """The files of a run, read.

    Attributes:
        about: contents of run.json.
        invocations: entries of environment.json, oldest first.
    """

    rows: Sequence[SummaryRow]
    about: Mapping[str, Any] = field(default_factory=dict)
    invocations: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def read(cls, folder: Path) -> SealedRun:
        """
        Raises:
            ResultsError: summary.csv cannot be read.
            OSError, ValueError: another file cannot be read.
        """
        about = json.loads((folder / RUN).read_text(encoding="utf-8"))
        invocations = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))["invocations"]
        if not isinstance(about, dict) or not isinstance(invocations, list) or not all(isinstance(one, dict) for one in invocations):
            raise ValueError(f"{RUN} or {ENVIRONMENT} is not what a run writes")
        return cls(read_rows(SummaryRow, folder / SUMMARY), about, invocations)

    def settings(self) -> Mapping[str, Any]:
        """Settings of the last invocation, as JSON types; empty if there are none."""
        return run_settings(self.invocations[-1]) if self.invocations else {}

    @property
    def objects(self) -> set[tuple[str, str]]:
        """(video, object) of every row."""
        return {(row.video, row.object) for row in self.rows}


def run_settings(invocation: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings of an entry of environment.json; empty if it has none."""
    arguments = invocation.get("arguments")
    return arguments if isinstance(arguments, dict) else {}


def facts_of(run: SealedRun) -> dict[str, Any]:
    """What a reader asks first, as JSON types."""
    rows = run.rows
    times = sorted(row.started_at for row in rows if row.started_at)

    def told(name: str) -> list[Any]:
        return sorted({value for row in rows if (value := getattr(row, name)) not in (None, "")})

    return {
        "run_id": str(run.about.get("run_id", "")),
        "complete": bool(run.about.get("complete")),
        "split": str(run.about.get("split_name", "")),
        "rows": len(rows),
        "statuses": dict(sorted(Counter(row.status for row in rows).items())),
        "arms": told("arm_id"),
        "objects": len(run.objects),
        "measured": [times[0], times[-1]] if times else [],
        "devices": told("device_name"),
        "power_modes": told("nvpmodel"),
        "protocol_versions": told("protocol_version"),
        "benchmark_versions": told("benchmark_version"),
        "weights": {arm: sorted({row.weights for row in rows if row.arm_id == arm and row.weights}) for arm in told("arm_id")},
        "invocations": len(run.invocations),
    }


def split_record(run: SealedRun, split_dir: Path, prompts: Path | None = None) -> dict[str, Any]:
    """Hashes of the frames and masks of the videos that rows are about, by content: a copy under another name or path has the same.

    Frames are hashed as they are stored, masks as they are decoded, in the order of frames. Only frames within --max_frames count.

    Args:
        prompts: file of --prompts, of a run that had one.

    Returns:
        `videos`: by name the number of frames, their hash, and number of annotations and hash by object; `listed`: number of videos in the
        split's list; `sha256`: of all of it.

    Raises:
        DatasetError: there is no such split.
        ClipError: a file of it cannot be read.
    """
    settings = run.settings()
    click = settings.get("click")
    given = Given(prompts, tuple(click) if click else None)
    split = open_split(split_dir, str(run.about.get("split_name")), str(settings.get("layout") or AUTO), given)
    max_frames = settings.get("max_frames")
    videos: dict[str, Any] = {}
    for name in sorted({video for video, _ in run.objects}):
        objects = {row.object for row in run.rows if row.video == name and row.object}
        try:
            video = split.video(name).take(max_frames if isinstance(max_frames, int) else None)
        except ClipError as error:
            if objects:
                raise
            videos[name] = {"defect": type(error).__name__}
            continue
        found = {obj.object: _annotations(obj) for obj in video.objects if obj.object in objects and obj.has_truth}
        videos[name] = {"frames": len(video.frames), "frames_sha256": _frames(video), "objects": found}
    digest = hashlib.sha256(json.dumps(videos, sort_keys=True).encode()).hexdigest()
    return {"listed": len(split.videos), "videos": videos, "sha256": digest}


def _frames(video: SplitVideo) -> str:
    source = video.frames
    digest = hashlib.sha256()
    for path in (source.path,) if isinstance(source, VideoFile) else source.files or ():
        digest.update(f"{path.stat().st_size} ".encode())
        with path.open("rb") as file:
            while part := file.read(_CHUNK):
                digest.update(part)
    return digest.hexdigest()


def _annotations(obj: SplitObject) -> dict[str, Any]:
    digest = hashlib.sha256()
    for frame, annotation in obj.annotations:
        mask_hw = annotation.read()
        digest.update(f"{frame} {mask_hw.shape[0]} {mask_hw.shape[1]} ".encode())
        digest.update(np.packbits(mask_hw).tobytes())
    return {"annotations": len(obj.annotations), "sha256": digest.hexdigest()}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Videos of two records of a split that are not the same, with what differs."""
    said = []
    for name in sorted(before.keys() | now.keys()):
        one, other = before.get(name), now.get(name)
        if one == other:
            continue
        if not isinstance(one, dict) or not isinstance(other, dict):
            said.append(f"{name}: only in {'the archive' if other is None else 'the split here'}")
        elif one.get("frames_sha256") != other.get("frames_sha256"):
            said.append(f"{name}: other frames ({one.get('frames')} and {other.get('frames')})")
        else:
            ours, theirs = (found if isinstance(found := side.get("objects"), dict) else {} for side in (one, other))
            objects = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
            said.append(f"{name}: other masks of object {', '.join(objects)}")
    return said


def some(names: Iterable[str], most: int = 3) -> str:
    """The first names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
