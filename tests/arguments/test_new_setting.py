"""A setting is one edit: a field that is added to a copy of the settings reaches everything that is derived from them."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_split import TinySplit, rectangle

ROOT = Path(__file__).parents[2]
FIELD = """\
    gamma: float = setting(
        Real(0.1, 9), MEASURING, "brighten frames", Column("gamma", "--gamma: exponent.", Compared.MUST_AGREE), default=1.0, decides=True
    )
"""
SCRIPT = """\
import contextlib, dataclasses, io, json, sys
from pathlib import Path
import jetson_benchmark
from savbench.arguments.declared import ConfigError, made_from
from savbench.plan.arms import plan_arms
from savbench.plan.settings import RunConfig
from savbench.results.dictionary import dictionary
from savbench.results.rows import SummaryRow

@dataclasses.dataclass
class Options:
    gamma: float

split, out = sys.argv[1:]
found = {}

def command(*arguments):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            status = jetson_benchmark.main(arguments)
        except SystemExit as ended:
            status = ended.code
    return status, said.getvalue()

found["help"] = command("--help_all")[1]
found["refused"] = command("--split_dir", split, "--models", "static_mask", "--gamma", "inf")
config = RunConfig(split_dir=Path(split), models=("static_mask",), gamma=2.0)
found["json"] = RunConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
found["arms"] = [plan_arms(dataclasses.replace(config, gamma=gamma), "s")[0].arm_id for gamma in (1.0, 2.0)]
found["options"] = made_from(Options, config).gamma
found["dictionary"] = "| `gamma` | --gamma: exponent. |" in dictionary(SummaryRow)
for gamma in ("1", "2"):
    run = ("--split_dir", split, "--models", "static_mask", "--power", "none", "--gamma", gamma, "--out_dir", f"{out}/{gamma}")
    found[gamma] = command(*run)
found["compared"] = command("compare", f"{out}/1", f"{out}/2")
found["by"] = command("compare", f"{out}/1", f"{out}/2", "--by", "gamma", "--force")  # other programs may have been at work
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the script finds in a copy of the benchmark whose settings have one field more."""
    copy = tmp_path_factory.mktemp("benchmark")
    shutil.copytree(ROOT / "savbench", copy / "savbench", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "jetson_benchmark.py", copy)
    for package in ("runners", "attention"):
        (copy / package).symlink_to(ROOT / package)
    settings = copy / "savbench" / "plan" / "settings_measuring.py"
    source = settings.read_text(encoding="utf-8")
    settings.write_text(source + FIELD, encoding="utf-8")
    split = TinySplit(tmp_path_factory.mktemp("split"))
    split.write_video("alpha", 9, {"000": [rectangle(4, 2, 8, 8)] * 3})
    (split.root / "sav_tiny.txt").write_text("alpha\n")
    command = [sys.executable, "-c", SCRIPT, str(split.root), str(copy / "results")]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**answers, "rows": {gamma: (copy / "results" / gamma / "summary.csv").read_text(encoding="utf-8") for gamma in ("1", "2")}}


def test_it_is_a_flag_with_its_help_and_range(found: dict[str, Any]) -> None:
    assert "brighten frames (default 1)" in " ".join(found["help"].split())
    assert found["refused"] == [2, "jetson_benchmark: --gamma inf: use 0.1 to 9\n"]


def test_it_survives_json_and_makes_another_arm(found: dict[str, Any]) -> None:
    assert found["json"]
    default, other = found["arms"]
    assert default != other


def test_a_dataclass_with_a_field_of_its_name_takes_it(found: dict[str, Any]) -> None:
    assert found["options"] == 2.0


def test_rows_and_their_dictionary_have_its_column(found: dict[str, Any]) -> None:
    assert found["dictionary"]
    for gamma, text in found["rows"].items():
        assert found[gamma][0] == 0, found[gamma][1]
        assert {row["gamma"] for row in csv.DictReader(text.splitlines())} == {f"{gamma}.0"}


def test_compare_refuses_rows_that_differ_in_it(found: dict[str, Any]) -> None:
    status, said = found["compared"]
    assert status == 2
    assert "gamma: 1 and 2" in said
    assert "--by gamma" in said
    assert found["by"][0] == 0, found["by"][1]
