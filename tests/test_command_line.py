"""The words of a command line: subcommands, spellings of flags, hints for mistakes, and the help."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import jetson_benchmark
from savbench import __version__
from savbench.arguments.declared import ConfigError, flag_of, settings_of
from savbench.plan.settings import RunConfig
from savbench.supervise.cli import main as run

ROOT = Path(__file__).parents[1]
SPLIT = ("--split_dir", "/split")


@pytest.fixture(autouse=True)
def _narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def said_by(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What --help and --version print."""
    with pytest.raises(SystemExit, match="0"):
        jetson_benchmark.main(words)
    return capsys.readouterr().out


@pytest.mark.parametrize("one", jetson_benchmark.SUBCOMMANDS, ids=lambda one: one.name)
def test_every_subcommand_of_the_table_has_its_help(one: jetson_benchmark.Subcommand, capsys: pytest.CaptureFixture[str]) -> None:
    module = import_module(one.module)
    assert callable(module.main)
    assert callable(module.add_flags)
    help_text = said_by(capsys, one.name, "--help")
    assert help_text.startswith(f"usage: jetson_benchmark.py {one.name}")
    assert max(map(len, help_text.splitlines())) <= 80
    assert not re.search(r"--(\w+_\w+)[ \[]+\1\b", help_text, re.IGNORECASE), "a placeholder says what to give, and not the flag again"
    listed = " ".join(said_by(capsys, "--help").split())
    assert f"{one.name} {one.about}" in listed


def test_help_imports_no_other_subcommand() -> None:
    script = (
        "import sys, contextlib, jetson_benchmark\n"
        "with contextlib.suppress(SystemExit): jetson_benchmark.main(['compare', '--help'])\n"
        "print(sorted(one.name for one in jetson_benchmark.SUBCOMMANDS if one.module in sys.modules))\n"
    )
    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert said.splitlines()[-1] == "['compare']"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compair", "a", "b"], "compair: no such subcommand; did you mean compare?; there are run, compare, report, validate,"),
        (["results/run"], "results/run: no such subcommand; there are run, compare,"),
        ([*SPLIT, "--modles", "static_mask"], "--modles: no such flag; did you mean --models?"),
        (["--splitdir", "/split"], "--splitdir: no such flag; did you mean --split_dir?"),
        (["--splitt_dir=/split"], "--splitt_dir: no such flag; did you mean --split_dir?"),
        (["run", *SPLIT, "--warm-up", "3"], "--warm-up: no such flag; did you mean --warmup_frames?"),
        ([*SPLIT, "--entirely_else"], "--entirely_else: no such flag; see --help"),
        (["compare", "a", "--basline", "b"], "compare: --basline: no such flag; did you mean --baseline?"),
        (["compare", "a", "--format", "markdwon"], "--format markdwon: use table, markdown, latex, csv or json; did you mean markdown?"),
        ([*SPLIT, "--autocast_dtype", "bfloat"], "--autocast_dtype bfloat: use float32, float16 or bfloat16; did you mean bfloat16?"),
        (["attention", "--models", "sam2_tinny"], "; did you mean sam2_tiny?"),
        ([], "--split_dir: not given; it names the folder of a data set"),
        (["--models", "static_mask"], "--split_dir: not given"),
    ],
)
def test_a_mistake_is_answered_with_what_is_near(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert jetson_benchmark.main(words) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_a_mistyped_model_is_answered_with_the_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tiny_split import TinySplit, rectangle

    split = TinySplit(tmp_path)
    split.write_video("alpha", 9, {"000": [rectangle(4, 2, 8, 8)] * 3})
    (split.root / "sav_tiny.txt").write_text("alpha\n")
    assert jetson_benchmark.main(["--split_dir", str(split.root), "--models", "sam2_bse_points", "--out_dir", str(tmp_path / "run")]) == 2
    assert "--models sam2_bse_points: no such model; did you mean sam2_base_points?; known are" in capsys.readouterr().err


def test_flags_may_have_dashes() -> None:
    for words in (["--split-dir=/split", "--autocast-dtype", "float32", "--save-masks"], ["run", "--split_dir", "/split"]):
        assert jetson_benchmark.parse(words).split_dir == Path("/split")
    args = jetson_benchmark.parse([*SPLIT, "--autocast-dtype", "float32", "--joint-objects"])
    assert (args.autocast_dtypes, args.joint_objects, args.main) == (("float32",), True, run)
    assert jetson_benchmark.parse(["compare", "a-b", "--fail-if", "lost>0"]).fail_if == ["lost>0"]
    assert jetson_benchmark.parse(["compare", "--", "--odd-name"]).paths == [Path("--odd-name")]


def test_what_belongs_to_a_subcommand_is_not_taken_for_a_flag_of_the_command() -> None:
    with pytest.raises(ConfigError, match="--limit_videos: no such flag"):
        jetson_benchmark.parse(["compare", "a", "--limit_videos", "1"])


def test_the_help_shows_the_flags_that_most_runs_need_and_help_all_shows_all(capsys: pytest.CaptureFixture[str]) -> None:
    common = {flag_of(field) for field, declared in settings_of(RunConfig) if declared.common}
    every = {flag_of(field) for field, _ in settings_of(RunConfig)}
    assert len(common) == 10
    for words in (["--help"], ["run", "--help"], ["-h"]):
        text = said_by(capsys, *words)
        assert {flag for flag in every if f"\n  {flag}" in text} == common
        assert "--help_all" in text
        assert max(map(len, text.splitlines())) <= 80
    for words in (["--help_all"], ["--help-all"], ["run", "--help-all"]):
        text = said_by(capsys, *words)
        assert all(f"\n  {flag}" in text for flag in every)
        assert max(map(len, text.splitlines())) <= 80
        assert text.count("onnx-tensorrt") == text.count("sav-json") == text.count("davis2017") == 1, "values are listed once"
        assert text.index("flags that most runs need:") < text.index("\ndata:") < text.index("\noutput:")


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert said_by(capsys, "--version") == f"jetson_benchmark {__version__}\n"
