"""Watershed by steepest ascent, grouping by smoothing, facts of regions: laws, an oracle, and Segger's own result."""

import itertools

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from gpumask import backend, filters, io, mask, watershed
from gpumask._cpu import threads
from gpumask.errors import InputRefused, UsageError

quick = settings(max_examples=120, deadline=None, derandomize=True)
STEPPED = arrays(np.int8, st.tuples(*[st.integers(1, 6)] * 3), elements=st.integers(0, 3))
RANDOM = np.random.default_rng(0)
NOISE = ndimage.gaussian_filter(RANDOM.standard_normal((21, 34, 27)), 1.2)
# its ranks from -0.5 to 0.5: no two voxels are equal
ROUGH = (NOISE.reshape(-1).argsort().argsort().reshape(NOISE.shape) / NOISE.size - 0.5).astype(np.float32)


def in_scan_order(labels):
    """The same partition, numbered 1…n in scan order of the first voxels."""
    numbers, first = np.unique(labels, return_index=True)
    numbers = numbers[np.argsort(first)]
    renumbered = np.zeros(labels.max() + 1, np.int32)
    renumbered[numbers[numbers > 0]] = np.arange(1, (numbers > 0).sum() + 1)
    return renumbered[labels]


def gaussians(shape, centres, sigma):
    """A sum of Gaussians with standard deviations (z, y, x)."""
    grid = np.indices(shape)
    squares = (sum(((axis - c) / s) ** 2 for axis, c, s in zip(grid, centre, sigma, strict=True)) for centre in centres)
    return sum(np.exp(-square / 2) for square in squares).astype(np.float32)


# labels


@quick
@given(STEPPED, st.integers(1, 3), st.sampled_from(watershed.STYLES))
def test_labels_are_those_of_the_oracle(array, level, style):
    if array.max() < level:
        with pytest.raises(InputRefused, match="the map's maximum is"):
            watershed.label(array, level, style)
        return
    wanted = oracles.watershed(array.astype(np.float32), level, style == "gpumask")
    assert np.array_equal(watershed.label(array, level, style), wanted)


@pytest.mark.parametrize("style", watershed.STYLES)
@pytest.mark.parametrize("values", [2, 4, 30, None])
@pytest.mark.parametrize("shape", [(11, 12, 13), (1, 14, 15), (40, 1, 3), (1, 1, 60)])
def test_both_loops_on_any_number_of_threads_give_the_same(loops, monkeypatch, shape, values, style):
    array = RANDOM.standard_normal(shape) if values is None else RANDOM.integers(values, size=shape)
    array = array.astype(np.float32)
    array.reshape(-1)[-1] = 1
    wanted = oracles.watershed(array, 0.5, style == "gpumask")
    for count in (1, 2, 7):
        monkeypatch.setattr(threads, "count", lambda count=count: count)
        found = watershed.label(array, 0.5, style)
        assert found.dtype == np.int32
        assert np.array_equal(found, wanted)


@pytest.mark.parametrize("sigma", [(2.0, 2.0, 2.0), (1.2, 2.0, 3.0)])
@pytest.mark.parametrize("count", [1, 2, 5, 12])
def test_as_many_regions_as_gaussians_far_apart(xp, count, sigma):
    shape = (40, 56, 70)
    corners = [np.array(corner) for corner in itertools.product((10, 30), (10, 28, 46), (12, 35, 58))]
    centres = [corners[i] + RANDOM.uniform(-1.4, 1.4, 3) for i in RANDOM.permutation(len(corners))[:count]]
    volume = gaussians(shape, centres, sigma)
    labels = watershed.label(xp.asarray(volume), 0.02)
    found = watershed.leaves(labels, xp.asarray(volume))
    assert len(found) == count
    truth = {tuple(np.rint(centre).astype(int).tolist()): centre for centre in centres}
    assert set(map(tuple, found.peak.tolist())) == truth.keys()
    for peak, centre in zip(found.peak.tolist(), found.centre, strict=True):
        assert np.abs(centre - truth[tuple(peak)]).max() < 0.5  # px; a ball of voxels is symmetric to that much


