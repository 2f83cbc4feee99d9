"""gpumask sweep MAP -o DIR"""

import math

from gpumask.cli import options, terminal

BEST = 10  # rows that are printed
SHOWN = (  # heads, columns, formats
    ("threshold", "threshold", ".4g"),
    ("dilation px", "dilation_px", "g"),
    ("edge px", "soft_edge_px", "g"),
    ("edge", "edge", ""),
    ("kDa", "mass_kda", ".0f"),
    ("cut", "cut", ".1%"),
    ("dB", "db_at_resolution", ".1f"),
    ("error", "subtraction_error", ".3f"),
    ("d'", "detectability", ".2f"),
    ("Λ", "leak_mean", ".3f"),
    ("FSC_n", "fsc_predicted_at_resolution", ".3f"),
    ("masked Å", "resolution_masked", ".2f"),
    ("corrected Å", "resolution_corrected", ".2f"),
)
MOST = 1000  # values of a range


def fill(parser):
    parser.description = (
        "Make the masks of a grid of dilations, soft edges and thresholds from few distance fields, and measure each: "
        "what it keeps and cuts, what it leaks, and with unmasked half maps what FSC it makes by itself. DIR/sweep.csv "
        "is the table; run again, a sweep that was stopped goes on, and two in one folder take turns."
    )
    parser.epilog = (
        "Example: gpumask sweep map.mrc --half1 half1.mrc --half2 half2.mrc --threshold 0.05 --dilate 0:16:2 "
        "--soft-edge 4:36:4 --resolution 4A -o sweep"
    )
    parser.set_defaults(run=run)
    parser.add_argument("map", metavar="MAP", help="map that the masks are made from")
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="folder to write into")
    group = parser.add_argument_group("grid")
    group.add_argument(
        "--threshold",
        metavar="T,…",
        default="auto",
        help="one or more, as in create (default auto); beside auto all keep the largest component alone",
    )
    group.add_argument(
        "--dilate",
        metavar="A:B:STEP",
        default="0",
        help="0:16:2 with both ends, or 0,3,6; px, or 0A:14A:2A; --dilate=-4:4:2 erodes too",
    )
    group.add_argument("--soft-edge", metavar="A:B:STEP", default="12", help="likewise (default 12)")
    group.add_argument(
        "--edge", metavar="PROFILE,…", default="cosine", help="cosine (default), convolved, … as in create"
    )
    add_half_maps(group := parser.add_argument_group("what is judged"))
    group.add_argument("--region", metavar="MASK", help="the target of d', where >= 0.5 (default: all of the particle)")
    add_base(parser)
    group = parser.add_argument_group("files and device")
    group.add_argument("--keep", action="store_true", help="write every mask: DIR/mask_t0.05_d6_w12_cosine.mrc")
    group.add_argument(
        "--plot", action="store_true", help="also draw heat maps, the front and slices along it (extra: plot)"
    )
    add_files(group)


def add_half_maps(group, needed=False):
    """The half maps, the resolution and the onset."""
    group.add_argument("--half1", metavar="HALF1", required=needed, help="unmasked, unfiltered half map")
    group.add_argument("--half2", metavar="HALF2", help="the other one; found by its name where left out")
    group.add_argument("--resolution", metavar="RES", help="the target, 3.5A")
    group.add_argument(
        "--onset",
        metavar="WHERE",
        help="phases are random from here on: an FSC (default 0.8), or 20A, the low-pass that a refinement starts from",
    )
    group.add_argument("--assume-unmasked", action="store_true", help="use half maps that seem to be masked")


def add_base(parser):
    """What comes before and after the threshold."""
    group = parser.add_argument_group("base, as in create")
    group.add_argument("--lowpass", metavar="RES", help="before the threshold: 15A")
    group.add_argument("--gaussian", metavar="SD", help="before the threshold: 2A")
    group.add_argument("--largest", metavar="N", type=int, help="keep the N largest components")
    group.add_argument("--dust", metavar="VOLUME", type=float, help="drop components below this volume, Å³")
    group.add_argument("--fill-holes", action="store_true", help="fill enclosed background")


def add_files(group):
    """How files are read and written."""
    options.add_reading(group)
    options.add_device(group)
    options.add_force(group)
    group.add_argument("--json", action="store_true", help="print one JSON document")


JUDGED = ("half1", "half2", "region", "resolution", "onset", "assume_unmasked")
BASE = ("lowpass", "gaussian", "largest", "dust", "fill_holes")
READING = ("nan_to", "device")


