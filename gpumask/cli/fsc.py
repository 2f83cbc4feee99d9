"""gpumask fsc HALF1 [HALF2]"""

from gpumask.cli import options, terminal

NAMES = {
    "corrected": "corrected, random phases",
    "corrected_predicted": "corrected, predicted",
    "masked": "under the mask",
    "loose": "loose mask",
    "tight": "tight mask",
}
RULES = {
    "first": "the last shell before the FSC first falls below 0.143",
    "interpolated": "where the FSC crosses 0.143, between shells",
    "last": "the last shell where the FSC is at least 0.143",
}


def fill(parser):
    parser.description = (
        "Correlate two half maps shell by shell: under no mask, a sphere, a loose and a tight mask and a given one, "
        "corrected for what the mask makes by itself; the resolution at four criteria, and what to distrust."
    )
    parser.epilog = "Example: gpumask fsc run_half1_class001_unfil.mrc --mask mask.mrc -o fsc"
    parser.set_defaults(run=run)
    options.add_half_maps(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        help="folder for fsc.json, fsc.csv, noise.csv, postprocess.star, fsc.xml, provenance.json; made if need be",
    )
    parser.add_argument(
        "--plot",
        action="store_true",
        help="also draw fsc.png, and with the options below directional.png, locres.png (extra: plot)",
    )
    group = parser.add_argument_group("curves")
    options.add_correlation(group)
    group.add_argument("--mass", metavar="KDA", type=float, help="of the particle; adds its FSC without the solvent")
    group.add_argument("--reference", metavar="MAP", help="adds the FSC of the mean of the half maps with this map")
    group.add_argument("--cross-checks", action="store_true", help="adds mfsc, filtered and then masked: slow")
    group = parser.add_argument_group("map and model")
    group.add_argument(
        "--model",
        metavar="MODEL",
        help="adds the FSC of the mean of the half maps with a model (PDB, mmCIF, .gz too; extra: model), without a "
        "mask and under the mask, else the model's own",
    )
    group.add_argument("--select", metavar="WORDS", help="which of its atoms, as gpumask model: protein, not glycan …")
    group.add_argument("--model-resolution", metavar="RES", help="of its density (default: three voxels)")
    group = parser.add_argument_group("by direction and by place")
    group.add_argument(
        "--directional",
        action="store_true",
        help="conical FSC with cFAR, 3DFSC volume; under the mask, else the tight one: directional.json, 3dfsc.mrc",
    )
    group.add_argument("--local-resolution", action="store_true", help="a map of resolutions: locres.json, locres.mrc")
    group.add_argument("--window", metavar="W", help="of the local resolution, across (default 50A)")
    group.add_argument("--step", metavar="D", help="between its points (default half a window)")
    group.add_argument(
        "--filter",
        action="store_true",
        help="also the mean of the half maps, low-passed everywhere at its own resolution: locres_filtered.mrc",
    )
    group.add_argument("--b-factor", metavar="B", type=float, help="sharpen that map by this many Å², such as -80")
    group = parser.add_argument_group("files and device")
    options.add_reading(group)
    options.add_device(group)
    options.add_force(group)
    group.add_argument("--json", action="store_true", help="print one JSON document, that of fsc.json")


def run(arguments):
    from gpumask import job

    names = ("mask", "reference", "window", "step", "b_factor", "nan_to", "device", "mass", "cross_checks")
    names += ("model", "select", "model_resolution")
    with terminal.Progress() as progress:
        done = job.fsc(
            arguments.half1,
            arguments.half2,
            output=arguments.output,
            plot=arguments.plot,
            by_direction=arguments.directional,
            by_place=arguments.local_resolution,
            local_filter=arguments.filter,
            voxel_size=options.voxel_size(arguments.voxel_size),
            overwrite=arguments.force,
            progress=progress,
            **options.given(arguments, (*options.CORRELATION, *names)),
        )
    terminal.warn(done["warnings"])
    more = [] if done["directional"] is None else done["directional"].flags
    terminal.flags([*done["fsc"].flags, *more])
    if done["local_resolution"] is not None:
        terminal.warn(f"local resolution: {text}" for text in done["local_resolution"].warnings)
    if arguments.json:
        terminal.document(done["fsc"].to_dict())
    else:
        _print(done)


