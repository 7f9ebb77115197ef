"""Models whose JSON Schema says of each field what stands under it in the source."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class Described(BaseModel):
    """A field's docstring is its description where it has no other.

    pydantic's `use_attribute_docstrings` gives the same schema, but reads the source of every class when it is
    imported, a twelfth of what a command takes to start: here it is read when somebody asks for a schema.
    """

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in docstrings(cls).items():
            field = cls.model_fields[name]
            if field.description is None and (said := properties.get(field.alias or name)) is not None:
                said["description"] = text
        return schema


@cache
def docstrings(model: type[BaseModel]) -> Mapping[str, str]:
    """By field, those of base classes too. A field that a class declares anew has the docstring that stands there."""
    told: dict[str, str] = {}
    for one in reversed(model.__mro__):
        if issubclass(one, BaseModel):
            anew = inspect.get_annotations(one)
            told = {name: text for name, text in told.items() if name not in anew}
            told |= _of_module(one.__module__).get(one.__qualname__, {})
    return {name: text for name, text in told.items() if name in model.model_fields}


@cache
def _of_module(name: str) -> Mapping[str, Mapping[str, str]]:
    """Class, as in `__qualname__` -> field -> docstring. Empty where there is no source."""
    try:
        source = inspect.getsource(sys.modules[name])
    except (KeyError, OSError, TypeError):
        return {}
    return dict(_classes(ast.parse(source), ""))


def _classes(node: ast.AST, inside: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    for child in ast.iter_child_nodes(node):
        below = inside
        if isinstance(child, ast.ClassDef):
            yield f"{inside}{child.name}", dict(_fields(child))
            below = f"{inside}{child.name}."
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            below = f"{inside}{child.name}.<locals>."
        yield from _classes(child, below)


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, behind in pairwise(node.body):
        match field, behind:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, inspect.cleandoc(text)
