"""gpumask inspect FILE"""

from gpumask.cli import options, terminal

JUDGED = ("equivalent_edge_px", "minimum_soft_edge_px", "voxel_size_angstrom", "power_db", "resolution")


def fill(parser):
    parser.description = "Print the header and statistics of a map; of a mask also volume, centre, edge, islands."
    parser.set_defaults(run=run)
    parser.add_argument("file", metavar="FILE", help="map or mask (MRC/CCP4, .gz and .bz2 too)")
    parser.add_argument("--resolution", metavar="RES", help="expected resolution, 3.5A; judges the edge of a mask")
    options.add_reading(parser)
    options.add_device(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(arguments):
    from gpumask import job

    found = job.inspect(
        arguments.file,
        resolution=arguments.resolution,
        device=arguments.device,
        voxel_size=options.voxel_size(arguments.voxel_size),
        nan_to=arguments.nan_to,
    )
    terminal.warn(found["warnings"])
    if arguments.json:
        terminal.document(found)
        return
    size = found["voxel_size_angstrom"]
    rows = [
        ("file", found["path"]),
        ("kind", "mask" if found["is_mask"] else "map"),
        ("box", f"{terminal.by(found['box'])} voxels of {terminal.voxel(size)} (x, y, z)"),
        ("origin", f"{_triple(found['origin_angstrom'])} Å, NSTART {_triple(found['nstart'], '.0f')} (x, y, z)"),
        ("values", f"{found['min']:.6g} to {found['max']:.6g}, mean {found['mean']:.6g}, "
                   f"s.d. {found['standard_deviation']:.6g}, mode {found['mode']}"),
    ]  # fmt: skip
    if found["is_mask"]:
        low, high = found["bounding_box_px"]
        rows += [
            ("volume", f"{found['volume_angstrom3']:.0f} Å³ = {found['mass_kda']:.0f} kDa of protein"),
            ("centre", f"{_triple(found['centre_px'])} px from the corner = {_triple(found['centre_angstrom'])} Å"),
            ("bounds", f"{_triple(low, '.0f')} to {_triple(high, '.0f')} px"),
            ("islands", found["components"]),
            ("faces", ", ".join(found["faces_touched"]) or "none touched"),
            ("verdict", terminal.verdict(*(found[name] for name in JUDGED))),
        ]
    rows += [("label", text) for text in found["labels"]]
    terminal.table(rows)


def _triple(numbers, form=".1f"):
    return ",".join(format(n, form) for n in numbers)
