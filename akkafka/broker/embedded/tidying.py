"""Has the JVM collect its whole heap before that has grown to all it may have.

The serial collector takes the old generation only when it is full, which is at -Xmx: what messages of 64 MiB need, and
others do not. No flag has it begin sooner (SoftMaxHeapSize is for other collectors), but every JVM does so when asked
by the `jcmd` that comes with it. Standard library only, as the supervisor.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from akkafka.broker.embedded.settings import MIB
from akkafka.broker.embedded.tether import kill, tethered

LOOK_S = 5.0
STEP_BYTES = 16 * MIB  # a heap full of what is needed is not collected again before it has grown by so much
PATIENCE_S = 30.0  # for a JVM that has been stopped, or is too busy to be asked


@dataclass(slots=True)
class Tidying:
    """Looks at one JVM after the other, each known by its pid; `look` never waits."""

    jcmd: str | None  # None: this Java has none, and its heap is left to itself
    limit_bytes: int  # resident memory
    directory: Path  # jcmd's; not the user's
    pid: int = 0
    next_look: float = 0.0
    above: int = 0  # collect beyond so many bytes
    asked: subprocess.Popen[bytes] | None = None
    asked_at: float = 0.0
    before: int = 0

    def look(self, pid: int, now: float) -> str | None:
        """Ask the JVM to collect if it is time; what is worth a line in the log."""
        if pid != self.pid:
            self.end()
            self.pid, self.above = pid, self.limit_bytes
        if self.asked is not None:
            return self._answered(self.asked, now)
        if self.jcmd is None or now < self.next_look:
            return None
        self.next_look = now + LOOK_S
        self.before = resident_bytes(pid)
        if self.before > self.above:
            self.asked_at = now
            self.asked = tethered([self.jcmd, str(pid), "GC.run"], subprocess.DEVNULL, self.directory)
        return None

    def end(self) -> None:
        """Nothing more is asked of this JVM."""
        self._give_up()
        with suppress(OSError):
            Path(f"/tmp/.java_pid{self.pid}").unlink()  # where it was asked: a JVM that is killed leaves it behind

    def _give_up(self) -> None:
        if self.asked is not None:
            kill(self.asked)
            self.asked.wait()
            self.asked = None

    def _answered(self, asked: subprocess.Popen[bytes], now: float) -> str | None:
        if asked.poll() is None:
            if now - self.asked_at < PATIENCE_S:
                return None
            self._give_up()
        self.asked = None
        after = resident_bytes(self.pid)
        self.above = max(self.limit_bytes, after + STEP_BYTES)
        if asked.returncode:
            return f"the JVM's heap could not be collected: {self.jcmd} ended with {asked.returncode}"
        return f"the JVM's heap was collected: {self.before // MIB} MiB before, {after // MIB} behind it"


def jcmd_of(java: Path) -> str | None:
    """The one that lies beside a Java launcher."""
    found = java.resolve().with_name("jcmd")
    return str(found) if found.exists() else None


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 where the system does not tell, or the process is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
