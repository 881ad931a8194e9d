"""Addresses: each test has a /24 of 127.0.0.0/8 to itself, so runs side by side never meet."""

import itertools
import os
import socket

_next = itertools.count(os.getpid() * 7)


class Net:
    def __init__(self):
        # Held for as long as we live: another run that counts its way here goes one further.
        self.claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        while True:
            number = next(_next)
            # Not 127.0: that is where everybody else is.
            self.prefix = f"127.{1 + number // 250 % 250}.{1 + number % 250}"
            try:
                self.claim.bind((self.ip(254), 1024))
                return
            except OSError:
                continue

    def ip(self, host):
        return f"{self.prefix}.{host}"

    @property
    def box_carrier(self):
        """Postern, seen by carriers."""
        return self.ip(2)

    @property
    def box_clients(self):
        """Postern, seen by clients."""
        return self.ip(3)

    @property
    def carrier(self):
        return self.ip(11)

    @property
    def other_carrier(self):
        return self.ip(13)

    @property
    def client(self):
        return self.ip(12)

    @property
    def other_client(self):
        return self.ip(14)

    @property
    def stranger(self):
        return self.ip(66)

    @property
    def servers(self):
        """Application server, NATS, REST."""
        return self.ip(80)
