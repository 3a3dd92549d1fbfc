// The interfaces and addresses of this network namespace, as the kernel tells them over rtnetlink: who we are on an interface,
// what stands on it, whether it is there and up. A copy that is read again after the kernel said that something changed.
// Control thread.
#ifndef WEIR_IO_INTERFACES_H
#define WEIR_IO_INTERFACES_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

struct weir_interfaces;
struct weir_guard_own; // bpf/guard.h

struct weir_interface {
	int index;
	int master; // the bridge, bond or VRF it belongs to, 0: none
	int lower;  // the interface it stands on (a VLAN's), 0: none in this namespace
	char name[IF_NAMESIZE];
	uint8_t mac[6];
	uint32_t mtu;
	bool is_up;       // by its administrator
	bool is_running;  // and it has a carrier
};

// Reads everything once. 0 or -errno.
int weir_interfaces_create(struct weir_interfaces **interfaces);
void weir_interfaces_destroy(struct weir_interfaces *interfaces);
// Reads again when the kernel told of a change since. false: nothing did, or it could not be read and is as it was.
bool weir_interfaces_refresh(struct weir_interfaces *interfaces);

// NULL: there is none. Valid until the next refresh.
const struct weir_interface *weir_interfaces_named(const struct weir_interfaces *interfaces, const char *name);
const struct weir_interface *weir_interfaces_numbered(const struct weir_interfaces *interfaces, int index);

// The interface that has the address, NULL: none has.
const struct weir_interface *weir_interfaces_of_address(const struct weir_interfaces *interfaces, int family,
							const uint8_t *address);
// Whether any interface is up and running.
bool weir_interfaces_any_running(const struct weir_interfaces *interfaces);
// MACs and addresses to which packets on the interface are for this host: its own and those of what stands on it or has it
// for a port, as VLANs, bridges and bonds do. Returns how many there was no room for.
uint32_t weir_interfaces_own(const struct weir_interfaces *interfaces, int index, struct weir_guard_own *own);

#endif
