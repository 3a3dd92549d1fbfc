// Joins the parts of the client core: input by kind, poll in order of urgency, the batch of datagrams on their way out.
// Same thread as client/core.h says.
#include "client/core.h"

#include "client/state.h"
#include "lib/siphash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CREDIT_DEFAULT (4u << 20)
#define CREDIT_LEAST (64u << 10)

bool name_copy(char to[WEIR_NAME_SIZE], const char *from)
{
	size_t size = strlen(from);
	if (size >= WEIR_NAME_SIZE)
		return false;
	memset(to, 0, WEIR_NAME_SIZE);
	memcpy(to, from, size);
	return weir_name_is_valid(to);
}

// Some of these numbers are published and others prove who the client is: none may tell another.
uint64_t core_random(struct weir_core *core)
{
	uint64_t number = core->drawn++;
	return lib_siphash(core->secret, &number, sizeof(number));
}

uint64_t core_jitter(struct weir_core *core, uint64_t most)
{
	return 1 + core_random(core) % max_u64(most, 1);
}

int weir_core_create(struct weir_core **core, const struct weir_core_options *options, uint64_t now_ns)
{
	char name[WEIR_NAME_SIZE];
	if (options->name && *options->name && !name_copy(name, options->name))
		return -EINVAL;
	uint32_t frame_size = options->frame_size ? options->frame_size : WEIR_FRAME_DEFAULT;
	if (frame_size < WEIR_FRAME_MIN || frame_size > WEIR_FRAME_MAX || frame_size % 8)
		return -EINVAL;
	struct weir_core *made = calloc(1, sizeof(*made));
	if (!made)
		return -ENOMEM;
	made->now_ns = now_ns;
	made->realtime_offset_ns = options->realtime_offset_ns;
	made->local = options->local;
	made->knows = WEIR_OFFERS_BUILT | options->knows;
	memcpy(made->secret, options->secret, sizeof(made->secret));
	made->credit_bytes = options->credit_bytes ? options->credit_bytes : CREDIT_DEFAULT;
	if (made->credit_bytes < CREDIT_LEAST)
		made->credit_bytes = CREDIT_LEAST;
	made->scratch = aligned_alloc(64, SCRATCH_SIZE);
	// Twice what may be granted, for what is half empty, and some for what is being received.
	uint32_t buffers = 2 * (made->credit_bytes / WEIR_CORE_BUFFER_SIZE) + 32;
	if (!made->scratch || buffers_init(&made->buffers, buffers)) {
		free(made->scratch);
		free(made);
		return -ENOMEM;
	}
	window_init(&made->window, 1);
	session_init(made, options, now_ns);
	made->deadline_ns = now_ns;
	*core = made;
	return 0;
}

void weir_core_destroy(struct weir_core *core)
{
	producers_free(core);
	consumers_free(core);
	buffers_fini(&core->buffers);
	free(core->scratch);
	free(core);
}

void weir_core_owner_set(struct weir_core *core, void *owner)
{
	core->owner = owner;
}

void *weir_core_owner(const struct weir_core *core)
{
	return core->owner;
}

// ---- Requests ----

void request_start(struct weir_core *core, struct request *request, uint64_t now_ns)
{
	*request = (struct request){ .id = ++core->request, .due_ns = now_ns, .wait_ns = REQUEST_FIRST_NS };
	core_due(core, now_ns);
}

void request_renew(struct weir_core *core, struct request *request)
{
	request->id = ++core->request;
}

bool request_is_due(struct weir_core *core, struct request *request, uint64_t now_ns)
{
	if (request->due_ns > now_ns) {
		core_due(core, request->due_ns);
		return false;
	}
	request->due_ns = now_ns + request->wait_ns;
	request->wait_ns = min_u64(request->wait_ns * 2, REQUEST_MAX_NS);
	core_due(core, request->due_ns);
	return true;
}

// ---- Way out ----

