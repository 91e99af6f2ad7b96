"""The limits of the boot gate."""

from __future__ import annotations

from boxwork import Setting

LIMITS = (
    Setting(
        "images.boot_s_max",
        90.0,
        "s",
        "from power-on to a verdict; a kernel takes 3 s under software emulation, a Debian with systemd about 30",
    ),
    Setting(
        "images.health_s_max",
        60.0,
        "s",
        "how long a check may answer 'not yet', counted in the machine from the moment its root is mounted",
    ),
    Setting(
        "images.watchdog_s",
        120.0,
        "s",
        "a machine of a drive that hangs for so long, before its verdict or later, is reset by its watchdog; 0: never",
    ),
    Setting(
        "images.boot_tries_max",
        2,
        "boots",
        "of a new version that goes down or stays silent; one that says itself that it is sick gets no other",
    ),
    Setting("images.machine_memory_mib", 512, "MiB", "memory of a machine; a minimal Debian takes 200"),
    Setting(
        "images.machine_accelerator",
        "tcg",
        "",
        "kvm is ten times as fast where it works; tcg is emulation, and works everywhere",
    ),
    Setting(
        "images.machine_measure",
        True,
        "",
        "the machine hashes its disk before it mounts it, 0.3 s for 10 MB under emulation; the host does so anyway",
    ),
)
