# ruff: noqa: T201
"""Every number and figure of science.md: ``python docs/science.py [edge] [width] [padding] [noise]``.

Prints the tables of the page as Markdown and writes the figures beside it (``--figures FOLDER``: elsewhere). All data
are simulated on the spot with fixed seeds. ``--small`` runs the same steps on smaller boxes with fewer draws.
The figures need matplotlib (extra ``plot``).
"""

import argparse
import contextlib
import math
from functools import lru_cache
from pathlib import Path

import numpy as np

import gpumask as gm
from gpumask import correlation, fourier, mask, phases, simulation, spectrum, units

HERE = Path(__file__).resolve().parent
BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#555555"  # Okabe-Ito

BANDS = (0.10, 0.15), (0.15, 0.20), (0.20, 0.30), (0.30, 0.39)  # cycles/px
DILATION, EDGE = 5, 17  # px, the tutorial's mask
ONSET = 20.0  # Å; a usual initial low-pass
LEVELS = 0.05, 0.02, 0.01  # mean leak at which masks are compared
SMALL = False


def table(title, head, rows):
    """Print a Markdown table."""
    print(f"*{title}*\n")
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print()


def db(ratio):
    return 10 * np.log10(ratio)


def signed(value, digits):
    """A number with its sign; zero has none."""
    text = f"{value:+.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0 else text


def small(value, digits=4):
    """A number that is never rounded to zero."""
    least = 10**-digits
    return f"{value:.{digits}f}" if value >= least / 2 else f"< {least:g}"


@lru_cache(maxsize=1)
def particle():
    """The simulated particle and the base of its head on the whole grid."""
    made = simulation.particle(110, 2.0) if SMALL else simulation.particle(160, 1.4)
    base = np.zeros(made.density.shape, bool)
    corner = made.offset
    base[tuple(slice(c, c + n) for c, n in zip(corner, made.head_base.shape, strict=True))] = made.head_base >= 0.05
    return made, base


