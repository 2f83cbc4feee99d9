"""One item on its way: read, computed, written, each a step of its own so that those of several items overlap."""

import errno
import json
import os
import time
from pathlib import Path

from gpumask import io, job
from gpumask.batching import fingerprint, holes, lanes, operations
from gpumask.errors import GpumaskError, InputRefused, WriteFailed
from gpumask.job import core_soft, outputs
from gpumask.job.creation import Creation
from gpumask.recipe import MaskRecipe

STEPS = ("read", "compute", "write")
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # what every other item would meet too


class Work:
    """An item; :meth:`step` runs one of STEPS and keeps what goes wrong for the row.

    Parameters
    ----------
    task : dict
        ``do``, ``input``, ``output``, ``folder``, ``settings``, ``recipe_hash``, ``device``, ``slabs``, ``dense``;
        plain values, since tasks go to other processes.
    lanes : Lanes
        Memory for maps and files, which items of a process share.
    """

    def __init__(self, task, lanes):
        self.task, self.lanes = task, lanes
        self.operation = operations.of(task["do"])
        self.source, self.settings = Path(task["input"]), task["settings"]
        self.output = Path(task["folder"]) / task["output"]
        self.seconds = dict.fromkeys(STEPS, 0.0)
        self.error = self.fingerprint = self.stop = None
        self.out_of_memory = False
        self.bytes_read = self.bytes_written = 0
        self.metrics, self.paths = {}, []

    def step(self, name):
        """Run a step, unless one before it has failed."""
        if self.error is not None:
            return
        start = time.perf_counter()
        try:
            getattr(self, name)()
        except MemoryError as error:
            self.out_of_memory = True
            self.error = str(error) or "out of memory"
        except GpumaskError as error:
            self.error = str(error)
            cause = error.__cause__
            if isinstance(error, WriteFailed) and isinstance(cause, OSError) and cause.errno in NO_ROOM:
                self.stop = self.error
        except Exception as error:  # a row, not the end of the job
            self.error = f"{self.source}: {type(error).__name__}: {error}"
        self.seconds[name] += time.perf_counter() - start

    def read(self):
        """Fingerprint the inputs, and ask the system to read them ahead."""
        self._fingerprint()
        for path in self.paths:
            with open(path, "rb", buffering=0) as stream:
                if hasattr(os, "posix_fadvise"):
                    os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)

    def _fingerprint(self):
        self.paths = self.operation.inputs(str(self.source), self.settings)
        self.fingerprint, self.bytes_read = fingerprint.of(self.paths)

    def _check_unchanged(self):
        """Refuse what was made of an input that was written meanwhile: its row would be about another file."""
        if fingerprint.of(self.paths)[0] != self.fingerprint:
            raise InputRefused(f"{self.source}: changed while it was read; run again when it is whole")

    def compute(self):
        """The work."""
        raise NotImplementedError

    def write(self):
        """Put what was made into its files."""

    def result(self):
        """What the ledger is to hold of this attempt, and what the run is to know of it."""
        try:
            json.dumps(self.metrics, allow_nan=False)
        except ValueError:
            self.error = self.error or f"{self.source}: its figures are no numbers; look at {self.output}"
        self.release()
        row = {
            "input": self.task["input"],
            "output": self.task["output"],
            "status": "done" if self.error is None else "failed",
            "error": self.error,
            "recipe_hash": self.task["recipe_hash"],
            "input_fingerprint": self.fingerprint,
            "seconds": {name: round(value, 6) for name, value in self.seconds.items()},
            "bytes_read": self.bytes_read,
            "bytes_written": self.bytes_written,
            "metrics": self.metrics if self.error is None else {},
        }
        return {"row": row, "out_of_memory": self.out_of_memory, "stop": self.stop}

    def release(self):
        """Let go of what the item has of the process's memory."""

    def _wrote(self, files):
        """Keep the sizes of what was written, by which a later run sees that it is still there, and how it begins, by
        which one that would replace it sees that it is the batch's."""
        briefs = {os.path.relpath(path, self.task["folder"]): fingerprint.brief(path) for path in files}
        sizes = {name: size for name, (size, _) in briefs.items()}
        self.metrics |= {"files": sizes, "beginnings": {name: digest for name, (_, digest) in briefs.items()}}
        self.bytes_written = self.bytes_written or sum(sizes.values())


