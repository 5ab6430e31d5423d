"""The rooms of the engine: imports go down the list below, never up, and no module imports another in a circle."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS: tuple[tuple[str, ...], ...] = (
    ("jetson_benchmark",),
    ("savbench.report", "savbench.validate", "savbench.doctor", "savbench.attention_bench"),
    ("savbench.compare",),
    ("savbench.supervise",),
    ("savbench.measure", "savbench.finish"),
    ("savbench.board",),
    ("savbench.results",),
    ("savbench.plan",),
    ("savbench.data",),
    ("runners",),
    ("attention",),
)
"""From top to bottom. Rooms of one layer do not import each other, and a room imports itself and what is below."""
PACKAGES = ("attention", "runners", "savbench")


def _modules() -> dict[str, Path]:
    files = [ROOT / "jetson_benchmark.py", *(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


MODULES = _modules()


def _imports(path: Path) -> set[str]:
    """Modules of ours that a file imports anywhere in it: within functions and under TYPE_CHECKING too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: imports by absolute names are easier to follow"
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= submodules or {node.module}
    return found & MODULES.keys()


IMPORTS = {name: _imports(path) for name, path in MODULES.items()}


def _layer(module: str) -> int:
    for number, rooms in enumerate(LAYERS):
        if any(module == room or module.startswith(f"{room}.") for room in rooms):
            return number
    raise AssertionError(f"{module} belongs to no room; put it into one, or add the room to LAYERS")


def _room(module: str) -> str:
    return next(room for room in LAYERS[_layer(module)] if module == room or module.startswith(f"{room}."))


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"savbench"}))
def test_imports_go_down(module: str) -> None:
    for imported in IMPORTS[module] - {"savbench"}:
        same_room = _room(module) == _room(imported)
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


@pytest.mark.parametrize("package", [name for name in MODULES if MODULES[name].name == "__init__.py" and name.startswith("savbench.")])
def test_every_room_says_what_lives_there(package: str) -> None:
    assert ast.get_docstring(ast.parse(MODULES[package].read_text(encoding="utf-8")))


def test_only_rooms_lie_in_the_engine() -> None:
    assert [path.name for path in (ROOT / "savbench").glob("*.py")] == ["__init__.py"]
