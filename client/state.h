// What the parts of the client core share: the core itself, its window, its way out, and the parts' hooks. Each part
// (session, producer, stream, consumer, delivery, buffer) keeps the rest to itself. Same thread as client/core.h.
#ifndef WEIR_CLIENT_STATE_H
#define WEIR_CLIENT_STATE_H

#include "client/core.h"
#include "client/local.h"
#include "wire/codec.h"
#include "wire/frame.h"
#include "wire/key.h"
#include "wire/reason.h"

#define NEVER UINT64_MAX
#define MS 1000000ull
#define US 1000ull

#define REQUEST_FIRST_NS (100 * MS)
#define REQUEST_MAX_NS (2000 * MS)
#define PROBE_FIRST_NS (10 * MS)
#define PROBE_MAX_NS (1000 * MS)

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

// Something asked for until it is answered: the n-th wait is 100 ms doubling to 2 s.
struct request {
	uint64_t id;
	uint64_t due_ns; // send (again) at; NEVER: nothing is asked
	uint64_t wait_ns;
};

// ---- Congestion window and round trip (window.c) ----

struct window {
	uint32_t frames;     // may be in flight
	uint32_t frames_max; // welcome.window_frames
	uint32_t in_flight;
	uint32_t credit; // acknowledged frames towards the next increase
	bool is_slow_start;
	bool is_open; // shared memory: as wide as the router lets it be from the beginning, and soon again after a loss
	uint64_t cut_ns; // losses of frames sent before this are answered already
	uint64_t smoothed_ns, deviation_ns; // smoothed 0: nothing measured yet
};

void window_init(struct window *window, uint32_t frames_max);
void window_restart(struct window *window); // what was lost was too large: it says nothing about congestion
void window_open(struct window *window); // shared memory has no path to learn about: all of it at once
void window_acked(struct window *window, uint32_t frames);
// A frame sent at sent_ns is lost. Halves once per round trip.
void window_lost(struct window *window, uint64_t sent_ns, uint64_t now_ns);
// wait_ns: so much of it at most was not the way, but the router's wait with its answer.
void window_measured(struct window *window, uint64_t round_trip_ns, uint64_t wait_ns);
uint64_t window_timeout(const struct window *window); // retransmission timer, without backoff
uint64_t window_gap_ns(const struct window *window);  // least distance of two repairs of one gap

// ---- Frame size of the path (path.c) ----

struct path {
	uint32_t size; // largest frame that is sent
	uint32_t most; // what was wanted and agreed
	uint64_t large_ns; // something larger than the next smaller size arrived
	uint64_t small_ns; // something larger than the smallest size did
	uint32_t trying;     // size that a hello is to prove; 0: none is under way
	uint32_t tries;      // hellos of it without an answer
	uint64_t tried_ns;   // the first of them
	uint64_t due_ns;     // next hello
	uint64_t wait_ns;    // before the next proof
	bool is_unproven;    // frames of its size left that nobody acknowledges one by one
};

void path_begin(struct weir_core *core, uint32_t hello_size, uint32_t agreed, uint64_t now_ns);
void path_poll(struct weir_core *core, uint64_t now_ns);
// A frame of `size` bytes may be too large for the path.
bool path_can_step(const struct weir_core *core, uint32_t size);
// The path does not carry `size`: what waits is cut anew, to less than that, before the next frame leaves.
void path_step(struct weir_core *core, uint32_t size, uint64_t now_ns);
// Something about as large arrived since.
bool path_has_carried(const struct weir_core *core, uint32_t size, uint64_t since_ns);
void path_too_large(struct weir_core *core, uint32_t size, uint64_t now_ns);
// A frame of `size` bytes arrived.
void path_carried(struct weir_core *core, uint32_t size, uint64_t now_ns);
// It left and nobody will say whether it arrived.
void path_unproven(struct weir_core *core, uint32_t size);
// A welcome of `size` bytes came while the session lives: both ways carry it.
void path_proven(struct weir_core *core, uint32_t size, uint64_t now_ns);

// ---- Session (session.c) ----

enum session_state {
	SESSION_HELLO,
	SESSION_READY,
	SESSION_BYE,
	SESSION_END,
};

#define FRAME_STEPS 4u

