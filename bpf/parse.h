// The one parser of the kernel programs: from an Ethernet frame to a datagram for weir. Says of every packet whether it
// is somebody else's, weir's, or weir's and broken (with its reason). Runs in the kernel, in softirq context; the verifier
// proves each access.
//
// Weir's is UDP to one of its ports, MACs and addresses, behind Ethernet and at most one VLAN tag: what an interface sees for
// others, as a router or bridge does, is theirs. Later IP fragments carry no port and cannot be told apart: they are passed,
// and their first fragment, which is dropped by name, keeps the kernel from ever completing them. IP and UDP checksums are not
// looked at: on a veth they may be unfinished, and weir's CRC covers what weir reads.
#ifndef WEIR_BPF_PARSE_H
#define WEIR_BPF_PARSE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/abi.h"
#include "bpf/address.h"

#define WEIR_PARSE_FOREIGN (-1)    // somebody else's packet
#define WEIR_PARSE_EXTENSIONS 4    // IPv6 extension headers looked through in search of weir's port; beyond: foreign
#define IP4_FRAGMENT 0x3fffu       // more fragments, or an offset
#define IP4_FRAGMENT_OFFSET 0x1fffu
#define IP6_FRAGMENT_OFFSET 0xfff8u

struct weir_vlan_tag {
	uint16_t tci;
	uint16_t type;
};

// Extension headers begin alike; that of fragments has its offset in `rest` and always 8 bytes.
struct weir_ip6_extension {
	uint8_t next;
	uint8_t words; // of 8 bytes, beyond the first
	uint16_t rest;
	uint32_t id;
};

struct weir_datagram {
	const struct weir_frame_header *frame; // at least its 48 bytes can be read
	uint32_t size;                         // UDP payload, all of it within the packet
	bool is_tagged;                        // behind a VLAN tag
};

// What is left from `at` on: the verifier accepts the difference of packet pointers as a plain number.
static __always_inline uint32_t weir_left(const void *at, const void *end)
{
	return (uint32_t)((uint64_t)end - (uint64_t)at);
}

static __always_inline bool weir_port_is_ours(const struct udphdr *udp, const volatile struct weir_guard_switches *switches)
{
	uint32_t port = bpf_ntohs(udp->dest);
	return port >= switches->port_base && port < (uint32_t)switches->port_base + switches->workers;
}

static __always_inline bool weir_mac_is_own(const struct ethhdr *ethernet, const struct weir_guard_own *own)
{
	const uint16_t *to = (const void *)ethernet->h_dest;
	for (uint32_t i = 0; i < WEIR_GUARD_MACS && i < own->mac_count; i++) {
		if (to[0] == own->macs[i][0] && to[1] == own->macs[i][1] && to[2] == own->macs[i][2])
			return true;
	}
	return false;
}

static __always_inline bool weir_ip4_is_own(const struct iphdr *ip, const struct weir_guard_own *own)
{
	for (uint32_t i = 0; i < WEIR_GUARD_ADDRESSES && i < own->address4_count; i++) {
		if (ip->daddr == own->addresses4[i])
			return true;
	}
	return false;
}

static __always_inline bool weir_ip6_is_own(const struct ipv6hdr *ip, const struct weir_guard_own *own)
{
	const uint32_t *to = ip->daddr.in6_u.u6_addr32;
	for (uint32_t i = 0; i < WEIR_GUARD_ADDRESSES && i < own->address6_count; i++) {
		const uint32_t *address = own->addresses6[i];
		if (to[3] == address[3] && to[2] == address[2] && to[1] == address[1] && to[0] == address[0])
			return true;
	}
	return false;
}

// `length` is what IP says about the size of the datagram, UDP header included.
static __always_inline int weir_udp_parse(const struct udphdr *udp, const void *end, uint32_t length,
					  struct weir_datagram *datagram)
{
	uint32_t size = bpf_ntohs(udp->len);
	if (size < sizeof(*udp) || size != length || size > weir_left(udp, end))
		return WEIR_R_IP_HEADER;
	datagram->size = size - sizeof(*udp);
	datagram->frame = (const void *)(udp + 1);
	if (datagram->size < sizeof(*datagram->frame) || (const void *)(datagram->frame + 1) > end)
		return WEIR_R_SHORT;
	return WEIR_R_NONE;
}

