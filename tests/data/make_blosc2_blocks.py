"""Writes blosc2_blocks.tgm: one float32 object whose blosc2 frame has many blocks. Needs tensogram and numpy."""

import numpy as np
import tensogram

values = (np.arange(400_000) // 500 % 97).astype("float32")
descriptor = {
    "type": "ntensor",
    "ndim": 1,
    "shape": [values.size],
    "strides": [1],
    "dtype": "float32",
    "byte_order": "little",
    "encoding": "none",
    "filter": "none",
    "compression": "blosc2",
    "blosc2_codec": "zstd",
    "blosc2_clevel": 1,
}
with open("blosc2_blocks.tgm", "wb") as file:
    file.write(tensogram.encode({"base": [{"name": "steps"}]}, [(descriptor, values)]))
