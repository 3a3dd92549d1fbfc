# What tools/test, tools/demo and tools/bench share: brings a Debian 12 host to where weir can run, and undoes at exit
# what it changed, packages and build folders excepted. Sourced by bash. Changes are noted in a file, so that the last of
# several users undoes them, and the next one what a killed one left behind.
WEIR_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
WEIR_HOST_STATE=/run/weir-host

say() { echo "$*" >&2; }
die() { say "${0##*/}: $*"; exit 1; }

host_begin() {
	[ "$(id -u)" = 0 ] || die "network namespaces, hugepages and mounts need root: run it with sudo"
	[ "$(uname -m)" = x86_64 ] || die "this machine is $(uname -m); weir runs on x86_64 so far"
	mkdir -p "$WEIR_HOST_STATE"
	exec 9>>"$WEIR_HOST_STATE/users"
	flock -s 9
	trap host_end EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
}

# Runs a program to its end and returns its status; passes on what would end this script, so that both clean up.
host_run() {
	local child
	"$@" 9>&- &
	child=$!
	trap 'kill -TERM "$child" 2>/dev/null; wait "$child"; exit 130' INT
	trap 'kill -TERM "$child" 2>/dev/null; wait "$child"; exit 143' TERM HUP
	wait "$child"
}

# Undoes the noted changes, last first, unless somebody else still uses the host.
host_end() {
	local status=$? kind argument pages
	trap - EXIT INT TERM HUP
	if flock -x -n 9 && [ -s "$WEIR_HOST_STATE/changes" ]; then
		while read -r kind argument; do
			case $kind in
			mount) umount "$argument" 2>/dev/null || say "host: $argument is still in use, left mounted" ;;
			folder) rmdir "$argument" 2>/dev/null ;;
		file) rm -f "$argument" ;;
			hugepages)
				pages=$(($(</proc/sys/vm/nr_hugepages) - argument))
				echo $((pages > 0 ? pages : 0)) >/proc/sys/vm/nr_hugepages ;;
			esac
		done < <(tac "$WEIR_HOST_STATE/changes")
		rm -f "$WEIR_HOST_STATE/changes"
	fi
	exec 9>&-
	exit "$status"
}

host_note() { echo "$*" >>"$WEIR_HOST_STATE/changes"; }

# Installs the packages of a list that are missing.
host_packages() { # [LIST]
	local missing log list=${1:-tools/packages}
	missing=$(comm -23 <(sort -u "$WEIR_TOP/$list") \
		<(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' 2>/dev/null | awk '$1 == "ii" { print $2 }' | sort -u))
	[ -n "$missing" ] || return 0
	command -v apt-get >/dev/null || die "no apt-get here; install the packages named in $list: "$missing
	say "host: installing" $missing
	log=$(mktemp)
	export DEBIAN_FRONTEND=noninteractive
	if ! { apt-get update -qq && apt-get install -qq -y --no-install-recommends $missing; } >"$log" 2>&1 9>&-; then
		tail -n 15 "$log" >&2
		rm -f "$log"
		die "apt-get could not install" $missing": see above; is this Debian 12, with a reachable mirror in /etc/apt?"
	fi
	rm -f "$log"
}

host_mount() { # TYPE FOLDER
	mountpoint -q "$2" && return 0
	if [ ! -d "$2" ]; then
		mkdir "$2" || die "cannot make $2: does the kernel have $1?"
		host_note folder "$2"
	fi
	mount -t "$1" "$1" "$2" || die "cannot mount $1 at $2: does the kernel have it (CONFIG_HUGETLBFS, CONFIG_BPF_SYSCALL)?"
	host_note mount "$2"
}

# Sees to it that so many 2 MB hugepages are free.
host_hugepages() { # PAGES
	local total free more
	free=$(awk '/^HugePages_Free:/ { print $2 }' /proc/meminfo)
	[ -n "$free" ] || die "this kernel has no hugepages (CONFIG_HUGETLBFS)"
	total=$(</proc/sys/vm/nr_hugepages)
	more=$(($1 - free))
	[ "$more" -gt 0 ] || return 0
	sync
	echo 1 >/proc/sys/vm/compact_memory 2>/dev/null
	echo $((total + more)) >/proc/sys/vm/nr_hugepages
	more=$(($(</proc/sys/vm/nr_hugepages) - total))
	host_note hugepages "$more"
	free=$(awk '/^HugePages_Free:/ { print $2 }' /proc/meminfo)
	[ "$free" -ge "$1" ] || die "only $free of $1 hugepages of 2 MB could be reserved: free some memory, or reboot"
}

host_ready() { # PAGES
	host_packages
	host_mount hugetlbfs /dev/hugepages
	host_mount bpf /sys/fs/bpf
	host_hugepages "$1"
}

# Builds a folder below build/. What the compiler says is shown only when it fails.
host_build() { # FOLDER TARGETS... -- MESON-OPTIONS...
	local folder="$WEIR_TOP/build/$1" log targets=()
	shift
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		targets+=("$1")
		shift
	done
	shift
	log=$(mktemp)
	if { [ -f "$folder/build.ninja" ] || meson setup "$folder" "$WEIR_TOP" "$@"; } >"$log" 2>&1 9>&- &&
		ninja -C "$folder" "${targets[@]}" >"$log" 2>&1 9>&-; then
		rm -f "$log"
		return 0
	fi
	grep -v '^\[' "$log" | tail -n 60 >&2
	rm -f "$log"
	say "build: $folder failed, see above"
	return 1
}
