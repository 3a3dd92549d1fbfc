// Parses and builds the headers around a frame. The parser refuses what it does not know exactly (options, extension
// headers, fragments) by name, when it is addressed to a weir port or could be.
#include "dataplane/io/packet.h"

#include <arpa/inet.h>
#include <string.h>

#include "bpf/address.h"

#define ETHERNET_SIZE 14u
#define VLAN_SIZE 4u
#define IPV4_SIZE 20u
#define IPV6_SIZE 40u
#define UDP_SIZE 8u
#define TYPE_IPV4 0x0800u
#define TYPE_IPV6 0x86ddu
#define TYPE_VLAN 0x8100u
#define TYPE_QINQ 0x88a8u
#define PROTOCOL_UDP 17u
#define NEXT_FRAGMENT 44u
#define HOPS 64u

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static void put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

uint64_t weir_checksum_add(uint64_t sum, const void *bytes, uint32_t size)
{
	const uint8_t *at = bytes;
	uint32_t word;

	// 32-bit words in the host's order: the folded sum comes out in the host's order too (RFC 1071, section 2).
	for (; size >= 4; size -= 4, at += 4) {
		memcpy(&word, at, 4);
		sum += word;
	}
	word = 0;
	memcpy(&word, at, size);
	return sum + word;
}

uint16_t weir_checksum_fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static inline uint32_t word_of(const uint8_t *at)
{
	uint32_t word;

	memcpy(&word, at, sizeof(word));
	return word;
}

static struct weir_packet foreign(void)
{
	return (struct weir_packet){ .verdict = WEIR_PACKET_FOREIGN };
}

static struct weir_packet drop(enum weir_reason reason)
{
	return (struct weir_packet){ .verdict = WEIR_PACKET_DROP, .reason = reason };
}

// `left` bytes are there from the UDP header on, by the IP header's count.
static struct weir_packet parse_udp(const uint8_t *udp, uint32_t left, const struct weir_packet_own *own)
{
	uint16_t port, length;

	if (left < UDP_SIZE)
		return drop(WEIR_R_IP_HEADER);
	port = get16(udp + 2);
	if (port < own->udp_first || port - own->udp_first >= own->udp_count)
		return foreign();
	length = get16(udp + 4);
	if (length < UDP_SIZE || length > left)
		return drop(WEIR_R_IP_HEADER);
	return (struct weir_packet){ .verdict = WEIR_PACKET_FRAME, .size = length - UDP_SIZE };
}

static struct weir_packet parse_ipv4(const uint8_t *ip, uint32_t left, const struct weir_packet_own *own)
{
	struct weir_packet packet;
	uint64_t sum = 0;
	uint16_t total;

	if (left < IPV4_SIZE)
		return foreign();
	if (ip[9] != PROTOCOL_UDP || (own->has_address4 && memcmp(ip + 16, own->address4, 4) != 0))
		return foreign();
	if (!own->has_address4 && own->has_address6)
		return foreign();
	total = get16(ip + 2);
	if (get16(ip + 6) & 0x3fff) // more fragments, or an offset
		return drop(WEIR_R_IP_FRAGMENT);
	for (uint32_t at = 0; at < IPV4_SIZE; at += 4)
		sum += word_of(ip + at);
	if (ip[0] != 0x45 || total < IPV4_SIZE || total > left || weir_checksum_fold(sum) != 0)
		return drop(WEIR_R_IP_HEADER);
	packet = parse_udp(ip + IPV4_SIZE, total - IPV4_SIZE, own);
	if (packet.verdict == WEIR_PACKET_FRAME && weir_source4_is_odd(ip + 12))
		return drop(WEIR_R_IP_HEADER);
	packet.offset = IPV4_SIZE + UDP_SIZE;
	return packet;
}

static struct weir_packet parse_ipv6(const uint8_t *ip, uint32_t left, const struct weir_packet_own *own)
{
	struct weir_packet packet;
	uint16_t length;

	if (left < IPV6_SIZE || (!own->has_address6 && own->has_address4))
		return foreign();
	if (own->has_address6 && memcmp(ip + 24, own->address6, 16) != 0 && memcmp(ip + 24, own->prefix6_local, 16) != 0)
		return foreign();
	length = get16(ip + 4);
	if (ip[6] == NEXT_FRAGMENT)
		return drop(WEIR_R_IP_FRAGMENT);
	if (ip[6] != PROTOCOL_UDP)
		return foreign();
	if (ip[0] >> 4 != 6 || length > left - IPV6_SIZE)
		return drop(WEIR_R_IP_HEADER);
	packet = parse_udp(ip + IPV6_SIZE, length, own);
	if (packet.verdict == WEIR_PACKET_FRAME && weir_source6_is_odd(ip + 8))
		return drop(WEIR_R_IP_HEADER);
	packet.offset = IPV6_SIZE + UDP_SIZE;
	return packet;
}

