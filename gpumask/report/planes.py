"""The planes xy, xz and yz of a box: which axis lies where, their sizes, axes in px and Å, scale bar and cross."""

import math

import numpy as np

from gpumask import backend, units
from gpumask.errors import UsageError

PLANES = ((0, 1, 2), (1, 0, 2), (2, 0, 1))  # axis cut, axis drawn upwards, axis drawn to the right
NAMES = "zyx"


def lengths(shape, edges):
    """Edges of the box, (z, y, x) in Å."""
    return tuple(n * v for n, v in zip(shape, edges, strict=True))


def across(sizes):
    """Widths of the three panels; `sizes` are those of the box along z, y, x, in Å or 1/Å."""
    return [sizes[across] for _, _, across in PLANES]


def tallest(sizes):
    """Height of the tallest panel; `sizes` as in :func:`across`."""
    return max(sizes[up] for _, up, _ in PLANES)


def cross(axes, x, y):
    """A black cross on a white one, to be seen on any grey."""
    axes.plot([x], [y], marker="+", markersize=15, markeredgewidth=4.0, color="white", linestyle="none")
    axes.plot([x], [y], marker="+", markersize=13, markeredgewidth=1.6, color="black", linestyle="none")


def point(centre, shape):
    """A point to cut through, (z, y, x); the box centre unless given."""
    point = tuple(n // 2 for n in shape) if centre is None else tuple(float(c) for c in centre)
    if not all(-0.5 <= c <= n - 0.5 for c, n in zip(point, shape, strict=True)):
        raise UsageError(
            f"the centre must lie in the box of {units.by(shape)} px (x, y, z), got "
            + ", ".join(f"{c:g}" for c in units.xyz(point))
        )
    return point


def nearest(point, shape):
    """Where the box is cut to pass through a point, (z, y, x)."""
    return [min(max(round(c), 0), n - 1) for c, n in zip(point, shape, strict=True)]


def through(array, cuts):
    """The three planes of an array, float32."""
    return [np.asarray(backend.to_numpy(array.take(cuts[a], axis=a)), np.float32) for a, _, _ in PLANES]


def label(panels, shape, edges, cuts, scale, right=True, origin=(0.0, 0.0, 0.0), first=(0, 0, 0)):
    """Titles, scale bar, and axes in px below and to the left, in Å above and, where wanted, to the right; `scale` is
    in inch per Å, `origin` where the box begins in Å. Of the box `shape` voxels from `first` on are shown."""
    ticks = [max(1, min(5, int(length * scale / 0.3))) for length in lengths(shape, edges)]  # 0.3 inch apart
    positions = units.corner_px_to_angstrom(cuts, edges, origin)
    for axes, (cut, up, across) in zip(panels, PLANES, strict=True):
        _label(axes, edges, origin, ticks, up, across, right)
        axes.set_title(f"{NAMES[cut]} = {cuts[cut]} px = {positions[cut]:.1f} Å", fontsize=10)
    scale_bar(panels[0], shape, edges, first)


def _label(axes, edges, origin, ticks, up, across, right):
    from matplotlib.ticker import MaxNLocator

    labelled = [(axes.xaxis, across, "px", "0"), (axes.yaxis, up, "px", "0")]
    labelled.append(
        (axes.secondary_xaxis("top", functions=_scaling(edges[across], origin[across])).xaxis, across, "Å", "0.35")
    )
    if right:
        labelled.append(
            (axes.secondary_yaxis("right", functions=_scaling(edges[up], origin[up])).yaxis, up, "Å", "0.35")
        )
    for axis, drawn, unit, grey in labelled:
        axis.set_label_text(f"{NAMES[drawn]} ({unit})", fontsize=9, color=grey)
        axis.set_tick_params(labelsize=8, colors=grey)
        steps = [1, 2, 5, 10] if unit == "px" else [1, 2, 2.5, 5, 10]
        axis.set_major_locator(MaxNLocator(ticks[drawn], steps=steps, min_n_ticks=1, integer=unit == "px"))


def _scaling(edge, start):
    """px to Å and back."""
    return lambda pixels: pixels * edge + start, lambda angstroms: (angstroms - start) / edge


def scale_bar(axes, shape, edges, first=(0, 0, 0)):
    """A bar of a round number of Å, up to a quarter of the panel, in its lower left corner."""
    length = round_below(0.25 * shape[2] * edges[2], (1, 2, 5))
    left, bottom = first[2] + 0.05 * shape[2], first[1] + 0.07 * shape[1]
    bar = length / edges[2]
    for colour, width, extra in (("white", 6.0, 0.004 * shape[2]), ("black", 3.0, 0.0)):
        axes.plot([left - extra, left + bar + extra], [bottom] * 2, color=colour, lw=width, solid_capstyle="butt")
    text = {"ha": "center", "va": "bottom", "fontsize": 9}
    box = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
    middle = (left + bar / 2, bottom)
    axes.annotate(f"{length:g} Å", middle, (0, 4), textcoords="offset points", bbox=box, **text)


def round_below(limit, steps):
    """The largest of `steps`, or of their tenfolds, that is at most `limit`."""
    power = 10.0 ** math.floor(math.log10(limit))
    return max(step * power for step in steps if step * power <= limit)


def grey_range(images):
    """Values drawn white and black, the same for the three slices; a few extreme voxels do not set them."""
    values = np.concatenate([p.ravel() for p in images])
    low, high = np.percentile(values, (1, 99.8))
    return (low, high) if low < high else (values.min(), values.max() + 1)
