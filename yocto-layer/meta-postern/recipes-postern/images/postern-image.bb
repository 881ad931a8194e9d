SUMMARY = "Postern appliance: read-only root, two slots, boots to the daemon"
DESCRIPTION = "A disk image for a rack box: flash it, give it one YAML file, rack it; updates go into the slot that does not run."
LICENSE = "MIT"

inherit core-image uki

IMAGE_FEATURES = "read-only-rootfs ssh-server-openssh"
IMAGE_INSTALL = "\
    packagegroup-core-boot \
    postern \
    postern-appliance \
    ca-certificates \
    chrony \
    ethtool \
    iproute2 \
    kernel-modules \
    tcpdump \
    tzdata \
"
# Locked until provisioned: no password, no root login by one.
IMAGE_LINGUAS = ""
EXTRA_IMAGE_FEATURES = ""

# A slot's kernel knows its root by the name of the partition, and the name has the version in it: they cannot be mixed up.
UKI_FILENAME = "postern_${DISTRO_VERSION}.efi"
UKI_CMDLINE = "rootwait ro root=PARTLABEL=postern_${DISTRO_VERSION} rootfstype=erofs panic=10 systemd.machine_id=firmware console=tty0 ${@' '.join('console=%s,%s' % (c.split(';')[1], c.split(';')[0]) for c in (d.getVar('SERIAL_CONSOLES') or '').split())}"
# Three attempts to come up healthy, then systemd-boot takes the other slot (recipes-postern/postern-appliance).
IMAGE_EFI_BOOT_FILES = "${UKI_FILENAME};EFI/Linux/postern_${DISTRO_VERSION}+3.efi"

# Discoverable Partitions Specification: root of this architecture.
POSTERN_ROOT_TYPE:x86-64 = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"
POSTERN_ROOT_TYPE:aarch64 = "b921b045-1df0-41c3-af44-4c6f280d3fae"
WICVARS:append = " POSTERN_ROOT_TYPE DISTRO_VERSION"
do_image_wic[depends] += "${PN}:do_image_erofs"
