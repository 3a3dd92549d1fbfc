// What the XDP guard does with a packet: bytes in, verdict and counters out, by BPF_PROG_TEST_RUN. Every packet is
// counted exactly once, so each case names the one counter that moves and all others must stay.
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/bpf/sandbox.h"
#include "wire/codec.h"

#define PORT 9347
#define HEADER sizeof(struct weir_frame_header)
#define UDP_AT (14 + 20)

static struct weir_guard *guard;
static struct xsk *xsk;

static void begin(void)
{
	struct weir_guard_config config = sandbox_config();
	sandbox_enter();
	sandbox_veth(2, 1500);
	guard = sandbox_guard(&config);
	xsk = xsk_open(INTERFACE, 0);
}

static void end(void)
{
	if (!guard)
		return;
	xsk_close(xsk);
	weir_guard_close(guard);
}

TestSuite(guard, .init = begin, .fini = end);

static struct weir_guard_totals totals_now(void)
{
	struct weir_guard_totals totals;
	cr_assert(weir_guard_read(guard, &totals) == 0);
	return totals;
}

static void expect(const struct packet *packet, uint32_t queue, uint32_t verdict, const struct weir_guard_totals *wanted)
{
	uint32_t got = packet_verdict(weir_guard_trial(guard), INTERFACE, queue, packet);
	struct weir_guard_totals after = totals_now();
	for (uint32_t i = 0; i < WEIR_REASON_ROOM; i++)
		cr_expect(after.dropped[i] == wanted->dropped[i], "dropped as %s", weir_reason_name(i));
	for (uint32_t i = 0; i < WEIR_GUARD_KINDS; i++)
		cr_expect(memcmp(&after.kinds[i], &wanted->kinds[i], sizeof(after.kinds[i])) == 0, "counted as kind %u", i);
	cr_expect(after.passed == wanted->passed, "passed");
	cr_assert(got == verdict, "verdict %u, not %u", got, verdict);
}

static void expect_passed(const struct packet *packet)
{
	struct weir_guard_totals wanted = totals_now();
	wanted.passed++;
	expect(packet, 0, XDP_PASS, &wanted);
}

static void expect_dropped(const struct packet *packet, enum weir_reason reason)
{
	struct weir_guard_totals wanted = totals_now();
	wanted.dropped[reason]++;
	expect(packet, 0, XDP_DROP, &wanted);
}

static void expect_redirected(const struct packet *packet, uint8_t kind, uint32_t events, uint32_t bytes)
{
	struct weir_guard_totals wanted = totals_now();
	wanted.kinds[kind].frames++;
	wanted.kinds[kind].events += events;
	wanted.kinds[kind].bytes += bytes;
	expect(packet, 0, XDP_REDIRECT, &wanted);
}

// ---- What goes to the socket ----

Test(guard, every_kind_of_a_client_is_redirected)
{
	static const struct {
		uint8_t kind;
		uint16_t count;
		uint16_t body;
	} CASES[] = {
		{ WEIR_KIND_HELLO, 0, sizeof(struct weir_hello) },
		{ WEIR_KIND_HELLO, 0, WEIR_FRAME_DEFAULT - HEADER },
		{ WEIR_KIND_PING, 0, 0 },
		{ WEIR_KIND_BYE, 0, 0 },
		{ WEIR_KIND_METADATA, 0, sizeof(struct weir_metadata_ask) },
		{ WEIR_KIND_OPEN, 0, sizeof(struct weir_open) },
		{ WEIR_KIND_PUBLISH, 1, 16 },
		{ WEIR_KIND_PUBLISH, 18, 1424 },
		{ WEIR_KIND_PROBE, 0, 0 },
		{ WEIR_KIND_SKIP, 0, sizeof(struct weir_skip) },
		{ WEIR_KIND_CLOSE, 0, sizeof(struct weir_close) },
		{ WEIR_KIND_JOIN, 0, sizeof(struct weir_join) },
		{ WEIR_KIND_REPORT, 3, 3 * sizeof(struct weir_report_entry) },
		{ WEIR_KIND_REVOKED, 0, sizeof(struct weir_revoke) },
		{ WEIR_KIND_LEAVE, 0, sizeof(struct weir_leave) },
		{ WEIR_KIND_SETTLE, 2, 2 * sizeof(struct weir_settle_entry) },
	};
	for (uint32_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		struct packet packet = packet_frame(PORT, CASES[i].kind, CASES[i].count, CASES[i].body);
		uint32_t events = CASES[i].kind == WEIR_KIND_PUBLISH ? CASES[i].count : 0;
		expect_redirected(&packet, CASES[i].kind, events, HEADER + CASES[i].body);
	}
}