def run(arguments):
    from gpumask import job

    with terminal.Progress() as progress:
        done = job.sweep(
            arguments.map,
            arguments.output,
            thresholds=arguments.threshold.split(","),
            dilations=spread(arguments.dilate, "dilation"),
            soft_edges=spread(arguments.soft_edge, "soft edge"),
            edges=arguments.edge.split(","),
            keep=arguments.keep,
            plot=arguments.plot,
            voxel_size=options.voxel_size(arguments.voxel_size),
            overwrite=arguments.force,
            progress=progress,
            **options.given(arguments, (*JUDGED, *BASE, *READING)),
        )
    terminal.warn(done["warnings"])
    if arguments.json:
        terminal.document({**done, "sweep": done["sweep"].to_dict()})
    else:
        _print(done)


def spread(text, what):
    """Lengths from ``0:16:2`` (both ends in it), ``0A:14A:2A`` or ``0,3,6``, as text."""
    from gpumask import units
    from gpumask.errors import UsageError

    if ":" not in text:
        return [str(units.length(part, what)) for part in text.split(",")]
    parts = [units.length(part, what) for part in text.split(":")]
    given = {part.unit for part in parts if part.value}
    if len(parts) != 3 or len(given) > 1 or not parts[2].value > 0 or parts[1].value < parts[0].value:
        raise UsageError(f"{what} must be a range such as 0:16:2 or 0A:14A:2A, or a list such as 0,3,6; got {text!r}")
    (start, _), (stop, _), (step, unit) = parts
    steps = math.floor((stop - start) / step + 1e-9)
    if steps >= MOST:
        raise UsageError(f"{what} {text!r} has {steps + 1} values, at most {MOST} can be swept; take a larger step")
    return [str(units.Length(round(start + i * step, 9), unit)) for i in range(steps + 1)]


def transforms(found):
    """How many transforms a mask took, in words."""
    if not found.transforms:
        return "none: every mask was measured before"
    parts = ", ".join(f"{name} {count:g}" for name, count in found.transforms.items())
    return f"{sum(found.transforms.values()):g} a mask ({parts}); {found.transforms_once:g} once for the half maps"


def _print(done):
    found = done["sweep"]
    size = found.voxel_size_angstrom
    known = f", {done['known']} of them measured before" if done["known"] else ""
    onset = found.onset and f"phases random from shell {found.onset['shell']} = {found.onset['resolution']:.3g} Å on"
    rows = [
        ("map", f"{done['inputs']['map']['path']}: {terminal.by(found.box)} voxels of {terminal.voxel(size)}"),
        ("device", f"{done['device']} ({done['device_reason']})"),
        ("masks", f"{len(found.rows)}{known}"),
        ("resolution", "none given" if found.resolution is None else f"{found.resolution:g} Å"),
        *([("onset", onset)] if onset else []),
        ("transforms", transforms(found)),
        ("time", ", ".join(f"{name} {value:.1f} s" for name, value in done["seconds"].items())),
        ("wrote", ", ".join(done["files"])),
    ]
    terminal.table(rows)
    best, order = _best(found)
    print(f"\n{len(best)} of {len(found.rows)} masks, {order}")
    if best:
        show(best)


def _best(found):
    """The rows worth a look, and in which order."""
    from gpumask import correlation

    rows = [row for row in found.rows if "empty" not in row["flags"]]
    if any(row["detectability"] is not None for row in rows):
        quiet = [row for row in rows if row["leak_mean"] is None or row["leak_mean"] <= correlation.LEAK]
        judged = sorted((row for row in quiet if row["detectability"] is not None), key=lambda r: -r["detectability"])
        return judged[:BEST], f"by d' where Λ <= {correlation.LEAK}"
    if any(row["db_at_resolution"] is not None for row in rows):
        return sorted(rows, key=lambda r: r["db_at_resolution"] or 0.0)[:BEST], "by dB at the resolution"
    return rows[:BEST], "in the order of the grid"


def show(rows):
    """Rows of a sweep under their heads, perhaps with ``subtraction_error``; columns without a value are left out."""
    columns = [(head, name, form) for head, name, form in SHOWN if any(row.get(name) is not None for row in rows)]
    cells = [["-" if row[name] is None else format(row[name], form) for _, name, form in columns] for row in rows]
    heads = [head for head, _, _ in columns]
    widths = [max(map(len, column)) + 2 for column in zip(heads, *cells, strict=True)]
    for line, flags in [(heads, ["flags"]), *zip(cells, (row["flags"] for row in rows), strict=True)]:
        print("".join(f"{text:>{width}}" for text, width in zip(line, widths, strict=True)) + "  " + " ".join(flags))
