"""gpumask batch LIST -o DIR"""

import contextlib
import importlib
import json
import signal
import sys

from gpumask import units
from gpumask.cli import options, terminal
from gpumask.errors import UsageError, WriteFailed

LOG_EVERY = 30.0  # s
LISTED = 20  # reasons that are printed
EXAMPLES = {
    "create": "'maps/*.mrc' -o masks --threshold 3sigma --dilate 5px --soft-edge 12px",
    "spectrum": "'masks/*_mask.mrc' -o spectra --do spectrum --resolution 3.5A",
    "fsc": "halves.csv -o resolution --do fsc --asymmetric-units 4",
}
VERBS = tuple(EXAMPLES)
# what a verb asks of one file, and batch itself says for all
OWN = {"-o", "--output", "--force", "--json", "--device", "--memory"}
ONE_FILE = {
    "create": {"map"},
    "spectrum": {"masks", "--plot", "--slices", "--map", "--at"},
    "fsc": {"half1", "half2"},
}


def fill(parser, argv):
    verb = verb_of(argv)
    parser.description = (
        "Do one thing to every map of a list, several at a time. Run again after a crash, or with more maps, it does "
        "what is not done yet. DIR/results.jsonl has a row for each item, DIR/summary.csv how all stand."
    )
    parser.epilog = f"Example: gpumask batch {EXAMPLES[verb]}. Exit code 1: some items failed; the reasons are listed."
    add(parser, merge=True)
    group = parser.add_argument_group("progress")
    group.add_argument(
        "--progress",
        choices=("auto", "json"),
        default="auto",
        help="auto: a bar on a terminal, else lines; json: lines of JSON on stderr",
    )
    group.add_argument("--json", action="store_true", help="print one JSON document")
    share(parser, verb)
    parser.set_defaults(run=run)


def add(parser, merge):
    """The options of a batch itself; `merge` adds those that only run here."""
    what = "text, CSV, TSV or STAR list, glob in quotes, or folder of maps"
    parser.add_argument("list", metavar="LIST", nargs="*", help=what)
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="folder for all outputs; made if need be")
    parser.add_argument(
        "--do",
        choices=VERBS,
        default="create",
        help="what is done to each (default create); --do fsc --help shows the options of fsc",
    )
    group = parser.add_argument_group("which items")
    group.add_argument("--retry-failed", action="store_true", help="also do what failed before")
    group.add_argument(
        "--force", action="store_true", help="replace files that no batch here has written (never an input)"
    )
    if merge:
        group.add_argument("--limit", metavar="N", type=int, help="do N items at the most")
        group.add_argument("--dry-run", action="store_true", help="only say what would be done")
        group.add_argument(
            "--shard", metavar="I/N", help="every N-th item from the I-th on, or auto: by SLURM's variables"
        )
        group.add_argument("--merge", action="store_true", help="join what shards have left in DIR; takes no LIST")
    group = parser.add_argument_group("where and how")
    group.add_argument(
        "-j", "--workers", metavar="N", type=int, help="processes on the CPU (default: one for each CPU)"
    )
    group.add_argument("--device", metavar="DEVICE", help="auto (default), cpu, cuda: a process for each GPU, cuda:N")
    group.add_argument(
        "--memory", metavar="SIZE", help="for all processes together: 8GB (default 80 %% of what is free)"
    )
    group.add_argument("--dense", action="store_true", help="write zeros too; else masks are files with holes")
    if merge:
        group.add_argument("--dask", metavar="ADDRESS", help="run on this Dask cluster (extra: dask)")


def share(parser, verb):
    """The options of the verb that is run on each item, but those for one file."""
    taken = _Shared(parser, f"{verb}: options", OWN | ONE_FILE[verb], {})
    importlib.import_module(f"gpumask.cli.{verb}").fill(taken)
    if verb == "create":  # of one file it is always there
        group = _Shared(parser, "create: provenance", set(), taken.actions)
        group.add_argument("--sha256", action="store_true", help="keep the SHA-256 of each map too: it is read twice")
    if verb == "spectrum":  # of one file it takes the figure's name
        figures = _Shared(parser, f"{verb}: figures (extra: plot)", set(), taken.actions)
        figures.add_argument("--plot", action="store_true", help="draw each spectrum to NAME_spectrum.png")
    parser.set_defaults(shared=taken.actions)


class _Shared:
    """What a verb fills in the place of its parser, so that each of its options is written once.

    `without` names what is left out; `actions` gathers those of the options that were taken, by name.
    """

    def __init__(self, parser, title, without, actions):
        self.parser, self.title, self.without, self.actions = parser, title, without, actions
        self.group = None

    def add_argument(self, *names, **given):
        if self.without.isdisjoint(names):
            if self.group is None:
                self.group = self.parser.add_argument_group(self.title)
            action = self.group.add_argument(*names, **given)
            self.actions[action.dest] = action

    def add_argument_group(self, title):
        verb = self.title.partition(":")[0]
        return _Shared(self.parser, f"{verb}: {title}", self.without, self.actions)

    def set_defaults(self, **_):
        """A batch has its own."""


