SUMMARY = "What makes a machine a Postern appliance"
DESCRIPTION = "Provisioning, the console's screen, updates into the slot that does not run, the rule by which a boot counts as good."
SECTION = "admin"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"
PV = "1.0+git"

# The same files as in the Debian image, from the same checkout (see postern).
SRC_URI = "git://${POSTERN_CHECKOUT};protocol=file;nobranch=1"
SRCREV ?= "${AUTOREV}"

inherit allarch systemd

SYSTEMD_SERVICE:${PN} = "postern-provision.service postern-healthy.service etc-postern.mount postern-console@tty1.service"

do_install() {
    install -d ${D}${nonarch_libdir} ${D}${sysconfdir}
    cp -R --no-preserve=ownership ${S}/image/appliance/usr/lib/. ${D}${nonarch_libdir}/
    cp -R --no-preserve=ownership ${S}/image/appliance/etc/. ${D}${sysconfdir}/
    # Root is not verified block by block here; the disk grows by its own fstab.
    rm -r ${D}${nonarch_libdir}/sysupdate.d/60-verity.transfer ${D}${nonarch_libdir}/repart.d ${D}${sysconfdir}/fstab
    # The ssh daemon's unit goes by another name here.
    mv ${D}${nonarch_libdir}/systemd/system/ssh.service.d ${D}${nonarch_libdir}/systemd/system/sshd@.service.d
}

FILES:${PN} += "${nonarch_libdir}"
RDEPENDS:${PN} = "postern systemd"
