"""Segmentations: what is found, what operations do, undo and redo, selections in words, exports, JSON."""

import functools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpumask as gm
from gpumask import backend, filters, grids, region_file, region_tree, segmentation, thresholds, units, watershed
from gpumask.errors import InputRefused, UsageError
from gpumask.volume import Header

SHAPE, VOXEL, ORIGIN = (26, 30, 34), 2.0, (30.0, -20.0, 10.0)
CENTRES = ((5, 6, 6), (5, 6, 26), (5, 22, 6), (18, 20, 26), (19, 8, 8), (18, 12, 14))
SIGMAS = (2.5, 2.0, 1.8, 3.0, 2.2, 2.2)
LEVEL = 0.25
SUMS = 1e-12  # of float64 sums of float32 densities, added in other orders


def blobs(shape=SHAPE, centres=CENTRES, sigmas=SIGMAS):
    index = np.indices(shape, float)
    square = [((index - np.array(c)[:, None, None, None]) ** 2).sum(axis=0) for c in centres]
    heights = np.linspace(1, 0.8, len(centres))
    each = [h * np.exp(-0.5 * d / s**2) for h, d, s in zip(heights, square, sigmas, strict=True)]
    return sum(each).astype(np.float32)


@functools.cache
def volume():
    return gm.Volume(blobs(), VOXEL, Header(origin=ORIGIN))


@functools.cache
def found():
    """Six leaves, 5 and 6 (in scan order 4 and 6, whichever) touching."""
    return gm.segment(volume(), LEVEL, steps=1, step=0.1)


@functools.cache
def tree():
    """Nine leaves in a row of cubes under two levels of groups: 10 = 1 2 3, 11 = 4 5 at 1 px; 12 = 10 6 at 2 px; 7, 8
    and 9 alone, 9 in a corner of the box."""
    labels = np.zeros((12, 12, 36), np.int32)
    for number in range(1, 10):
        low = 3 if number < 9 else 0
        labels[low : low + 3, 4:8, 4 * (number - 1) : 4 * number] = number
    array = labels + np.float32(0.5)
    groups = (
        watershed.Group(10, (1, 2, 3), 1.0),
        watershed.Group(11, (4, 5), 1.0),
        watershed.Group(12, (6, 10), 2.0),
    )
    made, notes = segmentation.from_labels(labels, gm.Volume(array, 2, Header(origin=(2.0, 4.0, 6.0))), groups)
    assert notes == []
    return made


def top(segmented):
    return sorted(segmented.state.top)


def parts(state):
    """What people see: not the numbers that were used before."""
    return state.children, state.top, state.hidden, state.selection, state.deleted


# finding


def test_gaussians_well_apart_are_a_region_each():
    apart = ((6, 6, 6), (6, 6, 26), (6, 22, 6), (18, 22, 26), (19, 7, 16))
    made = gm.segment(blobs(centres=apart, sigmas=(1.8,) * 5), 0.3, voxel_size=VOXEL)
    assert len(made.regions) == 5
    assert sorted(tuple(map(round, region.centre)) for region in made.regions) == sorted(apart)


def test_the_parts_are_those_of_the_watershed(xp):
    array = xp.asarray(blobs())
    made = gm.segment(gm.Volume(array, VOXEL), "0.3max", gaussian="3A", steps=3, step=1.5, style="segger")
    smooth = filters.gaussian(array, 3.0, VOXEL)
    level = thresholds.level(smooth, "0.3max", VOXEL).value
    labels = watershed.label(smooth, level, "segger")
    assert isinstance(made.labels.data, np.ndarray)
    assert np.array_equal(made.labels.data, backend.to_numpy(labels))
    assert made.groups == watershed.group(smooth, labels, 3, 1.5)
    assert made.leaves.total.sum() == pytest.approx(
        float(array[labels > 0].sum(dtype="float64")), rel=SUMS
    )  # the map as given
    assert made.facts["level"] == level
    assert (made.facts["gaussian_angstrom"], made.facts["style"]) == (3.0, "segger")


def test_the_low_pass_is_that_of_masks():
    made = gm.segment(volume(), 0.2, lowpass="12A")
    labels = watershed.label(filters.lowpass(volume().data, 12.0, VOXEL), 0.2)
    assert np.array_equal(made.labels.data, labels)
    assert made.labels.origin == ORIGIN


def test_without_steps_there_are_no_groups():
    assert gm.segment(volume(), LEVEL, steps=0).groups == ()


