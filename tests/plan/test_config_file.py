"""--config: settings in a TOML file, and the file in a run's folder that reproduces it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path

import pytest
from tiny_split import TinySplit

import jetson_benchmark
from savbench.arguments.declared import settings_of
from savbench.arguments.values import Kind, Number
from savbench.plan.command_line import config_of
from savbench.plan.config_file import config_text, read_config
from savbench.plan.settings import RunConfig
from savbench.results.csv_rows import read_rows
from savbench.results.rows import SummaryRow

TEXTS = ('3 "quoted" \\ \x7f ü', "2/4", "auto", "float32,float16", "3,4", "1.5", "worst:3")
"""Values of settings that are not numbers, the first one that a setting can read."""


def config(*words: str) -> RunConfig:
    return config_of(jetson_benchmark.parse(["run", *words]))


def write(folder: Path, text: str) -> str:
    path = folder / "own.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_file_gives_settings_and_the_command_line_wins(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        'split_dir = "/split"\nmodels = ["static_mask", "flow_mask"]\nautocast-dtype = "float32,bfloat16"\nimgsz = [512, 1024]\n'
        "realtime = true\nmin_time = 1.5\nstrict = true\nseed = 3\nshard = '2/4'\ncompile = 'off'\n",
    )
    read = config("--config", path)
    assert (read.split_dir, read.models, read.autocast_dtypes) == (Path("/split"), ("static_mask", "flow_mask"), ("float32", "bfloat16"))
    assert (read.imgsz, read.realtime_fps, read.min_time_s, read.strict) == ((512, 1024), 24.0, 1.5, True)
    assert (read.seed, read.shard, read.compile) == (3, (2, 4), "off")
    changed = config("--config", path, "--models", "flow_mask", "--seed", "4", "--no_strict", "--no-joint-objects")
    assert changed == dataclasses.replace(read, models=("flow_mask",), seed=4, strict=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modles = 'static_mask'", "own.toml: modles: no such setting; did you mean models?"),
        ("entirely_else = 1", "own.toml: entirely_else: no such setting; see --help_all"),
        ("[run]\nseed = 1", "own.toml: run: no such setting"),
        ("[models]\nseed = 1", "own.toml: models = {'seed': 1}: write a text or a number"),
        ("seed = 'x'", "own.toml: seed = x: give a whole number, for example 1"),
        ("seed = -1", "--seed -1: use 0 to 4294967295"),
        ("strict = 'yes'", "own.toml: strict = 'yes': write true or false"),
        ("compile = false", "own.toml: compile = False: write a text or a number"),
        ("compile = 'ful'", "--compile ful: use off, encoder or full; did you mean full?"),
        ("device = ['cpu']", "own.toml: device = ['cpu']: write a text or a number"),
        ("models = static_mask", "own.toml: not TOML ("),
        ("seed = 1\nseed = 2", "own.toml: not TOML ("),
    ],
)
def test_what_a_file_cannot_say(tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert jetson_benchmark.main(["--split_dir", "/split", "--config", write(tmp_path, text)]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_a_file_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bytes.toml").write_bytes(b"seed = \xff")
    for path, message in (
        ("gone.toml", "No such file or directory; give a TOML file"),
        (".", "Is a directory"),
        ("bytes.toml", "not TOML"),
    ):
        assert jetson_benchmark.main(["--config", str(tmp_path / path)]) == 2
        assert message in capsys.readouterr().err


def another(kind: Kind) -> object:
    if not kind.metavar:
        return True
    for text in (kind.show(kind.high),) if isinstance(kind, Number) else TEXTS:
        with contextlib.suppress(ValueError):
            return kind.parse(text)
    raise AssertionError(f"TEXTS has no value for {kind}")


def test_every_setting_survives_the_file(tmp_path: Path) -> None:
    """Each alone, because many exclude each other; the file is read before they are checked against each other."""
    for field, declared in settings_of(RunConfig):
        value = another(declared.kind)
        settings = RunConfig(split_dir=Path("/split"))
        object.__setattr__(settings, field.name, value)
        read = read_config(Path(write(tmp_path, config_text(settings))))
        assert read == ({} if field.name == "out_dir" else {field.name: value}) | {
            name: kept for name, kept in vars(settings).items() if name in read and name != field.name
        }, field.name


def test_the_file_of_a_run_repeats_it(tiny_split: TinySplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--split_dir", str(tiny_split.root), "--models", "static_mask", "--limit-videos", "1", "--seed", "7", "--power", "none"]
    assert jetson_benchmark.main([*words, "--save-masks", "--out_dir", "first"]) == 0
    assert jetson_benchmark.main(["run", "--config", "first/config.toml"]) == 0
    (second,) = (tmp_path / "results").iterdir()
    for name in ("video", "object", "arm_id", "J", "F", "seed", "frames"):
        first_rows, second_rows = (
            [getattr(row, name) for row in read_rows(SummaryRow, run / "summary.csv")] for run in (Path("first"), second)
        )
        assert first_rows == second_rows
        assert first_rows
    settings = [json.loads((run / "environment.json").read_text())["invocations"][0]["arguments"] for run in (Path("first"), second)]
    assert {**settings[0], "out_dir": None} == {**settings[1], "out_dir": None}
    assert (second / "config.toml").read_text() == Path("first/config.toml").read_text()
    assert (second / "masks").is_dir()
