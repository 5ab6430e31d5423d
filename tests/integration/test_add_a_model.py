"""docs/add-a-model.md, executed: its model in a copy of the code, checked, completed and run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_split import TinySplit

from savbench.results.csv_rows import read_rows
from savbench.results.rows import SummaryRow

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "add-a-model.md").read_text(encoding="utf-8")


def block_after(words: str, language: str) -> str:
    """The first code block after these words of the page."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE[PAGE.index(words) :], flags=re.DOTALL)
    assert found is not None, words
    return found.group(1)


def insert(path: Path, before: str, text: str) -> None:
    whole = path.read_text(encoding="utf-8")
    assert whole.count(before) == 1, before
    path.write_text(whole.replace(before, text + before), encoding="utf-8")


def run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, *map(str, arguments)]
    return subprocess.run(words, check=False, capture_output=True, text=True, cwd=folder, timeout=600)


@pytest.mark.slow
def test_the_page_adds_a_model(tiny_split: TinySplit, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs torch")
    copy = tmp_path / "copy"
    for name in ("attention", "runners", "savbench", "scripts"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "tests" / "runners").mkdir(parents=True)
    for name in ("jetson_benchmark.py", "README.md"):
        shutil.copy(ROOT / name, copy / name)

    insert(copy / "runners" / "__init__.py", '    "static": RunnerSpec(', block_after("## 1. The spec", "python"))
    (copy / "runners" / "template.py").write_text(block_after("`runners/template.py`:", "python"), encoding="utf-8")
    checked = run(copy, "jetson_benchmark.py", "check-model", "template")
    assert checked.returncode == 1, checked.stderr
    failed = [line for line in checked.stdout.splitlines() if line.startswith("failed")]
    assert [line.split(": ")[1] for line in failed] == ["a card for readers", "tests"], checked.stdout
    assert checked.stdout.endswith(block_after("With this model nothing fails", "text"))

    insert(copy / "README.md", "| `static` |", block_after("The line of the README:", "text"))
    test = copy / "tests" / "runners" / "test_template.py"
    test.write_text(block_after("`tests/runners/test_template.py`", "python"), encoding="utf-8")
    tested = run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", test)
    assert tested.returncode == 0, tested.stdout
    checked = run(copy, "jetson_benchmark.py", "check-model", "template")
    assert checked.returncode == 0, checked.stdout

    command = block_after("## 5. The run", "").strip().split()
    assert command[:2] == [".venv/bin/python", "jetson_benchmark.py"]
    split = command.index("--split_dir") + 1
    ran = run(copy, *command[1:split], tiny_split.root, *command[split + 1 :], "--out_dir", tmp_path / "run")
    assert ran.returncode == 0, ran.stderr
    rows = read_rows(SummaryRow, tmp_path / "run" / "summary.csv")
    assert {(row.model, row.prompt, row.status) for row in rows} == {
        ("template", "mask", "ok"), ("template", "bbox", "ok"), ("flow", "mask", "ok"),
    }  # fmt: skip
