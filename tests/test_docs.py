"""README and docs: short enough to be read, every command parses, the Python runs, every file and script named is there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_split import TinySplit

import jetson_benchmark
from savbench.plan.command_line import config_of
from savbench.plan.config_file import read_config
from savbench.supervise.cli import main as run

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def commands(page: Path) -> list[list[str]]:
    """Shell commands in the page's code blocks of no other language, in words."""
    blocks = re.findall(r"^ *```(\w*)\n(.*?)^ *```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    lines = "\n".join(text for language, text in blocks if not language).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").split()) < 1200


@by_page
def test_the_commands_of_the_benchmark_parse(page: Path) -> None:
    for words in commands(page):
        if "jetson_benchmark.py" not in " ".join(words[:2]):
            continue
        assert words[0] == ".venv/bin/python", "as it runs after make setup"
        if words[2:] == ["--help"]:
            continue
        arguments = jetson_benchmark.parse(words[2:])
        if arguments.main is run and arguments.config is None:
            config_of(arguments)


def test_the_settings_in_a_file_are_read(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "running.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    (tmp_path / "board.toml").write_text(text)
    assert read_config(tmp_path / "board.toml")["strict"] is True


def test_python_is_written_as_it_runs() -> None:
    """The environment's, as scripts/setup.sh makes it, in every document of the repository."""
    own = ("benchmarks", "docs", "runners", "savbench", "training")
    for page in [*ROOT.glob("*.md"), ROOT / "results" / "README.md", *(page for folder in own for page in (ROOT / folder).rglob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        assert re.findall(r"(?<![\w./])python3? (?:-m |\w+/|jetson_benchmark)", text) == [], page


@by_page
def test_the_flags_of_a_script_are_in_its_usage(page: Path) -> None:
    for words in commands(page):
        words = words[1:] if words[0] == "sudo" else words
        if not re.fullmatch(r"(\./|scripts/)[\w/]+\.sh", words[0]):
            continue
        usage = subprocess.run([str(ROOT / words[0]), "--help"], check=True, capture_output=True, text=True, timeout=30).stdout
        for flag in (word for word in words[1:] if word.startswith("--")):
            assert flag in usage, words


@by_page
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name, _, anchor in (link.partition("#") for link in re.findall(r"\]\(([^):]+)\)", text)):
        linked = page.parent / name if name else page
        assert linked.exists(), name
        if anchor:
            titles = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
    for script in re.findall(r"\b(scripts/[\w.]+\.(?:sh|py))", text):
        assert (ROOT / script).exists(), script


def test_the_python_of_the_readme_runs(tiny_split: TinySplit, tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="needs pandas")
    run = [sys.executable, str(ROOT / "jetson_benchmark.py"), "--split_dir", str(tiny_split.root), "--models", "static_mask"]
    subprocess.run([*run, "--out_dir", str(tmp_path / "run")], check=True, capture_output=True, timeout=300)
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    script = code.replace("results/demo/", f"{tmp_path}/run/")
    assert script != code
    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=100).stdout
    assert "static" in said