@pytest.mark.parametrize(("options", "error", "text"), [
    ({"level": 9}, InputRefused, "maximum"),
    ({"level": "lots"}, UsageError, "threshold"),
    ({"level": 0.2, "gaussian": 2, "lowpass": 9}, UsageError, "one filter"),
    ({"level": 0.2, "gaussian": "2px"}, UsageError, "in Å"),
    ({"level": 0.2, "style": "other"}, UsageError, "style"),
    ({"level": 0.2, "steps": -1}, UsageError, "steps"),
    ({"level": 0.2, "steps": False}, UsageError, "steps"),
    ({"level": 0.2, "steps": 0, "step": "x"}, UsageError, "step"),
])  # fmt: skip
def test_what_cannot_be_segmented_is_refused(options, error, text):
    with pytest.raises(error, match=text):
        gm.segment(volume(), **options)


@pytest.mark.parametrize(("array", "error", "text"), [
    (blobs() * 1j, UsageError, "real numbers"),
    (blobs().astype(float) * 1e300, InputRefused, "NaN"),
    (blobs() * np.nan, InputRefused, "NaN"),
])  # fmt: skip
def test_maps_that_cannot_be_segmented_are_refused(array, error, text):
    with pytest.raises(error, match=text):
        gm.segment(array, 0.2, voxel_size=VOXEL)


def test_an_array_needs_its_voxel_size():
    with pytest.raises(TypeError, match="voxel_size"):
        gm.segment(blobs(), LEVEL)


# measures


def test_regions_are_measured_as_their_voxels_are():
    made = found().group([1, 3])
    array, labels = volume().data.astype(float), made.label_map("all").data
    assert sum(region.voxels for region in made.regions) == (volume().data >= np.float32(LEVEL)).sum()
    for region in made.regions:
        where = np.argwhere(labels == region.number)
        values = array[labels == region.number]
        assert region.voxels == len(where)
        assert region.volume_angstrom3 == len(where) * VOXEL**3
        assert region.mass_kda == pytest.approx(len(where) * VOXEL**3 * 0.81 / 1000, rel=SUMS)
        assert region.mean == pytest.approx(values.mean(), rel=SUMS)
        assert region.highest == values.max()
        assert region.centre == pytest.approx(tuple(where.mean(axis=0)), rel=SUMS)
        assert (region.low, region.high) == (tuple(where.min(axis=0)), tuple(where.max(axis=0) + 1))
    voxels = [region.voxels for region in made.regions]
    assert voxels == sorted(voxels, reverse=True)


def test_neighbours_share_faces():
    made = tree()
    near = {region.number: region.neighbours for region in made.regions}
    assert near == {7: (8, 12), 8: (7,), 9: (), 11: (12,), 12: (7, 11)}
    flat = made.ungroup().ungroup()
    assert {r.number: r.neighbours for r in flat.regions}[4] == (3, 5)
    gone = flat.delete([5])
    assert {r.number: r.neighbours for r in gone.regions}[4] == (3,)


def test_smoothing_and_leaves_of_regions():
    by = {region.number: region for region in tree().group([7, 8]).regions}
    assert (by[12].leaves, by[12].smoothing) == ((1, 2, 3, 6), 2.0)
    assert (by[13].leaves, by[13].smoothing) == ((7, 8), 0.0)


# operations


def test_group_makes_a_new_visible_selected_region():
    made = tree().hide([7]).group([7, 8])
    assert top(made) == [9, 11, 12, 13]
    assert (made.state.selection, made.state.hidden) == ({13}, set())
    assert made.state.children[13] == (7, 8)
    assert top(made.ungroup([13]).group([9, 11])) == [7, 8, 12, 14]  # 13 is not used twice
    assert top(made.undo().group([9, 11])) == [7, 8, 12, 13]  # but what was undone never was


def test_ungroup_puts_members_in_place():
    made = tree().hide([12]).ungroup([12])
    assert top(made) == [6, 7, 8, 9, 10, 11]
    assert (made.state.hidden, made.state.selection) == ({6, 10}, {6, 10})


def test_ungroup_with_nothing_selected_takes_back_one_step_of_smoothing():
    one = tree().group([7, 8]).select("none").ungroup()
    assert top(one) == [6, 9, 10, 11, 13]
    two = one.ungroup()
    assert top(two) == [1, 2, 3, 4, 5, 6, 9, 13]  # the group made by hand stays
    assert not two.state.selection
    with pytest.raises(UsageError, match="no step of smoothing"):
        two.ungroup()