Test(guard, every_port_of_a_worker_is_ours_and_the_next_is_not)
{
	struct packet first = packet_frame(PORT, WEIR_KIND_PING, 0, 0);
	struct packet last = packet_frame(PORT + 1, WEIR_KIND_PING, 0, 0);
	struct packet before = packet_frame(PORT - 1, WEIR_KIND_PING, 0, 0);
	struct packet behind = packet_frame(PORT + 2, WEIR_KIND_PING, 0, 0);
	expect_redirected(&first, WEIR_KIND_PING, 0, HEADER);
	expect_redirected(&last, WEIR_KIND_PING, 0, HEADER);
	expect_passed(&before);
	expect_passed(&behind);
}

static void put_ping(struct packet *packet)
{
	struct weir_frame_header frame = { .kind = WEIR_KIND_PING };
	weir_frame_seal(&frame, 0);
	put(packet, &frame, sizeof(frame));
}

Test(guard, a_frame_over_ipv6_is_redirected)
{
	struct packet packet = {};
	put_ethernet(&packet, ETH_P_IPV6);
	put_ipv6(&packet, IPPROTO_UDP, 8 + HEADER);
	put_udp(&packet, PORT, HEADER);
	put_ping(&packet);
	expect_redirected(&packet, WEIR_KIND_PING, 0, HEADER);
}

Test(guard, one_vlan_tag_is_looked_through)
{
	static const uint16_t TAGS[] = { ETH_P_8021Q, ETH_P_8021AD };
	for (uint32_t i = 0; i < 2; i++) {
		struct packet packet = {};
		put_ethernet(&packet, TAGS[i]);
		put_vlan(&packet, ETH_P_IP);
		put_ipv4(&packet, IPPROTO_UDP, 0, 0, 8 + HEADER);
		put_udp(&packet, PORT, HEADER);
		put_ping(&packet);
		expect_redirected(&packet, WEIR_KIND_PING, 0, HEADER);
	}
}

Test(guard, padding_behind_the_datagram_does_not_count)
{
	struct packet packet = packet_frame(PORT, WEIR_KIND_PING, 0, 0);
	put(&packet, NULL, 18);
	expect_redirected(&packet, WEIR_KIND_PING, 0, HEADER);
}

Test(guard, a_hello_of_a_later_version_is_redirected)
{
	struct packet packet = packet_frame(PORT, WEIR_KIND_HELLO, 0, sizeof(struct weir_hello));
	packet_header(&packet)->version = WEIR_VERSION + 1;
	expect_redirected(&packet, WEIR_KIND_HELLO, 0, HEADER + sizeof(struct weir_hello));
}

static struct packet fragment_packet(uint32_t total, uint32_t offset, uint16_t bytes)
{
	struct packet packet = packet_frame(PORT, WEIR_KIND_PUBLISH, 1, (uint16_t)(sizeof(struct weir_fragment) + bytes));
	struct weir_frame_header *frame = packet_header(&packet);
	struct weir_fragment fragment = { .total = total, .offset = offset };
	frame->flags = WEIR_FLAG_FRAGMENT;
	memcpy(frame + 1, &fragment, sizeof(fragment));
	weir_frame_seal(frame, frame->body_length);
	return packet;
}

Test(guard, a_large_event_counts_once_however_many_fragments_it_has)
{
	struct packet first = fragment_packet(2000, 0, 1000);
	struct packet second = fragment_packet(2000, 1000, 1000);
	expect_redirected(&first, WEIR_KIND_PUBLISH, 1, HEADER + 1008);
	expect_redirected(&second, WEIR_KIND_PUBLISH, 0, HEADER + 1008);
}

