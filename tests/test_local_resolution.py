"""Local resolution: maps whose resolution is known, laws of the windows, RELION's curves, and filters by resolution."""

import json
import math
import re
import shutil
import subprocess

import numpy as np
import pytest

from gpumask import backend, correlation, filters, fourier, io, local_resolution, spectrum, units
from gpumask.errors import InputRefused, UsageError

SNR = 10.0  # of the structure at low frequency
VOXEL = 1.5
CUBE = (VOXEL,) * 3
UNCORRECTED = "3.05A"  # an onset next to Nyquist of VOXEL: two shells on there is nothing left to correct
TEXT = 1e-5  # of an FSC, what RELION's text and its single-precision maps hold
ROUNDING = 2**-22  # of a float32 map's maximum: a few roundings of sums of about its size


def amplitude(resolution):
    """Of structure in noise of 1: SNR 1/6, so an FSC of 1/7, at `resolution`."""
    return lambda f: np.sqrt(SNR * np.exp(-((f * resolution) ** 4) * math.log(6 * SNR)))


def law(frequency, resolution):
    snr = amplitude(resolution)(frequency) ** 2
    return snr / (1 + snr)


def structure(shape, size, *resolutions, seed=0):
    """White structure filtered so; with two resolutions the one below the middle of z, the other above."""
    white = np.random.default_rng(seed).standard_normal(shape)
    parts = [fourier.apply_radial(white, size, amplitude(resolution)) for resolution in resolutions]
    return np.where(np.arange(shape[0])[:, None, None] < shape[0] // 2, parts[0], parts[-1])


def halves(shape, size, *resolutions, noise=1.0):
    rng = np.random.default_rng(9)
    truth = structure(shape, size, *resolutions)
    return [(truth + noise * rng.standard_normal(shape)).astype(np.float32) for _ in range(2)]


def everywhere(shape):
    return np.ones(shape, np.float32)


def roots(found):
    """Standard deviation of 1/resolution, 1/Å: that of t and n at the threshold over the slope of the FSC."""
    frequency = 1 / found.median
    step = 1e-4
    slope = (law(frequency + step, found.median) - law(frequency - step, found.median)) / (2 * step)
    shells = fourier.shells(found.box_px, found.voxel_size)
    count = found.n_effective[round(frequency / shells.step)]
    return math.sqrt(found.fsc_sd**2 + (1 - found.threshold) ** 2 / count) / abs(slope)


def smear(found, resolution):
    """How much later, 1/Å, the FSC crosses under the window, to second order: the power S is convolved with that of the
    window, of variance σ² along each axis, which adds ``σ²/2·(S'' + 2S'/f)``."""
    size = found.voxel_size
    sphere = local_resolution._sphere(found.window_px, units.sampling(size) or (1.0,) * 3).astype(float)
    steepness = sum((slope**2).sum() for slope in np.gradient(sphere, *size))
    variance = steepness / (sphere**2).sum() / 3 / (2 * math.pi) ** 2
    f, step = 1 / resolution, 1e-4
    before, here, after = (amplitude(resolution)(f + k * step) ** 2 for k in (-1, 0, 1))
    first, second = (after - before) / (2 * step), (after - 2 * here + before) / step**2
    return -variance / 2 * (second + 2 * first / f) / first


# What is known


def test_a_map_of_two_resolutions(xp):
    """The issue's proof: within 0.5 Å on either side, from one window off the seam on."""
    shape = (108, 64, 64)
    pair = [xp.asarray(half) for half in halves(shape, CUBE, 4.0, 8.0)]
    found = local_resolution.measure(*pair, VOXEL, xp.asarray(everywhere(shape)))
    assert isinstance(found.volume, xp.ndarray)
    away = math.ceil(found.window_px)
    volume = backend.to_numpy(found.volume)
    for side, wanted in ((volume[: 54 - away], 4.0), (volume[54 + away :], 8.0)):
        assert abs(np.median(side) - wanted) <= 0.5
    assert (np.diff(np.median(volume, axis=(1, 2))[54 - 16 : 54 + 16]) >= 0).all()  # one grid step about the seam


def test_one_resolution_throughout():
    found = local_resolution.measure(*halves((72, 72, 72), CUBE, 5.0), VOXEL, step="12A")
    spread = roots(found)
    frequencies = 1 / found.values
    assert found.undefined == found.at_coarsest == found.at_finest == 0
    assert abs(np.median(frequencies) - 1 / 5 - smear(found, 5.0)) <= spread
    assert 0.5 * spread <= frequencies.std() <= 2 * spread  # windows overlap: few are independent
    assert found.quartiles[0] <= found.median <= found.quartiles[2]


def test_relions_curves(data, tmp_path):
    """The same windows at the same points: the same FSC, and crossings that differ by two draws of random phases."""
    if not shutil.which("relion_postprocess"):
        pytest.skip("RELION is not installed")
    pair = []
    for half in (1, 2):
        volume = io.read(data / "halves" / f"sim_iso_half{half}_unfil.mrc.gz")
        io.write(tmp_path / f"x_half{half}_unfil.mrc", volume)
        pair.append(volume.data)
    size = (1.05,) * 3
    command = "relion_postprocess --i x_half1_unfil.mrc --i2 x_half2_unfil.mrc --angpix 1.05 --locres --adhoc_bfac 0"
    subprocess.run([*command.split(), "--o", "x"], cwd=tmp_path, capture_output=True)  # fails on its histogram's PDF
    points, theirs, under = [], [], []
    for block in re.split("data_fsc_", (tmp_path / "x_locres_fscs.star").read_text())[1:]:
        points.append([int(n) + 50 for n in re.match(r"(-?\d+)_(-?\d+)_(-?\d+)", block).groups()[::-1]])
        rows = re.findall(r"(?m)^ +\d+ +\S+ +\S+ +(\S+) +\S+ +(\S+)", block)
        theirs.append([float(corrected) for corrected, _ in rows])
        under.append([float(masked) for _, masked in rows])
    assert len(points) == 19
    prepared = correlation.half_maps(*pair, size, "25A", keep=False)
    maps = [*pair, *(local_resolution._randomized(prepared, half, pair[half], 0) for half in (0, 1))]
    sphere = local_resolution._sphere(48.0, (1.0, 1.0, 1.0))  # RELION rounds 12.5 Å and 25 Å to 12 and 24 px
    for point, wanted in zip(points[::6], under[::6], strict=True):
        whole = np.zeros(pair[0].shape)  # the window within the whole box, as RELION has it
        low = [p - n // 2 for p, n in zip(point, sphere.shape, strict=True)]
        kept = tuple(slice(max(0, -a), min(n, 100 - a)) for a, n in zip(low, sphere.shape, strict=True))
        whole[tuple(slice(max(0, a), a + n) for a, n in zip(low, sphere.shape, strict=True))] = sphere[kept]
        transforms = [fourier.rfftn(half * whole) for half in pair]
        sums = fourier.shell_products(*transforms, pair[0].shape, size, "relion")
        assert np.abs(correlation.curve(*sums)[:51] - wanted).max() <= TEXT
    windows = local_resolution._Windows(sphere, size)
    curves, _ = windows.curves(maps, np.array(points), 5, 2**26, lambda *told: None)
    ours = local_resolution._first_below(curves, 0.143, windows.shells)
    theirs = local_resolution._first_below(np.array(theirs), 0.143, fourier.shells(pair[0].shape, size))
    difference = 1 / ours - 1 / theirs
    found = local_resolution.measure(*pair, 1.05)
    at = round(1 / (ours.mean() * windows.shells.step))
    slope = np.median((curves[:, at - 3] - curves[:, at + 3]) / (6 * windows.shells.step))
    draw = math.sqrt(2 / found.n_effective[at]) / slope
    assert np.abs(difference).max() <= 4 * draw
    assert abs(difference.mean()) <= 2 * draw  # the windows overlap: they are far fewer than 19


def test_independent_coefficients_of_a_window():
    """The FSC of noise has the standard deviation 1/sqrt(n_eff) in each shell."""
    shape = (80, 80, 80)
    rng = np.random.default_rng(3)
    maps = [rng.standard_normal(shape).astype(np.float32) for _ in range(2)]
    points = np.array([(z, y, x) for z in (13, 40, 67) for y in (13, 40, 67) for x in (13, 40, 67)])
    windows = local_resolution._Windows(local_resolution._sphere(18.0, (1.0,) * 3), CUBE)
    curves, signal = windows.curves(maps, points, None, 2**24, lambda *told: None)
    count = spectrum.effective_coefficients(windows.sphere, CUBE)
    shells = slice(4, windows.shells.nyquist)
    scaled = curves[:, shells] * np.sqrt(count[shells])
    assert signal.all()
    # 27 windows that do not touch; neighbouring shells of a window share about half of what they hold
    independent = scaled.size / 2
    assert scaled.std() == pytest.approx(1, abs=4 / math.sqrt(2 * independent))
    assert scaled.mean() == pytest.approx(0, abs=4 / math.sqrt(independent))


def test_a_curve_is_the_fsc_of_the_windowed_maps():
    shape, size = (40, 44, 48), (1.5, 1.5, 1.5)
    maps = halves(shape, size, 6.0)
    windows = local_resolution._Windows(local_resolution._sphere(20.0, (1.0,) * 3), size)
    for point in ((20, 22, 24), (3, 40, 24)):  # the second one reaches out of the box
        cut = []
        for array in maps:
            padded = np.pad(array.astype(float), 32)
            corner = [p + 32 - n // 2 for p, n in zip(point, windows.sphere.shape, strict=True)]
            box = padded[tuple(slice(c, c + n) for c, n in zip(corner, windows.sphere.shape, strict=True))]
            cut.append(fourier.rfftn(box * windows.sphere))
        wanted = correlation.curve(*fourier.shell_products(*cut, windows.sphere.shape, size))
        found, _ = windows.curves(maps, np.array([point]), None, 0, lambda *told: None)
        # float32 transforms: the error of a coefficient is 1e-6 of the strongest ones, which are 10 times the others
        assert np.abs(found[0] - wanted[: found.shape[1]]).max() < 1e-5


def test_what_the_window_makes_of_strong_low_frequencies_is_taken_off():
    """Nothing is shared from the onset on: what correlates there has leaked, all of it."""
    shape, rng = (96, 96, 96), np.random.default_rng(1)
    white = rng.standard_normal(shape)
    low = fourier.apply_radial(white, CUBE, lambda f: 300.0 * (f * 96 * VOXEL < 5.5))  # shells 0 to 5
    pair = [(low + rng.standard_normal(shape)).astype(np.float32) for _ in range(2)]
    prepared = correlation.half_maps(*pair, CUBE, "25A", keep=False)
    assert prepared.onset == 6
    maps = [*pair, *(local_resolution._randomized(prepared, half, pair[half], 0) for half in (0, 1))]
    windows = local_resolution._Windows(local_resolution._sphere(50 / VOXEL, (1.0,) * 3), CUBE)
    points = np.array([(z, y, x) for z in (32, 64) for y in (32, 64) for x in (32, 64)])  # windows that hardly overlap
    count = spectrum.effective_coefficients(windows.sphere, CUBE)
    first = 6  # 1/24 Å in shells of 1/75 Å, and two on
    raw, _ = windows.curves(maps, points, None, 2**24, lambda *told: None)
    found, _ = windows.curves(maps, points, first, 2**24, lambda *told: None)
    assert np.array_equal(raw[:, :first], found[:, :first])
    assert raw[:, first].mean() > 0.7
    for shell in (first, first + 1, first + 2):
        # (1 - F) cancels in the standard deviation of (t - n)/(1 - n), which leaves 2/sqrt(n_eff) at the most
        assert abs(found[:, shell].mean()) <= 4 * 2 / math.sqrt(count[shell] * len(points))


# The crossing


def test_the_first_crossing():
    shells = fourier.shells((20, 20, 20), 1.0)
    curves = np.ones((5, 11))
    curves[0, 5:] = 0.0  # half way from 1 to 0 the curve is 0.5
    curves[1, 3], curves[1, 8] = 0.25, 0.0  # it rises again: the first counts
    curves[2, 5:] = np.nan  # nothing there
    curves[3, 1:] = 0.1  # below from the first shell on
    found = local_resolution._first_below(curves, 0.5, shells)
    wanted = [20 / 4.5, 20 / (2 + 2 / 3), 20 / 4.5, 20 / (0 + 5 / 9), 0.0]
    assert found == pytest.approx(wanted, rel=1e-12)


def test_bounds():
    shape = (48, 48, 48)
    same = halves(shape, CUBE, 0.5, noise=0.01)  # structure far beyond Nyquist and no noise
    found = local_resolution.measure(*same, VOXEL, everywhere(shape), window="40A", onset=UNCORRECTED)
    assert found.bounds == (40.0, 3.0)
    assert found.at_finest == len(found.points)
    assert (found.volume == np.float32(3)).all()
    opposite = [same[0], -same[1]]  # an FSC of -1
    found = local_resolution.measure(*opposite, VOXEL, everywhere(shape), window="40A", onset=UNCORRECTED)
    assert found.at_coarsest == len(found.points)
    assert (found.volume == np.float32(40)).all()
    assert found.fsc_sd > 0


def test_where_there_is_no_signal():
    shape = (48, 48, 96)
    pair = halves(shape, CUBE, 5.0)
    for half in pair:
        half[:, :, 40:] = 0
    found = local_resolution.measure(
        *pair, VOXEL, everywhere(shape), window="24A", onset=UNCORRECTED, assume_unmasked=True
    )
    beyond = found.points[:, 2] >= 40 + 3 / 4 * found.window_px
    assert found.undefined == beyond.sum() > 0
    assert np.isnan(found.values[beyond]).all()
    assert np.isfinite(found.values[~beyond]).all()
    assert (found.volume[:, :, 64:] == np.float32(24)).all()
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert json.loads(text)["points"]["undefined"] == found.undefined


def test_masked_half_maps_are_told_and_not_corrected():
    pair = halves((48, 48, 48), CUBE, 5.0)
    mask = local_resolution._core_in_sphere(pair[0], (1.0,) * 3, 12).astype(np.float32)
    found = local_resolution.measure(*(half * mask for half in pair), VOXEL, window="30A")
    assert found.onset is None
    assert any(
        warning.startswith("nothing is corrected: the half maps seem to be masked") for warning in found.warnings
    )


# Laws


def test_memory_changes_no_byte(xp):
    pair = [xp.asarray(half) for half in halves((64, 64, 64), CUBE, 5.0)]
    whole, frugal = (local_resolution.measure(*pair, VOXEL, step="10A", memory=memory) for memory in (2**28, 1))
    assert len(whole.points) > 8
    assert np.array_equal(whole.values, frugal.values)
    assert np.array_equal(backend.to_numpy(whole.volume), backend.to_numpy(frugal.volume))


def test_both_halves_count_the_same_and_a_scale_nothing():
    shape = (56, 48, 60)
    a, b = halves(shape, CUBE, 5.0)
    options = {"mask": everywhere(shape), "window": "30A", "onset": UNCORRECTED}
    found = local_resolution.measure(a, b, VOXEL, **options)
    assert np.array_equal(local_resolution.measure(b, a, VOXEL, **options).values, found.values)
    for factor in (2.0**-90, 2.0**90):
        scaled = local_resolution.measure(a * np.float32(factor), b, VOXEL, **options)
        assert np.array_equal(scaled.values, found.values)


def test_a_shift_by_a_step_moves_the_points():
    shape = (60, 60, 60)
    pair = halves(shape, CUBE, 5.0)
    options = {"mask": everywhere(shape), "window": "24px", "step": "10px", "onset": UNCORRECTED}
    here = local_resolution.measure(*pair, VOXEL, **options)
    shift = (10, -10, 20)
    there = local_resolution.measure(*(np.roll(half, shift, (0, 1, 2)) for half in pair), VOXEL, **options)
    moved = {tuple(point): value for point, value in zip(there.points, there.values, strict=True)}
    reach = 18  # 3/4 of the window: these do not see the faces before or after
    seen = 0
    for point, value in zip(here.points, here.values, strict=True):
        place = point + shift
        if all(reach <= p <= 60 - reach and reach <= q <= 60 - reach for p, q in zip(point, place, strict=True)):
            assert moved[tuple(place)] == value
            seen += 1
    assert seen > 0


def test_the_seed_moves_the_corrected_values_within_their_spread():
    pair = halves((64, 64, 64), CUBE, 5.0)
    found = [local_resolution.measure(*pair, VOXEL, seed=seed) for seed in (0, 0, 1)]
    assert np.array_equal(found[0].values, found[1].values)
    difference = 1 / found[0].values - 1 / found[2].values
    assert 0 < np.abs(difference).max() <= 4 * math.sqrt(2) * roots(found[0])


def test_anisotropic_voxels_are_measured_in_angstrom():
    shape, size = (48, 60, 72), (2.5, 2.0, 1.5)
    pair = halves(shape, size, 8.0)
    found = local_resolution.measure(*pair, size, window="60A", step="10A")
    assert found.step_px == (4, 5, 7)
    assert [n * v for n, v in zip(found.box_px, size, strict=True)] == pytest.approx([90, 90, 90], abs=5)
    assert found.bounds == (60.0, 5.0)
    assert abs(1 / found.median - 1 / 8 - smear(found, 8.0)) <= roots(found)
    with pytest.raises(UsageError, match="give it in Å"):
        local_resolution.measure(*pair, size, window="24px")


def test_the_window_follows_the_voxel():
    shape = (32, 32, 32)
    found = local_resolution.measure(*halves(shape, (6.0,) * 3, 20.0), 6.0)
    assert (found.window_px, found.window) == (14.0, 84.0)
    assert found.step_px == (7, 7, 7)
    assert found.onset >= 1 / 42


def test_interpolation_between_points():
    like = np.empty((9, 9, 9), np.float32)
    first, step = (1, 0, 4), (4, 8, 5)
    grid = np.array([[[0.1], [0.2]], [[0.2], [0.3]]])
    volume = local_resolution._interpolated(grid, first, step, like)
    assert volume[1, 0, 4] == np.float32(10)
    assert 1 / volume[3, 4, 0] == pytest.approx(0.2, rel=1e-6)  # the mean of the four
    assert np.array_equal(volume[:, :, 0], volume[:, :, 8])  # one point along x
    assert np.array_equal(volume[0], volume[1])  # constant before the first


def test_points_without_a_value_take_the_nearest():
    grid = np.zeros((1, 1, 5))
    measured = np.zeros(grid.shape, bool)
    measured[0, 0, [0, 3]] = True
    grid[0, 0, [0, 3]] = 1, 2
    assert local_resolution._filled(grid, measured, (1, 1, 1), (1, 1, 1)).tolist() == [[[1, 1, 2, 2, 2]]]


# Filtering


def test_one_resolution_is_a_plain_low_pass(xp):
    array = xp.asarray(structure((40, 44, 48), CUBE, 3.0).astype(np.float32))
    length = 48 * VOXEL
    for shell in (1, 7, 15):
        found = local_resolution.filtered(array, xp.full(array.shape, length / shell, xp.float32), VOXEL)
        wanted = filters.lowpass(array, length / shell, VOXEL)
        assert found.dtype == xp.float32
        assert float(xp.abs(found - wanted).max()) <= ROUNDING * float(xp.abs(array).max())


def test_beyond_nyquist_the_map_stays():
    array = structure((40, 44, 48), CUBE, 3.0).astype(np.float32)
    for resolution in (3.0, 1.0):
        assert np.array_equal(local_resolution.filtered(array, np.full(array.shape, resolution), VOXEL), array)


def test_each_side_gets_its_own_low_pass():
    array = structure((64, 48, 48), CUBE, 3.0).astype(np.float32)
    length = 64 * VOXEL
    resolution = np.where(np.arange(64) < 32, length / 24, length / 12)[:, None, None] * everywhere(array.shape)
    told = []
    found = local_resolution.filtered(array, resolution, VOXEL, progress=lambda name, share: told.append((name, share)))
    assert told[0] == ("local filter", 0)
    largest = np.abs(array).max()
    for side, shell in ((slice(0, 32), 24), (slice(32, 64), 12)):
        wanted = filters.lowpass(array, length / shell, VOXEL)[side]
        assert np.abs(found[side] - wanted).max() <= ROUNDING * largest


def test_between_two_shells_they_are_mixed():
    array = structure((48, 48, 48), CUBE, 3.0).astype(np.float32)
    length = 48 * VOXEL
    found = local_resolution.filtered(array, np.full(array.shape, length / 10.25), VOXEL)
    wanted = 0.75 * filters.lowpass(array, length / 10, VOXEL) + 0.25 * filters.lowpass(array, length / 11, VOXEL)
    # 10.25 is known to float32
    assert np.abs(found - wanted).max() <= 10 * ROUNDING * np.abs(array).max()


def test_many_resolutions_are_many_shells():
    """With more shells than copies the edges are as wide as copies are apart, and every share adds up to 1."""
    shape = (8, 8, 256)
    constant = np.full(shape, 3.0, np.float32)
    resolution = np.broadcast_to(np.linspace(2.0, 60.0, 256), shape)
    assert local_resolution.filtered(constant, resolution, 1.0) == pytest.approx(3.0, rel=1e-5)
    wave = np.broadcast_to(np.cos(2 * np.pi * np.arange(256) * 64 / 256), shape).astype(np.float32)  # 4 Å
    found = np.abs(local_resolution.filtered(wave, resolution, 1.0)).reshape(-1, 64, 4).max(axis=(0, 2))
    assert (np.diff(found) <= 1e-5).all()  # from what is better than 4 Å on, the wave fades
    assert found[0] == pytest.approx(1, abs=1e-5)
    assert found[-1] == pytest.approx(0, abs=1e-5)


def test_bfactor():
    array = structure((32, 36, 40), CUBE, 3.0).astype(np.float32)
    found = local_resolution.filtered(array, np.full(array.shape, 2.0), VOXEL, bfactor=-40.0)
    wanted = fourier.apply_radial(array, CUBE, lambda f: np.exp(40.0 / 4 * f * f))
    assert np.abs(found - wanted).max() <= ROUNDING * np.abs(wanted).max()


# What is refused


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"threshold": 1.0}, UsageError, "threshold must be an FSC above 0 and below 1, got 1.0"),
        ({"window": "6px"}, UsageError, "window must be at least 8 px across, got 6px"),
        ({"window": "200A"}, UsageError, "is larger than the box"),
        ({"step": "0px"}, UsageError, "step must be > 0, got 0px"),
        ({"onset": "2A"}, UsageError, "onset must not lie beyond Nyquist"),
        ({"mask": np.zeros((32, 32, 32), np.float32)}, UsageError, "no grid point is in the mask"),
        ({"mask": np.zeros((32, 32, 30), np.float32)}, InputRefused, "one box, got 30 x 32 x 32 and 32 x 32 x 32"),
    ],
)
def test_what_cannot_be_measured(options, error, words):
    with pytest.raises(error, match=words):
        local_resolution.measure(*halves((32, 32, 32), CUBE, 5.0), VOXEL, **{"window": "24A", **options})


def test_what_cannot_be_filtered():
    array = np.zeros((8, 8, 8), np.float32)
    with pytest.raises(InputRefused, match="one box"):
        local_resolution.filtered(array, array[:4], 1.0)
    for value in (0.0, np.nan):
        with pytest.raises(InputRefused, match="finite and above 0"):
            local_resolution.filtered(array, np.full(array.shape, value), 1.0)
    with pytest.raises(UsageError, match="B-factor"):
        local_resolution.filtered(array, array + 5, 1.0, bfactor=math.nan)


def test_progress_and_summary():
    told = []
    found = local_resolution.measure(
        *halves((48, 48, 48), CUBE, 5.0), VOXEL, window="30A", progress=lambda name, share=None: told.append(name)
    )
    assert list(dict.fromkeys(told)) == ["half maps", "random phases", "windows", "map"]
    summary = found.to_dict()
    assert summary["median"] == found.median
    assert sum(summary["histogram"]["counts"]) == (
        local_resolution._core_in_sphere(found.volume, (1.0,) * 3, found.window_px / 4).sum()
    )
    assert summary["box"] == units.xyz(found.volume.shape)
    assert summary["onset"] == pytest.approx(15.0, rel=0.2)
