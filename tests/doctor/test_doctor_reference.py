"""The doctor's line on what a board should reach."""

from __future__ import annotations

from pathlib import Path

from doctor_machines import gpu_answers, make_desktop, make_orin

from savbench.doctor.check import Check
from savbench.doctor.probe import Answers
from savbench.doctor.reference import check_reference


def test_an_orin_nano_is_told_what_others_reached(tmp_path: Path) -> None:
    (check,) = check_reference(gpu_answers(), make_orin(tmp_path))
    assert check.state == "ok"
    assert check.detail.startswith("this board should reach about what results/reference has")
    assert "Orin Nano: sam2_tiny, 1024 px, bfloat16, 15W: 433 ms per frame (third-party); sam2_tiny, 1024 px, float32" in check.detail
    assert ". Orin: sam2_tiny, 768 px, float32: 3.5 FPS (third-party)" in check.detail
    assert [line["value"] for line in check.facts["lines"]] == [433, 1450, 3.5, 3.3, 2.5, 1.4]


def test_a_desktop_is_known_by_its_gpu(tmp_path: Path) -> None:
    a100 = {"devices": [{"name": "NVIDIA A100-SXM4-40GB", "capability": [8, 0], "memory_mib": 40000}]}
    (check,) = check_reference(gpu_answers(devices=a100), make_desktop(tmp_path))
    assert "A100: sam2_tiny, 1024 px, bfloat16, compiled: 91.2 FPS (authors)" in check.detail


def test_a_machine_without_lines_has_no_check(tmp_path: Path) -> None:
    assert list(check_reference(Answers(), make_desktop(tmp_path))) == []


def test_a_spoiled_file_is_a_warning_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("board\n", encoding="utf-8")
    found: list[Check] = list(check_reference(gpu_answers(), make_orin(tmp_path), tmp_path))
    assert [check.state for check in found] == ["warning"]
    assert "mine.csv:1" in found[0].detail
