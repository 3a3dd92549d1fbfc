// Typed messages between workers, and between control and workers. They carry decisions, not events: bounded in number
// by construction (each entity has at most one of a kind under way), carried by command rings, never lost. A message is handled
// by the turn's loop, never inside the handler of another one: who decides writes that down, and it is told afterwards.
#ifndef WEIR_CORE_MESSAGE_H
#define WEIR_CORE_MESSAGE_H

#include <stdint.h>

struct weir_shard;
struct weir_snapshot;

// A session as other workers know it: they reach it through its home worker.
struct weir_session_ref {
	uint64_t id; // 0: none
	uint64_t producer;
	uint64_t epoch;
	uint8_t home;        // worker
	uint8_t source;      // its address, hashed the same way on all workers: core/share.h
	uint16_t frame_size; // bytes, largest frame to send it
	uint32_t number;     // counts the home's sessions, from 1, modulo 2^32
	uint64_t lane;       // number of its lane, 0: it talks through a port
};

// What a session is called in rows, answers and words: the id proves who a client is and is told to that client alone.
static inline uint64_t weir_session_name(const struct weir_session_ref *session)
{
	return session->id ? (uint64_t)session->home << 32 | session->number : 0;
}

enum weir_message_kind {
	// Control to owner. Each is answered by WEIR_MESSAGE_DONE with the same `request`.
	WEIR_MESSAGE_SHARD_ADOPT = 1, // pointer: a shard control made; the worker owns it from now on
	WEIR_MESSAGE_SHARD_MOVE,      // topic, shard, worker: hand it over to that worker; done is sent by the new owner
	WEIR_MESSAGE_SHARD_REMOVE,    // topic, shard: streams are refused topic-removed, deliveries revoked, counted; pointer
	                              // goes back in the answer and belongs to control, which frees it
	WEIR_MESSAGE_GROUP_CREATE,    // topic, shard, group, pointer: weir_group_place, copied; answer's value: start offset
	WEIR_MESSAGE_GROUP_REMOVE,    // topic, shard, group: its events count dropped[topic-removed], its member is revoked
	WEIR_MESSAGE_GROUP_SETUP,     // topic, group, shard = number of shards, pointer: weir_group_spec, copied: to the
	                              // coordinator, before the groups are created on the shards; value: where terms begin
	WEIR_MESSAGE_GROUP_TEARDOWN,  // topic, group: to the coordinator
	WEIR_MESSAGE_SNAPSHOT,        // pointer: the new snapshot; the worker uses it from now on. Answered at once: the old
	                              // one may be freed when all workers answered
	WEIR_MESSAGE_FORWARD_END,     // topic, shard: nothing for the moved shard can come any more, stop forwarding
	WEIR_MESSAGE_LIMITS,          // pointer: weir_engine_limits, copied: session and timer limits that change live
	WEIR_MESSAGE_STOP,            // say bye to all sessions; done when they are sent
	WEIR_MESSAGE_DONE,            // worker to control: request, result (0 or -errno), value, pointer
	WEIR_MESSAGE_GROUP_CHANGE,    // control to owner: topic, shard, group, pointer: weir_group_spec, copied: its quota and
	                              // progress timeout hold from now on; answered like the others

	WEIR_MESSAGE_LANE_GONE,       // control to every worker: value: lane, pointer: its weir_path. Sessions on it end, its
	                              // cursors and pins are let go; after the answers its memory may be unmapped

	// Worker to worker.
	WEIR_MESSAGE_MEMBER_JOIN = 64, // home to coordinator: session wants into group
	WEIR_MESSAGE_MEMBER_LEAVE,     // home to coordinator: planned
	WEIR_MESSAGE_MEMBER_GONE,      // home to coordinator: session is over (bye or lease)
	WEIR_MESSAGE_MEMBER_JOINED,    // coordinator to home
	WEIR_MESSAGE_MEMBER_LEFT,      // coordinator to home: nothing is assigned to it any more, or the group ended
	WEIR_MESSAGE_ASSIGN,           // coordinator to owner: session, group, shard, term; value: the coordinator's worker
	WEIR_MESSAGE_REVOKE,           // coordinator to owner: planned end of the term
	WEIR_MESSAGE_REVOKE_NOW,       // coordinator to owner: the member is gone, do not ask it
	WEIR_MESSAGE_RELEASED,         // owner to coordinator: the term is over; value: settled_to; -ENOENT: no such group
	WEIR_MESSAGE_STALLED,          // owner to coordinator: the member settles nothing for value, ns; 0: it never began
	WEIR_MESSAGE_MEMBER_WORKING,   // home to coordinator: the session says that it is at work
	WEIR_MESSAGE_GO_ON,            // coordinator to owner: the member that stalled is at work, its time begins anew
	WEIR_MESSAGE_RETURNED,         // to coordinator: the shard is on its way to its owner, tell it again; result: the kind
	WEIR_MESSAGE_SESSION_GONE,     // home to every worker: streams of the session begin their dedup window
	WEIR_MESSAGE_SESSION_ASK,      // owner to home: a stream was opened for the session, or came with its shard; answered
	                               // session-gone if it is not there, for that news may have been faster
	WEIR_MESSAGE_SESSION_SMALLER,  // owner to home: the path carries no more than session.frame_size
	WEIR_MESSAGE_LANE_FRESH,       // home to every worker: value: lane; its client began anew as `session`, and reads
	                               // nothing of what earlier sessions were assigned
};

// A (group, shard) is given so many terms at once, and one a second in the long run: they are 32 bits on the wire, and where
// they begin in another life of the router follows from time alone (control/daemon/terms.h).
#define WEIR_TERMS_BURST 1024u

struct weir_message {
	uint16_t kind; // enum weir_message_kind
	uint16_t from; // worker, or UINT16_MAX for control
	uint16_t worker;
	uint16_t shard;
	uint32_t topic;
	uint32_t group;
	uint32_t term;
	int32_t result;
	uint64_t request;
	uint64_t value;
	uint64_t member; // number of the membership: member messages and assign
	void *pointer;
	struct weir_session_ref session;
};

#define WEIR_FROM_CONTROL UINT16_MAX

#endif
