"""Thresholds, inversion, and what is measured of a mask."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gpumask import io, mask, thresholds
from gpumask.backend import to_numpy

HALF_ULP = 2.0**-25  # of float32 in [0.5, 1): what 1 - m rounds away
quick = settings(max_examples=100, deadline=None, derandomize=True)


def sphere(radius, width, n):
    """A raised-cosine ball around a point off the lattice, from the analytic distance."""
    grid = np.indices((n, n, n)) - (n / 2 - 0.3)
    distance = np.sqrt((grid**2).sum(0))
    return (0.5 + 0.5 * np.cos(np.pi * np.clip((distance - radius) / width, 0, 1))).astype(np.float32)


def equivalent_edge(made):
    """The formula on the whole box."""
    made = made.astype(np.float64)
    slopes = [np.gradient(made, axis=axis) for axis in range(3) if made.shape[axis] > 1]
    return 8 * (made * (1 - made)).sum() / np.sqrt(sum(s * s for s in slopes)).sum()


# thresholds


def test_threshold_counts_equality(xp):
    array = xp.asarray([[[0.1, 0.7, 0.70000005, 0.69999999, -0.7, -0.8]]], np.float32)
    assert to_numpy(mask.threshold(array, 0.7)).tolist() == [[[False, True, True, True, False, False]]]
    assert to_numpy(mask.threshold(array, 0.7, absolute_value=True)).tolist() == [
        [[False, True, True, True, True, True]]
    ]
    assert bool(mask.threshold(array, -1, absolute_value=True).all())


@quick
@given(array=arrays(np.float32, (2, 3, 5), elements=st.floats(-10, 10, width=32)), pick=st.integers(0, 29))
def test_a_voxel_that_prints_as_the_threshold_counts(array, pick):
    """The decimal that prints a float32 is a threshold for exactly that float32 and everything above."""
    level = array.reshape(-1)[pick]
    for text in (str(level), f"{level:.9g}"):
        assert np.array_equal(mask.threshold(array, thresholds.level(array, text).value), array >= level)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.float16, np.float64])
def test_threshold_of_other_kinds_of_numbers(xp, dtype):
    array = xp.asarray([[[0, 1, 2, 3, 100]]]).astype(dtype)
    for absolute_value in (False, True):
        found = to_numpy(mask.threshold(array, 1.5, absolute_value))
        assert found.tolist() == [[[False, False, True, True, True]]]
    assert thresholds.level(array, "0.5max").value == 50


def test_threshold_words(xp):
    array = xp.asarray(np.random.default_rng(1).normal(3, 2, (11, 13, 17)).astype(np.float32))
    exact = to_numpy(array).astype(np.float64)
    assert thresholds.level(array, 0.05).value == np.float32(0.05)
    assert thresholds.level(array, " -1.5e-2 ").value == np.float32(-0.015)
    assert thresholds.level(array, "0.2max").value == np.float32(0.2 * exact.max())
    assert thresholds.level(array, "3sigma").value == pytest.approx(exact.mean() + 3 * exact.std(), rel=2**-23)
    assert thresholds.level(array, "-1sigma").value == pytest.approx(exact.mean() - exact.std(), rel=2**-23)
    assert thresholds.level(array, "0sigma").value == pytest.approx(exact.mean(), rel=2**-23)


@pytest.mark.parametrize("text", ["", "max", "3 s", "2maxx", "nan", "inf", "1e999", "0,2", True, None, "3sigma2"])
def test_thresholds_in_other_words_are_refused(text):
    with pytest.raises(ValueError, match="threshold must be"):
        thresholds.level(np.ones((2, 2, 2), np.float32), text)


def test_a_threshold_beyond_float32_keeps_nothing(xp):
    array = xp.ones((2, 2, 2), np.float32)
    assert not bool(mask.threshold(array, thresholds.level(array, "1e39").value).any())


# inversion


@quick
@given(arrays(np.float32, (2, 3, 4), elements=st.floats(0, 1, width=32)))
def test_invert_twice_is_the_identity(made):
    """To the rounding of 1 - m, and to the bit from 0.5 on; 0 and 1 swap exactly."""
    twice = mask.invert(mask.invert(made))
    assert twice.dtype == np.float32
    assert np.abs(twice - made).max() <= HALF_ULP
    assert np.array_equal(twice[made >= 0.5], made[made >= 0.5])
    assert np.array_equal(mask.invert(made) == 0, made == 1)
    assert np.array_equal(mask.invert(made) == 1, made <= HALF_ULP)


# equivalent edge


@pytest.mark.parametrize(("width", "wanted"), [(4, 3.99), (10, 9.99), (20, 19.93)])
def test_equivalent_edge_of_raised_cosine_spheres(width, wanted):
    made = sphere(30, width, 2 * (30 + width) + 6)
    assert mask.equivalent_edge(made) == pytest.approx(wanted, abs=0.02)
    assert mask.equivalent_edge(mask.invert(made)) == pytest.approx(wanted, abs=0.02)


@pytest.mark.parametrize("width", [6, 10, 17])
def test_equivalent_edge_of_a_flat_edge(xp, width):
    """8·Σm(1 - m) / Σ|∇m| of a sampled raised cosine: w to the error of the central difference, (π/w)²/6."""
    position = (np.arange(64) - 20.37) / width
    made = np.broadcast_to((0.5 + 0.5 * np.cos(np.pi * np.clip(position, 0, 1))).astype(np.float32), (3, 5, 64))
    for axis in range(3):
        turned = xp.asarray(np.moveaxis(made, 2, axis).copy())
        assert mask.equivalent_edge(turned) == pytest.approx(width, rel=(math.pi / width) ** 2 / 6)


def test_equivalent_edge_of_hard_and_flat_masks(xp):
    base = xp.zeros((9, 10, 11), np.float32)
    assert mask.equivalent_edge(base) == 0
    assert mask.equivalent_edge(base + 1) == 0
    assert mask.equivalent_edge(base + np.float32(0.5)) == 0
    base[4:6, 3, 2:9] = 1
    assert mask.equivalent_edge(base) == 0
    assert mask.equivalent_edge(base.astype(bool)) == 0


@pytest.mark.parametrize("lengths", [(2, 6), (5, 17)])
def test_equivalent_edge_is_the_same_in_a_larger_box_and_turned(xp, lengths):
    base = np.zeros((50, 51, 52), bool)
    base[25, 25, 25] = True
    made = mask.soft_mask(xp.asarray(base), *lengths)
    wanted = mask.equivalent_edge(made)
    assert mask.equivalent_edge(xp.pad(made, 3)) == pytest.approx(wanted, rel=1e-12)
    assert mask.equivalent_edge(xp.ascontiguousarray(made.transpose(2, 0, 1))) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("width", [2, 4, 10])
def test_equivalent_edge_is_its_formula_on_the_whole_box(xp, width):
    base = np.zeros((40, 41, 43), bool)
    base[20, 20, 20] = True
    made = mask.soft_mask(base, 5, width)
    assert mask.equivalent_edge(xp.asarray(made)) == pytest.approx(equivalent_edge(made), rel=1e-9)


# the rest


def test_centre_of_mass(xp):
    made = np.zeros((9, 12, 15), np.float32)
    made[2, 3, 4], made[6, 11, 14] = 0.25, 0.75
    assert mask.centre_of_mass(xp.asarray(made)) == pytest.approx((5, 9, 11.5), abs=1e-12)
    assert mask.centre_of_mass(xp.zeros((3, 3, 3), np.float32)) is None
    assert mask.centre_of_mass(xp.ones((3, 4, 5), np.float32)) == (1, 1.5, 2)


def test_faces_touched(xp):
    made = np.zeros((5, 6, 7), np.float32)
    assert mask.faces_touched(xp.asarray(made)) == []
    made[2, 2, 2] = 1
    assert mask.faces_touched(xp.asarray(made)) == []
    made[2, 2, 0] = 1e-30
    assert mask.faces_touched(xp.asarray(made)) == ["-x"]
    made[4, 2, 2] = 1
    assert mask.faces_touched(xp.asarray(made)) == ["-x", "+z"]
    made[2, 5, 6] = 1
    assert mask.faces_touched(xp.asarray(made)) == ["-x", "+x", "+y", "+z"]
    assert mask.faces_touched(xp.ones((1, 1, 1), np.float32)) == ["-x", "+x", "-y", "+y", "-z", "+z"]


@pytest.mark.parametrize(
    ("low", "high", "fits"),
    [
        (0, 1, True),
        (0, 0.977, True),
        (0.5, 1, True),
        (0.5, 0.9, False),
        (0, 0, False),
        (-1e-6, 1 + 1e-6, True),
        (-2e-6, 1, False),
        (0, 1 + 3e-6, False),
        (-1e-9, 1e-7, False),
        (-2, -1, False),
    ],
)
def test_range_of_a_mask(low, high, fits):
    assert mask.is_mask(low, high) == fits


def test_range_of_real_masks(data):
    for name, fits in (("relion_masks/m03_t015_e3_s6", True), ("maps/emd_3488", False)):
        array = io.load(data / f"{name}.mrc.gz")[0].data
        assert mask.is_mask(float(array.min()), float(array.max())) == fits


@pytest.mark.parametrize("radius", [1, 12, 13, 60])
@pytest.mark.parametrize("style", ["euclidean", "relion"])
def test_nothing_stays_nothing_and_everything_stays_everything(xp, radius, style):
    """Radii below and beyond the diagonal of the box, 12.1 voxels."""
    empty = xp.zeros((8, 8, 8), bool)
    assert not mask.dilate(empty, radius).any()
    assert mask.erode(~empty, radius).all()
    assert not mask.soft_mask(empty, radius, 3, style=style).any()
    assert (mask.soft_mask(~empty, -radius, 3, style=style) == 1).all()
