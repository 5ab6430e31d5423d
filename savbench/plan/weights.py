"""Finding weights files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from savbench.arguments.declared import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def find_weights(file_name: str, model: str, folders: Sequence[Path]) -> Path:
    """The weights file in the first folder that has it.

    Args:
        folders: searched in order, see `savbench.plan.upstream.weights_folders`.

    Raises:
        ConfigError: no folder has it; the message names the file and the script that fetches it.
    """
    for folder in folders:
        if (folder / file_name).is_file():
            return folder / file_name
    looked = ", ".join(str(folder) for folder in folders)
    raise ConfigError(
        f"{model}: {file_name} is not in {looked}; fetch it with `scripts/download_weights.sh {model}`, name its folder with "
        "--weights_dir, or measure with untrained weights with --random_weights"
    )
