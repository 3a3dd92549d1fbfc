// Clients over a DPDK device, on a ring that gives back what was sent: own address and router's are the same, so that ARP,
// headers, endpoints and fullness are seen from both sides. Neither root nor hugepages. DPDK starts once in a test's process.
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "perf/ethdev_transport.h"

#define MOST 4096u

struct seen {
	uint32_t count;
	uint32_t bytes;
	uint32_t sizes[MOST];
	uint16_t endpoints[MOST];
	uint8_t first[MOST]; // byte
	uint8_t last[MOST];
};

static struct weir_ethdev_transport_options options = { .device = "net_ring0", .address = "10.0.0.1", .local_port = 5000,
							.router = "udp://10.0.0.1:5000" };

static struct weir_ethdev_transport *open_transport(void)
{
	struct weir_ethdev_transport *transport = NULL;
	char why[WEIR_ETHDEV_TRANSPORT_WHY] = "";
	int error = weir_ethdev_transport_open(&transport, &options, why);

	cr_assert_eq(error, 0, "%s", why);
	return transport;
}

static void note(void *context, uint16_t endpoint, const void *datagram, uint32_t size)
{
	struct seen *seen = context;
	const uint8_t *bytes = datagram;
	uint32_t i = seen->count++;

	cr_assert_lt(i, MOST);
	seen->sizes[i] = size;
	seen->bytes += size;
	seen->endpoints[i] = endpoint;
	seen->first[i] = bytes[0];
	seen->last[i] = bytes[size - 1];
}

static void receive_all(struct weir_ethdev_transport *transport)
{
	while (weir_ethdev_transport_receive(transport, 1) > 0)
		;
}

Test(ethdev_transport, what_is_sent_arrives_whole_once_arp_was_answered)
{
	static struct seen seen;
	static uint8_t bytes[3][1472];
	struct weir_datagram datagrams[3] = { { bytes[0], 1 }, { bytes[1], 100 }, { bytes[2], 1472 } };
	struct weir_ethdev_transport_counts counts;
	struct weir_ethdev_transport *transport = open_transport();
	struct weir_core_output output = weir_ethdev_transport_attach_sink(transport, 0, note, &seen);

	for (uint32_t i = 0; i < 3; i++) {
		memset(bytes[i], (int)i, sizeof(bytes[i]));
		bytes[i][datagrams[i].size - 1] = (uint8_t)(100 + i);
	}
	cr_expect_eq(output.send(output.context, datagrams, 3), 3);
	receive_all(transport);
	cr_assert_eq(seen.count, 3);
	for (uint32_t i = 0; i < 3; i++) {
		cr_expect_eq(seen.sizes[i], datagrams[i].size);
		cr_expect_eq(seen.first[i], bytes[i][0]);
		cr_expect_eq(seen.last[i], 100 + i);
	}
	weir_ethdev_transport_counts(transport, &counts);
	cr_expect_eq(counts.sent, 3);
	cr_expect_eq(counts.received, 3);
	cr_expect_eq(counts.send_blocked, 0);
	cr_expect(counts.is_link_up);
	cr_expect_geq(weir_ethdev_transport_credit(transport), 1u << 20);
	weir_ethdev_transport_close(transport);
}

Test(ethdev_transport, each_endpoint_is_told_from_the_others)
{
	static struct seen seen;
	struct weir_datagram datagram = { "abc", 3 };
	struct weir_core_output outputs[3];

	options.endpoints = 3;
	options.router = "udp://10.0.0.1:5002"; // all of it comes back to the third
	struct weir_ethdev_transport *transport = open_transport();
	struct weir_ethdev_transport_counts before, after;

	for (uint16_t i = 0; i < 3; i++)
		outputs[i] = weir_ethdev_transport_attach_sink(transport, i, note, &seen);
	for (uint16_t i = 0; i < 3; i++)
		cr_expect_eq(outputs[i].send(outputs[i].context, &datagram, 1), 1);
	receive_all(transport);
	cr_expect_eq(seen.count, 3);
	for (uint32_t i = 0; i < seen.count; i++)
		cr_expect_eq(seen.endpoints[i], 2);
	// To an endpoint that is attached nowhere: foreign.
	weir_ethdev_transport_attach_sink(transport, 2, NULL, NULL);
	weir_ethdev_transport_counts(transport, &before);
	cr_expect_eq(outputs[0].send(outputs[0].context, &datagram, 1), 1);
	cr_expect_eq(weir_ethdev_transport_receive(transport, 1), 0);
	weir_ethdev_transport_counts(transport, &after);
	cr_expect_eq(after.foreign, before.foreign + 1);
	weir_ethdev_transport_close(transport);
}

Test(ethdev_transport, a_full_device_takes_a_part_and_says_which)
{
	static struct seen seen;
	static uint8_t bytes[MOST][8];
	struct weir_datagram datagrams[128];
	uint32_t sent = 0, taken;
	struct weir_ethdev_transport *transport = open_transport();
	struct weir_core_output output = weir_ethdev_transport_attach_sink(transport, 0, note, &seen);

	do {
		for (uint32_t i = 0; i < 128; i++) {
			bytes[sent + i][0] = (uint8_t)(sent + i);
			datagrams[i] = (struct weir_datagram){ bytes[sent + i], 8 };
		}
		taken = output.send(output.context, datagrams, 128);
		sent += taken;
	} while (taken == 128 && sent + 128 <= MOST);
	cr_assert_lt(taken, 128);
	cr_assert_gt(sent, 0);
	receive_all(transport);
	cr_assert_eq(seen.count, sent);
	for (uint32_t i = 0; i < sent; i++)
		cr_assert_eq(seen.first[i], (uint8_t)i);
	weir_ethdev_transport_close(transport);
}

static void expect_refusal(int error, const char *word)
{
	struct weir_ethdev_transport *transport = NULL;
	char why[WEIR_ETHDEV_TRANSPORT_WHY] = "";

	cr_expect_eq(weir_ethdev_transport_open(&transport, &options, why), error, "%s", why);
	cr_expect_null(transport);
	cr_expect(strstr(why, word), "it says: %s", why);
}

Test(ethdev_transport, what_is_wrong_with_the_options_is_said)
{
	struct weir_ethdev_transport_options good = options;

	options.address = "10.0.0";
	expect_refusal(-EINVAL, "own address \"10.0.0\"");
	options = good;
	options.router = "10.0.0.1";
	expect_refusal(-EINVAL, "udp://IPV4-ADDRESS");
	options.router = "udp://10.0.0.1:99999";
	expect_refusal(-EINVAL, "udp://IPV4-ADDRESS");
	options.router = "udp://router.example:9347";
	expect_refusal(-EINVAL, "udp://IPV4-ADDRESS");
	options = good;
	options.frame_size = 10000;
	expect_refusal(-EINVAL, "frame size 10000");
	options = good;
	options.local_port = 0;
	expect_refusal(-EINVAL, "local ports 0");
	options = good;
	options.endpoints = WEIR_ETHDEV_TRANSPORT_ENDPOINTS + 1;
	expect_refusal(-ENOMEM, "at most 1024");
}

Test(ethdev_transport, a_router_that_answers_no_arp_is_named)
{
	options.router = "udp://10.0.0.9";
	options.wait_ms = 120;
	expect_refusal(-EHOSTUNREACH, "answers no ARP within 120 ms");
}

Test(ethdev_transport, a_socket_where_nobody_listens_is_named)
{
	options.device = "net_virtio_user0,path=/tmp/weir-nobody.vhost";
	expect_refusal(-ENODEV, "/tmp/weir-nobody.vhost");
}
