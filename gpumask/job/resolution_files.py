"""The files that ``gpumask fsc`` writes: which there are, and what is in each."""

import gpumask
from gpumask import correlation, emdb, io, star
from gpumask.job import outputs
from gpumask.volume import Volume

FILES = ("fsc.json", "fsc.csv", "noise.csv", "postprocess.star", "fsc.xml", "provenance.json")
FIGURES = ("fsc.png", "directional.png", "locres.png")
BY_DIRECTION = ("directional.json", "3dfsc.mrc")
BY_PLACE = ("locres.json", "locres.mrc")
FILTERED = "locres_filtered.mrc"
LABEL = "gpumask {} fsc"
PARTICLE_FRACTION = 0.476  # of a box that a particle fills in the part-FSC of RELION and cisTEM
TITLES = {
    "corrected_predicted": "gpumask masked-corrected FSC",
    "masked": "gpumask masked FSC",
    "tight": "gpumask FSC under a tight mask",
    "unmasked": "gpumask unmasked FSC",
}


def names(plot, by_direction, by_place, local_filter):
    """The names of all files that are asked for."""
    drawn = [name for name, asked in zip(FIGURES, (True, by_direction, by_place), strict=True) if plot and asked]
    return [*FILES, *(by_direction * BY_DIRECTION), *(by_place * BY_PLACE), *(local_filter * [FILTERED]), *drawn]


def judged(found):
    """The curve that :attr:`gpumask.FSC.reported` is of: :attr:`gpumask.FSC.headline`, or ``unmasked`` where that has
    no mask to be corrected for."""
    return "unmasked" if found.headline == "corrected_predicted" and found.onset is None else found.headline


def contents(made, maps):
    """Name of each file but figures, and what is in it."""
    found, told, label = made["fsc"], made["judged"], LABEL.format(gpumask.__version__)
    files = {
        "fsc.json": [outputs.document(found.to_dict())],
        "fsc.csv": [outputs.table(found.shells)],
        "noise.csv": [outputs.table(_noise_rows(found.shells, *made["noise"]))],
        "postprocess.star": [postprocess(found, maps, made["guinier"]).encode()],
        "fsc.xml": [emdb.fsc_xml(found.curve("frequency"), found.curve(told), TITLES[told]).encode()],
        "provenance.json": [outputs.document(_provenance(made))],
    }
    like = maps.half1
    if made["directional"] is not None:
        files["directional.json"] = [
            outputs.document({**made["directional"].to_dict(), "fsc_volume": made["fsc_volume"].to_dict()})
        ]
        files["3dfsc.mrc"] = io.encode(Volume(made["fsc_volume"].volume, like.voxel_size), "float32", label)
    if made["local_resolution"] is not None:
        files["locres.json"] = [outputs.document(made["local_resolution"].to_dict())]
        files["locres.mrc"] = io.encode(like.with_data(made["local_resolution"].volume), "float32", label)
    if made["filtered"] is not None:
        files[FILTERED] = io.encode(like.with_data(made["filtered"]), "float32", label)
    return files


def figures(made, maps):
    """Name of each figure, and its bytes."""
    from gpumask.report import directional as by_direction
    from gpumask.report import fsc as curves
    from gpumask.report import local_resolution as by_place

    drawn = {"fsc.png": [curves.draw(made["fsc"])]}
    if made["directional"] is not None:
        drawn["directional.png"] = [by_direction.draw(made["directional"])]
    if made["local_resolution"] is not None:
        mean = (maps.half1.data + maps.half2.data) / 2
        around = None if maps.mask is None else maps.mask.data
        drawn["locres.png"] = [by_place.draw(made["local_resolution"], around, mean)]
    return drawn


def _noise_rows(shells, noise, signal):
    """Mean power of each shell in the mean map, white noise of variance v having v (see
    :func:`gpumask.correlation.noise_spectrum`)."""
    return [
        {
            **{name: row[name] for name in ("index", "frequency", "resolution")},
            "noise_power": float(n),
            "signal_power": float(s),
        }
        for row, n, s in zip(shells, noise, signal, strict=True)
    ]


def _provenance(made):
    names = ("inputs", "options", "device", "device_reason", "seconds", "warnings", "files")
    return {"version": gpumask.__version__, "verb": "fsc", **{name: made[name] for name in names}}


def postprocess(found, maps, guinier):
    """The text of RELION's ``postprocess.star``.

    Its curves are those that the reported resolution comes from, which no seed moves: n is what random phases give on
    average, not one draw of them.

    Parameters
    ----------
    found : FSC
    maps : Maps
        What was read.
    guinier : Guinier
    """
    paths, fraction, part = maps.paths, None, None
    if maps.mask is not None:  # RELION's: of the unmasked curve
        fraction = PARTICLE_FRACTION / float((maps.mask.data > 0.5).mean())
        part = correlation.of_the_part(found.curve("unmasked"), fraction)
    told = judged(found)
    corrected = told == "corrected_predicted"
    total = {"corrected_predicted": "masked" if found.mask else "tight", "unmasked": None}.get(told, told)
    blocks = star.postprocess(
        found.shells[1]["frequency"],
        found.curve("unmasked"),
        half1=str(paths["half1"]),
        half2=str(paths["half2"]),
        resolution=found.reported,
        masked=None if total is None else found.curve(total),
        randomized=found.curve("predicted") if corrected else None,
        corrected=found.curve(told) if corrected else None,
        part=part,
        part_fraction=fraction,
        mask=str(paths["mask"]) if "mask" in paths else None,
        onset=found.onset,
        guinier=guinier,
    )
    return star.dumps(blocks, f"gpumask {gpumask.__version__}; random phases: what they give on average, not one draw")