def centred(base):
    """The base, moved by whole voxels so that its centre of mass is at the centre of the box."""
    shift = [round(n // 2 - c) for n, c in zip(base.shape, mask.centre_of_mass(base.astype(np.float32)), strict=True)]
    return np.roll(base, shift, (0, 1, 2))


def target():
    """The resolution in Å at which the FSC of the particle's body falls to 0.143."""
    return max(simulation.RESOLUTION, 2.5 * particle()[0].voxel_size)


@lru_cache(maxsize=4)
def halves(onset=ONSET):
    made, _ = particle()
    return correlation.half_maps(made.half1, made.half2, made.voxel_size, onset)


def leak(fsc, judged):
    """The mean leak Λ from three shells past the onset to the target, FSC_n at the target, and how far in Å it is
    over 0.05."""
    last = round(1 / (target() * judged.shells.step))
    over = np.flatnonzero(fsc > correlation.LEAK)
    mean = float(np.nanmean(fsc[judged.onset + correlation.SKIPPED + 1 : last + 1]))
    return mean, float(fsc[last]), 1 / (over[-1] * judged.shells.step)


# --- edge: the fall-off of hard, linear and cosine edges ---


def linear_ball(k, radius, width):
    """Transform of a ball whose edge falls linearly: the mean of hard balls from `radius` to ``radius + width``."""
    q = 2 * math.pi * k

    def antiderivative(r):
        return -2 * np.cos(q * r) / q - r * np.sin(q * r)

    return 4 * math.pi / (width * q**3) * (antiderivative(radius + width) - antiderivative(radius))


def linear_volume(radius, width):
    return math.pi / 3 / width * ((radius + width) ** 4 - radius**4)


def balls(radius=20.0, width=20.0):
    """Balls of one volume: name to (transform at k, power law expected)."""
    volume = spectrum.sphere_volume(radius, width)
    hard = (3 * volume / (4 * math.pi)) ** (1 / 3)
    hann = (volume / spectrum.sphere_volume(0.0, 1.0)) ** (1 / 3)
    inner = radius * (volume / linear_volume(radius, width)) ** (1 / 3)
    return volume, {
        f"hard, R = {hard:.1f} px": (lambda k: spectrum.sphere_transform(k, hard, 0), -4),
        f"linear, R = {inner:.1f}, w = {inner * width / radius:.1f} px": (
            lambda k: linear_ball(k, inner, inner * width / radius),
            -6,
        ),
        f"raised cosine, R = {radius:.1f}, w = {width:.1f} px": (
            lambda k: spectrum.sphere_transform(k, radius, width),
            -8,
        ),
        f"Hann, R = 0, w = {hann:.1f} px": (lambda k: spectrum.sphere_transform(k, 0.0, hann), -8),
    }


def lobe_mean(transform, limits, points=20001):
    """Mean power over a band of k, weighted as a shell weighs it: by k²."""
    k = np.linspace(*limits, points)
    return float((k**2 * transform(k) ** 2).sum() / (k**2).sum())


def slope(transform, first=0.5, last=8.0, bands=8):
    """Slope of log power against log k through the means of bands."""
    edges = np.geomspace(first, last, bands + 1)
    power = [lobe_mean(transform, limits) for limits in zip(edges[:-1], edges[1:], strict=True)]
    return float(np.polyfit(np.log(np.sqrt(edges[:-1] * edges[1:])), np.log(power), 1)[0])


def exact_ball(box, radius, width):
    """A ball on the grid whose edge is the profile of the exact distance from the centre."""
    axis = np.arange(box) - box // 2
    distance = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2.0)
    return mask.edge_profile((distance - radius) / width).astype(np.float32)


def shell_mean(array):
    """Mean power a shell, voxels of 1, up to Nyquist; frequencies in cycles/px."""
    shells = fourier.shells(array.shape, 1.0)
    power = fourier.shell_power(array, 1.0) / shells.coefficients
    return shells.frequency[: shells.nyquist + 1], power[: shells.nyquist + 1]


def below_hard(array, bands=BANDS):
    """dB of a mask in bands of k, relative to the same mask with a hard edge at 0.5."""
    k, power = shell_mean(array)
    _, hard = shell_mean((array >= 0.5).astype(np.float32))
    inside = [(k >= low) & (k < high) for low, high in bands]
    return [float(db(power[i].sum() / hard[i].sum())) for i in inside]


def theory(width, bands=BANDS):
    """The same for a flat raised-cosine edge: mean of |G|², weighted by the k⁻⁴ of a hard edge."""
    found = []
    for limits in bands:
        k = np.linspace(*limits, 2001)
        found.append(float(db((k**-4 * spectrum.half_sine_transform(k * width) ** 2).sum() / (k**-4).sum())))
    return found


def edge(figures):
    volume, closed = balls()
    at = (0.02, 0.05), (0.05, 0.1), (0.1, 0.2), (0.2, 0.4)
    rows = []
    for name, (transform, law) in closed.items():
        powers = [f"{db(lobe_mean(transform, limits) / volume**2):.1f}" for limits in at]
        rows.append((name, law, f"{slope(transform):.2f}", *powers))
    head = ["ball", "law", "slope", *(f"{low:g}–{high:g} /px, dB" for low, high in at)]
    table("Closed form: four balls of one volume", head, rows)

    made, base = particle()
    base = centred(base)
    drawn = {
        name: mask.soft_mask(base, DILATION, EDGE, profile)
        for name, profile in (
            ("linear", "linear"),
            ("quarter cosine", "quarter-cosine"),
            ("raised cosine", "cosine"),
            ("Slepian, NW = 2", "slepian"),
            ("raised cosine, `convolved`", "convolved"),
        )
    }
    drawn = {"hard twin of the raised cosine": (drawn["raised cosine"] >= 0.5).astype(np.float32), **drawn}
    form = "{:.1f}".format
    rows = [("raised cosine, theory of a flat edge", *map(form, theory(EDGE)), "", "")]
    ball = exact_ball(len(base), 20.0, EDGE)
    rows.append(("raised cosine, ball, exact distance", *map(form, below_hard(ball)), *measured_edge(ball, made)))
    for name, array in drawn.items():
        rows.append((f"{name}, head", *map(form, below_hard(array)), *measured_edge(array, made)))
    head = ["edge of 17 px", *(f"{low:.2f}–{high:.2f} /px, dB" for low, high in BANDS), "equivalent px", "slope"]
    table("On the grid: power relative to the same mask with a hard edge", head, rows)
    if figures:
        edge_figure(figures / "science_edge.png", closed, volume, drawn, made.voxel_size)


def measured_edge(array, made):
    found = gm.mask_spectrum(array, voxel_size=made.voxel_size)
    return f"{found.equivalent_edge_px:.1f}", f"{found.falloff_exponent:.1f}"


def edge_figure(path, closed, volume, drawn, voxel_size):
    figure, (left, right) = panels(2)
    styles = (ORANGE, "-"), (PINK, "-."), (BLUE, "--"), (GREEN, ":")
    bands = np.geomspace(0.01, 4, 90)
    for (name, (transform, law)), (colour, line) in zip(closed.items(), styles, strict=True):
        power = [lobe_mean(transform, (k * 0.9, k * 1.1), 2001) / volume**2 for k in bands]
        left.plot(bands, db(np.array(power)), line, color=colour, label=f"{name.split(',')[0]}, $k^{{{law}}}$")
    left.set(xscale="log", xlabel="k, cycles/px", ylabel="power, dB of P(0)", title="(a) closed form, one volume")
    left.set_ylim(-230, 5)
    left.legend(loc="lower left")

    k, power = shell_mean(drawn["raised cosine"])
    _, hard = shell_mean((drawn["raised cosine"] >= 0.5).astype(np.float32))
    _, convolved = shell_mean(drawn["raised cosine, `convolved`"])
    frequency = k / voxel_size
    curves = (
        (hard, ORANGE, "-", "hard twin"),
        (power, BLUE, "--", "cosine of the voxel distance"),
        (hard * spectrum.half_sine_transform(k * EDGE) ** 2, GREY, "-", "hard twin × |G|² (theory)"),
        (convolved, GREEN, ":", "convolved edge"),
    )
    for values, colour, line, label in curves:
        width = 0.9 if colour == GREY else 1.8
        right.plot(frequency[1:], db(values[1:] / power[0]), line, color=colour, label=label, linewidth=width)
    right.set(xlabel="frequency, 1/Å", title=f"(b) head, dilation {DILATION} px, edge {EDGE} px")
    right.set_ylim(-150, 5)
    right.set_ylabel("power, dB of P(0)")
    right.legend(loc="upper right")
    resolution_axis(right)
    save(figure, path)


# --- width: what 5·resolution/voxel buys ---


@lru_cache(maxsize=4)
def band_limited(quieter):
    """Half maps that share nothing from the onset on: the particle below it, and noise `quieter` by that many dB."""
    made, _ = particle()
    noise = [10 ** (-quieter / 20) * (half - made.density) for half in (made.half1, made.half2)]
    return correlation.half_maps(low_passed() + noise[0], low_passed() + noise[1], made.voxel_size, ONSET)


@lru_cache(maxsize=1)
def low_passed():
    """The noise-free particle below the onset."""
    made, _ = particle()
    step = 1 / (made.voxel_size * len(made.density))
    onset = math.ceil(1 / (ONSET * step) - 1e-6) - 0.5  # shells are rounded
    return fourier.apply_radial(made.density, (made.voxel_size,) * 3, lambda frequency: frequency < onset * step)


def dynamic_range(quieter):
    """dB from the mean power below the onset to that at the target, in the half map under the tutorial's mask."""
    made, base = particle()
    judged = band_limited(quieter)
    array = low_passed() + 10 ** (-quieter / 20) * (made.half1 - made.density)
    power = shell_mean(array * mask.soft_mask(base, DILATION, EDGE))[1]
    shell = round(1 / (target() * judged.shells.step))
    return float(db(power[1 : judged.onset].mean() / power[shell - 3 : shell + 4].mean()))


def width(figures):
    made, base = particle()
    head = centred(base)
    resolution = 10.0 if SMALL else 6.0
    pixel = made.voxel_size
    multiples = (1, 5) if SMALL else tuple(range(1, 9))
    shells = fourier.shells(head.shape, pixel)
    shell = round(1 / (resolution * shells.step))
    at = 1 / (shell * shells.step)
    rows, measured = [], {"cosine": [], "convolved": []}
    for n in multiples:
        edge_px = n * at / pixel
        for profile, values in measured.items():
            array = mask.soft_mask(head, 0, edge_px, profile)
            power, hard = (shell_mean(a)[1][shell] for a in (array, (array >= 0.5).astype(np.float32)))
            values.append(float(db(power / hard)))
        peak = float(db(spectrum.half_sine_transform(n) ** 2))
        cells = (f"{value:.1f}" for value in (edge_px, peak, measured["cosine"][-1], measured["convolved"][-1]))
        rows.append((n, *cells))
    head_row = ["w / resolution", "w, px", "flat edge, dB", "voxel distance, dB", "`convolved`, dB"]
    table(f"Power at 1/resolution ({at:.2f} Å) relative to a hard edge", head_row, rows)

    whole = mask.dilate(made.labels > 0, 8 / pixel)
    widths = (0, 1, 8) if SMALL else (0, 0.5, 1, 2, 3, 4, 5, 6)
    cases = {"cuts density": (base, halves()), "in the solvent": (whole, halves())}
    ranges = {quieter: f"{dynamic_range(quieter):.0f} dB" for quieter in (0, 20, 40)}
    cases |= {f"cuts, {ranges[quieter]}": (base, band_limited(quieter)) for quieter in ranges}
    found = {
        name: [leak(judged.predicted(mask.soft_mask(body, 0, n * target() / pixel)), judged) for n in widths]
        for name, (body, judged) in cases.items()
    }
    rows = [
        (f"{n:g}", f"{n * target() / pixel:.1f}", *(small(values[i][1]) for values in found.values()))
        for i, n in enumerate(widths)
    ]
    table(f"Predicted FSC_n at the target, {target():.1f} Å, onset {ONSET:g} Å", ["w / target", "w, px", *cases], rows)
    real = list(cases)[:2]
    rows = [
        (f"{n:g}", *(cell for name in real for cell in (small(found[name][i][0], 3), f"{found[name][i][2]:.1f}")))
        for i, n in enumerate(widths)
    ]
    names = [f"{name}: {what}" for name in real for what in ("Λ", "FSC_n > 0.05 as far as, Å")]
    table("Before the target", ["w / target", *names], rows)
    cut = [halves().density(mask.soft_mask(body, 0, 5 * target() / pixel))[1] for body in (base, whole)]
    limits = {
        profile: band_limited(40).predicted(mask.soft_mask(base, 0, 5 * target() / pixel, profile))
        for profile in ("cosine", "convolved")
    }
    at_target = {quieter: [max(v[1], 1e-9) for v in found[f"cuts, {text}"]] for quieter, text in ranges.items()}
    logarithms = {quieter: np.log(values) for quieter, values in at_target.items()}
    narrowest = {quieter: crossing(widths, logs, math.log(correlation.LEAK)) for quieter, logs in logarithms.items()}
    rows = [
        *(
            (
                f"narrowest edge with FSC_n(target) <= {correlation.LEAK}, {ranges[quieter]}",
                "hard" if logarithms[quieter][0] < math.log(correlation.LEAK) else f"{narrowest[quieter]:.1f} × target",
            )
            for quieter in ranges
        ),
        ("share of the 5·target edge that lies in density: cutting mask", f"{cut[0]:.2f}"),
        ("the same: mask in the solvent", f"{cut[1]:.2f}"),
        *(
            (f"FSC_n(target) of the `{profile}` edge of 5·target, {ranges[40]}", small(leak(fsc, band_limited(40))[1]))
            for profile, fsc in limits.items()
        ),
        ("tutorial: 5 × 3.55 Å at 1.4 Å", f"{units.minimum_soft_edge_px(3.55, (1.4,) * 3):.2f} px"),
        ("tutorial: 17 px at 1.4 Å in units of 3.55 Å", f"{17 * 1.4 / 3.55:.2f}"),
    ]
    table("Beside it", ["", ""], rows)
    if figures:
        width_figure(figures / "science_width.png", multiples, measured, widths, found)


def width_figure(path, multiples, measured, widths, found):
    figure, (left, right) = panels(2)
    kw = np.linspace(0.01, 8.5, 2000)
    left.plot(
        kw, db(spectrum.half_sine_transform(kw) ** 2 + 1e-12), "-", color=GREY, linewidth=0.9, label="flat edge, |G|²"
    )
    left.plot(multiples, measured["cosine"], "s", color=BLUE, label="cosine of the voxel distance")
    left.plot(multiples, measured["convolved"], "^", color=GREEN, label="convolved edge")
    left.axvline(5, color="black", linewidth=0.8, linestyle=":")
    left.set(xlabel="edge width / resolution", ylabel="power at 1/resolution, dB of a hard edge", ylim=(-75, 3))
    left.set_title("(a) what the edge takes off")
    left.legend(loc="upper right")
    styles = (ORANGE, "-o"), (BLUE, ":^"), (PINK, "--s"), (GREEN, "--D"), ("black", "--v")
    for (name, values), (colour, line) in zip(found.items(), styles, strict=True):
        fsc = [v[1] if v[1] > 1e-6 else math.nan for v in values]
        right.plot(widths, fsc, line, color=colour, label=name, markersize=8 if colour == ORANGE else 4)
    right.axhline(correlation.LEAK, color="black", linewidth=0.8)
    right.axvline(5, color="black", linewidth=0.8, linestyle=":")
    right.set(xlabel="edge width / target resolution", yscale="log", ylim=(1e-6, 1.5))
    right.set_ylabel("predicted FSC$_n$ at the target")
    right.set_title("(b) what it leaves between half maps")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=5, title="panel (b)")
    save(figure, path)


