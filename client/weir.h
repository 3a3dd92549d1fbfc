// libweir: publish events to a weir router and consume them. One session per client, no locks, no threads of its own but one
// that lives as long as a host name is looked up: a client and everything opened from it belongs to one thread at a time.
// All calls return at once unless they take a timeout. Times in milliseconds or nanoseconds as the name says, sizes in bytes,
// errors as -errno.
//
//   struct weir *weir;
//   weir_open(&weir, "udp://10.0.0.1:9347", NULL);
//   struct weir_producer *positions;
//   weir_producer_open(&positions, weir, "positions", NULL);
//   weir_publish(positions, &(struct weir_event){ .key = vehicle, .payload = buffer, .payload_size = size });
//   weir_flush(positions, 1000);
//   weir_close(weir, 1000);
#ifndef WEIR_H
#define WEIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weir;          // a client: one socket, one session
struct weir_producer; // publishes to one topic
struct weir_consumer; // a member of one group of one topic

// Waking up costs microseconds, waiting awake costs the core.
enum weir_wait {
	WEIR_WAIT_SLEEP = 0, // until the kernel wakes the client
	WEIR_WAIT_YIELD,     // others may run in between
	WEIR_WAIT_SPIN,      // nobody else runs on this core
};

// What is not set (zero) takes its default.
struct weir_options {
	const char *name;             // makes streams survive a restart of the client; NULL: anonymous
	uint64_t epoch;               // fence of a named client; 0: nanoseconds since 1970 at weir_open()
	uint32_t frame_size;          // largest frame; default 1472, stepping down where the path carries less; on lanes 4096
	uint32_t receive_buffer_size; // of the socket; default 8 MiB
	uint32_t send_buffer_size;    // of the socket; default 4 MiB
	uint16_t local_port;          // default 0: any
	enum weir_wait wait;          // how calls with a timeout wait; default: sleep
	uint32_t lane_bytes;          // shared with the router for frames, lanes only; default 16 MiB
};

// Address of a router: "udp://HOST[:PORT]" with an IPv4 address, an [IPv6] address or a host name, of whose addresses the first
// that answers is taken (up to 8, IPv4 and IPv6 in turn); port 9347. Or "unix:PATH", the socket of a router on this machine
// (/run/weir/weir.lanes.sock): a lane through shared memory. Events of lossless topics are then handed out where they lie
// in the router's log.
// Returns at once; the session comes up while weir_poll() or any call with a timeout runs. Names are looked up meanwhile, and
// anew whenever no router answers. options are copied.
// -EINVAL malformed address, -EACCES may not use the lane's socket, -ENOMEM, or socket()'s and bind()'s.
int weir_open(struct weir **weir, const char *address, const struct weir_options *options);

// Flushes producers, settles nothing on its own, leaves groups, ends streams and the session; waits at most timeout_ms.
// Frees everything opened from it, always. Returns 0, or -ETIMEDOUT when something was not confirmed.
int weir_close(struct weir *weir, int timeout_ms);

// Becomes readable when weir_poll() has something to do: datagrams or a timer that is due. Owned by the client.
int weir_fd(const struct weir *weir);

// Receives, sends, runs timers; waits at most timeout_ms (0: not at all, -1: until something happened) for something
// to do. Returns the number of datagrams received, or -errno of a broken socket. An unreachable router is no error:
// the client goes on trying (full jitter up to 2 s); see weir_state().
int weir_poll(struct weir *weir, int timeout_ms);

// For an application that takes longer with what it was handed than the lease or the group's progress_timeout, without a call
// of weir_poll() or without settling: says that the client lives and that it is at work. The session stays, and so do its
// shards. Call it about once a second, from any thread, while the work goes on and no longer: it keeps other members waiting.
// 0, or -ENOTCONN: there is no session. Neither blocks nor receives; the last call must have returned before weir_close().
int weir_keepalive(struct weir *weir);

