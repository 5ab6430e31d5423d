"""The leaderboard as leaderboard.csv and as one self-contained page."""

from __future__ import annotations

import csv
import datetime
import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from savbench.report.charts import Figure
from savbench.report.packages import require
from savbench.report.page import TEMPLATES
from savbench.report.svg import to_svgs
from savbench.report.tradeoffs import accuracy_against_speed
from savbench.results.cells import to_text
from savbench.results.text import for_spreadsheet
from savbench.seal.leaderboard import as_records, table_of

if TYPE_CHECKING:
    from savbench.seal.leaderboard import Leaderboard

_OWN = Path(__file__).parent / "templates"


def render_csv(board: Leaderboard) -> str:
    """A line per arm, figures in full; texts cannot run as formulas."""
    records = as_records(board)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows([{name: for_spreadsheet(to_text(content)) for name, content in record.items()} for record in records])
    return buffer.getvalue()


def render_page(board: Leaderboard, title: str) -> str:
    """The page: a table and a chart per group. It has no script and requests nothing.

    Raises:
        ReportError: a package is missing.
    """
    jinja2 = require("jinja2", "jinja2>=3.1", "merge")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([_OWN, TEMPLATES]), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    markup = jinja2.utils.markupsafe.Markup
    groups = []
    for index, group in enumerate(board.groups):
        figure = accuracy_against_speed(group.arms()) if group.arms() else None
        drawn = figure if isinstance(figure, Figure) else None
        chart = markup(to_svgs(replace(drawn, key=f"{drawn.key}-{index}"))) if drawn else ""
        groups.append({"group": group, "table": table_of(group), "figure": drawn, "chart": chart})
    text: str = environment.get_template("leaderboard.html.j2").render(
        board=board,
        title=title,
        groups=groups,
        made_at=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        css=markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
    )
    return text
