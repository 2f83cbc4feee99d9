"""Figures of many masks beside each other: what a sweep measured, its front, slices, spectra and curves; all PNG."""

import math

import numpy as np

from gpumask.errors import InputRefused, UsageError
from gpumask.mask import centre_of_mass
from gpumask.report import canvas, planes, slices

# column, what a title says, how a number is written, unit on the colour bar
JUDGED = (
    ("leak_mean", "Λ, the mean FSC that the mask makes by itself", ".2g", "Λ (log scale)"),
    ("resolution_corrected", "Resolution of the half maps under the mask, corrected", ".2f", "Å at FSC 0.143"),
    ("detectability", "d′, how well the target is detected under the mask", ".1f", "d′"),
)
ERROR = ("subtraction_error", "Error of a subtraction under the mask", ".3f", "share of the target's power")
UNJUDGED = (  # without half maps, or where they tell nothing
    ("db_at_resolution", "Power of the mask at the resolution", ".0f", "dB of zero frequency"),
    ("leakage", "Share of the mask's power beyond the resolution", ".1e", "share (log scale)"),
    ("cut", "Share of the density that the mask cuts", ".3f", "share"),
)
LOGARITHMIC = {"leak_mean": 1e-5, "leakage": 1e-9}  # and where their scales begin at the lowest
CELL = (0.6, 0.34)  # inch
WIDEST = 2400  # dots: a page of many edges stays small
MOST_NUMBERS = 14  # cells across; where there are more, numbers would lie on each other
LOOKS = (  # of the pick and two neighbours
    {"color": canvas.BLUE, "linestyle": "solid", "linewidth": 2.6},
    {"color": canvas.VERMILLION, "linestyle": (0, (6, 2)), "linewidth": 1.7},
    {"color": canvas.GREEN, "linestyle": (0, (1, 1)), "linewidth": 2.0},
)
LEAST = {"color": canvas.PURPLE, "linestyle": (0, (6, 2, 1, 2)), "linewidth": 1.7, "zorder": 5}  # of a fourth mask
MARKS = ("*", "^", "s")
LIMIT = {"color": "black", "linewidth": 0.8, "linestyle": (0, (1, 2)), "zorder": 1}
UNFIT = {"touches_border", "anisotropic", "mask_fsc_high"}  # flags of masks that a criterion may rule out
FRAMES = 5  # of the filmstrip
DOTS = 120  # an inch, of slices: the noise of maps makes large files
MARGIN = 0.08  # of what is shown, around the masks
LOWEST = -0.3  # of the axis of FSC
FLOOR = -150.0  # dB: below it the rounding of float32 shows


def heat_maps(sweep, picked=None, *, error=False):
    """Draw Λ, the corrected resolution and d' over dilation and soft edge, a row each, a column for every threshold and
    edge; where half maps tell none of it, the power at the resolution and beyond, and what is cut.

    Parameters
    ----------
    sweep : Sweep
        See :func:`gpumask.sweep`; undefined values leave grey cells.
    picked : int, optional
        The row of the pick, which is framed.
    error : bool
        The error of a subtraction instead of d'.

    Returns
    -------
    bytes
        The PNG, the same for the same input.

    Raises
    ------
    MissingExtra
        matplotlib is not installed.
    InputRefused
        Nothing is left of any mask.
    """
    columns = list(dict.fromkeys((row["threshold"], row["edge"]) for row in sweep.rows))
    dilations, edges = (sorted({row[name] for row in sweep.rows}) for name in ("dilation_px", "soft_edge_px"))
    judged = (*JUDGED[:2], ERROR) if error else JUDGED
    told = _defined(sweep, judged) or _defined(sweep, UNJUDGED)
    if not told:
        raise InputRefused("heat maps need masks that hold something, and erosion leaves nothing of any; erode less")
    at = [
        (
            columns.index((row["threshold"], row["edge"])),
            dilations.index(row["dilation_px"]),
            edges.index(row["soft_edge_px"]),
        )
        for row in sweep.rows
    ]
    across, up = max(CELL[0] * len(edges), 2.4), max(CELL[1] * len(dilations), 1.0)
    width = max(len(columns) * (across + 0.5) + 1.2, 6.0)
    figure = canvas.new(width, len(told) * (up + 1.15) + 0.3, dots=min(200, WIDEST / width))
    parts = figure.subfigures(len(told), 1, squeeze=False)[:, 0]  # so that a title may be wider than a panel
    for part, ((name, text, form, unit), values) in zip(parts, told, strict=True):
        part.suptitle(text, x=0.02, ha="left", fontsize=10, weight="bold")
        line = part.subplots(1, len(columns), squeeze=False)[0]
        norm = _norm(values, LOGARITHMIC.get(name))
        grid = np.full((len(columns), len(dilations), len(edges)), math.nan)
        for place, value in zip(at, values, strict=True):
            grid[place] = value
        for axes, cells, (threshold, edge) in zip(line, grid, columns, strict=True):
            image = _cells(axes, cells, norm, form)
            axes.set_xticks(range(len(edges)), [f"{v:g}" for v in edges])
            axes.set_yticks(range(len(dilations)), [f"{v:g}" for v in dilations])
            axes.tick_params(labelsize=8)
            axes.set_xlabel("soft edge (px)", fontsize=9)
            axes.set_ylabel("dilation (px)", fontsize=9)
            if len(columns) > 1:
                axes.set_title(f"threshold {threshold:.4g}, {edge}", fontsize=9)
        if picked is not None:
            _frame(line[at[picked][0]], at[picked][1:])
        bar = part.colorbar(image, ax=list(line), pad=0.015, aspect=12)
        bar.set_label(unit, fontsize=9)
        bar.ax.tick_params(labelsize=8)
        if name in LOGARITHMIC:
            _decades(bar.ax.yaxis, norm.vmin, norm.vmax)
    title = f"{len(sweep.rows)} masks" + ("" if sweep.resolution is None else f" at {sweep.resolution:.3g} Å")
    canvas.title(figure, title + ("" if picked is None else "; the pick is framed"))
    return canvas.encode(figure, "png")


