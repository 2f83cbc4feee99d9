"""The power spectra of masks, and the correlation that each would make by itself."""

import math
from pathlib import PurePath

from gpumask import correlation, mask, units
from gpumask.errors import UsageError
from gpumask.report import canvas

LOWEST = -150.0  # dB: transforms are in float32, and below this their rounding shows
HEADROOM = 30.0  # dB kept free below the mask and its hard twin, for the Hann ball, which falls without end
DOTS = {"linestyle": "none", "marker": "o", "markersize": 3.5, "markerfacecolor": "white", "markeredgewidth": 0.9}
TIP = {"linestyle": "none", "marker": "v", "markersize": 8, "markeredgecolor": "black"}


def draw(spectra, *, title=None, format="png"):
    """Draw the mean power of masks over frequency in dB of P(0), resolutions on the axis above.

    One mask is drawn against the same base with a hard edge and the Hann ball of the same volume; several against each
    other. Where half maps were given, a panel below shows the FSC that each mask makes by itself: predicted, and the
    mean and standard deviation measured with random phases. Shell 0, the reference, is not drawn. The axis ends 30 dB
    below the mask and its hard twin (their deepest 5 % of shells left aside) and never below -150 dB: deeper nulls are
    cut off.

    Parameters
    ----------
    spectra : MaskSpectrum or list of MaskSpectrum
        See :func:`gpumask.mask_spectrum`; undefined values leave gaps.
    title : str, optional
        Line above the panels. Default: for one mask its name and verdict; for several, whose verdicts are in the
        legend, how many.
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
        Unknown format, or no spectrum.
    """
    canvas.check(format)
    spectra = list(spectra) if isinstance(spectra, (list, tuple)) else [spectra]
    if not spectra:
        raise UsageError("a figure needs one spectrum or more, got none")
    for spectrum in spectra:
        if len(spectrum.shells) < 2:
            raise UsageError(
                f"a box of {units.by(spectrum.box[::-1])} px (x, y, z) has no shell to draw but the zero frequency"
            )
    names = _names(spectra)
    leaking = any(s.predicted_fsc is not None for s in spectra)
    room = 0.0 if len(spectra) == 1 else 0.2 * len(spectra)  # for the legend below
    figure = canvas.new(8.0, (8.4 if leaking else 5.4) + room)
    if leaking:
        above, lowest = figure.subplots(2, 1, sharex=True, height_ratios=[1.5, 1])
        _leak(lowest, spectra)
    else:
        above = lowest = figure.subplots()
    handles = _power(above, spectra, names)
    if len(spectra) == 1:
        canvas.legend(above, handles, loc="best", fontsize=9)
    else:
        size = canvas.fitting(9, [text for _, text in handles], figure.get_figwidth() - 0.8)  # with the lines before
        canvas.legend(figure, handles, loc="outside lower center", fontsize=size)
    lowest.set_xlabel("frequency (1/Å)")
    if title is None:
        title = f"{names[0]}\n{_verdict(spectra[0])}" if len(spectra) == 1 else f"Power spectra of {len(spectra)} masks"
    canvas.title(figure, title)
    return canvas.encode(figure, format)


def _power(axes, spectra, names):
    """Draw the power; what the legend says of it."""
    handles = []
    for look, spectrum, name in zip(_looks(len(spectra)), spectra, names, strict=True):
        line = _curve(axes, spectrum, _column(spectrum, "power_db"), linewidth=2.6, **look)
        handles.append((line, "mask" if len(spectra) == 1 else f"{name}: {_verdict(spectrum, False)}"))
    if len(spectra) == 1:
        # Thin and above the mask, so that a hard mask is seen to be its own twin.
        for key, colour, style, text in (
            ("hard_power_db", canvas.VERMILLION, (0, (5, 2)), "the same base with a hard edge"),
            ("hann_power_db", canvas.GREEN, (0, (1, 1)), "Hann ball of equal volume"),
        ):
            look = {"linewidth": 1.3, "color": colour, "linestyle": style, "zorder": 3}
            handles.append((_curve(axes, spectra[0], _column(spectra[0], key), **look), text))
    handles += _targets(axes, spectra)
    last = max(_frequencies(s)[-1] for s in spectra)
    axes.set_xlim(0, 1.01 * last)  # the last point is not cut
    axes.set_ylim(_floor(spectra), 3)
    axes.set_ylabel("mean power (dB, zero frequency = 0)")
    canvas.resolution_axis(axes, last)
    canvas.grid(axes)
    return handles


