"""What a tracked frame asks of the device: upstream's own operators, the frame's preparation, and one wait."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from benchmarks.gpu_acceptance import SCALE, Pair  # noqa: E402
from runners import torch_common  # noqa: E402
from runners.base import Clip, Prompt  # noqa: E402
from runners.resize import ORDERS, Exact, OnDevice, by_pillow  # noqa: E402
from savbench.data.listing import FRAMES_DIR  # noqa: E402
from savbench.selfcheck.recorded import load, write_split  # noqa: E402

FRAMES = 6
READS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique")
"""Operators whose result the host needs before it can go on, so that it waits for a GPU."""
PREPARES = ("embedding_bag", "clamp_", "lift_fresh")
"""Operators of the resize on a CPU."""
VIEWS = ("to.d", "detach", "alias", "select", "slice", "resolve_")
"""Operators that compute nothing."""


class Operators(TorchDispatchMode):  # type: ignore[misc]
    """Counts the operators that run in the block."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[str(func).partition(".")[2]] += 1
        return func(*args, **(kwargs or {}))

    def reads(self) -> list[str]:
        return [name for name in self.counts if name.startswith(READS)]


@pytest.mark.parametrize(("model", "imgsz"), [("sam2_nano", None), ("edgetam", 256)])
def test_a_frame_takes_upstream_s_operators_and_one_wait(
    model: str, imgsz: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_torch_thread: None
) -> None:
    for package in ("sam2",) if model == "sam2_nano" else ("timm", "transformers"):
        pytest.importorskip(package, reason=f"needs {package}")
    write_split(load(), tmp_path, {"clip": SCALE})
    pair = Pair(model, tmp_path / FRAMES_DIR / "clip", "cpu", imgsz, "float32", FRAMES)
    waits: list[Any] = []
    with torch.inference_mode():
        pair.runner.open(Clip("clip", FRAMES, *pair.frames[0].shape[:2]), pair.frames[0])
        pair.runner.prompt(0, pair.frames[0], [Prompt(1, "mask", mask_hw=pair.mask_hw)])
        for index in range(1, FRAMES - 1):
            pair.runner.track(index, pair.frames[index])
        monkeypatch.setattr(torch_common, "synchronize", waits.append)
        with Operators() as ours:
            pair.runner.track(FRAMES - 1, pair.frames[FRAMES - 1])
        pair.runner.close()
        assert len(waits) == 1
        steps = pair.loop()
        for _ in range(FRAMES - 1):
            next(steps)
        with Operators() as theirs:
            (next(steps) > 0).cpu()
    more = [name for name in ours.counts - theirs.counts if not name.startswith((*PREPARES, *VIEWS))]
    assert more == []
    assert sum(theirs.counts.values()) > 500
    assert ours.reads() == []


def test_the_resize_of_a_gpu_waits_for_nothing() -> None:
    frame_hwc = np.random.default_rng(0).integers(0, 256, (72, 128, 3), np.uint8)
    found = []
    for order in ORDERS:
        exact = Exact(OnDevice, (72, 128), (64, 64), "bicubic", torch.device("cpu"), order)
        with Operators() as operators:
            found.append(exact(torch.from_numpy(frame_hwc)))
        assert operators.reads() == []
    assert any(np.array_equal(resized, by_pillow(frame_hwc, (64, 64), "bicubic")) for resized in found)
