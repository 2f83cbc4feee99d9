"""A map in, a filtered map out."""

import math
import warnings
from pathlib import Path

import numpy as np

import gpumask
from gpumask import backend, filters, io, units
from gpumask.errors import InputRefused, OutOfMemory, UsageError
from gpumask.job import devices, outputs
from gpumask.job.timing import timed
from gpumask.recipe import parse_butterworth

LABEL = "gpumask {} filter {}"
RESOLUTIONS = ("lowpass", "highpass", "rect", "gaussian")
ORDER = ("highpass", "lowpass", "bandpass", "butterworth", "rect", "bfactor", "gaussian")
TRANSFORM_BYTES, GAUSSIAN_BYTES = 4 + 3 * 8, 3 * 4  # a voxel: the map, and its transform in float64 or two copies


def filter(
    map_path,
    output,
    *,
    device=None,
    mode="float32",
    overwrite=False,
    voxel_size=None,
    nan_to=None,
    progress=None,
    **chosen,
):
    """Filter a map file, and write the result with its provenance beside it.

    Parameters
    ----------
    map_path, output : str or Path
        ``out.mrc`` is written with ``out.json``, both or none; voxel size, origin and NSTART are those of the map.
    device : str, optional
        See :func:`gpumask.backend.choose`.
    mode, overwrite
        See :func:`gpumask.write`.
    voxel_size, nan_to
        See :func:`gpumask.read`.
    progress : callable, optional
        Called with the name of each step as it begins.
    chosen
        ``lowpass``, ``highpass``, ``rect`` and ``gaussian``: ``"15A"`` or a number of Å; ``bandpass``: ``"80A:15A"``;
        ``butterworth``: ``"15A:8"``; ``bfactor``: Å². Several in one pass, see :func:`gpumask.filters.combined`.

    Returns
    -------
    dict
        What ``gpumask filter --json`` prints; triples are x, y, z.
    """
    map_path, output = Path(map_path), outputs.named(output, ".json")
    sidecar = outputs.beside(output, ".json")
    outputs.check([output, sidecar], (map_path,), overwrite)
    asked, canonical = _parsed(chosen)
    device, reason = backend.choose(device)
    progress = progress or (lambda name, share=None: None)
    seconds = {}
    progress("read")
    with timed(seconds, "read"):
        source = io.Slabs(map_path, voxel_size=voxel_size, nan_to=nan_to)
        _check_memory(map_path, source.shape, asked)
        volume, digest = source.whole(), io.sha256(map_path)
    progress("filter")

    def work(device):
        placed = backend.place(volume, device)
        with backend.current(device), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "overflow encountered", RuntimeWarning)  # in any thread; refused below
            made = filters.combined(placed.data, placed.voxel_size, **asked)
            return volume.with_data(backend.to_numpy(made))

    with timed(seconds, "filter"):
        made, device, steps_down = devices.run(work, device, reason)
    if not np.isfinite(made.data).all():
        raise InputRefused(f"{map_path}: the filtered map is beyond float32; scale the map, or sharpen it less")
    low, high, mean, deviation = backend.of(made.data).statistics(made.data)
    document = {
        "output": str(output),
        "files": [str(output), str(sidecar)],
        "version": gpumask.__version__,
        "verb": "filter",
        "input": {"path": str(map_path), "sha256": digest},
        "filters": canonical,
        "options": {
            "mode": mode,
            "nan_to": nan_to,
            "voxel_size_angstrom": None if voxel_size is None else units.xyz(units.voxel_edges(voxel_size)),
        },
        "box": units.xyz(made.shape),
        "voxel_size_angstrom": units.xyz(made.voxel_size),
        "statistics": {"min": low, "max": high, "mean": mean, "standard_deviation": deviation},
        "device": device,
        "device_reason": reason,
        "seconds": seconds,
        "warnings": [*source.notes, *steps_down],
    }
    label = LABEL.format(gpumask.__version__, " ".join(f"{name} {text}" for name, text in canonical.items()))
    progress("write")
    files = [(output, io.encode(made, mode, label)), (sidecar, [outputs.document(document)])]
    io.write_files(files, overwrite)
    return document


def _parsed(chosen):
    """Arguments of :func:`gpumask.filters.combined`, and the same in words, in the order in which they act."""
    unknown = sorted(set(chosen) - set(ORDER))
    if unknown:
        raise UsageError(f"no such filter: {', '.join(unknown)}; there are {', '.join(ORDER)}")
    asked, words = {}, {}
    for name in ORDER:
        value = chosen.get(name)
        if value is None:
            continue
        if name in RESOLUTIONS:
            asked[name] = units.angstrom(value, name)
            words[name] = _text(asked[name])
        elif name == "butterworth":
            asked[name] = parse_butterworth(value)
            words[name] = f"{_text(asked[name][0])}:{asked[name][1]}"
        elif name == "bandpass":
            ends = str(value).split(":")
            if len(ends) != 2:
                raise UsageError(f"bandpass must be two resolutions such as 80A:15A, got {value!r}")
            asked[name] = tuple(units.angstrom(end, name) for end in ends)
            words[name] = ":".join(map(_text, asked[name]))
        else:
            asked[name] = value
            words[name] = value
    if not asked:
        raise UsageError(f"name a filter: {', '.join(ORDER)}")
    return asked, words


def _text(angstrom):
    return str(units.Length(angstrom, "A"))


def _check_memory(path, shape, asked):
    """Refuse a box whose filtering needs more memory than is free."""
    per_voxel = GAUSSIAN_BYTES if set(asked) == {"gaussian"} else TRANSFORM_BYTES
    needed, available = per_voxel * math.prod(shape), backend.available_memory()
    if available is not None and needed > available:
        raise OutOfMemory(
            f"{path}: filtering {units.by(shape)} voxels needs {needed / 2**30:.1f} GiB, "
            f"{available / 2**30:.1f} GiB are free; use a machine with more memory"
        )