Test(guard, publish_frames_are_counted_by_topic)
{
	struct weir_guard_count count;
	struct packet packet = packet_frame(PORT, WEIR_KIND_PUBLISH, 2, 64);
	packet_header(&packet)->topic = 7;
	for (int i = 0; i < 3; i++)
		expect_redirected(&packet, WEIR_KIND_PUBLISH, 2, HEADER + 64);
	cr_assert(weir_guard_read_topic(guard, 7, &count) == 0);
	cr_assert(count.frames == 3 && count.events == 6 && count.bytes == 3 * (HEADER + 64));
	cr_assert(weir_guard_read_topic(guard, 8, &count) == 0);
	cr_assert(count.frames == 0);
	cr_assert(weir_guard_read_topic(guard, WEIR_GUARD_TOPICS, &count) == -ERANGE);
}

Test(guard, topics_beyond_the_rows_share_row_0)
{
	struct weir_guard_count count;
	struct packet packet = packet_frame(PORT, WEIR_KIND_PUBLISH, 2, 64);
	packet_header(&packet)->topic = WEIR_GUARD_TOPICS;
	expect_redirected(&packet, WEIR_KIND_PUBLISH, 2, HEADER + 64);
	packet_header(&packet)->topic = UINT32_MAX;
	expect_redirected(&packet, WEIR_KIND_PUBLISH, 2, HEADER + 64);
	cr_assert(weir_guard_read_topic(guard, 0, &count) == 0);
	cr_assert(count.frames == 2 && count.events == 4);
}

Test(guard, a_queue_without_a_socket_drops_by_name)
{
	struct packet packet = packet_frame(PORT, WEIR_KIND_PING, 0, 0);
	struct weir_guard_totals wanted = totals_now();
	wanted.dropped[WEIR_R_NO_SOCKET]++;
	expect(&packet, 1, XDP_DROP, &wanted);
}

Test(guard, a_frame_arrives_at_its_socket_byte_for_byte)
{
	uint8_t got[PACKET_SIZE_MAX];
	struct packet packet = packet_frame(PORT, WEIR_KIND_PUBLISH, 18, 1424);
	struct weir_guard_totals before = totals_now();
	struct packet foreign = packet_frame(PORT + 9, WEIR_KIND_PING, 0, 0);
	packet_send(&foreign, 1);
	packet_send(&packet, 1);
	uint32_t size = xsk_receive(xsk, got, sizeof(got));
	cr_assert(size == packet.size, "%u bytes, not %u", size, packet.size);
	cr_assert(memcmp(got, packet.bytes, size) == 0);
	struct weir_guard_totals after = totals_now();
	cr_assert(after.kinds[WEIR_KIND_PUBLISH].frames == before.kinds[WEIR_KIND_PUBLISH].frames + 1);
	cr_assert(after.passed > before.passed);
}

// The way of NICs and veths with rx-vlan-offload, the default.
Test(guard, a_tag_beside_the_packet_arrives_inside_it)
{
	static const uint16_t TAGS[] = { ETH_P_8021Q, ETH_P_8021AD };
	struct weir_guard_info info;
	struct packet packet = packet_frame(PORT, WEIR_KIND_PUBLISH, 18, 1424);
	weir_guard_describe(guard, &info);
	if (info.tags == WEIR_GUARD_TAGS_HIDDEN)
		cr_skip_test("needs a kernel that tells XDP programs of VLAN tags (6.8)");
	cr_assert(info.tags == WEIR_GUARD_TAGS_BESIDE);
	for (uint32_t i = 0; i < 2; i++) {
		uint8_t got[PACKET_SIZE_MAX];
		const uint8_t tag[4] = { (uint8_t)(TAGS[i] >> 8), (uint8_t)TAGS[i], 0x60, 100 };
		packet_tag(TAGS[i], 0x6064);
		packet_send(&packet, 1);
		uint32_t size = xsk_receive(xsk, got, sizeof(got));
		cr_assert(size == packet.size + 4, "%u bytes, not %u", size, packet.size + 4);
		cr_assert(memcmp(got, packet.bytes, 12) == 0 && memcmp(got + 12, tag, 4) == 0);
		cr_assert(memcmp(got + 16, packet.bytes + 12, packet.size - 12) == 0);
	}
}

