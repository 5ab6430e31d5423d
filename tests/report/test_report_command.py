"""`report`: what is written in each format, and what is said where it cannot be."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_files import ArmOfRun, write_run

import jetson_benchmark

ROOT = Path(__file__).parents[2]
HOSTILE = "<script>alert(1)</script>"


def report(*arguments: object) -> int:
    return jetson_benchmark.main(["report", *map(str, arguments), "--resamples", "1000"])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run whose names and messages are what an enemy would write into them."""
    videos = ["v0", "v1", "v2", "v3", "v4", "v5", HOSTILE]
    arms = [
        ArmOfRun(dtype="float32", failing={"v1/001": ("error", f"{HOSTILE} | $x_1$ `code`")}),
        ArmOfRun(),
        ArmOfRun("edgetam", 0.6, 30.0, row={"implementation": "</script><img src=x onerror=alert(1)>"}),
    ]
    return write_run(tmp_path_factory.mktemp("command") / "run <b>$1$", arms, videos=videos)


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For tests of where a report goes, whatever it says."""
    return write_run(tmp_path_factory.mktemp("small") / "run", [ArmOfRun("static")], videos=["v0"], objects=1, frames=2)


class _Page(HTMLParser):
    """Elements, addresses they would load from, and the text of scripts and of the rest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.scripts: list[str] = []
        self.policy = ""
        self.text = ""
        self.size = len(text)
        self.ids: list[str] = []
        self.uses: set[str] = set()
        self.figures: dict[str, list[str]] = {}
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        named = dict(attrs)
        self.addresses += [str(named[name]) for name in ("src", "href", "srcset", "poster", "action", "data") if named.get(name)]
        if named.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(named["content"])
        self.ids += [str(named["id"])] if "id" in named else []
        self.uses |= {text[1:] for name in ("href", "xlink:href") if (text := str(named.get(name))).startswith("#")}
        self.uses |= {str(named["clip-path"])[len("url(#") : -1]} if "clip-path" in named else set()
        if "data-figure" in named:
            self.figures[str(named["data-figure"])] = []
        if tag == "svg":
            list(self.figures.values())[-1].append(str(named["class"]))
        self._inside = tag if tag in ("script", "style") else ""
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif not self._inside:
            self.text += data


@pytest.fixture(scope="module")
def page(run: Path, tmp_path_factory: pytest.TempPathFactory) -> _Page:
    for module in ("jinja2", "matplotlib", "itables"):
        pytest.importorskip(module, reason=f"the page needs {module}")
    path = tmp_path_factory.mktemp("page") / "deep" / "report.html"
    assert report(run, "-o", path, "--title", f"Title {HOSTILE}") == 0
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]
    return _Page(path.read_text(encoding="utf-8"))


class TestHtml:
    def test_everything_is_inside(self, page: _Page) -> None:
        assert page.addresses
        assert [address for address in page.addresses if not address.startswith(("#", "data:"))] == []

    def test_what_comes_from_files_is_text(self, page: _Page) -> None:
        # the data, and the page's own script
        assert len(page.scripts) == 2
        assert "img" not in page.tags
        assert HOSTILE in page.text
        assert "</script><img src=x onerror=alert(1)>" in page.text
        assert f"Title {HOSTILE}" in page.text

    def test_the_policy_lets_only_the_pages_scripts_run(self, page: _Page) -> None:
        directives = dict(part.strip().split(" ", 1) for part in page.policy.split(";"))
        assert directives["default-src"] == "'none'"
        assert "connect-src" not in directives
        assert "'unsafe-inline'" not in directives["script-src"]
        assert "data:" not in directives["script-src"]
        for script in page.scripts[1:]:
            digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in directives["script-src"]

    def test_every_figure_is_drawn_for_desktop_and_phone(self, page: _Page) -> None:
        expected = {"accuracy-speed", "accuracy-energy", "latency", "latency-frames", "stages", "memory", "power", "temperature"}
        assert expected <= set(page.figures)
        assert all(sizes == ["wide", "narrow"] for sizes in page.figures.values())
        # titles for the pointer, and names as they are in the files
        assert page.tags.count("title") > 50
        assert "run <b>$1$" in page.text

    def test_ids_are_there_once_and_what_they_are_used_for_exists(self, page: _Page) -> None:
        assert len(page.ids) == len(set(page.ids))
        assert page.uses
        assert page.uses <= set(page.ids)

    def test_the_page_is_light(self, page: _Page) -> None:
        """Charts and their names; the rest is the table's library."""
        assert page.size < 2_000_000

    def test_every_row_and_chapter_is_there(self, page: _Page) -> None:
        table = json.loads(page.scripts[0])
        assert len(table["cells"]) == 3 * 14
        assert sum(HOSTILE in map(str, cells) for cells in table["cells"]) == 6
        for heading in ("Answer", "Latency", "Memory", "Power and temperature", "Best and worst objects", "Every row", "How to reproduce"):
            assert heading in page.text
        assert "Run with --save_masks" in page.text


