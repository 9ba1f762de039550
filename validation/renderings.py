"""All that is rendered of a document, by the name of the file. Pure."""

from typing import Final

from less_sync.validation.render_html import page
from less_sync.validation.render_junit import junit
from less_sync.validation.render_markdown import markdown
from less_sync.validation.render_tsv import tsv
from less_sync.validation.results import Document
from less_sync.validation.texts import Texts

RENDERED: Final = ("results.tsv", "SUMMARY.md", "junit.xml", "report.html")


def rendered(document: Document, texts: Texts) -> dict[str, bytes]:
    """The files of `RENDERED`."""
    return {
        "results.tsv": tsv(document),
        "SUMMARY.md": markdown(document, texts),
        "junit.xml": junit(document, texts),
        "report.html": page(document, texts),
    }
