"""Keeps the memory of SAM 2-style predictors bounded on clips of any length.

Upstream's loaders decode every frame of a clip before tracking the first, and keep all of them, 12.6 MB each at 1024 pixels. The predictors
only index the frame that they are about to encode, so one slot with the current frame suffices (`FrameSlot`), and the benchmark can time a
frame from its decoded pixels on.

They also keep their outputs of every frame, 0.8 MB per frame and object at 1024 pixels. Later frames read the memory features of a few
frames, the object pointers of some more, and both of the prompted frames. `forget_outputs` drops the rest. Masks are bit-identical to
upstream's.

`whole_clip` is for comparison: it provides the clip as upstream's own loader needs it.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runners.base import RunnerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from runners.base import Clip


class FrameSlot:
    """Replaces the tensor of all frames, (frames, 3, imgsz, imgsz), that a predictor's state holds under `images`.

    Its length is the true number of frames, which predictors read: on clips under 16 frames they use fewer object pointers.
    """

    def __init__(self, num_frames: int) -> None:
        self._num_frames = num_frames
        self._index: int | None = None
        self._image_chw: torch.Tensor | None = None

    def __len__(self) -> int:
        return self._num_frames

    def put(self, index: int, image_chw: torch.Tensor) -> None:
        self._index, self._image_chw = index, image_chw

    def __getitem__(self, index: int) -> torch.Tensor:
        if index != self._index or self._image_chw is None:
            raise RunnerError(f"the predictor asked for frame {index} while frame {self._index} is loaded; feed frames without a gap")
        return self._image_chw


def forget_outputs(tracked: dict[int, dict[str, Any]], frame: int, *, num_maskmem: int, stride: int, num_pointers: int) -> None:
    """Drop those outputs of tracked frames that no frame after `frame` reads, if tracking runs forward.

    Frame t reads the memory features of frame t - 1 and, before it, of `num_maskmem` - 2 frames that are multiples of `stride`, and the
    object pointers of the `num_pointers` - 1 frames before it. No frame reads masks.

    Args:
        tracked: outputs by frame, as a predictor's state holds them under `non_cond_frame_outputs`.
        num_maskmem, stride: the model's `num_maskmem` and `memory_temporal_stride_for_eval`.
        num_pointers: its `max_obj_ptrs_in_encoder`.
    """
    following = frame + 1
    oldest_memory = following - 1
    if num_maskmem > 2:
        oldest_memory = (following - 2) // stride * stride - (num_maskmem - 3) * stride
    oldest_pointer = following - (num_pointers - 1)
    for index, output in list(tracked.items()):
        if index < min(oldest_memory, oldest_pointer):
            del tracked[index]
            continue
        output["pred_masks"] = None
        if index < oldest_memory:
            output["maskmem_features"] = output["maskmem_pos_enc"] = None


@contextlib.contextmanager
def whole_clip(clip: Clip) -> Iterator[str]:
    """A temporary folder in which upstream's loader finds exactly the frames to feed, in order; leaving the block deletes it.

    Raises:
        RunnerError: the frames are not JPEG files.
    """
    if clip.frame_files is None:
        raise RunnerError(
            f"--memory upstream: the frames of {clip.name} are in a video file, which upstream's loader needs another decoder for; put "
            "them into a folder as JPEGs, or use --memory bounded"
        )
    with tempfile.TemporaryDirectory(prefix="frames-") as folder:
        for position, path in enumerate(clip.frame_files):
            (Path(folder) / f"{position:05d}.jpg").symlink_to(path.absolute())
        yield folder
