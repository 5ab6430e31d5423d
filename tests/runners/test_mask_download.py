"""Masks on their way to the host, by the code for a GPU with memory that only claims to be pinned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from runners import torch_common  # noqa: E402
from runners.torch_common import MaskDownload  # noqa: E402


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the device and of the allocator of pinned memory."""
    said: list[str] = []

    def pinned(size: int, dtype: Any) -> Any:
        said.append(f"pin {size}")
        return torch.empty(size, dtype=dtype)

    monkeypatch.setattr(torch_common, "_pinned", pinned)
    monkeypatch.setattr(torch_common, "synchronize", lambda device: said.append("wait"))
    return said


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_the_masks_are_the_caller_s(said: list[str], device: str) -> None:
    download = MaskDownload(torch.device(device))
    logits_n1hw = torch.tensor([[[[-1.0, 0.0, 2.0]]], [[[3.0, -2.0, 0.5]]]])
    download.begin(logits_n1hw)
    first = download.wait()
    download.begin(-logits_n1hw)
    second = download.wait()
    assert first.dtype == np.bool_
    assert first.tolist() == [[[False, False, True]], [[True, False, True]]]
    assert second.tolist() == [[[True, False, False]], [[False, True, False]]]


def test_a_frame_waits_once_and_memory_is_pinned_when_a_larger_one_comes(said: list[str]) -> None:
    download = MaskDownload(torch.device("cuda", 0))
    for objects, height in ((1, 4), (1, 4), (2, 4), (1, 2), (2, 4)):
        download.begin(torch.ones(objects, 1, height, 5))
        said.append("host goes on")
        assert download.wait().shape == (objects, height, 5)
    frame = ["host goes on", "wait"]
    assert said == ["pin 20", *frame, *frame, "pin 40", *frame, *frame, *frame]
