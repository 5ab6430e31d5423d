from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

import jetson_benchmark
from savbench.arguments.compound import AllOrWorst, Factor, Part, Pixel
from savbench.arguments.values import (
    INPUT_PATH,
    SEED,
    Choice,
    ChoiceOrFile,
    Device,
    FilePath,
    Kind,
    ListOf,
    NumberOrWord,
    Real,
    Text,
    Whole,
)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Whole(0, 9), "9", 9),
        (Real(0, 9), "1e0", 1.0),
        (NumberOrWord(Real(1, 9), "auto"), "auto", "auto"),
        (NumberOrWord(Real(1, 9), "auto"), "2.5", 2.5),
        (Choice(("a", "b")), "b", "b"),
        (ListOf(Whole(1, 9)), " 1, 2 ,", (1, 2)),
        (Part(), "2/4", (2, 4)),
        (Device(), "cuda:1", "cuda:1"),
        (ChoiceOrFile(("a", "b"), prefix="csv"), "b", "b"),
        (ChoiceOrFile(("a", "b"), prefix="csv"), "csv:/a/b:c.csv", "csv:/a/b:c.csv"),
        (Factor(0.2, 5), "1.085", (1.085, None)),
        (Factor(0.2, 5), "1.085+-0.013", (1.085, 0.013)),
        (INPUT_PATH, "a/b", Path("a/b")),
        (AllOrWorst(50), "all", "all"),
        (AllOrWorst(50), "worst:50", "worst:50"),
    ],
)
def test_a_value_is_read_shown_and_survives_json(kind: Kind, text: str, value: Any) -> None:
    assert kind(text) == value
    assert kind.from_json(json.loads(json.dumps(kind.to_json(value)))) == value
    assert kind(kind.show(value)) == value


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (Whole(1, 9, unit="frames"), "x", "x: give a whole number of frames, for example 1"),
        (Whole(1, 9, unit="frames"), "0", "0: use 1 to 9 frames"),
        (Whole(1, 9), "1.5", "1.5: give a whole number, for example 1"),
        (Real(0.5, 9, unit="seconds", hint="or wait"), "nan", "nan: use 0.5 to 9 seconds; or wait"),
        (Real(0.5, 9), "1,5", "1,5: give a number, for example 1"),
        (NumberOrWord(Real(1, 9, unit="MiB"), "auto"), "all", "all: give a number of MiB, for example 1, or auto"),
        (NumberOrWord(Real(1, 9, unit="MiB"), "auto"), "0", "0: use 1 to 9 MiB, or auto"),
        (Choice(("a", "b", "c"), hint="as ever"), "d", "d: use a, b or c; as ever"),
        (ChoiceOrFile(("a", "b"), prefix="csv"), "d", "d: use a, b or csv:FILE"),
        (ChoiceOrFile(("a", "b"), prefix="csv"), "csv:", "the path is empty; give one"),
        (Factor(0.2, 5), "large", "large: give a factor and its standard error, for example 1.085+-0.013"),
        (Factor(0.2, 5), "1.1+-x", "1.1+-x: give a factor and its standard error"),
        (Factor(0.2, 5), "8", "8: the factor must be from 0.2 to 5"),
        (Factor(0.2, 5), "1.1+--1", "1.1+--1: the error must be from 0 to the factor"),
        (Factor(0.2, 5), "1.1+-nan", "1.1+-nan: the error must be from 0 to the factor"),
        (ListOf(Whole(1, 9)), ",", "the list is empty; name at least one"),
        (ListOf(Whole(1, 9), may_be_empty=True), "", "the list is empty; name at least one"),
        (ListOf(Whole(1, 9)), "1,1", "1,1: names a value twice"),
        (ListOf(Choice(("a", "b"))), "a,c", "c: use a or b"),
        (Part("shards"), "2", "2: give one of the shards and their number, for example 2/4"),
        (Part("shards"), "1/0", "1/0: use 1 to 1000000 shards"),
        (AllOrWorst(50), "worst", "worst: use all, or worst:N with N from 1 to 50, for example worst:10"),
        (AllOrWorst(50), "worst:0", "worst:0: use all, or worst:N"),
        (AllOrWorst(50), "worst:51", "worst:51: use all, or worst:N"),
        (AllOrWorst(50), "10", "10: use all, or worst:N"),
        (Text(), "", "the value is empty; give one, or leave the flag out"),
        (FilePath(), "", "the path is empty; give one"),
        (FilePath(), "~nobody-of-that-name/x", "~nobody-of-that-name/x: there is no such home folder; give the full path"),
        (SEED, str(2**32), f"{2**32}: use 0 to {2**32 - 1}"),
        (SEED, "9" * 5000, "give a whole number"),
    ],
)
def test_what_is_no_value_is_refused_with_what_to_give(kind: Kind, text: str, message: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as refused:
        kind(text)
    assert message in str(refused.value)


def test_a_path_is_absolute_where_that_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert FilePath(absolute=True)("a") == tmp_path / "a"
    assert FilePath()("a") == Path("a")


def test_a_current_folder_that_is_gone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(argparse.ArgumentTypeError, match="the current folder is gone"):
        FilePath(absolute=True)("a")


@pytest.mark.parametrize(
    "arguments",
    [
        ("compare", "~/nothing.csv"),
        ("report", "~/nothing.csv"),
        ("report", "~/nothing.csv", "-o", "~/page.html"),
        ("validate", "~/nothing"),
        ("attention", "--accuracy", "~/nothing"),
        ("attention", "--models", "sam2_tiny", "--weights_dir=~/nothing"),
        ("attention", "--sam2_dir=~/nothing"),
        ("attention", "--edgetam_dir=~/nothing"),
    ],
)
def test_subcommands_find_the_home_folder(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert jetson_benchmark.main(arguments) == 2
    assert str(tmp_path / "nothing") in capsys.readouterr().err


def test_demo_data_is_written_into_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    small = ("--videos", "1", "--frames", "24", "--height", "64", "--width", "64")
    assert jetson_benchmark.main(["demo-data", "~/demo", *small]) == 0
    assert (tmp_path / "demo" / "sav_demo.txt").is_file()
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("compare", "x.csv", "--resamples", "nan"),
        ("compare", "x.csv", "--top", "-1"),
        ("report", "x.csv", "--objects", "1e9"),
        ("demo-data", "out", "--videos", "0"),
        ("demo-data", "out", "--frames", "inf"),
        ("demo-data", "out", "--width", "1000000"),
        ("attention", "--min_time", "nan"),
        ("attention", "--min_time", "inf"),
        ("attention", "--repeats", "0"),
        ("attention", "--seed", "-1"),
        ("attention", "--device", "tpu"),
        ("attention", "--num_maskmem", "8"),
        ("validate", "x", "--nothing"),
        ("doctor", "--split_dir", ""),
    ],
)
def test_bad_arguments_of_subcommands_end_with_2_and_one_line(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert jetson_benchmark.main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"jetson_benchmark {arguments[0]}: ")
    assert said.count("\n") == 1


def test_a_pixel_is_two_numbers_that_may_be_equal() -> None:
    assert Pixel()("5,5") == (5, 5)
    for text in ("5", "5,", "a,b", "", "-1,2"):
        with pytest.raises((ValueError, argparse.ArgumentTypeError), match=r"give a pixel as X,Y|counted from 0"):
            Pixel()(text)
