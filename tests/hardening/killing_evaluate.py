"""Kills `earmark evaluate` at random moments and says what the reruns left behind; it uses the parts of killing.py.

`python killing_evaluate.py FOLDER N` prints one JSON object.
"""

import json
import re
import shutil
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path


def _neighbor(name):
    """Returns the module of a file beside this one, whether this file is run or collected."""
    spec = spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


killing = _neighbor("killing")

OPTIONS = ("--areas", "20,50", "--no-insertion", "--explainers", "saliency,energy,random", "--seeds", "0,1")


def without_times(files):
    """Returns files by name without wall times and the place of the result, which differ between any two runs."""
    return {name: _timeless(name, content) if content else content for name, content in files.items()}


def _timeless(name, content):
    if name.endswith((".md", ".html")):
        return re.sub(rb"wall time( \||</th><td>)[^|<]*", b"", content)
    if not name.endswith(".json"):
        return content
    about = json.loads(content)
    for part, key in ((about, "wall_s"), (about.get("card", {}), "wall_s"), (about.get("options", {}), "out")):
        part.pop(key, None)
    return json.dumps(about)


class Evaluated(killing.Victim):
    """A run of `earmark evaluate`, and what it writes unkilled."""

    def start(self, before=lambda: None):
        toy, data = f"{self.root / 'toy.py'}:build", str(self.root / "data")
        line = ["evaluate", "--classifier", toy, "--data", data, "--limit", "6", "--batch", "2", *OPTIONS]
        return killing.start([*line, "--out", str(self.place / "out")], self.log, before)

    def compare(self):
        found = killing.tree(self.place)
        self.wrong += killing.differences(without_times(found), without_times(self.expected))
        self.n_wholes += 1
        shutil.rmtree(self.place)


def main(root, n):
    import pyarrow.parquet as pq

    import earmark.evaluation.examples
    import earmark.evaluation.runner
    import earmark.explainers.gradient
    import earmark.render.evaluation_page  # noqa: F401

    killing.warm_up()
    killing.make_material(root)
    victim = Evaluated("evaluate", root)
    keys = ["explainer", "seed", "clip", "target", "protocol", "reentry", "area"]
    rows = [
        tuple(row.values()) for row in pq.read_table(root / "unkilled/out/scores.parquet", columns=keys).to_pylist()
    ]
    n_kills = victim.random_kills(n, "evaluate")
    names = sorted(victim.expected)
    about = {"kills": n_kills, "wrong": victim.wrong, "wholes": victim.n_wholes, "names": names}
    return {**about, "rows": len(rows), "different": len(set(rows)), "unkilled_s": round(victim.seconds, 2)}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
