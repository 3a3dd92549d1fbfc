// Interfaces and addresses as the kernel tells them, in network namespaces of the test's own: root, or a user namespace. What
// is ours on an interface is what a bridge, bond or VLAN over it has too.
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bpf/guard.h"
#include "dataplane/io/interfaces.h"

static struct weir_interfaces *interfaces;

static void __attribute__((format(printf, 1, 2))) do_ip(const char *format, ...)
{
	char command[512] = "ip ";
	va_list list;

	va_start(list, format);
	vsnprintf(command + 3, sizeof(command) - 3, format, list);
	va_end(list);
	cr_assert_eq(system(command), 0, "%s", command);
}

static void begin(void)
{
	if (unshare(geteuid() == 0 ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET) != 0)
		cr_skip_test("needs a network namespace: %s", strerror(errno));
	do_ip("link add one address 02:00:00:00:00:01 type veth peer name two");
	cr_assert_eq(weir_interfaces_create(&interfaces), 0);
}

static void end(void)
{
	weir_interfaces_destroy(interfaces);
}

TestSuite(interfaces, .init = begin, .fini = end);

static struct weir_guard_own own_of(const char *name)
{
	struct weir_guard_own own;

	weir_interfaces_refresh(interfaces);
	cr_assert_not_null(weir_interfaces_named(interfaces, name));
	cr_assert_eq(weir_interfaces_own(interfaces, weir_interfaces_named(interfaces, name)->index, &own), 0);
	return own;
}

static bool has_address4(const struct weir_guard_own *own, const char *text)
{
	uint32_t address = inet_addr(text);

	for (uint32_t i = 0; i < own->address4_count; i++)
		if (own->addresses4[i] == address)
			return true;
	return false;
}

Test(interfaces, what_is_there_is_known_by_name_and_number)
{
	const struct weir_interface *one = weir_interfaces_named(interfaces, "one");

	cr_assert(one && one == weir_interfaces_numbered(interfaces, one->index));
	cr_assert_eq(one->mtu, 1500);
	cr_assert_eq(memcmp(one->mac, "\2\0\0\0\0\1", 6), 0);
	cr_assert(!one->is_up && !one->is_running);
	cr_assert_null(weir_interfaces_named(interfaces, "three"));
	cr_assert(!weir_interfaces_any_running(interfaces));
}

Test(interfaces, nothing_is_read_again_before_something_changed)
{
	cr_assert(!weir_interfaces_refresh(interfaces));
	do_ip("link set one mtu 1400");
	cr_assert(weir_interfaces_refresh(interfaces));
	cr_assert_eq(weir_interfaces_named(interfaces, "one")->mtu, 1400);
	cr_assert(!weir_interfaces_refresh(interfaces));
}

Test(interfaces, a_link_runs_when_both_ends_are_up)
{
	do_ip("link set one up");
	cr_assert(weir_interfaces_refresh(interfaces));
	cr_assert(weir_interfaces_named(interfaces, "one")->is_up && !weir_interfaces_named(interfaces, "one")->is_running);
	do_ip("link set two up");
	// The kernel looks after carriers in its own time.
	for (int i = 0; i < 1000 && !weir_interfaces_named(interfaces, "one")->is_running; i++) {
		usleep(10000);
		weir_interfaces_refresh(interfaces);
	}
	cr_assert(weir_interfaces_named(interfaces, "one")->is_running && weir_interfaces_any_running(interfaces));
	do_ip("link del one");
	cr_assert(weir_interfaces_refresh(interfaces));
	cr_assert_null(weir_interfaces_named(interfaces, "one"));
}

Test(interfaces, addresses_come_and_go)
{
	struct weir_guard_own own = own_of("one");

	cr_assert(own.mac_count == 1 && own.address4_count == 0 && own.address6_count == 0);
	do_ip("address add 10.0.0.1/24 dev one");
	do_ip("address add 10.0.0.7/32 peer 10.0.9.9 dev one");
	do_ip("address add fd00::1/64 dev one");
	do_ip("address add 10.0.0.2/24 dev two");
	own = own_of("one");
	cr_assert(own.address4_count == 2 && has_address4(&own, "10.0.0.1") && has_address4(&own, "10.0.0.7"));
	cr_assert(own.address6_count >= 1);
	cr_assert_eq(weir_interfaces_of_address(interfaces, AF_INET, (const uint8_t *)"\x0a\0\0\1"),
		     weir_interfaces_named(interfaces, "one"));
	do_ip("address del 10.0.0.1/24 dev one");
	own = own_of("one");
	cr_assert(own.address4_count == 1 && !has_address4(&own, "10.0.0.1"));
	cr_assert_null(weir_interfaces_of_address(interfaces, AF_INET, (const uint8_t *)"\x0a\0\0\1"));
}

// The host answers to the addresses of a bridge on each of the bridge's ports, and of what stands on the bridge.
Test(interfaces, addresses_of_what_has_it_for_a_port_are_ours_too)
{
	struct weir_guard_own own;

	do_ip("link add over address 02:00:00:00:00:09 type bridge");
	do_ip("link set one master over");
	do_ip("address add 10.0.1.1/24 dev over");
	do_ip("address add 10.0.2.1/24 dev two");
	own = own_of("one");
	cr_assert(own.mac_count == 2 && own.address4_count == 1 && has_address4(&own, "10.0.1.1"));
	own = own_of("over");
	cr_assert(own.mac_count == 1 && has_address4(&own, "10.0.1.1"));
	if (system("ip link add link over name above type macvlan 2>/dev/null") == 0) {
		do_ip("address add 10.0.3.1/24 dev above");
		own = own_of("one");
		cr_assert(own.mac_count == 3 && has_address4(&own, "10.0.3.1") && !has_address4(&own, "10.0.2.1"));
	}
}

Test(interfaces, more_addresses_than_there_is_room_for_are_told)
{
	struct weir_guard_own own;

	for (uint32_t i = 1; i <= WEIR_GUARD_ADDRESSES + 3; i++)
		do_ip("address add 10.1.0.%u/32 dev one", i);
	cr_assert(weir_interfaces_refresh(interfaces));
	cr_assert_eq(weir_interfaces_own(interfaces, weir_interfaces_named(interfaces, "one")->index, &own), 3);
	cr_assert_eq(own.address4_count, WEIR_GUARD_ADDRESSES);
}