@pytest.mark.parametrize("level", [-0.1, 0.2])
@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", [(), (0,), (1, 2), (0, 1, 2)])
def test_regions_turn_and_mirror_with_the_map(xp, axes, flips, level):
    turned = np.flip(ROUGH, flips).transpose(axes)
    found = backend.to_numpy(watershed.label(xp.asarray(turned), level))
    there = np.flip(backend.to_numpy(watershed.label(xp.asarray(ROUGH), level)), flips).transpose(axes)
    assert there.max() > 50
    assert np.array_equal(found, in_scan_order(there))


def test_regions_do_not_depend_on_what_is_below_the_level():
    labels = watershed.label(ROUGH, 0.1)
    assert np.array_equal(labels > 0, mask.threshold(ROUGH, 0.1))
    assert np.array_equal(
        watershed.label(np.where(labels > 0, ROUGH, RANDOM.uniform(-9, 0.09, ROUGH.shape)), 0.1), labels
    )


@pytest.mark.parametrize("shift", [-1000, 0, 1000])
def test_two_styles_differ_on_plateaus_only(xp, shift):
    line = xp.asarray([[[1, 3, 3, 2, 3, 4, 4, 1, 2, 2]]]) + shift
    assert watershed.label(line, 1 + shift).tolist() == [[[1, 1, 1, 1, 2, 2, 2, 2, 3, 3]]]
    assert watershed.label(line, 1 + shift, "segger").tolist() == [[[1, 1, 2, 2, 3, 3, 4, 4, 5, 6]]]
    rough = xp.asarray(ROUGH)
    assert bool((watershed.label(rough, 0) == watershed.label(rough, 0, "segger")).all())


def test_a_plateau_goes_where_its_first_climbing_border_goes(xp):
    """4 above the left half of a plateau of 3, 5 above the right: all of the plateau's own voxels go to the first."""
    plateau = xp.full((1, 3, 9), 3)
    plateau[0, 0, 0], plateau[0, 2, 8] = 4, 5
    labels = watershed.label(plateau, 1)
    assert labels[0].tolist() == [[1] * 9, [1] * 7 + [2, 2], [1] * 7 + [2, 2]] or pytest.fail(str(labels.tolist()))


def test_a_binary_map_is_its_components_or_its_voxels(xp):
    binary = xp.zeros((6, 7, 8), bool)
    binary[1:3, 1:4, 1:5] = binary[4:, 5:, 6:] = True
    assert watershed.leaves(watershed.label(binary, 1), binary).voxels.tolist() == [24, 8]
    assert int(watershed.label(binary, 1, "segger").max()) == 32


def test_zeros_of_both_signs_are_equal_and_subnormals_are_not(xp):
    tiny = np.array([[[0.0, -0.0, 1e-45, -0.0, 0.0, 3e-45, 2e-45]]], np.float32)
    assert watershed.label(xp.asarray(tiny), 0).tolist() == [[[1, 1, 1, 1, 2, 2, 2]]]


def test_a_level_is_rounded_as_the_map_is(xp):
    array = xp.asarray([[[0.7, 0.6]]], xp.float32)
    assert watershed.label(array, 0.7).tolist() == [[[1, 0]]]


# Segger


@pytest.fixture(scope="module")
def segger(data):
    """Map, labels and the groups that smoothing made: {smoothing: {leaves: point}}."""
    h5py = pytest.importorskip("h5py", reason="the extra `segger` is not installed")
    volume = io.read(data / "maps" / "emd_1832.map.gz").data
    with h5py.File(data / "segger" / "emd_1832.seg") as file:
        labels, numbers, parents = (file[name][:].astype(int) for name in ("mask", "region_ids", "parent_ids"))
        points, levels = file["ref_points"][:].astype(int)[:, ::-1], file["smoothing_levels"][:]
    inside = {int(n): {int(n)} for n in numbers[:28]}
    for number in numbers[28:].tolist():
        inside[number] = set().union(*(inside[child] for child in numbers[parents == number].tolist()))
    made = [
        (float(level), frozenset(inside[number]), tuple(point))
        for number, level, point in zip(numbers.tolist(), levels, points.tolist(), strict=True)
        if level > 0
    ]
    return volume, labels, points[:28], made


