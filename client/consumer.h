// A consumer and its assignments, shared by consumer.c (join, assign, revoke, report, leave) and delivery.c (frames in,
// events out). A deliver frame that was accepted stays where it was received; its header, which is read by then, makes
// room for a parcel that links it into the consumer's queue.
#ifndef WEIR_CLIENT_CONSUMER_H
#define WEIR_CLIENT_CONSUMER_H

#include "client/state.h"

// Where an assignment that is read in place stands in its shard's log (place.c).
struct place {
	struct weir_core_log log;
	uint64_t position;  // of the next run to begin, bytes
	const uint8_t *at;  // next event of the run that was begun
	uint32_t left;      // bytes of it
	uint32_t events;    // of it; 0: none is begun
	uint64_t producer, sequence, append_ns; // of the next event
	uint64_t skip;      // events that an earlier term settled
	uint64_t tag;
	uint32_t cursor;    // index
};

enum reading {
	READING_FRAMES,
	READING_ASKED, // for the log
	READING_PLACE,
};

enum assignment_state {
	ASSIGNMENT_NONE,
	ASSIGNMENT_ACTIVE,
	ASSIGNMENT_REVOKING, // nothing is accepted or handed out any more
};

// What was handed out and settled of the shard when a term ended. The router may not have heard; where the shard comes back
// with the same log, what was settled is not handed out again, and is told again.
struct kept {
	uint64_t incarnation;
	uint64_t settled_to;
	uint64_t handed_to;
	uint32_t group;
	uint32_t term; // 0: none ended
};

struct assignment {
	uint64_t incarnation;
	uint64_t received_to;
	uint64_t handed_to; // offsets below it were handed out or skipped
	uint64_t event_end; // offset behind the last event handed out
	uint64_t settled_to;
	uint64_t redelivered_to;
	uint64_t charged; // charge position at received_to and fragment_to
	uint64_t limit;   // credit granted
	uint64_t held;    // charge of what waits in the queue
	uint64_t reported_ns, reported_charged;
	uint64_t gap_ns, gap_at; // last report of a gap, and where it was
	uint64_t revoke_ns;      // answer at the latest then
	struct weir_buffer *assembly; // large event on its way in
	uint64_t assembly_cost;
	uint32_t fragment_to;
	uint32_t term; // with state none: the last one
	uint32_t handle;
	uint16_t shard;
	uint8_t state;
	bool is_dirty; // there is something to report
	bool is_pressing; // and somebody waits for it
	bool has_gap;
	bool is_touched; // handed out from since the last settlement
	uint8_t reading; // enum reading
	uint64_t reported_settled; // settled_to of the last report
	uint64_t asked_settled;    // the same when the last ping went out
	uint64_t told_to;          // the router knows that so much is settled: it answered a later ping
	struct place place;
	struct kept kept;
};

// In place of a deliver frame's header and delivery prefix.
struct parcel {
	struct parcel *next;
	struct weir_buffer *buffer;
	const struct weir_run_header *run;
	const uint8_t *at; // next event of the run
	uint64_t offset;   // of the next event
	uint64_t from;     // events below are known already
	uint64_t to;
	uint32_t term;
	uint32_t cost; // charge held until it is handed out
	uint16_t runs; // left, with the current one
	uint16_t events; // left in the current run
	uint16_t shard;
} WEIR_WIRE;
_Static_assert(sizeof(struct parcel) <= sizeof(struct weir_frame_header) + sizeof(struct weir_delivery),
	       "a parcel must fit in front of the runs");
#define PARCEL_SIZE ((uint32_t)(sizeof(struct weir_frame_header) + sizeof(struct weir_delivery)))

enum consumer_state {
	CONSUMER_JOINING,
	CONSUMER_REFUSED, // not granted; asking again from time to time
	CONSUMER_MEMBER,
	CONSUMER_LEAVING,
	CONSUMER_OUT,
};

struct weir_consumer {
	struct weir_core *core;
	enum consumer_state state;
	uint32_t topic, group; // ids, with state member
	uint32_t shards;
	uint32_t event_max;
	uint32_t credit_bytes; // 0: an equal part of the core's
	bool is_by_hand;
	bool has_ended;  // it was a member, and its group or topic ended
	uint16_t refusal; // reason of the last join that was not granted, 0: none
	uint64_t member; // name of the membership: the number of its first join
	uint64_t heard_ns; // of the group, or asked about it
	struct assignment *assignments; // [shards]
	uint16_t *held;                 // shards with an assignment
	uint32_t held_count;
	uint16_t *touched; // shards handed out from by the last consume
	uint32_t touched_count;
	struct parcel *first, *last; // in order of arrival
	struct parcel *retired;      // handed out, memory still the application's
	uint32_t place_count; // assignments read in place
	uint32_t place_next;  // whose turn it is, of `held`
	struct weir_consumer_counts counts;
	struct request request; // join, leave
	char topic_name[WEIR_NAME_SIZE];
	char group_name[WEIR_NAME_SIZE];
	struct weir_consumer *next;
};

void consumer_parcels_drop(struct weir_consumer *consumer); // all that wait; memory stays until the next release
void consumer_release(struct weir_consumer *consumer);
void assignment_assembly_drop(struct weir_consumer *consumer, struct assignment *assignment);
void assignment_settle(struct weir_consumer *consumer, struct assignment *assignment, uint64_t settled_to);
// Passes over what an earlier term of ours settled of offsets below `to`; below `from` none came again. Returns how many that
// were.
uint64_t assignment_pass_kept(struct weir_consumer *consumer, struct assignment *assignment, uint64_t from, uint64_t to);
// ---- place.c ----
// The term begins where `frame`, an assign with flag IN_PLACE, says.
void place_begin(struct weir_consumer *consumer, struct assignment *assignment, const struct weir_frame_header *frame);
void place_end(struct weir_consumer *consumer, struct assignment *assignment);
void place_settle(const struct weir_consumer *consumer, const struct assignment *assignment);
// Hands out up to `most` events of all that are read in place, in turns.
int places_walk(struct weir_consumer *consumer, struct weir_view *views, int most);

// Events up to handed_to went to the application.
void assignment_touch(struct weir_consumer *consumer, struct assignment *assignment);
#define REPORT_CHARGE (64u << 10) // what came since the last report and is worth one: the router sends no more than a window
uint64_t consumer_share(const struct weir_consumer *consumer); // credit of one assignment

#endif
