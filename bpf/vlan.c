// VLAN tags that an interface takes out of received packets and hands to the kernel beside them: an XDP program does not see
// them there. What the interface does is read and changed by ethtool's features; a veth ignores its own, for its peer decides.
// Control thread.
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bpf/internal.h"

#define FEATURES_MAX 256u // names that the kernel gives features, 64 or so today
#define BLOCKS (FEATURES_MAX / 32u)

// Bit numbers differ from kernel to kernel; names do not.
static const char *const NAMES[] = { "rx-vlan-hw-parse", "rx-vlan-stag-hw-parse" };

static int ask(const char *interface, void *command)
{
	struct ifreq request = { .ifr_data = command };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", interface);
	int code = ioctl(fd, SIOCETHTOOL, &request) < 0 ? -errno : 0;
	close(fd);
	return code;
}

static bool is_veth(const char *interface)
{
	struct ethtool_drvinfo info = { .cmd = ETHTOOL_GDRVINFO };
	return ask(interface, &info) == 0 && strcmp(info.driver, "veth") == 0;
}

// Bit of each of NAMES, -1: the kernel does not know it. 0 or -errno.
static int bits_find(const char *interface, int bits[2])
{
	struct ethtool_gstrings *strings = calloc(1, sizeof(*strings) + FEATURES_MAX * ETH_GSTRING_LEN);
	struct {
		struct ethtool_sset_info info;
		uint32_t count;
	} sets = { .info = { .cmd = ETHTOOL_GSSET_INFO, .sset_mask = 1ull << ETH_SS_FEATURES } };
	bits[0] = bits[1] = -1;
	int code = strings ? ask(interface, &sets) : -ENOMEM;
	if (code == 0 && (sets.info.sset_mask == 0 || sets.count > FEATURES_MAX))
		code = -EOPNOTSUPP;
	if (code == 0) {
		strings->cmd = ETHTOOL_GSTRINGS;
		strings->string_set = ETH_SS_FEATURES;
		strings->len = sets.count;
		code = ask(interface, strings);
	}
	for (uint32_t i = 0; code == 0 && i < strings->len; i++) {
		for (int k = 0; k < 2; k++) {
			if (strncmp((const char *)strings->data + i * ETH_GSTRING_LEN, NAMES[k], ETH_GSTRING_LEN) == 0)
				bits[k] = (int)i;
		}
	}
	free(strings);
	return code;
}

// Which of NAMES are on, as bits of the answer, or -errno.
static int active_read(const char *interface, const int bits[2])
{
	union {
		struct ethtool_gfeatures features;
		uint8_t bytes[sizeof(struct ethtool_gfeatures) + BLOCKS * sizeof(struct ethtool_get_features_block)];
	} get = { .features = { .cmd = ETHTOOL_GFEATURES, .size = BLOCKS } };
	int active = 0;
	int code = ask(interface, &get);
	for (int k = 0; code == 0 && k < 2; k++) {
		if (bits[k] >= 0 && (get.features.features[bits[k] / 32].active >> (bits[k] % 32) & 1))
			active |= 1 << k;
	}
	return code ? code : active;
}

static int features_set(const char *interface, const int bits[2], int which, bool is_on)
{
	union {
		struct ethtool_sfeatures features;
		uint8_t bytes[sizeof(struct ethtool_sfeatures) + BLOCKS * sizeof(struct ethtool_set_features_block)];
	} set = { .features = { .cmd = ETHTOOL_GFEATURES } };
	// The kernel wants exactly as many blocks as it has.
	int code = ask(interface, &set);
	if (code || set.features.size > BLOCKS)
		return code ? code : -EOPNOTSUPP;
	set.features.cmd = ETHTOOL_SFEATURES;
	for (int k = 0; k < 2; k++) {
		if (!(which >> k & 1) || bits[k] < 0)
			continue;
		set.features.features[bits[k] / 32].valid |= 1u << (bits[k] % 32);
		set.features.features[bits[k] / 32].requested |= is_on ? 1u << (bits[k] % 32) : 0;
	}
	return ask(interface, &set);
}

enum weir_guard_tags weir_tags_look(const char *interface)
{
	int bits[2];
	// An interface without features takes nothing out either.
	if (bits_find(interface, bits) != 0 || active_read(interface, bits) <= 0)
		return WEIR_GUARD_TAGS_INSIDE;
	return is_veth(interface) ? WEIR_GUARD_TAGS_BESIDE : WEIR_GUARD_TAGS_TAKEN_OUT;
}

int weir_tags_keep(const char *interface, int *switched, char error[WEIR_GUARD_ERROR_SIZE])
{
	int bits[2];
	int code = bits_find(interface, bits);
	int before = code ? code : active_read(interface, bits);
	if (before > 0)
		code = features_set(interface, bits, before, false);
	int after = before > 0 ? active_read(interface, bits) : before;
	*switched = before > 0 && after >= 0 ? before & ~after : 0;
	if (before >= 0 && after == 0)
		return 0;
	return weir_guard_fail(error, code < 0 ? code : -EOPNOTSUPP,
			       "%s: cannot make it leave VLAN tags in packets, where XDP sees them: %s. Switch it off "
			       "(ethtool -K %s rxvlan off rx-vlan-stag-hw-parse off), or use port kind kernel",
			       interface,
			       code < 0 ? strerror(-code) : "its driver does not let anybody switch rx-vlan-offload off",
			       interface);
}

void weir_tags_restore(const char *interface, int switched)
{
	int bits[2];
	if (switched && bits_find(interface, bits) == 0)
		features_set(interface, bits, switched, true);
}
