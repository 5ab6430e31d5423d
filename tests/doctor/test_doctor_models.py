"""The doctor's lines about SAM 2, its compiled extension, EdgeTAM and the weights."""

from __future__ import annotations

import importlib.machinery
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from doctor_machines import by_name, dying, failing, gpu_answers, package_answers, write

from savbench.doctor.check import Check, Subject
from savbench.doctor.models import check_models, check_weights, edgetam_extension, extension_files
from savbench.doctor.probe import Answers, Probe

SUFFIX = importlib.machinery.EXTENSION_SUFFIXES[0]
"""For this Python alone, `.cpython-310-x86_64-linux-gnu.so`."""


def sam2_from(package: Path, **distributions: str) -> Answers:
    package.mkdir(parents=True, exist_ok=True)
    origin = {
        "file": str(package / "__init__.py"),
        "distributions": {n.replace("_", "-"): v for n, v in distributions.items()},
        "git": None,
    }
    return package_answers(sam2={"origin": origin})


def test_sam2_is_told_with_its_version_or_commit(desktop: Subject, tmp_path: Path) -> None:
    answers = sam2_from(tmp_path / "site/sam2", sam2="1.1.0")
    found = by_name(check_models(answers, gpu_answers(), desktop))["sam2"]
    assert (found.state, found.detail) == ("ok", f"sam2 1.1.0, {tmp_path}/site/sam2")
    answers.found["sam2"]["origin"]["git"] = {"commit": "0123456789abcdef", "dirty": True}
    assert by_name(check_models(answers, gpu_answers(), desktop))["sam2"].detail.startswith("checkout at 0123456789ab with local changes, ")


