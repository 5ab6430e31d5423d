from __future__ import annotations

import dataclasses
import errno
import io
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from savbench.plan.settings import RunConfig
from savbench.results.csv_rows import header_line, read_rows, row_line
from savbench.results.frame_rows import FrameRow
from savbench.results.rows import SummaryRow
from savbench.results.run_folder import RunFolder, RunFolderError, choose_out_dir
from savbench.results.sustained import SustainedRow

ROOT = Path(__file__).parents[2]


def config(tmp_path: Path, **settings: object) -> RunConfig:
    return RunConfig(**{"split_dir": tmp_path / "split", "models": ("static_mask",), **settings})  # type: ignore[arg-type]


def row(video: str, status: str = "ok") -> SummaryRow:
    return SummaryRow(video=video, object="000", arm_id="arm", status=status)


def frames(video: str, count: int = 3) -> list[FrameRow]:
    return [FrameRow(arm_id="arm", video=video, object="000", frame=i, latency_ms=float(i)) for i in range(count)]


def read(path: Path) -> tuple[list[str], list[str]]:
    return [r.video for r in read_rows(SummaryRow, path / "summary.csv")], [f.video for f in read_rows(FrameRow, path / "frames.csv")]


def test_rows_are_there_for_the_next_invocation(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run", config(tmp_path), "val") as folder:
        folder.append(row("a"), frames("a"))
        run_id = folder.run_id
    with RunFolder(tmp_path / "run", config(tmp_path), "val") as folder:
        assert list(folder.done) == [("arm", "a", "000")]
        assert folder.run_id == run_id
        folder.append(row("b"), frames("b", 1))
    assert read(tmp_path / "run") == (["a", "b"], ["a", "a", "a", "b"])


def test_a_half_row_and_the_frames_of_an_unfinished_object_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with RunFolder(path, config(tmp_path), "val") as folder:
        folder.append(row("a"), frames("a"))
    with (path / "frames.csv").open("a") as file:
        file.write("".join(map(row_line, frames("b"))) + "arm,b,0")
    with (path / "summary.csv").open("a") as file:
        file.write(row_line(row("b"))[:-9])
    with RunFolder(path, config(tmp_path), "val") as folder:
        assert list(folder.done) == [("arm", "a", "000")]
    assert read(path) == (["a"], ["a", "a", "a"])


def test_every_cut_of_the_rows_leaves_whole_ones(tmp_path: Path) -> None:
    header = header_line(SummaryRow)
    whole = header + row_line(row("a")) + row_line(row("b"))
    path = tmp_path / "run"
    with RunFolder(path, config(tmp_path), "val"):
        pass
    for size in (0, 1, len(header) // 2, *range(len(header) - 2, len(whole))):
        (path / "summary.csv").write_text(whole[:size])
        with RunFolder(path, config(tmp_path), "val") as folder:
            expected = max(0, whole[:size].count("\n") - 1)
            assert len(folder.done) == expected


def test_two_writers_are_refused(tmp_path: Path) -> None:
    with (
        RunFolder(tmp_path / "run", config(tmp_path), "val"),
        pytest.raises(RunFolderError, match="another run is writing"),
        RunFolder(tmp_path / "run", config(tmp_path), "val"),
    ):
        pass


def test_a_folder_of_another_split_is_refused(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run", config(tmp_path), "val"):
        pass
    with pytest.raises(RunFolderError, match="holds a run of split val"), RunFolder(tmp_path / "run", config(tmp_path), "test"):
        pass


def test_a_foreign_summary_is_refused_and_not_touched(tmp_path: Path) -> None:
    (tmp_path / "summary.csv").write_text("video,fps\n")
    with pytest.raises(RunFolderError, match=r"no run\.json"), RunFolder(tmp_path, config(tmp_path), "val"):
        pass
    assert (tmp_path / "summary.csv").read_text() == "video,fps\n"


def test_columns_of_another_version_are_refused_and_not_touched(tmp_path: Path) -> None:
    with RunFolder(tmp_path, config(tmp_path), "val"):
        pass
    (tmp_path / "summary.csv").write_text("video,fps\na,1\n")
    with pytest.raises(RunFolderError, match="columns differ from this version's"), RunFolder(tmp_path, config(tmp_path), "val"):
        pass
    assert (tmp_path / "summary.csv").read_text() == "video,fps\na,1\n"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="out_dir"), RunFolder(tmp_path / "file" / "run", config(tmp_path), "val"):
        pass


@pytest.mark.parametrize("below", ["", "run"])
def test_a_link_that_leads_nowhere_is_told_as_one(tmp_path: Path, below: str) -> None:
    (tmp_path / "link").symlink_to("disk/results")
    said = r"link is a link to disk/results, which does not exist; make that folder, remove the link, or give another folder"
    with pytest.raises(RunFolderError, match=said), RunFolder(tmp_path / "link" / below, config(tmp_path), "val"):
        pass
    assert not (tmp_path / "disk").exists()


def test_a_file_in_place_of_the_folder_is_told_as_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=r"file is a file; give a folder"), RunFolder(tmp_path / "file", config(tmp_path), "val"):
        pass


def test_forgotten_rows_take_their_frames_along(tmp_path: Path) -> None:
    with RunFolder(tmp_path, config(tmp_path), "val") as folder:
        folder.append(row("a"), frames("a"))
        folder.append(row("b", "error"), frames("b"))
        assert folder.forget(lambda r: r.status != "ok") == 1
        folder.append(row("b"), frames("b", 1))
    assert read(tmp_path) == (["a", "b"], ["a", "a", "a", "b"])


def test_latencies_are_those_of_ok_rows(tmp_path: Path) -> None:
    with RunFolder(tmp_path, config(tmp_path), "val") as folder:
        folder.append(row("a"), frames("a"))
        folder.append(row("b", "error"), frames("b"))
        assert folder.latencies() == {row("a").key: [0.0, 1.0, 2.0]}


def test_a_row_that_does_not_reach_the_disk_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with RunFolder(tmp_path, config(tmp_path), "val") as folder:
        folder.append(row("a"), frames("a"))
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            with pytest.raises(RunFolderError, match="free some space and give the same command again"):
                folder.append(row("b"), frames("b"))
        assert list(folder.done) == [("arm", "a", "000")]
    assert read(tmp_path) == (["a"], ["a", "a", "a"])


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_loses_nothing_and_the_run_goes_on_when_there_is_room(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)], check=False, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.strip()}")
    try:
        with RunFolder(mount / "run", config(tmp_path), "val") as folder:

            def fill() -> None:
                for number in range(1000):
                    folder.append(row(f"v{number}"), frames(f"v{number}", 20))

            with pytest.raises(RunFolderError, match="No space left on device; free some space"):
                fill()
            kept = list(folder.done)
        assert len(kept) > 3
        subprocess.run(["mount", "-o", "remount,size=256k", str(mount)], check=True)
        with RunFolder(mount / "run", config(tmp_path), "val") as folder:
            assert list(folder.done) == kept
            folder.append(row("after"), frames("after"))
        videos, frame_videos = read(mount / "run")
        assert videos == [video for _, video, _ in kept] + ["after"]
        assert len(frame_videos) == 20 * len(kept) + 3
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_the_newest_unfinished_run_of_the_same_command_goes_on(tmp_path: Path) -> None:
    root, same = tmp_path / "results", config(tmp_path)
    with RunFolder(root / "2026-01-01", same, "val") as folder:
        folder.mark(complete=True)
    with RunFolder(root / "2026-01-02", same, "val") as folder:
        folder.mark(complete=False)
    with RunFolder(root / "2026-01-03", config(tmp_path, seed=1), "val") as folder:
        folder.mark(complete=False)
    assert choose_out_dir(same, root) == (root / "2026-01-02", True)
    assert choose_out_dir(dataclasses.replace(same, timeout_s=5), root) == (root / "2026-01-02", True)
    new, resumed = choose_out_dir(config(tmp_path, seed=2), root)
    assert not resumed
    assert not new.exists()


