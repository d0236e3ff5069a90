"""Writes the blosc2 files of this folder, each one object of float32 steps. Needs tensogram and numpy.

blosc2_blocks.tgm           one chunk of 13 blocks
blosc2_shuffle4_blocks.tgm  shuffled by 4 bytes first, many blocks in each byte plane
blosc2_shuffle6_blocks.tgm  shuffled by 6 bytes: groups that begin and end inside elements
"""

import numpy as np
import tensogram

values = (np.arange(400_000) // 500 % 97).astype("float32")


def write(name, values, **options):
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
    descriptor.update(options)
    with open(name, "wb") as file:
        file.write(tensogram.encode({"base": [{"name": "steps"}]}, [(descriptor, values)]))


write("blosc2_blocks.tgm", values)
write("blosc2_shuffle4_blocks.tgm", values, filter="shuffle", shuffle_element_size=4)
write("blosc2_shuffle6_blocks.tgm", values[:399_999], filter="shuffle", shuffle_element_size=6)
