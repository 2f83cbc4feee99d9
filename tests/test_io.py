"""MRC files in and out: every real file, every refusal, and what is left behind when writing fails."""

import bz2
import contextlib
import gzip
import os
import sys
import threading
import tracemalloc
import warnings
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mrcfile.dtypes import HEADER_DTYPE

import gpumask as gm
from gpumask import backend, grids, io
from gpumask.cli import main
from gpumask.errors import GpumaskWarning, InputNotFound, InputRefused, OutputExists, UsageError, WriteFailed
from gpumask.volume import Header

FLOAT32 = 2**-24  # relative error of a number stored as float32
TYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
NO_NSTART, CENTRE = (0, 0, 0), lambda n: (-n, -n, -n)
MIB = 2**20

# file: shape, voxel size, nstart, origin; all (z, y, x)
READ = {
    "maps/betaGal_ngl.mrc.gz": ((100,) * 3, (3.54,) * 3, NO_NSTART, (0, 0, 0)),
    "maps/emd_11007.map.gz": ((240,) * 3, (0.834,) * 3, NO_NSTART, (0, 0, 0)),
    "maps/emd_1832.map.gz": ((64,) * 3, (5.7,) * 3, CENTRE(32), (-182.4,) * 3),
    "maps/emd_1883.map.gz": ((70,) * 3, (3.71,) * 3, NO_NSTART, (0, 0, 0)),
    "maps/emd_3186.map.gz": ((100,) * 3, (1.35,) * 3, NO_NSTART, (0, 0, 0)),
    "maps/emd_32143_lowres_moorhen.map.gz": ((100,) * 3, (1.5272046,) * 3, NO_NSTART, (0, 0, 0)),
    "maps/emd_3488.mrc.gz": ((100,) * 3, (1.05,) * 3, NO_NSTART, (0, 0, 0)),
    "maps/emd_5625.map.gz": ((56,) * 3, (4.23,) * 3, CENTRE(28), (-118.44,) * 3),
    "awkward/EMD-3197.map": ((20,) * 3, (11.4,) * 3, (0, 0, -2), (0, 0, -22.8)),
    "awkward/cctbx_non_zero_origin_map.ccp4": (
        (32, 40, 30),
        (0.737437, 0.723075, 0.747033),
        (100, 100, 100),
        (73.7437, 72.3075, 74.7033),
    ),
    "awkward/derived_emd1832_bigendian.mrc.gz": ((64,) * 3, (5.7,) * 3, CENTRE(32), (-182.4,) * 3),
    "awkward/derived_emd1832_crs321.mrc.gz": ((64,) * 3, (5.7,) * 3, NO_NSTART, (0, 0, 0)),
    "awkward/derived_emd1832_mode0_int8.mrc.gz": ((64,) * 3, (5.7,) * 3, NO_NSTART, (0, 0, 0)),
    "awkward/derived_emd1832_mode1_int16.mrc.gz": ((64,) * 3, (5.7,) * 3, NO_NSTART, (0, 0, 0)),
    "awkward/derived_emd1832_mode6_uint16.mrc.gz": ((64,) * 3, (5.7,) * 3, NO_NSTART, (0, 0, 0)),
    "awkward/derived_emd1832_mode12_float16.mrc.gz": ((64,) * 3, (5.7,) * 3, NO_NSTART, (0, 0, 0)),
    "awkward/derived_emd1832_trailingbytes.mrc": ((64,) * 3, (5.7,) * 3, CENTRE(32), (-182.4,) * 3),
    "awkward/emd_21457_seg.mrc": ((47, 40, 48), (1.05,) * 3, NO_NSTART, (204.75, 231.0, 162.75)),
    "awkward/emd_21457_seg_nstart.mrc": ((47, 40, 48), (1.05,) * 3, (195, 220, 155), (204.75, 231.0, 162.75)),
    "awkward/emd_21457_seg_orig0.mrc": ((47, 40, 48), (1.05,) * 3, NO_NSTART, (0, 0, 0)),
    "awkward/sfftk_multi0_aniso_mode0.map": ((36, 30, 32), (17.27778, 18.33333, 14.5), NO_NSTART, (0, 0, 0)),
}
REFUSED = {
    "awkward/EMD-3001.map": "cell angles 90, 94.33, 90°",
    "awkward/EMD-3001.map.bz2": "cell angles 90, 94.33, 90°",
    "awkward/derived_emd1832_mode4_complex64_rfft.mrc.gz": "complex data (mode 4)",
    "awkward/derived_emd1832_nan_inf.mrc.gz": "6 voxels are NaN or Inf",
    "awkward/derived_emd1832_truncated.mrc": "truncated: the header claims 64 x 64 x 64 voxels",
    "awkward/derived_emd1832_zerocell.mrc.gz": "cell is 0 x 0 x 0 Å",
    "awkward/emd_8216_microed.map.gz": "cell angles 90, 111.6, 90°",
    "awkward/het_mask_volstack_outofrange.mrc": "cell is 0 x 0 x 0 Å",
    "awkward/sfftk_corrupt_header.map": "truncated: the header claims 301 x 401 x 71 voxels",
    "awkward/sfftk_empty1.map": "not an MRC file: 0 bytes",
}
# what was done to EMD-1832 to derive each file
DERIVED = {
    "bigendian.mrc.gz": lambda v: v,
    "crs321.mrc.gz": lambda v: v,
    "trailingbytes.mrc": lambda v: v,
    "mode0_int8.mrc.gz": lambda v: np.rint(v * np.float32(60)),
    "mode1_int16.mrc.gz": lambda v: np.rint(v * np.float32(1000)),
    "mode6_uint16.mrc.gz": lambda v: np.rint((v - v.min()) * np.float32(1000)),
    "mode12_float16.mrc.gz": lambda v: v.astype(np.float16).astype(np.float32),
}


