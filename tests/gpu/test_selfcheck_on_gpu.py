"""The self-check's groups on a GPU, each in its process as the command runs it. Skipped without one."""

from __future__ import annotations

import pytest

from savbench.selfcheck.cli import GROUPS, Report, examine

torch = pytest.importorskip("torch", reason="needs torch")
if not torch.cuda.is_available():
    pytest.skip("needs a GPU that this torch can use", allow_module_level=True)


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_nothing_fails(group: str) -> None:
    report = Report()
    outcomes = list(examine(report, "cuda", quick=False, groups=(group,)))
    assert outcomes
    assert report.device.startswith("cuda:")
    assert [one for one in outcomes if one.status == "failed"] == []
