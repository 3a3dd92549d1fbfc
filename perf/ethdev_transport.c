// Clients over a DPDK device. Datagrams out are copied behind headers that were made once; datagrams in are copied into the
// cores' receive buffers when a burst brought many, and handed over where they lie when it brought few. The router's MAC
// address is asked for once, at open; whoever asks for ours gets an answer.
#include "perf/ethdev_transport.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <rte_arp.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_udp.h>

#include "wire/frame.h"
#include "wire/limits.h"

#define BURST 64u
#define DESCRIPTORS 1024u
#define POOL 8191u
#define POOL_CACHE 256u
#define ROOM_LEAST 2176u
#define HEADROOM 384u      // of a buffer and of XDP
#define MEMORY_MB 96u      // DPDK, pool and rings
#define SPARSE_BYTES 16384u // less for an endpoint in one burst is copied piece by piece where it has to stay
#define WAIT_MS 5000u
#define ASK_NS 50000000u   // between two ARP requests
#define ARGUMENTS_MAX 16

struct head {
	struct rte_ether_hdr ethernet;
	struct rte_ipv4_hdr ip;
	struct rte_udp_hdr udp;
} __attribute__((packed, aligned(2)));
_Static_assert(sizeof(struct head) == 42, "headers in front of a frame");

struct endpoint {
	struct weir_ethdev_transport *transport;
	struct weir_core *core;
	weir_ethdev_transport_sink sink;
	void *context; // of the sink
	struct head head; // but for the lengths and the IP checksum
	uint32_t sum;     // of head.ip without them
};

// A datagram of the burst at hand.
struct piece {
	struct endpoint *endpoint;
	const uint8_t *data;
	uint32_t size;
};

struct weir_ethdev_transport {
	uint16_t device;
	uint16_t local_port;
	uint16_t endpoint_count;
	uint16_t descriptors; // receive
	uint32_t frame_size;
	bool has_eal, has_device;
	struct rte_mempool *pool;
	uint32_t own_ip, router_ip; // network order
	uint16_t router_port;       // host order
	struct rte_ether_addr own_mac, router_mac;
	bool is_resolved;
	struct weir_ethdev_transport_counts counts;
	struct rte_mbuf *received[BURST];
	struct piece pieces[BURST];
	struct endpoint endpoints[]; // [endpoint_count]
};

static int refuse(char *why, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int refuse(char *why, int error, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(why, WEIR_ETHDEV_TRANSPORT_WHY, format, arguments);
	va_end(arguments);
	return error;
}

static uint64_t clock_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

// ---- DPDK ----

static uint64_t free_hugepages_mb(void)
{
	FILE *file = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "re");
	unsigned long long pages = 0;
	if (!file)
		return 0;
	if (fscanf(file, "%llu", &pages) != 1)
		pages = 0;
	fclose(file);
	return pages * 2;
}

static int first_core(const cpu_set_t *cores)
{
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET((size_t)i, cores))
			return i;
	return 0;
}

// rte_eal_init() wants pointers to char, and leaves the words alone.
static char *word(const char *text)
{
	return (char *)(uintptr_t)text;
}

// Its memory is shared with the router's process over virtio_user, so it has to be of files: both kinds are memfds.
static int start_eal(const char *device, const cpu_set_t *cores)
{
	char lcores[32], prefix[64], memory[16];
	char *arguments[ARGUMENTS_MAX] = { NULL };
	int count = 0;
	snprintf(lcores, sizeof(lcores), "--lcores=0@%d", first_core(cores));
	snprintf(prefix, sizeof(prefix), "--file-prefix=weir-client-%d", (int)getpid());
	snprintf(memory, sizeof(memory), "%u", MEMORY_MB);
	arguments[count++] = word("weir");
	arguments[count++] = lcores;
	arguments[count++] = prefix;
	arguments[count++] = word("--no-telemetry");
	arguments[count++] = word("--log-level=*:error");
	arguments[count++] = word("--iova-mode=va");
	if (!strchr(device, ':'))
		arguments[count++] = word("--no-pci");
	if (free_hugepages_mb() >= MEMORY_MB) {
		arguments[count++] = word("--in-memory");
		arguments[count++] = word("--single-file-segments");
	} else {
		arguments[count++] = word("--no-huge");
		arguments[count++] = word("--no-shconf");
		arguments[count++] = word("-m");
		arguments[count++] = memory;
	}
	return rte_eal_init(count, arguments) < 0 ? -rte_errno : 0;
}

