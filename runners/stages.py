"""Measures the time of a call by stage and by object, with hooks that exist only during a timed call.

A hook replaces a function of an object or of a module during a call of the runner. On a GPU it records CUDA events in the stream and waits
for nothing; inspecting the runner reads them. A stage is then the GPU time between its events, including gaps in which the GPU waits for
the next kernel.

Hooks wrap functions, not `torch.nn.Module`s, because a module is not all of its stage: upstream prepares the memory encoder's masks,
upscales the decoder's and gathers memories outside of modules. The functions' names are private to upstream; `Stages` looks them up when
the model is built, so that a version that renamed one raises an error instead of losing a stage silently.
"""

from __future__ import annotations

import contextlib
import functools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from runners import nvtx
from runners.base import STAGES, RunnerError
from runners.torch_common import all_replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

OTHER = STAGES[-1]
ENCODER = STAGES[0]


@dataclass(frozen=True)
class StageHook:
    """A function whose calls form a stage: `owner.name`, of an object or a module."""

    owner: Any
    name: str
    stage: str


@dataclass(frozen=True)
class ObjectHook:
    """A function that upstream calls once per object: `owner.name`."""

    owner: Any
    name: str
    object_of: Callable[..., int]
    """Takes the arguments of a call and returns the index of its object in the order of prompting."""


