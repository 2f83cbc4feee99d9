"""The Guinier plot: logarithm of the amplitude of a map over 1/d², and the line that its B-factor comes from."""

import math

import numpy as np

from gpumask.errors import UsageError
from gpumask.report import canvas

# column, name, colour, style; a column that was left out is not drawn
COLUMNS = (
    ("original", "mean of the half maps", "black", "solid"),
    ("mtf_corrected", "divided by the MTF", canvas.GREEN, (0, (1, 1))),
    ("weighted", "weighted by the FSC", canvas.BLUE, (0, (6, 2))),
    ("sharpened", "sharpened", canvas.VERMILLION, (0, (6, 2, 1, 2))),
)
FIT = {"color": canvas.ORANGE, "linewidth": 4.0, "alpha": 0.7, "solid_capstyle": "butt", "zorder": 1.5}
DEEPEST = 4.0  # below the lowest of the original: shells whose weight nearly vanishes are cut off
HEADROOM = 0.06  # of the height, above and below


def draw(guinier, *, title=None, format="png"):
    """Draw the amplitudes after each step of the sharpening, and the fitted line over the shells that it was fitted to.

    Shell 0 is not drawn. The axis ends 4 (a factor of e⁴) below the lowest of the original, and where a weight is 0
    the curves end.

    Parameters
    ----------
    guinier : Guinier
        See :func:`gpumask.sharpening.guinier`.
    title : str, optional
        Line above the curves. Default: the B-factor, the shells it was fitted to and the correlation.
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
        Unknown format, or a box without shells.
    """
    canvas.check(format)
    place = guinier.inverse_squared[1:]
    if not len(place):
        raise UsageError("the box has no shell to draw but the zero frequency")
    figure = canvas.new(8.0, 5.4)
    axes = figure.subplots()
    handles, drawn = [], []
    for name, text, colour, style in COLUMNS:
        column = getattr(guinier, name)
        if column is None:
            continue
        values = np.where(np.isfinite(column[1:]), column[1:], np.nan)  # no amplitude, no logarithm
        look = {"color": colour, "linestyle": style, "linewidth": 1.8, **canvas.points(len(place))}
        (line,) = axes.plot(place, values, **look)
        handles.append((line, text))
        drawn.append(values)
    if guinier.slope is not None:
        ends = guinier.inverse_squared[guinier.fitted][[0, -1]]
        (line,) = axes.plot(ends, guinier.intercept + guinier.slope * ends, **FIT)
        handles.append((line, f"fitted line, slope {guinier.slope:.3g} Å²".replace("-", "−")))
    axes.set_xlim(0, 1.01 * place[-1])  # the last point is not cut
    _limit(axes, drawn)
    axes.set_xlabel("1/d² (1/Å²)")
    axes.set_ylabel("ln⟨|F|⟩")
    canvas.resolution_axis(axes, place[-1], power=2)
    canvas.grid(axes)
    canvas.legend(axes, handles, loc="best", fontsize=9)
    canvas.title(figure, _headline(guinier) if title is None else title)
    return canvas.encode(figure, format)


def _limit(axes, drawn):
    values = np.concatenate(drawn)
    values = values[np.isfinite(values)]
    if not len(values):
        return
    original = drawn[0][np.isfinite(drawn[0])]
    low, high = max(values.min(), original.min() - DEEPEST), values.max()
    room = HEADROOM * max(high - low, 1.0)
    axes.set_ylim(low - room, high + room)


def _headline(guinier):
    text = f"B = {guinier.b_factor:.1f} Å²".replace("-", "−")
    if guinier.slope is None:
        return f"{text}, as given"
    coarse, fine = (1 / math.sqrt(end) for end in guinier.inverse_squared[guinier.fitted][[0, -1]])
    text += f", fitted to the shells from {coarse:.3g} to {fine:.3g} Å"
    if guinier.correlation is None:
        return text
    return f"{text}, correlation {guinier.correlation:.2f}".replace("-", "−")
