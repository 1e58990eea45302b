"""Deferred imports: modules that libraries import and wcsup never uses would cost each process time and memory."""

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


class _Deferred(ModuleType):
    """Stands for a module until one of its attributes is read."""

    def __getattr__(self, name: str) -> object:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


def defer(name: str) -> None:
    """Make the next import of a module load nothing until one of its attributes is read. A loaded module stays.

    `importlib.util.LazyLoader` can't do this: in Python 3.11 `import` itself reads the module's `__spec__`, which would
    load the module.
    """
    if name not in sys.modules:
        module = _Deferred(name)
        module.__spec__ = find_spec(name)
        sys.modules[name] = module
