"""gpumask shape SHAPE -o MASK"""

import argparse

from gpumask.cli import options, terminal

NAMES = ("sphere", "shell", "cylinder", "cuboid", "ellipsoid", "cone", "slab")
FIELDS = (
    *("shape", "radius", "inner_radius", "top_radius", "height", "inner_height", "thickness", "size", "radii", "axis"),
    *("turn", "centre", "soft_edge", "edge", "style", "resolution", "invert"),
)


def fill(parser):
    parser.description = (
        "Make a geometric mask with a soft edge at the exact distance from the shape: a sphere (--radius), a shell "
        "(--radius, --inner-radius), a cylinder (--radius, --height; with --inner-radius an open tube, with "
        "--inner-height too a closed can), a cuboid (--size), an ellipsoid (--radii), a cone (--radius, --height, "
        "--top-radius) or a slab (--thickness). MASK.json beside the mask says how it was made."
    )
    parser.epilog = (
        "Examples: gpumask shape sphere --radius 60A --like map.mrc -o sphere.mrc; RELION's --denovo: gpumask shape "
        "shell --inner-radius 20 --radius 35 --centre 4,-3,2centre --soft-edge 5 --box 100 --voxel-size 1.05 "
        "-o shell.mrc; its --helix --z_percentage 0.3: gpumask shape slab --thickness 30% --times mask.mrc -o cut.mrc. "
        "A list that begins with a minus needs an equals sign: --centre=-4,3,2."
    )
    parser.set_defaults(run=run)
    parser.add_argument("shape", metavar="SHAPE", nargs="?", choices=NAMES, help=", ".join(NAMES))
    parser.add_argument("-o", "--output", metavar="MASK", required=True, help="mask to write (.mrc)")
    group = parser.add_argument_group("lengths (5px, 7A or a bare number of pixels)")
    group.add_argument("--radius", metavar="R", help="outer radius; of a cone that of its lower end")
    group.add_argument("--inner-radius", metavar="R", help="of a shell, a tube or a can")
    group.add_argument("--top-radius", metavar="R", help="upper end of a cone (default: a point)")
    group.add_argument("--height", metavar="H", help="whole height; 30%% is that share of the box along z")
    group.add_argument("--inner-height", metavar="H", help="height of the cavity of a can")
    group.add_argument(
        "--thickness", metavar="T", help="whole thickness of a slab; 30%% is that share of the box along z"
    )
    group.add_argument("--size", metavar="X,Y,Z", help="edges of a cuboid; one length for a cube")
    group.add_argument("--radii", metavar="X,Y,Z", help="semi-axes of an ellipsoid")
    group = parser.add_argument_group("place")
    group.add_argument(
        "--centre",
        metavar="X,Y,Z[A]",
        help="px from the corner, Å with A, px from the box centre with centre: 4,-3,2centre (default: the box centre)",
    )
    group.add_argument("--axis", metavar="X,Y,Z", help="where the shape's own z axis points (default 0,0,1)")
    group.add_argument(
        "--turn", metavar="DEGREES", type=float, help="of a cuboid or ellipsoid about its own axis, first"
    )
    group = parser.add_argument_group("mask")
    group.add_argument("--soft-edge", metavar="W", help="width of the soft edge (default 12px, or 5 x resolution)")
    group.add_argument(
        "--edge", metavar="PROFILE", help="cosine (default), gaussian, quarter-cosine, linear, slepian[:NW]"
    )
    group.add_argument(
        "--style", metavar="STYLE", help="exact (default); ttmask: the edge is measured from the voxels of the shape"
    )
    group.add_argument("--resolution", metavar="RES", help="expected resolution; judges the edge and sets its default")
    group.add_argument("--invert", action=argparse.BooleanOptionalAction, help="1 - shape, last")
    group.add_argument("--times", metavar="MASK", help="multiply this mask by the shape")
    group.add_argument(
        "--recipe", metavar="FILE", help="a shape's JSON, or a recipe in JSON or TOML; flags override it"
    )
    group = parser.add_argument_group("grid, files and device")
    group.add_argument("--like", metavar="REF", help="take box, voxel size and origin from this map")
    group.add_argument("--box", metavar="N[,N,N]", help="voxels, x,y,z; with --voxel-size, instead of --like")
    group.add_argument("--voxel-size", metavar="X[,Y,Z]", help="Å; with --like instead of the header's")
    group.add_argument(
        "--mode",
        choices=("float32", "float16", "int8"),
        help="how to store: float32 (default), float16, int8 if binary",
    )
    options.add_force(group)
    options.add_device(group)
    group.add_argument("--json", action="store_true", help="print one JSON document, that of MASK.json")


def run(arguments):
    from gpumask import job
    from gpumask.shapes import ShapeRecipe

    fields, chosen = job.read_shape(arguments.recipe) if arguments.recipe else ({}, {})
    given = {name: getattr(arguments, name) for name in FIELDS}
    fields |= {name: value for name, value in given.items() if value is not None}
    size = options.voxel_size(arguments.voxel_size)
    grid = {"like": arguments.like, "box": options.box(arguments.box)}
    if any(value is not None for value in grid.values()):  # another grid than the recipe's, voxel size and all
        chosen |= grid | {"voxel_size": None}
    chosen |= options.given(arguments, ("times", "mode", "device")) | ({} if size is None else {"voxel_size": size})
    with terminal.Progress() as progress:
        made = job.shape(
            ShapeRecipe.from_dict(fields),
            arguments.output,
            recipe_path=arguments.recipe,
            overwrite=arguments.force,
            progress=progress,
            **{name: value for name, value in chosen.items() if value is not None},
        )
    terminal.warn(made["warnings"])
    if arguments.json:
        terminal.document(made)
    else:
        _print(made)


def _print(made):
    from gpumask import units

    size, recipe = made["voxel_size_angstrom"], made["recipe"]
    zyx = size[::-1]
    lengths = [
        (name.replace("_", " "), recipe[name])
        for name in FIELDS[1 : FIELDS.index("centre")]
        if recipe[name] is not None
    ]
    centre = made["centre"]
    corner, angstrom = (",".join(f"{part:.2f}" for part in centre[name]) for name in ("corner_px", "angstrom"))
    terminal.table(
        [
            ("shape", recipe["shape"]),
            *((name, _both(text, zyx, name)) for name, text in lengths),
            ("centre", f"{corner} px from the corner = {angstrom} Å in the header's frame"),
            ("box", f"{terminal.by(made['box'])} voxels of {terminal.voxel(size)}"),
            ("device", f"{made['device']} ({made['device_reason']})"),
            ("soft edge", f"{units.both(made['soft_edge_px'], zyx)}, {recipe['edge']}, style {recipe['style']}"),
            ("verdict", terminal.verdict(made["equivalent_edge_px"], made["minimum_soft_edge_px"], size)),
            ("volume", f"{made['volume_angstrom3']:.0f} Å³ (sum of the mask values)"),
            ("wrote", ", ".join(made["files"])),
        ]
    )


def _both(text, voxel_size, name):
    """A length of the recipe in px and Å; what is none as it is."""
    from gpumask import units

    if name in ("axis", "turn") or str(text).endswith("%"):
        return text
    return ", ".join(units.both(units.to_px(part, voxel_size), voxel_size) for part in text.split(","))
