"""Fleets as tests/processes has them."""

from __future__ import annotations

from ..processes.conftest import processes as processes