// With one tag beside and one inside it has two, and is left to the kernel.
Test(guard, a_tag_beside_a_tagged_packet_is_one_too_many)
{
	struct weir_guard_info info;
	struct weir_guard_totals before = totals_now();
	struct packet packet = {};
	weir_guard_describe(guard, &info);
	if (info.tags == WEIR_GUARD_TAGS_HIDDEN)
		cr_skip_test("needs a kernel that tells XDP programs of VLAN tags (6.8)");
	put_ethernet(&packet, ETH_P_8021Q);
	put_vlan(&packet, ETH_P_IP);
	put_ipv4(&packet, IPPROTO_UDP, 0, 0, 8 + HEADER);
	put_udp(&packet, PORT, HEADER);
	put_ping(&packet);
	packet_tag(ETH_P_8021AD, 7);
	packet_send(&packet, 1);
	for (int i = 0; i < 200 && totals_now().passed == before.passed; i++)
		usleep(5000);
	struct weir_guard_totals after = totals_now();
	cr_assert(after.passed == before.passed + 1);
	cr_assert(after.kinds[WEIR_KIND_PING].frames == before.kinds[WEIR_KIND_PING].frames);
}

// ---- What is weir's and broken ----

Test(guard, short_frames_are_dropped)
{
	for (uint32_t size = 0; size < HEADER; size++) {
		struct packet packet = {};
		put_ethernet(&packet, ETH_P_IP);
		put_ipv4(&packet, IPPROTO_UDP, 0, 0, 8 + size);
		put_udp(&packet, PORT, size);
		put(&packet, NULL, size);
		expect_dropped(&packet, WEIR_R_SHORT);
	}
}

Test(guard, another_magic_is_dropped)
{
	struct packet packet = packet_frame(PORT, WEIR_KIND_PING, 0, 0);
	packet_header(&packet)->magic ^= 1;
	expect_dropped(&packet, WEIR_R_MAGIC);
}

Test(guard, another_version_is_dropped)
{
	struct packet packet = packet_frame(PORT, WEIR_KIND_PING, 0, 0);
	packet_header(&packet)->version = 0;
	expect_dropped(&packet, WEIR_R_VERSION);
	packet_header(&packet)->version = WEIR_VERSION + 1;
	expect_dropped(&packet, WEIR_R_VERSION);
}

Test(guard, kinds_that_a_router_never_receives_are_dropped)
{
	static const uint8_t KINDS[] = { 0,
					 WEIR_KIND_CHALLENGE,
					 WEIR_KIND_WELCOME,
					 WEIR_KIND_PONG,
					 WEIR_KIND_ERROR,
					 WEIR_KIND_TOPIC,
					 WEIR_KIND_OPENED,
					 WEIR_KIND_ACK,
					 WEIR_KIND_REFUSE,
					 WEIR_KIND_CLOSED,
					 WEIR_KIND_JOINED,
					 WEIR_KIND_ASSIGN,
					 WEIR_KIND_DELIVER,
					 WEIR_KIND_REVOKE,
					 WEIR_KIND_LEFT,
					 WEIR_KIND_SETTLED,
					 WEIR_KIND_LIMIT,
					 255 };
	struct packet packet = packet_frame(PORT, WEIR_KIND_PING, 0, 0);
	for (uint32_t i = 0; i < sizeof(KINDS); i++) {
		packet_header(&packet)->kind = KINDS[i];
		expect_dropped(&packet, WEIR_R_KIND);
	}
}

Test(guard, a_body_length_other_than_the_datagrams_is_dropped)
{
	struct packet packet = packet_frame(PORT, WEIR_KIND_PUBLISH, 1, 64);
	packet_header(&packet)->body_length = 56;
	expect_dropped(&packet, WEIR_R_LENGTH);
	packet_header(&packet)->body_length = 72;
	expect_dropped(&packet, WEIR_R_LENGTH);
	packet_header(&packet)->body_length = UINT16_MAX;
	expect_dropped(&packet, WEIR_R_LENGTH);
}

Test(guard, a_body_impossible_for_its_kind_is_dropped)
{
	struct packet ping = packet_frame(PORT, WEIR_KIND_PING, 0, 8);
	struct packet open = packet_frame(PORT, WEIR_KIND_OPEN, 0, sizeof(struct weir_open) - 8);
	struct packet hello = packet_frame(PORT, WEIR_KIND_HELLO, 0, sizeof(struct weir_hello) - 8);
	struct packet publish = packet_frame(PORT, WEIR_KIND_PUBLISH, 1, 63);
	struct packet report = packet_frame(PORT, WEIR_KIND_REPORT, 2, sizeof(struct weir_report_entry));
	expect_dropped(&ping, WEIR_R_LENGTH);
	expect_dropped(&open, WEIR_R_LENGTH);
	expect_dropped(&hello, WEIR_R_LENGTH);
	expect_dropped(&publish, WEIR_R_LENGTH);
	expect_dropped(&report, WEIR_R_LENGTH);
}

