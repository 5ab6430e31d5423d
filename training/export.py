"""Writing the checkpoint that is shipped."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch


def export(checkpoint: Path, path: Path) -> tuple[str, int]:
    """Write the averaged weights in float16, in the form of Meta's checkpoints: `{"model": {name: tensor}}`.

    Returns:
        sha256 of the file in hex, and its bytes.

    Raises:
        FileNotFoundError: there is no checkpoint yet.
    """
    if not checkpoint.is_file():
        raise FileNotFoundError(f"{checkpoint}: there is no checkpoint yet; train without --export_only first")
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["average"]
    part = path.with_suffix(".part")
    torch.save({"model": {name: value.half() for name, value in state.items()}}, part)
    part.replace(path)
    content = path.read_bytes()
    return hashlib.sha256(content).hexdigest(), len(content)
