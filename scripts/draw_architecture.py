#!/usr/bin/env python3
"""Draw docs/architecture.svg: the rooms of the engine and what they import, read from the code.

`scripts/draw_architecture.py` writes the figure; with `--check` it says whether the one that is there is up to date. LAYERS below is also
what tests/test_layers.py holds the imports to.
"""

from __future__ import annotations

import argparse
import ast
import sys
import textwrap
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parents[1]
FIGURE = ROOT / "docs" / "architecture.svg"

LAYERS: tuple[tuple[str, ...], ...] = (
    ("jetson_benchmark",),
    ("savbench.integration", "savbench.certify", "savbench.seal"),
    ("savbench.doctor", "savbench.selfcheck", "savbench.attention_bench", "savbench.validate", "savbench.report"),
    ("savbench.supervise", "savbench.compare"),
    ("savbench.measure", "savbench.finish"),
    ("savbench.board",),
    ("savbench.results",),
    ("savbench.plan", "training"),
    ("savbench.data",),
    ("savbench.arguments",),
    ("runners",),
    ("attention",),
)
"""From top to bottom. Rooms of one layer do not import each other; a room imports itself and what is below."""
PACKAGES = ("attention", "runners", "savbench", "training")

_COLUMN = {
    "savbench.seal": 1.124, "savbench.integration": 2.25,
    "savbench.doctor": 0.0, "savbench.selfcheck": 0.75, "savbench.attention_bench": 1.5, "savbench.validate": 2.25, "savbench.report": 3.0,
    "savbench.supervise": 1.124, "savbench.compare": 3.0, "savbench.measure": 1.124, "savbench.finish": 2.0, "savbench.board": 0.0,
    "training": 3.0,
}  # fmt: skip
"""Of the rooms that share a layer or stand aside; the others stand in the middle. No arrow then runs behind a box."""
_WIDTH, _BOX_WIDTH, _BOX_HEIGHT, _STEP, _MARGIN = 1320, 250, 76, 108, 14


def module_files() -> dict[str, Path]:
    """Every module of the engine, of the runners, of attention and of training, by its dotted name."""
    files = [ROOT / "jetson_benchmark.py", *(path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


def imports_of(path: Path, modules: dict[str, Path]) -> set[str]:
    """Modules of ours that a file imports anywhere in it: within functions and under TYPE_CHECKING too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & modules.keys()
            found |= submodules or {node.module}
    return found & modules.keys()


def room_of(module: str) -> str:
    """The room that a module lies in.

    Raises:
        ValueError: LAYERS does not name one.
    """
    for rooms in LAYERS:
        for room in rooms:
            if module == room or module.startswith(f"{room}."):
                return room
    raise ValueError(f"{module} lies in no room; put it into one, or add the room to LAYERS in {Path(__file__).name}")


def layer_of(room: str) -> int:
    """Number of the room's layer, counted from the top."""
    return next(number for number, rooms in enumerate(LAYERS) if room in rooms)


def room_imports() -> dict[str, set[str]]:
    """What each room imports of the others."""
    modules = module_files()
    found: dict[str, set[str]] = {room: set() for rooms in LAYERS for room in rooms}
    for module, path in modules.items():
        if module != "savbench":
            found[room_of(module)] |= {room_of(imported) for imported in imports_of(path, modules) - {"savbench"}}
    return {room: others - {room} for room, others in found.items()}


def _without_shortcuts(imports: dict[str, set[str]]) -> dict[str, set[str]]:
    """The arrows that the others do not imply: a room that is reached through another needs none of its own."""

    def reached(room: str) -> set[str]:
        return imports[room].union(*(reached(other) for other in imports[room]))

    return {room: {o for o in others if not any(o in reached(via) for via in others - {o})} for room, others in imports.items()}


def _summary(room: str, modules: dict[str, Path]) -> str:
    """The first sentence of the room's docstring, without the command that it names."""
    docstring = ast.get_docstring(ast.parse(modules[room].read_text(encoding="utf-8"))) or ""
    first = docstring.replace("\n", " ").split(". ")[0].rstrip(".")
    first = first.split("`: ")[-1] if first.startswith("`") else first
    return first.replace("`", "").replace("torch.nn.functional.", "")


def _place(room: str) -> tuple[float, float]:
    """Left and top edge of the room's box."""
    column = _COLUMN.get(room, 1.5)
    return _MARGIN + column * (_WIDTH - 2 * _MARGIN - _BOX_WIDTH) / 3, _MARGIN + layer_of(room) * _STEP


def draw() -> str:
    """The figure as SVG; the same text for the same code."""
    modules = module_files()
    height = len(LAYERS) * _STEP
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="11">',
        "<title>Rooms of the benchmark; an arrow goes from a room to one that it imports</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#667"/></marker></defs>',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
    ]
    for room, others in _without_shortcuts(room_imports()).items():
        left, top = _place(room)
        for other in sorted(others, key=_place):
            to_left, to_top = _place(other)
            x, y, to_x = left + _BOX_WIDTH / 2, top + _BOX_HEIGHT, to_left + _BOX_WIDTH / 2
            if layer_of(other) > layer_of(room) + 1 and to_x != x:  # between the boxes of the layers that it passes
                aside = 0.4 * _BOX_WIDTH * (1 if to_x > x else -1)
                x, to_x = x + aside, to_x - aside
            bend = (to_top - y) / 2
            lines.append(
                f'<path d="M{x:.0f} {y:.0f}C{x:.0f} {y + bend:.0f} {to_x:.0f} {to_top - bend:.0f} {to_x:.0f} {to_top:.0f}" fill="none" '
                'stroke="#667" stroke-width="1.3" marker-end="url(#tip)"/>'
            )
    for room in (room for rooms in LAYERS for room in rooms):
        left, top = _place(room)
        fill = "#e8f0fa" if room.startswith("savbench.") else "#f4efe2"
        lines.append(f'<rect x="{left:.0f}" y="{top:.0f}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="6" fill="{fill}" stroke="#567"/>')
        name = room.removeprefix("savbench.") + ("" if room == "jetson_benchmark" else "/")
        lines.append(f'<text x="{left + 10:.0f}" y="{top + 18:.0f}" font-size="14" font-weight="bold" fill="#123">{name}</text>')
        for number, line in enumerate(textwrap.wrap(_summary(room, modules), 40, max_lines=4, placeholder=" ...", break_long_words=False)):
            lines.append(f'<text x="{left + 10:.0f}" y="{top + 33 + 13 * number:.0f}" fill="#334">{escape(line)}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Draw docs/architecture.svg from the imports of the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where the figure is not up to date")
    args = parser.parse_args()
    figure = draw()
    if args.check:
        is_current = FIGURE.is_file() and FIGURE.read_text(encoding="utf-8") == figure
        print(f"{FIGURE}: {'up to date' if is_current else 'not up to date; run scripts/draw_architecture.py'}")
        return 0 if is_current else 1
    FIGURE.write_text(figure, encoding="utf-8")
    print(f"wrote {FIGURE}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
