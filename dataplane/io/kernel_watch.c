// Looks after kernel UDP ports while they work: whether the host still has the address they are bound to, and whether anything
// can come. The socket stays as it is; it works again when its address is back. Control thread.
#include "dataplane/io/kernel_watch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/io/interfaces.h"

struct address {
	int family;
	uint8_t bytes[16];
	bool is_all;
};

static struct address address_of(const struct weir_port_config *config)
{
	static const uint8_t NONE[16];
	const char *text = config->address && config->address[0] ? config->address : "0.0.0.0";
	struct address address = { .family = strchr(text, ':') ? AF_INET6 : AF_INET };

	inet_pton(address.family, text, address.bytes);
	address.is_all = memcmp(address.bytes, NONE, sizeof(NONE)) == 0;
	return address;
}

// The kernel is the judge: it also takes addresses that no interface has, such as those of local routes.
static bool is_ours(const struct address *address)
{
	struct sockaddr_in ipv4 = { .sin_family = AF_INET };
	struct sockaddr_in6 ipv6 = { .sin6_family = AF_INET6 };
	int fd = socket(address->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int error;

	if (fd < 0)
		return true;
	memcpy(&ipv4.sin_addr, address->bytes, sizeof(ipv4.sin_addr));
	memcpy(&ipv6.sin6_addr, address->bytes, sizeof(ipv6.sin6_addr));
	error = address->family == AF_INET ? bind(fd, (struct sockaddr *)&ipv4, sizeof(ipv4)) :
					     bind(fd, (struct sockaddr *)&ipv6, sizeof(ipv6));
	error = error ? errno : 0;
	close(fd);
	return error != EADDRNOTAVAIL;
}

static void lose(struct weir_port_state *state, const struct weir_port_config *config, const char *fix, const char *reason)
{
	char object[160];

	snprintf(object, sizeof(object), "port %s (udp %s)", config->name, config->address ? config->address : "0.0.0.0");
	state->condition = WEIR_PORT_LOST;
	weir_fault_set(&state->fault, 0, object, "receive and send", fix, "%s", reason);
}

bool weir_kernel_watch(struct weir_port *const queues[], const struct weir_port_config *config, struct weir_port_state *state)
{
	struct address address = address_of(config);
	const struct weir_interface *interface = weir_interfaces_of_address(config->interfaces, address.family, address.bytes);
	char reason[160], fix[200];

	state->condition = WEIR_PORT_WELL;
	if (address.is_all && !weir_interfaces_any_running(config->interfaces)) {
		lose(state, config, "set one up (ip link set ... up); the port works then", "no interface of this host is up");
	} else if (!address.is_all && !is_ours(&address)) {
		snprintf(fix, sizeof(fix), "give it back (ip address add %s dev ...); the port works again by itself then",
			 config->address);
		lose(state, config, fix, "this host does not have the address any more");
	} else if (!address.is_all && interface && !interface->is_running) {
		snprintf(reason, sizeof(reason), "interface %s, which has the address, %s", interface->name,
			 interface->is_up ? "has no carrier" : "is down");
		lose(state, config, "look after it (ip link); the port works again by itself then", reason);
	}
	for (uint16_t queue = 0; queue < config->queues; queue++)
		atomic_store_explicit(&queues[queue]->is_unplugged, state->condition == WEIR_PORT_LOST, memory_order_relaxed);
	return false;
}
