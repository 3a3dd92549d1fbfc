// Layout of everything on the wire: frame header, event header, runs, control bodies. PROTOCOL.md says what they mean.
// Little-endian, 8-byte aligned relative to the start of the frame. Shared by BPF, client, router, tools and tests:
// no code, no includes beyond <stdint.h>. The structs are overlaid on byte buffers, hence only fixed-width fields,
// no implicit padding, and asserts on every size.
#ifndef WEIR_WIRE_FRAME_H
#define WEIR_WIRE_FRAME_H

#include <stdint.h>

#include "wire/limits.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "weir overlays little-endian structs; a big-endian host needs a byte-swapping codec first"
#endif

// A struct that may alias any byte buffer and may stand at any even address: behind the headers of Ethernet, IP and UDP
// a frame begins at 42 or 46 bytes. The verifier of the kernel wants natural alignment, and gets it.
#ifdef __bpf__
#define WEIR_WIRE __attribute__((may_alias))
#else
#define WEIR_WIRE __attribute__((may_alias, packed, aligned(2)))
#endif

#define WEIR_MAGIC 0x4557u // "WE"

// Direction: C client to router, R router to client. `seq` says what the header's sequence field holds.
enum weir_kind {
	WEIR_KIND_HELLO = 1,      // C  body weir_hello, padded to the frame size it claims; layout frozen for all versions
	WEIR_KIND_CHALLENGE = 2,  // R  body weir_challenge; also sent when a session is heard from a new address
	WEIR_KIND_WELCOME = 3,    // R  body weir_welcome, padded to the agreed frame size
	WEIR_KIND_PING = 4,       // C  no body; seq: echoed
	WEIR_KIND_PONG = 5,       // R  no body; seq: echoed
	WEIR_KIND_BYE = 6,        // CR no body; the session is over
	WEIR_KIND_ERROR = 7,      // R  body weir_error: why a session-level request was not granted
	WEIR_KIND_METADATA = 8,   // C  body weir_metadata_ask
	WEIR_KIND_TOPIC = 9,      // R  body weir_topic_info, then uint8_t worker[count]
	WEIR_KIND_OPEN = 10,      // C  body weir_open; header topic, shard
	WEIR_KIND_OPENED = 11,    // R  body weir_opened; header topic, shard, stream
	WEIR_KIND_PUBLISH = 12,   // C  events, or with flag FRAGMENT one weir_fragment and bytes; seq: first event
	WEIR_KIND_PROBE = 13,     // C  no body; asks for an ack of the stream; seq: end of the frame that waits for credit
	WEIR_KIND_ACK = 14,       // R  weir_ack_entry[count]
	WEIR_KIND_REFUSE = 15,    // R  weir_refuse_entry[count]
	WEIR_KIND_SKIP = 16,      // C  body weir_skip; seq: first event skipped
	WEIR_KIND_CLOSE = 17,     // C  body weir_close; seq: next sequence of the producer
	WEIR_KIND_CLOSED = 18,    // R  body weir_close
	WEIR_KIND_JOIN = 19,      // C  body weir_join
	WEIR_KIND_JOINED = 20,    // R  body weir_joined; header topic
	WEIR_KIND_ASSIGN = 21,    // R  body weir_assign; header topic, shard, stream
	WEIR_KIND_DELIVER = 22,   // R  body weir_delivery, then runs, or with flag FRAGMENT one run header, weir_fragment,
	                          //    bytes; seq: `from`, the offset of the first event
	WEIR_KIND_REPORT = 23,    // C  weir_report_entry[count]
	WEIR_KIND_REVOKE = 24,    // R  body weir_revoke; header topic, shard, stream
	WEIR_KIND_REVOKED = 25,   // C  body weir_revoke; header topic, shard, stream; seq: offsets below were handed out
	WEIR_KIND_LEAVE = 26,     // C  body weir_leave
	WEIR_KIND_LEFT = 27,      // R  body weir_leave
	WEIR_KIND_SETTLE = 28,    // C  weir_settle_entry[count]; WEIR_OFFER_SETTLE
	WEIR_KIND_SETTLED = 29,   // R  weir_settled_entry[count]; WEIR_OFFER_SETTLE
	WEIR_KIND_LIMIT
};

