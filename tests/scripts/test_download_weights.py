"""scripts/download_weights.sh against a local server that can misbehave."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from runners import RUNNERS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
TOOLS = [
    pytest.param(tool, marks=pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")) for tool in ("curl", "wget")
]
NO_ONE_LISTENS = "http://127.0.0.1:9"
CONTENT = np.random.default_rng(0).bytes(300_000)
TINY = "sam2.1_hiera_tiny.pt"
EDGETAM = "edgetam.pt"


@dataclass
class Behaviour:
    """What the server has and how it treats those who ask."""

    files: dict[str, bytes]
    ranges: bool = True
    cut_after: int | None = None
    """Bytes of a body after which the connection is dropped."""
    first_cuts: list[int] = field(default_factory=list)
    """The same for the first answers, one by one."""
    announced: bool = True
    """Whether Content-Length is sent."""
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Range of every request."""


class Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def do_GET(self) -> None:
        behaviour = self.behaviour
        asked = self.headers.get("Range")
        behaviour.requests.append((self.path, asked))
        body = behaviour.files.get(self.path.rpartition("/")[2])
        if body is None:
            self._answer(404, b"<html><body>no such file</body></html>", {"Content-Type": "text/html"})
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and behaviour.ranges else 0
        if start >= len(body):
            self._answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
        elif start:
            self._answer(206, body[start:], {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"})
        else:
            self._answer(200, body, {})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.behaviour.announced:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        first_cuts = self.behaviour.first_cuts
        cut_after = first_cuts.pop(0) if first_cuts else self.behaviour.cut_after
        self.wfile.write(body[:cut_after] if status < 300 else body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


@dataclass
class Bench:
    """A copy of the script with a table of small files, a server that has them, and a folder for what it fetches."""

    script: Path
    folder: Path
    behaviour: Behaviour
    url: str
    path: str
    """PATH of the script."""

    def fetch(self, *models: str, url: str | None = None, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        urls = [f"--base-url-{source}={url or self.url}".split("=", 1) for source in ("sam2", "edgetam")]
        command = [str(self.script), "--dir", str(folder or self.folder), *urls[0], *urls[1], *models]
        environment = {"PATH": self.path, "no_proxy": "127.0.0.1"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    @property
    def ranges_asked(self) -> list[str | None]:
        return [asked for _, asked in self.behaviour.requests]


@pytest.fixture
def server() -> Iterator[tuple[Behaviour, str]]:
    behaviour = Behaviour({TINY: CONTENT, EDGETAM: CONTENT[::-1]})
    with ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"behaviour": behaviour})) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield behaviour, f"http://127.0.0.1:{httpd.server_address[1]}/weights"
        httpd.shutdown()
        thread.join()


@pytest.fixture(params=TOOLS)
def bench(request: pytest.FixtureRequest, server: tuple[Behaviour, str], tmp_path: Path) -> Bench:
    """The script, on a PATH that has only one of curl and wget."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for tool in (
        "bash",
        "env",
        "cat",
        "cut",
        "dirname",
        "od",
        "stat",
        "sha256sum",
        "mkdir",
        "mv",
        "rm",
        "sleep",
        "tail",
        "tr",
        request.param,
    ):
        (bin_folder / tool).symlink_to(str(shutil.which(tool)))
    scripts = tmp_path / "a clone" / "scripts"
    scripts.mkdir(parents=True)
    script = Path(shutil.copy(ROOT / "scripts" / "download_weights.sh", scripts))
    behaviour, url = server
    rows = [
        (model, name, len(body), hashlib.sha256(body).hexdigest(), source)
        for (name, body), model, source in zip(behaviour.files.items(), ("sam2_tiny", "edgetam"), ("sam2", "edgetam"), strict=True)
    ]
    table = "# comment\n" + "".join("\t".join(map(str, row)) + "\n" for row in rows)
    (scripts / "weights.tsv").write_text(table, encoding="utf-8")
    return Bench(script, tmp_path / "my weights", behaviour, url, str(bin_folder))


def test_fetches_all_files_then_skips_them_without_asking(bench: Bench) -> None:
    first = bench.fetch()
    assert (first.returncode, first.stdout.count("fetched")) == (0, 2), first.stderr
    assert (bench.folder / TINY).read_bytes() == CONTENT
    assert (bench.folder / EDGETAM).read_bytes() == CONTENT[::-1]
    assert sorted(path.name for path in bench.folder.iterdir()) == [EDGETAM, TINY]
    assert len(bench.behaviour.requests) == 2
    second = bench.fetch(url=NO_ONE_LISTENS)
    assert (second.returncode, second.stdout.count("already there")) == (0, 2)


def test_says_a_licence_that_restricts_use_with_every_verdict(bench: Bench) -> None:
    table = bench.script.with_name("weights.tsv")
    table.write_text(table.read_text(encoding="utf-8").replace("\tedgetam\n", "\tedgetam\tfor research alone\n"), encoding="utf-8")
    for verdict in ("fetched", "already there"):
        tiny, edgetam, licence = bench.fetch().stdout.splitlines()
        assert verdict in tiny
        assert verdict in edgetam
        assert licence.split(maxsplit=1) == ["edgetam", "licence: for research alone"]


def of_unknown_sum(bench: Bench, body: bytes) -> None:
    table = bench.script.with_name("weights.tsv")
    table.write_text(re.sub(r"(?m)^(sam2_tiny\t\S+)\t\d+\t\S+", r"\1\t-\t-", table.read_text(encoding="utf-8")), encoding="utf-8")
    bench.behaviour.files[TINY] = body


def test_a_file_of_unknown_sum_is_taken_if_it_is_a_closed_archive_and_its_sum_is_told(bench: Bench) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("archive/data.pkl", CONTENT)
    of_unknown_sum(bench, packed.getvalue())
    bench.folder.mkdir()
    (bench.folder / f"{TINY}.part").write_bytes(b"of another file")
    done = bench.fetch("sam2_tiny")
    assert done.returncode == 0, done.stdout
    assert (bench.folder / TINY).read_bytes() == packed.getvalue()
    assert f"sha256 {hashlib.sha256(packed.getvalue()).hexdigest()}" in done.stdout
    assert "nothing proves it upstream's" in done.stdout
    assert "already there" in bench.fetch("sam2_tiny", url=NO_ONE_LISTENS).stdout


@pytest.mark.parametrize("body", [b"<html>please log in</html>", CONTENT])
def test_a_file_of_unknown_sum_that_is_no_archive_is_refused(bench: Bench, body: bytes) -> None:
    of_unknown_sum(bench, body)
    done = bench.fetch("sam2_tiny")
    assert (done.returncode, f"gave {len(body)} bytes that are no closed archive" in done.stdout) == (1, True)
    assert list(bench.folder.iterdir()) == []


def test_a_server_that_is_away_says_so_of_a_file_of_unknown_sum(bench: Bench) -> None:
    of_unknown_sum(bench, b"")
    assert (bench.fetch("sam2_tiny", url=NO_ONE_LISTENS).returncode, list(bench.folder.iterdir())) == (3, [])


def test_default_folder_is_checkpoints_of_the_clone(bench: Bench) -> None:
    clone = bench.script.parents[1]
    assert bench.fetch("edgetam", folder=clone / "checkpoints").returncode == 0
    without_dir = [str(bench.script), "edgetam"]
    done = subprocess.run(without_dir, env={"PATH": bench.path}, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "already there" in done.stdout) == (0, True)


def test_resumes_where_an_earlier_start_ended(bench: Bench) -> None:
    bench.folder.mkdir()
    (bench.folder / f"{TINY}.part").write_bytes(CONTENT[:123_456])
    assert bench.fetch("sam2_tiny").returncode == 0
    assert bench.ranges_asked == ["bytes=123456-"]
    assert (bench.folder / TINY).read_bytes() == CONTENT


def test_goes_on_while_a_server_keeps_dropping_the_connection(bench: Bench) -> None:
    bench.behaviour.cut_after = 70_000
    assert bench.fetch("sam2_tiny").returncode == 0
    assert bench.ranges_asked == [None, "bytes=70000-", "bytes=140000-", "bytes=210000-", "bytes=280000-"]
    assert (bench.folder / TINY).read_bytes() == CONTENT


def test_counts_only_fruitless_tries_in_a_row(bench: Bench) -> None:
    bench.behaviour.first_cuts = [1000, 0, 1000, 0, 1000, 0]
    assert bench.fetch("sam2_tiny").returncode == 0
    assert len(bench.behaviour.requests) == 7


def test_gives_up_on_a_server_that_sends_nothing_more_and_keeps_what_it_has(bench: Bench) -> None:
    bench.folder.mkdir()
    part = bench.folder / f"{TINY}.part"
    part.write_bytes(CONTENT[:100_000])
    bench.behaviour.cut_after = 0
    done = bench.fetch("sam2_tiny")
    assert done.returncode in (1, 3)
    assert len(bench.behaviour.requests) <= 3
    assert part.read_bytes() == CONTENT[:100_000]
    assert not (bench.folder / TINY).exists()


def test_starts_over_where_the_server_cannot_resume(bench: Bench) -> None:
    bench.folder.mkdir()
    (bench.folder / f"{TINY}.part").write_bytes(CONTENT[:1000])
    bench.behaviour.ranges = False
    done = bench.fetch("sam2_tiny")
    assert done.returncode == 0, done.stdout
    assert (bench.folder / TINY).read_bytes() == CONTENT


@pytest.mark.parametrize("kept", [len(CONTENT) // 2, len(CONTENT), len(CONTENT) + 1])
def test_a_part_of_another_file_is_dropped(bench: Bench, kept: int) -> None:
    bench.folder.mkdir()
    (bench.folder / f"{TINY}.part").write_bytes(b"x" * kept)
    done = bench.fetch("sam2_tiny")
    assert done.returncode == 0, done.stdout
    assert (bench.folder / TINY).read_bytes() == CONTENT


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("body", [CONTENT[:-1], CONTENT + b"more", b"<html>please log in</html>", CONTENT[:-1] + b"?"])
def test_refuses_a_body_that_is_not_the_file(bench: Bench, body: bytes, announced: bool) -> None:
    bench.behaviour.files[TINY] = body
    bench.behaviour.announced = announced
    done = bench.fetch()
    assert done.returncode == 1
    refused, fetched = done.stdout.splitlines()
    assert f"gave {len(body)} bytes" in refused
    assert "fetched" in fetched
    assert [path.name for path in bench.folder.iterdir()] == [EDGETAM]


def test_names_the_file_that_a_server_lacks_and_goes_on_with_the_next(bench: Bench) -> None:
    del bench.behaviour.files[TINY]
    done = bench.fetch()
    assert done.returncode == 1
    assert "404" in done.stdout
    assert f"/weights/{TINY}" in done.stdout
    assert [path.name for path in bench.folder.iterdir()] == [EDGETAM]


def test_no_network_has_its_own_exit_status_and_is_tried_once_a_server(bench: Bench) -> None:
    scripts = bench.script.parent
    table = (scripts / "weights.tsv").read_text(encoding="utf-8")
    (scripts / "weights.tsv").write_text(table.replace("\tedgetam\n", "\tsam2\n"), encoding="utf-8")
    done = bench.fetch(url=NO_ONE_LISTENS)
    assert done.returncode == 3
    first, second = done.stdout.splitlines()
    assert "NO NETWORK" in first
    assert "did not answer for an earlier file" in second
    assert "copy them to" in done.stderr


def test_a_failure_beside_no_network_is_a_failure(bench: Bench) -> None:
    del bench.behaviour.files[EDGETAM]
    command = [str(bench.script), "--dir", str(bench.folder), "--base-url-sam2", NO_ONE_LISTENS, "--base-url-edgetam", bench.url]
    done = subprocess.run(command, env={"PATH": bench.path}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1


def test_a_truncated_file_under_the_final_name_is_replaced_and_kept(bench: Bench) -> None:
    bench.folder.mkdir()
    (bench.folder / TINY).write_bytes(CONTENT[:1000])
    offline = bench.fetch("sam2_tiny", url=NO_ONE_LISTENS)
    assert (offline.returncode, "truncated" in offline.stdout) == (3, True)
    assert (bench.folder / TINY).read_bytes() == CONTENT[:1000]
    assert bench.fetch("sam2_tiny").returncode == 0
    assert (bench.folder / TINY).read_bytes() == CONTENT
    assert (bench.folder / f"{TINY}.old").read_bytes() == CONTENT[:1000]


def test_a_folder_that_cannot_be_written_is_named(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    done = bench.fetch(folder=tmp_path / "a file" / "weights")
    assert done.returncode == 1
    assert f"cannot write to {tmp_path}/a file/weights" in done.stderr
    assert bench.behaviour.requests == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(bench: Bench) -> None:
    bench.folder.mkdir(mode=0o555)
    done = bench.fetch()
    assert (done.returncode, "cannot write to" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "words"), [(["sam9"], "sam2_tiny edgetam"), (["--dir"], "--dir needs a value"), (["--speed"], "unknown option --speed")]
)
def test_wrong_usage_ends_with_2(bench: Bench, arguments: list[str], words: str) -> None:
    done = bench.fetch(*arguments)
    assert (done.returncode, words in done.stderr) == (2, True)


def test_says_so_where_neither_tool_is_installed(bench: Bench) -> None:
    for tool in ("curl", "wget"):
        (Path(bench.path) / tool).unlink(missing_ok=True)
    done = bench.fetch()
    assert (done.returncode, "neither curl nor wget" in done.stderr) == (1, True)


FETCHED = ("sam2", "edgetam", "efficienttam", "sam1", "sam3", "cutie")
"""Families whose weights the script fetches, each from a URL of its own, or says how to get."""


def test_the_table_has_the_registry_s_models_and_files() -> None:
    lines = (ROOT / "scripts" / "weights.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    listed = {model: file for model, file, *_ in rows}
    # Other families bring their own way of fetching; every file that this script can fetch must be one that the registry loads.
    registered = {name: spec.checkpoint for name, spec in RUNNERS.items() if spec.family in FETCHED}
    del registered["sam2_nano"]  # comes with the benchmark
    assert listed == registered
    for model, _, size, sha256, source, *licence in rows:
        assert (licence or ["Apache-2.0"]) == [RUNNERS[model].licence]
        if source == "gated":
            assert (size, sha256) == ("-", "-")
            continue
        assert source == RUNNERS[model].family
        if (size, sha256) != ("-", "-"):
            assert int(size) > 50_000_000
            assert re.fullmatch("[0-9a-f]{64}", sha256)


def test_gated_weights_are_not_fetched_but_it_is_said_how_to_get_them(bench: Bench) -> None:
    table = bench.script.with_name("weights.tsv")
    with table.open("a", encoding="utf-8") as file:
        file.write("sam3\tsam3/model.safetensors\t-\t-\tgated\tSAM License\n")
    assert "sam3/" not in bench.fetch().stdout
    done = bench.fetch("sam3")
    assert done.returncode == 1
    assert "GATED: accept the licence on https://huggingface.co/facebook/sam3" in done.stdout
    assert f"hf download facebook/sam3 model.safetensors --local-dir {bench.folder}/sam3" in done.stdout
    assert "licence: SAM License" in done.stdout
    (bench.folder / "sam3").mkdir()
    (bench.folder / "sam3" / "model.safetensors").touch()
    assert (bench.fetch("sam3").returncode, "already there" in bench.fetch("sam3").stdout) == (0, True)
