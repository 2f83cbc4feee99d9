"""Lengths, frames and the law that 5px and 7A at 1.4 Å/px are one length."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gpumask as gm
from gpumask import io, units
from gpumask.errors import UsageError
from gpumask.units import Length

CUBE = (1.4, 1.4, 1.4)
BRICK = (2.0, 1.5, 1.0)
ROUNDING = 1e-9  # relative: a handful of float64 operations on numbers of 1e3

VOXELS = (0.53, 0.65, 0.834, 1.0, 1.05, 1.0825, 1.35, 1.4, 2.13, 3.54, 5.7)
BOXES = (64, 100, 128, 240, 256, 320, 512)
PIXELS = (1, 3, 5, 12, 17)


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("5px", 5, "px"),
        ("5 px", 5, "px"),
        ("5pix", 5, "px"),
        ("7A", 7, "A"),
        ("7 A", 7, "A"),
        ("7\u00c5", 7, "A"),  # LATIN CAPITAL LETTER A WITH RING ABOVE
        ("7\u212b", 7, "A"),
        (" 7A ", 7, "A"),
        ("5", 5, "px"),
        (5, 5, "px"),
        (5.5, 5.5, "px"),
        (np.float32(0.5), 0.5, "px"),
        (np.int64(5), 5, "px"),
        ("-2px", -2, "px"),
        ("+2px", 2, "px"),
        (".5A", 0.5, "A"),
        ("5.A", 5, "A"),
        ("5.px", 5, "px"),
        ("1e1px", 10, "px"),
        ("1.5E-1A", 0.15, "A"),
        (Length(3.0, "A"), 3, "A"),
    ],
)
def test_length_reads(text, value, unit):
    assert units.length(text) == (value, unit)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "px",
        "A",
        "5nm",
        "5PX",
        "5a",
        "5 5",
        "5pxA",
        "5px 7A",
        "0x5",
        "1_0",
        "5,5",
        "--5",
        "1e",
        "e5",
        ".",
        "five",
    ]
    + [
        "nan",
        "nanpx",
        "inf",
        "-infA",
        "1e999px",
        math.nan,
        math.inf,
        True,
        False,
        np.True_,
        None,
        [5],
        (5, "px"),
        b"5px",
    ],
)
def test_length_refuses_in_one_line_that_names_it(text):
    with pytest.raises(UsageError, match="soft edge must be a length such as 5px or 7A, got") as caught:
        units.length(text, "soft edge")
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["px", "A"]))
def test_a_length_prints_as_text_that_reads_back(value, unit):
    assert units.length(str(Length(value, unit))) == (value, unit)


def test_a_length_prints_plainly():
    assert [str(units.length(text)) for text in ("5.0px", 5, "7.50Å", "-0px")] == ["5px", "5px", "7.5A", "0px"]


@pytest.mark.parametrize(("text", "value"), [("15A", 15), ("3.5Å", 3.5), ("3.5", 3.5), (3.5, 3.5), (" 15 A", 15)])
def test_angstrom_reads(text, value):
    assert units.angstrom(text) == value


@pytest.mark.parametrize(
    "text",
    ["5px", "5 px", "5pix", "0A", 0, -3, "-3A", "nan", "A", True, None, "1e999A"] + ["5.px", units.length("5px")],
)
def test_angstrom_refuses(text):
    with pytest.raises(UsageError, match="low-pass"):
        units.angstrom(text, "low-pass")


@pytest.mark.parametrize(
    ("pixels", "snapped"),
    [
        (2.99999993, 3),
        (3.00009, 3),
        (2.99991, 3),
        (2.9998, 2.9998),
        (3.0002, 3.0002),
        (2.9, 2.9),
        (-2.00001, -2),
        (0.00005, 0),
        (0.5, 0.5),
        (7.99, 7.99),
    ],
)
def test_snap_takes_what_is_within_a_ten_thousandth_and_floors_nothing(pixels, snapped):
    assert units.snap(pixels) == snapped


def test_to_px():
    assert units.to_px("7A", CUBE) == 5
    assert units.to_px("5px", CUBE) == units.to_px(5, CUBE) == 5
    assert units.to_px("8A", CUBE) == pytest.approx(8 / 1.4, rel=ROUNDING)
    assert units.to_px("-2.8A", CUBE) == -2
    assert units.to_px("5.5px", CUBE) == 5.5
    assert units.to_px("3A", (1.00000003, 1.0, 1.0)) == 3


@pytest.mark.parametrize("voxel", VOXELS)
def test_385_common_lengths_in_angstrom_are_the_pixels_they_mean(voxel):
    for box in BOXES:
        cell = np.float32(box * voxel)
        size = (float(cell) / box,) * 3
        for pixels in PIXELS:
            text = f"{round(pixels * voxel, 4):g}A" if voxel * pixels < 10 else f"{round(pixels * voxel, 4)}A"
            assert units.to_px(text, size) == pixels, (voxel, box, text)


def test_there_are_385_of_them():
    assert len(VOXELS) * len(BOXES) * len(PIXELS) == 385


@given(
    box=st.integers(16, 1024),
    voxel=st.floats(0.3, 10).map(lambda v: round(v, 4)),
    pixels=st.integers(-60, 200),
)
def test_whole_pixels_survive_a_float32_cell(box, voxel, pixels):
    # a float32 cell is good to 6e-8, so 200 px to 1.2e-5 px, a tenth of what is snapped
    size = (float(np.float32(box * voxel)) / box,) * 3
    assert units.to_px(f"{pixels * voxel!r}A", size) == pixels


@pytest.mark.parametrize("box", [(24, 24, 24), (20, 26, 31)])
@pytest.mark.parametrize("voxel", [0.834, 1.05, 1.4, 5.7])
def test_the_same_length_in_px_and_angstrom_gives_the_same_bytes(tmp_path, xp, box, voxel):
    path = tmp_path / "map.mrc"
    base = np.zeros(box, np.float32)
    base[9:12, 10, 10:13] = 1
    gm.write(path, gm.Volume(base, voxel))
    read = gm.read(path)
    volume = read.with_data(xp.asarray(read.data))
    masks = []
    for lengths in (
        {"dilation": "3px", "soft_edge": "4px"},
        {"dilation": 3, "soft_edge": 4.0},
        {"dilation": f"{round(3 * voxel, 4)}A", "soft_edge": f"{round(4 * voxel, 4)}Å"},
    ):
        mask = gm.create_mask(volume, threshold=0.5, **lengths)
        out = tmp_path / f"{len(masks)}.mrc"
        gm.write(out, mask)
        masks.append(out.read_bytes())
    assert masks[0] == masks[1] == masks[2]
    assert set(np.unique(io.load(out)[0].data)) > {0.0, 1.0}


def test_both_prints_pixels_and_angstrom():
    assert units.both(5, CUBE) == "5 px = 7.0 Å"
    assert units.both(17, CUBE) == "17 px = 23.8 Å"
    assert units.both(8 / 1.4, CUBE) == "5.71 px = 8.0 Å"
    assert units.both(-2, CUBE) == "-2 px = -2.8 Å"
    assert units.both(3, BRICK) == "3.0 Å"  # pixels have no one length


def test_pixels_on_bricks_are_refused_with_the_sizes_and_the_way_out():
    with pytest.raises(UsageError) as caught:
        units.to_px("5px", BRICK, "soft edge")
    assert str(caught.value) == ("soft edge 5px is in pixels, but the voxels are 1 x 1.5 x 2 Å (x, y, z): give it in Å")


def test_angstrom_on_bricks_are_counted_in_the_smallest_edge():
    assert units.to_px("5A", BRICK) == 5
    assert units.sampling(BRICK) == (2.0, 1.5, 1.0)
    assert units.to_px("0px", BRICK) == 0


@pytest.mark.parametrize(("ratio", "isotropic"), [(1, True), (1.0009, True), (1.0011, False)])
def test_voxels_are_cubes_up_to_a_tenth_of_a_percent(ratio, isotropic):
    for size in ((ratio, 1, 1), (1, ratio, 1), (1, 1, ratio)):
        assert units.is_isotropic(size) is isotropic
        assert (units.sampling(size) is None) is isotropic


def test_angstrom_as_corner_pixels():
    position = units.angstrom_to_corner_px((253.3, 250.1, 249.5), CUBE)
    assert [round(p, 1) for p in units.xyz(position)] == [178.2, 178.6, 180.9]


def test_the_box_centre_is_half_the_box_rounded_down():
    assert units.corner_px_to_centre_px((10, 10, 10), (20, 21, 22)) == (0, 0, -1)
    assert units.centre_px_to_corner_px((0, 0, 0), (20, 21, 22)) == (10, 10, 11)


def test_the_origin_is_where_the_corner_is():
    assert units.corner_px_to_angstrom((0, 0, 0), BRICK, (-3, 4, 5)) == (-3, 4, 5)
    assert units.corner_px_to_angstrom((1, 2, 3), BRICK, (-3, 4, 5)) == (-1, 7, 8)


triple = st.tuples(*[st.floats(-1000, 1000)] * 3)
size = st.tuples(*[st.floats(0.3, 20)] * 3)


@given(triple, size, triple)
def test_frames_go_there_and_back(position, voxel_size, origin):
    there = units.corner_px_to_angstrom(position, voxel_size, origin)
    assert units.angstrom_to_corner_px(there, voxel_size, origin) == pytest.approx(position, rel=ROUNDING, abs=1e-6)
    centred = units.corner_px_to_centre_px(position, (20, 21, 22))
    assert units.centre_px_to_corner_px(centred, (20, 21, 22)) == pytest.approx(position, rel=ROUNDING, abs=1e-9)


def test_volumes_and_masses():
    assert units.volume_angstrom3(1000, BRICK) == 3000
    assert units.voxels_in(3000, BRICK) == 1000
    assert units.mass_kda(100_000) == pytest.approx(81, rel=ROUNDING)


def test_the_narrowest_soft_edge_is_five_resolutions():
    assert units.minimum_soft_edge_px(2.8, CUBE) == 10
    assert units.minimum_soft_edge_px(3.5, CUBE) == pytest.approx(12.5, rel=ROUNDING)


def test_shells_are_as_wide_as_the_longest_edge_is_long():
    assert units.shell_frequency_step((10, 40, 20), (4, 2, 1)) == 1 / 80
