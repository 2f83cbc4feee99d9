"""gpumask compare A B"""

from gpumask.cli import options, terminal


def fill(parser):
    parser.description = (
        "Say whether two files are on one grid (box, voxel size, place) and, if not, what differs and which command "
        "mends it; and how their values differ. Exit code 0: one grid; 1: not."
    )
    parser.epilog = "Example: gpumask compare map.mrc mask.mrc"
    parser.set_defaults(run=run)
    parser.add_argument("file", metavar="A", help="the reference (MRC/CCP4, .gz and .bz2 too)")
    parser.add_argument("other", metavar="B", help="what is compared with it")
    parser.add_argument(
        "--tolerance", metavar="T", type=float, help="exit 1 also where values differ by more than this (0: at all)"
    )
    options.add_reading(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(arguments):
    from gpumask import job

    found = job.compare(
        arguments.file,
        arguments.other,
        voxel_size=options.voxel_size(arguments.voxel_size),
        **options.given(arguments, ("tolerance", "nan_to")),
    )
    if arguments.json:
        terminal.document(found)
    else:
        _print(found)
    return 0 if found["same"] else 1


def _print(found):
    if found["same_grid"]:
        where = f"{terminal.by(found['box'][0])} voxels of {terminal.voxel(found['voxel_size_angstrom'][0])}"
        rows = [("grid", f"one grid: {where}")]
    else:
        rows = [("grid", "not one grid")]
    rows += [("differs", text) for text in found["differences"]]
    rows += [("note", text) for text in found["notes"]]
    for way in found["mend"]:
        rows += [("mend", way["command"]), ("", f"if {way['when']}")]
    rows.append(("values", _values(found)))
    terminal.table(rows)


def _values(found):
    if found["max_difference"] is None:
        return "not compared: the boxes differ"
    if found["max_difference"] == 0:
        return "identical"
    correlation, dice = found["correlation"], found["dice"]
    text = f"differ by up to {found['max_difference']:.4g}, r.m.s. {found['rms_difference']:.4g}"
    text += "" if correlation is None else f", correlation {correlation:.4f}"
    return text + ("" if dice is None else f", Dice {dice:.4f} at 0.5")
