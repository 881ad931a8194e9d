"""Kamailio: a registrar, its locations in memory, which calls whoever is registered; and a proxy that stays in the way of what it passes on."""

import shutil
import subprocess
from pathlib import Path

from .process import Child
from .wait import until

REALM, USER, PASSWORD = "carrier.test", "customer-17", "kamailio-secret-8"

COMMON = """
children=2
auto_aliases=no
log_stderror=yes
debug=1
mpath="{modules}"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "ctl.so"
modparam("ctl", "binrpc", "unix:{socket}")
"""
REGISTRAR = """
listen=udp:{address}:5060
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "auth.so"
modparam("usrloc", "db_mode", 0)
modparam("registrar", "max_expires", 90)
modparam("auth", "nonce_count", 1)
modparam("auth", "qop", "auth")
request_route {{
    if (is_method("REGISTER")) {{
        if (!pv_www_authenticate("{realm}", "{password}", "0") || $au != "{user}") {{
            www_challenge("{realm}", "1");
            exit;
        }}
        consume_credentials();
        save("location");
        exit;
    }}
    if (is_method("INVITE") && !has_totag()) {{
        # Whatever was dialed is this customer's.
        $ru = "sip:{user}@{realm}";
        if (!lookup("location")) {{
            sl_send_reply("480", "Not registered");
            exit;
        }}
    }}
    t_relay();
}}
"""

# What comes to each of its addresses goes on from there, to where the table says or as its routes say, and what follows comes by it too.
PROXY = """
{listen}
loadmodule "rr.so"
request_route {{
    $fs = "udp:" + $Ri + ":5060";
    if (has_totag()) {{
        if (!loose_route() && !is_method("ACK")) {{
            sl_send_reply("404", "No route");
            exit;
        }}
        t_relay();
        exit;
    }}
    record_route();
    {onward}
    t_relay();
}}
"""


def proxy(folder, onward):
    """One that sends on from each of its addresses: a table of address to (host, port)."""
    listen = "\n".join(f"listen=udp:{address}:5060" for address in onward)
    rules = "\n".join(f'if ($Ri == "{address}" && $si != "{host}") $du = "sip:{host}:{port}";' for address, (host, port) in onward.items())
    return Kamailio(folder, None, PROXY, listen=listen, onward=rules)


class Kamailio:
    def __init__(self, folder, address, score=REGISTRAR, **words):
        self.folder = Path(folder) / "kamailio"
        self.folder.mkdir()
        self.socket = self.folder / "ctl"
        binary = shutil.which("kamailio") or "/usr/sbin/kamailio"
        modules = next(Path("/usr/lib").glob("*/kamailio/modules"))
        score = (COMMON + score).format(address=address, modules=modules, socket=self.socket, realm=REALM, user=USER, password=PASSWORD, **words)
        file = self.folder / "kamailio.cfg"
        file.write_text(score)
        self.child = Child("kamailio", [binary, "-f", file, "-DD", "-E", "-m", "16", "-M", "8", "-Y", self.folder, "-P", self.folder / "pid", "-w", self.folder], self.folder)
        until("kamailio to answer", lambda: self.socket.exists() and "kamailio" in self._ask("core.version").lower())

    def _ask(self, *words):
        command = [shutil.which("kamcmd") or "/usr/sbin/kamcmd", "-s", f"unix:{self.socket}", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL)
        return done.stdout + done.stderr

    def locations(self):
        """What is registered, as Kamailio tells it."""
        return self._ask("ul.dump")

    def stop(self):
        # Some of its ends take half a minute, and nothing here waits for what it does then.
        self.child.stop(limit_s=3)
