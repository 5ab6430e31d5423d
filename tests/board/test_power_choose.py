from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from emulated_board import BoardFiles

from savbench.board.power.base import PowerError, Sampler
from savbench.board.power.choose import open_source
from savbench.board.power.sysfs import SysfsSampler
from savbench.plan.settings import POWER_SOURCES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _refuse(reason: str) -> Callable[[], Sampler]:
    def opener() -> Sampler:
        raise PowerError(reason)

    return opener


def test_auto_takes_the_first_that_answers_and_says_why(tmp_path: Path) -> None:
    BoardFiles(tmp_path / "sys")
    choice = open_source(
        "auto",
        0.25,
        openers={"jtop": _refuse("jtop: not running"), "sysfs": lambda: SysfsSampler(0.25, tmp_path), "nvml": _refuse("unasked")},
    )

    assert isinstance(choice.sampler, SysfsSampler)
    assert choice.why == "power: sysfs every 0.25 s; not jtop: not running"


def test_auto_without_any_source_goes_on_without_power() -> None:
    choice = open_source("auto", 0.1, openers={"jtop": _refuse("jtop: no"), "nvml": _refuse("nvml: no")})

    assert choice.sampler is None
    assert choice.why == "power: none; jtop: no; nvml: no"


def test_a_source_that_was_named_is_not_replaced() -> None:
    with pytest.raises(PowerError, match=r"jtop: start it$"):
        open_source("jtop", 0.1, openers={"jtop": _refuse("jtop: start it"), "sysfs": _refuse("unasked")})


def test_an_interval_that_others_have_set_is_said(tmp_path: Path) -> None:
    BoardFiles(tmp_path / "sys")
    choice = open_source("sysfs", 0.1, openers={"sysfs": lambda: SysfsSampler(1.0, tmp_path)})

    assert choice.why == "power: sysfs every 1 s (set by another client of the service; 0.1 s was requested)"


def test_none_asks_nobody() -> None:
    choice = open_source("none", 0.1, openers={"jtop": lambda: pytest.fail("was asked")})
    assert choice.sampler is None


@pytest.mark.parametrize(("choice", "interval_s"), [("ina", 0.1), ("auto", 0.0), ("none", -1.0)])
def test_what_cannot_be_asked_for_is_refused(choice: str, interval_s: float) -> None:
    with pytest.raises(PowerError, match="--power"):
        open_source(choice, interval_s)


def test_the_real_sources_are_opened_by_their_names(tmp_path: Path) -> None:
    """Nothing that it could find is under this root, and no GPU is meant."""
    reasons = []
    for name in POWER_SOURCES:
        if name not in ("auto", "none", "jtop"):
            with pytest.raises(PowerError, match=f"^{name}: ") as raised:
                open_source(name, 0.1, "cpu", root=tmp_path)
            reasons.append(str(raised.value))
    assert len(reasons) == 2

    BoardFiles(tmp_path / "sys")
    choice = open_source("sysfs", 0.1, root=tmp_path)
    assert choice.why == "power: sysfs every 0.1 s"
