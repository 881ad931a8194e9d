"""What a newcomer sees first must work: the demo, as `make demo` runs it but for the build."""

import subprocess
import sys
from pathlib import Path

from kit import box


def test_the_demo_proves_what_it_shows_and_leaves_nothing_behind():
    folder = Path(__file__).parents[1]
    programs = Path(box.binary("posternd")).parent
    done = subprocess.run([sys.executable, "-m", "demo"], cwd=folder, env={"POSTERN_BIN": str(programs), "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(Path.home())},
                          capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    assert "audio passed both ways" in done.stdout
    assert all(str(programs / "posternd") not in path.read_bytes().decode(errors="replace") for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())
