"""Opens the data set that a run's settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from savbench.data.clips import Given
from savbench.data.dataset import open_split

if TYPE_CHECKING:
    from savbench.data.dataset import Split
    from savbench.plan.settings_data import DataSettings


def split_of(config: DataSettings, name: str | None = None) -> Split:
    """Open the data set of --split_dir in its --layout, with the prompts of --prompts and --click.

    Args:
        name: name of the list, where a run has already found it; None: --split_name.

    Raises:
        DatasetError: as `open_split`.
    """
    return open_split(config.split_dir, name or config.split_name, config.layout, Given(config.prompts, config.click))