@pytest.mark.parametrize("style", watershed.STYLES)
def test_regions_are_those_of_segger(segger, style):
    """All 5910 voxels have Segger's own numbers: no two neighbours of this map tie where it would matter."""
    volume, wanted, peaks, _ = segger
    labels = watershed.label(volume, 0.42, style)
    assert (wanted > 0).sum() == 5910
    assert labels.max() == 28
    assert np.array_equal(labels, wanted)
    assert np.array_equal(watershed.leaves(labels, volume).peak, peaks)


def test_groups_are_those_of_segger(segger):
    """The five groups that smoothing made and that were not taken apart by hand, and where their maxima went."""
    volume, labels, peaks, wanted = segger
    inside = {number: {number} for number in range(1, 29)}
    found = set()
    for group in watershed.group(volume, labels):
        inside[group.number] = set().union(*(inside[child] for child in group.children))
        found.add((group.smoothing, frozenset(inside[group.number])))
    assert len(wanted) == 5
    assert {(level, leaves) for level, leaves, _ in wanted} <= found
    for sigma, leaves, point in wanted:
        if sigma == 1:
            starts = peaks[np.array(sorted(leaves)) - 1]
            assert (watershed._climbed(volume, starts, sigma) == point).all()


# groups


def climbed(array, point, sigma):
    """The oracle's way: in the whole smoothed map, a voxel at a time."""
    smooth = filters.gaussian(array, sigma, 1)
    while True:
        higher = max([point, *oracles.box(point, array.shape)], key=smooth.__getitem__)
        if higher == point:
            return point
        point = higher


@pytest.mark.parametrize("sigma", [0.7, 1.0, 2.5, 4.0])
def test_points_climb_in_the_whole_smoothed_map(xp, sigma):
    volume = xp.asarray(ROUGH)
    peaks = watershed.leaves(watershed.label(volume, 0.3), volume).peak
    for points in (peaks, peaks[:1], peaks[-2:]):
        found = watershed._climbed(volume, points, sigma)
        assert found.tolist() == [list(climbed(ROUGH, tuple(point), sigma)) for point in points.tolist()]


def test_groups_are_those_of_points_that_climb_in_the_whole_smoothed_map():
    """Round by round, the point of a group being where its members met."""
    labels = watershed.label(ROUGH, 0.3)
    points = {n: tuple(p) for n, p in enumerate(watershed.leaves(labels, ROUGH).peak.tolist(), 1)}
    wanted, following = [], len(points) + 1
    for sigma in (0.7, 1.4, 2.1, 2.8, 3.5):
        met = {}
        for number, point in points.items() if len(points) > 1 else ():
            met.setdefault(climbed(ROUGH, point, sigma), []).append(number)
        for children, end in sorted((sorted(numbers), end) for end, numbers in met.items() if len(numbers) > 1):
            wanted.append((following, tuple(children), pytest.approx(sigma)))
            points = {n: p for n, p in points.items() if n not in children} | {following: end}
            following += 1
    assert len({group[2].expected for group in wanted}) > 2  # so that points of groups climb on
    assert [tuple(group) for group in watershed.group(ROUGH, labels, 5, 0.7)] == wanted


def test_labels_up_to_the_highest_are_told_apart():
    one, other = watershed.HIGHEST, watershed.HIGHEST - 1
    assert watershed.contacts(np.array([[[one, other]]])).tolist() == [[other, one, 1]]


def test_two_bumps_join_where_they_climb_far_away(xp):
    """Both lie 30 voxels from a broad hill: more than the part of the map that is smoothed first."""
    hill = 5 * gaussians((24, 24, 70), [(12, 12, 50)], (20, 20, 20))
    volume = hill + gaussians(hill.shape, [(12, 10, 20), (12, 14, 20)], (1, 1, 1))
    labels = np.zeros(hill.shape, np.int32)
    labels[12, 10, 20], labels[12, 14, 20] = 1, 2
    groups = watershed.group(xp.asarray(volume), xp.asarray(labels), steps=4, step=1.5)
    assert groups == (watershed.Group(3, (1, 2), groups[0].smoothing),)
    end = watershed._climbed(xp.asarray(volume), np.array([[12, 10, 20]]), 6.0)
    assert np.abs(end - [[12, 12, 50]]).max() <= 1


