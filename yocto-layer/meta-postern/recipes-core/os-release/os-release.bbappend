# systemd-sysupdate protects the version that runs: it reads it here.
IMAGE_ID:postern = "postern"
IMAGE_VERSION:postern = "${DISTRO_VERSION}"
OS_RELEASE_FIELDS:append:postern = " IMAGE_ID IMAGE_VERSION"