// Flags of the frame header.
#define WEIR_FLAG_FRAGMENT 0x0001u    // publish, deliver: the body is a piece of one large event
#define WEIR_FLAG_REDELIVERED 0x0002u // deliver: an earlier term may have handed these events out
#define WEIR_FLAG_ANSWER 0x0004u      // hello, ping: the sender wants an answer at once (reserved, zero in version 1)
#define WEIR_FLAG_HEADER_ONLY 0x0008u // publish, deliver: crc covers the header alone; only where a port is configured so
#define WEIR_FLAG_IN_PLACE 0x0010u    // assign: the log may be read where it lies; a weir_assign_place follows the body
#define WEIR_FLAG_LATER 0x0020u       // publish: the sender goes on without an acknowledgement, which may come later
#define WEIR_FLAG_WORKING 0x0040u     // ping: the client is at work on what it was handed, however long it settles nothing
#define WEIR_FLAG_PICKED 0x0040u      // deliver: handed to one taker of a group of mode `any`; WEIR_OFFER_SETTLE
#define WEIR_FLAG_SEALED 0x0080u      // 16 bytes of tag end the body; WEIR_OFFER_SEALED, and version 2 alone
#define WEIR_FLAGS_KNOWN 0x00ffu

// Acknowledgement levels, never blurred: higher is stronger.
enum weir_ack_level {
	WEIR_ACK_NONE = 0,
	WEIR_ACK_ROUTED = 1,     // in the shard log of the router
	WEIR_ACK_DURABLE = 2,    // synced on the router's disk
	WEIR_ACK_REPLICATED = 3, // confirmed by the cluster's durable tier
};

// 48 bytes in front of every frame.
struct weir_frame_header {
	uint16_t magic;    // WEIR_MAGIC
	uint8_t version;   // WEIR_VERSION
	uint8_t kind;      // enum weir_kind
	uint16_t flags;    // WEIR_FLAG_*
	uint16_t count;    // events of a publish; runs of a deliver; entries of a list; else 0
	uint64_t session;  // 0 before welcome
	uint32_t stream;   // handle given at opened or assign, dense per shard; else 0
	uint32_t topic;    // topic id; else 0
	uint64_t sequence; // see enum weir_kind; else 0
	uint64_t sent_ns;  // sender's CLOCK_REALTIME: information only
	uint16_t shard;
	uint16_t body_length; // bytes behind this header; the datagram is exactly 48 + body_length long
	uint32_t crc;         // see wire/codec.h weir_frame_seal()
} WEIR_WIRE;
_Static_assert(sizeof(struct weir_frame_header) == 48, "frame header layout");
_Static_assert(__builtin_offsetof(struct weir_frame_header, session) == 8, "frame header layout");
_Static_assert(__builtin_offsetof(struct weir_frame_header, sequence) == 24, "frame header layout");
_Static_assert(__builtin_offsetof(struct weir_frame_header, shard) == 40, "frame header layout");
_Static_assert(__builtin_offsetof(struct weir_frame_header, crc) == 44, "frame header layout");

// 16 bytes in front of every event. Then attributes (attribute_words * 8 bytes), then the payload, then zero bytes up
// to the next multiple of 8. The record in the shard log is these bytes.
struct weir_event_header {
	uint32_t length;         // header + attributes + payload, without padding
	uint16_t type;           // the application's; filters may look at it
	uint8_t flags;           // zero in version 1
	uint8_t attribute_words; // attributes in units of 8 bytes
	uint64_t key;
} WEIR_WIRE;
_Static_assert(sizeof(struct weir_event_header) == 16, "event header layout");