static int eal_open(struct weir_ethdev_transport *transport, const char *device, char *why)
{
	cpu_set_t cores;
	sched_getaffinity(0, sizeof(cores), &cores);
	int error = start_eal(device, &cores);
	// EAL binds the thread to its first core; it may go wherever it was allowed to.
	sched_setaffinity(0, sizeof(cores), &cores);
	transport->has_eal = error == 0;
	return error ? refuse(why, error, "DPDK does not start: %s", strerror(-error)) : 0;
}

static int pool_create(struct weir_ethdev_transport *transport, char *why)
{
	uint32_t room = (transport->frame_size + (uint32_t)sizeof(struct head) + 8u + HEADROOM + 63u) & ~63u;
	transport->pool = rte_pktmbuf_pool_create("weir-client", POOL, POOL_CACHE, 0,
						  (uint16_t)(room < ROOM_LEAST ? ROOM_LEAST : room), SOCKET_ID_ANY);
	return transport->pool ? 0 : refuse(why, -ENOMEM, "no memory for %u buffers: reserve hugepages", POOL);
}

static int device_start(struct weir_ethdev_transport *transport)
{
	struct rte_eth_conf conf = { 0 };
	uint16_t receive = DESCRIPTORS, send = DESCRIPTORS;
	uint16_t device = transport->device;
	int error = rte_eth_dev_configure(device, 1, 1, &conf);
	if (!error)
		error = rte_eth_dev_adjust_nb_rx_tx_desc(device, &receive, &send);
	if (!error)
		error = rte_eth_rx_queue_setup(device, 0, receive, SOCKET_ID_ANY, NULL, transport->pool);
	if (!error)
		error = rte_eth_tx_queue_setup(device, 0, send, SOCKET_ID_ANY, NULL);
	if (!error)
		error = rte_eth_dev_start(device);
	if (!error)
		error = rte_eth_macaddr_get(device, &transport->own_mac);
	transport->descriptors = receive;
	return error;
}

static int device_open(struct weir_ethdev_transport *transport, const char *devargs, char *why)
{
	char name[RTE_ETH_NAME_MAX_LEN];
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(devargs, ","), devargs);
	int error = rte_dev_probe(devargs);
	if (error == 0)
		error = rte_eth_dev_get_port_by_name(name, &transport->device);
	// Drivers return -1, whatever it was.
	if (error)
		return refuse(why, -ENODEV,
			      "DPDK cannot open \"%s\": check its devargs, and that the router listens on its socket",
			      devargs);
	transport->has_device = true;
	error = device_start(transport);
	return error ? refuse(why, error, "device \"%s\" does not start: %s", devargs, strerror(-error)) : 0;
}

// ---- ARP ----

