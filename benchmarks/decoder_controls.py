"""Controls of a trained decoder (D1 to D6), and its maps under weights that are drawn anew, layer by layer.

    EARMARK_DATA=... python benchmarks/decoder_controls.py [--clips 40] [--epochs 5] [--explainer FOLDER]
    EARMARK_DATA=... python benchmarks/decoder_controls.py --clips 16 --explainer runs/decoders/esc10-cnn/lmac-apart \
        --checks decoder,randomization --section decoder_controls_apart

`esc10-cnn` on clips of its test fold. D1: the decoder sees another clip's maps. D2: it has its first weights. D3: it
has been trained, the classifier's layers are re-drawn (that is the randomization, cascading). D4 to D6 are trained
anew, for `--epochs` each, as is a second fit on the intact classifier beside them. A run that was stopped goes on.
"""

import argparse
import os
from pathlib import Path

from tables import markdown, put

import earmark as em
from earmark.checks.config import CheckConfig
from earmark.checks.decoder_config import DecoderConfig

CHECKS = ("decoder", "decoder-refits", "randomization")
RUNS = Path("runs/decoder-controls")


def text_of(report) -> str:
    """Returns sentences and tables of all checks of one explainer."""
    parts = []
    for result in report.results:
        parts.append(f"*{result.name}*: {result.sentence}")
        for table in result.tables:
            rows = [["" if cell is None else str(cell) for cell in row] for row in table.rows]
            parts += [f"{table.title}:", markdown(list(table.columns), rows)]
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--explainer", type=Path, default=Path("runs/decoders/esc10-cnn/lmac"))
    parser.add_argument("--checks", default=",".join(CHECKS))
    parser.add_argument("--section", default="decoder_controls")
    options = parser.parse_args()
    classifier = em.load_classifier("esc10-cnn")
    data = Path(os.environ.get("EARMARK_DATA", "data")) / "esc10"
    clips = em.folder(data, folds=(5,), group_column="freesound_id")
    training = list(em.folder(data, folds=(1, 2, 3), group_column="freesound_id"))
    checks, name = tuple(options.checks.split(",")), options.explainer.name
    report = em.check(
        classifier,
        options.explainer,
        clips,
        checks,
        config=CheckConfig(decoder=DecoderConfig(epochs=options.epochs)),
        n_clips=options.clips,
        independent=False,
        training=training,
        folder=RUNS / name,
        told={"data": "esc10", "folds": "5"},
    )
    about = f"N = {options.clips} clips of fold 5, 3 draws"
    about += f", {options.epochs} epochs of each re-training." if "decoder-refits" in checks else "."
    more = f"--epochs {options.epochs}"
    if options.section != "decoder_controls":
        more = f"--explainer {options.explainer} --checks {options.checks} --section {options.section}"
    command = f"python benchmarks/decoder_controls.py --clips {options.clips} {more}"
    put(options.section, command, "\n\n".join([about, f"**{name}**", text_of(report)]))


if __name__ == "__main__":
    main()
