"""Resolution by direction: a map of the half sphere, and the fan of the curves in cones."""

import math

import numpy as np

from gpumask.report import canvas

SIDE = 401  # pixels of the map
NOTHING = "0.85"  # colour of directions without a resolution
RINGS = (30, 60)  # degrees from z
APART = 0.09  # of the length of the colour bar, between two marks
SPAN = 0.2  # of the finest frequency, that the colours span at the least: an even map looks even
LOWEST = -0.3  # of the axis of FSC
POINT = {"linestyle": "none", "markersize": 12, "markeredgecolor": "white", "markeredgewidth": 1.4, "zorder": 4}


def draw(directional, *, title=None, format="png"):
    """Draw the resolution over the half sphere, the curves of all cones, and how many axes end at each shell.

    The map looks along z, x to the right and y up, in equal areas (Lambert); opposite directions are one, and each
    place has the resolution of the axis next to it. Colours are even in 1/Å; grey is a direction without a resolution.

    Parameters
    ----------
    directional : DirectionalFSC
        See :func:`gpumask.directional.conical_fsc`.
    title : str, optional
        Line above the panels. Default: cFAR and the range of resolutions.
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
        Unknown format.
    """
    canvas.check(format)
    figure = canvas.new(11.4, 5.8)
    sphere, fan, histogram = figure.subplot_mosaic(
        [["sphere", "fan"], ["sphere", "histogram"]], width_ratios=[1, 1.15], height_ratios=[1.9, 1]
    ).values()
    fan.sharex(histogram)
    _sphere(figure, sphere, directional)
    _fan(fan, directional)
    _histogram(histogram, directional)
    canvas.title(figure, _headline(directional) if title is None else title)
    return canvas.encode(figure, format)


def _sphere(figure, axes, found):
    from matplotlib import colormaps
    from matplotlib.patches import Circle

    place = np.linspace(-1, 1, SIDE)
    x, y = np.meshgrid(place, place)
    square = x * x + y * y
    scale = np.sqrt(np.maximum(2 - square, 0))
    views = np.stack([x * scale, y * scale, 1 - square], axis=-1)  # r² = 1 - cos θ
    # a row at a time, since all pixels times all axes are many; not by BLAS, whose last bits depend on its threads
    axis = np.array([np.abs(np.einsum("pd,ad->pa", row, found.directions)).argmax(axis=1) for row in views])
    reached = 1 / found.resolutions
    image = np.ma.masked_invalid(reached[axis])
    image[square > 1] = np.ma.masked
    low, high = _range(reached)
    look = {"vmin": low, "vmax": high, "origin": "lower", "extent": (-1, 1, -1, 1)}
    colours = colormaps[canvas.RESOLUTIONS].reversed()  # even in 1/Å: the finer, the larger
    drawn = axes.imshow(image, cmap=colours.with_extremes(bad=NOTHING), **look)
    rim = Circle((0, 0), 1, transform=axes.transData)
    drawn.set_clip_path(rim)
    axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor="black", linewidth=1.2))
    for ring in RINGS:
        radius = math.sqrt(1 - math.cos(math.radians(ring)))
        axes.add_patch(Circle((0, 0), radius, fill=False, edgecolor="white", linewidth=0.8, linestyle=(0, (4, 3))))
    axes.plot(*_placed(found.directions), linestyle="none", marker=".", markersize=2.5, color="black", alpha=0.5)
    handles = []
    for index, name, marker, colour in (
        (found.weakest, "smallest FSC area", "v", canvas.VERMILLION),
        (found.strongest, "largest FSC area", "^", canvas.SKY),
    ):
        at = _placed(found.directions[[index]])
        (mark,) = axes.plot(*at, marker=marker, color=colour, **POINT)
        handles.append((mark, f"{name}: {_told(found, index)}"))
    axes.set_axis_off()
    axes.set_xlim(-1.16, 1.16)
    axes.set_ylim(-1.16, 1.16)
    for name, at in (("x", (1.08, 0)), ("y", (0, 1.08))):
        axes.text(*at, name, ha="center", va="center", fontsize=11)
    bar = figure.colorbar(drawn, ax=axes, location="bottom", shrink=0.8, pad=0.02)
    marks = _marks(low, high)
    bar.set_ticks([1 / r for r in marks], labels=[f"{r:.4g}" for r in marks])
    bar.ax.minorticks_off()
    bar.set_label(f"resolution at FSC = {found.threshold:g} (Å), seen along z, rings at 30° and 60°", fontsize=9)
    canvas.legend(axes, handles, loc="upper center", bbox_to_anchor=(0.5, 0.04), fontsize=9)