# --- padding: low dilation and a wide edge against high dilation and a narrow one ---


def describe(dilation, edge_px):
    """What a mask of the head takes in, and what it makes of the half maps."""
    made, base = particle()
    judged = halves()
    array = mask.soft_mask(base, dilation, edge_px)
    weight, density = array.astype(float), made.density.astype(float)
    glycans = made.labels == simulation.LABELS["glycans"]
    others = (made.labels > 0) & ~made.head & ~glycans
    power = low_passed().astype(float) ** 2 * (made.labels > 0)
    ours, theirs = ((weight * power)[part].sum() for part in (made.head, others | glycans))
    noise = np.var(made.half1.astype(float) - made.half2) / 2
    spread = (weight**2 * power).sum() + noise * (weight**2).sum()
    found = gm.mask_spectrum(array, target(), voxel_size=made.voxel_size)
    shell = found.shells[round(1 / (target() * judged.shells.step))]
    mean, _, limit = leak(judged.predicted(array), judged)
    return {
        "dilation": dilation,
        "edge": edge_px,
        "volume": float(weight.sum()),
        "effective": found.effective_voxels,
        "kept": float((weight * density)[made.head].sum() / density[made.head].sum()),
        "others": float((weight * density)[others].sum() / (weight * density)[made.labels > 0].sum()),
        "glycans": float((weight * density)[glycans].sum() / density[glycans].sum()),
        "independent": shell["n_effective"] / shell["n_coefficients"],
        "detectability": float((ours - theirs) / math.sqrt(spread)),
        "leak": mean,
        "limit": limit,
    }


