"""Soft masks against a float64 reference made from scipy's distance transform, and against published numbers."""

import math
import shutil
import subprocess

import numpy as np
import oracles
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from scipy.signal.windows import dpss

from gpumask import io, mask
from gpumask.backend import to_numpy
from gpumask.volume import Volume

ULP = 2.0**-24  # half the spacing of float32 below 1: what one rounding of a value in [0, 1] can cost
DOUBLE = 2.0**-51  # a few roundings of float64 values of order 1
FOUR_DIGITS = 5e-5 + ULP  # half the last of four printed decimals
DISTANCE_EDGES = ("cosine", "quarter-cosine", "linear", "gaussian", "slepian", "slepian:1", "slepian:3")
quick = settings(
    max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
boxes = arrays(bool, st.tuples(*[st.integers(1, 11)] * 3))
SPECIAL = {
    "empty": np.zeros((7, 9, 11), bool),
    "full": np.ones((7, 9, 11), bool),
    "one voxel": np.eye(1, 7 * 11 * 13, 500, dtype=bool).reshape(7, 11, 13),
    "corner": np.eye(1, 5 * 6 * 7, 0, dtype=bool).reshape(5, 6, 7),
    "thin z": np.eye(23, 29, dtype=bool)[None],
    "thin y": np.eye(23, 29, dtype=bool)[:, None],
    "thin x": np.eye(23, 29, dtype=bool)[:, :, None],
    "line": np.eye(1, 41, 20, dtype=bool)[None],
    "single": np.ones((1, 1, 1), bool),
    "faces": np.pad(np.zeros((9, 10, 11), bool), 1, constant_values=True),
}


def one_voxel(xp=np, n=47):
    base = xp.zeros((n, n, n), bool)
    base[n // 2, n // 2, n // 2] = True
    return base


def along_x(made):
    n = made.shape[0] // 2
    return to_numpy(made[n, n, n:]).astype(np.float64)


def blob(seed=1, size=40, smoothness=4.0, fraction=0.1):
    """An irregular base: the highest voxels of smoothed noise."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((size,) * 3), smoothness)
    return noise > np.quantile(noise, 1 - fraction)


def shell_power(made):
    """Mean power of each shell round(k·n) of a cubic mask."""
    n = len(made)
    power = np.abs(np.fft.fftn(made.astype(np.float64))) ** 2
    k = np.fft.fftfreq(n, 1 / n)
    shell = np.rint(np.sqrt(k[:, None, None] ** 2 + k[None, :, None] ** 2 + k[None, None, :] ** 2)).astype(int)
    return (np.bincount(shell.ravel(), power.ravel()) / np.bincount(shell.ravel()))[: n // 2 + 1]


def raised_cosine(distance, radius, width):
    return 0.5 + 0.5 * np.cos(np.pi * np.clip((distance - radius) / width, 0, 1))


def check(base, radius, width, xp=np):
    made = to_numpy(mask.soft_mask(xp.asarray(base), radius, width))
    wanted = oracles.cosine_mask(base, radius, width)
    assert made.dtype == np.float32
    assert made.shape == base.shape
    assert (np.abs(made - wanted) <= np.spacing(wanted.astype(np.float32)) + DOUBLE).all()


# the default style is the float64 reference


@pytest.mark.parametrize("lengths", [(0, 0), (0, 12), (5, 17), (5, 0), (0.5, 0.3), (2.5, 1e-3), (-1, 4), (-2.3, 0)])
@pytest.mark.parametrize("name", SPECIAL)
def test_default_style_on_special_shapes(xp, loops, name, lengths):
    check(SPECIAL[name], *lengths, xp)


@quick
@given(base=boxes, radius=st.floats(-4, 9, width=32), width=st.floats(0, 9, width=32))
def test_default_style_on_made_up_shapes(loops, base, radius, width):
    check(base, radius, width)


@quick
@given(base=boxes, radius=st.integers(0, 6), square=st.integers(40, 200))
def test_default_style_where_the_edge_ends_on_a_lattice_distance(base, radius, square):
    """(r + w)² is an integer: the voxels at exactly that distance are 0."""
    width = math.sqrt(square) - radius
    check(base, radius, width)
    at_the_end = oracles.squared_distance(base) == square
    assert (mask.soft_mask(base, radius, width)[at_the_end] <= ULP).all()


@pytest.mark.parametrize(("name", "level"), [("emd_3488.mrc", 0.15), ("emd_1832.map", 0.42), ("emd_5625.map", 3.0)])
@pytest.mark.parametrize("lengths", [(5, 17), (0, 12), (-1, 6), (3.7, 8.2)])
def test_default_style_on_real_maps(data, loops, name, level, lengths):
    check(mask.threshold(io.load(data / "maps" / f"{name}.gz")[0].data, level), *lengths)


@pytest.mark.slow
def test_default_style_on_a_whole_noisy_map(data, loops):
    check(mask.threshold(io.load(data / "maps" / "emd_11007.map.gz")[0].data, 5.0), 5, 17)


@pytest.mark.parametrize("radius", [40.0, 500.0])
def test_reach_far_beyond_the_box(loops, radius):
    check(SPECIAL["one voxel"], radius, 12)
    check(SPECIAL["one voxel"], 2, radius)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.int16, np.float16])
def test_numbers_count_from_one_half_on(xp, dtype):
    base = blob(size=15, smoothness=1)
    numbers = xp.asarray(base.astype(dtype))
    assert bool((mask.soft_mask(numbers, 2, 3) == mask.soft_mask(xp.asarray(base), 2, 3)).all())
    if dtype != np.uint8 and dtype != np.int16:
        edge = xp.asarray([[[0.49, 0.5, -3.0]]], dtype)
        assert to_numpy(mask.soft_mask(edge)).tolist() == [[[0, 1, 0]]]


def test_layout_of_the_base_does_not_matter(xp):
    base = xp.asarray(np.random.default_rng(2).random((12, 17, 14)) < 0.02)
    wanted = mask.soft_mask(base, 2.2, 5)
    for strange in (xp.asfortranarray(base), xp.repeat(base, 2, axis=2)[:, :, ::2], base[::-1].copy()[::-1]):
        assert bool((mask.soft_mask(strange, 2.2, 5) == wanted).all())
        assert mask.soft_mask(strange, 2.2, 5).flags.c_contiguous


# published numbers


@pytest.mark.parametrize(
    ("radius", "closed", "strict", "diamond"),
    [(1, 7, 1, 7), (2, 33, 27, 25), (3, 123, 93, 63), (5, 515, 485, 231), (6, 925, 895, 377)],
)
def test_voxels_in_a_ball(xp, loops, radius, closed, strict, diamond):
    """d <= r; d < r in style relion; 6-connected steps in style cryodrgn."""
    base = one_voxel(xp, 17)
    assert int(mask.dilate(base, radius).sum()) == closed
    for style, count in (("euclidean", closed), ("relion", strict), ("cryodrgn", diamond)):
        made = mask.soft_mask(base, radius, 0, style=style)
        assert float(made.sum()) == count
        assert set(to_numpy(xp.unique(made)).tolist()) == {0.0, 1.0}


def test_cosine_table_at_17_px():
    table = mask.edge_table(0, 17)
    for distance, value in ((1, 0.9915), (5, 0.8013), (14, 0.0749), (16, 0.0085)):
        assert abs(table[distance**2] - value) <= FOUR_DIGITS
    assert mask.edge_profile(np.array([8.5 / 17, 1.0, 1.5])).tolist() == pytest.approx([0.5, 0, 0], abs=DOUBLE)
    assert table[-1] == 0
    assert len(table) == 17**2 + 2
    assert (table[17**2 :] == 0).all()
    assert mask.edge_table(0.5, 16, "cosine")[72] == np.float32(raised_cosine(math.sqrt(72), 0.5, 16))


@pytest.mark.parametrize(
    ("program", "core", "values"),
    [
        ("relion", 485, (0.9915, 0.9662, 0.8013, 0.4539, 0.0338, 0, 0)),
        ("ttmask", 515, (1, 0.9915, 0.8695, 0.5461, 0.0749, 0.0085, 0)),
        ("pyem", 515, (1, 0.9957, 0.9325, 0.7390, 0.2737, 0.0923, 0)),
        ("cryodrgn", 231, (1, 0.9957, 0.9325, 0.7390, 0.2737, 0.0923, 0)),
    ],
)
def test_one_voxel_dilated_by_5_with_an_edge_of_17_as_other_programs_make_it(xp, program, core, values):
    base = one_voxel(xp)
    made = {
        "relion": lambda: mask.soft_mask(base, 5, 17, style="relion"),
        "ttmask": lambda: mask.soft_mask(mask.dilate(base, 5), 0, 17),
        "pyem": lambda: mask.soft_mask(mask.dilate(base, 5), 0, 17, "quarter-cosine"),
        "cryodrgn": lambda: mask.soft_mask(base, 5, 17, style="cryodrgn"),
    }[program]()
    assert int((made == 1).sum()) == core
    found = along_x(made)[[5, 6, 9, 13, 19, 21, 22]]
    assert found == pytest.approx(values, abs=FOUR_DIGITS)


def test_default_style_measures_from_the_thresholded_set(xp):
    """Along x the same as ttmask's, off the axes a sphere and not a dilated lattice ball."""
    made = mask.soft_mask(one_voxel(xp), 5, 17)
    assert int((made == 1).sum()) == 515
    assert along_x(made)[[5, 6, 9, 13, 19, 21, 22]] == pytest.approx(
        (1, 0.9915, 0.8695, 0.5461, 0.0749, 0.0085, 0), abs=FOUR_DIGITS
    )
    assert float(made[23 + 9, 23 + 9, 23 + 9]) == np.float32(raised_cosine(math.sqrt(243), 5, 17))


@pytest.mark.parametrize("radius", [0, 0.3, 1, 1.5, math.sqrt(3), 4, -0.5, -1, -1.2, -2])
@pytest.mark.parametrize("width", [0, 0.7, 1, 6])
def test_style_relion_is_its_two_passes(xp, radius, width):
    base = np.random.default_rng(11).random((17, 14, 19)) < (0.02 if radius >= 0 else 0.9)
    extend = radius if radius * radius == round(radius * radius, 9) else radius * (1 - 1e-12)
    made = to_numpy(mask.soft_mask(xp.asarray(base), radius, width, style="relion"))
    assert np.abs(made - oracles.relion_mask(base, extend, width)).max() <= ULP + DOUBLE


@pytest.mark.skipif(not shutil.which("relion_mask_create"), reason="relion_mask_create is not installed")
@pytest.mark.parametrize("shape", [(15, 15, 15), (9, 16, 21), (22, 11, 8)])
@pytest.mark.parametrize("lengths", [(0, 0), (3, 0), (2.5, 3.3), (0.5, 0.7), (5, 6), (-1, 5), (-1.5, 2), (-2, 8.5)])
def test_style_relion_is_the_program(tmp_path, shape, lengths):
    density = np.random.default_rng(sum(shape)).random(shape).astype(np.float32)
    density[:, :, :4] += np.float32(0.5)
    level = 0.95 if lengths[0] >= 0 else 0.1
    io.write(tmp_path / "map.mrc", Volume(density, 1.4))
    command = "relion_mask_create --i map.mrc --o mask.mrc --ini_threshold {} --extend_inimask {} --width_soft_edge {}"
    subprocess.run(command.format(level, *lengths).split(), cwd=tmp_path, check=True, capture_output=True)
    wanted = io.load(tmp_path / "mask.mrc")[0].data
    made = mask.soft_mask(mask.threshold(density, level), *lengths, style="relion")
    assert np.abs(made - wanted).max() <= 2 * ULP


@pytest.mark.parametrize("dilation", [0, 0.99, 2.7, 4])
def test_style_cryodrgn_is_its_formula(xp, dilation):
    base = np.random.default_rng(12).random((24, 31, 27)) < 0.003
    grown = ndimage.binary_dilation(base, iterations=int(dilation)) if int(dilation) else base
    wanted = np.cos(np.pi / 2 * np.minimum(ndimage.distance_transform_edt(~grown), 7.3) / 7.3)
    made = to_numpy(mask.soft_mask(xp.asarray(base), dilation, 7.3, style="cryodrgn"))
    assert np.abs(made - wanted).max() <= ULP + DOUBLE


# profiles of distance


@pytest.mark.parametrize(
    ("edge", "formula"),
    [
        ("cosine", lambda t: (1 + np.cos(np.pi * t)) / 2),
        ("quarter-cosine", lambda t: np.sin(np.pi * (1 - t) / 2)),
        ("linear", lambda t: 1 - t),
        ("gaussian", lambda t: np.exp(-((3 * t) ** 2) / 2)),
    ],
)
def test_profile_is_its_formula(xp, edge, formula):
    position = np.linspace(0, 1, 1001)[:-1]
    found = to_numpy(mask.edge_profile(xp.asarray(position), edge, xp))
    assert np.abs(found - formula(position)).max() <= DOUBLE


@pytest.mark.parametrize("edge", DISTANCE_EDGES)
def test_profile_falls_from_1_to_0(xp, edge):
    position = np.linspace(-0.5, 1.5, 4001)
    found = to_numpy(mask.edge_profile(xp.asarray(position), edge, xp))
    assert (found[position <= 0] == 1).all()
    assert (found[position >= 1] == 0).all()
    assert (np.diff(found) <= 0).all()
    middle = {"quarter-cosine": math.sqrt(0.5), "gaussian": math.exp(-9 / 8)}.get(edge, 0.5)
    assert float(mask.edge_profile(xp.asarray(0.5), edge, xp)) == pytest.approx(middle, abs=1e-7)
    if edge in ("cosine", "linear") or edge.startswith("slepian"):
        assert found + found[::-1] == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize("bandwidth", [1, 1.7, 2, 3])
def test_slepian_is_the_integral_of_the_dpss_window(bandwidth):
    samples = 2001
    window = dpss(samples, bandwidth)
    middles = (np.arange(samples) + 0.5) / samples
    rest = 1 - (np.cumsum(window) - window / 2) / window.sum()
    error = 1 / samples  # either discretisation of the window is off by about this much of the largest step
    assert np.abs(mask.edge_profile(middles, f"slepian:{bandwidth}") - rest).max() <= 2 * error


@pytest.mark.parametrize(("bandwidth", "outside"), [(1, -17.22), (1.5, -29.56), (2, -42.42), (3, -68.70)])
def test_slepian_slope_is_concentrated(bandwidth, outside):
    """1 - λ of its slope, in dB: the energy beyond k·w = NW."""
    samples, padded = 8193, 2**19
    slope = -np.diff(mask.edge_profile(np.linspace(0, 1, samples), f"slepian:{bandwidth}"))
    energy = np.abs(np.fft.rfft(slope, padded)) ** 2
    cut = round(bandwidth * padded / (samples - 1))
    energy[[0, cut]] /= 2  # trapezoidal sums
    assert 10 * np.log10(energy[cut:].sum() / energy.sum()) == pytest.approx(outside, abs=0.02)


@pytest.mark.parametrize("edge", DISTANCE_EDGES)
def test_profile_reaches_the_mask(xp, edge):
    made = along_x(mask.soft_mask(one_voxel(xp), 3, 11, edge))
    wanted = mask.edge_profile((np.arange(24) - 3) / 11, edge)
    assert np.abs(made - wanted).max() <= ULP


# convolved


@pytest.mark.parametrize(
    "lengths",
    [
        *((0, 12), (3, 6.5), (2.5, 20), (0, 0.5), (1, 2), (-1, 5), (3, 1e-3)),
        pytest.param((0, 1e-3)),
    ],
)
def test_convolved_is_1_in_the_core_and_0_outside(xp, lengths):
    radius, width = lengths
    base = np.pad(blob(size=20, smoothness=2), 14)
    made = to_numpy(mask.soft_mask(xp.asarray(base), radius, width, "convolved"))
    core = oracles.within(base, radius) if radius >= 0 else oracles.eroded(base, -radius)
    distance = np.sqrt(oracles.squared_distance(core if radius < 0 else base))
    assert (made[core] == 1).all()
    assert (made[distance >= max(radius, 0) + width - 1e-9] == 0).all()
    assert made.min() == 0
    assert made.max() == 1


@pytest.mark.parametrize("base", [SPECIAL["empty"], SPECIAL["full"], SPECIAL["single"]], ids=["empty", "full", "one"])
def test_convolved_of_nothing_and_of_everything(xp, base):
    assert bool((mask.soft_mask(xp.asarray(base), 2, 5, "convolved") == xp.asarray(base)).all())


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("radius", [0, 2, 2.5])
@pytest.mark.parametrize("width", [10, 11, 16, 20])
def test_convolved_edge_of_a_plane_is_the_raised_cosine(xp, width, radius, axis):
    """The kernel's marginal is a sum over voxels: 2/w²."""
    base = np.zeros((61, 61, 61), bool)
    base[(slice(None),) * axis + (slice(0, 31),)] = True
    made = to_numpy(mask.soft_mask(xp.asarray(base), radius, width, "convolved"))
    line = np.moveaxis(made, axis, 0)[:, 30, 30]
    wanted = raised_cosine(np.arange(1, 31), radius, width)
    assert np.abs(line[31:] - wanted).max() <= 2 / width**2


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
@pytest.mark.parametrize(("size", "smoothness"), [(40, 4.0), (40, 2.5), (60, 6.0)])
def test_convolved_has_none_of_the_staircase_in_its_spectrum(seed, size, smoothness):
    """Irregular base, w = 20 px: 10 dB below the cosine of the voxel distance transform wherever k·w >= 4, and its
    main lobe no higher than 1 dB above that one's. (A smooth round base has less of a staircase to lose.)"""
    width = 20
    base = np.pad(blob(seed, size, smoothness), 34)
    convolved, by_distance = (shell_power(mask.soft_mask(base, 3, width, edge)) for edge in ("convolved", "cosine"))
    gain = 10 * np.log10(convolved / by_distance)
    kw = np.arange(len(gain)) / len(base) * width
    assert (gain[kw >= 4] <= -10).all()
    assert (gain[kw < 0.6] <= 1).all()


@pytest.mark.parametrize("edge", ["cosine", "convolved", "linear", "slepian"])
@pytest.mark.parametrize("lengths", [(0, 6), (3, 6), (2, 0)])
def test_a_face_does_not_bend_the_edge(xp, edge, lengths):
    """Cut by the box or not, the mask is the same inside."""
    base = blob(size=24, smoothness=3, fraction=0.3)
    assert base[0].any()
    assert base[:, -1].any()
    whole = to_numpy(mask.soft_mask(xp.asarray(np.pad(base, 12)), *lengths, edge))[12:-12, 12:-12, 12:-12]
    assert np.abs(to_numpy(mask.soft_mask(xp.asarray(base), *lengths, edge)) - whole).max() <= ULP


def test_convolved_on_anisotropic_voxels_is_the_isotropic_one_where_voxels_are_cubes(xp):
    base = xp.asarray(np.pad(blob(size=16, smoothness=2), 8))
    cubes = mask.soft_mask(base, 2.5, 8.5, "convolved", sampling=(1, 1, 1))
    assert float(abs(cubes - mask.soft_mask(base, 2.5, 8.5, "convolved")).max()) <= ULP


# refusals


@pytest.mark.parametrize("edge", ["cosin", "cosine:2", "slepian:0.5", "slepian:4", "slepian:x", "slepian:nan", 3])
def test_unknown_edges_are_refused(edge):
    with pytest.raises(ValueError, match="edge|slepian"):
        mask.soft_mask(one_voxel(n=3), 1, 1, edge)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((1, -1), "soft edge must be >= 0"),
        ((1, math.nan), "soft edge must be a number"),
        ((math.inf, 1), "dilation must be a number"),
        (("5px", 1), "dilation must be a number"),
        ((True, 1), "dilation must be a number"),
    ],
)
def test_lengths_that_are_none_are_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        mask.soft_mask(one_voxel(n=3), *arguments)


def test_other_refusals():
    with pytest.raises(ValueError, match="style"):
        mask.soft_mask(one_voxel(n=3), 1, 1, style="Relion")
    with pytest.raises(ValueError, match="no erosion"):
        mask.soft_mask(one_voxel(n=3), -1, 1, style="cryodrgn")
    with pytest.raises(ValueError, match="three axes"):
        mask.soft_mask(np.ones((3, 3), bool))
    with pytest.raises(ValueError, match="three axes"):
        mask.soft_mask([[[1]]])
