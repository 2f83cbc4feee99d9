"""Bodies of ``distance`` against the oracle, bit for bit: every dtype, odd boxes, any number of threads."""

import math

import numpy as np
import oracles
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gpumask import _cpu, mask
from gpumask._cpu import threads
from gpumask.backend import to_numpy

REACHES = (0, 1, 5, 22, 45, 100, 181, 300)
UINT16_LIMIT = 32766  # the largest reach² that 16 bits hold: 32767 + 180² < 2**16
SHAPES = ((7, 11, 13), (1, 17, 23), (19, 1, 5), (29, 3, 1), (1, 1, 31), (1, 1, 1), (2, 3, 40), (16, 16, 16))
LONG = ((1, 2, 401), (1, 401, 2), (401, 1, 2))
SAMPLINGS = ((1.0, 1.4, 2.0), (2.0, 1.0, 1.4), (1.0, 1.0, 1.0007), (1.3333333, 1.2414, 1.0), (3.7, 1.0, 1.0))
quick = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
boxes = arrays(bool, st.tuples(*[st.integers(1, 13)] * 3))


def costs(limit, dtype):
    return (np.arange(math.isqrt(limit) + 1).astype(dtype) ** 2,) * 3


def bases(shape):
    """Empty, full, single voxels in corners, on faces and inside, a plane, and sparse and dense noise."""
    rng = np.random.default_rng(sum(shape))
    yield np.zeros(shape, bool)
    yield np.ones(shape, bool)
    for position in ((0, 0, 0), tuple(n - 1 for n in shape), (0, shape[1] // 2, 0), tuple(n // 2 for n in shape)):
        base = np.zeros(shape, bool)
        base[position] = True
        yield base
    plane = np.zeros(shape, bool)
    plane[:, -1] = True
    yield plane
    for density in (0.003, 0.05, 0.5, 0.97):
        yield rng.random(shape) < density


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("shape", SHAPES)
def test_integers_are_the_capped_oracle(loops, shape, dtype):
    for base in bases(shape):
        wanted = oracles.squared_distance(base)
        for reach in REACHES:
            if dtype == np.uint16 and reach * reach > UINT16_LIMIT:
                continue
            cap = dtype(reach * reach + 1)
            found = _cpu.distance(base, costs(reach * reach, dtype), cap)
            assert found.dtype == dtype
            assert np.array_equal(found, np.minimum(wanted, int(cap)))


@pytest.mark.parametrize("shape", LONG)
@pytest.mark.parametrize("limit", [180**2, 181**2 - 1, 181**2, 32765, UINT16_LIMIT, UINT16_LIMIT + 1, 182**2, 300**2])
def test_nothing_overflows_around_the_16_bit_limit(loops, shape, limit):
    base = np.zeros(shape, bool)
    base.reshape(-1)[[0, 700]] = True
    reach = mask._Reach(math.sqrt(limit + 0.25), None, (1, 1, 400))
    assert reach.limit == limit
    assert reach.cap.dtype == (np.uint16 if limit <= UINT16_LIMIT else np.uint32)
    assert int(reach.cap) + int(reach.costs[0][-1]) <= np.iinfo(reach.cap.dtype).max
    found = _cpu.distance(base, reach.costs, reach.cap)
    assert np.array_equal(found, np.minimum(oracles.squared_distance(base), limit + 1))


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("shape", SHAPES)
def test_anisotropic_distances_are_the_oracle_to_the_bit(loops, shape, sampling):
    """Within the reach; beyond it anything larger than reach²."""
    for base in bases(shape):
        if base.sum() > 200:
            continue
        wanted = oracles.brute_squared_distance(base, sampling)
        for radius in (0.0, 1.0, 2.4, 5.0, 22.0):
            reach = mask._Reach(radius, sampling, shape)
            found = _cpu.distance(base, reach.costs, reach.cap)
            near = wanted <= radius * radius + 1e-6
            assert np.array_equal(found[near], wanted[near])
            assert (found[~near] > radius * radius).all()


@quick
@given(base=boxes, reach=st.integers(0, 20))
def test_made_up_shapes(loops, base, reach):
    dtype = np.uint16
    found = _cpu.distance(base, costs(reach * reach, dtype), dtype(reach * reach + 1))
    brute = np.minimum(oracles.brute_squared_distance(base), reach * reach + 1)
    assert np.array_equal(found, brute)


@pytest.mark.parametrize("count", [2, 7])
@pytest.mark.parametrize("sampling", [None, SAMPLINGS[0]])
@pytest.mark.parametrize("shape", [(67, 31, 43), (3, 61, 50), (1, 1, 90)])
def test_threads_do_not_matter(loops, monkeypatch, shape, sampling, count):
    base = np.random.default_rng(5).random(shape) < 0.002
    reach = mask._Reach(13.5, sampling, shape)
    monkeypatch.setattr(threads, "count", lambda: 1)
    alone = _cpu.distance(base, reach.costs, reach.cap)
    monkeypatch.setattr(threads, "count", lambda: count)
    assert np.array_equal(_cpu.distance(base, reach.costs, reach.cap), alone)


@pytest.mark.parametrize("radius", [0, 0.4, 1, math.sqrt(2), 2.5, 5, 9.9, 40])
def test_public_distance_in_a_larger_box(xp, radius):
    """The crop to the bounding box and the reach does not show."""
    base = np.zeros((23, 31, 37), bool)
    base[4:6, 20, 9:14] = base[0, 30, 36] = True
    limit = math.floor(radius * radius + 1e-6)
    found = to_numpy(mask.squared_distance(xp.asarray(base), radius))
    assert np.array_equal(found, np.minimum(oracles.squared_distance(base), limit + 1))


def test_public_distance_of_nothing_is_far(xp):
    found = to_numpy(mask.squared_distance(xp.zeros((3, 4, 5), bool), 5))
    assert found.shape == (3, 4, 5)
    assert (found == 26).all()


def test_beyond_the_reach_is_one_value_with_sampling_too(xp):
    base = xp.zeros((21, 21, 21), bool)
    base[10, 10, 10] = True
    found = to_numpy(mask.squared_distance(base, 3.0, (1.0, 1.4, 2.0)))
    assert len(np.unique(found[found > 9.0 + 1e-6])) == 1


def test_bases_are_left_alone(xp):
    base = xp.asarray(np.random.default_rng(0).random((9, 10, 11)) < 0.1)
    before = base.copy()
    mask.squared_distance(base, 4)
    mask.dilate(base, 0)[...] = True
    mask.erode(base, 0)[...] = True
    mask.soft_mask(base, 2, 3)
    assert bool((base == before).all())


@pytest.mark.parametrize("radius", [math.nan, math.inf, -1, True, "5", None])
def test_a_reach_that_is_no_length_is_refused(radius):
    with pytest.raises(ValueError, match="reach must be"):
        mask.squared_distance(np.ones((2, 2, 2), bool), radius)


def test_a_radius_beyond_every_box_fills_it(xp):
    base = xp.zeros((3, 4, 5), bool)
    base[0, 0, 0] = True
    assert bool(mask.dilate(base, 70000).all())
