"""Regions of a segmentation: coloured slices with their numbers, and the table sorted by volume."""

import math
from collections import Counter, namedtuple

import numpy as np
from scipy import ndimage

from gpumask import backend, units
from gpumask.errors import UsageError
from gpumask.report import canvas, planes

# Okabe-Ito without black, which outlines what is selected
FILLS = (canvas.BLUE, canvas.VERMILLION, canvas.GREEN, canvas.PURPLE, canvas.ORANGE, canvas.SKY, "#F0E442")
HATCHED = "//////"  # hidden regions
ROWS = 3  # slices across each axis
MARGIN = 0.1  # of the regions' extent, shown around them
APART = 1 / 6  # of what is shown: a slice that is closer to another shows much the same
AROUND = (1.3, 0.75)  # inch that the words around a panel take up and across
SIZES = (9, 7)  # points, of numbers in regions
DIGIT, LINE = 0.66, 1.2  # of the size of a font: the width of a digit, the height of a line

CLEAR = 3  # points around the scale bar without a number
THINNED = 12  # points: regions whose diameter is less have thinner outlines, which would hide them otherwise

LISTED = 20  # rows of the table
LETTERS = 12  # of a remark, an inch
MOST_DIGITS = 8  # after the point
COLUMN = 10  # more stand in two columns
PITCH = 0.19  # inch from row to row
BLOCK = 4.3  # inch from one column of rows to the next
HEAD = (
    ("region", 0.9),
    ("Å³", 1.8),
    ("kDa", 2.45),
    ("mean density", 3.45),
    ("% of all", 4.05),
)  # inch, where they end

# What is shown of the box: from voxel `first` on `shape` voxels, (z, y, x); `scale` is in inch per Å.
_View = namedtuple("_View", "first shape edges origin scale")


def draw(segmentation, volume, *, centre=None, title=None, format="png"):
    """Draw the regions in three slices across each axis, with the table of their volumes, masses and densities.

    The slices are chosen so that most of the regions, counted by volume, are seen where they are wide; solvent far from
    all regions is left out. A number is written in a region where its slice has room. Regions that touch differ in
    colour. Selected regions have a black outline; hidden ones are hatched.

    Parameters
    ----------
    segmentation : Segmentation
        See :mod:`gpumask.segmentation`; its regions of the top level are drawn.
    volume : Volume or None
        The map, in grey around the regions, dense is dark.
    centre : tuple of float, optional
        Point that one slice across each axis passes through, (z, y, x) in px from the corner.
    title : str, optional
        Line above what is said of all regions: how many, their volume and mass.
    format : str
        ``png``, ``pdf`` or ``svg``.

    Returns
    -------
    bytes
        The file. PNG and PDF are the same bytes for the same input.

    Raises
    ------
    MissingExtra
        matplotlib is not installed.
    UsageError
        Unknown format, a map of another box, or a centre outside the box.
    """
    point = _checked(segmentation, volume, centre, format)
    regions = segmentation.regions
    places = _places(segmentation)
    first, shape = _frame(places, point)
    shown = tuple(slice(f, f + n) for f, n in zip(first, shape, strict=True))
    edges = segmentation.labels.voxel_size
    lengths = planes.lengths(shape, edges)
    scale = min(6.6 / sum(planes.across(lengths)), 2.5 / planes.tallest(lengths))
    view = _View(first, shape, edges, segmentation.labels.origin, scale)
    cuts = _cuts(places[shown], len(regions), None if point is None else np.subtract(point, first))

    # In inches: all panels have one scale, which no automatic layout keeps. Titles of panels must fit.
    columns = [max(across * scale, 1.5) for across in planes.across(lengths)]
    rows = [
        max([0.5, *(lengths[up] * scale for cut, up, _ in planes.PLANES if row < len(cuts[cut]))])
        for row in range(max(map(len, cuts)))
    ]
    blocks = 2 if len(regions) > COLUMN else 1
    marks = [mark for mark in ("selected", "hidden") if any(getattr(region, mark) for region in regions)]
    below = (math.ceil(min(len(regions), LISTED) / blocks) + 2.3) * PITCH + (0.4 if marks else 0.15)
    width = max(sum(columns) + 3 * AROUND[1] + 0.3, blocks * BLOCK + 0.3)
    title = "\n".join([*([title] if title else []), _headline(regions)])
    above = 0.5 + 0.2 * title.count("\n")
    height = above + sum(rows) + len(rows) * AROUND[0] + below
    figure = canvas.new(width, height, layout=None)

    fills, numbered, base = colours(regions), set(), height - above
    for row, tall in enumerate(rows):
        base -= AROUND[0] + tall
        left = (width - sum(columns) - 3 * AROUND[1]) / 2
        panels = _panels(figure, (left, base), columns, tall, lengths, scale)
        here = [positions[min(row, len(positions) - 1)] for positions in cuts]
        behind = None if volume is None else planes.through(volume.data[shown], here)
        numbered |= _slices(panels, places[shown], behind, here, view, regions, fills)
        for axes, (cut, _, _) in zip(panels, planes.PLANES, strict=True):
            if row >= len(cuts[cut]):  # so flat a box has no other plane to show
                axes.remove()
    _table(figure, base, blocks, regions, fills, numbered)
    if marks:
        canvas.legend(figure, _handles(marks), loc="lower center", ncols=2, fontsize=9)
    canvas.title(figure, title)
    return canvas.encode(figure, format)