struct session {
	enum session_state state;
	uint32_t generation; // grows with every new session: handles and seals of an older one are void
	uint64_t id, nonce, cookie, router;
	uint64_t producer, epoch;
	uint64_t due_ns, wait_ns; // hello or bye timer
	uint64_t heard_ns, sent_ns;
	uint64_t ping;      // number of the last one
	uint64_t asked_ns;  // when it went out first
	uint64_t pinged_ns; // and last
	uint64_t hello_ns;  // when the first hello with the nonce went out; 0: none yet
	uint64_t proven_ns; // the router heard the client after this
	uint64_t ping_ns, lease_ns, dedup_ns;
	uint64_t last_word_ns; // when the session before this one was last heard
	uint64_t offers;       // WEIR_OFFER_* of the last welcome that this client knows as well
	uint32_t frame_size;   // agreed; before welcome: wanted
	uint32_t deliver_overhead; // as the last welcome said: room that publish frames leave
	uint32_t steps[FRAME_STEPS];
	uint32_t step, step_count;
	uint32_t tries; // hellos at this step without an answer
	uint32_t byes;
	uint16_t refusal;   // reason why no session was granted, 0: none
	bool is_answer_due; // a challenge came: hello at once
	bool is_ping_open;  // not answered
	bool had_welcome;
	bool is_other_router; // the last welcome came from another router life than the one before
	char name[WEIR_NAME_SIZE];
};

void session_init(struct weir_core *core, const struct weir_core_options *options, uint64_t now_ns);
void session_poll(struct weir_core *core, uint64_t now_ns);
uint64_t session_deadline(const struct weir_core *core);
// A hello of the live session that asks for a cookie: its answers prove that the path carries `size`.
void session_prove(struct weir_core *core);
void session_challenge(struct weir_core *core, const struct weir_frame_header *frame, uint64_t now_ns);
void session_welcome(struct weir_core *core, const struct weir_frame_header *frame, uint64_t now_ns);
void session_refused(struct weir_core *core, const struct weir_error *error); // of a hello
void session_lost(struct weir_core *core, uint64_t now_ns);
void session_pong(struct weir_core *core, const struct weir_frame_header *frame);
// 2/3 of the lease have not passed since something was sent that the router answered. What was heard since proves nothing: it
// may have waited in the socket while the client slept, or the way to the router may be dead.
bool session_may_hand_out(const struct weir_core *core, uint64_t now_ns);

// ---- Buffers (buffer.c) ----

struct weir_buffer {
	uint8_t *data;
	uint32_t used; // of a packing buffer
	uint32_t refs;
	bool is_heap; // of one large event: freed, not pooled
	struct weir_buffer *next;
};

struct buffers {
	struct weir_buffer *array;
	uint8_t *memory;
	struct weir_buffer *free; // last in, first out: what is warm is used first
	struct weir_buffer *packing;
};

int buffers_init(struct buffers *buffers, uint32_t count);
void buffers_fini(struct buffers *buffers);
void buffer_put(struct buffers *buffers, struct weir_buffer *buffer);
// Room for `size` bytes in the packing buffer, with a reference taken. NULL: all buffers are in use.
uint8_t *buffers_pack(struct buffers *buffers, uint32_t size, struct weir_buffer **buffer);
struct weir_buffer *buffer_heap(size_t size); // one reference; NULL no memory

// ---- Core ----

struct slot;
struct stream;

// A revoked that is owed to the router.
struct answer {
	uint64_t settled_to;
	uint64_t handed_to;
	uint32_t topic, stream, group, term;
	uint16_t shard;
};

#define ANSWERS_MAX 64u // more are left out: the router asks again

// A sent datagram's way back to its slot, should the output not take it.
struct batch_entry {
	struct stream *stream;
	uint64_t slot;
};

#define SCRATCH_SIZE (64u << 10)

