// Headers in software: what is a weir frame, what is dropped by which name, what is answered, and that our own headers are
// what a kernel would accept. Packets are built by hand, byte by byte, not by the code under test.
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <string.h>

#include "dataplane/io/packet.h"
#include "dataplane/io/responder.h"

static const struct weir_packet_own own = {
	.udp_first = 9347, .udp_count = 2, .has_address4 = true, .address4 = { 10, 0, 0, 1 }
};
static const struct weir_packet_own own6 = { .udp_first = 9347, .udp_count = 2, .has_address6 = true,
					     .address6 = { 0xfd, [15] = 1 } };
static const uint8_t mac[6] = { 2, 0, 0, 0, 0, 1 };

// Ethernet, IPv4, UDP from 10.0.0.2:5000 to 10.0.0.1:9348 with 16 bytes of payload; the IP checksum was computed by hand.
static const uint8_t datagram4[] = {
	2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, // Ethernet
	0x45, 0, 0, 44, 0, 7, 0x40, 0, 64, 17, 0x26, 0xb8, 10, 0, 0, 2, 10, 0, 0, 1, // IPv4
	0x13, 0x88, 0x24, 0x84, 0, 24, 0xab, 0xcd, // UDP, checksum wrong on purpose
	1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
};

struct bytes {
	uint8_t data[256];
	uint32_t size;
};

static struct bytes copy4(void)
{
	struct bytes bytes = { .size = sizeof(datagram4) };

	memcpy(bytes.data, datagram4, sizeof(datagram4));
	return bytes;
}

