"""One run, read through everything that shows its figures: the closing table, compare, the report and the pandas lines of README."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import jetson_benchmark
from savbench.report.charts import Bars, Scatter
from savbench.report.content import Settings, make_report
from savbench.results.csv_rows import header_line, read_rows, row_line
from savbench.results.rows import SummaryRow, without_figures

ROOT = Path(__file__).parents[2]
COLUMNS = ("J", "F", "J&F", "FPS", "p50 ms", "p90 ms", "MiB")
MODELS = ("static", "flow")

Figures = dict[str, dict[str, str]]
"""As printed, by model and column."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """results/demo of a working directory: an object of flow failed, and a row of static is not valid, with other times than the others."""
    base = tmp_path_factory.mktemp("figures")
    jetson_benchmark.main(["demo-data", str(base / "split"), "--videos", "3", "--frames", "24", "--height", "64", "--width", "96"])
    run = base / "results" / "demo"
    assert _run(base) == 0
    rows = [dataclasses.replace(row, validity="ok") for row in read_rows(SummaryRow, run / "summary.csv")]
    statics = [n for n, row in enumerate(rows) if row.model == "static"]
    flows = [n for n, row in enumerate(rows) if row.model == "flow"]
    rows[flows[0]] = without_figures(rows[flows[0]], "error", "went wrong")
    disturbed = rows[statics[-1]]
    rows[statics[-1]] = dataclasses.replace(
        disturbed,
        validity="background load (3.0 CPUs)",
        cpu_peak_rss_MiB=9999.0,
        JandF=(disturbed.JandF or 0) / 2,
        J=0.0,
        F=disturbed.JandF,
    )
    (run / "summary.csv").write_text(header_line(SummaryRow) + "".join(map(row_line, rows)), encoding="utf-8")
    return run


def _run(base: Path) -> int:
    return jetson_benchmark.main([
        "--split_dir", str(base / "split"), "--models", "static_mask,flow_mask", "--power", "none", "--warmup_frames", "0", "--out_dir",
        str(base / "results" / "demo"),
    ])  # fmt: skip


@pytest.fixture(scope="module")
def by_hand(folder: Path) -> dict[str, dict[str, float]]:
    """From the definitions, with nothing of pandas or of the code under test."""
    rows = {(row.model, row.video, row.object): row for row in read_rows(SummaryRow, folder / "summary.csv")}
    with (folder / "frames.csv").open(encoding="utf-8", newline="") as file:
        frames = list(csv.DictReader(file))
    ok = {key: row for key, row in rows.items() if row.status == "ok"}
    valid = {key: row for key, row in ok.items() if row.validity == "ok"}
    scored, timed = ({key[1:] for key in of if all((model, *key[1:]) in of for model in MODELS)} for of in (ok, valid))
    assert len(scored) == len(timed) + 1 == len({key[1:] for key in rows}) - 1
    found = {}
    for model in MODELS:
        arm_id = next(row.arm_id for key, row in rows.items() if key[0] == model)
        samples = sorted(
            float(f["latency_ms"]) for f in frames if f["arm_id"] == arm_id and (f["video"], f["object"]) in timed and f["latency_ms"]
        )
        means = {name: sum(getattr(ok[(model, *key)], name) for key in scored) / len(scored) for name in ("J", "F")}
        found[model] = {
            **means,
            "J&F": (means["J"] + means["F"]) / 2,
            "FPS": 1000 * len(samples) / sum(samples),
            "p50 ms": _percentile(samples, 0.5),
            "p90 ms": _percentile(samples, 0.9),
            "MiB": max(row.cpu_peak_rss_MiB or 0 for key, row in valid.items() if key[0] == model),
        }
    return found


def _percentile(samples: list[float], share: float) -> float:
    place = share * (len(samples) - 1)
    low = int(place)
    return samples[low] + (place - low) * (samples[min(low + 1, len(samples) - 1)] - samples[low])


def agree(found: Figures, expected: dict[str, dict[str, float]], columns: tuple[str, ...] = COLUMNS) -> None:
    """Every figure is the expected one, rounded to the digits that are shown."""
    for model in MODELS:
        for name in columns:
            shown = found[model][name]
            digits = len(shown.partition(".")[2])
            assert float(shown) == pytest.approx(expected[model][name], abs=0.51 * 10**-digits), (model, name)


def table(lines: list[list[str]], first: str = "arm") -> Figures:
    """The rows of the first table that has this header, by model."""
    start = next(n for n, cells in enumerate(lines) if cells and cells[0] == first and "FPS" in cells)
    header = [re.sub(r"^(peak|RSS) MiB$", "MiB", name) for name in lines[start]]
    rows = [cells for cells in lines[start + 1 : start + 4] if len(cells) == len(header) and cells[0].startswith(MODELS)]
    return {cells[0].split("_")[0].split()[0]: {k: v.removesuffix(" RSS") for k, v in zip(header, cells, strict=True)} for cells in rows}


def test_closing_table(folder: Path, by_hand: dict[str, dict[str, float]], capsys: pytest.CaptureFixture[str]) -> None:
    """The same command again runs nothing and shows the table."""
    assert _run(folder.parents[1]) == 1
    out = capsys.readouterr().out
    agree(table([re.split(r"\s{2,}", line.strip()) for line in out.splitlines()]), by_hand)
    assert "J, F and J&F: over the" in out
    assert "FPS and latencies: over the" in out


@pytest.mark.parametrize("kind", ["table", "markdown", "csv", "json", "latex"])
def test_compare(kind: str, folder: Path, by_hand: dict[str, dict[str, float]], capsys: pytest.CaptureFixture[str]) -> None:
    assert jetson_benchmark.main(["compare", str(folder), "--by", "model", "--format", kind, "--details", "--resamples", "1000"]) == 0
    out = re.sub(r"\$\\mathcal\{(J|F)\}(\\&\\mathcal\{F\})?\$", lambda m: "J&F" if m[2] else m[1], capsys.readouterr().out)
    if kind == "json":
        arms = json.loads(out)["blocks"][0]["arms"]
        names = {"FPS": "fps", "p50 ms": "latency_p50_ms", "p90 ms": "latency_p90_ms"}
        found = {
            arm["arm"]: {
                **{name: repr(arm["means"][name.replace("&", "and")]) for name in ("J", "F", "J&F")},
                **{name: repr(arm["figures"][column]) for name, column in names.items()},
                "MiB": repr(arm["peak_MiB"]),
            }
            for arm in arms
        }
        for model in MODELS:
            assert {name: float(text) for name, text in found[model].items()} == pytest.approx(by_hand[model])
    elif kind == "csv":
        names = {
            "J": "J", "F": "F", "JandF": "J&F", "fps": "FPS", "latency_p50_ms": "p50 ms", "latency_p90_ms": "p90 ms",
            "cpu_peak_rss_MiB": "MiB",
        }  # fmt: skip
        told = [line for line in csv.DictReader(io.StringIO(out)) if line["measure"] in names]
        for line in told:
            assert float(line["value"]) == pytest.approx(by_hand[line["arm"]][names[line["measure"]]])
        assert len(told) == 14
    else:
        split = {"table": r"\s{2,}", "markdown": r"\s*\|\s*", "latex": r" & "}[kind]
        lines = [re.split(split, line.strip().strip("|").replace(" \\\\", "").replace("\\&", "&").strip()) for line in out.splitlines()]
        agree(table([[cell.removesuffix(" (baseline)") for cell in cells] for cells in lines]), by_hand)


class _Cells(HTMLParser):
    """Rows of every table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "tr":
            self.rows.append([])
        self._inside = tag in ("td", "th")
        if self._inside and self.rows:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside and self.rows:
            self.rows[-1][-1] += data


