"""gpumask fulcrum MASK"""

from gpumask.cli import options, terminal

NAMES = {"mask": "centre of mass of the mask", "box": "box centre", "interface": "interface", "at": "the point given"}


def fill(parser):
    parser.description = (
        "Print the point that a local refinement turns about: first as CryoSPARC takes it (px from the corner), then "
        "in Å of the header's frame (ChimeraX) and in px from the box centre (RELION)."
    )
    parser.epilog = "Example: gpumask fulcrum mask.mrc --map map.mrc --level 0.05"
    parser.set_defaults(run=run)
    parser.add_argument("mask", metavar="MASK", help="mask (MRC/CCP4, .gz and .bz2 too)")
    parser.add_argument(
        "--of", metavar="WHAT", help="mask (default), box, interface (default with --map): mask and rest of the map"
    )
    parser.add_argument("--map", metavar="MAP", help="map on the grid of the mask, for the interface")
    parser.add_argument("--level", metavar="T", help="what of the map is density: 0.05, 0.2max, 3sigma")
    parser.add_argument(
        "--at", metavar="X,Y,Z[A]", help="this point: px from the corner, Å with A, px from the box centre with centre"
    )
    options.add_reading(parser)
    options.add_device(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(arguments):
    from gpumask import job

    found = job.fulcrum(
        arguments.mask,
        map_path=arguments.map,
        voxel_size=options.voxel_size(arguments.voxel_size),
        **options.given(arguments, ("of", "at", "level", "nan_to", "device")),
    )
    terminal.warn(found["warnings"])
    if arguments.json:
        terminal.document(found)
        return
    print(found["text"])
    name = NAMES[found["of"]]
    if found["of"] == "interface":
        name += f" at {found['level']:.6g}: {found['interface_voxels']} voxels"
    terminal.table(
        [
            ("of", name),
            ("CryoSPARC", f"{found['text']} px from the corner (x, y, z)"),
            ("ChimeraX", f"{_triple(found['angstrom'])} Å"),
            ("RELION", f"{_triple(found['centre_px'])} px from the box centre"),
            ("mask", f"{found['value']:.3g} at this point"),
        ]
    )


def _triple(numbers):
    return ",".join(f"{round(n, 1) + 0.0:.1f}" for n in numbers)