Test(guard, an_impossible_count_is_dropped)
{
	struct packet none = packet_frame(PORT, WEIR_KIND_PUBLISH, 0, 64);
	struct packet many = packet_frame(PORT, WEIR_KIND_PUBLISH, 5, 64);
	struct packet most = packet_frame(PORT, WEIR_KIND_PUBLISH, WEIR_COUNT_MAX + 1, 64);
	struct packet ping = packet_frame(PORT, WEIR_KIND_PING, 1, 0);
	struct packet report = packet_frame(PORT, WEIR_KIND_REPORT, 0, 0);
	expect_dropped(&none, WEIR_R_COUNT);
	expect_dropped(&many, WEIR_R_COUNT);
	expect_dropped(&most, WEIR_R_COUNT);
	expect_dropped(&ping, WEIR_R_COUNT);
	expect_dropped(&report, WEIR_R_COUNT);
}

Test(guard, flags_that_the_kind_does_not_have_are_dropped)
{
	struct packet packet = packet_frame(PORT, WEIR_KIND_PING, 0, 0);
	for (uint32_t bit = 0; bit < 16; bit++) {
		packet_header(&packet)->flags = (uint16_t)(1u << bit);
		if (packet_header(&packet)->flags == WEIR_FLAG_WORKING)
			continue;
		expect_dropped(&packet, WEIR_R_FLAGS);
	}
	struct packet publish = packet_frame(PORT, WEIR_KIND_PUBLISH, 1, 64);
	packet_header(&publish)->flags = WEIR_FLAG_HEADER_ONLY;
	expect_dropped(&publish, WEIR_R_FLAGS);
}

Test(guard, a_fragment_outside_of_its_event_is_dropped)
{
	struct packet beyond = fragment_packet(1000, 1000, 8);
	struct packet over = fragment_packet(1000, 992, 16);
	struct packet odd = fragment_packet(1000, 4, 8);
	struct packet tiny = fragment_packet(8, 0, 8);
	struct packet huge = fragment_packet(WEIR_EVENT_LIMIT + 1, 0, 1000);
	expect_dropped(&beyond, WEIR_R_LENGTH);
	expect_dropped(&over, WEIR_R_LENGTH);
	expect_dropped(&odd, WEIR_R_LENGTH);
	expect_dropped(&tiny, WEIR_R_LENGTH);
	expect_dropped(&huge, WEIR_R_LENGTH);
}

Test(guard, a_datagram_cut_short_on_its_way_is_dropped)
{
	for (uint32_t left = UDP_AT + 8; left < UDP_AT + 8 + HEADER; left++) {
		struct packet packet = packet_frame(PORT, WEIR_KIND_PING, 0, 0);
		packet.size = left;
		expect_dropped(&packet, WEIR_R_IP_HEADER);
	}
}

Test(guard, a_udp_length_that_ip_contradicts_is_dropped)
{
	static const uint16_t LENGTHS[] = { 0, 7, 8 + HEADER - 1, 8 + HEADER + 1, UINT16_MAX };
	for (uint32_t i = 0; i < 5; i++) {
		struct packet packet = packet_frame(PORT, WEIR_KIND_PING, 0, 0);
		uint16_t length = htons(LENGTHS[i]);
		memcpy(packet.bytes + UDP_AT + 4, &length, sizeof(length));
		expect_dropped(&packet, WEIR_R_IP_HEADER);
	}
}

// Also when the lengths are forged so that they would fit a header without options.
Test(guard, ip_options_are_dropped)
{
	for (uint32_t words = 1; words <= 10; words++) {
		for (uint32_t forged = 0; forged <= words * 4; forged += words * 4) {
			struct packet packet = {};
			put_ethernet(&packet, ETH_P_IP);
			put_ipv4(&packet, IPPROTO_UDP, 0, words, 8 + HEADER);
			put_udp(&packet, PORT, HEADER + forged);
			put_ping(&packet);
			put(&packet, NULL, forged);
			expect_dropped(&packet, WEIR_R_IP_HEADER);
		}
	}
}

