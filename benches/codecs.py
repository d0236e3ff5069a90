"""Encode and decode throughput of each pipeline beside the reference package, on the same field, in one run.

Both sides get values in memory and give the bytes of an object (the reference: of a message, hash off) and back; best
of several runs, the pipelines in turn. Prints the table of docs/performance.md.

Needs tensogram and numpy. Usage: python benches/codecs.py [THREADS [PIPELINE...]]
"""

import subprocess
import sys
import time

import numpy as np
import tensogram

LEN = 4 << 20
RUNS = 5
SZIP = {"compression": "szip", "szip_rsi": 128, "szip_block_size": 16, "szip_flags": 8}
SHUFFLE = {"filter": "shuffle", "shuffle_element_size": 4}
PIPELINES = {
    "none": ("float32", {}),
    "none_big": ("float32", {"byte_order": "big"}),
    "shuffle": ("float32", SHUFFLE),
    "zstd": ("float32", {"compression": "zstd"}),
    "shuffle_zstd": ("float32", {**SHUFFLE, "compression": "zstd"}),
    "lz4": ("float32", {"compression": "lz4"}),
    "blosc2_lz4": ("float32", {"compression": "blosc2", "blosc2_codec": "lz4"}),
    "blosc2_zstd": ("float32", {"compression": "blosc2", "blosc2_codec": "zstd"}),
    "packing12": ("float64", {"encoding": "simple_packing", "sp_bits_per_value": 12}),
    "packing16": ("float64", {"encoding": "simple_packing", "sp_bits_per_value": 16}),
    "packing16_szip": ("float64", {"encoding": "simple_packing", "sp_bits_per_value": 16, **SZIP}),
    "packing24_szip": ("float64", {"encoding": "simple_packing", "sp_bits_per_value": 24, **SZIP}),
    "zfp_rate16": ("float64", {"compression": "zfp", "zfp_mode": "fixed_rate", "zfp_rate": 16.0}),
    "zfp_accuracy": ("float64", {"compression": "zfp", "zfp_mode": "fixed_accuracy", "zfp_tolerance": 0.01}),
    "sz3_abs": ("float64", {"compression": "sz3", "sz3_error_bound_mode": "abs", "sz3_error_bound": 0.01}),
    "bitmask_rle": ("bitmask", {"compression": "rle"}),
    "bitmask_roaring": ("bitmask", {"compression": "roaring"}),
}


def field():
    i = np.arange(LEN, dtype=np.uint64)
    noise = ((i * np.uint64(2654435761)) >> np.uint64(7)) % np.uint64(61)
    at = np.arange(LEN, dtype=np.float64)
    value = 250 + 40 * np.cos(at / 60000) + 5 * np.sin(at / 115)
    return (np.round(value * 100) + noise) / 100


def best(work):
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def reference(name, doubles, threads):
    """Seconds to encode and to decode."""
    dtype, options = PIPELINES[name]
    descriptor = {
        "type": "ntensor",
        "ndim": 1,
        "shape": [LEN],
        "strides": [1],
        "dtype": dtype,
        "byte_order": "little",
        "encoding": "none",
        "filter": "none",
        "compression": "none",
        **options,
    }
    values = np.packbits(doubles > 251.5) if dtype == "bitmask" else doubles.astype(dtype)

    def encode():
        # the reference stores what it is given: to write the other byte order, the caller swaps
        data = values.byteswap() if descriptor["byte_order"] == "big" else values
        return tensogram.encode({}, [(descriptor, data)], hash=None, threads=threads)

    message = encode()
    return best(encode), best(lambda: tensogram.decode(message, threads=threads))


def ours(name, threads):
    command = ["cargo", "bench", "--locked", "--bench", "codecs", "--", str(threads), name]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(out[1]), float(out[2])


def main():
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    doubles = field()
    print(f"| pipeline | encode | reference | | decode | reference | |\n|{' --- |' * 7}")
    for name in sys.argv[2:] or PIPELINES:
        dtype = PIPELINES[name][0]
        mega = LEN * {"float32": 4, "float64": 8, "bitmask": 0.125}[dtype] / 1e6
        (encode, decode), (encode_theirs, decode_theirs) = ours(name, threads), reference(name, doubles, threads)
        rates = [mega / seconds for seconds in (encode, encode_theirs, decode, decode_theirs)]
        cells = [f"{rates[0]:.0f}", f"{rates[1]:.0f}", f"{rates[0] / rates[1]:.1f}x"]
        cells += [f"{rates[2]:.0f}", f"{rates[3]:.0f}", f"{rates[2] / rates[3]:.1f}x"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
