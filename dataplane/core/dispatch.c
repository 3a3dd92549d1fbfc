// From bursts to decisions: every frame from a port is checked, its session proven, and handed on by kind: to the shard's
// owner (here or through the mesh), to a group's coordinator, or answered at home. Each ends in exactly one account of the
// worker's row: handed on, or refused by name.
#include <string.h>

#include "dataplane/core/engine_state.h"
#include "wire/prefetch.h"

#define HEADER_SIZE ((uint32_t)sizeof(struct weir_frame_header))
// A burst is taken in batches: all frames of one are checked first, then acted on, and what is not in the cache is asked for
// in between. Large frames gain by it only where shards are far: while one is copied the next one is checked.
#define BATCH_FRAMES 32u
#define BATCH_BYTES_NEAR (1u << 10)
#define BATCH_BYTES_FAR (12u << 10)
#define AHEAD_FRAME 4u    // frames that are asked for before they are checked
#define AFTER_SHARD 3072u // bytes that are checked between asking for a shard and looking where its log goes on
#define AHEAD_LOG 6u      // frames, at least, whose place in the log is asked for before they are appended
#define AHEAD_LARGE 2u    // large frames that are looked at before their turn, one by one
// So much is taken to be in the cache.
#define LOGS_WARM (8ull << 20)  // bytes of all logs
#define SESSIONS_WARM 1024u     // sessions
#define STREAMS_WARM 256u       // sessions whose streams are
#define SESSIONS_WARM_LARGE 64u // sessions, where large frames go through the cache and drive out what is not used often
#define ALWAYS_INLINE inline __attribute__((always_inline))
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
	const struct weir_place *place = weir_place_again(&engine->places, ingress->place, frame->topic, frame->shard);
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
	const uint32_t room = WEIR_FRAME_LIST_MAX - HEADER_SIZE - (uint32_t)sizeof(struct weir_topic_info);
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

// What is known of a frame before it is acted on.
struct checked {
	enum weir_reason reason;
	uint32_t body_crc;
	const struct weir_place *place; // of the shard it is for, NULL: nobody looked
};

