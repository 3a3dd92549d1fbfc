// Asks the attached guard what it would do, and reads what it did: the self-check by BPF_PROG_TEST_RUN, and the sums of
// its per-CPU counters. Control thread.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <string.h>

#include "bpf/internal.h"
#include "guard.skel.h"
#include "wire/codec.h"

#define PACKET_MAX 128u
#define PACKET_PAD 2u // in front, so that the IP header is aligned
static const uint8_t ADDRESS4[] = { 192, 0, 0, 8 }; // RFC 7600: nobody's
static const uint8_t SOURCE6[16] = { 0x01, [15] = 1 }; // RFC 6666: discarded by everybody

// Ethernet and IP in front of `payload` bytes of UDP to the guard's first port. Returns the size of the headers.
static uint32_t headers_write(const struct weir_guard *guard, const struct weir_guard_own *own, uint8_t packet[PACKET_MAX],
			      uint16_t payload)
{
	struct ethhdr *ethernet = (void *)packet;
	struct udphdr *udp;
	uint16_t length = (uint16_t)(sizeof(*udp) + payload);
	memset(packet, 0, PACKET_MAX);
	memcpy(ethernet->h_dest, own->macs[0], sizeof(ethernet->h_dest));
	if (own->address4_count == 0) {
		struct ip6_hdr *ip = (void *)(ethernet + 1);
		ethernet->h_proto = htons(ETH_P_IPV6);
		ip->ip6_vfc = 6 << 4;
		ip->ip6_plen = htons(length);
		ip->ip6_nxt = IPPROTO_UDP;
		memcpy(&ip->ip6_dst, own->addresses6[0], sizeof(ip->ip6_dst));
		memcpy(&ip->ip6_src, SOURCE6, sizeof(ip->ip6_src));
		udp = (void *)(ip + 1);
	} else {
		struct iphdr *ip = (void *)(ethernet + 1);
		ethernet->h_proto = htons(ETH_P_IP);
		ip->version = 4;
		ip->ihl = 5;
		ip->protocol = IPPROTO_UDP;
		ip->tot_len = htons((uint16_t)(sizeof(*ip) + length));
		ip->daddr = own->addresses4[0];
		memcpy(&ip->saddr, ADDRESS4, sizeof(ip->saddr));
		udp = (void *)(ip + 1);
	}
	udp->dest = htons(guard->switches.port_base);
	udp->len = htons(length);
	return (uint32_t)((uint8_t *)(udp + 1) - packet);
}

// Verdict for the packet on the queue, or -errno.
static int verdict_of(const struct weir_guard *guard, uint32_t queue, const uint8_t *packet, uint32_t size)
{
	struct xdp_md context = {
		.data_end = size,
		.ingress_ifindex = (uint32_t)guard->ifindex,
		.rx_queue_index = queue,
	};
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = packet, .data_size_in = size, .ctx_in = &context,
		    .ctx_size_in = sizeof(context), .repeat = 1);
	if (bpf_prog_test_run_opts(weir_guard_trial(guard), &run) != 0)
		return -errno;
	return (int)run.retval;
}

static int attached_check(const struct weir_guard *guard, char error[WEIR_GUARD_ERROR_SIZE])
{
	uint32_t id = 0;
	enum weir_guard_mode mode;
	int code = weir_interface_program(guard, &id, &mode, error);
	if (code || id == guard->info.program_id)
		return code;
	return weir_guard_fail(
		error, -EIO,
		"%s: XDP program %u is attached instead of weir's (%u): somebody removed it. Find out who, and restart weir",
		guard->interface, id, guard->info.program_id);
}

bool weir_guard_is_attached(const struct weir_guard *guard)
{
	return attached_check(guard, NULL) == 0;
}

// Somebody whom the check's packet can be for: an interface that has no address yet borrows one that no packet has.
static struct weir_guard_own own_for_check(const struct weir_guard *guard)
{
	struct weir_guard_own own = guard->own;
	if (own.address4_count + own.address6_count == 0) {
		memcpy(own.addresses4, ADDRESS4, sizeof(ADDRESS4));
		own.address4_count = 1;
	}
	own.mac_count = own.mac_count ? own.mac_count : 1;
	return own;
}

