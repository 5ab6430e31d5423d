"""What update_sam2_optional_cuda.sh has to know of a Python environment, as KEY=VALUE lines. Run it from outside of any checkout.

sam2_facts.py environment           torch, its GPUs, where headers are, which distributions offer a package sam2
sam2_facts.py package [--first DIR] where `import sam2` leads and whether its extension works; --first: as runners import a checkout
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DISTRIBUTIONS = ("SAM-2", "sam2", "EdgeTAM")
"""Distributions that install a package `sam2`: the official repository's, its copy on PyPI, and EdgeTAM's."""


def torch_facts() -> str:
    """What an update must leave as it is."""
    import torch

    return f"torch {torch.__version__}, CUDA {torch.version.cuda}, GPU usable: {torch.cuda.is_available()}, in {torch.__file__}"


def environment() -> dict[str, str]:
    import torch

    capabilities = {torch.cuda.get_device_capability(index) for index in range(torch.cuda.device_count())}
    # Wheels of torch bring CUDA's headers along, in one folder (nvidia/cu13/include) or one for each library (nvidia/cublas/include).
    header_dirs = sorted(str(path) for path in Path(torch.__file__).parents[1].glob("nvidia/*/include"))
    return {
        "torch": torch_facts(),
        "cuda": torch.version.cuda or "",
        "arch": ";".join(f"{major}.{minor}" for major, minor in sorted(capabilities)),
        "header_dirs": ":".join(header_dirs),
        "python_include": sysconfig.get_path("include"),
        "installed": " ".join(installed()),
    }


def installed() -> list[str]:
    found = []
    for name in DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(importlib.metadata.distribution(name).metadata["Name"])
    return found


def package() -> dict[str, str]:
    try:
        import sam2
    except ImportError as error:
        return {"torch": torch_facts(), "origin": "", "extension": f"broken: sam2 cannot be imported ({_first_line(error)})"}
    # Not __file__: a folder without __init__.py that happens to be on the path is a package, too.
    origin = Path(next(iter(sam2.__path__))).resolve()
    return {"torch": torch_facts(), "origin": str(origin), "extension": extension(origin)}


def extension(package_dir: Path) -> str:
    """`absent`, `loads` (no GPU to try it on), `works`, or `broken: why`."""
    if not list(package_dir.glob("_C*.so")):
        return "absent"
    # The extension needs torch's libraries, loaded.
    import torch

    try:
        from sam2 import _C
    except ImportError as error:
        return f"broken: it cannot be loaded ({_first_line(error)})"
    if not torch.cuda.is_available():
        return "loads"
    # At the end of the path: a checkout in the root that is called sam2 would pass for the package.
    sys.path.append(str(ROOT))
    from runners.components import labels_correctly

    if labels_correctly(_C.get_connected_componnets, torch.device("cuda")):
        return "works"
    return "broken: it labels a known mask wrongly on this GPU; is it built for another architecture?"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["environment", "package"])
    parser.add_argument("--first", type=Path)
    args = parser.parse_args(argv)
    if args.first is not None:
        sys.path.insert(0, str(args.first))
    facts = environment() if args.what == "environment" else package()
    for key, value in facts.items():
        print(f"{key}={value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
