// From bursts to decisions: every frame from a port is checked, its session proven, and handed on by kind: to the shard's
// owner (here or through the mesh), to a group's coordinator, or answered at home. Each ends in exactly one account of the
// worker's row: handed on, or refused by name.
#include <string.h>

#include "dataplane/core/engine_state.h"

#define HEADER_SIZE ((uint32_t)sizeof(struct weir_frame_header))
// How many frames before they are looked at what they need is asked for, step by step, where shards are many.
#define AHEAD_FRAME 20u
#define AHEAD_PLACE 15u
#define AHEAD_SHARD 12u
#define AHEAD_LOG 6u // half of AHEAD_SHARD
#define AHEAD_SENDERS 4u
#define SESSIONS_WARM 1024u
#define HOPS_MAX 4u // a frame chases a moving shard this often, then it is refused `moving`

// A frame that no shard saw: what the producer needs to know to go on.
static void refuse(struct weir_engine *engine, const struct weir_ingress *ingress, enum weir_reason reason)
{
	const struct weir_frame_header *frame = ingress->frame;
	struct weir_refuse_entry entry = {
		.topic = frame->topic,
		.shard = frame->shard,
		.reason = (uint16_t)reason,
		.stream = frame->stream,
	};
	if (frame->kind == WEIR_KIND_OPEN) {
		entry.stream = 0;
		entry.sequence = ((const struct weir_open *)(const void *)(frame + 1))->request;
	} else if (frame->kind == WEIR_KIND_PUBLISH) {
		entry.count = frame->count;
		entry.sequence = frame->sequence;
		entry.next = frame->sequence;
	} else if (frame->kind == WEIR_KIND_REVOKED) {
		return;
	}
	weir_engine_refuse(engine, ingress->session, &entry);
}

// Worker that owns the shard as far as this one knows: by a handover it made, else by the snapshot.
static enum weir_reason owner_of(const struct weir_engine *engine, const struct weir_place *place, uint32_t topic_id,
				 uint16_t shard, uint16_t *worker)
{
	if (place) {
		*worker = place->forward;
		return WEIR_R_NONE;
	}
	const struct weir_topic_spec *topic = weir_snapshot_topic(engine->snapshot, topic_id);
	if (!topic)
		return WEIR_R_NO_TOPIC;
	if (shard >= topic->shards)
		return WEIR_R_NO_SHARD;
	*worker = topic->owner[shard];
	// Named as the owner, but the shard has not arrived.
	return *worker == engine->config.worker ? WEIR_R_MOVING : WEIR_R_NONE;
}

static void shard_receive(struct weir_shard *shard, const struct weir_ingress *ingress, uint64_t now_ns)
{
	if (ingress->frame->kind == WEIR_KIND_REVOKED)
		weir_delivery_revoked(shard, ingress, now_ns);
	else
		weir_stream_receive(shard, ingress, now_ns);
}

enum weir_reason weir_dispatch_shard(struct weir_engine *engine, const struct weir_ingress *ingress, uint8_t hops)
{
	const struct weir_frame_header *frame = ingress->frame;
	const struct weir_place *place = weir_place_find(&engine->places, frame->topic, frame->shard);
	if (place && place->shard) {
		shard_receive(place->shard, ingress, engine->now_ns);
		return WEIR_R_NONE;
	}
	uint16_t worker = 0;
	enum weir_reason reason = owner_of(engine, place, frame->topic, frame->shard, &worker);
	if (reason == WEIR_R_NONE && hops >= HOPS_MAX)
		reason = WEIR_R_MOVING;
	if (reason != WEIR_R_NONE) {
		refuse(engine, ingress, reason);
		return reason;
	}
	return weir_frame_forward(engine, worker, ingress, hops) ? WEIR_R_NONE : WEIR_R_MESH_FULL;
}

// Sends on, as one frame, the entries of a report that belong to `worker`. Entries done are struck from *left.
static bool report_forward(struct weir_engine *engine, const struct weir_ingress *ingress, uint16_t worker,
			   const uint16_t *owner, uint64_t *left, uint8_t hops)
{
	const struct weir_report_entry *entries = (const void *)(ingress->frame + 1);
	struct {
		struct weir_frame_header header;
		struct weir_report_entry entries[WEIR_ENTRIES_MAX];
	} split = { .header = *ingress->frame };
	uint16_t count = 0;
	for (uint64_t rest = *left; rest; rest &= rest - 1) {
		unsigned i = (unsigned)__builtin_ctzll(rest);
		if (owner[i] == worker) {
			split.entries[count++] = entries[i];
			*left &= ~(1ull << i);
		}
	}
	split.header.count = count;
	split.header.body_length = (uint16_t)(count * sizeof(entries[0]));
	struct weir_ingress part = { .frame = &split.header, .session = ingress->session };
	return weir_frame_forward(engine, worker, &part, hops);
}