def front(sweep, along, shown=(), *, limit=None, error=False):
    """Draw d' (of a subtraction the error) of every mask against its mean leak Λ, and the front; a Λ below 1e-5 stands
    there.

    Parameters
    ----------
    sweep : Sweep
        With half maps.
    along : list of int
        The front: rows that no other beats, from low Λ to high.
    shown : list of int
        The rows of the pick and of its neighbours, marked as in the other figures.
    limit : float, optional
        On Λ.
    error : bool
        The error of a subtraction instead of d'.

    Returns
    -------
    bytes
        As of :func:`heat_maps`.
    """
    told, leaks = (_column(sweep, name) for name in (ERROR[0] if error else "detectability", "leak_mean"))
    there = np.flatnonzero(np.isfinite(told) & np.isfinite(leaks)).tolist()
    if not there:
        raise UsageError("a front needs masks with d' and Λ, which half maps and a resolution tell; got none")
    leaks = np.maximum(leaks, LOGARITHMIC["leak_mean"])
    figure = canvas.new(7.0, 5.2)
    axes = figure.subplots()
    handles = []

    def marks(rows, text, **look):
        rows = [i for i in rows if i in there]
        if rows:
            (made,) = axes.plot(leaks[rows], told[rows], **{"linestyle": "none", **look})
            handles.append((made, text.format(len(rows))))

    unfit = [i for i in there if UNFIT & set(sweep.rows[i]["flags"])]
    dots = {"marker": "o", "markersize": 5, "color": "0.45"}
    marks([i for i in there if i not in unfit], "masks, {}", **dots)
    marks(unfit, "on a face of the box, flat, or FSC of its own too high, {}", **dots, markerfacecolor="white")
    look = {"color": canvas.SKY, "linestyle": "solid", "linewidth": 2.2, "marker": "o", "markersize": 6, "zorder": 3}
    marks(along, "front, {} masks", **look)
    for n, i in enumerate(shown):
        look = {"marker": MARKS[n], "color": LOOKS[n]["color"], "markeredgecolor": "black", "zorder": 5 - n / 3}
        marks([i], ("" if n else "pick: ") + _named(sweep.rows[i], sweep.rows), markersize=9 if n else 15, **look)
    ends = [leaks[there].min(), leaks[there].max()] + ([] if limit is None else [limit])
    if limit is not None:
        line = axes.axvline(limit, color="black", linewidth=1.2, linestyle=(0, (6, 3)))
        handles.append((line, f"limit, Λ = {limit:g}"))
        axes.axvspan(limit, 10, color="0.93", zorder=0, linewidth=0)
    axes.set_xscale("log")
    axes.set_xlim(min(ends) / 1.25, max(ends) * 1.25)
    _decades(axes.xaxis, *axes.get_xlim())
    axes.set_xlabel("Λ, the mean FSC that the mask makes by itself (log scale)")
    axes.set_ylabel("error of a subtraction (share of the target's power)" if error else "d′ of the target")
    canvas.grid(axes)
    figure.set_figheight(4.4 + 0.24 * math.ceil(len(handles) / 2))
    canvas.legend(figure, handles, loc="outside lower center", ncols=2, fontsize=8.5)
    canvas.title(figure, ("Less error" if error else "More signal") + " against less leak")
    return canvas.encode(figure, "png")


