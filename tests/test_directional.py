"""FSC by direction against brute force, pairs of known correlation, and laws."""

import json
import math

import numpy as np
import pytest

from gpumask import backend, correlation, directional, fourier, io
from gpumask._cpu import threads
from gpumask.directional import conical_fsc, fsc_volume
from gpumask.errors import InputRefused, UsageError

ROUNDING = 1e-11  # of sums of some thousand float64 terms, and of transforms in float64
SINGLE = 2.0**-23  # of values up to 1 in float32
BALL = 0.01  # sphericity that the steps of voxels cost a ball of 6 px or more, twice
EMPTY = 0.9698  # 1 - (1 + 4) / Σ falls(s)·s²: some cones hold nothing in the first two shells
CUBE = np.array([(1, 0, 0), (0, 1, 0), (0, 0, 1)], float)  # axes along which every shell has a coefficient


def wave_vectors(shape, voxel_size=(1, 1, 1)):
    """Frequencies (z, y, x) of the whole transform, in shell widths."""
    step = 1 / max(n * v for n, v in zip(shape, voxel_size, strict=True))
    axes = [np.fft.fftfreq(n, v) / step for n, v in zip(shape, voxel_size, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def noise(shape, seed=0, strength=1.0, smooth=1.5):
    """Two maps of one smooth random signal in independent noise, float64."""
    random = np.random.default_rng(seed)
    signal = np.fft.rfftn(random.normal(size=shape))
    k = np.linalg.norm(wave_vectors(shape)[..., : shape[2] // 2 + 1, :], axis=-1) / max(shape)
    signal = np.fft.irfftn(signal * np.exp(-2 * (math.pi * smooth * k) ** 2), shape, axes=(0, 1, 2))
    return tuple(signal / signal.std() + strength * random.normal(size=shape) for _ in range(2))


def correlated(target, shape, voxel_size=(1, 1, 1)):
    """Two maps of one power whose coefficients correlate by ``target(k)`` (k in shell widths), each exactly.

    Phases differ by ±arccos of it, with a sign that mates do not share; only for odd boxes, where all have a mate.
    """
    k = wave_vectors(shape, voxel_size)
    sign = np.sign(k @ (1, math.pi, math.e))
    first = np.fft.fftn(np.random.default_rng(1).normal(size=shape))
    second = first * np.exp(1j * sign * np.arccos(target(k)))
    return np.fft.ifftn(first).real, np.fft.ifftn(second).real


def falls(k, last=8):
    """1 to the middle of the box, 0.5 on the shell `last`, less beyond."""
    return np.clip(1 - (shell_of(k) / last) ** 4 / 2, 0, 1)


def shell_of(k):
    return np.floor(np.linalg.norm(k, axis=-1) + 0.5)


def slanted(k):
    """Nothing shared within 40° of z from the fifth shell on."""
    length = np.maximum(np.linalg.norm(k, axis=-1), 1e-9)
    lost = (np.abs(k[..., 0]) / length > math.cos(math.radians(40))) & (shell_of(k) > 4)
    return np.where(lost, 0, falls(k))


def brute(half1, half2, axes, half_angle=20, voxel_size=(1, 1, 1)):
    """Curves of axes (z, y, x) from the whole transforms, one cone and one shell at a time."""
    k = wave_vectors(half1.shape, voxel_size)
    length = np.linalg.norm(k, axis=-1)
    first, second = np.fft.fftn(half1), np.fft.fftn(half2)
    nyquist = fourier.shells(half1.shape, voxel_size).nyquist
    curves = np.full((len(axes), nyquist + 1), np.nan)
    for row, axis in zip(curves, axes, strict=True):
        cone = np.abs(k @ axis) >= np.maximum(length, 1e-9) * np.linalg.norm(axis) * math.cos(math.radians(half_angle))
        for shell in range(1, nyquist + 1):
            a, b = (f[cone & (shell_of(k) == shell)] for f in (first, second))
            if len(a):
                row[shell] = (a * b.conj()).sum().real / math.sqrt((abs(a) ** 2).sum() * (abs(b) ** 2).sum())
    return curves


def brute_area(curve, threshold=0.143):
    area = 0.0
    for shell, value in enumerate(curve):
        if value <= threshold:
            break
        area += 0 if np.isnan(value) else value * shell**2
    return area


@pytest.mark.parametrize("shape, voxel_size", [((21, 21, 21), (1, 1, 1)), ((17, 24, 21), (1.3, 0.9, 1.1))])
def test_curves_and_area_ratio_are_those_of_brute_force(xp, shape, voxel_size):
    half1, half2 = noise(shape, seed=5, strength=0.3)
    found = conical_fsc(xp.asarray(half1), xp.asarray(half2), voxel_size, axes=40)
    expected = brute(half1, half2, found.directions[:, ::-1], voxel_size=voxel_size)
    assert np.isnan(expected[:, 1]).any()  # cones that hold nothing
    assert np.allclose(found.curves, expected, rtol=0, atol=ROUNDING, equal_nan=True)
    areas = [brute_area(curve) for curve in expected]
    assert 0.1 < found.cfar < 0.95
    assert np.allclose(found.areas, areas, rtol=ROUNDING)
    assert abs(found.cfar - min(areas) / max(areas)) < ROUNDING
    assert (found.weakest, found.strongest) == (np.argmin(areas), np.argmax(areas))


def test_area_ratio_about_the_axes_of_simple():
    """256 axes from one pole to the other, turned by the golden angle each, as SIMPLE's cFAR takes them."""
    number = np.arange(256)
    z, turn = 1 - (2 * number + 1) / 256, number * math.pi * (3 - math.sqrt(5))
    axes = np.stack([np.sqrt(1 - z * z) * np.cos(turn), np.sqrt(1 - z * z) * np.sin(turn), z], axis=1)  # x, y, z
    half1, half2 = noise((17, 17, 17), seed=5, strength=0.3)
    areas = [brute_area(curve) for curve in brute(half1, half2, axes[:, ::-1])]
    found = conical_fsc(half1, half2, 1, axes=axes)
    assert min(areas) > 0 and abs(found.cfar - min(areas) / max(areas)) < ROUNDING
    assert np.allclose(found.directions, axes)


def test_an_even_cube_below_nyquist():
    """On planes of Nyquist mates lie at one sign in the whole transform; one of them counts twice in the half."""
    half1, half2 = noise((20, 20, 20))
    found = conical_fsc(half1, half2, 1, axes=30)
    expected = brute(half1, half2, found.directions[:, ::-1])
    assert np.allclose(found.curves[:, :10], expected[:, :10], rtol=0, atol=ROUNDING, equal_nan=True)


def test_a_cone_of_90_degrees_is_the_whole_shell(xp):
    half1, half2 = (xp.asarray(half) for half in noise((16, 18, 15)))
    sums = [
        fourier.shell_sums(fourier.rfftn(a), fourier.rfftn(b), half1.shape, 1)
        for a, b in ((half1, half2), (half1, half1), (half2, half2))
    ]
    found = conical_fsc(half1, half2, 1, axes=3, half_angle=90)
    expected = correlation.curve(*sums)[1 : found.curves.shape[1]]
    assert np.allclose(found.curves[:, 1:], expected, rtol=0, atol=ROUNDING)
    assert abs(found.cfar - 1) < ROUNDING


def test_the_volume_is_the_cone_about_each_wave_vector(xp):
    shape = (9, 12, 11)
    half1, half2 = noise(shape, strength=0.3)
    found = fsc_volume(xp.asarray(half1), xp.asarray(half2), 1).volume
    assert isinstance(found, xp.ndarray) and found.dtype == np.float32
    found = np.fft.ifftshift(backend.to_numpy(found))
    k = wave_vectors(shape)
    shells = shell_of(k).astype(int)
    nyquist = fourier.shells(shape, (1, 1, 1)).nyquist
    assert found[0, 0, 0] == 1 and not found[shells > nyquist].any()
    for place in np.argwhere((shells <= nyquist) & (shells > 0))[::7]:
        expected = brute(half1, half2, [k[tuple(place)]])[0, shells[tuple(place)]]
        assert abs(found[tuple(place)] - expected) < SINGLE


def test_interpolation_only_softens_the_edge_of_the_cone():
    # Weights at the edge of a cone change by a blur of s = 1.5°: Σ(Δw)²/Σw² = 2·s·0.1168·sin(20°)/(1 - cos(20°)), from
    # ∫Q(t)² dt = 0.1168. The FSC of n coefficients scatters by (1 - F²)/√(2n), so the two differ by √0.035 of that.
    shape, share = (60, 60, 60), 2 * math.radians(1.53) * 0.1168 * math.sin(math.radians(20)) / 0.0603
    half1, half2 = noise(shape, smooth=0, strength=1)
    found = np.fft.ifftshift(fsc_volume(half1, half2, 1).volume)
    k = wave_vectors(shape)
    shells = shell_of(k).astype(int)
    assert len(directional._nodes()) < (shells == 22).sum() / 2
    first, second = np.fft.fftn(half1), np.fft.fftn(half2)
    scaled = []
    for shell in (22, 28):
        on = shells == shell
        vectors, a, b = k[on] / np.linalg.norm(k[on], axis=1, keepdims=True), first[on], second[on]
        for vector, value in list(zip(vectors, found[on], strict=True))[::23]:
            cone = np.abs(vectors @ vector) >= math.cos(math.radians(20))
            x, y = a[cone], b[cone]
            exact = (x * y.conj()).sum().real / math.sqrt((abs(x) ** 2).sum() * (abs(y) ** 2).sum())
            scaled.append((value - exact) / ((1 - exact**2) * math.sqrt(share / cone.sum())))
    scaled = np.array(scaled)  # mates are counted in cone.sum()
    assert 0.5 < math.sqrt((scaled**2).mean()) < 1.2
    assert np.abs(scaled).max() < 6


def test_a_map_and_itself():
    half, _ = noise((15, 16, 17))
    for other, value in ((half, 1), (-half, -1)):
        curves = conical_fsc(half, other, 1, axes=20).curves
        defined = ~np.isnan(curves)
        assert defined[:, 4:].all()
        assert np.abs(curves[defined] - value).max() <= 4 * np.finfo(float).eps
    assert conical_fsc(half, -half, 1, axes=20).cfar is None
    volume = np.fft.ifftshift(fsc_volume(half, half, 1).volume)
    inside = shell_of(wave_vectors(half.shape)) <= 15 // 2
    assert np.abs(volume[inside] - 1).max() <= SINGLE


def test_halves_may_be_swapped_to_the_bit(monkeypatch):
    monkeypatch.setattr(directional, "NODES", 7)
    half1, half2 = (half.astype(np.float32) for half in noise((18, 16, 17)))
    one, two = conical_fsc(half1, half2, 1), conical_fsc(half2, half1, 1)
    assert np.array_equal(one.curves, two.curves, equal_nan=True) and one.cfar == two.cfar
    one, two = fsc_volume(half1, half2, 1), fsc_volume(half2, half1, 1)
    assert np.array_equal(one.volume, two.volume) and one.sphericity == two.sphericity


def test_threads_change_nothing(monkeypatch):
    half1, half2 = noise((16, 16, 16))
    results = []
    for count in (1, 3):
        monkeypatch.setattr(threads, "count", lambda count=count: count)
        results.append(conical_fsc(half1, half2, 1).curves)
    assert np.array_equal(*results, equal_nan=True)


def test_common_shift_and_scale_change_nothing():
    half1, half2 = noise((16, 16, 16))
    before = conical_fsc(half1, half2, 1, axes=30)
    shifted = conical_fsc(*(np.roll(half, (3, -5, 7), (0, 1, 2)) for half in (half1, half2)), 1, axes=30)
    assert np.allclose(before.curves, shifted.curves, rtol=0, atol=ROUNDING, equal_nan=True)
    scaled = conical_fsc(4 * half1, 4 * half2, 1, axes=30)  # a power of two: exact
    assert np.array_equal(before.curves, scaled.curves, equal_nan=True)


@pytest.mark.parametrize("nodes", [25, 5])
def test_a_quarter_turn_permutes_axes_and_turns_the_volume(monkeypatch, nodes):
    monkeypatch.setattr(directional, "NODES", nodes)  # 5: most shells are interpolated
    half1, half2 = noise((19, 19, 19))
    axes = np.random.default_rng(2).normal(size=(25, 3))  # x, y, z
    turned = axes[:, [1, 0, 2]] * (-1, 1, 1)  # as rot90 turns rows y and columns x
    halves = [np.rot90(half, -1, (1, 2)) for half in (half1, half2)]
    before, after = conical_fsc(half1, half2, 1, axes=axes), conical_fsc(*halves, 1, axes=turned)
    assert np.allclose(before.curves, after.curves, rtol=0, atol=ROUNDING, equal_nan=True)
    before, after = fsc_volume(half1, half2, 1), fsc_volume(*halves, 1)
    assert np.allclose(np.rot90(before.volume, -1, (1, 2)), after.volume, rtol=0, atol=SINGLE)


def test_an_isotropic_pair():
    pair = correlated(falls, (33, 33, 33))
    found = conical_fsc(*pair, 2.0, axes=CUBE)
    assert abs(found.cfar - 1) < ROUNDING
    assert found.flags == []
    # shell 9 is the last one above 0.143: (9/8)^4/2 = 0.80 leaves 0.20, (10/8)^4/2 = 1.2 nothing
    assert np.allclose(found.resolutions, 33 * 2.0 / 9)
    assert conical_fsc(*pair, 2.0).cfar > EMPTY
    assert abs(fsc_volume(*pair, 2.0).sphericity - 1) < BALL


def test_a_missing_cone_is_found_where_it_is():
    pair = correlated(slanted, (33, 33, 33))
    found = conical_fsc(*pair, 2.0, axes=CUBE)
    shells = np.arange(10)
    full = (falls(shells[:, None]) * shells**2).sum()
    assert abs(found.cfar - (falls(shells[:5, None]) * shells[:5] ** 2).sum() / full) < ROUNDING
    assert (found.weakest, found.resolutions[2]) == (2, 33 * 2.0 / 4)  # z is the last of x, y, z
    spiral = conical_fsc(*pair, 2.0)
    # more than half of a cone about an axis outside of the missing 40° is as it was
    assert abs(spiral.directions[spiral.weakest][2]) > math.cos(math.radians(40))
    assert abs(spiral.directions[spiral.strongest][2]) < math.cos(math.radians(40))
    (flag,) = spiral.flags
    assert flag["code"] == "preferred_orientation" and flag["value"] == spiral.cfar < 0.5
    assert "16.5 Å, elsewhere up to 7.33 Å" in flag["message"]
    assert fsc_volume(*pair, 2.0).sphericity < 1 - 5 * BALL


@pytest.mark.parametrize("axis", range(3))
def test_axes_are_x_y_z(axis):
    found = conical_fsc(*correlated(lambda k: slanted(np.roll(k, -axis, axis=-1)), (25, 25, 25)), 1, axes=CUBE)
    assert found.weakest == 2 - axis  # k is (z, y, x)


def test_boxes_and_voxels_of_any_shape_by_physical_frequency():
    shape, size = (25, 31, 41), (2.0, 1.2, 0.9)
    pair = correlated(falls, shape, size)
    found = conical_fsc(*pair, size, axes=CUBE)
    assert np.allclose(found.resolutions, 25 * 2.0 / 9)
    assert found.cfar > EMPTY
    result = fsc_volume(*pair, size)
    above = result.volume >= 0.5 - SINGLE
    for axis, (n, v) in enumerate(zip(shape, size, strict=True)):
        line = above[tuple(slice(None) if a == axis else m // 2 for a, m in enumerate(shape))]
        assert line.sum() == 2 * math.floor(8.5 / (25 * 2.0) * n * v) + 1
    assert abs(result.sphericity - 1) < 2 * BALL  # two of the axes have but 6 steps to the surface


def test_only_what_hangs_on_the_middle_counts():
    def island(k):
        return np.where((shell_of(k) > 8) & (shell_of(k) < 12), 0.9, np.where(shell_of(k) > 6, 0.1, 1))

    def none(k):
        return np.where(shell_of(k) > 6, 0.1, 1)

    with_island, without = (fsc_volume(*correlated(target, (29, 29, 29)), 1) for target in (island, none))
    assert (with_island.volume > 0.5).sum() > 3 * (without.volume > 0.5).sum()
    assert with_island.sphericity == without.sphericity


def test_what_is_coarser_than_the_highpass_belongs_to_the_region():
    pair = correlated(lambda k: 0.1 + 0 * shell_of(k), (27, 27, 27))
    assert abs(fsc_volume(*pair, 1.0, highpass=27 / 8.5).sphericity - 1) < BALL
    assert fsc_volume(*pair, 1.0, highpass=1e5).sphericity is None


def test_sphericity_of_even_and_odd_boxes():
    """A ball that reaches Nyquist: the plane that an even box does not store is its mate's."""
    one = np.random.default_rng(3).normal(size=(24, 24, 24))
    assert abs(fsc_volume(one, one, 1).sphericity - 1) < BALL
    assert abs(fsc_volume(one[1:, 1:, 1:], one[1:, 1:, 1:], 1).sphericity - 1) < BALL


@pytest.mark.parametrize("semi", [(30, 30, 30), (36, 18, 18), (12, 30, 30), (34, 16, 9)])
def test_surfaces_of_ellipsoids(semi):
    """Area and volume of a level set of a quadratic function, whose triangles' edges are no longer than h = √3: linear
    interpolation moves their corners inwards by up to h²/(8R), and flat they cut off as much again."""
    grid = np.indices([2 * s + 7 for s in semi])
    radius = sum(((g - s - 3) / s) ** 2 for g, s in zip(grid, semi, strict=True))
    area, volume = directional._surface(radius * -1.0, -1.0, (1.0, 1.0, 1.0))
    theta, phi = np.meshgrid((np.arange(500) + 0.5) / 500 * math.pi, (np.arange(500) + 0.5) / 250 * math.pi)
    a, b, c = semi
    stretch = np.sqrt(
        (b * c * np.sin(theta) * np.cos(phi)) ** 2
        + (a * c * np.sin(theta) * np.sin(phi)) ** 2
        + (a * b * np.cos(theta)) ** 2
    )
    exact = (np.sin(theta) * stretch).sum() * 2 * math.pi**2 / 500**2
    smallest = min(semi) ** 2 / max(semi)  # radius of the sharpest bend
    inwards = 3 / (4 * smallest**2)  # of the radius
    assert 0 < 1 - area / exact < 2 * inwards
    assert 0 < 1 - volume / (4 / 3 * math.pi * a * b * c) < 3 * inwards


def test_a_mask_multiplies_both_halves(xp):
    half1, half2 = noise((16, 15, 18))
    mask = np.random.default_rng(4).random(half1.shape)
    arrays = [xp.asarray(array) for array in (half1, half2, mask)]
    masked = conical_fsc(*(xp.asarray(half * mask) for half in (half1, half2)), 1, axes=12)
    found = conical_fsc(*arrays[:2], 1, arrays[2], axes=12)
    assert np.array_equal(found.curves, masked.curves, equal_nan=True)
    assert not np.array_equal(found.curves, conical_fsc(*arrays[:2], 1, axes=12).curves, equal_nan=True)
    volume = fsc_volume(*(xp.asarray(half * mask) for half in (half1, half2)), 1).volume
    assert (fsc_volume(*arrays[:2], 1, arrays[2]).volume == volume).all()


def test_resolution_and_area_stop_at_the_first_crossing():
    curves = np.array([
        [np.nan, 0.9, 0.8, 0.1, 0.7],  # rises again
        [np.nan, np.nan, 0.8, 0.143, 0.2],  # not below, but not above
        [np.nan, 0.1, 0.9, 0.9, 0.9],
        [np.nan, np.nan, np.nan, 0.5, 0.4],
    ])  # fmt: skip
    assert np.allclose(directional._areas(curves, 0.143), [0.9 + 4 * 0.8, 4 * 0.8, 0, 9 * 0.5 + 16 * 0.4])
    found = directional._resolutions(curves, np.arange(5) / 40, 0.143)
    assert np.allclose(found, [20, 10, np.nan, 10], equal_nan=True)


def test_json_and_progress():
    half1, half2 = noise((12, 12, 12), strength=5)
    told = []
    found = conical_fsc(half1, half2, 1.5, axes=9, progress=lambda *step: told.append(step))
    assert [name for name, _ in told] == ["conical FSC"] * 6
    assert [share for _, share in told] == [shell / 6 for shell in range(1, 7)]
    told.clear()
    volume = fsc_volume(half1, half2, 1.5, progress=lambda *step: told.append(step))
    assert told[-1] == ("3DFSC", 1)
    read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert read["curves"][0][0] is None and len(read["curves"]) == len(read["areas"]) == 9
    assert read["weakest"]["area"] == min(read["areas"]) and read["strongest"]["index"] == found.strongest
    assert read["weakest"]["direction"] == read["directions"][found.weakest]
    assert json.loads(json.dumps(volume.to_dict())) == {
        "sphericity": volume.sphericity, "half_angle": 20, "threshold": 0.5, "highpass": 200,
    }  # fmt: skip


def test_refusals():
    half = np.ones((8, 8, 8))
    broken = half.copy()
    broken[1, 2, 3] = np.nan
    for arguments, options, error, text in (
        ((half, half[1:], 1), {}, InputRefused, "one box"),
        ((half[0], half[0], 1), {}, InputRefused, "one box"),
        ((half, broken, 1), {}, InputRefused, "second half map has NaN"),
        ((half, half, 1, half[1:]), {}, InputRefused, "mask must have"),
        ((half, half, 1), {"half_angle": 0}, UsageError, "half-angle"),
        ((half, half, 1), {"half_angle": 91}, UsageError, "half-angle"),
        ((half, half, 1), {"axes": 0}, UsageError, "axes"),
        ((half, half, 1), {"axes": [[0, 0, 0]]}, UsageError, "axes"),
        ((half, half, 1), {"axes": [1, 2, 3]}, UsageError, "axes"),
    ):
        with pytest.raises(error, match=text):
            conical_fsc(*arguments, **options)
    with pytest.raises(UsageError, match="highpass"):
        fsc_volume(half, half, 1, highpass="5px")


def test_simulated_views_without_preference(data):
    """RELION's reconstructions of evenly distributed views: neither measure speaks of missing ones."""
    halves = [io.read(data / f"halves/sim_iso_half{i}_unfil.mrc.gz") for i in (1, 2)]
    arguments = *(half.data for half in halves), halves[0].voxel_size
    found = conical_fsc(*arguments)
    assert found.cfar > 0.7 and found.flags == []
    # the unmasked FSC of the whole shells crosses at 3.39 Å, shell 31
    assert np.abs(105 / found.resolutions - 31).max() <= 1.01
    assert fsc_volume(*arguments).sphericity > 0.97


def test_a_cone_of_a_few_coefficients_is_told():
    """Noise as strong as the signal in a small box: an early shell ends a cone, and the flag says how few it holds."""
    rng = np.random.default_rng(1)
    signal = rng.standard_normal((32,) * 3)
    pair = [(signal + rng.standard_normal(signal.shape)).astype(np.float32) for _ in range(2)]
    found = directional.conical_fsc(*pair, 1.0)
    assert found.cfar < 0.5
    assert "coefficients in the shell where its curve ends" in found.flags[0]["message"]
