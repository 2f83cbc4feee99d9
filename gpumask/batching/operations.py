"""What can be done to each input of a list: which parameters it takes, what it writes, how much memory it needs."""

import contextlib
import hashlib
import json
import math
from pathlib import Path

from gpumask import job, pipeline, units
from gpumask.errors import GpumaskError, InputNotFound, UsageError
from gpumask.job import core_soft, inputs, outputs, resolution_files
from gpumask.recipe import MaskRecipe
from gpumask.units import voxel_edges

WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def of(name):
    """The operation of that name: ``create``, ``spectrum`` or ``fsc``."""
    if name not in OPERATIONS:
        raise UsageError(f"what is done to each input must be one of {', '.join(OPERATIONS)}, got {name!r}")
    return OPERATIONS[name]


def flag(value):
    """A truth value, also from the text of a table."""
    found = WORDS.get(str(value).lower())
    if found is None:
        raise ValueError
    return found


def voxel_size(value):
    """Voxel edges (z, y, x) in Å, from numbers (z, y, x) or from the text ``1.4`` or ``1.4,1.4,2`` (x,y,z)."""
    if isinstance(value, str):
        numbers = [float(part) for part in value.replace("Å", "").rstrip("A").split(",")]
        value = numbers[0] if len(numbers) == 1 else numbers[::-1]
    return list(voxel_edges(value))


def length(value):
    """A length that is none to grow by, for erosion."""
    text = str(value).strip().lstrip("+")
    if text.startswith("-"):
        raise UsageError(f"erode must be >= 0, got {value}; dilate grows")
    return text


def fields(value):
    """Fields of a recipe, and options where a mask's provenance gives them: from a file, a MaskRecipe or a dict."""
    if isinstance(value, (str, Path)):
        return job.read_recipe(value)
    return (value.to_dict() if isinstance(value, MaskRecipe) else dict(value)), {}


def _with_options(values):
    """What a recipe's file says besides the recipe counts where nothing else is given; an erosion is a dilation."""
    recipe, options = values.pop("recipe", ({}, {}))
    if "erode" in values:
        if "dilation" in values:
            raise UsageError("give dilate or erode, not both")
        values["dilation"] = "-" + values.pop("erode")
    given = {name: value for name, value in options.items() if value is not None}
    return {**given, **values, **({"recipe": recipe} if recipe else {})}


