"""Finding weights files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runners import RUNNERS, SHIPPED_WEIGHTS
from savbench.arguments.declared import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def find_weights(file_name: str, model: str, folders: Sequence[Path]) -> Path:
    """The weights file in the first folder that has it, or the same weights as transformers stores them (`RunnerSpec.files`).

    Args:
        folders: searched in order, see `savbench.plan.upstream.weights_folders`.

    Raises:
        ConfigError: no folder has it; the message names the file and where it is had: a script fetches it, or it is shipped.
    """
    names = RUNNERS[model].files if model in RUNNERS else (file_name,)
    for folder in folders:
        for name in names:
            if (folder / name).is_file():
                return folder / name
    looked = ", ".join(str(folder) for folder in folders)
    is_shipped = (SHIPPED_WEIGHTS / file_name).is_file()
    fetch = f"it is shipped in {SHIPPED_WEIGHTS}" if is_shipped else f"fetch it with `scripts/download_weights.sh {model}`"
    raise ConfigError(
        f"{model}: {file_name} is not in {looked}; {fetch}, name its folder with --weights_dir, or measure with untrained weights "
        "with --random_weights"
    )
