"""gpumask resample FILE --like REF -o OUT"""

from gpumask.cli import options, terminal


def fill(parser):
    parser.description = (
        "Lay a map or mask on the grid of another. A crop on the same lattice is pasted back bit for bit; otherwise "
        "values are interpolated, 0 outside FILE. Masks (values in [0, 1] that begin at 0 or end at 1) stay in [0, 1]. "
        "OUT.json beside OUT says what was done."
    )
    parser.epilog = "Example: gpumask resample head_segment.mrc --like map.mrc -o head_base.mrc"
    parser.set_defaults(run=run)
    parser.add_argument("file", metavar="FILE", help="map or mask (MRC/CCP4, .gz and .bz2 too)")
    parser.add_argument("--like", metavar="REF", required=True, help="the map whose grid it gets")
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="file to write (.mrc)")
    parser.add_argument(
        "--method",
        metavar="METHOD",
        help="auto (default: exact where possible, else trilinear), exact, trilinear (as ChimeraX volume resample), "
        "fourier",
    )
    group = parser.add_argument_group("files and device")
    add_mode(group)
    options.add_reading(group)
    options.add_device(group)
    options.add_force(group)
    group.add_argument("--json", action="store_true", help="print one JSON document, that of OUT.json")


def add_mode(group):
    """How the output is stored."""
    group.add_argument(
        "--mode", choices=("float32", "float16", "int8"), help="float32 (default), float16, int8 if binary"
    )


def run(arguments):
    from gpumask import job

    with terminal.Progress() as progress:
        done = job.resample(
            arguments.file,
            arguments.output,
            like=arguments.like,
            voxel_size=options.voxel_size(arguments.voxel_size),
            overwrite=arguments.force,
            progress=progress,
            **options.given(arguments, ("method", "mode", "nan_to", "device")),
        )
    terminal.warn(done["warnings"])
    if arguments.json:
        terminal.document(done)
    else:
        show(done, [("like", done["like"]["path"]), ("method", done["method"])])


def show(done, rows):
    """The lines for people of a file laid on another grid."""
    terminal.table(
        [
            ("file", f"{done['input']['path']}: {_grid(done['before'])}"),
            ("device", f"{done['device']} ({done['device_reason']})"),
            *rows,
            ("result", _grid(done)),
            ("wrote", ", ".join(done["files"])),
        ]
    )


def _grid(place):
    corner = ",".join(f"{n + 0.0:.5g}" for n in place["origin_angstrom"])
    return f"{terminal.by(place['box'])} voxels of {terminal.voxel(place['voxel_size_angstrom'])} from {corner} Å"
