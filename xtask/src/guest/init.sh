#!/bin/sh
# The demo guest's first process: check both disks, say what they hold, then write for ever.
export PATH=/bin:/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev

say() { echo "hikae-guest: $*" > /dev/console; }
give_up() { say "failed: $*"; sleep 5; poweroff -f; }

while read -r module; do insmod "/modules/$module" || say "module $module did not load"; done < /modules/order

for disk in vda vdb; do
    tries=0
    while [ ! -b "/dev/$disk" ]; do
        tries=$((tries + 1)); [ "$tries" -gt 200 ] && give_up "no disk $disk"
        sleep 0.05
    done
    # First what a boot may mend (it replays the journal), then whether anything is left to mend.
    e2fsck -p "/dev/$disk" > /run/preen 2>&1; preen=$?
    e2fsck -f -n "/dev/$disk" > /run/check 2>&1; check=$?
    if [ "$preen" -le 1 ] && [ "$check" -eq 0 ]; then
        say "fsck $disk clean"
    else
        say "fsck $disk damaged: preen $preen, check $check: $(tail -n 3 /run/check | tr '\n' ' ')"
    fi
done
mount -t ext4 -o noatime,discard /dev/vda /a || give_up "vda does not mount"
mount -t ext4 -o noatime,discard /dev/vdb /b || give_up "vdb does not mount"
hikae-guest found /a/witness /b/witness > /dev/console 2>&1 || give_up "cannot read the witness files"

for port in /sys/class/virtio-ports/*; do
    [ "$(cat "$port/name" 2>/dev/null)" = org.qemu.guest_agent.0 ] || continue
    qemu-ga -m virtio-serial -p "/dev/${port##*/}" -t /run > /run/qemu-ga.log 2>&1 &
done

# Noise of this machine's own: two guests must not hold the same.
seed=$((0x$(md5sum < /sys/class/dmi/id/product_uuid | cut -c 1-8)))
for word in $(cat /proc/cmdline); do
    case $word in
        hikae.fill=*) [ -e /b/fill ] || hikae-guest fill /b/fill "${word#hikae.fill=}" "$seed" > /dev/console 2>&1 ;;
    esac
done

# A press of the power button ends in the same script as the agent's request.
acpid -f -c /etc/acpi > /dev/null 2>&1 &

hikae-guest witness /a/witness /b/witness > /dev/console 2>&1 < /dev/null &
echo $! > /run/witness
wait $!
give_up "the witness ended"
