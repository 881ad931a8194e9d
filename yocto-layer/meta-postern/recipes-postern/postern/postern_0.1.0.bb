SUMMARY = "Edge session border controller"
DESCRIPTION = "Stands where a carrier's SIP trunks meet browsers, phones and apps: terminates trunks, registers clients, relays media on io_uring, runs calls by documents of application servers."
SECTION = "net"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

# clang: bindgen reads the headers of libsrtp with it. cmake: aws-lc.
DEPENDS = "clang-native cmake-native openssl"

PV = "0.1.0+git"
# The checkout that this layer lies in, at its last commit: what is not committed is not built.
# A release pins it: SRCREV:pn-postern = "..." in the configuration of the build.
SRC_URI = "git://${POSTERN_CHECKOUT};protocol=file;nobranch=1"
SRCREV ?= "${AUTOREV}"
require ${BPN}-crates.inc

inherit cargo pkgconfig systemd useradd

CARGO_BUILD_FLAGS += "--package posternd --package postern"
export LIBCLANG_PATH = "${STAGING_LIBDIR_NATIVE}"
export BINDGEN_EXTRA_CLANG_ARGS = "--sysroot=${STAGING_DIR_TARGET} --target=${TARGET_ARCH}-linux-gnu"
# jemalloc asks the machine that it is built on for the size of a page. Kernels for ARM64 have 4, 16 or 64 KB; what is built for the largest serves all.
JEMALLOC_SYS_WITH_LG_PAGE ?= "12"
JEMALLOC_SYS_WITH_LG_PAGE:aarch64 ?= "16"
export JEMALLOC_SYS_WITH_LG_PAGE

SYSTEMD_SERVICE:${PN} = "posternd.service"
USERADD_PACKAGES = "${PN}"
GROUPADD_PARAM:${PN} = "--system postern"
USERADD_PARAM:${PN} = "--system --gid postern --home-dir ${localstatedir}/lib/postern --no-create-home --shell ${sbindir}/nologin postern"

do_install() {
    install -d ${D}${bindir}
    install -m 0755 ${B}/target/${CARGO_TARGET_SUBDIR}/posternd ${B}/target/${CARGO_TARGET_SUBDIR}/postern ${D}${bindir}/
    install -D -m 0644 ${S}/systemd/posternd.service ${D}${systemd_system_unitdir}/posternd.service
    install -D -m 0644 ${S}/systemd/sysusers.d/postern.conf ${D}${nonarch_libdir}/sysusers.d/postern.conf
    install -D -m 0644 ${S}/systemd/tmpfiles.d/postern.conf ${D}${nonarch_libdir}/tmpfiles.d/postern.conf
    install -D -m 0644 ${S}/systemd/postern.catalog ${D}${nonarch_libdir}/systemd/catalog/postern.catalog
    install -D -m 0644 ${S}/image/deb/postern.yaml ${D}${sysconfdir}/postern/postern.yaml
    install -d ${D}${docdir}/postern
    install -m 0644 ${S}/README.md ${S}/docs/*.md ${D}${docdir}/postern/
}

FILES:${PN} += "${nonarch_libdir}/sysusers.d ${nonarch_libdir}/tmpfiles.d ${nonarch_libdir}/systemd/catalog"
CONFFILES:${PN} = "${sysconfdir}/postern/postern.yaml"
RRECOMMENDS:${PN} = "ca-certificates"