enum weir_reason weir_dispatch_report(struct weir_engine *engine, const struct weir_ingress *ingress, uint8_t hops)
{
	const struct weir_report_entry *entries = (const void *)(ingress->frame + 1);
	uint16_t owner[WEIR_ENTRIES_MAX];
	uint64_t left = 0;
	bool is_handed_on = false;
	enum weir_reason reason = WEIR_R_NONE;
	for (uint32_t i = 0; i < ingress->frame->count; i++) {
		const struct weir_report_entry *entry = &entries[i];
		const struct weir_place *place = weir_place_find(&engine->places, entry->topic, entry->shard);
		if (place && place->shard) {
			weir_delivery_report(place->shard, ingress, entry, engine->now_ns);
			is_handed_on = true;
			continue;
		}
		enum weir_reason why = owner_of(engine, place, entry->topic, entry->shard, &owner[i]);
		if (why == WEIR_R_NONE && hops >= HOPS_MAX)
			why = WEIR_R_MOVING;
		if (why == WEIR_R_NONE)
			left |= 1ull << i;
		else
			reason = why;
	}
	while (left) {
		if (report_forward(engine, ingress, owner[__builtin_ctzll(left)], owner, &left, hops))
			is_handed_on = true;
		else
			reason = WEIR_R_MESH_FULL;
	}
	// An entry that got lost is reported again by its consumer.
	return is_handed_on ? WEIR_R_NONE : reason;
}

static enum weir_reason metadata_receive(struct weir_engine *engine, const struct weir_session *session,
					 const struct weir_frame_header *frame)
{
	const struct weir_metadata_ask *ask = (const void *)(frame + 1);
	const struct weir_topic_spec *topic = weir_snapshot_find(engine->snapshot, ask->topic);
	if (!topic) {
		weir_engine_error(engine, &session->ref, WEIR_R_NO_TOPIC, frame, ask->request, ask->topic);
		return WEIR_R_NO_TOPIC;
	}
	uint32_t first = ask->first_shard < topic->shards ? ask->first_shard : topic->shards;
	uint32_t count = topic->shards - first;
	uint32_t room = session->ref.frame_size - HEADER_SIZE - (uint32_t)sizeof(struct weir_topic_info);
	if (count > room)
		count = room;
	uint32_t length = (uint32_t)sizeof(struct weir_topic_info) + count;
	struct weir_frame_header *answer = weir_frame_to(engine, &session->ref, HEADER_SIZE + length);
	if (!answer)
		return WEIR_R_NONE;
	answer->kind = WEIR_KIND_TOPIC;
	answer->topic = topic->id.value;
	answer->count = (uint16_t)count;
	struct weir_topic_info info = {
		.request = ask->request,
		.revision = engine->snapshot->revision,
		.topic = topic->id.value,
		.shards = topic->shards,
		.first_shard = first,
		.event_max = topic->event_max,
		.policy = (uint8_t)topic->policy,
		.ack_min = (uint8_t)topic->ack_min,
		.ack_max = WEIR_ACK_ROUTED,
	};
	memcpy(info.name, topic->name, sizeof(info.name));
	memcpy(answer + 1, &info, sizeof(info));
	uint8_t *workers = (uint8_t *)(answer + 1) + sizeof(info);
	for (uint32_t i = 0; i < count; i++)
		workers[i] = (uint8_t)topic->owner[first + i];
	weir_frame_send(engine, answer, (int32_t)length);
	return WEIR_R_NONE;
}

static void echo(struct weir_engine *engine, const struct weir_session *session, const struct weir_frame_header *frame,
		 enum weir_kind kind)
{
	struct weir_frame_header *answer = weir_frame_to(engine, &session->ref, HEADER_SIZE);
	if (!answer)
		return;
	answer->kind = (uint8_t)kind;
	answer->sequence = frame->sequence;
	weir_frame_send(engine, answer, 0);
}

