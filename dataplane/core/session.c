// See session.h. The chains by nonce and by peer serve the handshake only; their hashes are keyed, for both are chosen by
// strangers. The cookie's low byte is its time bucket, so that checking one is one hash.
#include "dataplane/core/session.h"

#include <string.h>

#include "lib/siphash.h"
#include "wire/key.h"

uint64_t weir_sessions_need(uint32_t sessions_max)
{
	return weir_arena_need((uint64_t)sessions_max * sizeof(struct weir_session)) +
	       2 * weir_arena_need(weir_chains_need(sessions_max)) +
	       weir_arena_need((uint64_t)sessions_max * sizeof(struct weir_ended));
}

void weir_sessions_init(struct weir_sessions *sessions, struct weir_arena *arena, uint32_t sessions_max,
			const uint64_t secret[2])
{
	*sessions = (struct weir_sessions){ .mask = sessions_max - 1 };
	memcpy(sessions->secret, secret, sizeof(sessions->secret));
	sessions->slots = weir_arena_take(arena, (uint64_t)sessions_max * sizeof(struct weir_session));
	weir_chains_init(&sessions->by_nonce, weir_arena_take(arena, weir_chains_need(sessions_max)), sessions_max);
	weir_chains_init(&sessions->by_peer, weir_arena_take(arena, weir_chains_need(sessions_max)), sessions_max);
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

static uint64_t nonce_hash(const struct weir_sessions *sessions, uint64_t nonce)
{
	return lib_siphash(sessions->secret, &nonce, sizeof(nonce));
}

static uint64_t peer_hash(const struct weir_sessions *sessions, const struct weir_path *path)
{
	struct peer_key key = peer_key(path);
	return lib_siphash(sessions->secret, &key, sizeof(key));
}

// Who has an IPv6 network has 2^64 addresses of it.
uint8_t weir_session_source(uint64_t router, const struct weir_path *path)
{
	struct peer_key key = { .family = path->family };
	const uint64_t secret[2] = { weir_mix64(router), weir_mix64(~router) };
	memcpy(key.remote_ip, path->remote_ip, path->family == AF_INET6 ? 8 : sizeof(key.remote_ip));
	return (uint8_t)lib_siphash(secret, &key, sizeof(key));
}

void weir_session_source_set(struct weir_sessions *sessions, struct weir_session *session, uint8_t source)
{
	sessions->of_source[session->ref.source]--;
	sessions->of_source[source]++;
	session->ref.source = source;
}

static struct weir_ended *ended_of(const struct weir_sessions *sessions, uint64_t nonce)
{
	return &sessions->ended[nonce_hash(sessions, nonce) & sessions->mask];
}

struct weir_session *weir_session_find_nonce(const struct weir_sessions *sessions, uint64_t nonce)
{
	uint32_t at = weir_chains_first(&sessions->by_nonce, nonce_hash(sessions, nonce));
	while (at && sessions->slots[at - 1].nonce != nonce)
		at = weir_chains_next(&sessions->by_nonce, at - 1);
	return at ? &sessions->slots[at - 1] : NULL;
}

struct weir_session *weir_session_find_peer(const struct weir_sessions *sessions, const struct weir_path *path)
{
	uint32_t at = weir_chains_first(&sessions->by_peer, peer_hash(sessions, path));
	while (at && !weir_path_is_of_peer(path, sessions->slots[at - 1].peer))
		at = weir_chains_next(&sessions->by_peer, at - 1);
	return at ? &sessions->slots[at - 1] : NULL;
}

static uint32_t slot_of(const struct weir_sessions *sessions, const struct weir_session *session)
{
	return (uint32_t)(session - sessions->slots);
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
	uint32_t slot = slot_of(sessions, session);
	do
		session->ref.id = (weir_session_random(sessions) & ~(uint64_t)sessions->mask) | slot;
	while (session->ref.id <= sessions->mask);
	if (++sessions->number == 0)
		sessions->number = 1;
	session->ref.number = sessions->number;
	weir_chains_add(&sessions->by_nonce, nonce_hash(sessions, nonce), slot);
	weir_chains_add(&sessions->by_peer, peer_hash(sessions, path), slot);
	sessions->live++;
	sessions->of_source[session->ref.source]++;
	return session;
}

void weir_session_free(struct weir_sessions *sessions, struct weir_session *session, uint64_t now_ns)
{
	uint32_t slot = slot_of(sessions, session);
	sessions->of_source[session->ref.source]--;
	weir_chains_remove(&sessions->by_nonce, nonce_hash(sessions, session->nonce), slot);
	weir_chains_remove(&sessions->by_peer, peer_hash(sessions, &session->path), slot);
	*ended_of(sessions, session->nonce) =
		(struct weir_ended){ .nonce = session->nonce, .bucket = now_ns / WEIR_COOKIE_BUCKET_NS };
	*session = (struct weir_session){ .free_next = sessions->free };
	sessions->free = session;
	sessions->live--;
}

void weir_session_move(struct weir_sessions *sessions, struct weir_session *session, const struct weir_path *path,
		       uint64_t now_ns)
{
	uint32_t slot = slot_of(sessions, session);
	weir_chains_remove(&sessions->by_peer, peer_hash(sessions, &session->path), slot);
	peer_set(session, path, now_ns);
	weir_chains_add(&sessions->by_peer, peer_hash(sessions, path), slot);
}

uint64_t weir_session_random(struct weir_sessions *sessions)
{
	uint64_t number[2] = { sessions->drawn++, 0x72616e646f6d6964ull };
	return lib_siphash(sessions->secret, number, sizeof(number));
}

static uint64_t cookie_of(const struct weir_sessions *sessions, const struct weir_path *path, uint64_t nonce, uint64_t bucket)
{
	struct peer_key key = peer_key(path);
	key.nonce = nonce;
	key.bucket = bucket;
	// The top bit keeps it from being 0, which means that there is none.
	return 1ull << 63 | (lib_siphash(sessions->secret, &key, sizeof(key)) & ~0xffull) | (bucket & 0xff);
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
	const struct weir_ended *ended = ended_of(sessions, nonce);
	if (ended->nonce == nonce && bucket - age <= ended->bucket)
		return false;
	return cookie_of(sessions, path, nonce, bucket - age) == cookie;
}
