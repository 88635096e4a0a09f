"""Reads a page as a browser would, and looks for what must not be in it."""

import re
from html.parser import HTMLParser

VOID = {"meta", "img", "input", "br", "link", "source", "hr"}
HOSTILE = ("<script>alert(1)</script>", '"onmouseover="alert(2)', "=HYPERLINK(3)", "</style><b>4")


class Reader(HTMLParser):
    """Collects tags with attributes and the visible text, and checks that tags are closed in order."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.words, self.scripts, self._open = [], [], [], []
        self.feed(html)
        self.close()
        assert self._open == []
        self.text = re.sub(r"\s+", " ", "".join(self.words))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] == "script":
            self.scripts.append(data)
        elif self._open and self._open[-1] != "style":
            self.words.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    def of_class(self, name):
        return [attrs for _, attrs in self.tags if name in (attrs.get("class") or "").split()]


def check_page(html, own_scripts):
    """Asserts that a page is whole, escaped, offline and readable, and returns its reader."""
    reader = Reader(html)
    assert "http://" not in html and "https://" not in html and "@import" not in html
    assert len(html.encode()) < 10_000_000
    assert len(reader.scripts) == own_scripts and not any("alert(" in script for script in reader.scripts[-1:])
    assert not any(name.startswith("on") for _, attrs in reader.tags for name in attrs)
    (policy,) = [m["content"] for m in reader.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert all(attrs["src"].startswith("data:") for _, attrs in reader.tags if "src" in attrs)
    assert all(uri.startswith("data:") for uri in re.findall(r"url\(([^)]*)\)", html))
    assert reader.all("html")[0]["lang"] == "en" and all("alt" in attrs for attrs in reader.all("img"))
    assert all(attrs.get("scope") in ("col", "row") for attrs in reader.all("th"))
    names = [attrs["id"] for _, attrs in reader.tags if "id" in attrs]
    assert len(names) == len(set(names))
    inner = [attrs["href"][1:] for attrs in reader.all("a") if attrs["href"].startswith("#")]
    assert set(inner) <= set(names)
    return reader
