#!/bin/bash
# Becomes systemd as PID 1 of namespaces that `unshare` made: the machine's own root, with a layer of memory over whatever would be written to.
set -e
exec 3<"$1"/posternd 4<"$1"/postern
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir /run/lock
mount -t tmpfs tmpfs /media
# A boot sweeps /tmp, and sets what the whole kernel shares: neither may reach the machine.
mount -t tmpfs tmpfs /tmp
mount --rbind -o ro /sys /sys
umount -l /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys
for folder in /etc /usr/bin /usr/lib/systemd; do
    upper=/media/upper$folder work=/media/work$folder
    mkdir -p "$upper" "$work"
    mount -t overlay overlay -o "lowerdir=$folder,upperdir=$upper,workdir=$work" "$folder"
done
cat <&3 >/usr/bin/posternd
cat <&4 >/usr/bin/postern
chmod 755 /usr/bin/posternd /usr/bin/postern
exec 3<&- 4<&-
for folder in /var/lib /var/log; do mount -t tmpfs tmpfs $folder; done
rm -rf /etc/systemd/system
mkdir -p /etc/systemd/system
for unit in systemd-tmpfiles-setup systemd-tmpfiles-setup-dev systemd-tmpfiles-clean systemd-sysctl systemd-modules-load systemd-udevd systemd-udev-trigger systemd-random-seed; do
    ln -s /dev/null /etc/systemd/system/$unit.service
done
cat >/etc/systemd/system/small.target <<EOF
[Unit]
Description=nothing but a journal
Wants=systemd-journald.service
EOF
echo 0123456789abcdef0123456789abcdef >/etc/machine-id
ip link set lo up
# What a first process does with the mounts of a machine: those of services' credentials are made elsewhere and must be seen here.
mount --make-rshared /
export container=other
exec /lib/systemd/systemd --system --unit=small.target --log-target=journal-or-kmsg