// RFC 1071 written down once more, plainly.
static uint16_t checksum(const uint8_t *at, uint32_t size, uint32_t sum)
{
	for (uint32_t i = 0; i + 1 < size; i += 2)
		sum += (uint32_t)at[i] << 8 | at[i + 1];
	if (size % 2)
		sum += (uint32_t)at[size - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void mend_ip(struct bytes *bytes)
{
	uint16_t sum;

	memset(bytes->data + 24, 0, 2);
	sum = checksum(bytes->data + 14, 20, 0);
	bytes->data[24] = (uint8_t)(sum >> 8);
	bytes->data[25] = (uint8_t)sum;
}

static struct weir_packet parse(const struct bytes *bytes, struct weir_path *path)
{
	return weir_packet_parse(bytes->data, bytes->size, &own, path);
}

static void expect_drop(const struct bytes *bytes, enum weir_reason reason)
{
	struct weir_path path = { .port = 9 };
	struct weir_packet packet = parse(bytes, &path);

	cr_expect_eq(packet.verdict, WEIR_PACKET_DROP);
	cr_expect_eq(packet.reason, reason, "dropped as %s", weir_reason_name(packet.reason));
	cr_expect_eq(path.family, 0, "the path stays untouched");
}

static void expect_foreign(const struct bytes *bytes)
{
	struct weir_path path = { .port = 9 };

	cr_expect_eq(parse(bytes, &path).verdict, WEIR_PACKET_FOREIGN);
}

Test(packet, a_datagram_to_a_weir_port_is_a_frame_with_its_path)
{
	struct bytes bytes = copy4();
	struct weir_path path = { .port = 9 };
	struct weir_packet packet;

	mend_ip(&bytes);
	packet = parse(&bytes, &path);
	cr_assert_eq(packet.verdict, WEIR_PACKET_FRAME, "%s", weir_reason_name(packet.reason));
	cr_expect_eq(packet.offset, 42);
	cr_expect_eq(packet.size, 16);
	cr_expect_eq(path.port, 9);
	cr_expect_eq(path.family, AF_INET);
	cr_expect_eq(path.remote_port, htons(5000));
	cr_expect_eq(path.local_port, htons(9348));
	cr_expect_eq(memcmp(path.remote_ip, (uint8_t[16]){ 10, 0, 0, 2 }, 16), 0);
	cr_expect_eq(memcmp(path.local_ip, (uint8_t[16]){ 10, 0, 0, 1 }, 16), 0);
	cr_expect_eq(memcmp(path.remote_mac, datagram4 + 6, 6), 0);
	cr_expect_eq(path.vlan, 0);
}

Test(packet, a_tagged_frame_is_answered_with_its_tag)
{
	struct bytes plain = copy4();
	struct bytes tagged = { .size = plain.size + 4 };
	struct weir_path path = { 0 };
	uint8_t head[64] = { 0 };

	mend_ip(&plain);
	memcpy(tagged.data, plain.data, 12);
	memcpy(tagged.data + 12, (uint8_t[4]){ 0x81, 0, 0x60, 5 }, 4);
	memcpy(tagged.data + 16, plain.data + 12, plain.size - 12);
	cr_assert_eq(parse(&tagged, &path).verdict, WEIR_PACKET_FRAME);
	cr_expect_eq(path.vlan, 0x6005);
	cr_assert_eq(weir_packet_head_size(&path), 46);
	weir_packet_head_write(head, &path, 16);
	cr_expect_eq(memcmp(head + 12, tagged.data + 12, 6), 0);
}

// Service tags of providers (802.1ad) as well: the XDP program takes both.
Test(packet, a_frame_is_answered_with_the_kind_of_tag_it_had)
{
	static const uint8_t types[][2] = { { 0x81, 0 }, { 0x88, 0xa8 } };

	for (uint32_t i = 0; i < 2; i++) {
		struct bytes plain = copy4();
		struct bytes tagged = { .size = plain.size + 4 };
		struct weir_path path = { 0 };
		uint8_t head[64] = { 0 };

		mend_ip(&plain);
		memcpy(tagged.data, plain.data, 12);
		memcpy(tagged.data + 12, types[i], 2);
		memcpy(tagged.data + 14, (uint8_t[2]){ 0, 7 }, 2);
		memcpy(tagged.data + 16, plain.data + 12, plain.size - 12);
		cr_assert_eq(parse(&tagged, &path).verdict, WEIR_PACKET_FRAME);
		weir_packet_head_write(head, &path, 16);
		cr_expect_eq(memcmp(head + 12, tagged.data + 12, 6), 0, "type %u", i);
	}
}

Test(packet, what_is_for_another_mac_is_foreign)
{
	static const uint8_t others[][6] = { { 2, 0, 0, 0, 0, 9 },
					     { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
					     { 1, 0, 0x5e, 0, 0, 1 } };
	struct weir_packet_own some = own;
	struct bytes bytes = copy4();
	struct weir_path path = { 0 };

	some.has_mac = true;
	memcpy(some.mac, mac, sizeof(mac));
	cr_assert_eq(weir_packet_parse(bytes.data, bytes.size, &some, &path).verdict, WEIR_PACKET_FRAME);
	for (uint32_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		memcpy(bytes.data, others[i], 6);
		cr_expect_eq(weir_packet_parse(bytes.data, bytes.size, &some, &path).verdict, WEIR_PACKET_FOREIGN);
	}
}

// An answer would go to many, to ourselves, or nowhere.
Test(packet, a_source_that_cannot_be_answered_is_dropped)
{
	static const uint8_t odd[][4] = { { 224, 0, 0, 1 }, { 255, 255, 255, 255 }, { 127, 0, 0, 1 }, { 0, 0, 0, 0 } };
	struct bytes bytes = copy4();
	struct weir_path path = { 0 };

	bytes.data[6] |= 1;
	cr_expect_eq(parse(&bytes, &path).reason, WEIR_R_IP_HEADER);
	for (uint32_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		bytes = copy4();
		memcpy(bytes.data + 26, odd[i], 4);
		mend_ip(&bytes);
		cr_expect_eq(parse(&bytes, &path).reason, WEIR_R_IP_HEADER);
	}
}

Test(packet, what_is_not_for_weir_is_foreign)
{
	struct bytes bytes = copy4();

	bytes.data[37] = 0x82; // UDP port 9346
	mend_ip(&bytes);
	expect_foreign(&bytes);
	bytes.data[37] = 0x85; // 9349: beyond the workers
	expect_foreign(&bytes);
	bytes = copy4();
	bytes.data[33] = 9; // another address
	mend_ip(&bytes);
	expect_foreign(&bytes);
	bytes = copy4();
	bytes.data[23] = 6; // TCP
	mend_ip(&bytes);
	expect_foreign(&bytes);
	bytes = copy4();
	bytes.data[13] = 6; // ARP
	expect_foreign(&bytes);
	bytes.size = 13;
	expect_foreign(&bytes);
}

Test(packet, malformed_headers_and_fragments_are_dropped_by_name)
{
	struct bytes bytes = copy4();

	mend_ip(&bytes);
	bytes.data[24] ^= 1; // checksum
	expect_drop(&bytes, WEIR_R_IP_HEADER);
	bytes = copy4();
	bytes.data[14] = 0x46; // options
	mend_ip(&bytes);
	expect_drop(&bytes, WEIR_R_IP_HEADER);
	bytes = copy4();
	bytes.data[17] = 200; // longer than the packet
	mend_ip(&bytes);
	expect_drop(&bytes, WEIR_R_IP_HEADER);
	bytes = copy4();
	bytes.data[17] = 24; // no room for UDP
	mend_ip(&bytes);
	expect_drop(&bytes, WEIR_R_IP_HEADER);
	bytes = copy4();
	bytes.data[39] = 25; // UDP longer than IP
	mend_ip(&bytes);
	expect_drop(&bytes, WEIR_R_IP_HEADER);
	bytes.data[39] = 7; // UDP shorter than its header
	expect_drop(&bytes, WEIR_R_IP_HEADER);
	bytes = copy4();
	bytes.data[20] = 0x20; // more fragments
	mend_ip(&bytes);
	expect_drop(&bytes, WEIR_R_IP_FRAGMENT);
	bytes.data[20] = 0;
	bytes.data[21] = 10; // a later fragment
	mend_ip(&bytes);
	expect_drop(&bytes, WEIR_R_IP_FRAGMENT);
}

Test(packet, no_prefix_of_a_packet_is_read_beyond_its_end)
{
	struct bytes whole = copy4();

	mend_ip(&whole);
	for (uint32_t size = 0; size < whole.size; size++) {
		struct weir_path path = { 0 };
		uint8_t *exact = malloc(size ? size : 1); // the address sanitizer watches its end

		memcpy(exact, whole.data, size);
		cr_expect_neq(weir_packet_parse(exact, size, &own, &path).verdict, WEIR_PACKET_FRAME, "%u bytes", size);
		free(exact);
	}
}

Test(packet, our_ipv4_header_is_correct_and_parses_as_the_way_back)
{
	struct bytes bytes = copy4();
	struct weir_path path = { 0 }, back = { 0 };
	struct weir_packet_own client = { .udp_first = 5000, .udp_count = 1 };
	uint8_t answer[42 + 100] = { 0 };
	struct weir_packet packet;

	mend_ip(&bytes);
	cr_assert_eq(parse(&bytes, &path).verdict, WEIR_PACKET_FRAME);
	cr_assert_eq(weir_packet_head_size(&path), 42);
	weir_packet_head_write(answer, &path, 100);
	cr_expect_eq(checksum(answer + 14, 20, 0), 0);
	cr_expect_eq(answer[20], 0x40, "DF is set");
	cr_expect_eq(answer[40] | answer[41], 0, "UDP over IPv4 may go without checksum");
	packet = weir_packet_parse(answer, sizeof(answer), &client, &back);
	cr_assert_eq(packet.verdict, WEIR_PACKET_FRAME);
	cr_expect_eq(packet.size, 100);
	cr_expect_eq(memcmp(back.remote_ip, path.local_ip, 16), 0);
	cr_expect_eq(back.remote_port, path.local_port);
	cr_expect_eq(memcmp(back.local_mac, path.remote_mac, 6), 0);
}

Test(packet, our_ipv6_header_carries_a_correct_udp_checksum)
{
	struct weir_path path = { .family = AF_INET6, .remote_port = htons(5000), .local_port = htons(9347),
				  .remote_ip = { 0xfd, [15] = 2 }, .local_ip = { 0xfd, [15] = 1 } };
	const uint32_t sizes[] = { 1, 8, 99, 1400 };

	for (uint32_t i = 0; i < 4; i++) {
		static uint8_t packet[1500];
		uint32_t length = 8 + sizes[i];

		cr_assert_eq(weir_packet_head_size(&path), 62);
		for (uint32_t k = 0; k < sizes[i]; k++)
			packet[62 + k] = (uint8_t)(k * 37 + i);
		weir_packet_head_write(packet, &path, sizes[i]);
		// Pseudo header: both addresses lie in front of UDP, then length and protocol.
		cr_expect_eq(checksum(packet + 22, 32 + length, length + 17), 0, "%u bytes", sizes[i]);
	}
}

Test(packet, ipv6_frames_fragments_and_strangers_are_told_apart)
{
	struct weir_path client = { .family = AF_INET6, .remote_port = htons(9347), .local_port = htons(5000),
				    .remote_ip = { 0xfd, [15] = 1 }, .local_ip = { 0xfd, [15] = 2 } };
	struct weir_path path = { 0 };
	uint8_t packet[62 + 32] = { 0 };

	weir_packet_head_write(packet, &client, 32);
	cr_expect_eq(weir_packet_parse(packet, sizeof(packet), &own6, &path).verdict, WEIR_PACKET_FRAME);
	cr_expect_eq(path.remote_port, htons(5000));
	packet[20] = 44;
	cr_expect_eq(weir_packet_parse(packet, sizeof(packet), &own6, &path).reason, WEIR_R_IP_FRAGMENT);
	packet[20] = 17;
	packet[19] = 200;
	cr_expect_eq(weir_packet_parse(packet, sizeof(packet), &own6, &path).reason, WEIR_R_IP_HEADER);
	packet[53] = 3; // another address
	cr_expect_eq(weir_packet_parse(packet, sizeof(packet), &own6, &path).verdict, WEIR_PACKET_FOREIGN);
}

// What goes to no address of the port's goes on to the kernel, also where the port has addresses of the other family only.
Test(packet, a_port_with_an_address_of_one_family_leaves_the_other_to_the_kernel)
{
	const struct weir_path client6 = { .family = AF_INET6, .remote_port = htons(9348), .remote_ip = { 0xfd, [15] = 1 },
					   .local_ip = { 0xfd, [15] = 2 } };
	const struct bytes bytes4 = copy4();
	struct weir_path path = { 0 };
	uint8_t packet6[62 + 32] = { 0 };

	weir_packet_head_write(packet6, &client6, 32);
	for (uint32_t bits = 0; bits < 4; bits++) {
		struct weir_packet_own some = own;
		memcpy(some.address6, client6.remote_ip, 16);
		some.has_address4 = bits & 1;
		some.has_address6 = bits & 2;
		cr_expect_eq(weir_packet_parse(bytes4.data, bytes4.size, &some, &path).verdict,
			     bits == 2 ? WEIR_PACKET_FOREIGN : WEIR_PACKET_FRAME, "IPv4, %u", bits);
		cr_expect_eq(weir_packet_parse(packet6, sizeof(packet6), &some, &path).verdict,
			     bits == 1 ? WEIR_PACKET_FOREIGN : WEIR_PACKET_FRAME, "IPv6, %u", bits);
	}
}

// ---- The responder ----

Test(responder, an_arp_request_for_our_address_is_answered)
{
	const uint8_t request[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 2, 8, 6,
				      0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1 };
	const uint8_t answer[42] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 6,
				     0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 2, 0, 0, 0, 0, 2, 10, 0, 0, 2 };
	uint8_t packet[60];

	memcpy(packet, request, sizeof(packet));
	cr_assert_eq(weir_responder_answer(packet, sizeof(packet), sizeof(packet), &own, mac), sizeof(answer));
	cr_expect_eq(memcmp(packet, answer, sizeof(answer)), 0);
	memcpy(packet, request, sizeof(packet));
	packet[41] = 7; // somebody else's
	cr_expect_eq(weir_responder_answer(packet, sizeof(packet), sizeof(packet), &own, mac), 0);
	cr_expect_eq(packet[41], 7);
	cr_expect_eq(weir_responder_answer(packet, 41, sizeof(packet), &own, mac), 0);
}

// A device without a filter shows what is for its neighbours.
Test(responder, what_is_for_another_mac_is_not_answered)
{
	uint8_t request[60] = { 2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 2, 8, 6,
				0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1 };

	cr_expect_eq(weir_responder_answer(request, sizeof(request), sizeof(request), &own, mac), 0);
	memcpy(request, mac, sizeof(mac));
	cr_expect_eq(weir_responder_answer(request, sizeof(request), sizeof(request), &own, mac), 42);
}

Test(responder, a_ping_comes_back_with_its_payload)
{
	struct bytes ping = copy4();
	uint8_t echo[24] = { 8, 0, 0, 0, 1, 2, 0, 9 };
	uint16_t sum;

	ping.data[23] = 1; // ICMP
	mend_ip(&ping);
	for (uint32_t i = 8; i < sizeof(echo); i++)
		echo[i] = (uint8_t)(i * 3);
	sum = checksum(echo, sizeof(echo), 0);
	echo[2] = (uint8_t)(sum >> 8);
	echo[3] = (uint8_t)sum;
	memcpy(ping.data + 34, echo, sizeof(echo));
	ping.data[57] ^= 1;
	cr_expect_eq(weir_responder_answer(ping.data, ping.size, ping.size, &own, mac), 0, "a damaged one is not answered");
	ping.data[57] ^= 1;
	cr_assert_eq(weir_responder_answer(ping.data, ping.size, ping.size, &own, mac), 58);
	cr_expect_eq(ping.data[34], 0, "echo reply");
	cr_expect_eq(checksum(ping.data + 14, 20, 0), 0);
	cr_expect_eq(checksum(ping.data + 34, 24, 0), 0);
	cr_expect_eq(memcmp(ping.data + 26, (uint8_t[8]){ 10, 0, 0, 1, 10, 0, 0, 2 }, 8), 0);
	cr_expect_eq(memcmp(ping.data + 38, echo + 4, 20), 0);
	cr_expect_eq(memcmp(ping.data, (uint8_t[12]){ 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1 }, 12), 0);
}

static void seal_icmp6(uint8_t *packet, uint32_t length)
{
	uint16_t sum;

	memset(packet + 56, 0, 2);
	sum = checksum(packet + 22, 32 + length, length + 58);
	packet[56] = (uint8_t)(sum >> 8);
	packet[57] = (uint8_t)sum;
}

Test(responder, a_neighbour_solicitation_is_answered_with_our_mac)
{
	uint8_t packet[128] = { 0x33, 0x33, 0xff, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 58, 255,
				0xfd, [37] = 2, 0xff, 2, [49] = 1, 0xff, 0, 0, 1, 135 };

	memcpy(packet + 62, own6.address6, 16);
	seal_icmp6(packet, 24);
	cr_assert_eq(weir_responder_answer(packet, 78, sizeof(packet), &own6, mac), 86);
	cr_expect_eq(packet[54], 136);
	cr_expect_eq(packet[58], 0x60, "solicited, override");
	cr_expect_eq(memcmp(packet + 22, own6.address6, 16), 0);
	cr_expect_eq(packet[53], 2, "to the asker");
	cr_expect_eq(memcmp(packet + 80, mac, 6), 0);
	cr_expect_eq(checksum(packet + 22, 32 + 32, 32 + 58), 0);
	cr_expect_eq(memcmp(packet, (uint8_t[6]){ 2, 0, 0, 0, 0, 2 }, 6), 0);
}

Test(responder, a_solicitation_that_was_routed_here_is_not_answered)
{
	uint8_t packet[128] = { 0x33, 0x33, 0xff, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 58, 254,
				0xfd, [37] = 2, 0xff, 2, [49] = 1, 0xff, 0, 0, 1, 135 };

	memcpy(packet + 62, own6.address6, 16);
	seal_icmp6(packet, 24);
	cr_expect_eq(weir_responder_answer(packet, 78, sizeof(packet), &own6, mac), 0);
}