def test_damaged_run_json_of_a_neighbour_does_not_stop_a_new_run(tmp_path: Path) -> None:
    (tmp_path / "results" / "old").mkdir(parents=True)
    (tmp_path / "results" / "old" / "run.json").write_text("{half")
    _, resumed = choose_out_dir(config(tmp_path), tmp_path / "results")
    assert not resumed


def test_a_killed_writer_leaves_no_half_row_and_no_lock(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; sys.path[:0] = sys.argv[2:]; import test_run_folder as t\n"
        "with t.RunFolder(Path(sys.argv[1]) / 'run', t.config(Path(sys.argv[1])), 'val') as folder:\n"
        "    for number in range(10**6):\n"
        "        folder.append(t.row(f'v{number}'), t.frames(f'v{number}'))\n"
        "        print(number, flush=True)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path), str(ROOT), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for _ in range(20):
            said = int(child.stdout.readline())
        child.kill()
    with RunFolder(tmp_path / "run", config(tmp_path), "val") as folder:
        assert len(folder.done) > said
    videos, frame_videos = read(tmp_path / "run")
    assert sorted(frame_videos) == sorted(videos * 3)


# ---- what is found is read with care


def started(path: Path, tmp_path: Path, videos: str = "abc") -> dict[str, bytes]:
    """A run with rows; what is in its files."""
    with RunFolder(path, config(tmp_path), "val") as folder:
        folder.write_environment({"run_id": folder.run_id, "invocations": [{}]})
        for video in videos:
            folder.append(row(video), frames(video))
            folder.append_to_course(SustainedRow(arm_id="arm", round=1, video=video, object="000"))
    return contents(path)


def contents(path: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in path.iterdir() if entry.is_file()}


@pytest.mark.parametrize("name", ["two  blanks", "no\u00a0break", "\u00a0at the ends\u00a0", " blank", "a'b,c\"d", "=1+1"])
def test_names_survive_to_the_letter(tmp_path: Path, name: str) -> None:
    with RunFolder(tmp_path / "run", config(tmp_path), "val") as folder:
        folder.append(row(name), frames(name))
    with RunFolder(tmp_path / "run", config(tmp_path), "val") as folder:
        assert list(folder.done) == [("arm", name, "000")]
        assert folder.latencies() == {("arm", name, "000"): [0.0, 1.0, 2.0]}


@pytest.mark.parametrize("name", ["summary.csv", "frames.csv", "sustained.csv"])
@pytest.mark.parametrize(
    ("second_line", "said"),
    [
        (lambda line: line[:-1] + b"\xb7\n", r":2: damaged, not UTF-8 text \(byte 0xb7\)"),
        (lambda line: b"E" * 200_000 + line, r":2: damaged, not a row of CSV \(field larger"),
        (lambda line: b'"' + line, r":2: damaged, not a row of CSV"),
        (lambda line: line.replace(b",", b"", 1), r":2: damaged, \d+ cells, expected \d+"),
        (lambda line: b"\n" + line, r":2: damaged, 0 cells"),
    ],
)
def test_damage_is_named_by_file_and_line_and_nothing_is_written(
    tmp_path: Path, name: str, second_line: Callable[[bytes], bytes], said: str
) -> None:
    path = tmp_path / "run"
    header, second, *others = started(path, tmp_path)[name].splitlines(keepends=True)
    (path / name).write_bytes(b"".join([header, second_line(second), *others, b"half a line"]))
    before = contents(path)
    with pytest.raises(RunFolderError, match=rf"{name}{said}.*give another --out_dir"), RunFolder(path, config(tmp_path), "val"):
        pass
    assert contents(path) == before


@pytest.mark.parametrize("content", ["{half", "[1]", "5", '{"run_id": 3}', "[" * 100_000, "\udcff"])
@pytest.mark.parametrize("name", ["run.json", "environment.json"])
def test_damaged_json_is_named_and_not_written_over(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / "run"
    started(path, tmp_path)
    if name == "environment.json" and content.startswith('{"'):
        content = '{"invocations": 5}'
    (path / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    before = contents(path)
    with pytest.raises(RunFolderError, match=rf"{name}: damaged"), RunFolder(path, config(tmp_path), "val"):
        pass
    assert contents(path) == before


def test_frames_are_not_thrown_away_because_the_summary_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "run"
    started(path, tmp_path)
    (path / "summary.csv").unlink()
    before = contents(path)
    with pytest.raises(RunFolderError, match=r"summary\.csv: is gone, frames\.csv beside it is not; put it back"):
        RunFolder(path, config(tmp_path), "val").__enter__()
    assert contents(path) == before


@pytest.mark.parametrize("name", ["summary.csv", "frames.csv", "streaming.csv", "sustained.csv", "run.json", "environment.json", ".lock"])
def test_a_folder_in_place_of_a_file_is_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / "run"
    started(path, tmp_path)
    (path / name).unlink(missing_ok=True)
    (path / name).mkdir()
    with pytest.raises(RunFolderError, match=r"Is a directory\)?; (fix that or give another --out_dir|give a folder that)"):
        RunFolder(path, config(tmp_path), "val").__enter__()


def test_a_file_in_place_of_the_logs_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "logs").write_text("")
    with pytest.raises(RunFolderError, match="logs: File exists; move it away or give another --out_dir"):
        RunFolder(tmp_path / "run", config(tmp_path), "val").__enter__()


@pytest.mark.parametrize("name", ["summary.csv", "frames.csv", "run.json"])
@pytest.mark.parametrize("access", ["read", "write"])
def test_files_that_may_not_be_opened_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, access: str) -> None:
    path = tmp_path / "run"
    started(path, tmp_path)

    def refusing(original: Callable[..., object]) -> Callable[..., object]:
        def opened(file: object, mode: str = "r", *rest: object, **more: object) -> object:
            is_writing = any(letter in mode for letter in "wa+")
            if str(file).endswith((name, f"{name}.tmp")) and is_writing == (access == "write"):
                raise PermissionError(errno.EACCES, "Permission denied", str(file))
            return original(file, mode, *rest, **more)

        return opened

    with monkeypatch.context() as patch:
        patch.setattr(io, "open", refusing(io.open))
        patch.setattr(Path, "open", refusing(Path.open))  # Python 3.10 has bound io.open before
        with pytest.raises(RunFolderError, match=rf"{name}: .*Permission denied"):
            RunFolder(path, config(tmp_path), "val").__enter__()


def test_a_row_that_cannot_be_appended_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunFolder(tmp_path / "run", config(tmp_path), "val") as folder:
        (tmp_path / "run" / "frames.csv").unlink()
        with pytest.raises(RunFolderError, match=r"frames\.csv: No such file or directory; fix that and give the same command again"):
            folder.append(row("a"), frames("a"))


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_folder_is_taken_or_named_and_then_left_as_it_is(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    path = tmp_path / "run"
    whole = started(path, tmp_path)
    names = sorted(name for name in whole if name != ".lock")
    for _ in range(25):
        for name, data in whole.items():
            (path / name).write_bytes(data)
        name = rng.choice(names)
        spoiled = whole[name]
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(spoiled) + 1)
            piece = rng.choice([b"", bytes([rng.randrange(256)]), b"\0" * 50, b'"', b"\n", b",", spoiled[at : at + 40], b"9" * 5000])
            spoiled = spoiled[:at] + piece + spoiled[at + rng.randrange(3) :]
        (path / name).write_bytes(spoiled)
        before = contents(path)
        try:
            with RunFolder(path, config(tmp_path), "val") as folder:
                folder.append(row("new"), frames("new"))
            with RunFolder(path, config(tmp_path), "val") as folder:
                folder.latencies()
        except RunFolderError as error:
            assert str(path) in str(error)  # noqa: PT017 - either is right
            assert contents(path) == before
