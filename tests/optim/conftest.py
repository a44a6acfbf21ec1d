"""Property tests here have no deadline: a first example may have to compile a kernel, and machines are shared."""

from __future__ import annotations

import os

from hypothesis import settings

# where CI is set, the same examples each time: a change is judged by what it changes; chance is for those who watch
settings.register_profile("unhurried", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("unhurried")
