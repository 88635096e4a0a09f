"""The code in README and docs runs as it stands."""

import re
from pathlib import Path

import pytest
import torch

import earmark as em
from earmark.classifiers.panns import Panns, PannsConfig
from earmark.testing.hugging_face import save_tiny

ROOT = Path(__file__).parents[1]


def blocks(path):
    return re.findall(r"```python\n(.*?)```", (ROOT / path).read_text(), re.S)


def what_people_have(folder):
    """Small random models under the names that the README uses."""
    save_tiny("ast", folder / "my-ast")
    save_tiny("convnext", folder / "my-convnext")
    with torch.random.fork_rng(devices=[]):
        state = Panns(PannsConfig("cnn14", 3, 64, width=2)).state_dict()
    torch.save({"model": state}, folder / "Cnn14.pth")
    rows = ["index,mid,display_name", *(f"{i},/m/{i},{name}" for i, name in enumerate(("Speech", "Dog", "Rain")))]
    (folder / "class_labels_indices.csv").write_text("\n".join(rows))


HOW_TO = [f"docs/how-to/{name}.md" for name in ("wrap-a-model", "add-an-explainer", "train-a-model")]


@pytest.mark.filterwarnings("ignore:my-ast hears the first 2.015 s")  # the small one; a published AST hears 10 s
@pytest.mark.parametrize("path", ["README.md", *HOW_TO])
def test_python_blocks_run(path, tmp_path, monkeypatch, capsys):
    em.scenes(1, 5)[0].source().save(tmp_path / "yard.wav")
    if path == "README.md":
        what_people_have(tmp_path)
    monkeypatch.chdir(tmp_path)
    code = blocks(path)
    assert code
    for block in code:
        exec(compile(block, path, "exec"), {})
    if path == "README.md":
        assert (tmp_path / "yard-explained" / "index.html").is_file()
        assert em.read(tmp_path / "evidence.flac").n_samples == em.read(tmp_path / "yard.wav").n_samples
    if path == "docs/how-to/wrap-a-model.md":
        assert capsys.readouterr().out.split() == ["T1", "True"]


def test_commands_in_the_readme_exist():
    from typer.testing import CliRunner

    from earmark.cli.root import app

    shell = re.findall(r"```\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    lines = [line for block in shell for line in block.splitlines() if line.startswith("earmark ")]
    assert len(lines) >= 4
    for line in lines:
        words = line.partition("#")[0].split()[1:]
        names = [w for w in words[:2] if w.isalpha() and w not in ("yard",)]
        done = CliRunner().invoke(app, [*names[: 2 if names[0] in ("fit", "train") else 1], "--help"])
        assert done.exit_code == 0, line
        for option in (w for w in words if w.startswith("--")):
            assert option in done.output, line


def test_links_in_docs_lead_somewhere():
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            if "://" not in link:
                assert (path.parent / link).exists(), f"{path.name}: {link}"
