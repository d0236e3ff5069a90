"""Writes the benchmark field with the reference package: python make_field.py FOLDER

48 times x 13 levels x 181 latitudes x 360 longitudes of float32 (163 MB), one message a time with one object a level,
in four files: none.tgm, blosc2.tgm (zstd), shuffle_zstd.tgm and packed_szip.tgm (simple packing of 16 bits, szip).
Also field.npy, the same values for numpy.
"""

import pathlib
import sys

import numpy as np
import tensogram

TIMES = np.arange("2026-04-01T00", "2026-04-13T00", 6, dtype="datetime64[h]")
LEVELS = [1000, 925, 850, 700, 600, 500, 400, 300, 250, 200, 150, 100, 50]
LATITUDE = np.linspace(90, -90, 181)
LONGITUDE = np.arange(360.0)
VARIANTS = {
    "none": ("float32", {}),
    "blosc2": ("float32", dict(compression="blosc2", blosc2_codec="zstd", blosc2_clevel=5)),
    "shuffle_zstd": ("float32", dict(filter="shuffle", shuffle_element_size=4, compression="zstd")),
    "packed_szip": (
        "float64",
        dict(encoding="simple_packing", sp_bits_per_value=16, compression="szip", szip_rsi=128, szip_block_size=16, szip_flags=8),
    ),
}


def field():
    """A temperature-like field: a mean state, waves that move with time, and small-scale noise."""
    rng = np.random.default_rng(20260401)
    lat, lon = np.radians(LATITUDE)[:, None], np.radians(LONGITUDE)[None, :]
    out = np.empty((len(TIMES), len(LEVELS), 181, 360), np.float32)
    for t in range(len(TIMES)):
        for k, level in enumerate(LEVELS):
            mean = 288 - 70 * (1 - level / 1000) ** 0.8 - 30 * np.sin(lat) ** 2
            waves = 4 * np.cos(3 * lon + t / 4 + k / 3) * np.cos(lat) ** 2 + 2 * np.sin(7 * lon - t / 3) * np.cos(2 * lat)
            out[t, k] = mean + waves + rng.normal(0, 0.05, (181, 360))
    return np.round(out * 128) / np.float32(128)


def write(folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    values = field()
    np.save(folder / "field.npy", values)
    for name, (dtype, codec) in VARIANTS.items():
        with open(folder / f"{name}.tgm.part", "wb") as out:
            for t, time in enumerate(TIMES):
                objects, base = [], []
                if t == 0:  # the coordinates once, for all messages
                    for coord, labels in (("latitude", LATITUDE), ("longitude", LONGITUDE)):
                        objects.append((dict(type="ntensor", shape=[len(labels)], dtype="float64"), labels))
                        base.append({"name": coord})
                for k, level in enumerate(LEVELS):
                    descriptor = dict(type="ntensor", shape=[181, 360], dtype=dtype, **codec)
                    objects.append((descriptor, np.ascontiguousarray(values[t, k].astype(dtype))))
                    base.append({"name": "temperature", "time": str(time.astype("datetime64[s]")), "level": level})
                out.write(tensogram.encode({"base": base}, objects))
        (folder / f"{name}.tgm.part").rename(folder / f"{name}.tgm")


if __name__ == "__main__":
    write(sys.argv[1])
