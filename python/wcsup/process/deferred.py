"""Modules that are imported for what wcsup never calls, and cost each of its processes time and memory."""

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


class _Deferred(ModuleType):
    """Stands for a module until something of it is asked for."""

    def __getattr__(self, name: str) -> object:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


def defer(name: str) -> None:
    """Have the next import of a module load nothing until an attribute of it is read; one that is loaded stays.

    `importlib.util.LazyLoader` does not do it: with Python 3.11 `import` itself reads the module's `__spec__`, and that
    loads it.
    """
    if name not in sys.modules:
        module = _Deferred(name)
        module.__spec__ = find_spec(name)
        sys.modules[name] = module
