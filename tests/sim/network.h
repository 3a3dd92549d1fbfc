// The network between clients and router: datagrams in a heap by due time; each link loses, doubles, delays, reorders and
// corrupts as its numbers say. Payloads are copied.
#ifndef WEIR_SIM_NETWORK_H
#define WEIR_SIM_NETWORK_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/random.h"

struct sim_link {
	uint32_t loss_ppm;
	uint32_t double_ppm;
	uint32_t corrupt_ppm; // one to three bits flip
	uint32_t late_ppm;    // delayed by up to late_us more: overtaken by others
	uint32_t delay_us;
	uint32_t jitter_us;
	uint32_t late_us;
	uint32_t ghost_ppm; // a copy comes once more, so late that what it is of may be over; of requests more often
	uint64_t dead_until_ns; // nothing passes before
	uint32_t size_max; // bytes, nothing larger passes; 0: everything does
};

struct sim_packet {
	uint64_t due_ns;
	uint64_t order; // ties: in order of sending
	uint32_t size;
	uint16_t client;
	uint16_t client_port; // address of the client's instance
	uint16_t worker;
	bool is_to_router;
	uint64_t lane; // 0: a datagram
	struct sim_packet *next;
	uint8_t *data; // size bytes; at an even address that is a multiple of 8
};

struct sim_network {
	struct sim_random *random;
	struct sim_packet **heap;
	uint32_t count;
	uint32_t room;
	uint64_t order;
	struct sim_packet *free;
	uint64_t sent, lost, doubled, corrupted, ghosts;
};

void sim_network_init(struct sim_network *network, struct sim_random *random);
void sim_network_fini(struct sim_network *network);
// What is under way is forgotten; buffers stay.
void sim_network_clear(struct sim_network *network);
// `from` carries everything but due, order and the payload's copy.
void sim_network_send(struct sim_network *network, const struct sim_link *link, const struct sim_packet *from, uint64_t now_ns);
// UINT64_MAX: nothing under way.
uint64_t sim_network_due(const struct sim_network *network);
// The next packet that is due, or NULL. Give it back with sim_network_put().
struct sim_packet *sim_network_take(struct sim_network *network, uint64_t now_ns);
void sim_network_put(struct sim_network *network, struct sim_packet *packet);

#endif
