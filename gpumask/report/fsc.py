"""The Fourier shell correlation of half maps: every curve, what the mask makes, and the resolution."""

import math
from pathlib import PurePath

import numpy as np

from gpumask.report import canvas

LEVELS = (0.143, 0.5)
LOWEST = -0.3  # of the axis: where n comes near 1 the corrected curve falls without end
THIN, PLAIN, BOLD = 1.0, 1.7, 3.0
MARK = {"linestyle": "none", "marker": "v", "markersize": 9, "color": "black", "markeredgecolor": "white"}
MODEL_MARK = {"marker": "o", "markersize": 5}
# column, name, colour, style; the judged curve is drawn PLAIN, the others THIN
TOTALS = (
    ("unmasked", "no mask", canvas.GREEN, "solid"),
    ("spherical", "sphere", "0.5", (0, (1, 1))),
    ("loose", "loose mask", canvas.ORANGE, (0, (8, 2, 1, 2))),
    ("tight", "tight mask", canvas.ORANGE, (0, (4, 1.5))),
    ("masked", "mask", canvas.VERMILLION, (0, (6, 2))),
)
CHECKS = (
    ("prewhitened", "whitened, then masked", canvas.SKY, (0, (6, 2, 1, 2))),
    ("mfsc", "filtered, then masked (mFSC)", "black", (0, (3, 1, 1, 1, 1, 1))),
    ("part", "of the particle without solvent", canvas.SKY, (0, (2, 2))),
    ("reference", "mean against the reference map", "black", (0, (1, 2))),
)
OF_MODEL = (
    ("map_model", {"given": "mask", "model": "its own mask"}, "solid"),
    ("map_model_unmasked", dict.fromkeys(("given", "model"), "no mask"), (0, (3, 1, 1, 1))),
)
AGAINST_MODEL = "map (mean of both halves) against the model"
MODEL_LEVEL = "0.5"  # where the mean of two half maps whose FSC is 0.143 crosses
DRAWS = {"linestyle": "none", "marker": ".", "markersize": 4, "alpha": 0.6}  # what a seed moves


