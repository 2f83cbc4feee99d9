"""Masks combined, bodies of a particle, masks on maps: laws, oracles, and RELION's comparisons."""

import functools
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

import gpumask as gm
from gpumask import algebra, backend, filters, mask
from gpumask.errors import InputRefused, UsageError

SHAPE = (5, 6, 7)
FLOAT32 = 2**-23
SUM = 1e-6  # SPEC §6.6: bodies add up to the particle mask; each is rounded to float32 once, 2**-25 at most
SOFT = arrays_of.arrays(np.float32, SHAPE, elements=st.floats(0, 1, width=32))
BASE = arrays_of.arrays(bool, SHAPE)
MASKS = {"bases": BASE, "extremes": SOFT, "product": SOFT}
NOT = algebra.inverted


def rule(kind):
    return functools.partial(algebra.combined, soft="extremes" if kind == "bases" else kind)


def close(a, b, kind):
    """Equal; products to three roundings of values up to 1."""
    assert a.dtype == b.dtype
    if kind == "product":
        assert abs(a - b).max() <= 3 * FLOAT32
    else:
        assert np.array_equal(a, b)


# laws


@pytest.mark.parametrize("kind", MASKS)
@settings(max_examples=25, deadline=None)
@given(draw=st.data())
def test_laws_of_the_algebra(kind, draw):
    a, b, c = (draw.draw(MASKS[kind]) for _ in range(3))
    combined = rule(kind)
    close(NOT(combined("and", a, b, c)), combined("or", NOT(a), NOT(b), NOT(c)), kind)  # De Morgan
    close(NOT(combined("or", a, b, c)), combined("and", NOT(a), NOT(b), NOT(c)), kind)
    for operation in ("and", "or", "xor"):
        close(combined(operation, a, b), combined(operation, b, a), kind)
        assert np.array_equal(combined(operation, a), a)
    for operation in ("and", "or"):
        close(
            combined(operation, combined(operation, a, b), c), combined(operation, a, combined(operation, b, c)), kind
        )
        if kind != "product":
            assert np.array_equal(combined(operation, a, a), a)
    close(combined("and-not", a, b, c), combined("and", a, NOT(combined("or", b, c))), kind)
    close(combined("or-not", a, b, c), combined("or", a, NOT(combined("and", b, c))), kind)
    if kind == "product":
        assert abs(combined("xor", a, b) - (a + b - 2 * a * b)).max() <= 3 * FLOAT32
    else:
        close(combined("xor", a, b), combined("or", combined("and", a, NOT(b)), combined("and", NOT(a), b)), kind)
    for operation in algebra.OPERATIONS:
        made = combined(operation, a, b, c)
        assert made.shape == SHAPE
        assert 0 <= made.min() <= made.max() <= 1


@settings(max_examples=25, deadline=None)
@given(a=SOFT, b=SOFT, c=SOFT)
def test_more_of_a_mask_gives_more_and_the_complement_adds_up(a, b, c):
    less, more = np.minimum(a, b), np.maximum(a, b)
    for kind in algebra.SOFT:
        for operation in ("and", "or"):
            below, above = (algebra.combined(operation, x, c, soft=kind) for x in (less, more))
            assert (below <= above + FLOAT32 * (kind == "product")).all()
    assert abs(algebra.combined("complement", more, less) + less - more).max() <= FLOAT32


@settings(max_examples=25, deadline=None)
@given(a=BASE, b=BASE, c=BASE)
def test_bases_by_counting(a, b, c):
    inside = a.astype(int) + b + c
    assert np.array_equal(algebra.combined("and", a, b, c), inside == 3)
    assert np.array_equal(algebra.combined("or", a, b, c), inside > 0)
    assert np.array_equal(algebra.combined("xor", a, b, c), inside % 2 == 1)
    assert np.array_equal(algebra.combined("complement", a, b, c), algebra.combined("and-not", a, b, c))
    as_floats = [one.astype(np.float32) for one in (a, b, c)]
    for operation, soft in itertools.product(algebra.OPERATIONS, algebra.SOFT):
        made = algebra.combined(operation, *as_floats, soft=soft)
        assert np.array_equal(made, algebra.combined(operation, a, b, c))  # 0 and 1 are a base


