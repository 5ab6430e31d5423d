"""A thread that reads a source at an interval, keeps the readings for a while and passes them on."""

from __future__ import annotations

import bisect
import threading
import time
from typing import TYPE_CHECKING

from savbench.board.power.base import PowerError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from savbench.board.power.base import Reading, Sampler


class Recorder:
    """Records one source, from `start` (or entering the context) to `stop` (or leaving it).

    If the source fails, recording ends, `died` has the reason, and nothing else happens.

    Args:
        sampler: the source; closed at the end.
        hand_on: called by the thread with new readings, oldest first. An exception from it ends the recording.
    """

    def __init__(self, sampler: Sampler, hand_on: Callable[[Sequence[Reading]], None] = lambda readings: None) -> None:
        self.sampler = sampler
        self.died = ""
        """Why recording ended early; empty if it did not."""
        self._hand_on = hand_on
        self._readings: list[Reading] = []
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """
        Raises:
            RuntimeError: the recorder was started before.
        """
        if self._thread is not None:
            raise RuntimeError("a recorder can be started only once; make another one")
        self._thread = threading.Thread(target=self._run, name="power-recorder", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the recording; readings are kept. Does nothing if it was not started."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Recorder:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def around(self, start_s: float, end_s: float) -> list[Reading]:
        """The readings in a stretch of time, with the last one before it and the first one after it if they exist.

        Args:
            start_s, end_s: in seconds on the clock of `time.perf_counter`.
        """
        with self._news:
            times = [reading.t_s for reading in self._readings]
            first = max(0, bisect.bisect_left(times, start_s) - 1)
            return self._readings[first : bisect.bisect_right(times, end_s) + 1]

    def newest(self) -> Reading | None:
        """The last reading; None before the first."""
        with self._news:
            return self._readings[-1] if self._readings else None

    def wait_past(self, t_s: float, timeout_s: float) -> bool:
        """Wait for a reading later than `t_s`. False if none came within `timeout_s` seconds or the source has failed."""
        with self._news:
            self._news.wait_for(lambda: self.died or self._newest_s() > t_s, timeout_s)
            return self._newest_s() > t_s

    def forget(self, before_s: float) -> None:
        """Drop the readings before `before_s` except the last."""
        with self._news:
            times = [reading.t_s for reading in self._readings]
            del self._readings[: max(0, bisect.bisect_left(times, before_s) - 1)]

    def _newest_s(self) -> float:
        return self._readings[-1].t_s if self._readings else float("-inf")

    def _run(self) -> None:
        due_s = time.perf_counter()
        try:
            while not self._stop.is_set():
                self._take()
                # on a fixed grid, so that the cost of a reading does not add to the interval; missed times are skipped
                now_s = time.perf_counter()
                due_s += self.sampler.interval_s
                if due_s < now_s:
                    due_s = now_s
                self._stop.wait(due_s - now_s)
            self._take()
        except PowerError as error:
            self._end(str(error))
        except BaseException as error:
            self._end(f"{self.sampler.name}: the recording ended with {type(error).__name__}: {error}; report this as a bug")
            raise
        finally:
            self.sampler.close()

    def _take(self) -> None:
        newest_s = self._newest_s()
        # a source with its own time stamps may be slightly out of order; later computations need increasing times
        readings = [reading for reading in self.sampler.read() if reading.t_s > newest_s]
        if readings:
            with self._news:
                self._readings += readings
                self._news.notify_all()
            self._hand_on(readings)

    def _end(self, reason: str) -> None:
        with self._news:
            self.died = reason
            self._news.notify_all()
