SUMMARY = "What makes a machine a Postern appliance"
DESCRIPTION = "Updates into the slot that does not run, the rule by which a boot counts as good, and what the kernel is told."
SECTION = "admin"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/Apache-2.0;md5=89aea4e17d99a7cacdbeed46a0096b10"

SRC_URI = "\
    file://50-root.transfer \
    file://60-kernel.transfer \
    file://healthy.conf \
    file://postern-healthy.service \
    file://90-postern.conf \
"
S = "${UNPACKDIR}"

inherit allarch systemd

SYSTEMD_SERVICE:${PN} = "postern-healthy.service"

do_install() {
    install -D -m 0644 -t ${D}${nonarch_libdir}/sysupdate.d ${UNPACKDIR}/50-root.transfer ${UNPACKDIR}/60-kernel.transfer
    install -D -m 0644 ${UNPACKDIR}/healthy.conf ${D}${systemd_system_unitdir}/boot-complete.target.d/healthy.conf
    install -D -m 0644 ${UNPACKDIR}/postern-healthy.service ${D}${systemd_system_unitdir}/postern-healthy.service
    install -D -m 0644 ${UNPACKDIR}/90-postern.conf ${D}${nonarch_libdir}/sysctl.d/90-postern.conf
}

FILES:${PN} += "${nonarch_libdir}/sysupdate.d ${nonarch_libdir}/sysctl.d ${systemd_system_unitdir}"
RDEPENDS:${PN} = "postern systemd"