def parameters(arguments):
    """The options of the verb that were given, by name."""
    given = {name: (getattr(arguments, name), action.default) for name, action in arguments.shared.items()}
    return {name: value for name, (value, default) in given.items() if value != default}


def words(arguments):
    """The same options as words of a command line."""
    found = []
    for name, value in parameters(arguments).items():
        flag = arguments.shared[name].option_strings[0]
        if isinstance(value, bool):
            found.append(flag if value else f"--no-{flag.removeprefix('--')}")
        else:
            found.append(f"{flag}={value}")
    return found


def verb_of(argv):
    """The verb that ``--do`` names, which says what other flags there are."""
    for number, word in enumerate(argv):
        name = word.removeprefix("--do=") if word.startswith("--do=") else None
        if word == "--do" and number + 1 < len(argv):
            name = argv[number + 1]
        if name in VERBS:
            return name
    return "create"


def run(arguments):
    from gpumask import batching

    if arguments.merge:
        _check_merge(arguments)
        done = batching.merge(arguments.output)
        if arguments.json:
            terminal.document(done)
        else:
            _print(done, ("items", "done", "failed", "skipped", "left"), [])
        return int(done["done"] < done["items"])
    with _terminated(), _client(arguments.dask) as client, _progress(arguments) as progress:
        done = batching.batch(
            one_list(arguments),
            arguments.output,
            arguments.do,
            workers=arguments.workers,
            device=arguments.device,
            memory=options.memory(arguments.memory),
            shard=arguments.shard,
            client=client,
            retry_failed=arguments.retry_failed,
            limit=arguments.limit,
            dry_run=arguments.dry_run,
            dense=arguments.dense,
            overwrite=arguments.force,
            progress=progress,
            **parameters(arguments),
        )
    if arguments.json:
        terminal.document(done)
        return code(done)
    more = []
    if arguments.dry_run:
        more = [("would write", f"{item['output']} from {item['input']}") for item in done["items"]]
    elif any(done["seconds"].values()):
        more = _where_the_time_went(done)
    more += [("stopped", done["stopped"])] if done["stopped"] is not None else []
    _print(done, ("planned", "finished", "done", "failed", "skipped", "left"), more)
    return code(done)


def one_list(arguments):
    """The LIST; none and several are refused."""
    if not arguments.list:
        raise UsageError("batch needs a LIST: a text, CSV, TSV or STAR file, a glob in quotes, or a folder")
    if len(arguments.list) > 1:
        raise UsageError(
            f"one LIST is wanted, got {len(arguments.list)} names, from {arguments.list[0]} on: put a glob in quotes, "
            "or write the names into a text file, one a line"
        )
    return arguments.list[0]


def _check_merge(arguments):
    """Refuse what a merge has no use for."""
    names = ("retry_failed", "force", "limit", "dry_run", "shard", "workers", "device", "memory", "dense", "dask")
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(arguments, name)] + words(arguments)
    if arguments.list or given:
        raise UsageError(f"--merge joins what is in DIR; leave out {', '.join([*arguments.list, *given])}")


def code(done):
    """The exit code of a batch."""
    from gpumask.batching.runs import INTERRUPTED
    from gpumask.cli import INTERRUPTED as INTERRUPTED_CODE

    if done["stopped"] == INTERRUPTED:
        return INTERRUPTED_CODE
    if done["stopped"] is not None:
        return WriteFailed.exit_code
    return int(bool(done["not_done"]))


@contextlib.contextmanager
def _terminated():
    """What a scheduler sends before it kills ends a batch as Ctrl-C does."""

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _client(address):
    if address is None:
        yield None
        return
    from gpumask.batching import dask

    with dask.connected(address) as client:
        yield client


def _progress(arguments):
    if arguments.progress == "json":
        return _Json()
    return _Bar() if sys.stderr.isatty() else _Lines()