enum weir_state {
	WEIR_STATE_CONNECTING, // hello sent, no welcome yet
	WEIR_STATE_READY,
	WEIR_STATE_LOST, // the lease passed without a word from the router: hello again is under way
};
enum weir_state weir_state(const struct weir *weir);

// Unless the state is READY, what was last in the way, as far as this host knows: -ENXIO there is no host of that name,
// -EBUSY no name server answers, -ECONNREFUSED nobody listens there, -ENETUNREACH, ...; 0: nothing but silence.
int weir_error(const struct weir *weir);
// Reason number of the router's last refusal to give it a session (sessions, version), 0: it did not refuse. Asked again until
// it grants one.
unsigned weir_refusal(const struct weir *weir);

// Monotonic counters since weir_open().
struct weir_statistics {
	uint64_t frames_sent, frames_resent, frames_received, frames_bad; // bad: failed the checks of wire/codec.h
	uint64_t system_calls;
	uint64_t sessions;  // welcomes: more than one means that the session was lost
	uint64_t nacks, timeouts;
	uint32_t window_frames; // congestion window now
	uint32_t frame_size;    // largest that is sent now: agreed, or less where the path turned out to carry less
	uint64_t round_trip_ns; // smoothed
	uint64_t frame_steps;   // times that frame_size stepped down while the session lived
};
void weir_statistics(const struct weir *weir, struct weir_statistics *statistics);

// ---- Publishing ----

enum weir_level {
	WEIR_LEVEL_DEFAULT = -1, // the least the topic asks for, at least `routed`
	WEIR_LEVEL_NONE = 0,     // sent and forgotten; gaps are counted by the router
	WEIR_LEVEL_ROUTED = 1,   // acknowledged when in the shard log
};

struct weir_producer_options {
	int level;          // enum weir_level; a zeroed struct means NONE: pass NULL or set WEIR_LEVEL_DEFAULT
	uint32_t linger_us; // how long a frame that is not full waits for more; default 100; UINT32_MAX: until full or flush
	uint32_t frame_events; // most events in a frame; 0: as many as fit
	uint32_t queue_bytes;  // unacknowledged and unsent events kept per shard; default 1 MiB
};

// The topic need not exist yet. options may be NULL. -ENAMETOOLONG, -EINVAL, -ENOMEM, -EEXIST: the client has a producer
// for the topic already, or one that is still closing.
int weir_producer_open(struct weir_producer **producer, struct weir *weir, const char *topic,
		       const struct weir_producer_options *options);

// Waits until the topic's shards are open, at most timeout_ms. 0, -ENOENT no such topic, -ETIMEDOUT, -EPROTO refused.
int weir_producer_wait(struct weir_producer *producer, int timeout_ms);

// Reason number of the router's last refusal to open a stream, which is asked for again (streams, busy), or of events; 0: none.
unsigned weir_producer_refusal(const struct weir_producer *producer);

// Ends the producer's streams without waiting for what is not flushed. weir_close() does it too.
void weir_producer_close(struct weir_producer *producer);

// Shards of the topic, 0 until known.
uint32_t weir_producer_shards(const struct weir_producer *producer);

#define WEIR_EVENT_KEYLESS 0x1u // the library picks a key that spreads evenly

struct weir_event {
	uint64_t key;
	uint32_t flags; // WEIR_EVENT_KEYLESS
	uint16_t type;
	uint16_t attributes_size; // multiple of 8, at most 2040
	const void *attributes;   // weir_attribute_put() makes them
	const void *payload; // copied before the call returns
	uint32_t payload_size;
};

// Puts the event into its shard's frame, which leaves when it is full, flushed, or its linger is over and the client is
// driven (weir_poll() or any call with a timeout). Returns 0 when it was taken; -EAGAIN no credit or the queue is full
// (poll and try again); -ENOENT no such topic; -ENOTCONN topic not known yet (poll and try again); -EMSGSIZE larger than
// the topic's event_max; -EPROTO the stream was refused for good (weir_producer_counts().last_refusal says why). Never
// blocks, never partial.
int weir_publish(struct weir_producer *producer, const struct weir_event *event);