void core_batch_flush(struct weir_core *core)
{
	uint32_t taken = 0;
	if (core->batch_count && !core->is_blocked)
		taken = core->output->send(core->output->context, core->batch, core->batch_count);
	core->statistics.frames_sent += taken;
	if (taken)
		core->session.sent_ns = core->now_ns;
	for (uint32_t i = taken; i < core->batch_count; i++) {
		core->is_blocked = true;
		if (core->entries[i].stream)
			stream_unsent(core->entries[i].stream, core->entries[i].slot);
		else
			consumers_reports_again(core);
	}
	core->batch_count = 0;
	core->scratch_used = 0;
}

static bool has_room(struct weir_core *core, uint32_t scratch)
{
	if (core->batch_count == WEIR_CORE_BATCH || SCRATCH_SIZE - core->scratch_used < scratch)
		core_batch_flush(core);
	return !core->is_blocked;
}

struct weir_frame_header *core_frame(struct weir_core *core, enum weir_kind kind, uint32_t size)
{
	uint32_t whole = (uint32_t)sizeof(struct weir_frame_header) + weir_pad8(size);
	if (!has_room(core, whole))
		return NULL;
	struct weir_frame_header *frame = (void *)(core->scratch + core->scratch_used);
	memset(frame, 0, whole);
	frame->kind = (uint8_t)kind;
	frame->session = core->session.id;
	frame->sent_ns = core->now_ns + (uint64_t)core->realtime_offset_ns;
	return frame;
}

bool core_frame_send(struct weir_core *core, struct weir_frame_header *frame, uint32_t size)
{
	weir_frame_seal(frame, (uint16_t)size);
	core->scratch_used += (uint32_t)sizeof(*frame) + weir_pad8(size);
	core->batch[core->batch_count] = (struct weir_datagram){ .data = frame, .size = sizeof(*frame) + size };
	core->entries[core->batch_count++] = (struct batch_entry){ 0 };
	return true;
}

bool core_slot_send(struct weir_core *core, struct stream *stream, uint64_t slot, const struct weir_datagram *datagram)
{
	bool is_copy = datagram->data == core->scratch + core->scratch_used;
	if (!is_copy && !has_room(core, 0))
		return false;
	core->scratch_used += is_copy ? weir_pad8((uint32_t)datagram->size) : 0;
	core->batch[core->batch_count] = *datagram;
	core->entries[core->batch_count++] = (struct batch_entry){ .stream = stream, .slot = slot };
	return true;
}

uint32_t core_body_max(const struct weir_core *core)
{
	return (core->path.size - core->session.deliver_overhead) & ~7u;
}

// ---- Way in ----

static void error_input(struct weir_core *core, const struct weir_frame_header *frame)
{
	const struct weir_error *error = (const void *)(frame + 1);
	switch (error->kind) {
	case WEIR_KIND_METADATA:
		producers_error(core, error);
		break;
	case WEIR_KIND_JOIN:
		consumers_error(core, error);
		break;
	}
}

// Kinds that belong to a live session.
static void session_input(struct weir_core *core, struct weir_frame_header *frame, struct weir_buffer *buffer)
{
	switch (frame->kind) {
	case WEIR_KIND_ACK:
		producers_ack(core, frame);
		break;
	case WEIR_KIND_DELIVER:
		consumers_deliver(core, frame, buffer);
		break;
	case WEIR_KIND_REFUSE:
		producers_refuse(core, frame);
		break;
	case WEIR_KIND_TOPIC:
		producers_topic(core, frame);
		break;
	case WEIR_KIND_OPENED:
		producers_opened(core, frame);
		break;
	case WEIR_KIND_CLOSED:
		producers_closed(core, frame);
		break;
	case WEIR_KIND_JOINED:
		consumers_joined(core, frame);
		break;
	case WEIR_KIND_ASSIGN:
		consumers_assign(core, frame);
		break;
	case WEIR_KIND_REVOKE:
		consumers_revoke(core, frame);
		break;
	case WEIR_KIND_LEFT:
		consumers_left(core, frame);
		break;
	case WEIR_KIND_ERROR:
		error_input(core, frame);
		break;
	case WEIR_KIND_BYE:
		session_lost(core, core->now_ns);
		break;
	case WEIR_KIND_SETTLED: // not agreed on
		core->statistics.frames_bad++;
		break;
	}
}