def test_hidden_regions_stay_selected_and_deleted_ones_do_not():
    made = tree().select([7, 8]).hide()
    assert (made.state.selection, made.state.hidden) == ({7, 8}, {7, 8})
    gone = made.delete([7])
    assert (gone.state.selection, gone.state.hidden, gone.state.deleted) == ({8}, {8}, {7})
    assert gone.undo().state == made.state
    assert top(gone.show("all")) == [8, 9, 11, 12]


def test_only_shows_these_alone():
    made = tree().hide([7]).only([7, 8])
    assert made.state.hidden == {9, 11, 12}
    assert made.show("all").state.hidden == set()


def test_the_selection_is_set_added_to_taken_from_and_inverted():
    made = tree().select([7, 8])
    assert made.select(9).state.selection == {9}
    assert made.select("9,11", add=True).state.selection == {7, 8, 9, 11}
    assert made.select("all", remove=True).state.selection == set()
    assert made.select("7", "largest:1").state.selection == {7, 12}
    assert made.hide([9]).invert_selection().state.selection == {9, 11, 12}
    with pytest.raises(UsageError, match="one of add and remove"):
        made.select(9, add=True, remove=True)


@pytest.mark.parametrize("act", [
    lambda s: s.hide([7]), lambda s: s.show([8]), lambda s: s.select([8]), lambda s: s.only("visible"),
])  # fmt: skip
def test_what_changes_nothing_is_no_operation(act):
    made = tree().hide([7]).select(8)
    assert act(made) is made


@pytest.mark.parametrize(("act", "text"), [
    (lambda s: s.hide(), "no region is selected"),
    (lambda s: s.group([7]), "two or more"),
    (lambda s: s.ungroup([7]), "region 7 is as the watershed found it"),
    (lambda s: s.hide([99]), "there is no region 99; regions are 7 to 9, 11, 12$"),
    (lambda s: s.hide([5]), "region 5 is part of 11: ungroup it first"),
    (lambda s: s.hide([3]), "region 3 is part of 12: ungroup it first"),
    (lambda s: s.delete([11]).hide([4]), "region 4 is deleted with 11: undo"),
    (lambda s: s.delete([9]).hide([9]), "region 9 is deleted: undo"),
    (lambda s: s.ungroup([12]).hide([12]), "12 has been ungrouped"),
    (lambda s: s.hide([7.5]), "whole numbers or words"),
    (lambda s: s.hide([True]), "whole numbers or words"),
    (lambda s: s.hide("hidden"), "'hidden' names no region"),
    (lambda s: s.undo(), "nothing can be undone"),
    (lambda s: s.redo(), "nothing can be done again"),
    (lambda s: s.hide([7]).undo(2), "only 1 operation can be undone, wanted 2"),
    (lambda s: s.hide([7]).undo(0), ">= 1"),
])  # fmt: skip
def test_what_cannot_be_done_is_refused_with_help(act, text):
    with pytest.raises(UsageError, match=text):
        act(tree())


# laws


@st.composite
def sequences(draw):
    """The tree after up to twelve operations on regions that are there."""
    states = [tree()]
    for _ in range(draw(st.integers(0, 12))):
        now = states[-1]
        chosen = draw(st.sets(st.sampled_from(top(now)), min_size=1)) if now.state.top else set()
        word = draw(st.sampled_from(("select", "invert", "group", "ungroup", "back", "hide", "show", "only", "delete")))
        groups = chosen & now.state.children.keys()
        if word == "select":
            states.append(now.select(chosen, add=draw(st.booleans())))
        elif word == "invert":
            states.append(now.invert_selection())
        elif word == "back":
            free = now.select("none")
            states += [free, free.ungroup()] if free._widest() else [free]
        elif word == "group" and len(chosen) > 1:
            states.append(now.group(chosen))
        elif word == "ungroup" and groups:
            states.append(now.ungroup(groups))
        elif word in ("hide", "show", "only", "delete") and chosen:
            states.append(getattr(now, word)(chosen))
    return [states[0], *(b for a, b in zip(states, states[1:], strict=False) if b is not a)]


