"""Checks of what the figures were measured with: code, weights, board, self-check."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from runners import SHIPPED_WEIGHTS
from savbench.results import selfcheck
from savbench.results.environment import CHECKOUT, benchmark_version, code_sha256
from savbench.results.table import invalid_rows
from savbench.seal.manifest import some
from savbench.seal.outcome import Check, failed, passed, skipped, warned

if TYPE_CHECKING:
    from collections.abc import Mapping

    from savbench.seal.manifest import SealedRun

_PUBLISHED = CHECKOUT / "scripts" / "weights.tsv"


def check_code(run: SealedRun) -> Check:
    """The code of every sitting is a commit without changes; where it is the commit here, its hash is the one here."""
    name = "code"
    sittings = [(_commit(one), str(one.get("code_sha256") or "")) for one in run.invocations]
    notes = []
    if any(version.endswith("+") for version, _ in sittings):
        notes.append(f"commit {some({v for v, _ in sittings if v.endswith('+')})}: tracked files had changes, nobody else has that code")
    if any(not version for version, _ in sittings):
        notes.append("measured outside of a git checkout: no commit is known")
    here = benchmark_version()
    own = code_sha256()
    differing = [version for version, code in sittings if version == here and code and code != own]
    if differing and here and not here.endswith("+"):
        return failed(name, f"states commit {here} without changes, but its code is not that commit's")
    if notes:
        return warned(name, *notes)
    is_here = all(version == here for version, _ in sittings)
    return passed(name, f"commit {some(dict.fromkeys(version for version, _ in sittings))}{', the one here' if is_here else ''}")


def check_weights(run: SealedRun) -> Check:
    """Learned models have trained weights, the same in all rows of an arm; published ones are told."""
    name = "weights"
    of_arm: dict[str, set[str]] = {}
    for row in run.rows:
        if row.status == "ok" and row.weights != "none":
            of_arm.setdefault(row.arm_id, set()).add(row.weights)
    mixed = [arm for arm, hashes in of_arm.items() if len(hashes) > 1]
    if mixed:
        return failed(name, f"of {some(mixed)} changed within the arm")
    if not of_arm:
        return passed(name, "no model has any")
    if untrained := [arm for arm, hashes in of_arm.items() if "random" in hashes]:
        return warned(name, f"{some(untrained)}: untrained, scores mean nothing")
    published = _published()
    unknown = [arm for arm, hashes in of_arm.items() if not hashes & published.keys()]
    if unknown:
        return warned(name, f"{some(unknown)}: not a file that the authors published")
    return passed(name, f"{some(dict.fromkeys(published[next(iter(hashes))] for hashes in of_arm.values()))}, as published")


def check_board(run: SealedRun) -> Check:
    """Clocks, heat and other load: what `validity` says of the rows, and whether the board was read at all."""
    name = "board"
    ok = [row for row in run.rows if row.status == "ok"]
    invalid, causes = invalid_rows(ok)
    notes = []
    if invalid:
        notes.append(f"times of {invalid} of {len(ok)} rows are not comparable: {causes}")
    unread = [row for row in ok if row.power_source in ("", "none")]
    if unread:
        notes.append(f"clocks, heat and power of {len(unread)} of {len(ok)} rows were not read")
    unlocked = sum("off" in row.jetson_clocks for row in ok)
    if notes or not ok:
        return warned(name, *notes) if notes else skipped(name, "no row has figures")
    peaks = [row.temperature_peak_c for row in ok if row.temperature_peak_c is not None]
    throttled = sum(row.throttle_events or 0 for row in ok)
    heat = f", {max(peaks):.0f} C at most" if peaks else ""
    clocks = "clocks locked" if not unlocked and any(row.jetson_clocks for row in ok) else "clocks not locked by jetson_clocks"
    return passed(name, f"{clocks}{heat}, throttled {throttled} times, no swap or other load beyond limits")


def check_selfcheck(run: SealedRun) -> Check:
    """A self-check of the same device and torch passed on the machine before the last sitting."""
    name = "selfcheck"
    systems = {(row.device_name, row.torch_version) for row in run.rows if row.status == "ok" and not row.node and row.torch_version}
    if not systems:
        return skipped(name, "no row used torch on the machine that ran the benchmark")
    entries = [entry for one in run.invocations if isinstance(one.get("selfchecks"), list) for entry in one["selfchecks"]]
    said = selfcheck.statement(entries, systems)
    try:
        known = {(one.device_name, one.torch): one for one in selfcheck.from_json(entries)}
    except (TypeError, KeyError):
        return failed(name, "environment.json holds something else in its place")
    if bad := [one for system, one in known.items() if system in systems and not one.passed]:
        return failed(name, f"failed: {some(bad[0].failed)}")
    if systems - known.keys():
        return warned(name, said)
    versions = {row.benchmark_version for row in run.rows}
    other = sorted({one.benchmark for system, one in known.items() if system in systems} - versions)
    if other:
        return warned(name, f"{said}, but of benchmark {some(other)}")
    return passed(name, said)


def _commit(invocation: Mapping[str, Any]) -> str:
    state = invocation.get("benchmark")
    return f"{str(state.get('commit'))[:12]}{'+' * bool(state.get('dirty'))}" if isinstance(state, dict) else ""


def _published() -> dict[str, str]:
    """Names of published weights files, and of the one that is shipped, by SHA-256."""
    lines = [line.split("\t") for line in _PUBLISHED.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    shipped = {hashlib.sha256(path.read_bytes()).hexdigest(): path.name for path in SHIPPED_WEIGHTS.glob("*.pt")}
    return {cells[3]: cells[1] for cells in lines if len(cells) > 3} | shipped