def test_arrays_of_the_device(xp):
    a, b = (xp.asarray(np.random.default_rng(k).random(SHAPE, np.float32)) for k in (0, 1))
    for operation, soft in itertools.product(algebra.OPERATIONS, algebra.SOFT):
        made = algebra.combined(operation, a, b, soft=soft)
        on_host = algebra.combined(operation, *map(backend.to_numpy, (a, b)), soft=soft)
        assert isinstance(made, xp.ndarray)
        assert made.dtype == np.float32
        assert abs(backend.to_numpy(made) - on_host).max() <= FLOAT32  # a GPU may fuse a product and a sum


def test_what_cannot_be_combined():
    a = np.zeros(SHAPE, np.float32)
    for arguments, text in (
        (("nand", a, a), "one of and, or"),
        (("and", a, a > 0), "arrays of one kind"),
        (("and", a, a[1:]), "one shape"),
    ):
        with pytest.raises(UsageError, match=text):
            algebra.combined(*arguments)
    with pytest.raises(UsageError, match="extremes, product"):
        algebra.combined("and", a, a, soft="mean")


# thresholds


@pytest.mark.parametrize("level", [0.1, 0.15, 0.3, 0.7, 0.25, -0.15, 0.0, 1e-40])
def test_bases_compare_as_their_style_says(xp, level):
    near = np.float32(level)
    ladder = np.array([np.nextafter(near, np.float32(-9)), near, np.nextafter(near, np.float32(9))], np.float32)
    values = np.broadcast_to(ladder, (2, 2, 3)).copy()
    device = xp.asarray(values)
    for got, wanted in (
        (algebra.base(device, level), values >= near),
        (algebra.base(device, level, negated=True), values < near),
        (algebra.base(device, level, "relion"), values > near),  # RELION reads its level as float32
        (algebra.base(device, level, "relion", negated=True), values < near),
    ):
        assert np.array_equal(backend.to_numpy(got), wanted)


def test_no_voxel_reaches_a_level_beyond_float32(xp):
    values = xp.asarray(np.full((2, 2, 2), np.finfo(np.float32).max))
    for style in ("euclidean", "relion"):
        assert not bool(algebra.base(values, 1e39, style).any())
        assert bool(algebra.base(values, 1e39, style, negated=True).all())


# bodies


@functools.cache
def simulated():
    return gm.simulation.particle(box=110, voxel_size=2.0)


def bodies_of(particle, count):
    """The domains of the simulated particle as `count` bodies: body, head, and the others one by one."""
    labels = np.zeros(particle.labels.shape, np.uint8)
    names = ("body", "head", "foot", "arm", "glycans")
    for number, name in enumerate(names, 1):
        labels[particle.labels == gm.simulation.LABELS[name]] = min(number, count)
    return labels


@pytest.mark.parametrize("width", [0, 1, 8.5, 20])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_bodies_add_up_to_the_particle(xp, count, width):
    labels = bodies_of(simulated(), count)
    soft = mask.soft_mask(labels > 0, 3, 8)
    made = algebra.partition(xp.asarray(labels), xp.asarray(soft), width)
    made = [backend.to_numpy(one) for one in made]
    assert len(made) == count
    total = sum(one.astype(np.float64) for one in made)
    assert abs(total - soft).max() < SUM
    assert total.max() < 1 + SUM
    for number, one in enumerate(made, 1):
        assert 0 <= one.min() <= one.max() <= 1
        deep = (labels == number) & ~mask.dilate(labels != number, width / 2 + 1)
        assert np.array_equal(one[deep], soft[deep])  # beyond half the width a body has all of the mask
        assert one[labels == number].min() > 0


def test_half_of_the_weight_is_at_the_interface_and_the_blend_is_a_cosine(xp):
    labels = xp.ones((9, 11, 40), xp.uint8)
    labels[:, :, 20:] = 2
    whole = xp.ones(labels.shape, xp.float32)
    width = 12
    one, two = (backend.to_numpy(part) for part in algebra.partition(labels, whole, width))
    from_interface = np.arange(40) - 19.5
    wanted = 0.5 - 0.5 * np.sin(np.pi * np.clip(from_interface / width, -0.5, 0.5))
    assert abs(one - wanted).max() < FLOAT32
    assert abs(two - wanted[::-1]).max() < FLOAT32
    cut, _ = (backend.to_numpy(part) for part in algebra.partition(labels, whole, 0))
    assert np.array_equal(cut, np.broadcast_to(from_interface < 0, labels.shape))


def test_interfaces_go_on_through_the_soft_edge():
    labels = np.zeros((21, 21, 60), np.uint8)
    labels[8:13, 8:13, 10:30] = 1
    labels[8:13, 8:13, 30:50] = 2
    soft = mask.soft_mask(labels > 0, 2, 6)
    one, two = algebra.partition(labels, soft, 8)
    assert np.array_equal(one, two[:, :, ::-1])
    above = (slice(None), slice(None), 29)  # everywhere in this plane, whatever the height over the particle
    share = 0.5 + 0.5 * math.sin(math.pi * 0.5 / 8)
    assert abs(one[above] - share * soft[above]).max() < FLOAT32