static struct rte_mbuf *arp_create(struct weir_ethdev_transport *transport, uint16_t operation,
				   const struct rte_ether_addr *to_mac, uint32_t to_ip)
{
	static const struct rte_ether_addr everybody = { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } };
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(transport->pool);
	if (!mbuf)
		return NULL;
	struct rte_ether_hdr *ethernet = (void *)rte_pktmbuf_append(mbuf, RTE_ETHER_MIN_LEN - RTE_ETHER_CRC_LEN);
	struct rte_arp_hdr *arp = (void *)(ethernet + 1);
	memset(ethernet, 0, RTE_ETHER_MIN_LEN - RTE_ETHER_CRC_LEN);
	*ethernet = (struct rte_ether_hdr){ to_mac ? *to_mac : everybody, transport->own_mac, htons(RTE_ETHER_TYPE_ARP) };
	arp->arp_hardware = htons(RTE_ARP_HRD_ETHER);
	arp->arp_protocol = htons(RTE_ETHER_TYPE_IPV4);
	arp->arp_hlen = RTE_ETHER_ADDR_LEN;
	arp->arp_plen = sizeof(uint32_t);
	arp->arp_opcode = htons(operation);
	arp->arp_data.arp_sha = transport->own_mac;
	arp->arp_data.arp_sip = transport->own_ip;
	if (to_mac)
		arp->arp_data.arp_tha = *to_mac;
	arp->arp_data.arp_tip = to_ip;
	return mbuf;
}

static void send_one(struct weir_ethdev_transport *transport, struct rte_mbuf *mbuf)
{
	if (mbuf && rte_eth_tx_burst(transport->device, 0, &mbuf, 1) == 0)
		rte_pktmbuf_free(mbuf);
}

static void arp_hear(struct weir_ethdev_transport *transport, const struct rte_mbuf *mbuf)
{
	const struct rte_ether_hdr *ethernet = rte_pktmbuf_mtod(mbuf, const struct rte_ether_hdr *);
	const struct rte_arp_hdr *arp = (const void *)(ethernet + 1);
	if (mbuf->data_len < sizeof(*ethernet) + sizeof(*arp) || arp->arp_protocol != htons(RTE_ETHER_TYPE_IPV4) ||
	    arp->arp_data.arp_tip != transport->own_ip)
		return;
	if (arp->arp_opcode == htons(RTE_ARP_OP_REQUEST))
		send_one(transport,
			 arp_create(transport, RTE_ARP_OP_REPLY, &arp->arp_data.arp_sha, arp->arp_data.arp_sip));
	if (arp->arp_data.arp_sip != transport->router_ip)
		return;
	transport->router_mac = arp->arp_data.arp_sha;
	transport->is_resolved = true;
}

// ---- In ----

// Whose datagram it is; NULL: nobody's.
static struct endpoint *endpoint_of(struct weir_ethdev_transport *transport, const struct rte_mbuf *mbuf, struct piece *piece)
{
	const struct head *head = rte_pktmbuf_mtod(mbuf, const struct head *);
	if (mbuf->nb_segs > 1 || mbuf->data_len < sizeof(*head) || head->ethernet.ether_type != htons(RTE_ETHER_TYPE_IPV4) ||
	    head->ip.version_ihl != RTE_IPV4_VHL_DEF || head->ip.next_proto_id != IPPROTO_UDP ||
	    head->ip.dst_addr != transport->own_ip || head->ip.src_addr != transport->router_ip ||
	    (head->ip.fragment_offset & htons(0x3fff)))
		return NULL;
	uint32_t index = (uint32_t)ntohs(head->udp.dst_port) - transport->local_port;
	uint32_t length = ntohs(head->udp.dgram_len);
	if (index >= transport->endpoint_count || length < sizeof(head->udp) ||
	    length > mbuf->data_len - offsetof(struct head, udp))
		return NULL;
	piece->data = (const uint8_t *)(head + 1);
	piece->size = length - (uint32_t)sizeof(head->udp);
	return transport->endpoints[index].core || transport->endpoints[index].sink ? &transport->endpoints[index] : NULL;
}

// As many pieces as a receive buffer holds go into it, from where the core need not copy them again.
static uint32_t give_buffer(struct weir_core *core, const struct piece *pieces, uint32_t count, uint64_t now_ns)
{
	struct weir_buffer *buffer = weir_core_buffer_get(core);
	uint32_t at = 0, given = 0;
	if (!buffer)
		return 0;
	uint8_t *data = weir_buffer_data(buffer);
	for (; given < count && at + pieces[given].size <= WEIR_CORE_BUFFER_SIZE; given++) {
		struct weir_datagram datagram = { data + at, pieces[given].size };
		memcpy(data + at, pieces[given].data, pieces[given].size);
		weir_core_input_in(core, buffer, &datagram, false, now_ns);
		at += (pieces[given].size + 7u) & ~7u;
	}
	weir_core_buffer_put(core, buffer);
	return given;
}

