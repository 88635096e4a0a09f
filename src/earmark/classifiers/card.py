"""The model card of a trained classifier, in plain words."""

import json
from pathlib import Path
from typing import Any

from ..data.backgrounds import background_name
from ..data.published import data_name, is_published
from ..training.config import AugmentConfig, BackgroundConfig, LoopConfig
from .config import LogMelConfig

_CARD = """# {name}

A compact convolutional classifier ({task}) trained by `earmark`.

| | |
|---|---|
| labels | {labels} |
| data | {data} |
| learned from | {folds} |{background}
| epoch chosen on | {select} (score {score:.4f} at epoch {epoch}) |
| tested on | {test} |
| seed | {seed} |

Made by

```
{command}
```
"""


def write_whole(path: Path, text: str) -> None:
    """Writes a text file, whole or not at all: under a temporary name beside its place, then renamed."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_card(folder: Path, summary: dict[str, Any], options: dict[str, Any]) -> None:
    """Writes `README.md` and adds name, folds and scores to `config.json`.

    Parameters
    ----------
    summary
        What `fit_classifier` returned, and under `test` what `score_classifier` did.
    options
        Those of `earmark train classifier`; without a `name`, the model gets the folder's.
    """
    test = summary.get("test")
    data = data_name(options["data"])
    learned, chosen, tested = _parts(options, data)
    text = _CARD.format(
        name=options.get("name") or folder.resolve().name,
        task="several labels per clip" if options["multilabel"] else "one label per clip",
        labels=", ".join(summary["labels"]),
        data=data,
        folds=learned + (f", from the weights of {Path(options['start']).name}" if options.get("start") else ""),
        background=_background_row(summary.get("background")),
        select=chosen,
        score=summary["score"],
        epoch=summary["epoch"],
        test="nothing" if not test else _test_line(test, tested),
        seed=options["seed"],
        command=command_line(options, data),
    )
    write_whole(folder / "README.md", text)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["name"] = options.get("name") or folder.resolve().name
    config["card"] = {
        "data": data,
        "folds": options["folds"],
        "select_folds": options["select_folds"],
        "test_folds": options["test_folds"],
        "selection_score": summary["score"],
        "test": test,
    }
    write_whole(folder / "config.json", json.dumps(config, indent=2) + "\n")


def command_line(options: dict[str, Any], data: str) -> str:
    """Returns the command that makes this model, without what is left at its default."""
    configs = (LoopConfig(), AugmentConfig(), BackgroundConfig(), LogMelConfig())
    defaults = {"label_column": "label", "clip_s": 5.0}
    for config in configs:
        defaults |= vars(config)
    published = is_published(str(options.get("data")))
    shown = data if data.startswith("scenes:") else f"{data}:DATA" if published else f"DATA/{data}"
    parts = [f"earmark train classifier --data {shown} --out MODEL"]
    for key, value in options.items():
        if key in ("data", "name") or value is None or value is False or _plain(defaults.get(key)) == _plain(value):
            continue
        flag = f"--{key.replace('_', '-')}"
        parts.append(flag if value is True else f"{flag} {_shown(key, value)}")
    return " ".join(parts)


def _shown(key: str, value: Any) -> str:
    """Returns the value of an option without anyone's folders; several numbers follow each other."""
    if key == "start":
        return Path(value).name
    if key == "background":
        name, mark, folds = background_name(value).partition("#")
        return (f"{name}:DATA" if is_published(value) else f"DATA/{name}") + mark + folds
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _background_row(background: dict[str, Any] | None) -> str:
    """Returns the card's row on recordings that were mixed in, if there were."""
    if not background:
        return ""
    share = "" if background["share"] == 1 else f" in {100 * background['share']:g} % of the clips"
    return (
        f"\n| background | {background['heard']} recordings of {background['name']} at {background['snr_db']:g} dB "
        f"SNR{share}, also where the epoch was chosen; not heard: {background['held_out']} others |"
    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _parts(options: dict[str, Any], data: str) -> tuple[str, str, str]:
    """Returns what was learned from, what chose the epoch, and what was tested on, in words."""
    if data.startswith("scenes:"):
        return f"{data.partition(':')[2]} generated scenes", "a fifth as many other scenes", "as many again"
    learned = f"folds {options['folds']}" if options["folds"] else "all clips but those held out"
    chosen = f"fold {options['select_folds']}" if options["select_folds"] else "a fifth of the groups"
    return learned, chosen, f"fold {options['test_folds']}"


def _test_line(test: dict[str, Any], where: str) -> str:
    score = ", ".join(f"{k} {v:.4f}" for k, v in test.items() if isinstance(v, float))
    return f"{where}: {score} (N = {test['n']})"
