"""What masks do in Fourier space, one after another, with the figures."""

import json
import re
from dataclasses import replace
from pathlib import Path

from gpumask import backend, correlation, io, positions, units
from gpumask.errors import InputRefused, UsageError
from gpumask.job import devices, inputs, outputs
from gpumask.spectrum import mask_spectrum

LABELLED = re.compile(r"gpumask \S+ .*, recipe ([0-9a-f]+)")


def spectrum(
    paths,
    *,
    resolution=None,
    half1=None,
    half2=None,
    onset=None,
    asymmetric_units=1,
    seeds=4,
    assume_unmasked=False,
    device=None,
    voxel_size=None,
    nan_to=None,
    plot=None,
    slices=None,
    volume=None,
    at=None,
    overwrite=False,
    progress=None,
):
    """Measure masks in Fourier space, one after another, and draw what was found.

    Parameters
    ----------
    paths : list of str or Path
        The masks; only one of them is in memory at a time.
    half1, half2 : str or Path, optional
        Unmasked half maps on the grid of every mask; read and prepared once.
    resolution, onset, asymmetric_units, seeds, assume_unmasked
        See :func:`gpumask.mask_spectrum`.
    device : str, optional
        See :func:`gpumask.backend.choose`.
    voxel_size, nan_to
        See :func:`gpumask.read`; for every file.
    plot : str or Path, optional
        Draw the spectra to this file (.png, .pdf, .svg; extra ``plot``).
    slices : str or Path, optional
        Draw slices of the one mask in real and Fourier space to this file.
    volume : str or Path, optional
        A map to be drawn with it.
    at : str, optional
        Point that the slices cut through: ``x,y,z`` in px from the corner, or ``x,y,zA`` in Å of the header's frame.
    overwrite : bool
        Replace existing files.
    progress : callable, optional
        Called with the name of each step as it begins, and with its share done where that is known.

    Returns
    -------
    dict
        ``spectra``, a :class:`gpumask.MaskSpectrum` a mask; ``resolution``, Å or None; ``onset``, {shell, resolution}
        or None; ``device`` and ``device_reason``; ``files`` that were written.

    Raises
    ------
    UsageError
        Options that do not go together, or a figure of an unknown format.
    InputRefused
        A file that is no mask, empty, or everything; half maps or a map on another grid; existing files without
        `overwrite`.
    """
    target = None if resolution is None else units.angstrom(resolution)
    paths = [Path(path) for path in paths]
    figures = [Path(path) for path in (plot, slices) if path is not None]
    _check_spectrum_options(paths, half1, half2, onset, assume_unmasked, slices, volume, at)
    outputs.check(figures, (*paths, half1, half2, volume), overwrite)
    formats = {path: outputs.figure_format(path) for path in figures}
    device, reason = backend.choose(device)
    progress = progress or (lambda name, share=None: None)
    reading = {"voxel_size": voxel_size, "nan_to": nan_to}
    files, notes = [], []
    if slices is not None:
        progress("slices")
        picture, notes = _slices(paths[0], volume, at, target, formats[Path(slices)], reading)
        files.append((slices, [picture]))

    def measure(device):
        halves, more, found = None, [], []
        with backend.current(device):
            if half1 is not None:
                progress("half maps")
                halves, more = _half_maps(half1, half2, onset, assume_unmasked, len(paths) > 1, device, reading)
            for number, path in enumerate(paths, 1):
                tell = _prefixed(progress, f"mask {number} of {len(paths)}: " if len(paths) > 1 else "")
                options = {"asymmetric_units": asymmetric_units, "seeds": seeds, "progress": tell}
                found.append(_measured_mask(path, target, halves, half1, device, reading, options))
        start = None if halves is None or halves.refusal else halves.onset
        return found, more, start and {"shell": start, "resolution": 1 / (start * halves.shells.step)}

    (spectra, more, start), device, steps_down = devices.run(measure, device, reason)
    spectra = [replace(one, warnings=[*notes, *steps_down, *more, *one.warnings]) for one in spectra]
    if plot is not None:
        from gpumask.report import spectrum as drawing

        progress("plot")
        files.append((plot, [drawing.draw(spectra, format=formats[Path(plot)])]))
    io.write_files(files, overwrite)
    return {
        "spectra": spectra,
        "resolution": target,
        "onset": start,
        "device": device,
        "device_reason": reason,
        "files": [str(path) for path, _ in files],
    }


