"""What runs inside a machine before its image does: a short script in the initrd, and the one that asks for health.

The initrd mounts the image read-only, with a layer in memory above it for what is written, starts the health check
beside the image's own init, and tells the host one line on the second serial port, and its own console:

    healthy <root>        every check of /etc/boxwork/health.d answered 0
    sick <reason>         a check said no, or did not say yes in time, or the image cannot be mounted

A check that answers 0 is content, 1 means "not yet" and is asked again until the time is over, and anything else is a
no at once.  An image without checks is healthy when its init was started.  An image without /sbin/init is a root that
only waits: its checks are all that runs.

On a drive (`drive`) the image lies in a slot, and the machine is its own judge: healthy makes its slot the good one,
sick ends its trial and starts the other slot.  There is a data partition then, at /data, for what outlives a version;
the directories that /etc/boxwork/keep lists lie on it, each filled from the image the first time, and so does
/etc/machine-id.

And a version that hangs is nobody's to judge, so a drive's machine has a watchdog: hardware, or the kernel's timer.  It
is started before the image is, and left alone until there is a verdict; so whatever hangs before, the machine starts
again, which costs a try.  After the verdict the health script feeds it, for as long as the machine runs.
"""

from __future__ import annotations

# What the kernel hands over on its command line.  BYTES is how much of the disk the root is, SLOT which one started.
ROOT, MEASURE, HEALTH_S = "boxwork.root", "boxwork.measure", "boxwork.health_s"
BYTES, SLOT = "boxwork.bytes", "boxwork.slot"
WATCHDOG_S = "boxwork.watchdog_s"

# The first line of a verdict, as the host reads it.
HEALTHY, SICK = "healthy", "sick"

INIT = r"""#!/bin/busybox sh
export PATH=/bin
/bin/busybox mkdir -p /proc /sys /dev /run /ro /rw /new
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s /bin
. /slot

fail() { tell "sick $*"; ended; sleep 1; poweroff -f; }

for module in $(cat /modules/order); do
    insmod "/modules/$module" || echo "no $module"
done
slot=$(value boxwork.slot)
watch=$(value boxwork.watchdog_s)
if [ "${watch:-0}" -gt 0 ]; then
    while read -r module word; do
        [ -c /dev/watchdog0 ] && break
        insmod "/modules/$module" ${word:+"$word=$watch"} 2>/dev/null
    done </modules/watchdogs
    if [ -c /dev/watchdog0 ]; then
        exec 9>/dev/watchdog0
        echo "boxwork: $(cat /sys/class/watchdog/watchdog0/identity) starts this machine again if it hangs ($watch s)"
    fi
fi
disk() { if [ -n "$slot" ]; then partition "root-$slot"; else echo /dev/vda; fi; }
tries=0
until [ -b "$(disk)" ]; do
    tries=$((tries + 1)); [ "$tries" -gt 100 ] && fail "there is no disk"
    sleep 0.1
done
disk=$(disk)

root=$(value boxwork.root)
if [ "$(value boxwork.measure)" = 1 ]; then
    bytes=$(value boxwork.bytes)
    found=sha256:$(if [ -n "$bytes" ]; then head -c "$bytes" "$disk"; else cat "$disk"; fi | sha256sum | cut -d' ' -f1)
    [ "$found" = "$root" ] || fail "the disk is $found"
fi
mount -t squashfs -o ro "$disk" /ro || fail "the image cannot be mounted"
mount -t tmpfs -o mode=0755 memory /rw
mkdir -p /rw/upper /rw/work
mount -t overlay -o lowerdir=/ro,upperdir=/rw/upper,workdir=/rw/work root /new || fail "there is no layer to write to"
mkdir -p /new/proc /new/sys /new/dev /new/run

if [ -n "$slot" ]; then
    data=$(partition data)
    mkdir -p /new/data
    mount -t ext4 -o noatime "$data" /new/data || fail "the data partition cannot be mounted"
    mkdir -p /new/data/boxwork/keep /new/etc
    id=/new/data/boxwork/machine-id
    if [ ! -s "$id" ]; then
        tr -d - </proc/sys/kernel/random/uuid >"$id.new" && sync && mv "$id.new" "$id"
    fi
    cp "$id" /new/etc/machine-id
    for place in $(grep -v '^#' /new/etc/boxwork/keep 2>/dev/null); do
        case $place in /*) ;; *) fail "/etc/boxwork/keep names $place: begin it with /";; esac
        kept=/new/data/boxwork/keep$place
        if [ ! -d "$kept" ]; then
            rm -rf "$kept.new"; mkdir -p "$kept.new" "/new$place"
            cp -a "/new$place/." "$kept.new/" && sync && mv "$kept.new" "$kept" || fail "$place cannot be kept"
        fi
        mkdir -p "/new$place"
        mount -o bind "$kept" "/new$place" || fail "$place cannot be kept"
    done
fi

mount -t tmpfs -o mode=0755 run /new/run
mkdir /new/run/boxwork
/bin/busybox cp /bin/busybox /start /health /slot /new/run/boxwork/
for place in proc sys dev; do mount -o move /$place /new/$place; done
exec /bin/busybox switch_root /new /run/boxwork/busybox sh /run/boxwork/start </new/dev/console >/new/dev/console 2>&1
"""

