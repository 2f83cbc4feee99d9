"""The figure of regions: touching ones differ in colour, and numbers stand in their regions where they can be read."""

import functools
import itertools
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from figures import assert_readable, recorder
from scipy import ndimage, spatial

from gpumask.errors import MissingExtra, UsageError
from gpumask.report import planes, regions
from gpumask.segmentation import from_labels
from gpumask.volume import Header, Volume
from gpumask.watershed import Group

BLACK, GREY = (0, 0, 0, 1), (0.35, 0.35, 0.35, 1)
SHAPE, EDGES, ORIGIN = (40, 50, 60), (2.0, 1.5, 1.0), (-40.0, 0.0, 12.0)  # (z, y, x), Å


@pytest.fixture
def draw(monkeypatch):
    return functools.partial(recorder(monkeypatch), regions.draw)


def cells(count, shape=SHAPE, seed=0):
    """An ellipsoid cut into the cells of random points, 1…count."""
    grid = np.stack(np.indices(shape), axis=-1).reshape(-1, 3)
    middle = (np.array(shape) - 1) / 2
    inside = (((grid - middle) / (0.42 * np.array(shape))) ** 2).sum(axis=1) < 1
    points = np.random.default_rng(seed).choice(grid[inside], count, replace=False)
    nearest = spatial.KDTree(points).query(grid)[1] + 1
    return np.where(inside, nearest, 0).reshape(shape).astype(np.int32)


def segmented(labels, edges=EDGES):
    """The segmentation and its map."""
    density = ndimage.gaussian_filter((labels > 0).astype(np.float32), 1)
    volume = Volume(density, edges, Header(origin=ORIGIN))
    return from_labels(labels, volume)[0], volume


def panels(figure):
    return [axes for axes in figure.axes if axes.images]


def cut(axes):
    """The axis that a panel cuts, and where in px."""
    name, position = axes.get_title().split(" px")[0].split(" = ")
    return planes.NAMES.index(name), int(position)


def texts(figure):
    return [text for text, _ in figure.words]


def numbers(axes):
    """The numbers written in a panel, with their places (up, across) in px; the scale bar's word is none."""
    return {int(t.get_text()): t.get_position()[::-1] for t in axes.texts if t.get_text().isdigit()}


@pytest.mark.parametrize("count", [1, 3, 28])
def test_numbers_stand_in_their_regions(draw, count):
    labels = cells(count)
    figure = draw(*segmented(labels))
    assert_readable(figure)
    for axes in panels(figure):
        axis, position = cut(axes)
        plane = labels.take(position, axis=axis)
        for number, (up, across) in numbers(axes).items():
            assert plane[round(up), round(across)] == number