COLUMNS = {
    "r, px": lambda m: f"{m['dilation']:g}" if m["dilation"] == round(m["dilation"]) else f"{m['dilation']:.1f}",
    "w, px": lambda m: f"{m['edge']:.1f}",
    "r + w, px": lambda m: f"{m['dilation'] + m['edge']:.1f}",
    "Σm, 10³ voxels": lambda m: f"{m['volume'] / 1000:.1f}",
    "V_eff, 10³ voxels": lambda m: f"{m['effective'] / 1000:.1f}",
    "head kept": lambda m: f"{m['kept']:.3f}",
    "glycans kept": lambda m: f"{m['glycans']:.2f}",
    "other domains let in": lambda m: f"{m['others']:.3f}",
    "n_eff/n": lambda m: f"{m['independent']:.4f}",
    "d′": lambda m: f"{m['detectability']:.1f}",
    "Λ": lambda m: f"{m['leak']:.3f}",
    "FSC_n > 0.05 as far as, Å": lambda m: f"{m['limit']:.1f}",
}


def mask_table(title, masks, names=None):
    """Print a table of masks that :func:`describe` has described."""
    rows = [[column(m) for column in COLUMNS.values()] for m in masks]
    if names:
        rows = [[name, *row] for name, row in zip(names, rows, strict=True)]
    table(title, [*([""] if names else []), *COLUMNS], rows)


