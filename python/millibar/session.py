"""Sessions: tables, settings, and statements about them."""

from __future__ import annotations

import os

from . import _millibar
from .result import Result


class Session:
    """A session in this process; :func:`connect` makes one."""

    def __init__(self) -> None:
        self._native = _millibar.Session()

    def sql(self, text: str) -> Result:
        """Plans a statement; its result runs it when rows are asked for.

        Raises :class:`millibar.QueryError` where it doesn't parse or plan.
        """
        return Result(self._native.sql(text))


def connect() -> Session:
    """A new session."""
    return Session()


_sessions: dict[int, Session] = {}


def sql(text: str) -> Result:
    """``Session.sql`` of the session of this process, which the first call makes."""
    process = os.getpid()
    if process not in _sessions:
        _sessions.clear()  # a forked child leaves its parent's alone
        _sessions[process] = connect()
    return _sessions[process].sql(text)
