"""What the model was built as, the order of calls, and the shape and dtype of what they return."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from runners.base import RunnerError
from savbench.integration.bench import FRAMES
from savbench.plan.settings_models import AUTOCAST_DTYPES
from savbench.selfcheck.outcome import judged, not_applicable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from savbench.integration.bench import Bench, Call
    from savbench.selfcheck.outcome import Outcome

INTERFACE = "runners/base.py"


def check_built(bench: Bench) -> Iterator[Outcome]:
    """Whether the built model is the one asked for."""
    applied, options = bench.runner.applied, bench.options
    device = applied.device
    wrong = []
    if bench.spec.is_learned and options.device not in ("auto", device, device.partition(":")[0]):
        wrong.append(f"device {device}, asked for {options.device}")
    if applied.imgsz != options.imgsz:
        wrong.append(f"imgsz {applied.imgsz}, asked for {options.imgsz}")
    expected = "none" if not bench.spec.is_learned else "random" if options.weights is None else "the sha256 of the file"
    has_digest = len(applied.weights) == 64
    if has_digest != (options.weights is not None) or (not has_digest and applied.weights != expected):
        wrong.append(f"weights {applied.weights!r}, where {expected} is due")
    if (applied.parameters > 0) != bench.spec.is_learned:
        wrong.append(f"{applied.parameters} parameters")
    if not applied.implementation:
        wrong.append("implementation is empty; name the package and its version")
    yield judged(
        "built: as asked for",
        not wrong,
        "; ".join(wrong) or f"{applied.implementation}, {applied.parameters:,} parameters, on {device}, weights {applied.weights[:12]}",
        meaning="rows would name a device, size or weights that did not run",
        remedy=f"set `applied` from what was built, not from what was asked for ({INTERFACE}, Applied)",
    )


def check_order(bench: Bench) -> Iterator[Outcome]:
    """The calls of a session in their order, and a clear refusal of those out of order."""
    scene, kind = bench.wide, bench.kind
    bench.runner.close()
    bench.runner.close()
    bench.play(scene, {2: [scene.prompt(0, kind, 2)]})  # an object that appears on the third frame
    yield judged(
        "order: open, prompt, track, close", True, "also with the prompt on a later frame, and `close` twice", meaning="", remedy=""
    )

    def before_open() -> None:
        bench.runner.track(1, scene.frame(1))

    def before_prompt() -> None:
        bench.runner.open(scene.clip, scene.frame(0))
        bench.runner.track(0, scene.frame(0))

    for what, misuse in (("open", before_open), ("prompt", before_prompt)):
        said = _refusal(bench, misuse)
        yield judged(
            f"order: track before {what}",
            said is None,
            said or "refused with a RunnerError",
            meaning="a mistake of the caller would give masks of nothing, or end the worker",
            remedy=f"raise RunnerError and say what to call first ({INTERFACE}, VideoRunner)",
        )
    for kind_not_taken in sorted({"points", "bbox", "mask"} - set(bench.spec.prompts)):

        def prompted(kind: str = kind_not_taken) -> None:
            bench.runner.open(scene.clip, scene.frame(0))
            bench.runner.prompt(0, scene.frame(0), [scene.prompt(0, kind)])  # type: ignore[arg-type] # one of the three

        said = _refusal(bench, prompted)
        yield judged(
            f"order: a {kind_not_taken} prompt, which the registry does not list",
            said is None,
            said or "refused with a RunnerError",
            meaning=f"whoever asks for {bench.model}_{kind_not_taken} is told that there is none, and it runs",
            remedy=f"raise RunnerError, or add `{kind_not_taken}` to `prompts` of the spec",
        )


def _refusal(bench: Bench, misuse: Callable[[], None]) -> str | None:
    """What is wrong about how the runner refuses; None if nothing is."""
    try:
        with bench.contexts():
            misuse()
    except RunnerError as error:
        return None if str(error) else "the RunnerError has no message"
    # whatever the runner raises here is its author's to read
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"
    finally:
        bench.runner.close()
    return "accepted"


def check_shapes(bench: Bench) -> Iterator[Outcome]:
    """Masks of one object and of two, and that what was handed over is left as it was."""
    scene = bench.wide
    handed = [scene.prompt(number, bench.kind) for number in (0, 1)]
    before = [_given(prompt).copy() for prompt in handed]
    frame_hwc = scene.frame(0)
    for objects in (1, 2):
        calls = bench.play(scene, {0: handed[:objects]})
        wrong = wrong_shapes(calls, objects, (scene.clip.height, scene.clip.width))
        yield judged(
            f"masks: shape and dtype of {'one object' if objects == 1 else 'two objects'}",
            not wrong,
            wrong or f"bool ({objects}, {scene.clip.height}, {scene.clip.width}) on all {FRAMES} frames",
            meaning="a session refuses the masks, and every row of the model fails",
            remedy=f"return a bool array of shape (objects, height, width) at the video's resolution ({INTERFACE}, Masks)",
        )
    with bench.contexts():
        try:
            bench.runner.open(scene.clip, frame_hwc)
            bench.runner.prompt(0, frame_hwc, handed)
        finally:
            bench.runner.close()
    changed = [name for name, same in (
        ("the frame", np.array_equal(frame_hwc, scene.frame(0))),
        ("a prompt", all(np.array_equal(_given(prompt), old) for prompt, old in zip(handed, before, strict=True))),
    ) if not same]  # fmt: skip
    yield judged(
        "masks: the caller's arrays are left as they are",
        not changed,
        f"the runner changed {' and '.join(changed)}" if changed else "the frame and the prompts are unchanged",
        meaning="later sessions of the same frame or prompt start from something else",
        remedy="copy before writing",
    )


def wrong_shapes(calls: Sequence[Call], objects: int, size_hw: tuple[int, int]) -> str:
    """The first call whose masks are not as the interface says, in words; empty if there is none."""
    expected = (objects, *size_hw)
    for call in calls:
        masks = call.masks
        where = f"frame {call.position}: "
        if type(masks) is not np.ndarray:
            return f"{where}{type(masks).__name__} instead of a NumPy array in host memory"
        if masks.shape == (objects, size_hw[1], size_hw[0]):
            return f"{where}transposed: shape {masks.shape}, not {expected}"
        if masks.shape != expected:
            return f"{where}shape {masks.shape}, not {expected}"
        if masks.dtype != np.bool_:
            return f"{where}{masks.dtype} instead of bool"
    return ""


def check_dtypes(bench: Bench) -> Iterator[Outcome]:
    """Every autocast dtype on a few frames."""
    scene = bench.wide
    for dtype in AUTOCAST_DTYPES[1:]:
        check = f"autocast: {dtype}"
        if not bench.spec.is_learned:
            yield not_applicable(check, "a model without weights uses no autocast")
            continue
        try:
            calls = bench.play(scene, {FRAMES - 3: [scene.prompt(0, bench.kind, FRAMES - 3)]}, dtype=dtype)
        except RunnerError as error:
            yield not_applicable(check, str(error))
            continue
        # a RuntimeError of torch, in most cases: two dtypes met in one operator
        except Exception as error:  # noqa: BLE001
            wrong = f"{type(error).__name__}: {error}".splitlines()[0]
        else:
            wrong = wrong_shapes(calls, 1, (scene.clip.height, scene.clip.width))
        yield judged(
            check,
            not wrong,
            wrong or "masks of the right shape",
            meaning=f"every row of --autocast_dtype {dtype} fails",
            remedy="cast where the model mixes dtypes, or refuse the dtype with a RunnerError",
        )


def _given(prompt: object) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    return next(value for value in vars(prompt).values() if isinstance(value, np.ndarray))
