"""Published SA-V scores, to show beside a run of the same experiment.

A run reproduces them only with the mask prompt, --postprocessing off, trained weights, the model's own input size and whole clips of the
whole split. On such a run, a difference of more than one point usually means a wrong weights file, prompt or size.
"""

from __future__ import annotations

from dataclasses import dataclass

SAM2_README = "README of facebookresearch/sam2, SAM 2.1 table"
EDGETAM_README = "README of facebookresearch/EdgeTAM"
RERUNS = "third-party re-runs, allow 0.5"

WARN_ABOVE_POINTS = 1.0
PUBLISHED_IMGSZ = 1024

VIDEOS = {"val": 155, "test": 150}
OBJECTS = {"val": 293, "test": 278}
"""Sizes of the splits (Ravi et al., "SAM 2: Segment Anything in Images and Videos", 2024)."""


@dataclass(frozen=True)
class Reference:
    """A published J&F, in points (0 to 100) as published."""

    model: str
    split: str
    """`val` or `test`."""
    JandF_percent: float
    source: str


PUBLISHED = tuple(
    Reference(model, split, score, source)
    for model, val, val_source, test, test_source in (
        ("sam2_tiny", 75.1, RERUNS, 76.5, SAM2_README),
        ("sam2_small", 76.9, RERUNS, 76.6, SAM2_README),
        ("sam2_base", 78.0, RERUNS, 78.2, SAM2_README),
        ("sam2_large", 78.6, RERUNS, 79.5, SAM2_README),
        ("edgetam", 72.3, EDGETAM_README, 71.7, EDGETAM_README),
    )
    for split, score, source in (("val", val, val_source), ("test", test, test_source))
)


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
        return self.JandF_percent - self.reference.JandF_percent

    @property
    def is_suspect(self) -> bool:
        """Whether the difference is larger than expected of a reproduction."""
        return self.covers_split and abs(self.difference) > WARN_ABOVE_POINTS

    def __str__(self) -> str:
        published = self.reference
        text = (
            f"published {published.model} SA-V {published.split} J&F {published.JandF_percent:.1f} ({published.source}); "
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
    part = {"sav_val": "val", "sav_test": "test"}.get(split)
    if part is None or prompt != "mask" or weights in ("random", "none", "?"):
        return None
    reference = next((entry for entry in PUBLISHED if (entry.model, entry.split) == (model, part)), None)
    if reference is None:
        return None
    departures = []
    if imgsz != str(PUBLISHED_IMGSZ):
        departures.append(f"{imgsz} px, not {PUBLISHED_IMGSZ}")
    if frame_stride not in ("1", "?"):
        departures.append(f"frame stride {frame_stride}")
    if postprocessing not in ("off", "?"):
        departures.append("published with --postprocessing off")
    covers_split = True
    for is_partial, said in (
        (max_frames != "all", f"clips cut after {max_frames} frames"),
        (videos < VIDEOS[part], f"{videos} of {VIDEOS[part]} videos"),
        (videos >= VIDEOS[part] and objects < OBJECTS[part], f"{objects} of {OBJECTS[part]} objects"),
    ):
        if is_partial:
            departures.append(said)
            covers_split = False
    return ReferenceLine(reference, JandF_percent, objects, tuple(departures), covers_split)