@settings(deadline=None)
@given(sequences())
def test_undo_takes_back_and_redo_does_again(states):
    last = states[-1]
    assert last.done == len(last.operations) == len(states) - 1
    for n, before in enumerate(reversed(states[:-1]), 1):
        undone = last.undo(n)
        assert undone.state == before.state
        assert undone.redo(n).state == last.state
    if last.done:
        start = last.undo(last.done)
        for n, after in enumerate(states[1:], 1):
            assert start.redo(n).state == after.state


@settings(deadline=None)
@given(sequences())
def test_replaying_gives_what_doing_gave(states):
    last = states[-1]
    state = region_tree.start(9, last.groups)
    for operation in json.loads(json.dumps(last.operations)):
        state = region_tree.applied(state, operation)
    assert state == last.state


@settings(deadline=None)
@given(sequences(), st.data())
def test_ungroup_after_group_is_the_identity(states, data):
    made = states[-1]
    visible = sorted(made.state.top - made.state.hidden)
    if len(visible) < 2:
        return
    members = data.draw(st.sets(st.sampled_from(visible), min_size=2))
    made = made.select(members)
    again = made.group().ungroup()
    assert parts(again.state) == parts(made.state)


@settings(deadline=None)
@given(sequences())
def test_leaves_are_in_one_region_or_deleted(states):
    made = states[-1]

    def leaves(number):
        members = made.state.children.get(number, ())
        return [leaf for member in members for leaf in leaves(member)] if members else [number]

    every = {number: leaves(number) for number in made.state.top | made.state.deleted}
    assert sorted(leaf for inside in every.values() for leaf in inside) == list(range(1, 10))
    assert {region.number: sorted(region.leaves) for region in made.regions} == {
        number: sorted(every[number]) for number in made.state.top
    }
    assert made.state.hidden <= made.state.top
    assert made.state.selection <= made.state.top
    assert not made.state.deleted & made.state.top


