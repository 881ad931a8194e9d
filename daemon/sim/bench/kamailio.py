"""Kamailio as the system under test: an open SBC with dialogs, hidden topology and rtpengine for the media of each call, and a plain stateful proxy."""

import shutil
import socket
import subprocess
import time
from pathlib import Path

from .rtpengine import CONTROL, Rtpengine
from .talk import SYSTEM_CPU, Program

# The tlsf allocators: with its own Kamailio takes five times as long (FACTS). More children than one core has use for, because
# each waits for rtpengine's answer.
SCORE = """
listen=udp:{near}:5060
listen=udp:{far}:5060
children=4
auto_aliases=no
log_stderror=yes
debug=-1
mpath="{modules}"
loadmodule "tm.so"
loadmodule "tmx.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
{modules_of_border}request_route {{
    if (!mf_process_maxfwd_header("10")) {{
        sl_send_reply("483", "Too Many Hops");
        exit;
    }}
    if (has_totag()) {{
        if (!loose_route()) {{
            if (is_method("ACK") && t_check_trans()) t_relay();
            if (!is_method("ACK")) sl_send_reply("404", "Not Found");
            exit;
        }}
        {at_bye}
        t_relay();
        exit;
    }}
    if (!is_method("INVITE")) {{
        sl_send_reply("405", "Method Not Allowed");
        exit;
    }}
    if (t_precheck_trans()) {{
        t_check_trans();
        exit;
    }}
    t_check_trans();
    record_route();
    {at_invite}
    $fs = "udp:{far}:5060";
    $du = "sip:{callee}";
    t_relay();
}}
{at_answer}
"""
# What makes a border of a proxy.
BORDER = {
    "modules_of_border": f"""\
loadmodule "dialog.so"
loadmodule "topoh.so"
loadmodule "rtpengine.so"
modparam("topoh", "mask_key", "bench")
modparam("topoh", "mask_ip", "192.0.2.7")
modparam("rtpengine", "rtpengine_sock", "udp:{":".join(map(str, CONTROL))}")
""",
    "at_bye": 'if (is_method("BYE")) rtpengine_delete();',
    "at_invite": """\
dlg_manage();
    rtpengine_offer("replace-origin ICE=remove");
    t_on_reply("ANSWER");""",
    "at_answer": """\
onreply_route[ANSWER] {
    if (has_body("application/sdp")) rtpengine_answer("replace-origin ICE=remove");
}""",
}


def version():
    said = subprocess.run([_binary(), "-v"], capture_output=True, text=True)
    return said.stdout.split("(")[0].replace("version: ", "").strip()


def _binary():
    return shutil.which("kamailio") or "/usr/sbin/kamailio"


class Proxy:
    """Transactions and Record-Route, no dialogs, no media: the least that Kamailio does for a call."""

    name = "kamailio"
    caller, callee, near, far = "127.0.0.21:5060", "127.0.0.22:5060", "127.0.0.19", "127.0.0.20"
    border = dict.fromkeys(BORDER, "")

    def __init__(self, folder, _binaries):
        folder = Path(folder) / type(self).__name__.lower()
        folder.mkdir(exist_ok=True)
        modules = next(Path("/usr/lib").glob("*/kamailio/modules"))
        file = folder / "kamailio.cfg"
        file.write_text(SCORE.format(near=self.near, far=self.far, callee=self.callee, modules=modules, **self.border))
        command = [_binary(), "-f", file, "-DD", "-E", "-m", "1024", "-M", "16", "-x", "tlsf", "-X", "tlsf", "-b", "8388608"]
        self.program = Program(self.name, [*command, "-Y", folder, "-P", folder / "pid", "-w", folder], folder, SYSTEM_CPU)
        limit = time.monotonic() + 20
        while not self._answers():
            if time.monotonic() > limit or self.program.process.poll() is not None:
                raise RuntimeError(f"Kamailio does not start\n{self.program.tail()}")

    @property
    def pids(self):
        return [self.program.pid, *_children(self.program.pid)]

    def _answers(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            line.bind((self.caller.split(":")[0], 0))
            line.settimeout(0.3)
            here = "{}:{}".format(*line.getsockname())
            line.sendto(
                f"OPTIONS sip:{self.near} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bKready\r\nMax-Forwards: 70\r\nFrom: <sip:a@{here}>;tag=1\r\n"
                f"To: <sip:{self.near}>\r\nCall-ID: ready\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n".encode(),
                (self.near, 5060),
            )
            try:
                return line.recv(2000).startswith(b"SIP/2.0 ")
            except (TimeoutError, ConnectionError):
                return False

    def tail(self):
        return self.program.tail()

    def stop(self):
        self.program.stop()


class OpenSbc(Proxy):
    caller, callee, near, far = "127.0.0.13:5060", "127.0.0.14:5060", "127.0.0.11", "127.0.0.12"
    border = BORDER

    def __init__(self, folder, binaries):
        (Path(folder) / self.name).mkdir()
        self.rtpengine = Rtpengine(Path(folder) / self.name)
        super().__init__(folder, binaries)

    @property
    def pids(self):
        return [self.rtpengine.pid, *super().pids]

    def stop(self):
        super().stop()
        self.rtpengine.stop()


def _children(pid):
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name, in parentheses, may have spaces.
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        if parent == pid:
            found += [int(stat.parent.name), *_children(int(stat.parent.name))]
    return found
