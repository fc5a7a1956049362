"""A bounded cache shared by all users, for things that are the same for all of them: models, and results."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Value = TypeVar("Value")


@dataclass(eq=False)
class Cache(Generic[Value]):
    """Keeps the values used last, at most `max_items` and `max_bytes` of them; each is made once, by one thread."""

    max_items: int
    max_bytes: float = float("inf")
    size_of: Callable[[Value], int] = lambda value: 0
    _values: OrderedDict[Hashable, Value] = field(default_factory=OrderedDict)
    _making: dict[Hashable, threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: Hashable) -> Value | None:
        """The value kept under `key`, if there is one."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def get_or_make(
        self, key: Hashable, make: Callable[[], Value], *, waiting: Callable[[], None] = lambda: None
    ) -> Value:
        """The value kept under `key`, made if need be. `waiting` is called now and then while another makes it.

        Whatever `make` or `waiting` raises comes out, and leaves nothing behind.
        """
        if (value := self.get(key)) is not None:
            return value
        with self._lock:
            lock = self._making.setdefault(key, threading.Lock())
        while not lock.acquire(timeout=0.2):
            waiting()
        try:
            if (value := self.get(key)) is None:
                value = make()
                self._keep(key, value)
            return value
        finally:
            lock.release()
            with self._lock:
                if not lock.locked():
                    self._making.pop(key, None)

    def _keep(self, key: Hashable, value: Value) -> None:
        with self._lock:
            self._values[key] = value
            while len(self._values) > 1 and (
                len(self._values) > self.max_items or sum(map(self.size_of, self._values.values())) > self.max_bytes
            ):
                self._values.popitem(last=False)

    def __len__(self) -> int:
        return len(self._values)
