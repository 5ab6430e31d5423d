"""What runs say of self-checks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from savbench.results.selfcheck import SelfCheck, of_machine, recall, remember, statement

PASSED = SelfCheck(True, "2026-11-28T08:00:00+00:00", "a board", "Orin", "2.5.0", "0123456789ab", quick=False)


def test_the_newest_of_a_system_counts_and_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "results" / "selfcheck.json"
    other_torch = dataclasses.replace(PASSED, torch="2.8.0")
    failed = dataclasses.replace(PASSED, passed=False, failed=("masks: float32 against recorded ones",))
    for one in (PASSED, other_torch, failed):
        remember(one, path)
    assert recall(path) == [other_torch, failed]
    assert [entry["torch"] for entry in of_machine("a board", path)] == ["2.8.0", "2.5.0"]
    assert of_machine("another board", path) == []


@pytest.mark.parametrize("text", ["", "[]", '{"selfchecks": [{"passed": true}]}', '{"selfchecks": 3}'])
def test_a_file_that_is_something_else_is_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "selfcheck.json"
    path.write_text(text)
    assert recall(path) == []


def test_it_speaks_for_its_device_and_torch_alone() -> None:
    entries = [dataclasses.asdict(PASSED)]
    nothing = "no selfcheck with this torch on this machine: run jetson_benchmark.py selfcheck"
    assert statement(entries, [("Orin", "2.5.0")] * 3) == "selfcheck passed on 2026-11-28 with this torch and device"
    assert statement(entries, [("Orin", "2.8.0")]) == nothing
    assert statement(entries, [("a CPU", "2.5.0")]) == nothing
    assert statement(None, [("Orin", "2.5.0")]) == nothing


def test_rows_without_torch_need_none() -> None:
    assert statement([], [("a CPU", "")]) == ""


def test_several_systems_are_named() -> None:
    said = statement([dataclasses.asdict(PASSED)], [("Orin", "2.5.0"), ("a CPU", "2.5.0")])
    assert said.startswith("Orin, torch 2.5.0: selfcheck passed on 2026-11-28")
    assert "; a CPU, torch 2.5.0: no selfcheck" in said


def test_a_failure_names_its_checks_and_a_quick_one_says_so() -> None:
    failed = dataclasses.replace(PASSED, passed=False, quick=True, failed=("masks: a", "clocks: b"))
    assert failed.in_words() == "quick selfcheck failed on 2026-11-28 with this torch and device: masks: a, clocks: b"
