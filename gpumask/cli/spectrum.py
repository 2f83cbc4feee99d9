"""gpumask spectrum MASK…"""

import os

from gpumask.cli import options, terminal

WITHOUT_TARGET = (10, 5)  # Å, where leakage is told without a resolution


def fill(parser):
    parser.description = (
        "Tell what masks do in Fourier space before a refinement is spent on them: how wide their edges are, how many "
        "dB down they are at the resolution, what leaks beyond it; with unmasked half maps also the FSC that each mask "
        "makes by itself."
    )
    parser.epilog = (
        "Example: gpumask spectrum head_mask.mrc --resolution 4A --half1 half1.mrc --half2 half2.mrc --plot head.png"
    )
    parser.set_defaults(run=run)
    parser.add_argument("masks", metavar="MASK", nargs="+", help="masks to compare (MRC/CCP4, .gz and .bz2 too)")
    parser.add_argument("--resolution", metavar="RES", help="expected resolution, 3.5A; gives the verdict")
    parser.add_argument(
        "--asymmetric-units", metavar="N", type=int, default=1, help="copies that a symmetry enforces (C4: 4)"
    )
    group = parser.add_argument_group("the FSC that the mask makes by itself")
    group.add_argument("--half1", metavar="HALF1", help="unmasked half map on the grid of the masks")
    group.add_argument("--half2", metavar="HALF2", help="the other one")
    group.add_argument(
        "--onset",
        metavar="WHERE",
        help="randomise phases from here on: an FSC (default 0.8; 0.143) or a resolution 20A",
    )
    group.add_argument("--seeds", metavar="N", type=int, default=4, help="draws of random phases (default 4; 0: none)")
    group.add_argument("--assume-unmasked", action="store_true", help="use half maps that seem to be masked")
    group = parser.add_argument_group("figures (extra: plot)")
    group.add_argument("--plot", metavar="FILE", help="draw the spectra (.png, .pdf, .svg)")
    group.add_argument("--slices", metavar="FILE", help="draw slices of one mask in real and Fourier space")
    group.add_argument("--map", metavar="MAP", help="map to draw with the slices")
    group.add_argument("--at", metavar="X,Y,Z", help="cut here: px from the corner, or Å as in 178.2,178.6,180.9A")
    options.add_force(group)
    group = parser.add_argument_group("files and device")
    options.add_reading(group)
    options.add_device(group)
    group.add_argument("--json", action="store_true", help="print one JSON document: a list with one object per mask")


def run(arguments):
    from gpumask import job

    with terminal.Progress() as progress:
        done = job.spectrum(
            arguments.masks,
            **{
                name: getattr(arguments, name)
                for name in (
                    *("resolution", "half1", "half2", "onset", "asymmetric_units", "seeds", "assume_unmasked"),
                    *("nan_to", "device", "plot", "slices", "at"),
                )
            },
            volume=arguments.map,
            voxel_size=options.voxel_size(arguments.voxel_size),
            overwrite=arguments.force,
            progress=progress,
        )
    _warn(done["spectra"])
    if arguments.json:
        terminal.document([one.to_dict() for one in done["spectra"]])
    else:
        _print(done, arguments)


def _warn(spectra):
    """Each warning once, with the masks that it is about where there are several."""
    everyone = [one.path for one in spectra]
    masks = {}
    for one in spectra:
        for text in one.warnings:
            masks.setdefault(text, []).append(one.path)
    for text, names in masks.items():
        who = f"all {len(everyone)} masks" if names == everyone else ", ".join(names)
        terminal.warn([text if len(everyone) == 1 else f"{who}: {text}"])


def _print(done, arguments):
    spectra, target = done["spectra"], done["resolution"]
    several = len(spectra) > 1
    rows = [
        (f"mask {i}" if several else "mask", f"{one.path}: {terminal.by(one.box)} voxels of "
         f"{terminal.voxel(one.voxel_size_angstrom)}")
        for i, one in enumerate(spectra, 1)
    ]  # fmt: skip
    rows.append(("device", f"{done['device']} ({done['device_reason']})"))
    if arguments.half1 is not None:
        rows.append(("half maps", f"{arguments.half1}, {arguments.half2}{_onset(done)}"))
    columns = [_figures(one, target) | ({"verdict": one.verdict} if several else {}) for one in spectra]
    names = [name for name in columns[0] if any(column[name] is not None for column in columns)]
    verdicts = [(f"verdict {i}" if several else "verdict", _verdict(one, target)) for i, one in enumerate(spectra, 1)]
    wrote = [("wrote", ", ".join(done["files"]))] if done["files"] else []
    if not several:
        terminal.table([*rows, *((name, columns[0][name]) for name in names), *verdicts, *wrote])
        return
    terminal.table(rows)
    _compare(names, columns)
    print()
    terminal.table([*verdicts, *wrote])