static void input(struct weir_core *core, struct weir_frame_header *frame, size_t size, struct weir_buffer *buffer)
{
	core->statistics.frames_received++;
	// Nobody configures the client's path `integrity: link`: header-only frames are taken from memory alone.
	if (weir_frame_check(frame, size, false, core->local != NULL, NULL) != WEIR_R_NONE) {
		core->statistics.frames_bad++;
		return;
	}
	struct session *session = &core->session;
	if (frame->kind == WEIR_KIND_CHALLENGE) {
		session_challenge(core, frame, core->now_ns);
		return;
	}
	if (frame->kind == WEIR_KIND_WELCOME) {
		session_welcome(core, frame, core->now_ns);
		return;
	}
	const struct weir_error *error = (const void *)(frame + 1);
	if (frame->kind == WEIR_KIND_ERROR && error->kind == WEIR_KIND_HELLO)
		session_refused(core, error);
	if (session->id == 0 || frame->session != session->id)
		return;
	if (frame->kind == WEIR_KIND_ERROR && error->reason == WEIR_R_NO_SESSION) {
		session_lost(core, core->now_ns);
		core_due(core, core->session.due_ns);
		return;
	}
	session->heard_ns = core->now_ns;
	if (frame->kind == WEIR_KIND_PONG)
		session_pong(core, frame);
	session_input(core, frame, buffer);
}

static void clock_set(struct weir_core *core, uint64_t now_ns)
{
	core->now_ns = max_u64(core->now_ns, now_ns);
}

void weir_core_input(struct weir_core *core, const void *datagram, size_t size, uint64_t now_ns)
{
	clock_set(core, now_ns);
	if (size > WEIR_FRAME_MAX) {
		core->statistics.frames_received++;
		core->statistics.frames_bad++;
		return;
	}
	struct weir_buffer *buffer = NULL;
	uint8_t *copy = buffers_pack(&core->buffers, (uint32_t)size, &buffer);
	// All buffers hold events that nobody took: like a full socket, the datagram is lost and will come again. The
	// rest of the protocol must not starve meanwhile.
	uint8_t aside[WEIR_FRAME_MAX] __attribute__((aligned(8)));
	memcpy(copy ? copy : aside, datagram, size);
	input(core, (void *)(copy ? copy : aside), size, buffer);
	if (buffer)
		buffer_put(&core->buffers, buffer);
}

void weir_core_input_in(struct weir_core *core, struct weir_buffer *buffer, const struct weir_datagram *datagram,
			bool is_sparse, uint64_t now_ns)
{
	const struct weir_frame_header *frame = datagram->data;
	bool is_misaligned = (uintptr_t)datagram->data % 8 != 0;
	if (is_misaligned ||
	    (is_sparse && datagram->size >= sizeof(*frame) && frame->kind == WEIR_KIND_DELIVER && frame->magic == WEIR_MAGIC)) {
		weir_core_input(core, datagram->data, datagram->size, now_ns);
		return;
	}
	clock_set(core, now_ns);
	input(core, (void *)datagram->data, datagram->size, buffer);
}

// ---- Poll ----

static void close_poll(struct weir_core *core)
{
	struct session *session = &core->session;
	if (!core->is_closing || core->producers || core->consumers || session->state >= SESSION_BYE)
		return;
	session->state = session->state == SESSION_READY ? SESSION_BYE : SESSION_END;
	session->due_ns = core->now_ns;
	session->byes = 0;
}

void weir_core_poll(struct weir_core *core, uint64_t now_ns, const struct weir_core_output *output)
{
	clock_set(core, now_ns);
	core->output = output;
	core->is_blocked = false;
	core->is_urgent = false;
	core->deadline_ns = NEVER;
	if (core->session.state == SESSION_READY) {
		consumers_poll(core, core->now_ns);
		producers_poll(core, core->now_ns);
	}
	close_poll(core);
	session_poll(core, core->now_ns);
	core_batch_flush(core);
	core_due(core, session_deadline(core));
	core->output = NULL;
}

