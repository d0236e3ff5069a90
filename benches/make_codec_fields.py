"""Writes the fields of benches/codec.rs into target/codec-fields: a smooth 181 x 360 field in each pipeline.

Needs tensogram and numpy. Usage: python benches/make_codec_fields.py
"""

from pathlib import Path

import numpy as np
import tensogram

FIELDS = {
    "none": {},
    "none_big": {"byte_order": "big"},
    "shuffle": {"filter": "shuffle", "shuffle_element_size": 4},
    "zstd": {"compression": "zstd"},
    "shuffle_zstd": {"filter": "shuffle", "shuffle_element_size": 4, "compression": "zstd"},
    "lz4": {"compression": "lz4"},
    "blosc2_zstd": {"compression": "blosc2", "blosc2_codec": "zstd"},
    "blosc2_lz4": {"compression": "blosc2", "blosc2_codec": "lz4"},
    "masked": {"masks": True},
    "packing16": {"dtype": "float64", "encoding": "simple_packing", "sp_bits_per_value": 16},
    "packing16_szip": {
        "dtype": "float64",
        "encoding": "simple_packing",
        "sp_bits_per_value": 16,
        "compression": "szip",
        "szip_rsi": 128,
        "szip_block_size": 16,
        "szip_flags": 8,
    },
}


def main():
    folder = Path(__file__).parent.parent / "target" / "codec-fields"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    lat, lon = np.meshgrid(np.linspace(-90, 90, 181), np.arange(360), indexing="ij")
    smooth = 250 + 40 * np.cos(np.radians(lat)) + 5 * np.sin(np.radians(3 * lon + lat))
    field = np.round(smooth + rng.normal(0, 0.3, smooth.shape), 2)
    for name, options in FIELDS.items():
        descriptor = {
            "type": "ntensor",
            "ndim": 2,
            "shape": list(field.shape),
            "strides": [360, 1],
            "dtype": "float32",
            "byte_order": "little",
            "encoding": "none",
            "filter": "none",
            "compression": "none",
        }
        descriptor.update(options)
        masked = descriptor.pop("masks", False)
        values = field.astype(descriptor["dtype"])
        if masked:
            values[np.sin(np.radians(5 * lon)) * np.cos(np.radians(3 * lat)) > 0.3] = np.nan
        if descriptor["byte_order"] == "big":
            values = values.byteswap()
        message = tensogram.encode({"base": [{"name": "t"}]}, [(descriptor, values)], allow_nan=masked)
        (folder / f"{name}.tgm").write_bytes(message)
        print(f"{name:16} {len(message):8} bytes")


if __name__ == "__main__":
    main()
