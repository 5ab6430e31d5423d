"""Tables of text and the figures in them."""

from __future__ import annotations

import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from savbench.results.grid import Grid, markdown_table, shortened, text_table, width_of
from savbench.results.numbers import difference, number, ratio

GRID = Grid(
    ["arm", "objects", "J", "J&F", "verdict"],
    [["a_long_label_that_ends_in_1", "10 + 1 oom", "0.5000", "0.6000", "better"], ["a_long_label_that_ends_in_2", "2", "", "0.1000", "~"]],
    left=1,
    drop=("J", "gone", "objects"),
)


def test_columns_go_by_importance_and_are_named() -> None:
    whole = text_table(GRID)
    assert whole.splitlines()[0] == "arm                             objects       J     J&F  verdict"
    assert text_table(GRID, 70) == whole
    without = text_table(GRID, 54).splitlines()
    assert without[0] == "arm                     objects     J&F  verdict"[:0] + without[0]
    assert "J  " not in without[0].split("objects")[1].split("J&F")[0]
    assert without[-1] == "not shown in 54 columns: J"
    assert max(map(len, without)) <= 54
    narrow = text_table(GRID, 40).splitlines()
    assert narrow[-1] == "not shown in 40 columns: J, objects"
    assert max(map(len, narrow)) <= 40
    assert narrow[2].split()[0] != narrow[3].split()[0]


@given(st.lists(st.text("ab_", min_size=1, max_size=40), min_size=1, max_size=6), st.integers(8, 40))
def test_labels_stay_different(labels: list[str], width: int) -> None:
    short = shortened(labels, width)
    assert len(set(short)) == len(set(labels))
    assert all(len(label) <= max(width, len(of)) for label, of in zip(short, labels, strict=True))


def test_cells_are_text_and_stay_as_they_are() -> None:
    rows = [["1e5", "0010", "1,000"], ["", "  x", "\\"]]
    assert text_table(Grid(["a", "b", "c"], rows, left=2)).splitlines()[2:] == ["1e5  0010  1,000", "     x     \\"]


def test_markdown_marks_and_escapes() -> None:
    table = markdown_table(Grid(["model", "J&F"], [["a|b", "1.0"], ["c", "2.0"]]), [("", "second"), ("", "best")])
    assert [" ".join(line.split()) for line in table.splitlines()] == [
        "| model | J&F |", "|:--------|-----------:|", "| a\\|b | <u>1.0</u> |", "| c | **2.0** |",
    ]  # fmt: skip
    assert markdown_table(Grid(["a"], [])) == ""


def test_a_pipe_has_no_width_unless_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert width_of(io.StringIO()) is None
    monkeypatch.setenv("COLUMNS", "72")
    assert width_of(io.StringIO()) == 72


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (0.0, "0"), (-0.0, "0"), (54910.06, "54910"), (123.44, "123.4"), (54.56, "54.56"), (1.25, "1.250"), (0.0182, "0.01820"),
     (0.0000123, "1.230e-05"), (math.inf, "inf")],
)  # fmt: skip
def test_numbers_have_four_digits(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0000"), (-0.0, "0.0000"), (-0.00002, "-2e-05"), (0.00004, "+4e-05"), (-0.0257, "-0.0257"), (1.0, "+1.0000")],
)
def test_a_difference_that_is_not_zero_does_not_read_as_zero(value: float, text: str) -> None:
    assert difference(value) == text


@pytest.mark.parametrize(("value", "text"), [(1.25, "x1.250"), (0.5, "x0.500"), (0.0013, "x0.00130"), (19.32, "x19.32"), (2500.0, "x2500")])
def test_ratios(value: float, text: str) -> None:
    assert ratio(value) == text
