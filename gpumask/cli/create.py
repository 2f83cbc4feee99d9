"""gpumask create MAP -o MASK"""

import argparse

from gpumask.cli import core_soft, terminal

CLEAN_UP = (  # in the order of the steps
    "clip_radius",
    "clip_centre",
    "hysteresis",
    "opening",
    "dust",
    "seed",
    "largest",
    "closing",
    "fill_holes",
)
COMPILING = 1.5  # s: loading takes a quarter of a second, compiling a few


def fill(parser):
    parser.description = (
        "Filter, threshold, clean up, dilate or erode, add a soft edge, invert: in this order, each step "
        "optional but the threshold. MASK.json beside the mask says how it was made."
    )
    parser.epilog = (
        "Example: gpumask create head_base.mrc --like map.mrc -o head_mask.mrc --threshold 0.05 --dilate 5px "
        "--soft-edge 17px"
    )
    parser.set_defaults(run=run)
    parser.add_argument("map", metavar="MAP", help="map to start from (MRC/CCP4, .gz and .bz2 too)")
    parser.add_argument("-o", "--output", metavar="MASK", required=True, help="mask to write (.mrc)")
    group = parser.add_argument_group("filter before the threshold (one at the most)")
    group.add_argument("--lowpass", metavar="RES", help="raised cosine over 2 shells, as RELION: 15A")
    group.add_argument("--butterworth", metavar="RES[:ORDER]", help="Butterworth, order 8 unless given: 15A:8")
    group.add_argument("--rect", metavar="RES", help="rectangular: 15A (it rings)")
    group.add_argument("--gaussian", metavar="SD", help="Gaussian of this standard deviation, as ChimeraX sDev: 2A")
    group = parser.add_argument_group("base")
    group.add_argument(
        "--threshold",
        metavar="T",
        help="0.05, 0.2max (of the maximum), 3sigma (mean + 3 s.d.), otsu, percentile:99, volume:79000 (Å³), mass:64 "
        "(kDa at 0.81 Da/Å³), fdr:0.01, or auto",
    )
    group.add_argument("--absolute-value", action=argparse.BooleanOptionalAction, help="threshold |map|")
    group.add_argument("--clip-radius", metavar="R", help="keep what lies within this distance of a centre: 60A")
    group.add_argument("--clip-centre", metavar="X,Y,Z", help="that centre, as for --seed (default: the box centre)")
    group.add_argument("--hysteresis", metavar="T", help="keep components that reach this second, higher level")
    group.add_argument("--opening", metavar="R", help="cut bridges and drop specks thinner than a ball of this radius")
    group.add_argument("--dust", metavar="VOLUME", type=float, help="drop components below this many Å³")
    group.add_argument(
        "--seed",
        metavar="X,Y,Z",
        help="keep the component here: 178,179,181px from the corner, 249.5,250,253A or 4,-3,2centre",
    )
    group.add_argument(
        "--largest", metavar="N", type=int, help="keep the N largest components (1 with auto, if no --dust or --seed)"
    )
    group.add_argument("--closing", metavar="R", help="close gaps that a ball of this radius does not fit into")
    group.add_argument("--fill-holes", action=argparse.BooleanOptionalAction, help="fill enclosed background")
    group = parser.add_argument_group("mask")
    group.add_argument("--dilate", metavar="R", help="grow by a length: 5px or 7A; --dilate=-2px erodes")
    group.add_argument("--erode", metavar="R", help="shrink by a length: 2px")
    group.add_argument("--soft-edge", metavar="W", help="width of the soft edge (default 12px, or 5 x resolution)")
    group.add_argument("--near", metavar="D", help="1 up to this distance (with --far; CryoSPARC's dynamic masks)")
    group.add_argument("--far", metavar="D", help="0 from this distance on")
    group.add_argument(
        "--edge",
        metavar="PROFILE",
        help="cosine (default), convolved, gaussian, quarter-cosine, linear, slepian[:NW]",
    )
    group.add_argument("--style", metavar="STYLE", help="euclidean (default), relion, cryodrgn")
    group.add_argument("--resolution", metavar="RES", help="expected resolution; judges the edge and sets its default")
    group.add_argument("--invert", action=argparse.BooleanOptionalAction, help="1 - mask, last")
    group = parser.add_argument_group("recipe")
    group.add_argument(
        "--preset", metavar="NAME", help="cryosparc-v4, cryosparc-v5:RES, subtraction, glycoprotein; flags override it"
    )
    group.add_argument("--recipe", metavar="FILE", help="a mask's JSON, or a recipe in JSON or TOML; flags override it")
    core_soft.add(parser, "the threshold's, dilated by 6px")
    group = parser.add_argument_group("files and device")
    group.add_argument("--like", metavar="REF", help="put the mask on the grid of this map (same lattice)")
    group.add_argument("--voxel-size", metavar="X[,Y,Z]", help="Å; instead of the header's")
    group.add_argument("--nan-to", metavar="VALUE", type=float, help="replace NaN and Inf, which are refused otherwise")
    group.add_argument(
        "--mode",
        choices=("float32", "float16", "int8"),
        help="how to store: float32 (default), float16, int8 if binary",
    )
    group.add_argument("--force", action="store_true", help="overwrite existing files")
    group.add_argument("--device", metavar="DEVICE", help="auto (default), cpu, cuda, cuda:N")
    group.add_argument("--memory", metavar="SIZE", help="stay within 300MB, 4GB …; larger boxes are made in slabs")
    group.add_argument("--plot", action="store_true", help="draw three slices to MASK.png (extra: plot)")
    group.add_argument("--json", action="store_true", help="print one JSON document")


