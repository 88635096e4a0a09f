"""Pictures and pages: what an explanation looks like. Matplotlib and jinja2 are imported when something is drawn."""
