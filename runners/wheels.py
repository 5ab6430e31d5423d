"""Tells a wheel that was installed into a folder of its own. Needs nothing but Python: doctor uses it where packages are broken."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

EDGETAM_WHEEL = "edgetam-dimos"
"""Name of EdgeTAM's official sources on PyPI, which `scripts/get_edgetam.sh --pypi` installs into a folder of their own."""


def unpacked_wheel(source_dir: Path, name: str) -> str | None:
    """Name and version of a distribution that was installed into a folder of its own; None if it is none."""
    found = importlib.metadata.distributions(name=name, path=[str(source_dir)])
    return next((f"{name} {distribution.version}" for distribution in found), None)