// Of a frame whose IP header is at `ip`.
static void path_fill(struct weir_path *path, const uint8_t *data, const uint8_t *ip, uint16_t vlan)
{
	bool is_ipv4 = ip[0] >> 4 == 4;
	const uint8_t *udp = ip + (is_ipv4 ? IPV4_SIZE : IPV6_SIZE);

	*path = (struct weir_path){ .family = is_ipv4 ? AF_INET : AF_INET6, .port = path->port, .vlan = vlan };
	if (is_ipv4) {
		memcpy(path->remote_ip, ip + 12, 4);
		memcpy(path->local_ip, ip + 16, 4);
	} else {
		memcpy(path->remote_ip, ip + 8, 16);
		memcpy(path->local_ip, ip + 24, 16);
	}
	memcpy(&path->remote_port, udp, 2);
	memcpy(&path->local_port, udp + 2, 2);
	memcpy(path->remote_mac, data + 6, 6);
	memcpy(path->local_mac, data, 6);
}

struct weir_packet weir_packet_parse(const uint8_t *data, uint32_t size, const struct weir_packet_own *own,
				     struct weir_path *path)
{
	uint32_t head = ETHERNET_SIZE;
	struct weir_packet packet;
	uint16_t vlan = 0, tag = 0;
	uint16_t type;

	if (size < ETHERNET_SIZE || (own->has_mac && memcmp(data, own->mac, 6) != 0))
		return foreign();
	type = get16(data + 12);
	if (type == TYPE_VLAN || type == TYPE_QINQ) {
		if (size < ETHERNET_SIZE + VLAN_SIZE)
			return foreign();
		tag = type;
		vlan = get16(data + 14);
		type = get16(data + 16);
		head += VLAN_SIZE;
	}
	if (type == TYPE_IPV4)
		packet = parse_ipv4(data + head, size - head, own);
	else if (type == TYPE_IPV6)
		packet = parse_ipv6(data + head, size - head, own);
	else
		return foreign();
	packet.offset += head;
	if (packet.verdict != WEIR_PACKET_FRAME)
		return packet;
	if (weir_mac_is_group(data + 6))
		return drop(WEIR_R_IP_HEADER);
	path_fill(path, data, data + head, vlan);
	path->vlan_type = vlan ? tag : 0;
	return packet;
}

uint32_t weir_packet_head_size(const struct weir_path *path)
{
	return ETHERNET_SIZE + (path->vlan ? VLAN_SIZE : 0) + (path->family == AF_INET ? IPV4_SIZE : IPV6_SIZE) + UDP_SIZE;
}

static uint8_t *write_ethernet(uint8_t *at, const struct weir_path *path)
{
	memcpy(at, path->remote_mac, 6);
	memcpy(at + 6, path->local_mac, 6);
	at += 12;
	if (path->vlan) {
		put16(at, path->vlan_type);
		put16(at + 2, path->vlan);
		at += VLAN_SIZE;
	}
	put16(at, path->family == AF_INET ? TYPE_IPV4 : TYPE_IPV6);
	return at + 2;
}

// Summed in registers, then stored: to sum up what was just stored in smaller pieces waits for all stores before it.
static uint8_t *write_ipv4(uint8_t *ip, const struct weir_path *path, uint32_t length)
{
	uint32_t size = htonl(0x45u << 24 | (IPV4_SIZE + length));
	uint32_t fragment = htonl(0x4000u); // do not
	uint32_t protocol = htonl(HOPS << 24 | PROTOCOL_UDP << 16);
	uint32_t from = word_of(path->local_ip);
	uint32_t to = word_of(path->remote_ip);
	uint16_t checksum = weir_checksum_fold((uint64_t)size + fragment + protocol + from + to);

	memcpy(ip, &size, 4);
	memcpy(ip + 4, &fragment, 4);
	memcpy(ip + 8, &protocol, 4);
	memcpy(ip + 10, &checksum, 2);
	memcpy(ip + 12, &from, 4);
	memcpy(ip + 16, &to, 4);
	return ip + IPV4_SIZE;
}

static uint8_t *write_ipv6(uint8_t *ip, const struct weir_path *path, uint32_t length)
{
	memset(ip, 0, IPV6_SIZE);
	ip[0] = 0x60;
	put16(ip + 4, length);
	ip[6] = PROTOCOL_UDP;
	ip[7] = HOPS;
	memcpy(ip + 8, path->local_ip, 16);
	memcpy(ip + 24, path->remote_ip, 16);
	return ip + IPV6_SIZE;
}

void weir_packet_head_write(uint8_t *head, const struct weir_path *path, uint32_t size)
{
	uint32_t length = UDP_SIZE + size;
	uint8_t *ip = write_ethernet(head, path);
	uint8_t *udp = path->family == AF_INET ? write_ipv4(ip, path, length) : write_ipv6(ip, path, length);
	uint16_t checksum;

	memcpy(udp, &path->local_port, 2);
	memcpy(udp + 2, &path->remote_port, 2);
	put16(udp + 4, length);
	put16(udp + 6, 0);
	if (path->family == AF_INET)
		return;
	uint8_t rest[4] = { 0, PROTOCOL_UDP, (uint8_t)(length >> 8), (uint8_t)length };
	uint64_t sum = weir_checksum_add(0, ip + 8, 32);
	sum = weir_checksum_add(sum, rest, sizeof(rest));
	checksum = weir_checksum_fold(weir_checksum_add(sum, udp, length));
	if (checksum == 0)
		checksum = 0xffff; // 0 means that there is none, which IPv6 does not allow
	memcpy(udp + 6, &checksum, 2);
}
