"""Three baselines without learning: no mask at all, the first mask copied, and the first mask moved along dense optical flow.

They are the floor that a learned model must beat, and give real scores on any machine. An empty mask scores J = 1 wherever the object is
absent: on clips whose object is rarely visible it may beat a tracker. All accept only the mask prompt, work at video
resolution on the CPU, do not change OpenCV's number of threads, and return the same masks for any number of threads.

How the flow was chosen: J/F on five DAVIS 2016 clips (480x854, every fourth frame annotated, first and last annotated frame skipped, OpenCV
5.0) and milliseconds of one flow on two cores of a desktop CPU. "Soft" moves a float32 mask and thresholds only the output; "hard" also
thresholds the mask that is moved. "Raw" patches are compared unchanged, "centred" ones after subtracting their mean.

    variant                       blackswan  car-shadow dog        libby      motocross  mean J&F  ms
    static                        .528/.309  .403/.223  .327/.172  .306/.351  .144/.081  .284       0
    DIS fast, centred, soft       .615/.603  .608/.559  .538/.437  .125/.147  .371/.212  .422       9
    DIS fast, raw, soft           .615/.602  .615/.563  .583/.465  .118/.157  .372/.199  .429      10
    DIS medium, centred, hard     .714/.653  .630/.580  .569/.487  .135/.171  .448/.296  .468      32
    DIS medium, centred, soft     .732/.708  .634/.584  .567/.488  .135/.167  .448/.291  .475      32
    DIS medium, raw, hard         .728/.676  .637/.549  .644/.534  .159/.229  .442/.349  .495      30
    DIS medium, raw, soft (used)  .736/.720  .641/.579  .646/.530  .159/.233  .446/.341  .503      30
    the same to full resolution   .797/.750  .640/.524  .715/.593  .177/.237  .475/.392  .530     184

The last row, DIS with its finest scale at 0 instead of 1, is not used because of its cost. `libby` moves too fast for all variants.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from runners.base import Applied, BuildOptions, Clip, Frame, FrameReport, Masks, Prompt, RunnerError

_Floats = npt.NDArray[np.float32]
_Bytes = npt.NDArray[np.uint8]
_BoolMask = npt.NDArray[np.bool_]


class _Baseline:
    """Bookkeeping of clips, objects and times around each object's state, which here is its unchanged mask."""

    _name: str

    def __init__(self, options: BuildOptions, implementation: str, notes: tuple[str, ...] = ()) -> None:
        self._tells_stages = options.stages
        self.applied = Applied(implementation=implementation, device="cpu", imgsz=None, weights="none", notes=notes)
        self._clip: Clip | None = None
        self._last_frame: int | None = None
        self._states: dict[int, npt.NDArray[Any]] = {}
        """(height, width) by object id, in the order of prompting."""
        self._report = FrameReport()

    def open(self, clip: Clip, first_frame_hwc: Frame) -> None:
        """Prepare for a clip and drop the previous one.

        Raises:
            RunnerError: the frame does not have the clip's size, or is too small for this baseline.
        """
        self.close()
        self._require_shape("frame 0", first_frame_hwc.shape, (clip.height, clip.width, 3))
        self._clip = clip

    def prompt(self, frame_index: int, frame_hwc: Frame, prompts: Sequence[Prompt]) -> Masks:
        """Set the prompted objects' masks on this frame, after tracking the other objects to it.

        An object that is prompted again gets the new mask and keeps its place.

        Raises:
            RunnerError: no clip is open, there is no object, a prompt is not a mask or does not have the clip's size, or the frame precedes
                one already seen.
        """
        clip = self._require_clip()
        if not prompts and not self._states:
            raise RunnerError(f"{self._name}: no object to track; give at least one prompt")
        masks: dict[int, _BoolMask] = {}
        for prompt in prompts:
            if prompt.mask_hw is None:
                raise RunnerError(f"{self._name} accepts only the mask prompt; use {self._name}_mask")
            self._require_shape(f"the mask of object {prompt.object_id}", prompt.mask_hw.shape, (clip.height, clip.width))
            masks[prompt.object_id] = prompt.mask_hw
        return self._step(frame_index, frame_hwc, masks)

    def track(self, frame_index: int, frame_hwc: Frame) -> Masks:
        """Track every object in this frame.

        Raises:
            RunnerError: no object is prompted yet, or the frame does not follow the last one.
        """
        self._require_clip()
        if self._last_frame is None:
            raise RunnerError(f"{self._name}: prompt an object before tracking")
        if frame_index == self._last_frame:
            raise RunnerError(f"{self._name}: frame {frame_index} was seen already; track later frames only")
        return self._step(frame_index, frame_hwc, {})

    def inspect(self) -> FrameReport:
        """Parts of the last call."""
        return self._report

    def close(self) -> None:
        """Drop the clip and its objects."""
        self._clip = None
        self._last_frame = None
        self._states.clear()
        self._report = FrameReport()

    def _step(self, frame_index: int, frame_hwc: Frame, prompted: dict[int, _BoolMask]) -> Masks:
        begun = time.perf_counter()
        clip = self._require_clip()
        self._require_shape(f"frame {frame_index}", frame_hwc.shape, (clip.height, clip.width, 3))
        if self._last_frame is not None and frame_index < self._last_frame:
            raise RunnerError(f"{self._name}: frame {frame_index} lies before frame {self._last_frame}; give frames in rising order")
        self._take_frame(frame_hwc)
        prepared = time.perf_counter()
        if self._last_frame is not None and frame_index > self._last_frame:
            self._carry()
        self._states.update((object_id, self._state_of(mask_hw)) for object_id, mask_hw in prompted.items())
        self._last_frame = frame_index
        carried = time.perf_counter()
        masks_nhw = np.stack([self._mask_of(state) for state in self._states.values()])
        done = time.perf_counter()
        self._report = FrameReport(
            {
                "preprocess_ms": (prepared - begun) * 1e3,
                "model_ms": (carried - prepared) * 1e3,
                "output_ms": (done - carried) * 1e3,
            },
            # There are no neural network stages: moving the masks, flow included, counts as `other`.
            stages_ms={"resize_copy": (done - carried + prepared - begun) * 1e3, "other": (carried - prepared) * 1e3}
            if self._tells_stages
            else {},
        )
        return masks_nhw

    def _require_clip(self) -> Clip:
        if self._clip is None:
            raise RunnerError(f"{self._name}: no clip is open; call open first")
        return self._clip

    def _require_shape(self, what: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
        if shape != expected:
            raise RunnerError(f"{self._name}: {what} has shape {shape}, the clip needs {expected}")

    def _take_frame(self, frame_hwc: Frame) -> None:
        """Store the pixels of the frame that the objects will be moved to."""

    def _carry(self) -> None:
        """Move all states from the previous frame to the frame taken last."""

    def _state_of(self, mask_hw: _BoolMask) -> npt.NDArray[Any]:
        """The state of an object that has this mask, in a new array."""
        return mask_hw.copy()

    def _mask_of(self, state_hw: npt.NDArray[Any]) -> _BoolMask:
        return state_hw


class EmptyRunner(_Baseline):
    """Returns an empty mask for every object on every frame, the prompted one included.

    `Applied.device` is always `cpu` and `Applied.imgsz` always None, regardless of the request: record them as they are, they are not
    errors.
    """

    _name = "empty"

    def __init__(self, options: BuildOptions) -> None:
        """Uses only `stages` of `options`: there is nothing to compute."""
        super().__init__(options, "an empty mask")

    def _state_of(self, mask_hw: _BoolMask) -> npt.NDArray[Any]:
        return np.zeros_like(mask_hw)


class StaticRunner(_Baseline):
    """Returns every object's prompt mask on every later frame.

    `Applied.device` is always `cpu` and `Applied.imgsz` always None, regardless of the request: record them as they are, they are not
    errors.
    """

    _name = "static"

    def __init__(self, options: BuildOptions) -> None:
        """Uses only `stages` of `options`: there is nothing to compute."""
        super().__init__(options, "copy of the prompted mask")


class FlowRunner(_Baseline):
    """Moves every mask along the dense optical flow between successive frames.

    The flow is OpenCV's DIS (Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016), computed from the new
    frame back to the previous one. Every pixel of the new frame samples the mask bilinearly at its previous position; positions outside
    the frame are background. All objects share one flow.

    `Applied.device` is always `cpu` and `Applied.imgsz` always None, regardless of the request: record them as they are, they are not
    errors.
    """

    _name = "flow"

    def __init__(self, options: BuildOptions) -> None:
        """Uses only `stages` of `options`: the flow is computed on the CPU, at video resolution."""
        super().__init__(
            options, f"OpenCV {cv2.__version__} DIS optical flow", ("DIS preset medium, without mean normalisation of patches",)
        )
        # OpenCV's type stubs require an initial flow; the function does not
        self._dis: Any = None
        self._dis_size: tuple[int, int] | None = None
        self._grey_hw: _Bytes | None = None
        self._grey_before_hw: _Bytes | None = None
        self._flow_hw2: _Floats | None = None

    def open(self, clip: Clip, first_frame_hwc: Frame) -> None:
        # below that, DIS may build pyramid levels smaller than its patches, return NaN and read beyond its buffers
        if min(clip.height, clip.width) < 16:
            raise RunnerError(f"flow: DIS optical flow needs frames of at least 16x16 pixels, {clip.name} has {clip.height}x{clip.width}")
        super().open(clip, first_frame_hwc)
        if self._dis_size != (clip.height, clip.width):
            # new if the size changed, since DIS changes its own settings for small frames; else the old one, which has its buffers
            self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
            self._dis.setUseMeanNormalization(False)
            self._dis_size = clip.height, clip.width

    def inspect(self) -> FrameReport:
        """Parts of the last call, and whether the flow was finite."""
        finite = self._flow_hw2 is None or bool(np.isfinite(self._flow_hw2).all())
        return dataclasses.replace(self._report, finite=finite)

    def close(self) -> None:
        super().close()
        self._grey_hw = self._grey_before_hw = self._flow_hw2 = None

    def _take_frame(self, frame_hwc: Frame) -> None:
        self._grey_before_hw = self._grey_hw
        self._grey_hw = np.asarray(cv2.cvtColor(frame_hwc, cv2.COLOR_RGB2GRAY), np.uint8)

    def _carry(self) -> None:
        flow_hw2: _Floats = self._dis.calc(self._grey_hw, self._grey_before_hw, None)
        height, width = flow_hw2.shape[:2]
        x_hw = flow_hw2[..., 0] + np.arange(width, dtype=np.float32)
        y_hw = flow_hw2[..., 1] + np.arange(height, dtype=np.float32)[:, None]
        self._flow_hw2 = flow_hw2
        for object_id, soft_hw in self._states.items():
            self._states[object_id] = np.asarray(cv2.remap(soft_hw, x_hw, y_hw, cv2.INTER_LINEAR))

    def _state_of(self, mask_hw: _BoolMask) -> npt.NDArray[Any]:
        return mask_hw.astype(np.float32)

    def _mask_of(self, state_hw: npt.NDArray[Any]) -> _BoolMask:
        return np.asarray(state_hw >= 0.5)
