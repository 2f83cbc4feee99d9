"""Half maps in, resolution out: the curves as JSON, CSV, STAR and XML, by direction and by place where asked."""

import math
from dataclasses import replace

import gpumask
from gpumask import backend, directional, emdb, io, local_resolution, resolution, sharpening, star, units
from gpumask.errors import InputRefused, UsageError
from gpumask.job import devices, inputs, outputs
from gpumask.job.timing import timed
from gpumask.volume import Volume

FILES = ("fsc.json", "fsc.csv", "postprocess.star", "fsc.xml", "provenance.json")
FIGURE = "fsc.png"
BY_DIRECTION = ("directional.json", "3dfsc.mrc")
BY_PLACE = ("locres.json", "locres.mrc")
FILTERED = "locres_filtered.mrc"
LABEL = "gpumask {} fsc"
TITLES = {
    "corrected": "gpumask masked-corrected FSC",
    "masked": "gpumask masked FSC",
    "tight": "gpumask FSC under a tight mask",
    "unmasked": "gpumask unmasked FSC",
}


def fsc(
    half1,
    half2=None,
    mask=None,
    *,
    reference=None,
    output=None,
    plot=False,
    by_direction=False,
    by_place=False,
    window=None,
    step=None,
    local_filter=False,
    b_factor=0.0,
    device=None,
    voxel_size=None,
    nan_to=None,
    overwrite=False,
    progress=None,
    **options,
):
    """Correlate two half maps, and write what was found into a folder.

    Parameters
    ----------
    half1 : str or Path
    half2 : str or Path, optional
        Found by the name of the first one where it is left out, see :func:`gpumask.job.inputs.other_half`.
    mask, reference : str or Path, optional
        On the grid of the half maps.
    output : str or Path, optional
        A folder, made where it is not there: ``fsc.json``, ``fsc.csv``, ``postprocess.star``, ``fsc.xml`` and
        ``provenance.json``, all of them or none.
    plot : bool
        Also draw ``fsc.png`` (extra ``plot``).
    by_direction : bool
        Also conical FSC and a 3DFSC volume under the mask that is given, else under none: ``directional.json``,
        ``3dfsc.mrc``.
    by_place : bool
        Also local resolution: ``locres.json``, ``locres.mrc``.
    window, step : str, optional
        See :func:`gpumask.local_resolution.measure`.
    local_filter : bool
        Also the mean of the half maps, each voxel low-passed at its own resolution: ``locres_filtered.mrc``.
    b_factor : float
        Å², of that map; a negative one sharpens.
    device : str, optional
        See :func:`gpumask.backend.choose`.
    voxel_size, nan_to
        See :func:`gpumask.read`; for every file.
    overwrite : bool
        Replace existing files; never an input.
    progress : callable, optional
        Called with the name of each step as it begins, and with its share done where that is known.
    options
        ``style``, ``onset``, ``base_lowpass``, ``seed``, ``asymmetric_units``, ``mass``, ``cross_checks`` and
        ``assume_unmasked`` of :func:`gpumask.fsc`.

    Returns
    -------
    dict
        ``fsc``, a :class:`gpumask.FSC`; ``judged``, the curve that its reported resolution is of; ``directional``,
        ``fsc_volume`` and ``local_resolution``, what the library gives or None; ``inputs``, ``options``, ``device``,
        ``device_reason``, ``seconds``, ``warnings`` and ``files``.

    Raises
    ------
    UsageError
        Options that do not go together, or no second half map by this name.
    InputRefused
        Twice the same half map, different grids, a mask that is none, existing files without `overwrite`.
    """
    maps = inputs.Maps(half1, half2, mask, reference, voxel_size=voxel_size, nan_to=nan_to)
    local = {"window": window, "step": step, "filter": local_filter, "b_factor": b_factor}
    _check_options(output, plot, by_place, local)
    names = [*FILES, *(plot * [FIGURE]), *(by_direction * BY_DIRECTION), *(by_place * BY_PLACE)]
    names += local_filter * [FILTERED]
    local = local if by_place else None
    asked = {
        "style": "gpumask",
        **options,
        "directional": by_direction,
        "local_resolution": local,
        "voxel_size_angstrom": None if voxel_size is None else units.xyz(units.voxel_edges(voxel_size)),
        "nan_to": nan_to,
    }
    device, reason = backend.choose(device)
    progress = progress or (lambda name, share=None: None)
    seconds = {}

    def measure(device):
        placed = [
            None if one is None else backend.place(one, device)
            for one in (maps.half1, maps.half2, maps.mask, maps.reference)
        ]
        with backend.current(device):
            return _measured(placed, maps, options, local, by_direction, output is not None, progress, seconds)

    def run():
        progress("read")
        with timed(seconds, "read"):
            maps.read()
        made, used, notes = devices.run(measure, device, reason)
        return {
            **made,
            "inputs": maps.records,
            "options": asked,
            "device": used,
            "device_reason": reason,
            "seconds": seconds,
            "warnings": [*maps.notes, *notes],
            "files": [],
        }

    if output is None:
        return run()
    with outputs.folder(output) as folder:
        outputs.check([folder / name for name in names], maps.paths.values(), overwrite)
        if plot:
            outputs.figure_format(folder / FIGURE)
        found = run()
        found["files"] = [str(folder / name) for name in names]
        contents = _contents(found, maps)
        if plot:
            from gpumask.report.fsc import draw

            progress("plot")
            contents[FIGURE] = [draw(found["fsc"])]
        progress("write")
        io.write_files([(folder / name, contents[name]) for name in names], overwrite)
    return found


