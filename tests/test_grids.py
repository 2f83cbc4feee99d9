"""Boxes, flips, shifts and resampling against numpy, RELION's files and laws; and that headers keep the density in
place."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

import gpumask as gm
from gpumask import backend, errors, grids, interpolation, io, mask, units
from gpumask.volume import Header

SHAPE = (9, 12, 15)
VOXEL = (2.0, 1.5, 1.25)  # Å, (z, y, x): exact in float32, and so are their products with small integers
ROUNDING = 2.0**-24  # half an ulp of a float32 in [1, 2)
FLOAT64 = 2.0**-52
NOWHERE = Header()
ORIGINS = [
    NOWHERE,
    Header(nstart=(-3, 4, 7)),
    Header(origin=(20.0, -30.0, 12.5)),
    Header(origin=(20.0, -30.0, 12.5), nstart=(10, -20, 10)),
    Header(origin=(0.3, 0.0, 0.0), nstart=(5, 5, 5)),
]


def noise(shape=SHAPE, seed=0):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def volume_of(xp, array=None, voxel_size=VOXEL, header=NOWHERE):
    return gm.Volume(xp.asarray(noise() if array is None else array), voxel_size, header)


def values(volume):
    return backend.to_numpy(volume.data)


def series(coefficients, shape, positions):
    """Σ c·cos(2π(k·p) + φ) at the product of positions (0…1 an axis): a band-limited function, evaluated directly."""
    grid = np.meshgrid(*positions, indexing="ij")
    found = np.zeros([len(p) for p in positions])
    for amplitude, wave, phase in coefficients:
        found += amplitude * np.cos(2 * np.pi * sum(k * g for k, g in zip(wave, grid, strict=True)) + phase)
    return found


WAVES = [(1.0, (0, 0, 0), 0.0), (0.5, (1, 2, 3), 0.7), (0.25, (2, -3, 1), 2.0), (0.125, (-3, 0, 4), -1.0)]
BAND = sum(abs(amplitude) for amplitude, _, _ in WAVES)  # no value is larger


def band_limited(shape, start=(0, 0, 0), scale=(1, 1, 1)):
    """The series of WAVES sampled at `shape` points; positions in periods."""
    positions = [(a + np.arange(n) * s) for n, a, s in zip(shape, start, scale, strict=True)]
    return series(WAVES, shape, positions)


def gain(old, new):
    """The most that rounding of the input of a Fourier rescaling can grow to: the largest row sum of each axis."""
    found = 1
    for n, m in zip(old, new, strict=True):
        positions = n // 2 + (np.arange(m) - m // 2) * n / m
        found *= np.abs(interpolation._series(positions, n, False)).sum(axis=1).max()
    return found


# boxes


@pytest.mark.parametrize("header", ORIGINS)
@pytest.mark.parametrize(
    ("low", "high"), [((1, 2, 3), (7, 11, 8)), ((-2, 0, -4), (9, 15, 20)), ((3, -2, 5), (20, 6, 9))]
)
def test_crop_is_numpys_and_keeps_each_voxel_in_place(xp, header, low, high):
    volume = volume_of(xp, header=header)
    made = grids.crop(volume, low, high)
    padded = np.pad(noise(), 20)[tuple(slice(a + 20, b + 20) for a, b in zip(low, high, strict=True))]
    assert isinstance(made.data, xp.ndarray)
    assert np.array_equal(values(made), padded)
    assert made.voxel_size == volume.voxel_size
    # a point of the density, told in both files
    there = units.corner_px_to_angstrom(low, volume.voxel_size, volume.origin)
    assert made.origin == pytest.approx(there, abs=1e-12)
    assert any(header.origin) or made.header.origin == (0, 0, 0)  # a file with NSTART alone stays one


@pytest.mark.parametrize("header", ORIGINS)
def test_a_crop_is_pasted_back(xp, header):
    volume = volume_of(xp, header=header)
    crop = grids.crop(volume, (2, 3, 4), (8, 9, 11))
    back, method, notes = grids.resample("crop", crop, "whole", volume)
    assert (method, notes) == ("exact", [])
    inside = (slice(2, 8), slice(3, 9), slice(4, 11))
    assert np.array_equal(values(back)[inside], noise()[inside])
    assert values(back).sum(dtype=float) == noise()[inside].sum(dtype=float)
    assert (back.header, back.voxel_size) == (volume.header, volume.voxel_size)


@given(low=st.tuples(*[st.integers(0, n - 1) for n in SHAPE]), size=st.tuples(*[st.integers(1, n) for n in SHAPE]))
def test_crop_then_paste_is_the_identity_inside(low, size):
    volume = volume_of(np, header=Header(nstart=(-3, 4, 7)))
    high = tuple(min(a + n, m) for a, n, m in zip(low, size, SHAPE, strict=True))
    inside = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    back, _ = grids.paste("crop", grids.crop(volume, low, high), "whole", volume)
    wanted = np.zeros(SHAPE, np.float32)
    wanted[inside] = noise()[inside]
    assert np.array_equal(back.data, wanted)


def test_padding_then_cropping_about_the_centre_is_the_identity(xp):
    for old in ((8, 9, 10), (7, 7, 8)):
        for new in ((16, 16, 16), (15, 14, 13)):
            volume = volume_of(xp, noise(old), header=ORIGINS[3])
            larger = grids.boxed(volume, new)
            centre = tuple(n // 2 for n in new)
            assert values(larger)[centre] == noise(old)[tuple(n // 2 for n in old)]
            back = grids.boxed(larger, old)
            assert np.array_equal(values(back), noise(old))
            assert back.origin == volume.origin


def test_a_box_about_a_mask_has_its_centre_of_mass_in_the_middle(xp):
    base = np.zeros((20, 20, 20), np.float32)
    base[3:6, 10:15, 12:19] = 1  # centre of mass at 4, 12, 15
    made = grids.boxed(volume_of(xp, base), (16, 16, 14), (4, 12, 15))
    assert mask.centre_of_mass(made.data) == (8, 8, 7)
    assert values(made).sum() == base.sum()


def test_bounds(xp):
    array = np.zeros((10, 11, 12), np.float32)
    array[2:5, 3:4, 6:12] = 0.5
    array[3, 3, 7] = -1
    array = xp.asarray(array)
    assert grids.bounds(array) == ((2, 3, 6), (5, 4, 12))
    assert grids.bounds(array, margin=2) == ((0, 1, 4), (7, 6, 12))  # the box ends at 12
    assert grids.bounds(array, margin=(0, 1, 2)) == ((2, 2, 4), (5, 5, 12))
    assert grids.bounds(array, level=-2) == ((0, 0, 0), (10, 11, 12))
    with pytest.raises(errors.InputRefused, match="no voxel reaches 0.6"):
        grids.bounds(array, level=0.6)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda v: grids.crop(v, (0, 0, 0), (0, 5, 5)), "1 to 16384 voxels"),
        (lambda v: grids.crop(v, (9, 0, 0), (12, 5, 5)), "lies outside the box"),
        (lambda v: grids.crop(v, (0.5, 0, 0), (5, 5, 5)), "whole numbers"),
        (lambda v: grids.boxed(v, (0, 4, 4)), "1 to 16384 voxels"),
        (lambda v: grids.boxed(v, (4, 4)), "three numbers"),
        (lambda v: grids.bounds(v.data, margin=-1), "margin"),
        (lambda v: grids.flip(v, "xx"), "flips"),
        (lambda v: grids.flip(v, ""), "flips"),
        (lambda v: grids.permute(v, "xyy"), "an order of x, y and z"),
        (lambda v: grids.shift(v, (float("nan"), 0, 0)), "three numbers"),
        (lambda v: grids.shift(v, (1, 0, 0), "exact"), "trilinear, fourier"),
        (lambda v: grids.rescale(v, (1 << 17, 8, 8)), "16384"),
        (lambda v: grids.resample("a", v, "b", v, "cubic"), "auto, exact, trilinear, fourier"),
    ],
)
def test_what_cannot_be(call, text):
    with pytest.raises(errors.UsageError, match=text):
        call(volume_of(np))


# flips, hand, axes


@pytest.mark.parametrize("axes", ["x", "y", "z", "xy", "zyx"])
def test_flips_are_involutions(xp, axes):
    volume = volume_of(xp, header=ORIGINS[3])
    once = grids.flip(volume, axes)
    assert np.array_equal(values(once), np.flip(noise(), ["zyx".index(axis) for axis in axes]))
    twice = grids.flip(once, axes)
    assert np.array_equal(values(twice), noise())
    assert twice.header == once.header == volume.header


@pytest.mark.parametrize("length", [8, 9])
def test_the_hand_twice_is_the_identity_and_the_centre_stays(xp, length):
    array = noise((4, 5, length))
    once = grids.invert_hand(volume_of(xp, array))
    centre = length // 2
    for step in range(centre if length % 2 == 0 else centre + 1):
        assert np.array_equal(values(once)[:, :, centre + step], array[:, :, centre - step])
    assert np.array_equal(values(grids.invert_hand(once)), array)


@pytest.mark.parametrize("length", [8, 9])
def test_the_hand_is_relions_in_even_boxes_and_one_voxel_off_in_odd_ones(xp, length):
    """RELION: voxel x is what was at (n - x) % n, so that voxel 0 stays."""
    array = noise((4, 5, length))
    relions = array[:, :, -np.arange(length) % length]
    made = values(grids.invert_hand(volume_of(xp, array)))
    assert np.array_equal(made, np.roll(relions, -(length % 2), axis=2))
    assert np.array_equal(made, relions) == (length % 2 == 0)


@pytest.mark.parametrize("order", ["xyz", "yxz", "zyx", "yzx", "zxy", "xzy"])
def test_axes_go_with_their_voxels_and_their_place(xp, order):
    volume = volume_of(xp, header=ORIGINS[3])
    made = grids.permute(volume, order)
    old = {"z": 2, "y": 3, "x": 4}  # a voxel, by its axes
    new = [old[axis] for axis in reversed(order)]
    assert values(made)[tuple(new)] == noise()[2, 3, 4]
    before = dict(zip("zyx", units.corner_px_to_angstrom((2, 3, 4), volume.voxel_size, volume.origin), strict=True))
    after = units.corner_px_to_angstrom(new, made.voxel_size, made.origin)
    assert after == tuple(before[axis] for axis in reversed(order))
    back = {"yzx": "zxy", "zxy": "yzx"}.get(order, order)
    assert np.array_equal(values(grids.permute(made, back)), noise())


# shifts


@pytest.mark.parametrize("method", ["trilinear", "fourier"])
def test_whole_shifts_are_exact(xp, method):
    made, notes = grids.shift(volume_of(xp, header=ORIGINS[1]), (2, -3, 4), method)
    wanted = np.roll(noise(), (2, -3, 4), (0, 1, 2))
    assert (made.header, notes) == (ORIGINS[1], [])
    if method == "fourier":  # three sums of at most 15 terms of float64 each, then a float32
        assert np.abs(values(made) - wanted).max() <= ROUNDING + 60 * FLOAT64
        return
    wanted[:2], wanted[:, -3:], wanted[:, :, :4] = 0, 0, 0
    assert np.array_equal(values(made), wanted)


def test_there_and_back_by_a_part_of_a_voxel(xp):
    """A Fourier shift of a band-limited map loses nothing."""
    array = band_limited(SHAPE, scale=[1 / n for n in SHAPE]).astype(np.float32)
    there, _ = grids.shift(volume_of(xp, array), (0.3, -1.7, 2.5), "fourier")
    back, _ = grids.shift(there, (-0.3, 1.7, -2.5), "fourier")
    # a shift keeps the sum of squares, so that no error is larger than the norm of the rounding of the map between
    assert np.abs(values(back) - array).max() <= BAND * ROUNDING * (np.sqrt(array.size) + 1)
    assert np.abs(values(there) - array).max() > 0.1


def test_a_shift_by_a_whole_number_commutes_with_interpolation(xp):
    """Translation equivariance: moved then resampled is resampled by an origin that moved the other way."""
    inner = np.zeros((20, 20, 20), np.float32)
    inner[6:14, 6:14, 6:14] = noise((8, 8, 8))
    target = gm.Volume(xp.zeros((20, 20, 20), xp.float32), 0.75, Header(origin=(1.5, 2.25, 0.75)))
    for method in ("trilinear", "fourier"):
        moved, _ = grids.shift(volume_of(xp, inner, 1.5), (2, -1, 3))
        one, _, _ = grids.resample("a", moved, "b", target, method)
        placed = volume_of(xp, inner, 1.5, Header(origin=(3.0, -1.5, 4.5)))
        two, _, _ = grids.resample("a", placed, "b", target, method)
        kept = (slice(4, None), slice(None), slice(6, None))  # what both boxes cover
        # sums of 20 terms of float64, along three axes, before the rounding
        assert np.abs(values(one) - values(two))[kept].max() <= 2 * ROUNDING + 3 * 20 * 4 * FLOAT64


# interpolation


def test_trilinear_is_exact_on_linear_functions(xp):
    """Also where the grid is anisotropic; 0 outside the voxel centres."""
    linear = lambda z, y, x: 0.5 * z - 0.25 * y + 0.125 * x + 3  # noqa: E731
    source = volume_of(xp, linear(*np.indices(SHAPE)).astype(np.float32), header=Header(origin=(1.0, 1.0, 1.0)))
    target = gm.Volume(xp.zeros((40, 30, 20), xp.float32), (0.5, 0.7, 0.9), Header(origin=(-1.0, 0.1, 0.3)))
    made, method, _ = grids.resample("a", source, "b", target)
    assert method == "trilinear"
    points = [
        (np.arange(n) * v + o - 1.0) / w
        for n, v, o, w in zip(target.shape, target.voxel_size, target.origin, source.voxel_size, strict=True)
    ]
    wanted = linear(*np.meshgrid(*points, indexing="ij"))
    inside = np.ones(target.shape, bool)
    for axis, (p, n) in enumerate(zip(points, SHAPE, strict=True)):
        inside &= ((p > -1e-9) & (p < n - 1 + 1e-9)).reshape([-1 if a == axis else 1 for a in range(3)])
    assert np.abs(values(made) - wanted)[inside].max() <= np.abs(wanted).max() * ROUNDING * 2
    assert not values(made)[~inside].any()
    assert inside.any() and not inside.all()


def test_trilinear_is_scipys(xp):
    source, target = (
        volume_of(xp, voxel_size=1.0),
        gm.Volume(xp.zeros((20, 21, 22)), 0.6, Header(origin=(0.2, 0.3, 0.4))),
    )
    made, _, _ = grids.resample("a", source, "b", target)
    wanted = ndimage.affine_transform(
        noise().astype(float), [0.6] * 3, [0.2, 0.3, 0.4], order=1, output_shape=target.shape, mode="constant"
    )
    assert np.abs(values(made) - wanted).max() <= ROUNDING + 1e-12


@pytest.mark.parametrize("shape", [(12, 14, 18), (8, 10, 12), (7, 9, 11), (30, 8, 9)])
def test_fourier_is_exact_on_band_limited_functions(xp, shape):
    """Cropped or padded, odd or even: the function at the new voxels, and the box centre where it was."""
    source = volume_of(xp, band_limited(SHAPE, scale=[1 / n for n in SHAPE]).astype(np.float32), header=ORIGINS[3])
    made, notes = grids.rescale(source, shape)
    start = [n // 2 / n - m // 2 / m for n, m in zip(SHAPE, shape, strict=True)]
    wanted = band_limited(shape, start, [1 / m for m in shape])
    assert np.abs(values(made) - wanted).max() <= (gain(SHAPE, shape) + 1) * BAND * ROUNDING
    assert notes == []
    middles = [units.corner_px_to_angstrom([n // 2 for n in v.shape], v.voxel_size, v.origin) for v in (source, made)]
    assert middles[0] == pytest.approx(middles[1], abs=1e-9)
    lengths = [[n * v for n, v in zip(each.shape, each.voxel_size, strict=True)] for each in (source, made)]
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-12)


@pytest.mark.parametrize(
    ("small", "large"), [((8, 9, 10), (12, 14, 16)), ((8, 8, 8), (9, 11, 13)), ((7, 8, 9), (14, 9, 9))]
)
def test_fourier_padding_then_cropping_is_the_identity(xp, small, large):
    """White noise, so that the Nyquist frequency is there too."""
    volume = volume_of(xp, noise(small), header=ORIGINS[3])
    padded, _ = grids.rescale(volume, large)
    back, _ = grids.rescale(padded, small)
    assert np.abs(values(back) - noise(small)).max() <= (gain(large, small) + 1) * ROUNDING * values(padded).max()
    assert back.voxel_size == pytest.approx(volume.voxel_size, rel=1e-12)
    assert back.origin == pytest.approx(volume.origin, abs=1e-9)
    assert values(padded).mean(dtype=float) == pytest.approx(noise(small).mean(dtype=float), abs=ROUNDING)


def test_fourier_onto_a_finer_grid_and_back(xp):
    inner = np.zeros((16, 16, 16))
    inner[5:11, 5:11, 5:11] = noise((6, 6, 6))
    smooth = ndimage.gaussian_filter(inner, 1.5).astype(np.float32)
    source = volume_of(xp, smooth, 1.5)
    fine = gm.Volume(xp.zeros((41, 41, 41), xp.float32), 0.5625, Header(origin=(0.1, 0.2, 0.3)))
    there, _, _ = grids.resample("a", source, "b", fine, "fourier")
    back, _, _ = grids.resample("b", there, "a", source, "fourier")
    linear, _, _ = grids.resample("b", grids.resample("a", source, "b", fine)[0], "a", source)
    inside = (slice(2, -2),) * 3  # the finer box ends within the outermost voxels
    error = [np.abs(values(one) - smooth)[inside].max() / smooth.max() for one in (back, linear)]
    assert error[0] < 0.02 < error[1]


def test_frequencies_that_the_new_voxels_cannot_hold_are_dropped(xp):
    wave = np.broadcast_to(np.cos(2 * np.pi * 6 * np.arange(16) / 16), (4, 4, 16)).astype(np.float32)
    coarse = gm.Volume(xp.zeros((4, 4, 8), xp.float32), (1, 1, 2))
    made, _, _ = grids.resample("a", volume_of(xp, wave, 1.0), "b", coarse, "fourier")
    assert np.abs(values(made)).max() <= 2 * ROUNDING  # of the input, which is float32
    aliased, _, notes = grids.resample("a", volume_of(xp, wave, 1.0), "b", coarse)
    assert np.abs(values(aliased)).max() == 1
    assert "alias" in notes[0]


def test_masks_stay_in_range_and_the_overshoot_is_told(xp):
    base = np.zeros((16, 16, 16), np.float32)
    base[4:12, 4:12, 4:12] = 1
    volume = volume_of(xp, base)
    for made, notes in (grids.rescale(volume, (24, 24, 24)), grids.shift(volume, (0.5, 0, 0), "fourier")):
        assert (values(made).min(), values(made).max()) == (0, 1)
        assert len(notes) == 1
        assert 0.05 < float(notes[0].split("up to ")[1].split()[0]) < 0.6
    made, notes = grids.rescale(volume_of(xp, 2 * base), (24, 24, 24))  # no mask: left alone
    assert values(made).max() > 2.1
    assert notes == []


def test_a_mask_that_does_not_reach_1_is_clipped(xp):
    base = np.zeros((16, 16, 16), np.float32)
    base[4:12, 4:12, 4:12] = 0.5
    made, notes = grids.rescale(volume_of(xp, base), (24, 24, 24))
    assert values(made).min() == 0
    assert 0.5 < values(made).max() < 1
    assert len(notes) == 1


def test_the_same_values_on_every_device(xp):
    source, target = volume_of(xp), gm.Volume(np.zeros((20, 21, 22), np.float32), 0.7, Header(origin=(0.2, 0.3, 0.4)))
    here = volume_of(np)
    for method in ("trilinear", "fourier"):
        one, two = (grids.resample("a", v, "b", target, method)[0] for v in (source, here))
        assert np.abs(values(one) - values(two)).max() <= ROUNDING  # sums of float64, rounded once


def test_one_voxel_is_a_box(xp):
    one = volume_of(xp, np.ones((1, 1, 1), np.float32), 1.0)
    made, _, _ = grids.resample("a", volume_of(xp, voxel_size=1.0), "b", one)
    assert float(made.data[0, 0, 0]) == noise()[0, 0, 0]
    back, method, _ = grids.resample("a", one, "b", volume_of(xp, voxel_size=1.0), "trilinear")
    assert (float(back.data.sum()), method) == (1, "trilinear")
    assert float(interpolation.trilinear(one.data, [np.array([0.0])] * 3)[0, 0, 0]) == 1


def test_what_is_cut_off_and_what_does_not_overlap():
    volume = volume_of(np, voxel_size=1.0)
    small = gm.Volume(np.zeros((4, 4, 4), np.float32), 1.0, Header(origin=(1.5, 1.5, 1.5)))
    assert "is cut off" in grids.resample("a", volume, "b", small)[2][0]
    far = gm.Volume(np.zeros((4, 4, 4), np.float32), 1.0, Header(origin=(1.5, 99.5, 1.5)))
    with pytest.raises(errors.InputRefused, match="does not overlap"):
        grids.resample("a", volume, "b", far)
    with pytest.raises(errors.InputRefused, match="not a whole number"):
        grids.resample("a", volume, "b", small, "exact")


def test_voxel_sizes_that_differ_by_what_headers_differ_by_are_one_lattice():
    volume = volume_of(np, voxel_size=1.05)
    for size, method in ((1.0499999, "exact"), (1.0504, "exact"), (1.0520, "trilinear")):
        other = gm.Volume(np.zeros(SHAPE, np.float32), size)
        assert grids.resample("a", volume, "b", other)[1] == method


# headers


@pytest.mark.parametrize("header", ORIGINS)
def test_a_point_keeps_its_place_through_files(tmp_path, header):
    """One bright voxel, found again by its Å after each step and a file."""
    array = np.zeros((12, 14, 16), np.float32)
    array[6, 7, 8] = 1
    volume = gm.Volume(array, VOXEL, header)
    there = units.corner_px_to_angstrom((6, 7, 8), volume.voxel_size, volume.origin)
    steps = [
        lambda v: grids.crop(v, (2, -3, 4), (11, 12, 13)),
        lambda v: grids.boxed(v, (20, 21, 8)),
        lambda v: grids.boxed(v, v.shape, (6, 7, 8)),
        lambda v: grids.rescale(v, (24, 28, 32))[0],
        lambda v: grids.rescale(v, (18, 21, 24))[0],
        lambda v: grids.rescale(v, (25, 27, 15))[0],
    ]
    for step in steps:
        gm.write(tmp_path / "step.mrc", step(volume), overwrite=True)
        made = gm.read(tmp_path / "step.mrc")
        brightest = np.unravel_index(made.data.argmax(), made.shape)
        here = units.corner_px_to_angstrom(brightest, made.voxel_size, made.origin)
        off = max(abs(a - b) / v for a, b, v in zip(here, there, made.voxel_size, strict=True))
        assert off <= 0.5 + 1e-5  # the nearest voxel; float32 fields
        if made.voxel_size == volume.voxel_size:
            assert off <= 1e-5


def test_an_origin_that_becomes_zero_is_not_taken_from_nstart():
    volume = gm.Volume(noise(), 1.0, Header(origin=(5.0, 5.0, 5.0), nstart=(9, 9, 9)))
    made = grids.crop(volume, (-5, -5, -5), (5, 5, 5))
    assert made.header == Header()
    assert made.origin == (0, 0, 0)


def test_even_shape_is_relions():
    assert grids.even_shape((64, 64, 64), 5.7, 7.6) == (48, 48, 48)
    assert grids.even_shape((64, 64, 64), 5.7, 6.83) == (52, 52, 52)  # 53.4: to 53, then down
    assert grids.even_shape((100, 80, 61), (1, 2, 3), 1.5) == (66, 106, 122)


# comparing


def compared(a, b):
    return grids.compare("a.mrc", a, "b b.mrc", b)


def test_compare_says_same(xp):
    found = compared(volume_of(xp), volume_of(xp))
    assert (found.same_grid, found.differences, found.notes, found.mend) == (True, [], [], [])
    assert (found.max_difference, found.rms_difference, found.dice) == (0, 0, None)
    assert found.correlation == pytest.approx(1, abs=1e-12)


def test_compare_values(xp):
    one, two = noise(), noise(seed=1)
    found = compared(volume_of(xp, one), volume_of(xp, two))
    delta = one.astype(float) - two
    assert found.max_difference == np.abs(delta).max()
    assert found.rms_difference == pytest.approx(np.sqrt((delta**2).mean()), rel=1e-12)
    assert found.correlation == pytest.approx(np.corrcoef(one.reshape(-1), two.reshape(-1))[0, 1], abs=1e-9)
    masks = [(array >= 0.5).astype(np.float32) for array in (one, two)]
    found = compared(*(volume_of(xp, array) for array in masks))
    both = (masks[0] * masks[1]).sum()
    assert found.dice == pytest.approx(2 * both / (masks[0].sum() + masks[1].sum()), rel=1e-6)
    flat = compared(volume_of(xp, np.ones_like(one)), volume_of(xp, one))
    assert flat.correlation is None
    faint = compared(*(volume_of(xp, 0.25 * array) for array in masks))
    assert faint.dice is None  # nothing of either reaches 0.5


@pytest.mark.parametrize(
    ("change", "word", "command"),
    [
        ({"shape": (5, 12, 15)}, "box: a.mrc has 15 x 12 x 9 voxels, b b.mrc 15 x 12 x 5",
         "resample 'b b.mrc' --like a.mrc"),
        ({"voxel_size": 1.53}, "voxel sizes differ by 2 %", "grid 'b b.mrc' --header a.mrc"),
        ({"header": Header(origin=(0, 0, 3.0))}, "2, 0, 0 voxels further (x, y, z), a whole number", "resample"),
        ({"header": Header(origin=(0.6, 0, 0))}, "0, 0, 0.4 voxels further (x, y, z), not a whole", "resample"),
        ({"header": Header(nstart=(0, 900, 0))}, "at 0, 1350, 0 Å (NSTART)", "grid 'b b.mrc' --header a.mrc"),
        ({"shape": (3, 3, 3), "header": Header(nstart=(0, 900, 0))}, "box", "grid 'b b.mrc' --origin X,Y,Z"),
    ],
)  # fmt: skip
def test_compare_says_what_differs_and_what_mends_it(change, word, command):
    change = dict(change)
    shape = change.pop("shape", SHAPE)
    other = volume_of(np, noise(shape), **({"voxel_size": 1.5} | change))
    found = compared(volume_of(np, voxel_size=1.5), other)
    assert not found.same_grid
    assert any(word in text for text in found.differences), found.differences
    assert found.mend[0]["command"].startswith(f"gpumask {command}")


def test_compare_takes_one_place_told_in_two_ways_as_one():
    a = volume_of(np, header=Header(nstart=(2, 4, 6)))
    b = volume_of(np, header=Header(origin=(4.0, 6.0, 7.5)))
    found = compared(a, b)
    assert found.same_grid
    assert "told in two ways" in found.notes[0]


# RELION 3.1.3 and the files of others


def relion(data, name):
    return io.load(data / "relion_filters" / f"{name}.mrc.gz")[0]


@pytest.fixture(scope="module")
def emd_1832(data):
    return io.load(data / "maps" / "emd_1832.map.gz")[0]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("h_newbox48", lambda v: grids.boxed(v, (48, 48, 48))),
        ("h_newbox80", lambda v: grids.boxed(v, (80, 80, 80))),
        ("h_flipX", lambda v: grids.flip(v, "x")),
        ("h_invhand", grids.invert_hand),
    ],
)
def test_relions_boxes_and_flips_bit_for_bit(data, emd_1832, xp, name, change):
    made = change(backend.place(emd_1832, "cpu" if xp is np else "cuda"))
    assert np.array_equal(values(made), relion(data, name).data)


def test_relions_shift_is_trilinear(data, emd_1832):
    """RELION multiplies weights in float32 or float64 in an order of its own: two roundings of the largest value."""
    made, _ = grids.shift(emd_1832, (1, -2, 3.5))
    wanted = relion(data, "h_shift_3p5_-2_1").data
    assert np.abs(made.data - wanted).max() <= 2 * 2 * ROUNDING  # below 4, half an ulp is twice that below 2
    assert made.header == emd_1832.header


def test_boxes_that_relion_rescales_in_another_way(xp):
    """RELION keeps voxel 0 of an odd box in place, gpumask the centre and moves ORIGIN."""
    made, _ = grids.rescale(volume_of(xp, noise((9, 9, 9)), 1.0), (6, 6, 6))
    assert made.origin == (4 - 3 * 1.5,) * 3
    made, _ = grids.rescale(volume_of(xp, noise((8, 8, 8)), 1.0), (6, 6, 6))
    assert made.origin == pytest.approx((0, 0, 0), abs=8 * FLOAT64)


def test_relions_rescaling_but_for_the_nyquist_planes(data, emd_1832):
    """RELION keeps one of the two coefficients at the new Nyquist frequency and lets the other go: its maps differ from
    the series there, and nowhere else."""
    shape = grids.even_shape(emd_1832.shape, emd_1832.voxel_size, 7.6)
    made, notes = grids.rescale(emd_1832, shape)
    wanted = relion(data, "h_rescale7p6")
    assert (made.shape, notes) == (wanted.shape, [])
    assert made.voxel_size == pytest.approx(wanted.voxel_size, rel=1e-6)
    assert made.header.nstart == (-24, -24, -24)
    assert made.origin == pytest.approx(emd_1832.origin, abs=1e-4)
    difference = np.fft.fftn(made.data.astype(float) - wanted.data)
    nyquist = np.zeros(shape, bool)
    nyquist[24], nyquist[:, 24], nyquist[:, :, 24] = True, True, True
    # each coefficient sums the roundings of 48³ values below 2.05 in both maps: six standard deviations of that
    deviation = np.sqrt(2 * 48**3 / 3) * 2 * ROUNDING
    assert np.abs(difference[~nyquist]).max() <= 6 * deviation
    size = np.abs(np.fft.fftn(emd_1832.data.astype(float))).max() * (48 / 64) ** 3
    assert np.abs(difference[nyquist]).max() < 0.05 * size
    # RELION's map itself, with its own rule for these planes
    half = np.fft.rfftn(emd_1832.data.astype(float))
    kept = np.r_[0:25, 41:64]
    cropped = np.fft.irfftn(half[kept][:, kept][:, :, :25], shape, axes=(0, 1, 2)) * (48 / 64) ** 3
    assert np.abs(cropped - wanted.data).max() <= 2 * 2 * ROUNDING


def test_a_chimera_segment_lands_where_its_header_says(data):
    """Origin only, NSTART only: one place. Neither: nowhere, and compare says what mends it."""
    segments = {name: io.load(data / "awkward" / f"emd_21457_seg{name}.mrc")[0] for name in ("", "_nstart", "_orig0")}
    voxel = segments[""].voxel_size
    whole = gm.Volume(np.zeros((70, 60, 70), np.float32), voxel, Header(nstart=(185, 210, 145)))
    wanted = np.zeros(whole.shape, np.float32)
    wanted[10:57, 10:50, 10:58] = segments[""].data
    for name in ("", "_nstart"):
        made, method, notes = grids.resample(name, segments[name], "whole", whole)
        assert (method, notes) == ("exact", [])
        assert np.array_equal(made.data, wanted)
    with pytest.raises(errors.InputRefused, match="does not overlap"):
        grids.resample("orig0", segments["_orig0"], "whole", whole)
    assert grids.compare("a", segments[""], "b", segments["_nstart"]).same_grid
    found = grids.compare("a", segments[""], "b", segments["_orig0"])
    assert (found.same_grid, found.max_difference) == (False, 0)
    assert "-155, -220, -195 voxels further" in found.differences[0]
    assert found.mend[0]["command"] == "gpumask grid b --header a -o OUT"
