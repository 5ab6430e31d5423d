from __future__ import annotations

from typing import Any

import pytest

from savbench.compare.references import ReferenceLine, SpeedLine, reference_line, speed_lines

RUN: dict[str, Any] = {
    "model": "sam2_tiny", "prompt": "mask", "weights": "a" * 64, "split": "sav_test", "imgsz": "1024", "max_frames": "all",
    "frame_stride": "1", "postprocessing": "off", "JandF_percent": 76.0, "videos": 150, "objects": 278,
}  # fmt: skip


def line(**changes: Any) -> ReferenceLine | None:
    return reference_line(**(RUN | changes))


def test_a_run_that_reproduces_it() -> None:
    found = line()
    assert found is not None
    assert found.difference == pytest.approx(-0.5)
    assert not found.is_suspect
    assert str(found) == (
        "published sam2_tiny SA-V test J&F 76.5 (README of facebookresearch/sam2, SAM 2.1 table); here 76.0 over 278 objects (-0.5)"
    )  # fmt: skip


@pytest.mark.parametrize(("JandF_percent", "suspect"), [(75.4, True), (75.6, False), (77.4, False), (77.6, True)])
def test_more_than_a_point_is_a_warning(JandF_percent: float, suspect: bool) -> None:
    found = line(JandF_percent=JandF_percent)
    assert found is not None
    assert found.is_suspect == suspect
    assert ("a wrong weights file, prompt or size is the usual cause" in str(found)) == suspect


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"imgsz": "512"}, "512 px, not 1024"),
        ({"max_frames": "60"}, "clips cut after 60 frames"),
        ({"frame_stride": "2"}, "frame stride 2"),
        ({"postprocessing": "on"}, "published with --postprocessing off"),
        ({"videos": 10}, "10 of 150 videos"),
        ({"objects": 277}, "277 of 278 objects"),
    ],
)
def test_what_makes_it_another_experiment_is_said(changes: dict[str, Any], said: str) -> None:
    found = line(**changes)
    assert found is not None
    assert found.departures == (said,)
    assert said in str(found)


@pytest.mark.parametrize(
    "changes", [{"prompt": "points"}, {"weights": "random"}, {"weights": "none"}, {"split": "davis"}, {"model": "flow"}]
)
def test_no_line_where_nothing_was_published(changes: dict[str, Any]) -> None:
    assert line(**changes) is None


def test_a_part_of_the_split_is_no_reason_to_warn_but_another_size_is() -> None:
    for changes, suspect in (({"videos": 10}, False), ({"max_frames": "60"}, False), ({"imgsz": "512"}, True)):
        found = line(JandF_percent=60.0, **changes)
        assert found is not None
        assert found.is_suspect == suspect


NANO = "Orin (NVIDIA Jetson Orin Nano Developer Kit)"
SPEED: dict[str, Any] = {
    "model": "sam2_tiny", "imgsz": "1024", "autocast_dtype": "bfloat16", "compile": "off", "runtime": "torch",
    "nvpmodel": "15W", "device_name": NANO, "fps": 2.5,
}  # fmt: skip


def speeds(**changes: Any) -> list[SpeedLine]:
    return speed_lines(**(SPEED | changes))


def test_a_speed_of_the_same_board_stands_beside_the_run_s_own() -> None:
    (found,) = speeds()
    assert found.ratio == pytest.approx(433 / 400)
    assert found.departures == ()
    assert str(found).startswith(
        "reference on Orin Nano: sam2_tiny, 1024 px, bfloat16, 15W: 433 ms per frame (third-party); a user's figure"
    )
    assert str(found).endswith("Here 400.0 ms per frame (x1.08 its speed)")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"nvpmodel": "MAXN_SUPER"}, "power mode MAXN_SUPER here, 15W there"),
        ({"compile": "full max-autotune"}, "--compile full here, off there"),
        ({"runtime": "onnx"}, "--runtime onnx here, torch there"),
        ({"device_name": "NVIDIA A100-SXM4-80GB", "nvpmodel": "?"}, "--compile off here, full there"),
    ],
)
def test_a_speed_taken_otherwise_says_how(changes: dict[str, Any], said: str) -> None:
    (found,) = speeds(**changes)
    assert found.departures == (said,)
    assert said in str(found)


@pytest.mark.parametrize(
    "changes",
    [
        {"device_name": "Orin"},
        {"device_name": "Orin (NVIDIA Jetson Orin NX Engineering Reference Developer Kit)"},
        {"device_name": "NVIDIA RTX A1000"},
        {"model": "sam2_large"},
        {"imgsz": "512"},
        {"autocast_dtype": "float16"},
    ],
)
def test_no_speed_of_another_board_model_size_or_dtype(changes: dict[str, Any]) -> None:
    assert speeds(**changes) == []


def test_a_line_for_any_orin_stands_beside_every_orin() -> None:
    for name in ("Orin", NANO, "Orin (NVIDIA Jetson AGX Orin Developer Kit)"):
        (found,) = speeds(imgsz="768", autocast_dtype="float32", device_name=name, nvpmodel="MAXN")
        assert (found.reference.value, found.here) == (3.5, "2.50 FPS")
