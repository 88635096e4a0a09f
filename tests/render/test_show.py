import sys
import types
import webbrowser

from tests.store import examples

from earmark.render.page import explanation_page
from earmark.render.show import NOTEBOOK_CHARACTERS, notebook_html


def test_without_a_display_the_page_is_written(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    explanation = examples.explanation("mask")
    path = explanation.show()
    assert path.read_text(encoding="utf-8") == explanation_page(explanation)


def test_with_a_display_the_browser_opens_it(monkeypatch):
    opened = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(webbrowser, "open", opened.append)
    path = examples.explanation("mask").show()
    assert opened == [path.as_uri()]


def test_in_a_notebook_it_is_the_output_of_the_cell(monkeypatch):
    """IPython is no dependency: what it is asked for is written down here."""
    shown = []
    shell = types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    display = types.SimpleNamespace(HTML=lambda text: ("html", text), display=shown.append)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    assert examples.explanation("mask").show() is None
    assert shown[0][0] == "html" and shown[0][1].startswith("<iframe")


def test_notebooks_get_smaller_pages():
    clip = examples.noise(20.0, 44100, 2)
    assert len(notebook_html(examples.explanation("mask", clip))) < 1.5 * NOTEBOOK_CHARACTERS
