// What the host and the interface can and cannot: probes before the guard is loaded, and the words for what the kernel
// answers, because its error numbers alone help nobody. Control thread.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bpf/internal.h"
#include "wire/limits.h"

#define KERNEL_ENOTSUPP 524 // leaks out of drivers without XDP; no errno of user space
#define MTU_MAX 3498 // a frame of it, with the room that XDP and the skb take, still fits one page

static bool instance_is_valid(const char *name)
{
	size_t length = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
	return length > 0 && length <= INSTANCE_NAME_MAX && name[length] == '\0' && name[0] != '.';
}

int weir_config_check(const struct weir_guard_config *config, char error[WEIR_GUARD_ERROR_SIZE])
{
	if (!config->instance || !instance_is_valid(config->instance))
		return weir_guard_fail(error, -EINVAL,
				       "instance name '%s': must be 1 to %d of [A-Za-z0-9._-], not beginning with '.'",
				       config->instance ? config->instance : "", INSTANCE_NAME_MAX);
	if (config->workers == 0 || config->workers > WEIR_WORKERS_MAX)
		return weir_guard_fail(error, -EINVAL, "XDP guard: %u workers: must be 1 to %u", config->workers,
				       WEIR_WORKERS_MAX);
	if (config->port_base == 0 || config->port_base + config->workers > UINT16_MAX + 1)
		return weir_guard_fail(error, -EINVAL,
				       "XDP guard: UDP ports %u to %u: must lie within 1 to 65535. Choose a lower base",
				       config->port_base, config->port_base + config->workers - 1u);
	return 0;
}

int weir_interface_index(const char *interface, char error[WEIR_GUARD_ERROR_SIZE])
{
	unsigned index = interface ? if_nametoindex(interface) : 0;
	if (index)
		return (int)index;
	return weir_guard_fail(error, -ENODEV,
			       "%s: no such network interface in this network namespace. `ip link` lists those there are",
			       interface ? interface : "(unnamed)");
}

static int program_query(int ifindex, uint32_t *id, enum weir_guard_mode *mode)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);
	int code = bpf_xdp_query(ifindex, 0, &query);
	if (code)
		return code < 0 ? code : -errno;
	// With several modes at once prog_id is 0.
	*id = query.drv_prog_id ? query.drv_prog_id : query.hw_prog_id ? query.hw_prog_id : query.skb_prog_id;
	*mode = query.drv_prog_id || query.hw_prog_id ? WEIR_GUARD_NATIVE : WEIR_GUARD_GENERIC;
	return 0;
}

int weir_interface_program(const struct weir_guard *guard, uint32_t *id, enum weir_guard_mode *mode,
			   char error[WEIR_GUARD_ERROR_SIZE])
{
	int code = program_query(guard->ifindex, id, mode);
	if (code)
		return weir_guard_fail(error, code, "%s: cannot ask for its XDP program: %s", guard->interface,
				       strerror(-code));
	return 0;
}

int weir_foreign_refuse(const struct weir_guard_config *config, int ifindex, uint32_t id, char error[WEIR_GUARD_ERROR_SIZE])
{
	char instance[NAME_MAX + 1];
	if (weir_pins_find(config, ifindex, id, instance))
		return weir_guard_fail(
			error, -EBUSY,
			"%s: cannot attach the XDP program: weir instance '%s' has its own there (id %u). Stop that "
			"instance, or start this one with its name to take over, or use another interface",
			config->interface, instance, id);
	struct bpf_prog_info info = {};
	uint32_t size = sizeof(info);
	int fd = bpf_prog_get_fd_by_id(id);
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) != 0)
		snprintf(info.name, sizeof(info.name), "unknown");
	if (fd >= 0)
		close(fd);
	return weir_guard_fail(
		error, -EBUSY,
		"%s: cannot attach the XDP program: program '%s' (id %u) is attached and belongs to somebody else. "
		"Remove it (ip link set dev %s xdp off), use another interface, or use port kind kernel, which needs "
		"no XDP",
		config->interface, info.name, id, config->interface);
}

int weir_load_explain(int code, char error[WEIR_GUARD_ERROR_SIZE])
{
	if (code == -EPERM || code == -EACCES)
		return weir_guard_fail(
			error, -EPERM,
			"XDP guard: cannot load the program: no permission. Run as root, or grant CAP_BPF, CAP_NET_ADMIN "
			"and CAP_PERFMON (and CAP_SYS_ADMIN for pinned objects)");
	if (code == -ENOMEM)
		return weir_guard_fail(error, code,
				       "XDP guard: cannot load the program: no memory for its maps. "
				       "Raise RLIMIT_MEMLOCK or the memory limit of the service, or count fewer topics");
	return weir_guard_fail(
		error, code,
		"XDP guard: cannot load the program: %s. The kernel must be 5.10 or newer with CONFIG_BPF_SYSCALL, "
		"CONFIG_XDP_SOCKETS and BTF; else use port kind kernel",
		strerror(-code));
}