// An attribute: id, value length, value, zero padded to 8 bytes. Applications alone look at them; client/weir.h has the ids.
struct weir_attribute_header {
	uint8_t id;
	uint8_t reserved;
	uint16_t length; // bytes of the value, without padding
} WEIR_WIRE;
_Static_assert(sizeof(struct weir_attribute_header) == 4, "attribute layout");

#define WEIR_RUN_UNCHECKED 0x0001u // run: crc is 0 and means nothing, the events came over a port of integrity `link`, a lane
#define WEIR_RUN_LOCAL 0x0002u     // run: over a lane; in the log alone, summed before it leaves the machine
#define WEIR_RUN_SPARSE 0x0004u    // run: on the wire alone, offsets are left out as `skip` and `span` say; WEIR_OFFER_SPARSE
#define WEIR_RUN_FOR_GROUP 0x0008u // run: in the log alone, only `for_group` sees it

// 40 bytes in front of the events of one appended frame, in the shard log and in deliver frames alike, so that the
// router sends log bytes as they lie.
struct weir_run_header {
	uint64_t producer;  // producer id
	uint64_t sequence;  // of the run's first event
	uint64_t append_ns; // router's monotonic clock, non-decreasing within a shard log
	uint32_t length;    // bytes of the events behind this header, padding included: a multiple of 8
	uint32_t crc;       // CRC32C of those bytes
	uint16_t count;     // events
	uint16_t flags;     // WEIR_RUN_*
	union {             // zero without flag SPARSE or FOR_GROUP, which never come together
		uint32_t for_group; // FOR_GROUP
		struct {
			uint16_t skip; // SPARSE: offsets passed over before it, from the end of the run before or `from` on
			uint16_t span; // SPARSE: offsets it reaches over, at least count
		} WEIR_WIRE;
	} WEIR_WIRE;
} WEIR_WIRE;
_Static_assert(__builtin_offsetof(struct weir_run_header, for_group) == 36, "run header layout");
_Static_assert(__builtin_offsetof(struct weir_run_header, span) == 38, "run header layout");
_Static_assert(sizeof(struct weir_run_header) == 40, "run header layout");

// In front of the bytes of a fragment. Fragments of an event share its sequence (publish) or offset (deliver).
struct weir_fragment {
	uint32_t total;  // bytes of the whole event, unpadded: its event header's length
	uint32_t offset; // of the bytes that follow, a multiple of 8; they reach to the end of the body, padded to 8
} WEIR_WIRE;
_Static_assert(sizeof(struct weir_fragment) == 8, "fragment layout");

// First thing in the body of a deliver frame. The frame covers the offsets [header.sequence, to); its runs hold those
// events of them that the group's filter let through. No run and to > sequence: all of them were skipped. No run and
// to == sequence: the head of an idle stream. A non-last fragment covers nothing: to == sequence.
struct weir_delivery {
	uint64_t to;
	uint64_t charge_from; // credit charged in this term before this frame, bytes, see weir_charge()
	uint32_t term;
	uint16_t attempt; // WEIR_OFFER_SETTLE: how often its first event was handed out before
	uint16_t reserved;
} WEIR_WIRE;
_Static_assert(__builtin_offsetof(struct weir_delivery, attempt) == 20, "delivery layout");
_Static_assert(sizeof(struct weir_delivery) == 24, "delivery layout");

// What a delivery costs on top of the events, in the frames of this version: a publisher leaves as much room as its router's
// welcome says, so that a run fits a deliver frame of the same size whole.
#define WEIR_DELIVER_OVERHEAD \
	(sizeof(struct weir_frame_header) + sizeof(struct weir_delivery) + sizeof(struct weir_run_header))

// Credit that one datagram of `size` bytes (UDP payload) costs its receiver's socket: an estimate of skb truesize,
// identical on both sides because both compute it from the datagram's size. Bytes.
#define WEIR_CHARGE_SKB 256u
static inline uint32_t weir_charge(uint32_t size)
{
	uint32_t room = 512;
	while (room < size + 448)
		room *= 2;
	return room + WEIR_CHARGE_SKB;
}

