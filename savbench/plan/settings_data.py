"""Settings of what is tracked: the data set and how much of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from savbench.arguments.compound import Part, Pixel
from savbench.arguments.declared import Column, Compared, setting
from savbench.arguments.values import Choice, FilePath, Switch, Text, Whole
from savbench.plan.protocols import AUTO, PROTOCOLS

LAYOUTS = ("auto", "sav", "davis", "ytvos", "sav-json", "clips")
"""The keys of `savbench.data.dataset.LAYOUTS`, which is not imported for --help."""
GPU_PREFETCH = 2
"""Default number of frames decoded ahead on a GPU. On a CPU the decoder would compete with the model, so the default there is 0."""
DATA = "data"

_COUNT = Whole(1, 1_000_000)
_FOLDER = FilePath(absolute=True)
_PAIRED = Compared.MUST_AGREE
_APART = Compared.TELLS_APART


@dataclass(frozen=True)
class DataSettings:
    """Settings of the data set. Sizes in pixels."""

    split_dir: Path = setting(_FOLDER, DATA, "folder of a data set: SA-V, DAVIS, MOSE, YouTube-VOS or LVOS", common=True)
    split_name: str | None = setting(
        Text(), DATA, "name of the list of videos, for example sav_val or 2017/val", default=None, default_text="the only list"
    )
    layout: str = setting(
        Choice(LAYOUTS),
        DATA,
        "how the data set lies on the disk, see docs/data.md",
        default="auto",
        default_text="auto: the first that the folder has",
    )
    prompts: Path | None = setting(
        FilePath(absolute=True, name="FILE"),
        DATA,
        "clips without ground truth: JSON file of points, boxes and masks by video, see docs/data.md",
        default=None,
        decides=True,
    )
    click: tuple[int, int] | None = setting(
        Pixel(),
        DATA,
        "clips without ground truth: a click on the first frame of videos without other prompts",
        default=None,
        decides=True,
    )
    protocol: str = setting(
        Choice((AUTO, *PROTOCOLS)),
        DATA,
        "whose rules score the masks, see docs/data.md",
        Column(
            "protocol",
            "--protocol: whose rules J and F follow: `sav`, `davis2017`, `lvos` or `mose`, see docs/data.md. Empty: `sav`, in rows of "
            "earlier versions.",
            _PAIRED,
            empty="sav",
        ),
        default=AUTO,
        default_text="auto: the data set's own",
        decides=True,
    )
    limit_videos: int | None = setting(_COUNT, DATA, "run the first N videos", default=None, common=True)
    limit_objects: int | None = setting(_COUNT, DATA, "run the first N objects of each video", default=None)
    max_frames: int | None = setting(
        Whole(2, 1_000_000, hint="a clip needs one frame to prompt and one to track"),
        DATA,
        "cut clips after N frames; J&F then does not compare with published scores",
        Column(
            "max_frames",
            "--max_frames: frames after which the clip was cut. Empty: whole clips, as published scores need.",
            _PAIRED,
            empty="all",
        ),
        default=None,
        decides=True,
    )
    frame_stride: int = setting(
        Whole(1, 10_000),
        DATA,
        "track every Nth frame and repeat its mask in between",
        Column(
            "frame_stride", "--frame_stride: N if every Nth frame is tracked and its mask repeated in between. 1: every frame.", _PAIRED
        ),
        default=1,
        decides=True,
    )
    prefetch: int | None = setting(
        Whole(0, 1_000),
        DATA,
        "decode N frames ahead in a thread; 0: decode between the model's calls",
        Column("prefetch", "Frames decoded ahead of the tracker, --prefetch. 0: decoded between its calls.", _APART, filled="applied"),
        default=None,
        default_text=f"{GPU_PREFETCH} on a GPU, 0 on a CPU",
        decides=True,
    )
    shuffle_videos: bool = setting(Switch(), DATA, "shuffle the videos with --seed", default=False)
    shard: tuple[int, int] | None = setting(
        Part("shards"),
        DATA,
        "run part I of N; parts hold about the same work and are the same on every machine; concatenate their summaries",
        default=None,
    )
