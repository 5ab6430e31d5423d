"""Reference figures: the shipped lines, which board they are about, and files that somebody spoiled."""

from __future__ import annotations

from pathlib import Path

import pytest

from runners import RUNNERS
from savbench.data.csv_file import InputError
from savbench.results.reference import FOLDER, read_references, speeds_of

HEADER = "board,nvpmodel,jetpack,model,imgsz,autocast_dtype,compile,split,figure,value,origin,measured,source"
LINE = "Orin NX,15W,6.2,sam2_tiny,1024,bfloat16,off,,fps,4,ours,compare of a strict run,results of the project"


def test_the_shipped_lines_say_where_they_are_from_and_agree_with_the_models() -> None:
    lines = read_references()
    assert {line.figure for line in lines} == {"latency_ms", "fps", "JandF_percent"}
    assert sum(not line.is_speed for line in lines) >= 12
    assert {line.model for line in lines if not line.is_speed} <= set(RUNNERS)
    assert all(line.board if line.is_speed else line.split for line in lines)
    about = {(line.board, line.origin) for line in lines if line.is_speed}
    assert about == {("A100", "authors"), *((board, "third-party") for board in ("A100", "Orin Nano", "Orin NX", "Orin"))}


def test_every_file_of_the_folder_is_kept_by_git_and_described() -> None:
    assert [path.suffix for path in sorted(FOLDER.iterdir()) if path.suffix != ".csv"] == [".md"]
    description = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in description for name in HEADER.split(","))


def test_lines_of_a_board_the_most_exact_name_first() -> None:
    nano = speeds_of("NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super")
    assert [line.board for line in nano] == ["Orin Nano"] * 2 + ["Orin"] * 4
    assert str(nano[0]) == "sam2_tiny, 1024 px, bfloat16, 15W: 433 ms per frame (third-party)"
    assert str(nano[2]) == "sam2_tiny, 768 px, float32: 3.5 FPS (third-party)"
    assert [line.value for line in speeds_of("NVIDIA Jetson Orin NX 16GB")] == [75.7, 3.5, 3.3, 2.5, 1.4]
    assert speeds_of("NVIDIA A100-PCIE-40GB")[0].latency_ms == pytest.approx(1000 / 91.2)
    assert speeds_of("NVIDIA Jetson AGX Thor Developer Kit") == []
    assert speeds_of("") == []


def test_a_line_of_one_s_own_is_read(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(f"{HEADER}\n{LINE}\n", encoding="utf-8")
    (line,) = speeds_of("Jetson Orin NX", tmp_path)
    assert str(line) == "sam2_tiny, 1024 px, bfloat16, 15W, JetPack 6.2: 4 FPS (ours)"
    assert line.latency_ms == 250.0


def test_no_folder_is_no_line(tmp_path: Path) -> None:
    assert read_references(tmp_path / "nowhere") == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("board,model\nx,y\n", r"mine.csv:1: the columns are not board,nvpmodel"),
        (f"{HEADER}\n{LINE.replace('fps', 'speed')}\n", r"mine.csv:2: figure is 'speed'; use latency_ms or fps or JandF_percent"),
        (f"{HEADER}\n{LINE.replace('ours', 'mine')}\n", r"mine.csv:2: origin is 'mine'"),
        (f"{HEADER}\n{LINE.replace(',4,', ',fast,')}\n", r"mine.csv:2: value is 'fast'; give a number above 0"),
        (f"{HEADER}\n{LINE.replace(',4,', ',0,')}\n", r"mine.csv:2: value is '0'"),
        (f"{HEADER}\n{LINE.replace('results of the project', '')}\n", r"mine.csv:2: source is empty"),
        (f"{HEADER}\n{LINE},more\n", r"mine.csv:2: has another number of cells"),
        (f"{HEADER}\nOrin\n", r"mine.csv:2: has another number of cells"),
    ],
)
def test_a_spoiled_line_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mine.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read_references(tmp_path)
