"""How update_sam2_optional_cuda.sh brings a checkout up to date: nothing of the user's may be lost, and the build goes on where it can."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from update_bench import NOTES, Board, board, clone, commit, extension, git

__all__ = ["board", "extension"]  # fixtures


def changed(first: str = "line 1", last: str = "line 9") -> str:
    return "".join(f"{line}\n" for line in [first, *(f"line {number}" for number in range(2, 9)), last])


def state(checkout: Path) -> tuple[str, str, str, str]:
    """What a user has in a checkout: commit, changes staged and not, stashes."""
    return (git(checkout, "rev-parse", "HEAD"), git(checkout, "diff"), git(checkout, "diff", "--cached"), git(checkout, "stash", "list"))


def update(board: Board, *arguments: str, **variables: str) -> tuple[str, str]:
    """Run without building. What it says on standard output and standard error; it has to end well."""
    done = board.update("--cuda", "off", *arguments, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ready WITHOUT" in done.stdout
    return done.stdout, done.stderr


def test_behind(board: Board) -> None:
    before = git(board.checkout, "rev-parse", "HEAD")
    new = commit(board.origin, {NOTES: changed(first="upstream's")})
    said, _ = update(board)
    assert f"fast-forwarded main from {before[:12]} to {new[:12]}\n" in said
    assert git(board.checkout, "rev-parse", "HEAD") == new
    assert f"SAM 2 at {new[:12]}; " in said


def test_up_to_date_and_again(board: Board) -> None:
    for _ in range(2):
        before = state(board.checkout)
        said, errors = update(board)
        assert "main is up to date with origin/main" in said
        assert errors == ""
        assert state(board.checkout) == before


def test_ahead(board: Board) -> None:
    mine = commit(board.checkout, {"mine.txt": ""})
    said, errors = update(board)
    assert "main is up to date with origin/main" in said
    assert errors == ""
    assert git(board.checkout, "rev-parse", "HEAD") == mine


def test_diverged(board: Board) -> None:
    mine = commit(board.checkout, {"mine.txt": ""})
    commit(board.origin, {"theirs.txt": ""})
    said, errors = update(board)
    assert "diverged (1 commit(s) here, 1 there): cannot fast-forward" in errors
    assert "WARNING, again: main and origin/main have diverged" in said
    assert git(board.checkout, "rev-parse", "HEAD") == mine


def test_local_changes_are_put_back_staged_and_unstaged_as_they_were(board: Board) -> None:
    (board.checkout / NOTES).write_text(changed(last="staged"))
    (board.checkout / "added.txt").write_text("added\n")
    git(board.checkout, "add", "--all")
    (board.checkout / "setup.py").write_text((board.checkout / "setup.py").read_text() + "# unstaged\n")
    (board.checkout / "sam2" / "csrc" / "connected_components.cu").unlink()
    (board.checkout / "untracked.txt").write_text("untracked\n")
    _, unstaged, staged, _ = state(board.checkout)
    new = commit(board.origin, {NOTES: changed(first="upstream's")})
    said, errors = update(board)
    assert f"to {new[:12]}, with the local changes restored" in said
    assert errors == ""
    assert (board.checkout / NOTES).read_text() == changed(first="upstream's", last="staged")
    head, unstaged_after, staged_after, stashes = state(board.checkout)
    assert (head, stashes) == (new, "")
    assert unstaged_after == unstaged
    # The line numbers are the same, the blobs of the file that upstream changed too are others.
    assert [line for line in staged_after.splitlines() if line[0] in "+-"] == [line for line in staged.splitlines() if line[0] in "+-"]
    assert (board.checkout / "untracked.txt").read_text() == "untracked\n"


def test_an_older_stash_of_the_user_s_stays(board: Board) -> None:
    (board.checkout / NOTES).write_text("older work")
    git(board.checkout, "stash")
    older = git(board.checkout, "stash", "list")
    (board.checkout / "setup.py").write_text((board.checkout / "setup.py").read_text() + "# mine\n")
    commit(board.origin, {"theirs.txt": ""})
    update(board)
    assert git(board.checkout, "stash", "list") == older
    assert (board.checkout / "setup.py").read_text().endswith("# mine\n")


@pytest.mark.parametrize("staged", [False, True])
def test_conflicting_changes_are_restored_and_the_stash_is_named(board: Board, staged: bool) -> None:
    (board.checkout / NOTES).write_text(changed(first="mine"))
    (board.checkout / "added.txt").write_text("mine, too\n")
    git(board.checkout, "add", "added.txt", *([NOTES] if staged else []))
    before = state(board.checkout)
    commit(board.origin, {NOTES: changed(first="upstream's"), "theirs.txt": ""})
    said, errors = update(board)
    head, unstaged, in_index, stashes = state(board.checkout)
    assert (head, unstaged, in_index) == before[:3]
    assert (board.checkout / NOTES).read_text() == changed(first="mine")
    assert not (board.checkout / "theirs.txt").exists()
    stash = git(board.checkout, "rev-parse", "stash@{0}")
    assert stashes.count("\n") == 0
    assert f"local changes at {head[:12]}, before an update to origin/main" in stashes
    assert "local changes conflict with upstream's: not updated" in errors
    assert f"they are also in stash@{{0}}, {stash[:12]}" in errors
    assert "WARNING, again: local changes conflict" in said
    assert "fast-forwarded" not in said


def test_an_untracked_file_in_the_way_of_upstream_s(board: Board) -> None:
    (board.checkout / "theirs.txt").write_text("mine")
    (board.checkout / NOTES).write_text(changed(last="mine"))
    before = state(board.checkout)
    commit(board.origin, {"theirs.txt": "theirs"})
    _, errors = update(board)
    assert "could not fast-forward main to origin/main" in errors
    assert "theirs.txt" in errors
    assert state(board.checkout) == before
    assert (board.checkout / "theirs.txt").read_text() == "mine"


def test_a_detached_head_is_left_where_it_is(board: Board) -> None:
    git(board.checkout, "checkout", "--quiet", "--detach")
    before = state(board.checkout)
    commit(board.origin, {"theirs.txt": ""})
    said, errors = update(board)
    assert f"HEAD is detached and stays at {before[0][:12]}" in said
    assert errors == ""
    assert state(board.checkout) == before


def test_no_pull_leaves_everything_and_asks_nobody(board: Board) -> None:
    shutil.rmtree(board.origin)
    (board.checkout / NOTES).write_text("mine")
    before = state(board.checkout)
    said, errors = update(board, "--no-pull")
    assert "update     nothing (--no-pull)" in said
    assert errors == ""
    assert state(board.checkout) == before


def test_without_a_remote(board: Board) -> None:
    git(board.checkout, "remote", "remove", "origin")
    said, errors = update(board)
    assert "branch main follows no remote branch" in said
    assert errors == ""


@pytest.mark.parametrize("url", ["/no/such/place", "http://127.0.0.1:9/sam2", "ssh://git@127.0.0.1:9/sam2"])
def test_no_network_is_a_warning(board: Board, url: str) -> None:
    git(board.checkout, "remote", "set-url", "origin", url)
    (board.checkout / NOTES).write_text("mine")
    before = state(board.checkout)
    said, errors = update(board)
    assert "WARNING: could not fetch (git: " in errors
    assert f"continuing with the local main at {before[0][:12]}" in said
    assert state(board.checkout) == before


def test_a_merge_under_way_is_left_to_the_user(board: Board) -> None:
    git(board.checkout, "checkout", "--quiet", "-b", "side")
    commit(board.checkout, {NOTES: changed(first="side")})
    git(board.checkout, "checkout", "--quiet", "main")
    commit(board.checkout, {NOTES: changed(first="main")})
    with pytest.raises(Exception, match="merge"):
        git(board.checkout, "merge", "side")
    done = board.update("--cuda", "off")
    assert done.returncode == 1
    assert "finish or abort it first, or skip the update with --no-pull" in done.stderr
    assert "<<<<<<<" in (board.checkout / NOTES).read_text()


def test_from_a_hook_of_another_repository_and_with_hooks_of_its_own(board: Board, tmp_path: Path) -> None:
    other = clone(board.origin, tmp_path / "other")
    hook = board.checkout / ".git" / "hooks" / "post-merge"
    hook.write_text(f"#!/bin/sh\ntouch '{tmp_path}/hook-ran'\n")
    hook.chmod(0o755)
    before = state(other)
    new = commit(board.origin, {"theirs.txt": ""})
    update(board, GIT_DIR=str(other / ".git"), GIT_WORK_TREE=str(other), GIT_INDEX_FILE=str(other / ".git" / "index"))
    assert git(board.checkout, "rev-parse", "HEAD") == new
    assert state(other) == before
    assert not (tmp_path / "hook-ran").exists()


def test_interrupted_between_stashing_and_putting_back_it_says_where_the_changes_are(board: Board, tmp_path: Path) -> None:
    (board.checkout / NOTES).write_text(changed(last="mine"))
    commit(board.origin, {"theirs.txt": ""})
    fake = tmp_path / "bin" / "git"
    fake.parent.mkdir()
    # The merge is where a user loses patience.
    fake.write_text(f'#!/bin/sh\ncase " $* " in *" merge "*) kill -INT 0; sleep 5;; esac\nexec "{shutil.which("git")}" "$@"\n')
    fake.chmod(0o755)
    done = board.update("--cuda", "off", PATH=f"{fake.parent}:{os.environ['PATH']}")
    assert done.returncode != 0
    stash = git(board.checkout, "rev-parse", "stash@{0}")
    assert f"INTERRUPTED: local changes of {board.checkout} are in its stash {stash}" in done.stderr
    assert f"git -C '{board.checkout}' stash apply --index {stash}" in done.stderr
    assert "ready" not in done.stdout
