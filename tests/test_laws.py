"""What holds for every mask, whatever its numbers."""

import math
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import gpumask as gm
from gpumask import mask, units
from gpumask._cpu import threads
from gpumask.backend import to_numpy

ROUNDING = 2.0**-24  # one rounding to float32 of a value in [0, 1]
DISTANCE_EDGES = ("cosine", "quarter-cosine", "linear", "gaussian", "slepian")
EDGES = (*DISTANCE_EDGES, "convolved")
STYLES = ("euclidean", "relion", "cryodrgn")
ANISOTROPIC = (1.0, 1.4, 2.0)
quick = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
boxes = arrays(bool, st.tuples(*[st.integers(1, 9)] * 3))
radii = st.floats(-3, 6, width=16)
growths = st.floats(0, 6, width=16)
widths = st.floats(0, 7, width=16)
every_edge = pytest.mark.parametrize("edge", EDGES)
every_style = pytest.mark.parametrize("style", STYLES)


def blob(xp=np, shape=(13, 17, 15)):
    return xp.asarray(np.pad(np.random.default_rng(4).random(shape) < 0.01, 13))


def rises(lower, upper, slack=0.0):
    return bool((lower <= upper + np.float32(slack)).all())


def slack(edge):
    """Distances and tables are exact; what went through a transform is rounded."""
    return ROUNDING if edge == "convolved" else 0.0


@every_edge
@quick
@given(base=boxes, radius=radii, width=widths)
def test_values_stay_between_0_and_1(edge, base, radius, width):
    made = mask.soft_mask(base, radius, width, edge)
    assert made.dtype == np.float32
    assert made.shape == base.shape
    assert ((made >= 0) & (made <= 1)).all()
    if not base.any():
        assert not made.any()
    if base.all():
        assert made.all()
    if radius >= 0 and radius + width > 1e-2:
        assert (made[base] == 1).all()


@every_edge
@quick
@given(
    array=arrays(np.float32, st.tuples(*[st.integers(1, 8)] * 3), elements=st.floats(-1, 1, width=16)),
    levels=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
    radius=radii,
    width=st.floats(0.5, 7, width=16),
)
def test_a_lower_threshold_gives_a_larger_mask(edge, array, levels, radius, width):
    low, high = (mask.soft_mask(mask.threshold(array, level), radius, width, edge) for level in sorted(levels))
    assert rises(high, low, slack(edge))


@every_edge
@quick
@given(base=boxes, radii=st.tuples(radii, radii), width=st.floats(0.5, 7, width=16))
def test_more_dilation_gives_a_larger_mask_also_through_0(edge, base, radii, width):
    small, large = (mask.soft_mask(base, radius, width, edge) for radius in sorted(radii))
    assert rises(small, large, slack(edge))


@every_style
@quick
@given(base=boxes, radii=st.tuples(radii, radii), width=widths)
def test_more_dilation_gives_a_larger_mask_in_every_style(style, base, radii, width):
    if style == "cryodrgn":
        radii = [abs(r) for r in radii]
    small, large = (mask.soft_mask(base, radius, width, style=style) for radius in sorted(radii))
    assert rises(small, large)


@pytest.mark.parametrize("edge", DISTANCE_EDGES)
@quick
@given(base=boxes, radius=radii, widths=st.tuples(widths, widths))
def test_a_wider_edge_gives_a_larger_mask(edge, base, radius, widths):
    narrow, wide = (mask.soft_mask(base, radius, width, edge) for width in sorted(widths))
    assert rises(narrow, wide)


@pytest.mark.parametrize("width", [6, 8, 10, 13, 16])
def test_a_wider_convolved_edge_gives_a_larger_mask_but_for_half_a_voxel(xp, width):
    """Half a voxel of the steepest slope, π/2w, is what the lattice can hold back."""
    narrow, wide = (mask.soft_mask(blob(xp), 3, w, "convolved") for w in (width, width + 1))
    assert rises(narrow, wide, math.pi / (4 * width) + 2 / width**2)


@quick
@given(base=boxes, radius=growths)
def test_erosion_is_the_dilation_of_the_complement(base, radius):
    assert np.array_equal(mask.erode(base, radius), ~mask.dilate(~base, radius))
    assert np.array_equal(mask.dilate(base, -radius), mask.erode(base, radius))


