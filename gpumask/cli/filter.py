"""gpumask filter MAP -o OUT"""

from gpumask.cli import options, terminal

FILTERS = ("highpass", "lowpass", "bandpass", "butterworth", "rect", "bfactor", "gaussian")


def fill(parser):
    parser.description = (
        "Filter a map: one filter or several in one pass. Those of the transform are multiplied, so that their order "
        "makes no difference; the Gaussian, which takes the outside of the box for zero, comes last. Voxel size and "
        "origin stay; OUT.json beside the map says what was done."
    )
    parser.epilog = (
        "Example: gpumask filter map.mrc -o smooth.mrc --highpass 200A --lowpass 15A. A Gaussian of standard deviation "
        "s is a B-factor of 79 x s^2 (8 x pi^2 x s^2), but for the faces of the box and for frequencies beyond Nyquist."
    )
    parser.set_defaults(run=run)
    parser.add_argument("map", metavar="MAP", help="map to filter (MRC/CCP4, .gz and .bz2 too)")
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="map to write (.mrc)")
    group = parser.add_argument_group("filters")
    group.add_argument("--lowpass", metavar="RES", help="raised cosine over 2 shells, as RELION: 15A")
    group.add_argument("--highpass", metavar="RES", help="one minus that, as RELION: 80A")
    group.add_argument("--bandpass", metavar="LOW:HIGH", help="both: 80A:15A")
    group.add_argument("--butterworth", metavar="RES[:ORDER]", help="Butterworth low-pass, order 8 unless given: 15A:8")
    group.add_argument("--rect", metavar="RES", help="rectangular low-pass: 15A (it rings)")
    group.add_argument(
        "--bfactor",
        "--b-factor",
        metavar="B",
        type=float,
        help="Å²: -100 sharpens, 100 blurs; 0 beyond Nyquist, as RELION",
    )
    group.add_argument("--gaussian", metavar="SD", help="Gaussian of this standard deviation, as ChimeraX sDev: 2A")
    group = parser.add_argument_group("files and device")
    options.add_reading(group)
    options.add_device(group)
    options.add_force(group)
    group.add_argument("--mode", choices=("float32", "float16"), help="how to store: float32 (default), float16")
    group.add_argument("--json", action="store_true", help="print one JSON document, that of OUT.json")


def run(arguments):
    from gpumask import job

    with terminal.Progress() as progress:
        done = job.filter(
            arguments.map,
            arguments.output,
            overwrite=arguments.force,
            voxel_size=options.voxel_size(arguments.voxel_size),
            progress=progress,
            **{name: getattr(arguments, name) for name in FILTERS},
            **options.given(arguments, ("mode", "device")),
            nan_to=arguments.nan_to,
        )
    terminal.warn(done["warnings"])
    if arguments.json:
        terminal.document(done)
        return
    size, found = done["voxel_size_angstrom"], done["statistics"]
    terminal.table(
        [
            ("map", f"{done['input']['path']}: {terminal.by(done['box'])} voxels of {terminal.voxel(size)}"),
            ("device", f"{done['device']} ({done['device_reason']})"),
            *((name, f"{text:g} Å²" if name == "bfactor" else text) for name, text in done["filters"].items()),
            (
                "values",
                f"{found['min']:.6g} to {found['max']:.6g}, standard deviation {found['standard_deviation']:.6g}",
            ),
            ("wrote", ", ".join(done["files"])),
        ]
    )
