"""Which pictures of openclipart-png are of use."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from training.clip_art import main


def draw(path: Path, share: float, side: int = 120, channels: int = 4) -> None:
    """A square picture of which a band over the whole width is seen, and a pixel in its last row."""
    picture = np.zeros((side, side, channels), np.uint8)
    picture[: round(share * side)] = 255
    picture[-1, -1] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture)


def test_lines_backgrounds_icons_and_signs_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = tmp_path / "png", tmp_path / "out"
    draw(root / "animals/mammals/dog.png", 0.6)
    draw(root / "transportation/ship.png", 0.3)
    draw(root / "animals/hair.png", 0.1)
    draw(root / "animals/scene.png", 0.99)
    draw(root / "animals/icon.png", 0.6, side=64)
    draw(root / "animals/opaque.png", 0.6, channels=3)
    draw(root / "people/stickmen/run.png", 0.6)
    draw(root / "transportation/roadsigns/stop.png", 0.6)
    draw(root / "shapes/star.png", 0.6)
    assert main([str(root), str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["animals_mammals_dog.png", "transportation_ship.png"]
    assert capsys.readouterr().out == f"{out}: 2 pictures\n"


def test_a_folder_without_any_and_wrong_arguments_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "missing"), str(tmp_path / "out")]) == 2
    assert "give usr/share/openclipart/png of the unpacked package" in capsys.readouterr().err
    assert main([]) == 2
    assert capsys.readouterr().err == "usage: python -m training.clip_art PNG_FOLDER OUT\n"
