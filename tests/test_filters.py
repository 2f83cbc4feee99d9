"""Filters against independent transcriptions, transfer functions, and RELION's output."""

import math
from functools import partial

import numpy as np
import pytest
from scipy import ndimage

from gpumask import filters, io
from gpumask._cpu import threads
from gpumask.backend import to_numpy

FLOAT32 = 2.0**-23  # relative rounding of the result, with room for the float64 transform
SHAPES = ((12, 12, 12), (9, 14, 11), (1, 8, 15), (7, 1, 1))
VOXELS = (1.4, (1.0, 1.4, 2.0))


def noise(shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def frequencies(shape, voxel_size):
    """|f| in 1/Å of every coefficient of the full transform."""
    edges = np.broadcast_to(voxel_size, 3)
    axes = [np.fft.fftfreq(n, e) for n, e in zip(shape, edges, strict=True)]
    return np.sqrt(sum(f**2 for f in np.meshgrid(*axes, indexing="ij")))


def multiplied(array, factors):
    return np.fft.ifftn(np.fft.fftn(array.astype(np.float64)) * factors).real


def relion_lowpass(shape, voxel_size, resolution, edge_width=2):
    """Factors of RELION's lowPassFilterMap, written after its description: shells of the longest edge."""
    edges = np.broadcast_to(voxel_size, 3)
    length = max(n * e for n, e in zip(shape, edges, strict=True))
    shell = math.floor(length / resolution + 0.5)
    low, high = max(0, shell - edge_width // 2), shell + edge_width // 2
    radius = frequencies(shape, voxel_size) * length
    factors = np.ones(shape)
    between = (radius >= low) & (radius <= high)
    factors[between] = 0.5 + 0.5 * np.cos(np.pi * (radius[between] - low) / (high - low))
    factors[radius > high] = 0
    return factors


def transfer(function, shape, voxel_size, *arguments):
    """Factor at every frequency, from the answer to a point."""
    point = np.zeros(shape, np.float32)
    point[0, 0, 0] = 1
    return np.fft.fftn(function(point, *arguments, voxel_size).astype(np.float64)).real


def close(found, wanted):
    return np.abs(to_numpy(found) - wanted).max() <= FLOAT32 * np.abs(wanted).max()


# low-pass


@pytest.mark.parametrize("voxel_size", VOXELS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("resolution", [2.0, 5.0, 9.3, 15.0, 1000.0])
def test_lowpass_is_relions_formula(xp, shape, voxel_size, resolution):
    array = noise(shape)
    found = filters.lowpass(xp.asarray(array), resolution, voxel_size)
    assert found.dtype == np.float32
    assert close(found, multiplied(array, relion_lowpass(shape, voxel_size, resolution)))


@pytest.mark.parametrize("voxel_size", VOXELS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("order", [1, 2, 8])
def test_butterworth_is_its_formula(xp, shape, voxel_size, order):
    array, resolution = noise(shape), 6.0
    factors = 1 / np.sqrt(1 + (frequencies(shape, voxel_size) * resolution) ** (2 * order))
    assert close(filters.butterworth(xp.asarray(array), resolution, voxel_size, order), multiplied(array, factors))


@pytest.mark.parametrize("voxel_size", VOXELS)
@pytest.mark.parametrize("shape", SHAPES)
def test_rect_is_its_formula(xp, shape, voxel_size):
    array, resolution = noise(shape), 5.9
    factors = frequencies(shape, voxel_size) <= 1 / resolution
    assert close(filters.rect(xp.asarray(array), resolution, voxel_size), multiplied(array, factors))


def test_lowpass_falls_over_two_shells():
    """40 voxels of 1.4 Å, 14 Å: shell 4; 1 at shell 3, one half at 4, 0 at 5."""
    factors = transfer(filters.lowpass, (40, 40, 40), 1.4, 14.0)
    assert factors[0, 0, [0, 1, 2, 3]] == pytest.approx(1, abs=1e-6)
    assert factors[4, 0, 0] == pytest.approx(0.5, abs=1e-6)
    assert np.abs(factors[0, 5:35, 0]).max() <= 1e-6
    assert factors[0, 2, 3] == pytest.approx(0.5 + 0.5 * math.cos(math.pi * (math.sqrt(13) - 3) / 2), abs=1e-6)


@pytest.mark.parametrize(("resolution", "shell"), [(56 / 4.49, 4), (56 / 4.5, 5), (56 / 4.51, 5)])
def test_lowpass_rounds_half_a_shell_up_as_relion_does(resolution, shell):
    factors = transfer(filters.lowpass, (40, 40, 40), 1.4, resolution)
    assert factors[0, 0, shell] == pytest.approx(0.5, abs=1e-6)


def test_lowpass_uses_shells_of_the_longest_edge():
    """20 x 30 x 50 voxels, 1 Å: shell 5 of 50 is 1/10 Å, coefficient 2 along z and 3 along y."""
    factors = transfer(filters.lowpass, (20, 30, 50), 1.0, 10.0)
    assert factors[[2, 0, 0], [0, 3, 0], [0, 0, 5]] == pytest.approx(0.5, abs=1e-6)


def test_butterworth_is_one_over_root_two_at_the_cutoff():
    for order in (1, 2, 8, 20):
        factors = transfer(partial(filters.butterworth, order=order), (40, 40, 40), 1.4, 14.0)
        assert factors[0, 0, 4] == pytest.approx(math.sqrt(0.5), abs=1e-6)
        assert factors[0, 0, 0] == pytest.approx(1, abs=1e-6)
        assert (np.diff(factors[0, 0, :21]) <= 1e-6).all()


def test_rect_keeps_the_cutoff_itself():
    """As given in decimals, whose reciprocal is in float64 at times just below the frequency."""
    for n, voxel, resolution, last in ((40, 1.4, 14.0, 4), (70, 1.1, 7.0, 11), (48, 1.4, 9.6, 7), (50, 0.834, 8.34, 5)):
        factors = transfer(filters.rect, (n, n, n), voxel, resolution)[0, 0, : n // 2]
        assert np.abs(factors - (np.arange(n // 2) <= last)).max() <= 1e-6


# high-pass, band-pass, B-factor


@pytest.mark.parametrize("voxel_size", VOXELS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("resolution", [2.0, 5.0, 9.3, 1000.0])
def test_highpass_is_what_the_lowpass_takes_away(xp, shape, voxel_size, resolution):
    array = noise(shape)
    factors = 1 - relion_lowpass(shape, voxel_size, resolution)
    found = to_numpy(filters.highpass(xp.asarray(array), resolution, voxel_size))
    assert np.abs(found - multiplied(array, factors)).max() <= FLOAT32 * np.abs(array).max()


@pytest.mark.parametrize("voxel_size", VOXELS)
@pytest.mark.parametrize("shape", SHAPES)
def test_bandpass_is_both(xp, shape, voxel_size):
    array = noise(shape)
    factors = relion_lowpass(shape, voxel_size, 4.0) * (1 - relion_lowpass(shape, voxel_size, 9.0))
    found = to_numpy(filters.bandpass(xp.asarray(array), 9.0, 4.0, voxel_size))
    assert np.abs(found - multiplied(array, factors)).max() <= FLOAT32 * np.abs(array).max()


def test_bandpass_keeps_what_lies_between():
    """40 voxels of 1.4 Å: shell 4 is 14 Å, shell 8 is 7 Å."""
    factors = transfer(lambda point, size: filters.bandpass(point, 14.0, 7.0, size), (40, 40, 40), 1.4)[0, 0, :11]
    assert factors == pytest.approx([0, 0, 0, 0, 0.5, 1, 1, 1, 0.5, 0, 0], abs=1e-6)


@pytest.mark.parametrize("voxel_size", VOXELS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("b_factor", [-80.0, 0.0, 120.0])
def test_bfactor_is_its_formula(xp, shape, voxel_size, b_factor):
    frequency = frequencies(shape, voxel_size)
    factors = np.exp(-b_factor / 4 * frequency**2) * (frequency <= 0.5 / np.max(voxel_size) * (1 + 1e-9))
    array = noise(shape)
    assert close(filters.bfactor(xp.asarray(array), b_factor, voxel_size), multiplied(array, factors))


def test_bfactors_add_up_and_undo_each_other():
    """Within what float32 keeps between the two: half an ulp of each voxel, times the largest factor."""
    array, size = noise((24, 24, 24)), 1.4
    twice = filters.bfactor(filters.bfactor(array, 40, size), 25, size)
    assert np.abs(twice - filters.bfactor(array, 65, size)).max() <= 2 * FLOAT32 * np.abs(array).max()
    back = filters.bfactor(filters.bfactor(array, 40, size), -40, size)
    kept = filters.bfactor(array, 0, size)
    largest = math.exp(40 / 4 * (0.5 / size) ** 2)
    assert np.abs(back - kept).max() <= 2 * largest * FLOAT32 * np.abs(array).max()


def test_a_bfactor_is_a_gaussian():
    """B = 8·π²·σ² for a map that is 0 near the faces, but for what lies beyond Nyquist, exp(-2·(π·σ/2)²) of it in one
    dimension, and what the kernel lacks beyond 5 standard deviations, 1e-6."""
    array, sigma = np.zeros((48, 48, 48), np.float32), 1.8
    array[24, 23, 25] = 1
    made = filters.bfactor(array, 8 * math.pi**2 * sigma**2, 1.0)
    beyond = 3 * math.exp(-2 * (math.pi * sigma * 0.5) ** 2)
    assert np.abs(made - filters.gaussian(array, sigma, 1.0)).max() <= beyond + 3e-6


# several at once


def test_combined_is_one_after_the_other(xp):
    """Each pass rounds to float32 once: half an ulp of the largest value that stands between."""
    array, size = xp.asarray(noise((21, 24, 26))), (1.0, 1.4, 1.2)
    apart = filters.highpass(array, 15.0, size)
    apart = filters.lowpass(apart, 4.0, size)
    apart = filters.butterworth(apart, 5.0, size, 3)
    apart = filters.rect(apart, 3.5, size)
    apart = filters.bfactor(apart, -20.0, size)
    apart = filters.gaussian(apart, 1.5, size)
    together = filters.combined(
        array, size, gaussian=1.5, bfactor=-20.0, rect=3.5, butterworth=(5.0, 3), lowpass=4.0, highpass=15.0
    )
    largest = math.exp(20 / 4 * (1 / 3.5) ** 2)
    assert float(abs(apart - together).max()) <= 6 * FLOAT32 * largest * float(abs(array).max())
    band = filters.combined(array, size, bandpass=(15.0, 4.0))
    both = filters.combined(array, size, highpass=15.0, lowpass=4.0)
    assert np.array_equal(to_numpy(band), to_numpy(both))


def test_the_gaussian_comes_last():
    """A flat map keeps its dark rim, which a high-pass after it would have spread."""
    flat = np.ones((24, 24, 24), np.float32)
    made = filters.combined(flat, 1.0, gaussian=2.0, lowpass=6.0)
    assert np.abs(made - filters.gaussian(flat, 2.0, 1.0)).max() <= 2 * FLOAT32
    assert np.abs(made - filters.lowpass(filters.gaussian(flat, 2.0, 1.0), 6.0, 1.0)).max() > 1e-3


@pytest.mark.parametrize(("chosen", "message"), [
    ({}, "name a filter"),
    ({"bandpass": (10, 20)}, "from a coarse to a fine resolution, such as 80A:15A, got 10:20"),
    ({"bandpass": (10, 10)}, "from a coarse to a fine resolution"),
    ({"bandpass": (10, 0)}, "band-pass resolution must be a number > 0 Å"),
    ({"highpass": -1}, "high-pass resolution must be a number > 0 Å"),
    ({"bfactor": math.nan}, "a B-factor must be a number of Å²"),
    ({"bfactor": "80"}, "a B-factor must be a number of Å²"),
    ({"bfactor": True}, "a B-factor must be a number of Å²"),
    ({"bfactor": -1e4}, "multiplies the Nyquist frequency by more than"),
    ({"butterworth": (5, 0)}, "order must be > 0"),
    ({"lowpass": 5, "gaussian": 0}, "Gaussian standard deviation must be a number > 0 Å"),
])  # fmt: skip
def test_combinations_that_cannot_be_are_refused(chosen, message):
    with pytest.raises(ValueError, match=message):
        filters.combined(np.ones((4, 4, 4), np.float32), 1.4, **chosen)


# Gaussian


@pytest.mark.parametrize(("shape", "sigma", "voxel_size"), [
    ((13, 14, 15), 2.0, 1.4),
    ((9, 12, 11), 1.1, (1.0, 1.4, 2.0)),
    ((21, 8, 10), 0.4, 1.0),
])  # fmt: skip
def test_gaussian_is_a_direct_space_convolution(xp, shape, sigma, voxel_size):
    """Every voxel is the sum over all voxels of the box times a 3-D Gaussian of unit sum, as ChimeraX ``volume
    gaussian``; the kernel's tail beyond 5 standard deviations is 1e-6 of it."""
    array = noise(shape)
    offsets = [np.arange(n)[:, None] - np.arange(n) for n in shape]
    weights = [
        np.exp(-0.5 * (o * e / sigma) ** 2) for o, e in zip(offsets, np.broadcast_to(voxel_size, 3), strict=True)
    ]
    sums = [
        np.exp(-0.5 * (np.arange(-(n // 2), n // 2 + 1) * e / sigma) ** 2).sum()
        for n, e in zip(shape, np.broadcast_to(voxel_size, 3), strict=True)
    ]
    near = [abs(o) <= n // 2 for o, n in zip(offsets, shape, strict=True)]
    matrices = [w * k / s for w, k, s in zip(weights, near, sums, strict=True)]
    wanted = np.einsum("ai,bj,ck,ijk->abc", *matrices, array.astype(float), optimize=True)
    found = to_numpy(filters.gaussian(xp.asarray(array), sigma, voxel_size))
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_gaussian_of_2_angstrom_at_1_4():
    """Half-width 8 voxels, factors 0.578 at 12 Å and 0.112 at 6 Å, one half at 10.67 Å."""
    point = np.zeros((1, 1, 61), np.float32)
    point[0, 0, 30] = 1
    line = filters.gaussian(point, 2.0, 1.4)[0, 0].astype(np.float64)
    assert np.flatnonzero(line).tolist() == list(range(22, 39))
    offset = np.arange(-30, 31)
    for resolution, factor in ((12, 0.578), (6, 0.112), (10.67, 0.5)):
        found = (line * np.cos(2 * np.pi * offset * 1.4 / resolution)).sum()
        assert found == pytest.approx(factor, abs=5e-4)
        assert found == pytest.approx(math.exp(-2 * (math.pi * 2 / resolution) ** 2), abs=1e-6)


@pytest.mark.parametrize("voxel_size", VOXELS)
@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.0])
def test_gaussian_is_scipys_cut_at_the_same_width(xp, voxel_size, sigma):
    """scipy normalises after the cut, which 5 standard deviations out is 1e-6 of the kernel."""
    array = noise((31, 34, 37))
    wanted = array.astype(np.float64)
    for axis, edge in enumerate(np.broadcast_to(voxel_size, 3)):
        wanted = ndimage.gaussian_filter1d(wanted, sigma / edge, axis=axis, mode="constant", truncate=5)
    assert np.abs(to_numpy(filters.gaussian(xp.asarray(array), sigma, voxel_size)) - wanted).max() <= 2e-6 * 3


def test_gaussian_has_zero_outside_the_box(xp):
    """A voxel in a face gives half of itself and half of the middle tap away; nothing comes back on the far side."""
    point = xp.zeros((1, 1, 60), xp.float32)
    point[0, 0, 0] = 1
    line = to_numpy(filters.gaussian(point, 3.0, 1.0))[0, 0].astype(np.float64)
    taps = np.exp(-0.5 * (np.arange(-30, 31) / 3) ** 2)
    assert line.sum() == pytest.approx(0.5 + 0.5 / taps.sum(), abs=1e-5)
    assert (line[17:] == 0).all()


def test_gaussian_per_axis_on_anisotropic_voxels():
    point = np.zeros((33, 33, 33), np.float32)
    point[16, 16, 16] = 1
    made = filters.gaussian(point, 2.0, (1.0, 1.4, 2.0)).astype(np.float64)
    offset = np.arange(33) - 16
    for axis, edge in enumerate((1.0, 1.4, 2.0)):
        line = made.sum(axis=tuple(a for a in range(3) if a != axis))
        assert (line * (offset * edge) ** 2).sum() == pytest.approx(4, rel=1e-3)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 3), (2, 2, 2)])
def test_gaussian_in_a_box_of_few_voxels(shape):
    made = filters.gaussian(np.ones(shape, np.float32), 0.2, 1.0)
    assert made.shape == shape
    assert made == pytest.approx(1, abs=1e-4)


# laws

FOURIER = {
    "lowpass": lambda array, size: filters.lowpass(array, 6.0, size),
    "butterworth": lambda array, size: filters.butterworth(array, 6.0, size),
    "rect": lambda array, size: filters.rect(array, 6.0, size),
    "bfactor": lambda array, size: filters.bfactor(array, 60.0, size),
}
HIGH = {
    "highpass": lambda array, size: filters.highpass(array, 12.0, size),
    "bandpass": lambda array, size: filters.bandpass(array, 12.0, 6.0, size),
}
EVERY = {**FOURIER, "gaussian": lambda array, size: filters.gaussian(array, 2.0, size)}


@pytest.mark.parametrize("voxel_size", VOXELS)
@pytest.mark.parametrize("name", [*EVERY, *HIGH])
def test_filters_are_linear(xp, name, voxel_size):
    filtered = {**EVERY, **HIGH}[name]
    a, b = xp.asarray(noise((15, 16, 18))), xp.asarray(noise((15, 16, 18), seed=2))
    apart = 2 * filtered(a, voxel_size) - 3 * filtered(b, voxel_size)
    together = filtered(2 * a - 3 * b, voxel_size)
    assert float(abs(apart - together).max()) <= 16 * FLOAT32 * float(abs(together).max())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", FOURIER)
def test_the_mean_stays(xp, name, shape):
    array = noise(shape) + np.float32(3)
    made = to_numpy(FOURIER[name](xp.asarray(array), 1.4))
    assert made.mean(dtype=np.float64) == pytest.approx(array.mean(dtype=np.float64), rel=FLOAT32)


@pytest.mark.parametrize("name", HIGH)
def test_the_mean_goes_to_0(xp, name):
    """Within the rounding of each voxel."""
    array = noise((15, 16, 18)) + np.float32(3)
    made = to_numpy(HIGH[name](xp.asarray(array), 1.4))
    assert abs(made.mean(dtype=np.float64)) <= FLOAT32 * np.abs(made).max()


@pytest.mark.parametrize("name", EVERY)
def test_a_flat_map_stays_flat_inside(name):
    made = EVERY[name](np.full((40, 41, 42), 0.7, np.float32), 1.4)
    assert made[12:-12, 12:-12, 12:-12] == pytest.approx(0.7, rel=1e-5)


@pytest.mark.parametrize("voxel_size", [1.4, (1.4, 1.4, 1.4)])
@pytest.mark.parametrize("name", EVERY)
def test_permuted_axes(name, voxel_size):
    array = noise((14, 14, 14))
    turned = EVERY[name](np.ascontiguousarray(array.transpose(2, 0, 1)), voxel_size)
    assert np.abs(turned - EVERY[name](array, voxel_size).transpose(2, 0, 1)).max() <= 8 * FLOAT32


@pytest.mark.parametrize("kind", ["float64", "int16", "fortran", "strided", "big-endian"])
@pytest.mark.parametrize("name", EVERY)
def test_kind_of_input_does_not_matter_and_it_is_left_alone(name, kind):
    array = np.rint(noise((9, 10, 11)) * 10).astype(np.float32)
    given = {
        "float64": lambda: array.astype(np.float64),
        "int16": lambda: array.astype(np.int16),
        "fortran": lambda: np.asfortranarray(array),
        "strided": lambda: np.repeat(array, 2, axis=1)[:, ::2],
        "big-endian": lambda: array.astype(">f4"),
    }[kind]()
    made = EVERY[name](given, 1.4)
    assert made.dtype == np.float32
    assert np.array_equal(made, EVERY[name](array, 1.4))
    assert np.array_equal(given, array)


@pytest.mark.parametrize("shape", [(33, 37, 41), (64, 64, 64), (5, 50, 17)])
@pytest.mark.parametrize("name", EVERY)
def test_same_bytes_with_any_number_of_threads(monkeypatch, name, shape):
    made = set()
    for count in (1, 2, 7):
        monkeypatch.setattr(threads, "count", lambda count=count: count)
        made.add(EVERY[name](noise(shape), 1.4).tobytes())
    assert len(made) == 1


# RELION


@pytest.mark.parametrize("name", ["maps/emd_1832.map", "awkward/derived_emd1832_crs321.mrc"])
def test_lowpass_is_relions_output(data, name):
    """relion_image_handler --lowpass 20 --angpix 5.7 transforms in float64 and stores float32."""
    volume = io.load(data / f"{name}.gz")[0]
    wanted = io.load(data / "relion_filters" / "h_lowpass20.mrc.gz")[0].data
    assert close(filters.lowpass(volume.data, 20, 5.7), wanted)


@pytest.mark.parametrize(("name", "function"), [
    ("h_highpass80", lambda array: filters.highpass(array, 80, 5.7)),
    ("h_bfac-300", lambda array: filters.bfactor(array, -300, 5.7)),
])  # fmt: skip
def test_relions_highpass_and_bfactor(data, name, function):
    """relion_image_handler, in float64 and stored as float32, as for the low-pass."""
    volume = io.load(data / "maps" / "emd_1832.map.gz")[0]
    wanted = io.load(data / "relion_filters" / f"{name}.mrc.gz")[0].data
    assert close(function(volume.data), wanted)


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "5A", None])
@pytest.mark.parametrize(
    "function", [filters.lowpass, filters.highpass, filters.butterworth, filters.rect, filters.gaussian]
)
def test_numbers_that_are_no_resolution_are_refused(function, value):
    with pytest.raises(ValueError, match="must be a number > 0 Å"):
        function(np.ones((2, 2, 2), np.float32), value, 1.4)


@pytest.mark.parametrize("order", [0, -2, "8", None])
def test_an_order_that_is_none_is_refused(order):
    with pytest.raises(ValueError, match="order must be > 0"):
        filters.butterworth(np.ones((2, 2, 2), np.float32), 5, 1.4, order)