class _Counted:
    """Counts the items that came to an end."""

    def __init__(self):
        self.ended = self.failed = self.bytes = 0

    def __call__(self, event):
        if event["event"] != "item":
            getattr(self, event["event"])(event)
            return
        self.ended += 1
        self.failed += event["row"]["status"] != "done"
        self.bytes += event["row"]["bytes_read"]
        self.item(event)

    def line(self, event):
        wall = max(event["wall_seconds"], 1e-9)
        rate, left = self.ended / wall, event["of"] - self.ended
        failed = f", {self.failed} failed" if self.failed else ""
        return (
            f"{self.ended}/{event['of']}{failed}, {rate:.3g} items/s, {self.bytes / wall / 1e6:.0f} MB/s, "
            f"{_span(left / rate)} left"
        )

    def plan(self, event):
        self.say(*said(event))

    def skipped(self, event):
        self.say(f"skipped: {reason(event['row'])}")

    def note(self, event):
        self.say(f"warning: {event['text']}")

    def say(self, *lines):
        """Print whole lines."""
        for line in lines:
            print(line, file=sys.stderr, flush=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Nothing more comes."""


class _Bar(_Counted):
    """One line that is written again and again; failures stand above it."""

    def say(self, *lines):
        super().say(*(f"{terminal.CLEAR}{line}" for line in lines))

    def item(self, event):
        if event["row"]["status"] != "done":
            self.say(f"failed: {reason(event['row'])}")
        share = self.ended / event["of"]
        print(f"{terminal.CLEAR}[{'#' * int(20 * share):<20}] {self.line(event)}", file=sys.stderr, end="", flush=True)

    def __exit__(self, *_):
        if self.ended:
            print(terminal.CLEAR, file=sys.stderr, end="", flush=True)


class _Lines(_Counted):
    """Lines for a log: each failure, and how it goes at most every LOG_EVERY seconds."""

    def __init__(self):
        super().__init__()
        self.told = 0.0

    def item(self, event):
        if event["row"]["status"] != "done":
            self.say(f"failed: {reason(event['row'])}")
        if event["wall_seconds"] - self.told >= LOG_EVERY or self.ended == event["of"]:
            self.told = event["wall_seconds"]
            self.say(self.line(event))


class _Json(_Counted):
    """Each event as a line of JSON."""

    def item(self, event):
        self.say(json.dumps(event, allow_nan=False))

    plan = skipped = note = item


def reason(row):
    """An item and why it is not done."""
    return f"{row['output']}: {terminal.in_flags(row['error'])}"


def counted(number, noun, plural="s"):
    """``1 item``, ``2 items``."""
    return f"{number} {noun}{plural * (number != 1)}"


def said(plan):
    """What is told before the work begins."""
    parts = ["shard {} of {}".format(*plan["shard"])] if plan["shard"] is not None else []
    parts.append(counted(plan["items"], "item"))
    again = "failed before (--retry-failed does them again)"
    names = (("finished", "done before"), ("failed_before", again), ("skipped", "skipped"), ("left", "left for later"))
    for name, text in names:
        parts += [f"{plan[name]} {text}"] if plan[name] else []
    lines = [*(f"warning: {note}" for note in plan["notes"]), ", ".join([*parts, f"{plan['to_do']} to do"])]
    if not plan["to_do"]:
        return lines
    kinds = {
        "cpu": ("process", "es", "on the CPU"),
        "cuda": ("process", "es", "with a GPU each"),
        "cluster": ("thread", "s", "of the cluster"),
    }
    noun, plural, where = kinds[plan["device"]]
    threads = f", {counted(plan['threads'], 'CPU thread')} each" if plan["device"] != "cluster" else ""
    lines.append(f"{counted(plan['workers'], noun, plural)} {where}{threads} ({plan['device_reason']})")
    if plan["largest_box"] is not None:
        lines.append(_memory(plan))
    return lines


def _memory(plan):
    parts = [f"memory: {units.of_bytes(plan['largest_bytes'])} for the largest box, {terminal.by(plan['largest_box'])}"]
    if plan["memory_bytes"] is not None:
        own = units.of_bytes(plan["process_bytes"])
        each = f" ({own} by each process itself)" if plan["process_bytes"] else ""
        parts.append(f"{units.of_bytes(plan['memory_bytes'])} may be used{each}")
    parts += [f"{counted(plan['in_slabs'], 'box', 'es')} in slabs"] if plan["in_slabs"] else []
    parts += [f"{len(plan['refused'])} refused"] if plan["refused"] else []
    return ", ".join(parts)


def _print(done, counts, more):
    """A table: the first of the counts, of the others those that are not 0, `more`, reasons, files."""
    names = {"finished": "done before", "left": "not begun"}
    rows = [(names.get(name, name), str(done[name])) for name in counts if done[name] or name == counts[0]]
    if done.get("failed_before"):
        rows.append(("failed before", f"{done['failed_before']} of these; --retry-failed does them again"))
    if done["warned"]:
        rows.append(("warnings", f"of {counted(done['warned'], 'item')}, see summary.csv"))
    rows += more
    rows += [
        (row["status"], f"{row['output']}: {terminal.in_flags(row['error'])}") for row in done["not_done"][:LISTED]
    ]
    if len(done["not_done"]) > LISTED:
        rows.append(("", f"and {len(done['not_done']) - LISTED} more, see summary.csv"))
    rows += [("wrote", ", ".join(done["files"]))] if done["files"] else []
    terminal.table(rows)


def _where_the_time_went(done):
    total = max(sum(done["seconds"].values()), 1e-9)
    rows = []
    sizes = {"read": done["bytes_read"], "compute": None, "write": done["bytes_written"]}
    for name, seconds in done["seconds"].items():
        text = f"{seconds:.1f} s, {100 * seconds / total:.0f} %"
        if sizes[name] is not None:
            text += f"; {sizes[name] / 1e6:.0f} MB"
        if name == "read" and done["disk_bytes_per_second"]:
            share = sizes[name] / done["wall_seconds"] / done["disk_bytes_per_second"]
            text += f", {100 * share:.0f} % of the {done['disk_bytes_per_second'] / 1e6:.0f} MB/s that the disk gave"
        rows.append((name, text))
    rows.append(("wall time", f"{done['wall_seconds']:.1f} s, {done['done'] / done['wall_seconds']:.3g} items/s"))
    return rows


def _span(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