// The same for many events, in order. Returns how many were taken from the front, below count when the next one could not be;
// when none was, what weir_publish() says of the first.
int weir_publish_many(struct weir_producer *producer, const struct weir_event *events, int count);

// Sends what waits and waits until every event was acknowledged, refused or (level none) sent. 0, -ETIMEDOUT, -EPROTO
// when any event since the last flush was refused for good. A router that is behind may acknowledge up to 4 ms late where
// nobody waits for it: this asks for it at once.
int weir_flush(struct weir_producer *producer, int timeout_ms);

// Every event given to weir_publish() with result 0 is in exactly one of these. Events.
struct weir_producer_counts {
	uint64_t published; // taken by weir_publish()
	uint64_t routed;    // acknowledged; level none: sent
	uint64_t refused;   // refused for good, then skipped
	uint64_t unknown;   // in doubt: the stream was lost before an acknowledgement came
	uint64_t waiting;   // not sent or not acknowledged yet
	uint16_t last_refusal; // enum weir_reason of the last final refusal, 0: none
};
void weir_producer_counts(const struct weir_producer *producer, struct weir_producer_counts *counts);

// ---- Consuming ----

struct weir_consumer_options {
	uint32_t credit_bytes; // granted to the router over all shards; default: what the receive buffer holds
	bool settle_by_hand;   // false: weir_consume() settles everything handed out by the call before
};

// Joins the group. options may be NULL. -ENAMETOOLONG, -EINVAL, -ENOMEM, -EEXIST: the client is in the group already.
int weir_consumer_open(struct weir_consumer **consumer, struct weir *weir, const char *topic, const char *group,
		       const struct weir_consumer_options *options);

// 0 joined, -ENOENT no such topic or group, -ETIMEDOUT: weir_consumer_refusal() or weir_refusal() may say why. Shards are
// assigned some time after joining.
int weir_consumer_wait(struct weir_consumer *consumer, int timeout_ms);

enum weir_membership {
	WEIR_MEMBERSHIP_JOINING, // asked for, or the session is lost
	WEIR_MEMBERSHIP_MEMBER,
	WEIR_MEMBERSHIP_REFUSED, // weir_consumer_refusal() says why; asked for again every 2 s
	WEIR_MEMBERSHIP_ENDED,   // the group or its topic was removed: asked for until it is there again
	WEIR_MEMBERSHIP_LEFT,
};
enum weir_membership weir_consumer_membership(const struct weir_consumer *consumer);
// Reason number of the router's last refusal to let it join, 0: it did not refuse.
unsigned weir_consumer_refusal(const struct weir_consumer *consumer);

#define WEIR_VIEW_REDELIVERED 0x1u // an earlier member may have seen this event

// An event where it lies in the client's memory; valid until the next weir_consume() or weir_poll() of the client.
struct weir_view {
	uint64_t key;
	uint64_t offset;      // with incarnation, topic and shard: the event's identity
	uint64_t producer;    // with sequence: its identity as published
	uint64_t sequence;
	uint64_t append_ns;   // router's monotonic clock
	const void *payload;
	const void *attributes;
	uint32_t payload_size;
	uint32_t term;        // fencing token
	uint16_t attributes_size;
	uint16_t type;
	uint16_t shard;
	uint16_t flags;       // WEIR_VIEW_*
};

// Hands out up to `most` events that have arrived, in order per shard. Does no system call. Returns how many. Unless
// settle_by_hand, it first settles what the call before handed out: call it until it returns 0 before waiting again,
// for events that are not settled hold the router's log. With most 0 it only settles.
int weir_consume(struct weir_consumer *consumer, struct weir_view *views, int most);

// settle_by_hand: everything of the view's shard up to and including it is done. -ESTALE: its term is over; when the session
// was lost and the shard comes back to this client, what was settled is not handed out again all the same.
int weir_settle(struct weir_consumer *consumer, const struct weir_view *view);

// Leaves the group: nothing is handed out any more; what was settled is reported; waits until the router confirmed.
int weir_consumer_close(struct weir_consumer *consumer, int timeout_ms);