// ---- Session ----

// What is tried where the path does not carry a frame of `size` bytes. The smallest stays.
static inline uint32_t weir_frame_step(uint32_t size)
{
	return size > WEIR_FRAME_DEFAULT ? WEIR_FRAME_DEFAULT : size > WEIR_FRAME_TUNNEL ? WEIR_FRAME_TUNNEL : WEIR_FRAME_MIN;
}

// What a router can beyond the first release, told in its welcome: a client asks for nothing else. The same bits in option
// KNOWS of a hello say what the client understands: nothing else is sent to it. Unknown bits mean nothing to either.
#define WEIR_OFFER_SETTLE (1ull << 0)     // groups of mode `any`: SETTLE and SETTLED, PICKED and attempts of deliveries
#define WEIR_OFFER_FOR_GROUP (1ull << 1)  // streams for one group alone
#define WEIR_OFFER_SPARSE (1ull << 2)     // runs with holes
#define WEIR_OFFER_DURABLE (1ull << 3)    // level durable, and streams that outlive the router
#define WEIR_OFFER_REPLICATED (1ull << 4) // level replicated
#define WEIR_OFFER_SEALED (1ull << 5)     // sessions with keys
#define WEIR_OFFERS_BUILT 0ull            // what this release can, as router and as client

// Behind the fixed part of hello and welcome, in the padding, one behind the other: this header, the value, zero bytes to a
// multiple of 8. Type 0 ends them, as the padding does by itself; unknown ones are passed over. Frozen for all versions.
struct weir_option {
	uint16_t type;   // enum weir_option_type
	uint16_t length; // bytes of the value, without padding
} WEIR_WIRE;
_Static_assert(sizeof(struct weir_option) == 4, "option layout");

enum weir_option_type {
	WEIR_OPTION_END = 0,
	WEIR_OPTION_KNOWS = 1,     // hello: 8 bytes, WEIR_OFFER_*
	WEIR_OPTION_KEY_SHARE = 2, // reserved, like the two below: the handshake of sealed sessions
	WEIR_OPTION_KEY_NAME = 3,
	WEIR_OPTION_KEY_PROOF = 4,
};

// Frozen for all versions. The datagram is padded with options and zero bytes to frame_size, so that it proves the path
// carries frames of that size and is at least as large as its answer.
struct weir_hello {
	uint64_t nonce;       // random per session, and told to nobody: it moves the session. The same nonce from the same
			      // address gets the same welcome
	uint64_t cookie;      // 0, or that of the challenge
	uint64_t producer;    // producer id: random for an anonymous client, weir_key_of_bytes(name) for a named one
	uint64_t epoch;       // fence of a named producer: nanoseconds since 1970 at its start; 0 for an anonymous one
	uint32_t frame_size;  // bytes, largest datagram the client wants to send and receive: this datagram's size
	uint32_t receive_buffer; // bytes, what the client's socket can hold; information
	uint8_t versions[8];  // versions the client speaks, best first, zero filled
	char name[64];        // client's name for people, zero padded; may be empty
} WEIR_WIRE;
_Static_assert(sizeof(struct weir_hello) == 112, "hello layout");

struct weir_challenge {
	uint64_t nonce;  // of the hello; 0 when a session was heard from a new address: its client knows the nonce
	uint64_t cookie; // to be echoed in a hello with the nonce, from the address this went to
} WEIR_WIRE;
_Static_assert(sizeof(struct weir_challenge) == 16, "challenge layout");