def crossing(widths, values, level):
    """The widest edge at which `values` still reach `level`, interpolated; None where they never do, or always."""
    over = np.flatnonzero(np.asarray(values) > level)
    if not len(over) or over[-1] == len(values) - 1:
        return None
    i = over[-1]
    part = (values[i] - level) / (values[i] - values[i + 1])
    return float(widths[i] + part * (widths[i + 1] - widths[i]))


def padding(figures):
    made, base = particle()
    judged = halves()
    dilations = (0, 4) if SMALL else (-2, 0, 2, 4, 6, 8, 12)
    widths = (0, 4, 8, 16) if SMALL else (0, 1, 2, 3, 4, 6, 8, 10, 12, 14, 17, 20, 24)
    leaks, volumes = {}, {}
    for r in dilations:
        arrays = (mask.soft_mask(base, r, w) for w in widths)
        found = [(leak(judged.predicted(array), judged)[0], -float(array.sum())) for array in arrays]
        leaks[r], volumes[r] = (np.array(values) for values in zip(*found, strict=True))
    equal = {}
    for level in LEVELS:
        edges = {r: crossing(widths, np.log(leaks[r]), math.log(level)) for r in dilations}
        equal[level] = [describe(r, w) for r, w in edges.items() if w is not None]
        mask_table(f"Masks of equal mean leak, Λ = {level:g}", equal[level])
    same = float(mask.soft_mask(base, 8, 4).sum())
    edges = {r: crossing(widths, volumes[r], -same) for r in dilations}
    mask_table(
        "Masks of equal volume, that of r = 8, w = 4 px", [describe(r, w) for r, w in edges.items() if w is not None]
    )
    settings = (6, 12), (8, 12), (20, 12), (6, 20), (6, 30)
    masks = [describe(r / made.voxel_size, w / made.voxel_size) for r, w in settings]
    names = [*(f"forum, {r} Å + {w} Å" for r, w in settings), f"tutorial, {DILATION} px + {EDGE} px"]
    mask_table("The forum's settings, taken as Å, and the tutorial's", [*masks, describe(DILATION, EDGE)], names)
    if figures:
        padding_figure(figures / "science_padding.png", widths, leaks, equal)


