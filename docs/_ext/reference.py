"""The reference of commands, settings and machines, made from the program itself whenever the site is built: a line
`<!-- commands -->` (or settings, machines) of a page is replaced by it."""

import dataclasses
import inspect
import re
from itertools import groupby

from typer.main import get_command

from quprop.cli import app
from quprop.hardware_models import PRESETS, HardwareModel, NoiseModel
from quprop.problems.config import KINDS, SECTIONS
from quprop.problems.table import PROBLEMS


def commands():
    lines, root = [], get_command(app)
    for name in root.commands:
        lines += _command(root.get_command(None, name), ["quprop", name])
    return "\n".join(lines)


def settings():
    lines = []
    for name, spec in PROBLEMS.items():
        lines += [f"### {name}", "", f"{_inline(spec.title)}.", ""]
        for section in SECTIONS:
            rows = [(f"`{key}`", _default(s.default), _meaning(s)) for key, s in spec.schema[section].items()]
            lines += [*_table(f"`[{section}]`", ("default", "what it is"), rows), ""] if rows else []
    return "\n".join(lines)


def machines():
    lines = []
    for kind, title in ((HardwareModel, "a machine"), (NoiseModel, "`[noise]`")):
        fields = dataclasses.fields(kind)
        rows = [
            (f"`{f.name}`", "required" if f.default is dataclasses.MISSING else _default(f.default)) for f in fields
        ]
        rows = [("`name`", "the file's name") if row[0] == "`name`" else row for row in rows]
        lines += [*_table(title, ("default",), rows), "", "```text", inspect.cleandoc(kind.__doc__), "```", ""]
    lines += ["The machines that are known by name:", ""]
    named = [(f"`{name}`", _inline(machine.source)) for name, machine in PRESETS.items()]
    return "\n".join([*lines, *_table("name", ("where its numbers are from",), named)])


def _command(command, path):
    lines = ["#" * len(path) + f" {' '.join(path)}", ""]
    inner = getattr(command, "commands", None) or {}
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    if not inner:
        words = [p.metavar or p.name.upper() for p in arguments]
        words = [word if p.required else f"[{word}]" for word, p in zip(words, arguments, strict=True)]
        lines += ["```sh", " ".join([*path, *words, "[OPTIONS]"]), "```", ""]
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        lines += [_inline(paragraph), ""]
    rows = [(f"`{p.metavar or p.name.upper()}`", _inline(p.help or ""), "") for p in arguments]
    for p in command.params:
        if p.param_type_name == "option" and "--help" not in p.opts:
            rows.append((_names(p), _inline(p.help or ""), _option_default(p)))
    if rows and not inner:
        lines += [*_table("", ("what it is", "default"), rows), ""]
    if command.epilog:
        lines += _epilog(command.epilog)
    for name, sub in inner.items():
        lines += _command(sub, [*path, name])
    return lines


def _names(option):
    value = "" if option.is_flag else f" {option.metavar or 'VALUE'}"
    return " / ".join(f"`{name}{value}`" for name in (*option.opts, *option.secondary_opts))


def _option_default(option):
    if option.is_flag or option.default in (None, (), []):
        return ""
    return f"`{option.default}`"


def _epilog(text):
    """Lines of commands as code, the rest as it is."""
    text = re.sub(r"\[/?bold\]", "**", text).replace("\\[", "[")
    lines = []
    for code, paragraphs in groupby(text.split("\n\n"), lambda p: p.startswith("quprop ")):
        if code:
            lines += ["```sh", *paragraphs, "```", ""]
        else:
            lines += ["\n\n".join(map(_inline, paragraphs)), ""]
    return lines


def _meaning(setting):
    kind = setting.kind or type(setting.default)
    words = [_inline(setting.help)]
    words += [", ".join(f"`{c}`" for c in setting.choices) if setting.choices else KINDS.get(kind, kind.__name__)]
    words += [f"{setting.least:g} or more"] if setting.least is not None else []
    return "; ".join(words)


def _default(value):
    if value is None:
        return "none"
    text = str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')
    return f"`{text}`"


def _table(first, others, rows):
    lines = ["| " + " | ".join((first, *others)) + " |", "|" + "---|" * (1 + len(others))]
    return lines + ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]


def _inline(text):
    """One line of Markdown in which nothing but `code`, --options and **bold words** are markup."""
    parts = re.split(r"(`[^`]+`|\*\*[^*]+\*\*|(?<![\w-])--[a-z][\w-]*)", " ".join(text.split()))
    return "".join(_marked(part) for part in parts)


def _marked(part):
    if part.startswith("--"):
        return f"`{part}`"
    return part if part.startswith(("`", "**")) else re.sub(r"([*_<>\[\]$\\^~])", r"\\\1", part)


MADE = {"commands": commands, "settings": settings, "machines": machines}


def fill(app, docname, source):
    for name, make in MADE.items():
        mark = f"<!-- {name} -->"
        if mark in source[0]:
            source[0] = source[0].replace(mark, make())


def setup(app):
    app.connect("source-read", fill)
    return {"parallel_read_safe": True}
