"""What notebooks show of gpucnn's objects: tables in HTML."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


def table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts, with the names of its columns at its head."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def paragraphs(texts: Iterable[str]) -> str:
    """A paragraph for each text."""
    return "".join(f"<p>{html.escape(text)}</p>" for text in texts)


def as_it_is(text: str) -> str:
    """A text whose columns stand below each other."""
    return f'<pre style="line-height: 1.3">{html.escape(text)}</pre>'
