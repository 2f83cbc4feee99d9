"""gpumask segment MAP"""

import shlex

from gpumask.cli import options, terminal

ROWS = 20  # of the table, unless all are asked for


def fill(parser):
    parser.description = (
        "Segment a map as Segger does: watershed of what is at or above a level, then groups of regions by smoothing. "
        "NAME.regions.json holds the regions and is what gpumask regions works on; NAME.labels.mrc beside it is their "
        "label map."
    )
    parser.epilog = "Example: gpumask segment map.mrc --gaussian 2A --level 0.05 --plot"
    parser.set_defaults(run=run)
    parser.add_argument("map", metavar="MAP", help="map (MRC/CCP4, .gz and .bz2 too)")
    parser.add_argument(
        "-o", "--output", metavar="NAME.regions.json", help="default: the name of the map, in the current folder"
    )
    group = parser.add_argument_group("watershed")
    group.add_argument("--level", metavar="T", help="what is density: as create --threshold, of the filtered map")
    group.add_argument("--gaussian", metavar="SD", help="smooth first: Gaussian, as ChimeraX sDev: 2A")
    group.add_argument("--lowpass", metavar="RES", help="smooth first: raised cosine over 2 shells, as RELION: 15A")
    group.add_argument(
        "--style", metavar="STYLE", help="gpumask (default): a plateau is one maximum; segger: each of its voxels is"
    )
    group = parser.add_argument_group("groups")
    group.add_argument("--steps", metavar="N", type=int, help="rounds of smoothing (default 4; 0: no groups)")
    group.add_argument("--step", metavar="SD", type=float, help="voxels by which each round is wider (default 1)")
    group = parser.add_argument_group("import")
    group.add_argument(
        "--from",
        dest="source",
        metavar="FILE",
        help="take the regions from Segger's .seg (extra: segger) or from a label map (.mrc) instead",
    )
    group = parser.add_argument_group("files and device")
    drawing = group.add_mutually_exclusive_group()
    drawing.add_argument(
        "--plot",
        metavar="FILE",
        nargs="?",
        const=True,
        help="draw the regions, to NAME.png unless named (extra: plot; drawn without this where it is installed)",
    )
    drawing.add_argument("--no-plot", action="store_true", help="draw nothing")
    options.add_reading(group)
    options.add_device(group)
    options.add_force(group)
    group.add_argument("--json", action="store_true", help="print one JSON document")


def run(arguments):
    from gpumask import job

    drawn = arguments.plot
    if drawn is None and not arguments.no_plot and options.can_draw():
        drawn = True
    with terminal.Progress() as progress:
        done = job.segment(
            arguments.map,
            arguments.output,
            overwrite=arguments.force,
            voxel_size=options.voxel_size(arguments.voxel_size),
            nan_to=arguments.nan_to,
            steps=arguments.steps,
            step=arguments.step,
            plot=drawn,
            progress=progress,
            **options.given(arguments, ("level", "gaussian", "lowpass", "style", "source", "device")),
        )
    terminal.warn(done["warnings"])
    if arguments.json:
        terminal.document(done)
        return
    filtered = [(name, f"{done[key]:g} Å") for name, key in (("gaussian", "gaussian_angstrom"),
                ("lowpass", "lowpass_angstrom")) if done.get(key) is not None]  # fmt: skip
    how = []
    if done["source"]:
        how.append(("from", done["source"]["path"]))
    else:
        why = "" if done["why"] == "as given" else f" = {done['threshold']}: {done['why']}"
        rounds = f"{done['steps']} rounds of smoothing, {done['step_px']:g} px wider each" if done["steps"] else "none"
        how += [("level", f"{done['level']:.6g}{why}"), ("style", done["style"]), ("groups", rounds)]
    size = done["voxel_size_angstrom"]
    missing = drawn is None and not arguments.no_plot
    terminal.table(
        [
            ("map", f"{done['map']['path']}: {terminal.by(done['box'])} voxels of {terminal.voxel(size)}"),
            ("device", f"{done['device']} ({done['device_reason']})"),
            *filtered,
            *how,
            ("found", f"{done['leaves']} leaves in {summary(done)}"),
            *([("picture", "none: needs matplotlib (pip install 'gpumask[plot]')")] if missing else []),
            ("wrote", ", ".join(done["files"])),
        ]
    )
    show(done["regions"], ROWS, done["output"])


def summary(done):
    """How many regions, and their volume."""
    return f"{counted(len(done['regions']), 'region')}: {protein(done['volume_angstrom3'], done['mass_kda'])}"


def protein(volume, mass):
    """Å³ and kDa; small ones with three digits."""
    volume, mass = (f"{value:.0f}" if value >= 10 or not value else f"{value:.3g}" for value in (volume, mass))
    return f"{volume} Å³ = {mass} kDa of protein"


def counted(count, word):
    """``1 region``, ``2 regions``."""
    return f"{count} {word}{'s' * (count != 1)}"


def show(regions, most, path):
    """The table of regions, the largest first."""
    head = ("region", "Å³", "kDa", "mean", "centre (px)", "neighbours", "")
    rows = []
    for region in regions[:most]:
        neighbours = [str(n) for n in region["neighbours"]]
        marks = [mark for mark in ("selected", "hidden") if region[mark]]
        rows.append(
            (
                str(region["number"]),
                f"{region['volume_angstrom3']:.0f}",
                f"{region['mass_kda']:.1f}",
                f"{region['mean']:.4g}",
                ",".join(f"{n:.1f}" for n in region["centre_px"]),
                ",".join(neighbours[:6]) + ",…" * (len(neighbours) > 6) or "-",
                "  ".join(filter(None, [", ".join(marks), region["name"]])),
            )
        )
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        cells = [
            text.ljust(width) if place > 4 else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
    if len(regions) > len(rows):
        print(f"… and {len(regions) - len(rows)} more; gpumask regions {shlex.quote(path)} --all")