// Out of the way of the usual publish.
__attribute__((noinline)) static enum weir_reason session_receive(struct weir_engine *engine, struct weir_session *session,
								  const struct weir_arrival *arrival,
								  const struct checked *checked)
{
	const struct weir_frame_header *frame = arrival->frame;
	const struct weir_ingress ingress = {
		.frame = frame,
		.session = &session->ref,
		.body_crc = checked->body_crc,
		.shared = arrival->shared,
		.place = checked->place,
	};
	weir_session_note(session, arrival->path, engine->now_ns);
	switch (frame->kind) {
	case WEIR_KIND_OPEN:
		session->has_streams = true;
		return weir_dispatch_shard(engine, &ingress, 0);
	case WEIR_KIND_PUBLISH:
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
		if (frame->flags & WEIR_FLAG_WORKING)
			weir_member_working(engine, session);
		return WEIR_R_NONE;
	case WEIR_KIND_JOIN:
		return weir_member_join(engine, session, frame);
	case WEIR_KIND_LEAVE:
		return weir_member_leave(engine, session, frame);
	case WEIR_KIND_BYE:
		echo(engine, session, frame, WEIR_KIND_BYE);
		weir_session_end(engine, session);
		return WEIR_R_NONE;
	case WEIR_KIND_SETTLE:
		return WEIR_R_NOT_OFFERED;
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

static inline void arrival_check(const struct weir_arrival *arrival, struct checked *checked)
{
	checked->body_crc = 0;
	checked->place = NULL;
	checked->reason = weir_frame_check(arrival->frame, arrival->size, true, arrival->trust_link, &checked->body_crc);
}

ALWAYS_INLINE static enum weir_reason arrival_receive(struct weir_engine *engine, const struct weir_arrival *arrival,
						      const struct checked *checked)
{
	if (checked->reason != WEIR_R_NONE)
		return checked->reason;
	const struct weir_frame_header *frame = arrival->frame;
	if (frame->kind == WEIR_KIND_HELLO)
		return weir_hello_receive(engine, arrival);
	struct weir_session *session = weir_session_find(&engine->sessions, frame->session);
	if (!session)
		return weir_hello_no_session(engine, arrival);
	if (!weir_path_is_of_peer(arrival->path, session->peer))
		return weir_hello_stranger(engine, session, arrival);
	if (frame->kind == WEIR_KIND_PUBLISH && !arrival->shared && !session->ref.lane) {
		weir_session_heard(session, arrival->path, engine->now_ns);
		if (weir_publish_next(engine, frame, checked->body_crc, checked->place))
			return WEIR_R_NONE;
	}
	return session_receive(engine, session, arrival, checked);
}

static inline void account(struct weir_engine *engine, const struct weir_arrival *arrival, enum weir_reason reason)
{
	engine->row.received_bytes += arrival->size;
	if (reason == WEIR_R_NONE)
		engine->row.handed_on++;
	else
		engine->row.refused[reason]++;
}

ALWAYS_INLINE static enum weir_reason alone_receive(struct weir_engine *engine, const struct weir_arrival *arrival)
{
	struct checked checked;
	arrival_check(arrival, &checked);
	return arrival_receive(engine, arrival, &checked);
}

// Local producers' frames, the first of which is in two parts. Returns how many it took, at least 1.
static uint32_t shared_receive(struct weir_engine *engine, const struct weir_arrival *arrivals, uint32_t count)
{
	uint32_t taken = weir_publish_shared(engine, arrivals, count);
	if (taken)
		return taken;
	const struct weir_arrival joined = arrival_join(engine, arrivals);
	account(engine, arrivals, alone_receive(engine, &joined));
	return 1;
}

// What frames need and is not expected to be in the cache.
struct far {
	bool shards;
	bool streams;
	bool sessions;
};

// It is asked for before it is needed. Nothing of the frame is believed, for nothing is read through it.
static inline void session_fetch(const struct weir_engine *engine, const struct weir_frame_header *frame)
{
	weir_prefetch(weir_session_slot(&engine->sessions, frame->session));
}

// Of the first of `count` arrivals.
static inline void frame_fetch(const struct weir_arrival *arrivals, uint32_t count)
{
	if (count <= AHEAD_FRAME)
		return;
	weir_prefetch(arrivals[AHEAD_FRAME].frame);
	weir_prefetch((const uint8_t *)arrivals[AHEAD_FRAME].frame + 64);
}

// Streams lie behind their shard: it need not be there to find one.
static inline void stream_fetch(const struct weir_shard *shard, const struct weir_frame_header *frame)
{
	weir_prefetch_write((const void *)((uintptr_t)(shard + 1) + (uintptr_t)frame->stream * sizeof(struct weir_stream)));
}

static inline void shard_fetch(const struct weir_shard *shard)
{
	weir_prefetch(shard);
	weir_prefetch_write(&shard->log.head);
	weir_prefetch_write(&shard->sort_at);
}

static inline void log_fetch(const struct checked *checked, const struct weir_arrival *arrival)
{
	const struct weir_shard *shard = checked->place ? checked->place->shard : NULL;
	if (!shard)
		return;
	const uint8_t *next = (const uint8_t *)weir_log_run(&shard->log, shard->log.head);
	// Where its last line would be another one, that was asked for when the run before it was written.
	for (uint32_t at = 0; at < arrival->size; at += 64)
		weir_prefetch_write(next + at);
}

struct batch {
	struct checked frames[BATCH_FRAMES];
	uint32_t count;
	uint32_t logs_asked; // frames whose place in the log was asked for
};

// Checks the first frames of the arrivals, up to a batch.
ALWAYS_INLINE static void batch_check(const struct weir_engine *engine, const struct weir_arrival *arrivals, uint32_t count,
				      struct far far, struct batch *batch)
{
	uint32_t most = far.shards || far.streams ? BATCH_BYTES_FAR : BATCH_BYTES_NEAR;
	uint64_t session = 0;
	uint32_t bytes = 0;
	uint32_t bytes_asked = 0; // of the frames before logs_asked
	uint32_t n = 0;
	batch->logs_asked = 0;
	for (; n < count && n < BATCH_FRAMES && bytes < most && !arrivals[n].shared; n++) {
		const struct weir_frame_header *frame = arrivals[n].frame;
		struct checked *checked = &batch->frames[n];
		frame_fetch(&arrivals[n], count - n);
		while (far.shards && bytes - bytes_asked > AFTER_SHARD) {
			bytes_asked += arrivals[batch->logs_asked].size;
			log_fetch(&batch->frames[batch->logs_asked], &arrivals[batch->logs_asked]);
			batch->logs_asked++;
		}
		bytes += arrivals[n].size;
		arrival_check(&arrivals[n], checked);
		if (checked->reason != WEIR_R_NONE)
			continue;
		if (far.sessions && frame->session != session)
			session_fetch(engine, frame);
		session = frame->session;
		if (frame->kind != WEIR_KIND_PUBLISH)
			continue;
		checked->place = weir_place_find(&engine->places, frame->topic, frame->shard);
		const struct weir_shard *shard = checked->place ? checked->place->shard : NULL;
		if (shard && (far.shards || far.streams))
			stream_fetch(shard, frame);
		if (shard && far.shards)
			shard_fetch(shard);
	}
	batch->count = n;
}

// The caller knows as constants what of `far` is near. Returns how many frames it took, at least 1.
ALWAYS_INLINE static uint32_t batch_receive(struct weir_engine *engine, const struct weir_arrival *arrivals, uint32_t count,
					    struct far far)
{
	struct batch batch;
	batch_check(engine, arrivals, count, far, &batch);
	for (uint32_t i = 0; i < batch.count; i++) {
		uint32_t ask = far.shards ? i + AHEAD_LOG : 0;
		for (; batch.logs_asked < batch.count && batch.logs_asked < ask; batch.logs_asked++)
			log_fetch(&batch.frames[batch.logs_asked], &arrivals[batch.logs_asked]);
		account(engine, &arrivals[i], arrival_receive(engine, &arrivals[i], &batch.frames[i]));
	}
	return batch.count;
}

// Of a large frame that comes soon, before it is checked: its stream and its session.
static inline void large_fetch(const struct weir_engine *engine, const struct weir_arrival *arrivals, uint32_t count)
{
	if (count <= AHEAD_LARGE || arrivals[AHEAD_LARGE].size < HEADER_SIZE)
		return;
	const struct weir_frame_header *frame = arrivals[AHEAD_LARGE].frame;
	const struct weir_place *place = weir_place_find(&engine->places, frame->topic, frame->shard);
	session_fetch(engine, frame);
	if (place && place->shard)
		stream_fetch(place->shard, frame);
}

// The large frames at the front. Returns how many.
static uint32_t large_receive(struct weir_engine *engine, const struct weir_arrival *arrivals, uint32_t count, bool is_far)
{
	uint32_t n = 0;
	for (; n < count && !arrivals[n].shared && arrivals[n].size >= BATCH_BYTES_NEAR; n++) {
		frame_fetch(&arrivals[n], count - n);
		if (is_far)
			large_fetch(engine, &arrivals[n], count - n);
		account(engine, &arrivals[n], alone_receive(engine, &arrivals[n]));
	}
	return n;
}

void weir_engine_receive(struct weir_engine *engine, const struct weir_arrival *arrivals, uint32_t count, uint64_t now_ns)
{
	const struct far far = {
		.shards = engine->owned_count > WEIR_SHARDS_WARM,
		.streams = engine->sessions.live > STREAMS_WARM,
		.sessions = engine->sessions.live > SESSIONS_WARM,
	};
	engine->now_ns = now_ns;
	engine->is_log_far = engine->owned_log_bytes > LOGS_WARM || far.sessions;
	for (uint32_t i = 0; i < count;) {
		if (arrivals[i].shared)
			i += shared_receive(engine, &arrivals[i], count - i);
		else if (arrivals[i].size >= BATCH_BYTES_NEAR && !far.shards)
			i += large_receive(engine, &arrivals[i], count - i, engine->sessions.live > SESSIONS_WARM_LARGE);
		else if (far.shards)
			i += batch_receive(engine, &arrivals[i], count - i, far);
		else if (far.streams)
			i += batch_receive(engine, &arrivals[i], count - i,
					   (struct far){ .streams = true, .sessions = far.sessions });
		else
			i += batch_receive(engine, &arrivals[i], count - i, (struct far){ 0 });
	}
	engine->row.received += count;
	engine->turn_frames += count;
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
	engine->turn_frames++;
	if (header->kind == WEIR_MESH_EGRESS)
		return weir_frame_relay(engine, header, frame);
	if (header->kind == WEIR_MESH_HANDOVER)
		weir_command_adopt(engine, header);
	else
		mesh_ingress(engine, header, frame);
	return true;
}