def test_sam2_that_is_missing_shadowed_or_broken(desktop: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.files", lambda name: [])
    missing = by_name(check_models(package_answers(), gpu_answers(), desktop))["sam2"]
    assert (missing.state, missing.detail) == ("failure", "not installed")
    assert missing.remedy.endswith("scripts/setup.sh")
    monkeypatch.setattr("savbench.doctor.models._installed", {"transformers": "5.20.2"}.get)
    monkeypatch.setattr("importlib.metadata.files", lambda name: [Path("transformers/models/sam2_video/__init__.py")])
    replaced = by_name(check_models(package_answers(), gpu_answers(), desktop))["sam2"]
    assert (replaced.state, replaced.detail) == ("warning", "not installed; transformers runs SAM 2 instead")

    package = tmp_path / "site/sam2"
    answers = sam2_from(package, sam2="1.1.0", EdgeTAM="1.0")
    double = by_name(check_models(answers, gpu_answers(), desktop))["sam2"]
    assert (double.state, "several installed packages provide it: sam2, EdgeTAM" in double.detail) == ("warning", True)
    write(package, {"modeling/perceiver.py": ""})
    shadowed = by_name(check_models(answers, gpu_answers(), desktop))
    assert (shadowed["sam2"].state, "EdgeTAM's package of the same name" in shadowed["sam2"].detail) == ("failure", True)
    assert "pip uninstall -y sam2 EdgeTAM && " in shadowed["sam2"].remedy
    assert "sam2 _C" not in shadowed

    answers = sam2_from(tmp_path / "other/sam2", sam2="1.1.0")
    broken = by_name(check_models(answers, Answers(errors={"sam2": "ModuleNotFoundError: No module named 'hydra'"}), desktop))["sam2"]
    assert (broken.state, "hydra" in broken.detail) == ("failure", True)

    wrong_folder = replace(desktop, sam2_dir=tmp_path)
    assert by_name(check_models(answers, gpu_answers(), wrong_folder))["sam2"].state == "failure"


def test_a_package_probe_that_crashed_says_nothing_of_sam2(desktop: Subject) -> None:
    assert "sam2" not in by_name(check_models(dying(package_answers(), "opencv"), gpu_answers(), desktop))


def test_python_takes_the_file_of_its_own_version_first(tmp_path: Path) -> None:
    assert extension_files(tmp_path) == (None, [])
    plain, own, foreign = tmp_path / "_C.so", tmp_path / f"_C{SUFFIX}", tmp_path / "_C.cpython-36m-sparc.so"
    foreign.touch()
    assert extension_files(tmp_path) == (None, [foreign])
    plain.touch()
    assert extension_files(tmp_path) == (plain, [foreign])
    own.touch()
    assert extension_files(tmp_path) == (own, [foreign, plain])


def extension(package: Path, torch: Answers, subject: Subject) -> Check:
    return by_name(check_models(sam2_from(package, sam2="1.1.0"), torch, subject))["sam2 _C"]


def with_extension(**changes: dict[str, Any]) -> Answers:
    answers = gpu_answers()
    return replace(answers, found={**answers.found, "sam2": {"file": ""}, "sam2_extension": {"file": ""}, **changes})


def test_the_compiled_extension(desktop: Subject, tmp_path: Path) -> None:
    package = tmp_path / "sam2"
    absent = extension(package, gpu_answers(), desktop)
    assert (absent.state, "not built; OpenCV fills holes" in absent.detail) == ("ok", True)

    (package / "_C.cpython-36m-sparc.so").touch()
    foreign = extension(package, gpu_answers(), desktop)
    assert (foreign.state, foreign.remedy) == ("warning", "./update_sam2_optional_cuda.sh")
    assert "built for another Python" in foreign.detail

    (package / "_C.so").touch()
    assert extension(package, with_extension(), desktop).detail == "_C.so loads"
    labelling = extension(package, with_extension(sam2_extension_ran={"right": True}), desktop)
    assert (labelling.state, labelling.detail) == ("ok", "_C.so loads and labels a known mask correctly")

    wrong = extension(package, with_extension(sam2_extension_ran={"right": False}), desktop)
    assert (wrong.state, "labels a known mask wrongly" in wrong.detail) == ("warning", True)

    symbol = "ImportError: _C.so: undefined symbol: _ZN3c104cuda9SetDeviceEi"
    other_torch = extension(package, failing(with_extension(), sam2_extension=symbol), desktop)
    assert (other_torch.state, symbol in other_torch.detail) == ("warning", True)
    assert "built for another torch or CUDA" in other_torch.detail

    crashing = extension(package, dying(with_extension(), "sam2_extension"), desktop)
    assert (crashing.state, crashing.detail) == ("failure", "loading _C.so ended with SIGSEGV")
    # A torch that cannot be imported has a line of its own.
    assert "sam2 _C" not in by_name(check_models(sam2_from(package), Answers(died_in="torch", death="SIGSEGV"), desktop))


def test_a_stale_extension_that_wins_over_a_fresh_one(desktop: Subject, tmp_path: Path) -> None:
    package = tmp_path / "sam2"
    package.mkdir()
    stale, fresh = package / f"_C{SUFFIX}", package / "_C.so"
    stale.touch()
    fresh.touch()
    os.utime(stale, (1, 1))
    found = extension(package, with_extension(), desktop)
    assert (found.state, found.remedy) == ("warning", "./update_sam2_optional_cuda.sh")
    assert found.detail == f"stale: Python takes {stale.name} before the newer _C.so"
    os.utime(fresh, (0, 0))
    assert extension(package, with_extension(), desktop).state == "ok"


def test_edgetam(desktop: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"timm": "1.0.31", "transformers": "5.23.0"}

    def installed(name: str) -> str | None:
        return versions.get(name)

    def edgetam(subject: Subject = desktop) -> dict[str, Check]:
        return by_name(check_models(package_answers(), gpu_answers(), subject))

    monkeypatch.setattr("savbench.doctor.models._installed", installed)
    monkeypatch.setattr("importlib.metadata.files", lambda name: [Path("transformers/models/edgetam_video/__init__.py")])
    assert (edgetam()["EdgeTAM"].state, "transformers 5.23.0, timm 1.0.31" in edgetam()["EdgeTAM"].detail) == ("ok", True)
    monkeypatch.setattr("importlib.metadata.files", lambda name: [])
    assert (edgetam()["EdgeTAM"].state, "too old" in edgetam()["EdgeTAM"].detail) == ("warning", True)
    del versions["transformers"]
    assert edgetam()["EdgeTAM"].remedy == "scripts/get_edgetam.sh"

    checkout = replace(desktop, edgetam_dir=tmp_path / "EdgeTAM")
    assert (edgetam(checkout)["EdgeTAM"].state, "EdgeTAM _C" in edgetam(checkout)) == ("failure", False)
    write(tmp_path / "EdgeTAM/sam2", {"build_sam.py": "", "modeling/perceiver.py": ""})
    assert (edgetam(checkout)["EdgeTAM"].state, edgetam(checkout)["EdgeTAM _C"].state) == ("ok", "ok")
    assert "checkout of unknown commit" in edgetam(checkout)["EdgeTAM"].detail
    write(tmp_path / "EdgeTAM/edgetam_dimos-1.0.1.dist-info", {"METADATA": "Name: edgetam-dimos\nVersion: 1.0.1\n"})
    assert edgetam(checkout)["EdgeTAM"].detail.startswith("edgetam-dimos 1.0.1, ")
    assert "EdgeTAM _C" not in edgetam(checkout)  # a wheel cannot be built again
    del versions["timm"]
    assert (edgetam(checkout)["EdgeTAM"].state, "pip install --no-deps 'timm" in edgetam(checkout)["EdgeTAM"].remedy) == ("failure", True)


def test_sam3(desktop: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"transformers": "5.20.2"}
    files = [Path("transformers/models/sam3_tracker_video/__init__.py")]
    monkeypatch.setattr("savbench.doctor.models._installed", versions.get)
    monkeypatch.setattr("importlib.metadata.files", lambda name: files)

    def said() -> str:
        return by_name(check_models(package_answers(), gpu_answers(), desktop))["SAM 3"].detail

    assert said() == "transformers 5.20.2 has its tracker"
    files.clear()
    python = f"on Python {sys.version_info[0]}.{sys.version_info[1]}"
    assert f"transformers 5.20.2 is too old for its tracker (5.0), {python}; only sam3 needs it" in said()
    del versions["transformers"]
    assert "transformers is not installed" in said()
    assert "requirements-transformers.txt" in said()


def test_efficienttam(desktop: Subject, tmp_path: Path) -> None:
    def efficienttam(folder: Path | None) -> Check:
        return by_name(check_models(package_answers(), gpu_answers(), replace(desktop, efficienttam_dir=folder)))["EfficientTAM"]

    assert (efficienttam(None).state, "scripts/get_efficienttam.sh gets it" in efficienttam(None).detail) == ("ok", True)
    folder = tmp_path / "EfficientTAM"
    assert (efficienttam(folder).state, efficienttam(folder).remedy) == ("failure", "scripts/get_efficienttam.sh")
    write(folder / "efficient_track_anything", {"build_efficienttam.py": ""})
    assert (efficienttam(folder).state, "checkout of unknown commit" in efficienttam(folder).detail) == ("ok", True)


def test_weights_without_a_published_size_are_fetched_by_name_and_taken_as_they_are(tmp_path: Path) -> None:
    table = tmp_path / "weights.tsv"
    table.write_text("# model\tfile\tbytes\nefficienttam_ti_1\tefficienttam_ti_1.pt\t-\t-\tefficienttam\nother\tother.pt\t1\ts\ts\n")
    assert check_weights([tmp_path], table).remedy == "scripts/download_weights.sh efficienttam_ti_1"
    write(tmp_path, {"efficienttam_ti_1.pt": "any"})
    assert check_weights([tmp_path], table).facts["efficienttam_ti_1"]["state"] == "present"


def test_weights(tmp_path: Path) -> None:
    table = tmp_path / "weights.tsv"
    files = {"sam2_tiny": "sam2.1_hiera_tiny.pt", "sam2_small": "sam2.1_hiera_small.pt", "sam2_base": "sam2.1_hiera_base_plus.pt"}
    files |= {"sam2_large": "sam2.1_hiera_large.pt", "edgetam": "edgetam.pt"}
    table.write_text(
        "# model\tfile\tbytes\n" + "".join(f"{model}\t{file}\t4\tsum\tsam2\n" for model, file in files.items()), encoding="utf-8"
    )

    nothing = check_weights([tmp_path], table)
    assert nothing.state == "warning"
    assert nothing.remedy == "scripts/download_weights.sh"
    assert nothing.facts["edgetam"] == {"state": "missing", "file": "edgetam.pt"}

    write(tmp_path, {"sam2.1_hiera_tiny.pt": "four"})
    some = check_weights([tmp_path / "nowhere", tmp_path], table)
    assert (some.state, "sam2_tiny found; " in some.detail) == ("warning", True)
    assert some.remedy == "scripts/download_weights.sh sam2_small sam2_base sam2_large edgetam"

    write(tmp_path, {"edgetam.pt": "cut"})
    damaged = check_weights([tmp_path], table)
    assert (damaged.state, "edgetam.pt has 3 of 4 bytes" in damaged.detail) == ("failure", True)
    assert damaged.remedy == f"mv {tmp_path}/edgetam.pt {tmp_path}/edgetam.pt.other && scripts/download_weights.sh edgetam"

    write(tmp_path, dict.fromkeys(files.values(), "four"))
    whole = check_weights([tmp_path], table)
    assert whole.facts["sam2_large"]["bytes"] == 4
    assert not {"damaged"} & {facts["state"] for facts in whole.facts.values()}


# --- compiled for real -----------------------------------------------------------------------------------------------------------

EXTENSION = """\
#include <Python.h>
extern void symbol_of_another_torch(void);
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_C", NULL, -1, NULL};
PyMODINIT_FUNC PyInit__C(void) {
    if (BROKEN) symbol_of_another_torch();
    if (CRASHES) *(volatile int *)0 = 0;
    return PyModule_Create(&definition);
}
"""


def compile_extension(path: Path, *, broken: bool = False, crashes: bool = False) -> None:
    include = sysconfig.get_paths()["include"]
    if shutil.which("gcc") is None or not Path(include, "Python.h").exists():
        pytest.skip("needs gcc and Python's headers")
    source = path.with_suffix(".c")
    write(path.parent, {source.name: EXTENSION})
    options = ["-shared", "-fPIC", f"-I{include}", f"-DBROKEN={int(broken)}", f"-DCRASHES={int(crashes)}"]
    subprocess.run(["gcc", *options, "-o", str(path), str(source)], check=True, timeout=60)


def probe_extensions(folder: Path, monkeypatch: pytest.MonkeyPatch, subject: Subject) -> Answers:
    """What the torch probe says of the compiled extensions of the packages in `folder` and of `subject`."""
    torch = "__version__ = '2'\nclass version: cuda = None\nclass cuda:\n    get_arch_list = is_available = lambda: []\n"
    write(folder, {"torch/__init__.py": torch, "torchvision.py": "__version__ = '0'", "sam2/__init__.py": "", "sam2/build_sam.py": ""})
    monkeypatch.setenv("PYTHONPATH", str(folder))
    extension = edgetam_extension(subject)
    arguments = [] if extension is None else ["--edgetam_extension", str(extension)]
    with Probe("savbench.doctor.torch_probe", arguments, 60.0) as probe:
        return probe.answers()


def test_extensions_of_both_families_are_loaded_in_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, desktop: Subject) -> None:
    subject = replace(desktop, edgetam_dir=tmp_path / "EdgeTAM")
    for folder in (tmp_path / "sam2", tmp_path / "EdgeTAM/sam2"):
        folder.mkdir(parents=True)
        compile_extension(folder / "_C.so")
    answers = probe_extensions(tmp_path, monkeypatch, subject)
    assert answers.died_in is None
    assert answers.found["sam2_extension"] == {"file": str(tmp_path / "sam2/_C.so")}
    assert answers.found["edgetam_extension"] == {"file": str(tmp_path / "EdgeTAM/sam2/_C.so")}


def test_a_stale_extension_is_the_one_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, desktop: Subject) -> None:
    (tmp_path / "sam2").mkdir()
    compile_extension(tmp_path / "sam2/_C.so")
    compile_extension(tmp_path / f"sam2/_C{SUFFIX}", broken=True)
    answers = probe_extensions(tmp_path, monkeypatch, desktop)
    found = by_name(check_models(sam2_from(tmp_path / "sam2"), answers, desktop))["sam2 _C"]
    assert (found.state, "undefined symbol: symbol_of_another_torch" in found.detail) == ("warning", True)
    assert f"_C{SUFFIX}" in found.detail


def test_an_extension_that_crashes_costs_its_line_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, desktop: Subject) -> None:
    (tmp_path / "sam2").mkdir()
    compile_extension(tmp_path / "sam2/_C.so", crashes=True)
    answers = probe_extensions(tmp_path, monkeypatch, desktop)
    found = by_name(check_models(sam2_from(tmp_path / "sam2"), answers, desktop))["sam2 _C"]
    assert (found.state, found.detail) == ("failure", "loading _C.so ended with SIGSEGV")
    assert answers.found["torch"]["version"] == "2"
