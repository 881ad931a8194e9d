FILESEXTRAPATHS:prepend:postern := "${THISDIR}/files:"

SRC_URI:append:postern = " file://postern.cfg"