def _leak(axes, spectra):
    """Draw the FSC that the masks make by themselves, with its legend."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    lowest, draws = 0.0, set()
    for look, spectrum in zip(_looks(len(spectra)), spectra, strict=True):
        if spectrum.predicted_fsc is None:
            continue
        _curve(axes, spectrum, spectrum.predicted_fsc[1:], linewidth=2.0, **look)
        measured = spectrum.measured_fsc
        if measured is not None:
            draws.add(measured["seeds"])
            mean = _numbers(measured["mean"][1:])
            spread = [0.0 if v is None else v for v in measured["sd"][1:]]  # one draw has none
            low, high = ([m + sign * v for m, v in zip(mean, spread, strict=True)] for sign in (-1, 1))
            lowest = min([lowest, *(v for v in low if not math.isnan(v))])
            axes.fill_between(_frequencies(spectrum), low, high, color=look["color"], alpha=0.25, linewidth=0)
            axes.plot(_frequencies(spectrum), mean, color=look["color"], **DOTS)
        if spectrum.k_leak is not None:
            axes.plot([spectrum.k_leak], [correlation.LEAK], color=look["color"], zorder=4, **TIP)
    level = axes.axhline(correlation.LEAK, color="black", linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
    _targets(axes, spectra)
    alone = len(spectra) == 1
    colour = canvas.COLOURS[0] if alone else canvas.GREY
    handles = [(Line2D([], [], color=colour, linewidth=2.0), "predicted")]
    if draws:
        count = " or ".join(str(n) for n in sorted(draws))
        text = "measured, 1 draw" if draws == {1} else f"measured, mean and standard deviation of {count} draws"
        handles.append(((Patch(color=colour, alpha=0.25), Line2D([], [], color=colour, **DOTS)), text))
    handles.append((level, f"{correlation.LEAK:g}"))
    ends = [s.mask_limited_resolution for s in spectra if s.mask_limited_resolution is not None]
    if ends:
        where = f" = {1 / ends[0]:.3f} 1/Å ({ends[0]:.1f} Å)" if alone else ""
        handles.append((Line2D([], [], color=colour, **TIP), f"k_leak{where}, the last shell above"))
    axes.set_ylim(min(-0.05, lowest - 0.02), 1.04)
    axes.set_ylabel("FSC of the mask alone")
    canvas.grid(axes)
    canvas.legend(axes, handles, loc="best", fontsize=9)


def _targets(axes, spectra):
    """A line at each resolution that was judged at; what a legend says of them."""
    look = {"color": canvas.GREY, "linewidth": 1.2, "linestyle": (0, (8, 3)), "zorder": 1}
    resolutions = sorted({_target(spectrum) for spectrum in spectra} - {None})
    return [(axes.axvline(1 / resolution, **look), f"target, {resolution:g} Å") for resolution in resolutions]


def _looks(count):
    """Colours and styles of the lines of masks; no two are alike among the first 35."""
    colours, styles = canvas.COLOURS, canvas.STYLES
    return [{"color": colours[i % len(colours)], "linestyle": styles[i % len(styles)]} for i in range(count)]


def _curve(axes, spectrum, values, **look):
    """A line through the shells from the first on; in small boxes, where shells are few, with their points."""
    (line,) = axes.plot(_frequencies(spectrum), _numbers(values), **canvas.points(len(values)), **look)
    return line


def _frequencies(spectrum):
    return [row["frequency"] for row in spectrum.shells[1:]]


def _column(spectrum, key):
    return [row[key] for row in spectrum.shells[1:]]


def _numbers(values):
    """Undefined values as NaN, which lines leave out."""
    return [math.nan if v is None else v for v in values]


def _floor(spectra):
    """Where the axis of power ends, dB."""
    ends = []
    for spectrum in spectra:
        for key in ("power_db", "hard_power_db"):
            values = sorted(v for v in _column(spectrum, key) if v is not None)
            ends += values[len(values) // 20 :][:1]
    return max(LOWEST, 10 * math.floor((min(ends, default=0.0) - HEADROOM) / 10))


def _target(spectrum):
    """The resolution that the spectrum was judged at, Å: the one in its leakage that asks for its smallest edge."""
    size = spectrum.voxel_size_angstrom[::-1]
    for row in spectrum.leakage:
        if units.minimum_soft_edge_px(row["resolution"], size) == spectrum.minimum_soft_edge_px:
            return row["resolution"]
    return None


def _names(spectra):
    """File names; with their folders where two are the same."""
    paths = [PurePath(f"mask {n}" if s.path is None else s.path) for n, s in enumerate(spectra, 1)]
    alike = len({path.name for path in paths}) < len(paths)
    return [canvas.shortened("/".join(path.parts[-2:]) if alike else path.name) for path in paths]


def _verdict(spectrum, with_power=True):
    """:func:`gpumask.mask.verdict_line` of a spectrum; a legend has no room for its power."""
    target, power = _target(spectrum) if with_power else None, None
    if target is not None:
        power = min(spectrum.shells, key=lambda row: abs(row["frequency"] - 1 / target))["power_db"]
    size = spectrum.voxel_size_angstrom[::-1]
    return mask.verdict_line(spectrum.equivalent_edge_px, spectrum.minimum_soft_edge_px, size, power, target)
