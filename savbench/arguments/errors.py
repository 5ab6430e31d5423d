"""The error that a command reports in one line."""

from __future__ import annotations


class UserError(Exception):
    """What was asked for cannot be done; the message says what to do instead. The command line prints it and ends with status 2."""
