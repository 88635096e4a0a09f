"""One page about several evaluations: the headline numbers of all mixtures side by side, with links to their pages.

The template is `mixtures.html.j2`; everything that enters it is escaped, and the page runs no script.
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from ..evaluation.together import facts_table, side_by_side


def mixtures_page(found: Mapping[str, Any], folders: Mapping[str, str]) -> str:
    """Returns the page as HTML.

    Parameters
    ----------
    found
        What `together` returned.
    folders
        Where each mixture's own page lies, relative to this one.
    """
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.undefined = jinja2.StrictUndefined
    text = files("earmark.render").joinpath("mixtures.html.j2").read_text(encoding="utf-8")
    return environment.from_string(text).render(
        classifier=found["classifier"],
        data=found["data"],
        facts=facts_table(found),
        tables=side_by_side(found),
        mixtures=found["mixtures"],
        folders=folders,
    )
