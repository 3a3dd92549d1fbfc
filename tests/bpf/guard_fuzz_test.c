// Random packets, half-right on purpose, against an oracle: a plain parser of Ethernet, VLAN, IPv4 and IPv6 written
// apart from the program's, and wire/codec.h for what is in the datagram. Verdict and counter must agree for every one.
#include <criterion/criterion.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bpf/sandbox.h"
#include "wire/codec.h"

#define PORT 9347
#define WORKERS 2
#define PACKETS_PER_S 2500u // with room to spare, sanitizers and a busy machine included
#define PACKETS_MIN 100000u
#define FOREIGN (-1)

static struct weir_guard *guard;
static struct xsk *xsk;

static void begin(void)
{
	struct weir_guard_config config = sandbox_config();
	sandbox_enter();
	sandbox_veth(1, 3400);
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

TestSuite(guard_fuzz, .init = begin, .fini = end);

static uint64_t state;

static uint32_t dice(uint32_t sides)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 33) % sides;
}

// ---- The oracle ----

static uint32_t be16(const uint8_t *at)
{
	return (uint32_t)at[0] << 8 | at[1];
}

static int frame_judge(const uint8_t *bytes, uint32_t size)
{
	uint8_t frame[PACKET_SIZE_MAX] __attribute__((aligned(8)));
	struct weir_frame_header *header = (void *)frame;
	memcpy(frame, bytes, size);
	// The kernel does not sum: make the sum right wherever the codec would get as far as to look at it.
	if (size >= sizeof(*header) && size == sizeof(*header) + header->body_length && header->kind != WEIR_KIND_DELIVER)
		header->crc = weir_frame_crc(header, NULL);
	return weir_frame_check(frame, size, true, false, NULL);
}

// A UDP header at `at`, `left` bytes to the packet's end, `length` said by IP. broken: WEIR_R_NONE, or why it is dropped
// when it turns out to be weir's.
static int udp_judge(const uint8_t *at, int64_t left, int64_t length, int broken)
{
	if (left < 8 || be16(at + 2) < PORT || be16(at + 2) >= PORT + WORKERS)
		return FOREIGN;
	if (broken)
		return broken;
	int64_t size = be16(at + 4);
	if (size != length || size < 8 || size > left)
		return WEIR_R_IP_HEADER;
	return frame_judge(at + 8, (uint32_t)size - 8);
}

static int ipv4_judge(const uint8_t *at, int64_t left)
{
	if (left < 20 || at[0] >> 4 != 4 || at[9] != 17)
		return FOREIGN;
	int64_t header = (at[0] & 15) * 4;
	uint32_t fragment = be16(at + 6) & 0x3fff;
	if (header < 20 || fragment & 0x1fff)
		return FOREIGN;
	bool is_odd = at[12] == 0 || at[12] == 127 || at[12] > 223;
	int broken = fragment ? WEIR_R_IP_FRAGMENT : header > 20 || is_odd ? WEIR_R_IP_HEADER : WEIR_R_NONE;
	if (memcmp(at + 16, "\x0a\0\0\x01", 4) != 0)
		return FOREIGN;
	return udp_judge(at + header, left - header, (int64_t)be16(at + 2) - header, broken);
}

static int ipv6_judge(const uint8_t *at, int64_t left)
{
	if (left < 40 || at[0] >> 4 != 6)
		return FOREIGN;
	static const uint8_t NOBODY[16];
	uint8_t next = at[6];
	bool is_odd = at[8] == 0xff || (memcmp(at + 8, NOBODY, 15) == 0 && at[23] < 2);
	int broken = WEIR_R_NONE;
	if (memcmp(at + 24, "\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01", 16) != 0)
		return FOREIGN;
	int64_t length = be16(at + 4);
	at += 40;
	left -= 40;
	for (int i = 0; next != 17; i++) {
		if (i == 4 || left < 8)
			return FOREIGN;
		int64_t size = 8;
		if (next == 44) {
			if (be16(at + 2) & 0xfff8)
				return FOREIGN;
			broken = WEIR_R_IP_FRAGMENT;
		} else if (next == 0 || next == 43 || next == 60) {
			size += at[1] * 8;
			broken = broken ? broken : WEIR_R_IP_HEADER;
		} else {
			return FOREIGN;
		}
		next = at[0];
		at += size;
		left -= size;
	}
	return udp_judge(at, left, length, !broken && is_odd ? WEIR_R_IP_HEADER : broken);
}

