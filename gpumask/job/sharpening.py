"""Half maps in, a sharpened map out, with the table of its Guinier plot."""

import warnings
from dataclasses import replace
from pathlib import Path

import gpumask
from gpumask import backend, io, resolution, sharpening, units
from gpumask.errors import GpumaskWarning, InputNotFound, InputRefused, UsageError
from gpumask.job import devices, inputs, outputs
from gpumask.job.resolution_files import judged, postprocess
from gpumask.job.timing import timed

LABEL = "gpumask {} sharpen, B {:.4g} A^2"
AT_RESOLUTION = "resolution"


def sharpen(
    half1,
    half2=None,
    mask=None,
    *,
    output,
    b_factor=None,
    low=sharpening.LOW,
    high=None,
    lowpass=AT_RESOLUTION,
    weight=True,
    mtf=None,
    mtf_voxel_size=None,
    as_star=False,
    plot=False,
    device=None,
    voxel_size=None,
    nan_to=None,
    overwrite=False,
    progress=None,
    **options,
):
    """Sharpen the mean of two half maps by what their FSC says, and write it with its provenance beside it.

    Parameters
    ----------
    half1, half2, mask
        See :func:`gpumask.job.fsc`.
    output : str or Path
        ``sharp.mrc`` is written with ``sharp.json`` and ``sharp_guinier.csv``, with a mask also ``sharp_masked.mrc``;
        all of them or none.
    b_factor : float, optional
        Å²; fitted where it is left out.
    low, high : float or str, optional
        Ends of the fit, Å; `high` is the resolution where it is left out.
    lowpass : float or str, optional
        Å; ``"resolution"`` that of the map, None no low-pass.
    weight : bool
        Weight by the FSC.
    mtf : str or Path, optional
        The detector's MTF, see :func:`gpumask.sharpening.parse_mtf`.
    mtf_voxel_size : float, optional
        Å, the detector's pixel on the specimen; the voxel size unless it is given.
    as_star : bool
        Also write ``sharp.star``, RELION's ``postprocess.star``.
    plot : bool
        Also draw the Guinier plot to ``sharp.png`` (extra ``plot``).
    device, voxel_size, nan_to, overwrite, progress
        See :func:`gpumask.job.fsc`.
    options
        ``style``, ``onset``, ``base_lowpass``, ``seed``, ``asymmetric_units`` and ``assume_unmasked`` of
        :func:`gpumask.fsc`.

    Returns
    -------
    dict
        What ``gpumask sharpen --json`` prints.
    """
    output = Path(output)
    maps = inputs.Maps(half1, half2, mask, voxel_size=voxel_size, nan_to=nan_to)
    written = _names(output, mask is not None, as_star, plot)
    outputs.check(written.values(), [*maps.paths.values(), mtf], overwrite)
    if plot:
        outputs.figure_format(written["plot"])
    if mtf is None and mtf_voxel_size is not None:
        raise UsageError("a pixel size of an MTF says nothing without the MTF; give its file")
    curve = None if mtf is None else _mtf(mtf)
    device, reason = backend.choose(device)
    progress = progress or (lambda name, share=None: None)
    seconds, notes = {}, []
    plan = {"b_factor": b_factor, "low": low, "high": high, "weight": weight, "mtf": curve}
    plan["mtf_pixel_size"] = mtf_voxel_size
    progress("read")
    with timed(seconds, "read"):
        maps.read()

    def work(device):
        placed = [None if one is None else backend.place(one, device) for one in (maps.half1, maps.half2, maps.mask)]
        with backend.current(device):
            return _sharpened(placed, maps, plan, lowpass, options, progress, seconds, notes)

    (found, cutoff, made), device, steps_down = devices.run(work, device, reason)
    table = made.guinier
    document = {
        "output": str(output),
        "files": [str(path) for path in written.values()],
        "version": gpumask.__version__,
        "verb": "sharpen",
        "inputs": maps.records | ({} if mtf is None else {"mtf": {"path": str(mtf), "sha256": io.sha256(mtf)}}),
        "options": {
            "style": "gpumask",
            **options,
            "b_factor": b_factor,
            "low": low,
            "high": high,
            "lowpass": lowpass,
            "weight": weight,
            "mtf_voxel_size_angstrom": mtf_voxel_size,
            "voxel_size_angstrom": None if voxel_size is None else units.xyz(units.voxel_edges(voxel_size)),
            "nan_to": nan_to,
        },
        "box": found.box,
        "voxel_size_angstrom": found.voxel_size_angstrom,
        "resolution": found.reported,
        "judged": judged(found),
        "onset": found.onset,
        "b_factor": table.b_factor,
        "fit": _fit(table),
        "lowpass": cutoff,
        "flags": found.flags,
        "guinier": table.to_dict(),
        "device": device,
        "device_reason": reason,
        "seconds": seconds,
        "warnings": [*maps.notes, *steps_down, *notes],
    }
    label = LABEL.format(gpumask.__version__, table.b_factor)
    contents = {
        "map": io.encode(made.volume, "float32", label),
        "masked": None if made.masked is None else io.encode(made.masked, "float32", label),
        "guinier": [outputs.table(document["guinier"]["shells"])],
        "star": [postprocess(found, maps, table).encode()],
        "provenance": [outputs.document(document)],
    }
    if plot:
        from gpumask.report.guinier import draw

        progress("plot")
        contents["plot"] = [draw(table)]
    progress("write")
    io.write_files([(path, contents[name]) for name, path in written.items()], overwrite)
    return document


