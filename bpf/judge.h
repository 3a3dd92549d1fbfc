// What the XDP programs of an AF_XDP port do with a packet, and the maps they do it with. Weir's well-formed frames go to the
// AF_XDP socket of their queue, its malformed ones are dropped and counted by reason, everything else is left to the kernel
// untouched. Runs in softirq context on the CPU that took the packet; counters are per CPU.
//
// Names are not free here: libxdp recognises its default program by `xsk_def_prog`, `xsks_map` and the version in section
// xdp_metadata. Being recognised, libxdp (and with it the AF_XDP PMD) only puts its sockets into the map of this program
// instead of attaching one of its own. A reference count, as libxdp's has, is left out: without one it never detaches.
#ifndef WEIR_BPF_JUDGE_H
#define WEIR_BPF_JUDGE_H

#include "bpf/parse.h"
#include "wire/shape.h"

__uint(xsk_prog_version, 1) SEC("xdp_metadata");

const volatile struct weir_guard_switches switches = {};
struct weir_guard_sets sets = {};

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, WEIR_GUARD_QUEUES);
	__type(key, int);
	__type(value, int);
} xsks_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct weir_guard_totals);
} totals SEC(".maps");

// Publish frames by topic id. Ids are dense and small; an id beyond the rows is counted in row 0, which is no topic's.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1); // set by the loader
	__type(key, uint32_t);
	__type(value, struct weir_guard_count);
} topics SEC(".maps");

static __always_inline void count_add(struct weir_guard_count *count, uint32_t events, uint32_t bytes)
{
	count->frames++;
	count->events += events;
	count->bytes += bytes;
}

// Checks a publish that is one fragment of a large event; *events becomes 1 for the fragment that begins it.
static __always_inline int fragment_check(const struct weir_datagram *datagram, const void *end, uint32_t *events)
{
	const struct weir_fragment *fragment = (const void *)(datagram->frame + 1);
	if ((const void *)(fragment + 1) > end)
		return WEIR_R_LENGTH;
	*events = fragment->offset == 0;
	return weir_fragment_shape(fragment, datagram->frame->body_length);
}

static __always_inline int drop(struct weir_guard_totals *total, uint32_t reason)
{
	if (reason < WEIR_REASON_ROOM)
		total->dropped[reason]++;
	return XDP_DROP;
}

static __always_inline void publish_count(uint32_t topic, uint32_t events, uint32_t bytes)
{
	if (topic >= switches.topic_rows)
		topic = 0;
	struct weir_guard_count *count = bpf_map_lookup_elem(&topics, &topic);
	if (count)
		count_add(count, events, bytes);
}

// Puts the tag where senders put it, so that who reads the packet knows which VLAN to answer. false: no room in front.
static __always_inline bool tag_put(struct xdp_md *ctx, uint16_t type, uint16_t tci)
{
	struct ethhdr addresses;
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(struct weir_vlan_tag)) != 0)
		return false;
	uint8_t *data = (void *)(long)ctx->data;
	const void *end = (const void *)(long)ctx->data_end;
	if ((const void *)(data + sizeof(struct weir_vlan_tag) + sizeof(addresses)) > end)
		return false;
	__builtin_memcpy(&addresses, data + sizeof(struct weir_vlan_tag), sizeof(addresses));
	addresses.h_proto = type;
	__builtin_memcpy(data, &addresses, sizeof(addresses));
	uint16_t wire = bpf_htons(tci);
	__builtin_memcpy(data + sizeof(addresses), &wire, sizeof(wire)); // the type behind it stands there
	return true;
}

// tag_read says which tag the driver keeps beside the packet, false: none; NULL where drivers are not asked.
static __always_inline int weir_judge(struct xdp_md *ctx, bool (*tag_read)(struct xdp_md *ctx, uint16_t *type, uint16_t *tci))
{
	const void *data = (const void *)(long)ctx->data;
	const void *end = (const void *)(long)ctx->data_end;
	uint32_t zero = 0;
	uint16_t tag_type = 0;
	uint16_t tag_tci = 0;
	struct weir_guard_totals *total = bpf_map_lookup_elem(&totals, &zero);
	if (!total)
		return XDP_ABORTED;
	struct weir_datagram datagram = {};
	int reason = weir_packet_parse(data, end, &switches, &sets.own[sets.used & 1], &datagram);
	bool has_tag = tag_read && reason != WEIR_PARSE_FOREIGN && tag_read(ctx, &tag_type, &tag_tci);
	if (reason == WEIR_PARSE_FOREIGN || (has_tag && datagram.is_tagged)) {
		total->passed++;
		return XDP_PASS;
	}
	if (reason != WEIR_R_NONE)
		return drop(total, reason);

	const struct weir_frame_header *frame = datagram.frame;
	reason = weir_frame_shape(frame, datagram.size, WEIR_FROM_CLIENT, switches.is_link_trusted);
	uint32_t kind = frame->kind;
	uint32_t topic = frame->topic;
	uint32_t events = kind == WEIR_KIND_PUBLISH ? frame->count : 0;
	if (reason == WEIR_R_NONE && frame->flags & WEIR_FLAG_FRAGMENT)
		reason = fragment_check(&datagram, end, &events);
	if (reason == WEIR_R_NONE && has_tag && !tag_put(ctx, tag_type, tag_tci))
		reason = WEIR_R_NO_BUFFER;
	if (reason != WEIR_R_NONE)
		return drop(total, reason);
	if (bpf_redirect_map(&xsks_map, ctx->rx_queue_index, XDP_DROP) != XDP_REDIRECT)
		return drop(total, WEIR_R_NO_SOCKET);
	if (kind < WEIR_GUARD_KINDS)
		count_add(&total->kinds[kind], events, datagram.size);
	if (kind == WEIR_KIND_PUBLISH)
		publish_count(topic, events, datagram.size);
	return XDP_REDIRECT;
}

#endif
