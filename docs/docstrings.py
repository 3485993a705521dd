"""Markdown from the docstrings of the package, for mkdocstrings: an extension of griffe.

A docstring is one sentence of meaning, then sections ("Args:", "Returns:", "Raises:", "Cost:", "Error:", "Source:"),
each of a text on the same line or indented below, then doctests. An entry of "Args:" may name several arguments, and
several entries may share a line, with semicolons between them.
"""

import re
from typing import Any

import griffe

SECTION = re.compile(r"(Args|Returns|Raises|Yields|Attributes|Cost|Error|Source|Sources):\s*(.*)")
ENTRY = re.compile(r"([*\w][\w.*]*(?:, [*\w][\w.*]*)*): (.*)", re.DOTALL)
LINKS = (
    (re.compile(r"arXiv (\d{4}\.\d{4,5})"), r"[arXiv \1](https://arxiv.org/abs/\1)"),
    (re.compile(r"doi:(10\.[\w./()-]*[\w)])"), r"[doi:\1](https://doi.org/\1)"),
)


class Docstrings(griffe.Extension):
    """Every docstring that is loaded becomes Markdown."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(docstring: str) -> str:
    """The docstring with headings for its sections, lists of its arguments, and fences around its doctests."""
    parts: list[str] = []
    lines = docstring.split("\n")
    while lines:
        if match := SECTION.fullmatch(lines[0]):
            body = take(lines, lambda line: not line or line.startswith(" "))
            parts.append(section(match[1], match[2], body[1:]))
        elif lines[0].startswith(">>>"):
            parts.append("\n".join(["```pycon", *take(lines, bool), "```"]))
        elif lines[0].startswith("    "):
            parts.append("\n".join(take(lines, lambda line: not line or line.startswith("    "))))
        else:
            parts.append(prose(" ".join(take(lines, lambda line: bool(line) and not SECTION.fullmatch(line)))))
        while lines and not lines[0]:
            lines.pop(0)
    return "\n\n".join(parts)


def take(lines: list[str], belongs: Any) -> list[str]:
    """The first line and those after it that belong to it, taken out of the list; no empty ones at the end."""
    end = 1
    while end < len(lines) and belongs(lines[end]):
        end += 1
    taken = lines[:end]
    del lines[:end]
    while not taken[-1]:
        taken.pop()
    return taken


def section(title: str, first: str, body: list[str]) -> str:
    """A section in bold, its entries as a list where it has any."""
    entries: list[str] = []
    depth = min((len(line) - len(line.lstrip()) for line in body if line), default=0)
    for line in body:
        # what goes on in the next line is indented once more, but for plain sentences below the title
        if line and len(line) - len(line.lstrip()) == depth and (not entries or ENTRY.fullmatch(line.strip())):
            entries.append(line.strip())
        elif line:
            entries[-1] += " " + line.strip()
    if first or not entries or not all(ENTRY.fullmatch(entry) for entry in entries):
        return f"**{title}**: " + prose(" ".join([first, *entries]).strip())
    split = [one for entry in entries for one in re.split(r"; (?=[\w*]+: )", entry)]
    return f"**{title}**\n\n" + "\n".join(f"- {named(entry)}" for entry in split)


def named(entry: str) -> str:
    """One entry: its names as code, then its text."""
    match = ENTRY.fullmatch(entry)
    assert match
    names = ", ".join(f"`{name}`" for name in match[1].split(", "))
    return f"{names}: {prose(match[2])}"


def prose(text: str) -> str:
    """Text outside of code: brackets are neither tags nor links, and papers are linked."""
    pieces = re.split(r"(`[^`]*`)", text)
    for at in range(0, len(pieces), 2):
        pieces[at] = pieces[at].replace("<", "&lt;").replace("[", "\\[")
        for pattern, link in LINKS:
            pieces[at] = pattern.sub(link, pieces[at])
    return "".join(pieces)