def _check_options(output, plot, by_place, local):
    if output is None and (plot or local["filter"]):
        raise UsageError("a figure, or a locally filtered map, needs a folder to be written into: give one with -o")
    if not by_place and (local["filter"] or local["window"] is not None or local["step"] is not None):
        raise UsageError("--window, --step and --filter are for --local-resolution: give it too")
    if local["b_factor"] and not local["filter"]:
        raise UsageError("--b-factor is for the map of --filter: give it too")


def judged(found):
    """The curve that :attr:`gpumask.FSC.reported` is of: ``corrected_predicted``, and where there is no correction
    ``masked``, ``tight`` or ``unmasked``."""
    curves = found.resolution["0.143"]
    if "corrected_predicted" not in curves:
        return "masked" if "masked" in curves else "tight"
    return "unmasked" if found.onset is None else "corrected_predicted"


def _measured(placed, maps, options, local, by_direction, tabulated, progress, seconds):
    first, second, mask, reference = placed
    size = first.voxel_size
    under = None if mask is None else mask.data
    made = dict.fromkeys(("fsc", "guinier", "part_fraction", "directional", "fsc_volume", "local_resolution"))
    made["filtered"] = None
    try:
        with timed(seconds, "fsc"):
            found = resolution.fsc(first, second, mask, reference=reference, progress=progress, **options)
        made |= {"fsc": replace(found, mask=maps.records.get("mask")), "judged": judged(found)}
        if options.get("mass") is not None:
            made["part_fraction"] = _fraction(found, under, options["mass"])
        if tabulated:
            progress("Guinier")
            mean = (first.data + second.data) / 2
            convention = resolution.STYLES[options.get("style", "gpumask")].convention
            with timed(seconds, "Guinier"):
                made["guinier"] = sharpening.guinier(
                    mean, size, fsc=found.curve(_told(found)), b_factor=0.0, convention=convention
                )
        if by_direction:
            with timed(seconds, "directional"):
                made["directional"] = directional.conical_fsc(first.data, second.data, size, under, progress=progress)
                volume = directional.fsc_volume(first.data, second.data, size, under, progress=progress)
            made["fsc_volume"] = replace(volume, volume=backend.to_numpy(volume.volume))
        if local is not None:
            with timed(seconds, "local resolution"):
                made |= _by_place(first, second, under, options, local, progress)
    except InputRefused as error:
        raise InputRefused(f"{maps.names}: {error}") from error
    return made