class SpanClock:
    """Divides a call into successive spans without gaps, each of one stage and of one object or none.

    A stage that begins inside another interrupts the other's span, so that no time counts twice.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._on_cuda = device.type == "cuda"
        self._nvtx = nvtx.ranges()
        self._pool: list[Any] = []
        """Events of earlier calls, to record again: creating one costs more than recording it."""
        self._stamps: list[Any] = []
        self._spans: list[tuple[str, int | None]] = []
        """Stage and object of the span between one stamp and the next."""
        self._within: list[tuple[str, int | None]] = []

    def start(self) -> None:
        """Begin a call."""
        self._stamps, self._spans, self._within = [], [], [(OTHER, None)]
        self._stamp()

    def stop(self) -> None:
        """End the call."""
        self._cut()

    def forget(self) -> None:
        """Drop the spans of the last call."""
        self._stamps, self._spans, self._within = [], [], []

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        with self._inside(name, self._within[-1][1], name):
            yield

    @contextlib.contextmanager
    def object(self, index: int) -> Iterator[None]:
        with self._inside(self._within[-1][0], index, f"object {index}"):
            yield

    def spans_ms(self) -> list[tuple[str, int | None, float]]:
        """Stage, object and milliseconds of every span of the last call; waits until the device has finished it."""
        if self._on_cuda and self._stamps:
            self._stamps[-1].synchronize()
        pairs = zip(self._stamps, self._stamps[1:], strict=False)
        lengths = [float(a.elapsed_time(b)) if self._on_cuda else (b - a) * 1e3 for a, b in pairs]
        return [(stage, index, length) for (stage, index), length in zip(self._spans, lengths, strict=True)]

    @contextlib.contextmanager
    def _inside(self, stage: str, index: int | None, label: str) -> Iterator[None]:
        self._cut()
        self._within.append((stage, index))
        if self._nvtx is not None:
            self._nvtx.range_push(label)
        try:
            yield
        finally:
            self._cut()
            self._within.pop()
            if self._nvtx is not None:
                self._nvtx.range_pop()

    def _cut(self) -> None:
        self._spans.append(self._within[-1])
        self._stamp()

    def _stamp(self) -> None:
        if not self._on_cuda:
            self._stamps.append(time.perf_counter())
            return
        if len(self._pool) == len(self._stamps):
            self._pool.append(torch.cuda.Event(enable_timing=True))
        event = self._pool[len(self._stamps)]
        event.record(torch.cuda.current_stream(self._device))
        self._stamps.append(event)


class Stages:
    """The hooks of one runner. Without `timed` and with one object there are none, and the runner's calls are unchanged.

    Times only the runner's `prompt` and `track`; with NVTX on, these and `open` are also ranges.
    """

    def __init__(
        self, runner: Any, device: torch.device, hooks: Sequence[StageHook], by_object: ObjectHook | None = None, *, timed: bool = False
    ) -> None:
        """
        Args:
            hooks: the functions of the family's stages; they may call each other.
            by_object: the function called per object, if the family tracks objects one after the other.
            timed: hook every stage from now on.

        Raises:
            RunnerError: a function does not exist.
        """
        self._runner = runner
        self._clock = SpanClock(device)
        self._hooks = tuple(hooks)
        self._by_object = by_object
        self._timed = timed
        self._watching = False
        """Whether to time each object."""
        for hook in (*self._hooks, *([by_object] if by_object else ())):
            if not callable(getattr(hook.owner, hook.name, None)):
                raise RunnerError(
                    f"cannot time the stages: upstream no longer has {type(hook.owner).__name__}.{hook.name}; install the version that "
                    "requirements.txt names"
                )
        if timed or nvtx.ranges() is not None:
            self._attach()

    def watch_objects(self, count: int) -> None:
        """If there are several objects, time each from the next call on. Call it when objects were added."""
        if self._by_object is not None and count > 1 and not self._watching:
            self._watching = True
            self._attach()

    def forget_objects(self) -> None:
        """Stop timing objects at the end of a clip."""
        self._watching = False
        # the next clip may start timing objects in the middle of a call, of which nothing was timed
        self._clock.forget()
        if not self._timed and nvtx.ranges() is None:
            self._detach()

    def stages_ms(self) -> dict[str, float]:
        """Milliseconds of each of the family's stages in the last call; empty unless `timed`."""
        spans = self._clock.spans_ms() if self._timed else []
        if not spans:
            return {}
        known = {hook.stage for hook in self._hooks} | {OTHER}
        totals = {stage: 0.0 for stage in STAGES if stage in known}
        for stage, _, length in spans:
            totals[stage] += length
        return totals

    def objects_ms(self, count: int) -> tuple[float, ...]:
        """Milliseconds of each of the `count` objects in the last call; empty if they were not timed from its start."""
        spans = self._clock.spans_ms() if self._watching else []
        if not any(index is not None for _, index, _ in spans):
            return ()
        totals = [0.0] * count
        for stage, index, length in spans:
            if index is not None and stage != ENCODER:
                totals[index] += length
        return tuple(totals)

    def _attach(self) -> None:
        """Wrap the runner's calls in timed ones."""
        space = vars(self._runner)
        kind = type(self._runner)
        for name in ("prompt", "track"):
            space[name] = self._timed_call(name, getattr(kind, name))
        if nvtx.ranges() is not None:
            space["open"] = self._ranged_open(kind.open)

    def _detach(self) -> None:
        for name in ("prompt", "track"):
            vars(self._runner).pop(name, None)

    def _timed_call(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def timed(frame_index: int, *args: Any, **kwargs: Any) -> Any:
            with nvtx.nvtx_range(f"frame {frame_index}" if name == "track" else name), self._hooked():
                self._clock.start()
                try:
                    return call(self._runner, frame_index, *args, **kwargs)
                finally:
                    self._clock.stop()

        return timed

    def _ranged_open(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def ranged(*args: Any, **kwargs: Any) -> Any:
            with nvtx.nvtx_range("open"):
                return call(self._runner, *args, **kwargs)

        return ranged

    def _hooked(self) -> AbstractContextManager[None]:
        """Install the wanted hooks for the block."""
        return all_replaced((hook.owner, hook.name, self._hook(hook, getattr(hook.owner, hook.name))) for hook in self._wanted())

    def _wanted(self) -> Iterator[StageHook | ObjectHook]:
        whole = self._timed or nvtx.ranges() is not None
        yield from (hook for hook in self._hooks if whole or hook.stage == ENCODER)
        if self._watching and self._by_object is not None:
            yield self._by_object

    def _hook(self, hook: StageHook | ObjectHook, original: Callable[..., Any]) -> Callable[..., Any]:
        clock = self._clock
        if isinstance(hook, ObjectHook):
            object_of = hook.object_of

            def hooked(*args: Any, **kwargs: Any) -> Any:
                with clock.object(object_of(*args, **kwargs)):
                    return original(*args, **kwargs)

            return hooked
        stage = hook.stage

        def staged(*args: Any, **kwargs: Any) -> Any:
            with clock.stage(stage):
                return original(*args, **kwargs)

        return staged