def padding_figure(path, widths, leaks, equal):
    figure, (left, middle, right) = panels(3)
    shown = [r for r in leaks if r in (-2, 0, 2, 4, 8, 12)]
    styles = (BLUE, "-o"), ("black", "-s"), (GREEN, "--^"), (PINK, "--D"), (ORANGE, ":v"), (GREY, ":x")
    for r, (colour, line) in zip(shown, styles, strict=False):
        left.plot(widths, leaks[r], line, color=colour, label=f"dilation {r} px", markersize=4)
    for level in LEVELS:
        left.axhline(level, color="black", linewidth=0.7, linestyle=":")
    left.set(
        xlabel="edge width, px",
        ylabel="mean leak Λ",
        yscale="log",
        title=f"(a) leak of {len(leaks) * len(widths)} masks",
    )
    left.legend(loc="lower left")
    for level, (colour, line) in zip(LEVELS, ((ORANGE, "-o"), (BLUE, "--s"), (GREEN, ":^")), strict=True):
        r = [m["dilation"] for m in equal[level]]
        middle.plot(r, [m["edge"] for m in equal[level]], line, color=colour, label=f"Λ = {level:g}")
        right.plot(r, [m["others"] for m in equal[level]], line, color=colour, label=f"Λ = {level:g}")
    middle.set(
        xlabel="dilation, px", ylabel="edge width for that leak, px", title="(b) pairs of equal leak", ylim=(0, None)
    )
    right.set(xlabel="dilation, px", ylabel="share of other domains in the density", title="(c) what they let in")
    right.set_ylim(0, None)
    middle.legend(loc="upper right")
    right.legend(loc="lower right")
    save(figure, path)


# --- noise: what a fixed mask does to independent noise, and what it does not ---


def soft_ball(box, radius, edge_px):
    if edge_px:
        return exact_ball(box, radius, edge_px)
    axis = np.arange(box) - box // 2
    return (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 <= radius * radius).astype(np.float32)


