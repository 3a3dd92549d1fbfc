// Answers ARP requests, neighbour solicitations and echo requests for a port's own addresses. Anything malformed, with
// options, fragmented or for somebody else gets silence.
#include "dataplane/io/responder.h"

#include <string.h>

#define ARP_SIZE 28u
#define IPV4_SIZE 20u
#define IPV6_SIZE 40u
#define ICMP_SIZE 8u
#define SOLICITATION_SIZE 24u  // without options
#define ADVERTISEMENT_SIZE 32u // with the target's MAC
#define PROTOCOL_ICMP 1u
#define PROTOCOL_ICMPV6 58u

static uint32_t get16(const uint8_t *at)
{
	return (uint32_t)at[0] << 8 | at[1];
}

static void swap(uint8_t *a, uint8_t *b, uint32_t size)
{
	uint8_t other[16];

	memcpy(other, a, size);
	memcpy(a, b, size);
	memcpy(b, other, size);
}

static void turn_ethernet(uint8_t *data, const uint8_t mac[6])
{
	memcpy(data, data + 6, 6);
	memcpy(data + 6, mac, 6);
}

static uint32_t answer_arp(uint8_t *arp, uint32_t left, const struct weir_packet_own *own, const uint8_t mac[6])
{
	static const uint8_t request[8] = { 0, 1, 8, 0, 6, 4, 0, 1 }; // Ethernet, IPv4, sizes, request

	if (left < ARP_SIZE || !own->has_address4 || memcmp(arp, request, 8) != 0 || memcmp(arp + 24, own->address4, 4) != 0)
		return 0;
	arp[7] = 2;
	memcpy(arp + 18, arp + 8, 10); // the asker becomes the target
	memcpy(arp + 8, mac, 6);
	memcpy(arp + 14, own->address4, 4);
	return ARP_SIZE;
}

static uint32_t answer_ping4(uint8_t *ip, uint32_t left, const struct weir_packet_own *own)
{
	uint8_t *icmp = ip + IPV4_SIZE;
	uint32_t total;
	uint16_t checksum;

	if (left < IPV4_SIZE + ICMP_SIZE || !own->has_address4 || ip[0] != 0x45 || ip[9] != PROTOCOL_ICMP ||
	    (get16(ip + 6) & 0x3fff) || memcmp(ip + 16, own->address4, 4) != 0)
		return 0;
	total = get16(ip + 2);
	if (total < IPV4_SIZE + ICMP_SIZE || total > left || icmp[0] != 8 || icmp[1] != 0 ||
	    weir_checksum_fold(weir_checksum_add(0, ip, IPV4_SIZE)) != 0 ||
	    weir_checksum_fold(weir_checksum_add(0, icmp, total - IPV4_SIZE)) != 0)
		return 0;
	swap(ip + 12, ip + 16, 4);
	ip[8] = 64;
	memset(ip + 10, 0, 2);
	checksum = weir_checksum_fold(weir_checksum_add(0, ip, IPV4_SIZE));
	memcpy(ip + 10, &checksum, 2);
	icmp[0] = 0;
	memset(icmp + 2, 0, 2);
	checksum = weir_checksum_fold(weir_checksum_add(0, icmp, total - IPV4_SIZE));
	memcpy(icmp + 2, &checksum, 2);
	return total;
}

static uint16_t icmp6_checksum(const uint8_t *ip, uint32_t length)
{
	const uint8_t rest[4] = { 0, PROTOCOL_ICMPV6, (uint8_t)(length >> 8), (uint8_t)length };
	uint64_t sum = weir_checksum_add(0, ip + 8, 32);

	sum = weir_checksum_add(sum, rest, sizeof(rest));
	return weir_checksum_fold(weir_checksum_add(sum, ip + IPV6_SIZE, length));
}