uint64_t weir_core_deadline(const struct weir_core *core)
{
	return core->deadline_ns;
}

bool weir_core_is_urgent(const struct weir_core *core)
{
	return core->is_urgent;
}

void weir_core_too_large(struct weir_core *core, size_t size, uint64_t now_ns)
{
	struct session *session = &core->session;
	clock_set(core, now_ns);
	if (session->state == SESSION_READY)
		path_too_large(core, (uint32_t)size, core->now_ns);
	if (session->state != SESSION_HELLO || size > session->steps[session->step] || session->step + 1 == session->step_count)
		return;
	session->tries = 0;
	session->step++;
	session->due_ns = core->now_ns;
	core_due(core, session->due_ns);
}

bool weir_core_is_seeking(const struct weir_core *core)
{
	return core->session.state == SESSION_HELLO && core->session.cookie == 0;
}

void weir_keepalive_make(struct weir_frame_header *ping, uint64_t session, uint64_t sequence)
{
	*ping = (struct weir_frame_header){
		.kind = WEIR_KIND_PING, .flags = WEIR_FLAG_WORKING, .session = session, .sequence = sequence,
	};
	weir_frame_seal(ping, 0);
}

uint64_t weir_core_session(const struct weir_core *core)
{
	return core->session.state == SESSION_READY ? core->session.id : 0;
}

bool weir_core_is_unheard(const struct weir_core *core)
{
	const struct session *session = &core->session;
	return session->state == SESSION_READY && session->is_ping_open &&
	       core->now_ns - session->asked_ns >= session->ping_ns / 2;
}

void weir_core_path_moved(struct weir_core *core, uint64_t now_ns)
{
	clock_set(core, now_ns);
	if (core->session.state != SESSION_READY)
		return;
	core->session.is_answer_due = true;
	core_due(core, core->now_ns);
}

void weir_core_path_up(struct weir_core *core, uint64_t now_ns)
{
	clock_set(core, now_ns);
	if (core->session.state != SESSION_HELLO)
		return;
	core->session.tries = 0;
	core->session.due_ns = core->now_ns;
	core->is_urgent = true;
	core_due(core, core->now_ns);
}

void weir_core_path_down(struct weir_core *core, uint64_t now_ns)
{
	clock_set(core, now_ns);
	session_lost(core, core->now_ns);
	core_due(core, core->session.due_ns);
}

void weir_core_log_ready(struct weir_core *core, uint32_t topic, uint16_t shard, uint64_t now_ns)
{
	clock_set(core, now_ns);
	consumers_log_ready(core, topic, shard);
}

enum weir_state weir_core_state(const struct weir_core *core)
{
	if (core->session.state == SESSION_READY)
		return WEIR_STATE_READY;
	return core->session.had_welcome ? WEIR_STATE_LOST : WEIR_STATE_CONNECTING;
}

uint64_t weir_core_offers(const struct weir_core *core)
{
	return core->session.state == SESSION_READY ? core->session.offers : 0;
}

unsigned weir_core_refusal(const struct weir_core *core)
{
	return core->session.refusal;
}

void weir_core_statistics(const struct weir_core *core, struct weir_statistics *statistics)
{
	*statistics = core->statistics;
	statistics->window_frames = core->window.frames;
	statistics->frame_size = core->path.size ? core->path.size : core->session.frame_size;
	statistics->round_trip_ns = core->window.smoothed_ns;
}

void weir_core_close(struct weir_core *core, uint64_t now_ns)
{
	clock_set(core, now_ns);
	core->is_closing = true;
	consumers_close(core);
	producers_close(core);
	core_due(core, core->now_ns);
}

void weir_core_bye(struct weir_core *core, uint64_t now_ns)
{
	clock_set(core, now_ns);
	if (core->session.state != SESSION_READY)
		return;
	core->session.state = SESSION_BYE;
	core->session.due_ns = core->now_ns;
	core->session.byes = 0;
}

bool weir_core_is_closed(const struct weir_core *core)
{
	return core->session.state == SESSION_END;
}
