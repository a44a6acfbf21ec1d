"""Property tests here have no deadline: a first example may have to compile a kernel, and machines are shared."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