struct weir_welcome {
	uint64_t nonce;
	uint64_t session;        // random 64 bits, never reused, told to this client alone
	uint64_t router;         // random 64 bits per router life: another value means that all sessions are gone
	uint32_t frame_size;     // agreed, at most that of the hello
	uint32_t window_frames;  // most frames of this session that may be unacknowledged
	uint32_t ping_ms;        // client pings when it sent nothing for this long
	uint32_t lease_ms;       // silence for this long ends the session; consumers stop handing out at 2/3 of it
	uint32_t dedup_window_ms; // how long streams outlive their session
	uint16_t worker;         // home worker
	uint8_t version;         // chosen version
	uint8_t reserved;
	uint32_t number;         // with `worker` the session's name for people: worker.number
	uint16_t deliver_overhead; // bytes of a deliver frame of one run beside its events: WEIR_DELIVER_OVERHEAD
	uint16_t reserved2;
	uint64_t offers; // WEIR_OFFER_*
} WEIR_WIRE;
_Static_assert(sizeof(struct weir_welcome) == 64, "welcome layout");
_Static_assert(__builtin_offsetof(struct weir_welcome, deliver_overhead) == 52, "welcome layout");
_Static_assert(__builtin_offsetof(struct weir_welcome, offers) == 56, "welcome layout");
_Static_assert(WEIR_DELIVER_OVERHEAD == 112, "it may change from router to router, but not unseen");

struct weir_error {
	uint16_t reason; // enum weir_reason
	uint8_t kind;    // of the frame this answers
	uint8_t reserved[5];
	uint64_t request; // nonce or request number of that frame; for no-session its header's sequence
	char name[WEIR_NAME_SIZE]; // topic or group that was asked for
} WEIR_WIRE;
_Static_assert(sizeof(struct weir_error) == 80, "error layout");

// ---- Topics ----

struct weir_metadata_ask {
	uint64_t request; // echoed
	uint32_t first_shard; // page begins here
	uint32_t reserved;
	char topic[WEIR_NAME_SIZE];
} WEIR_WIRE;
_Static_assert(sizeof(struct weir_metadata_ask) == 80, "metadata layout");

enum weir_policy {
	WEIR_POLICY_BLOCK = 0,
	WEIR_POLICY_DROP_NEW = 1,
	WEIR_POLICY_DROP_OLD = 2,
};

#define WEIR_TOPIC_EXCLUSIVE 0x01u // one writer at a time
#define WEIR_TOPIC_JOURNALED 0x02u // outlives the router
#define WEIR_TOPIC_TTL 0x04u       // events end by age

// Followed by count bytes: the worker of each shard from first_shard on. Worker w listens on the port the client
// talks to, minus the number of the session's home worker, plus w, at the same address (when it listens at all:
// a session is always answered where it was opened).
struct weir_topic_info {
	uint64_t request;
	uint64_t revision;    // of the snapshot; grows
	uint32_t topic;
	uint32_t shards;
	uint32_t first_shard;
	uint32_t event_max;   // bytes, whole event with header and attributes
	uint8_t policy;       // enum weir_policy
	uint8_t ack_min;      // enum weir_ack_level: least level the topic asks for
	uint8_t ack_max;      // strongest level it offers
	uint8_t flags;        // WEIR_TOPIC_*
	uint8_t reserved[4];
	char name[WEIR_NAME_SIZE];
} WEIR_WIRE;
_Static_assert(sizeof(struct weir_topic_info) == 104, "topic info layout");

// ---- Streams: producer to shard ----

// A stream that was closed and is opened again goes on where it stood, for as long as its session lives: frames of the life
// before are duplicates, and requests are told apart by their numbers.
struct weir_open {
	uint64_t request; // echoed; grows with every opening of the stream in a session, the same in its repetitions
	uint64_t epoch;   // that of the hello, or higher; 0: the producer is anonymous
	uint8_t level;    // enum weir_ack_level, fixed for the stream's life
	uint8_t reserved[3];
	uint32_t for_group; // WEIR_OFFER_FOR_GROUP: only this group sees the stream; 0: all do
} WEIR_WIRE;
_Static_assert(__builtin_offsetof(struct weir_open, for_group) == 20, "open layout");
_Static_assert(sizeof(struct weir_open) == 24, "open layout");