@quick
@given(base=boxes, radius=growths)
def test_erosion_is_the_dilation_of_the_complement_on_anisotropic_voxels(base, radius):
    assert np.array_equal(mask.erode(base, radius, ANISOTROPIC), ~mask.dilate(~base, radius, ANISOTROPIC))


@quick
@given(base=boxes, radius=growths)
def test_opening_shrinks_and_closing_grows(base, radius):
    assert rises(mask.dilate(mask.erode(base, radius), radius), base)
    assert rises(base, mask.erode(mask.dilate(base, radius), radius))


@quick
@given(base=boxes)
def test_a_radius_below_one_changes_nothing(base):
    for radius in (0, 0.5, 0.999, -0.0):
        assert np.array_equal(mask.dilate(base, radius), base)
        assert np.array_equal(mask.erode(base, radius), base)
        assert np.array_equal(mask.soft_mask(base, radius, 0), base)


@every_edge
@quick
@given(
    base=boxes,
    radius=radii,
    width=st.floats(0.5, 7, width=16),
    order=st.permutations(range(3)),
    flips=st.sets(st.integers(0, 2)),
)
def test_flips_and_permuted_axes(edge, base, radius, width, order, flips):
    def turned(array):
        return np.flip(array, tuple(flips)).transpose(order)

    made, wanted = mask.soft_mask(turned(base), radius, width, edge), turned(mask.soft_mask(base, radius, width, edge))
    assert np.abs(made - wanted).max() <= slack(edge)


@every_edge
@pytest.mark.parametrize("sampling", [None, ANISOTROPIC])
def test_translation(xp, edge, sampling):
    base = blob(xp)
    made = mask.soft_mask(base, 2.5, 6.5, edge, sampling=sampling)
    for shift in ((1, -2, 0), (3, 1, -1)):
        moved = mask.soft_mask(xp.roll(base, shift, (0, 1, 2)), 2.5, 6.5, edge, sampling=sampling)
        assert float(abs(moved - xp.roll(made, shift, (0, 1, 2))).max()) <= slack(edge)


@pytest.mark.parametrize(
    ("style", "edge"), [*((style, edge) for style in STYLES for edge in DISTANCE_EDGES), ("euclidean", "convolved")]
)
@quick
@given(
    base=boxes,
    radius=growths,
    width=st.floats(0.5, 7, width=16),
    pad=st.tuples(*[st.tuples(st.integers(0, 4), st.integers(0, 4))] * 3),
)
def test_more_empty_box_changes_nothing_inside(style, edge, base, radius, width, pad):
    inside = tuple(slice(before, before + n) for (before, _), n in zip(pad, base.shape, strict=True))
    padded = mask.soft_mask(np.pad(base, pad), radius, width, edge, style)[inside]
    assert np.abs(padded - mask.soft_mask(base, radius, width, edge, style)).max() <= slack(edge)


@quick
@given(base=boxes, radius=growths, width=widths, pad=st.integers(1, 3))
def test_erosion_of_what_does_not_touch_the_box_does_not_see_it(base, radius, width, pad):
    base = np.pad(base, 1)
    padded = mask.soft_mask(np.pad(base, pad), -radius, width)[(slice(pad, -pad),) * 3]
    assert np.array_equal(padded, mask.soft_mask(base, -radius, width))


@pytest.mark.parametrize("edge", DISTANCE_EDGES)
@every_style
@quick
@given(
    both=arrays(np.uint8, st.tuples(*[st.integers(1, 9)] * 3), elements=st.integers(0, 3)), radius=growths, width=widths
)
def test_mask_of_a_union_is_the_larger_of_the_masks(edge, style, both, radius, width):
    first, second = (both & 1).astype(bool), (both & 2).astype(bool)
    parts = [mask.soft_mask(part, radius, width, edge, style) for part in (first, second)]
    assert np.array_equal(mask.soft_mask(first | second, radius, width, edge, style), np.maximum(*parts))


@quick
@given(base=boxes, radii=st.tuples(st.integers(0, 3), st.integers(0, 3)))
def test_two_dilations_never_exceed_one_of_their_sum(base, radii):
    twice = mask.dilate(mask.dilate(base, radii[0]), radii[1])
    assert rises(twice, mask.dilate(base, sum(radii)))