static int judge(const struct packet *packet)
{
	const uint8_t *at = packet->bytes;
	int64_t left = packet->size;
	if (left < 14)
		return FOREIGN;
	uint32_t type = be16(at + 12);
	at += 14;
	left -= 14;
	if (type == ETH_P_8021Q || type == ETH_P_8021AD) {
		if (left < 4)
			return FOREIGN;
		type = be16(at + 2);
		at += 4;
		left -= 4;
	}
	int reason = type == ETH_P_IP ? ipv4_judge(at, left) : type == ETH_P_IPV6 ? ipv6_judge(at, left) : FOREIGN;
	if (reason == FOREIGN || memcmp(packet->bytes, "\x02\0\0\0\0\x01", 6) != 0)
		return FOREIGN;
	return packet->bytes[6] & 1 ? WEIR_R_IP_HEADER : reason;
}

// ---- The packets ----

// A frame that is right for its kind more often than not.
static uint32_t frame_make(uint8_t *bytes)
{
	static const uint16_t SIZES[] = { 0, 8, 16, 24, 80, 112, 136, 56, 112, 168, 64, 48, 96, 1424, 7 };
	struct weir_frame_header *frame = (void *)bytes;
	uint16_t body = SIZES[dice(sizeof(SIZES) / sizeof(SIZES[0]))];
	memset(bytes, 0, sizeof(*frame) + body);
	frame->kind = dice(3) ? (uint8_t)(1 + dice(WEIR_KIND_LIMIT - 1)) : WEIR_KIND_PUBLISH;
	frame->count = (uint16_t)(dice(2) ? 0 : 1 + dice(4));
	frame->topic = dice(4) ? dice(WEIR_GUARD_TOPICS * 2) : dice(UINT32_MAX);
	if (frame->kind == WEIR_KIND_PUBLISH && body >= sizeof(struct weir_fragment) && dice(3) == 0) {
		struct weir_fragment fragment = { .total = 16 + dice(2000), .offset = dice(100) * 8 };
		frame->flags = WEIR_FLAG_FRAGMENT;
		frame->count = 1;
		memcpy(frame + 1, &fragment, sizeof(fragment));
	}
	frame->magic = WEIR_MAGIC;
	frame->version = WEIR_VERSION;
	frame->body_length = body;
	return dice(20) ? (uint32_t)sizeof(*frame) + body : dice(sizeof(*frame));
}

static void extensions_make(struct packet *packet, const uint8_t *kinds, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		uint8_t next = i + 1 < count ? kinds[i + 1] : IPPROTO_UDP;
		uint8_t words = kinds[i] == IPPROTO_FRAGMENT ? 0 : (uint8_t)dice(3);
		put(packet, &next, 1);
		put(packet, &words, 1);
		put(packet, dice(4) ? "\0\1" : "\1\1", 2);
		put(packet, NULL, 4 + words * 8u);
	}
}

static void packet_make(struct packet *packet)
{
	static const uint8_t EXTENSIONS[] = { IPPROTO_HOPOPTS, IPPROTO_ROUTING, IPPROTO_DSTOPTS, IPPROTO_FRAGMENT };
	uint8_t frame[PACKET_SIZE_MAX] __attribute__((aligned(8)));
	uint32_t size = frame_make(frame);
	bool is_v6 = dice(3) == 0;
	uint16_t type = is_v6 ? ETH_P_IPV6 : ETH_P_IP;
	packet->size = 0;
	if (dice(4) == 0) {
		put_ethernet(packet, dice(2) ? ETH_P_8021Q : ETH_P_8021AD);
		put_vlan(packet, type);
	} else {
		put_ethernet(packet, type);
	}
	if (is_v6) {
		uint8_t kinds[6];
		uint32_t count = dice(3) ? 0 : dice(7);
		for (uint32_t i = 0; i < count; i++)
			kinds[i] = EXTENSIONS[dice(4)];
		put_ipv6(packet, count ? kinds[0] : IPPROTO_UDP, 8 + size);
		extensions_make(packet, kinds, count);
	} else {
		put_ipv4(packet, IPPROTO_UDP, dice(6) ? 0 : (uint16_t)(dice(4) << 13 | dice(2)), dice(6) ? 0 : dice(11),
			 8 + size);
	}
	put_udp(packet, (uint16_t)(PORT + dice(WORKERS)), size);
	put(packet, frame, size);
}

