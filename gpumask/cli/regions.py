"""gpumask regions FILE"""

import shlex

from gpumask.cli import options, terminal
from gpumask.cli.segment import ROWS, counted, protein, show, summary

VERBS = {
    "group": "join them into one region",
    "ungroup": "put their members in their place; nothing selected: take back a step of smoothing",
    "hide": "leave them out of exports unless selected, hatch them in figures",
    "show": "show them again",
    "only": "show them and hide all others",
    "delete": "remove them",
}


def fill(parser):
    parser.description = (
        "List, change and export the regions in a file that gpumask segment made. Steps are done in the order of this "
        "list, each optional; without one the regions are listed. Every change can be undone, also in a later call: "
        "the file keeps them all. WORDS name regions: all, none, visible, hidden, selected; 3,5,7-9; "
        "sphere:x,y,zA:30A (the centre also in px from the corner, or from the box centre with centre); "
        "box:x,y,z:x,y,z; neighbours (of the selection), neighbours:3,5; border, border:5px (within 3 px of a face of "
        "the box); largest:3; mask:FILE; model:FILE[:RADIUS][:ATOMS], such as model:head.cif:5A:protein."
    )
    parser.epilog = (
        "Example: gpumask regions map.regions.json --select sphere:250,250,253A:40A --only --export density "
        "-o head_base.mrc"
    )
    parser.set_defaults(run=run)
    parser.add_argument("file", metavar="FILE", help="NAME.regions.json, its label map beside it")
    group = parser.add_argument_group("history")
    group.add_argument("--undo", metavar="N", nargs="?", type=int, const=1, help="take back the last N changes (1)")
    group.add_argument("--redo", metavar="N", nargs="?", type=int, const=1, help="do N undone changes again (1)")
    group = parser.add_argument_group("selection")
    group.add_argument("--select", metavar="WORDS", action="append", help="select these; may be given several times")
    group.add_argument(
        "--share",
        metavar="S",
        type=float,
        help="of a region's voxels that a sphere, box, mask or model must hold (0.5)",
    )
    adding = group.add_mutually_exclusive_group()
    adding.add_argument("--add", action="store_true", help="add them to the selection")
    adding.add_argument("--remove", action="store_true", help="take them from the selection")
    group.add_argument("--invert", action="store_true", help="select what is not selected, hidden regions too")
    group = parser.add_argument_group("changes (one at the most; of the selection unless WORDS follow)")
    one = group.add_mutually_exclusive_group()
    for verb, purpose in VERBS.items():
        one.add_argument(f"--{verb}", metavar="WORDS", nargs="?", const=True, help=purpose)
    group = parser.add_argument_group("export of the selection, or else of the visible regions")
    group.add_argument(
        "--export",
        metavar="KIND",
        help="density (the map in them as segmented, after its filter; 0 elsewhere), unfiltered (the map as given), "
        "labels (their numbers), binary (1 in them)",
    )
    group.add_argument("-o", "--output", metavar="OUT", help="file to write (.mrc), OUT.json beside it")
    group.add_argument("--map", metavar="MAP", help="the map that was segmented, where it has moved")
    group.add_argument(
        "--crop",
        metavar="MARGIN",
        nargs="?",
        const="2px",
        help="the smallest box and a margin (2px), not the full grid",
    )
    group.add_argument("--sequential", action="store_true", help="number exported labels 1, 2, 3 …")
    group = parser.add_argument_group("figures and files")
    group.add_argument("--plot", metavar="FILE", help="draw the regions (.png, .pdf, .svg; extra: plot)")
    options.add_force(group)
    group.add_argument("--all", action="store_true", help=f"list all regions, not the {ROWS} largest")
    group.add_argument("--json", action="store_true", help="print one JSON document")


def run(arguments):
    from gpumask import job

    verb, what = next(((v, getattr(arguments, v)) for v in VERBS if getattr(arguments, v) is not None), (None, True))
    with terminal.Progress() as progress:
        done = job.regions(
            arguments.file,
            verb=verb,
            what=None if what is True else what,
            map_path=arguments.map,
            overwrite=arguments.force,
            progress=progress,
            undo=arguments.undo,
            redo=arguments.redo,
            select=arguments.select or (),
            share=0.5 if arguments.share is None else arguments.share,
            **options.given(arguments, ("add", "remove", "invert", "export", "output", "crop", "sequential", "plot")),
        )
    terminal.warn(done["warnings"])
    if arguments.json:
        terminal.document(done)
        return
    for action in done["actions"]:
        print(action["did"])
    chosen = [region for region in done["regions"] if region["selected"]]
    if chosen and (arguments.select or arguments.invert):
        volume, mass = (sum(region[key] for region in chosen) for key in ("volume_angstrom3", "mass_kda"))
        print(f"selected {counted(len(chosen), 'region')}: {protein(volume, mass)}")
    steps = sum(action["undo"] for action in done["actions"])
    if steps and done["path"] in done["files"]:
        print(f"undo with: gpumask regions {shlex.quote(done['path'])} --undo{f' {steps}' if steps > 1 else ''}")
    if "export" in done:
        size = protein(done["exported_volume_angstrom3"], done["exported_mass_kda"])
        print(f"exported {done['export']} of {counted(len(done['exported']), 'region')}: {size}")
    if done["files"]:
        print(f"wrote {', '.join(done['files'])}")
    if not done["actions"] and not done["files"] or arguments.all:
        print(f"{summary(done)}; {counted(done['undo'], 'change')} can be undone, {done['redo']} redone")
        show(done["regions"], None if arguments.all else ROWS, done["path"])
