"""Docstrings as reStructuredText: they are plain text with indented formulas, which stay as they are written."""

import re

FIELD = re.compile(r"([a-z_]\w*(, \w+)*( \([^)]*\))?|Returns|Raises): ")  # `name: what it is` at the start of a line
CODE = re.compile(r"``([^`]+)``|`([^`]+)`")


def escaped(text):
    """Plain words with `code` kept as code and all other markup taken literally."""
    out, last = [], 0
    for found in CODE.finditer(text):
        out.append(re.sub(r"([*|_\\])", r"\\\1", text[last : found.start()]))
        out.append(f"\\ ``{(found[1] or found[2]).strip('~. ')}``\\ ")  # markup must be set apart from letters beside it
        last = found.end()
    out.append(re.sub(r"([*|_\\`])", r"\\\1", text[last:]))
    return "".join(out)


def rewritten(lines):
    """Indented blocks become literal blocks; `name: meaning` becomes a paragraph of its own; examples stay."""
    blocks, block = [], []
    for line in [*lines, ""]:
        if line.strip():
            block.append(line)
        elif block:
            blocks.append(block)
            block = []
    out = []
    for block in blocks:
        if block[0].startswith(" "):
            out += ["::", "", *(f"    {line}" for line in block), ""]
            continue
        if block[0].startswith(">>>"):
            out += [*block, ""]
            continue
        paragraph = []
        for i, line in enumerate(block):
            hangs = i + 1 < len(block) and block[i + 1].startswith(" ")
            named = FIELD.match(line) is not None and block[i - 1].rstrip().endswith((".", ")", ";"))
            if paragraph and not line.startswith(" ") and (hangs or named or block[i - 1].startswith(" ")):
                out += [escaped(" ".join(paragraph)), ""]
                paragraph = []
            paragraph.append(line.strip())
        out += [escaped(" ".join(paragraph)), ""]
    return out


def process(app, what, name, obj, options, lines):
    lines[:] = rewritten(lines)


def setup(app):
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True}