static int queue_check(struct weir_guard *guard, uint32_t queue, const struct weir_guard_own *own,
		       char error[WEIR_GUARD_ERROR_SIZE])
{
	uint8_t room[PACKET_PAD + PACKET_MAX] __attribute__((aligned(8)));
	uint8_t *packet = room + PACKET_PAD;
	struct weir_frame_header frame = { .kind = WEIR_KIND_PING };
	weir_frame_seal(&frame, 0);
	uint32_t headers = headers_write(guard, own, packet, sizeof(frame));
	memcpy(packet + headers, &frame, sizeof(frame));
	int verdict = verdict_of(guard, queue, packet, headers + sizeof(frame));
	if (verdict < 0)
		return weir_guard_fail(error, verdict,
				       "%s: cannot try receive queue %u: %s. Does the interface have that queue?",
				       guard->interface, queue, strerror(-verdict));
	if (verdict == XDP_DROP) {
		guard->checked_socketless++;
		return weir_guard_fail(
			error, -ENOTCONN,
			"%s: receive queue %u has no AF_XDP socket in the XDP program's map: the port did not come up on "
			"it, or a library of another version than libxdp 1.3 bound it elsewhere. Use port kind kernel",
			guard->interface, queue);
	}
	guard->checked++;
	guard->checked_bytes += sizeof(frame);
	// The same bytes without a protocol: nobody's.
	memset(packet + offsetof(struct ethhdr, h_proto), 0, sizeof(uint16_t));
	int foreign = verdict_of(guard, queue, packet, headers + sizeof(frame));
	guard->checked_passed++;
	if (verdict == XDP_REDIRECT && foreign == XDP_PASS)
		return 0;
	return weir_guard_fail(error, -EIO,
			       "%s: queue %u: the XDP program answered %d to a frame of weir's and %d to another's",
			       guard->interface, queue, verdict, foreign);
}

int weir_guard_check(struct weir_guard *guard, uint32_t queue, char error[WEIR_GUARD_ERROR_SIZE])
{
	int code = attached_check(guard, error);
	if (code)
		return code;
	const struct weir_guard_own before = guard->own;
	const struct weir_guard_own own = own_for_check(guard);
	weir_guard_set_own(guard, &own);
	code = queue_check(guard, queue, &own, error);
	weir_guard_set_own(guard, &before);
	return code;
}

static void count_sum(struct weir_guard_count *sum, const struct weir_guard_count *row)
{
	sum->frames += row->frames;
	sum->events += row->events;
	sum->bytes += row->bytes;
}

int weir_guard_read(struct weir_guard *guard, struct weir_guard_totals *totals)
{
	uint32_t zero = 0;
	struct weir_guard_totals sum = {};
	const struct weir_guard_totals *rows = guard->rows;
	if (bpf_map_lookup_elem(bpf_map__fd(guard->bpf->maps.totals), &zero, guard->rows) != 0)
		return -errno;
	for (int cpu = 0; cpu < guard->cpus; cpu++) {
		for (uint32_t i = 0; i < WEIR_GUARD_KINDS; i++)
			count_sum(&sum.kinds[i], &rows[cpu].kinds[i]);
		for (uint32_t i = 0; i < WEIR_REASON_ROOM; i++)
			sum.dropped[i] += rows[cpu].dropped[i];
		sum.passed += rows[cpu].passed;
	}
	sum.kinds[WEIR_KIND_PING].frames -= guard->checked;
	sum.kinds[WEIR_KIND_PING].bytes -= guard->checked_bytes;
	sum.dropped[WEIR_R_NO_SOCKET] -= guard->checked_socketless;
	sum.passed -= guard->checked_passed;
	*totals = sum;
	return 0;
}

int weir_guard_read_topic(struct weir_guard *guard, uint32_t topic, struct weir_guard_count *count)
{
	struct weir_guard_count sum = {};
	const struct weir_guard_count *rows = guard->rows;
	if (topic >= guard->switches.topic_rows)
		return -ERANGE;
	if (bpf_map_lookup_elem(bpf_map__fd(guard->bpf->maps.topics), &topic, guard->rows) != 0)
		return -errno;
	for (int cpu = 0; cpu < guard->cpus; cpu++)
		count_sum(&sum, &rows[cpu]);
	*count = sum;
	return 0;
}