def test_groups_form_a_tree(xp):
    volume = xp.asarray(ROUGH)
    labels = watershed.label(volume, 0.1)
    groups = watershed.group(volume, labels, steps=8, step=0.5)
    count = int(labels.max())
    assert [group.number for group in groups] == list(range(count + 1, count + 1 + len(groups)))
    children = [child for group in groups for child in group.children]
    assert len(children) == len(set(children))
    assert all(
        len(g.children) > 1 and list(g.children) == sorted(g.children) and g.children[-1] < g.number for g in groups
    )
    order = [(group.smoothing, group.children[0]) for group in groups]
    assert order == sorted(order)
    assert {group.smoothing for group in groups} <= {0.5 * i for i in range(1, 9)}
    shorter = watershed.group(volume, labels, steps=3, step=0.5)
    assert groups[: len(shorter)] == shorter
    assert len(shorter) < len(groups)


def test_grouping_ends_with_one_region():
    volume = gaussians((20, 20, 40), [(10, 10, 17), (10, 10, 23)], (2, 2, 2))
    labels = watershed.label(volume, 0.1)
    assert watershed.group(volume, labels, steps=9) == (watershed.Group(3, (1, 2), 3.0),)
    assert watershed.group(volume, (labels > 0).astype(int)) == ()


# facts


@pytest.mark.parametrize("corner", [(0, 0, 0), (3, 1, 2)])
def test_facts_of_leaves(xp, corner):
    volume = np.pad(ROUGH, [(c, 1) for c in corner], constant_values=-1)
    labels = backend.to_numpy(watershed.label(xp.asarray(volume), 0.1))
    found = watershed.leaves(xp.asarray(labels), xp.asarray(volume))
    numbers = np.arange(1, labels.max() + 1)
    assert found.voxels.sum() == (volume >= np.float32(0.1)).sum()
    assert np.array_equal(found.voxels, np.bincount(labels.reshape(-1))[1:])
    # two orders of float64 sums of at most `voxels` values
    slack = found.voxels * np.finfo(float).eps * found.total
    assert (np.abs(found.total - ndimage.sum_labels(volume.astype(float), labels, numbers)) <= slack).all()
    assert np.array_equal(found.highest, ndimage.maximum(volume, labels, numbers))
    assert np.array_equal(found.peak, ndimage.maximum_position(volume, labels, numbers))
    assert np.allclose(found.centre, ndimage.center_of_mass(labels > 0, labels, numbers), rtol=0, atol=1e-10)
    bounds = [[[s.start, s.stop] for s in box] for box in ndimage.find_objects(labels)]
    assert np.array_equal(np.stack([found.low, found.high], axis=2), bounds)


def test_the_peak_of_a_plateau_is_its_first_voxel(xp):
    volume = xp.asarray([[[1, 2, 2, 0], [2, 1, 0, 3]]])
    labels = xp.asarray([[[1, 1, 1, 0], [1, 1, 0, 2]]])
    assert watershed.leaves(labels, volume).peak.tolist() == [[0, 0, 1], [0, 1, 3]]


@pytest.mark.parametrize("shape", [(7, 8, 9), (1, 9, 9), (12, 1, 1)])
def test_contacts_are_faces_that_two_leaves_share(xp, shape):
    labels = RANDOM.integers(0, 5, shape)
    labels[0, 0, 0] = 4
    faces = {}
    for voxel in np.argwhere(labels):
        for axis in range(3):
            other = voxel + np.eye(3, dtype=int)[axis]
            if other[axis] < shape[axis]:
                a, b = sorted((int(labels[tuple(voxel)]), int(labels[tuple(other)])))
                if 0 < a < b:
                    faces[a, b] = faces.get((a, b), 0) + 1
    found = watershed.contacts(xp.asarray(labels))
    assert found.dtype == np.int64
    assert found.tolist() == [[a, b, count] for (a, b), count in sorted(faces.items())]
    mirrored = watershed.contacts(xp.asarray(labels[::-1, ::-1, ::-1]))
    assert np.array_equal(mirrored, found)


