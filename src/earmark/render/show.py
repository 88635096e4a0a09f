"""Shows the page of an explanation where one works: in a notebook, or in the browser."""

import html
import os
import sys
import tempfile
import webbrowser
from pathlib import Path

from ..explanation import Explanation
from .page import explanation_page

NOTEBOOK_CHARACTERS = 3_000_000  # of a page inside a notebook, which keeps every output
FRAME_HEIGHT = 900  # pixels


def notebook_html(explanation: Explanation) -> str:
    """Returns the page in a frame: it may run its script and save sounds, and reaches nothing else of the notebook."""
    page = html.escape(explanation_page(explanation, most_characters=NOTEBOOK_CHARACTERS))
    title = html.escape(repr(explanation))
    return (
        f'<iframe title="{title}" sandbox="allow-scripts allow-downloads" srcdoc="{page}" '
        f'style="width:100%;height:{FRAME_HEIGHT}px;border:0"></iframe>'
    )


def show_explanation(explanation: Explanation) -> Path | None:
    """Shows the page as the output of a notebook's cell, else writes it to a temporary file and opens the browser.

    Returns
    -------
    page
        The file, or nothing in a notebook.
    """
    if in_notebook():
        from IPython.display import HTML, display

        display(HTML(notebook_html(explanation)))
        return None
    path = Path(tempfile.mkdtemp(prefix="earmark-")) / "index.html"
    path.write_text(explanation_page(explanation), encoding="utf-8")
    if has_display():
        webbrowser.open(path.as_uri())
    return path


def in_notebook() -> bool:
    """Says whether this runs in the kernel of a notebook, which shows HTML; a terminal's IPython does not."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def has_display() -> bool:
    """Says whether a browser with windows can be opened; a browser of the terminal would take the terminal."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
