#!/usr/bin/env bash
# A cluster on an ordinary host, where systemd is PID 1 and owns the control groups (version 2): Debian 13 in a virtual
# machine, so that it can be tried on any other host.
#
#   systemd_host.sh PARBAKE STATE WORK [NODES...]
#
# PARBAKE is the program, STATE a state directory with a baked k8s-1.34, WORK a directory on a disk: it keeps the guest's
# operating system for the next time (empty it for a newer one) and the guest's console. Starts one cluster of each number
# of NODES, by default one of one node. Needs root, mmdebstrap, mke2fs and qemu-system-x86_64. Without KVM a cluster takes
# 2 to 10 minutes. The last line is PASS or FAIL, and the exit code follows it.
set -euo pipefail
# A listing that fails would be as empty before as after.
shopt -s inherit_errexit

readonly PROVIDER=k8s-1.34
# What an ordinary host has, and of what `dev` installs that which running clusters takes; none of what only a bake takes.
readonly PACKAGES=(linux-image-cloud-amd64 systemd-sysv udev dbus ca-certificates iproute2 iptables kmod nftables
    systemd-container util-linux)
# Where parbake keeps its state by default; a disk of its own in the guest.
readonly STATE_DIR=/var/lib/parbake
# Emulated processors are 10 to 30 times slower, in seconds.
readonly PATIENCE=1800 LONGEST_RUN=10800

