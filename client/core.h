// The client without its socket: session, streams, deliveries over plain bytes, the clock an argument. The UDP transport
// (client/udp.c) drives it for real, the lossy-network test drives it with a virtual clock. It makes no system call but
// malloc() (at open, when a topic becomes known, and once per large event on its way in), and all that is random in it
// comes from the secret. One thread at a time. Internal to libweir: not installed.
//
//   weir_core_create(&core, &options, now);
//   weir_core_producer_open(core, "positions", NULL, &producer);
//   loop: weir_core_input(core, datagram, size, now) for each datagram received
//         weir_core_poll(core, now, &output)         hands out the datagrams to send
//         wait until weir_core_deadline(core) or the next datagram
#ifndef WEIR_CLIENT_CORE_H
#define WEIR_CLIENT_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/weir.h"

struct weir_core;
struct weir_core_local; // client/local.h

#define WEIR_CORE_BATCH 128u            // most datagrams handed to one call of the output
#define WEIR_CORE_BUFFER_SIZE (64u << 10) // bytes of a receive buffer: one coalesced receive

struct weir_core_options {
	const char *name;           // NULL or "": anonymous
	uint64_t epoch;             // of a named client; 0: now + realtime_offset_ns
	uint64_t secret[2];         // of nonces, the anonymous producer id, jitter, keys of keyless events: as random as the
				    // system can
	int64_t realtime_offset_ns; // CLOCK_REALTIME minus the clock given as now_ns
	uint32_t frame_size;        // 0: WEIR_FRAME_DEFAULT
	uint64_t knows;             // WEIR_OFFER_* beyond what this release is made for
	uint32_t credit_bytes;      // granted to the router over all consumers, as weir_charge() counts; 0: 4 MiB
	const struct weir_core_local *local; // shared memory with the router, outlives the core; NULL: there is none
};

struct weir_datagram {
	const void *data;
	size_t size;
};

// Takes datagrams from the front of the array, as many as it can send now; returns how many (a count below `count`
// means: full, and the core keeps the rest). The bytes are valid during the call only.
struct weir_core_output {
	uint32_t (*send)(void *context, const struct weir_datagram *datagrams, uint32_t count);
	void *context;
};

// -EINVAL bad name or frame size, -ENOMEM.
int weir_core_create(struct weir_core **core, const struct weir_core_options *options, uint64_t now_ns);
void weir_core_destroy(struct weir_core *core); // and all producers and consumers of it

// One datagram from the router's address; copied where it must outlive the call. Anything may be in it.
void weir_core_input(struct weir_core *core, const void *datagram, size_t size, uint64_t now_ns);

// Receive buffers, for transports that want the events to stay where the kernel put them. get: NULL when all are in
// use. A buffer may be filled with several datagrams; each is given to input_in, which may keep the buffer alive by a
// reference of its own; `is_sparse` says that the buffer holds little, so that a copy is better than a reference.
// Then put. Datagrams begin at multiples of 8.
struct weir_buffer;
struct weir_buffer *weir_core_buffer_get(struct weir_core *core);
void weir_core_buffer_put(struct weir_core *core, struct weir_buffer *buffer);
void *weir_buffer_data(struct weir_buffer *buffer); // WEIR_CORE_BUFFER_SIZE bytes, 64-byte aligned
void weir_core_input_in(struct weir_core *core, struct weir_buffer *buffer, const struct weir_datagram *datagram,
			bool is_sparse, uint64_t now_ns);

// Runs the timers that are due and sends what may be sent.
void weir_core_poll(struct weir_core *core, uint64_t now_ns, const struct weir_core_output *output);

// When poll has something to do without new input; UINT64_MAX: never. In the past: at once.
uint64_t weir_core_deadline(const struct weir_core *core);

// Input left something that should be sent before the application gets its turn (an answer, a freed window).
bool weir_core_is_urgent(const struct weir_core *core);

// A datagram of this size was too large for the path (the transport's EMSGSIZE): step down.
void weir_core_too_large(struct weir_core *core, size_t size, uint64_t now_ns);