def _checked(segmentation, volume, centre, format):
    """The voxel to cut through, or None."""
    canvas.check(format)
    shape = segmentation.labels.shape
    if volume is not None and volume.shape != shape:
        raise UsageError(
            f"the map must have the box of the regions, {units.by(shape)} px (x, y, z), got {units.by(volume.shape)}"
        )
    return None if centre is None else planes.nearest(planes.point(centre, shape), shape)


def colours(regions):
    """Colours of regions, (r, g, b) by number, so that neighbours differ.

    One region after the other gets that colour, of seven that are told apart by every eye, which none of its neighbours
    has and which is least used so far; where the neighbours have all seven, a lighter or darker shade.
    """
    given, used = {}, Counter()
    for region in regions:
        taken = {given[other] for other in region.neighbours if other in given}
        shades = range(len(FILLS))
        while not (free := [i for i in shades if i not in taken]):
            shades = range(shades.stop, shades.stop + len(FILLS))
        given[region.number] = min(free, key=used.__getitem__)
        used[given[region.number]] += 1
    return {number: _shade(index) for number, index in given.items()}


def _shade(index):
    """FILLS, then all of them half way to white, then half way to black, two thirds of the way to white …"""
    from matplotlib.colors import to_rgb

    depth, index = divmod(index, len(FILLS))
    share = 1 - 1 / (1 + (depth + 1) // 2)
    return tuple((1 - share) * part + share * (depth % 2) for part in to_rgb(FILLS[index]))


def _places(segmentation):
    """At each voxel the row of its region in the table, from 1 on, or 0; of hidden regions too."""
    numbers = [region.number for region in segmentation.regions]
    place = np.zeros(max(numbers, default=0) + 1, np.int32)
    place[numbers] = np.arange(1, len(numbers) + 1)
    return place[backend.to_numpy(segmentation.label_map("all").data)]


def _frame(places, point):
    """The first voxel of what is shown, and its shape, (z, y, x): the regions, the point, and some solvent."""
    first, shape = [], []
    for axis, count in enumerate(places.shape):
        occupied = np.nonzero(places.any(axis=tuple(a for a in range(3) if a != axis)))[0].tolist()
        wanted = (occupied or [0, count - 1]) + ([] if point is None else [point[axis]])
        room = max(2, round(MARGIN * (max(wanted) - min(wanted))))
        first.append(max(min(wanted) - room, 0))
        shape.append(min(max(wanted) + room + 1, count) - first[-1])
    return tuple(first), tuple(shape)


def _cuts(places, count, point):
    """Up to ROWS planes across each axis: the point's, then one after the other those that show the regions best."""
    shares = []
    for axis in range(3):
        areas = [np.bincount(plane.ravel(), minlength=count + 1)[1:] for plane in np.moveaxis(places, axis, 0)]
        shares.append(np.array(areas) / np.maximum(np.max(areas, axis=0), 1))
    volumes = np.sum(areas, axis=0)
    chosen = [[] if point is None else [int(point[axis])] for axis in range(3)]
    seen = np.sum([share[positions].sum(axis=0) for share, positions in zip(shares, chosen, strict=True)], axis=0)
    for share, positions in list(zip(shares, chosen, strict=True)) * ROWS:
        if len(positions) < min(ROWS, len(share)):
            positions.append(_best(share, positions, volumes / (1 + seen)))
            seen += share[positions[-1]]
    return [sorted(positions) for positions in chosen]


def _best(share, positions, weights):
    """The plane that shows most of what the planes at `positions` do not, of those that are not close to one of them.

    `share` is the area of each region in each plane relative to the region's largest. Among equals it is the plane
    farthest from the others and from the ends.
    """
    count = len(share)
    where = np.arange(count)
    near = np.min([np.full(count, count), *(abs(where - position) for position in positions)], axis=0)
    gain = np.maximum(share - share[positions].max(axis=0, initial=0), 0) @ weights
    spread = np.minimum(near, np.minimum(where + 1, count - where))
    return int(np.lexsort((spread, gain, np.minimum(near, APART * count)))[-1])


def _panels(figure, corner, columns, tall, lengths, scale):
    """A row of three panels, each in the middle of its column and of the row; all in inches."""
    width, height = figure.get_size_inches()
    left, bottom = corner[0] + 0.65, corner[1] + 0.55
    panels = []
    for column, (_, up, across) in zip(columns, planes.PLANES, strict=True):
        long, high = lengths[across] * scale, lengths[up] * scale
        x, y = left + (column - long) / 2, bottom + (tall - high) / 2
        panels.append(figure.add_axes((x / width, y / height, long / width, high / height)))
        left += AROUND[1] + column
    return panels


def _slices(panels, places, behind, cuts, view, regions, fills):
    """Draw three planes, of `places` and what lies behind it; the numbers that were written."""
    from matplotlib.collections import LineCollection

    looks = [(0, 0, 0, 0)] + [(0, 0, 0, 0) if r.hidden else (*fills[r.number], 1) for r in regions]
    selected, hidden = (np.array([False] + [getattr(r, mark) for r in regions]) for mark in ("selected", "hidden"))
    diameter = 72 * view.scale * np.median([r.volume_angstrom3 for r in regions] or [0]) ** (1 / 3)
    thinner = min(1, diameter / THINNED)
    found = planes.through(places, cuts)
    for i, (axes, (_, up, across)) in enumerate(zip(panels, planes.PLANES, strict=True)):
        plane = found[i].astype(int)
        left, bottom = view.first[across], view.first[up]
        look = {
            "origin": "lower",
            "aspect": view.edges[up] / view.edges[across],
            "extent": (left - 0.5, left + plane.shape[1] - 0.5, bottom - 0.5, bottom + plane.shape[0] - 0.5),
        }
        if behind is not None:
            dark, light = planes.grey_range(behind)
            # as light as a mask in the figure of slices: colours are to be seen first
            axes.imshow(behind[i], cmap="gray_r", vmin=dark, vmax=dark + 2.5 * (light - dark), **look)
        axes.imshow(np.array(looks)[plane], interpolation="nearest", **look)
        if hidden[plane].any():
            inside = np.pad(hidden[plane], 1)
            grid = [start - 1 + np.arange(n) for start, n in zip((left, bottom), inside.shape[::-1], strict=True)]
            axes.contourf(*grid, inside, levels=[0.5, 1.5], colors="none", hatches=[HATCHED])
        for kept, colour, line in ((~hidden, "white", 0.6), (hidden, canvas.GREY, 0.8), (selected, "black", 1.6)):
            lines = _outlines(np.where(kept[plane], plane, 0)) + (left, bottom)
            axes.add_collection(LineCollection(lines, colors=colour, linewidths=line * thinner, capstyle="projecting"))
        axes.set(xlim=look["extent"][:2], ylim=look["extent"][2:])  # which hatching has widened
    at = [start + cut for start, cut in zip(view.first, cuts, strict=True)]
    planes.label(panels, view.shape, view.edges, at, view.scale, False, view.origin, view.first)
    return {
        regions[place - 1].number
        for axes, plane, (_, up, across) in zip(panels, found, planes.PLANES, strict=True)
        for place in _numbers(axes, plane.astype(int), (up, across), view, regions)
    }


def _outlines(plane):
    """Lines between pixels of different values, (lines, ends, (x, y)) in px; around the plane is 0."""
    lines = []
    for turned in (plane, plane.T):
        differ = np.diff(np.pad(turned, 1), axis=1) != 0
        turns = np.diff(np.pad(differ.astype(np.int8), ((1, 1), (0, 0))), axis=0).T
        starts, stops = np.argwhere(turns == 1), np.argwhere(turns == -1)
        ends = np.stack([starts, stops], axis=1) - (0.5, 1.5)
        lines.append(ends if turned is plane else ends[..., ::-1])
    return np.concatenate(lines)


def _numbers(axes, plane, drawn, view, regions):
    """Write into each region its number where there is room; the places in the table of those that have it.

    First come numbers that lie within their region, in larger or smaller type, then those that lie on its border.
    """
    from matplotlib.patheffects import withStroke

    edges = [view.edges[axis] for axis in drawn]
    start = [view.first[axis] for axis in drawn]
    pixels = [1 / 72 / view.scale / edge for edge in edges]  # a point is so many
    taken, written = _scale_bar(axes), []
    depths = {}
    for place, box in enumerate(ndimage.find_objects(plane), 1):
        if box is not None:
            inside = np.pad(plane[box] == place, 1)
            corner = [side.start - 1 + first for side, first in zip(box, start, strict=True)]
            depths[place] = ndimage.distance_transform_edt(inside, edges), corner
    order = sorted(depths, key=lambda place: -depths[place][0].max())
    for place, within, size in [(p, w, s) for w in (True, False) for p in order for s in SIZES]:
        if place in written:
            continue
        text = str(regions[place - 1].number)
        extent = [points * pixel for points, pixel in zip((LINE * size, DIGIT * size * len(text)), pixels, strict=True)]
        depth, corner = depths[place]
        if within:
            window = [2 * int(np.ceil((pixel - 1) / 2)) + 1 for pixel in extent]
            fits = ndimage.minimum_filter(depth > 0, window, mode="constant", cval=False)
        else:
            # high enough for half a digit above and below, and not hidden by its number
            fits = (depth - max(edges) / 2 > 0.4 * size / 72 / view.scale) & ((depth > 0).sum() > math.prod(extent))
        if spot := _spot(depth * fits, corner, extent, taken, start, plane.shape):
            taken.append((*spot, *extent))
            written.append(place)
            halo = [withStroke(linewidth=2, foreground="white")]
            axes.text(*spot[::-1], text, fontsize=size, ha="center", va="center", path_effects=halo)
    return written


def _spot(depth, corner, extent, taken, start, shape):
    """The deepest pixel, (up, across), on which a word of that extent is in the panel and meets no other, or None."""
    where = [first + np.arange(count) for first, count in zip(corner, depth.shape, strict=True)]
    room = [
        (w - e / 2 >= first - 0.5) & (w + e / 2 <= first + count - 0.5)
        for w, e, first, count in zip(where, extent, start, shape, strict=True)
    ]
    depth = depth * np.outer(*room)
    for *middle, high, wide in taken:
        up, across = (
            abs(w - m) < (e + other) / 2 for w, m, e, other in zip(where, middle, extent, (high, wide), strict=True)
        )
        depth[np.outer(up, across)] = 0
    if not depth.any():
        return None
    found = np.unravel_index(depth.argmax(), depth.shape)
    return tuple(float(w[i]) for w, i in zip(where, found, strict=True))


def _scale_bar(axes):
    """Middle and extent, (up, across) in px, of the scale bar with its length, where the panel has one."""
    from matplotlib.transforms import Bbox

    parts = [part.get_window_extent() for part in (*axes.texts, *axes.lines)]
    if not parts:
        return []
    around = CLEAR / 72 * axes.figure.dpi
    box = Bbox.union(parts).padded(around).transformed(axes.transData.inverted())
    return [((box.y0 + box.y1) / 2, (box.x0 + box.x1) / 2, box.height, box.width)]


def _table(figure, top, blocks, regions, fills, numbered):
    """The regions by volume, from `top` inch above the lower rim downwards."""
    from matplotlib.patches import Rectangle

    width, height = figure.get_size_inches()
    left = (width - blocks * BLOCK) / 2 + 0.1

    def word(x, y, text, **options):
        figure.text(x / width, y / height, text, fontsize=9, va="center", **options)

    listed = regions[:LISTED]
    each = math.ceil(len(listed) / blocks)
    whole = sum(region.volume_angstrom3 for region in regions)
    columns = [
        [str(region.number) for region in listed],
        _aligned([region.volume_angstrom3 for region in listed]),
        _aligned([region.mass_kda for region in listed]),
        _aligned([region.mean for region in listed]),
        [f"{100 * region.volume_angstrom3 / whole:.1f}" for region in listed],
    ]
    for block in range(blocks if regions else 0):
        for name, end in HEAD:
            word(left + block * BLOCK + end, top, name, ha="right", color=canvas.GREY)
    for row, (region, texts) in enumerate(zip(listed, zip(*columns, strict=True), strict=True)):
        x, y = left + row // each * BLOCK, top - (row % each + 1) * PITCH
        for text, (_, end) in zip(texts, HEAD, strict=True):
            word(x + end, y, text, ha="right")
        look = {
            "facecolor": "white" if region.hidden else fills[region.number],
            **_look(region.selected, region.hidden),
        }
        figure.add_artist(
            Rectangle(
                (x / width, (y - 0.06) / height), 0.22 / width, 0.12 / height, transform=figure.transFigure, **look
            )
        )
    remarks = []
    if len(regions) > LISTED:
        others = sum(region.volume_angstrom3 for region in regions[LISTED:])
        remarks.append(f"… and {len(regions) - LISTED} more: {others:,.0f} Å³, {100 * others / whole:.1f} %")
    missing = [str(region.number) for region in listed if region.number not in numbered]
    if missing:
        remarks.append("without a number in these slices: ")
        room = LETTERS * (width - left) - len("; ".join(remarks)) - len(" and 20 more")
        fit = [number for i, number in enumerate(missing) if len(", ".join(missing[: i + 1])) <= room]
        rest = len(missing) - len(fit)
        remarks[-1] += ", ".join(fit) + (f" and {rest} more" if rest else "")
    word(left, top - (each + 1.3) * PITCH, "; ".join(remarks), color=canvas.GREY)


def _aligned(values):
    """Numbers with as many digits after the point as give the largest four in all."""
    largest = max((abs(value) for value in values), default=0)
    digits = max(0, 3 - math.floor(math.log10(largest))) if largest else 0
    return [f"{value:,.{digits}f}" if digits <= MOST_DIGITS else f"{value:.2e}" for value in values]


def _look(selected, hidden):
    """How a swatch is marked, and the outline of a region."""
    edge, line = ("black", 1.6) if selected else (canvas.GREY, 0.8)
    return {"edgecolor": edge, "linewidth": line if selected or hidden else 0, "hatch": HATCHED if hidden else None}


def _handles(marks):
    from matplotlib.patches import Patch

    return [(Patch(facecolor="white", **_look(mark == "selected", mark == "hidden")), mark) for mark in marks]


def _headline(regions):
    volume = sum(region.volume_angstrom3 for region in regions)
    mass = sum(region.mass_kda for region in regions)
    count = f"{len(regions):,} region" + "s" * (len(regions) != 1)
    return f"{count}, {volume:,.0f} Å³, {_aligned([mass])[0]} kDa at 0.81 Da/Å³" if regions else "no regions"
