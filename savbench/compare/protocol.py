"""Refuses results that were timed or scored in different ways; see `savbench.plan.protocols.PROTOCOL_VERSION`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from savbench.data.csv_file import InputError
from savbench.results.foreign import UNKNOWN

if TYPE_CHECKING:
    import pandas as pd

COLUMN = "protocol_version"


class RefusedError(InputError):
    """The results differ in what is not compared; `--force` compares them anyway."""


def require_one_version(rows: pd.DataFrame, *, force: bool) -> None:
    """
    Args:
        rows: as in `Results.rows`; rows that do not tell their version agree with any.
        force: accept several versions.

    Raises:
        RefusedError: there are several, and `force` is off.
    """
    files: dict[str, list[str]] = {}
    for version, label in rows.loc[rows[COLUMN] != UNKNOWN, [COLUMN, "file"]].drop_duplicates().itertuples(index=False):
        files.setdefault(str(version), []).append(str(label))
    if len(files) > 1 and not force:
        told = "; ".join(f"version {version}: {', '.join(labels)}" for version, labels in sorted(files.items()))
        raise RefusedError(
            f"refused: timing or scoring changed between these results ({told}); measure all with one version of the benchmark, or give "
            "--force to set them side by side"
        )
