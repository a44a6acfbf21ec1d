"""`akkafka warmup`: pays the compiler's time once, in an image's build or before a measurement."""

from __future__ import annotations

import time
from importlib import import_module

from akkafka.cli.console import say


def warmup() -> None:
    """Compile every kernel of nn and optim into numba's cache, or find it there."""
    begun = time.monotonic()
    say("compiling kernels (some 20 s the first time)")
    from akkafka.nn.warm import compile_all

    import_module("akkafka.optim.kernels")  # importing compiles: every kernel has one signature
    compile_all()
    print(f"kernels are ready after {time.monotonic() - begun:.1f} s")
