"""The sentence under a setting's field, read from the source only when somebody needs it.

pydantic can do so for all fields of a model (`use_attribute_docstrings`), but does it when the class is made: a quarter
of what a gate's imports cost, for sentences that only an error shows.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import cache
from itertools import pairwise

from pydantic import BaseModel


def sentence(model: type[BaseModel], name: str) -> str:
    """What is said of that field, by its description or by the string that stands under it; "" if nothing is."""
    field = model.model_fields.get(name)
    if field is not None and field.description:
        return field.description
    return next((said[name] for said in map(_sentences, model.__mro__) if name in said), "")


@cache
def _sentences(kind: type) -> dict[str, str]:
    """Of the class itself, not of its bases; empty where there is no source, as for a class made at a prompt."""
    if kind in (object, BaseModel):
        return {}
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError, SyntaxError):
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    return {
        field.target.id: inspect.cleandoc(under.value.value)
        for field, under in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(under, ast.Expr)
        and isinstance(under.value, ast.Constant)
        and isinstance(under.value.value, str)
    }
