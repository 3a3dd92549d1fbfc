// What stands behind an address of a router: hosts and ports as they are written, and names that are looked up beside the
// client. Names are those that need no name server: an address is one too.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>

#include <criterion/criterion.h>

#include "client/lookup.h"

static void parse(const char *text, const char *name, const char *port)
{
	struct weir_host host;
	cr_assert_eq(weir_host_parse(&host, text), 0, "%s", text);
	cr_assert_str_eq(host.name, name);
	cr_assert_str_eq(host.port, port);
}

Test(lookup, takes_hosts_and_ports_apart)
{
	struct weir_host host;
	parse("router", "router", "9347");
	parse("router:9000", "router", "9000");
	parse("10.0.0.1:1", "10.0.0.1", "1");
	parse("[fd77::1]", "fd77::1", "9347");
	parse("[fd77::1%eth0]:65535", "fd77::1%eth0", "65535");
	static const char *const WRONG[] = {
		"", ":9000", "a:", "a:0", "a:65536", "a:9x", "fd77::1", "[", "[]", "[::1", "[::1]9",
	};
	for (size_t i = 0; i < sizeof(WRONG) / sizeof(WRONG[0]); i++)
		cr_assert_eq(weir_host_parse(&host, WRONG[i]), -EINVAL, "%s", WRONG[i]);
}

Test(lookup, knows_an_address_from_a_name)
{
	struct weir_host host = { .name = "::1", .port = "7" };
	struct weir_endpoint endpoint;
	cr_assert_eq(weir_host_endpoint(&host, &endpoint), 1);
	cr_assert_eq(endpoint.address.ss_family, AF_INET6);
	cr_assert_eq(((struct sockaddr_in6 *)&endpoint.address)->sin6_port, htons(7));
	strcpy(host.name, "router.example");
	cr_assert_eq(weir_host_endpoint(&host, &endpoint), 0);
}

static int found(const char *name, struct weir_endpoint *endpoints)
{
	struct weir_host host = { .port = "9347" };
	struct weir_lookup *lookup = NULL;
	strcpy(host.name, name);
	cr_assert_eq(weir_lookup_start(&lookup, &host), 0);
	struct pollfd done = { .fd = weir_lookup_fd(lookup), .events = POLLIN };
	cr_assert_eq(poll(&done, 1, 60000), 1);
	int count = weir_lookup_take(lookup, endpoints);
	cr_assert_neq(count, -EAGAIN);
	return count;
}

Test(lookup, tells_when_it_is_done_and_what_was_found, .timeout = 90)
{
	struct weir_endpoint endpoints[WEIR_ENDPOINTS_MAX];
	cr_assert_eq(found("127.0.0.9", endpoints), 1);
	cr_assert_eq(((struct sockaddr_in *)&endpoints[0].address)->sin_addr.s_addr, inet_addr("127.0.0.9"));
	int error = found("router.invalid", endpoints);
	cr_assert(error == -ENXIO || error == -EBUSY, "%d", error);
}

// Under the address sanitizer what is not freed, or freed twice, shows.
Test(lookup, may_be_left_alone_before_it_is_done, .timeout = 90)
{
	const struct weir_host host = { .name = "router.invalid", .port = "9347" };
	for (int i = 0; i < 4; i++) {
		struct weir_lookup *lookup = NULL;
		cr_assert_eq(weir_lookup_start(&lookup, &host), 0);
		weir_lookup_drop(lookup);
	}
	weir_lookup_drop(NULL);
}
