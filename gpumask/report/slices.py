"""Orthogonal slices of a map and its mask, in real space with the mask's contours and in Fourier space."""

import numpy as np

from gpumask import backend, fourier, units
from gpumask.errors import UsageError
from gpumask.mask import centre_of_mass
from gpumask.report import canvas, planes

# The style of the line tells the levels apart in print in grey.
CONTOURS = (
    (0.999, canvas.VERMILLION, "solid", "mask = 1 inside (contour at 0.999)"),
    (0.5, canvas.BLUE, "dashed", "mask = 0.5"),
    (0.001, canvas.GREEN, (0, (1, 1)), "mask = 0 outside (contour at 0.001)"),
)
RING = ("black", (0, (6, 2, 1, 2)))
FAINTEST = -140.0  # dB: below it the rounding of float32 data shows and nothing else
SMALLEST_RANGE = 20.0  # dB: what a colour bar spans at least


def draw(mask, volume=None, *, voxel_size, origin=(0.0, 0.0, 0.0), centre=None, title=None, format="png"):
    """Draw the planes xy, xz and yz through a point: the map in grey, the mask as contours at 1, 0.5 and 0.

    Parameters
    ----------
    mask : array, (z, y, x)
        Values in [0, 1].
    volume : array, (z, y, x), optional
        The map behind the contours, dense is dark; without it the mask itself.
    voxel_size : float or tuple of float
        Voxel edges (z, y, x) in Å, or one for all three. Slices are drawn in proportion to Å.
    origin : tuple of float
        Where the first voxel is, (z, y, x) in Å: the header's frame.
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
    edges, point = _checked(mask, volume, voxel_size, centre, format)
    lengths = planes.lengths(mask.shape, edges)
    scale = min(7.6 / sum(planes.across(lengths)), 8.0 / planes.tallest(lengths))  # inch per Å
    # with the axes' labels; the legend needs the least
    width = max(sum(planes.across(lengths)) * scale + 2.8, 5.8)
    figure = canvas.new(width, max(planes.tallest(lengths) * scale, 1.0) + (1.4 if title is None else 1.7))
    panels = figure.subplots(1, 3, width_ratios=planes.across(lengths))
    _real_space(panels, mask, volume, edges, origin, point, scale)
    columns = 4 if width > 10 else 2
    canvas.legend(figure, _handles(point), loc="outside lower center", ncols=columns, fontsize=9)
    if title is not None:
        canvas.title(figure, title)
    return canvas.encode(figure, format)


def draw_both(
    mask, volume=None, *, voxel_size, origin=(0.0, 0.0, 0.0), centre=None, resolution=None, title=None, format="png"
):
    """Draw map and mask in both spaces, a row each of the planes xy, xz and yz: in real space as :func:`draw` does, in
    Fourier space the power in the planes through the origin (see :func:`gpumask.fourier.central_planes`).

    Parameters
    ----------
    mask, volume, voxel_size, origin, centre, title, format
        See :func:`draw`; without a map its two rows are absent.
    resolution : float, optional
        Å; a ring at this resolution in Fourier space.

    Returns
    -------
    bytes
        The file. PNG and PDF are the same bytes for the same input.

    Raises
    ------
    MissingExtra
        matplotlib is not installed.
    UsageError
        Unknown format, different boxes, a centre outside the box, or a resolution that is none.
    """
    edges, point = _checked(mask, volume, voxel_size, centre, format)
    ring = None if resolution is None else 1 / units.angstrom(resolution)
    kinds = [("mask", mask, None)] if volume is None else [("map", volume, volume), ("mask", mask, None)]
    lengths, extents = planes.lengths(mask.shape, edges), tuple(1 / v for v in edges)
    scale, stretch = (min(5.6 / sum(planes.across(sizes)), 4.0 / planes.tallest(sizes)) for sizes in (lengths, extents))
    # In inches: the panels of a row have one scale, which no automatic layout keeps. Titles and names of rows must fit.
    columns = [
        max(a * scale, b * stretch, 1.35) for a, b in zip(planes.across(lengths), planes.across(extents), strict=True)
    ]
    tall, low = max(planes.tallest(lengths) * scale, 1.0), max(planes.tallest(extents) * stretch, 1.35)
    width = max(0.3 + sum(columns) + 3 * 0.75 + 1.0, 7.4)
    height = len(kinds) * (tall + 1.3 + low + 0.85) + (0.5 if title is None else 0.9)
    figure = canvas.new(width, height, layout=None)

    def place(left, bottom, across, up):
        return figure.add_axes((left / width, bottom / height, across / width, up / height))

    def row(name, base, room, sizes, by):
        """Three panels, each in the middle of its column and of the row, and where the last column ends."""
        figure.text(0.2 / width, (base + room / 2) / height, name, rotation=90, ha="center", va="center", fontsize=10)
        panels, right = [], 0.3
        for column, (_, up, across) in zip(columns, planes.PLANES, strict=True):
            long, high = sizes[across] * by, sizes[up] * by
            panels.append(place(right + 0.75 + (column - long) / 2, base + (room - high) / 2, long, high))
            right += 0.75 + column
        return panels, right

    base = height - (0.0 if title is None else 0.4)
    for name, shown, behind in kinds:
        base -= 0.8 + tall
        panels, _ = row(f"{name}, real space", base, tall, lengths, scale)
        _real_space(panels, mask, behind, edges, origin, point, scale, right=False)
        base -= 0.85 + low
        panels, right = row(f"{name}, Fourier space", base, low, extents, stretch)
        image = _fourier_space(panels, shown, edges, ring)
        bar = figure.colorbar(image, cax=place(right + 0.15, base, 0.13, low), extend="min")
        bar.set_label("power (dB, largest = 0)", fontsize=9)
        bar.ax.tick_params(labelsize=8)
        base -= 0.5
    handles = _handles(point)
    if ring is not None:
        handles.append((_line(*RING), f"ring at {units.angstrom(resolution):g} Å"))
    canvas.legend(figure, handles, loc="lower center", ncols=3, fontsize=9)
    if title is not None:
        canvas.title(figure, title)
    return canvas.encode(figure, format)


def _checked(mask, volume, voxel_size, centre, format):
    """Voxel edges and the point to cut through, both (z, y, x)."""
    canvas.check(format)
    if mask.ndim != 3 or (volume is not None and volume.shape != mask.shape):
        shapes = _by(mask.shape) + ("" if volume is None else f" and {_by(volume.shape)}")
        raise UsageError(f"mask and map must be 3-D arrays of one box, got {shapes} (z, y, x)")
    edges = tuple(float(v) for v in np.broadcast_to(voxel_size, 3))
    if centre is None:
        centre = centre_of_mass(mask) or tuple(n // 2 for n in mask.shape)
    return edges, planes.point(centre, mask.shape)


def _real_space(panels, mask, volume, edges, origin, centre, scale, right=True):
    cuts = planes.nearest(centre, mask.shape)
    images = planes.through(mask if volume is None else volume, cuts)
    # A mask is drawn in light grey, so that its contours stay visible.
    low, high = (0, 2.5) if volume is None else planes.grey_range(images)
    for axes, image, plane, (_, up, across) in zip(
        panels, images, planes.through(mask, cuts), planes.PLANES, strict=True
    ):
        axes.imshow(image, cmap="gray_r", vmin=low, vmax=high, origin="lower", aspect=edges[up] / edges[across])
        contours(axes, plane)
        planes.cross(axes, centre[across], centre[up])
    planes.label(panels, mask.shape, edges, cuts, scale, right, origin)


def _fourier_space(panels, array, edges, ring):
    """The three planes of power; the image that a colour bar may stand for."""
    powers = _decibel([backend.to_numpy(plane) for plane in fourier.central_planes(array)])
    low = min(np.percentile(np.concatenate([p.ravel() for p in powers]), 1), -SMALLEST_RANGE)
    for axes, plane, (cut, up, across) in zip(panels, powers, planes.PLANES, strict=True):
        extent = [*_span(array.shape[across], edges[across]), *_span(array.shape[up], edges[up])]
        image = axes.imshow(plane, cmap="gray_r", vmin=low, vmax=0, origin="lower", extent=extent)
        if ring is not None:
            _ring(axes, ring)
        _label_frequencies(axes, up, across)
        axes.set_title(f"$k_{planes.NAMES[cut]}$ = 0", fontsize=10)
    return image


def _decibel(amplitudes):
    """|F| as power in dB relative to the largest of all planes, no lower than FAINTEST."""
    largest = max(plane.max() for plane in amplitudes) or 1.0
    return [20 * np.log10(np.maximum(plane / largest, 10 ** (FAINTEST / 20))) for plane in amplitudes]


def _span(count, edge):
    """Where the pixels of a transform with its zero frequency at ``n // 2`` begin and end, 1/Å."""
    return [(side - count // 2) / (count * edge) for side in (-0.5, count - 0.5)]


def _ring(axes, radius):
    """A circle on a white one, to be seen on any grey."""
    from matplotlib.patches import Circle

    colour, style = RING
    for drawn, width, line in (("white", 3.4, "solid"), (colour, 1.6, style)):
        axes.add_patch(Circle((0, 0), radius, fill=False, edgecolor=drawn, linewidth=width, linestyle=line))


def _label_frequencies(axes, up, across):
    for axis, drawn, end in ((axes.xaxis, across, axes.get_xlim()[1]), (axes.yaxis, up, axes.get_ylim()[1])):
        axis.set_label_text(f"$k_{planes.NAMES[drawn]}$ (1/Å)", fontsize=9)
        axis.set_tick_params(labelsize=8)
        mark = planes.round_below(0.9 * end, (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8))
        axis.set_ticks([-mark, 0, mark], [f"−{mark:g}", "0", f"{mark:g}"])


def _handles(centre):
    """What the legend says of the contours and the cross."""
    from matplotlib.lines import Line2D

    where = ", ".join(f"{c:.1f}" for c in units.xyz(centre))
    cross = Line2D([], [], color="black", marker="+", markersize=11, markeredgewidth=1.6, linestyle="none")
    return [*((_line(c, s), t) for _, c, s, t in CONTOURS), (cross, f"centre x, y, z = {where} px")]


def _line(colour, style):
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, linestyle=style, linewidth=1.6)


def contours(axes, plane, width=1.3):
    """Draw a plane of a mask as contours at CONTOURS."""
    for level, colour, style, _ in CONTOURS:
        if plane.min() < level < plane.max() and min(plane.shape) > 1:  # a line has no contour
            axes.contour(plane, levels=[level], colors=[colour], linestyles=[style], linewidths=width)


def _by(shape):
    return " x ".join(str(n) for n in shape)