def _placed(directions):
    """Unit vectors (x, y, z) in the equal-area map of the half sphere z >= 0."""
    up = np.where(directions[:, 2:] < 0, -directions, directions)
    scale = 1 / np.sqrt(1 + up[:, 2])
    return up[:, 0] * scale, up[:, 1] * scale


def _range(reached):
    """1/Å at the ends of the colours."""
    found = reached[np.isfinite(reached)]
    low, high = (found.min(), found.max()) if len(found) else (0.5, 1.0)  # with nothing to colour
    wider = max(0.0, SPAN * high - (high - low)) / 2
    return low - wider, high + wider


def _marks(low, high):
    """Å to mark on a colour bar from `low` to `high` 1/Å."""
    from matplotlib.ticker import MaxNLocator

    marks = canvas.resolutions(high, apart=APART * (high - low) / high)
    marks = [r for r in marks if low <= 1 / r <= high]
    if len(marks) < 3:  # the range holds no round numbers
        marks = [r for r in MaxNLocator(4).tick_values(1 / high, 1 / low) if low <= 1 / r <= high]
    return marks


def _fan(axes, found):
    frequency, curves = found.frequency[1:], found.curves[:, 1:]
    share = min(0.35, 12 / len(curves))
    axes.plot(frequency, curves.T, color="black", alpha=max(0.06, share), linewidth=0.7)
    handles = []
    defined = np.isfinite(curves)
    filled = (np.where(defined, curves, end) for end in (np.inf, -np.inf))
    lowest, highest = next(filled).min(axis=0), next(filled).max(axis=0)
    count = defined.sum(axis=0)
    mean = np.where(defined, curves, 0).sum(axis=0) / np.maximum(count, 1)
    for values, text, colour, style in (
        (highest, "largest of all cones", canvas.BLUE, (0, (6, 2))),
        (mean, "mean", "black", "solid"),
        (lowest, "smallest", canvas.VERMILLION, (0, (6, 2, 1, 2))),
    ):
        values = np.where(count > 0, values, np.nan)
        (line,) = axes.plot(frequency, values, color=colour, linestyle=style, linewidth=2.2)
        handles.append((line, text))
    axes.axhline(found.threshold, color="black", linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    axes.axhline(0, color="0.5", linewidth=0.8, zorder=1)
    level = axes.secondary_yaxis("right")
    level.set_yticks([found.threshold], [f"{found.threshold:g}"])
    low = float(np.nanmin(np.where(defined, curves, np.nan), initial=0.0))
    axes.set_xlim(0, 1.01 * frequency[-1])
    axes.set_ylim(max(LOWEST, low - 0.03), 1.04)
    axes.set_ylabel("FSC in cones")
    axes.tick_params(labelbottom=False)
    canvas.resolution_axis(axes, frequency[-1])
    canvas.grid(axes)
    canvas.legend(axes, handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3, fontsize=9, handlelength=3)


def _histogram(axes, found):
    shells = np.rint(1 / (found.resolutions * found.frequency[1]))
    shells = shells[np.isfinite(shells)].astype(int)
    counts = np.bincount(shells, minlength=len(found.frequency))
    axes.bar(found.frequency, counts, width=0.8 * found.frequency[1], color=canvas.GREY)
    axes.set_ylim(0, 1.15 * max(counts.max(), 1))
    axes.yaxis.get_major_locator().set_params(integer=True, nbins=4)
    axes.set_ylabel("axes")
    missing = len(found.resolutions) - len(shells)
    none = f"; {missing} of {len(found.resolutions)} axes reach nothing" if missing else ""
    axes.set_xlabel(f"frequency that the FSC reaches (1/Å){none}")
    canvas.grid(axes)


def _told(found, index):
    reached = found.resolutions[index]
    where = ", ".join(f"{c:.2f}" for c in found.directions[index] + 0.0).replace("-", "−")
    return f"{reached:.3g} Å along ({where})" if math.isfinite(reached) else f"nothing along ({where})"


def _headline(found):
    cfar = "cFAR is undefined" if found.cfar is None else f"cFAR {found.cfar:.2f}"
    reached = found.resolutions[np.isfinite(found.resolutions)]
    span = f"{reached.min():.3g} to {reached.max():.3g} Å" if len(reached) else "no resolution"
    cones = f"{len(found.directions)} cones of {found.half_angle:g}° half-angle"
    return f"{cfar}: {span} at FSC = {found.threshold:g}\n{cones}, {canvas.flags(found.flags)}"
