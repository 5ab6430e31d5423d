"""Progress of a run: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, TextIO

from tqdm import tqdm

from runners.text import one_line
from savbench.results.grid import width_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from savbench.results.rows import SummaryRow
    from savbench.supervise.estimate import Estimate

WAITING_LINE_S = 30.0
"""Time between two lines about waiting, where there is no bar to update."""


class Progress:
    """Shows arm, video, object and the running means of FPS and J&F. The bar and its lines go to `stream`, the text of `say` to `out`."""

    def __init__(self, stream: TextIO | None = None, out: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._out = sys.stdout if out is None else out
        self._bar: tqdm[Any] | None = None
        self._label = ""
        self._at_once = False
        """Whether several arms run at the same time."""
        self._total = 0
        self._good: list[SummaryRow] = []
        self._count = 0
        self._object = ""
        self._waiting_shown_s = -WAITING_LINE_S
        self._estimate: Estimate | None = None

    def say(self, text: str) -> None:
        """Print a line without disturbing the bar."""
        if self._bar is not None:
            self._bar.write(text, file=self._out)
        else:
            print(text, file=self._out, flush=True)

    @property
    def width(self) -> int | None:
        """Columns of the terminal that `say` writes to; None for a file or a pipe."""
        return width_of(self._out)

    def expect(self, estimate: Estimate) -> None:
        """Show what the run is expected to take, now and after the first clip of an arm that is not known yet."""
        self._estimate = estimate
        self.say(estimate.summary())

    def begin(self, label: str, total: int, done: Sequence[SummaryRow], *, at_once: bool = False) -> None:
        """Begin an arm, or with `at_once` several arms that run at the same time.

        Args:
            total: number of objects.
            done: rows of objects that already ran.
        """
        self.close()
        self._at_once = at_once
        self._label, self._total, self._count = label, total, len(done)
        self._good = [row for row in done if row.status == "ok"]
        if self._stream.isatty():
            self._bar = tqdm(
                total=total, initial=self._count, desc=label, unit="object", file=self._stream, dynamic_ncols=True, smoothing=0
            )
        elif self._count < total:
            print(f"{label}: {total - self._count} objects to run", file=self._stream, flush=True)

    def begin_object(self, video: str, object_name: str) -> None:
        self._object = f"{video}/{object_name}"
        self._show("")

    def advance(self, done: int, total: int) -> None:
        """Show that `done` of the object's `total` frames are done. Shows nothing while several arms run at the same time."""
        if not self._at_once:
            self._show(f" {done}/{total}")

    def end_object(self, row: SummaryRow) -> None:
        """Count a row and show its outcome."""
        self._count += 1
        if row.status == "ok":
            self._good.append(row)
        if self._bar is not None:
            if row.status != "ok":
                self._bar.write(f"{row.video}/{row.object}: {_outcome(row)}", file=self._stream)
            self._bar.update()
            self._show("")
        else:
            label = f"{row.model}_{row.prompt}" if self._at_once else self._label
            print(f"[{self._count}/{self._total}] {label}  {row.video}/{row.object}  {_outcome(row)}", file=self._stream, flush=True)
        if self._estimate is not None and (line := self._estimate.learn(row)):
            self.say(line)

    def wait(self, text: str) -> None:
        """Show what the run waits for: in the bar, or as a line every `WAITING_LINE_S`."""
        if self._bar is not None:
            self._bar.set_postfix_str(text)
        elif time.monotonic() - self._waiting_shown_s >= WAITING_LINE_S:
            self._waiting_shown_s = time.monotonic()
            print(f"{self._label}: {text}", file=self._stream, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _show(self, frames: str) -> None:
        if self._bar is None:
            return
        text = f"{self._object}{frames}"
        # frames of all objects over their total time, not the mean of the objects' rates
        time_ms = sum((row.latency_ms or 0) * (row.frames or 0) for row in self._good)
        if time_ms:
            text += f", {1e3 * sum(row.frames or 0 for row in self._good) / time_ms:.2f} FPS"
        scores = [row.JandF for row in self._good if row.JandF is not None]
        if scores:
            text += f", J&F {sum(scores) / len(scores):.3f}"
        self._bar.set_postfix_str(text)


def _outcome(row: SummaryRow) -> str:
    if row.status != "ok":
        return f"{row.status}: {one_line(row.error)}"
    score = "not on a scored frame" if row.JandF is None else f"J&F {row.JandF:.3f}"
    return f"ok  {row.fps or 0:.2f} FPS  {score}"