static uint32_t finish6(uint8_t *ip, uint32_t length)
{
	uint16_t checksum;

	ip[4] = (uint8_t)(length >> 8);
	ip[5] = (uint8_t)length;
	memset(ip + IPV6_SIZE + 2, 0, 2);
	checksum = icmp6_checksum(ip, length);
	memcpy(ip + IPV6_SIZE + 2, &checksum, 2);
	return IPV6_SIZE + length;
}

static const uint8_t *own_address6(const struct weir_packet_own *own, const uint8_t *address)
{
	if (!own->has_address6)
		return NULL;
	if (memcmp(address, own->address6, 16) == 0)
		return own->address6;
	return memcmp(address, own->prefix6_local, 16) == 0 ? own->prefix6_local : NULL;
}

// Neighbour solicitation to neighbour advertisement (RFC 4861, sections 4.3 and 4.4).
static uint32_t answer_neighbour(uint8_t *ip, uint32_t length, uint32_t room, const struct weir_packet_own *own,
				 const uint8_t mac[6])
{
	static const uint8_t nobody[16] = { 0 };
	uint8_t *icmp = ip + IPV6_SIZE;
	const uint8_t *target = length >= SOLICITATION_SIZE ? own_address6(own, icmp + 8) : NULL;

	// From nobody: somebody asks whether the address is free; the answer goes to all nodes.
	if (!target || ip[7] != 255 || icmp[1] != 0 || room < IPV6_SIZE + ADVERTISEMENT_SIZE)
		return 0;
	if (memcmp(ip + 8, nobody, 16) == 0) {
		memset(ip + 24, 0, 16);
		ip[24] = 0xff;
		ip[25] = 2;
		ip[39] = 1;
		icmp[4] = 0x20; // override
	} else {
		memcpy(ip + 24, ip + 8, 16);
		icmp[4] = 0x60; // solicited, override
	}
	memcpy(ip + 8, target, 16);
	icmp[0] = 136;
	memset(icmp + 5, 0, 3);
	icmp[24] = 2; // option: target's link-layer address
	icmp[25] = 1;
	memcpy(icmp + 26, mac, 6);
	return finish6(ip, ADVERTISEMENT_SIZE);
}

static uint32_t answer_icmp6(uint8_t *ip, uint32_t left, uint32_t room, const struct weir_packet_own *own, const uint8_t mac[6])
{
	uint8_t *icmp = ip + IPV6_SIZE;
	uint32_t length;

	if (left < IPV6_SIZE + ICMP_SIZE || ip[0] >> 4 != 6 || ip[6] != PROTOCOL_ICMPV6)
		return 0;
	length = get16(ip + 4);
	if (length < ICMP_SIZE || length > left - IPV6_SIZE || icmp6_checksum(ip, length) != 0)
		return 0;
	if (icmp[0] == 135)
		return answer_neighbour(ip, length, room, own, mac);
	if (icmp[0] != 128 || icmp[1] != 0 || !own_address6(own, ip + 24))
		return 0;
	swap(ip + 8, ip + 24, 16);
	ip[7] = 64;
	icmp[0] = 129;
	return finish6(ip, length);
}

uint32_t weir_responder_answer(uint8_t *data, uint32_t size, uint32_t room, const struct weir_packet_own *own,
			       const uint8_t mac[6])
{
	uint32_t head = 14;
	uint32_t type, answer = 0;

	if (size < head + 4 || (data[6] & 1)) // no answer to a multicast source
		return 0;
	if (!(data[0] & 1) && memcmp(data, mac, 6) != 0) // to somebody else
		return 0;
	type = get16(data + 12);
	if (type == 0x8100 || type == 0x88a8) {
		head += 4;
		type = get16(data + 16);
	}
	if (size <= head)
		return 0;
	if (type == 0x0806)
		answer = answer_arp(data + head, size - head, own, mac);
	else if (type == 0x0800)
		answer = answer_ping4(data + head, size - head, own);
	else if (type == 0x86dd)
		answer = answer_icmp6(data + head, size - head, room - head, own, mac);
	if (answer == 0)
		return 0;
	turn_ethernet(data, mac);
	return head + answer;
}