static __always_inline int weir_ip4_parse(const struct iphdr *ip, const void *end,
					  const volatile struct weir_guard_switches *switches,
					  const struct weir_guard_own *own, struct weir_datagram *datagram)
{
	if ((const void *)(ip + 1) > end || ip->protocol != IPPROTO_UDP || ip->version != 4 || ip->ihl < 5)
		return WEIR_PARSE_FOREIGN;
	uint32_t fragment = bpf_ntohs(ip->frag_off);
	if (fragment & IP4_FRAGMENT_OFFSET)
		return WEIR_PARSE_FOREIGN;
	const struct udphdr *udp = (const void *)ip + ip->ihl * 4u;
	if ((const void *)(udp + 1) > end || !weir_port_is_ours(udp, switches) || !weir_ip4_is_own(ip, own))
		return WEIR_PARSE_FOREIGN;
	if (fragment & IP4_FRAGMENT)
		return WEIR_R_IP_FRAGMENT;
	if (ip->ihl != 5 || weir_source4_is_odd((const void *)&ip->saddr))
		return WEIR_R_IP_HEADER;
	return weir_udp_parse(udp, end, bpf_ntohs(ip->tot_len) - (uint32_t)sizeof(*ip), datagram);
}

// Behind extension headers a datagram for weir is looked for only to drop it by name.
static __always_inline int weir_ip6_extensions(uint8_t next, const void *at, const void *end,
					       const volatile struct weir_guard_switches *switches)
{
	int reason = WEIR_R_IP_HEADER;
	for (int i = 0; i < WEIR_PARSE_EXTENSIONS; i++) {
		const struct weir_ip6_extension *extension = at;
		if ((const void *)(extension + 1) > end)
			return WEIR_PARSE_FOREIGN;
		uint32_t size = 8;
		if (next == IPPROTO_FRAGMENT) {
			if (bpf_ntohs(extension->rest) & IP6_FRAGMENT_OFFSET)
				return WEIR_PARSE_FOREIGN;
			reason = WEIR_R_IP_FRAGMENT;
		} else if (next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS) {
			size = 8 + extension->words * 8u;
		} else {
			return WEIR_PARSE_FOREIGN;
		}
		next = extension->next;
		at += size;
		if (next == IPPROTO_UDP) {
			const struct udphdr *udp = at;
			if ((const void *)(udp + 1) > end || !weir_port_is_ours(udp, switches))
				return WEIR_PARSE_FOREIGN;
			return reason;
		}
	}
	return WEIR_PARSE_FOREIGN;
}

static __always_inline int weir_ip6_parse(const struct ipv6hdr *ip, const void *end,
					  const volatile struct weir_guard_switches *switches,
					  const struct weir_guard_own *own, struct weir_datagram *datagram)
{
	if ((const void *)(ip + 1) > end || ip->version != 6)
		return WEIR_PARSE_FOREIGN;
	if (!weir_ip6_is_own(ip, own))
		return WEIR_PARSE_FOREIGN;
	if (ip->nexthdr != IPPROTO_UDP)
		return weir_ip6_extensions(ip->nexthdr, ip + 1, end, switches);
	const struct udphdr *udp = (const void *)(ip + 1);
	if ((const void *)(udp + 1) > end || !weir_port_is_ours(udp, switches))
		return WEIR_PARSE_FOREIGN;
	if (weir_source6_is_odd(ip->saddr.in6_u.u6_addr8))
		return WEIR_R_IP_HEADER;
	return weir_udp_parse(udp, end, bpf_ntohs(ip->payload_len), datagram);
}

// WEIR_PARSE_FOREIGN, WEIR_R_NONE with *datagram filled, or the reason to drop what is weir's.
static __always_inline int weir_packet_parse(const void *data, const void *end,
					     const volatile struct weir_guard_switches *switches,
					     const struct weir_guard_own *own, struct weir_datagram *datagram)
{
	const struct ethhdr *ethernet = data;
	if ((const void *)(ethernet + 1) > end)
		return WEIR_PARSE_FOREIGN;
	uint16_t type = ethernet->h_proto;
	const void *at = ethernet + 1;
	if (type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD)) {
		const struct weir_vlan_tag *tag = at;
		if ((const void *)(tag + 1) > end)
			return WEIR_PARSE_FOREIGN;
		type = tag->type;
		at = tag + 1;
		datagram->is_tagged = true;
	}
	int reason = WEIR_PARSE_FOREIGN;
	if (type == bpf_htons(ETH_P_IP))
		reason = weir_ip4_parse(at, end, switches, own, datagram);
	else if (type == bpf_htons(ETH_P_IPV6))
		reason = weir_ip6_parse(at, end, switches, own, datagram);
	if (reason == WEIR_PARSE_FOREIGN || !weir_mac_is_own(ethernet, own))
		return WEIR_PARSE_FOREIGN;
	return weir_mac_is_group(ethernet->h_source) ? WEIR_R_IP_HEADER : reason;
}

#endif
