// The session of a client: hello, challenge, welcome, ping, bye, and what happens when the router falls silent. The
// states and times are those of wire/PROTOCOL.md, sections 6 and 16.
#include "client/state.h"

#include <string.h>

#define HELLO_FIRST_NS (100 * MS)
#define HELLO_MAX_NS (2000 * MS)
#define HELLO_AGAIN_NS (100 * MS) // after a lost session: uniform in (0, that]
#define TRIES_PER_STEP 2u
#define BYE_NS (100 * MS)
#define BYES_MAX 3u
#define OVERHEAD_MAX (WEIR_FRAME_MIN / 2) // more would leave too little of the smallest frame

// Shared memory carries frames of any size: there is nothing to step down to.
static void steps_build(struct session *session, uint32_t wanted, bool is_local)
{
	static const uint32_t STEPS[] = { WEIR_FRAME_DEFAULT, 1232, WEIR_FRAME_MIN };
	session->steps[session->step_count++] = wanted;
	for (uint32_t i = 0; !is_local && i < sizeof(STEPS) / sizeof(STEPS[0]); i++) {
		if (STEPS[i] < wanted)
			session->steps[session->step_count++] = STEPS[i];
	}
}

static void step_down(struct session *session)
{
	session->tries = 0;
	session->step = (session->step + 1) % session->step_count;
	// Whoever challenged once does not answer at any size: it is anybody's turn again.
	if (session->step == 0)
		session->cookie = 0;
}

void session_init(struct weir_core *core, const struct weir_core_options *options, uint64_t now_ns)
{
	struct session *session = &core->session;
	session->state = SESSION_HELLO;
	session->nonce = core_random(core);
	session->due_ns = now_ns;
	session->wait_ns = HELLO_FIRST_NS;
	session->heard_ns = now_ns;
	session->frame_size = options->frame_size ? options->frame_size : WEIR_FRAME_DEFAULT;
	session->deliver_overhead = WEIR_DELIVER_OVERHEAD;
	steps_build(session, session->frame_size, core->local != NULL);
	if (options->name && *options->name) {
		session->producer = weir_key_of_bytes(options->name, strlen(options->name));
		session->epoch = options->epoch ? options->epoch : now_ns + (uint64_t)options->realtime_offset_ns;
		memcpy(session->name, options->name, strlen(options->name));
	} else {
		session->producer = core_random(core);
	}
	// Not used on the wire.
	if (session->producer == 0)
		session->producer = 1;
}

static uint32_t hello_size(const struct weir_core *core)
{
	const struct session *session = &core->session;
	if (session->state != SESSION_READY)
		return session->steps[session->step];
	return core->path.trying ? core->path.trying : core->path.size;
}

static void hello_send(struct weir_core *core)
{
	struct session *session = &core->session;
	uint32_t size = hello_size(core);
	uint32_t body = size - (uint32_t)sizeof(struct weir_frame_header);
	struct weir_frame_header *frame = core_frame(core, WEIR_KIND_HELLO, body);
	if (!frame)
		return;
	frame->session = 0;
	struct weir_hello *hello = (struct weir_hello *)(frame + 1);
	hello->nonce = session->nonce;
	hello->cookie = session->cookie;
	hello->producer = session->producer;
	hello->epoch = session->epoch;
	hello->frame_size = size;
	hello->receive_buffer = core->credit_bytes;
	hello->versions[0] = WEIR_VERSION;
	memcpy(hello->name, session->name, sizeof(hello->name));
	weir_option_put(hello + 1, WEIR_OPTION_KNOWS, &core->knows, sizeof(core->knows));
	core_frame_send(core, frame, body);
}

void session_prove(struct weir_core *core)
{
	core->session.cookie = 0;
	hello_send(core);
}

static void empty_send(struct weir_core *core, enum weir_kind kind, uint64_t sequence)
{
	struct weir_frame_header *frame = core_frame(core, kind, 0);
	if (!frame)
		return;
	frame->sequence = sequence;
	core_frame_send(core, frame, 0);
}