// An extension header of 8 bytes, or for words > 0 more.
static void put_extension(struct packet *packet, uint8_t next, uint8_t words, uint16_t rest)
{
	uint16_t wire = htons(rest);
	put(packet, &next, 1);
	put(packet, &words, 1);
	put(packet, &wire, 2);
	put(packet, NULL, 4 + words * 8u);
}

Test(guard, extension_headers_before_our_port_are_dropped)
{
	struct packet packet = {};
	put_ethernet(&packet, ETH_P_IPV6);
	put_ipv6(&packet, IPPROTO_HOPOPTS, 8 + 24 + 8 + HEADER);
	put_extension(&packet, IPPROTO_DSTOPTS, 0, 0);
	put_extension(&packet, IPPROTO_UDP, 2, 0);
	put_udp(&packet, PORT, HEADER);
	put_ping(&packet);
	expect_dropped(&packet, WEIR_R_IP_HEADER);
}

Test(guard, first_fragments_are_dropped_and_later_ones_left_to_the_kernel)
{
	struct packet first = {};
	put_ethernet(&first, ETH_P_IP);
	put_ipv4(&first, IPPROTO_UDP, 0x2000, 0, 8 + HEADER);
	put_udp(&first, PORT, HEADER + 512);
	put_ping(&first);
	expect_dropped(&first, WEIR_R_IP_FRAGMENT);
	struct packet later = {};
	put_ethernet(&later, ETH_P_IP);
	put_ipv4(&later, IPPROTO_UDP, 7, 0, 512);
	put_udp(&later, PORT, 504);
	put(&later, NULL, 504);
	expect_passed(&later);
}

Test(guard, ipv6_fragments_are_treated_alike)
{
	struct packet first = {};
	put_ethernet(&first, ETH_P_IPV6);
	put_ipv6(&first, IPPROTO_FRAGMENT, 8 + 8 + HEADER);
	put_extension(&first, IPPROTO_UDP, 0, 1);
	put_udp(&first, PORT, HEADER + 512);
	put_ping(&first);
	expect_dropped(&first, WEIR_R_IP_FRAGMENT);
	struct packet later = {};
	put_ethernet(&later, ETH_P_IPV6);
	put_ipv6(&later, IPPROTO_FRAGMENT, 8 + 8 + 504);
	put_extension(&later, IPPROTO_UDP, 0, 64);
	put_udp(&later, PORT, 504);
	put(&later, NULL, 504);
	expect_passed(&later);
}

// ---- What is somebody else's ----

Test(guard, arp_passes)
{
	struct packet packet = {};
	put_ethernet(&packet, ETH_P_ARP);
	put(&packet, NULL, 28);
	expect_passed(&packet);
}

Test(guard, other_protocols_over_ip_pass)
{
	static const uint8_t PROTOCOLS[] = { IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_SCTP, IPPROTO_GRE, IPPROTO_ICMPV6 };
	for (uint32_t i = 0; i < sizeof(PROTOCOLS); i++) {
		struct packet v4 = packet_frame(PORT, WEIR_KIND_PING, 0, 0);
		v4.bytes[14 + 9] = PROTOCOLS[i];
		expect_passed(&v4);
		struct packet v6 = {};
		put_ethernet(&v6, ETH_P_IPV6);
		put_ipv6(&v6, PROTOCOLS[i], 8 + HEADER);
		put_udp(&v6, PORT, HEADER);
		put_ping(&v6);
		expect_passed(&v6);
	}
}

Test(guard, tcp_to_our_port_behind_a_vlan_tag_passes)
{
	struct packet packet = {};
	put_ethernet(&packet, ETH_P_8021Q);
	put_vlan(&packet, ETH_P_IP);
	put_ipv4(&packet, IPPROTO_TCP, 0, 0, 20);
	put_udp(&packet, PORT, 12);
	put(&packet, NULL, 12);
	expect_passed(&packet);
}

