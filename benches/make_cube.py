"""Writes a big cube of small objects, streaming, with the standard library alone:

    python make_cube.py FILE --times 1000 --levels 1000 --rows 4 --columns 4           a million chunks
    python make_cube.py FILE --times 500 --levels 10 --rows 1000 --columns 1000 --codec none     20 GB, sparse

One variable `t(time, level, dim_0, dim_1)`, one object for each time and level, a message a time. By codec:

constant  float64, simple packing with 0 bits: no payload; the value is 250 + (31 * time + 7 * level) % 50
zstd      float32 zeros, compressed to a few bytes (runs of one byte)
none      float32 zeros as they are, left as a hole of the file where the file system has holes
"""

import argparse
import pathlib
import struct


def cbor(value):
    if isinstance(value, float):
        return b"\xfb" + struct.pack(">d", value)
    if isinstance(value, int):
        head, number = (0x00, value) if value >= 0 else (0x20, -1 - value)
        return cbor_head(head, number)
    if isinstance(value, str):
        return cbor_head(0x60, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return cbor_head(0x80, len(value)) + b"".join(map(cbor, value))
    return cbor_head(0xA0, len(value)) + b"".join(cbor(k) + cbor(v) for k, v in value.items())


def cbor_head(major, number):
    if number < 24:
        return bytes([major | number])
    for tag, code, most in ((24, ">B", 1 << 8), (25, ">H", 1 << 16), (26, ">I", 1 << 32), (27, ">Q", 1 << 64)):
        if number < most:
            return bytes([major | tag]) + struct.pack(code, number)
    raise ValueError(number)


def zstd_zeros(count):
    """A zstd frame of `count` zero bytes: blocks of one repeated byte."""
    frame = b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", count)
    while True:
        size = min(count, 128 << 10)
        count -= size
        frame += struct.pack("<I", size << 3 | 1 << 1 | (count == 0))[:3] + b"\0"
        if count == 0:
            return frame


def descriptor(args, value):
    shape = [args.rows, args.columns]
    common = {"type": "ntensor", "ndim": 2, "shape": shape, "strides": [args.columns, 1], "byte_order": "little"}
    stages = {"encoding": "none", "filter": "none", "compression": "zstd" if args.codec == "zstd" else "none"}
    if args.codec == "constant":
        packing = {"sp_bits_per_value": 0, "sp_reference_value": value, "sp_binary_scale_factor": 0}
        stages |= {"encoding": "simple_packing", **packing, "sp_decimal_scale_factor": 0}
    return cbor(common | {"dtype": "float64" if args.codec == "constant" else "float32"} | stages)


def frame(kind, flags, length):
    return b"FR" + struct.pack(">HHHQ", kind, 1, flags, length)


def pad(length):
    return -length % 8


def write(out, args):
    payload = zstd_zeros(4 * args.rows * args.columns) if args.codec == "zstd" else b""
    region = 4 * args.rows * args.columns if args.codec == "none" else len(payload)
    for time in range(args.times):
        start = out.tell()
        base = [{"name": "t", "time": time, "level": level} for level in range(args.levels)]
        body = cbor({"base": base})
        length = 16 + len(body) + 12
        out.write(b"TENSOGRM" + struct.pack(">HHIQ", 3, 0, 0, 0))
        out.write(frame(1, 0, length) + body + bytes(8) + b"ENDF" + bytes(pad(length)))
        for level in range(args.levels):
            what = descriptor(args, 250.0 + (31 * time + 7 * level) % 50)
            length = 16 + region + len(what) + 20
            out.write(frame(9, 1, length) + payload)
            if args.codec == "none":
                out.seek(region, 1)
            out.write(what + struct.pack(">QQ", 16 + region, 0) + b"ENDF" + bytes(pad(length)))
        here = out.tell()
        total = here + 24 - start
        out.write(struct.pack(">QQ", here - start, total) + b"39277777")
        out.seek(start + 16)
        out.write(struct.pack(">Q", total))
        out.seek(0, 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=pathlib.Path)
    for name, count in (("times", 1000), ("levels", 1000), ("rows", 4), ("columns", 4)):
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--codec", choices=["constant", "zstd", "none"], default="constant")
    args = parser.parse_args()
    with open(args.file, "wb", buffering=1 << 20) as out:
        write(out, args)


if __name__ == "__main__":
    main()
