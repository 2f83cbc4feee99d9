"""Components (26-connected), holes (6-connected), dust and boxes, against flood fill by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import gpumask as gm
from gpumask import morphology, regions, units
from gpumask.backend import to_numpy

quick = settings(max_examples=80, deadline=None, derandomize=True)
boxes = arrays(bool, st.tuples(*[st.integers(1, 7)] * 3))
FACES = [s for s in itertools.product((-1, 0, 1), repeat=3) if sum(map(abs, s)) == 1]
ALL = [s for s in itertools.product((-1, 0, 1), repeat=3) if any(s)]


def flood(member, seeds, steps):
    """Voxels of `member` that steps from `seeds` reach."""
    reached, todo = set(), [s for s in seeds if member[s]]
    while todo:
        here = todo.pop()
        if here not in reached:
            reached.add(here)
            near = (tuple(h + d for h, d in zip(here, step, strict=True)) for step in steps)
            todo += [n for n in near if all(0 <= i < m for i, m in zip(n, member.shape, strict=True)) and member[n]]
    return reached


def components(foreground):
    """Sets of voxels in scan order of their first."""
    found, rest = [], foreground.copy()
    for seed in map(tuple, np.argwhere(foreground).tolist()):
        if rest[seed]:
            found.append(flood(rest, [seed], ALL))
            rest[tuple(np.array(list(found[-1])).T)] = False
    return found


def as_array(voxels, shape):
    array = np.zeros(shape, bool)
    for voxel in voxels:
        array[voxel] = True
    return array


def line(*lengths, gap=2):
    """Rods of these lengths along x, `gap` apart."""
    return np.concatenate([np.r_[np.ones(n, bool), np.zeros(gap, bool)] for n in lengths])[None, None]


# labels


@quick
@given(boxes)
def test_labels_are_flood_fill_in_scan_order(foreground):
    labels, sizes = regions.label(foreground)
    wanted = components(foreground)
    assert [int(s) for s in sizes] == [len(c) for c in wanted]
    assert ((labels == 0) == ~foreground).all()
    for number, voxels in enumerate(wanted, start=1):
        assert np.array_equal(labels == number, as_array(voxels, foreground.shape))
    assert regions.component_count(foreground) == len(wanted)


@pytest.mark.parametrize("step", ALL)
def test_neighbours_at_a_face_edge_or_corner_are_one(xp, step):
    foreground = xp.zeros((3, 4, 5), bool)
    foreground[1, 1, 1] = foreground[tuple(1 + s for s in step)] = True
    assert regions.component_count(foreground) == 1


@pytest.mark.parametrize("step", [(2, 0, 0), (0, 2, 1), (2, 2, 2)])
def test_two_apart_are_two(xp, step):
    foreground = xp.zeros((3, 4, 5), bool)
    foreground[0, 0, 0] = foreground[step] = True
    assert regions.component_count(foreground) == 2


def test_the_box_does_not_wrap(xp):
    foreground = xp.zeros((3, 4, 5), bool)
    foreground[:, :, 0] = foreground[:, :, -1] = True
    assert regions.component_count(foreground) == 2


# largest, dust


@quick
@given(boxes, st.integers(1, 4))
def test_largest(foreground, count):
    kept = sorted(components(foreground), key=len, reverse=True)[:count]  # sorted is stable: first in scan order
    assert np.array_equal(regions.largest(foreground, count), as_array(set().union(*kept), foreground.shape))


def test_of_equal_components_the_first_stays(xp):
    foreground = xp.asarray(line(2, 3, 3, 3))
    assert np.flatnonzero(to_numpy(regions.largest(foreground))).tolist() == [4, 5, 6]
    assert np.flatnonzero(to_numpy(regions.largest(foreground, 2))).tolist() == [4, 5, 6, 9, 10, 11]
    assert bool((regions.largest(foreground, 9) == foreground).all())
    many = xp.asarray(line(*([2, 3] * 200)))
    assert np.flatnonzero(to_numpy(regions.largest(many, 3))).tolist() == [4, 5, 6, 13, 14, 15, 22, 23, 24]


@pytest.mark.parametrize("count", [0, -1, 1.5, None, "1"])
def test_a_count_that_is_none_is_refused(count):
    with pytest.raises(ValueError, match="components to keep"):
        regions.largest(np.ones((1, 1, 1), bool), count)


@quick
@given(boxes, st.integers(0, 9))
def test_dust_is_below_the_volume(foreground, voxels):
    kept = [c for c in components(foreground) if len(c) >= voxels]
    assert np.array_equal(regions.drop_dust(foreground, voxels), as_array(set().union(*kept), foreground.shape))


def test_dust_threshold_is_exact(xp):
    foreground = xp.asarray(line(1, 4, 5, 6))
    for voxels, left in ((4, 15), (4.000001, 11), (5, 11), (5.5, 6), (6, 6), (6.1, 0), (0, 16), (1, 16), (1.1, 15)):
        assert int(regions.drop_dust(foreground, voxels).sum()) == left


@pytest.mark.parametrize("voxels", [-1, float("nan"), float("inf"), "5"])
def test_a_dust_volume_that_is_none_is_refused(voxels):
    with pytest.raises(ValueError, match="dust"):
        regions.drop_dust(np.ones((1, 1, 1), bool), voxels)


@pytest.mark.parametrize("voxel", [1.4, 1.05, 0.834, 1.1, float(np.float32(1.4))])
def test_a_component_of_just_the_dust_volume_stays(voxel):
    kept = []
    for voxels in range(2, 200):
        volume = gm.Volume(line(voxels, 1).astype(np.float32), voxel)
        dust = voxels * round(voxel, 4) ** 3
        kept.append(regions.drop_dust(volume.data > 0, units.voxels_in(dust, volume.voxel_size)).sum() == voxels)
    assert all(kept)


# hysteresis, flood, clip


@quick
@given(boxes, st.floats(0, 1), st.integers(0, 2**32))
def test_components_that_hold_a_marker(foreground, share, seed):
    markers = np.random.default_rng(seed).random(foreground.shape) < share
    kept = [c for c in components(foreground) if any(markers[voxel] for voxel in c)]
    assert np.array_equal(regions.holding(foreground, markers), as_array(set().union(*kept), foreground.shape))


def test_hysteresis_lies_between_its_two_thresholds(xp):
    field = xp.asarray(np.random.default_rng(2).standard_normal((20, 22, 24)).astype(np.float32))
    last = None
    for high in (1.6, 2.2, 2.8, 3.4):
        kept = regions.holding(field >= 1.4, field >= high)
        assert bool(((field >= high) <= kept).all())
        assert bool((kept <= (field >= 1.4)).all())
        assert last is None or bool((kept <= last).all())
        assert bool((regions.holding(kept, field >= high) == kept).all())
        last = kept
    assert bool((regions.holding(field >= 1.4, field >= 1.4) == (field >= 1.4)).all())
    assert 0 < int(last.sum()) < int((field >= 1.4).sum())


@quick
@given(boxes)
def test_flood_keeps_the_component_of_its_seed(foreground):
    for voxels in components(foreground):
        seed = sorted(voxels)[-1]
        assert np.array_equal(regions.flood(foreground, seed), as_array(voxels, foreground.shape))


def test_seeds_outside_or_in_background_are_refused(xp):
    foreground = xp.asarray(line(2, 3))
    with pytest.raises(
        gm.errors.InputRefused, match=r"the seed, voxel \[2, 0, 0\] \(x, y, z\), is background; move it"
    ):
        regions.flood(foreground, (0, 0, 2))
    for seed in ((0, 0, -1), (1, 0, 0), (0, 0, 9)):
        with pytest.raises(gm.errors.UsageError, match="the seed must lie in the box of 9 x 1 x 1 voxels, got voxel"):
            regions.flood(foreground, seed)


@pytest.mark.parametrize("sampling", [None, (2.0, 1.4, 1.0)])
@pytest.mark.parametrize("centre", [(3, 4, 5), (3.5, 4.2, -1.0)])
@pytest.mark.parametrize("radius", [0, 1, 2.5, 50**0.5, 99])
def test_clip_keeps_what_lies_within_the_sphere(xp, sampling, centre, radius):
    foreground = np.random.default_rng(5).random((8, 9, 10)) < 0.7
    wanted = np.zeros_like(foreground)
    for voxel in np.argwhere(foreground):
        steps = [(v - c) * s for v, c, s in zip(voxel, centre, sampling or (1, 1, 1), strict=True)]
        wanted[tuple(voxel)] = sum(step * step for step in steps) <= radius * radius + 1e-6
    clipped = regions.clip(xp.asarray(foreground), centre, radius, sampling)
    assert np.array_equal(to_numpy(clipped), wanted)
    lower = regions.clip(xp.asarray(foreground[3:]), centre, radius, sampling, first=3)
    assert np.array_equal(to_numpy(lower), wanted[3:])


@pytest.mark.parametrize("radius", [-1, float("nan"), float("inf"), "5"])
def test_a_clip_radius_that_is_none_is_refused(radius):
    with pytest.raises(ValueError, match="clip radius must be >= 0 px"):
        regions.clip(np.ones((1, 1, 1), bool), (0, 0, 0), radius)


# opening and closing

radii = st.sampled_from([0, 1, 1.5, 2, 2.3])


def ball(foreground, radius):
    """Voxels of the box within `radius` of a voxel that is True, tried one by one."""
    reached = np.zeros_like(foreground)
    grid = np.indices(foreground.shape)
    for voxel in np.argwhere(foreground):
        reached |= ((grid - voxel[:, None, None, None]) ** 2).sum(axis=0) <= np.floor(radius**2 + 1e-6)
    return reached


@quick
@given(boxes, radii)
def test_opening_is_where_a_ball_fits(foreground, radius):
    fits = ~ball(~foreground, radius)
    assert np.array_equal(morphology.opening(foreground, radius), ball(fits, radius))
    assert np.array_equal(morphology.closing(foreground, radius), ~ball(~ball(foreground, radius), radius))


@quick
@given(boxes, radii)
def test_laws_of_opening_and_closing(foreground, radius):
    opened, closed = (change(foreground, radius) for change in (morphology.opening, morphology.closing))
    assert not (opened & ~foreground).any()
    assert not (foreground & ~closed).any()
    assert np.array_equal(morphology.opening(opened, radius), opened)
    assert np.array_equal(morphology.closing(closed, radius), closed)
    assert np.array_equal(~morphology.opening(~foreground, radius), closed)


@pytest.mark.parametrize("sampling", [None, (2.0, 1.4, 1.0)])
def test_a_bridge_is_cut_and_a_cleft_is_closed(xp, sampling):
    foreground = xp.zeros((16, 20, 40), bool)
    foreground[3:13, 4:16, 3:17] = foreground[3:13, 4:16, 23:37] = True
    bridged = foreground.copy()
    bridged[7:9, 9:11, 17:23] = True
    opened = morphology.opening(bridged, 3, sampling)
    assert regions.component_count(bridged) == 1
    assert regions.component_count(opened) == 2
    assert bool((opened <= bridged).all())
    closed = morphology.closing(foreground, 4, sampling)
    assert regions.component_count(closed) == 1
    assert bool(closed[8, 10, 20])


# holes


@quick
@given(boxes)
def test_holes_are_background_that_6_steps_do_not_join_to_a_face(foreground):
    inner = tuple(slice(1, max(n - 1, 1)) for n in foreground.shape)
    on_a_face = np.ones(foreground.shape, bool)
    on_a_face[inner] = False
    faces = map(tuple, np.argwhere(on_a_face).tolist())
    outside = flood(~foreground, faces, FACES)
    assert np.array_equal(regions.fill_holes(foreground), ~as_array(outside, foreground.shape))


def shell():
    foreground = np.zeros((7, 7, 7), bool)
    foreground[1:-1, 1:-1, 1:-1] = True
    foreground[3, 3, 3] = False
    foreground[2:5, 2:5, 2:5] = False
    return foreground


@pytest.mark.parametrize(
    ("opening", "filled"),
    [((1, 1, 1), True), ((1, 1, 3), True), ((3, 1, 3), False), ((3, 3, 5), False)],
    ids=["corner", "edge", "face y", "face x"],
)
def test_a_leak_across_an_edge_or_corner_is_none(xp, opening, filled):
    foreground = shell()
    foreground[opening] = False
    assert bool(regions.fill_holes(xp.asarray(foreground))[3, 3, 3]) == filled


def test_a_cavity_open_at_the_face_of_the_box_stays(xp):
    foreground = xp.asarray(shell()[1:-1, 1:-1, 3:])
    assert bool((regions.fill_holes(foreground) == foreground).all())
    assert bool(regions.fill_holes(xp.asarray(shell()[1:-1, 1:-1, 1:-1])).all())


# boxes, and nothing at all


@quick
@given(boxes)
def test_bounding_box_holds_everything_tightly(foreground):
    box = regions.bounding_box(foreground)
    if not foreground.any():
        assert box is None
        return
    hits = np.argwhere(foreground)
    assert box == tuple(slice(lo, hi + 1) for lo, hi in zip(hits.min(0).tolist(), hits.max(0).tolist(), strict=True))


def test_bounding_box_per_axis(xp):
    foreground = xp.zeros((5, 7, 11), bool)
    assert regions.bounding_box(foreground) is None
    foreground[4, 2, 10] = True
    assert regions.bounding_box(foreground) == (slice(4, 5), slice(2, 3), slice(10, 11))
    foreground[1, 3, 6] = True
    assert regions.bounding_box(foreground) == (slice(1, 5), slice(2, 4), slice(6, 11))
    assert regions.bounding_box(~(foreground & False)) == (slice(0, 5), slice(0, 7), slice(0, 11))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 9), (4, 4, 4)])
def test_nothing_and_everything(xp, shape):
    empty, full = xp.zeros(shape, bool), xp.ones(shape, bool)
    for clean in (regions.largest, regions.fill_holes, lambda array: regions.drop_dust(array, 1)):
        assert not bool(clean(empty).any())
        assert bool(clean(full).all())
    assert regions.component_count(empty) == 0
    assert regions.component_count(full) == 1
    assert not bool(empty.any())
    assert bool(full.all())


# The bodies of counts and sums, with and without numba


@quick
@given(boxes)
def test_as_many_components_as_flood_fill_finds(foreground):
    wanted = len(components(foreground))
    assert regions.component_count(foreground) == wanted
    assert regions.component_count(np.asfortranarray(foreground)) == wanted


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.9])
def test_components_are_counted_like_labels(xp, loops, share):
    foreground = xp.asarray(np.random.default_rng(3).random((19, 23, 29)) < share)
    assert regions.component_count(foreground) == len(regions.label(foreground)[1])


def test_a_spiral_is_one_component(loops):
    """Long ways round: runs that meet late are of one component all the same."""
    comb = np.zeros((3, 41, 41), bool)
    comb[1, ::2] = True
    assert regions.component_count(comb) == 21
    comb[1, 1::4, -1] = comb[1, 3::4, 0] = True
    assert regions.component_count(comb) == 1
    assert regions.component_count(comb.transpose(2, 0, 1)) == 1
