"""SQL over stored tensors, in this process or on a server.

``connect()`` gives a :class:`Session`; its ``sql`` gives a :class:`Result`, which becomes a pyarrow table, a pandas or
polars frame, or an xarray Dataset. ``millibar.sql("SELECT ... FROM 'f.tgm'")`` asks a session that is made on first use.
"""

from ._errors import (
    DecodeError,
    Error,
    FileError,
    FormatError,
    GridError,
    HashMismatchError,
    IndexFileError,
    IntegrityError,
    InternalError,
    LimitError,
    MemoryLimitError,
    MissingFileError,
    MissingHashError,
    OptionError,
    OutOfRangeError,
    QueryError,
    UnknownOptionError,
    UnsupportedError,
    ValueOverflowError,
)
from ._millibar import OPTIONS, __version__
from .result import Result
from .session import Session, connect, sql

__all__ = [
    "DecodeError",
    "Error",
    "FileError",
    "FormatError",
    "GridError",
    "HashMismatchError",
    "IndexFileError",
    "IntegrityError",
    "InternalError",
    "LimitError",
    "MemoryLimitError",
    "MissingFileError",
    "MissingHashError",
    "OPTIONS",
    "OptionError",
    "OutOfRangeError",
    "QueryError",
    "Result",
    "Session",
    "UnknownOptionError",
    "UnsupportedError",
    "ValueOverflowError",
    "__version__",
    "connect",
    "sql",
]