class Operation:
    """One verb, as a batch runs it.

    Attributes
    ----------
    name : str
    columns : tuple of str
        What the column with the input may be called.
    kinds : dict
        Parameter → what turns a table's text into its value.
    ending : str
        Of the name of an output, after the name of its input.
    """

    name, columns, ending, kinds = None, (), None, {}

    def settings(self, parameters, row=None):
        """The parameters of one item as plain values, those of its row before those of all; unknown ones refused."""
        raise NotImplementedError

    def files(self, output, settings):
        """Everything that is written for an output."""
        return [output]

    def inputs(self, source, settings):
        """Everything that is read for an item."""
        return [source, *(settings[name] for name in self.paths if settings.get(name) is not None)]

    def bytes_needed(self, shape, voxel_size, settings):
        """Bytes that the work takes at its peak, what is read included."""
        raise NotImplementedError

    def whole_box(self, settings):
        """Why a box that does not fit cannot be made in slabs; None where it can."""
        return f"{self.name} needs the whole box"

    def hash(self, settings):
        """16 hex digits of the SHA-256 of the operation and of all settings that its result depends on."""
        text = json.dumps({"do": self.name, **settings}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _values(self, parameters):
        """Parameters with their values, text of tables turned into what it means; those that are None left out."""
        found = {}
        for given, value in parameters.items():
            name = self.aliases.get(given, given)
            if name not in self.kinds:
                raise UsageError(f"{name} is no parameter of {self.name}; it has {', '.join(self.kinds)}")
            if value is None:
                continue
            if name in found:
                (alias,) = (alias for alias, meant in self.aliases.items() if meant == name)
                raise UsageError(f"give {alias} or {name}, not both: they are one parameter")
            try:
                found[name] = self.kinds[name](value)
            except (ValueError, TypeError) as error:
                if isinstance(error, GpumaskError):
                    raise
                raise UsageError(f"{name.replace('_', ' ')} cannot be {value!r}") from error
        return found


def _same(value):
    return value


READING = {"voxel_size": voxel_size, "nan_to": float}
HALF_MAPS = {"half1": str, "half2": str, "onset": str, "assume_unmasked": flag}


class Create(Operation):
    """Masks, each with its provenance beside it."""

    name, columns, ending = "create", ("map",), "_mask.mrc"
    aliases = {"dilate": "dilation"}
    paths = ("like", "half1", "half2")
    recipe = dict.fromkeys(MaskRecipe.__dataclass_fields__, _same) | {
        "absolute_value": flag, "dust": float, "largest": int, "fill_holes": flag, "invert": flag}  # fmt: skip
    options = {"like": str, "mode": str, **READING}
    more = {"plot": flag, "sha256": flag, "core_soft": flag, **HALF_MAPS}
    kinds = {**recipe, "erode": length, "preset": str, "recipe": fields, **options, **more}
    # measured at 160³, the mask filling the box: 21.8 more than without, and 36.7 more
    per_voxel_of_core_soft, per_voxel_of_halves = 24, 40

    def settings(self, parameters, row=None):
        every, own = (_with_options(self._values(given)) for given in (parameters, row or {}))
        given = {**every, **own}
        more = {name: given[name] for name in self.more if given.get(name)}
        if "core_soft" in more:
            own |= core_soft.defaults(given.get("preset"), {**given.get("recipe", {}), **given})
        with contextlib.suppress(InputNotFound):  # the work will say so
            leaks = self.leaks(more)
            # by the name that is given, which is not that of what a link leads to
            more |= {"half2": str(leaks.paths[1])} if leaks is not None and leaks.paths else {}
        # a threshold may come with each row alone; the parameters of all need one to be a recipe
        layers = {name: every[name] for name in self.recipe if name in every}
        for values in (own.get("recipe", {}), own):
            layers |= {name: values[name] for name in ("threshold",) if name in values}
        recipe = pipeline.build_recipe(every.get("recipe"), every.get("preset"), **layers)
        if own:
            start = {**recipe.to_dict(), **own.get("recipe", {})}
            recipe = pipeline.build_recipe(start, own.get("preset"), **{n: own[n] for n in self.recipe if n in own})
        options = {name: own.get(name, every.get(name)) for name in self.options}
        options["mode"] = options["mode"] or "float32"
        return {"recipe": recipe.to_dict(), **options, **more}

    def files(self, output, settings):
        suffixes = (".json", ".png") if settings.get("plot") else (".json",)
        return [output, *(str(outputs.beside(Path(output), suffix)) for suffix in suffixes)]

    def bytes_needed(self, shape, voxel_size, settings):
        more = self.per_voxel_of_core_soft * ("core_soft" in settings)
        more += self.per_voxel_of_halves * ("half1" in settings)
        recipe = MaskRecipe.from_dict(settings["recipe"])
        return pipeline.memory_needed(shape, voxel_size, recipe) + more * math.prod(shape)

    def whole_box(self, settings):
        asked = [f"--{name.replace('_', '-')}" for name in ("like", "core_soft", "plot") if settings.get(name)]
        return f"{super().whole_box(settings)} for {', '.join(asked)}" if asked else None

    def leaks(self, settings):
        """What the leak of a core-soft mask is told from; None for another mask."""
        given = {name: settings[name] for name in HALF_MAPS if name in settings}
        return core_soft.leaks("core_soft" in settings, given, settings.get("voxel_size"))


class Spectrum(Operation):
    """What masks do in Fourier space, each as the JSON document of ``gpumask spectrum``."""

    name, columns, ending = "spectrum", ("mask",), "_spectrum.json"
    aliases = {}
    paths = ("half1", "half2")
    kinds = {"resolution": str, "asymmetric_units": int, "seeds": int, "plot": flag, **HALF_MAPS, **READING}
    per_voxel, per_voxel_of_halves = 16, 32  # measured at 160³, the mask filling the box: 13.5, and 26.4 more

    def settings(self, parameters, row=None):
        found = {**self._values(parameters), **self._values(row or {})}
        if "resolution" in found:
            found["resolution"] = str(units.Length(units.angstrom(found["resolution"]), "A"))
        return found

    def files(self, output, settings):
        return [output, *([str(Path(output).with_suffix(".png"))] if settings.get("plot") else [])]

    def bytes_needed(self, shape, voxel_size, settings):
        return math.prod(shape) * (self.per_voxel + self.per_voxel_of_halves * ("half1" in settings))


class Fsc(Operation):
    """Resolutions of half maps, each with the files of ``gpumask fsc`` in a folder."""

    name, columns, ending = "fsc", ("half1",), "_fsc"
    aliases = {"directional": "by_direction", "local_resolution": "by_place", "filter": "local_filter"}
    paths = ("half2", "mask", "reference", "model")
    kinds = {"half2": str, "mask": str, "reference": str, "style": str, "onset": str, "seed": int, "base_lowpass": str,
             "asymmetric_units": int, "assume_unmasked": flag, "mass": float, "cross_checks": flag, "plot": flag,
             "by_direction": flag, "by_place": flag, "window": str, "step": str, "local_filter": flag,
             "b_factor": float, "model": str, "select": str, "model_resolution": str, **READING}  # fmt: skip
    per_voxel, per_voxel_of_more = 48, 48  # measured at 160³: 44.5 with a mask, and 39.3 more by direction and by place

    def settings(self, parameters, row=None):
        return {**self._values(parameters), **self._values(row or {})}

    def files(self, output, settings):
        options = (settings.get(name, False) for name in ("plot", "by_direction", "by_place", "local_filter"))
        return [str(Path(output) / name) for name in resolution_files.names(*options)]

    def inputs(self, source, settings):
        given = super().inputs(source, settings)
        return given if settings.get("half2") else [source, inputs.other_half(source), *given[1:]]

    def bytes_needed(self, shape, voxel_size, settings):
        more = settings.get("by_direction") or settings.get("by_place")
        return math.prod(shape) * (self.per_voxel + self.per_voxel_of_more * bool(more))


OPERATIONS = {operation.name: operation for operation in (Create(), Spectrum(), Fsc())}
