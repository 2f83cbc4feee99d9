"""Local resolution: slices of it within the mask, and its histogram."""

import numpy as np

from gpumask import units
from gpumask.errors import UsageError
from gpumask.mask import centre_of_mass
from gpumask.report import canvas, planes

INSIDE = 0.5  # of a mask, from which on a voxel counts
EXTREME = 0.01  # of the voxels in the mask at either end, beyond the ends of the colours
SPAN = 0.1  # of the median, that the colours span at the least: an even map looks even
HATCHED = "xxxx"  # where a half map has no signal


def draw(found, mask=None, volume=None, *, centre=None, title=None, format="png"):
    """Draw local resolution in the planes xy, xz and yz through a point, and the histogram of the voxels in the mask.

    Resolution is shown where it was measured: in the mask, or without one where the nearest point of the grid is a
    measured one. Around it is the map in light grey; where half maps have no signal it is hatched.

    Parameters
    ----------
    found : LocalResolution
        See :func:`gpumask.local_resolution.measure`.
    mask : array, (z, y, x), optional
        That it was measured in.
    volume : array, (z, y, x), optional
        The map, shown around what was measured.
    centre : tuple of float, optional
        Point to cut through, (z, y, x) in px from the corner. Default: the mask's centre of mass, without a mask the
        box centre.
    title : str, optional
        Line above the slices. Default: the median, the quartiles and the window.
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
    point = _checked(found, mask, volume, centre, format)
    shape, edges = found.volume.shape, found.voxel_size
    lengths = planes.lengths(shape, edges)
    scale = min(7.6 / sum(planes.across(lengths)), 6.0 / planes.tallest(lengths))  # inch per Å
    width = max(sum(planes.across(lengths)) * scale + 3.4, 8.0)
    tall = max(planes.tallest(lengths) * scale, 1.0) + 0.9
    figure = canvas.new(width, tall + 3.6)
    *panels, below = figure.subplot_mosaic(
        "xyz;hhh", width_ratios=planes.across(lengths), height_ratios=[tall, 2.1]
    ).values()
    low, high = _range(found)
    cuts = planes.nearest(point, shape)
    image = _slices(panels, found, mask, volume, cuts, (low, high))
    planes.label(panels, shape, edges, cuts, scale, right=False)
    bar = figure.colorbar(image, ax=panels, extend=_beyond(found, low, high), shrink=0.9)
    bar.set_label("local resolution (Å)")
    _histogram(below, found)
    canvas.title(figure, _headline(found) if title is None else title)
    return canvas.encode(figure, format)


def _checked(found, mask, volume, centre, format):
    canvas.check(format)
    for array in (mask, volume):
        if array is not None and array.shape != found.volume.shape:
            raise UsageError(
                f"mask and map must have the box of the resolution, {units.by(found.volume.shape)} px (x, y, z), got "
                f"{units.by(array.shape)}"
            )
    if centre is None and mask is not None:
        centre = centre_of_mass(mask)
    return planes.point(centre, found.volume.shape)


def _slices(panels, found, mask, volume, cuts, ends):
    """Draw the planes; the image that a colour bar may stand for."""
    from matplotlib import colormaps

    edges = found.voxel_size
    measured, signal = _where(found, cuts)
    if mask is not None:
        measured = [plane >= INSIDE for plane in planes.through(mask, cuts)]
    behind = None if volume is None else planes.through(volume, cuts)
    dark, light = (0, 1) if behind is None else planes.grey_range(behind)
    values = planes.through(found.volume, cuts)
    for i, (axes, (_, up, across)) in enumerate(zip(panels, planes.PLANES, strict=True)):
        look = {"origin": "lower", "aspect": edges[up] / edges[across]}
        if behind is not None:
            # as light as a mask in the figure of slices: colours are to be seen first
            axes.imshow(behind[i], cmap="gray_r", vmin=dark, vmax=dark + 2.5 * (light - dark), **look)
        shown = np.ma.masked_where(~(measured[i] & signal[i]), values[i])
        image = axes.imshow(
            shown, cmap=colormaps[canvas.RESOLUTIONS], vmin=ends[0], vmax=ends[1], interpolation="nearest", **look
        )
        silent = measured[i] & ~signal[i]
        if silent.any():
            axes.contourf(silent, levels=[0.5, 1.5], colors=["0.8"], hatches=[HATCHED])
    return image


def _where(found, cuts):
    """In each plane the voxels whose nearest point of the grid was measured, and those whose nearest measured point has
    signal."""
    first = found.points.min(axis=0)
    count = (found.points.max(axis=0) - first) // found.step_px + 1
    known, signal = np.zeros(count, bool), np.ones(count, bool)
    place = tuple(((found.points - first) // found.step_px).T)
    known[place] = True
    signal[place] = ~np.isnan(found.values)
    index = [
        np.rint((np.arange(n) - f) / s).astype(int)
        for n, f, s in zip(found.volume.shape, first, found.step_px, strict=True)
    ]
    within = [(i >= 0) & (i < n) for i, n in zip(index, count, strict=True)]
    kept = [np.clip(i, 0, n - 1) for i, n in zip(index, count, strict=True)]
    measured, audible = [], []
    for cut, up, across in planes.PLANES:
        at = [None, None, None]
        at[cut], at[up], at[across] = kept[cut][cuts[cut]], kept[up][:, None], kept[across][None, :]
        inside = within[cut][cuts[cut]] & within[up][:, None] & within[across][None, :]
        measured.append(known[tuple(at)] & inside)
        audible.append(signal[tuple(at)])
    return measured, audible


def _range(found):
    """Å at the ends of the colours; a few extreme voxels do not set them."""
    edges, counts = np.array(found.histogram["edges"]), np.array(found.histogram["counts"])
    share = np.cumsum(counts) / counts.sum()
    low = edges[np.searchsorted(share, EXTREME, side="right")]
    high = edges[np.searchsorted(share, 1 - EXTREME) + 1]
    wider = max(0.0, SPAN * found.median - (high - low)) / 2
    return low - wider, high + wider


def _beyond(found, low, high):
    """Which ends of the colour bar are open."""
    edges = found.histogram["edges"]
    return {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[
        (edges[0] < low, edges[-1] > high)
    ]


def _histogram(axes, found):
    from matplotlib.patches import Patch

    edges, counts = np.array(found.histogram["edges"]), found.histogram["counts"]
    axes.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color="0.65")
    low, median, high = found.quartiles
    line = axes.axvline(median, color=canvas.VERMILLION, linewidth=2.0)
    axes.axvspan(low, high, color=canvas.BLUE, alpha=0.2, linewidth=0)
    handles = [
        (line, f"median {median:.2f} Å"),
        (Patch(color=canvas.BLUE, alpha=0.2), f"quartiles {low:.2f} to {high:.2f} Å"),
    ]
    axes.set_ylim(bottom=0)
    axes.set_ylabel("voxels")
    axes.set_xlabel(f"local resolution (Å)\n{_bounds(found)}")
    canvas.grid(axes)
    canvas.legend(axes, handles, loc="best", fontsize=9)


def _bounds(found):
    coarsest, finest = found.bounds
    text = (
        f"bounds: {coarsest:.3g} Å (window), {found.at_coarsest} of {len(found.points)} points there; "
        f"{finest:.3g} Å (Nyquist), {found.at_finest} there"
    )
    return f"{text}; {found.undefined} without signal (hatched)" if found.undefined else text


def _headline(found):
    low, median, high = found.quartiles
    corrected = "not corrected" if found.onset is None else f"corrected from {1 / found.onset:.3g} Å on"
    return (
        f"Local resolution: median {median:.2f} Å, quartiles {low:.2f} and {high:.2f} Å\n"
        f"window {found.window:.3g} Å, FSC = {found.threshold:g}, {corrected}"
    )