Test(guard, two_vlan_tags_pass)
{
	struct packet packet = {};
	put_ethernet(&packet, ETH_P_8021AD);
	put_vlan(&packet, ETH_P_8021Q);
	put_vlan(&packet, ETH_P_IP);
	put_ipv4(&packet, IPPROTO_UDP, 0, 0, 8 + HEADER);
	put_udp(&packet, PORT, HEADER);
	put_ping(&packet);
	expect_passed(&packet);
}

Test(guard, a_packet_cut_anywhere_before_its_port_passes)
{
	for (uint32_t size = 14; size < UDP_AT + 8; size++) {
		struct packet packet = packet_frame(PORT, WEIR_KIND_PING, 0, 0);
		packet.size = size;
		expect_passed(&packet);
	}
}

Test(guard, an_ip_header_of_another_version_or_too_small_passes)
{
	struct packet packet = packet_frame(PORT, WEIR_KIND_PING, 0, 0);
	packet.bytes[14] = 0x55;
	expect_passed(&packet);
	packet.bytes[14] = 0x44;
	expect_passed(&packet);
}

Test(guard, ipv6_neighbour_discovery_passes)
{
	struct packet packet = {};
	put_ethernet(&packet, ETH_P_IPV6);
	put_ipv6(&packet, IPPROTO_ICMPV6, 24);
	put(&packet, "\x87", 1);
	put(&packet, NULL, 23);
	expect_passed(&packet);
}

// ---- Switches ----

// Another guard with its own switches, in the place of the suite's.
static void reopen(const struct weir_guard_config *config)
{
	xsk_close(xsk);
	weir_guard_close(guard);
	guard = sandbox_guard(config);
	xsk = xsk_open(INTERFACE, 0);
}

static struct packet ping6(void)
{
	struct packet packet = {};
	put_ethernet(&packet, ETH_P_IPV6);
	put_ipv6(&packet, IPPROTO_UDP, 8 + HEADER);
	put_udp(&packet, PORT, HEADER);
	put_ping(&packet);
	return packet;
}

// A host that forwards, or stands in a bridge, sees much that is for others; whatever it is, it goes on.
Test(guard, only_datagrams_to_our_own_addresses_are_ours)
{
	struct packet v4 = packet_frame(PORT, WEIR_KIND_PING, 0, 0);
	struct packet v6 = ping6();
	struct packet tagged = {};
	expect_redirected(&v4, WEIR_KIND_PING, 0, HEADER);
	expect_redirected(&v6, WEIR_KIND_PING, 0, HEADER);
	v4.bytes[14 + 19] = 3;
	expect_passed(&v4);
	packet_header(&v4)->magic = 0;
	expect_passed(&v4);
	v6.bytes[14 + 39] = 3;
	expect_passed(&v6);
	put_ethernet(&tagged, ETH_P_8021Q);
	put_vlan(&tagged, ETH_P_IP);
	put(&tagged, v4.bytes + 14, v4.size - 14);
	expect_passed(&tagged);
	// Multicast and broadcast.
	memcpy(v4.bytes + 14 + 16, "\xe0\0\0\x01", 4);
	expect_passed(&v4);
	memcpy(v4.bytes + 14 + 16, "\xff\xff\xff\xff", 4);
	expect_passed(&v4);
	memcpy(v6.bytes + 14 + 24, "\xff\x02", 2);
	expect_passed(&v6);
}

