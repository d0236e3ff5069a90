"""Exceptions. Each is an :class:`Error` and one of Python's own kinds, so either can be caught."""

from __future__ import annotations


class Error(Exception):
    """Whatever Millibar refuses or can't do.

    The text says file, message and object where it is about one; so do the attributes.
    """

    file: str | None = None
    """Path or URL of the file."""
    message: int | None = None
    """Position of the message in the file, from 0."""
    object: int | None = None
    """Position of the object in its message, from 0."""


class FileError(Error, OSError):
    """A file can't be opened or read."""


class MissingFileError(FileError, FileNotFoundError):
    """There is no such file."""


class FormatError(Error, ValueError):
    """Framing or metadata of a file are broken."""


class DecodeError(Error, ValueError):
    """A codec can't decode a payload."""


class IntegrityError(Error):
    """A stored hash doesn't vouch for its bytes."""


class HashMismatchError(IntegrityError):
    """A stored hash differs from that of the bytes."""


class MissingHashError(IntegrityError):
    """Verification was asked for, and there is no hash."""


class OptionError(Error, ValueError):
    """An option doesn't exist, or its value is malformed; so with patterns, locations and settings."""


class UnknownOptionError(OptionError, TypeError):
    """There is no such option."""


class OutOfRangeError(Error, ValueError, IndexError):
    """No such message, object or element."""


class LimitError(Error, ValueError):
    """A file claims more than the limits allow."""


class GridError(Error, ValueError):
    """Objects don't make up the grid that was asked for."""


class IndexFileError(Error, ValueError):
    """An index (``.mbx``) is damaged, stale, or of something else."""


class UnsupportedError(Error, NotImplementedError):
    """A codec, dtype or SQL that this version doesn't do."""


class ValueOverflowError(Error, OverflowError):
    """A sum of integers, or another operation on values, leaves its type."""


class MemoryLimitError(Error, MemoryError):
    """The memory limit of the session doesn't suffice."""


class QueryError(Error, ValueError):
    """SQL that doesn't parse or plan, or values that don't compute."""


class InternalError(Error, RuntimeError):
    """A fault of Millibar's own."""
