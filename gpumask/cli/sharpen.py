"""gpumask sharpen HALF1 [HALF2] -o MAP"""

from gpumask.cli import options, terminal


def fill(parser):
    parser.description = (
        "Mean of the half maps: divided by the MTF, weighted by the FSC, sharpened by a B-factor (fitted to the "
        "Guinier plot, or given) and low-passed, in this order. MAP.json beside the map says how it was made, "
        "MAP_guinier.csv is the table of the plot, MAP_masked.mrc the map times the mask."
    )
    parser.epilog = "Example: gpumask sharpen run_half1_class001_unfil.mrc --mask mask.mrc -o sharp.mrc"
    parser.set_defaults(run=run)
    options.add_half_maps(parser)
    parser.add_argument("-o", "--output", metavar="MAP", required=True, help="map to write (.mrc)")
    group = parser.add_argument_group("sharpening")
    group.add_argument("--b-factor", metavar="B", help="auto (default: fitted), or Å², such as -80: negative sharpens")
    group.add_argument("--low", metavar="RES", help="where the fit begins (default 10A)")
    group.add_argument("--high", metavar="RES", help="where it ends (default: the resolution)")
    group.add_argument("--mtf", metavar="FILE", help="the detector's MTF: STAR, or two columns (1/px, value)")
    group.add_argument("--mtf-voxel-size", metavar="A", type=float, help="its pixel (default: the map's voxel size)")
    group.add_argument("--lowpass", metavar="RES", help="default: the resolution; none: no low-pass")
    group.add_argument("--no-weighting", action="store_true", help="do not weight by the FSC")
    group = parser.add_argument_group("the FSC")
    options.add_correlation(group)
    group = parser.add_argument_group("files and device")
    group.add_argument("--star", action="store_true", help="also write MAP.star, as RELION's postprocess.star")
    group.add_argument("--plot", action="store_true", help="also draw the Guinier plot to MAP.png (extra: plot)")
    options.add_reading(group)
    options.add_device(group)
    options.add_force(group)
    group.add_argument("--json", action="store_true", help="print one JSON document, that of MAP.json")


def run(arguments):
    from gpumask import job

    chosen = options.given(arguments, ("low", "high", "lowpass"))
    if arguments.lowpass == "none":
        chosen["lowpass"] = None
    with terminal.Progress() as progress:
        done = job.sharpen(
            arguments.half1,
            arguments.half2,
            output=arguments.output,
            b_factor=_b_factor(arguments.b_factor),
            weight=not arguments.no_weighting,
            as_star=arguments.star,
            plot=arguments.plot,
            voxel_size=options.voxel_size(arguments.voxel_size),
            overwrite=arguments.force,
            progress=progress,
            **chosen,
            **options.given(arguments, (*options.CORRELATION, "mask", "mtf", "mtf_voxel_size", "nan_to", "device")),
        )
    terminal.warn(done["warnings"])
    terminal.flags(done["flags"])
    if arguments.json:
        terminal.document(done)
    else:
        _print(done)


def _b_factor(text):
    """A number of Å², or None for a fitted one."""
    from gpumask.errors import UsageError

    if text in (None, "auto"):
        return None
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--b-factor must be auto or a number of Å², such as -80, got {text!r}") from None


def _print(done):
    fit, chosen = done["fit"], done["options"]
    reached = terminal.resolution(done["resolution"], done["judged"], "mask" in done["inputs"])
    halves = ", ".join(done["inputs"][name]["path"] for name in ("half1", "half2"))
    size = terminal.voxel(done["voxel_size_angstrom"])
    rows = [
        ("half maps", f"{halves}: {terminal.by(done['box'])} voxels of {size}"),
        ("device", f"{done['device']} ({done['device_reason']})"),
        ("resolution", f"{reached}, style {chosen['style']}"),
        ("weights", "sqrt(2·FSC/(1 + FSC))" if chosen["weight"] else "none"),
        ("B-factor", f"{done['b_factor']:.1f} Å² ({'given' if fit is None else 'fitted'})"),
    ]
    if fit:
        correlation = "undefined" if fit["correlation"] is None else f"{fit['correlation']:.3f}"
        rows.append(
            ("  fit", f"{fit['shells']} shells, {fit['low']:.3g} to {fit['high']:.3g} Å, correlation {correlation}")
        )
    rows += [
        ("low-pass", "none" if done["lowpass"] is None else f"{done['lowpass']:.2f} Å"),
        ("wrote", ", ".join(done["files"])),
    ]
    terminal.table(rows)
