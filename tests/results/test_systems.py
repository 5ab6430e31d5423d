from __future__ import annotations

import pytest

from savbench.results.rows import SummaryRow
from savbench.results.systems import changes, is_part, mixed, split_id, system_of, whole_id

OLD = {"torch_version": "2.5.0", "device_name": "Orin", "weights": "b35"}


def test_a_row_tells_what_it_knows() -> None:
    row = SummaryRow(torch_version="2.5.0", device_name="Orin", nvpmodel="15W > MODE_MAXN")
    assert system_of(row) == {"torch_version": "2.5.0", "device_name": "Orin", "nvpmodel": "MAXN"}
    assert system_of(SummaryRow(status="error")) == {}


@pytest.mark.parametrize(
    ("now", "found"),
    [
        (OLD, []),
        ({"torch_version": "2.5.0"}, []),
        ({**OLD, "nvpmodel": "MAXN"}, []),
        ({**OLD, "torch_version": "2.6.0", "weights": "383"}, ["torch_version was 2.5.0 and is 2.6.0", "weights was b35 and is 383"]),
    ],
)
def test_what_is_known_and_differs_has_changed(now: dict[str, str], found: list[str]) -> None:
    assert changes([OLD, {}], now) == found


def test_an_arm_that_is_mixed_already_fits_no_system() -> None:
    assert changes([OLD, {"device_name": "Xavier"}], OLD) == ["device_name was Orin and Xavier and is Orin"]
    assert mixed([OLD, {}, {"device_name": "Xavier"}, OLD]) == ["device_name Orin and Xavier"]
    assert mixed([OLD, {}]) == []


def test_parts_belong_to_the_whole_and_are_one_for_one_system() -> None:
    part = split_id("sam2-1024px-abc", OLD)
    assert whole_id(part) == whole_id("sam2-1024px-abc") == "sam2-1024px-abc"
    assert is_part(part)
    assert not is_part("sam2-1024px-abc")
    assert split_id(part, dict(reversed(OLD.items()))) == part != split_id(part, {**OLD, "device_name": "Xavier"})