struct weir_core {
	uint64_t now_ns;
	struct session session;
	struct path path;
	struct window window;
	struct buffers buffers;
	uint32_t credit_bytes;
	uint32_t consumer_count;
	uint64_t backlog; // closed frames of all streams that wait to be sent
	uint64_t deadline_ns;
	uint64_t secret[2]; // of random numbers
	uint64_t drawn;     // of them so far
	uint64_t request; // last request number
	uint64_t knows;   // WEIR_OFFER_*: told in every hello
	int64_t realtime_offset_ns;
	const struct weir_core_local *local; // NULL: no shared memory
	uint64_t cursor_tag;       // last one given out
	uint64_t cursors_used[WEIR_LANE_READERS_MAX / 64]; // bit per cursor
	bool is_urgent;
	bool is_closing;
	bool is_blocked; // the output took less than it was given
	struct weir_producer *producers;
	struct weir_consumer *consumers;
	struct stream *active, *active_tail; // streams with something to do
	struct weir_statistics statistics;
	void *owner;
	const struct weir_core_output *output; // during poll
	uint32_t answer_count;
	struct answer answers[ANSWERS_MAX];
	uint64_t stray_member; // membership that the router believes in and nobody here has; 0: none
	uint32_t batch_count, scratch_used;
	struct weir_datagram batch[WEIR_CORE_BATCH];
	struct batch_entry entries[WEIR_CORE_BATCH];
	uint8_t *scratch;
};

uint64_t core_random(struct weir_core *core);
uint64_t core_jitter(struct weir_core *core, uint64_t most); // uniform in (0, most]
static inline void core_due(struct weir_core *core, uint64_t at_ns)
{
	core->deadline_ns = min_u64(core->deadline_ns, at_ns);
}

void request_start(struct weir_core *core, struct request *request, uint64_t now_ns);
// A number above all that went out before, where each repetition has its own.
void request_renew(struct weir_core *core, struct request *request);
bool request_is_due(struct weir_core *core, struct request *request, uint64_t now_ns); // and schedules the next time

// A control frame in the scratch buffer: zeroed header with kind and session, `size` zeroed bytes of body behind it. NULL: the
// output is full. core_frame_send() seals it and puts it into the batch.
struct weir_frame_header *core_frame(struct weir_core *core, enum weir_kind kind, uint32_t size);
bool core_frame_send(struct weir_core *core, struct weir_frame_header *frame, uint32_t size);
// A stream's slot: its own frame, or a copy of it in what core_frame() gave. false: the output is full.
bool core_slot_send(struct weir_core *core, struct stream *stream, uint64_t slot, const struct weir_datagram *datagram);
void core_batch_flush(struct weir_core *core);
uint32_t core_body_max(const struct weir_core *core); // bytes of a publish body at the agreed frame size

bool name_copy(char to[WEIR_NAME_SIZE], const char *from);

// ---- Producers and streams (producer.c, stream.c) ----

void producers_poll(struct weir_core *core, uint64_t now_ns);
void producers_session_new(struct weir_core *core, uint64_t now_ns);
void producers_session_lost(struct weir_core *core);
void producers_topic(struct weir_core *core, const struct weir_frame_header *frame);
void producers_error(struct weir_core *core, const struct weir_error *error);
void producers_opened(struct weir_core *core, const struct weir_frame_header *frame);
void producers_closed(struct weir_core *core, const struct weir_frame_header *frame);
void producers_ack(struct weir_core *core, const struct weir_frame_header *frame);
void producers_refuse(struct weir_core *core, const struct weir_frame_header *frame);
void producers_free(struct weir_core *core);
void producers_close(struct weir_core *core);
void stream_unsent(struct stream *stream, uint64_t slot); // the output did not take it

// ---- Consumers (consumer.c, delivery.c) ----

void consumers_poll(struct weir_core *core, uint64_t now_ns);
void consumers_session_new(struct weir_core *core, uint64_t now_ns);
void consumers_session_lost(struct weir_core *core);
// A ping goes out; the router answered it, so it knows what was reported before.
void consumers_asked(struct weir_core *core);
void consumers_told(struct weir_core *core);
void consumers_joined(struct weir_core *core, const struct weir_frame_header *frame);
void consumers_error(struct weir_core *core, const struct weir_error *error); // of a join
void consumers_assign(struct weir_core *core, const struct weir_frame_header *frame);
void consumers_revoke(struct weir_core *core, const struct weir_frame_header *frame);
void consumers_left(struct weir_core *core, const struct weir_frame_header *frame);
// The frame lies in `buffer`, or anywhere when that is NULL.
void consumers_deliver(struct weir_core *core, struct weir_frame_header *frame, struct weir_buffer *buffer);
void consumers_reports_again(struct weir_core *core); // reports of the last poll were not taken
void consumers_log_ready(struct weir_core *core, uint32_t topic, uint16_t shard);
void consumers_free(struct weir_core *core);
void consumers_close(struct weir_core *core);

#endif
