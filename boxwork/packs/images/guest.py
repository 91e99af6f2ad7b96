"""What runs inside a machine before its image does: a short script in the initrd, and the one that asks for health.

The initrd mounts the image read-only, with a layer in memory above it for what is written, starts the health check
beside the image's own init, and tells the host one line on the second serial port:

    healthy <root>        every check of /etc/boxwork/health.d answered 0
    sick <reason>         a check said no, or did not say yes in time, or the image cannot be mounted

A check that answers 0 is content, 1 means "not yet" and is asked again until the time is over, and anything else is a
no at once.  An image without checks is healthy when its init was started.  An image without /sbin/init is a root that
only waits: its checks are all that runs.
"""

from __future__ import annotations

# What the kernel hands over on its command line.
ROOT, MEASURE, HEALTH_S = "boxwork.root", "boxwork.measure", "boxwork.health_s"

# The first line of a verdict, as the host reads it.
HEALTHY, SICK = "healthy", "sick"

INIT = r"""#!/bin/busybox sh
export PATH=/bin
/bin/busybox mkdir -p /proc /sys /dev /ro /rw /new
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev

value() { for word in $(/bin/busybox cat /proc/cmdline); do case $word in "$1="*) echo "${word#*=}";; esac; done; }
fail() { echo "sick $*" >/dev/ttyS1; echo "boxwork: $*"; /bin/busybox sleep 1; /bin/busybox poweroff -f; }

for module in $(/bin/busybox cat /modules/order); do /bin/busybox insmod "/modules/$module" || echo "no $module"; done
tries=0
until [ -b /dev/vda ]; do
    tries=$((tries + 1)); [ "$tries" -gt 100 ] && fail "there is no disk"
    /bin/busybox sleep 0.1
done

root=$(value boxwork.root)
if [ "$(value boxwork.measure)" = 1 ]; then
    found=sha256:$(/bin/busybox sha256sum /dev/vda | /bin/busybox cut -d' ' -f1)
    [ "$found" = "$root" ] || fail "the disk is $found"
fi
/bin/busybox mount -t squashfs -o ro /dev/vda /ro || fail "the image cannot be mounted"
/bin/busybox mount -t tmpfs -o mode=0755 memory /rw
/bin/busybox mkdir -p /rw/upper /rw/work
/bin/busybox mount -t overlay -o lowerdir=/ro,upperdir=/rw/upper,workdir=/rw/work root /new \
    || fail "there is no layer to write to"
/bin/busybox mkdir -p /new/proc /new/sys /new/dev /new/run
/bin/busybox mount -t tmpfs -o mode=0755 run /new/run
/bin/busybox mkdir /new/run/boxwork
/bin/busybox cp /bin/busybox /start /health /new/run/boxwork/
for place in proc sys dev; do /bin/busybox mount -o move /$place /new/$place; done
exec /bin/busybox switch_root /new /run/boxwork/busybox sh /run/boxwork/start </new/dev/console >/new/dev/console 2>&1
"""

# The first program of the image's own root: it becomes the image's init.
START = r"""#!/run/boxwork/busybox sh
words=$(/run/boxwork/busybox cat /proc/cmdline)
value() { for word in $words; do case $word in "$1="*) echo "${word#*=}";; esac; done; }
limit=$(value boxwork.health_s)
/run/boxwork/busybox sh /run/boxwork/health "$(value boxwork.root)" "${limit:-30}" &
[ -x /sbin/init ] && exec /sbin/init
echo "boxwork: this image has no /sbin/init, so it waits"
while :; do /run/boxwork/busybox sleep 3600 & wait; done
"""

HEALTH = r"""#!/run/boxwork/busybox sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
busybox=/run/boxwork/busybox
ends=$(($($busybox cut -d. -f1 /proc/uptime) + $2))
now() { $busybox cut -d. -f1 /proc/uptime; }
tell() { echo "$*" >/dev/ttyS1; echo "boxwork: $*" >/dev/console; exit; }

for check in /etc/boxwork/health.d/*; do
    [ -x "$check" ] || continue
    while :; do
        left=$((ends - $(now)))
        [ "$left" -gt 0 ] || tell "sick $check was not content within $2 s"
        $busybox timeout "$left" "$check" >/dev/console 2>&1 </dev/null
        answer=$?
        [ "$answer" = 0 ] && break
        [ "$answer" = 1 ] || [ "$answer" = 143 ] || tell "sick $check answered $answer"
        $busybox sleep 0.2
    done
done
tell "healthy $1"
"""
