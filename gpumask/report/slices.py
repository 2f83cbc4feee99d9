"""Three orthogonal slices of a map with the contours of its mask."""

import math
from io import BytesIO

import numpy as np

from gpumask import backend, units
from gpumask.errors import MissingExtra, UsageError

# Each with what matplotlib would add to it and what would differ from day to day or version to version.
FORMATS = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}

# Okabe-Ito colours, told apart by the style of the line as well, so that print in grey still reads.
CONTOURS = (
    (0.999, "#D55E00", "solid", "mask = 1 inside (contour at 0.999)"),
    (0.5, "#0072B2", "dashed", "mask = 0.5"),
    (0.001, "#009E73", (0, (1, 1)), "mask = 0 outside (contour at 0.001)"),
)
PLANES = ((0, 1, 2), (1, 0, 2), (2, 0, 1))  # axis cut, axis drawn upwards, axis drawn to the right
NAMES = "zyx"


def draw(mask, volume=None, *, voxel_size, centre=None, title=None, format="png"):
    """Draw the planes xy, xz and yz through a point: the map in grey, the mask as contours at 1, 0.5 and 0.

    Parameters
    ----------
    mask : array, (z, y, x)
        Values in [0, 1].
    volume : array, (z, y, x), optional
        The map behind the contours, dense is dark; without it the mask itself.
    voxel_size : float or tuple of float
        Voxel edges (z, y, x) in Å, or one for all three. Slices are drawn in proportion to Å.
    centre : tuple of float, optional
        Point to cut through and to mark with a cross, (z, y, x) in px from the corner, such as the fulcrum of a local
        refinement. Default: the mask's centre of mass (of an empty mask the box centre).
    title : str, optional
        Line above the slices.
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
        Unknown format, different boxes, or a centre outside the box.
    """
    if format not in FORMATS:
        raise UsageError(f"a figure is drawn as {', '.join(FORMATS)}, got {format!r}")
    if mask.ndim != 3 or (volume is not None and volume.shape != mask.shape):
        shapes = _by(mask.shape) + ("" if volume is None else f" and {_by(volume.shape)}")
        raise UsageError(f"mask and map must be 3-D arrays of one box, got {shapes} (z, y, x)")
    edges = tuple(float(v) for v in np.broadcast_to(voxel_size, 3))
    point = _centre_of_mass(mask) if centre is None else tuple(float(c) for c in centre)
    if not all(-0.5 <= c <= n - 0.5 for c, n in zip(point, mask.shape, strict=True)):
        raise UsageError(
            f"the centre must lie in the box of {_by(mask.shape[::-1])} px (x, y, z), got "
            + ", ".join(f"{c:g}" for c in units.xyz(point))
        )
    drawn = BytesIO()
    _figure(mask, volume, edges, point, title).savefig(drawn, format=format, metadata=FORMATS[format])
    return drawn.getvalue()


def _figure(mask, volume, edges, centre, title):
    try:
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D
    except ImportError as error:
        raise MissingExtra("drawing needs matplotlib: pip install 'gpumask[plot]'") from error

    lengths = [n * v for n, v in zip(mask.shape, edges, strict=True)]
    widths = [lengths[across] for _, _, across in PLANES]
    tallest = max(lengths[up] for _, up, _ in PLANES)
    scale = min(7.6 / sum(widths), 8.0 / tallest)  # inch per Å
    width = max(sum(widths) * scale + 2.8, 5.8)  # with the axes' labels; the legend needs the least
    height = max(tallest * scale, 1.0) + (1.4 if title is None else 1.7)
    figure = Figure(figsize=(width, height), dpi=200, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06, wspace=0.02)
    panels = figure.subplots(1, 3, width_ratios=widths)
    ticks = [max(1, min(5, int(length * scale / 0.3))) for length in lengths]  # no closer than 0.3 inch

    cuts = [min(max(round(c), 0), n - 1) for c, n in zip(centre, mask.shape, strict=True)]
    positions = units.corner_px_to_angstrom(cuts, edges)
    behind = mask if volume is None else volume
    planes = [np.asarray(backend.to_numpy(behind.take(cuts[a], axis=a)), np.float32) for a, _, _ in PLANES]
    # A mask is drawn in light grey, so that its contours stay visible.
    low, high = (0, 2.5) if volume is None else _grey_range(planes)
    for axes, plane, (cut, up, across) in zip(panels, planes, PLANES, strict=True):
        axes.imshow(plane, cmap="gray_r", vmin=low, vmax=high, origin="lower", aspect=edges[up] / edges[across])
        _contours(axes, np.asarray(backend.to_numpy(mask.take(cuts[cut], axis=cut)), np.float32))
        _cross(axes, centre[across], centre[up])
        _label(axes, edges, ticks, up, across)
        axes.set_title(f"{NAMES[cut]} = {cuts[cut]} px = {positions[cut]:.1f} Å", fontsize=10)
    _scale_bar(panels[0], mask.shape, edges)

    handles = [Line2D([], [], color=c, linestyle=s, linewidth=1.6, label=t) for _, c, s, t in CONTOURS]
    where = ", ".join(f"{c:.1f}" for c in units.xyz(centre))
    cross = {"color": "black", "marker": "+", "markersize": 11, "markeredgewidth": 1.6, "linestyle": "none"}
    handles.append(Line2D([], [], label=f"centre x, y, z = {where} px", **cross))
    columns = 4 if width > 10 else 2
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=9, frameon=False)
    if title is not None:
        figure.suptitle(title, fontsize=12)
    return figure


