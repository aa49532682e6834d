"""Value objects: frozen to the type checker, plain at run time.

`dataclass(frozen=True)` sets each field through `object.__setattr__`, by which an object of six fields costs eight
times as much as a plain one. A verification makes some forty of them, and that was a fifteenth of its CPU; the type
checker refuses what would meet the guard.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform, overload

T = TypeVar("T")


@overload
def value(cls: type[T], /) -> type[T]: ...
@overload
def value(*, repr: bool = True, kw_only: bool = False) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(
    cls: type[T] | None = None, /, *, repr: bool = True, kw_only: bool = False
) -> type[T] | Callable[[type[T]], type[T]]:
    """A dataclass with slots, compared and hashed by its fields. With `repr=False` it prints as nothing."""

    def declare(cls: type[T]) -> type[T]:
        return dataclass(slots=True, repr=repr, kw_only=kw_only, unsafe_hash=True)(cls)

    return declare if cls is None else declare(cls)