static void show(const struct piece *pieces, uint32_t count)
{
	const struct endpoint *endpoint = pieces->endpoint;
	uint16_t index = (uint16_t)(endpoint - endpoint->transport->endpoints);
	for (uint32_t i = 0; i < count; i++)
		endpoint->sink(endpoint->context, index, pieces[i].data, pieces[i].size);
}

// A run of one endpoint's datagrams.
static void give(const struct piece *pieces, uint32_t count, uint64_t now_ns)
{
	struct weir_core *core = pieces->endpoint->core;
	uint32_t bytes = 0, given = 0;
	if (!core) {
		show(pieces, count);
		return;
	}
	for (uint32_t i = 0; i < count; i++)
		bytes += pieces[i].size;
	while (given < count) {
		uint32_t more = bytes < SPARSE_BYTES ? 0 : give_buffer(core, pieces + given, count - given, now_ns);
		if (more == 0) {
			weir_core_input(core, pieces[given].data, pieces[given].size, now_ns);
			more = 1;
		}
		given += more;
	}
}

uint32_t weir_ethdev_transport_receive(struct weir_ethdev_transport *transport, uint64_t now_ns)
{
	struct piece *pieces = transport->pieces;
	uint32_t count = 0;
	uint16_t burst = rte_eth_rx_burst(transport->device, 0, transport->received, BURST);
	for (uint16_t i = 0; i < burst; i++) {
		const struct rte_mbuf *mbuf = transport->received[i];
		pieces[count].endpoint = endpoint_of(transport, mbuf, &pieces[count]);
		if (pieces[count].endpoint) {
			count++;
			continue;
		}
		transport->counts.foreign++;
		if (mbuf->data_len >= RTE_ETHER_HDR_LEN &&
		    rte_pktmbuf_mtod(mbuf, const struct rte_ether_hdr *)->ether_type == htons(RTE_ETHER_TYPE_ARP))
			arp_hear(transport, mbuf);
	}
	for (uint32_t first = 0, next; first < count; first = next) {
		for (next = first + 1; next < count && pieces[next].endpoint == pieces[first].endpoint; next++)
			;
		give(pieces + first, next - first, now_ns);
	}
	if (burst)
		rte_pktmbuf_free_bulk(transport->received, burst);
	transport->counts.received += count;
	return count;
}

// ---- Out ----

static void fill(struct rte_mbuf *mbuf, const struct endpoint *endpoint, const struct weir_datagram *datagram)
{
	uint32_t size = (uint32_t)datagram->size;
	uint16_t total = htons((uint16_t)(sizeof(struct rte_ipv4_hdr) + sizeof(struct rte_udp_hdr) + size));
	struct head *head = rte_pktmbuf_mtod(mbuf, struct head *);
	uint32_t sum = endpoint->sum + total;
	*head = endpoint->head;
	head->ip.total_length = total;
	sum = (sum & 0xffff) + (sum >> 16);
	head->ip.hdr_checksum = (uint16_t)~((sum & 0xffff) + (sum >> 16));
	head->udp.dgram_len = htons((uint16_t)(sizeof(struct rte_udp_hdr) + size));
	memcpy(head + 1, datagram->data, size);
	mbuf->data_len = (uint16_t)(sizeof(*head) + size);
	mbuf->pkt_len = mbuf->data_len;
}

