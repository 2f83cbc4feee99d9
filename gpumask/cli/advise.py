"""gpumask advise MAP --half1 HALF1 --half2 HALF2 --goal GOAL -o DIR"""

from gpumask.cli import options, sweep, terminal


def fill(parser):
    parser.description = (
        "Pick a mask for a goal by evidence told before any refinement: how well its target is detected under it (d') "
        "among masks that make little FSC by themselves (Λ). The resolution that a mask reaches never decides. "
        "DIR/mask.mrc is the mask, mask.json says why."
    )
    parser.epilog = (
        "Example: gpumask advise map.mrc --half1 half1.mrc --half2 half2.mrc --goal local --base head.mrc -o advice"
    )
    parser.set_defaults(run=run)
    parser.add_argument("map", metavar="MAP", help="map that masks are made from")
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="folder to write into")
    parser.add_argument(
        "--goal", metavar="GOAL", default="global", help="global (default), local, subtraction or glycoprotein"
    )
    sweep.add_half_maps(group := parser.add_argument_group("half maps"), needed=True)
    group.add_argument("--asymmetric-units", metavar="N", type=int, help="copies that a symmetry enforces (C4: 4)")
    group = parser.add_argument_group("what is searched")
    group.add_argument("--threshold", metavar="T", help="of the map, as in create (default auto)")
    group.add_argument("--base", metavar="REGION", help="instead: a base, where >= 0.5, such as a domain")
    group.add_argument("--region", metavar="MASK", help="the target of d', where >= 0.5 (default: by the goal)")
    group.add_argument("--dilate", metavar="A:B:STEP", help="0:16:2 or 0,3,6 (default: multiples of the resolution)")
    group.add_argument("--soft-edge", metavar="A:B:STEP", help="likewise")
    group.add_argument("--edge", metavar="PROFILE,…", help="cosine (default), convolved, … as in create")
    sweep.add_base(parser)
    group = parser.add_argument_group("files and device")
    group.add_argument(
        "--least-leak",
        action="store_true",
        help="also DIR/least_leak.mrc: the edge of least power beyond the resolution between the ends of the pick's",
    )
    group.add_argument(
        "--report",
        action="store_true",
        help="also write DIR/report.html, one page with its figures (extra: plot); with --least-leak it draws the "
        "spectra of other edges too",
    )
    sweep.add_files(group)


def run(arguments):
    from gpumask import job

    searched = {
        "dilations": None if arguments.dilate is None else sweep.spread(arguments.dilate, "dilation"),
        "soft_edges": None if arguments.soft_edge is None else sweep.spread(arguments.soft_edge, "soft edge"),
        "edges": None if arguments.edge is None else arguments.edge.split(","),
    }
    names = (*sweep.JUDGED, *sweep.BASE, *sweep.READING, "goal", "threshold", "base", "asymmetric_units")
    with terminal.Progress() as progress:
        done = job.advise(
            arguments.map,
            arguments.output,
            report=arguments.report,
            least_leak=arguments.least_leak,
            voxel_size=options.voxel_size(arguments.voxel_size),
            overwrite=arguments.force,
            progress=progress,
            **{name: value for name, value in searched.items() if value is not None},
            **options.given(arguments, names),
        )
    terminal.warn(done["warnings"])
    if arguments.json:
        terminal.document({**done, "advice": done["advice"].to_dict()})
    else:
        _print(done)


def _print(done):
    from gpumask import units

    found = done["advice"]
    row, size = found.row, found.sweep.voxel_size_angstrom[::-1]
    subtraction = found.goal == "subtraction"
    leak = "not defined" if row["leak_mean"] is None else f"{row['leak_mean']:.3f}"
    terminal.table(
        [
            ("goal", found.goal),
            ("criterion", found.criterion),
            ("resolution", f"{found.resolution:.3g} Å: {found.resolution_source}"),
            ("pick", f"threshold {row['threshold']:.4g}, {row['edge']}"),
            *([] if found.passes else [("  fails", "; ".join(found.fails))]),
            ("  dilation", units.both(row["dilation_px"], size)),
            ("  soft edge", units.both(row["soft_edge_px"], size)),
            *([("  error", f"{found.subtraction_error:.3f}")] if subtraction else []),
            ("  d'", "not defined" if row["detectability"] is None else f"{row['detectability']:.2f}"),
            ("  Λ", leak),
            *([("least leak", found.least_leak.line())] if found.least_leak else []),
            ("searched", f"{len(found.sweep.rows)} masks; transforms: {sweep.transforms(found.sweep)}"),
            ("wrote", ", ".join(done["files"])),
        ]
    )
    if found.neighbours:
        print("\nbeside it")
        terminal.table([(one["what"], one["reason"]) for one in found.neighbours])
    if found.sensitivity:
        print("\nthe same dilation and edge at another threshold")
        terminal.table(
            [(f"{one['threshold']:.4g} ({one['change']:+.0%})", _moved(one, subtraction)) for one in found.sensitivity]
        )
    if found.front:
        merit = "the error" if subtraction else "d'"
        print(f"\nfront of {merit} against Λ, {len(found.front)} masks")
        errors = [{"subtraction_error": detail["subtraction_error"]} for detail in found.sweep.details]
        sweep.show([found.sweep.rows[i] | (errors[i] if subtraction else {}) for i in found.front])
    print("\nwhat is not known")
    for text in found.unknowns:
        print(f"  {text}")


def _moved(one, subtraction):
    if one["row"] is None:
        return "; ".join(one["fails"])
    row, told = one["row"], []
    if subtraction:
        told.append(f"error {one['subtraction_error']:.3f}")
    told += [f"d' {row['detectability']:.2f}"] if row["detectability"] is not None else []
    told += [f"Λ {row['leak_mean']:.3f}"] if row["leak_mean"] is not None else []
    return f"{', '.join(told)}, {row['mass_kda']:.0f} kDa; {'; '.join(one['fails']) or 'passes'}"
