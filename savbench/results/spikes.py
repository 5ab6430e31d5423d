"""Names of the causes of latency spikes, as frames.csv has them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from savbench.results.frame_rows import FrameRow

CAUSES = {
    "recompilation": "`torch.compile` compiled a graph in the call",
    "garbage collection": "Python's collector took a tenth of the excess or more",
    "another process": "the calling thread waited for a CPU for a tenth of the excess or more, or others used 5% of the GPU or more",
    "allocation": "torch asked the GPU's driver for memory",
    "page fault": "pages were read from a disk, or a MiB more than usual became memory of the process",
    "first use of a memory size": "the tracker read so many memories for the first time in its process",
    "swap": "the machine swapped around the frame",
    "thermal event": "a throttling or over-current alarm was active or an event counted around the frame",
    "clock drop": "the GPU's clock was under 95% of its median over the object",
}
UNKNOWN = "unknown"


def joined(causes: Iterable[str]) -> str:
    return "; ".join(causes)


def count_causes(frames: Iterable[FrameRow]) -> dict[str, float]:
    """Number of spikes by cause; a spike with several causes counts for each."""
    return dict(Counter(cause for frame in frames if frame.spike_cause for cause in frame.spike_cause.split("; ")))