class TestOtherFormats:
    def test_markdown_with_its_pictures(self, run: Path, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib", reason="figures for papers need matplotlib")
        assert report(run, "-o", tmp_path / "report.md") == 0
        text = (tmp_path / "report.md").read_text(encoding="utf-8")
        pictures = re.findall(r"!\[[^]]*\]\(<([^>]+)>\)", text)
        assert len(pictures) >= 8
        assert sorted(path.name for path in (tmp_path / "report_figures").iterdir()) == sorted(Path(path).name for path in pictures)
        for path in pictures:
            assert (tmp_path / path).read_bytes().startswith(b"\x89PNG")
        outside = re.sub(r"^(`{3,})\n.*?\n\1$", "", text, flags=re.DOTALL | re.MULTILINE)
        assert "<script>" not in outside
        assert "</script>" not in outside
        assert r"&lt;script>alert(1)&lt;/script> \| \$x_1\$ \`code\`" in outside
        header = next(line for line in text.splitlines() if re.match(r"\| arm +\| +objects +\|", line))
        (line,) = [line for line in text.splitlines() if re.match(r"\| sam2_tiny_mask float32 +\| +13", line)]
        assert line.count(" | ") == header.count(" | ")

    def test_one_picture_a_figure(self, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        pytest.importorskip("matplotlib", reason="figures for papers need matplotlib")
        assert report(run, "-o", tmp_path / "run.png") == 0
        written = sorted(path.name for path in tmp_path.iterdir())
        assert "run-accuracy-speed.png" in written
        assert sorted(Path(line.removeprefix("wrote ")).name for line in capsys.readouterr().out.splitlines()) == written

    def test_a_page_a_figure_under_any_name(self, run: Path, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib", reason="figures for papers need matplotlib")
        assert report(run, "-o", tmp_path / "figures.out", "--format", "pdf") == 0
        data = (tmp_path / "figures.out").read_bytes()
        assert data.startswith(b"%PDF")
        assert len(re.findall(rb"/Type /Page\b", data)) >= 8


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--resamples", "10"], "--resamples 10: use 1000 to 1000000"),
            (["--seed", "-1"], "--seed -1: use 0 to 4294967295"),
            (["--objects", "0"], "--objects 0: use 1 to 1000"),
        ],
    )
    def test_bad_arguments(self, run: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert jetson_benchmark.main(["report", str(run), *arguments]) == 2
        assert message in capsys.readouterr().err

    def test_bad_files_get_a_line_and_no_traceback(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "bad.csv").write_text("video,object,model\nv,0\nw,0,m\n")
        for path, said in (("bad.csv", "bad.csv:2:"), ("gone", "gone")):
            assert report(tmp_path / path, "-o", tmp_path / "report.html") == 2
            captured = capsys.readouterr()
            assert captured.err.startswith("jetson_benchmark report: ")
            assert said in captured.err
            assert captured.err.count("\n") == 1
        assert not (tmp_path / "report.html").exists()

    def test_an_output_that_cannot_be_written(self, small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "file").touch()
        assert report(small_run, "-o", tmp_path / "file" / "report.html") == 2
        assert "give another -o" in capsys.readouterr().err
        (tmp_path / "report.html").mkdir()
        assert report(small_run, "-o", tmp_path / "report.html") == 2
        assert [path.name for path in sorted(tmp_path.iterdir())] == ["file", "report.html"]

    @pytest.mark.parametrize("output", ["/", ".", "..", "folder"])
    @pytest.mark.parametrize("kind", ["html", "md"])
    def test_an_output_that_is_a_folder(
        self, output: str, kind: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "folder").mkdir()
        monkeypatch.chdir(tmp_path)
        assert report(run, "-o", output, "--format", kind) == 2
        assert capsys.readouterr().err == f"jetson_benchmark report: {output}: is a folder; give another -o\n"
        assert [path.name for path in tmp_path.iterdir()] == ["folder"]

    def test_a_pipe_is_written_to_and_not_replaced(self, small_run: Path, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        with (tmp_path / "read.html").open("wb") as read, subprocess.Popen(["cat", str(pipe)], stdout=read):
            assert report(small_run, "-o", pipe) == 0
        assert b"</html>" in (tmp_path / "read.html").read_bytes()
        assert pipe.is_fifo()

    def test_a_link_stays_a_link(self, small_run: Path, tmp_path: Path) -> None:
        link = tmp_path / "latest.html"
        link.symlink_to("page.html")
        assert report(small_run, "-o", link) == 0
        assert link.is_symlink()
        assert (tmp_path / "page.html").stat().st_size > 0

    @pytest.mark.parametrize(("kind", "module", "command"), [("html", "jinja2", "jinja2>=3.1"), ("pdf", "matplotlib", "matplotlib>=3.7")])
    def test_a_missing_package_is_named_with_its_command(
        self,
        kind: str,
        module: str,
        command: str,
        run: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setitem(sys.modules, module, None)
        assert report(run, "-o", tmp_path / f"report.{kind}") == 2
        assert (
            f"--format {kind} needs the Python package {module}: run scripts/setup.sh, or pip install '{command}'"
            in capsys.readouterr().err
        )
        assert list(tmp_path.iterdir()) == []


def test_torch_is_not_waited_for(run: Path, page: _Page, tmp_path: Path) -> None:
    code = """
import sys, jetson_benchmark
assert jetson_benchmark.main(["report", sys.argv[1], "-o", sys.argv[2], "--resamples", "1000"]) == 0
assert "torch" not in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, str(run), str(tmp_path / "report.html")], cwd=ROOT, check=True, capture_output=True)