@settings(deadline=None)
@given(sequences())
def test_json_is_the_identity(states):
    made = states[-1]
    made = made.undo(made.done // 2) if made.done > 1 else made
    again = gm.Segmentation.from_dict(json.loads(json.dumps(made.to_dict())), made.labels)
    assert again.state == made.state
    assert (again.operations, again.done, again.facts, again.groups) == (
        made.operations, made.done, made.facts, made.groups,
    )  # fmt: skip
    assert again.regions == made.regions
    assert again.to_dict() == made.to_dict()


def test_a_new_operation_forgets_what_was_undone():
    made = tree().hide([7]).delete([9]).undo().hide([8])
    assert [operation["do"] for operation in made.operations] == ["hide", "hide"]
    with pytest.raises(UsageError, match="done again"):
        made.redo()


# selections in words


@pytest.mark.parametrize(("words", "wanted"), [
    ("all", {7, 8, 9, 11, 12}),
    ("none", set()),
    ("visible", {7, 8, 9, 11}),
    ("hidden", {12}),
    ("selected", {8, 9}),
    ("7", {7}),
    (" 7, 9-11 ", {7, 9, 11}),
    ("7-7", {7}),
    ("largest:1", {12}),
    ("largest:9", {7, 8, 9, 11, 12}),
    ("neighbours", {7}),
    ("neighbours:12", {7, 11}),
    ("neighbours:11-12", {7}),
    ("border", {9, 12}),
    ("border:0px", set()),
    ("border:1px", {9, 12}),
    ("border:8A", {7, 8, 9, 11, 12}),
    ("border:9px", {7, 8, 9, 11, 12}),
    # leaf 7 has its centre at (4, 5.5, 25.5) px, where x runs from 24 to before 28
    ("sphere:25.5,5.5,4:3px", {7}),
    ("sphere:25.5,5.5,4px:6A", {7}),
    ("sphere:57,15,10A:6A", {7}),
    ("sphere:7.5,-0.5,-2centre:6Å", {7}),
    ("sphere:25.5,5.5,4:1px", set()),
    ("box:24,4,3:28,8,6", {7}),
    ("box:28,8,6:24,4,3", {7}),
    ("box:24,4,3:26,8,6", {7}),  # half of it
    ("box:24,4,3:25,8,6", set()),
    ("box:54,12,8A:62,20,14A", {7}),
])  # fmt: skip
def test_regions_are_found_in_words(words, wanted):
    made = tree().hide([12]).select([8, 9])
    assert made.find(words) == wanted


@pytest.mark.parametrize("voxel", [1.1, 1.3, 0.83, 1.06, 0.6575, 1.35, 2.0])
def test_the_same_place_in_px_and_in_angstrom_selects_the_same(tmp_path, voxel):
    """A row of voxels, each a region; spheres and boxes end on voxel centres, so that each last one counts."""
    for n in (30, 64, 100):
        gm.write(tmp_path / "it.mrc", gm.Volume(np.ones((5, 4, n), np.float32), voxel), overwrite=True)
        row = np.zeros((5, 4, n), np.int32)
        row[2, 2] = np.arange(1, n + 1)
        made, _ = segmentation.from_labels(row, gm.read(tmp_path / "it.mrc"))
        for at, radius in ((10, 5), (15, 7), (20, 9)):
            inside = set(range(at - radius + 1, at + radius + 2))
            sphere = f"sphere:{at * voxel:.6g},{2 * voxel:.6g},{2 * voxel:.6g}A:{radius * voxel:.6g}A"
            assert made.find(f"sphere:{at},2,2:{radius}px", 1) == made.find(sphere, 1) == inside
            low, high = (f"{x * voxel:.6g},{y * voxel:.6g},{y * voxel:.6g}A" for x, y in ((at, 0), (at + radius, 5)))
            assert made.find(f"box:{low}:{high}", 1) == set(range(at + 1, at + radius + 1))


def test_a_sphere_is_round_in_angstrom():
    """Two voxels 3 px from the centre, along the long and along the short edge of the voxels."""
    labels = np.zeros((9, 9, 9), np.int32)
    labels[7, 4, 4], labels[4, 4, 7] = 1, 2
    made, _ = segmentation.from_labels(labels, gm.Volume(labels.astype(np.float32), (2.0, 1.0, 1.0)))
    assert made.find("sphere:4,4,8A:4A") == {2}
    assert made.find("sphere:4,4,8A:6A") == {1, 2}


@pytest.mark.parametrize(("share", "whole"), [(55, 100), (7, 100), (14, 100), (57, 100), (3, 10)])
def test_a_share_that_is_just_held_is_held(share, whole):
    labels = np.ones((1, 1, whole), np.int32)
    made, _ = segmentation.from_labels(labels, gm.Volume(labels.astype(np.float32), 1))
    inside = np.arange(whole).reshape(labels.shape) < share
    assert made.find(inside, share / whole) == {1}
    assert made.find(inside, (share + 0.01) / whole) == set()


@pytest.mark.parametrize(("share", "wanted"), [(0.01, {7, 8}), (0.5, {7}), (0.75, {7}), (0.76, set()), (1, set())])
def test_a_share_of_the_voxels_must_be_inside(share, wanted):
    assert tree().find("box:25,4,3:29,8,6", share) == wanted


def test_a_mask_selects_as_a_sphere_does(xp):
    made = tree()
    inside = made.labels.data == 11
    inside[(made.labels.data == 4) | (made.labels.data == 9)] = True
    assert made.find(xp.asarray(inside)) == {9, 11}
    assert made.find(inside, 0.51) == {9}
    assert made.find(np.array([7, 9])) == {7, 9}


def test_deleted_voxels_count_for_no_region():
    made = tree().delete([7])
    assert made.find("box:24,4,3:32,8,6") == {8}


@pytest.mark.parametrize("words", [
    "", "7;9", "7-", "-7", "1-2-3", "seven", "sphere:1,2,3", "sphere:1,2:5px", "sphere:1,2,3:-5px", "box:1,2,3",
    "border:x", "border:-1px", "largest", "largest:0", "largest:two", "neighbours:", "98-99", "sphere", "all,7",
    "9-7", "12-11", "9" * 5000, "7-" + "9" * 5000, "largest:" + "9" * 5000,
])  # fmt: skip
def test_words_that_mean_nothing_are_refused(words):
    with pytest.raises(UsageError) as caught:
        tree().find(words)
    assert len(str(caught.value)) < 300


def test_a_range_from_high_to_low_is_refused():
    with pytest.raises(UsageError, match="from the lower to the higher number, 7-9"):
        tree().find("9-7")


@pytest.mark.parametrize("what", [b"\x08", np.array(8), np.array([7.0]), 7.0, ["7"]])
def test_what_is_no_number_of_a_region_is_refused(what):
    with pytest.raises(UsageError, match="whole numbers or words"):
        tree().find(what)


@pytest.mark.parametrize(("share", "what"), [(0, "all"), (1.5, "all"), (True, "all"), (math.nan, "all"), ("x", "all")])
def test_a_share_is_a_share(share, what):
    with pytest.raises(UsageError, match="share"):
        tree().find(what, share)


def test_a_mask_of_another_box_is_refused():
    with pytest.raises(UsageError, match="34 x 30 x 26"):
        tree().find(np.ones(SHAPE, bool))


def test_neighbours_of_nothing_are_refused():
    with pytest.raises(UsageError, match="nothing is selected"):
        tree().find("neighbours")


def test_a_border_in_angstrom_follows_the_voxels_of_each_axis():
    labels = np.zeros((12, 12, 12), np.int32)
    labels[2:4, 6, 6], labels[6, 6, 2:4] = 1, 2
    made, _ = segmentation.from_labels(labels, gm.Volume(labels.astype(np.float32), (4.0, 1.0, 1.0)))
    assert made.find("border:3A") == {2}
    assert made.find("border:9A") == {1, 2}


# exports


def test_exports_sum_to_the_density_above_the_level():
    made = found().group([1, 2])
    parts = [made.density(volume(), [number]).data for number in top(made)]
    assert len(parts) > 3
    above = np.where(volume().data >= np.float32(LEVEL), volume().data, 0)
    assert np.array_equal(sum(parts), above)  # each voxel is in one part
    assert all(part.dtype == np.float32 for part in parts)


def test_density_is_that_of_the_filtered_map_so_that_its_level_brings_the_regions_back():
    noisy = volume().with_data(volume().data + np.random.default_rng(0).normal(0, 0.2, SHAPE).astype(np.float32))
    made = gm.segment(noisy, LEVEL, gaussian=3.0)
    part, whole = made.density(noisy, "largest:1"), made.binary("largest:1")
    assert np.array_equal(part.data >= np.float32(LEVEL), whole.data > 0)
    assert np.array_equal(part.data, np.where(whole.data > 0, filters.gaussian(noisy.data, 3.0, VOXEL), 0))
    given = made.density(noisy, "largest:1", filtered=False)
    assert np.array_equal(given.data, np.where(whole.data > 0, noisy.data, 0))


def test_density_is_low_passed_as_it_was():
    made = gm.segment(volume(), 0.2, lowpass="12A")
    smooth = filters.lowpass(volume().data, 12.0, VOXEL)
    assert np.array_equal(made.density(volume(), "all").data, np.where(made.labels.data > 0, smooth, 0))


def test_exports_are_of_the_selection_or_else_of_what_is_visible():
    made = tree().hide([12])
    assert made.exported() == [7, 8, 9, 11]
    assert made.select([12]).exported() == [12]
    assert made.exported("all") == [7, 8, 9, 11, 12]
    with pytest.raises(UsageError, match="nothing to export"):
        tree().hide("all").exported()


def test_label_maps_have_the_numbers_of_regions():
    made = tree().delete([7])
    labels = made.label_map("all").data
    wanted = np.select([np.isin(made.labels.data, (1, 2, 3, 6)), np.isin(made.labels.data, (4, 5))], [12, 11],
                       np.where(np.isin(made.labels.data, (8, 9)), made.labels.data, 0))  # fmt: skip
    assert np.array_equal(labels, wanted)
    assert labels.dtype == np.int32
    sequential = made.label_map("9,12", sequential=True).data
    assert np.array_equal(sequential, np.select([wanted == 9, wanted == 12], [1, 2]))
    assert np.array_equal(made.binary("9,12").data, sequential > 0)
    assert made.binary().data.dtype == np.float32


def test_label_maps_come_back_as_the_same_regions():
    made = found().group([1, 3]).delete([2])
    exported = made.label_map("all")
    again, notes = segmentation.from_labels(exported, volume())
    numbers = top(made)
    now = region_tree.told(range(1, len(numbers) + 1))
    assert notes == [f"its numbers {region_tree.told(numbers)} are {now} now, in their order"]
    assert [numbers[region.number - 1] for region in again.regions] == [region.number for region in made.regions]
    for one, other in zip(again.regions, made.regions, strict=True):
        assert (one.voxels, one.highest, one.low, one.high) == (other.voxels, other.highest, other.low, other.high)
        assert one.mean == pytest.approx(other.mean, rel=SUMS)
    assert np.array_equal(again.label_map("all").data > 0, exported.data > 0)


@pytest.mark.parametrize(("number", "margin"), [(9, 2), (9, 0), (7, 2), (12, (1, 2, 3))])
def test_crops_are_pasted_back_exactly(number, margin):
    made = tree()
    array = np.random.default_rng(0).standard_normal(made.labels.shape).astype(np.float32)
    full = made.density(made.labels.with_data(array), [number])
    low, high = made.bounds([number], margin)
    small = grids.crop(full, low, high)
    region = next(r for r in made.regions if r.number == number)
    margins = np.broadcast_to(margin, 3)
    assert low == tuple(np.maximum(np.array(region.low) - margins, 0))
    assert high == tuple(np.minimum(np.array(region.high) + margins, made.labels.shape))
    assert small.origin == units.corner_px_to_angstrom(low, made.labels.voxel_size, made.labels.origin)
    back, notes = grids.paste("crop", small, "map", full)
    assert (np.array_equal(back.data, full.data), notes) == (True, [])


def test_margins_are_whole_voxels():
    for margin in (-1, 1.5, math.nan, math.inf, "2", None, (1, 2), (1, 2, "3"), 10**400):
        with pytest.raises(UsageError, match="margin"):
            tree().bounds([7], margin)


@pytest.mark.parametrize(("act", "what"), [(lambda s: s, "none"), (lambda s: s.delete("all"), "all")])
def test_there_is_no_box_around_nothing(act, what):
    with pytest.raises(UsageError, match="no region is named"):
        act(tree()).bounds(what)


def test_density_of_another_box_is_refused():
    with pytest.raises(InputRefused, match="one box"):
        tree().density(volume())


# label maps of others


@pytest.mark.parametrize(("change", "text"), [
    (lambda a: a - 1, "from -1 to 8"),
    (lambda a: a + 0.25, "not all whole"),
    (lambda a: a * 0, "0 everywhere"),
    (lambda a: a * 1e9, "whole numbers from 0"),
    (lambda a: a[1:], "box"),
])  # fmt: skip
def test_what_is_no_label_map_is_refused(change, text):
    labels = tree().labels
    with pytest.raises(InputRefused, match=text):
        segmentation.from_labels(change(labels.data.astype(np.float32)), labels)


def test_numbers_with_gaps_are_renumbered_with_their_groups():
    labels = np.zeros((4, 4, 8), np.int32)
    labels[..., 1], labels[..., 2], labels[..., 5] = 30, 7, 12
    groups = [watershed.Group(5, (30, 44), 1.0), watershed.Group(44, (7, 12), 2.0), watershed.Group(6, (99,), 1.0)]
    facts = {"names": {"30": "head", "44": "body", "6": "gone"}}
    made, notes = segmentation.from_labels(labels, gm.Volume(labels.astype(np.float32), 1), groups, facts)
    assert notes == ["its numbers 7, 12, 30 are 1 to 3 now, in their order; those of groups, 5, 44, are 4, 5"]
    assert made.labels.data[0, 0].tolist() == [0, 3, 1, 0, 0, 2, 0, 0]
    assert {group.number: group.children for group in made.groups} == {4: (3, 5), 5: (1, 2)}
    assert made.facts["names"] == {"3": "head", "5": "body"}
    assert made.ungroup([4]).regions[0].name == "body"


def test_only_numbers_that_have_changed_are_told():
    labels = tree().labels
    big = region_file.HIGHEST + 1
    made, notes = segmentation.from_labels(labels, labels, [watershed.Group(big, (1, 2), 1.0)])
    assert notes == [f"those of groups, {big}, are 10 now"]
    assert made.state.children == {10: (1, 2)}


@pytest.mark.parametrize("groups", [
    [(10, (1, 11)), (11, (2, 10))],  # in each other
    [(10, (1, 2)), (11, (2, 3))],  # a leaf in two
    [(3, (1, 2))],  # the number of a leaf
    [(10, (1, 2)), (10, (3, 4))],
])  # fmt: skip
def test_groups_must_be_a_tree(groups):
    labels = tree().labels
    with pytest.raises(InputRefused):
        segmentation.from_labels(labels, labels, [watershed.Group(n, c, 0.0) for n, c in groups])


# documents that were damaged or made up


def edited(*path, value):
    """The document of the tree with one thing changed."""
    document = json.loads(json.dumps(tree().hide([7]).group([8, 9]).to_dict()))
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return document


@pytest.mark.parametrize(("document", "text"), [
    ([], "not a file of regions"),
    ({}, "not a file of regions"),
    (edited("format", value="other"), "not a file of regions"),
    (edited("version", value=9), "version 9"),
    (edited("box", value=[1, 2, 3]), "box"),
    (edited("leaves", "voxels", 0, value=7), "other regions"),
    (edited("leaves", "voxels", 0, value=48.5), "numbers"),
    (edited("leaves", "voxels", value=[48]), "numbers|other regions"),
    (edited("leaves", "total", value="much"), "no list of total"),
    (edited("leaves", "total", 0, value=None), "total"),
    (edited("leaves", "highest", 0, value=math.inf), "not finite"),
    (edited("leaves", "peak", 0, value=[1, 2]), "."),
    (edited("leaves", "centre", 0, value=[900, 0, 0]), "outside the box"),
    (edited("leaves", "low", 0, value=[12, 9, 9]), "bounding boxes"),
    (edited("leaves", "low", 0, value=[0, 4, 2]), "bounding boxes"),
    (edited("leaves", "high", 0, value=[36, 12, 12]), "bounding boxes"),
    (edited("leaves", "peak", 0, value=[4, 8, 6]), "peaks outside"),  # one after its last voxels
    (edited("contacts", 0, value=[1, 2, 12.5]), "three whole numbers"),
    (edited("contacts", 0, value=["1", "2", "3"]), "three whole numbers"),
    (edited("version", value=True), "version True"),
    (edited("operations", 1, "show", value=[7]), "operation 2 cannot be: group: shows no regions"),
    (edited("facts", value={"gaussian_angstrom": "2A"}), "gaussian_angstrom is no number"),
    (edited("facts", value={"lowpass_angstrom": True}), "lowpass_angstrom is no number"),
    (edited("facts", value={"gaussian_angstrom": -2.0}), "gaussian_angstrom must be"),
    (edited("leaves", value=5), "."),
    (edited("contacts", 0, value=[1, 99, 3]), "contacts"),
    (edited("contacts", 0, value=[2, 1, 3]), "contacts"),
    (edited("contacts", value="none"), "."),
    (edited("groups", 0, "number", value=5), "number 5"),
    (edited("groups", 0, "number", value=1 << 40), "number"),
    (edited("groups", 0, "children", value=[1, 77]), "not there"),
    (edited("groups", 0, "children", value=[]), "not there"),
    (edited("groups", 0, "smoothing", value=-1), "smoothing"),
    (edited("groups", 0, value={}), "missing"),
    (edited("operations", value={}), "operations"),
    (edited("operations", 0, value="hide"), "operations"),
    (edited("operations", 0, "do", value="explode"), "operation 1 cannot be: unknown operation 'explode'"),
    (edited("operations", 0, "regions", value=[99]), "operation 1 cannot be"),
    (edited("operations", 0, "regions", value="all"), "operation 1 cannot be"),
    (edited("operations", 1, "made", value=50), "operation 2 cannot be"),
    (edited("operations", 1, "do", value="ungroup"), "operation 2 cannot be: ungroup: 8, 9 not a group"),
    (edited("done", value=3), "3 of its 2 operations"),
    (edited("done", value=True), "True of its"),
    (edited("facts", value=[]), "."),
    (edited("facts", value={"names": {"7": 7}}), "names"),
])  # fmt: skip
def test_documents_that_cannot_be_are_refused_in_one_line(document, text):
    with pytest.raises(InputRefused, match=text) as caught:
        gm.Segmentation.from_dict(document, tree().labels)
    assert "\n" not in str(caught.value)


def test_a_document_without_a_key_is_refused():
    for key in tree().to_dict():
        document = tree().to_dict()
        del document[key]
        if key == "voxel_size_angstrom":  # the label map has it
            gm.Segmentation.from_dict(document, tree().labels)
        else:
            with pytest.raises(InputRefused):
                gm.Segmentation.from_dict(document, tree().labels)


def test_another_label_map_is_refused():
    made = tree()
    other = made.labels.data.copy()
    other[5, 7, 0] = 2
    with pytest.raises(InputRefused, match="other regions"):
        gm.Segmentation.from_dict(made.to_dict(), made.labels.with_data(other))


def test_triples_of_documents_are_x_y_z():
    document = tree().to_dict()
    assert document["box"] == [36, 12, 12]
    assert document["leaves"]["low"][6] == [24, 4, 3]
    assert region_file.document(tree()) == document
