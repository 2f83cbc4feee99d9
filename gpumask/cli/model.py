"""gpumask model MODEL -o MASK, gpumask model MODEL --list"""

import argparse

from gpumask.cli import core_soft, options, terminal

FIELDS = ("select", "density", "radius", "dilation", "soft_edge", "edge", "style", "resolution", "invert")
# what --list has no use for; it is not given where it is None or False
OF_MASKS = (
    *(*FIELDS[1:], "core_soft", *core_soft.OPTIONS, "micelle", "lowpass"),
    *("like", "box", "voxel_size", "padding", "mode", "recipe", "force", "device"),
)
FEW = 6  # names of residues, or chains, in a row of the table


def fill(parser):
    parser.description = (
        "Make a soft mask from an atomic model (PDB or mmCIF, .gz and .bz2 too; extra: pip install 'gpumask[model]'): "
        "all voxels within --radius of an atom, then dilation and a soft edge as of create. Or its density as molmap "
        "of ChimeraX (--density 5A), or a table of what it holds (--list). Hydrogens count in densities only."
    )
    parser.epilog = (
        "WORDS: protein, nucleic, glycan (a sugar on protein, or on another glycan), detergent, lipid, ligand, ion, "
        "water; polymer, sugar, hydrogen, all; chain A,B; residue NAG,BMA or residue 10-20,35; atom CA; and, or, not, "
        "parentheses; side by side means and. Examples: gpumask model x.cif --list; gpumask model x.cif --like map.mrc "
        "--select 'protein or glycan' --soft-edge 17A -o mask.mrc; servalcat's: gpumask model x.cif --like map.mrc "
        "--select all --radius 3A --soft-edge 5A --style servalcat -o mask.mrc; gpumask model x.cif --density 16A "
        "--voxel-size 2 -o molmap.mrc."
    )
    parser.set_defaults(run=run)
    parser.add_argument("model", metavar="MODEL", help="atomic model, PDB or mmCIF")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("-o", "--output", metavar="MASK", help="mask or density to write (.mrc)")
    what.add_argument("--list", action="store_true", help="print what the model holds")
    parser.add_argument("--select", metavar="WORDS", help="which atoms (default 'not water', of --list all)")
    group = parser.add_argument_group("mask (lengths: 5px, 7A or a bare number of pixels)")
    group.add_argument("--radius", metavar="R", help="of an atom (default 3A)")
    group.add_argument("--dilate", dest="dilation", metavar="R", help="grow by this distance; negative erodes")
    group.add_argument("--soft-edge", metavar="W", help="width of the soft edge (default 12px, or 5 x resolution)")
    group.add_argument(
        "--edge", metavar="PROFILE", help="cosine (default), convolved, gaussian, quarter-cosine, linear, slepian[:NW]"
    )
    group.add_argument(
        "--style",
        metavar="STYLE",
        help="euclidean (default), relion, cryodrgn, as of create; servalcat: the edge is measured from the atoms",
    )
    group.add_argument("--resolution", metavar="RES", help="expected resolution; judges the edge and sets its default")
    group.add_argument("--invert", action=argparse.BooleanOptionalAction, help="1 - mask, last")
    core_soft.add(parser, "3 Å about each atom, dilated by 3A; of protein or nucleic")
    group = parser.add_argument_group("micelle")
    group.add_argument(
        "--micelle",
        metavar="T",
        help="of the low-passed map --like what is at or above this level (as of create) and not under the mask: "
        "MASK_outside.mrc, and the map under both, MASK_applied.mrc",
    )
    group.add_argument("--lowpass", metavar="RES", help="of that part (default 20A)")
    group = parser.add_argument_group("in place of a mask")
    group.add_argument("--density", metavar="RES", help="the density at this resolution, as molmap of ChimeraX")
    group = parser.add_argument_group("grid, files and device")
    group.add_argument("--like", metavar="REF", help="take box, voxel size and origin from this map")
    group.add_argument(
        "--voxel-size",
        metavar="X[,Y,Z]",
        help="Å; without --like and --box in a box around the atoms; with --like instead of the header's",
    )
    group.add_argument("--box", metavar="N[,N,N]", help="voxels, x,y,z, with the origin 0; with --voxel-size")
    group.add_argument("--padding", metavar="D", help="from the atoms to the faces of a box around them")
    group.add_argument("--mode", choices=("float32", "float16", "int8"), help="how to store (default float32)")
    group.add_argument("--recipe", metavar="FILE", help="a mask's JSON, or a recipe in JSON or TOML; flags override it")
    options.add_force(group)
    options.add_device(group)
    group.add_argument("--json", action="store_true", help="print one JSON document, that of MASK.json")


