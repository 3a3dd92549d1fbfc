// See session.h. The chains by nonce and by peer serve the handshake only; their hashes are keyed, for both are chosen by
// strangers. The cookie's low byte is its time bucket, so that checking one is one hash.
#include "dataplane/core/session.h"

#include <string.h>

#include "dataplane/core/siphash.h"
#include "wire/key.h"

uint64_t weir_sessions_need(uint32_t sessions_max)
{
	return weir_arena_need((uint64_t)sessions_max * sizeof(struct weir_session)) +
	       2 * weir_arena_need((uint64_t)sessions_max * sizeof(struct weir_session *)) +
	       weir_arena_need((uint64_t)sessions_max * sizeof(struct weir_ended));
}

void weir_sessions_init(struct weir_sessions *sessions, struct weir_arena *arena, uint32_t sessions_max, uint64_t seed)
{
	*sessions = (struct weir_sessions){ .mask = sessions_max - 1 };
	sessions->secret[0] = weir_mix64(seed + 0x9e3779b97f4a7c15ull);
	sessions->secret[1] = weir_mix64(sessions->secret[0] ^ (seed << 32 | seed >> 32));
	sessions->slots = weir_arena_take(arena, (uint64_t)sessions_max * sizeof(struct weir_session));
	sessions->by_nonce = weir_arena_take(arena, (uint64_t)sessions_max * sizeof(struct weir_session *));
	sessions->by_peer = weir_arena_take(arena, (uint64_t)sessions_max * sizeof(struct weir_session *));
	sessions->ended = weir_arena_take(arena, (uint64_t)sessions_max * sizeof(struct weir_ended));
	for (uint32_t i = sessions_max; i > 0; i--) {
		sessions->slots[i - 1].free_next = sessions->free;
		sessions->free = &sessions->slots[i - 1];
	}
}

struct peer_key {
	uint8_t remote_ip[16];
	uint16_t remote_port;
	uint16_t port;
	uint32_t family;
	uint64_t nonce;
	uint64_t bucket;
};
_Static_assert(sizeof(struct peer_key) == 40, "no padding is hashed");

static struct peer_key peer_key(const struct weir_path *path)
{
	struct peer_key key = { .remote_port = path->remote_port, .port = path->port, .family = path->family };
	memcpy(key.remote_ip, path->remote_ip, sizeof(key.remote_ip));
	return key;
}

static uint32_t nonce_slot(const struct weir_sessions *sessions, uint64_t nonce)
{
	return (uint32_t)weir_siphash(sessions->secret, &nonce, sizeof(nonce)) & sessions->mask;
}

static uint32_t peer_slot(const struct weir_sessions *sessions, const struct weir_path *path)
{
	struct peer_key key = peer_key(path);
	return (uint32_t)weir_siphash(sessions->secret, &key, sizeof(key)) & sessions->mask;
}

struct weir_session *weir_session_find_nonce(const struct weir_sessions *sessions, uint64_t nonce)
{
	struct weir_session *session = sessions->by_nonce[nonce_slot(sessions, nonce)];
	while (session && session->nonce != nonce)
		session = session->nonce_next;
	return session;
}

struct weir_session *weir_session_find_peer(const struct weir_sessions *sessions, const struct weir_path *path)
{
	struct weir_session *session = sessions->by_peer[peer_slot(sessions, path)];
	while (session && !weir_path_is_same_peer(&session->path, path))
		session = session->peer_next;
	return session;
}

static void peer_link(struct weir_sessions *sessions, struct weir_session *session)
{
	struct weir_session **head = &sessions->by_peer[peer_slot(sessions, &session->path)];
	session->peer_next = *head;
	*head = session;
}

static void peer_unlink(struct weir_sessions *sessions, struct weir_session *session)
{
	struct weir_session **link = &sessions->by_peer[peer_slot(sessions, &session->path)];
	while (*link != session)
		link = &(*link)->peer_next;
	*link = session->peer_next;
}

static void peer_set(struct weir_session *session, const struct weir_path *path, uint64_t now_ns)
{
	memcpy(session->peer, path, WEIR_PEER_SIZE);
	weir_session_note(session, path, now_ns);
}

struct weir_session *weir_session_create(struct weir_sessions *sessions, uint64_t nonce, const struct weir_path *path,
					 uint64_t now_ns)
{
	struct weir_session *session = sessions->free;
	if (!session)
		return NULL;
	sessions->free = session->free_next;
	*session = (struct weir_session){ .nonce = nonce };
	peer_set(session, path, now_ns);
	uint64_t slot = (uint64_t)(session - sessions->slots);
	do
		session->ref.id = (weir_session_random(sessions) & ~(uint64_t)sessions->mask) | slot;
	while (session->ref.id <= sessions->mask);
	struct weir_session **head = &sessions->by_nonce[nonce_slot(sessions, nonce)];
	session->nonce_next = *head;
	*head = session;
	peer_link(sessions, session);
	sessions->live++;
	return session;
}

void weir_session_free(struct weir_sessions *sessions, struct weir_session *session, uint64_t now_ns)
{
	uint32_t slot = nonce_slot(sessions, session->nonce);
	struct weir_session **link = &sessions->by_nonce[slot];
	while (*link != session)
		link = &(*link)->nonce_next;
	*link = session->nonce_next;
	peer_unlink(sessions, session);
	sessions->ended[slot] = (struct weir_ended){ .nonce = session->nonce, .bucket = now_ns / WEIR_COOKIE_BUCKET_NS };
	*session = (struct weir_session){ .free_next = sessions->free };
	sessions->free = session;
	sessions->live--;
}

void weir_session_move(struct weir_sessions *sessions, struct weir_session *session, const struct weir_path *path,
		       uint64_t now_ns)
{
	peer_unlink(sessions, session);
	peer_set(session, path, now_ns);
	peer_link(sessions, session);
}

uint64_t weir_session_random(struct weir_sessions *sessions)
{
	uint64_t number[2] = { sessions->drawn++, 0x72616e646f6d6964ull };
	return weir_siphash(sessions->secret, number, sizeof(number));
}

static uint64_t cookie_of(const struct weir_sessions *sessions, const struct weir_path *path, uint64_t nonce, uint64_t bucket)
{
	struct peer_key key = peer_key(path);
	key.nonce = nonce;
	key.bucket = bucket;
	// The top bit keeps it from being 0, which means that there is none.
	return 1ull << 63 | (weir_siphash(sessions->secret, &key, sizeof(key)) & ~0xffull) | (bucket & 0xff);
}

uint64_t weir_cookie_make(const struct weir_sessions *sessions, const struct weir_path *path, uint64_t nonce, uint64_t now_ns)
{
	return cookie_of(sessions, path, nonce, now_ns / WEIR_COOKIE_BUCKET_NS);
}

bool weir_cookie_is_good(const struct weir_sessions *sessions, const struct weir_path *path, uint64_t nonce, uint64_t cookie,
			 uint64_t now_ns)
{
	uint64_t bucket = now_ns / WEIR_COOKIE_BUCKET_NS;
	uint64_t age = (bucket - cookie) & 0xff;
	if (age > WEIR_COOKIE_BUCKETS || age > bucket)
		return false;
	const struct weir_ended *ended = &sessions->ended[nonce_slot(sessions, nonce)];
	if (ended->nonce == nonce && bucket - age <= ended->bucket)
		return false;
	return cookie_of(sessions, path, nonce, bucket - age) == cookie;
}
