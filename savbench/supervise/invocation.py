"""What environment.json says of one invocation of a run: machine and settings, and the worker processes as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from savbench.results import environment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from savbench.plan.settings import RunConfig
    from savbench.results.run_folder import RunFolder


class Invocation:
    """The last entry of environment.json, written when it is made and whenever it changes."""

    def __init__(self, folder: RunFolder, argv: Sequence[str], config: RunConfig) -> None:
        self._folder = folder
        self._data = environment.collect(list(argv), config.to_json())
        self._all: list[dict[str, Any]] = [*folder.read_environment().get("invocations", []), self._data]
        self._write()

    def add_worker(self, arm_id: str, node: str, about: dict[str, Any]) -> None:
        """Put in what a worker process says of its torch and its GPU.

        Args:
            node: name of its machine, where that is not this one.
            about: empty where it does without torch.
        """
        workers = self._data.setdefault("workers", {})
        key = f"{arm_id} on {node}" if node else arm_id
        if about and workers.get(key) != about:
            workers[key] = about
            self._write()

    def _write(self) -> None:
        self._folder.write_environment({"run_id": self._folder.run_id, "invocations": self._all})
