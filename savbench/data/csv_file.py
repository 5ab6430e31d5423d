"""Reading CSV files as text cells with line numbers, also after crashes, re-encoding or concatenation."""

from __future__ import annotations

import codecs
import csv
import io
from dataclasses import dataclass, field
from pathlib import Path

from savbench.arguments.errors import UserError

_ZIP = b"PK\x03\x04"
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    # before UTF-16, whose mark is a prefix of this one
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


_NA = "NaN"


class InputError(UserError, ValueError):
    """A file or an argument cannot be used; the message names the file and the line, and says what to do."""


@dataclass
class CsvFile:
    """The rows of a file by column.

    Attributes:
        columns: cells by column, in the order of the header, all as long as `lines`. An empty cell is ""; None means that the row comes
                    from a part of a concatenated file without this column.
        lines: first line of each row, counted from 1.
        notes: what was left out or repaired, with file and line.
    """

    path: Path
    columns: dict[str, list[str | None]]
    lines: list[int]
    notes: list[str] = field(default_factory=list)


@dataclass
class _Part:
    """A header and its rows."""

    header: list[str]
    line: int
    rows: list[list[str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)


def read_csv(path: Path, required: tuple[str, ...]) -> CsvFile:
    """Read a file whole.

    Accepts UTF-8, and UTF-16 and UTF-32, which it detects by their marks or zero bytes. A repeated header, as in concatenated files, starts
    a
        new part, which may have other columns. A last row that was cut off is left out and noted.

    Args:
        required: columns that identify a header.

    Raises:
        InputError: the file cannot be read or is not such a CSV.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; give a summary.csv or the folder of a run") from error
    notes: list[str] = []
    text = _decode(path, data, notes)
    parts = _parse(path, text, required, notes)
    names = list(dict.fromkeys(name for part in parts for name in part.header))
    columns: dict[str, list[str | None]] = {name: [] for name in names}
    for part in parts:
        cells = dict(zip(part.header, zip(*part.rows, strict=True), strict=True)) if part.rows else {}
        for name, column in columns.items():
            column.extend(cells.get(name, (None,) * len(part.rows)))
    _empty_again(path, columns, notes)
    lines = [line for part in parts for line in part.lines]
    if not lines:
        raise InputError(f"{path}:{parts[0].line}: a header and no rows; give a run that has finished at least one object")
    return CsvFile(path, columns, lines, notes)


def _empty_again(path: Path, columns: dict[str, list[str | None]], notes: list[str]) -> None:
    """Empty the cells that pandas filled with na_rep="NaN": a file with no empty cell and with a column of only "NaN"."""
    if any("" in cells for cells in columns.values()) or not any(set(cells) == {_NA} for cells in columns.values()):
        return
    for name, cells in columns.items():
        columns[name] = ["" if cell == _NA else cell for cell in cells]
    notes.append(f"{path}: written with {_NA} for empty cells, as pandas does with na_rep; these cells count as empty")


def _decode(path: Path, data: bytes, notes: list[str]) -> str:
    encoding = "utf-8"
    if data.startswith(_ZIP):
        raise InputError(
            f"{path}: an archive, not a CSV file; show sealed runs with `jetson_benchmark.py merge`, or unpack it and give its folder"
        )
    for mark, name in _BOMS:
        if data.startswith(mark):
            data, encoding = data[len(mark) :], name
            break
    else:
        head = data[:4096]
        if head.count(0) > len(head) // 4:
            encoding = "utf-16-le" if head[1::2].count(0) > head[::2].count(0) else "utf-16-be"
    if encoding == "utf-8":
        # after a power cut a file may end in zeros that were never overwritten
        data = data.rstrip(b"\0")
    if not data.strip():
        raise InputError(f"{path}:1: the file is empty; give a results file with a header and rows")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        whole = data[: error.start].decode(encoding)
        line = whole.count("\n") + 1
        if "\n".encode(encoding) in data[error.start :] or line == 1:
            raise InputError(
                f"{path}:{line}: not {encoding.upper()} text (byte 0x{data[error.start]:02x}); save the file as UTF-8 CSV"
            ) from error
        notes.append(f"{path}:{line}: the last row was cut off and is left out")
        text = whole[: whole.rfind("\n") + 1]
    if "\0" in text:
        raise InputError(f"{path}:{text[: text.index(chr(0))].count(chr(10)) + 1}: contains binary data; give a CSV file")
    return text


def _parse(path: Path, text: str, required: tuple[str, ...], notes: list[str]) -> list[_Part]:
    parts: list[_Part] = []
    names: frozenset[str] = frozenset()
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    last_line = text.rstrip("\r\n").count("\n") + 1
    begins = 1
    try:
        for cells in reader:
            line, begins = begins, reader.line_num + 1
            if not cells:
                continue
            if not parts or (cells[0].strip() in names and set(required) <= {cell.strip() for cell in cells}):
                parts.append(_Part(_header(path, line, cells, required), line))
                names = frozenset(parts[-1].header)
                continue
            part = parts[-1]
            if len(cells) == len(part.header):
                part.rows.append(cells)
                part.lines.append(line)
            elif len(cells) < len(part.header) and reader.line_num >= last_line:
                notes.append(f"{path}:{line}: the last row has {len(cells)} of {len(part.header)} cells, was cut off and is left out")
            else:
                raise InputError(f"{path}:{line}: {len(cells)} cells, but the header has {len(part.header)}; correct or remove that line")
    except csv.Error as error:
        if begins < last_line or not parts:
            raise InputError(f"{path}:{begins}: not a row of a CSV ({error}); correct or remove that row") from error
        notes.append(f"{path}:{begins}: the last row was cut off within quotes and is left out")
        return parts
    if not parts:
        raise InputError(f"{path}:1: the file is empty; give a results file with a header and rows")
    _drop_unended_row(path, text, parts[-1], notes)
    return parts


def _drop_unended_row(path: Path, text: str, part: _Part, notes: list[str]) -> None:
    """Drop a last row without a line break: its last cell may be incomplete. This benchmark ends every complete row with a line break."""
    if text.endswith(("\n", "\r")) or not part.rows or "run_id" not in part.header:
        return
    line = part.lines.pop()
    part.rows.pop()
    notes.append(f"{path}:{line}: the last row was cut off (no line break) and is left out")


def _header(path: Path, line: int, cells: list[str], required: tuple[str, ...]) -> list[str]:
    names = [cell.strip() for cell in cells]
    missing = [name for name in required if name not in names]
    if missing:
        shown = ",".join(names)[:60]
        for separator, word in ((";", "semicolons"), ("\t", "tabs")):
            if len(names) == 1 and separator in shown:
                raise InputError(f"{path}:{line}: cells are separated by {word}; export the file with commas")
        raise InputError(f"{path}:{line}: not a results file, no column {', '.join(missing)} in its header ({shown!r}); give a summary.csv")
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice:
        raise InputError(f"{path}:{line}: the header names {twice} twice; remove one of the columns")
    return names