def _print(done):
    from gpumask import resolution

    found, curve, style = done["fsc"], done["judged"], done["options"]["style"]
    halves = ", ".join(done["inputs"][name]["path"] for name in ("half1", "half2"))
    rule = RULES[resolution.STYLES[style].rule]
    rows = [
        ("resolution", terminal.resolution(found.reported, curve, found.mask)),
        ("read as", f"{rule} (style {style})"),
        ("half maps", f"{halves}: {terminal.by(found.box)} voxels of {terminal.voxel(found.voxel_size_angstrom)}"),
        ("mask", found.mask["path"] if found.mask else "none given"),
        ("device", f"{done['device']} ({done['device_reason']})"),
        ("onset", _onset(found)),
    ]
    rows += _at_resolution(found, curve)
    rows += _by_direction(done) + _by_place(done)
    terminal.table(rows)
    print()
    criteria = list(found.resolution)
    names = [name for name in found.resolution["0.143"] if curve != "unmasked" or not name.startswith("corrected")]
    curves = [(NAMES.get(name, name), [found.resolution[c][name] for c in criteria]) for name in names]
    print("resolution in Å")
    terminal.columns(criteria, curves)
    if found.map_model is not None:
        print()
        _print_model(found.map_model)
    if done["files"]:
        print()
        terminal.table([("wrote", ", ".join(done["files"]))])


def _print_model(found):
    selected = "" if found["select"] is None else f" ({found['select']})"
    under = "under the mask" if found["mask"] == "given" else "under its own mask"
    print(f"map and model, {found['path']}: {found['atoms']} atoms{selected}; resolution in Å at FSC")
    names = {"map_model": under, "map_model_unmasked": "without a mask"}
    reached = found["resolution"]
    rows = [(text, [reached[criterion][name] for criterion in reached]) for name, text in names.items()]
    terminal.columns(list(reached), rows)
    lowest = {}  # of the criteria, by curve, what it nowhere falls below
    for criterion, limited in found["nyquist_limited"].items():
        lowest |= dict.fromkeys(limited, criterion)
    if lowest:
        nyquist = reached[next(iter(lowest.values()))][next(iter(lowest))]
        nowhere = [
            f"{level} {' and '.join(names[name] for name, criterion in lowest.items() if criterion == level)}"
            for level in dict.fromkeys(lowest.values())
        ]
        print(f"{nyquist:.2f} Å is Nyquist: the FSC falls nowhere below {', below '.join(nowhere)}")


def _onset(found):
    if found.onset is None:
        return "none: nothing is corrected"
    return f"phases random from shell {found.onset} = {found.shells[found.onset]['resolution']:.3g} Å on"


def _at_resolution(found, curve):
    """What the curves say at the reported resolution, and how far the correction reaches."""
    rows = []
    if found.a_gap is not None:
        rows.append(("gap", f"{found.a_gap:.3f}: masked less corrected FSC, mean from the onset to the resolution"))
    if found.k_catch is not None:
        rows.append(("k_catch", f"{found.k_catch:.4f} 1/Å = {1 / found.k_catch:.3g} Å: no gap over 0.03 from here on"))
    elif found.a_gap is not None:
        rows.append(("k_catch", "none: the gap is not closed at the resolution"))
    if found.reported is None:
        return rows
    row = min(found.shells[1:], key=lambda row: abs(row["resolution"] - found.reported))
    where = f"FSC at {row['resolution']:.3g} Å"
    if row[curve] is not None:
        band = "" if row["band_low"] is None else f", 95 % band {row['band_low']:.3f} to {row['band_high']:.3f}"
        count = f"{row['n_effective']:.0f} of {row['n_coefficients']} coefficients count"
        rows.append((where, f"{row[curve]:.3f}{band}; {count}"))
    if row["predicted"] is not None:
        rows.append(("  of the mask alone", f"{row['predicted']:.4f} predicted, {row['randomized']:.4f} drawn"))
    for name in ("part", "reference"):
        if row.get(name) is not None:
            rows.append((f"  {name}", f"{row[name]:.3f}"))
    return rows


def _by_direction(done):
    found, volume = done["directional"], done["fsc_volume"]
    if found is None:
        return []
    told = found.to_dict()
    ends = [
        f"{word} {'nothing' if axis['resolution'] is None else format(axis['resolution'], '.2f') + ' Å'} along "
        f"{','.join(format(c, '.2f') for c in axis['direction'])}"
        for word, axis in (("weakest", told["weakest"]), ("strongest", told["strongest"]))
    ]
    cfar, sphericity = ("none" if n is None else f"{n:.3f}" for n in (found.cfar, volume.sphericity))
    return [
        ("cFAR", f"{cfar} ({len(found.directions)} axes, cones of {found.half_angle:g}°); {'; '.join(ends)} (x,y,z)"),
        ("sphericity", f"{sphericity} (3DFSC at {volume.threshold:g})"),
    ]


def _by_place(done):
    found = done["local_resolution"]
    if found is None:
        return []
    low, middle, high = found.quartiles
    coarsest, finest = found.bounds
    return [
        (
            "local resolution",
            f"median {middle:.2f} Å, quartiles {low:.2f} and {high:.2f} Å, {len(found.points)} points",
        ),
        ("  bounds", f"{finest:.2f} to {coarsest:.2f} Å, from the voxel size and the window"),
    ]
