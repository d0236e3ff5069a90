"""Has the reference check a file that we wrote: `tests/it/reference.rs` runs it.

Usage: python check_written.py FILE.tgm EXPECTED.bin. Each message holds one object; EXPECTED.bin holds the bytes that
each decodes to, behind their number (u64, little-endian).
"""

import struct
import sys

import numpy as np
import tensogram


def main():
    path, expected_path = sys.argv[1:]
    report = tensogram.validate_file(path, level="full", check_canonical=True)
    assert not report["file_issues"], report["file_issues"]
    problems = [message["issues"] for message in report["messages"] if message["issues"]]
    assert not problems, problems[:3]
    assert all(message["hash_verified"] for message in report["messages"])

    with open(path, "rb") as file:
        data = file.read()
    with open(expected_path, "rb") as file:
        expected = file.read()
    at, other = 0, []
    places = tensogram.scan(data)
    for number, (start, length) in enumerate(places):
        (size,) = struct.unpack_from("<Q", expected, at)
        want = expected[at + 8 : at + 8 + size]
        at += 8 + size
        descriptor, array = tensogram.decode(data[start : start + length], verify_hash=True).objects[0]
        if np.ascontiguousarray(array).tobytes() != want:
            other.append((number, descriptor.dtype, descriptor.encoding, descriptor.filter, descriptor.compression))
    assert at == len(expected), f"{len(places)} messages found"
    assert not other, f"{len(other)} objects decode to other bytes: {other[:5]}"
    print(len(places))


if __name__ == "__main__":
    main()
