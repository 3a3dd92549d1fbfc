// See network.h.
#include "tests/sim/network.h"

#include <stdlib.h>
#include <string.h>

#include "wire/frame.h"
#include "wire/limits.h"

#define GHOST_LATEST_US 4000000u
#define GHOST_REQUEST_PPM 100000u // of the kinds by which something begins and ends

void sim_network_init(struct sim_network *network, struct sim_random *random)
{
	*network = (struct sim_network){ .random = random };
}

void sim_network_clear(struct sim_network *network)
{
	while (network->count)
		sim_network_put(network, network->heap[--network->count]);
}

void sim_network_fini(struct sim_network *network)
{
	sim_network_clear(network);
	while (network->free) {
		struct sim_packet *packet = network->free;
		network->free = packet->next;
		free(packet->data);
		free(packet);
	}
	free(network->heap);
	network->heap = NULL;
}

void sim_network_put(struct sim_network *network, struct sim_packet *packet)
{
	packet->next = network->free;
	network->free = packet;
}

static bool is_before(const struct sim_packet *a, const struct sim_packet *b)
{
	return a->due_ns < b->due_ns || (a->due_ns == b->due_ns && a->order < b->order);
}

static void heap_push(struct sim_network *network, struct sim_packet *packet)
{
	if (network->count == network->room) {
		network->room = network->room ? 2 * network->room : 256;
		network->heap = realloc(network->heap, network->room * sizeof(*network->heap));
		if (!network->heap)
			abort();
	}
	uint32_t at = network->count++;
	while (at && is_before(packet, network->heap[(at - 1) / 2])) {
		network->heap[at] = network->heap[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	network->heap[at] = packet;
}

static struct sim_packet *heap_pop(struct sim_network *network)
{
	struct sim_packet *first = network->heap[0];
	struct sim_packet *last = network->heap[--network->count];
	uint32_t at = 0;
	for (;;) {
		uint32_t child = 2 * at + 1;
		if (child >= network->count)
			break;
		if (child + 1 < network->count && is_before(network->heap[child + 1], network->heap[child]))
			child++;
		if (is_before(last, network->heap[child]))
			break;
		network->heap[at] = network->heap[child];
		at = child;
	}
	network->heap[at] = last;
	return first;
}

static void copy_send(struct sim_network *network, const struct sim_link *link, const struct sim_packet *from, uint64_t late_us,
		      uint64_t now_ns)
{
	struct sim_packet *packet = network->free;
	if (packet) {
		network->free = packet->next;
	} else {
		packet = calloc(1, sizeof(*packet));
		if (!packet || !(packet->data = malloc(WEIR_FRAME_MAX + 64)))
			abort();
	}
	uint8_t *data = packet->data;
	*packet = *from;
	packet->data = data;
	memcpy(data, from->data, from->size);
	if (sim_chance_ppm(network->random, link->corrupt_ppm)) {
		for (uint32_t i = sim_between(network->random, 1, 3); i > 0; i--)
			data[sim_below(network->random, from->size)] ^= (uint8_t)(1u << sim_below(network->random, 8));
		network->corrupted++;
	}
	uint64_t delay_us = link->delay_us + (link->jitter_us ? sim_below(network->random, link->jitter_us) : 0);
	if (sim_chance_ppm(network->random, link->late_ppm))
		delay_us += sim_below(network->random, link->late_us + 1);
	packet->due_ns = now_ns + (delay_us + late_us) * 1000;
	packet->order = network->order++;
	heap_push(network, packet);
}

static bool is_request(const struct sim_packet *packet)
{
	static const uint64_t REQUESTS = 1ull << WEIR_KIND_OPEN | 1ull << WEIR_KIND_OPENED | 1ull << WEIR_KIND_CLOSE |
					 1ull << WEIR_KIND_CLOSED | 1ull << WEIR_KIND_JOIN | 1ull << WEIR_KIND_JOINED |
					 1ull << WEIR_KIND_ASSIGN | 1ull << WEIR_KIND_REVOKE | 1ull << WEIR_KIND_REVOKED |
					 1ull << WEIR_KIND_LEAVE | 1ull << WEIR_KIND_LEFT | 1ull << WEIR_KIND_ERROR |
					 1ull << WEIR_KIND_SKIP | 1ull << WEIR_KIND_REFUSE;
	const struct weir_frame_header *frame = (const void *)packet->data;
	return frame->kind < 64 && REQUESTS >> frame->kind & 1;
}

void sim_network_send(struct sim_network *network, const struct sim_link *link, const struct sim_packet *from, uint64_t now_ns)
{
	network->sent++;
	bool is_too_large = link->size_max && from->size > link->size_max;
	if (is_too_large || now_ns < link->dead_until_ns || sim_chance_ppm(network->random, link->loss_ppm)) {
		network->lost++;
		return;
	}
	copy_send(network, link, from, 0, now_ns);
	if (sim_chance_ppm(network->random, link->double_ppm)) {
		network->doubled++;
		copy_send(network, link, from, 0, now_ns);
	}
	if (link->ghost_ppm && sim_chance_ppm(network->random, is_request(from) ? GHOST_REQUEST_PPM : link->ghost_ppm)) {
		network->ghosts++;
		copy_send(network, link, from, sim_below(network->random, GHOST_LATEST_US), now_ns);
	}
}

uint64_t sim_network_due(const struct sim_network *network)
{
	return network->count ? network->heap[0]->due_ns : UINT64_MAX;
}

struct sim_packet *sim_network_take(struct sim_network *network, uint64_t now_ns)
{
	return network->count && network->heap[0]->due_ns <= now_ns ? heap_pop(network) : NULL;
}
