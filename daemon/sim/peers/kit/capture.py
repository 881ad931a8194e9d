"""Packets on the loopback interface, written to a pcap file and read back.

Runs as a process of its own because it needs the right to see packets (root, or sudo without a question).
"""

import os
import socket
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from . import audio
from .process import Child
from .wait import until

PACKET_OUTGOING = 4  # on lo each packet is seen twice, once going and once coming
SNAP = 2048


@dataclass(frozen=True)
class Packet:
    at: float
    source: tuple
    target: tuple
    payload: bytes
    dscp: int = 0


class Capture:
    """UDP on lo from here to `stop()`, to or from addresses that begin with `prefix`, and ::1."""

    def __init__(self, folder, prefix, name="lo"):
        self.path = Path(folder) / f"{name}.pcap"
        command = [sys.executable, "-m", "kit.capture", self.path, prefix]
        if os.geteuid() != 0:
            command = ["sudo", "-n", *command]
        self.child = Child(f"capture-{name}", command, folder, cwd=Path(__file__).parent.parent, stdin=subprocess.PIPE)
        until("capture to begin", lambda: self.path.exists() or not self.child.running())

    def stop(self):
        """Ends the capture; everything that was sent before this call is in it. Returns the packets."""
        self.child.process.stdin.close()
        if self.child.wait() != 0:
            raise AssertionError(f"capture failed: {self.child.text()}")
        return read(self.path)


def read(path):
    data = Path(path).read_bytes()
    packets, at = [], 24
    while at + 16 <= len(data):
        seconds, micros, length, _ = struct.unpack_from("<IIII", data, at)
        frame = data[at + 16 : at + 16 + length]
        at += 16 + length
        kind = frame[12:14]
        if kind == b"\x08\x00" and frame[23] == socket.IPPROTO_UDP:
            head, mark = 14 + (frame[14] & 0x0F) * 4, frame[15]
            addresses = socket.inet_ntop(socket.AF_INET, frame[26:30]), socket.inet_ntop(socket.AF_INET, frame[30:34])
        elif kind == b"\x86\xdd" and frame[20] == socket.IPPROTO_UDP:
            head, mark = 54, (frame[14] & 0x0F) << 4 | frame[15] >> 4
            addresses = socket.inet_ntop(socket.AF_INET6, frame[22:38]), socket.inet_ntop(socket.AF_INET6, frame[38:54])
        else:
            continue
        ports = struct.unpack_from("!HH", frame, head)
        packets.append(Packet(seconds + micros / 1e6, (addresses[0], ports[0]), (addresses[1], ports[1]), frame[head + 8 :], mark >> 2))
    return packets


def is_rtp(packet):
    p = packet.payload
    return len(p) >= 12 and p[0] >> 6 == 2 and not 192 <= p[1] <= 223


def is_sip(packet):
    return b"SIP/2.0" in packet.payload[:2048] and packet.payload[:1].isalpha()


def heard(packets, target):
    """What `target` (address, or address and port) was sent as RTP, as samples on the time line of the stream; silence where packets are missing."""
    wanted = [p for p in packets if is_rtp(p) and (p.target == target or p.target[0] == target)]
    pieces = {}
    for packet in wanted:
        kind = packet.payload[1] & 0x7F
        if kind not in (0, 8):
            continue
        stamp, source = struct.unpack_from("!II", packet.payload, 4)
        head = 12 + 4 * (packet.payload[0] & 0x0F)
        decode = audio.from_ulaw if kind == 0 else audio.from_alaw
        pieces.setdefault((packet.target, source), []).append((stamp, decode(packet.payload[head:])))
    rows = []
    for stream in pieces.values():
        first = stream[0][0]
        row = audio.np.zeros(0, audio.np.int16)
        for stamp, samples in stream:
            offset = (stamp - first) & 0xFFFFFFFF
            if offset > 600 * audio.RATE:  # a jump, or older than the first
                continue
            if offset + len(samples) > len(row):
                row = audio.np.pad(row, (0, offset + len(samples) - len(row)))
            row[offset : offset + len(samples)] = samples
        rows.append(row)
    return audio.np.concatenate(rows) if rows else audio.np.zeros(0, audio.np.int16)


def _run(path, prefix):
    ours = bytes(int(part) for part in prefix.split("."))
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sniffer.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE: bursts of load
    sniffer.bind(("lo", 0))
    sniffer.settimeout(0.2)
    asked_to_end = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.buffer.read(), asked_to_end.set()), daemon=True).start()
    with open(path + ".part", "wb", buffering=1 << 20) as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, SNAP, 1))
        os.rename(path + ".part", path)
        until = None
        while until is None or time.monotonic() < until:
            # What was sent before the end was asked for is in the socket by then; others' traffic may never pause.
            if until is None and asked_to_end.is_set():
                until = time.monotonic() + 1
            try:
                frame, address = sniffer.recvfrom(SNAP)
            except TimeoutError:
                if asked_to_end.is_set():
                    return
                continue
            if address[2] == PACKET_OUTGOING:
                continue
            ip6 = frame[12:14] == b"\x86\xdd"
            if not ip6 and frame[26 : 26 + len(ours)] != ours and frame[30 : 30 + len(ours)] != ours:
                continue
            now = time.time()
            out.write(struct.pack("<IIII", int(now), int(now % 1 * 1e6), len(frame), len(frame)) + frame)


if __name__ == "__main__":
    _run(sys.argv[1], sys.argv[2])