def _by_place(first, second, under, options, local, progress):
    size = first.voxel_size
    found = local_resolution.measure(
        first.data,
        second.data,
        size,
        under,
        window=local["window"],
        step=local["step"],
        progress=progress,
        **{name: options[name] for name in ("seed", "assume_unmasked") if name in options},
    )
    made = {"local_resolution": replace(found, volume=backend.to_numpy(found.volume))}
    if local["filter"]:
        mean = (first.data + second.data) / 2
        made["filtered"] = backend.to_numpy(
            local_resolution.filtered(mean, found.volume, size, bfactor=local["b_factor"], progress=progress)
        )
    return made


def _fraction(found, under, mass):
    """f of the part-FSC: volume of the mask that is judged over that of the particle."""
    if under is not None:
        volume = units.volume_angstrom3(float(under.sum(dtype="float64")), found.voxel_size_angstrom)
    elif judged(found) == "unmasked":
        volume = units.volume_angstrom3(math.prod(found.box), found.voxel_size_angstrom)
    else:
        volume = found.bases["tight"]["volume_angstrom3"]
    return volume / units.angstrom3_of_kda(mass)


def _told(found):
    """The curve for files that know one only: corrected with drawn phases, as the files' other columns have them, or
    what is judged where there is no correction."""
    name = judged(found)
    return "corrected" if name == "corrected_predicted" else name


def _contents(made, maps):
    """Name of each file but figures, and what is in it."""
    found, label = made["fsc"], LABEL.format(gpumask.__version__)
    told = _told(found)
    contents = {
        "fsc.json": [outputs.document(found.to_dict())],
        "fsc.csv": [outputs.table(found.shells)],
        "postprocess.star": [postprocess(found, maps.paths, made["guinier"], made["part_fraction"]).encode()],
        "fsc.xml": [emdb.fsc_xml(found.curve("frequency"), found.curve(told), TITLES[told]).encode()],
        "provenance.json": [outputs.document(_provenance(made))],
    }
    like = maps.half1
    if made["directional"] is not None:
        contents["directional.json"] = [
            outputs.document({**made["directional"].to_dict(), "fsc_volume": made["fsc_volume"].to_dict()})
        ]
        contents["3dfsc.mrc"] = io.encode(Volume(made["fsc_volume"].volume, like.voxel_size), "float32", label)
    if made["local_resolution"] is not None:
        contents["locres.json"] = [outputs.document(made["local_resolution"].to_dict())]
        contents["locres.mrc"] = io.encode(like.with_data(made["local_resolution"].volume), "float32", label)
    if made["filtered"] is not None:
        contents[FILTERED] = io.encode(like.with_data(made["filtered"]), "float32", label)
    return contents


def _provenance(made):
    names = ("inputs", "options", "device", "device_reason", "seconds", "warnings", "files")
    return {"version": gpumask.__version__, "verb": "fsc", **{name: made[name] for name in names}}


def postprocess(found, paths, guinier, part_fraction=None):
    """The text of RELION's ``postprocess.star``; t and n are those of the curve that is judged.

    Parameters
    ----------
    found : FSC
    paths : dict
        ``half1``, ``half2``, and ``mask`` where there is one.
    guinier : Guinier
    part_fraction : float, optional
        f of the part-FSC.
    """
    told = _told(found)
    corrected = told == "corrected"
    total = {"corrected": "masked" if found.mask else "tight", "unmasked": None}.get(told, told)
    blocks = star.postprocess(
        found.shells[1]["frequency"],
        found.curve("unmasked"),
        half1=str(paths["half1"]),
        half2=str(paths["half2"]),
        resolution=found.resolution["0.143"][told],
        masked=None if total is None else found.curve(total),
        randomized=found.curve("randomized") if corrected else None,
        corrected=found.curve("corrected") if corrected else None,
        part=None if part_fraction is None else found.curve("part"),
        part_fraction=part_fraction,
        mask=str(paths["mask"]) if "mask" in paths else None,
        onset=found.onset,
        guinier=guinier,
    )
    return star.dumps(blocks, f"gpumask {gpumask.__version__}")
