// The life of a session at its home worker: hello and its stateless cookie, welcome, moving to a proven address, lease, end.
// Nothing a stranger sends makes state: a session is created only for an address that echoed its cookie.
#include <string.h>

#include "dataplane/core/engine_state.h"

#define HEADER_SIZE ((uint32_t)sizeof(struct weir_frame_header))
#define NS_PER_MS 1000000ull

void weir_session_end(struct weir_engine *engine, struct weir_session *session)
{
	uint64_t id = session->ref.id;
	weir_wheel_cancel(&engine->wheel, &session->lease);
	weir_member_end_all(engine, session);
	if (session->has_streams) {
		const struct weir_message message = { .kind = WEIR_MESSAGE_SESSION_GONE, .session = session->ref };
		weir_stream_session_gone(engine, id);
		for (uint16_t worker = 0; worker < engine->config.workers; worker++) {
			if (worker != engine->config.worker)
				weir_engine_tell(engine, worker, &message);
		}
	}
	weir_session_free(&engine->sessions, session, engine->now_ns);
	engine->row.sessions = engine->sessions.live;
	engine->is_row_dirty = true;
}

void weir_session_smaller(struct weir_engine *engine, const struct weir_session_ref *to)
{
	if (to->home != engine->config.worker) {
		const struct weir_message message = { .kind = WEIR_MESSAGE_SESSION_SMALLER, .session = *to };
		if (weir_engine_may_tell(engine, to->home))
			weir_engine_tell(engine, to->home, &message);
		return;
	}
	struct weir_session *session = weir_session_find(&engine->sessions, to->id);
	if (!session || session->ref.frame_size <= to->frame_size)
		return;
	session->ref.frame_size = to->frame_size;
	engine->row.path_steps++;
	engine->row.path_session = weir_session_name(&session->ref);
	engine->row.path_size = to->frame_size;
	engine->is_row_dirty = true;
}

// The last frame may have come up to a tick later than what is known.
static uint64_t lease_end(const struct weir_engine *engine, const struct weir_session *session)
{
	return session->heard_ns + WEIR_HEARD_TICK_NS + engine->config.limits.lease_ms * NS_PER_MS;
}

// Ticks are counted modulo 65,536: looked at before half of them passed, none is taken for one of the last round.
static void lease_arm(struct weir_engine *engine, struct weir_session *session)
{
	uint64_t end_ns = lease_end(engine, session);
	uint64_t look_ns = engine->now_ns + (WEIR_HEARD_TICK_NS << 15);
	weir_wheel_arm(&engine->wheel, &session->lease, end_ns < look_ns ? end_ns : look_ns);
}

static void lease_fire(struct weir_timer *timer, void *context, uint64_t now_ns)
{
	struct weir_engine *engine = context;
	struct weir_session *session =
		(struct weir_session *)(void *)((uint8_t *)timer - __builtin_offsetof(struct weir_session, lease));
	if (now_ns >= lease_end(engine, session)) {
		weir_session_end(engine, session);
		return;
	}
	session->heard_tick = (uint16_t)(weir_session_tick(now_ns) - 1);
	lease_arm(engine, session);
}

static bool may_ask(struct weir_engine *engine, const struct weir_path *path, enum weir_stranger_question question)
{
	return weir_strangers_may_ask(&engine->strangers, path, question, engine->now_ns);
}

// The cookie is for a hello with that nonce. Of a session only its client knows the nonce, and whoever knows it may move the
// session, so there the challenge names the id that the stranger sent, and no nonce.
static void challenge(struct weir_engine *engine, const struct weir_path *path, uint64_t session, uint64_t nonce)
{
	uint32_t size = HEADER_SIZE + sizeof(struct weir_challenge);
	struct weir_frame_header *frame = weir_frame_to_stranger(engine, path, session, size);
	if (!frame)
		return;
	frame->kind = WEIR_KIND_CHALLENGE;
	struct weir_challenge body = {
		.nonce = session ? 0 : nonce,
		.cookie = weir_cookie_make(&engine->sessions, path, nonce, engine->now_ns),
	};
	memcpy(frame + 1, &body, sizeof(body));
	weir_frame_send(engine, frame, sizeof(body));
}

static void hello_error(struct weir_engine *engine, const struct weir_path *path, uint64_t nonce, enum weir_reason reason)
{
	struct weir_frame_header *frame = weir_frame_to_stranger(engine, path, 0, HEADER_SIZE + sizeof(struct weir_error));
	if (!frame)
		return;
	frame->kind = WEIR_KIND_ERROR;
	struct weir_error body = { .reason = (uint16_t)reason, .kind = WEIR_KIND_HELLO, .request = nonce };
	memcpy(frame + 1, &body, sizeof(body));
	weir_frame_send(engine, frame, sizeof(body));
}

