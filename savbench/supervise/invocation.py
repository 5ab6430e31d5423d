"""One invocation of a run in environment.json: the machine, the settings, and each worker process as it reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from savbench.results import environment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from savbench.plan.settings import RunConfig
    from savbench.results.run_folder import RunFolder


class Invocation:
    """The last entry of environment.json, written on creation and after every change."""

    def __init__(self, folder: RunFolder, argv: Sequence[str], config: RunConfig) -> None:
        self._folder = folder
        self._data = environment.collect(list(argv), config.to_json())
        self._all: list[dict[str, Any]] = [*folder.read_environment().get("invocations", []), self._data]
        self._write()

    def add_worker(self, arm_id: str, node: str, about: dict[str, Any]) -> None:
        """Record what a worker process reports about its torch and its GPU.

        Args:
            node: name of its machine; empty for this machine.
            about: empty if the worker does not use torch.
        """
        workers = self._data.setdefault("workers", {})
        key = f"{arm_id} on {node}" if node else arm_id
        if about and workers.get(key) != about:
            workers[key] = about
            self._write()

    def _write(self) -> None:
        self._folder.write_environment({"run_id": self._folder.run_id, "invocations": self._all})
