"""gpumask combine FILE… -o MASK"""

from gpumask.cli import options, terminal

OPERATIONS = {
    "and": "in all of them (soft: the smallest value)",
    "or": "in any of them (soft: the largest value)",
    "and-not": "in the first and in none of the others",
    "or-not": "in the first, or outside one of the others",
    "xor": "in an odd number of them",
    "complement": "what the others leave of the first; of soft masks, what with them adds up to it",
    "partition": "one mask for each body (MASK_1.mrc, …) that together are the mask of the particle",
    "subtraction": "FILES are a particle and what is kept of it: a mask of all the rest, not dilated",
}


def fill(parser):
    parser.description = (
        "Combine bases (with --threshold) or soft masks that lie on one grid; share a particle out among bodies; "
        "symmetrise; lay the mask on a map. In this order: combine, symmetrise, dilate or erode, soft edge, "
        "asymmetric unit, invert, weight outside. MASK.json beside the mask says how it was made."
    )
    parser.epilog = (
        "Example: gpumask combine map.mrc head_base.mrc --subtraction --threshold 0.05 --kept head_mask.mrc "
        "--resolution 3.5A -o rest_mask.mrc"
    )
    parser.set_defaults(run=run)
    parser.add_argument("files", metavar="FILE", nargs="+", help="map or mask (MRC/CCP4, .gz and .bz2 too)")
    parser.add_argument("-o", "--output", metavar="MASK", help="mask to write (.mrc)")
    group = parser.add_argument_group("operation").add_mutually_exclusive_group()
    for name, purpose in OPERATIONS.items():
        group.add_argument(f"--{name}", dest="operation", action="store_const", const=name, help=purpose)
    group = parser.add_argument_group("bases")
    group.add_argument(
        "--threshold", metavar="T[,T…]", help="as of create; one for all files, or one each (that of --particle last)"
    )
    group.add_argument("--soft", metavar="RULE", help="without a threshold: extremes (min, max; default) or product")
    group.add_argument("--particle", metavar="FILE", help="partition: base or mask of the whole particle")
    group.add_argument("--rest", action="store_true", help="partition: what no file has is one more body")
    group.add_argument("--kept", metavar="MASK", help="subtraction: mask of the kept part, to tell the overlap with")
    group = parser.add_argument_group("mask (of bases)")
    group.add_argument(
        "--dilate", dest="dilation", metavar="R", help="grow by a length: 5px or 7A; --dilate=-2px erodes"
    )
    group.add_argument("--soft-edge", metavar="W", help="width of the soft edge (default 12px, or 5 x resolution)")
    group.add_argument("--edge", metavar="PROFILE", help="as of create (default cosine)")
    group.add_argument("--style", metavar="STYLE", help="euclidean (default); relion: v > t, as relion_mask_create")
    group.add_argument("--resolution", metavar="RES", help="expected resolution; judges the edge and sets its default")
    group.add_argument("--interface", metavar="W", help="width of the blend between bodies (default: the soft edge)")
    group.add_argument("--invert", action="store_true", help="1 - mask")
    group.add_argument("--outside", metavar="WEIGHT", type=float, help="fall to this value instead of 0")
    group = parser.add_argument_group("symmetry about the box centre (RELION's axes)")
    group.add_argument("--symmetry", metavar="GROUP", help="C4, D2, T, O, I (= I2), I1 … I4")
    group.add_argument("--symmetrise", metavar="HOW", help="max of the copies (default), or their mean")
    group.add_argument("--test", action="store_true", help="only tell whether the mask has the symmetry; write nothing")
    group.add_argument(
        "--unit",
        metavar="X,Y,Z",
        help="keep one asymmetric unit, about this direction from the box centre, or auto (--unit=-1,0,0)",
    )
    group = parser.add_argument_group("map")
    group.add_argument("--apply", metavar="MAP", help="also write MASK_applied.mrc, the map under the mask")
    group.add_argument("--fill", metavar="WITH", help="its background: zero (default), mean, noise, lowpass:20A")
    group.add_argument("--seed", metavar="N", type=int, help="of --fill noise (default 0)")
    group.add_argument(
        "--lowpass-mask", metavar="L", help="add the map under this mask, low-passed (a micelle, glycans)"
    )
    group.add_argument("--lowpass", metavar="RES", help="to this resolution")
    group = parser.add_argument_group("files and device")
    options.add_reading(group)
    group.add_argument(
        "--mode",
        choices=("float32", "float16", "int8"),
        help="how to store: float32 (default), float16, int8 if binary",
    )
    options.add_force(group)
    options.add_device(group)
    group.add_argument("--json", action="store_true", help="print one JSON document")


PLAN = (
    *("operation", "threshold", "soft", "rest", "dilation", "soft_edge", "edge", "style", "resolution", "interface"),
    *("symmetry", "symmetrise", "unit", "invert", "outside"),
)


def run(arguments):
    from gpumask import job

    fill, _, fill_lowpass = (arguments.fill or "zero").partition(":")
    with terminal.Progress() as progress:
        done = job.combine(
            arguments.files,
            arguments.output,
            job.Combination(**options.given(arguments, PLAN)),
            fill=fill,
            fill_lowpass=fill_lowpass or None,
            low_mask=arguments.lowpass_mask,
            low_resolution=arguments.lowpass,
            test=arguments.test,
            voxel_size=options.voxel_size(arguments.voxel_size),
            overwrite=arguments.force,
            progress=progress,
            **options.given(arguments, ("particle", "kept", "apply", "seed", "device", "mode", "nan_to")),
        )
    terminal.warn(done["warnings"])
    if arguments.json:
        terminal.document(done)
    else:
        _print(done)


def _print(done):
    from gpumask import units

    size, plan = done["voxel_size_angstrom"], done["recipe"]
    zyx = size[::-1]
    names = ", ".join(one["path"] for one in done["inputs"])
    rows = [
        ("files", f"{names}: {terminal.by(done['box'])} voxels of {terminal.voxel(size)}"),
        ("device", f"{done['device']} ({done['device_reason']})"),
        ("operation", plan["operation"] or "none"),
    ]
    for one in done["inputs"]:
        if one.get("level") is not None:
            rows.append(("  base", f"{one['path']} at {one['level']:.6g}"))
    if "symmetry" in done:
        rows.append(("symmetry", done["symmetry"]["answer"]))
        if done["masks"]:
            count = done["symmetry"]["asymmetric_units"]
            rows.append(("  n_asym", f"{count} (spectrum and fsc: --asymmetric-units {count})"))
    if "interface_px" in done:
        rows.append(("interface", units.both(done["interface_px"], zyx)))
    for one in done["masks"]:
        rows.append(("mask", one["output"]))
        if one["soft_edge_px"] is not None:
            rows.append(("  dilation", units.both(one["dilation_px"], zyx)))
            rows.append(("  soft edge", f"{units.both(one['soft_edge_px'], zyx)}, style {plan['style']}"))
        rows.append(("  verdict", terminal.verdict(one["equivalent_edge_px"], one["minimum_soft_edge_px"], size)))
        rows.append(("  volume", f"{one['volume_angstrom3']:.0f} Å³ (sum of the mask values)"))
    if "overlap" in done:
        shared = done["overlap"]
        rows.append(
            (
                "overlap",
                f"{shared['volume_angstrom3']:.0f} Å³ with {shared['with']}: {shared['percent_of_kept']:.1f} % of it, "
                f"{shared['percent_of_subtracted']:.1f} % of the mask",
            )
        )
    if done["files"]:
        rows.append(("wrote", ", ".join(done["files"])))
    terminal.table(rows)
