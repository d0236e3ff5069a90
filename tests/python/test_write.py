"""Files that `millibar convert` writes, beside the reference: accepted by its strictest validation, and decoded to the same
values as here, bit by bit. The inputs are the reference's own."""

import itertools
import json

import numpy as np
import pytest

tensogram = pytest.importorskip("tensogram")

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "float32", "float64"]
COMPLEX = ["complex64", "complex128"]

PACK = ["--encoding", "simple_packing", "--bits"]
SHUFFLE = ["--filter", "shuffle"]
CODECS = {
    "none": ["--compression", "none"],
    "zstd": ["--compression", "zstd", "--level", "7"],
    "lz4": ["--compression", "lz4"],
    **{f"blosc2-{codec}": ["--compression", "blosc2", "--blosc2-codec", codec] for codec in ("blosclz", "lz4", "lz4hc", "zlib", "zstd")},
    "szip": ["--compression", "szip"],
}
LOSSY = {
    "zfp-rate": ["--compression", "zfp", "--zfp-rate", "16"],
    "zfp-precision": ["--compression", "zfp", "--zfp-precision", "30"],
    "zfp-tolerance": ["--compression", "zfp", "--zfp-tolerance", "0.01"],
    "sz3-abs": ["--compression", "sz3", "--sz3-abs", "0.01"],
    "sz3-rel": ["--compression", "sz3", "--sz3-rel", "0.001"],
    "sz3-psnr": ["--compression", "sz3", "--sz3-psnr", "80"],
}


