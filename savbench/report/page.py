"""The report as one self-contained HTML file: scripts, styles, data and pictures are inline; a policy forbids all requests."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from savbench.arguments.errors import UserError
from savbench.report.charts import Figure
from savbench.report.figures_plotly import to_plotly

if TYPE_CHECKING:
    from types import ModuleType

    from savbench.report.content import Report

_EXPORTS = re.compile(r"\bexport\s*\{([^{}]*)\};?")
TEMPLATES = Path(__file__).parent / "templates"


class ReportError(UserError, RuntimeError):
    """The report cannot be written; the message says how to fix it."""


def require(module: str, package: str, what: str) -> ModuleType:
    """Import a package that only a report needs.

    Raises:
        ReportError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ReportError(f"{what} needs the Python package {package.split('>')[0]}: pip install '{package}' ({error})") from error


def render_html(report: Report) -> str:
    """Return the whole page.

    Raises:
        ReportError: a package is missing.
    """
    jinja2 = require("jinja2", "jinja2>=3.1", "--format html")
    plotly = require("plotly.offline", "plotly>=6", "--format html")
    options = require("itables.options", "itables>=2.6", "--format html")
    bundle = Path(options.dt_bundle)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    plotly_js = _inline(plotly.get_plotlyjs())
    page_js = _inline(_with_table(bundle.read_text(encoding="utf-8"), (TEMPLATES / "report.js").read_text(encoding="utf-8")))
    table_css = _inline(bundle.with_suffix(".css").read_text(encoding="utf-8"))
    page_css = _inline((TEMPLATES / "report.css").read_text(encoding="utf-8"))
    # scripts injected through data have no hash and do not run
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data: blob:; font-src data:; style-src 'unsafe-inline'; "
        f"script-src {_hash(plotly_js)} {_hash(page_js)}"
    )
    text: str = environment.get_template("report.html.j2").render(
        report=report,
        is_figure=lambda item: isinstance(item, Figure),
        data={"figures": {figure.key: to_plotly(figure) for figure in report.figures}, "rows": _rows(report)},
        policy=policy,
        # these four come from us and the packages, not from the data
        plotly_js=jinja2.utils.markupsafe.Markup(plotly_js),
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
