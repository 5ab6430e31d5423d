from __future__ import annotations

from pathlib import Path

import pytest

from savbench.data.csv_file import InputError, read_csv

KEY = ("video", "model")
GOOD = "video,model,J\na,m,0.5\nb,m,0.25\n"


def write(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "file.csv"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_encodings_and_line_ends(tmp_path: Path, encoding: str, line_end: str) -> None:
    found = read_csv(write(tmp_path, GOOD.replace("\n", line_end).encode(encoding)), KEY)
    assert found.columns == {"video": ["a", "b"], "model": ["m", "m"], "J": ["0.5", "0.25"]}
    assert found.lines == [2, 3]
    assert found.notes == []


def test_concatenated_files_may_have_other_columns(tmp_path: Path) -> None:
    found = read_csv(write(tmp_path, (GOOD + "model,F,video\nm,0.1,c\n").encode()), KEY)
    assert found.columns == {"video": ["a", "b", "c"], "model": ["m", "m", "m"], "J": ["0.5", "0.25", None], "F": [None, None, "0.1"]}
    assert found.lines == [2, 3, 5]


def test_lines_are_counted_through_line_breaks_within_quotes(tmp_path: Path) -> None:
    found = read_csv(write(tmp_path, b'video,model\n"a\nb",m\n\nc,m\n'), KEY)
    assert found.columns["video"] == ["a\nb", "c"]
    assert found.lines == [2, 5]


@pytest.mark.parametrize(
    "tail",
    [b"c,m", b"c", b'c,"m', b"c\n", b"c,m,0.5\xc3", b"c,m\0\0\0\0"],
    ids=["two cells", "one cell", "open quote", "short line", "half a character", "zeros of a power cut"],
)
def test_a_half_row_at_the_end_is_said_and_left_out(tmp_path: Path, tail: bytes) -> None:
    path = write(tmp_path, GOOD.encode() + tail)
    found = read_csv(path, KEY)
    assert found.columns["video"] == ["a", "b"]
    (note,) = found.notes
    assert note.startswith(f"{path}:4: ")
    assert "left out" in note


def test_a_whole_row_without_line_break_is_cut_only_where_rows_always_have_one(tmp_path: Path) -> None:
    other_tool = read_csv(write(tmp_path, GOOD.encode().rstrip()), KEY)
    assert other_tool.columns["video"] == ["a", "b"]
    own = read_csv(write(tmp_path, b"video,model,run_id\na,m,run\nb,m,ru"), KEY)
    assert own.columns["video"] == ["a"]
    assert ":3: " in own.notes[0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", ":1: the file is empty"),
        (b" \n\n", ":1: the file is empty"),
        (b"\0\0\0\0", "the file is empty|binary"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", ":1: "),
        (b"hello\n", r":1: not a results file, no column video, model.*'hello'"),
        (b"video;model\na;m\n", ":1: .*semicolons"),
        (b"video\tmodel\na\tm\n", ":1: .*tabs"),
        (b"video,model\n", ":1: a header and no rows"),
        (b"video,model,J,J\na,m,1,1\n", ":1: the header names J twice"),
        (b"video,model\na,m\nb,m,surplus\nc,m\n", ":3: 3 cells, but the header has 2"),
        (b"video,model\na\nb,m\n", ":2: 1 cells, but the header has 2"),
        (b'video,model\na,m\nb,"m\nc,m\nd,m\n', ":3: not a row of a CSV"),
        (b"video,model\na,m\nb,\xe9\nc,m\n", ":3: not UTF-8 text .byte 0xe9."),
        (b"video,model\na,m\nb,m\0x\nc,m\n", ":3: contains binary data"),
    ],
)
def test_what_is_no_such_csv_is_named_with_its_line(tmp_path: Path, data: bytes, message: str) -> None:
    path = write(tmp_path, data)
    with pytest.raises(InputError, match=message) as caught:
        read_csv(path, KEY)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"No such file.*give a summary\.csv"):
        read_csv(tmp_path / "gone.csv", KEY)
