"""Reads our Sphinx docstrings as Markdown, for griffe: roles, and what a class says of its fields and its result."""

from __future__ import annotations

import re
from typing import Any

import griffe

#: Targets of ``:ref:``, as a page of the reference links to them.
REFS = {"connection": "../docs/connection.html"}
_ROLE = re.compile(r":(?:py:)?(\w+):`(?:([^`<]*?)\s*<([^`>]+)>|([^`]+))`")
_RETURN = re.compile(r"^:return:(.*(?:\n[ \t]+.*)*)\n?", re.MULTILINE)
#: A literal block is indented in Markdown as well; the colons that announce it are not a part of it.
_LITERAL = re.compile(r"^::$", re.MULTILINE)


def to_markdown(text: str) -> str:
    """Return a docstring with its roles as links, where the site has their target, and as code elsewhere."""
    return _ROLE.sub(_link, _LITERAL.sub("", text))


def _link(match: re.Match[str]) -> str:
    role, title, target, plain = match.groups()
    if role == "ref":
        return f'<a href="{REFS[target]}">{title}</a>'
    target = target or plain
    shown = title or (target.rsplit(".", 1)[-1] if target.startswith("~") else target)
    return f'<autoref optional identifier="{target.lstrip("~")}"><code>{shown}</code></autoref>'


def of_class(text: str, *, has_signature: bool) -> str:
    """Return a class's docstring so that griffe, which knows parameters and results of functions alone, reads it.

    :param has_signature: whether its parameters are those of a signature; a pydantic model's are its attributes.
    """
    if not has_signature:
        text = text.replace(":param ", ":var ")
    if found := _RETURN.search(text):
        text = _RETURN.sub("", text)
        at = text.find("\n:")
        text = f"{text[:at]}\nThe task's result: {found[1].strip()}\n{text[at:]}"
    return text


class Docstrings(griffe.Extension):
    """Convert each docstring as it is read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Convert the docstring of a module, class, function or attribute."""
        if obj.docstring is None:
            return
        text = to_markdown(obj.docstring.value)
        if isinstance(obj, griffe.Class):
            decorated = any("dataclass" in str(decorator.value) for decorator in obj.decorators)
            text = of_class(text, has_signature="__init__" in obj.members or decorated)
        obj.docstring.value = text