static enum weir_reason session_receive(struct weir_engine *engine, struct weir_session *session,
					const struct weir_arrival *arrival, uint32_t body_crc)
{
	const struct weir_frame_header *frame = arrival->frame;
	const struct weir_ingress ingress = {
		.frame = frame, .session = &session->ref, .body_crc = body_crc, .shared = arrival->shared,
	};
	switch (frame->kind) {
	case WEIR_KIND_OPEN:
		session->has_streams = true;
		return weir_dispatch_shard(engine, &ingress, 0);
	case WEIR_KIND_PUBLISH:
		return weir_publish_next(engine, &ingress) ? WEIR_R_NONE : weir_dispatch_shard(engine, &ingress, 0);
	case WEIR_KIND_PROBE:
	case WEIR_KIND_SKIP:
	case WEIR_KIND_CLOSE:
	case WEIR_KIND_REVOKED:
		return weir_dispatch_shard(engine, &ingress, 0);
	case WEIR_KIND_REPORT:
		return weir_dispatch_report(engine, &ingress, 0);
	case WEIR_KIND_METADATA:
		return metadata_receive(engine, session, frame);
	case WEIR_KIND_PING:
		echo(engine, session, frame, WEIR_KIND_PONG);
		return WEIR_R_NONE;
	case WEIR_KIND_JOIN:
		return weir_member_join(engine, session, frame);
	case WEIR_KIND_LEAVE:
		return weir_member_leave(engine, session, frame);
	case WEIR_KIND_BYE:
		echo(engine, session, frame, WEIR_KIND_BYE);
		weir_session_end(engine, session);
		return WEIR_R_NONE;
	default:
		return WEIR_R_KIND;
	}
}

// Only a publish whose checksum leaves its body out may come in two parts; everything else is put together first.
static struct weir_arrival arrival_join(struct weir_engine *engine, const struct weir_arrival *arrival)
{
	const struct weir_frame_header *frame = arrival->frame;
	struct weir_arrival joined = *arrival;
	bool is_plain = frame->kind == WEIR_KIND_PUBLISH && !(frame->flags & WEIR_FLAG_FRAGMENT);
	if (is_plain && frame->flags & WEIR_FLAG_HEADER_ONLY)
		return joined;
	joined.shared = NULL;
	joined.frame = engine->bounce;
	if (joined.size > WEIR_FRAME_MAX)
		joined.size = 0;
	if (joined.size >= HEADER_SIZE) {
		memcpy(engine->bounce, frame, HEADER_SIZE);
		memcpy(engine->bounce + HEADER_SIZE, arrival->shared, joined.size - HEADER_SIZE);
	}
	return joined;
}

static enum weir_reason arrival_receive(struct weir_engine *engine, const struct weir_arrival *arrival)
{
	uint32_t body_crc = 0;
	struct weir_arrival joined;
	if (arrival->shared) {
		joined = arrival_join(engine, arrival);
		arrival = &joined;
	}
	enum weir_reason reason = weir_frame_check(arrival->frame, arrival->size, true, arrival->trust_link, &body_crc);
	if (reason != WEIR_R_NONE)
		return reason;
	const struct weir_frame_header *frame = arrival->frame;
	if (frame->kind == WEIR_KIND_HELLO)
		return weir_hello_receive(engine, arrival);
	struct weir_session *session = weir_session_find(&engine->sessions, frame->session);
	if (!session)
		return weir_hello_no_session(engine, arrival);
	if (memcmp(&session->path, arrival->path, sizeof(session->path)) != 0) {
		if (!weir_path_is_same_peer(&session->path, arrival->path))
			return weir_hello_stranger(engine, session, arrival);
		// MACs or VLAN changed on the way.
		session->path = *arrival->path;
	}
	session->heard_ns = engine->now_ns;
	return session_receive(engine, session, arrival, body_crc);
}

// Shards that do not all fit the cache are fetched before their frames are looked at, step by step: the frame's header, the
// shard's place in the table, the shard and the stream, where the log goes on. Nothing of the frame is believed, for nothing
// is read through it.
static const struct weir_shard *shard_fetch(const struct weir_engine *engine, const struct weir_arrival *arrival)
{
	const struct weir_frame_header *frame = arrival->frame;
	if (arrival->size < HEADER_SIZE || frame->kind != WEIR_KIND_PUBLISH)
		return NULL;
	const struct weir_place *place = weir_place_find(&engine->places, frame->topic, frame->shard);
	const struct weir_shard *shard = place ? place->shard : NULL;
	if (!shard)
		return NULL;
	uintptr_t stream = (uintptr_t)(shard + 1) + (uintptr_t)frame->stream * sizeof(struct weir_stream);
	__builtin_prefetch((const void *)stream, 1);
	__builtin_prefetch(shard);
	__builtin_prefetch((const uint8_t *)shard + 64, 1);
	__builtin_prefetch((const uint8_t *)shard + 128, 1);
	return shard;
}

static void place_fetch(const struct weir_engine *engine, const struct weir_arrival *arrival)
{
	const struct weir_frame_header *frame = arrival->frame;
	if (arrival->size < HEADER_SIZE)
		return;
	uint64_t key = weir_place_key(frame->topic, frame->shard);
	__builtin_prefetch(&engine->places.slots[weir_place_slot(&engine->places, key)]);
}

static void log_fetch(const struct weir_shard *shard, uint32_t size)
{
	const uint8_t *next = (const uint8_t *)weir_log_run(&shard->log, shard->log.head);
	// The run begins anywhere in its first line.
	for (uint32_t at = 0; at < size + 56; at += 64)
		__builtin_prefetch(next + at, 1);
}