@every_edge
@quick
@given(base=boxes, radius=radii, width=st.floats(0.5, 7, width=16))
def test_cubes_given_as_sampling_are_cubes(edge, base, radius, width):
    cubes = mask.soft_mask(base, radius, width, edge, sampling=(1.0, 1.0, 1.0))
    assert np.abs(cubes - mask.soft_mask(base, radius, width, edge)).max() <= ROUNDING


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("times", [2, 3])
@quick
@given(base=boxes, radius=growths, width=widths)
def test_coarse_voxels_are_every_nth_plane_of_fine_ones(axis, times, base, radius, width):
    """A base on every nth plane of a fine grid and the same base on voxels n times as long."""
    fine_shape = [n * times if a == axis else n for a, n in enumerate(base.shape)]
    planes = (slice(None),) * axis + (slice(None, None, times),)
    fine = np.zeros(fine_shape, bool)
    fine[planes] = base
    sampling = tuple(float(times) if a == axis else 1.0 for a in range(3))
    coarse = mask.soft_mask(base, radius, width, sampling=sampling)
    assert np.abs(coarse - mask.soft_mask(fine, radius, width)[planes]).max() <= ROUNDING


@every_edge
@every_style
@pytest.mark.parametrize("lengths", [(5, 17), (2.5, 6), (-1, 4)])
def test_same_bytes_with_any_number_of_threads_and_without_numba(monkeypatch, edge, style, lengths):
    if style == "cryodrgn":
        lengths = (abs(lengths[0]), lengths[1])
    base = np.pad(np.random.default_rng(8).random((31, 23, 37)) < 0.6, 3)
    made = {mask.soft_mask(base, *lengths, edge, style).tobytes()}
    for count in (1, 2, 7):
        monkeypatch.setattr(threads, "count", lambda count=count: count)
        made.add(mask.soft_mask(base, *lengths, edge, style).tobytes())
        with monkeypatch.context() as without:
            without.setitem(sys.modules, "numba", None)
            made.add(mask.soft_mask(base, *lengths, edge, style).tobytes())
    assert len(made) == 1


# Å and px say the same

PIXELS = (1, 3, 5, 6, 12, 17, 25)
BOXES = (64, 100, 240, 380, 512)
VOXELS = (0.5, 0.66, 0.834, 0.85, 1.05, 1.06, 1.1, 1.35, 1.4, 3.54, 5.7)


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("voxel", VOXELS)
def test_lengths_in_angstrom_are_whole_pixels(voxel, box):
    """385 triples: as typed, from a float32 header's cell, and from one that was divided in float32 as well."""
    cell = np.float32(box * voxel)
    for pixels in PIXELS:
        text = f"{round(pixels * voxel, 4)}A"
        for size in (voxel, float(np.float32(voxel)), float(cell) / box, float(cell / np.float32(box))):
            assert units.to_px(text, (size,) * 3) == pixels


@pytest.mark.filterwarnings("ignore::gpumask.GpumaskWarning")
@pytest.mark.parametrize("edge", ["cosine", "convolved"])
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("voxel", "pixels"), [(1.4, (5, 17)), (0.834, (3, 12)), (1.05, (1, 6))])
def test_5_px_and_7_angstrom_give_the_same_bytes(xp, voxel, pixels, style, edge):
    size = float(np.float32(voxel))
    if style == "cryodrgn" and any(pixels[0] * voxel // size < p for p in pixels[:1]):
        pytest.skip("cryoDRGN's floor division loses a pixel here, and so does its style")
    volume = gm.Volume(blob(xp).astype(np.float32), size)
    options = {"threshold": 0.5, "style": style, "edge": edge}
    in_px = gm.create_mask(volume, dilation=f"{pixels[0]}px", soft_edge=pixels[1], **options)
    in_angstrom = gm.create_mask(
        volume, dilation=f"{round(pixels[0] * voxel, 4)}A", soft_edge=f"{round(pixels[1] * voxel, 4)}Å", **options
    )
    assert to_numpy(in_px.data).tobytes() == to_numpy(in_angstrom.data).tobytes()
