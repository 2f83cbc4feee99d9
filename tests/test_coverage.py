"""What of a density a mask keeps, has in its edge, and cuts: laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gpumask import coverage, mask
from gpumask.errors import InputRefused

ROUNDING = 4 * np.finfo(np.float64).eps  # three quotients of one sum, added
FLOAT32 = 2.0**-24  # relative rounding
SHAPE = (9, 11, 13)


@pytest.fixture
def base(xp):
    """Two bodies in a box that is no cube."""
    array = xp.zeros(SHAPE, bool)
    array[3:6, 4:7, 5:8] = True
    array[4, 5, 9] = True
    return array


@pytest.fixture
def density(xp):
    """Signed."""
    return xp.asarray(np.random.default_rng(3).standard_normal(SHAPE).astype(np.float32))


def test_shares_of_values_that_are_told_by_hand(xp):
    soft = xp.asarray(np.array([[[1, 1, 0.5, 0.25, 0, 0]]], np.float32))
    density = xp.asarray(np.array([[[4, -9, 2, 1, 3, 0]]], np.float32))  # Σρ = 10, the -9 counts as 0
    assert coverage.shares(soft, density) == (0.4, 0.3, 0.3, 0.525)


def test_values_within_the_slack_of_0_and_1_are_0_and_1(xp):
    soft = xp.asarray(np.array([[[1 - 9e-7, 1 - 2e-6, 2e-6, 9e-7]]], np.float32))
    assert coverage.shares(soft, xp.ones((1, 1, 4), np.float32))[:3] == (0.25, 0.5, 0.25)


masks = arrays.arrays(np.float32, (3, 4, 5), elements=st.floats(0, 1, width=32))
densities = arrays.arrays(np.float32, (3, 4, 5), elements=st.floats(-1, 1, width=16))


@settings(deadline=None)
@given(masks, densities)
def test_shares_add_up_to_1_and_hold_the_weighted_one_between_them(soft, density):
    if not (density > 0).any():
        return
    found = coverage.shares(soft, density)
    assert abs(found.kept + found.edge + found.cut - 1) <= ROUNDING
    assert min(found) >= 0
    # 1e-6 and 1 - 1e-6 are compared as float32, and ρ·m is rounded to it
    least, most = 1 - mask.RANGE_SLACK - FLOAT32, mask.RANGE_SLACK * (1 + FLOAT32)
    assert found.kept * least * (1 - FLOAT32) - ROUNDING <= found.weighted
    assert found.weighted <= (found.kept + found.edge + found.cut * most) * (1 + FLOAT32) + ROUNDING


def test_a_hard_mask_has_no_edge_and_bases_count_voxels(base, density):
    hard = mask.soft_mask(base, 2, 0)
    found = coverage.shares(hard, density)
    assert found.edge == 0
    assert found.weighted == found.kept
    assert coverage.shares(hard > 0, density) == found
    assert coverage.shares(base, base) == (1, 0, 0, 1)
    assert coverage.shares(~base, base) == (0, 0, 1, 0)


def test_dilation_keeps_more_and_cuts_less(base, density):
    found = [coverage.shares(mask.soft_mask(base, radius, 3), density) for radius in range(6)]
    for smaller, larger in zip(found, found[1:], strict=False):
        assert larger.kept > smaller.kept
        assert larger.cut < smaller.cut
        assert larger.weighted > smaller.weighted


def test_a_wider_edge_keeps_the_same_and_cuts_less(base, density):
    found = [coverage.shares(mask.soft_mask(base, 1, width), density) for width in (0, 2, 4, 6)]
    for narrower, wider in zip(found, found[1:], strict=False):
        assert wider.kept == narrower.kept
        assert wider.cut < narrower.cut


def test_scale_flips_and_permutations_change_nothing(base, density):
    soft = mask.soft_mask(base, 1, 3)
    found = coverage.shares(soft, density)
    assert coverage.shares(soft, density * 4) == found  # a power of two: exact
    turned = coverage.shares(soft.transpose(2, 0, 1)[::-1], density.transpose(2, 0, 1)[::-1])
    assert turned == pytest.approx(found, rel=density.size * np.finfo(np.float64).eps)  # another order of addition


def test_what_cannot_be_shared_out(base, xp):
    with pytest.raises(InputRefused, match="nowhere above 0"):
        coverage.shares(base, -xp.ones(SHAPE, np.float32))
    with pytest.raises(InputRefused, match="must have one box, got 13 x 11 x 9 and 2 x 2 x 2 voxels"):
        coverage.shares(base, xp.ones((2, 2, 2), np.float32))
