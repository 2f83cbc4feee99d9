"""A sweep and the advice from it: figures, and one page that holds them with the recipe and the reasons."""

import math

import numpy as np

from gpumask import units
from gpumask.errors import UsageError
from gpumask.mask import centre_of_mass
from gpumask.report import canvas, page, planes, slices

# column, what a title says, how a number is written, unit on the colour bar
JUDGED = (
    ("leak_mean", "Λ, the mean FSC that the mask makes by itself", ".2g", "Λ (log scale)"),
    ("resolution_corrected", "Resolution of the half maps under the mask, corrected", ".2f", "Å at FSC 0.143"),
    ("detectability", "d′, how well the target is detected under the mask", ".1f", "d′"),
)
ERROR = ("subtraction_error", "Error of a subtraction under the mask", ".3f", "share of the target's power")
UNJUDGED = (  # without half maps
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
MARKS = ("*", "^", "s")
UNFIT = {"touches_border", "anisotropic", "mask_fsc_high"}  # flags of masks that a criterion may rule out
FRAMES = 5  # of the filmstrip
DOTS = 120  # an inch, of slices: the noise of maps makes large files
MARGIN = 0.08  # of what is shown, around the masks
LOWEST = -0.3  # of the axis of FSC
FLOOR = -150.0  # dB: below it the rounding of float32 shows
TABLE = (
    ("threshold", "threshold", ".4g"),
    ("dilation (px)", "dilation_px", "g"),
    ("edge (px)", "soft_edge_px", "g"),
    ("edge", "edge", ""),
    ("volume (Å³)", "volume_angstrom3", ".0f"),
    ("kDa", "mass_kda", ".0f"),
    ("kept", "kept", ".1%"),
    ("cut", "cut", ".1%"),
    ("dB", "db_at_resolution", ".1f"),
    ("d′", "detectability", ".2f"),
    ("Λ", "leak_mean", ".3f"),
    ("FSC_n", "fsc_predicted_at_resolution", ".3f"),
    ("masked (Å)", "resolution_masked", ".2f"),
    ("corrected (Å)", "resolution_corrected", ".2f"),
)


def heat_maps(sweep, advice=None, *, format="png"):
    """Draw Λ, the corrected resolution and d' (for a subtraction its error) over dilation and soft edge, a row each, a
    column for every threshold and edge; without half maps the power at the resolution and beyond, and what is cut.

    Parameters
    ----------
    sweep : Sweep
        See :func:`gpumask.sweep`; undefined values leave grey cells.
    advice : Advice, optional
        Its pick is framed.
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
    columns = list(dict.fromkeys((row["threshold"], row["edge"]) for row in sweep.rows))
    dilations, edges = ([*_values(sweep.rows, name)] for name in ("dilation_px", "soft_edge_px"))
    judged = JUDGED if any(row["resolution_masked"] is not None for row in sweep.rows) else UNJUDGED
    if advice is not None and advice.goal == "subtraction":
        judged = (*JUDGED[:2], ERROR)
    told = [(one, values) for one in judged if np.isfinite(values := _column(sweep, one[0])).any()]
    across, up = max(CELL[0] * len(edges), 2.4), max(CELL[1] * len(dilations), 1.0)
    width = max(len(columns) * (across + 0.5) + 1.2, 6.0)
    figure = canvas.new(width, len(told) * (up + 1.15) + 0.3, dots=min(200, WIDEST / width))
    parts = figure.subfigures(len(told), 1, squeeze=False)[:, 0]  # so that a title may be wider than a panel
    for part, ((name, text, form, unit), values) in zip(parts, told, strict=True):
        part.suptitle(text, x=0.02, ha="left", fontsize=10, weight="bold")
        line = part.subplots(1, len(columns), squeeze=False)[0]
        norm = _norm(values, LOGARITHMIC.get(name))
        for axes, (threshold, edge) in zip(line, columns, strict=True):
            grid = np.full((len(dilations), len(edges)), math.nan)
            for row, value in zip(sweep.rows, values, strict=True):
                if (row["threshold"], row["edge"]) == (threshold, edge):
                    grid[dilations.index(row["dilation_px"]), edges.index(row["soft_edge_px"])] = value
            image = _cells(axes, grid, norm, form)
            axes.set_xticks(range(len(edges)), [f"{v:g}" for v in edges])
            axes.set_yticks(range(len(dilations)), [f"{v:g}" for v in dilations])
            axes.tick_params(labelsize=8)
            axes.set_xlabel("soft edge (px)", fontsize=9)
            axes.set_ylabel("dilation (px)", fontsize=9)
            if len(columns) > 1:
                axes.set_title(f"threshold {threshold:.4g}, {edge}", fontsize=9)
            if advice is not None and (advice.row["threshold"], advice.row["edge"]) == (threshold, edge):
                at = edges.index(advice.row["soft_edge_px"]), dilations.index(advice.row["dilation_px"])
                _frame(axes, at)
        bar = part.colorbar(image, ax=list(line), pad=0.015, aspect=12)
        bar.set_label(unit, fontsize=9)
        bar.ax.tick_params(labelsize=8)
        if name in LOGARITHMIC:
            _decades(bar.ax.yaxis, norm.vmin, norm.vmax)
    title = f"{len(sweep.rows)} masks" + ("" if sweep.resolution is None else f" at {sweep.resolution:.3g} Å")
    canvas.title(figure, title + ("" if advice is None else "; the pick is framed"))
    return canvas.encode(figure, format)


def front(sweep, front, advice=None, *, compared=(), error=False, format="png"):
    """Draw d' (of a subtraction the error) of every mask against its mean leak Λ, and the front; a Λ below 1e-5 stands
    there.

    Parameters
    ----------
    sweep : Sweep
        With half maps.
    front : list of int
        Rows that no other beats, from low Λ to high.
    advice : Advice, optional
        Its pick and its limit on Λ are marked.
    compared : list of int
        Rows beside the pick that are marked as in the other figures.
    error : bool
        The error of a subtraction instead of d'.
    format : str
        ``png``, ``pdf`` or ``svg``.

    Returns
    -------
    bytes
        As of :func:`heat_maps`.
    """
    canvas.check(format)
    told, leaks = (_column(sweep, name) for name in (ERROR[0] if error else "detectability", "leak_mean"))
    there = np.flatnonzero(np.isfinite(told) & np.isfinite(leaks)).tolist()
    if not there:
        raise UsageError("a front needs masks with d' and Λ, which half maps and a resolution tell; got none")
    lowest = LOGARITHMIC["leak_mean"]
    figure = canvas.new(7.0, 5.2)
    axes = figure.subplots()
    handles = []

    def marks(rows, text, **look):
        if rows:
            places = [max(leaks[i], lowest) for i in rows], [told[i] for i in rows]
            (made,) = axes.plot(*places, **{"linestyle": "none", **look})
            handles.append((made, text))

    unfit = {i for i in there if UNFIT & set(sweep.rows[i]["flags"])}
    dots = {"marker": "o", "markersize": 5, "color": "0.45"}
    marks([i for i in there if i not in unfit], f"masks, {len(there) - len(unfit)}", **dots)
    marks(
        sorted(unfit),
        f"on a face of the box, flat, or FSC of its own too high, {len(unfit)}",
        **dots,
        markerfacecolor="white",
    )
    look = {"color": canvas.SKY, "linestyle": "solid", "linewidth": 2.2, "marker": "o", "markersize": 6, "zorder": 3}
    marks([i for i in front if i in there], f"front, {len(front)} masks", **look)
    if advice is not None:
        for n, i in enumerate([picked_row(advice), *compared]):
            shown = {"marker": MARKS[n], "color": LOOKS[n]["color"], "markeredgecolor": "black"}
            if i in there:
                size = 15 if n == 0 else 9
                marks(
                    [i],
                    ("" if n else "pick: ") + _named(sweep.rows[i], sweep.rows),
                    markersize=size,
                    zorder=5 - n / 3,
                    **shown,
                )
        if not error:
            limit = axes.axvline(advice.policy.leak_mean, color="black", linewidth=1.2, linestyle=(0, (6, 3)))
            handles.append((limit, f"limit, Λ = {advice.policy.leak_mean:g}"))
            axes.axvspan(advice.policy.leak_mean, 10, color="0.93", zorder=0, linewidth=0)
    axes.set_xscale("log")
    values = [max(leaks[i], lowest) for i in there] + ([] if advice is None else [advice.policy.leak_mean])
    axes.set_xlim(min(values) / 1.25, max(values) * 1.25)
    _decades(axes.xaxis, *axes.get_xlim())
    axes.set_xlabel("Λ, the mean FSC that the mask makes by itself (log scale)")
    axes.set_ylabel("error of a subtraction (share of the target's power)" if error else "d′ of the target")
    canvas.grid(axes)
    figure.set_figheight(4.4 + 0.24 * math.ceil(len(handles) / 2))
    canvas.legend(figure, handles, loc="outside lower center", ncols=2, fontsize=8.5)
    canvas.title(figure, ("Less error" if error else "More signal") + " against less leak")
    return canvas.encode(figure, format)


def filmstrip(rows, masks, volume, voxel_size, *, picked=None, format="png"):
    """Draw the slices of masks, one under another, cut at one point and to what they reach.

    Parameters
    ----------
    rows : list of dict
        Of a sweep.
    masks : iterable of array, shape (z, y, x)
        For each row; taken one at a time.
    volume : array, shape (z, y, x)
        The map behind the contours, dense is dark.
    voxel_size : float or tuple of float
        Å (z, y, x).
    picked : int, optional
        Which of them is the pick.
    format : str
        ``png``, ``pdf`` or ``svg``.

    Returns
    -------
    bytes
        As of :func:`heat_maps`.
    """
    from matplotlib.lines import Line2D

    canvas.check(format)
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
        figure.text(
            *(0.5, (base + tall + 0.1) / height),
            ("pick: " if n == picked else "") + _told(row, rows),
            ha="center",
            fontsize=9.5,
            weight="bold" if n == picked else "normal",
            color=canvas.BLUE if n == picked else "black",
        )
        left = (width - sum(columns) - 0.4) / 2
        for column, image, mask, (cut, up, across) in zip(columns, behind, strip, planes.PLANES, strict=True):
            long, tall_here = lengths[across] * scale, lengths[up] * scale
            at = left + (column - long) / 2, base + (tall - tall_here) / 2
            axes = figure.add_axes((at[0] / width, at[1] / height, long / width, tall_here / height))
            shown = window[up], window[across]
            axes.imshow(
                image[shown], cmap="gray_r", vmin=low, vmax=high, origin="lower", aspect=edges[up] / edges[across]
            )
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
    return canvas.encode(figure, format)


def spectra(sweep, rows, *, format="png"):
    """Draw the mean power of the pick and its neighbours over frequency, in dB of zero frequency.

    Parameters
    ----------
    sweep : Sweep
    rows : list of int
        The pick first.
    format : str
        ``png``, ``pdf`` or ``svg``.

    Returns
    -------
    bytes
        As of :func:`heat_maps`.
    """
    canvas.check(format)
    figure = canvas.new(7.0, 4.6)
    axes = figure.subplots()
    handles = [
        (
            _curve(axes, sweep, i, "power_db", zorder=4 - n, **look),
            _role(n, sweep.rows[i], [sweep.rows[j] for j in rows]),
        )
        for n, (look, i) in enumerate(zip(LOOKS, rows, strict=False))
    ]
    handles += _target(axes, sweep)
    lowest = min(
        (v for i in rows for v in sweep.details[i]["power_db"][1:] if v is not None and v > FLOOR), default=-60
    )
    axes.set_ylim(10 * math.floor(lowest / 10), 3)
    axes.set_ylabel("mean power (dB, zero frequency = 0)")
    _frequency_axis(axes, axes, sweep)
    figure.set_figheight(4.3 + 0.2 * len(handles))
    canvas.legend(figure, handles, loc="outside lower center", fontsize=9)
    canvas.title(figure, "Power spectra of the pick and two neighbours")
    return canvas.encode(figure, format)


def fsc(sweep, rows, *, limit=None, format="png"):
    """Draw the FSC of the half maps under the pick and its neighbours, corrected and as measured, and below what each
    mask makes by itself.

    Parameters
    ----------
    sweep : Sweep
        With half maps.
    rows : list of int
        The pick first.
    limit : float, optional
        What a mask may make by itself at the resolution.
    format : str
        ``png``, ``pdf`` or ``svg``.

    Returns
    -------
    bytes
        As of :func:`heat_maps`.
    """
    from matplotlib.lines import Line2D

    canvas.check(format)
    figure = canvas.new(7.0, 7.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.7, 1])
    frequency = sweep.frequency[1:]
    handles = []
    for n, (look, i) in enumerate(zip(LOOKS, rows, strict=False)):
        _curve(above, sweep, i, "masked", **look | {"linewidth": 0.9, "alpha": 0.8})
        handles.append(
            (
                _curve(above, sweep, i, "corrected", zorder=4 - n, **look),
                _role(n, sweep.rows[i], [sweep.rows[j] for j in rows]),
            )
        )
        _curve(below, sweep, i, "predicted", zorder=4 - n, **look)
    (plain,) = above.plot(frequency, _numbers(sweep.unmasked[1:]), color="0.55", linewidth=1.3, zorder=1.9)
    handles.append((plain, "no mask"))
    handles.append((Line2D([], [], color="black", linewidth=0.9), "thin: as measured, not corrected"))
    handles += _target(above, sweep)
    _target(below, sweep)
    if sweep.onset is not None:
        look = {"color": "0.6", "linewidth": 1.0, "linestyle": (0, (2, 2)), "zorder": 1}
        line = [axes.axvline(1 / sweep.onset["resolution"], **look) for axes in (above, below)][0]
        handles.append((line, f"onset, phases random from {sweep.onset['resolution']:.3g} Å on"))
    above.axhline(0.143, color="black", linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    above.secondary_yaxis("right").set_yticks([0.143], ["0.143"], fontsize=8.5)
    values = np.concatenate([line.get_ydata() for line in above.lines if len(line.get_ydata()) > 2])
    above.set_ylim(max(LOWEST, min(-0.05, float(np.nanmin(values)) - 0.03)), 1.04)
    above.set_ylabel("FSC of the half maps")
    if limit is not None:
        below.axhline(limit, color="black", linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
        below.secondary_yaxis("right").set_yticks([limit], [f"limit {limit:g}"], fontsize=8.5)
    below.set_ylim(-0.04, 1.04)
    below.set_ylabel("FSC of the mask alone")
    canvas.grid(below)
    _frequency_axis(above, below, sweep)
    canvas.legend(figure, handles, loc="outside lower center", ncols=2, fontsize=8.5)
    canvas.title(figure, "FSC under the pick and two neighbours")
    return canvas.encode(figure, format)


def compared(advice):
    """Rows of the two masks one step of dilation or soft edge beside the pick that leak most and least."""
    rows, pick = advice.sweep.rows, advice.row
    places = {name: [*_values(rows, name)] for name in ("dilation_px", "soft_edge_px")}

    def steps(row):
        return sum(abs(values.index(row[name]) - values.index(pick[name])) for name, values in places.items())

    alike = [i for i, row in enumerate(rows) if all(row[name] == pick[name] for name in ("threshold", "edge"))]
    beside = [i for i in alike if steps(rows[i]) == 1 and rows[i]["leak_mean"] is not None]
    beside.sort(key=lambda i: rows[i]["leak_mean"])
    return [*dict.fromkeys((beside[-1], beside[0]))] if beside else []


def frames(rows, along, picked=None):
    """Numbers of the rows that the filmstrip shows, from low Λ to high: the ends of the front `along`, some between,
    and the pick."""
    some = {along[round(n)] for n in np.linspace(0, len(along) - 1, min(FRAMES, len(along)))}
    some |= set() if picked is None else {picked}
    leaks = [math.inf if row["leak_mean"] is None else row["leak_mean"] for row in rows]
    return sorted(some, key=lambda i: (leaks[i], i))


def draw(advice, masks, volume, voxel_size):
    """Every figure of an advice.

    Parameters
    ----------
    advice : Advice
    masks : iterable of array, shape (z, y, x)
        Of the rows of :func:`frames`.
    volume : array, shape (z, y, x)
        The map.
    voxel_size : float or tuple of float
        Å (z, y, x).

    Returns
    -------
    dict
        Name → bytes of the PNG: ``heat_maps``, ``front``, ``filmstrip``, ``spectra``, ``fsc``; without the front where
        no mask has a leak.
    """
    found, near, picked = advice.sweep, compared(advice), picked_row(advice)
    along = frames(found.rows, advice.front, picked)
    error = advice.goal == "subtraction"
    made = {"heat_maps": heat_maps(found, advice)}
    if advice.front:
        made["front"] = front(found, advice.front, advice, compared=near, error=error)
    shown = [found.rows[i] for i in along]
    made["filmstrip"] = filmstrip(shown, masks, volume, voxel_size, picked=along.index(picked))
    made["spectra"] = spectra(found, [picked, *near])
    made["fsc"] = fsc(found, [picked, *near], limit=None if error else advice.policy.fsc_at_resolution)
    return made


def captions(advice):
    """Name → what a figure shows, and what is to be known to read it."""
    what, limit = "d′", "Grey is beyond the limit on Λ; hollow"
    if advice.goal == "subtraction":
        what, limit = "error", "Hollow"
    return {
        "heat_maps": (
            f"Heat maps of Λ, the resolution and the {what} over dilation and soft edge",
            "Dark is low, light is high. The resolution is shown but never decides.",
        ),
        "front": (
            f"The {what} against Λ of every mask",
            f"Masks on the front are beaten by no other in both. {limit} masks meet a face of the box, have a flat "
            "face, or make too high an FSC by themselves.",
        ),
        "filmstrip": (
            "Slices of masks along the front",
            "All through one point, the centre of mass of the first mask; contours of the mask on the map.",
        ),
        "spectra": (
            "Power spectra of the pick and two neighbours",
            "The lower at the resolution and beyond, the less the mask mixes frequencies.",
        ),
        "fsc": (
            "FSC under the pick and two neighbours",
            "Above, thick: corrected with what the mask makes by itself, as predicted; below: that prediction.",
        ),
    }


def report(advice, figures, *, command, inputs=(), warnings=(), version=""):
    """One page of HTML, with everything in it: opens from disk, without a network.

    Parameters
    ----------
    advice : Advice
    figures : dict
        See :func:`draw`.
    command : str
        What makes the mask again.
    inputs : iterable of (str, str, str)
        What a file is, its path and its SHA-256.
    warnings : list of str
    version : str
        Of gpumask.

    Returns
    -------
    bytes
    """
    row, rows = advice.row, advice.sweep.rows
    size = advice.sweep.voxel_size_angstrom[::-1]
    texts = captions(advice)
    picture = {name: page.figure(png, *texts[name]) for name, png in figures.items()}
    verdict = "It does all that the goal asks." if advice.passes else "No mask does all that the goal asks: see below."
    pick = [
        ("goal", f"{advice.goal}: {advice.criterion}"),
        ("resolution", f"{advice.resolution:.3g} Å: {advice.resolution_source}"),
        ("threshold", _cell(row["threshold"], ".4g")),
        ("dilation", units.both(row["dilation_px"], size)),
        ("soft edge", f"{units.both(row['soft_edge_px'], size)}, {row['edge']}"),
        ("volume", f"{row['volume_angstrom3']:.0f} Å³ = {row['mass_kda']:.0f} kDa, if all were protein"),
        (
            "density",
            ", ".join(f"{_cell(row[name], '.1%')} {name.replace('_', ' ')}" for name in ("kept", "in_edge", "cut")),
        ),
        ("d′", _cell(row["detectability"], ".2f")),
        ("Λ", _cell(row["leak_mean"], ".3f")),
        ("FSC of its own", f"{_cell(row['fsc_predicted_at_resolution'], '.3f')} at the resolution"),
        ("half maps", _reach(row)),
    ]
    if advice.goal == "subtraction":
        error = advice.sweep.details[picked_row(advice)]["subtraction_error"]
        pick.append(("error", f"{_cell(error, '.3f')} of the target's power, left of it and taken of the rest"))
    parts = [page.paragraph(verdict, warning=not advice.passes), page.terms(pick)]
    if warnings:
        parts.append(page.items(warnings, warning=True))
    recipe = page.paragraph("As a command:"), page.verbatim(command)
    recipe += page.paragraph("As text, for --recipe:"), page.verbatim(advice.recipe.to_toml())
    parts += [
        page.section("The recipe", *recipe),
        page.section("What was compared", picture["heat_maps"], picture.get("front", "")),
        page.section("Why its neighbours lose", _losers(advice)),
    ]
    if advice.sensitivity:
        text = "The same dilation and soft edge at another threshold."
        parts.append(page.section("How much hangs on the threshold", page.paragraph(text), _moved(advice)))
    parts.append(page.section("The front", picture["filmstrip"], _rows(rows, advice.front, picked_row(advice))))
    parts.append(page.section("Pick and neighbours in Fourier space", picture["spectra"], picture["fsc"]))
    parts.append(page.section("What is not known", page.items(advice.unknowns)))
    parts.append(page.section("All masks", _rows(rows, range(len(rows)), picked_row(advice))))
    listed = [[what, path, digest] for what, path, digest in inputs]
    parts.append(page.section("Made from", page.table(["", "file", "SHA-256"], listed, texts=(0, 1, 2))))
    parts.append(page.paragraph(f"gpumask {version}"))
    return page.document(f"Mask advice, goal {advice.goal}", parts)


def _losers(advice):
    lines = [[one["what"], one["reason"]] for one in advice.neighbours]
    return (
        page.table(["mask", "why not"], lines, texts=(0, 1)) if lines else page.paragraph("Nothing else was searched.")
    )


def _moved(advice):
    heads = ["threshold", "change", "kDa", "d′", "Λ", "verdict"]
    lines = []
    for one in advice.sensitivity:
        row = one["row"] or dict.fromkeys(("mass_kda", "detectability", "leak_mean"))
        told = (("mass_kda", ".0f"), ("detectability", ".2f"), ("leak_mean", ".3f"))
        numbers = [_cell(row[name], form) for name, form in told]
        verdict = "; ".join(one["fails"]) or "passes"
        lines.append([f"{one['threshold']:.4g}", f"{one['change']:+.0%}", *numbers, verdict])
    return page.table(heads, lines, texts=(5,))


def _rows(rows, shown, picked):
    """The table of some rows; columns without a value are left out."""
    shown = list(shown)
    columns = [one for one in TABLE if any(rows[i][one[1]] is not None for i in shown)]
    lines = [
        [*(_cell(rows[i][name], form) for _, name, form in columns), ", ".join(rows[i]["flags"]).replace("_", " ")]
        for i in shown
    ]
    heads = [head for head, _, _ in columns]
    marked = [n for n, i in enumerate(shown) if i == picked]
    texts = [n for n, one in enumerate(columns) if one[1] == "edge"] + [len(columns)]
    return page.table([*heads, "flags"], lines, texts=texts, marked=marked)


def _cell(value, form):
    return "–" if value is None else format(value, form)


def _reach(row):
    names = ("unmasked", "masked", "corrected")
    return ", ".join(f"{_cell(row[f'resolution_{name}'], '.2f')} Å {name}" for name in names) + ", at FSC 0.143"


def picked_row(advice):
    """Number of the pick's row."""
    return advice.sweep.rows.index(advice.row)


def _named(row, among):
    """What a mask is called `among` rows of a sweep: by what may differ."""
    text = f"dilation {row['dilation_px']:g} px, edge {row['soft_edge_px']:g} px"
    for name, form in (("threshold", ".4g"), ("edge", "")):
        if len({one[name] for one in among}) > 1:
            text += f", {'threshold ' if form else ''}{row[name]:{form}}"
    return text


def _told(row, among):
    parts = [_named(row, among)]
    if row["leak_mean"] is not None:
        parts.append(f"Λ {row['leak_mean']:.3f}")
    if row["detectability"] is not None:
        parts.append(f"d′ {row['detectability']:.1f}")
    return "; ".join((parts[0], ", ".join(parts[1:]))) if parts[1:] else parts[0]


def _role(n, row, among):
    text = _told(row, among)
    return text if n else f"pick: {text}"


def _values(rows, name):
    return sorted({row[name] for row in rows})


def _column(sweep, name):
    """Values of all rows, float; undefined ones are NaN."""
    rows = sweep.details if name == ERROR[0] else sweep.rows
    return np.array(_numbers([row[name] for row in rows]), float)


def _numbers(values):
    """Undefined values as NaN, which lines leave out."""
    return [math.nan if v is None else v for v in values]


def _norm(values, lowest):
    """How values become colours; one with a `lowest` is logarithmic from there on."""
    from matplotlib.colors import LogNorm, Normalize

    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(values.max())
    if lowest is None or high <= lowest:
        return Normalize(low, high if high > low else low + 1)
    low = max(low, lowest)
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
        corner = at[0] - 0.46, at[1] - 0.45
        look = {"edgecolor": colour, "linewidth": width, "zorder": 3}
        axes.add_patch(Rectangle(corner, 0.92, 0.9, fill=False, **look))


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


def _curve(axes, sweep, i, name, **look):
    values = sweep.details[i][name]
    values = [None] * len(sweep.frequency) if values is None else values
    (line,) = axes.plot(sweep.frequency[1:], _numbers(values[1:]), **look)
    return line


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
