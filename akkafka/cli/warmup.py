"""`akkafka warmup`: pays the compiler's time once, in an image's build or before a measurement."""

from __future__ import annotations

import time

from akkafka.cli.console import say


def warmup() -> None:
    """Compile every kernel of nn and optim into numba's cache, or find it there."""
    begun = time.monotonic()
    say("compiling kernels (some 20 s the first time)")
    from akkafka.nn.warm import compile_all
    from akkafka.optim.warm import compile_all as compile_steps

    compile_all()
    compile_steps()
    print(f"kernels are ready after {time.monotonic() - begun:.1f} s")
