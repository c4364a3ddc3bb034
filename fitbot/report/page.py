"""Parts of a report → one HTML page that needs nothing else: style inside, no script.

Whoever writes a part passes every text that comes from outside through `html.escape`.
"""

from collections.abc import Iterable, Sequence
from html import escape

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2026; --soft: #5c6570; --line: #d9dde3;
  --page: #ffffff; --card: #f5f6f8; --bad: #b4531a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --soft: #9aa3ad; --line: #363c44;
  --page: #15181c; --card: #1e2227; --bad: #f0a068; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 52rem; padding: 1rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
h3 { font-size: 1rem; margin-bottom: .3rem; }
.soft { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0;
  border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
.finding { background: var(--card); border-left: 4px solid var(--bad); padding: .6rem .8rem;
  margin: .6rem 0; }
.kind { color: var(--bad); font-weight: 600; }
.example { color: var(--soft); font-size: .88rem; margin: .2rem 0 0; }
svg { display: block; width: 100%; max-width: 38rem; height: auto; margin: .8rem 0;
  color: var(--ink); }
svg text { font-family: inherit !important; }
"""


def whole_page(title: str, parts: Iterable[str]) -> str:
    """Put parts, HTML each, below each other; the title is plain text."""
    body = "\n".join(parts)
    return f"""\
<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style></head><body>
{body}
</body></html>
"""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table of texts; a heading that starts with # stands over figures."""
    marks = [' class="n"' if name.startswith("#") else "" for name in head]

    def row(tag: str, cells: Sequence[str]) -> str:
        written = (
            f"<{tag}{mark}>{escape(cell)}</{tag}>" for mark, cell in zip(marks, cells, strict=True)
        )
        return f"<tr>{''.join(written)}</tr>"

    lines = [row("th", [name.removeprefix("#") for name in head])]
    lines += [row("td", cells) for cells in rows]
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def sentence(text: str) -> str:
    """Begin with a capital and end with a full stop."""
    return f"{text[0].upper()}{text[1:]}."
