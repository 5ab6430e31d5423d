"""Figures as SVG elements for the page: its colours, titles for the pointer, and ids that occur once on the page."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from savbench.report.figures import MATPLOTLIB, RC, draw
from savbench.report.packages import require
from savbench.report.sheet import GRID, INK, NARROW, PAPER, WIDE, Sheet, Tips

if TYPE_CHECKING:
    from savbench.report.charts import Figure

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_HREF = f"{{{XLINK}}}href"
_NOT_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
"""Characters that labels from files may have and XML may not."""
_LONG = re.compile(r"(\.\d\d)\d+")
"""Digits beyond a hundredth of a point, which nobody sees."""
_THEME = {INK: "var(--ink)", GRID: "var(--line)", PAPER: "var(--paper)"}
"""Variables of the page's style sheet in the place of fixed colours: charts follow the page, dark or light."""


def to_svgs(figure: Figure) -> str:
    """Draw a figure for a desktop and for a phone or a column on paper; the style sheet shows the one that fits.

    Raises:
        ReportError: matplotlib is not installed.
    """
    return "\n".join(to_svg(figure, sheet, name) for sheet, name in ((WIDE, "wide"), (NARROW, "narrow")))


def to_svg(figure: Figure, sheet: Sheet, name: str) -> str:
    """Draw a figure as one `svg` element of class `name`. Parts with a text of their own are groups of class `tip` with a `title`."""
    matplotlib = require("matplotlib", MATPLOTLIB, "--format html")
    prefix = f"{figure.key}-{name}-"
    tips, written = Tips(), io.StringIO()
    with matplotlib.rc_context({**RC, "svg.hashsalt": prefix}):
        draw(figure, sheet, tips).savefig(written, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(_NOT_XML.sub("\ufffd", written.getvalue()))
    for surplus in ("metadata", "defs[{*}style]"):
        for parent in list(root.iter()):
            for child in parent.findall(f"{{{SVG}}}{surplus}"):
                parent.remove(child)
    used = {element.get(_HREF, "").removeprefix("#") for element in root.iter()}
    used |= {element.get("clip-path", "")[len("url(#") : -1] for element in root.iter()}
    used.discard("")
    for element in list(root.iter()):
        _adapt(element, prefix, used, tips)
    width, height = (float(side) for side in root.attrib["viewBox"].split()[2:])
    root.attrib = {"class": name, "viewBox": f"0 0 {width:g} {height:g}"}
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    return ElementTree.tostring(root, encoding="unicode")


def _adapt(element: ElementTree.Element, prefix: str, used: set[str], tips: Tips) -> None:
    attributes = element.attrib
    own = attributes.pop("id", "")
    if own in used:
        attributes["id"] = prefix + own
    elif own.startswith("tip") and own[3:].isdecimal():
        attributes["class"] = "tip"
        title = ElementTree.Element(f"{{{SVG}}}title")
        title.text = "\n".join(tips.lines[int(own[3:])])
        element.insert(0, title)
    if _HREF in attributes:
        attributes[_HREF] = f"#{prefix}{attributes[_HREF][1:]}"
    if "clip-path" in attributes:
        attributes["clip-path"] = f"url(#{prefix}{attributes['clip-path'][len('url(#') :]}"
    style = attributes.get("style", "")
    for fixed, variable in _THEME.items():
        style = style.replace(fixed, variable)
    for name in ("d", "x", "y", "transform"):
        if name in attributes:
            attributes[name] = _LONG.sub(r"\1", attributes[name]).strip()
    if attributes.get("transform", "").startswith("rotate(-0 "):
        del attributes["transform"]
    if style:
        attributes["style"] = style
