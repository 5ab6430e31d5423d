"""The sealed file: a ZIP archive of a run's files and a manifest with their SHA-256 sums.

The same files give the same bytes: members are in the order of their names, with a fixed time and no attributes of the machine. Archives
come from strangers. They are read member by member, names and sizes first, and nothing is written outside of the folder that is given.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from savbench.arguments.errors import UserError
from savbench.arguments.output import written_whole
from savbench.results.run_folder import CONFIG, ENVIRONMENT, FRAMES, RUN, STREAMING, SUMMARY
from savbench.results.sustained import SUSTAINED
from savbench.results.telemetry import TELEMETRY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import IO

MANIFEST = "manifest.json"
AUDIT = "audit.json"
MASKS = "masks"
SCHEMA = 1
"""Of the manifest; raise it when a key changes its meaning."""
REQUIRED = (SUMMARY, RUN, CONFIG, ENVIRONMENT)
FILES = (*REQUIRED, FRAMES, STREAMING, SUSTAINED, TELEMETRY, AUDIT)
"""Members besides the manifest and the masks."""
TEXT_BYTES = 512 << 20
"""Largest text file: a run of 300 objects under 20 arms has about 260 MB of frames."""
TOTAL_BYTES = 8 << 30
"""Largest sum of all members, masks included."""
MOST_MEMBERS = 1_000_000
MASK_BYTES = 32 << 20

_TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest that ZIP knows."""
_CHUNK = 1 << 20
_MASK_NAME = re.compile(rf"{MASKS}(/[^/\\\x00-\x1f\x7f]+){{2,4}}\.png")


class SealError(UserError, RuntimeError):
    """A run cannot be sealed or an archive not be read; the message says what to do."""


def write_archive(path: Path, manifest: Mapping[str, Any], members: Mapping[str, bytes | Path]) -> str:
    """Write an archive. Returns the archive's seal, see `seal_of`.

    Args:
        manifest: without its entry `files`, which is added.
        members: content, or the file that has it, by name.

    Raises:
        OSError: a file cannot be read or written.
    """
    with written_whole(path) as whole, zipfile.ZipFile(whole, "w") as archive:
        files = {}
        for name in sorted(members):
            content = members[name]
            data = content if isinstance(content, bytes) else content.read_bytes()
            files[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            _write(archive, name, data)
        text = json.dumps({**manifest, "files": files}, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        data = text.encode("utf-8", "backslashreplace")
        _write(archive, MANIFEST, data)
    return seal_of(data)


def _write(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, _TIME)
    info.compress_type = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
    info.create_system, info.external_attr = 3, 0o644 << 16
    archive.writestr(info, data, compresslevel=9)


def seal_of(manifest: bytes) -> str:
    """What identifies an archive: the first 16 digits of its manifest's SHA-256, which has the sums of all other members."""
    return hashlib.sha256(manifest).hexdigest()[:16]


def extract(path: Path, folder: Path) -> tuple[dict[str, Any], str, list[str]]:
    """Read an archive into an empty folder, without its manifest.

    Returns:
        The manifest, the seal, and what is wrong. If something is wrong with the archive itself, nothing was written and the manifest is
        empty; wrong sums are told, and the members are there.

    Raises:
        OSError: the archive cannot be opened, or the folder not be written.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            problems = _structure(archive, path.stat().st_size)
            if problems:
                return {}, "", problems
            text = _read(archive, archive.getinfo(MANIFEST), TEXT_BYTES)
            manifest = json.loads(text)
            if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
                return {}, "", [f"{MANIFEST}: no object with the entry `files`"]
            if manifest.get("schema") != SCHEMA:
                return (
                    {},
                    "",
                    [f"{MANIFEST}: schema {manifest.get('schema')!r}, this version reads {SCHEMA}; use the benchmark that sealed it"],
                )
            return manifest, seal_of(text), _extract_all(archive, manifest["files"], folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError, ValueError, RecursionError) as error:
        return {}, "", [f"not a whole archive ({error}); have it sent again"]


def _structure(archive: zipfile.ZipFile, size: int) -> list[str]:
    """What is wrong with the list of members, read before any of them."""
    infos = archive.infolist()
    if len(infos) > MOST_MEMBERS:
        return [f"{len(infos)} members; a sealed run has {MOST_MEMBERS} at most"]
    problems = []
    counts = Counter(info.filename for info in infos)
    problems += [f"{_shown(name)}: is there {count} times" for name, count in counts.items() if count > 1]
    problems += [f"{_shown(name)}: no name that a sealed run has" for name in counts if not _is_known(name)]
    problems += [f"{name}: is missing" for name in (MANIFEST, *REQUIRED) if name not in counts]
    for info in infos:
        limit = MASK_BYTES if info.filename.startswith(f"{MASKS}/") else TEXT_BYTES
        if info.file_size > limit:
            problems.append(f"{_shown(info.filename)}: would unpack to {info.file_size >> 20} MiB, more than {limit >> 20}")
        if info.flag_bits & 1:
            problems.append(f"{_shown(info.filename)}: is encrypted")
    if sum(info.file_size for info in infos) > TOTAL_BYTES:
        problems.append(f"would unpack to more than {TOTAL_BYTES >> 30} GiB")
    if sum(info.compress_size for info in infos) > size or archive.comment or min((info.header_offset for info in infos), default=0):
        problems.append("members overlap, or there is more in the file than its members")
    return problems[:10]


def _is_known(name: str) -> bool:
    is_mask = _MASK_NAME.fullmatch(name) is not None and not any(part in (".", "..") for part in name.split("/"))
    return name == MANIFEST or name in FILES or is_mask


def _extract_all(archive: zipfile.ZipFile, files: dict[str, Any], folder: Path) -> list[str]:
    names = set(archive.namelist()) - {MANIFEST}
    problems = [f"{_shown(name)}: is in the archive, not in the manifest" for name in sorted(names - files.keys())]
    problems += [f"{_shown(name)}: is in the manifest, not in the archive" for name in sorted(files.keys() - names)]
    for name in sorted(names & files.keys()):
        data = _read(archive, archive.getinfo(name), TEXT_BYTES)
        if files[name] != {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}:
            problems.append(f"{_shown(name)}: is not what was sealed: its SHA-256 differs from the manifest's")
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return problems


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytes:
    """A member's content, of the size that its entry states at most; zipfile checks its CRC."""
    with archive.open(info) as member:
        return _limited(member, min(info.file_size, limit))


def _limited(member: IO[bytes], size: int) -> bytes:
    parts, left = [], size + 1
    while left and (part := member.read(min(_CHUNK, left))):
        parts.append(part)
        left -= len(part)
    if not left:
        raise zipfile.BadZipFile("a member is larger than its entry says")
    return b"".join(parts)


def _shown(name: str) -> str:
    text = ascii(name)[1:-1]
    return text if len(text) <= 80 else f"{text[:77]}..."