static void hello_poll(struct weir_core *core, uint64_t now_ns)
{
	struct session *session = &core->session;
	bool is_answer = session->is_answer_due;
	if (!is_answer && now_ns < session->due_ns)
		return;
	session->is_answer_due = false;
	if (!is_answer && session->tries == TRIES_PER_STEP)
		step_down(session);
	if (!is_answer)
		session->tries++;
	if (!session->hello_ns)
		session->hello_ns = now_ns;
	hello_send(core);
	// The first wait is whole, later ones jump about, so that a router that comes back is not met by all at once.
	uint64_t wait = session->wait_ns == HELLO_FIRST_NS ? HELLO_FIRST_NS : core_jitter(core, session->wait_ns);
	session->due_ns = now_ns + wait;
	session->wait_ns = min_u64(session->wait_ns * 2, HELLO_MAX_NS);
}

// Who hands out events proves all the time that the router hears him, and repeats himself until it is known.
static uint64_t ping_due(const struct weir_core *core)
{
	const struct session *session = &core->session;
	if (core->consumers)
		return session->is_ping_open ? session->pinged_ns + session->ping_ns / 4 : session->asked_ns + session->ping_ns;
	return max_u64(min_u64(session->sent_ns, session->heard_ns), session->pinged_ns) + session->ping_ns;
}

static void ping_send(struct weir_core *core, uint64_t now_ns)
{
	struct session *session = &core->session;
	// A repetition has the same number: whichever the router answers, it heard the client after the first one went out.
	if (!session->is_ping_open) {
		session->is_ping_open = true;
		session->asked_ns = now_ns;
		session->ping++;
		consumers_asked(core);
	}
	session->pinged_ns = now_ns;
	empty_send(core, WEIR_KIND_PING, session->ping);
}

void session_pong(struct weir_core *core, const struct weir_frame_header *frame)
{
	struct session *session = &core->session;
	if (frame->sequence & WEIR_KEEPALIVE_PING) {
		uint64_t asked_ns = frame->sequence & ~WEIR_KEEPALIVE_PING;
		if (asked_ns <= core->now_ns)
			session->proven_ns = max_u64(session->proven_ns, asked_ns);
		return;
	}
	if (!session->is_ping_open || frame->sequence != session->ping)
		return;
	session->is_ping_open = false;
	session->proven_ns = max_u64(session->proven_ns, session->asked_ns);
	consumers_told(core);
}

static void ready_poll(struct weir_core *core, uint64_t now_ns)
{
	struct session *session = &core->session;
	if (session->is_answer_due) {
		session->is_answer_due = false;
		hello_send(core);
	}
	if (now_ns - session->heard_ns >= session->lease_ns) {
		session_lost(core, now_ns);
		return;
	}
	if (now_ns >= ping_due(core))
		ping_send(core, now_ns);
	path_poll(core, now_ns);
}

static void bye_poll(struct weir_core *core, uint64_t now_ns)
{
	struct session *session = &core->session;
	if (now_ns < session->due_ns)
		return;
	if (session->byes == BYES_MAX) {
		session->state = SESSION_END;
		return;
	}
	session->byes++;
	session->due_ns = now_ns + BYE_NS;
	empty_send(core, WEIR_KIND_BYE, 0);
}

void session_poll(struct weir_core *core, uint64_t now_ns)
{
	switch (core->session.state) {
	case SESSION_HELLO:
		hello_poll(core, now_ns);
		break;
	case SESSION_READY:
		ready_poll(core, now_ns);
		break;
	case SESSION_BYE:
		bye_poll(core, now_ns);
		break;
	case SESSION_END:
		break;
	}
}

uint64_t session_deadline(const struct weir_core *core)
{
	const struct session *session = &core->session;
	if (session->state == SESSION_END)
		return NEVER;
	if (session->is_answer_due)
		return core->now_ns;
	if (session->state != SESSION_READY)
		return session->due_ns;
	return min_u64(ping_due(core), session->heard_ns + session->lease_ns);
}

