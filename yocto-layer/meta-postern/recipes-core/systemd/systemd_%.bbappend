# Updates into the other slot (systemd-sysupdate, which fetches by systemd-importd) and growing /var at the first boot (systemd-repart).
# The recipe of openembedded-core has no switch for sysupdate yet.
PACKAGECONFIG[sysupdate] = "-Dsysupdate=enabled,-Dsysupdate=disabled"
PACKAGECONFIG:append:postern = " efi importd openssl repart sysupdate"