// Padded to the agreed size: what arrives proves that the way back carries it.
static void welcome(struct weir_engine *engine, const struct weir_session *session)
{
	const struct weir_engine_limits *limits = &engine->config.limits;
	uint32_t size = session->ref.frame_size;
	struct weir_frame_header *frame = weir_frame_to_path(engine, &session->path, session->ref.id, size);
	if (!frame)
		return;
	frame->kind = WEIR_KIND_WELCOME;
	struct weir_welcome body = {
		.nonce = session->nonce,
		.session = session->ref.id,
		.router = engine->config.router,
		.frame_size = size,
		.window_frames = limits->window_frames,
		.ping_ms = limits->ping_ms,
		.lease_ms = limits->lease_ms,
		.dedup_window_ms = limits->dedup_window_ms,
		.worker = engine->config.worker,
		.version = WEIR_VERSION,
		.number = session->ref.number,
		.deliver_overhead = WEIR_DELIVER_OVERHEAD,
		.offers = engine->config.offers,
	};
	memcpy(frame + 1, &body, sizeof(body));
	memset((uint8_t *)(frame + 1) + sizeof(body), 0, size - HEADER_SIZE - sizeof(body));
	weir_frame_send(engine, frame, (int32_t)(size - HEADER_SIZE));
}

// The configured size is that of datagrams: a lane has no path whose MTU it would have to fit.
static uint32_t agreed_size(const struct weir_engine *engine, const struct weir_hello *hello, const struct weir_path *path)
{
	uint32_t most = path->family == AF_UNIX ? WEIR_FRAME_MAX : engine->config.limits.frame_size;
	return hello->frame_size < most ? hello->frame_size : most;
}

// What earlier sessions of the lane read in place, its client has let go of.
static void lane_fresh(struct weir_engine *engine, const struct weir_session *session)
{
	const struct weir_message message = {
		.kind = WEIR_MESSAGE_LANE_FRESH, .value = session->ref.lane, .session = session->ref,
	};
	weir_command_lane_fresh(engine, session->ref.lane, session->ref.id);
	for (uint16_t worker = 0; worker < engine->config.workers; worker++) {
		if (worker != engine->config.worker)
			weir_engine_tell(engine, worker, &message);
	}
}

static enum weir_reason session_open(struct weir_engine *engine, const struct weir_arrival *arrival)
{
	const struct weir_hello *hello = (const void *)((const struct weir_frame_header *)arrival->frame + 1);
	const struct weir_path *path = arrival->path;
	struct weir_session *older = weir_session_find_peer(&engine->sessions, path);
	if (older)
		weir_session_end(engine, older);
	uint8_t source = weir_session_source(engine->config.router, path);
	bool has_share = weir_session_has_share(&engine->sessions, source);
	struct weir_session *session =
		has_share ? weir_session_create(&engine->sessions, hello->nonce, path, engine->now_ns) : NULL;
	if (!session) {
		bool is_full = engine->sessions.live > engine->sessions.mask;
		enum weir_reason reason = is_full ? WEIR_R_SESSIONS : WEIR_R_QUOTA;
		hello_error(engine, path, hello->nonce, reason);
		return reason;
	}
	weir_session_source_set(&engine->sessions, session, source);
	session->ref.producer = hello->producer;
	session->ref.epoch = hello->epoch;
	session->ref.home = engine->config.worker;
	session->ref.frame_size = (uint16_t)agreed_size(engine, hello, path);
	session->ref.lane = 0;
	session->cookie = hello->cookie;
	session->agreed = weir_hello_agreed(hello, (uint32_t)(arrival->size - HEADER_SIZE), engine->config.offers);
	if (path->family == AF_UNIX) {
		memcpy(&session->ref.lane, path->remote_ip, sizeof(session->ref.lane));
		lane_fresh(engine, session);
	}
	session->lease.fire = lease_fire;
	lease_arm(engine, session);
	engine->row.sessions = engine->sessions.live;
	engine->row.sessions_opened++;
	welcome(engine, session);
	return WEIR_R_NONE;
}

static bool speaks_our_version(const struct weir_hello *hello)
{
	return memchr(hello->versions, WEIR_VERSION, sizeof(hello->versions)) != NULL;
}

static bool has_good_cookie(const struct weir_engine *engine, const struct weir_hello *hello, const struct weir_path *path)
{
	return hello->cookie != 0 &&
	       weir_cookie_is_good(&engine->sessions, path, hello->nonce, hello->cookie, engine->now_ns);
}