def load(path, **options):
    """The volume of a file that may have harmless oddities."""
    return io.load(path, **options)[0]


def mrc_bytes(data, mode=2, order="<", axes=(1, 2, 3), words=(), nstart=(0, 0, 0), voxel=1.0, extended=b"", tail=b""):
    """An MRC file made without gpumask. `data` and `nstart` are (z, y, x), `axes` is mapc, mapr, maps, `words` sets
    32-bit words of the header by number from 0."""
    header = np.zeros(256, f"{order}i4")
    reals = header.view(f"{order}f4")
    stored = [3 - axis for axis in axes]  # of columns, rows, sections: the axis of `data`
    for number, axis in enumerate(stored):
        header[number] = data.shape[axis]
        header[4 + number] = nstart[axis]
    header[3] = mode
    header[7:10] = data.shape[::-1]
    reals[10:13] = [voxel * n for n in data.shape[::-1]]
    reals[13:16] = 90
    header[16:19] = axes
    header[22:24] = 1, len(extended)
    header[27] = 20140
    header[52] = np.frombuffer(b"MAP ", f"{order}i4")[0]
    header[53] = np.frombuffer({"<": b"\x44\x44\0\0", ">": b"\x11\x11\0\0"}[order], f"{order}i4")[0]
    for number, value in dict(words).items():
        (reals if isinstance(value, float) else header)[number] = value
    values = data.transpose(stored[::-1]).astype(f"{order}{TYPES.get(mode, 'f4')}")
    return header.tobytes() + extended + values.tobytes() + tail


