"""The report as one self-contained HTML file: scripts, styles, data and pictures are inline; a policy forbids all requests."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from savbench.report.charts import Figure
from savbench.report.packages import ReportError, require
from savbench.report.svg import to_svgs

if TYPE_CHECKING:
    from savbench.report.content import Report

_EXPORTS = re.compile(r"\bexport\s*\{([^{}]*)\};?")
TEMPLATES = Path(__file__).parent / "templates"


def render_html(report: Report) -> str:
    """Return the whole page.

    Raises:
        ReportError: a package is missing.
    """
    jinja2 = require("jinja2", "jinja2>=3.1", "--format html")
    options = require("itables.options", "itables>=2.6", "--format html")
    bundle = Path(options.dt_bundle)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page_js = _inline(_with_table(bundle.read_text(encoding="utf-8"), (TEMPLATES / "report.js").read_text(encoding="utf-8")))
    table_css = _inline(bundle.with_suffix(".css").read_text(encoding="utf-8"))
    page_css = _inline((TEMPLATES / "report.css").read_text(encoding="utf-8"))
    # scripts injected through data have no hash and do not run
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data: blob:; font-src data:; style-src 'unsafe-inline'; "
        f"script-src {_hash(page_js)}"
    )
    text: str = environment.get_template("report.html.j2").render(
        report=report,
        is_figure=lambda item: isinstance(item, Figure),
        charts={figure.key: jinja2.utils.markupsafe.Markup(to_svgs(figure)) for figure in report.figures},
        data=_rows(report),
        policy=policy,
        # these three come from us and the packages, not from the data
        page_js=jinja2.utils.markupsafe.Markup(page_js),
        table_css=jinja2.utils.markupsafe.Markup(table_css),
        page_css=jinja2.utils.markupsafe.Markup(page_css),
    )
    return text


def _with_table(bundle: str, page_js: str) -> str:
    """Join the table's module, which exports jQuery with DataTables, and the page's script, which uses it, into one module.

    Raises:
        ReportError: the table's module does not have that form.
    """
    exports = _EXPORTS.search(bundle)
    jquery = exports and re.search(r"([\w$]+) as jQuery\b", exports[1])
    if not exports or not jquery:
        raise ReportError("--format html: this version of itables has another table; pip install 'itables>=2.6,<3'")
    # a separate block: names in the page's script may clash with the table's
    return f"{bundle[: exports.start()]}{bundle[exports.end() :]}\n{{\nconst jQuery = {jquery[1]};\n{page_js}\n}}\n"


def _rows(report: Report) -> dict[str, Any]:
    columns = [{"name": column.name, "number": column.is_number, "shown": column.at_first} for column in report.rows.columns]
    return {"columns": columns, "cells": report.rows.cells}


def _inline(text: str) -> str:
    """Escape a script or style so that it cannot close its element early."""
    return text.replace("</script", "<\\/script").replace("</style", "<\\/style").replace("<!--", "<\\!--")


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
