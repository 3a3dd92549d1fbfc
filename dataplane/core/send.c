// Everything an engine sends leaves through here: to the port of a session at home, or through the mesh to its home. One
// frame at a time is reserved, written in place, sealed and committed.
#include <string.h>

#include "dataplane/core/engine_state.h"

#define RELAY_WAIT_NS 1000000u // that a frame of another worker waits for a port
#define HEADER_SIZE ((uint32_t)sizeof(struct weir_frame_header))

static struct weir_frame_header *frame_begin(struct weir_engine *engine, void *place, enum weir_sending sending,
					     uint64_t session)
{
	if (!place) {
		engine->row.send_blocked++;
		engine->is_row_dirty = true;
		engine->is_blocked = true;
		return NULL;
	}
	struct weir_frame_header *frame = place;
	memset(frame, 0, sizeof(*frame));
	frame->session = session;
	engine->sending = sending;
	return frame;
}

// The port does not carry it, as a path might not: it is lost, and the session's frames are smaller from now on.
static void never_fits(struct weir_engine *engine, uint64_t id, uint32_t size)
{
	const struct weir_session *session = weir_session_find(&engine->sessions, id);
	if (!session)
		return;
	struct weir_session_ref smaller = session->ref;
	smaller.frame_size = (uint16_t)weir_frame_step(size);
	weir_session_smaller(engine, &smaller);
}

struct weir_frame_header *weir_frame_to_path(struct weir_engine *engine, const struct weir_path *path, uint64_t session,
					     uint32_t size)
{
	void *place = engine->io.send_reserve(engine->io.context, path, size);
	if (place == WEIR_SEND_NEVER) {
		never_fits(engine, session, size);
		return frame_begin(engine, engine->scratch, WEIR_SENDING_VOID, session);
	}
	return frame_begin(engine, place, WEIR_SENDING_HERE, session);
}

struct weir_frame_header *weir_frame_to_stranger(struct weir_engine *engine, const struct weir_path *path, uint64_t session,
						 uint32_t size)
{
	struct weir_path stranger = *path;
	stranger.is_stranger = true;
	void *place = engine->io.send_reserve(engine->io.context, &stranger, size);
	return place ? frame_begin(engine, place, WEIR_SENDING_HERE, session) : NULL;
}

struct weir_frame_header *weir_frame_home(struct weir_engine *engine, uint64_t id, uint32_t size)
{
	const struct weir_session *session = weir_session_find(&engine->sessions, id);
	if (!session)
		return frame_begin(engine, engine->scratch, WEIR_SENDING_VOID, id);
	return weir_frame_to_path(engine, &session->path, id, size);
}

struct weir_frame_header *weir_frame_to(struct weir_engine *engine, const struct weir_session_ref *to, uint32_t size)
{
	if (to->home == engine->config.worker)
		return weir_frame_home(engine, to->id, size);
	const struct weir_mesh_header header = { .kind = WEIR_MESH_EGRESS, .from = engine->config.worker, .session = *to };
	void *place = engine->io.mesh_reserve(engine->io.context, to->home, &header, size);
	engine->sending_worker = to->home;
	return frame_begin(engine, place, WEIR_SENDING_MESH, to->id);
}

void weir_frame_send(struct weir_engine *engine, struct weir_frame_header *frame, int32_t body_length)
{
	if (body_length >= 0)
		weir_frame_seal(frame, (uint16_t)body_length);
	weir_frame_commit(engine, body_length >= 0 ? HEADER_SIZE + (uint32_t)body_length : 0);
}

void weir_frame_commit(struct weir_engine *engine, uint32_t size)
{
	if (engine->sending == WEIR_SENDING_HERE)
		engine->io.send_commit(engine->io.context, size);
	else if (engine->sending == WEIR_SENDING_MESH)
		engine->io.mesh_commit(engine->io.context, engine->sending_worker, size);
	engine->sending = WEIR_SENDING_NOTHING;
}

