"""The rooms of the engine: imports go down the layers, never up, and no module imports another in a circle."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

import pytest

DRAWING = runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "draw_architecture.py"))
MODULES: dict[str, Path] = DRAWING["module_files"]()
IMPORTS: dict[str, set[str]] = {name: DRAWING["imports_of"](path, MODULES) for name, path in MODULES.items()}


def _layer(module: str) -> int:
    return int(DRAWING["layer_of"](DRAWING["room_of"](module)))


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"savbench"}))
def test_imports_go_down(module: str) -> None:
    for imported in IMPORTS[module] - {"savbench"}:
        same_room = DRAWING["room_of"](module) == DRAWING["room_of"](imported)
        assert same_room or _layer(imported) > _layer(module), f"{module} imports {imported}, which is not below it"


def test_no_module_imports_another_in_a_circle() -> None:
    done: set[str] = set()

    def follow(module: str, way: list[str]) -> None:
        assert module not in way, f"a circle: {' -> '.join([*way[way.index(module) :], module])}"
        if module not in done:
            for imported in sorted(IMPORTS[module]):
                follow(imported, [*way, module])
            done.add(module)

    for module in sorted(MODULES):
        follow(module, [])


def test_imports_are_absolute() -> None:
    for path in MODULES.values():
        assert not [
            node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom) and node.level
        ]


@pytest.mark.parametrize("package", [name for name in MODULES if MODULES[name].name == "__init__.py" and name.startswith("savbench.")])
def test_every_room_says_what_lives_there(package: str) -> None:
    assert ast.get_docstring(ast.parse(MODULES[package].read_text(encoding="utf-8")))


def test_only_rooms_lie_in_the_engine() -> None:
    assert {path.parent.name for name, path in MODULES.items() if name.count(".") == 1 and name.startswith("savbench.")} == {
        room.removeprefix("savbench.") for rooms in DRAWING["LAYERS"] for room in rooms if room.startswith("savbench.")
    }