def run(arguments):
    from gpumask import job
    from gpumask.errors import UsageError
    from gpumask.models import ModelRecipe

    if arguments.list:
        useless = [name for name in OF_MASKS if getattr(arguments, name) not in (None, False)]
        if useless:
            raise UsageError(f"--list makes no mask: leave --{useless[0].replace('_', '-')} out")
        found = job.list_model(arguments.model, arguments.select)
        terminal.warn(found["warnings"])
        if arguments.json:
            terminal.document(found)
        else:
            _list(found)
        return
    fields, chosen = job.read_model(arguments.recipe) if arguments.recipe else ({}, {})
    given = {name: getattr(arguments, name) for name in FIELDS}
    fields |= {name: value for name, value in given.items() if value is not None}
    leaks = core_soft.leaks(arguments)
    if leaks is not None:
        fields = {"select": job.core_soft.SELECT, "dilation": job.core_soft.DILATION} | fields
    size = options.voxel_size(arguments.voxel_size)
    grid = {"like": arguments.like, "box": options.box(arguments.box), "padding": arguments.padding}
    if any(value is not None for value in grid.values()):  # another grid than the recipe's, voxel size and all
        chosen |= grid | {"voxel_size": None}
    chosen |= options.given(arguments, ("mode", "device")) | ({} if size is None else {"voxel_size": size})
    chosen["micelle"] = _micelle(arguments, chosen.get("micelle"))
    with terminal.Progress() as progress:
        made = job.model(
            arguments.model,
            arguments.output,
            ModelRecipe.from_dict(fields),
            recipe_path=arguments.recipe,
            overwrite=arguments.force,
            core_soft=leaks,
            progress=progress,
            **{name: value for name, value in chosen.items() if value is not None},
        )
    terminal.warn(made["warnings"])
    if arguments.json:
        terminal.document(made)
    else:
        _print(made)


def _micelle(arguments, of_recipe):
    """What is given, over what the recipe's file says."""
    from gpumask import job
    from gpumask.errors import UsageError

    threshold = arguments.micelle
    if threshold is None and of_recipe is not None:
        threshold = of_recipe.threshold
    if threshold is None:
        if arguments.lowpass is not None:
            raise UsageError("--lowpass is for the outside of the model: give its level with --micelle")
        return None
    lowpass = {} if of_recipe is None else {"lowpass": of_recipe.lowpass}
    return job.Micelle(threshold, **{**lowpass, **options.given(arguments, ("lowpass",))})


def _list(found):
    """A row for each kind, and one for each site that carries sugars."""
    rows = [("kind", "residues", "atoms", "kDa", "chains", "what")]
    for row in found["kinds"]:
        names = [f"{name} {count}" for name, count in row["names"].items()]
        chains = row["chains"]
        mass = f"{row['mass_kda']:.1f}"
        rows.append((row["kind"], str(row["residues"]), str(row["atoms"]), mass, _few(chains, ","), _few(names, ", ")))
    rows.append(("all", str(found["residues"]), str(found["atoms"]), f"{found['mass_kda']:.1f}", "", ""))
    _aligned(rows, "<>>><<")
    sites = [site for row in found["kinds"] for site in row.get("sites", ())]
    if sites:
        print(f"\n{_count(len(sites), 'site')} with glycans")
        _aligned([(site["site"], _sugars(site["sugars"])) for site in sites], "<<")
    if found["sugars"]:
        print(f"\n{_count(found['sugars'], 'sugar')} in all")


def _count(number, what):
    return f"{number} {what}{'s' * (number != 1)}"


def _few(parts, between):
    more = f"{between}… ({len(parts)})" if len(parts) > FEW else ""
    return between.join(parts[:FEW]) + more


def _sugars(counts):
    return " ".join(name if count == 1 else f"{name}×{count}" for name, count in counts.items())


def _aligned(rows, sides):
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{text:{side}{width}}" for text, side, width in zip(row, sides, widths, strict=True))
        print("  ".join(cells).rstrip())


def _print(made):
    from gpumask import units

    size, recipe = made["voxel_size_angstrom"], made["recipe"]
    zyx = size[::-1]
    atoms = sum(row["atoms"] for row in made["selected"])
    residues = ", ".join(f"{row['residues']} {row['kind']}" for row in made["selected"])
    rows = [
        ("selected", f"{recipe['select']}: {_count(atoms, 'atom')} (residues: {residues})"),
        ("box", f"{terminal.by(made['box'])} voxels of {terminal.voxel(size)}"),
        ("device", f"{made['device']} ({made['device_reason']})"),
    ]
    if recipe["density"] is not None:
        rows.append(("density", f"at {units.angstrom(recipe['density']):g} Å, as molmap of ChimeraX"))
    else:
        rows += [
            ("radius", units.both(made["radius_px"], zyx)),
            ("dilation", units.both(made["dilation_px"], zyx)),
            ("soft edge", f"{units.both(made['soft_edge_px'], zyx)}, {recipe['edge'] or 'cosine'}, {recipe['style']}"),
            ("verdict", terminal.verdict(made["equivalent_edge_px"], made["minimum_soft_edge_px"], size)),
            ("volume", f"{made['volume_angstrom3']:.0f} Å³ (sum of the mask values)"),
        ]
    if "micelle" in made:
        rows += _outside(made["micelle"])
    terminal.table([*rows, ("wrote", ", ".join(made["files"]))])
    if "core_soft" in made:
        print()
        core_soft.show(made["core_soft"], size)


def _outside(micelle):
    level = micelle["threshold"]
    told = (
        f"{micelle['volume_angstrom3']:.0f} Å³ at {level['value']:.6g} in the map at {micelle['lowpass_angstrom']:g} Å"
    )
    both = f"{micelle['particle_volume_angstrom3']:.0f} Å³ with the mask; {micelle['overlap_angstrom3']:.0f} Å³ shared"
    return [("outside", told), ("  particle", both)]