#define WEIR_OPENED_RECOVERED 0x01u // `next` is what is durable of earlier lives of the router, `incarnation` the new one's

struct weir_opened {
	uint64_t request;
	uint64_t next;        // sequence of the next event the router expects
	uint64_t limit;       // credit: sequences below this may be sent
	uint64_t incarnation; // of the shard's log
	uint8_t level;
	uint8_t flags; // WEIR_OPENED_*
	uint8_t reserved[6];
} WEIR_WIRE;
_Static_assert(sizeof(struct weir_opened) == 40, "opened layout");

struct weir_close {
	uint64_t request; // of the open whose stream ends
} WEIR_WIRE;
_Static_assert(sizeof(struct weir_close) == 8, "close layout");

#define WEIR_ACK_NACK 0x0001u // events [next, have) are missing although later ones arrived: send them again
#define WEIR_ACK_FULL 0x0002u // the log is full, the stream waits for its turn
#define WEIR_ACK_SAFE 0x0004u // never with NACK: everything below `have` is at the stream's level; WEIR_OFFER_DURABLE

struct weir_ack_entry {
	uint32_t topic;
	uint16_t shard;
	uint16_t flags;
	uint32_t stream;
	uint32_t fragment_to; // bytes of event `next` that arrived as fragments
	uint64_t next;        // everything below was appended, trimmed as duplicate, or skipped
	uint64_t limit;       // absolute credit: sequences below this may be sent; never taken back
	uint64_t have;        // with NACK: first sequence parked beyond the gap; else equal to next
} WEIR_WIRE;
_Static_assert(sizeof(struct weir_ack_entry) == 40, "ack layout");

struct weir_refuse_entry {
	uint32_t topic;
	uint16_t shard;
	uint16_t reason;   // enum weir_reason; its class says whether to retry or to skip
	uint32_t stream;
	uint32_t count;    // events refused, from `sequence` on
	uint64_t sequence;
	uint64_t next;     // sequence the router expects
} WEIR_WIRE;
_Static_assert(sizeof(struct weir_refuse_entry) == 32, "refuse layout");

struct weir_skip {
	uint64_t count;
	uint16_t reason; // why, counted by name
	uint8_t reserved[6];
} WEIR_WIRE;
_Static_assert(sizeof(struct weir_skip) == 16, "skip layout");

// ---- Groups and deliveries: shard to consumer ----

struct weir_join {
	uint64_t request; // echoed; grows with every join and leave that a session sends, repetitions included
	uint64_t member;  // name of the membership: the request of its first join
	char topic[WEIR_NAME_SIZE];
	char group[WEIR_NAME_SIZE];
} WEIR_WIRE;
_Static_assert(sizeof(struct weir_join) == 144, "join layout");

enum weir_group_mode {
	WEIR_MODE_KEYED = 0,
	WEIR_MODE_ANY = 1, // WEIR_OFFER_SETTLE
};

struct weir_joined {
	uint64_t request;
	uint32_t group;
	uint32_t shards;    // of the topic
	uint32_t event_max; // bytes
	uint8_t mode;       // enum weir_group_mode
	uint8_t retries;    // 1: rejected events come again
	uint16_t attempts;  // most of them; 0: no limit
	uint32_t deadline_ms; // an event handed out is due again after it; 0: never
	uint32_t reserved;
} WEIR_WIRE;
_Static_assert(sizeof(struct weir_joined) == 32, "joined layout");
_Static_assert(__builtin_offsetof(struct weir_joined, attempts) == 22, "joined layout");

// Repeated until a report of the term arrives. header.stream is the delivery's handle.
struct weir_assign {
	uint64_t incarnation; // of the shard's log: offsets of another one mean nothing
	uint64_t from;        // offset at which the term begins
	uint64_t redelivered_to; // offsets below this may have been handed out by an earlier term
	uint64_t member;      // the membership it is for
	uint32_t group;
	uint32_t term;        // fencing token, grows with every assignment of (group, shard)
	uint32_t lease_ms;
	uint32_t reserved;
} WEIR_WIRE;
_Static_assert(sizeof(struct weir_assign) == 48, "assign layout");

