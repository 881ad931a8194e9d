"""On what, and with which versions."""

import os
import platform
import subprocess
import time
from pathlib import Path

from . import kamailio, rtpengine
from .talk import NICE


def describe():
    return {
        "at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "virtual": "hypervisor" in Path("/proc/cpuinfo").read_text(),
        "kernel": platform.release(),
        "system": said("sh", "-c", ". /etc/os-release; echo $PRETTY_NAME"),
        "rustc": said("rustc", "--version"),
        "postern": said("git", "describe", "--always", "--dirty"),
        "rtpengine": rtpengine.version(),
        "kamailio": kamailio.version(),
        "nice": NICE,
        "busy_before": os.getloadavg()[0],
    }


def cpu():
    lines = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    words = {key.strip(): value.strip() for key, value in lines.items()}
    return f"{words['model name']}, family {words['cpu family']}, model {words['model']}"


def said(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