// Nobody has answered yet: hellos may go to whoever could be the router.
bool weir_core_is_seeking(const struct weir_core *core);
// A ping that any thread may send for the client: its sequence has this bit and the monotonic time when it went out.
#define WEIR_KEEPALIVE_PING (1ull << 63)
struct weir_frame_header;
void weir_keepalive_make(struct weir_frame_header *ping, uint64_t session, uint64_t sequence);
// The session that lives, 0: none.
uint64_t weir_core_session(const struct weir_core *core);
// The session lives, but the router has owed the answer to a ping for longer than it should.
bool weir_core_is_unheard(const struct weir_core *core);
// From now on the client sends from another address: the router is told at once.
void weir_core_path_moved(struct weir_core *core, uint64_t now_ns);

// A lane was set up: what waited for it goes at once. It ended: so did the session.
void weir_core_path_up(struct weir_core *core, uint64_t now_ns);
void weir_core_path_down(struct weir_core *core, uint64_t now_ns);
// A log that log_get() asked for is there, or is not to be had.
void weir_core_log_ready(struct weir_core *core, uint32_t topic, uint16_t shard, uint64_t now_ns);
// Events can be handed out that lie in place.
bool weir_core_has_places(const struct weir_core *core);

enum weir_state weir_core_state(const struct weir_core *core);
uint64_t weir_core_offers(const struct weir_core *core);  // WEIR_OFFER_* that the router offers and the client knows
unsigned weir_core_refusal(const struct weir_core *core); // of a session
void weir_core_statistics(const struct weir_core *core, struct weir_statistics *statistics);

// Ends everything in order: consumers leave, producers close, BYE. is_closed turns true when all was confirmed.
void weir_core_close(struct weir_core *core, uint64_t now_ns);
bool weir_core_is_closed(const struct weir_core *core);
// Ends the session without waiting for anything: the next poll says BYE.
void weir_core_bye(struct weir_core *core, uint64_t now_ns);

// ---- What weir.h's functions of the same name do, without waiting ----

// -EEXIST: this client already has a producer for the topic.
int weir_core_producer_open(struct weir_core *core, const char *topic, const struct weir_producer_options *options,
			    struct weir_producer **producer);
struct weir_core *weir_producer_core(const struct weir_producer *producer);
// 0 when every shard is open, -EAGAIN not yet, -ENOENT, -EPROTO.
int weir_core_producer_state(const struct weir_producer *producer);
int weir_core_publish(struct weir_producer *producer, const struct weir_event *event);
int weir_core_publish_many(struct weir_producer *producer, const struct weir_event *events, int count);
// Ends the linger of all frames under construction.
void weir_core_flush(struct weir_producer *producer);
// 0 when nothing waits, -EAGAIN, -EPROTO when an event was refused since the last flush that returned 0 or -EPROTO.
int weir_core_flush_state(struct weir_producer *producer);
void weir_core_producer_close(struct weir_producer *producer); // frees it when the router confirmed

// -EEXIST: this client is already a member of the group.
int weir_core_consumer_open(struct weir_core *core, const char *topic, const char *group,
			    const struct weir_consumer_options *options, struct weir_consumer **consumer);
struct weir_core *weir_consumer_core(const struct weir_consumer *consumer);
// 0 joined, -EAGAIN not yet, -ENOENT no such topic or group.
int weir_core_consumer_state(const struct weir_consumer *consumer);
int weir_core_consume(struct weir_consumer *consumer, struct weir_view *views, int most, uint64_t now_ns);
int weir_core_settle(struct weir_consumer *consumer, const struct weir_view *view);
// Releases what the last weir_core_consume() handed out (weir_poll() does it: the views end there).
void weir_core_release(struct weir_core *core);
void weir_core_consumer_leave(struct weir_consumer *consumer);
bool weir_core_consumer_has_left(const struct weir_consumer *consumer);
void weir_core_consumer_free(struct weir_consumer *consumer); // after has_left, or to give up

// What the transport owns beside the core; weir.c's way from a producer back to its client.
void weir_core_owner_set(struct weir_core *core, void *owner);
void *weir_core_owner(const struct weir_core *core);

#endif