def masked_curve(first, second, array):
    """FSC of two maps under a mask; voxels of 1."""
    a, b = fourier.rfftn(first * array), fourier.rfftn(second * array)
    sums = [fourier.shell_sums(x, y, array.shape, 1.0) for x, y in ((a, b), (a, a), (b, b))]
    return correlation.curve(*sums)[: len(array) // 2 + 1], a


def neighbours(a):
    """``Σ F(k)·F*(k + 1)`` along z and ``Σ|F|²``, without the planes that hold both mates."""
    inner = a[:, :, 1:-1]
    return complex((inner * np.roll(inner, -1, axis=0).conj()).sum()), float((np.abs(inner) ** 2).sum())


def error(values):
    """Standard error of the mean of independent values."""
    return float(np.std(values, ddof=1)) / math.sqrt(len(values))


def noise(figures):
    fixed = fixed_masks()
    leaks = shared_content()
    derived = derived_masks()
    if figures:
        noise_figure(figures / "science_noise.png", fixed, leaks, derived)


def fixed_masks():
    """Independent white noise under one fixed mask."""
    box, draws = (32, 20) if SMALL else (64, 400)
    masks = {
        "none": np.ones((box,) * 3, np.float32),
        "hard ball, D/L = 0.5": soft_ball(box, box / 4, 0),
        "cosine ball, R = 12, w = 8 px": soft_ball(box, 12 * box / 64, 8 * box / 64),
        "Hann ball, w = 32 px": soft_ball(box, 0, box / 2),
        "hard ball, D/L = 0.31": soft_ball(box, 10 * box / 64, 0),
    }
    band = slice(5, 15) if SMALL else slice(10, 31)
    curves = {name: [] for name in masks}
    pairs = dict.fromkeys(masks, 0)
    powers = dict.fromkeys(masks, 0)
    rng = np.random.default_rng(1)
    for _ in range(draws):
        first, second = rng.standard_normal((2, box, box, box), dtype=np.float32)
        for name, array in masks.items():
            found, transform = masked_curve(first, second, array)
            curves[name].append(found)
            cross, power = neighbours(transform)
            pairs[name] += cross
            powers[name] += power
    rows, found = [], {}
    for name, array in masks.items():
        values = np.array(curves[name])[:, band]
        means = values.mean(axis=1)  # shells are correlated, draws are not
        shells = gm.mask_spectrum(array, voxel_size=1.0).shells[band]
        count = np.array([shell["n_coefficients"] for shell in shells])
        predicted = np.array([shell["n_effective"] for shell in shells])
        observed = 1 / (values**2).mean(axis=0)  # the mean is 0
        scatter = (values**2 * predicted).mean(axis=1)
        squares = array.astype(float) ** 2
        wave = np.exp(-2j * math.pi * np.arange(box) / box)
        neighbour = abs((squares.sum(axis=(1, 2)) * wave).sum()) / squares.sum()
        found[name] = (count, predicted, observed)
        rows.append(
            (
                name,
                f"{signed(means.mean(), 4)} ± {error(means):.4f}",
                f"{values.std():.3f}",
                f"{(predicted / count).mean():.3f}",
                f"{1 / (values**2 * count).mean():.3f}",
                f"{1 / scatter.mean():.2f} ± {error(1 / scatter.mean() ** 2 * scatter):.2f}",
                f"{neighbour:.3f}",
                f"{abs(pairs[name]) / powers[name]:.3f}",
                f"{(np.abs(values) > 1.96 / np.sqrt(count)).mean():.3f}",
                f"{(np.abs(values) > 1.96 / np.sqrt(predicted)).mean():.3f}",
            )
        )
    head = [
        "mask",
        "mean FSC ± standard error",
        "standard deviation",
        "n_eff/n predicted",
        "n_eff/n observed",
        "observed / predicted",
        "correlation of neighbours, theory",
        "the same, observed",
        "outside 1.96/√n",
        "outside 1.96/√n_eff",
    ]
    table(f"Independent noise, {draws} pairs of {box}³, shells {band.start}–{band.stop - 1}", head, rows)
    return found


def shared_content():
    """What shared low-resolution content leaks: in half maps that share nothing else, and with random phases."""
    made, base = particle()
    pixel, shape = made.voxel_size, made.density.shape
    real, limited = halves(), band_limited(0)
    judged = slice(real.onset + correlation.SKIPPED + 1, round(1 / (target() * real.shells.step)) + 1)
    draws = 3 if SMALL else 10
    noises = [fourier.rfftn(half - made.density) for half in (made.half1, made.half2)]
    masks = {
        "hard, r = 0": mask.soft_mask(base),
        f"r = {DILATION}, w = {EDGE} px": mask.soft_mask(base, DILATION, EDGE),
    }
    curves = {name: ([], []) for name in masks}
    for seed in range(draws):
        turned = (phases.randomized(noise, shape, pixel, 0, seed, i) for i, noise in enumerate(noises))
        first, second = (low_passed() + fourier.irfftn(transform, shape) for transform in turned)
        for name, array in masks.items():
            curves[name][0].append(masked_curve(first, second, array)[0])
            curves[name][1].append(real.measured(array, seed))
    rows, found = [], {}
    for name, array in masks.items():
        predictions = limited.predicted(array), real.predicted(array)
        for values, predicted, what in zip(
            curves[name], predictions, ("noise only", "half maps, random phases"), strict=True
        ):
            means = np.mean(values, axis=0)
            difference = (means - predicted)[judged]
            errors = np.std(values, axis=0, ddof=1)[judged] / math.sqrt(draws)
            cells = means[judged].mean(), predicted[judged].mean()
            spread = (np.sqrt((v**2).mean()) for v in (difference, errors))
            rows.append((name, what, *(f"{v:.3f}" for v in cells), *(f"{v:.4f}" for v in spread)))
        found[name] = np.mean(curves[name][0], axis=0), predictions[0]
    rows.append(("none", "noise only", signed(limited.unmasked[judged].mean(), 3), "", "", ""))
    head = [
        "mask of the head",
        f"past {ONSET:g} Å",
        f"FSC, mean of {draws} draws",
        "FSC_n predicted",
        "RMS difference a shell",
        "standard error a shell",
    ]
    table(
        f"Shared content below {ONSET:g} Å that leaks: mean from three shells past it to {target():.1f} Å", head, rows
    )
    return real.shells.frequency[: len(real.unmasked)], limited.unmasked, found


def derived_masks():
    """Masks made of the noise that they are then used on."""
    box, draws, size = (32, 6, 3.0) if SMALL else (64, 60, 2.0)
    step = 1 / (box * size)
    below = slice(1, int(1 / (15 * step)) + 1)
    beyond = slice(round(1 / (8 * step)) - 1, round(1 / (8 * step)) + 2)
    edges = {"of the sum, hard": 0, "of the sum, edge 6 Å": 6, "of the sum, edge 12 Å": 12}
    curves = {name: [] for name in (*edges, "of half 1 only, hard", "of another pair, hard")}
    rng = np.random.default_rng(2)

    def base_of(noise):
        smooth = gm.filters.lowpass(noise, 15, (size,) * 3)
        return smooth >= np.percentile(smooth, 98)

    for _ in range(draws):
        first, second, third, fourth = rng.standard_normal((4, box, box, box), dtype=np.float32)
        base = base_of(first + second)
        masks = {name: mask.soft_mask(base, 0, width / size) for name, width in edges.items()}
        masks["of half 1 only, hard"] = mask.soft_mask(base_of(first))
        masks["of another pair, hard"] = mask.soft_mask(base_of(third + fourth))
        for name, array in masks.items():
            curves[name].append(masked_curve(first, second, array)[0])
    rows = []
    for name, values in curves.items():
        means = [np.array(values)[:, part].mean(axis=1) for part in (below, beyond)]
        rows.append((name, *(f"{signed(m.mean(), 3)} ± {error(m):.3f}" for m in means)))
    table(
        f"Pure independent noise, masks made of noise (15 Å low-pass, top 2 %): {draws} pairs of {box}³ at {size:g} Å",
        ["mask made", "FSC below 1/15 Å", "FSC at 8 Å"],
        rows,
    )
    return step * np.arange(box // 2 + 1), {name: np.mean(values, axis=0) for name, values in curves.items()}


def noise_figure(path, fixed, leaks, derived):
    figure, (left, middle, right) = panels(3)
    styles = (GREY, "o"), (ORANGE, "s"), (BLUE, "^"), (GREEN, "D"), (PINK, "v")
    for (name, (count, predicted, observed)), (colour, marker) in zip(fixed.items(), styles, strict=True):
        left.plot(np.sqrt(count), 1 / np.sqrt(predicted), "-", color=colour, linewidth=1)
        left.plot(np.sqrt(count), 1 / np.sqrt(observed), marker, color=colour, label=name, markersize=4)
    left.set(
        xlabel="√n, n coefficients in the shell",
        ylabel="standard deviation of the FSC",
        yscale="log",
        ylim=(0.008, 0.5),
    )
    left.set_title("(a) independent noise, fixed mask")
    left.legend(title="points: observed, lines: 1/√n$_{eff}$", loc="upper right")
    frequency, unmasked, masks = leaks
    for (name, (masked, expected)), (colour, line) in zip(masks.items(), ((ORANGE, "-"), (BLUE, "--")), strict=True):
        middle.plot(frequency, masked, ".", color=colour, markersize=4, label=f"{name}: masked")
        middle.plot(frequency, expected, line, color=colour, label=f"{name}: FSC$_n$ predicted")
    middle.plot(frequency, unmasked, ":", color="black", label="no mask")
    middle.axvline(1 / ONSET, color="black", linewidth=0.6)
    middle.set(xlabel="frequency, 1/Å", ylabel="FSC", title=f"(b) nothing is shared past {ONSET:g} Å")
    middle.legend(loc="upper right")
    frequency, curves = derived
    styles = (ORANGE, "-"), (BLUE, "--"), (PINK, "-."), (GREEN, ":"), ("black", ":")
    for (name, values), (colour, line) in zip(curves.items(), styles, strict=True):
        right.plot(frequency[1:], values[1:], line, color=colour, label=name)
    right.axvline(1 / 15, color="black", linewidth=0.6)
    right.set(xlabel="frequency, 1/Å", ylabel="mean FSC", title="(c) pure noise, mask made of noise", ylim=(-0.1, 1))
    right.legend(loc="upper right")
    save(figure, path)


# --- drawing ---


def style():
    import matplotlib

    legend = {"legend.fontsize": 8, "legend.title_fontsize": 8, "legend.framealpha": 1.0}
    return matplotlib.rc_context({**legend, "axes.grid": True, "grid.linewidth": 0.3})


def panels(count):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.3 * count, 3.8), dpi=100, layout="constrained")
    return figure, figure.subplots(1, count)