def test_bodies_meet_where_they_are_as_near_by_brute_force():
    random = np.random.default_rng(3)
    labels = np.zeros((12, 13, 14), np.uint8)
    for number in (1, 2, 3):
        labels[tuple(random.integers(2, 10, 3))] = number
    soft = np.ones(labels.shape, np.float32)
    made = algebra.partition(labels, soft, 0)
    grid = np.indices(labels.shape)
    squares = [((grid - np.argwhere(labels == n)[0][:, None, None, None]) ** 2).sum(axis=0) for n in (1, 2, 3)]
    nearest = np.argmin(squares, axis=0)
    for number, one in enumerate(made):
        assert np.array_equal(one, nearest == number)


def test_blends_of_anisotropic_voxels_are_as_wide_along_each_axis():
    sampling = (2.0, 1.0, 1.0)
    labels = np.ones((30, 5, 5), np.uint8)
    labels[15:] = 2
    one, _ = algebra.partition(labels, np.ones(labels.shape, np.float32), 16, sampling)
    # 8 units on each side: four voxels of 2; the boundary half a unit outside the voxels that it is measured from
    wanted = 0.5 - 0.5 * np.sin(np.pi * np.clip((2 * (np.arange(15, 30) - 14) - 0.5) / 16, -0.5, 0.5))
    assert 0 < one[18, 2, 2] < one[15, 2, 2] < 0.5
    assert one[19:, 2, 2].max() == 0
    assert one[15, 2, 2] == pytest.approx(wanted[0], abs=FLOAT32)


def test_labels_that_are_no_bodies():
    labels = np.ones(SHAPE, np.uint8)
    soft = np.ones(SHAPE, np.float32)
    with pytest.raises(UsageError, match="two bodies or more"):
        algebra.partition(labels, soft, 3)
    labels[0] = 3
    with pytest.raises(InputRefused, match="body 2 of 3 has no voxel"):
        algebra.partition(labels, soft, 3)
    labels[0] = 2
    for width in (-1, np.nan, "3px"):
        with pytest.raises(UsageError, match="width of the blend"):
            algebra.partition(labels, soft, width)


def test_subtraction_is_the_tutorials_construction(xp):
    particle = simulated()
    whole, head = xp.asarray(particle.labels > 0), xp.asarray(particle.head)
    made = algebra.subtraction(whole, head, 12)
    assert np.array_equal(backend.to_numpy(made), mask.soft_mask((particle.labels > 0) & ~particle.head, 0, 12))
    assert bool((made[whole & ~head] == 1).all())
    kept = mask.soft_mask(head, 5, 17)
    shared = algebra.overlap(made, kept)
    wanted = np.minimum(backend.to_numpy(made), backend.to_numpy(kept)).sum(dtype=np.float64)
    assert shared == pytest.approx(wanted, rel=1e-12)
    assert 0 < shared < float(kept.sum())
    nothing = mask.soft_mask(xp.zeros_like(head), 5, 17)
    assert algebra.overlap(made, nothing) == 0


# masks on maps


@pytest.fixture
def maps():
    random = np.random.default_rng(5)
    volume = random.standard_normal((32, 33, 34)).astype(np.float32) + np.float32(2)
    soft = mask.soft_mask(np.pad(np.ones((6, 6, 6), bool), [(12, 14), (12, 15), (12, 16)]), 2, 6)
    return volume, soft


def test_a_weight_outside(xp):
    soft = xp.asarray(np.linspace(0, 1, 42, dtype=np.float32).reshape(2, 3, 7))
    made = algebra.with_outside(soft, 0.2)
    assert float(made.min()) == pytest.approx(0.2, abs=FLOAT32)
    assert float(made.max()) == 1
    for weight in np.linspace(0, 1, 101).tolist():
        assert float(algebra.with_outside(soft, weight).max()) == 1  # to the bit: the core of a mask is 1
    assert bool((algebra.with_outside(soft, 0) == soft).all())
    assert float(algebra.with_outside(soft, 1).min()) == 1
    for wrong in (-0.1, 1.1, np.nan):
        with pytest.raises(UsageError, match="from 0 to 1"):
            algebra.with_outside(soft, wrong)


