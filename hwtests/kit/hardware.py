"""What a box may have. Each probe answers None when it is there, else what is missing, in words for the report."""

PROBES = {}


def probe(function):
    PROBES[function.__name__] = function
    return function


def _exists(box, pattern, what):
    return None if box.succeeds(f"ls -d {pattern} >/dev/null 2>&1") else what


@probe
def root(box):
    return None if box.run("id -u") == "0" else "root on the box"


@probe
def postern(box):
    return None if box.succeeds("systemctl is-active --quiet posternd && postern status >/dev/null") else "a running posternd"


@probe
def appliance(box):
    return None if box.succeeds("grep -q ^IMAGE_ID=postern /etc/os-release") else "the appliance's image"


@probe
def hwrng(box):
    return None if box.succeeds("dd if=/dev/hwrng of=/dev/null bs=16 count=1 2>/dev/null") else "a hardware random number generator (/dev/hwrng)"


@probe
def thermal(box):
    return _exists(box, "/sys/class/thermal/thermal_zone*/temp", "temperature sensors (/sys/class/thermal)")


@probe
def ecc(box):
    return _exists(box, "/sys/devices/system/edac/mc/mc*", "memory with error correction that the kernel reports (EDAC)")


@probe
def watchdog(box):
    return _exists(box, "/dev/watchdog0", "a hardware watchdog (/dev/watchdog0)")


@probe
def many_queues(box):
    return None if queues(box) else "a network card with several receive queues"


@probe
def many_cpus(box):
    return None if int(box.run("nproc")) > 1 else "more than one CPU"


@probe
def link(box):
    return None if ports(box) else "a wired port with a link"


@probe
def bond(box):
    return _exists(box, "/sys/class/net/*/bonding/slaves", "a bond of two ports")


@probe
def cyclictest(box):
    return None if box.has("cyclictest") else "cyclictest (Debian: rt-tests)"


@probe
def smart(box):
    return None if box.has("smartctl") and box.succeeds("smartctl --scan | grep -q .") else "a disk that smartctl (Debian: smartmontools) can ask"


@probe
def time_sync(box):
    return None if box.run("timedatectl show --property=NTPSynchronized --value", check=False) == "yes" else "a time server that was reached"


@probe
def power(box):
    return None if box.power else "a power switch in the labgrid environment"


def ports(box):
    """Wired ports with a link."""
    line = "for d in /sys/class/net/*; do [ -e $d/device ] && [ \"$(cat $d/carrier 2>/dev/null)\" = 1 ] && basename $d; done; true"
    return box.run(line).split()


def queues(box):
    """Wired ports with more than one receive queue, and how many."""
    found = {}
    for port in ports(box):
        count = int(box.run(f"ls -d /sys/class/net/{port}/queues/rx-* | wc -l"))
        if count > 1:
            found[port] = count
    return found