void session_challenge(struct weir_core *core, const struct weir_frame_header *frame, uint64_t now_ns)
{
	struct session *session = &core->session;
	const struct weir_challenge *challenge = (const void *)(frame + 1);
	// Heard from a new address the router names the session; the nonce is for the client to add.
	bool is_mine = frame->session ? frame->session == session->id && challenge->nonce == 0
				      : challenge->nonce == session->nonce;
	if (!is_mine || session->state >= SESSION_BYE)
		return;
	session->cookie = challenge->cookie;
	session->is_answer_due = true;
	core->is_urgent = true;
}

void session_welcome(struct weir_core *core, const struct weir_frame_header *frame, uint64_t now_ns)
{
	struct session *session = &core->session;
	const struct weir_welcome *welcome = (const void *)(frame + 1);
	if (welcome->nonce != session->nonce || session->state >= SESSION_BYE || welcome->session == 0)
		return;
	// A border value from outside: what the client cannot work with is no welcome.
	if (welcome->frame_size < WEIR_FRAME_MIN || welcome->frame_size > session->steps[0])
		return;
	if (welcome->deliver_overhead < sizeof(*frame) || welcome->deliver_overhead > OVERHEAD_MAX)
		return;
	session->heard_ns = now_ns;
	if (session->state == SESSION_READY) {
		// The same answer once more, or to a hello that proved a new address or a larger frame.
		if (welcome->session == session->id)
			path_proven(core, welcome->frame_size, now_ns);
		return;
	}
	session->is_other_router = session->had_welcome && welcome->router != session->router;
	session->had_welcome = true;
	session->state = SESSION_READY;
	session->refusal = 0;
	session->generation++;
	session->id = welcome->session;
	session->router = welcome->router;
	session->frame_size = welcome->frame_size & ~7u;
	session->deliver_overhead = welcome->deliver_overhead;
	session->offers = welcome->offers & core->knows;
	path_begin(core, session->steps[session->step], welcome->frame_size, now_ns);
	session->ping_ns = max_u64(welcome->ping_ms, 1) * MS;
	session->lease_ns = max_u64(welcome->lease_ms * MS, 3 * session->ping_ns);
	session->dedup_ns = welcome->dedup_window_ms * MS;
	session->tries = 0;
	session->wait_ns = HELLO_FIRST_NS;
	session->sent_ns = now_ns;
	session->proven_ns = session->asked_ns = session->pinged_ns = session->hello_ns;
	session->is_ping_open = false;
	window_init(&core->window, welcome->window_frames);
	if (core->local)
		window_open(&core->window);
	core->statistics.sessions++;
	core->is_urgent = true;
	producers_session_new(core, now_ns);
	consumers_session_new(core, now_ns);
}

// It goes on asking: there may be room, or another router, by then.
void session_refused(struct weir_core *core, const struct weir_error *error)
{
	struct session *session = &core->session;
	if (session->state == SESSION_HELLO && error->request == session->nonce)
		session->refusal = error->reason;
}

void session_lost(struct weir_core *core, uint64_t now_ns)
{
	struct session *session = &core->session;
	if (session->state == SESSION_BYE) {
		session->state = SESSION_END;
		return;
	}
	if (session->state != SESSION_READY)
		return;
	session->state = SESSION_HELLO;
	session->last_word_ns = session->heard_ns;
	session->id = 0;
	session->nonce = core_random(core);
	session->cookie = 0;
	session->hello_ns = 0;
	session->tries = 0;
	session->is_answer_due = false;
	session->due_ns = now_ns + core_jitter(core, HELLO_AGAIN_NS);
	session->wait_ns = HELLO_FIRST_NS;
	producers_session_lost(core);
	consumers_session_lost(core);
}

bool session_may_hand_out(const struct weir_core *core, uint64_t now_ns)
{
	const struct session *session = &core->session;
	return session->state == SESSION_READY && now_ns - session->proven_ns < session->lease_ns / 3 * 2;
}