def test_composite_is_a_map_and_a_low_passed_part(maps):
    volume, soft = maps
    low = mask.invert(soft)
    made = algebra.composite(volume, soft, low, 12, 2.0)
    assert np.array_equal(made, volume * soft + filters.lowpass(volume * low, 12, 2.0))
    only = algebra.composite(volume, soft, np.zeros_like(soft), 12, 2.0)
    assert np.array_equal(only, volume * soft)


def test_the_mean_outside_is_that_of_relion(xp, maps):
    volume, soft = maps
    made = backend.to_numpy(algebra.filled(*map(xp.asarray, maps), "mean"))
    weight = 1 - soft.astype(np.float64)
    mean = (volume * weight).sum() / weight.sum()
    assert abs(made - (volume * soft + weight * mean)).max() < 8 * FLOAT32  # values of up to 6
    assert np.array_equal(made[soft == 1], volume[soft == 1])
    constant = np.full_like(volume, 3)
    assert abs(algebra.filled(constant, soft, "mean") - constant).max() <= 4 * FLOAT32  # 3 has an ulp of two


def test_zero_and_low_passed_backgrounds(maps):
    volume, soft = maps
    assert np.array_equal(algebra.filled(volume, soft), volume * soft)
    made = algebra.filled(volume, soft, "lowpass", resolution=12, voxel_size=2.0)
    low = filters.lowpass(volume, 12, 2.0)
    assert np.array_equal(made[soft == 0], low[soft == 0])
    assert np.array_equal(made[soft == 1], volume[soft == 1])
    with pytest.raises(UsageError, match="needs a resolution"):
        algebra.filled(volume, soft, "lowpass")
    with pytest.raises(UsageError, match="zero, mean, noise, lowpass"):
        algebra.filled(volume, soft, "median")
    with pytest.raises(InputRefused, match="1 everywhere"):
        algebra.filled(volume, np.ones_like(soft), "mean")


def test_noise_has_the_statistics_of_the_outside_and_depends_on_the_seed_alone(xp, monkeypatch):
    random = np.random.default_rng(6)
    volume = (3 + 2 * random.standard_normal((64, 64, 64))).astype(np.float32)
    soft = np.zeros(volume.shape, np.float32)
    soft[20:40, 20:40, 20:40] = 1
    volume[soft == 1] = 100
    made = backend.to_numpy(algebra.filled(xp.asarray(volume), xp.asarray(soft), "noise", seed=7))
    outside = made[soft == 0].astype(np.float64)
    count = len(outside)
    assert np.array_equal(made[soft == 1], volume[soft == 1])
    # five standard errors of a mean, a standard deviation, a skewness, an excess and a correlation of neighbours
    assert abs(outside.mean() - volume[soft == 0].mean(dtype=float)) < 5 * 2 / math.sqrt(count)
    assert abs(outside.std() - volume[soft == 0].std(dtype=float)) < 5 * 2 / math.sqrt(2 * count)
    normal = (outside - 3) / 2
    assert abs((normal**3).mean()) < 5 * math.sqrt(15 / count) + 0.05
    assert abs((normal**4).mean() - 3) < 5 * math.sqrt(96 / count) + 0.1
    plane = (made[:20] - 3) / 2
    for axis in range(3):
        pair = (np.roll(plane, 1, axis) * plane).mean()
        assert abs(pair) < 5 / math.sqrt(plane.size) + 1e-3
    again = backend.to_numpy(algebra.filled(xp.asarray(volume), xp.asarray(soft), "noise", seed=7))
    assert np.array_equal(made, again)
    monkeypatch.setattr(algebra, "NOISE_CHUNK", 1000)
    assert np.array_equal(made, backend.to_numpy(algebra.filled(xp.asarray(volume), xp.asarray(soft), "noise", seed=7)))
    other = backend.to_numpy(algebra.filled(xp.asarray(volume), xp.asarray(soft), "noise", seed=8))
    assert abs(np.corrcoef(other[soft == 0], outside)[0, 1]) < 5 / math.sqrt(count)
    with pytest.raises(UsageError, match="whole number"):
        algebra.filled(volume, soft, "noise", seed=0.5)


@pytest.mark.gpu
def test_noise_is_the_same_on_every_device():
    cupy = pytest.importorskip("cupy")
    if not cupy.is_available():
        pytest.skip("no CUDA device")
    on_host = algebra._noise((20, 30, 40), 3, np)
    assert abs(algebra._noise((20, 30, 40), 3, cupy).get() - on_host).max() < 8 * FLOAT32  # values of up to 5
