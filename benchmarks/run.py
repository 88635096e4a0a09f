"""Runs every benchmark and rewrites the tables of benchmarks/README.md; some hours on two cores.

python benchmarks/run.py
"""

import subprocess
import sys
from pathlib import Path

SCRIPTS = [
    ["silence.py"],
    ["birds.py"],
    ["kills.py"],
    ["mutated_files.py"],
    ["apex_explain.py"],
    ["viewer.py"],
    ["metrics_speed.py"],
    ["perturbation_speed.py"],
    ["costs.py"],
    ["pretrained_speed.py"],
    ["sanity.py"],
    ["decoder_controls.py"],
    ["esc10_noise.py"],
    ["methods.py", "all", "--heavy"],
    ["localization.py", "scenes"],
    ["localization.py", "spinetail"],
    ["localization.py", "tables"],
    ["apex_fit.py", "esc10"],
    ["apex_fit.py", "purity"],
    ["apex_fit.py", "widths"],
    ["planted.py"],
    ["known_evidence.py"],
    ["figure4.py"],
    ["stability.py"],
    ["ablation.py"],
    ["esc10_folds.py"],
    ["scale.py"],
    ["roar.py"],
    ["label_randomization.py"],
    ["zero_shot.py", "all"],
    ["codec_latent.py"],
]

if __name__ == "__main__":
    for script, *options in SCRIPTS:
        subprocess.run([sys.executable, Path(__file__).parent / script, *options], check=True)