Test(guard, only_packets_to_our_own_macs_are_ours)
{
	static const uint8_t OTHERS[][6] = { { 2, 0, 0, 0, 0, 9 },
					     { 2, 0, 0, 9, 0, 1 },
					     { 2, 9, 0, 0, 0, 1 },
					     { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
					     { 1, 0, 0x5e, 0, 0, 1 } };
	struct weir_guard_own own = sandbox_config().own;
	struct packet packet = packet_frame(PORT, WEIR_KIND_PING, 0, 0);
	for (uint32_t i = 0; i < sizeof(OTHERS) / sizeof(OTHERS[0]); i++) {
		memcpy(packet.bytes, OTHERS[i], 6);
		expect_passed(&packet);
	}
	memcpy(own.macs[own.mac_count++], packet.bytes, 6);
	weir_guard_set_own(guard, &own);
	expect_redirected(&packet, WEIR_KIND_PING, 0, HEADER);
}

// The last of as many as there can be, of each kind; and what was ours before is not any more.
Test(guard, addresses_that_change_are_followed)
{
	char error[WEIR_GUARD_ERROR_SIZE];
	struct packet v4 = packet_frame(PORT, WEIR_KIND_PING, 0, 0);
	struct packet v6 = ping6();
	struct weir_guard_own own = { .mac_count = WEIR_GUARD_MACS, .address4_count = WEIR_GUARD_ADDRESSES,
				      .address6_count = WEIR_GUARD_ADDRESSES };
	weir_guard_set_own(guard, &own);
	expect_passed(&v4);
	expect_passed(&v6);
	memcpy(own.macs[WEIR_GUARD_MACS - 1], v4.bytes, 6);
	memcpy(&own.addresses4[WEIR_GUARD_ADDRESSES - 1], v4.bytes + 14 + 16, 4);
	memcpy(own.addresses6[WEIR_GUARD_ADDRESSES - 1], v6.bytes + 14 + 24, 16);
	weir_guard_set_own(guard, &own);
	expect_redirected(&v4, WEIR_KIND_PING, 0, HEADER);
	expect_redirected(&v6, WEIR_KIND_PING, 0, HEADER);
	own.address4_count = 0;
	weir_guard_set_own(guard, &own);
	expect_passed(&v4);
	expect_redirected(&v6, WEIR_KIND_PING, 0, HEADER);
	cr_assert(weir_guard_check(guard, 0, error) == 0, "by IPv6: %s", error);
	own.address6_count = 0;
	weir_guard_set_own(guard, &own);
	expect_passed(&v6);
	cr_assert(weir_guard_check(guard, 0, error) == 0, "without an address: %s", error);
	expect_passed(&v4);
}

// An answer would go to many, to ourselves, or nowhere.
Test(guard, a_source_that_cannot_be_answered_is_dropped)
{
	static const uint8_t ODD4[][4] = { { 224, 0, 0, 1 }, { 239, 255, 255, 250 }, { 255, 255, 255, 255 },
					   { 240, 0, 0, 1 }, { 127, 0, 0, 1 }, { 0, 0, 0, 0 } };
	static const uint8_t ODD6[][16] = { { 0xff, 2, [15] = 1 }, { 0 }, { [15] = 1 } };
	struct packet packet = packet_frame(PORT, WEIR_KIND_PING, 0, 0);
	packet.bytes[6] |= 1;
	expect_dropped(&packet, WEIR_R_IP_HEADER);
	packet.bytes[6] &= 0xfe;
	expect_redirected(&packet, WEIR_KIND_PING, 0, HEADER);
	for (uint32_t i = 0; i < sizeof(ODD4) / sizeof(ODD4[0]); i++) {
		memcpy(packet.bytes + 14 + 12, ODD4[i], 4);
		expect_dropped(&packet, WEIR_R_IP_HEADER);
	}
	packet = ping6();
	for (uint32_t i = 0; i < sizeof(ODD6) / sizeof(ODD6[0]); i++) {
		memcpy(packet.bytes + 14 + 8, ODD6[i], 16);
		expect_dropped(&packet, WEIR_R_IP_HEADER);
	}
}

Test(guard, a_trusted_link_admits_frames_with_the_header_sealed_alone)
{
	struct weir_guard_config config = sandbox_config();
	config.is_link_trusted = true;
	reopen(&config);
	struct packet packet = packet_frame(PORT, WEIR_KIND_PUBLISH, 1, 64);
	packet_header(&packet)->flags = WEIR_FLAG_HEADER_ONLY;
	expect_redirected(&packet, WEIR_KIND_PUBLISH, 1, HEADER + 64);
}

Test(guard, its_own_checks_are_not_in_its_counters)
{
	char error[WEIR_GUARD_ERROR_SIZE];
	struct weir_guard_totals before = totals_now();
	cr_assert(weir_guard_check(guard, 0, error) == 0, "%s", error);
	cr_assert(weir_guard_check(guard, 1, error) == -ENOTCONN);
	cr_assert(strstr(error, "queue 1") && strstr(error, INTERFACE), "%s", error);
	cr_assert(weir_guard_check(guard, 2, error) == -EINVAL);
	struct weir_guard_totals after = totals_now();
	cr_assert(memcmp(&before, &after, sizeof(before)) == 0);
}