def values(dtype, shape=(7, 40)):
    """Something smooth with a few jumps, in `dtype`."""
    count = int(np.prod(shape))
    wave = np.sin(np.arange(count) / 9.0) * 50 + 60
    wave[count // 3 : count // 2] = 3
    if dtype in COMPLEX:
        wave = wave + 1j * wave[::-1]
    return wave.reshape(shape).astype(dtype)


def with_holes(dtype, kinds):
    array = values(dtype, (50, 60))
    flat = array.reshape(-1)
    for at, kind in zip((5, 6, 900), itertools.cycle(kinds)):
        flat[at : at + 40] = kind
    return array


def written(path, arrays, **options):
    """A file of the reference with one plain object for each array."""
    objects = []
    for array in arrays:
        described = {"type": "ntensor", "shape": list(array.shape), "dtype": str(array.dtype), "byte_order": "little"}
        # The package takes halves and complex numbers only as bytes.
        data = array.tobytes() if array.dtype.kind == "c" or array.dtype == np.float16 else array
        objects.append(({**described, "encoding": "none", "filter": "none", "compression": "none"}, data))
    meta = {"base": [{"name": f"v{i}", "units": "K"} for i in range(len(arrays))], "source": "test"}
    path.write_bytes(tensogram.encode(meta, objects, **options))
    return path


def strictly_sound(path):
    report = tensogram.validate_file(str(path), level="full", check_canonical=True)
    issues = [issue for message in report["messages"] for issue in message["issues"]]
    # The reference warns of its own streaming messages, too: flags that announce what only may be there.
    issues = [issue for issue in issues if issue["code"] != "flag_mismatch"]
    return not report["file_issues"] and not issues, (report["file_issues"], issues)


def both(millibar, path, count, tmp_path):
    """Each object as the reference decodes it, and as we do."""
    message = tensogram.decode(path.read_bytes())
    for index in range(count):
        out = tmp_path / f"{path.stem}.{index}.npy"
        millibar.run("export", str(path), "--message", "0", "--object", str(index), "-o", str(out))
        yield np.asarray(message.objects[index][1]), np.load(out)


def convert(millibar, source, target, *flags):
    millibar.run("convert", str(source), str(target), *flags)
    sound, issues = strictly_sound(target)
    assert sound, issues
    ours = json.loads(millibar.run("validate", "--level", "full", "--strict", "--json", str(target)).stdout)
    assert ours["sound"]


def same(one, other):
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("shuffle", [False, True], ids=["", "shuffle"])
def test_every_dtype_in_every_codec(millibar, tmp_path, codec, shuffle):
    wide = ["int64", "uint64", "float64", *COMPLEX]  # more than szip's 32 bits a sample
    dtypes = [d for d in INTEGERS + FLOATS + COMPLEX if not (codec == "szip" and not shuffle and d in wide)]
    arrays = [values(dtype) for dtype in dtypes]
    source = written(tmp_path / "plain.tgm", arrays)
    for layout, order in (("buffered", "little"), ("streaming", "big")):
        target = tmp_path / f"{layout}.tgm"
        flags = [*CODECS[codec], *(SHUFFLE if shuffle else []), "--layout", layout, "--byte-order", order]
        convert(millibar, source, target, *flags)
        for array, (theirs, ours) in zip(arrays, both(millibar, target, len(arrays), tmp_path)):
            assert same(theirs, array) and same(ours, array), (array.dtype, codec, layout)
    meta = tensogram.decode(target.read_bytes()).metadata
    assert [entry["units"] for entry in meta.base] == ["K"] * len(arrays)
    assert meta.extra["source"] == "test"


@pytest.mark.parametrize("bits", [0, 1, 7, 8, 12, 16, 24, 31, 32, 48, 64])
def test_simple_packing(millibar, tmp_path, bits):
    array = values("float64")
    source = written(tmp_path / "plain.tgm", [array])
    codecs = ["none", "zstd", "lz4"] + (["szip"] if bits in (8, 16, 24, 32) else []) + (["blosc2-lz4"] if bits else [])
    for codec in codecs:
        for filters in ([], SHUFFLE) if bits % 8 == 0 and bits and codec != "none" else ([],):
            target = tmp_path / f"{codec}{len(filters)}.tgm"
            convert(millibar, source, target, *PACK, str(bits), *filters, *CODECS[codec])
            [(theirs, ours)] = both(millibar, target, 1, tmp_path)
            assert same(theirs, ours), (bits, codec)
            if bits >= 48:
                assert np.allclose(ours, array, rtol=0, atol=1e-9)


def test_parameters_of_simple_packing_are_the_references(millibar, tmp_path):
    rng = np.random.default_rng(7)
    for index, array in enumerate([values("float64"), rng.normal(size=500) * 1e-9, np.full(9, 2.5), -rng.random(333) * 1e30]):
        source = written(tmp_path / "plain.tgm", [array])
        for bits, decimal in itertools.product((1, 11, 16, 33, 64), (0, 2, -1)):
            target = tmp_path / "packed.tgm"
            convert(millibar, source, target, *PACK, str(bits), "--decimal", str(decimal))
            _, descriptors = tensogram.decode_descriptors(target.read_bytes())
            theirs = tensogram.compute_packing_params(array.reshape(-1), bits, decimal)
            ours = descriptors[0].params
            for key in ("sp_reference_value", "sp_binary_scale_factor", "sp_decimal_scale_factor", "sp_bits_per_value"):
                assert ours[key] == theirs[key], (index, bits, decimal, key)


@pytest.mark.parametrize("codec", LOSSY)
def test_lossy_codecs(millibar, tmp_path, codec):
    array = values("float64")
    source = written(tmp_path / "plain.tgm", [array])
    target = tmp_path / "lossy.tgm"
    convert(millibar, source, target, *LOSSY[codec])
    [(theirs, ours)] = both(millibar, target, 1, tmp_path)
    assert same(theirs, ours)
    bound = {"sz3-abs": 0.01, "zfp-tolerance": 0.01, "sz3-rel": 0.001 * np.ptp(array)}.get(codec, 0.5)
    assert np.abs(ours - array).max() <= bound


METHODS = ["none", "rle", "roaring", "lz4", "zstd", "blosc2"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", FLOATS + COMPLEX)
def test_masks(millibar, tmp_path, method, dtype):
    arrays = [with_holes(dtype, kinds) for kinds in ([np.nan], [np.inf], [np.nan, np.inf, -np.inf])]
    source = written(tmp_path / "masked.tgm", arrays, allow_nan=True, allow_inf=True)
    for small in ("0", "128"):
        target = tmp_path / "other.tgm"
        flags = ["--mask-method", method, "--small-masks", small, "--allow-nan", "--allow-inf", *CODECS["zstd"]]
        convert(millibar, source, target, *flags)
        for array, (theirs, ours) in zip(arrays, both(millibar, target, len(arrays), tmp_path)):
            assert same(theirs, ours), (method, dtype)
            assert np.array_equal(ours, array, equal_nan=True) or dtype in COMPLEX  # Inf of one part is Inf of both


def bitmask(path):
    bits = np.zeros(100_000, bool)
    bits[500:60_000] = True
    packed = np.packbits(bits)
    described = {"type": "ntensor", "shape": [bits.size], "dtype": "bitmask", "byte_order": "little"}
    path.write_bytes(tensogram.encode({}, [({**described, "encoding": "none", "filter": "none", "compression": "none"}, packed)]))
    return path, packed


@pytest.mark.parametrize("codec", ["none", "zstd", "lz4", "rle", "roaring"])
def test_bitmasks(millibar, tmp_path, codec):
    source, packed = bitmask(tmp_path / "bits.tgm")
    target = tmp_path / "other.tgm"
    convert(millibar, source, target, "--compression", codec)
    [(theirs, ours)] = both(millibar, target, 1, tmp_path)
    assert theirs.tobytes() == packed.tobytes()
    assert np.packbits(ours).tobytes() == packed.tobytes()


def test_validation_beside_the_references_on_the_corpus(millibar, corpus):
    """Where one finds an error and the other doesn't."""
    manifest = json.loads((corpus / "bad" / "manifest.json").read_text())
    paths = [corpus / "bad" / entry["path"] for entry in manifest["files"]]
    done = millibar.run("validate", "--level", "full", "--json", *map(str, paths), check=False)
    ours = {file["path"]: file["errors"] > 0 for file in json.loads(done.stdout)["files"]}
    differ = {}
    for entry, path in zip(manifest["files"], paths):
        said = entry["reference"].get("validate_full", {})
        if not isinstance(said.get("ok"), list):
            continue  # it crashed, hung or raised
        theirs = bool(said["ok"])
        if theirs != ours[str(path)]:
            differ[entry["path"]] = "only ours" if ours[str(path)] else "only theirs"
    assert differ == DIFFER


# "only theirs": warnings here, of what no reader looks at. "only ours": errors that the reference passes over.
DIFFER = {
    **dict.fromkeys(
        [
            "first_footer_beyond.tgm",
            "first_footer_u64max.tgm",
            "frame_magic_index.tgm",  # padding where an index was announced
            "hash_frame_algorithm.tgm",
            "hash_missing.tgm",
            "stream_end_magic_in_payload.tgm",  # sound: the reference takes the magic for the end
        ],
        "only theirs",
    ),
    **dict.fromkeys(
        [
            "metadata_byte_flipped.tgm",  # its hash is wrong; the reference checks those of objects
            "one_of_three_corrupted.tgm",
            "payload_cut_zfp.tgm",
            "payload_cut_zfp_accuracy.tgm",
            "postamble_length_u64max.tgm",
            "postamble_length_wrong.tgm",
            "shape_double_zfp.tgm",
            "shape_double_zfp_accuracy.tgm",
            "truncated_second_of_three.tgm",
            "truncated_third_message.tgm",
            "zfp_rate_other.tgm",
        ],
        "only ours",
    ),
}