class CreateWork(Work):
    """``gpumask create``."""

    way = making = None
    TOLD = ("box", "voxel_size_angstrom", "threshold", "volume_angstrom3", "components", "faces_touched",
            "soft_edge_px", "equivalent_edge_px", "minimum_soft_edge_px", "verdict", "device", "warnings")  # fmt: skip

    def read(self):
        self._fingerprint()
        self.output.parent.mkdir(parents=True, exist_ok=True)
        self.way = self.lanes.passage()
        self.making = Creation(
            self.source,
            self.output,
            MaskRecipe.from_dict(self.settings["recipe"]),
            **{name: self.settings[name] for name in self.operation.options},
            device=self.task["device"],
            memory=self.task["slabs"],
            overwrite=True,
            plot=self.settings.get("plot", False),
            core_soft=self.operation.leaks(self.settings),
            progress=None,
            carrier=self.way,
        )
        record = {"fingerprint": self.fingerprint}
        if self.settings.get("sha256"):
            record["sha256"] = io.sha256(self.source)
        self.making.read(record)
        self._check_unchanged()
        if self.making.volume is not None:
            self.way.send(self.making.volume)

    def compute(self):
        with self.lanes.computing():
            self.making.make()
        self.way.left()
        if self.making.core_soft is not None:  # its half maps have been read by now
            self._check_unchanged()

    def write(self):
        self.way.arrive()
        sparse = holes.Sparse(self.way.image, self.task["dense"])
        made = self.making.write(sparse)
        self.metrics = {name: made[name] for name in self.TOLD}
        if "core_soft" in made:
            leak = made["core_soft"]["masks"]["core_soft"]
            self.metrics |= {name: leak[name] for name in core_soft.LEAK}
        self._wrote(made["files"])
        self.bytes_written += sparse.bytes - self.output.stat().st_size

    def release(self):
        self.making = None
        if self.way is not None:
            self.way.end()


class SpectrumWork(Work):
    """``gpumask spectrum`` of one mask."""

    TOLD = (
        *("box", "voxel_size_angstrom", "volume_angstrom3", "components", "equivalent_edge_px", "minimum_soft_edge_px"),
        *("falloff_exponent", "porod_ratio", "effective_voxels", "k_leak", "mask_limited_resolution", "leak_mean"),
        *("cut_fraction", "verdict", "warnings"),
    )
    drawn = ()

    def compute(self):
        settings = dict(self.settings)
        plot = settings.pop("plot", False)
        done = job.spectrum([self.source], **settings, device=self.task["device"])
        self._check_unchanged()
        if plot:
            from gpumask.report import spectrum as drawing

            self.drawn = [[drawing.draw(done["spectra"])]]
        self.document = done["spectra"][0].to_dict()
        self.metrics = {name: self.document[name] for name in self.TOLD} | {"device": done["device"]}

    def write(self):
        self.output.parent.mkdir(parents=True, exist_ok=True)
        files = [Path(self.task["folder"]) / name for name in self.operation.files(self.task["output"], self.settings)]
        contents = [[outputs.document([self.document])], *self.drawn]
        io.write_files(list(zip(files, contents, strict=True)), overwrite=True)
        self._wrote(files)


class FscWork(Work):
    """``gpumask fsc`` of one pair of half maps."""

    def compute(self):
        done = job.fsc(self.source, output=self.output, overwrite=True, device=self.task["device"], **self.settings)
        self._check_unchanged()
        found = done["fsc"]
        self.metrics = {
            "box": found.box,
            "voxel_size_angstrom": found.voxel_size_angstrom,
            "resolution": found.resolution,
            "reported": found.reported,
            "judged": done["judged"],
            "onset": found.onset,
            "flags": [flag["code"] for flag in found.flags],
            "device": done["device"],
            "warnings": done["warnings"],
        }
        if found.map_model is not None:
            self.metrics["map_model"] = found.map_model["resolution"]
        self._wrote(done["files"])


WORKS = {"create": CreateWork, "spectrum": SpectrumWork, "fsc": FscWork}


def of(task, shared):
    """The work of a task; `shared` are the lanes of the process."""
    return WORKS[task["do"]](task, shared)


def through(task):
    """Run every step of a task in turn, and give its result."""
    work = of(task, lanes.Lanes())
    for name in STEPS:
        work.step(name)
    return work.result()