def _names(output, masked, as_star, plot):
    """Path of each file to be written."""
    names = {"map": outputs.named(output, ".json", ".csv", ".star", ".png")}
    if masked:
        names["masked"] = outputs.beside(output, "_masked.mrc")
    names["guinier"] = outputs.beside(output, "_guinier.csv")
    if as_star:
        names["star"] = outputs.beside(output, ".star")
    if plot:
        names["plot"] = outputs.beside(output, ".png")
    return {**names, "provenance": outputs.beside(output, ".json")}


def _mtf(path):
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputNotFound(f"{path}: cannot be read as an MTF: {error}") from error
    try:
        return sharpening.parse_mtf(text)
    except InputRefused as error:
        raise InputRefused(f"{path}: {error}") from error


def _sharpened(placed, maps, plan, lowpass, options, progress, seconds, notes):
    """The FSC, the low-pass in Å or None, and what was sharpened, in host memory."""
    try:
        with timed(seconds, "fsc"):
            found = resolution.fsc(*placed, progress=progress, **options)
        needed = (plan["b_factor"] is None and plan["high"] is None) or lowpass == AT_RESOLUTION
        if found.reported is None and needed:
            raise UsageError(
                f"{maps.names}: the FSC is below 0.143 from the first shell on, so that there is no resolution to go "
                "by; give --high or --b-factor, and --lowpass"
            )
        cutoff = found.reported if lowpass == AT_RESOLUTION else lowpass
        cutoff = None if cutoff is None else units.angstrom(cutoff, "low-pass resolution")
        progress("sharpen")
        with timed(seconds, "sharpen"), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", GpumaskWarning)
            made = sharpening.sharpen(
                *placed,
                fsc=found.curve(judged(found)),
                resolution=found.reported,
                lowpass=cutoff,
                convention=resolution.STYLES[options.get("style", "gpumask")].convention,
                **plan,
            )
    except InputRefused as error:
        raise InputRefused(f"{maps.names}: {error}") from error
    notes += [str(one.message) for one in caught if str(one.message) not in notes]
    volume, masked = (None if one is None else backend.place(one, "cpu") for one in (made.volume, made.masked))
    found = replace(found, mask=maps.records.get("mask"))
    return found, cutoff, replace(made, volume=volume, masked=masked)


def _fit(table):
    """Where the line was fitted, or None where B was given."""
    if table.slope is None:
        return None
    ends = table.inverse_squared[table.fitted] ** -0.5
    return {
        "low": float(ends[0]),
        "high": float(ends[-1]),
        "shells": int(table.fitted.sum()),
        "slope": table.slope,
        "intercept": table.intercept,
        "correlation": table.correlation,
    }