// Flips, overwrites, cuts or extends; often not at all.
static void packet_mutate(struct packet *packet)
{
	static const uint8_t EDGES[] = { 0, 1, 7, 8, 0x7f, 0x80, 0xff };
	uint32_t times = dice(3) ? dice(4) : 0;
	for (uint32_t i = 0; i < times; i++) {
		// Headers matter most: the first 120 bytes get most of it.
		uint32_t at = dice(dice(4) ? (packet->size < 120 ? packet->size : 120) : packet->size);
		switch (dice(6)) {
		case 0:
			packet->bytes[at] ^= (uint8_t)(1u << dice(8));
			break;
		case 1:
			packet->bytes[at] = (uint8_t)dice(256);
			break;
		case 2:
			packet->bytes[at] = EDGES[dice(sizeof(EDGES))];
			break;
		case 3:
			packet->bytes[at]++;
			break;
		case 4:
			if (packet->size > 15)
				packet->size = 14 + dice(packet->size - 14);
			break;
		default:
			put(packet, NULL, 1 + dice(30));
			break;
		}
	}
}

static uint32_t verdict_for(int reason)
{
	if (reason == FOREIGN)
		return XDP_PASS;
	return reason == WEIR_R_NONE ? XDP_REDIRECT : XDP_DROP;
}

static uint64_t counter_of(const struct weir_guard_totals *totals, int reason, uint8_t kind)
{
	if (reason == FOREIGN)
		return totals->passed;
	return reason ? totals->dropped[reason] : totals->kinds[kind].frames;
}

static uint64_t counters_sum(const struct weir_guard_totals *totals)
{
	uint64_t sum = totals->passed;
	for (uint32_t i = 0; i < WEIR_REASON_ROOM; i++)
		sum += totals->dropped[i];
	for (uint32_t i = 0; i < WEIR_GUARD_KINDS; i++)
		sum += totals->kinds[i].frames;
	return sum;
}

// What moved, for the report of a disagreement.
static void packet_print(const struct packet *packet, uint64_t number, int reason)
{
	fprintf(stderr, "packet %llu, oracle says %s:", (unsigned long long)number,
		reason == FOREIGN ? "foreign" : weir_reason_name((unsigned)reason));
	for (uint32_t i = 0; i < packet->size && i < 160; i++)
		fprintf(stderr, "%s%02x", i % 32 ? " " : "\n  ", packet->bytes[i]);
	fprintf(stderr, "\n");
}

static uint64_t packets_wanted(void)
{
	const char *budget = getenv("WEIR_BUDGET_S");
	uint64_t scaled = budget ? strtoull(budget, NULL, 10) * PACKETS_PER_S : 0;
	return scaled > PACKETS_MIN ? scaled : PACKETS_MIN;
}

Test(guard_fuzz, the_program_and_the_oracle_agree_on_every_packet)
{
	static struct packet packet;
	struct weir_guard_totals before;
	struct weir_guard_totals after;
	uint64_t seen[WEIR_REASON_ROOM + 1] = {};
	state = 0x9e3779b97f4a7c15ull;
	cr_assert(weir_guard_read(guard, &before) == 0);
	for (uint64_t i = 0; i < packets_wanted(); i++) {
		packet_make(&packet);
		packet_mutate(&packet);
		int reason = judge(&packet);
		uint32_t wanted = verdict_for(reason);
		uint32_t got = packet_verdict(weir_guard_trial(guard), INTERFACE, 0, &packet);
		cr_assert(weir_guard_read(guard, &after) == 0);
		uint64_t grown = 0;
		for (uint8_t kind = 0; kind < (reason ? 1 : WEIR_GUARD_KINDS); kind++)
			grown += counter_of(&after, reason, kind) - counter_of(&before, reason, kind);
		bool is_agreed = got == wanted && grown == 1 && counters_sum(&after) == counters_sum(&before) + 1;
		if (!is_agreed)
			packet_print(&packet, i, reason);
		cr_assert(is_agreed, "verdict %u, not %u", got, wanted);
		seen[reason == FOREIGN ? (int)WEIR_REASON_ROOM : reason]++;
		before = after;
	}
	// A fuzz that never gets through, or never fails somewhere, tests little.
	static const uint8_t REASONS[] = { WEIR_R_NONE,	  WEIR_R_SHORT, WEIR_R_MAGIC, WEIR_R_VERSION,	  WEIR_R_KIND,
					   WEIR_R_LENGTH, WEIR_R_COUNT, WEIR_R_FLAGS, WEIR_R_IP_FRAGMENT, WEIR_R_IP_HEADER };
	for (uint32_t i = 0; i < sizeof(REASONS); i++)
		cr_expect(seen[REASONS[i]] > 100, "only %llu packets of %s", (unsigned long long)seen[REASONS[i]],
			  weir_reason_name(REASONS[i]));
	cr_expect(seen[WEIR_REASON_ROOM] > 1000);
}