static uint32_t endpoint_send(void *context, const struct weir_datagram *datagrams, uint32_t count)
{
	struct endpoint *endpoint = context;
	struct weir_ethdev_transport *transport = endpoint->transport;
	struct rte_mbuf *mbufs[BURST];
	uint32_t taken = 0;
	while (taken < count) {
		uint32_t wanted = count - taken < BURST ? count - taken : BURST;
		if (rte_pktmbuf_alloc_bulk(transport->pool, mbufs, wanted) != 0)
			break;
		for (uint32_t i = 0; i < wanted; i++)
			fill(mbufs[i], endpoint, &datagrams[taken + i]);
		uint32_t sent = rte_eth_tx_burst(transport->device, 0, mbufs, (uint16_t)wanted);
		taken += sent;
		if (sent < wanted) {
			rte_pktmbuf_free_bulk(mbufs + sent, wanted - sent);
			break;
		}
	}
	transport->counts.sent += taken;
	transport->counts.send_blocked += taken < count;
	return taken;
}

static void endpoint_prepare(struct weir_ethdev_transport *transport, uint16_t index)
{
	struct endpoint *endpoint = &transport->endpoints[index];
	struct head *head = &endpoint->head;
	const uint8_t *bytes = (const uint8_t *)&head->ip;
	*endpoint = (struct endpoint){ .transport = transport };
	head->ethernet = (struct rte_ether_hdr){ transport->router_mac, transport->own_mac, htons(RTE_ETHER_TYPE_IPV4) };
	head->ip.version_ihl = RTE_IPV4_VHL_DEF;
	head->ip.fragment_offset = htons(RTE_IPV4_HDR_DF_FLAG);
	head->ip.time_to_live = 64;
	head->ip.next_proto_id = IPPROTO_UDP;
	head->ip.src_addr = transport->own_ip;
	head->ip.dst_addr = transport->router_ip;
	head->udp.src_port = htons((uint16_t)(transport->local_port + index));
	head->udp.dst_port = htons(transport->router_port);
	for (uint32_t i = 0; i < sizeof(head->ip); i += 2) {
		uint16_t part;
		memcpy(&part, bytes + i, sizeof(part));
		endpoint->sum += part;
	}
}

// ---- Open ----

static bool link_is_up(const struct weir_ethdev_transport *transport)
{
	struct rte_eth_link link;
	return rte_eth_link_get_nowait(transport->device, &link) != 0 || link.link_status == RTE_ETH_LINK_UP;
}

static int resolve(struct weir_ethdev_transport *transport, uint32_t wait_ms, char *why)
{
	uint64_t now = clock_ns(), asked = 0;
	uint64_t end = now + wait_ms * 1000000ull;
	bool is_known = transport->is_resolved;
	for (; !(transport->is_resolved && (!is_known || link_is_up(transport))) && now < end; now = clock_ns()) {
		if (!is_known && now - asked > ASK_NS && link_is_up(transport)) {
			send_one(transport, arp_create(transport, RTE_ARP_OP_REQUEST, NULL, transport->router_ip));
			asked = now;
		}
		if (weir_ethdev_transport_receive(transport, now) == 0)
			usleep(200);
	}
	if (now < end)
		return 0;
	return refuse(why, -EHOSTUNREACH, "%s within %u ms: check the router's address and that it serves this device",
		      link_is_up(transport) ? "the router's address answers no ARP" : "the link does not come up", wait_ms);
}

static int read_router(struct weir_ethdev_transport *transport, const char *text, char *why)
{
	char host[INET_ADDRSTRLEN + 1];
	const char *at = strncmp(text, "udp://", 6) == 0 ? text + 6 : "";
	size_t size = strcspn(at, ":");
	unsigned long port = WEIR_PORT_BASE;
	char *rest = NULL;
	if (at[size] == ':') {
		port = strtoul(at + size + 1, &rest, 10);
		if (!at[size + 1] || *rest)
			port = 0;
	}
	snprintf(host, sizeof(host), "%.*s", (int)(size < sizeof(host) ? size : 0), at);
	if (port == 0 || port > UINT16_MAX || inet_pton(AF_INET, host, &transport->router_ip) != 1)
		return refuse(why, -EINVAL, "router \"%s\" is not udp://IPV4-ADDRESS[:PORT]", text);
	transport->router_port = (uint16_t)port;
	return 0;
}

