"""Checks of the packages besides torch and of the dataset, from the answers of the package probe."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from savbench.doctor.check import Check, Subject, pip, python_command, set_up_again, short_path
from savbench.doctor.package_probe import OTHERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from savbench.doctor.probe import Answers

TOPIC = "packages"


def check_packages(answers: Answers, subject: Subject) -> Iterator[Check]:
    yield _crash(answers, subject) if answers.died_in == "start" else _numpy(answers, subject)
    yield from _opencv(answers, subject)
    yield from _pyav(answers, subject)
    yield from _others(answers, subject)


def _crash(answers: Answers, subject: Subject) -> Check:
    words = f": {answers.last_words}" if answers.last_words else ""
    return Check(TOPIC, "Python", "failure", f"a child process cannot start ({answers.death}){words}", set_up_again(subject.checkout))


def _why(answers: Answers, step: str) -> str | None:
    """What went wrong in a step; None if it was answered or not reached."""
    if step == answers.died_in:
        return f"importing it ended with {answers.death}"
    return answers.errors.get(step)


def _numpy(answers: Answers, subject: Subject) -> Check:
    why = _why(answers, "numpy")
    if why is not None:
        return Check(TOPIC, "NumPy", "failure", f"cannot be imported: {why}", set_up_again(subject.checkout), {"error": why})
    return Check(TOPIC, "NumPy", "ok", answers.found["numpy"]["version"], facts=answers.found["numpy"])


def _opencv(answers: Answers, subject: Subject) -> Iterator[Check]:
    headless = pip("install --force-reinstall --no-deps opencv-python-headless")
    why = _why(answers, "opencv")
    if why is not None:
        missing = "No module named 'cv2'" in why
        remedy = set_up_again(subject.checkout) if missing else headless
        yield Check(TOPIC, "OpenCV", "failure", f"cannot be imported: {why}", remedy, {"error": why})
        return
    found = answers.found.get("opencv")
    if found is None:
        return
    names = list(found["distributions"])
    if not found["optical_flow"]:
        yield Check(TOPIC, "OpenCV", "warning", f"{found['version']} has no DIS optical flow; the model flow cannot run", headless, found)
    elif len(names) > 1:
        detail = f"{found['version']}, one of several packages that overwrite each other: {', '.join(names)}"
        remedy = f"{pip('uninstall -y', *names)} && {headless}"
        yield Check(TOPIC, "OpenCV", "warning", detail, remedy, found)
    else:
        yield Check(TOPIC, "OpenCV", "ok", found["version"], facts=found)


def _pyav(answers: Answers, subject: Subject) -> Iterator[Check]:
    why, found = _why(answers, "pyav"), answers.found.get("pyav")
    remedy = pip("install --force-reinstall --no-deps av")
    if why is not None:
        if "No module named 'av'" in why:
            remedy = set_up_again(subject.checkout)
        yield Check(TOPIC, "PyAV", "warning", f"cannot be imported: {why}; --save_overlays needs it", remedy, {"error": why})
    elif found is not None and not found["h264"]:
        detail = f"{found['version']} was built without libx264; --save_overlays needs it"
        yield Check(TOPIC, "PyAV", "warning", detail, remedy, found)
    elif found is not None:
        yield Check(TOPIC, "PyAV", "ok", f"{found['version']} with H.264 encoder", facts=found)


def _others(answers: Answers, subject: Subject) -> Iterator[Check]:
    broken = {name: why for name in OTHERS if (why := _why(answers, name)) is not None}
    versions = {name: answers.found[name]["version"] for name in OTHERS if name in answers.found}
    if broken:
        reasons = [name if f"No module named '{name}'" in why else f"{name} ({why})" for name, why in broken.items()]
        detail = f"missing or broken: {', '.join(reasons)}"
        yield Check(TOPIC, "others", "failure", detail, set_up_again(subject.checkout), {"errors": broken})
    elif versions:
        yield Check(TOPIC, "others", "ok", ", ".join(f"{name} {version}" for name, version in versions.items()), facts=versions)


def check_dataset(answers: Answers, subject: Subject) -> Iterator[Check]:
    """Check the split, if one was named, and count its contents."""
    if subject.split_dir is None:
        return
    found, why = answers.found.get("dataset"), _why(answers, "dataset")
    if found is None:
        # If an earlier step crashed, another check reports it; this step was not reached.
        error = (why or "not checked, because a package before it crashed").removeprefix("DatasetError: ")
        meant = re.search(r"did you mean --split_dir (.+)\?", error)
        remedy = f"tar -xf sav_val.tar -C {short_path(subject.split_dir.parent)}"
        if meant is not None:
            remedy = f"{python_command()} jetson_benchmark.py doctor --split_dir {short_path(Path(meant[1]))}"
        yield Check("data", "dataset", "failure", error, "" if why is None else remedy, {"error": error})
        return
    summary = (
        f"{found['split']}: {found['videos']} videos, {found['objects']} objects, {found['frames']} frames, "
        f"{found['annotations']} annotated masks"
    )
    defects = found["defects"]
    if not found["objects"]:
        yield Check("data", "dataset", "failure", f"{summary}; {defects[0] if defects else 'nothing to track'}", facts=found)
    elif defects:
        more = f" and {len(defects) - 1} more" if len(defects) > 1 else ""
        yield Check("data", "dataset", "warning", f"{summary}; unusable: {defects[0]}{more}", facts=found)
    else:
        yield Check("data", "dataset", "ok", summary, facts=found)
