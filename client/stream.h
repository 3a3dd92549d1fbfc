// A producer and its streams, shared by producer.c (topic, publish, counts) and stream.c (one stream's life on the
// wire). A stream keeps its events in slots, one frame each, in order: the oldest unacknowledged at `head`, the frame
// under construction at `tail`. Frames lie in buffers of the producer's pool, last in first out, so that what is
// touched is no more than what is outstanding.
#ifndef WEIR_CLIENT_STREAM_H
#define WEIR_CLIENT_STREAM_H

#include "client/state.h"

enum slot_state {
	SLOT_QUEUED,  // to be sent
	SLOT_FLYING,  // sent, counts into the session's window
	SLOT_ARRIVED, // a fragment the router has; needed again only if it forgets
};

struct slot {
	uint8_t *frame; // header and body; the header is filled at the first send of a session
	uint64_t first; // sequence
	uint64_t sent_ns;
	uint32_t count; // events that end here: 0 for every fragment but the last
	uint32_t body_crc;
	uint32_t sealed_for; // stream->seal at the time the header was sealed; 0: never
	uint16_t body_length;
	uint16_t reason; // refused for good: the slot is sent as a skip
	uint8_t state;
	uint8_t sends; // saturates
	bool is_fragment;
	bool is_repair; // asked for by a nack: does not wait for the window
	bool is_awaited; // somebody waits until it is acknowledged
	bool is_late;    // sent with LATER
	bool was_missed; // so said a nack or a refusal: what came behind it waited for it
	bool is_skip_due; // events of a train that were refused for good: they are skipped before the rest is sent again
	uint16_t skip_reason;
	uint32_t refused;    // events of it that were refused for good
	uint64_t refused_to; // sequence behind the last of them
	uint64_t skip_first;
	uint32_t skip_count;
};

enum stream_state {
	STREAM_NONE, // no session, or its turn to open has not come
	STREAM_OPENING,
	STREAM_OPEN,
	STREAM_CLOSING,
	STREAM_CLOSED,
	STREAM_DEAD, // refused for good
};

struct stream {
	// Publishing.
	uint8_t *write; // where the next event of the frame under construction goes; NULL: none is
	uint32_t room;  // bytes left in it
	uint32_t events;
	struct weir_frame_header *train; // header of the frame that is being filled, in a train; NULL: none is
	uint32_t train_events;           // in it
	struct slot *slots;
	uint32_t mask;     // of slots
	uint32_t capacity; // slots that may be in use
	uint64_t head, send, tail;
	uint64_t next; // sequence of the first event of the frame under construction

	// Sending.
	struct weir_producer *producer;
	uint64_t acked, limit, incarnation;
	uint64_t started_ns;   // frame under construction
	uint64_t timer_ns;     // retransmission; NEVER: nothing flies
	uint64_t recover_ns;   // after a timeout: what was sent before this is suspect; 0: none
	uint64_t hold_from;    // refused for now: nothing from this sequence on is sent; UINT64_MAX: none
	uint64_t probe_ns, probe_wait_ns; // NEVER: not armed
	uint64_t router;  // life that opened the stream
	uint64_t word_ns; // last heard before its session was lost
	uint64_t repaired_ns;  // last answer to a nack
	uint64_t asked_ns;     // timeout at which a probe went with the oldest frame, which did not arrive since; 0: none
	uint64_t answered_ns;  // last acknowledgement
	uint32_t flying;
	uint32_t vanished;     // times running that the oldest frame did not arrive and the probe beside it did
	uint32_t backoff;      // of the timer, as a shift
	uint32_t fragment_to;
	uint32_t handle;
	uint32_t seal;         // grows with every opened: handles in older headers are void
	uint16_t shard;
	uint16_t hold_reason;
	uint8_t state;
	uint8_t level;
	bool was_open;
	bool is_active;
	bool is_flushing; // the frame under construction does not wait for its linger
	bool is_asking;   // somebody waits for an acknowledgement
	bool is_late;     // the acknowledgement of the newest frame that was sent may wait
	struct request request; // open, close
	uint64_t opened; // number of the open that was answered
	struct stream *active_next, *active_before;
};

enum producer_state {
	PRODUCER_ASKING,
	PRODUCER_NO_TOPIC, // asking again from time to time
	PRODUCER_READY,
	PRODUCER_DEAD,     // refused for good
};

