"""Meta's SAM 2.1 through its official video predictor, from the installed `sam2` package or a checkout."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import io
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from runners.base import BuildOptions, RunnerError, RuntimeReport
from runners.exported import TORCH
from runners.official import OfficialPredictorRunner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

OWN_CONFIGS = Path(__file__).resolve().parent / "nano"
"""Folder of our configurations, which are not part of the `sam2` package."""


def import_sam2(source_dir: Path | None) -> ModuleType:
    """Import the package named `sam2`, from `source_dir` if given, and check where it came from.

    EdgeTAM's repository installs a package of the same name, so this function fixes which one the process uses.

    Raises:
        RunnerError: the package is not found, or another `sam2` is already imported.
    """
    if source_dir is not None:
        if not (source_dir / "sam2" / "build_sam.py").is_file():
            raise RunnerError(f"{source_dir}: not a checkout with a sam2 package in it; clone it again or leave the option out")
        sys.path.insert(0, str(source_dir.resolve()))
    try:
        import sam2
        import sam2.build_sam
    except ModuleNotFoundError as error:
        raise RunnerError(f"cannot import sam2 ({error}); run scripts/setup.sh") from error
    origin = Path(sam2.__path__[0]).resolve()
    if source_dir is not None and origin.parent != source_dir.resolve():
        raise RunnerError(f"sam2 was imported from {origin}, not from {source_dir}; each model family needs its own process")
    return cast("ModuleType", sam2)


class Sam2Runner(OfficialPredictorRunner):
    """SAM 2.1 tiny, small, base+ or large, or our nano; `options.config` names the size. Sizes: multiples of 32."""

    name = "sam2"

    def _build(self, options: BuildOptions, imgsz: int) -> Any:
        if options.config is None:
            raise RunnerError("sam2: no configuration was named")
        self._package = import_sam2(options.source_dir)
        if importlib.util.find_spec("sam2.modeling.perceiver") is not None:
            raise RunnerError("sam2: this is EdgeTAM's package of the same name; uninstall it and run scripts/setup.sh")
        from sam2.build_sam import build_sam2_video_predictor

        overrides = [f"++model.image_size={imgsz}"]
        if options.compile == "encoder":
            overrides.append("++model.compile_image_encoder=true")
        configs = _configs_beside_the_package() if (OWN_CONFIGS / options.config).is_file() else contextlib.nullcontext()
        # it prints while compiling, and standard output belongs to the caller
        with configs, self._compiler.upstreams_own(), contextlib.redirect_stdout(io.StringIO()):
            return build_sam2_video_predictor(
                options.config,
                device=str(self._device),
                hydra_overrides_extra=overrides,
                apply_postprocessing=options.postprocessing == "on",
                vos_optimized=options.compile == "full",
            )

    def _replace_stages(self, options: BuildOptions) -> RuntimeReport | None:
        if options.runtime == TORCH:
            return None
        from runners.exported.runtime import replace_stages

        return replace_stages(self._predictor, options, self._device)

    def _loader_module(self) -> ModuleType:
        import sam2.sam2_video_predictor as module

        return cast("ModuleType", module)

    def _implementation(self) -> str:
        return f"sam2 {package_version(self._package)}"


@contextlib.contextmanager
def _configs_beside_the_package() -> Iterator[None]:
    """Let Hydra find configurations in `OWN_CONFIGS` inside the block.

    On import `sam2` points Hydra at its own package, and Hydra searches only there: it rejects absolute paths and extra search paths in
    overrides.
    """
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    packaged = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(OWN_CONFIGS), version_base="1.2"):
            yield
    finally:
        GlobalHydra.instance().hydra = packaged


def package_version(package: ModuleType) -> str:
    """Version of the installed distribution, or `checkout` and its commit if the package runs from its sources."""
    origin = Path(package.__path__[0]).resolve()
    for name in ("sam2", "SAM-2"):
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        # An editable installation is also a checkout: its distribution is elsewhere or beside the sources.
        if Path(str(distribution.locate_file("sam2"))).resolve() == origin and not (origin.parent / ".git").exists():
            return distribution.version
    return f"checkout ({commit_of(origin.parent)})"


def commit_of(source_dir: Path) -> str:
    """`commit 0123456789ab`, with `and local changes` if tracked files differ; `commit unknown` outside a git checkout."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(source_dir), *arguments], check=True, capture_output=True, text=True, timeout=30).stdout

    try:
        # Do not report the commit of an enclosing repository for an unpacked archive.
        if Path(git("rev-parse", "--show-toplevel").strip()).resolve() != source_dir.resolve():
            return "commit unknown"
        changed = " and local changes" if git("status", "--porcelain", "--untracked-files=no").strip() else ""
        return f"commit {git('rev-parse', 'HEAD').strip()[:12]}{changed}"
    except (OSError, subprocess.SubprocessError):
        return "commit unknown"