def test_one_region_has_no_contacts(xp):
    assert watershed.contacts(xp.ones((2, 3, 4), int)).shape == (0, 3)


# refusals

GOOD = np.ones((2, 3, 4), np.float32)
NUMBERS = GOOD.astype(int)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: watershed.label(GOOD, np.nan), UsageError, "level must be a finite number, got nan"),
        (lambda: watershed.label(GOOD, 10**400), UsageError, "level must be a finite number, got 1000"),
        (lambda: watershed.label(GOOD, "3"), UsageError, "level must be a finite number, got '3'"),
        (lambda: watershed.label(GOOD, 0.5, "chimera"), UsageError, "style must be one of gpumask, segger"),
        (lambda: watershed.label(GOOD[0], 0.5), UsageError, "three axes"),
        (lambda: watershed.label(GOOD[:0], 0.5), UsageError, "some voxels"),
        (lambda: watershed.label(GOOD, 1.5), InputRefused, "level 1.5 gives no region: the map's maximum is 1; lower"),
        (lambda: watershed.label(GOOD * np.nan, 1), InputRefused, "NaN or infinity"),
        (lambda: watershed.label(np.array([[[1, -np.inf]]]), 1), InputRefused, "NaN or infinity"),
        (lambda: watershed.group(GOOD, NUMBERS, -1), UsageError, "number of smoothing steps must be a whole number"),
        (lambda: watershed.group(GOOD, NUMBERS, False), UsageError, "number of smoothing steps must be a whole number"),
        (lambda: watershed.group(GOOD, NUMBERS, 10**9), UsageError, "steps must be a whole number from 0 to 1000"),
        (lambda: watershed.group(GOOD, NUMBERS, 0, -4), UsageError, "smoothing step must be a number > 0 voxels"),
        (lambda: watershed.group(GOOD, NUMBERS, 0, "x"), UsageError, "smoothing step must be a number > 0 voxels"),
        (lambda: watershed.group(GOOD * np.nan, NUMBERS), InputRefused, "NaN or infinity"),
        (lambda: watershed.group(np.array([[[1.0, np.nan]]]), np.array([[[1, 0]]])), InputRefused, "NaN or infinity"),
        (lambda: watershed.leaves(NUMBERS, GOOD * np.nan), InputRefused, "NaN or infinity"),
        (lambda: watershed.leaves(NUMBERS, GOOD * 1j), UsageError, "real numbers, got complex64"),
        (lambda: watershed.label(GOOD * 1j, 1), UsageError, "real numbers, got complex64"),
        (lambda: watershed.label(np.array([[[1e300, 1]]]), 1), InputRefused, "NaN or infinity"),
        (lambda: watershed.contacts(NUMBERS * (watershed.HIGHEST + 1)), UsageError, "at most 3037000498"),
        (lambda: watershed.group(GOOD, NUMBERS, 2, 0), UsageError, "smoothing step must be a number > 0 voxels"),
        (lambda: watershed.group(GOOD, NUMBERS, 2, np.inf), UsageError, "smoothing step must be a number > 0 voxels"),
        (lambda: watershed.group(GOOD, NUMBERS[:1]), UsageError, "one shape, got 4 x 3 x 1 and 4 x 3 x 2 voxels"),
        (lambda: watershed.leaves(NUMBERS * 2, GOOD), InputRefused, "the numbers 1 to 2 without gaps"),
        (lambda: watershed.leaves(NUMBERS * 10**9, GOOD), InputRefused, "the numbers 1 to 1000000000 without gaps"),
        (lambda: watershed.leaves(NUMBERS * 0, GOOD), InputRefused, "there is no region"),
        (lambda: watershed.leaves(-NUMBERS, GOOD), UsageError, "whole numbers >= 0, got int64 from -1"),
        (lambda: watershed.contacts(GOOD), UsageError, "whole numbers >= 0, got float32"),
    ],
)  # fmt: skip
def test_refusals(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


# benchmark


def test_the_benchmark_agrees_with_its_peers():
    from gpumask.benchmarks import watershed as benchmark

    tables = list(benchmark.tables(48))
    errors = [case.error for table in tables for case in table.cases if case.error is not None]
    assert len(errors) >= 2 * 3
    assert not any(errors)