// Behind the assign of a session on a lane, flag IN_PLACE: where in the log the term begins.
struct weir_assign_place {
	uint64_t position;   // bytes: header of the run that holds offset `from`, or the head
	uint64_t run_offset; // offset of that run's first event
} WEIR_WIRE;
_Static_assert(sizeof(struct weir_assign_place) == 16, "assign place layout");

#define WEIR_REPORT_GAP 0x0001u // frames beyond received_to arrived before it: send again from received_to
// The answer to an assign with flag IN_PLACE: this term is read in place. `limit` is the cursor's index on the lane, `charged`
// its tag; nothing is delivered in frames, and the cursor alone says what is settled until the term ends by revoke.
#define WEIR_REPORT_IN_PLACE 0x0002u

struct weir_report_entry {
	uint32_t topic;
	uint16_t shard;
	uint16_t flags; // WEIR_REPORT_*
	uint32_t stream; // delivery handle
	uint32_t term;
	uint64_t received_to; // offsets below this arrived: drives retransmission
	uint64_t settled_to;  // offsets below this are done: drives the cursor
	uint64_t limit;       // absolute credit of this term, bytes as weir_charge() counts them; never taken back
	uint64_t charged;     // charge position at received_to
	uint32_t fragment_to; // bytes of event received_to that arrived as fragments
	uint32_t group;
} WEIR_WIRE;
_Static_assert(sizeof(struct weir_report_entry) == 56, "report layout");

// revoke: stop handing out, settle, answer. revoked: settled_to is final, nothing of this term follows.
struct weir_revoke {
	uint64_t settled_to; // revoked only
	uint32_t group;
	uint32_t term;
} WEIR_WIRE;
_Static_assert(sizeof(struct weir_revoke) == 16, "revoke layout");

enum weir_settle_verb {
	WEIR_SETTLE_ACK = 1,
	WEIR_SETTLE_REJECT = 2,
	WEIR_SETTLE_EXTEND = 3,
	WEIR_SETTLE_RELEASE = 4,
};

// Applied in the order of `number`: a gap stops, repetitions are answered.
struct weir_settle_entry {
	uint32_t topic;
	uint16_t shard;
	uint16_t verb; // enum weir_settle_verb
	uint32_t stream;
	uint32_t term;
	uint32_t group;
	uint32_t number;
	uint64_t first;    // offset of bit 0 of the mask
	uint64_t mask;
	uint32_t value_ms; // reject: delay at least; extend: from now on
	uint16_t reason;   // reject: enum weir_reason
	uint16_t reserved;
} WEIR_WIRE;
_Static_assert(sizeof(struct weir_settle_entry) == 48, "settle layout");
_Static_assert(__builtin_offsetof(struct weir_settle_entry, mask) == 32, "settle layout");

#define WEIR_SETTLED_GONE 0x0001u // moved to the dead-letter topic

struct weir_settled_entry {
	uint32_t topic;
	uint16_t shard;
	uint16_t flags; // WEIR_SETTLED_*
	uint32_t stream;
	uint32_t term;
	uint32_t group;
	uint32_t number;   // all up to it are applied
	uint32_t stale;    // events of them that were no more this taker's
	uint32_t delay_ms; // of a keyed reject: comes again after it
} WEIR_WIRE;
_Static_assert(sizeof(struct weir_settled_entry) == 32, "settled layout");

// leave: ends this membership and no other. left: it is over, or there is none of that name.
struct weir_leave {
	uint64_t request; // leave: above every join before it; left: that of the leave, 0: unasked, the group ended
	uint64_t member;
	uint32_t group;
	uint32_t reserved;
} WEIR_WIRE;
_Static_assert(sizeof(struct weir_leave) == 24, "leave layout");

#endif