def _contours(axes, plane):
    for level, colour, style, _ in CONTOURS:
        if plane.min() < level < plane.max():
            axes.contour(plane, levels=[level], colors=[colour], linestyles=[style], linewidths=1.3)


def _cross(axes, x, y):
    """A black cross on a white one, to be seen on any grey."""
    axes.plot([x], [y], marker="+", markersize=15, markeredgewidth=4.0, color="white", linestyle="none")
    axes.plot([x], [y], marker="+", markersize=13, markeredgewidth=1.6, color="black", linestyle="none")


def _label(axes, edges, ticks, up, across):
    """px below and to the left, Å from the first voxel above and to the right; at most ticks[axis] each."""
    from matplotlib.ticker import MaxNLocator

    top = axes.secondary_xaxis("top", functions=_scaling(edges[across])).xaxis
    right = axes.secondary_yaxis("right", functions=_scaling(edges[up])).yaxis
    for axis, drawn, unit, grey in (
        (axes.xaxis, across, "px", "0"),
        (axes.yaxis, up, "px", "0"),
        (top, across, "Å", "0.35"),
        (right, up, "Å", "0.35"),
    ):
        axis.set_label_text(f"{NAMES[drawn]} ({unit})", fontsize=9, color=grey)
        axis.set_tick_params(labelsize=8, colors=grey)
        axis.set_major_locator(MaxNLocator(ticks[drawn], steps=[1, 2, 2.5, 5, 10], min_n_ticks=1))


def _scaling(edge):
    """px to Å and back."""
    return lambda pixels: pixels * edge, lambda angstroms: angstroms / edge


def _scale_bar(axes, shape, edges):
    """A bar of a round number of Å, up to a quarter of the panel, in its lower left corner."""
    wanted = 0.25 * shape[2] * edges[2]
    power = 10.0 ** math.floor(math.log10(wanted))
    length = max(step * power for step in (1, 2, 5) if step * power <= wanted)
    left, bottom = 0.05 * shape[2], 0.07 * shape[1]
    bar = length / edges[2]
    for colour, width, extra in (("white", 6.0, 0.004 * shape[2]), ("black", 3.0, 0.0)):
        axes.plot([left - extra, left + bar + extra], [bottom] * 2, color=colour, lw=width, solid_capstyle="butt")
    text = {"ha": "center", "va": "bottom", "fontsize": 9}
    box = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
    middle = (left + bar / 2, bottom)
    axes.annotate(f"{length:g} Å", middle, (0, 4), textcoords="offset points", bbox=box, **text)


def _grey_range(planes):
    """Values drawn white and black, the same for the three slices; a few extreme voxels do not set them."""
    values = np.concatenate([p.ravel() for p in planes])
    low, high = np.percentile(values, (1, 99.8))
    return (low, high) if low < high else (values.min(), values.max() + 1)


def _centre_of_mass(mask):
    """Centre of mass in px from the corner; the box centre where nothing has weight."""
    profiles = [backend.to_numpy(mask.sum(axis=others, dtype=np.float64)) for others in ((1, 2), (0, 2), (0, 1))]
    if not profiles[0].sum() > 0:
        return tuple(n // 2 for n in mask.shape)
    return tuple(float(p @ np.arange(len(p)) / p.sum()) for p in profiles)


def _by(shape):
    return " x ".join(str(n) for n in shape)
