"""Rows of earlier invocations that a command runs again because it asks for more than they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from savbench.arguments.compound import AllOrWorst
from savbench.finish.agreement import reference_file
from savbench.finish.finisher import scores_together
from savbench.finish.saving import has_masks, has_overlay, overlay_of
from savbench.finish.worst import worst_rows
from savbench.results.rows import VALID
from savbench.results.systems import whole_id

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from savbench.data.layout import Layout
    from savbench.plan.settings import RunConfig
    from savbench.results.rows import SummaryRow
    from savbench.results.run_folder import RunFolder
    from savbench.supervise.progress import Progress

Key = tuple[str, str, str]
"""Arm, video and object."""


def forget_rows_to_run_again(config: RunConfig, wanted: Collection[Key], folder: RunFolder, layout: Layout, progress: Progress) -> None:
    """Drop rows from a run's folder and print how many and why.

    Args:
        wanted: what the command asks for; only --retry_failed drops other rows too.
    """
    if config.retry_failed:
        _forget(folder, progress, "failed objects", lambda row: row.status != "ok")

    def forget_ok(what: str, condition: Callable[[SummaryRow], bool]) -> None:
        _forget(folder, progress, what, lambda row: row.status == "ok" and _arm_key(row) in wanted and condition(row))

    if config.strict:
        forget_ok("objects whose rows --strict rejects", lambda row: not _is_strict_enough(row))
    if config.save_masks:
        forget_ok("objects without masks", lambda row: not has_masks(folder.path, row, in_pictures=layout.in_pictures))
    worst = AllOrWorst.count(config.save_overlays)
    if worst is not None:
        missing = {row.key for row in worst_rows(folder.done.values(), worst) if not (folder.path / overlay_of(row)).is_file()}
        forget_ok(f"objects of the {worst} worst without overlays", lambda row: row.key in missing)
    elif config.save_overlays is not None:
        forget_ok("objects without overlays", lambda row: not has_overlay(folder.path, row))
    if config.agreement is not None:
        _forget_uncompared(config.agreement, folder, forget_ok)
    if scores_together(config, layout):
        incomplete = {(arm_id, video) for arm_id, video, name in wanted if not folder.has_row(arm_id, (video, name))}
        forget_ok("objects that are scored together with missing ones", lambda row: (whole_id(row.arm_id), row.video) in incomplete)


def _forget_uncompared(reference: str, folder: RunFolder, forget_ok: Callable[[str, Callable[[SummaryRow], bool]], None]) -> None:
    """With --agreement: drop rows of the reference arm whose masks were not kept, and rows that are not compared with it."""

    def is_kept(row: SummaryRow) -> bool:
        return reference_file(folder.path, row.video, row.object).is_file()

    def is_reference(row: SummaryRow) -> bool:
        return whole_id(row.arm_id) == reference

    unkept = {(row.video, row.object) for row in folder.done.values() if is_reference(row) and row.status == "ok" and not is_kept(row)}
    forget_ok("objects with which others are compared", lambda row: is_reference(row) and not is_kept(row))

    def is_uncompared(row: SummaryRow) -> bool:
        return (row.agreement_with != reference and is_kept(row)) or (row.video, row.object) in unkept

    forget_ok("objects that are not compared with --agreement", lambda row: not is_reference(row) and is_uncompared(row))


def _forget(folder: RunFolder, progress: Progress, what: str, condition: Callable[[SummaryRow], bool]) -> None:
    if dropped := folder.forget(condition):
        progress.say(f"running {dropped} {what} again")


def _arm_key(row: SummaryRow) -> Key:
    return whole_id(row.arm_id), row.video, row.object


def _is_strict_enough(row: SummaryRow) -> bool:
    """Whether the board was watched while an ok row was measured, and the row is valid."""
    is_watched = row.power_source not in ("", "none")
    return row.validity == VALID or (row.validity == "" and is_watched)