def _compare(names, columns):
    """A column for each mask under its number, in as many blocks as the terminal is narrow."""
    cells = [[column[name] or "-" for name in names] for column in columns]
    first = max(map(len, names))
    width = max(len(text) for column in cells for text in column) + 2
    try:
        across = max((os.get_terminal_size().columns - first) // width, 1)
    except OSError:  # a file or a pipe is as wide as need be
        across = len(cells)
    for start in range(0, len(cells), across):
        block = cells[start : start + across]
        print()
        print(" " * first + "".join(f"{i:>{width}}" for i in range(start + 1, start + len(block) + 1)))
        for name, *texts in zip(names, *block, strict=True):
            print(f"{name:<{first}}" + "".join(f"{text:>{width}}" for text in texts))


def _onset(done):
    if done["onset"] is None:
        return ""
    return f"; phases random from shell {done['onset']['shell']} = {done['onset']['resolution']:.3g} Å on"


def _verdict(one, target):
    from gpumask import job

    power = None if target is None else job.shell_at(one, target)["power_db"]
    return terminal.verdict(one.equivalent_edge_px, one.minimum_soft_edge_px, one.voxel_size_angstrom, power, target)


def _figures(one, target):
    """What the table says of one mask, by name and with units; None for what is not defined."""
    from gpumask import correlation, job, units

    row = job.shell_at(one, target)
    here = "at Nyquist" if target is None else f"at {target:.4g} Å"
    size = one.voxel_size_angstrom[::-1]
    turn = one.anisotropy
    leaks = {row["resolution"]: row["fraction"] for row in one.leakage}
    measured = one.measured_fsc

    def length(pixels):
        return pixels if pixels is None else units.both(pixels, size)

    return {
        "volume": f"{one.volume_angstrom3:.0f} Å³",
        "equivalent edge": length(one.equivalent_edge_px),
        "soft edge of the recipe": length(one.soft_edge_px),
        "5·resolution": length(one.minimum_soft_edge_px),
        f"power {here}": _told(row["power_db"], ".1f", " dB"),
        f"same base, hard, {here}": _told(row["hard_power_db"], ".1f", " dB"),
        f"Hann ball {here}": _told(row["hann_power_db"], ".1f", " dB"),
        "fall-off exponent": _told(one.falloff_exponent, ".2f"),
        "Porod ratio": _told(one.porod_ratio, ".3g"),
        "edge excess": _told(one.edge_excess_db, ".1f", " dB"),
        **{
            f"leakage beyond {resolution:.4g} Å": _told(leaks.get(resolution), ".2e")
            for resolution in ([target] if target is not None else WITHOUT_TARGET)
        },
        "effective voxels": f"{one.effective_voxels:.0f}",
        f"n_effective / n {here}": _told(row["n_effective"] / row["n_coefficients"], ".3f"),
        f"anisotropy {here}": turn and f"{turn['max_db']:.1f} dB",
        "  direction x,y,z": turn and ",".join(f"{c:.2f}" for c in turn["direction"]),
        "highest on a box face": f"{one.border_max:.3g}",
        "islands": str(one.components),
        "k_leak": _told(one.k_leak, ".4f", " 1/Å") or (one.predicted_fsc and f"none: never over {correlation.LEAK}"),
        "mask-limited resolution": _told(one.mask_limited_resolution, ".2f", " Å"),
        "mean leak Λ": _told(one.leak_mean, ".4f"),
        f"predicted FSC {here}": one.predicted_fsc and _told(one.predicted_fsc[row["index"]], ".4f"),
        f"measured FSC {here}": measured and _spread(measured, row["index"]),
        "cut fraction": _told(one.cut_fraction, ".2%"),
        "hard-cut index": _told(one.hard_cut_index, ".3f"),
    }


def _told(value, form, unit=""):
    return None if value is None else f"{value:{form}}{unit}"


def _spread(measured, shell):
    mean, deviation = measured["mean"][shell], measured["sd"][shell]
    return mean if mean is None else f"{mean:.4f}" + ("" if deviation is None else f" ± {deviation:.4f}")
