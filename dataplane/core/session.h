// The sessions a worker is home to: table, cookies, chains to find one by nonce or by peer. A session id is 64 random bits
// whose low bits are its slot, so the path finds it with one array access. Engine's thread.
#ifndef WEIR_CORE_SESSION_H
#define WEIR_CORE_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/core/arena.h"
#include "dataplane/core/chains.h"
#include "dataplane/core/message.h"
#include "dataplane/core/path.h"
#include "dataplane/core/share.h"
#include "dataplane/core/wheel.h"

struct weir_member;

struct weir_session {
	// Touched by every frame: one cache line.
	uint8_t peer[WEIR_PEER_SIZE];
	uint16_t heard_tick;         // of heard_ns, modulo 65,536
	struct weir_session_ref ref; // id 0: free slot
	// Where answers go.
	struct weir_path path;
	// Rarely touched.
	uint64_t heard_ns; // a frame was admitted then, the last one less than a tick later
	bool has_streams;  // sent an open: the shards' owners are told of its end
	uint64_t nonce;
	uint64_t cookie; // of the hello that was welcomed last
	uint64_t agreed; // WEIR_OFFER_*: what is offered and this client knows
	struct weir_timer lease;
	struct weir_member *members; // groups it joined
	uint64_t asked;              // highest request number of its joins and leaves: what comes behind is a late copy
	uint32_t member_count;
	struct weir_session *free_next;
} __attribute__((aligned(64)));
_Static_assert(__builtin_offsetof(struct weir_session, path) == 64, "what every frame touches is one line");

#define WEIR_HEARD_TICK_NS (1ull << 26)

static inline uint16_t weir_session_tick(uint64_t now_ns)
{
	return (uint16_t)(now_ns / WEIR_HEARD_TICK_NS);
}

// A hello that comes late must not bring back what has ended: nonces of ended sessions and when that was.
struct weir_ended {
	uint64_t nonce;
	uint64_t bucket;
};

struct weir_sessions {
	struct weir_session *slots;
	uint32_t mask;
	uint32_t live;
	struct weir_session *free;
	struct weir_chains by_nonce; // of slots
	struct weir_chains by_peer;
	struct weir_ended *ended;
	uint64_t secret[2];
	uint64_t drawn; // random numbers so far
	uint32_t of_source[WEIR_SOURCES]; // live ones
	uint32_t number; // of the session created last
};

#define WEIR_COOKIE_BUCKET_NS 1000000000ull
#define WEIR_COOKIE_BUCKETS 10u // a cookie is good for this many buckets

// sessions_max: power of two.
uint64_t weir_sessions_need(uint32_t sessions_max);
void weir_sessions_init(struct weir_sessions *sessions, struct weir_arena *arena, uint32_t sessions_max,
			const uint64_t secret[2]);

// Where a session of this id is, if there is one.
static inline struct weir_session *weir_session_slot(const struct weir_sessions *sessions, uint64_t id)
{
	return &sessions->slots[id & sessions->mask];
}

static inline struct weir_session *weir_session_find(const struct weir_sessions *sessions, uint64_t id)
{
	struct weir_session *session = weir_session_slot(sessions, id);
	return session->ref.id == id && id != 0 ? session : 0;
}

// The session is heard along the path, which is of its peer: notes when, and where answers go from now on, for MACs and VLAN
// may have changed on the way.
static inline void weir_session_note(struct weir_session *session, const struct weir_path *path, uint64_t now_ns)
{
	session->heard_tick = weir_session_tick(now_ns);
	session->heard_ns = now_ns;
	session->path = *path;
}

// The same once a tick, for what comes by the million.
static inline void weir_session_heard(struct weir_session *session, const struct weir_path *path, uint64_t now_ns)
{
	if (session->heard_tick != weir_session_tick(now_ns))
		weir_session_note(session, path, now_ns);
}

struct weir_session *weir_session_find_nonce(const struct weir_sessions *sessions, uint64_t nonce);
struct weir_session *weir_session_find_peer(const struct weir_sessions *sessions, const struct weir_path *path);
// The byte by which the source of the path is known on all workers; router: the same on all of them.
uint8_t weir_session_source(uint64_t router, const struct weir_path *path);
// The session counts for that source from now on.
void weir_session_source_set(struct weir_sessions *sessions, struct weir_session *session, uint8_t source);
static inline bool weir_session_has_share(const struct weir_sessions *sessions, uint8_t source)
{
	return weir_share_may_take(sessions->of_source[source], sessions->mask + 1 - sessions->live);
}

// NULL: the table is full. It is heard now. The caller fills ref but for id and number, and the lease.
struct weir_session *weir_session_create(struct weir_sessions *sessions, uint64_t nonce, const struct weir_path *path,
					 uint64_t now_ns);
// The caller has cancelled the lease and ended what hangs on it.
void weir_session_free(struct weir_sessions *sessions, struct weir_session *session, uint64_t now_ns);
// The session is heard from a proven peer, which may be a new one.
void weir_session_move(struct weir_sessions *sessions, struct weir_session *session, const struct weir_path *path,
		       uint64_t now_ns);

uint64_t weir_session_random(struct weir_sessions *sessions);
uint64_t weir_cookie_make(const struct weir_sessions *sessions, const struct weir_path *path, uint64_t nonce, uint64_t now_ns);
// Made by this worker for this peer and nonce, not too old, and later than the end of a session of that nonce.
bool weir_cookie_is_good(const struct weir_sessions *sessions, const struct weir_path *path, uint64_t nonce, uint64_t cookie,
			 uint64_t now_ns);

#endif