def filmstrip(rows, masks, volume, voxel_size, *, picked=None):
    """Draw the slices of masks, one under another, cut at one point and to what they reach.

    Parameters
    ----------
    rows : list of dict
        Of a sweep, perhaps with ``subtraction_error``.
    masks : iterable of array, shape (z, y, x)
        For each row; taken one at a time.
    volume : array, shape (z, y, x)
        The map behind the contours, dense is dark.
    voxel_size : float or tuple of float
        Å (z, y, x).
    picked : int, optional
        Which of them is the pick.

    Returns
    -------
    bytes
        As of :func:`heat_maps`.
    """
    from matplotlib.lines import Line2D

    edges = tuple(float(v) for v in np.broadcast_to(voxel_size, 3))
    cuts, strips = None, []
    for soft in masks:
        if cuts is None:
            cuts = planes.nearest(centre_of_mass(soft) or [n // 2 for n in soft.shape], soft.shape)
        strips.append(planes.through(soft, cuts))
    first, shape = _reached(strips, volume.shape)
    window = tuple(slice(f, f + n) for f, n in zip(first, shape, strict=True))
    behind = planes.through(volume, cuts)
    low, high = planes.grey_range(behind)
    lengths = planes.lengths(shape, edges)
    scale = min(6.0 / sum(planes.across(lengths)), 1.7 / planes.tallest(lengths))  # inch per Å
    columns = [max(length * scale, 1.2) for length in planes.across(lengths)]
    tall, width = planes.tallest(lengths) * scale, max(sum(columns) + 1.2, 6.0)
    height = len(rows) * (tall + 0.42) + 1.4
    figure = canvas.new(width, height, layout=None, dots=DOTS)
    base = height - 0.65
    for n, (row, strip) in enumerate(zip(rows, strips, strict=True)):
        base -= tall + 0.42
        look = {"weight": "bold", "color": canvas.BLUE} if n == picked else {}
        text = ("pick: " if n == picked else "") + _told(row, rows)
        figure.text(0.5, (base + tall + 0.1) / height, text, ha="center", fontsize=9.5, **look)
        left = (width - sum(columns) - 0.4) / 2
        for column, image, mask, (cut, up, across) in zip(columns, behind, strip, planes.PLANES, strict=True):
            long, tall_here = lengths[across] * scale, lengths[up] * scale
            at = left + (column - long) / 2, base + (tall - tall_here) / 2
            axes = figure.add_axes((at[0] / width, at[1] / height, long / width, tall_here / height))
            shown = window[up], window[across]
            grey = {"cmap": "gray_r", "vmin": low, "vmax": high, "origin": "lower"}
            axes.imshow(image[shown], aspect=edges[up] / edges[across], **grey)
            slices.contours(axes, mask[shown], width=0.9)
            axes.set(xticks=[], yticks=[])
            if n == 0:
                text = f"{planes.NAMES[across]}{planes.NAMES[up]} at {planes.NAMES[cut]} = {cuts[cut]} px"
                figure.text((left + column / 2) / width, (height - 0.62) / height, text, ha="center", fontsize=9)
                if cut == 0:
                    planes.scale_bar(axes, shape, edges)
            left += column + 0.2
    lines = [(Line2D([], [], color=c, linestyle=s, linewidth=1.6), t) for _, c, s, t in slices.CONTOURS]
    canvas.legend(figure, lines, loc="lower center", ncols=1 if width < 7 else 3, fontsize=8.5)
    canvas.title(figure, "Masks along the front, from low Λ to high")
    return canvas.encode(figure, "png")


def spectra(sweep, shown, more=None):
    """Draw the mean power of the pick and its neighbours over frequency, in dB of zero frequency.

    Parameters
    ----------
    sweep : Sweep
    shown : list of int
        Rows, the pick first.
    more : tuple of (str, list of float or None), optional
        What another mask is called, and its spectrum.

    Returns
    -------
    bytes
        As of :func:`heat_maps`.
    """
    figure = canvas.new(7.0, 4.6)
    axes = figure.subplots()
    handles = [*_curves(axes, sweep, shown, "power_db"), *_target(axes, sweep)]
    curves = [sweep.details[i]["power_db"] for i in shown]
    if more is not None:
        curves.append(more[1])
        (line,) = axes.plot(sweep.frequency[1:], _numbers(more[1][1:]), **LEAST)
        handles.insert(len(shown), (line, more[0]))
    powers = np.concatenate([_numbers(curve[1:]) for curve in curves])
    lowest = min(powers[powers > FLOOR], default=-60)
    axes.set_ylim(10 * math.floor(lowest / 10), 3)
    axes.set_ylabel("mean power (dB, zero frequency = 0)")
    _frequency_axis(axes, axes, sweep)
    figure.set_figheight(4.3 + 0.2 * len(handles))
    canvas.legend(figure, handles, loc="outside lower center", fontsize=9)
    canvas.title(figure, "Power spectra of the pick and two neighbours")
    return canvas.encode(figure, "png")


def fsc(sweep, shown, *, limit=None):
    """Draw the FSC of the half maps under the pick and its neighbours, corrected and as measured, and below what each
    mask makes by itself.

    Parameters
    ----------
    sweep : Sweep
        With half maps.
    shown : list of int
        Rows, the pick first.
    limit : float, optional
        What a mask may make by itself at the resolution.

    Returns
    -------
    bytes
        As of :func:`heat_maps`.
    """
    from matplotlib.lines import Line2D

    figure = canvas.new(7.0, 7.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.7, 1])
    _curves(above, sweep, shown, "masked", linewidth=0.9, alpha=0.8, zorder=2)
    handles = _curves(above, sweep, shown, "corrected")
    _curves(below, sweep, shown, "predicted")
    (plain,) = above.plot(sweep.frequency[1:], _numbers(sweep.unmasked[1:]), color="0.55", linewidth=1.3, zorder=1.9)
    handles += [(plain, "no mask"), (Line2D([], [], color="black", linewidth=0.9), "thin: as measured, not corrected")]
    handles += _target(above, sweep)
    _target(below, sweep)
    if sweep.onset is not None:
        look = {"color": "0.6", "linewidth": 1.0, "linestyle": (0, (2, 2)), "zorder": 1}
        line = [axes.axvline(1 / sweep.onset["resolution"], **look) for axes in (above, below)][0]
        handles.append((line, f"onset, phases random from {sweep.onset['resolution']:.3g} Å on"))
    values = np.concatenate([line.get_ydata() for line in above.lines if len(line.get_ydata()) > 2])
    above.set_ylim(max(LOWEST, min(-0.05, float(np.nanmin(values)) - 0.03)), 1.04)
    above.set_ylabel("FSC of the half maps")
    below.set_ylim(-0.04, 1.04)
    below.set_ylabel("FSC of the mask alone")
    for axes, value, text in ((above, 0.143, "0.143"), (below, limit, f"limit {limit}")):
        if value is not None:
            axes.axhline(value, **LIMIT)
            axes.secondary_yaxis("right").set_yticks([value], [text], fontsize=8.5)
    canvas.grid(below)
    _frequency_axis(above, below, sweep)
    canvas.legend(figure, handles, loc="outside lower center", ncols=2, fontsize=8.5)
    canvas.title(figure, "FSC under the pick and two neighbours")
    return canvas.encode(figure, "png")


def frames(rows, along, picked=None):
    """Numbers of the rows that the filmstrip shows, from low Λ to high: the ends of the front `along`, some between,
    and the pick."""
    some = {along[round(n)] for n in np.linspace(0, len(along) - 1, min(FRAMES, len(along)))}
    some |= set() if picked is None else {picked}
    leaks = [math.inf if row["leak_mean"] is None else row["leak_mean"] for row in rows]
    return sorted(some, key=lambda i: (leaks[i], i))


def _named(row, among):
    """What a mask is called `among` rows of a sweep: by what may differ."""
    text = f"dilation {row['dilation_px']:g} px, edge {row['soft_edge_px']:g} px"
    for name, form in (("threshold", "threshold {:.4g}"), ("edge", "{}")):
        if len({one[name] for one in among}) > 1:
            text += ", " + form.format(row[name])
    return text


def _told(row, among):
    told = (("leak_mean", "Λ {:.3f}"), ("subtraction_error", "error {:.3f}"), ("detectability", "d′ {:.1f}"))
    values = ", ".join(form.format(row[name]) for name, form in told if row.get(name) is not None)
    return "; ".join(filter(None, (_named(row, among), values)))


def _defined(sweep, columns):
    """Those that have a value for some mask, with all values."""
    told = [(one, _column(sweep, one[0])) for one in columns]
    return [(one, values) for one, values in told if np.isfinite(values).any()]


def _column(sweep, name):
    """Values of all rows, float; undefined ones are NaN."""
    rows = sweep.details if name == ERROR[0] else sweep.rows
    return _numbers([row[name] for row in rows])


def _numbers(values):
    """An array of float; undefined values are NaN, which lines leave out."""
    return np.array(values, float)


def _norm(values, lowest):
    """How values become colours; one with a `lowest` is logarithmic from there on."""
    from matplotlib.colors import LogNorm, Normalize

    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(values.max())
    if lowest is None:
        return Normalize(low, high if high > low else low + 1)
    low, high = max(low, lowest), max(high, lowest)
    return LogNorm(low, high if high > low else 2 * low, clip=True)


def _decades(axis, low, high):
    """Mark 1, 2 and 5 of each decade of a logarithmic axis, or the decades alone where there are three."""
    decades = [10.0**n for n in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    steps = (1,) if high / low > 1000 else (1, 2, 5)
    marks = [step * decade for decade in decades for step in steps if low <= step * decade <= high]
    axis.set_ticks(marks, [f"{mark:g}" for mark in marks])
    axis.set_ticks([], minor=True)


def _cells(axes, grid, norm, form):
    """A cell for each mask, with its number where there is room."""
    from matplotlib import colormaps

    colours = colormaps["viridis"].with_extremes(bad="0.85")
    image = axes.imshow(grid, cmap=colours, norm=norm, origin="lower", aspect="auto")
    if grid.shape[1] <= MOST_NUMBERS:
        for (up, across), value in np.ndenumerate(grid):
            there = math.isfinite(value)
            dark = there and norm(value) < 0.6
            text = format(value, form) if there else "–"
            axes.text(across, up, text, ha="center", va="center", fontsize=7.5, color="white" if dark else "black")
    return image


def _frame(axes, at):
    """A frame around a cell, to be seen on any colour."""
    from matplotlib.patches import Rectangle

    for colour, width in (("white", 4.5), ("black", 2.2)):
        look = {"edgecolor": colour, "linewidth": width, "zorder": 3}
        axes.add_patch(Rectangle((at[1] - 0.46, at[0] - 0.45), 0.92, 0.9, fill=False, **look))


def _reached(strips, shape):
    """The first voxel of what masks reach and its shape, (z, y, x), with a margin."""
    first, count = [], []
    for axis, length in enumerate(shape):
        there = np.zeros(length, bool)
        for strip in strips:
            for plane, (_, up, across) in zip(strip, planes.PLANES, strict=True):
                if axis in (up, across):
                    there |= (plane > slices.CONTOURS[-1][0]).any(axis=1 if axis == up else 0)
        places = np.flatnonzero(there) if there.any() else np.array([0, length - 1])
        room = max(2, round(MARGIN * (places[-1] - places[0])))
        first.append(int(max(places[0] - room, 0)))
        count.append(int(min(places[-1] + room + 1, length)) - first[-1])
    return tuple(first), tuple(count)


def _curves(axes, sweep, shown, name, **look):
    """A curve of the pick and its neighbours; what a legend says of them."""
    rows = [sweep.rows[i] for i in shown]
    handles = []
    for n, (i, usual) in enumerate(zip(shown, LOOKS, strict=False)):
        values = sweep.details[i][name]
        values = [None] * len(sweep.frequency) if values is None else values
        (line,) = axes.plot(sweep.frequency[1:], _numbers(values[1:]), **{"zorder": 4 - n, **usual, **look})
        handles.append((line, ("" if n else "pick: ") + _told(rows[n], rows)))
    return handles


def _target(axes, sweep):
    """A line at the resolution; what a legend says of it."""
    if sweep.resolution is None:
        return []
    line = axes.axvline(1 / sweep.resolution, color=canvas.GREY, linewidth=1.2, linestyle=(0, (8, 3)), zorder=1)
    return [(line, f"resolution, {sweep.resolution:.3g} Å")]


def _frequency_axis(above, below, sweep):
    last = sweep.frequency[-1]
    above.set_xlim(0, 1.01 * last)  # the last point is not cut
    below.set_xlabel("frequency (1/Å)")
    canvas.resolution_axis(above, last)
    canvas.grid(above)