main() {
    if [[ ${1-} == inside ]]; then
        inside
        return
    fi
    if [[ $# -lt 3 ]]; then
        echo "usage: systemd_host.sh PARBAKE STATE WORK [NODES...]" >&2
        exit 2
    fi
    local parbake=$1 state=$2 work=$3
    shift 3
    mkdir -p "$work"
    if [[ ! -e $work/system.ext4 ]]; then
        make_system "$work"
    fi
    make_state "$parbake" "$state" "$work" "${@:-1}"
    run "$work"
    # Neither a panic of the guest's kernel nor a time-out gets as far as a last line of its own.
    if [[ $(tail -n 1 "$work/result") != PASS ]]; then
        [[ $(tail -n 1 "$work/result") == FAIL ]] || echo FAIL
        exit 1
    fi
    rm "$work/state.ext4"
}

# The guest's operating system, its kernel beside it: qemu starts that itself, without a boot loader.
make_system() {
    local work=$1 root=$1/system packages
    packages=$(IFS=,; echo "${PACKAGES[*]}")
    rm -rf "$root"
    mmdebstrap --quiet --variant=minbase --include="$packages" trixie "$root" "$("$(dirname "${BASH_SOURCE[0]}")/debian_mirror.sh")"
    printf '%s\n' "/dev/vda / ext4 defaults 0 0" "/dev/vdb $STATE_DIR ext4 defaults 0 0" >"$root/etc/fstab"
    echo ordinary >"$root/etc/hostname"
    # Only after all that an ordinary boot starts: what starts later would look like something a cluster left.
    cat >"$root/etc/systemd/system/check.service" <<END
[Unit]
After=multi-user.target
SuccessAction=poweroff
FailureAction=poweroff
[Service]
Type=oneshot
ExecStart=$STATE_DIR/check inside
StandardOutput=file:/dev/ttyS1
StandardError=file:/dev/ttyS1
[Install]
WantedBy=multi-user.target
END
    ln -s ../check.service "$root/etc/systemd/system/multi-user.target.wants/"
    cp "$root"/boot/vmlinuz-* "$work/kernel"
    cp "$root"/boot/initrd.img-* "$work/initrd"
    mke2fs -q -F -t ext4 -d "$root" "$work/system.partial" 4G >"$work/log"
    mv "$work/system.partial" "$work/system.ext4"
    rm -rf "$root"
}

# The disk with the state: of the store, a copy with whiteouts and extended attributes, which mke2fs keeps; the program;
# and this script, which is the guest's check.
make_state() {
    local parbake=$1 state=$2 work=$3 disk=$3/state
    shift 3
    rm -rf "$disk"
    mkdir "$disk"
    cp -a "$state/store" "$disk/store"
    cp "$parbake" "$disk/parbake"
    cp "${BASH_SOURCE[0]}" "$disk/check"
    chmod 755 "$disk/parbake" "$disk/check"
    echo "$@" >"$disk/nodes"
    rm -f "$work/state.ext4"
    mke2fs -q -F -t ext4 -d "$disk" "$work/state.ext4" 12G >"$work/log"
    rm -rf "$disk"
}

# Boots the guest and shows what the check says; the guest's console goes to a file.
run() {
    # A guest's kernel that uses cmpxchg16b dies of wrong flags under some emulators (qemu 7.2), and five levels of page
    # tables are slower to walk than four.
    local work=$1 accelerator=(-accel "tcg,thread=multi" -cpu "max,cx16=off,la57=off")
    if kvm_works; then
        accelerator=(-accel kvm -cpu host)
    fi
    # Nothing on the disks is needed once the guest is gone, so no write has to reach them. No network card: a thaw
    # needs no way out. No console to log in at: it comes late, and would look like something a cluster left.
    timeout "$LONGEST_RUN" qemu-system-x86_64 "${accelerator[@]}" -smp 2 -m 6G -nic none -no-reboot \
        -display none -monitor none -pidfile "$work/pid" -kernel "$work/kernel" -initrd "$work/initrd" \
        -append "root=/dev/vda rw console=ttyS0 panic=-1 systemd.show_status=no systemd.mask=getty.target" \
        -drive "file=$work/system.ext4,if=virtio,format=raw,snapshot=on,cache=unsafe" \
        -drive "file=$work/state.ext4,if=virtio,format=raw,cache=unsafe" \
        -serial "file:$work/console" -serial stdio </dev/null |
        sed --unbuffered 's/\r$//' | tee "$work/result" || echo "the virtual machine failed or took too long"
}

# Some hosts have the device, but no guest can use it. One that is not started does nothing until the time is out.
kvm_works() {
    local status=0
    # A shell of its own, whose word about how it died nobody reads.
    bash -c 'timeout 2 qemu-system-x86_64 -accel kvm -cpu host -S -nic none -display none -monitor none; exit $?' \
        </dev/null >/dev/null 2>&1 || status=$?
    [[ $status -eq 124 ]]
}

# The check, in the guest.
inside() {
    trap verdict EXIT
    cd "$STATE_DIR"
    # A service has none, and kubectl would keep its cache where it stands.
    export HOME=/root
    local count before after deadline
    # Their services come and go at any time.
    systemctl stop '*.timer'
    show uname --kernel-release
    show systemctl --version
    show findmnt --noheadings --output FSTYPE,OPTIONS /sys/fs/cgroup
    show ./parbake doctor --for up
    before=$(listing)
    for count in $(<nodes); do
        show ./parbake up "$PROVIDER" --nodes "$count" --wait "${PATIENCE}s"
        show ./parbake kubectl get nodes,pods -A
        show ./parbake list
        show systemd-cgls --no-pager --unit "$(systemctl list-units --plain --no-legend 'parbake-*.scope' |
            cut --delimiter=' ' --fields=1)"
        show ./parbake down
        # systemd removes the scope of processes that ended when it comes round to it.
        deadline=$((SECONDS + 30))
        until after=$(listing) && [[ $after == "$before" || $SECONDS -gt $deadline ]]; do
            sleep 1
        done
        diff <(echo "$before") <(echo "$after") || { echo "something is left of the cluster"; return 1; }
        echo "nothing is left of the cluster"
    done
}

# Everything that a cluster could leave behind.
listing() {
    findmnt --list --noheadings --output TARGET,SOURCE,FSTYPE | sort
    lsns --noheadings --output TYPE,NS | sort
    ip -oneline -brief link
    ip route show table all
    nft list ruleset
    find /sys/fs/cgroup -type d | sort
    # What is remembered of the host is no cluster's.
    find "$STATE_DIR" -path "$STATE_DIR/store" -prune -o -path "$STATE_DIR/host.json" -o -print | sort
    systemctl list-units --all --plain --no-legend 'parbake*'
}

# A command, what it prints, and how long it took.
show() {
    local started=$SECONDS
    echo "--- $*"
    "$@"
    echo "--- done in $((SECONDS - started)) s"
}

# The last line, also where a command above failed; then with what machines said.
verdict() {
    local status=$?
    if [[ $status -eq 0 ]]; then
        echo PASS
        return
    fi
    systemctl list-units --failed --no-pager || true
    find "$STATE_DIR/clusters" -name '*.log' -exec tail -n 40 {} + || true
    journalctl --no-pager --lines 40 || true
    echo FAIL
}

main "$@"