// Where sessions are many.
static void sender_fetch(const struct weir_engine *engine, const struct weir_arrival *arrival)
{
	const struct weir_frame_header *frame = arrival->frame;
	if (arrival->size < HEADER_SIZE)
		return;
	const struct weir_session *session = &engine->sessions.slots[frame->session & engine->sessions.mask];
	__builtin_prefetch(session, 1);
	__builtin_prefetch(&session->path);
	(void)shard_fetch(engine, arrival);
}

// The same at the change of a train of frames.
static void session_fetch(const struct weir_engine *engine, const struct weir_arrival *before,
			  const struct weir_arrival *arrival)
{
	const struct weir_frame_header *old = before->frame;
	const struct weir_frame_header *frame = arrival->frame;
	if (before->size < HEADER_SIZE || arrival->size < HEADER_SIZE || old->session == frame->session)
		return;
	sender_fetch(engine, arrival);
}

// What the frames behind this one, the first of `count`, need. `ahead` is the caller's, a ring of shards.
static inline void shards_fetch(const struct weir_engine *engine, const struct weir_arrival *arrivals, uint32_t count,
				const struct weir_shard **ahead)
{
	const struct weir_shard *shard = *ahead;
	*ahead = NULL;
	if (count > AHEAD_FRAME)
		__builtin_prefetch(arrivals[AHEAD_FRAME].frame);
	if (count > AHEAD_PLACE)
		place_fetch(engine, &arrivals[AHEAD_PLACE]);
	if (count > AHEAD_SHARD)
		*ahead = shard_fetch(engine, &arrivals[AHEAD_SHARD]);
	if (shard)
		log_fetch(shard, arrivals[AHEAD_LOG].size);
}

void weir_engine_receive(struct weir_engine *engine, const struct weir_arrival *arrivals, uint32_t count, uint64_t now_ns)
{
	bool is_cold = engine->owned_count > WEIR_SHARDS_WARM;
	const struct weir_shard *ahead[AHEAD_LOG] = { NULL }; // of frames from there to AHEAD_SHARD
	bool is_crowded = !is_cold && engine->sessions.live > SESSIONS_WARM;
	engine->now_ns = now_ns;
	// For the first frames of a burst nobody asked before.
	for (uint32_t i = 0; is_crowded && i < AHEAD_SENDERS && i < count; i++)
		sender_fetch(engine, &arrivals[i]);
	for (uint32_t i = 0; i < count; i++) {
		if (arrivals[i].shared) {
			i += weir_publish_shared(engine, &arrivals[i], count - i);
			if (i == count)
				break;
		}
		if (i + 1 < count) {
			__builtin_prefetch(arrivals[i + 1].frame);
			__builtin_prefetch((const uint8_t *)arrivals[i + 1].frame + 64);
		}
		if (is_cold)
			shards_fetch(engine, &arrivals[i], count - i, &ahead[i % AHEAD_LOG]);
		if (is_crowded && i + 10 < count) {
			__builtin_prefetch(arrivals[i + 10].frame);
			session_fetch(engine, &arrivals[i + 4], &arrivals[i + 8]);
		}
		enum weir_reason reason = arrival_receive(engine, &arrivals[i]);
		engine->row.received_bytes += arrivals[i].size;
		if (reason == WEIR_R_NONE)
			engine->row.handed_on++;
		else
			engine->row.refused[reason]++;
	}
	engine->row.received += count;
	if (count) {
		engine->is_row_dirty = true;
		engine->has_work = true;
	}
}

static void mesh_ingress(struct weir_engine *engine, const struct weir_mesh_header *header, const void *frame)
{
	struct weir_ingress ingress = { .frame = frame, .session = &header->session, .body_crc = header->body_crc };
	uint8_t hops = (uint8_t)(header->hops + 1);
	enum weir_reason reason = ingress.frame->kind == WEIR_KIND_REPORT ? weir_dispatch_report(engine, &ingress, hops) :
									    weir_dispatch_shard(engine, &ingress, hops);
	// Its home counted it as handed on; here it is received and refused once more, so that no drop is nameless.
	if (reason != WEIR_R_NONE)
		weir_engine_count_drop(engine, reason, 1);
}

bool weir_engine_mesh(struct weir_engine *engine, const struct weir_mesh_header *header, const void *frame, uint64_t now_ns)
{
	engine->now_ns = now_ns;
	engine->has_work = true;
	engine->is_row_dirty = true;
	if (header->kind == WEIR_MESH_EGRESS)
		return weir_frame_relay(engine, header, frame);
	if (header->kind == WEIR_MESH_HANDOVER)
		weir_command_adopt(engine, header);
	else
		mesh_ingress(engine, header, frame);
	return true;
}
