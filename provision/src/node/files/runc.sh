#!/bin/sh
# Wraps runc for CRI-O and Docker, which request things that not every host allows and have no settings for that. containerd
# has: `restrict_oom_score_adj`, `tolerate_missing_hugetlb_controller`, and it limits privileged containers to the available
# capabilities.
config=
last=
for word; do
    # The configuration of a new container, or of a command in a running one (runc-create(8), runc-exec(8)).
    case $last in
    -b | --bundle) config=$word/config.json ;;
    -p | --process) config=$word ;;
    esac
    last=$word
done

# Edits fields of the specification (OCI runtime specification 1.1, config.md) by their quoted names. Inside of strings a
# quote is escaped, so a string never matches.
edits=
edit() { edits="$edits$1;"; }

# Lowering the value needs CAP_SYS_RESOURCE. Without it, the container inherits that of its parent.
oom_score() {
    wanted=$(sed -n 's/.*"oomScoreAdj": *\(-\{0,1\}[0-9]*\).*/\1/p' "$config")
    [ "$wanted" ] || return
    (echo "$wanted" >/proc/self/oom_score_adj) 2>/dev/null && return
    read -r own </proc/self/oom_score_adj
    edit "s/(\"oomScoreAdj\": *)$wanted/\\1$own/"
}

# On cgroup v1 the kernel may have the hugetlb controller although it is not mounted.
huge_pages() {
    [ -e /sys/fs/cgroup/cgroup.controllers ] || [ -d /sys/fs/cgroup/hugetlb ] ||
        edit 's/("hugepageLimits": *)\[[^]]*\]/\1[]/'
}

# Drops the capabilities that the machine's bounding set lacks. The names are in the order of their numbers (capabilities(7)).
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