def shell_at(spectrum, resolution=None):
    """The row of ``spectrum.shells`` at `resolution` in Å, or at Nyquist."""
    last = spectrum.shells[-1]
    if resolution is None:
        return last
    return spectrum.shells[min(round(last["index"] / (resolution * last["frequency"])), last["index"])]


def _measured_mask(path, target, halves, half1, device, reading, options):
    """The spectrum of a mask file; in a function of its own, so that the mask is gone before the next is read."""
    soft, notes = inputs.read_mask(path, reading)
    if halves is not None:
        inputs.check_grid(path, soft, half1, halves)
    found = mask_spectrum(backend.place(soft, device), target, halves=halves, path=str(path), **options)
    edge = _recorded_edge(path, soft.header)
    return replace(found, soft_edge_px=edge, warnings=[*notes, *found.warnings])


def _check_spectrum_options(paths, half1, half2, onset, assume_unmasked, slices, volume, at):
    if not paths:
        raise UsageError("spectrum needs a mask")
    if (half1 is None) != (half2 is None):
        raise UsageError("give both half maps or none")
    if half1 is None and (onset is not None or assume_unmasked):
        raise UsageError("an onset, or that half maps are unmasked, says nothing without half maps; give both of them")
    if slices is None and (volume is not None or at is not None):
        raise UsageError("a map, or a point to cut through, is for slices: say where to draw them")
    if slices is not None and len(paths) > 1:
        raise UsageError(f"slices are drawn of one mask, got {len(paths)}")


def _prefixed(progress, prefix):
    return lambda name, share=None: progress(prefix + name, share)


def _slices(path, map_path, at, target, form, reading):
    """The figure, and notes."""
    from gpumask.report.slices import draw_both

    soft, _ = inputs.read_mask(path, reading)
    behind, notes = None, []
    if map_path is not None:
        behind, notes = io.load(map_path, **reading)
        note = inputs.check_grid(path, soft, map_path, behind)
        notes = [*notes, note] if note else notes
    picture = draw_both(
        soft.data,
        None if behind is None else behind.data,
        voxel_size=soft.voxel_size,
        origin=soft.origin,
        centre=None if at is None else positions.point(at, soft),
        resolution=target,
        title=path.name,
        format=form,
    )
    return picture, notes


def _half_maps(half1, half2, onset, assume_unmasked, several, device, reading):
    """Half maps prepared for one mask or `several`, and notes."""
    (first, notes), (second, more) = (io.load(path, **reading) for path in (half1, half2))
    note = inputs.check_grid(half1, first, half2, second)
    arrays = [backend.place_array(half.data, device) for half in (first, second)]
    try:
        options = {"assume_unmasked": assume_unmasked, "keep": several}
        halves = correlation.half_maps(*arrays, first.voxel_size, onset, **options)
    except InputRefused as error:
        raise InputRefused(f"{half1}, {half2}: {error}") from error
    return halves, [*notes, *more, *([note] if note else [])]


def _recorded_edge(path, header):
    """Soft edge in px from the provenance beside a mask, where its recipe is the one in the mask's last label."""
    packed = path.suffix.lower() in (".gz", ".bz2")
    hashes = [match[1] for match in map(LABELLED.match, header.labels) if match]
    try:
        document = json.loads(
            outputs.beside(path.with_suffix("") if packed else path, ".json").read_text(encoding="utf-8")
        )
    except (OSError, ValueError):
        return None
    if not hashes or not isinstance(document, dict) or document.get("recipe_hash") != hashes[-1]:
        return None
    edge = document.get("soft_edge_px")
    return float(edge) if isinstance(edge, (int, float)) else None