def resolution_axis(axes):
    """Resolutions above an axis of frequencies."""
    marks = (20, 10, 6, 5, 4, 3)
    top = axes.twiny()
    top.grid(visible=False)
    top.set_xlim(axes.get_xlim())
    top.set_xticks([1 / d for d in marks], [str(d) for d in marks])
    top.set_xlabel("resolution, Å")


def save(figure, path):
    figure.savefig(path, metadata={"Software": None})


SECTIONS = {"edge": edge, "width": width, "padding": padding, "noise": noise}


def main(argv=None):
    global SMALL
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; default all")
    parser.add_argument("--figures", type=Path, default=HERE, help="folder for the figures")
    parser.add_argument("--no-figures", action="store_true", help="numbers only")
    parser.add_argument("--small", action="store_true", help="smaller boxes, fewer draws: a quick run of every step")
    options = parser.parse_args(argv)
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"a section is one of {', '.join(SECTIONS)}, got {', '.join(sorted(unknown))}")
    SMALL = options.small
    if not options.no_figures:
        options.figures.mkdir(parents=True, exist_ok=True)
    with contextlib.nullcontext() if options.no_figures else style():
        for name in options.sections or SECTIONS:
            print(f"## {name}\n")
            SECTIONS[name](None if options.no_figures else options.figures)


if __name__ == "__main__":
    main()
