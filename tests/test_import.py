import json
import subprocess
import sys

import pytest

import earmark

HEAVY = ("torch", "numpy", "matplotlib", "soundfile", "pyarrow", "jinja2", "captum")


def modules_after(code):
    """Returns what a fresh interpreter has imported after running some code."""
    script = f"{code}\nimport json, sys\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_import_earmark_imports_nothing_heavy():
    loaded = modules_after("import earmark\nassert 'read' in dir(earmark)\nearmark.__version__")
    assert "earmark" in loaded
    assert not loaded & set(HEAVY)


@pytest.mark.parametrize("arguments", [["--help"], ["explain", "--help"], ["train", "classifier", "--help"]])
def test_help_imports_nothing_heavy(arguments):
    code = f"""
import sys
sys.argv = ["earmark", *{arguments!r}]
from earmark.cli import main
try:
    main()
except SystemExit as stop:
    assert stop.code == 0
"""
    loaded = modules_after(code)
    assert "typer" in loaded
    assert not loaded & set(HEAVY)


def test_configurations_are_free_of_torch():
    loaded = modules_after("import earmark.training.config, earmark.data.config, earmark.explainers.apex.config")
    assert "torch" not in loaded


@pytest.mark.parametrize("name", earmark.__all__)
def test_every_name_of_the_front_door_exists(name):
    value = getattr(earmark, name)
    assert value.__doc__
    assert value.__module__.startswith("earmark.")


def test_names_that_do_not_exist_are_refused():
    with pytest.raises(AttributeError, match="module 'earmark' has no attribute 'explian'"):
        earmark.explian  # noqa: B018 (the access is the test)


def test_the_front_door_is_small_and_sorted():
    assert earmark.__all__ == sorted(set(earmark.__all__)) == dir(earmark)
    assert len(earmark.__all__) <= 30