bool weir_frame_forward(struct weir_engine *engine, uint16_t worker, const struct weir_ingress *ingress, uint8_t hops)
{
	uint32_t size = HEADER_SIZE + ingress->frame->body_length;
	const struct weir_mesh_header header = {
		.kind = WEIR_MESH_INGRESS,
		.hops = hops,
		.from = engine->config.worker,
		.body_crc = ingress->body_crc,
		.session = *ingress->session,
	};
	void *place = engine->io.mesh_reserve(engine->io.context, worker, &header, size);
	if (!place)
		return false;
	memcpy(place, ingress->frame, ingress->shared ? HEADER_SIZE : size);
	if (ingress->shared)
		memcpy((uint8_t *)place + HEADER_SIZE, ingress->shared, ingress->frame->body_length);
	engine->io.mesh_commit(engine->io.context, worker, size);
	return true;
}

// The port takes nothing now, and others' frames stand behind the one for it in the ring: where that lasts, it is lost.
static bool is_relay_over(struct weir_engine *engine, struct weir_port_wait *wait)
{
	if (wait->since_ns == 0 || engine->now_ns - wait->tried_ns > RELAY_WAIT_NS)
		wait->since_ns = engine->now_ns;
	wait->tried_ns = engine->now_ns;
	if (engine->now_ns - wait->since_ns >= RELAY_WAIT_NS) {
		weir_engine_count_drop(engine, WEIR_R_MESH_FULL, 1);
		return true;
	}
	engine->row.send_blocked++;
	engine->is_row_dirty = true;
	return false;
}

bool weir_frame_relay(struct weir_engine *engine, const struct weir_mesh_header *header, const void *frame)
{
	const struct weir_session *session = weir_session_find(&engine->sessions, header->session.id);
	if (!session) {
		weir_engine_count_drop(engine, WEIR_R_NO_SESSION, 1);
		return true;
	}
	void *place = engine->io.send_reserve(engine->io.context, &session->path, header->size);
	if (place == WEIR_SEND_NEVER) {
		never_fits(engine, session->ref.id, header->size);
		weir_engine_count_drop(engine, WEIR_R_NO_BUFFER, 1);
		return true;
	}
	struct weir_port_wait *wait = &engine->port_waits[session->path.port % WEIR_PORTS_KNOWN];
	if (!place)
		return is_relay_over(engine, wait);
	wait->since_ns = 0;
	memcpy(place, frame, header->size);
	engine->io.send_commit(engine->io.context, header->size);
	return true;
}

void weir_engine_refuse_flush(struct weir_engine *engine)
{
	struct weir_refusals *refusals = &engine->refusals;
	if (refusals->count == 0)
		return;
	uint32_t length = refusals->count * (uint32_t)sizeof(refusals->entries[0]);
	struct weir_frame_header *frame = weir_frame_to(engine, &refusals->to, HEADER_SIZE + length);
	if (frame) {
		frame->kind = WEIR_KIND_REFUSE;
		frame->count = (uint16_t)refusals->count;
		memcpy(frame + 1, refusals->entries, length);
		weir_frame_send(engine, frame, (int32_t)length);
	}
	refusals->count = 0;
}

void weir_engine_refuse(struct weir_engine *engine, const struct weir_session_ref *to, const struct weir_refuse_entry *entry)
{
	struct weir_refusals *refusals = &engine->refusals;
	const uint32_t most = (WEIR_FRAME_LIST_MAX - HEADER_SIZE) / (uint32_t)sizeof(*entry);
	if (refusals->count && (refusals->to.id != to->id || refusals->count == most))
		weir_engine_refuse_flush(engine);
	refusals->to = *to;
	refusals->entries[refusals->count++] = *entry;
	engine->has_work = true;
}

void weir_engine_error(struct weir_engine *engine, const struct weir_session_ref *to, enum weir_reason reason,
		       const struct weir_frame_header *about, uint64_t request, const char *name)
{
	struct weir_frame_header *frame = weir_frame_to(engine, to, HEADER_SIZE + sizeof(struct weir_error));
	if (!frame)
		return;
	frame->kind = WEIR_KIND_ERROR;
	struct weir_error error = { .reason = (uint16_t)reason, .kind = about->kind, .request = request };
	if (name)
		memcpy(error.name, name, sizeof(error.name));
	memcpy(frame + 1, &error, sizeof(error));
	weir_frame_send(engine, frame, sizeof(error));
}
