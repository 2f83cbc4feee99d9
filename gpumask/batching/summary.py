"""``summary.json`` and ``summary.csv``: how each item of the list stands."""

import csv
import io as streams
from collections import Counter

from gpumask import io
from gpumask.batching import ledger, shards
from gpumask.batching.ledger import KEYS
from gpumask.batching.work import STEPS
from gpumask.job import outputs

OWN = ("files", "beginnings")  # what a row keeps for the ledger's own use
PLAIN = tuple(key for key in KEYS if key not in ("seconds", "metrics"))
LEFT = "left"  # what stands of an item that was not begun, or not brought to its end
STATES = (*ledger.STATES, LEFT)


class Totals:
    """Counts, seconds and bytes of rows, how many have warnings, and those that failed or were skipped."""

    def __init__(self):
        self.counts, self.seconds, self.bytes = Counter(), Counter(), Counter()
        self.warned, self.not_done = 0, []

    def add(self, row, earlier=False):
        """Count a row; the time and bytes of one of an `earlier` run are not this one's."""
        self.counts[row["status"]] += 1
        if not earlier:
            self.seconds.update(row["seconds"])
            self.bytes.update({name: row[name] for name in ("bytes_read", "bytes_written")})
        self.warned += bool(row["metrics"].get("warnings"))
        if row["status"] not in ("done", LEFT):
            self.not_done.append(row)

    def to_dict(self):
        """Plain values, without the rows."""
        return {
            "items": self.counts.total(),
            **{state: self.counts[state] for state in STATES},
            "warned": self.warned,
            "seconds": {step: round(self.seconds[step], 6) for step in STEPS},
            **{name: self.bytes[name] for name in ("bytes_read", "bytes_written")},
        }


def left(source, output, recipe_hash):
    """The row of an item that has none."""
    values = (source, output, LEFT, None, recipe_hash, None, dict.fromkeys(STEPS, 0.0), 0, 0, {})
    return dict(zip(KEYS, values, strict=True))


def write(folder, rows, more, shard=None):
    """Write both files, of shard I of N ``summary.I-of-N.json`` …

    Parameters
    ----------
    folder : Path
    rows : callable
        Gives the row of each item of the list in its order, one at a time; called twice.
    more : dict
        What the JSON says besides.
    shard : tuple, optional

    Returns
    -------
    totals : Totals
    files : list of str
    """
    totals, metrics = Totals(), {}
    for row in rows():
        totals.add(row)
        metrics |= dict.fromkeys(_cells(row["metrics"]))
    told = [{key: row[key] for key in ("input", "output", "status", "error")} for row in totals.not_done]
    document = {**totals.to_dict(), **more, "not_done": told}
    names = [folder / f"summary{shards.tag(shard)}.{suffix}" for suffix in ("json", "csv")]
    table = _table(rows(), metrics)
    io.write_files([(names[0], [outputs.document(document)]), (names[1], [table])], overwrite=True)
    return totals, [str(name) for name in names]


def _cells(metrics):
    """The metrics of a row as columns: a dict has one for each of its values, a list is joined."""
    found = {}
    for name, value in metrics.items():
        if name in OWN:
            continue
        if isinstance(value, dict):
            found |= {f"{name}_{key}": one for key, one in value.items() if not isinstance(one, (list, dict))}
        else:
            found[name] = "; ".join(map(str, value)) if isinstance(value, list) else value
    return found


def _table(rows, metrics):
    """CSV with a column for each key, each step, and each metric."""
    stream = streams.StringIO(newline="")
    names = [*PLAIN, *(f"seconds_{step}" for step in STEPS), *metrics]
    writer = csv.DictWriter(stream, names, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        seconds = {f"seconds_{step}": value for step, value in row["seconds"].items()}
        writer.writerow({**_cells(row["metrics"]), **seconds, **{key: row[key] for key in PLAIN}})
    return stream.getvalue().encode("utf-8", "backslashreplace")
