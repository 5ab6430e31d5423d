"""Which attribute explains a difference, and which objects decide it: by hand, with planted weaknesses, and where there is nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare_files import QUICK, row, write

import jetson_benchmark
from savbench.compare.explained import conclusion
from savbench.compare.explaining import ALPHA, explain, holm, permutation_test
from savbench.compare.findings import Explanation
from savbench.results.attributes import BY_NAME

FAST: dict[str, Any] = {"resamples": 1000, "permutations": 999}


def names(count: int) -> list[str]:
    return [f"v{number:02d}" for number in range(count)]


def bins_of(found: Explanation, attribute: str) -> dict[str, tuple[int, float, float]]:
    """Objects, change and part by bin."""
    effect = next(effect for effect in found.effects if effect.attribute == attribute)
    return {one.label: (one.objects, round(one.change, 9), round(one.carries, 9)) for one in effect.bins}


def test_bins_by_hand() -> None:
    differences = np.array([-0.4, -0.2, 0.0, 0.1, 0.1, 0.1, -0.3, 0.0])
    size = np.array([0.01, 0.02, 0.06, 0.15, 0.15, 0.3, np.nan, 0.3])
    found = explain(differences, np.arange(8), {"size": size}, names(8), **FAST)
    assert found.change == pytest.approx(-0.075)
    assert bins_of(found, "size") == {
        "tiny, under 0.05": (2, -0.3, -0.075),
        "small, 0.05 to 0.1": (1, 0.0, 0.0),
        "medium, 0.1 to 0.2": (2, 0.1, 0.025),
        "large, from 0.2": (2, 0.05, 0.0125),
        "not known": (1, -0.3, -0.0375),
    }
    (effect,) = found.effects
    assert sum(one.carries for one in effect.bins) == pytest.approx(found.change)
    assert sum(one.share or 0 for one in effect.bins) == pytest.approx(1)
    # a bin of fewer than 6 videos has no interval
    assert all(one.low is None for one in effect.bins)
    # sums of squares about the mean of the seven in bins, -0.3 / 7: 2 (.3^2) + 2 (.1^2) + 2 (.05^2) - 7 (.3 / 7)^2; and of all, .275
    assert effect.explained == pytest.approx((0.205 - 0.09 / 7) / 0.275)


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, np.nan])), [0.03, 0.06, 0.06, np.nan])
    np.testing.assert_allclose(holm(np.array([0.5, 0.9])), [1, 1])


def test_the_exact_p_value_of_six_videos() -> None:
    """Two small objects lose the same, four large ones nothing: 1 of the 15 ways to choose two of six is as extreme."""
    values = np.array([-0.3, -0.3, 0, 0, 0, 0])
    _, by_chance, (p,) = permutation_test(values, np.arange(6), [np.array([0, 0, 1, 1, 1, 1])], 9_999, 0)
    assert p == pytest.approx(1 / 15, abs=0.01)
    # eta squared has the mean (bins - 1) / (objects - 1) over permutations
    assert by_chance == pytest.approx(0.2, abs=0.02)


def planted(videos: int = 50, seed: int = 0) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Objects of which the small ones lose 0.2 of J&F; speed and absence have nothing to do with it."""
    rng = np.random.default_rng(seed)
    video = np.repeat(np.arange(videos), rng.integers(1, 4, videos))
    size = np.exp(rng.uniform(np.log(0.02), np.log(0.5), video.size))
    others = {"speed": rng.exponential(1.0, video.size), "absence": np.maximum(0, rng.uniform(-0.5, 0.5, video.size))}
    return rng.normal(0, 0.1, video.size) - 0.2 * (size < 0.1), video, {"size": size, **others}


def test_a_planted_weakness_is_named() -> None:
    differences, video, attributes = planted()
    found = explain(differences, video, attributes, names(video.size), **FAST)
    assert found.best == "size"
    assert {effect.attribute: (effect.p or 0) <= ALPHA for effect in found.effects} == {"size": True, "speed": False, "absence": False}
    assert conclusion(found).startswith("size explains the differences best: ")
    shares = bins_of(found, "size")
    assert shares["tiny, under 0.05"][2] + shares["small, 0.05 to 0.1"][2] == pytest.approx(found.change, abs=0.02)


def test_where_nothing_is_planted_nothing_is_named() -> None:
    differences, video, attributes = planted()
    found = explain(np.random.default_rng(1).permutation(differences), video, attributes, names(video.size), **FAST)
    assert found.best == ""
    assert conclusion(found).startswith("none of 3 attributes explains the differences: the smallest p is ")


@pytest.mark.parametrize("skewed", [False, True])
def test_nothing_is_named_in_more_than_the_allowed_share_of_runs(skewed: bool) -> None:
    """Objects of a video fail together and have alike attributes: what a test that takes objects as independent would fall for."""
    rng = np.random.default_rng(5)
    runs, wrong, wrong_alone = 300, 0, 0
    for seed in range(runs):
        video = np.repeat(np.arange(30), rng.integers(1, 4, 30))
        of_video = np.where(rng.random(30) < 0.1, -0.6, 0) if skewed else rng.normal(0, 0.2, 30)
        values = of_video[video] + rng.normal(0, 0.02, video.size)
        codes = [rng.integers(0, 4, 30)[video], rng.integers(0, 3, 30)[video], rng.integers(0, 3, video.size)]
        p_values = permutation_test(values, video, codes, 199, seed)[2]
        wrong += bool((holm(p_values) <= ALPHA).any())
        wrong_alone += bool((holm(permutation_test(values, np.arange(video.size), codes, 199, seed)[2]) <= ALPHA).any())
    # 5% of 300 runs and twice the standard error of that
    assert wrong / runs <= 0.075
    assert wrong_alone / runs > 0.15


