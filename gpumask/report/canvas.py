"""What the figures share: formats, colours, lines, and how a figure becomes bytes."""

import math
from io import BytesIO

from gpumask.errors import MissingExtra, UsageError

# Each with what matplotlib would add to it and what would differ from day to day or version to version.
FORMATS = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}

# Okabe-Ito
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, GREY = "#E69F00", "#56B4E9", "0.35"
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, "black", ORANGE, SKY)
RESOLUTIONS = "viridis"  # for Å: even steps to every eye, and in grey; dark is fine
# Colours are told apart by the style of the line as well, so that print in grey still reads.
STYLES = ("solid", (0, (6, 2)), (0, (1, 1)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1)))

WIDE = 0.105  # inch that a character of 12 points may take
LONGEST_NAME = 50  # characters of a file name that a line of a figure holds
STEPS = (1, 2, 5, 3, 4, 6, 8, 1.5, 2.5)  # Å and their tenfolds, marked in this order while there is room
APART = 0.05  # of the width of the axis, between two marks
FEW = 16  # shells: in so small a box curves are drawn with their points


def check(format):
    """Refuse a format that no figure is drawn in."""
    if format not in FORMATS:
        raise UsageError(f"a figure is drawn as {', '.join(FORMATS)}, got {format!r}")


def new(width, height, layout="constrained", dots=200):
    """An empty figure of that size in inches, with `dots` to an inch."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("drawing needs matplotlib: pip install 'gpumask[plot]'") from error
    figure = Figure(figsize=(width, height), dpi=dots, layout=layout)
    if layout:
        figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06, wspace=0.02)
    return figure


def encode(figure, format):
    """The file of a figure; PNG and PDF are the same bytes for the same figure."""
    drawn = BytesIO()
    figure.savefig(drawn, format=format, metadata=FORMATS[format])
    return drawn.getvalue()


def legend(owner, handles, **options):
    """A legend of (handle, text) pairs; texts are shown as they are, also ``_mask.mrc`` and ``a$b.mrc``."""
    frame = {"facecolor": "white", "edgecolor": "none", "framealpha": 0.9}
    made = owner.legend([handle for handle, _ in handles], [" "] * len(handles), **frame, **options)
    for shown, (_, text) in zip(made.get_texts(), handles, strict=True):
        shown.set_parse_math(False)
        shown.set_text(text)
    return made


def flags(found):
    """What a figure says of flags: their codes."""
    codes = ", ".join(flag["code"] for flag in found)
    return f"flags: {codes}" if codes else "no flags"


def title(figure, text):
    """A title over the whole figure, its characters as they are; smaller where it is long."""
    figure.suptitle(text, fontsize=fitting(12, text.split("\n"), figure.get_figwidth()), parse_math=False)


def fitting(size, lines, width):
    """`size` in points, or the smaller one at which the longest of the lines is no wider than `width` inches."""
    needed = WIDE * max(map(len, lines))
    return min(size, 12 * width / max(needed, WIDE))


def shortened(name):
    """A name that fits into a line: the middle of a long one is left out."""
    if len(name) <= LONGEST_NAME:
        return name
    kept = (LONGEST_NAME - 1) // 2
    return f"{name[:kept]}…{name[-kept:]}"


def points(count):
    """How a curve of that many shells shows them."""
    return {"marker": "o", "markersize": 4} if count <= FEW else {}


def grid(axes):
    """A light grid behind what is drawn."""
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)


def resolution_axis(axes, last, power=1, apart=APART):
    """Mark round resolutions in Å above an axis of ``1/d**power`` from 0 to `last`."""
    marks = resolutions(last, power, apart)
    above = axes.secondary_xaxis("top")
    above.set_xticks([1 / r**power for r in marks], [f"{r:g}" for r in marks])
    above.set_xlabel("resolution (Å)")


def resolutions(last, power=1, apart=APART):
    """Round resolutions in Å to mark on an axis of ``1/d**power`` from 0 to `last`, no closer than the share `apart` of
    it."""
    apart, kept = apart * last, []
    coarsest, finest = (math.log10(end ** (-1 / power)) for end in (apart, last))
    decades = [10.0**n for n in range(math.floor(finest), math.floor(coarsest) + 1)]
    for resolution in (step * decade for step in STEPS for decade in decades):
        place = 1 / resolution**power
        if apart <= place <= last and all(abs(place - 1 / other**power) >= apart for other in kept):
            kept.append(resolution)
    return kept
