"""docs/architecture: the figure shows the imports as they are, and the page names files that exist."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"


def test_the_figure_is_what_the_script_draws() -> None:
    draw = runpy.run_path(str(ROOT / "scripts" / "draw_architecture.py"))["draw"]
    assert (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8") == draw(), "run scripts/draw_architecture.py"


def test_every_file_that_the_page_names_exists() -> None:
    named = set(
        re.findall(r"`((?:savbench|runners|attention|scripts|tests|results|docs|training)/[\w./-]+)`", PAGE.read_text(encoding="utf-8"))
    )
    assert len(named) > 20
    assert {name for name in named if not (ROOT / name).exists()} == set()