static int mtu_of(const char *interface)
{
	struct ifreq request = {};
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", interface);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int mtu = fd >= 0 && ioctl(fd, SIOCGIFMTU, &request) == 0 ? request.ifr_mtu : 0;
	if (fd >= 0)
		close(fd);
	return mtu;
}

int weir_attach_explain(const char *interface, int code, char error[WEIR_GUARD_ERROR_SIZE])
{
	int mtu = mtu_of(interface);
	const char *prefix = "cannot attach the XDP program";
	switch (-code) {
	case EPERM:
	case EACCES:
		return weir_guard_fail(error, -EPERM, "%s: %s: no permission. Run as root, or grant CAP_NET_ADMIN and CAP_BPF",
				       interface, prefix);
	case EOPNOTSUPP:
	case KERNEL_ENOTSUPP:
		return weir_guard_fail(
			error, -EOPNOTSUPP,
			"%s: %s: its driver has no native XDP. Allow XDP above the driver (xdp: generic, slow), or use port "
			"kind kernel",
			interface, prefix);
	case ENOSPC:
		return weir_guard_fail(
			error, code,
			"%s: %s: too few queues (a veth needs as many rx queues as its peer has tx queues, a NIC spare tx "
			"queues for XDP). Set them with ethtool -L %s, or use port kind kernel",
			interface, prefix, interface);
	case ERANGE:
	case EINVAL:
		if (mtu > MTU_MAX || code == -ERANGE)
			return weir_guard_fail(
				error, -ERANGE,
				"%s: %s: MTU %d is too large for XDP on this driver. Set at most %d on it (and on the "
				"peer of a veth): ip link set dev %s mtu 1500; or use port kind kernel",
				interface, prefix, mtu, MTU_MAX, interface);
		break;
	}
	return weir_guard_fail(
		error, code,
		"%s: %s: %s. The kernel log (dmesg) may say more; receive offloads such as LRO may have to be off "
		"(ethtool -K %s lro off), or use port kind kernel",
		interface, prefix, strerror(-code), interface);
}

static void text_join(char *error, const char *line)
{
	size_t length = strlen(error);
	if (snprintf(error + length, WEIR_GUARD_ERROR_SIZE - length, "%s%s", length ? "\n" : "", line) < 0)
		error[length] = '\0'; // what does not fit is cut
}

static int kernel_probe(char line[WEIR_GUARD_ERROR_SIZE])
{
	// A one-instruction program and a small map, loaded and let go.
	int can_xdp = libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_XDP, NULL);
	if (can_xdp == -EPERM || (can_xdp <= 0 && geteuid() != 0))
		return weir_load_explain(-EPERM, line);
	if (can_xdp <= 0)
		return weir_guard_fail(line, -EOPNOTSUPP,
				       "kernel: cannot load XDP programs. Needs CONFIG_BPF_SYSCALL; else use port kind kernel");
	if (libbpf_probe_bpf_map_type(BPF_MAP_TYPE_XSKMAP, NULL) <= 0)
		return weir_guard_fail(line, -EOPNOTSUPP,
				       "kernel: has no AF_XDP sockets. Needs CONFIG_XDP_SOCKETS; else use port kind kernel");
	return 0;
}

// Only what belongs to a dead process of this very instance may be there.
static int occupant_probe(const struct weir_guard_config *config, int ifindex, char line[WEIR_GUARD_ERROR_SIZE])
{
	uint32_t id = 0;
	enum weir_guard_mode mode;
	char instance[NAME_MAX + 1];
	if (program_query(ifindex, &id, &mode) != 0 || id == 0)
		return 0;
	if (weir_pins_find(config, ifindex, id, instance) && strcmp(instance, config->instance) == 0)
		return 0;
	return weir_foreign_refuse(config, ifindex, id, line);
}

static int mtu_probe(const char *interface, char line[WEIR_GUARD_ERROR_SIZE])
{
	int mtu = mtu_of(interface);
	if (mtu <= MTU_MAX)
		return 0;
	return weir_attach_explain(interface, -ERANGE, line);
}

int weir_guard_probe(const struct weir_guard_config *config, char error[WEIR_GUARD_ERROR_SIZE])
{
	const char *interface = config->interface ? config->interface : "";
	int ifindex = (int)if_nametoindex(interface);
	char lines[5][WEIR_GUARD_ERROR_SIZE];
	int codes[5] = {
		weir_config_check(config, lines[0]),
		kernel_probe(lines[1]),
		weir_pins_probe(config, lines[2]),
		ifindex > 0 ? mtu_probe(interface, lines[3]) : weir_interface_index(config->interface, lines[3]),
		ifindex > 0 ? occupant_probe(config, ifindex, lines[4]) : 0,
	};
	int first = 0;
	error[0] = '\0';
	for (int i = 0; i < 5; i++) {
		if (codes[i] == 0)
			continue;
		text_join(error, lines[i]);
		first = first ? first : codes[i];
	}
	return first;
}
