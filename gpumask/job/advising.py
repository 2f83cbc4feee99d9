"""Advice as files."""

import shlex
from dataclasses import replace
from pathlib import Path

import gpumask
from gpumask import advisor, backend, io, units
from gpumask.errors import InputRefused, UsageError
from gpumask.job import devices, outputs, sweeping
from gpumask.job.timing import timed
from gpumask.recipe import MaskRecipe

ADVICE, MASK, LEAST_LEAK, REPORT = "advice.json", "mask.mrc", "least_leak.mrc", "report.html"
OF_ADVICE = (*sweeping.OF_SWEEP, "spectra", "fsc")  # figures


def advise(
    map_path,
    output,
    *,
    half1,
    half2=None,
    base=None,
    region=None,
    goal="global",
    least_leak=False,
    report=False,
    device=None,
    voxel_size=None,
    nan_to=None,
    overwrite=False,
    progress=None,
    **options,
):
    """Pick a mask for a goal, and write it with the reason.

    Parameters
    ----------
    map_path : str or Path
    output : str or Path
        A folder, made where it is not there: ``mask.mrc``, ``mask.json`` (recipe and reason), ``advice.json``,
        ``sweep.csv`` and ``sweep.json``, all of them or none.
    half1, half2 : str or Path
        Unmasked half maps; the second is found by the name of the first where it is left out.
    base, region : str or Path, optional
        See :func:`gpumask.advise`.
    goal : str
    least_leak : bool
        Also ``least_leak.mrc``, the mask with the profile of least leak between the ends of the pick's edge, and
        ``least_leak.json``, its nodes and values.
    report : bool
        Also ``report.html``, one page with figures that opens from disk, and the figures: ``heat_maps.png``,
        ``front.png``, ``filmstrip.png``, ``spectra.png``, ``fsc.png`` (extra ``plot``). With `least_leak` the page has
        a preview: the spectrum of other edges of the pick's base, in the browser.
    device : str, optional
        See :func:`gpumask.backend.choose`.
    voxel_size, nan_to
        See :func:`gpumask.read`; for every file.
    overwrite : bool
        Replace existing files; never an input.
    progress : callable, optional
        Called with the name of each step as it begins, and with its share done where that is known.
    options
        Others of :func:`gpumask.advise`.

    Returns
    -------
    dict
        ``advice``, a :class:`gpumask.Advice`; ``inputs``, ``options``, ``device``, ``device_reason``, ``seconds``,
        ``warnings`` and ``files``.

    Raises
    ------
    UsageError
        Options that do not go together.
    InputRefused
        Half maps that are masked; maps that cannot be used together; existing files without `overwrite`.
    OutOfMemory
        No room for the profile of least leak.
    """
    files = sweeping.Files(map_path, half1, half2, {"base": base, "region": region}, voxel_size, nan_to)
    if half1 is None:
        raise UsageError("advice needs unmasked half maps: give --half1 and --half2")
    drawn = OF_ADVICE if report else ()
    if report:
        outputs.figure_format(Path(f"{drawn[0]}.png"))
    device, reason = backend.choose(device)
    progress = progress or (lambda name, share=None: None)
    seconds = {}
    with outputs.folder(output) as folder:
        mask_path = folder / MASK
        optional = [LEAST_LEAK, "least_leak.json", REPORT, *(f"{name}.png" for name in OF_ADVICE)]
        targets = [mask_path, *(folder / name for name in ("mask.json", ADVICE, sweeping.TABLE, sweeping.STATE))]
        least_path = folder / LEAST_LEAK
        more = [least_path, outputs.beside(least_path, ".json")] if least_leak else []
        pages = [folder / REPORT, *(folder / f"{name}.png" for name in drawn)] if report else []
        outputs.check([*targets, *more, *pages], files.paths.values(), overwrite)
        progress("read")
        with timed(seconds, "read"):
            files.read()
        if base is not None:
            names = str(files.paths["base"]), str(files.paths["half1"])
            advisor.check_base(files.volumes["base"], files.volumes["half1"], names)

        def measure(device):
            maps = {name: backend.place(volume, device) for name, volume in files.volumes.items()}
            more = {name: maps.get(name) for name in ("base", "region")}
            given = {**options, **more, "goal": goal, "least_leak": least_leak, "progress": progress}
            found = advisor.advise(maps["map"], maps["half1"], maps["half2"], **given)
            least = found.least_leak and backend.place(found.least_leak.mask, "cpu")
            return found, backend.place(found.mask, "cpu"), least

        try:
            with timed(seconds, "advice"):
                (found, soft, least), used, notes = devices.run(measure, device, reason)
        except InputRefused as error:
            raise InputRefused(f"{files.names}: {error}") from error
        warnings = [*files.notes, *found.notes, *notes]
        if least_leak and least is None:
            warnings.append("the pick has no soft edge, so that there is no profile of least leak")
        source = "map" if base is None else "base"
        earlier = [name for name in optional if (path := folder / name).exists() and path not in (*more, *pages)]
        if earlier:
            warnings.append(f"{', '.join(earlier)} in {folder}: of an earlier pick, and not made again; remove them")
        drawings = {}
        if report:
            progress("report")
            with timed(seconds, "report"):
                drawings = _report(files, found, source, used, warnings, folder)
        told = {**found.to_dict(), "device": used, "warnings": warnings, "version": gpumask.__version__}
        asked = {"goal": goal, **{name: str(value) for name, value in options.items()}, **files.reading}
        state = {"inputs": files.records, "options": asked, "version": gpumask.__version__, **found.sweep.to_dict()}
        facts = sweeping.provenance(files, source, mask_path, found.recipe, found.row, soft)
        facts["advice"] = {**_reason(found), "inputs": files.records}
        label = sweeping.LABEL.format(gpumask.__version__, "advise", found.recipe.hash)
        contents = [io.encode(soft, label=label), [outputs.document(facts)], [outputs.document(told)]]
        contents += [[sweeping.table(found.sweep.rows)], [sweeping.compact(state)]]
        written = dict(zip(targets, contents, strict=True))
        if least is not None:
            label = f"gpumask {gpumask.__version__} advise, profile of least leak"
            facts = _provenance(files, source, least_path, found)
            written |= zip(more, [io.encode(least, label=label), [outputs.document(facts)]], strict=True)
        written |= drawings
        progress("write")
        io.write_files(list(written.items()), overwrite)
    return {
        "advice": found,
        "inputs": files.records,
        "options": asked,
        "device": used,
        "device_reason": reason,
        "seconds": seconds,
        "warnings": warnings,
        "files": [str(path) for path in written],
    }


