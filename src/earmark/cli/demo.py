"""`earmark demo`: the main job on what is embedded."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from .explain import bank_folders, write_explanations
from .masks import embedded_mask
from .options import command, say


@command
def demo(
    *,
    out: Annotated[Path, typer.Option(help="Folder for the pages.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Which generated scene is explained.")] = 7,
) -> dict[str, Any]:
    """Generate a scene, save it as a WAV, explain it; and, where ESC-10 is at hand, one of its clips.

    As `earmark explain` does it: by prototypes and, where an L-MAC is embedded, its mask.
    """
    from ..classifiers.load import load_classifier
    from ..data.scenes import scenes
    from ..explainers.load import embedded_folder, load_explainer
    from ..types import Clip

    clip = scenes(1, seed)[0]
    model = load_classifier("scenes-cnn")
    explainer = load_explainer(embedded_folder("apex", model) or "apex", classifier=model)
    waveform = clip.source()  # type: ignore[operator]
    say(f"a generated scene with {', '.join(clip.labels)}")
    done = [write_explanations(explainer, Clip("scene.wav", waveform), out / "scene", masker=embedded_mask(model))]
    waveform.save(out / "scene.wav")
    recording = _recording()
    if recording is not None:
        esc = load_classifier("esc10-cnn")
        apex = embedded_folder("apex", esc) or "apex"
        explainer = load_explainer(apex, classifier=esc, bank_audio=bank_folders(None))
        clip = Clip(recording.name, recording)
        done.append(write_explanations(explainer, clip, out / "recording", masker=embedded_mask(esc)))
    for entry in done:
        say(f"heard {', '.join(e['target'] for e in entry['explanations'])}: open {Path(entry['page']).resolve()}")
    return {"explained": done}


def _recording() -> Path | None:
    """Returns a dog of ESC-10's test fold, if `EARMARK_DATA` is set."""
    folder = Path(os.environ.get("EARMARK_DATA", "")) / "esc10" / "audio"
    found = sorted(folder.glob("5-203128-A.ogg")) or sorted(folder.glob("5-*.ogg"))
    return found[0] if os.environ.get("EARMARK_DATA") and found else None
