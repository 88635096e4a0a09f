"""No code path reads a file that can run code: the source itself is walked. And folders hold three formats only."""

import ast
import json
from pathlib import Path

import pytest
from safetensors import safe_open
from tests.hardening.test_state import apex_on, noise, odd_module, wrap_odd

import earmark
from earmark.classifiers.load import FOREIGN, load_classifier
from earmark.errors import ModelError

SOURCE = Path(earmark.__file__).parent

FORBIDDEN_IMPORTS = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "yaml",
    "dbm",
}
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "compile",
    "torch.save",
    "torch.jit.load",
    "torch.hub.load",
    "torch.package",
    "numpy.save",
    "os.system",
    "os.popen",
    "pandas.read_pickle",
}
FORBIDDEN_METHODS = {"extractall", "read_pickle", "to_pickle", "unsafe_load"}


def names_of(tree):
    """What names in a module stand for: `np` is numpy, `load` of `from torch import load` is torch.load."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {
                a.asname or a.name.split(".")[0]: a.name if a.asname else a.name.split(".")[0] for a in node.names
            }
        if isinstance(node, ast.ImportFrom) and not node.level:
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return names


def dotted(node, names):
    """A call's function as a dotted name, or nothing."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value, names)
        return f"{inner}.{node.attr}" if inner else None
    return None


def unsafe(source):
    """Every line of a module that reads or writes in a way that can run code, with the reason."""
    tree = ast.parse(source)
    names = names_of(tree)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, a.name) for a in node.names if a.name.split(".")[0] in FORBIDDEN_IMPORTS]
        reads = isinstance(node, ast.ImportFrom) and [a.name for a in node.names] != ["UnpicklingError"]  # an error
        if reads and (node.module or "").split(".")[0] in FORBIDDEN_IMPORTS:
            found.append((node.lineno, node.module))
        if isinstance(node, ast.Call):
            found += [(node.lineno, why) for why in unsafe_call(node, names)]
    return found


def unsafe_call(node, names):
    name = dotted(node.func, names) or ""
    keywords = {k.arg: k.value.value if isinstance(k.value, ast.Constant) else "?" for k in node.keywords}
    if name in FORBIDDEN_CALLS:
        yield name
    if isinstance(node.func, ast.Attribute) and node.func.attr in FORBIDDEN_METHODS:
        yield node.func.attr
    if name == "torch.load" and keywords.get("weights_only") is not True:
        yield "torch.load without weights_only=True"
    if name == "numpy.load" and keywords.get("allow_pickle", False) is not False:
        yield "numpy.load with allow_pickle"
    if keywords.get("shell", False) is not False:
        yield "a shell"
    first = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else ""
    if name in ("__import__", "importlib.import_module") and str(first).split(".")[0] in FORBIDDEN_IMPORTS:
        yield f"import of {first}"


def modules():
    return sorted(path for path in SOURCE.rglob("*.py"))


def test_nothing_in_the_package_can_run_what_it_reads():
    found = {
        str(path.relative_to(SOURCE)): lines
        for path in modules()
        if (lines := unsafe(path.read_text(encoding="utf-8")))
    }
    assert len(modules()) > 60
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from dill import loads",
        "import joblib as j",
        "import torch\ntorch.load('a')",
        "from torch import load\nload('a')",
        "import torch as t\nt.load('a', weights_only=False)",
        "import torch\ntorch.save(1, 'a')",
        "import numpy as np\nnp.load('a', allow_pickle=True)",
        "eval('1')",
        "exec('1')",
        "import subprocess\nsubprocess.run('a', shell=True)",
        "import tarfile\ntarfile.open('a').extractall()",
        "import importlib\nimportlib.import_module('pickle')",
        "import yaml",
    ],
)
def test_the_walk_finds_what_is_forbidden(source):
    assert unsafe(source)


@pytest.mark.parametrize(
    "source",
    ["import torch\ntorch.load('a', weights_only=True)", "module.eval()", "import numpy as np\nnp.load('a')"],
)
def test_the_walk_finds_no_more(source):
    assert unsafe(source) == []


def test_what_is_written_is_json_safetensors_parquet_flac_or_text(tmp_path):
    apex = apex_on(wrap_odd(odd_module()))
    apex.save(tmp_path / "apex")
    apex.explain(noise()).save(tmp_path / "explained")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".parquet", ".flac", ".txt", ".md", ".html"}
    for path in files:
        content = path.read_bytes()
        assert b"\x80\x04\x95" not in content[:16] and b"PK\x03\x04" not in content[:4]  # a pickle, a zip
        if path.suffix == ".json":
            json.loads(content)
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                assert file.keys()
        if path.suffix == ".parquet":
            assert content[:4] == content[-4:] == b"PAR1"


OTHERWISE = r"which earmark does not open.*weights_only=True.*file\.py:function"


@pytest.mark.parametrize("ending", FOREIGN)
def test_files_of_weights_are_not_opened(tmp_path, ending):
    """A pickle that would make a file when it is opened: the sentence says what to do, and no file is made."""
    path = tmp_path / f"model{ending}"
    path.write_bytes(b"cposix\nsystem\n(S'touch " + str(tmp_path / "run").encode() + b"'\ntR.")
    refusals = {
        ".pt": "holds more than weights and what is unpickled can run any code",
        ".pth": "holds more than weights and what is unpickled can run any code",
        ".safetensors": "cannot be read as weights",
    }
    with pytest.raises(ModelError, match=refusals.get(ending, OTHERWISE)):
        load_classifier(path)
    assert not (tmp_path / "run").exists()


def test_python_files_run_only_when_they_are_named_with_a_function(tmp_path):
    marker = tmp_path / "ran"
    path = tmp_path / "model.py"
    path.write_text(f"open({str(marker)!r}, 'w').close()\n")
    with pytest.raises(ModelError, match=r"names no function; write which one .* as in .*model\.py:build"):
        load_classifier(path)
    assert not marker.exists()
    with pytest.raises(ModelError, match=r"model\.py:build gave nothing callable"):
        load_classifier(f"{path}:build")
    assert marker.exists()