struct weir_producer {
	// Publishing.
	struct stream *streams;
	uint32_t shards; // 0: not known
	uint32_t body_max;
	uint32_t frame_events;
	uint32_t event_max;
	uint32_t train_header; // bytes in front of each frame but the first of a train; 0: slots hold one frame
	enum producer_state state;
	bool is_closing;
	uint64_t keyless;
	struct weir_producer_counts counts;
	uint16_t open_refusal; // why a stream was not opened lately, 0: none was refused

	struct weir_core *core;
	uint32_t topic;
	int level;
	uint64_t linger_ns;
	uint32_t queue_bytes;
	uint32_t open_count; // streams open
	uint32_t opening_count;
	uint32_t done_count; // streams closed or dead
	uint32_t open_from;  // next stream whose turn to open it is
	uint64_t flush_refused; // refused events the last flush told of
	struct request request; // metadata
	char name[WEIR_NAME_SIZE];

	// Frame buffers: `pool_used` of pool_count were ever touched, the free ones are chained through their first bytes.
	struct slot *slots; // of all streams, mask + 1 each
	uint32_t mask, capacity;
	uint8_t *pool;
	uint8_t *pool_free;
	bool is_pool_shared; // the router reads frames where they lie
	uint32_t slot_size;
	uint32_t pool_used, pool_count;
	struct weir_producer *next;
};

static inline struct slot *stream_slot(const struct stream *stream, uint64_t index)
{
	return &stream->slots[index & stream->mask];
}

// Event bytes of a slot's frame begin here.
static inline uint8_t *slot_body(const struct slot *slot)
{
	return slot->frame + sizeof(struct weir_frame_header);
}

// Between memories nothing is checked but headers.
static inline uint32_t body_crc(const struct weir_core *core, const void *body, uint32_t size)
{
	return core->local ? 0 : weir_crc32c(0, body, size);
}

uint8_t *producer_frame_get(struct weir_producer *producer);
void producer_frame_put(struct weir_producer *producer, uint8_t *frame);
void producer_stream_done(struct weir_producer *producer); // a stream is closed or dead
uint32_t producer_fragments(const struct weir_producer *producer, uint32_t size); // pieces of an event of so many bytes
uint32_t producer_chunk_max(const struct weir_producer *producer); // bytes of a large event in one frame
// Slots and frames for what may be outstanding at the agreed frame size, at least so many a stream and in all. -ENOMEM.
int producer_queues_build(struct weir_producer *producer, uint32_t slots_least, uint64_t pool_least);
void producer_queues_free(struct weir_producer *producer);
void producer_queue_give(const struct weir_producer *producer, struct stream *stream);
// Cuts what is held for frames of the path's size (repack.c); what flies and fits goes on flying. Nothing of it lies in the
// core's batch. -ENOMEM: nothing changed.
int producer_repack(struct weir_producer *producer);
void producer_topic_gone(struct weir_producer *producer);

// ---- train.c: several frames in a slot, one behind the other; in shared memory one descriptor hands over all ----

// A frame of the slot is complete: its header is filled, and sealed when the stream is open.
void train_frame_end(struct stream *stream);
// Fills and seals all headers of the slot.
void train_seal(const struct stream *stream, const struct slot *slot);
// Final refusal of a part of the slot. false: of all of it that is left.
bool train_refused(const struct stream *stream, struct slot *slot, const struct weir_refuse_entry *entry);

void stream_activate(struct stream *stream);
void stream_frame_close(struct stream *stream); // ends the frame under construction
void stream_poll(struct stream *stream, uint64_t now_ns);
void stream_session_lost(struct stream *stream);
void stream_repacked(struct stream *stream, uint64_t now_ns); // its slots are others now
void stream_open(struct stream *stream, uint64_t now_ns);
void stream_opened(struct stream *stream, const struct weir_frame_header *frame, uint64_t now_ns);
void stream_ack(struct stream *stream, const struct weir_ack_entry *entry, uint64_t now_ns);
void stream_refuse(struct stream *stream, const struct weir_refuse_entry *entry, uint64_t now_ns);
void stream_closed(struct stream *stream, uint64_t request); // of the open that it ends
void stream_dead(struct stream *stream, uint16_t reason); // everything that waits counts as refused
void stream_give_up(struct stream *stream); // unsent events become skipped, counted unknown
// Sends what credit, window and hold let out, at most `most` frames. Returns how many.
uint32_t stream_send(struct stream *stream, uint32_t most, uint64_t now_ns);

#endif