# What all scripts know: the words of the command line, the partitions, the block in which GRUB counts (`loader`).
SLOT_SCRIPT = r"""
box=/bin/busybox; [ -x /run/boxwork/busybox ] && box=/run/boxwork/busybox
words=$($box cat /proc/cmdline)
value() { for word in $words; do case $word in "$1="*) echo "${word#*=}";; esac; done; }
partition() {
    for about in /sys/class/block/*/uevent; do
        if $box grep -qx "PARTNAME=$1" "$about"; then about=${about%/uevent}; echo "/dev/${about##*/}"; return; fi
    done
}
tell() {
    { echo "$*" >/dev/ttyS1; } 2>/dev/null
    echo "boxwork: $*" >/dev/console
}
state() { $box dd if="$(partition state)" bs=512 skip=1 count=1 2>/dev/null | $box sed -n "s/^$1=//p"; }
keep() {  # good, trial, tries, refused
    { printf '# GRUB Environment Block\ngood=%s\ntrial=%s\ntries=%s\nrefused=%s\n' "$@"
      $box head -c 1024 /dev/zero | $box tr '\0' '#'; } | $box head -c 1024 >/run/state.$$ 2>/dev/null \
        || return 1
    $box dd if=/run/state.$$ of="$(partition state)" bs=512 seek=1 count=2 conv=notrunc,fsync 2>/dev/null
    $box rm -f /run/state.$$
}
# The end of a trial: of this slot, or of the other one if its tries are used up and this one was started instead.
settled() {
    slot=$(value boxwork.slot)
    [ -n "$slot" ] || return 0
    trial=$(state trial)
    if [ "$slot" = "$trial" ]; then keep "$slot" "" "" ""
    elif [ -n "$trial" ]; then keep "$slot" "" "" "slot-$trial"; tell "refused slot $trial: its tries are used up"
    fi
}
# Sick.  On trial: the other slot starts.  The good one goes on, since there is nothing better.
ended() {
    slot=$(value boxwork.slot)
    [ -n "$slot" ] || return 0
    good=$(state good)
    if [ "$slot" = "$(state trial)" ] && [ -n "$good" ] && [ "$good" != "$slot" ]; then
        keep "$good" "" "" "$(value boxwork.root)"
        tell "refused slot $slot: back to slot $good"
        $box sync; $box sleep 0.2; $box reboot -f
    fi
}
"""

# The first program of the image's own root: it becomes the image's init.
START = r"""#!/run/boxwork/busybox sh
. /run/boxwork/slot
limit=$(value boxwork.health_s)
$box sh /run/boxwork/health "$(value boxwork.root)" "${limit:-30}" &
exec 9>&-  # the watchdog is the health script's
[ -x /sbin/init ] && exec /sbin/init
echo "boxwork: this image has no /sbin/init, so it waits"
while :; do $box sleep 3600 & wait; done
"""

HEALTH = r"""#!/run/boxwork/busybox sh
. /run/boxwork/slot
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ends=$(($($box cut -d. -f1 /proc/uptime) + $2))
now() { $box cut -d. -f1 /proc/uptime; }
sick() { tell "sick $*"; ended; feed; }
# For as long as the machine runs; told to end in good order, the watchdog is told, too.
feed() {
    [ -e /proc/$$/fd/9 ] || exit
    trap 'printf V >&9; exit' TERM
    pause=$(($(value boxwork.watchdog_s) / 4))
    while :; do
        echo >&9
        $box sleep $pause 9>&- & wait $!
    done
}

for check in /etc/boxwork/health.d/*; do
    [ -x "$check" ] || continue
    while :; do
        left=$((ends - $(now)))
        [ "$left" -gt 0 ] || sick "$check was not content within $2 s"
        $box timeout "$left" "$check" >/dev/console 2>&1 </dev/null 9>&-
        answer=$?
        [ "$answer" = 0 ] && break
        [ "$answer" = 1 ] || [ "$answer" = 143 ] || sick "$check answered $answer"
        $box sleep 0.2
    done
done
settled
tell "healthy $1"
feed
"""