struct weir_consumer_counts {
	uint64_t delivered;   // events handed out
	uint64_t redelivered; // came again from an earlier term: what the router's ledger calls so too
	uint64_t settled;
	uint64_t gap_events;  // skipped offsets the router told of (filtered, cut loose)
	uint64_t frames_lost; // deliver frames that had to be sent again
	uint64_t unsettled;   // handed out, and when their session or term ended not settled as far as the router is known to
			      // know: they may come again, to this member only those that it had not settled
	uint64_t passed_over; // of those redelivered: not handed out, for this client had settled them already
	uint32_t shards;      // assigned now
};
void weir_consumer_counts(const struct weir_consumer *consumer, struct weir_consumer_counts *counts);

// Assigned shards and their incarnation, for applications that fence or seek. Returns how many were filled.
struct weir_assignment {
	uint64_t incarnation;
	uint64_t received_to;
	uint64_t settled_to;
	uint32_t term;
	uint16_t shard;
	uint16_t reserved;
};
int weir_consumer_assignments(const struct weir_consumer *consumer, struct weir_assignment *assignments, int most);

// ---- Keys and attributes: pure functions, from any thread ----

// The key of a text or any other bytes, the same in every language (FNV-1a, wire/PROTOCOL.md section 1).
uint64_t weir_key(const void *bytes, size_t size);

// What an event carries beside its payload. Values are text as CloudEvents has them unless said otherwise.
enum weir_attribute_id {
	WEIR_ATTRIBUTE_ID = 1,
	WEIR_ATTRIBUTE_SOURCE = 2,
	WEIR_ATTRIBUTE_SUBJECT = 3,
	WEIR_ATTRIBUTE_SCHEMA = 4,
	WEIR_ATTRIBUTE_CORRELATION = 5,
	WEIR_ATTRIBUTE_TRACEPARENT = 6,
	WEIR_ATTRIBUTE_CONTENT_TYPE = 7,
	WEIR_ATTRIBUTE_TYPE = 8,        // the event's type as text; weir_event.type is a number of the application's own
	WEIR_ATTRIBUTE_TIME = 9,        // when it happened, RFC 3339
	WEIR_ATTRIBUTE_KEY = 10,        // the text of the key
	WEIR_ATTRIBUTE_DATAREF = 11,    // where the payload is, when it is elsewhere
	WEIR_ATTRIBUTE_CAUSATION = 12,  // id of the event that caused this one
	WEIR_ATTRIBUTE_EXTENSION = 13,  // name, a zero byte, value; as often as there are extensions
	WEIR_ATTRIBUTE_NOT_BEFORE = 14, // reserved
	WEIR_ATTRIBUTE_USER = 128,      // and above, up to 255: the application's own
};

struct weir_attribute {
	const void *value; // size bytes, without a zero byte at the end
	uint16_t size;
	uint16_t id; // enum weir_attribute_id
};

// Appends an attribute to the *size bytes that attributes holds already, and adds to *size what it takes: 4 bytes and its
// value, up to a multiple of 8. An event has room for 2040 bytes of them. 0, -ENOSPC beyond that or capacity, -EINVAL id 0 or
// above 255; attributes and *size are as before then.
int weir_attribute_put(void *attributes, size_t capacity, uint16_t *size, const struct weir_attribute *attribute);

// The attribute behind the one given, the first when its value is NULL. The value lies in attributes. 0, -ENOENT there are no
// more, -EBADMSG what is there is no attribute; *attribute is as before then.
int weir_attribute_next(const void *attributes, size_t size, struct weir_attribute *attribute);

// The first attribute with that id. Returns as weir_attribute_next().
int weir_attribute_get(const void *attributes, size_t size, unsigned id, struct weir_attribute *attribute);

// "no-topic", "size", ...: name and sentence of a reason number. Static storage.
const char *weir_refusal_name(unsigned reason);
const char *weir_refusal_text(unsigned reason);

#ifdef __cplusplus
}
#endif

#endif