def ramp(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def same(one, other):
    """Data, voxel size and place are equal to the last bit."""
    assert np.array_equal(one.data, other.data)
    assert one.voxel_size == other.voxel_size
    assert one.header.nstart == other.header.nstart
    assert one.header.origin == other.header.origin
    assert one.origin == other.origin


def listing(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}


# real files


def test_every_file_is_in_the_table(data):
    found = {f"{folder}/{path.name}" for folder in ("maps", "awkward") for path in (data / folder).iterdir()}
    assert found == {*READ, *REFUSED}
    assert {f"awkward/derived_emd1832_{name}" for name in DERIVED} <= READ.keys()


@pytest.mark.parametrize("name", READ)
def test_file_reads_right_and_survives_writing(data, name, tmp_path):
    shape, voxel_size, nstart, origin = READ[name]
    volume, notes = io.load(data / name)
    assert volume.shape == shape
    assert volume.voxel_size == pytest.approx(voxel_size, rel=1e-6)  # as printed above
    assert volume.header.nstart == nstart
    assert volume.origin == pytest.approx(origin, rel=1e-6, abs=1e-9)
    assert len(notes) == (1 if "trailing" in name else 0)
    assert volume.data.dtype == np.float32
    assert volume.data.flags.c_contiguous

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mrcfile warns of what it forgives
        peer = mrcfile.open(data / name, permissive=True)
    with peer:
        axes = [int(peer.header[word]) for word in ("maps", "mapr", "mapc")]
        values = peer.data if axes == [0, 0, 0] else peer.data.transpose([axes.index(axis) for axis in (3, 2, 1)])
        assert np.array_equal(volume.data, values.astype(np.float32))

    io.write(tmp_path / "copy.mrc", volume)
    same(load(tmp_path / "copy.mrc"), volume)


@pytest.mark.parametrize("name", DERIVED)
def test_derived_file_holds_what_was_derived(data, name):
    original = load(data / "maps/emd_1832.map.gz").data
    assert np.array_equal(load(data / f"awkward/derived_emd1832_{name}").data, DERIVED[name](original))


@pytest.mark.parametrize("name", REFUSED)
def test_file_is_refused_in_one_line_and_leaves_nothing(data, name, tmp_path, capsys):
    words = ["create", str(data / name), "-o", str(tmp_path / "mask.mrc"), "--threshold", "0.1", "--device", "cpu"]
    assert main(words) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert REFUSED[name] in err
    assert str(data / name) in err
    assert listing(tmp_path) == {}
    assert main(["inspect", str(data / name)]) == 3


def test_what_was_refused_reads_once_the_user_says_how(data):
    original = load(data / "maps/emd_1832.map.gz")
    volume, notes = io.load(data / "awkward/derived_emd1832_nan_inf.mrc.gz", nan_to=0)
    assert np.isfinite(volume.data).all()
    assert np.count_nonzero(volume.data != original.data) <= 6
    assert "6 NaN or Inf voxels set to 0" in notes[0]
    volume = load(data / "awkward/derived_emd1832_zerocell.mrc.gz", voxel_size=5.7)
    assert volume.voxel_size == pytest.approx((5.7,) * 3, rel=FLOAT32)
    assert np.array_equal(volume.data, DERIVED["mode1_int16.mrc.gz"](original.data))
    stack = load(data / "awkward/het_mask_volstack_outofrange.mrc", voxel_size=(2, 3, 4))
    assert stack.shape == (16, 16, 16)
    assert stack.voxel_size == (2, 3, 4)
    assert stack.data.max() > 1.2


# made files

shapes = st.tuples(*[st.integers(1, 6)] * 3)
edges = st.floats(0.25, 32, width=32)


@st.composite
def files(draw):
    """Bytes of an MRC file, and the (z, y, x) facts it was made from."""
    shape = draw(shapes)
    mode = draw(st.sampled_from(sorted(TYPES)))
    low, high = {0: (-128, 127), 6: (0, 65535), 12: (-2048, 2048)}.get(mode, (-32768, 32767))
    values = np.random.default_rng(draw(st.integers(0, 2**32))).integers(low, high, shape, endpoint=True)
    nstart = draw(st.tuples(*[st.integers(-(2**31), 2**31 - 1)] * 3))
    origin = draw(st.tuples(*[st.floats(-1e6, 1e6, width=32)] * 3))
    sampled = draw(st.tuples(*[st.integers(1, 300)] * 3))
    cell = [np.float32(m * draw(edges)) for m in sampled]
    words = {7 + i: sampled[2 - i] for i in range(3)}
    words |= {10 + i: float(cell[2 - i]) for i in range(3)}
    words |= {49 + i: float(origin[2 - i]) for i in range(3)}
    raw = mrc_bytes(
        values,
        mode,
        draw(st.sampled_from("<>")),
        draw(st.permutations([1, 2, 3])),
        words,
        nstart,
        extended=draw(st.sampled_from([b"", b"x" * 80, bytes(1024)])),
    )
    pack = draw(st.sampled_from([bytes, gzip.compress, bz2.compress]))
    return pack(raw), values, [float(c) / m for c, m in zip(cell, sampled, strict=True)], nstart, origin


@settings(max_examples=150, deadline=None)
@given(made=files())
def test_any_header_reads_right_and_survives_writing(tmp_path_factory, made):
    raw, values, voxel_size, nstart, origin = made
    path = tmp_path_factory.mktemp("made") / "map.mrc"
    path.write_bytes(raw)
    volume, notes = io.load(path)
    assert notes == []
    assert np.array_equal(volume.data, values)
    assert volume.voxel_size == pytest.approx(voxel_size, rel=FLOAT32)
    assert volume.header.nstart == nstart
    assert volume.header.origin == origin
    assert volume.origin == (
        origin if any(origin) else tuple(map(np.prod, zip(nstart, volume.voxel_size, strict=True)))
    )
    io.write(path, volume, overwrite=True)
    again = load(path)
    same(again, volume)
    io.write(path.with_name("again.mrc"), again)
    assert path.read_bytes() == path.with_name("again.mrc").read_bytes()


@settings(max_examples=60, deadline=None)
@given(made=files(), planes=st.integers(1, 7))
def test_slabs_are_the_planes_of_the_map(tmp_path_factory, made, planes):
    path = tmp_path_factory.getbasetemp() / "slabs.mrc"
    path.write_bytes(made[0])
    whole, source = load(path), io.Slabs(path)
    assert (source.shape, source.voxel_size, source.header) == (whole.shape, whole.voxel_size, whole.header)
    try:
        parts = list(source.slabs(planes))
    except InputRefused as error:
        assert "z is not the slowest axis" in str(error)
        assert source.order[0] != 0
        return
    assert all(len(part) == planes for part in parts[:-1])
    assert np.array_equal(np.concatenate(parts), whole.data)


@pytest.mark.parametrize("packing", [gzip.compress, bz2.compress])
def test_packed_files_are_known_by_their_content(tmp_path, packing):
    path = tmp_path / "map.mrc"
    path.write_bytes(packing(mrc_bytes(ramp(3, 4, 5))))
    assert np.array_equal(load(path).data, ramp(3, 4, 5))


def test_gzip_of_several_members_reads(tmp_path):
    raw = mrc_bytes(ramp(3, 4, 5))
    (tmp_path / "map.mrc.gz").write_bytes(gzip.compress(raw[:1100]) + gzip.compress(raw[1100:]))
    assert np.array_equal(load(tmp_path / "map.mrc.gz").data, ramp(3, 4, 5))


@pytest.mark.parametrize("packing", [gzip.compress, bz2.compress])
def test_a_mask_of_few_values_packed_hard_still_reads(tmp_path, packing):
    slab = np.zeros((64, 64, 64), np.float32)
    slab[:, :, 3] = 1
    path = tmp_path / "mask.mrc"
    path.write_bytes(packing(mrc_bytes(slab)))
    assert np.array_equal(load(path).data, slab)


def test_trailing_bytes_warn(tmp_path):
    path = tmp_path / "map.mrc"
    path.write_bytes(mrc_bytes(ramp(3, 4, 5), tail=b"x" * 7))
    with pytest.warns(GpumaskWarning, match=r"map\.mrc: 7 bytes after the data are ignored"):
        assert np.array_equal(gm.read(path).data, ramp(3, 4, 5))


def test_trailing_bytes_after_gzip_warn(tmp_path):
    path = tmp_path / "map.mrc.gz"
    path.write_bytes(gzip.compress(mrc_bytes(ramp(3, 4, 5))) + b"x" * 7)
    with pytest.warns(GpumaskWarning, match="after the data"):
        assert np.array_equal(gm.read(path).data, ramp(3, 4, 5))


def test_read_takes_the_voxel_size_it_is_given(tmp_path):
    path = tmp_path / "map.mrc"
    path.write_bytes(mrc_bytes(ramp(3, 4, 5), voxel=2.0))
    assert gm.read(path).voxel_size == (2, 2, 2)
    assert gm.read(path, voxel_size=1.5).voxel_size == (1.5, 1.5, 1.5)
    assert gm.read(path, voxel_size=(1, 2, 3)).voxel_size == (1, 2, 3)


@pytest.mark.parametrize("size", [0, -1, float("nan"), float("inf")])
def test_read_refuses_a_voxel_size_that_is_none(tmp_path, size):
    path = tmp_path / "map.mrc"
    path.write_bytes(mrc_bytes(ramp(3, 4, 5)))
    with pytest.raises(UsageError, match="voxel size"):
        gm.read(path, voxel_size=size)


@pytest.mark.parametrize("size", [(1, 2), "a", 1e300])
def test_read_refuses_a_voxel_size_that_is_not_one_or_three(tmp_path, size):
    path = tmp_path / "map.mrc"
    path.write_bytes(mrc_bytes(ramp(3, 4, 5)))
    with pytest.raises(gm.GpumaskError):
        gm.read(path, voxel_size=size)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_to_must_be_a_number(tmp_path, value):
    path = tmp_path / "map.mrc"
    path.write_bytes(mrc_bytes(np.full((2, 2, 2), np.nan, np.float32)))
    with pytest.raises(gm.GpumaskError):
        gm.read(path, nan_to=value)


# refusals

MAP = ramp(4, 5, 6)
STACK = {22: 401, 9: 2}
HOLE = np.where(MAP == 7, np.nan, MAP)
REFUSALS = {
    "empty": (b"", "not an MRC file: 0 bytes"),
    "header cut": (mrc_bytes(MAP)[:1000], "not an MRC file: 1000 bytes"),
    "header only": (mrc_bytes(MAP)[:1024], "truncated"),
    "one byte short": (mrc_bytes(MAP)[:-1], "truncated: the header claims 6 x 5 x 4 voxels"),
    "extended header cut": (mrc_bytes(MAP, extended=bytes(80))[:-80], "truncated"),
    "text": (b"data_\n_rlnAngpix 1.05\n" * 200, "not an MRC file"),
    "html": (b"<!DOCTYPE html><html>404</html>\n" * 200, "not an MRC file"),
    "zeros": (bytes(5000), "not an MRC file"),
    "noise": (np.random.default_rng(1).bytes(5000), "not an MRC file"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(4000), "not an MRC file"),
    "no MAP": (mrc_bytes(MAP, words={52: 0}), "no 'MAP' identifier"),
    "nx 0": (mrc_bytes(MAP, words={0: 0}), "not an MRC file"),
    "nx < 0": (mrc_bytes(MAP, words={0: -6}), "not an MRC file"),
    "mode 3": (mrc_bytes(MAP, mode=3), "complex data (mode 3)"),
    "mode 4": (mrc_bytes(MAP, mode=4), "complex data (mode 4)"),
    "mode 101": (mrc_bytes(MAP, mode=101), "mode 101 is not supported"),
    "mode 7": (mrc_bytes(MAP, mode=7), "not an MRC file"),
    "monoclinic": (mrc_bytes(MAP, words={14: 94.33}), "cell angles 90, 94.33, 90°, a crystal's grid"),
    "hexagonal": (mrc_bytes(MAP, words={15: 120.0}), "cell angles 90, 90, 120°"),
    "angle nan": (mrc_bytes(MAP, words={13: float("nan")}), "cell angles"),
    "nan": (mrc_bytes(HOLE), "1 voxels are NaN or Inf; repair the map or replace them with --nan-to 0"),
    "inf": (mrc_bytes(np.where(MAP > 117, np.inf, MAP)), "2 voxels are NaN or Inf"),
    "float16 inf": (mrc_bytes(np.where(MAP > 118, np.inf, MAP), mode=12), "1 voxels are NaN or Inf"),
    "no cell": (
        mrc_bytes(MAP, voxel=0.0),
        "cell is 0 x 0 x 0 Å, so the voxel size is unknown; give it with --voxel-size",
    ),
    "one edge 0": (mrc_bytes(MAP, words={11: 0.0}), "cell is 6 x 0 x 4 Å"),
    "cell < 0": (mrc_bytes(MAP, voxel=-1.0), "cell is -6 x -5 x -4 Å"),
    "cell nan": (mrc_bytes(MAP, words={10: float("nan")}), "cell is nan x 5 x 4 Å"),
    "cell inf": (mrc_bytes(MAP, words={10: float("inf")}), "cell is inf x 5 x 4 Å"),
    "axes twice": (mrc_bytes(MAP, words={16: 2}), "axes mapc, mapr, maps = [2, 2, 3]"),
    "axes 0": (mrc_bytes(MAP, words={18: 0}), "axes mapc, mapr, maps = [1, 2, 0]"),
    "stack of volumes": (mrc_bytes(MAP, words=STACK), "a stack of 2 volumes"),
    "stack of images": (mrc_bytes(MAP, words={22: 0, 9: 1}), "a stack of 4 images"),
    "extended < 0": (mrc_bytes(MAP, words={23: -80}), "extended header of -80 bytes"),
    "extended huge": (mrc_bytes(MAP, words={23: 2**31 - 1}), "truncated"),
    "30000³": (mrc_bytes(MAP, words={0: 30000, 1: 30000, 2: 30000}), "claims 30000 x 30000 x 30000 voxels"),
    "30000³ gz": (gzip.compress(mrc_bytes(MAP, words={0: 30000, 1: 30000, 2: 30000})), "the file holds at most"),
    "30000³ bz2": (bz2.compress(mrc_bytes(MAP, words={0: 30000, 1: 30000, 2: 30000})), "the file holds at most"),
    "gz short": (gzip.compress(mrc_bytes(MAP)[:-1]), "truncated"),
    "gz cut": (gzip.compress(mrc_bytes(MAP))[:-20], "damaged compressed file"),
    "gz checksum": (gzip.compress(mrc_bytes(MAP))[:-8] + bytes(8), "damaged compressed file"),
    "gz head": (b"\x1f\x8b" + bytes(2000), "damaged compressed file"),
    "bz2 short": (bz2.compress(mrc_bytes(MAP)[:-1]), "truncated"),
    "bz2 cut": (bz2.compress(mrc_bytes(MAP))[:-20], "damaged compressed file"),
    "gz of text": (gzip.compress(b"hello " * 500), "not an MRC file"),
}


@pytest.mark.parametrize("why", REFUSALS)
def test_refused_in_one_line_at_once_and_without_memory(tmp_path, capsys, why):
    raw, text = REFUSALS[why]
    path = tmp_path / "the map.mrc"
    path.write_bytes(raw)
    before = listing(tmp_path)
    tracemalloc.start()
    try:
        with pytest.raises(InputRefused) as caught:
            gm.read(path)
        assert tracemalloc.get_traced_memory()[1] < 2 * MIB
    finally:
        tracemalloc.stop()
    assert text in str(caught.value)
    words = ["create", str(path), "-o", str(tmp_path / "mask.mrc"), "--threshold", "50", "--device", "cpu"]
    assert main(words) == 3
    assert capsys.readouterr() == ("", f"gpumask: {caught.value}\n")
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert listing(tmp_path) == before


def test_damaged_bz2_is_called_damaged(tmp_path):
    raw = bytearray(bz2.compress(mrc_bytes(MAP)))
    raw[20:24] = bytes(4)
    (tmp_path / "map.mrc").write_bytes(raw)
    with pytest.raises(InputRefused, match="damaged compressed file"):
        gm.read(tmp_path / "map.mrc")


@pytest.mark.parametrize("words", [{10: 3e38, 7: 1}, {10: 1e-45, 7: 2**31 - 1}])
@pytest.mark.filterwarnings("ignore:overflow")
def test_absurd_cells_are_refused_as_input(tmp_path, words):
    path = tmp_path / "map.mrc"
    path.write_bytes(mrc_bytes(MAP, words=words))
    with pytest.raises(InputRefused, match=r"map\.mrc"):
        gm.read(path)


def test_what_memory_cannot_hold_is_refused_with_the_numbers(tmp_path, monkeypatch):
    path = tmp_path / "map.mrc"
    path.write_bytes(mrc_bytes(MAP))
    monkeypatch.setattr(backend, "available_memory", lambda: MAP.nbytes)
    with pytest.raises(InputRefused, match=r"6 x 5 x 4 voxels need .* GiB, .* GiB are free"):
        gm.read(path)


def test_a_sparse_file_as_long_as_it_claims_is_refused_at_once(tmp_path):
    path = tmp_path / "map.mrc"
    side = 20000
    path.write_bytes(mrc_bytes(MAP, mode=0, words={0: side, 1: side, 2: side}))
    try:
        os.truncate(path, 1024 + side**3)
    except OSError:
        pytest.skip("this file system holds no file of 8 TB")
    with pytest.raises(InputRefused, match="GiB are free"):
        gm.read(path)


@pytest.mark.parametrize("make", [lambda p: p, lambda p: p.mkdir() or p, lambda p: p / "no" / "map.mrc"])
def test_what_is_no_file_is_refused(tmp_path, make):
    path = make(tmp_path / "nothing")
    with pytest.raises(InputNotFound, match="cannot be read") as caught:
        gm.read(path)
    assert isinstance(caught.value, FileNotFoundError)
    assert caught.value.exit_code == 3


def test_origin_that_is_no_number_is_noted(tmp_path):
    path = tmp_path / "map.mrc"
    path.write_bytes(mrc_bytes(MAP, words={49: float("nan")}))
    volume, notes = io.load(path)
    assert volume.origin == (0, 0, 0)
    assert "origin is not a number" in notes[0]


HEADER = mrc_bytes(ramp(5, 6, 7), extended=b"e" * 16)


@settings(max_examples=300, deadline=None)
@given(
    flips=st.dictionaries(st.integers(0, 1039), st.integers(0, 255), min_size=1, max_size=6),
    packing=st.sampled_from([bytes, gzip.compress]),
)
def test_a_damaged_header_is_read_or_refused_and_never_fills_memory(tmp_path_factory, flips, packing):
    raw = bytearray(HEADER)
    for place, value in flips.items():
        raw[place] = value
    path = tmp_path_factory.getbasetemp() / "damaged.mrc"
    path.write_bytes(packing(raw))
    tracemalloc.start()
    try:
        with warnings.catch_warnings(), contextlib.suppress(gm.GpumaskError):
            warnings.simplefilter("ignore")
            assert np.isfinite(gm.read(path).data).all()
        assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    finally:
        tracemalloc.stop()


@settings(max_examples=150, deadline=None)
@given(
    packing=st.sampled_from([gzip.compress, bz2.compress]),
    flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_a_damaged_packed_file_is_read_or_refused(tmp_path_factory, packing, flips):
    raw = bytearray(packing(HEADER))
    for place, value in flips:
        raw[int(place * len(raw))] = value
    path = tmp_path_factory.getbasetemp() / "damaged.mrc.gz"
    path.write_bytes(raw)
    with warnings.catch_warnings(), contextlib.suppress(gm.GpumaskError):
        warnings.simplefilter("ignore")
        gm.read(path)


# writing


def a_mask(*shape, voxel_size=(1.5, 1.25, 1.0), **header):
    values = np.random.default_rng(3).random(shape or (8, 9, 10)).astype(np.float32)
    return gm.Volume(values, voxel_size, Header(**header))


def test_written_header(tmp_path):
    path = tmp_path / "mask.mrc"
    volume = a_mask(origin=(1.5, -2.5, 3.25), nstart=(-4, 5, 6), labels=("first", "second"))
    gm.write(path, volume, label="third")
    raw = path.read_bytes()
    words, reals = np.frombuffer(raw[:1024], "<i4"), np.frombuffer(raw[:1024], "<f4")
    assert len(raw) == 1024 + 4 * 720
    assert list(words[:4]) == [10, 9, 8, 2]
    assert list(words[4:7]) == [6, 5, -4]
    assert list(words[7:10]) == [10, 9, 8]
    assert list(reals[10:13]) == [10, 11.25, 12]
    assert list(reals[13:16]) == [90, 90, 90]
    assert list(words[16:19]) == [1, 2, 3]
    assert list(words[22:24]) == [1, 0]
    assert list(reals[49:52]) == [3.25, -2.5, 1.5]
    assert raw[208:216] == b"MAP \x44\x44\0\0"
    assert words[55] == 3
    assert [raw[224 + 80 * i : 304 + 80 * i].rstrip(b"\0 ") for i in range(4)] == [b"first", b"second", b"third", b""]
    assert load(path).header.labels == ("first", "second", "third")
    assert raw[1024:] == volume.data.astype("<f4").tobytes()


@pytest.mark.parametrize("mode", ["float32", "float16", "int8", "labels"])
def test_statistics_are_true_and_mrcfile_agrees(tmp_path, mode, capsys):
    path = tmp_path / "mask.mrc"
    volume = a_mask(17, 19, 23, labels=("made",))
    if mode in ("int8", "labels"):
        volume = volume.with_data((volume.data > 0.6).astype(np.float32) * (1 if mode == "int8" else 60000))
    gm.write(path, volume, mode=mode, label="gpumask")
    assert mrcfile.validate(path), capsys.readouterr().out
    with mrcfile.open(path) as peer:
        values = peer.data.astype(np.float64)
        assert peer.header.dmin == values.min()
        assert peer.header.dmax == values.max()
        assert peer.header.dmean == pytest.approx(values.mean(), rel=FLOAT32)
        assert peer.header.rms == pytest.approx(values.std(), rel=FLOAT32)
        assert peer.header.mode == {"float32": 2, "float16": 12, "int8": 0, "labels": 6}[mode]
        assert (peer.header.ispg, peer.data.dtype) == (1, np.dtype(TYPES[int(peer.header.mode)]))
        assert (peer.voxel_size.x, peer.voxel_size.y, peer.voxel_size.z) == (1, 1.25, 1.5)
    step = 2.0**-11 if mode == "float16" else 0  # half an ulp of float16 below 1
    assert np.abs(load(path).data - volume.data).max() <= step


@pytest.mark.parametrize("mode", ["float32", "float16", "int8", "labels"])
def test_a_binary_mask_survives_every_mode(tmp_path, mode):
    path = tmp_path / "mask.mrc"
    volume = a_mask(origin=(1.5, -2.5, 3.25), nstart=(-4, 5, 6))
    volume = volume.with_data((volume.data > 0.5).astype(np.float32))
    gm.write(path, volume, mode=mode)
    same(load(path), volume)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["f4", ">f4", "f8", "f2", "i4", "u1", "?"])
def test_any_array_is_written_as_it_reads(tmp_path, dtype, order):
    values = np.asarray(np.random.default_rng(1).integers(0, 2, (3, 4, 5)), dtype, order=order)
    gm.write(tmp_path / "mask.mrc", gm.Volume(values, 1))
    assert np.array_equal(load(tmp_path / "mask.mrc").data, values.astype("f4"))
    gm.write(tmp_path / "flipped.mrc", gm.Volume(values[::-1, :, ::2], 1))
    assert np.array_equal(load(tmp_path / "flipped.mrc").data, values[::-1, :, ::2].astype("f4"))


@pytest.mark.parametrize(
    ("values", "mode", "text"),
    [
        ([0, 0.5, 1], "int8", "binary masks only"),
        ([0, 2], "int8", "binary masks only"),
        ([0, np.nan], "int8", "binary masks only"),
        ([0, 0.5], "labels", "whole numbers from 0 to 65535"),
        ([-1, 3], "labels", "whole numbers"),
        ([0, 65536], "labels", "whole numbers"),
        ([0, np.nan], "labels", "whole numbers"),
        ([0, 70000], "float16", "float16 reaches"),
        ([0, -70000], "float16", "float16 reaches"),
        ([0, 1], "uint8", "mode must be one of float32, float16, int8, labels"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_data_that_a_mode_cannot_hold_is_refused(tmp_path, values, mode, text):
    path = tmp_path / "mask.mrc"
    with pytest.raises(gm.GpumaskError, match=text):
        gm.write(path, gm.Volume(np.array(values, np.float32)[None, None], 1), mode=mode)
    assert listing(tmp_path) == {}


@pytest.mark.parametrize(
    ("values", "header"),
    [
        (np.full((2, 2, 2), np.nan, np.float32), Header()),
        (np.full((2, 2, 2), 1e39), Header()),
        (np.full((2, 2, 2), 1j), Header()),
        (np.zeros((2, 2, 2), np.float32), Header(nstart=(2**31, 0, 0))),
    ],
    ids=["nan", "beyond float32", "complex", "nstart"],
)
def test_what_no_file_can_hold_is_refused(tmp_path, values, header):
    with pytest.raises(gm.GpumaskError):
        gm.write(tmp_path / "mask.mrc", gm.Volume(values, 1, header))


def test_labels_keep_to_ten_lines_of_ascii(tmp_path):
    path = tmp_path / "mask.mrc"
    gm.write(path, a_mask(labels=tuple(f"line {i}" for i in range(10))), label="Å " + "x" * 100)
    labels = load(path).header.labels
    assert labels[:9] == tuple(f"line {i}" for i in range(9))
    assert labels[9] == "? " + "x" * 78


def test_more_labels_than_a_header_holds_are_left_out(tmp_path):
    gm.write(tmp_path / "mask.mrc", a_mask(labels=tuple(f"line {i}" for i in range(11))))
    assert load(tmp_path / "mask.mrc").header.labels[0] == "line 0"


# failing to write


@contextlib.contextmanager
def disk_full_after(size):
    """Writes of more than `size` bytes to one file fail, as on a full disk."""
    resource = pytest.importorskip("resource", reason="no limits on file sizes here")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 500, 1024, 3000])
@pytest.mark.parametrize("old", [None, b"an older mask"])
def test_a_full_disk_leaves_the_old_file(tmp_path, size, old):
    path = tmp_path / "mask.mrc"
    if old:
        path.write_bytes(old)
    before = listing(tmp_path)
    with disk_full_after(size), pytest.raises(WriteFailed, match=r"mask\.mrc: could not be written") as caught:
        gm.write(path, a_mask(), overwrite=True)
    assert listing(tmp_path) == before
    assert isinstance(caught.value, OSError)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_full_disk_leaves_none_of_several_files(tmp_path, overwrite):
    if overwrite:
        (tmp_path / "a").write_bytes(b"old a")
        (tmp_path / "b").write_bytes(b"old b")
    before = listing(tmp_path)
    with disk_full_after(1000), pytest.raises(WriteFailed, match="could not be written"):
        io.write_files([(tmp_path / "a", [b"small"]), (tmp_path / "b", [bytes(999), bytes(999)])], overwrite)
    assert listing(tmp_path) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_failed_renaming_leaves_none_of_several_files(tmp_path, monkeypatch, overwrite):
    if overwrite:
        (tmp_path / "a").write_bytes(b"old a")
        (tmp_path / "b").write_bytes(b"old b")
    before = listing(tmp_path)
    publish = io._publish

    def failing(temporary, path, leave):
        if path.name == "b":
            raise PermissionError(1, "Operation not permitted")
        publish(temporary, path, leave)

    monkeypatch.setattr(io, "_publish", failing)
    with pytest.raises(WriteFailed, match="could not be written"):
        io.write_files([(tmp_path / "a", [b"new a"]), (tmp_path / "b", [b"new b"])], overwrite)
    assert listing(tmp_path) == before


def test_what_another_program_has_just_written_is_not_replaced(tmp_path, monkeypatch):
    """The file appears between the check and the renaming."""
    monkeypatch.setattr(io, "check_output", lambda *_: (tmp_path / "a").write_bytes(b"theirs"))
    with pytest.raises(OutputExists, match="another program"):
        io.write_files([(tmp_path / "a", [b"ours"])])
    assert listing(tmp_path) == {"a": b"theirs"}


def test_several_files_appear_together(tmp_path):
    io.write_files([(tmp_path / "a", [b"1", b"2"]), (tmp_path / "b", [])])
    assert listing(tmp_path) == {"a": b"12", "b": b""}


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_stopped_while_syncing_nothing_is_left(tmp_path, monkeypatch, error):
    def stop(_):
        raise error

    (tmp_path / "mask.mrc").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises((KeyboardInterrupt, WriteFailed)):
        gm.write(tmp_path / "mask.mrc", a_mask(), overwrite=True)
    assert listing(tmp_path) == {"mask.mrc": b"old"}


def test_an_existing_file_is_kept(tmp_path):
    path = tmp_path / "mask.mrc"
    path.write_bytes(b"old")
    with pytest.raises(OutputExists, match=r"mask\.mrc: is already there.*--force") as caught:
        gm.write(path, a_mask())
    assert isinstance(caught.value, FileExistsError)
    assert caught.value.exit_code == 3
    assert listing(tmp_path) == {"mask.mrc": b"old"}
    gm.write(path, a_mask(), overwrite=True)
    assert np.array_equal(load(path).data, a_mask().data)


def test_a_missing_folder_and_a_folder_are_refused(tmp_path):
    with pytest.raises(WriteFailed, match="the folder .*none is not there; make it first"):
        gm.write(tmp_path / "none" / "mask.mrc", a_mask())
    (tmp_path / "folder").mkdir()
    with pytest.raises(WriteFailed, match="is a folder"):
        gm.write(tmp_path / "folder", a_mask(), overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
    with pytest.raises(UsageError, match="outputs are not compressed"):
        gm.write(tmp_path / "mask.mrc.gz", a_mask())


def test_an_unwritable_folder_is_a_clear_error(tmp_path):
    folder = tmp_path
    if os.geteuid() == 0:
        folder = Path("/proc")  # where root may not write either
        if not folder.is_dir():
            pytest.skip("root may write everywhere")
    else:
        tmp_path.chmod(0o500)
    try:
        with pytest.raises(WriteFailed, match=r"mask\.mrc: could not be written"):
            gm.write(folder / "mask.mrc", a_mask())
    finally:
        tmp_path.chmod(0o700)
    assert listing(tmp_path) == {}


def test_the_temporary_file_of_another_process_is_not_touched(tmp_path):
    other = tmp_path / f".mask.mrc.{os.getpid()}.tmp"  # of a process in another container or on another node
    other.write_bytes(b"half a mask")
    with contextlib.suppress(WriteFailed):
        gm.write(tmp_path / "mask.mrc", a_mask())
    assert {*listing(tmp_path)} == {other.name, "mask.mrc"}


@pytest.mark.skipif(sys.platform == "win32", reason="names end at 255 bytes on POSIX systems")
def test_a_name_as_long_as_names_may_be(tmp_path):
    path = tmp_path / ("m" * 251 + ".mrc")
    gm.write(path, a_mask())
    assert path.exists()


def test_a_reader_never_sees_half_a_file(tmp_path):
    path = tmp_path / "mask.mrc"
    ones, zeros = (gm.Volume(np.full((40, 40, 40), value, np.float32), 1) for value in (1, 0))
    gm.write(path, ones)

    def rewrite():
        for _ in range(20):
            gm.write(path, zeros, overwrite=True)
            gm.write(path, ones, overwrite=True)

    writer = threading.Thread(target=rewrite)
    writer.start()
    seen = []
    while writer.is_alive():
        seen.append(np.unique(load(path).data).tolist())
    writer.join()
    assert seen
    assert all(values in ([0], [1]) for values in seen)
    assert [p.name for p in tmp_path.iterdir()] == ["mask.mrc"]


# two grids


def test_voxel_sizes_are_compared():
    volume = a_mask(voxel_size=1.0)
    assert grids.check_same_voxel_size("a", volume, "b", a_mask(voxel_size=1.0009)) is None
    note = grids.check_same_voxel_size("a", volume, "b", a_mask(voxel_size=(1, 1.005, 1)))
    assert "differ by 0.5 %" in note
    assert "b 1 x 1.005 x 1 Å" in note
    with pytest.raises(InputRefused, match="differ by 2 %"):
        grids.check_same_voxel_size("a", volume, "b", a_mask(voxel_size=(1, 1, 1.02)))


@pytest.mark.parametrize("by_origin", [False, True])
def test_paste_puts_each_voxel_in_its_place(xp, by_origin):
    voxel = (1.5, 1.25, 1.0)
    full = gm.Volume(xp.asarray(ramp(8, 9, 10) + 1), voxel, Header(nstart=(-4, 5, 6)))
    corner = (2, 3, 1)
    start = tuple(a + b for a, b in zip(full.header.nstart, corner, strict=True))
    header = (
        Header(origin=tuple(n * v for n, v in zip(start, voxel, strict=True))) if by_origin else Header(nstart=start)
    )
    crop = gm.Volume(full.data[2:6, 3:8, 1:10], voxel, header)
    pasted, notes = grids.paste("crop", crop, "full", full)
    assert notes == []
    assert (pasted.voxel_size, pasted.header) == (full.voxel_size, full.header)
    expected = np.zeros((8, 9, 10), np.float32)
    expected[2:6, 3:8, 1:10] = backend.to_numpy(full.data)[2:6, 3:8, 1:10]
    assert np.array_equal(backend.to_numpy(pasted.data), expected)
    assert isinstance(pasted.data, xp.ndarray)


def test_paste_cuts_what_is_outside_and_says_so():
    full, wide = a_mask(8, 9, 10, voxel_size=1), gm.Volume(ramp(12, 12, 12) + 1, 1, Header(nstart=(-2, -3, 4)))
    pasted, notes = grids.paste("wide", wide, "full", full)
    assert np.array_equal(pasted.data[:, :, 4:], wide.data[2:10, 3:12, :6])
    assert not pasted.data[:, :, :4].any()
    assert notes == [f"{12**3 - 8 * 9 * 6} non-zero voxels of wide lie outside the box of full and are cut off"]


@pytest.mark.parametrize(
    ("header", "text"),
    [
        (Header(origin=(0.5, 0.0, 0.0)), "lies 0 x 0 x 0.5 voxels .* not a whole number"),
        (Header(nstart=(0, 0, 10)), "does not overlap the box of full: its corner is at 10 x 0 x 0"),
        (Header(nstart=(-8, 0, 0)), "does not overlap"),
    ],
)
def test_paste_refuses_what_does_not_fit(header, text):
    with pytest.raises(InputRefused, match=text):
        grids.paste("part", a_mask(8, 9, 10, voxel_size=1).with_data(ramp(8, 9, 10), header=header), "full",
                 a_mask(8, 9, 10, voxel_size=1))  # fmt: skip


def test_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert io.sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("skip", [0, 80, 81, (1 << 20) + 80])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "i1"])
def test_a_file_read_into_given_memory_is_the_same(tmp_path, dtype, skip):
    """Also behind extended headers of any length, in other types and byte orders, and packed."""
    path = tmp_path / "a.mrc"
    values = np.random.default_rng(1).integers(-9, 9, (7, 9, 11)).astype(dtype)
    gm.write(path, gm.Volume(values.astype(np.float32), 1.5))
    header = np.frombuffer(path.read_bytes()[:1024], HEADER_DTYPE).copy()
    header["mode"], header["nsymbt"] = (0 if dtype == "i1" else 2), skip
    if dtype == ">f4":
        header = header.astype(HEADER_DTYPE.newbyteorder(">"))
        header["machst"] = [0x11, 0x11, 0, 0]
    raw = header.tobytes() + bytes(skip) + values.tobytes()
    path.write_bytes(raw)
    (tmp_path / "a.mrc.gz").write_bytes(gzip.compress(raw))
    taken = []

    def room(size):
        taken.append(np.full(-(-size // 4096) * 4096, 7, np.uint8))
        return taken[-1]

    for name in ("a.mrc", "a.mrc.gz"):
        volume = gm.io.Slabs(tmp_path / name).whole(room)
        assert np.array_equal(volume.data, values)
        assert volume.data.dtype == np.float32
        assert volume.data.flags.aligned
    in_place = dtype == "<f4" and skip % 4 == 0 and skip < 1 << 20
    assert np.may_share_memory(volume.data, taken[-1] if taken else np.zeros(0)) == in_place
    assert len(taken) == (2 if skip < 1 << 20 else 0)
