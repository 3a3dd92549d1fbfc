// The judge: what a client may do, followed from outside. It sees every frame of the client before the link harms it, and every
// frame to the client when it is really sent. It knows the client's session, streams and terms, never the router's state:
// what a client is held to is what it was told.
#ifndef WEIR_PEER_JUDGE_H
#define WEIR_PEER_JUDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/peer/rules.h"
#include "wire/frame.h"

#define JUDGE_TOPICS 8u     // a client asks for
#define JUDGE_STREAMS 64u   // of a session
#define JUDGE_TERMS 64u     // (group, shard) of a session
#define JUDGE_EVENTS 16384u // whose sums are remembered, of a stream; power of two
#define JUDGE_SENT 512u     // deliver frames whose charge is remembered, of a term; power of two
#define JUDGE_CHALLENGES 64u
#define JUDGE_REFUSED 16u   // ranges refused for good and not skipped yet, of a stream

struct judged_stream {
	bool is_used, is_open, is_closed, has_published;
	uint8_t level;
	uint16_t shard;
	uint32_t topic, handle;
	uint64_t next;      // acknowledged
	uint64_t begin;     // OPENED.next
	uint64_t end;       // behind the highest event published
	uint64_t limit;     // highest told
	uint64_t moved_ns;  // a frame of it went, or an acknowledgement moved next
	uint64_t held_ns;   // last refusal to be tried again: the client waits
	uint32_t sums[JUDGE_EVENTS]; // by sequence
	uint64_t summed_from, summed_to;
	struct {
		uint64_t first, count, since_ns;
		uint16_t reason;
	} refused[JUDGE_REFUSED];
	uint32_t frames_from[JUDGE_EVENTS / 8]; // bits: a frame begins here
};

struct judged_term {
	bool is_used, is_over, is_reported, has_gap;
	uint16_t shard;
	uint32_t topic, group, handle, term, gap_fragment, unreported;
	uint64_t assigned_ns, revoke_ns, reported_ns, gap_ns, gap_since_ns, behind_ns;
	uint64_t from, sent_to, contiguous_to;
	uint64_t received_to, settled_to, limit, charged;
	uint64_t charges[JUDGE_SENT]; // positions behind frames that were sent
	uint32_t charge_count;
};

struct judge {
	struct peer_findings *findings;
	uint64_t start_ns, now_ns;
	bool is_calm;         // the link harms nothing now
	uint64_t calm_since_ns;
	// Session.
	struct weir_hello hello; // the newest nonce's
	bool has_hello, is_ready;
	uint32_t hellos;      // unanswered
	uint64_t hello_ns, answered_ns;
	uint64_t session, old_session, old_until_ns;
	uint64_t sent_ns, heard_ns;
	uint32_t frame_size, window_frames, ping_ms, lease_ms;
	uint64_t cookies[JUDGE_CHALLENGES];
	uint32_t cookie_count;
	struct {
		uint32_t id, shards, event_max;
	} topics[JUDGE_TOPICS];
	uint32_t topic_count;
	struct judged_stream *streams; // JUDGE_STREAMS
	struct judged_term terms[JUDGE_TERMS];
	uint64_t frames, sessions;
};

// start_ns: of the run, from which findings count their time. 0, -ENOMEM.
int judge_init(struct judge *judge, struct peer_findings *findings, uint64_t start_ns, uint64_t now_ns);
void judge_fini(struct judge *judge);
// A datagram that the client sent.
void judge_in(struct judge *judge, const void *data, size_t size, uint64_t now_ns);
// A frame that was sent to the client.
void judge_out(struct judge *judge, const void *data, size_t size, uint64_t now_ns);
// What should have happened by now.
void judge_tick(struct judge *judge, uint64_t now_ns);
// Whether the link harms frames from now on.
void judge_calm(struct judge *judge, bool is_calm, uint64_t now_ns);
// The router is another one: sessions, topics and streams of before are nothing any more.
void judge_restart(struct judge *judge, uint64_t now_ns);

// ---- For the judge's own parts ----

#define BREACH(judge, rule, ...) \
	peer_finding_add((judge)->findings, rule, (double)((judge)->now_ns - (judge)->start_ns) / 1e9, __VA_ARGS__)
#define MS 1000000ull

// Nothing was harmed for so long, so that a deadline may be held against the client.
bool judge_is_calm_for(const struct judge *judge, uint64_t ns);
void judge_stream_in(struct judge *judge, const struct weir_frame_header *frame);
void judge_stream_out(struct judge *judge, const struct weir_frame_header *frame);
void judge_stream_tick(struct judge *judge);
void judge_term_in(struct judge *judge, const struct weir_frame_header *frame);
void judge_term_out(struct judge *judge, const struct weir_frame_header *frame);
void judge_term_tick(struct judge *judge);

#endif