def test_a_region_with_room_in_a_slice_has_its_number_there(draw):
    """Where a rectangle as large as the number, and as the scale bar beside it, lies within a region."""
    labels = cells(28)
    figure = draw(*segmented(labels))
    expected = 0
    for axes in panels(figure):
        axis, position = cut(axes)
        plane = labels.take(position, axis=axis)
        up, across = (a for a in range(3) if a != axis)
        inch = axes.get_window_extent().width / 200 / (np.ptp(axes.get_xlim()) * EDGES[across])  # per Å
        for number in range(1, 29):
            size = regions.SIZES[1] / 72 / inch
            room = regions.LINE * size / EDGES[up], regions.DIGIT * size * len(str(number)) / EDGES[across]
            window = [int(np.ceil(r)) // 2 * 2 + 3 for r in room]
            if axis == 0:  # a scale bar: two numbers beside each other would have room
                window = [3 * w for w in window]
            if ndimage.minimum_filter(plane == number, window, mode="constant").any():
                assert number in numbers(axes), (number, axes.get_title())
                expected += 1
    assert expected > 28  # more than one slice a region: the test would see it if there were none


def test_a_number_stands_where_all_of_it_fits(draw):
    """A column and a bar, equally deep: three digits fit into the bar only."""
    labels = np.zeros((1, 60, 60), np.int32)
    labels[0, :2].ravel()[:99] = np.arange(1, 100)
    labels[0, 5:25, 5:11] = labels[0, 40:45, 20:50] = 100
    (up, across) = numbers(panels(draw(*segmented(labels, (1.0, 1.0, 1.0))))[0])[100]
    assert (up, 20 < across < 50) == (42, True)


def test_every_large_region_is_numbered_somewhere(draw):
    labels = cells(28)
    figure = draw(*segmented(labels))
    written = set().union(*(numbers(axes) for axes in panels(figure)))
    sizes = np.bincount(labels.ravel())[1:]
    assert set(np.argsort(-sizes)[:20] + 1) <= written
    assert not any("without a number" in text for text in texts(figure))


def test_touching_regions_differ_in_colour():
    labels = cells(300)
    state, _ = segmented(labels)
    fills = regions.colours(state.regions)
    touching = 0
    for axis in range(3):
        one, other = (np.moveaxis(labels, axis, 0)[s] for s in (slice(1, None), slice(-1)))
        pairs = np.unique(np.stack([one, other])[:, (one != other) & (one > 0) & (other > 0)], axis=1)
        touching += pairs.shape[1]
        assert all(fills[a] != fills[b] for a, b in pairs.T.tolist())
    assert touching > 300


@pytest.mark.parametrize("count", [2, 7, 8, 60])
def test_regions_that_all_touch_have_a_colour_each(count):
    everyone = [SimpleNamespace(number=n, neighbours=tuple(set(range(count)) - {n})) for n in range(count)]
    fills = regions.colours(everyone)
    assert len({tuple(round(255 * part) for part in fill) for fill in fills.values()}) == count
    assert all(0 <= part <= 1 for fill in fills.values() for part in fill)


def test_few_regions_have_the_seven_colours_that_every_eye_tells_apart():
    pytest.importorskip("matplotlib")
    from matplotlib.colors import to_rgb

    alone = [SimpleNamespace(number=n, neighbours=()) for n in range(14)]
    fills = list(regions.colours(alone).values())
    assert fills == [to_rgb(fill) for fill in regions.FILLS] * 2


def test_fills_are_where_the_regions_are(draw):
    labels = cells(5)
    state, volume = segmented(labels)
    state = state.hide([2])
    fills = regions.colours(state.regions)
    for axes in panels(draw(state, volume)):
        axis, position = cut(axes)
        plane = labels.take(position, axis=axis)
        image = axes.images[1]
        left, right, bottom, top = image.get_extent()
        shown = plane[round(bottom + 0.5) : round(top + 0.5), round(left + 0.5) : round(right + 0.5)]
        drawn = np.asarray(image.get_array())
        assert (drawn[..., 3] == ((shown > 0) & (shown != 2))).all()
        for number in {1, 3, 4, 5} & set(shown.ravel().tolist()):
            assert np.allclose(drawn[shown == number][:, :3], fills[number])


def test_slices_are_in_the_units_and_the_frame_of_the_map(draw):
    for axes in panels(draw(*segmented(cells(5)))):
        axis, position = cut(axes)
        up, across = (a for a in range(3) if a != axis)
        assert axes.get_title().endswith(f"= {position * EDGES[axis] + ORIGIN[axis]:.1f} Å")
        (above,) = axes.child_axes
        assert np.array(above.get_xlim()) == pytest.approx(np.array(axes.get_xlim()) * EDGES[across] + ORIGIN[across])


def test_three_slices_across_each_axis_and_one_through_the_centre(draw):
    state, volume = segmented(cells(12))
    cuts = [cut(axes) for axes in panels(draw(state, volume))]
    assert sorted(axis for axis, _ in cuts) == [0] * 3 + [1] * 3 + [2] * 3
    assert len(set(cuts)) == 9
    wanted = (11, 37.4, 20)
    cuts = [cut(axes) for axes in panels(draw(state, volume, centre=wanted))]
    assert {(0, 11), (1, 37), (2, 20)} <= set(cuts)


def test_slices_are_not_next_to_each_other(draw):
    labels = cells(3)
    by_axis = [[p for a, p in map(cut, panels(draw(*segmented(labels)))) if a == axis] for axis in range(3)]
    extent = [np.ptp(along) for along in np.nonzero(labels)]
    for positions, length in zip(by_axis, extent, strict=True):
        assert min(b - a for a, b in itertools.pairwise(positions)) >= length * regions.APART


def outline(axes, colour):
    """The pixels' sides, by their middles (up, across) in px, that lines of a colour lie on."""
    lines = [c for c in axes.collections if hasattr(c, "get_segments") and np.allclose(c.get_colors(), colour)]
    sides = []
    for (x0, y0), (x1, y1) in (line for c in lines for line in c.get_segments()):
        steps = np.arange(0.5, abs(x1 - x0) + abs(y1 - y0))
        sides += [(min(y0, y1) + s * (y0 != y1), min(x0, x1) + s * (x0 != x1)) for s in steps]
    return sorted(sides)


def borders(plane):
    """Those sides of pixels across which a plane changes."""
    padded, sides = np.pad(plane, 1), []
    for axis, half in enumerate(((0.5, 1), (1, 0.5))):
        sides += [tuple(side - half) for side in np.argwhere(np.diff(padded, axis=axis) != 0)]
    return sorted(sides)


def test_selected_regions_are_outlined_in_black_and_hidden_ones_hatched(draw):
    labels = cells(6)
    state, volume = segmented(labels)
    plain = draw(state, volume)
    assert not plain.legends
    assert not any(outline(axes, BLACK) or outline(axes, GREY) for axes in panels(plain))
    marked = draw(state.select([1, 4]).hide([3]), volume)
    assert [text.get_text() for text in marked.legends[0].get_texts()] == ["selected", "hidden"]
    assert_readable(marked)
    for axes in panels(marked):
        axis, position = cut(axes)
        plane = labels.take(position, axis=axis)
        assert outline(axes, BLACK) == borders(np.where(np.isin(plane, (1, 4)), plane, 0))
        assert outline(axes, GREY) == borders(plane == 3)
        hatched = [c for c in axes.collections if getattr(c, "hatches", None) or getattr(c, "get_hatch", bool)()]
        assert bool(hatched) == (plane == 3).any()


def test_the_table_is_that_of_the_regions_by_volume(draw):
    state, volume = segmented(cells(5))
    shown = texts(draw(state, volume))
    start = shown.index("% of all") + 1
    rows = [shown[start + 5 * i : start + 5 * i + 5] for i in range(5)]
    whole = sum(region.volume_angstrom3 for region in state.regions)
    for row, region in zip(rows, state.regions, strict=True):
        assert int(row[0]) == region.number
        numbers = [float(text.replace(",", "")) for text in row[1:]]
        found = region.volume_angstrom3, region.mass_kda, region.mean, 100 * region.volume_angstrom3 / whole
        # four digits of the largest, so at least a thousandth of it; one after the point of a percentage
        largest = *(max(getattr(r, n) for r in state.regions) for n in ("volume_angstrom3", "mass_kda", "mean")), 100
        for number, value, top in zip(numbers, found, largest, strict=True):
            assert number == pytest.approx(value, abs=top / 1000)
    assert [float(row[1].replace(",", "")) for row in rows] == sorted(float(r[1].replace(",", "")) for r in rows)[::-1]
    assert f"5 regions, {whole:,.0f} Å³, {0.81e-3 * whole:.4g} kDa at 0.81 Da/Å³" in shown


def test_of_many_regions_the_largest_are_listed_and_the_rest_counted(draw):
    state, volume = segmented(cells(300, (60, 60, 60)), (1.0, 1.0, 1.0))
    figure = draw(state, volume)
    assert_readable(figure)
    shown = texts(figure)
    start = len(shown) - 1 - shown[::-1].index("% of all")
    assert [int(text) for text in shown[start + 1 :: 5][:20]] == [region.number for region in state.regions[:20]]
    rest = sum(region.volume_angstrom3 for region in state.regions[20:])
    (remark,) = (text for text in shown if "more" in text)
    assert remark.startswith(f"… and 280 more: {rest:,.0f} Å³, ")
    unwritten = {r.number for r in state.regions[:20]} - set().union(*(numbers(axes) for axes in panels(figure)))
    told, _, rest = remark.partition("without a number in these slices: ")[2].removesuffix(" more").partition(" and ")
    told = {int(number) for number in told.split(", ") if number}
    assert told <= unwritten
    assert len(told) + int(rest or 0) == len(unwritten)


def test_long_numbers_and_long_remarks_have_room(draw):
    """Eight digits beside their swatch; twenty of them without a number in the slices."""
    labels = cells(1400, (60, 60, 60))
    _, volume = segmented(labels, (1.0, 1.0, 1.0))
    groups = [Group(16_000_000 + leaf, (leaf,), 1.0) for leaf in range(1, 1401)]
    figure = draw(from_labels(labels, volume, groups)[0], volume)
    assert_readable(figure)
    assert figure.get_suptitle().startswith("1,400 regions, ")
    (remark,) = (text for text in texts(figure) if "more" in text)
    assert "without a number in these slices: 16" in remark
    listed = [box for text, box in figure.words if len(text) == 8 and text.isdigit()]
    swatches = [artist.get_window_extent() for artist in figure.artists]
    assert len(listed) == len(swatches) == 20
    assert not any(swatch.overlaps(box) for swatch in swatches for box in listed)


def test_numbers_keep_clear_of_the_scale_bar(draw):
    """Small regions everywhere, so that they would be written right beside it."""
    from matplotlib.transforms import Bbox

    state, volume = segmented(
        np.arange(1, 197, dtype=np.int32).reshape(1, 14, 14).repeat(2, 1).repeat(2, 2), (1.0,) * 3
    )
    axes = panels(draw(state, volume))[0]
    bar = Bbox.union([line.get_window_extent() for line in axes.lines])
    width = max(line.get_linewidth() for line in axes.lines) / 2
    bar = bar.padded(200 / 72 * (width + 1))  # a point beside it
    written = [text.get_window_extent() for text in axes.texts if text.get_text().isdigit()]
    assert len(written) > 20
    assert not any(bar.overlaps(box) for box in written)


def test_outlines_of_small_regions_are_thin(draw):
    """So that the colours of many selected ones are seen."""
    dots = np.zeros((60, 60, 60), np.int32)
    dots[::12, ::12, ::12] = np.arange(1, 126).reshape(5, 5, 5)
    widths = []
    for labels in (cells(8, (60, 60, 60)), dots):
        state, volume = segmented(labels, (1.0, 1.0, 1.0))
        collections = panels(draw(state.select("all"), volume))[0].collections
        widths.append(max(line for c in collections for line in c.get_linewidths()))
    assert widths[0] == 1.6
    assert widths[1] < 0.4


BOXES = {"flat": (4, 60, 70), "one plane": (1, 60, 70), "small": (8, 8, 8), "tall": (90, 20, 20), "wide": (10, 12, 90)}


@pytest.mark.parametrize("shape", BOXES.values(), ids=BOXES)
@pytest.mark.parametrize("edges", [(1.0, 1.0, 1.0), (3.0, 1.0, 0.5), (37.5, 37.5, 37.5)])
def test_odd_boxes_are_drawn_without_a_word_on_another(draw, shape, edges):
    state, volume = segmented(cells(4, shape), edges)
    figure = draw(state.hide([2]).select([3]), volume, title="a title")
    assert_readable(figure)
    assert len([axes for axes in panels(figure) if cut(axes)[0] == 0]) == min(3, shape[0])
    scales = []
    for axes in panels(figure):
        up, across = (a for a in range(3) if a != cut(axes)[0])
        inches = axes.get_window_extent()
        scales += [
            inches.width / np.ptp(axes.get_xlim()) / edges[across],
            inches.height / np.ptp(axes.get_ylim()) / edges[up],
        ]
    assert np.ptp(scales) < 1e-6 * np.mean(scales)


@pytest.mark.parametrize("title", ["", "J123/run_it025_half1_class001_unfil.regions.json " * 3, "$x_$", "two\nlines"])
def test_titles_are_shown_whole_and_as_they_are_above_the_headline(draw, title):
    state, volume = segmented(cells(3))
    figure = draw(state, volume, title=title)
    headline = draw(state, volume).get_suptitle()
    assert figure.get_suptitle() == (f"{title}\n{headline}" if title else headline)
    assert_readable(figure)


def test_without_a_map_or_without_regions(draw):
    labels = cells(3)
    state, volume = segmented(labels)
    assert all(len(axes.images) == 1 for axes in panels(draw(state, None)))
    empty = draw(state.delete([1, 2, 3]), volume)
    assert_readable(empty)
    assert empty.get_suptitle() == "no regions"
    assert not any(numbers(axes) for axes in panels(empty)) and "% of all" not in texts(empty)
    hidden = draw(state.hide([1, 2, 3]), volume)
    assert all((np.asarray(axes.images[1].get_array())[..., 3] == 0).all() for axes in panels(hidden))
    assert set().union(*(numbers(axes) for axes in panels(hidden))) == {1, 2, 3}


def test_numbers_of_groups_and_of_a_damaged_scale(draw):
    state, volume = segmented(cells(6))
    grouped = state.group([1, 2, 3])
    (made,) = {region.number for region in grouped.regions} - {4, 5, 6}
    assert set().union(*(numbers(axes) for axes in panels(draw(grouped, volume)))) == {4, 5, 6, made}
    faint, _ = from_labels(cells(6), Volume(volume.data * np.float32(1e-12), EDGES))
    shown = texts(draw(faint, volume))
    assert any(text.endswith("e-13") for text in shown)


@pytest.mark.parametrize("format", ["png", "pdf"])
def test_same_input_same_bytes(format):
    pytest.importorskip("matplotlib")
    state, volume = segmented(cells(12))
    state = state.hide([3]).select([1])
    assert regions.draw(state, volume, format=format) == regions.draw(state, volume, format=format)


def test_svg():
    pytest.importorskip("matplotlib")
    assert b"<svg" in regions.draw(*segmented(cells(3)), format="svg")[:2000]


def test_what_cannot_be_drawn_is_refused(monkeypatch):
    state, volume = segmented(cells(3))
    with pytest.raises(UsageError, match="png, pdf, svg, got 'mrc'"):
        regions.draw(state, volume, format="mrc")
    with pytest.raises(UsageError, match=r"box of the regions, 60 x 50 x 40 px \(x, y, z\), got 60 x 50 x 41"):
        regions.draw(state, Volume(np.zeros((41, 50, 60), np.float32), EDGES))
    with pytest.raises(UsageError, match=r"box of 60 x 50 x 40 px \(x, y, z\), got 5, 70, 3"):
        regions.draw(state, volume, centre=(3, 70, 5))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"gpumask\[plot\]"):
        regions.draw(state, volume)


def test_seggers_own_regions(draw, data):
    """28 regions at 5.7 Å: each of the largest twenty is numbered in some slice."""
    h5py = pytest.importorskip("h5py", reason="the extra `segger` is not installed")
    from gpumask import io

    with h5py.File(data / "segger" / "emd_1832.seg") as file:
        labels = file["mask"][...].astype(np.int32)
    volume = io.read(data / "maps" / "emd_1832.map.gz")
    state, _ = from_labels(labels, volume)
    assert len(state.regions) == 28
    figure = draw(state, volume)
    assert_readable(figure)
    written = set().union(*(numbers(axes) for axes in panels(figure)))
    assert {region.number for region in state.regions[:20]} <= written
