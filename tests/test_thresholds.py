"""Levels of maps against sorting by hand, and the laws that each method promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage, stats

import gpumask as gm
from gpumask import filters, mask, thresholds, units
from gpumask.backend import to_numpy
from gpumask.errors import InputRefused, UsageError

quick = settings(max_examples=80, deadline=None, derandomize=True)
values = st.one_of(st.integers(-3, 3).map(float), st.floats(-(2.0**99), 2.0**99, width=32), st.just(-0.0))
boxes = arrays(np.float32, st.tuples(*[st.integers(1, 6)] * 3), elements=values)
VOXEL = 1.5
CUBE = VOXEL**3
BIN = 1 / thresholds.BINS  # of the range of a histogram
ALL = ("0.4", "0.5max", "2sigma", "otsu", "percentile:97", "volume:5000", "mass:4", "fdr:0.01", "auto")
RANKED = ("percentile:97", "volume:5000", "mass:4")


def particle(shape=(52, 48, 50), noise=0.1, seed=0, correlation=1.5):
    """Two blurred balls of density 1 that touch, in noise that is correlated over 1.5 px."""
    z, y, x = np.indices(shape)
    body = ((z - 24) ** 2 + (y - 24) ** 2 + (x - 20) ** 2 <= 8**2) | (
        (z - 26) ** 2 + (y - 24) ** 2 + (x - 31) ** 2 <= 36
    )
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), correlation)
    return (ndimage.gaussian_filter(body.astype(float), 1.2) + noise * field / field.std()).astype(np.float32)


def masked(sharp=0.0):
    """A particle in a sphere; beyond it the constant that a program filled in."""
    array = particle(noise=0.05)
    grid = np.indices(array.shape) - np.array([26, 24, 25])[:, None, None, None]
    array[(grid**2).sum(axis=0) > 22**2] = sharp
    return array


def level(array, text, **options):
    return thresholds.level(array, text, VOXEL, **options)


# ranks


@quick
@given(boxes, st.floats(0.01, 0.99), st.booleans())
def test_a_volume_is_inverted_exactly(array, share, absolute):
    wanted = max(1, round(share * array.size))
    found = level(array, f"volume:{wanted * CUBE!r}", absolute_value=absolute)
    seen = abs(array) if absolute else array
    assert found.value == np.sort(seen, axis=None)[::-1][wanted - 1]
    reached = np.count_nonzero(mask.threshold(array, found.value, absolute))
    assert reached >= wanted > np.count_nonzero(seen > np.float32(found.value))
    assert (reached > wanted) == ("very value" in found.why)
    if reached > wanted:
        assert f"{reached} reach the level, since {reached - wanted} more have its very value" in found.why
    assert bool(found.warnings) == (reached > 1.01 * wanted)


@quick
@given(boxes, st.floats(0.5, 99.5))
def test_a_percentile_is_that_share_of_the_box(array, percent):
    wanted = max(1, round(array.size * (100 - percent) / 100))
    assert level(array, f"percentile:{percent!r}").value == np.sort(array, axis=None)[::-1][wanted - 1]


def test_a_mass_is_a_volume_and_warns_of_sugars(xp):
    array = xp.asarray(particle())
    found = level(array, "mass:4")
    volume = units.angstrom3_of_kda(4)
    assert found.value == level(array, f"volume:{volume!r}").value
    assert int(mask.threshold(array, found.value).sum()) == round(volume / CUBE) == 1463
    assert "4 kDa of protein at 0.81 Da/Å³" in found.why
    assert "sugars" in found.warnings[0]
    assert level(array, f"volume:{volume!r}").warnings == ()


def test_a_volume_within_a_plateau_says_so():
    array = np.zeros((10, 10, 10), np.float32)
    array[:2] = 1
    found = level(array, f"volume:{150 * CUBE}")
    assert found.value == 1
    assert found.why.endswith("= the highest 150 voxels; 200 reach the level, since 50 more have its very value")
    assert found.warnings == ("150 voxels were asked for, but 200 reach the level: the map has many equal values",)
    assert level(array, f"volume:{200 * CUBE}").why.endswith("= the highest 200 voxels")
    assert level(-array, f"volume:{300 * CUBE}").value == 0
    with pytest.raises(InputRefused, match="volume 4000 is 1185 voxels and the box has 1000; is the voxel size right"):
        level(array, "volume:4000")


@pytest.mark.parametrize("text", ["volume:5000", "mass:4", "fdr:0.01", "auto"])
def test_what_is_in_angstrom_needs_the_voxel_size(text):
    with pytest.raises(UsageError, match="give voxel_size="):
        thresholds.level(particle(), text)


def test_levels_of_volumes_fall_as_volumes_grow(xp):
    array = xp.asarray(particle())
    levels = [level(array, f"volume:{volume}").value for volume in (100, 1000, 5000, 20000)]
    assert levels == sorted(levels, reverse=True)


# otsu


def between(array, cut):
    """Variance between the classes v >= cut and v < cut."""
    upper = array >= cut
    share = upper.mean()
    return share * (1 - share) * (array[upper].mean() - array[~upper].mean()) ** 2


@pytest.mark.parametrize("noise", [0.02, 0.2])
def test_otsu_is_the_best_of_all_cuts(xp, noise):
    array = particle(noise=noise)
    found = level(xp.asarray(array), "otsu").value
    exact = array.astype(np.float64)
    # values move by half a bin at the most when they are counted, so means do, and variances by twice that times a mean
    slack = 2 * BIN * np.ptp(exact) ** 2
    best = max(between(exact, cut) for cut in np.linspace(exact.min(), exact.max(), 400)[1:-1])
    assert between(exact, found) >= best - slack
    if noise == 0.02:  # in more noise, least variance cuts the noise itself in two
        assert 0.3 < found < 0.7


@pytest.mark.parametrize("share", [0.01, 0.5, 0.97])
def test_otsu_of_two_values_is_their_middle(xp, share):
    array = (np.random.default_rng(1).random((9, 10, 11)) < share).astype(np.float32) * 4 + 1
    assert level(xp.asarray(array), "otsu").value == pytest.approx(3, abs=4 * BIN)


def test_otsu_of_one_value_is_refused():
    with pytest.raises(InputRefused, match="more than one value, all are 2"):
        level(np.full((4, 4, 4), 2, np.float32), "otsu")


# fdr


def benjamini_hochberg(array, rate, centre, deviation):
    """The lowest value of the longest list whose last p value is at most rate · length / tests."""
    ordered = np.sort(array.astype(np.float64), axis=None)[::-1]
    tail = stats.norm.sf((ordered - centre) / deviation)
    passed = np.flatnonzero(tail <= rate * np.arange(1, array.size + 1) / array.size)
    return ordered[passed[-1]]


@pytest.mark.parametrize("rate", [1e-6, 0.001, 0.01, 0.05, 0.3])
def test_fdr_is_benjamini_and_hochberg_by_sorting(xp, rate):
    array = particle()
    centre, deviation, _ = thresholds._noise(array, (VOXEL,) * 3)
    found = level(xp.asarray(array), f"fdr:{rate}")
    assert found.value == benjamini_hochberg(array, rate, centre, deviation)
    assert f"{np.count_nonzero(array >= np.float32(found.value))} of {array.size} voxels" in found.why


def test_the_noise_is_measured_off_the_particle(xp):
    array = particle(noise=0.1)
    centre, deviation, where = thresholds._noise(xp.asarray(array), (VOXEL,) * 3)
    # 1.5 px of correlation leave one voxel in (2·sqrt(π)·1.5)³ = 150 independent: thousands of voxels, tens of them;
    # of four bands the noisiest counts, so that the bias is upwards
    assert 0.09 < deviation < 0.125
    assert abs(centre) < 0.03
    assert "10 Å off the particle" in where


def test_the_share_of_noise_among_what_is_found_is_as_asked():
    """In white noise; two deviations of the number of errors and of the estimated noise are 20 %."""
    rate, wrong, found = 0.05, 0, 0
    for seed in range(6):
        array = particle(seed=seed, correlation=0.0)
        here = array >= np.float32(level(array, f"fdr:{rate}").value)
        body = particle(noise=0, seed=seed) > 1e-3
        wrong, found = wrong + np.count_nonzero(here & ~body), found + np.count_nonzero(here)
    assert 0.5 * rate < wrong / found < 1.2 * rate


def test_levels_of_fdr_fall_as_more_may_be_wrong():
    levels = [level(particle(), f"fdr:{rate}").value for rate in (1e-4, 0.01, 0.1)]
    assert levels == sorted(levels, reverse=True)
    assert len(set(levels)) == 3


def test_noise_filled_in_is_no_noise(xp):
    array = masked()
    array[array < 0.5] = 0
    with pytest.raises(InputRefused, match="needs noise around the particle, and the map has none"):
        level(xp.asarray(array), "fdr:0.01")
    assert "masked in part" in level(xp.asarray(masked()), "fdr:0.01").warnings[0]


# auto


def test_auto_is_the_best_of_all_levels_by_sorting(xp):
    array = particle()
    found = level(xp.asarray(array), "auto").value
    outside = thresholds._squared_distance_to_centre(array) > 1
    background = np.sort(array[outside])[::-1][(np.count_nonzero(outside) + 1) // 2 - 1]
    smooth = filters.gaussian(array - background, 3.0, VOXEL)
    ordered = np.sort(smooth[smooth > 0].astype(np.float64))[::-1]
    number = np.arange(1, ordered.size + 1)
    best = np.argmax(np.cumsum(ordered) / number**0.6)
    # near its top the sum is flat: a mean over a bin more or less moves by less than a bin
    assert found == pytest.approx(background + 0.6 * ordered[: best + 1].mean(), abs=2 * BIN * ordered[0])
    assert found - background == pytest.approx(ordered[best], abs=0.002)


@pytest.mark.parametrize("blur", [0.8, 1.5, 2.5])
def test_auto_finds_a_ball_of_even_density(blur):
    """The mean of the smoothed ball is 0.75 to 0.85 of its plateau: 0.6 of it is about half of that, its surface."""
    grid = np.indices((64, 64, 64)) - 32
    body = (grid**2).sum(axis=0) <= 14**2
    array = ndimage.gaussian_filter(body.astype(float), blur).astype(np.float32)
    found = level(array, "auto")
    assert np.count_nonzero(array >= np.float32(found.value)) / body.sum() == pytest.approx(1, abs=0.12)
    assert found.value == pytest.approx(0.5, abs=0.05)
    assert "0.6 of the mean of what lies above it, in the map smoothed by 3 Å" in found.why


@pytest.mark.parametrize("array", [particle(), masked(), masked(-0.3)], ids=["noise", "masked", "filled"])
@pytest.mark.parametrize("mode", ["constant", "edge"])
def test_auto_does_not_see_the_box(array, mode):
    found = level(array, "auto").value
    for pad in (2, 5):
        assert level(np.pad(array, pad, mode=mode), "auto").value == pytest.approx(found, rel=0.02)
    assert level(np.ascontiguousarray(array[2:-2, 2:-2, 2:-2]), "auto").value == pytest.approx(found, rel=0.02)


def test_auto_of_a_map_without_particle_is_refused():
    with pytest.raises(InputRefused, match="nothing above the background"):
        level(np.zeros((12, 12, 12), np.float32), "auto")
    with pytest.raises(InputRefused, match="contrast inverted"):
        level(-np.pad(np.ones((6, 6, 6), np.float32), 8), "auto")


@pytest.mark.parametrize("text", ["auto", "fdr:0.01"])
def test_signs_matter_to_what_looks_for_noise(text):
    with pytest.raises(UsageError, match="by its sign: not with absolute value"):
        level(particle(), text, absolute_value=True)


# laws of all


@pytest.mark.parametrize("text", [t for t in ALL if t != "0.4"])
@pytest.mark.parametrize("scale", [4.0, 2.0**-30])
def test_a_map_in_other_units_has_the_level_in_those_units(xp, text, scale):
    array = xp.asarray(particle())
    assert level(array * xp.float32(scale), text).value == scale * level(array, text).value


@pytest.mark.parametrize("text", [t for t in ALL if t not in ("0.4", "0.5max")])
@pytest.mark.parametrize(("scale", "offset"), [(3.7, 0.0), (0.3, 5.0)])
def test_scaled_and_shifted_maps_have_the_same_foreground(text, scale, offset):
    array = particle()
    other = (array.astype(np.float64) * scale + offset).astype(np.float32)
    flips = (array >= np.float32(level(array, text).value)) != (other >= np.float32(level(other, text).value))
    # each voxel and the level are rounded by 2^-24 of the largest value: only voxels that close to it can change
    near = abs(array - level(array, text).value) <= 2 * BIN * np.ptp(array)
    assert not (flips & ~near).any()
    if text in RANKED:
        assert flips.sum() <= 2


@pytest.mark.parametrize("text", ALL)
def test_both_backends_find_one_level(xp, text):
    """Bit-equal, but for what is smoothed first: convolutions add in another order, 1e-5 of the deviation."""
    array = particle()
    wanted, found = level(array, text), level(xp.asarray(array), text)
    assert found.method == wanted.method
    assert found.value == (
        pytest.approx(wanted.value, abs=1e-5 * float(array.std())) if text in ("auto", "fdr:0.01") else wanted.value
    )


@pytest.mark.parametrize("text", ALL)
def test_the_array_is_left_alone_and_its_order_does_not_matter(text):
    array = particle()
    before = array.copy()
    wanted = level(array, text)
    assert level(np.asfortranarray(array), text) == wanted
    assert np.array_equal(array, before)
    assert level(array, text) == wanted


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("text", [t for t in ALL if t not in ("auto", "fdr:0.01")])
def test_pieces_give_the_level_of_the_whole(text, absolute):
    array = particle()

    def pieces():
        return (array[start : start + 7] for start in range(0, len(array), 7))

    statistics = lambda: gm.backend.of(array).statistics(array)  # noqa: E731
    found = thresholds.level_of_pieces(pieces, text, VOXEL, absolute, statistics)
    assert found == level(array, text, absolute_value=absolute)


def test_pieces_are_not_enough_for_what_looks_at_neighbours():
    for text in ("auto", "fdr:0.01"):
        with pytest.raises(UsageError, match="needs the whole box"):
            thresholds.level_of_pieces(lambda: [particle()], text, VOXEL)


def test_more_voxels_than_are_counted_at_a_time(monkeypatch):
    array = particle()
    wanted = [level(array, text).value for text in ALL]
    monkeypatch.setattr(thresholds, "PIECE", 1000)
    assert [level(array, text).value for text in ALL] == wanted


@pytest.mark.parametrize(
    ("text", "method", "why"),
    [
        ("0.4", "value", "as given"),
        ("0.5max", "max", "0.5 of the maximum 1."),
        ("2sigma", "sigma", "mean 0.0"),
        ("otsu", "otsu", "least variance within the two classes, over the box (-"),
        ("percentile:97", "percentile", "the highest 3744 of 124800 voxels: 97 % of the box lie below"),
        ("volume:5000", "volume", "5000 Å³ = the highest 1481 voxels"),
        ("mass:4", "mass", "= 4938.27 Å³ = the highest 1463 voxels"),
        ("fdr:0.01", "fdr", "at a false discovery rate of 0.01 (Benjamini-Hochberg), noise "),
        ("auto", "auto", "background "),
    ],
)
def test_each_says_in_one_line_why(text, method, why):
    found = level(particle(), text)
    assert found.method == method
    assert why in found.why
    assert "\n" not in found.why
    assert found.value == float(np.float32(found.value))


def test_filled_voxels_are_background(xp):
    below, above = (
        thresholds.smoothed(xp.asarray(np.pad(particle(), 5, constant_values=fill)), (VOXEL,) * 3)
        for fill in (-9.0, 9.0)
    )
    assert below[1] == above[1]
    assert abs(below[1]) < 0.05
    assert np.array_equal(to_numpy(below[0]), to_numpy(above[0]))


def test_the_self_consistent_level_of_two_values(xp):
    """0.6 of the mean of what lies above it: of ones and few sevens, the sevens or all of them."""
    array = xp.ones((10, 10, 10), xp.float32)
    array[0, 0, :5] = 7
    assert thresholds.self_consistent_level(array) == pytest.approx(0.6 * 1.03, rel=1e-4)
    array[array == 1] = 0.01
    assert thresholds.self_consistent_level(array) == pytest.approx(0.6 * 7, rel=1e-4)


def test_auto_doubts_a_hot_voxel():
    array = particle().copy()
    array[1, 1, 1] = 100 * array.max()
    found = thresholds.level(array, "auto", 4.0)
    assert (array >= found.value).sum() < 30
    assert "hide the particle" in found.warnings[0]