// Nothing proves that the sender is where it says.
static enum weir_reason answer_stranger(struct weir_engine *engine, const struct weir_hello *hello,
					const struct weir_path *path)
{
	if (!may_ask(engine, path, WEIR_STRANGER_HELLO))
		return WEIR_R_RATE;
	if (!speaks_our_version(hello)) {
		hello_error(engine, path, hello->nonce, WEIR_R_VERSION);
		return WEIR_R_VERSION;
	}
	challenge(engine, path, 0, hello->nonce);
	return hello->cookie ? WEIR_R_COOKIE : WEIR_R_NONE;
}

enum weir_reason weir_hello_receive(struct weir_engine *engine, const struct weir_arrival *arrival)
{
	const struct weir_hello *hello = (const void *)((const struct weir_frame_header *)arrival->frame + 1);
	const struct weir_path *path = arrival->path;
	if (arrival->size < hello->frame_size || hello->frame_size < WEIR_FRAME_MIN)
		return WEIR_R_SMALL_HELLO;
	if (engine->is_stopping)
		return WEIR_R_SESSIONS;
	// Before the first snapshot no topic has a name: who asked for one would be told that it does not exist, for good.
	if (engine->snapshot->revision == 0)
		return WEIR_R_NO_TOPIC;
	if (!speaks_our_version(hello) || !has_good_cookie(engine, hello, path))
		return answer_stranger(engine, hello, path);
	struct weir_session *session = weir_session_find_nonce(&engine->sessions, hello->nonce);
	if (!session)
		return session_open(engine, arrival);
	bool is_same_peer = weir_path_is_same_peer(&session->path, path);
	// Other workers know a session together with its lane: it cannot move to or from one.
	if (!is_same_peer && (session->ref.lane || path->family == AF_UNIX)) {
		weir_session_end(engine, session);
		return session_open(engine, arrival);
	}
	if (!is_same_peer) {
		// Whoever else was heard from the new address is gone from there.
		struct weir_session *older = weir_session_find_peer(&engine->sessions, path);
		if (older)
			weir_session_end(engine, older);
	}
	weir_session_move(&engine->sessions, session, path, engine->now_ns);
	weir_session_source_set(&engine->sessions, session, weir_session_source(engine->config.router, path));
	// The path is another one, or carries more than it did, or less: what the last hello proved holds.
	session->ref.frame_size = agreed_size(engine, hello, path);
	welcome(engine, session);
	bool is_duplicate = is_same_peer && session->cookie == hello->cookie;
	session->cookie = hello->cookie;
	return is_duplicate ? WEIR_R_DUPLICATE_HELLO : WEIR_R_NONE;
}

enum weir_reason weir_hello_no_session(struct weir_engine *engine, const struct weir_arrival *arrival)
{
	const struct weir_frame_header *about = arrival->frame;
	if (!may_ask(engine, arrival->path, WEIR_STRANGER_NO_SESSION))
		return WEIR_R_NO_SESSION;
	uint32_t size = HEADER_SIZE + sizeof(struct weir_error);
	struct weir_frame_header *frame = weir_frame_to_stranger(engine, arrival->path, about->session, size);
	if (frame) {
		frame->kind = WEIR_KIND_ERROR;
		struct weir_error body = { .reason = WEIR_R_NO_SESSION, .kind = about->kind, .request = about->sequence };
		memcpy(frame + 1, &body, sizeof(body));
		weir_frame_send(engine, frame, sizeof(body));
	}
	return WEIR_R_NO_SESSION;
}

enum weir_reason weir_hello_stranger(struct weir_engine *engine, struct weir_session *session,
				     const struct weir_arrival *arrival)
{
	if (may_ask(engine, arrival->path, WEIR_STRANGER_MOVED))
		challenge(engine, arrival->path, session->ref.id, session->nonce);
	return WEIR_R_STRANGER;
}

bool weir_session_stop_all(struct weir_engine *engine)
{
	for (; engine->stop_slot <= engine->sessions.mask; engine->stop_slot++) {
		struct weir_session *session = &engine->sessions.slots[engine->stop_slot];
		if (session->ref.id == 0)
			continue;
		struct weir_frame_header *frame = weir_frame_to_path(engine, &session->path, session->ref.id, HEADER_SIZE);
		if (!frame)
			return false;
		frame->kind = WEIR_KIND_BYE;
		weir_frame_send(engine, frame, 0);
		weir_session_end(engine, session);
	}
	return true;
}
