"""A page of advice: the figures, the recipe, the reasons, and what is not known."""

from gpumask import units
from gpumask.report import comparison, page, preview

MOST = 3_000_000  # bytes of a page

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
    found, picked = advice.sweep, picked_row(advice)
    shown, error = [picked, *compared(advice)], advice.goal == "subtraction"
    leak, own = (None, None) if error else (advice.policy.leak_mean, advice.policy.fsc_at_resolution)
    made = {"heat_maps": comparison.heat_maps(found, picked, error=error)}
    if advice.front:
        made["front"] = comparison.front(found, advice.front, shown, limit=leak, error=error)
    along = frames(advice)
    rows = [found.rows[i] for i in along]
    if error:
        errors = [found.details[i]["subtraction_error"] for i in along]
        rows = [{**row, "detectability": None, "subtraction_error": e} for row, e in zip(rows, errors, strict=True)]
    made["filmstrip"] = comparison.filmstrip(rows, masks, volume, voxel_size, picked=along.index(picked))
    least = advice.least_leak
    more = None if least is None else ("profile of least leak, the same ends", least.spectra.power_db(least.values))
    made["spectra"] = comparison.spectra(found, shown, more)
    made["fsc"] = comparison.fsc(found, shown, limit=own)
    return made


def frames(advice):
    """Rows of the masks that the filmstrip shows; see :func:`gpumask.report.comparison.frames`."""
    return comparison.frames(advice.sweep.rows, advice.front, picked_row(advice))


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
            "The lower at the resolution and beyond, the less the mask mixes frequencies."
            + (
                ""
                if advice.least_leak is None
                else " And the profile of least leak between the ends of the pick's edge."
            ),
        ),
        "fsc": (
            "FSC under the pick and two neighbours",
            "Above, thick: corrected with what the mask makes by itself, as predicted; below: that prediction.",
        ),
    }


def report(advice, figures, *, command, inputs=(), warnings=(), interactive=True, version=""):
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
    interactive : bool
        Draw the spectra of other edges in the browser too, where the profile of least leak is known.
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
    verdict = "It does all that the goal asks."
    if not advice.passes:
        verdict = f"No mask does all that the goal asks, and of this one: {'; '.join(advice.fails)}."
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
        error = advice.subtraction_error
        pick.append(("error", f"{_cell(error, '.3f')} of the target's power, left of it and taken of the rest"))
    if advice.least_leak is not None:
        pick.append(("least leak", advice.least_leak.line()))
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
    if interactive and advice.least_leak is not None:
        parts.append(page.section("Other edges of the same base", *_other_edges(advice)))
    parts.append(page.section("What is not known", page.items(advice.unknowns)))
    parts.append(page.section("All masks", _rows(rows, range(len(rows)), picked_row(advice))))
    listed = [[what, path, digest] for what, path, digest in inputs]
    parts.append(page.section("Made from", page.table(["", "file", "SHA-256"], listed, texts=(0, 1, 2))))
    parts.append(page.paragraph(f"gpumask {version}"))
    return page.document(f"Mask advice, goal {advice.goal}", parts)


def compared(advice):
    """Rows of the two masks one step of dilation or soft edge beside the pick that leak most and least."""
    rows, pick = advice.sweep.rows, advice.row
    places = {name: sorted({row[name] for row in rows}) for name in ("dilation_px", "soft_edge_px")}

    def steps(row):
        return sum(abs(values.index(row[name]) - values.index(pick[name])) for name, values in places.items())

    alike = [i for i, row in enumerate(rows) if all(row[name] == pick[name] for name in ("threshold", "edge"))]
    beside = [i for i in alike if steps(rows[i]) == 1 and rows[i]["leak_mean"] is not None]
    beside.sort(key=lambda i: rows[i]["leak_mean"])
    return [*dict.fromkeys((beside[-1], beside[0]))] if beside else []


def picked_row(advice):
    """Number of the pick's row."""
    return advice.sweep.rows.index(advice.row)


def _other_edges(advice):
    """The preview, and what it shows."""
    text = (
        "The spectrum of any edge between the ends of the pick's own, on its base"
        + (" as it is eroded" if advice.row["dilation_px"] < 0 else "")
        + "; 1 up to where it begins, straight between whole pixels. More than 120 dB down it is rounding."
    )
    power = advice.sweep.details[picked_row(advice)]["power_db"]
    return page.paragraph(text), preview.section(advice.least_leak, power)


def _losers(advice):
    lines = [[one["what"], one["reason"]] for one in advice.neighbours]
    return (
        page.table(["mask", "why not"], lines, texts=(0, 1)) if lines else page.paragraph("Nothing else was searched.")
    )


def _moved(advice):
    error = advice.goal == "subtraction"
    heads = ["threshold", "change", "kDa", "error" if error else "d′", "Λ", "verdict"]
    lines = []
    for one in advice.sensitivity:
        row = one["row"] or dict.fromkeys(("mass_kda", "detectability", "leak_mean"))
        merit = one["subtraction_error"] if error else row["detectability"]
        numbers = [
            _cell(row["mass_kda"], ".0f"),
            _cell(merit, ".3f" if error else ".2f"),
            _cell(row["leak_mean"], ".3f"),
        ]
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
