from __future__ import annotations

import pytest

from savbench.board.validity import judge
from savbench.results.power import PowerSummary


def went_through(**changed: object) -> PowerSummary:
    calm = {"throttle_events": 0, "temperature_start_c": 50.0, "nvpmodel": "MAXN", "jetson_clocks": "on", "swap_io_mib": 0.0}
    return PowerSummary(**{**calm, **changed})  # type: ignore[arg-type]


def test_a_calm_board_is_ok() -> None:
    assert judge(went_through()) == "ok"


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({"throttle_events": 2, "throttle_reasons": "oc3=2"}, "throttled (oc3=2)"),
        ({"jetson_clocks": "off"}, "clocks not locked (sudo scripts/lock_clocks.sh)"),
        ({"jetson_clocks": "on > off"}, "clocks not locked (sudo scripts/lock_clocks.sh)"),
        ({"nvpmodel": "MAXN > 15W"}, "power mode changed (MAXN > 15W)"),
        ({"swap_io_mib": 12.34}, "swap touched (12.3 MiB)"),
        ({"temperature_start_c": 85.4}, "hot at the start (85 C)"),
        ({"background_gpu_pct": 23.4}, "background load (23% of the GPU)"),
        ({"swap_io_mib": 1.0, "temperature_start_c": 71.0}, "swap touched (1.0 MiB); hot at the start (71 C)"),
    ],
)
def test_everything_that_was_wrong_is_named(changed: dict[str, object], wrong: str) -> None:
    assert judge(went_through(**changed)) == wrong


def test_what_was_not_read_is_not_judged() -> None:
    assert judge(went_through(jetson_clocks="", nvpmodel="", swap_io_mib=None)) == "ok"
    assert judge(PowerSummary()) == ""


def test_background_load_is_judged_also_where_nothing_else_was_read() -> None:
    assert judge(PowerSummary(), 0.51) == "background load (0.5 CPUs)"
    assert judge(PowerSummary(), 0.5) == ""
    assert judge(went_through(background_gpu_pct=5.0), 0.5) == "ok"
    assert judge(went_through(background_gpu_pct=None), None) == "ok"