def draw(fsc, *, title=None, format="png"):
    """Draw the curves of two half maps over frequency, resolutions on the axis above.

    Bold is the curve that is reported: corrected with the predicted n, which no seed moves, in its 95 % band; dots are
    what one draw of random phases gives for n and the corrected curve. The legend gives the resolution at 0.143 of
    each curve by the rule of the style, that at 0.5 of curves against a model, which is marked on them. Shell 0 is not
    drawn, and values below -0.3 are cut off. Codes of flags head the legend.

    Parameters
    ----------
    fsc : FSC
        See :func:`gpumask.fsc`; undefined values leave gaps.
    title : str, optional
        Line above the curves. Default: the resolution, and of which curve.
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
    figure = canvas.new(8.4, 5.2)
    axes = figure.subplots()
    handles = _curves(axes, fsc) + _marks(axes, fsc)
    figure.set_figheight(5.2 + 0.22 * math.ceil(len(handles) / 2))  # the legend's lines
    last = fsc.shells[-1]["frequency"]
    axes.set_xlim(0, 1.01 * last)  # the last point is not cut
    axes.set_ylim(_bottom(axes), 1.04)
    axes.set_ylabel("Fourier shell correlation")
    axes.set_xlabel("frequency (1/Å)")
    levels = axes.secondary_yaxis("right")
    levels.set_yticks(LEVELS, [f"{level:g}" for level in LEVELS])
    canvas.resolution_axis(axes, last)
    canvas.grid(axes)
    below = {"loc": "outside lower center", "ncols": 2, "fontsize": 8.5, "handlelength": 3}
    canvas.legend(figure, handles, title=canvas.flags(fsc.flags), title_fontsize=8.5, **below)
    canvas.title(figure, _headline(fsc) if title is None else title)
    return canvas.encode(figure, format)


def _curves(axes, fsc):
    """Draw what is there; what the legend says of it."""
    judged = _judged(fsc)
    handles = []

    def curve(name, text, reached=None, **look):
        values = fsc.curve(name)[1:] if name in fsc.shells[0] else np.array(np.nan)
        if np.isfinite(values).any():
            (line,) = axes.plot(_frequencies(fsc), values, **look)
            handles.append((line, text + (_reached(fsc, name) if reached is None else reached)))

    best = "corrected_predicted" if fsc.onset is not None else judged
    low, high = fsc.curve("band_low")[1:], fsc.curve("band_high")[1:]
    if (np.isfinite(low) & np.isfinite(high)).any():
        band = axes.fill_between(_frequencies(fsc), low, high, color=canvas.BLUE, alpha=0.22, linewidth=0)
        handles.append((band, "95 % band of the bold curve"))
    bold = {"color": canvas.BLUE, "linewidth": BOLD, "zorder": 3, **canvas.points(len(fsc.shells) - 1)}
    if best != judged:
        curve(best, "corrected, n predicted", **bold)
        curve("corrected", "corrected, n of one draw", color=canvas.BLUE, zorder=2.5, **DRAWS)
        curve(
            "predicted",
            "n, what the mask makes, predicted",
            color=canvas.PURPLE,
            linestyle=(0, (3, 1)),
            linewidth=PLAIN,
            zorder=2.6,
        )
        curve("randomized", "n of one draw of random phases", color=canvas.PURPLE, zorder=2.5, **DRAWS)
    for name, text, colour, style in TOTALS:
        if name == best:
            curve(name, f"{text}, not corrected", **bold)
        else:
            width = PLAIN if name in (judged, "unmasked") else THIN
            curve(name, text, color=colour, linestyle=style, linewidth=width, zorder=_order(name, judged))
    for name, text, colour, style in CHECKS:
        curve(name, text, color=colour, linestyle=style, linewidth=THIN)
    if fsc.map_model is not None:
        at = fsc.map_model["resolution"][MODEL_LEVEL]
        for name, texts, style in OF_MODEL:
            reached = "" if at[name] is None else f": {at[name]:.3g} Å at {MODEL_LEVEL}"
            look = {"color": "black", "linestyle": style, "linewidth": PLAIN if style == "solid" else THIN}
            curve(name, f"{AGAINST_MODEL}, {texts[fsc.map_model['mask']]}", reached, **look)
            if at[name] is not None:
                axes.plot([1 / at[name]], [float(MODEL_LEVEL)], zorder=5, **MARK | MODEL_MARK)
    return handles


def _order(name, judged):
    """The judged curve lies on the corrected one, which often is the same; under a loose mask little changes."""
    return 4 if name == judged else 1.9 if name == "unmasked" else 2


def _marks(axes, fsc):
    """Draw the criteria, the onset and the resolution; what the legend says of them."""
    handles = []
    for level in LEVELS:
        axes.axhline(level, color="black", linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    axes.axhline(0, color="0.5", linewidth=0.8, zorder=1)
    if fsc.onset is not None:
        onset = fsc.shells[fsc.onset]
        look = {"color": canvas.GREY, "linewidth": 1.2, "linestyle": (0, (8, 3)), "zorder": 1}
        line = axes.axvline(onset["frequency"], **look)
        handles.append((line, f"onset, phases random from {onset['resolution']:.3g} Å on"))
    if fsc.reported is not None:
        (mark,) = axes.plot([1 / fsc.reported], [LEVELS[0]], zorder=5, **MARK)
        handles.append((mark, f"reported, {fsc.reported:.3g} Å"))
    return handles


def _judged(fsc):
    """The curve that the correction is of, or would be."""
    if fsc.mask is not None:
        return "masked"
    # RELION judges the unmasked curve where there is no mask: no correction, but a curve that stands in its place.
    return "unmasked" if fsc.onset is None and _is_there(fsc, "corrected_predicted") else "tight"


def _is_there(fsc, name):
    return bool(np.isfinite(fsc.curve(name)[1:]).any())


def _reached(fsc, name):
    found = fsc.resolution["0.143"].get(name)
    return "" if found is None else f": {found:.3g} Å"


def _headline(fsc):
    under = {"masked": "under the mask", "tight": "under the tight mask", "unmasked": "without a mask"}[_judged(fsc)]
    path = None if fsc.mask is None else fsc.mask["path"]
    if path is not None:
        under += f" {canvas.shortened(PurePath(path).name)}"
    under += ", corrected" if fsc.onset is not None else ", not corrected"
    if fsc.reported is None:
        return f"No resolution at FSC = {LEVELS[0]:g}\n{under}"
    if any(flag["code"] == "nyquist_limited" for flag in fsc.flags):
        return f"{fsc.reported:.3g} Å, limited by Nyquist: the FSC stays above {LEVELS[0]:g}\n{under}"
    return f"{fsc.reported:.3g} Å at FSC = {LEVELS[0]:g}\n{under}"


def _bottom(axes):
    values = np.concatenate([np.atleast_1d(line.get_ydata()) for line in axes.lines]).astype(float)
    return max(LOWEST, min(-0.05, np.nanmin(values) - 0.03))


def _frequencies(fsc):
    return [row["frequency"] for row in fsc.shells[1:]]