def test_report_page(folder: Path, by_hand: dict[str, dict[str, float]], tmp_path: Path) -> None:
    for module in ("jinja2", "matplotlib", "itables"):
        pytest.importorskip(module, reason=f"the page needs {module}")
    path = tmp_path / "report.html"
    assert jetson_benchmark.main(["report", str(folder), "-o", str(path), "--resamples", "1000"]) == 0
    agree(table(_Cells(path.read_text(encoding="utf-8")).rows), by_hand)


def test_report_as_markdown(folder: Path, by_hand: dict[str, dict[str, float]], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="figures for papers need matplotlib")
    path = tmp_path / "report.md"
    assert jetson_benchmark.main(["report", str(folder), "-o", str(path), "--resamples", "1000"]) == 0
    lines = [re.split(r"\s*\|\s*", line.strip().strip("|").strip()) for line in path.read_text(encoding="utf-8").splitlines()]
    agree(table(lines), by_hand)


def test_what_the_pdf_draws(folder: Path, by_hand: dict[str, dict[str, float]]) -> None:
    """The page of the report and its figures for papers are drawn from the same data."""
    figures = {figure.key: figure for figure in make_report([folder], Settings(resamples=1000), []).figures}
    scatter, memory = figures["accuracy-speed"].drawing, figures["memory"].drawing
    assert isinstance(scatter, Scatter)
    assert isinstance(memory, Bars)
    for point in scatter.points:
        model = point.label.split("_")[0]
        assert (point.x, point.y) == pytest.approx((by_hand[model]["FPS"], by_hand[model]["J&F"]))
    (resident,) = [part for part in memory.parts if "RSS" in part.label and "process" not in part.label.lower()]
    for label, value in zip(memory.categories, resident.values, strict=True):
        assert value == pytest.approx(by_hand[label.split("_")[0]]["MiB"])
    quoted = {row[0].split("_")[0]: row for row in figures["latency"].table.rows}
    header = figures["latency"].table.header
    agree(
        {m: {"p50 ms": row[header.index("p50")], "p90 ms": row[header.index("p90")].split()[0]} for m, row in quoted.items()},
        by_hand,
        ("p50 ms", "p90 ms"),
    )


def test_readme(
    folder: Path, by_hand: dict[str, dict[str, float]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lines as they stand there, run beside results/demo."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code = next(block for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL) if "results/demo/summary.csv" in block)
    monkeypatch.chdir(folder.parents[1])
    names: dict[str, object] = {}
    exec(code, names)
    assert "FPS" in capsys.readouterr().out
    arm_ids = {row.model: row.arm_id for row in read_rows(SummaryRow, folder / "summary.csv")}
    for model, arm_id in arm_ids.items():
        found = {
            "FPS": names["fps"][arm_id],  # type: ignore[index]
            "p90 ms": names["p90_ms"][arm_id],  # type: ignore[index]
            "MiB": names["peak_MiB"].loc[arm_id, "cpu_peak_rss_MiB"],  # type: ignore[attr-defined]
            **{name: names["scores"].loc[arm_id, name.replace("&", "and")] for name in ("J", "F", "J&F")},  # type: ignore[attr-defined]
        }
        assert found == pytest.approx({name: by_hand[model][name] for name in found})