static int read_options(struct weir_ethdev_transport *transport, const struct weir_ethdev_transport_options *options, char *why)
{
	transport->frame_size = options->frame_size ? options->frame_size : WEIR_FRAME_DEFAULT;
	transport->local_port = options->local_port;
	transport->is_resolved = options->router_mac != NULL;
	if (options->router_mac)
		memcpy(&transport->router_mac, options->router_mac, sizeof(transport->router_mac));
	if (transport->frame_size > WEIR_FRAME_MAX || options->local_port == 0 ||
	    options->local_port + transport->endpoint_count > UINT16_MAX)
		return refuse(why, -EINVAL, "frame size %u is over %u, or local ports %u and %u more are no UDP ports",
			      transport->frame_size, WEIR_FRAME_MAX, options->local_port, transport->endpoint_count - 1u);
	if (inet_pton(AF_INET, options->address, &transport->own_ip) != 1)
		return refuse(why, -EINVAL, "own address \"%s\" is no IPv4 address", options->address);
	return read_router(transport, options->router, why);
}

int weir_ethdev_transport_open(struct weir_ethdev_transport **out, const struct weir_ethdev_transport_options *options,
			       char why[WEIR_ETHDEV_TRANSPORT_WHY])
{
	uint16_t endpoints = options->endpoints ? options->endpoints : 1;
	struct weir_ethdev_transport *transport = NULL;
	if (endpoints <= WEIR_ETHDEV_TRANSPORT_ENDPOINTS)
		transport = calloc(1, sizeof(*transport) + endpoints * sizeof(transport->endpoints[0]));
	if (!transport)
		return refuse(why, -ENOMEM, "no memory for %u endpoints, at most %u", endpoints,
			      WEIR_ETHDEV_TRANSPORT_ENDPOINTS);
	transport->endpoint_count = endpoints;
	int error = read_options(transport, options, why);
	if (!error)
		error = eal_open(transport, options->device, why);
	if (!error)
		error = pool_create(transport, why);
	if (!error)
		error = device_open(transport, options->device, why);
	if (!error)
		error = resolve(transport, options->wait_ms ? options->wait_ms : WAIT_MS, why);
	if (error) {
		weir_ethdev_transport_close(transport);
		return error;
	}
	for (uint16_t i = 0; i < endpoints; i++)
		endpoint_prepare(transport, i);
	*out = transport;
	return 0;
}

void weir_ethdev_transport_close(struct weir_ethdev_transport *transport)
{
	if (transport->has_device) {
		rte_eth_dev_stop(transport->device);
		rte_eth_dev_close(transport->device);
	}
	if (transport->has_eal)
		rte_eal_cleanup();
	free(transport);
}

uint32_t weir_ethdev_transport_credit(const struct weir_ethdev_transport *transport)
{
	uint32_t frames = transport->descriptors / transport->endpoint_count;
	return (frames > 8 ? frames : 8) * weir_charge(transport->frame_size);
}

struct weir_core_output weir_ethdev_transport_attach(struct weir_ethdev_transport *transport, uint16_t endpoint,
						     struct weir_core *core)
{
	transport->endpoints[endpoint].core = core;
	return (struct weir_core_output){ .send = endpoint_send, .context = &transport->endpoints[endpoint] };
}

struct weir_core_output weir_ethdev_transport_attach_sink(struct weir_ethdev_transport *transport, uint16_t endpoint,
							  weir_ethdev_transport_sink sink, void *context)
{
	struct weir_core_output output = weir_ethdev_transport_attach(transport, endpoint, NULL);
	transport->endpoints[endpoint].sink = sink;
	transport->endpoints[endpoint].context = context;
	return output;
}

void weir_ethdev_transport_counts(const struct weir_ethdev_transport *transport, struct weir_ethdev_transport_counts *counts)
{
	*counts = transport->counts;
	counts->is_link_up = link_is_up(transport);
}
