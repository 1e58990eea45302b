"""Reads a data class from JSON that was made of it, such as a snapshot from the control socket.

Whoever wrote the JSON may be of another version: fields that are unknown are passed over, and fields that are missing
have their defaults.
"""

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Kind = TypeVar("Kind")


def read(kind: type[Kind], value: Any) -> Kind:
    """Return a value of a type, of what JSON has for it; raise `ValueError` where that does not fit."""
    try:
        found: Kind = _read(kind, value)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not a {kind.__name__}: {error}") from error
    return found


@cache
def _types(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _read(kind: Any, value: Any) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in {Union, types.UnionType}:
        return None if value is None else _read(next(one for one in inner if one is not types.NoneType), value)
    if origin in {dict, Mapping, list, tuple}:
        return _collection(origin, inner, value)
    return _single(kind, value) if isinstance(kind, type) else value


def _collection(origin: Any, inner: tuple[Any, ...], value: Any) -> Any:
    if origin is list:
        return [_read(inner[0], one) for one in value]
    if origin is tuple:
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        return tuple(_read(one, part) for one, part in zip(kinds, value, strict=True))
    return {_read(inner[0], key): _read(inner[1], one) for key, one in value.items()}


def _single(kind: type, value: Any) -> Any:
    make: Any = kind
    if is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise TypeError(f"{value!r} has no fields")
        return make(**{name: _read(one, value[name]) for name, one in _types(kind).items() if name in value})
    if issubclass(kind, Enum):
        return make(value)
    return int(value) if kind is int and isinstance(value, str) else value
