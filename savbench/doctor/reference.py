"""What a board like this one reached: reference figures of its name."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from savbench.data.csv_file import InputError
from savbench.doctor.check import Check
from savbench.results import environment
from savbench.results.reference import FOLDER, speeds_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from savbench.doctor.check import Subject
    from savbench.doctor.probe import Answers


def check_reference(torch: Answers, subject: Subject, folder: Path = FOLDER) -> Iterator[Check]:
    """Name the speeds that `results/reference` has of this board or GPU; nothing if it has none.

    Args:
        torch: answers of the torch probe, for the names of GPUs that are no Jetson's.
    """
    board = environment.board(subject.root)
    names = [] if board is None else [board["model"]]
    names += [device["name"] for device in torch.found.get("devices", {}).get("devices", [])]
    try:
        lines = list(dict.fromkeys(line for name in names for line in speeds_of(name, folder)))
    except InputError as error:
        yield Check("reference", "reference", "warning", f"figures of other boards cannot be read: {error}")
        return
    if not lines:
        return
    of_board: dict[str, list[str]] = {}
    for line in lines:
        of_board.setdefault(line.board, []).append(str(line))
    shown = ". ".join(f"{board}: {'; '.join(said)}" for board, said in of_board.items())
    detail = f"this board should reach about what results/reference has, which says how it was measured. {shown}"
    yield Check("reference", "reference", "ok", detail, facts={"lines": [dataclasses.asdict(line) for line in lines]})