def test_a_weakness_is_found_in_most_runs() -> None:
    found = 0
    for seed in range(40):
        differences, video, attributes = planted(40, seed)
        codes = [np.array([BY_NAME[name].bin_of(value) for value in values]) for name, values in attributes.items()]
        p_values = holm(permutation_test(differences, video, codes, 199, seed)[2])
        found += int(p_values[0] <= ALPHA)
    assert found >= 38


def test_too_few_videos_or_equal_differences_are_not_tested() -> None:
    size = np.array([0.01, 0.3] * 4)
    few = explain(np.linspace(-1, 0, 8), np.arange(8) % 5, {"size": size}, names(8), **FAST)
    equal = explain(np.full(8, 0.0), np.arange(8), {"size": size}, names(8), **FAST)
    one_bin = explain(np.linspace(-1, 0, 8), np.arange(8), {"size": np.full(8, 0.3)}, names(8), **FAST)
    for found in (few, equal, one_bin):
        assert (found.best, found.permutations) == ("", 0)
        assert found.effects[0].p is None
        assert conclusion(found).startswith("no attribute can be tested")
    assert equal.deciding == ()
    assert all(one.share is None for one in equal.effects[0].bins)


def test_the_objects_that_decide_by_hand() -> None:
    # the mean is -0.1; without the first it is -0.05, without both of the large losses 0.025
    differences = np.array([0.1, -0.6, 0.0, -0.5, 0.0, 0.0, 0.1, 0.1])
    found = explain(differences, np.arange(8), {}, names(8), **FAST)
    assert [(one.object, one.change) for one in found.deciding] == [("v01", -0.6), ("v03", -0.5)]
    assert [one.left for one in found.deciding] == pytest.approx([-0.2 / 7, 0.3 / 6])
    assert found.sign_turns_after == 2


def test_a_conclusion_that_rests_on_two_objects() -> None:
    differences = np.array([0.01, -0.02] * 8 + [-0.1, -0.1])
    found = explain(differences, np.arange(18), {}, names(18), resamples=4000)
    assert found.is_shown
    assert [one.object for one in found.deciding[:2]] == ["v16", "v17"]
    # -0.08 of the rest stays without both, spread over 16 videos: an interval of about 0.008 to either side of -0.005
    assert found.undecided_after in (1, 2)
    assert found.sign_turns_after is not None
    assert found.sign_turns_after > 2


def run(tmp_path: Path, *, has_attributes: bool = True, weak: bool = True) -> Path:
    differences, video, attributes = planted()
    listed = []
    for place, number in enumerate(video):
        of = {name: float(values[place]) for name, values in attributes.items()} if has_attributes else {}
        for dtype, off in (("float32", 0.0), ("bfloat16", differences[place] if weak else 0.0)):
            listed.append(row(f"v{number:02d}", f"{place:03d}", J=0.6 + float(off), autocast_dtype=dtype, attributes=of))
    return write(tmp_path / "run.csv", listed)


def test_the_command_at_80_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    path = run(tmp_path)
    assert jetson_benchmark.main(["compare", str(path), "--explain-by", "size,speed", "--resamples", "1000"]) == 0
    said = capsys.readouterr().out
    assert "size explains the differences best" in said
    assert "absence" not in said
    assert "the 10 objects that decide J&F of bfloat16 against float32" in said
    assert max(map(len, said.splitlines())) <= 80
    part = said[said.index("J&F of bfloat16 against float32 by attribute") :]
    assert "tiny, under 0.05 " in part
    assert "carries" in part


def test_without_a_name_all_attributes_are_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert jetson_benchmark.main(["compare", str(run(tmp_path)), "--format", "json", "--resamples", "1000", "--explain_by"]) == 0
    (pair,) = json.loads(capsys.readouterr().out)["blocks"][0]["comparisons"]
    assert [effect["attribute"] for effect in pair["explanation"]["effects"]] == list(BY_NAME)
    assert pair["explanation"]["best"] == "size"


@pytest.mark.parametrize(("form", "said"), [("markdown", "| size "), ("latex", "size & ")])
def test_papers_get_the_explanation(tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, said: str) -> None:
    if form == "latex":
        pytest.importorskip("jinja2")
    assert jetson_benchmark.main(["compare", str(run(tmp_path)), "--format", form, "--explain_by", "size", "--resamples", "1000"]) == 0
    out = capsys.readouterr().out
    assert said in out
    assert "size explains the differences best" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--explain_by", "sizes"], "did you mean size?"),
        (["--explain_by", "size", "--format", "csv"], "--explain_by: --format csv has no place for it; use table, markdown, latex or json"),
    ],
)
def test_what_cannot_be_explained_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert jetson_benchmark.main(["compare", str(run(tmp_path)), *words]) == 2
    assert said in capsys.readouterr().err


def test_results_without_attributes_cannot_be_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert jetson_benchmark.main(["compare", str(run(tmp_path, has_attributes=False)), "--explain_by", "size"]) == 2
    assert "no row has attributes of its object" in capsys.readouterr().err


def test_equal_arms_have_nothing_to_explain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert jetson_benchmark.main(["compare", str(run(tmp_path, weak=False)), "--explain_by", "size", "--resamples", "1000"]) == 0
    said = capsys.readouterr().out
    assert "no attribute can be tested" in said
    assert "decide" not in said


def test_the_flag_before_the_runs_needs_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert jetson_benchmark.main(["compare", "--explain_by", str(run(tmp_path))]) == 2
    assert "size" in capsys.readouterr().err


def test_quick_options_explain_nothing() -> None:
    assert QUICK.explain_by == ()