def run(arguments):
    from gpumask import job, pipeline
    from gpumask.cli import options as read
    from gpumask.errors import UsageError

    if arguments.dilate is not None and arguments.erode is not None:
        raise UsageError("give --dilate or --erode, not both")
    dilation = arguments.dilate
    if arguments.erode is not None:
        if arguments.erode.strip().startswith("-"):
            raise UsageError(f"--erode must be >= 0, got {arguments.erode}; --dilate grows")
        dilation = "-" + arguments.erode.strip().lstrip("+")
    fields, options = job.read_recipe(arguments.recipe) if arguments.recipe else (None, {})
    leaks = core_soft.leaks(arguments)
    grown = {"dilation": dilation, "near": arguments.near}
    if leaks is not None:
        given = {name: value for name, value in grown.items() if value is not None}
        grown |= job.core_soft.defaults(arguments.preset, {**(fields or {}), **given})
    given = {
        "like": arguments.like,
        "mode": arguments.mode,
        "nan_to": arguments.nan_to,
        "voxel_size": read.voxel_size(arguments.voxel_size),
    }
    options |= {name: value for name, value in given.items() if value is not None}
    recipe = pipeline.build_recipe(
        fields,
        arguments.preset,
        **grown,
        **{
            name: getattr(arguments, name)
            for name in (
                *("threshold", "lowpass", "butterworth", "rect", "gaussian", "absolute_value"),
                *CLEAN_UP,
                *("soft_edge", "far", "edge", "style", "resolution", "invert"),
            )
        },
    )
    with terminal.Progress() as progress:
        made = job.create(
            arguments.map,
            arguments.output,
            recipe,
            like=options.get("like"),
            recipe_path=arguments.recipe,
            device=arguments.device,
            mode=options.get("mode") or "float32",
            overwrite=arguments.force,
            voxel_size=options.get("voxel_size"),
            nan_to=options.get("nan_to"),
            plot=arguments.plot,
            memory=read.memory(arguments.memory),
            core_soft=leaks,
            progress=progress,
        )
    terminal.warn(made["warnings"])
    if arguments.json:
        terminal.document(made)
    else:
        _print(made)


def _print(made):
    from gpumask import units

    size = made["voxel_size_angstrom"]
    zyx = size[::-1]
    recipe = made["recipe"]
    edge = recipe["edge"] or ("quarter-cosine" if recipe["style"] == "cryodrgn" else "cosine")
    seconds = made["seconds"]
    steps = ", ".join(f"{name} {value:.2f}" for name, value in seconds.items())
    if seconds["load"] > COMPILING:
        steps += "; load includes compiling, the first time on a machine"
    source = made["soft_edge_source"]
    if source == "resolution":
        asked = f"{recipe['resolution'].removesuffix('A')} Å"
        source = f"chosen for {asked}: 5 x resolution = {units.both(made['minimum_soft_edge_px'], zyx)}, rounded up"
    chosen = {"recipe": "", "default": "; the default, without --soft-edge or --resolution"}.get(source, f"; {source}")
    filtered = [(name, recipe[name]) for name in ("lowpass", "butterworth", "rect", "gaussian") if recipe[name]]
    threshold = made["threshold"]
    level = f"{threshold['value']:.6g}" + ("" if threshold["method"] == "value" else f" = {recipe['threshold']}")
    cleaned = [
        name.replace("_", " ") + ("" if recipe[name] is True else f" {recipe[name]}")
        for name in CLEAN_UP
        if recipe[name] is not None and recipe[name] is not False
    ]
    base = units.volume_angstrom3(made["base_voxels"], zyx)
    enclosed = f"{base:.0f} Å³ = {units.mass_kda(base):.0f} kDa of protein"
    terminal.table(
        [
            ("map", f"{made['input']['path']}: {terminal.by(made['box'])} voxels of {terminal.voxel(size)}"),
            ("device", f"{made['device']} ({made['device_reason']})"),
            *filtered,
            ("threshold", level if cleaned else f"{level}: {enclosed}"),
            *([] if threshold["method"] == "value" else [("why", threshold["why"])]),
            *([("clean-up", f"{', '.join(cleaned)}: {enclosed}")] if cleaned else []),
            ("dilation", units.both(made["dilation_px"], zyx)),
            ("soft edge", f"{units.both(made['soft_edge_px'], zyx)}, {edge}, style {recipe['style']}{chosen}"),
            ("verdict", terminal.verdict(made["equivalent_edge_px"], made["minimum_soft_edge_px"], size)),
            ("volume", f"{made['volume_angstrom3']:.0f} Å³ (sum of the mask values)"),
            ("time", f"{sum(seconds.values()):.2f} s ({steps})"),
            ("wrote", ", ".join(made["files"])),
        ]
    )
    if "core_soft" in made:
        print()
        core_soft.show(made["core_soft"], size)