def _provenance(files, source, path, found):
    """What stands beside the mask of least leak: what its distances are from, and its values at them."""
    eroded = min(found.row["dilation_px"], 0.0)
    return {
        "output": str(path),
        "base_recipe": replace(found.recipe, dilation=str(units.Length(eroded, "px")), soft_edge="0px").to_dict(),
        "input": files.records[source],
        "like": files.records["half1"]["path"] if files.elsewhere(source) else None,
        "options": files.reading,
        "version": gpumask.__version__,
        "voxel_size_angstrom": found.sweep.voxel_size_angstrom,
        "box": found.sweep.box,
        "resolution": found.resolution,
        **found.least_leak.to_dict(),
    }


def _report(files, found, source, device, warnings, folder):
    """Paths and contents of the page and its figures; a page that would be too large is made without the preview, and
    `warnings` has a line more."""
    from gpumask.report import advice as drawing

    shown = drawing.frames(found)
    masks, behind = sweeping.looked_at(files, found.sweep, shown, source, device)
    figures = drawing.draw(found, masks, behind.data, behind.voxel_size)
    inputs = [(what, record["path"], record["sha256"]) for what, record in files.records.items()]
    given = {"command": _command(files, source, found.recipe), "inputs": inputs, "version": gpumask.__version__}
    page = drawing.report(found, figures, warnings=warnings, **given)
    if len(page) > drawing.MOST and found.least_leak is not None:
        warnings.append(
            f"{REPORT} has no preview of other edges: with it the page has {len(page) / 1e6:.1f} MB, "
            f"{drawing.MOST / 1e6:g} are let pass; search fewer masks"
        )
        page = drawing.report(found, figures, warnings=warnings, interactive=False, **given)
    if len(page) > drawing.MOST:
        warnings.append(
            f"{REPORT} has {len(page) / 1e6:.1f} MB, more than the {drawing.MOST / 1e6:g} that load at once"
        )
    return {folder / REPORT: [page], **{folder / f"{name}.png": [drawn] for name, drawn in figures.items()}}


def _command(files, source, recipe):
    """What makes the mask of a recipe again, for a shell."""
    words = ["gpumask", "create", str(files.paths[source]), "-o", "mask.mrc"]
    if files.elsewhere(source):
        words += ["--like", str(files.paths["half1"])]
    plain = MaskRecipe(recipe.threshold).to_dict()
    fields = {name: value for name, value in recipe.to_dict().items() if value != plain[name] or name == "threshold"}
    size = files.reading["voxel_size_angstrom"]
    if size is not None:
        fields["voxel_size"] = ",".join(map(units.plain, size))
    if files.reading["nan_to"] is not None:
        fields["nan_to"] = files.reading["nan_to"]
    for name, value in fields.items():
        option = "--dilate" if name == "dilation" else "--" + name.replace("_", "-")
        words.append(option if value is True else f"{option}={value}")
    return shlex.join(words)


def _reason(found):
    """Why a mask was picked, in short."""
    names = ("goal", "criterion", "passes", "resolution", "neighbours", "unknowns", "notes")
    least = {} if found.least_leak is None else {"least_leak": found.least_leak.to_dict()}
    return {name: getattr(found, name) for name in names} | least
