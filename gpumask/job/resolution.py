"""Half maps in, resolution out: the curves as JSON, CSV, STAR and XML, by direction and by place where asked."""

from dataclasses import replace
from pathlib import Path

from gpumask import (
    backend,
    correlation,
    directional,
    filters,
    io,
    local_resolution,
    model_fit,
    models,
    resolution,
    sharpening,
    units,
)
from gpumask.errors import InputRefused, UsageError
from gpumask.job import devices, inputs, outputs, resolution_files
from gpumask.job.resolution_files import judged
from gpumask.job.timing import timed
from gpumask.mask import soft_mask
from gpumask.volume import Volume


def fsc(
    half1,
    half2=None,
    mask=None,
    *,
    reference=None,
    model=None,
    select=None,
    model_resolution=None,
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
    model : str or Path, optional
        An atomic model (extra ``model``): adds its correlation with the mean of the half maps, unmasked and under the
        mask that is given, else the model's own.
    select : str, optional
        Which of its atoms, in the words of :meth:`gpumask.models.Model.select`; default all.
    model_resolution : float or str, optional
        Å, of its density; see :func:`gpumask.model_fit.density`.
    output : str or Path, optional
        A folder, made where it is not there: ``fsc.json``, ``fsc.csv``, ``noise.csv``,
        ``postprocess.star``, ``fsc.xml`` and ``provenance.json``, all of them or none.
    plot : bool
        Also draw ``fsc.png``, and ``directional.png`` and ``locres.png`` where those are made (extra ``plot``).
    by_direction : bool
        Also conical FSC and a 3DFSC volume, under the mask that is given, else under the tight one:
        ``directional.json``, ``3dfsc.mrc``.
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
    atoms = _Atoms.of(model, select, model_resolution)
    names = resolution_files.names(plot, by_direction, by_place, local_filter)
    local = local if by_place else None
    asked = {
        "style": "gpumask",
        **options,
        "select": select,
        "model_resolution": None if model_resolution is None else units.angstrom(model_resolution),
        "directional": by_direction,
        "local_resolution": local,
        "voxel_size_angstrom": None if voxel_size is None else units.xyz(units.voxel_edges(voxel_size)),
        "nan_to": nan_to,
    }
    device, reason = backend.choose(device)
    progress = progress or (lambda name, share=None: None)
    seconds = {}

    def measure(device):
        with backend.current(device):
            steps = _Steps(maps, device, options, progress, seconds)
            steps.fsc()
            if atoms is not None:
                steps.model(atoms)
            if output is not None:
                steps.guinier()
                steps.noise()
            if by_direction:
                steps.directional()
            if by_place:
                steps.local(local)
            return steps.made

    def run():
        progress("read")
        with timed(seconds, "read"):
            maps.read()
            if atoms is not None:
                atoms.read()
        try:
            made, used, notes = devices.run(measure, device, reason)
        except InputRefused as error:
            raise InputRefused(f"{maps.names}: {error}") from error
        return {
            **made,
            "inputs": maps.records if atoms is None else {**maps.records, "model": atoms.record},
            "options": asked,
            "device": used,
            "device_reason": reason,
            "seconds": seconds,
            "warnings": [*maps.notes, *(made["of_model"] or ()), *made["fsc"].notes, *notes],
            "files": [],
        }

    if output is None:
        return run()
    with outputs.folder(output) as folder:
        targets = {name: folder / name for name in names}
        outputs.check(targets.values(), [*maps.paths.values(), model], overwrite)
        if plot:
            outputs.figure_format(targets["fsc.png"])
        found = run()
        found["files"] = [str(path) for path in targets.values()]
        contents = resolution_files.contents(found, maps)
        if plot:
            progress("plot")
            contents |= resolution_files.figures(found, maps)
        progress("write")
        io.write_files([(path, contents[name]) for name, path in targets.items()], overwrite)
    return found


def _check_options(output, plot, by_place, local):
    if output is None and (plot or local["filter"]):
        raise UsageError("a figure, or a locally filtered map, needs a folder to be written into: give one with -o")
    if not by_place and (local["filter"] or local["window"] is not None or local["step"] is not None):
        raise UsageError("--window, --step and --filter are for --local-resolution: give it too")
    if local["b_factor"] and not local["filter"]:
        raise UsageError("--b-factor is for the map of --filter: give it too")


class _Atoms:
    """The atoms of a model file that a map is correlated with; `model` and `record` are None until they are read."""

    def __init__(self, path, select, resolution):
        self.path, self.select, self.resolution = Path(path), select, resolution
        self.model = self.record = None

    @classmethod
    def of(cls, path, select, resolution):
        """None without a model."""
        if path is not None:
            return cls(path, select, resolution)
        if select is not None or resolution is not None:
            raise UsageError("--select and --model-resolution are for the atoms of a model: give it with --model")
        return None

    def read(self):
        self.model = models.read(self.path)
        if self.select is not None:
            self.model = self.model.select(self.select)
        self.record = {"path": str(self.path), "sha256": io.sha256(self.path)}


class _Steps:
    """What is measured of half maps on one device, a step at a time; `made` has a name for each result, in host memory
    and None until then."""

    def __init__(self, maps, device, options, progress, seconds):
        self.records, self.options, self.progress, self.seconds = maps.records, options, progress, seconds
        placed = (maps.half1, maps.half2, maps.mask, maps.reference)
        placed = [None if one is None else backend.place(one, device) for one in placed]
        self.first, self.second, self.mask, self.reference = placed
        self.halves, self.size = (self.first.data, self.second.data), self.first.voxel_size
        self.under = None if self.mask is None else self.mask.data
        self.made = dict.fromkeys(
            (
                "fsc",
                "judged",
                "guinier",
                "noise",
                "directional",
                "fsc_volume",
                "local_resolution",
                "filtered",
                "of_model",
            )
        )

    def fsc(self):
        """All curves."""
        given = {"reference": self.reference, "progress": self.progress, **self.options}
        with timed(self.seconds, "fsc"):
            found = resolution.fsc(self.first, self.second, self.mask, **given)
        self.made |= {"fsc": replace(found, mask=self.records.get("mask")), "judged": judged(found)}

    def model(self, atoms):
        """The correlation of the mean of the half maps with a model."""
        self.progress("model")
        with timed(self.seconds, "model"):
            mean = self.first.with_data(self._mean())
            density = model_fit.density(atoms.model, mean, atoms.resolution)
            around = model_fit.own_mask(atoms.model, mean) if self.under is None else self.under
            style = self.options.get("style", "gpumask")
            found = model_fit.map_model(mean, Volume(density, self.size), Volume(around, self.size), style=style)
        facts = {
            **atoms.record,
            "select": atoms.select,
            "atoms": len(atoms.model),
            "density_resolution": model_fit.density_resolution(self.size, atoms.resolution),
            "mask": "model" if self.under is None else "given",
        }
        self.made["fsc"] = model_fit.joined(self.made["fsc"], found, **facts)
        self.made["of_model"] = [*atoms.model.notes, *models.outside_note(atoms.model, mean)]

    def guinier(self):
        """The Guinier table as it is before sharpening."""
        self.progress("Guinier")
        curve = self.made["fsc"].curve(self.made["judged"])
        convention = resolution.STYLES[self.options.get("style", "gpumask")].convention
        with timed(self.seconds, "Guinier"):
            self.made["guinier"] = sharpening.guinier(
                self._mean(), self.size, fsc=curve, b_factor=0.0, convention=convention
            )

    def noise(self):
        """Power of the noise and of the signal in the mean map, under the mask that is given."""
        with timed(self.seconds, "noise"):
            self.made["noise"] = correlation.noise_spectrum(*self.halves, self.size, self.under)

    def directional(self):
        """Under the mask that is given, else under the tight one."""
        with timed(self.seconds, "directional"):
            around = self._tight() if self.under is None else self.under
            given = (*self.halves, self.size, around)
            self.made["directional"] = directional.conical_fsc(*given, progress=self.progress)
            volume = directional.fsc_volume(*given, progress=self.progress)
        self.made["fsc_volume"] = replace(volume, volume=backend.to_numpy(volume.volume))

    def local(self, asked):
        """Local resolution, and the mean of the half maps filtered by it where that is asked for."""
        given = {name: self.options[name] for name in ("seed", "assume_unmasked") if name in self.options}
        given |= {"window": asked["window"], "step": asked["step"], "progress": self.progress}
        with timed(self.seconds, "local resolution"):
            found = local_resolution.measure(*self.halves, self.size, self.under, **given)
        self.made["local_resolution"] = replace(found, volume=backend.to_numpy(found.volume))
        if asked["filter"]:
            with timed(self.seconds, "local filter"):
                filtered = local_resolution.filtered(
                    self._mean(), found.volume, self.size, bfactor=asked["b_factor"], progress=self.progress
                )
            self.made["filtered"] = backend.to_numpy(filtered)

    def _mean(self):
        return (self.halves[0] + self.halves[1]) / 2

    def _tight(self):
        """The tight mask of :func:`gpumask.fsc`: without a mask the solvent's noise drowns the particle in a cone."""
        facts = self.made["fsc"].bases["tight"]
        lowpass = units.angstrom(self.options.get("base_lowpass", resolution.BASE_LOWPASS))
        ends = (units.Length(facts[name], "A") for name in ("near_angstrom", "far_angstrom"))
        near, far = (units.to_px(end, self.size) for end in ends)
        base = filters.lowpass(self._mean(), lowpass, self.size) >= facts["level"]
        return soft_mask(base, near, far - near, sampling=units.sampling(self.size))
