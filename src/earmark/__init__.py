"""earmark: why did an audio classifier decide that? See it, hear it, check it.

A map of the package:

- `load_classifier`, `wrap`: what is explained. `verify`: does it keep its promises?
- `read`, `folder`, `scenes`: sounds, recordings, generated scenes with known evidence.
- `fit_apex`, `fit_lmac`, `fit_lmac_td`, `fit_lmac_zs`, `fit_l2i`, `load_explainer`: explainers.
  `explainer.explain(waveform)` returns an `Explanation`.
- `Explanation`: `regions()` in seconds and hertz, `listen()`, `complement()`, `show()`, `save(folder)`.
- `load_explanation`: reads a saved one.
- `ablate(classifier, clips, apex)`: takes out what APEX shows, beside controls.
- `evaluate(classifier, clips, explainers)`: scores explainers under one protocol, beside controls.
- `check(classifier, explainer, clips)`: does an explainer depend on what the model has learned?

Names are imported when they are first used, so that `import earmark` is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .audio.files import read as read
    from .audio.waveform import Waveform as Waveform
    from .checks.run import check as check
    from .checks.verify import verify as verify
    from .classifiers.base import Classifier as Classifier
    from .classifiers.front_ends import FrontEnd as FrontEnd
    from .classifiers.front_ends import LogMel as LogMel
    from .classifiers.load import load_classifier as load_classifier
    from .classifiers.wrap import wrap as wrap
    from .data.folders import folder as folder
    from .data.scenes import scenes as scenes
    from .errors import EarmarkError as EarmarkError
    from .evaluation.ablation.runner import ablate as ablate
    from .evaluation.runner import evaluate as evaluate
    from .explainers.apex.explainer import Apex as Apex
    from .explainers.apex.fit import fit_apex as fit_apex
    from .explainers.l2i.train import fit_l2i as fit_l2i
    from .explainers.lmac.train import fit_lmac as fit_lmac
    from .explainers.lmac_td.train import fit_lmac_td as fit_lmac_td
    from .explainers.lmac_zs.train import fit_lmac_zs as fit_lmac_zs
    from .explainers.load import load_explainer as load_explainer
    from .explanation import Explanation as Explanation
    from .store.explanations import load_explanation as load_explanation
    from .types import Clip as Clip
    from .types import Prediction as Prediction
    from .types import Region as Region
    from .types import Target as Target

_HOMES = {
    "Apex": "explainers.apex.explainer",
    "Classifier": "classifiers.base",
    "Clip": "types",
    "EarmarkError": "errors",
    "Explanation": "explanation",
    "FrontEnd": "classifiers.front_ends",
    "LogMel": "classifiers.front_ends",
    "Prediction": "types",
    "Region": "types",
    "Target": "types",
    "Waveform": "audio.waveform",
    "check": "checks.run",
    "ablate": "evaluation.ablation.runner",
    "compare": "evaluation.compare",
    "evaluate": "evaluation.runner",
    "fit_apex": "explainers.apex.fit",
    "fit_l2i": "explainers.l2i.train",
    "fit_lmac": "explainers.lmac.train",
    "fit_lmac_td": "explainers.lmac_td.train",
    "fit_lmac_zs": "explainers.lmac_zs.train",
    "folder": "data.folders",
    "load_classifier": "classifiers.load",
    "load_explainer": "explainers.load",
    "load_explanation": "store.explanations",
    "read": "audio.files",
    "scenes": "data.scenes",
    "verify": "checks.verify",
    "wrap": "classifiers.wrap",
}

__version__ = "0.1.0"
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'earmark' has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
