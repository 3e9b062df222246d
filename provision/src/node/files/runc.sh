#!/bin/sh
# runc for CRI-O and Docker, which ask for what not every host allows and have no settings for that. containerd has:
# `restrict_oom_score_adj`, `tolerate_missing_hugetlb_controller`, and it gives privileged containers what there is.
config=
last=
for word; do
    # What a new container is to be, and what a command in one that runs (runc-create(8), runc-exec(8)).
    case $last in
    -b | --bundle) config=$word/config.json ;;
    -p | --process) config=$word ;;
    esac
    last=$word
done

# What is edited are names and values of the specification (OCI runtime specification 1.1, config.md). In strings from
# elsewhere a quote has a backslash before it, so that none of them is taken for those.
edits=
edit() { edits="$edits$1;"; }

# Without CAP_SYS_RESOURCE nobody may lower it: a container has that of who starts it then.
oom_score() {
    wanted=$(sed -n 's/.*"oomScoreAdj": *\(-\{0,1\}[0-9]*\).*/\1/p' "$config")
    [ "$wanted" ] || return
    (echo "$wanted" >/proc/self/oom_score_adj) 2>/dev/null && return
    read -r own </proc/self/oom_score_adj
    edit "s/(\"oomScoreAdj\": *)$wanted/\\1$own/"
}

# The kernel of a host with cgroup v1 may know this controller, and nobody has mounted it.
huge_pages() {
    [ -e /sys/fs/cgroup/cgroup.controllers ] || [ -d /sys/fs/cgroup/hugetlb ] ||
        edit 's/("hugepageLimits": *)\[[^]]*\]/\1[]/'
}

# Nobody can give what was taken from all of the machine. Names in the order of their numbers (capabilities(7)).
capabilities() {
    bounding=$(sed -n 's/^CapBnd:[[:space:]]*/0x/p' /proc/self/status)
    number=0
    for name in CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE \
        NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT \
        SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE \
        AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON \
        BPF CHECKPOINT_RESTORE; do
        if [ $((bounding >> number & 1)) = 0 ]; then
            word="\"CAP_$name\""
            edit "s/\\[\\s*$word\\s*\\]/[]/g; s/,\\s*$word//g; s/$word,\\s*//g"
        fi
        number=$((number + 1))
    done
}

if [ -f "$config" ]; then
    oom_score
    huge_pages
    capabilities
    [ -z "$edits" ] || sed -E -z -i "$edits" "$config"
fi
exec runc "$@"
