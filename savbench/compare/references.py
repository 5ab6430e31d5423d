"""Reference figures beside a run's own: published SA-V scores, and speeds of the same model on the same board.

A run reproduces published scores only with the mask prompt, --postprocessing off, trained weights, the model's own input size and whole
clips of the whole split. On such a run, a difference of more than one point usually means a wrong weights file, prompt or size. Speeds are
orientation: their sources timed with boundaries of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

from savbench.results.reference import Reference, read_references, speeds_of

WARN_ABOVE_POINTS = 1.0

VIDEOS = {"sav_val": 155, "sav_test": 150}
OBJECTS = {"sav_val": 293, "sav_test": 278}
"""Sizes of the splits (Ravi et al., "SAM 2: Segment Anything in Images and Videos", 2024)."""
_SHOWN = {"sav_val": "val", "sav_test": "test"}


@dataclass(frozen=True)
class ReferenceLine:
    """A published score beside a measured one, both in points."""

    reference: Reference
    JandF_percent: float
    objects: int
    """Number of objects the arm has scores for, including those that other arms lack."""
    departures: tuple[str, ...]
    """How the run differs from the published experiment; empty if it does not."""
    covers_split: bool
    """Whether the run scored all objects of the split over whole clips; a partial run is not expected to match."""

    @property
    def difference(self) -> float:
        """Measured minus published, in points."""
        return self.JandF_percent - self.reference.value

    @property
    def is_suspect(self) -> bool:
        """Whether the difference is larger than expected of a reproduction."""
        return self.covers_split and abs(self.difference) > WARN_ABOVE_POINTS

    def __str__(self) -> str:
        published = self.reference
        text = (
            f"published {published.model} SA-V {_SHOWN[published.split]} J&F {published.value:.1f} ({published.source}); "
            f"here {self.JandF_percent:.1f} over {self.objects} object{'' if self.objects == 1 else 's'} ({self.difference:+.1f})"
        )
        if self.departures:
            text += f"; not the same experiment: {', '.join(self.departures)}"
        if self.is_suspect:
            text += f". WARNING: more than {WARN_ABOVE_POINTS:g} point apart; a wrong weights file, prompt or size is the usual cause"
        return text


def reference_line(
    *, model: str, prompt: str, weights: str, split: str, imgsz: str, max_frames: str, frame_stride: str, postprocessing: str,
    JandF_percent: float, videos: int, objects: int,
) -> ReferenceLine | None:  # fmt: skip
    """Return the published score for a run; None if its model and split have none, its prompt is not a mask or its weights are untrained.

    Args:
        weights: `random`, `none`, or the sha256 of the weights file.
        split: name of the split's list, for example `sav_val`.
        imgsz, max_frames, frame_stride, postprocessing: as in the rows; `all` frames, stride 1 and `off` are the published experiment.
        JandF_percent: mean J&F over objects, times 100.
        videos, objects: number of scored videos and objects.
    """
    if split not in VIDEOS or prompt != "mask" or weights in ("random", "none", "?"):
        return None
    lines = (line for line in read_references() if line.figure == "JandF_percent")
    reference = next((line for line in lines if (line.model, line.split) == (model, split)), None)
    if reference is None:
        return None
    departures = []
    if imgsz != reference.imgsz:
        departures.append(f"{imgsz} px, not {reference.imgsz}")
    if frame_stride not in ("1", "?"):
        departures.append(f"frame stride {frame_stride}")
    if postprocessing not in ("off", "?"):
        departures.append("published with --postprocessing off")
    covers_split = True
    for is_partial, said in (
        (max_frames != "all", f"clips cut after {max_frames} frames"),
        (videos < VIDEOS[split], f"{videos} of {VIDEOS[split]} videos"),
        (videos >= VIDEOS[split] and objects < OBJECTS[split], f"{objects} of {OBJECTS[split]} objects"),
    ):
        if is_partial:
            departures.append(said)
            covers_split = False
    return ReferenceLine(reference, JandF_percent, objects, tuple(departures), covers_split)


@dataclass(frozen=True)
class SpeedLine:
    """A reference speed beside a measured one."""

    reference: Reference
    fps: float
    """Of the arm: timed frames over timed seconds."""
    departures: tuple[str, ...]
    """How the run differs from what the reference was measured with, as far as its source says."""

    @property
    def here(self) -> str:
        """The arm's figure in the reference's unit."""
        return f"{1000 / self.fps:.1f} ms per frame" if self.reference.figure == "latency_ms" else f"{self.fps:.2f} FPS"

    @property
    def ratio(self) -> float:
        """Speed of the arm over that of the reference: 2 is twice as fast."""
        return self.fps * self.reference.latency_ms / 1000

    def __str__(self) -> str:
        line = self.reference
        text = f"reference on {line.board}: {line}; {line.measured}; source: {line.source}. Here {self.here} (x{self.ratio:.2f} its speed)"
        return f"{text}; not the same: {', '.join(self.departures)}" if self.departures else text


def speed_lines(
    *, model: str, imgsz: str, autocast_dtype: str, compile: str, runtime: str, nvpmodel: str, device_name: str, fps: float
) -> list[SpeedLine]:
    """Reference speeds of a model at this size and dtype on this board or GPU.

    Args:
        compile, runtime, nvpmodel: as in the rows; where they differ from the reference's, the line says so. All references are of torch.
        device_name: as in the rows; with the board's name on a Jetson.
        fps: of the arm.
    """
    found = []
    for line in speeds_of(device_name):
        if (line.model, line.imgsz, line.autocast_dtype) == (model, imgsz, autocast_dtype):
            pairs = (
                ("power mode", nvpmodel, line.nvpmodel),
                ("--compile", compile.partition(" ")[0], line.compile),
                ("--runtime", runtime, "torch"),
            )
            departures = [f"{name} {here} here, {there} there" for name, here, there in pairs if there and here not in (there, "?", "")]
            found.append(SpeedLine(line, fps, tuple(departures)))
    return found
