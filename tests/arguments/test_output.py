"""Files that a command is asked to write."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from savbench.arguments.declared import ConfigError
from savbench.arguments.output import require_writable, write_text, written_whole


def test_an_earlier_file_stays_if_the_new_one_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("earlier")

    def fill_the_disk(file: Path) -> None:
        file.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device: '.*page\.html'"), written_whole(path) as file:
        fill_the_disk(file)
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_of_another_file_names_that_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="frames"), written_whole(tmp_path / "run.zip"):
        (tmp_path / "frames.csv").read_bytes()


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "file")
    write_text(tmp_path / "link", "through")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "file").read_text() == "through"
    write_text(Path("/dev/null"), "nothing")
    assert Path("/dev/null").is_char_device()


def test_missing_folders_are_made_and_names_that_are_not_utf_8_become_escapes(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b", "caf\udce9")
    assert (tmp_path / "a" / "b").read_text() == "caf\\udce9"


def test_whether_a_file_can_be_written_is_found_without_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "new" / "found.json"
    require_writable("--json", path)
    assert not path.exists()
    path.write_text("earlier")
    require_writable("--json", path)
    assert path.read_text() == "earlier"
    require_writable("--json", Path("/dev/stdout"))
    link, target = tmp_path / "link", tmp_path / "new" / "target"
    link.symlink_to(target)
    require_writable("--json", link)
    assert link.is_symlink()
    assert not target.exists()


@pytest.mark.parametrize("name", ["file/found.json", ""])
def test_what_cannot_be_written_is_refused_with_its_flag(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=rf"--json {tmp_path / name}: cannot be written \((Not|Is) a directory|File exists\)"):
        require_writable("--json", tmp_path / name)
