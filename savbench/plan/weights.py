"""Finding weights files and naming them by content."""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import TYPE_CHECKING

from runners import SHIPPED_WEIGHTS
from savbench.plan.config import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def find_weights(file_name: str, model: str, folders: Sequence[Path]) -> Path:
    """The weights file in the first folder that has it; weights that come with the benchmark are found last.

    Raises:
        ConfigError: none has it; names the file and the script that fetches it.
    """
    for folder in (*folders, SHIPPED_WEIGHTS):
        if (folder / file_name).is_file():
            return folder / file_name
    looked = ", ".join(str(folder) for folder in folders)
    raise ConfigError(
        f"{model}: {file_name} is not in {looked}; fetch it with `scripts/download_weights.sh {model}`, name its folder with "
        "--weights_dir, or measure without trained weights with --random_weights"
    )


def sha256_of(path: Path) -> str:
    """sha256 of the file in hex, remembered in a file beside it for as long as its size and time of change stay the same."""
    stat = path.stat()
    state = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    beside = path.with_name(f".{path.name}.sha256.json")
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(beside.read_text(encoding="utf-8"))
        if {key: known[key] for key in state} == state:
            return str(known["sha256"])
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    # A folder that cannot be written costs the next run this second of hashing, nothing else.
    with contextlib.suppress(OSError):
        beside.write_text(json.dumps({**state, "sha256": digest.hexdigest()}), encoding="utf-8")
    return digest.hexdigest()
