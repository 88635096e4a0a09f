import subprocess
import sys
from importlib import import_module

from earmark.metrics import METRICS


def test_every_name_leads_to_a_documented_function():
    for name, place in METRICS.items():
        module, attribute = place.split(":")
        assert getattr(import_module(module), attribute).__doc__.startswith("Returns"), name


def test_the_registry_imports_nothing_heavy():
    code = "import sys; from earmark.metrics import METRICS; assert 'torch' not in sys.modules, 'torch'"
    subprocess.run([sys.executable, "-c", code], check=True)
