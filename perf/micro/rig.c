// See rig.h. Everything goes through the engine's own door: messages as control sends them, frames as clients do.
#include "perf/micro/rig.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#include "dataplane/core/memory.h"
#include "wire/codec.h"
#include "wire/key.h"

#define SPARE 64u // places of pools that stay free, so that no source of a rig's clients is at its share
#define TOPIC 1u
#define CREDIT (4u << 20) // bytes a shard, consumer
#define TURN_NS 8000u     // of the virtual clock
#define JOIN_TURNS 4096u  // until all shards are assigned
#define JOIN_TURN_NS 1000000u
#define HELLOS 32u        // in a turn
#define REPORT_ENTRIES ((WEIR_RIG_FRAME_SIZE - sizeof(struct weir_frame_header)) / sizeof(struct weir_report_entry))

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...)
{
	va_list list;
	va_start(list, format);
	fputs("micro-core: ", stderr);
	vfprintf(stderr, format, list);
	fputs("\n", stderr);
	exit(1);
}

static void *take(size_t count, size_t size)
{
	size_t bytes = (count * size + 63) & ~(size_t)63;
	void *memory = aligned_alloc(64, bytes);
	if (!memory)
		fail("%zu bytes: out of memory", bytes);
	return memset(memory, 0, bytes);
}

uint64_t weir_rig_clock_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

uint64_t weir_rig_now(struct weir_rig *rig)
{
	rig->now_ns = rig->setup.is_clock_virtual ? rig->now_ns + TURN_NS : weir_rig_clock_ns() - rig->clients_ns;
	return rig->now_ns;
}

// ---- What the engine calls ----

static uint32_t client_of(const struct weir_path *path)
{
	uint32_t client;
	memcpy(&client, path->remote_ip, sizeof(client));
	return client;
}

static void *send_reserve(void *context, const struct weir_path *path, uint32_t size)
{
	struct weir_rig *rig = context;
	if (rig->out_count == WEIR_RIG_SLOTS || size > WEIR_RIG_SLOT_SIZE - WEIR_RIG_FRAME_AT)
		return NULL;
	struct weir_rig_slot *slot = &rig->out[rig->out_count];
	slot->client = client_of(path);
	return slot->bytes + WEIR_RIG_FRAME_AT;
}

static void send_commit(void *context, uint32_t size)
{
	struct weir_rig *rig = context;
	rig->out[rig->out_count].size = size;
	rig->out_count += size != 0;
}

// One worker: there is no mesh, and control's answers are not waited for.
static void *mesh_reserve(void *context, uint16_t worker, const struct weir_mesh_header *header, uint32_t size)
{
	return NULL;
}

static void mesh_commit(void *context, uint16_t worker, uint32_t size)
{
}

static void message_send(void *context, uint16_t worker, const struct weir_message *message)
{
	if (message->kind == WEIR_MESSAGE_DONE && message->result)
		fail("command failed: %s", strerror(-message->result));
}

// ---- Frames in ----

static struct weir_frame_header *frame_begin(struct weir_rig *rig, enum weir_kind kind, uint32_t client, uint64_t session)
{
	struct weir_arrival *arrival = &rig->arrivals[rig->arrival_count];
	struct weir_frame_header *frame = (void *)(rig->in[rig->arrival_count] + WEIR_RIG_FRAME_AT);
	arrival->frame = frame;
	struct weir_path *path = &rig->arrival_paths[rig->arrival_count];
	memcpy(path->remote_ip, &client, sizeof(client));
	arrival->path = path;
	arrival->trust_link = rig->setup.is_link;
	memset(frame, 0, sizeof(*frame));
	frame->kind = (uint8_t)kind;
	frame->session = session;
	frame->topic = TOPIC;
	return frame;
}

struct weir_frame_header *weir_rig_frame_begin(struct weir_rig *rig, enum weir_kind kind, uint32_t client)
{
	return frame_begin(rig, kind, client, rig->sessions[client]);
}

void weir_rig_frame_end(struct weir_rig *rig, struct weir_frame_header *frame, uint32_t body_length)
{
	weir_frame_seal(frame, (uint16_t)body_length);
	rig->arrivals[rig->arrival_count++].size = (uint32_t)sizeof(*frame) + body_length;
}

void weir_rig_hello_put(struct weir_rig *rig, uint32_t client, uint64_t nonce, uint64_t cookie)
{
	struct weir_frame_header *frame = frame_begin(rig, WEIR_KIND_HELLO, client, 0);
	struct weir_hello *hello = (void *)(frame + 1);
	memset(hello, 0, WEIR_RIG_FRAME_SIZE - sizeof(*frame));
	hello->nonce = nonce;
	hello->producer = 7u + client;
	hello->cookie = cookie;
	hello->frame_size = WEIR_RIG_FRAME_SIZE;
	hello->versions[0] = WEIR_VERSION;
	frame->topic = 0;
	weir_rig_frame_end(rig, frame, WEIR_RIG_FRAME_SIZE - sizeof(*frame));
}

void weir_rig_events_put(struct weir_rig *rig, uint32_t client, const struct weir_rig_producing *producing, uint32_t shard)
{
	uint32_t count = rig->setup.frame_events;
	struct weir_frame_header *frame = frame_begin(rig, WEIR_KIND_PUBLISH, client, producing->session);
	const uint64_t *keys = &rig->keys[shard * WEIR_RIG_KEYS];
	uint8_t *at = (uint8_t *)(frame + 1);
	for (uint32_t i = 0; i < count; i++, at += rig->event_size) {
		struct weir_event_header *event = (void *)at;
		uint64_t sequence = producing->next + i;
		*event = (struct weir_event_header){ .length = (uint32_t)sizeof(*event) + rig->setup.payload, .type = 1,
						     .key = keys[sequence % WEIR_RIG_KEYS] };
		memset(event + 1, (int)sequence, rig->event_size - sizeof(*event));
		memcpy(event + 1, &sequence, 8);
	}
	uint64_t end = producing->next + count;
	// As libweir says it: less than half of the credit is in use.
	bool may_wait = (uint32_t)end - producing->acknowledged <= producing->limit - end;
	frame->flags = (rig->setup.is_link ? WEIR_FLAG_HEADER_ONLY : 0) | (may_wait ? WEIR_FLAG_LATER : 0);
	frame->shard = (uint16_t)shard;
	frame->stream = producing->stream;
	frame->count = (uint16_t)count;
	frame->sequence = producing->next;
	weir_rig_frame_end(rig, frame, count * rig->event_size);
}

static void publish_put(struct weir_rig *rig, uint32_t session, uint32_t shard)
{
	struct weir_rig_producing *producing = &rig->producing[session * rig->setup.shards + shard];
	if (producing->next + rig->setup.frame_events > producing->limit)
		return;
	weir_rig_events_put(rig, session, producing, shard);
	producing->next += rig->setup.frame_events;
}

void weir_rig_publish(struct weir_rig *rig)
{
	for (uint32_t i = 0; i < rig->setup.burst; i++) {
		if (rig->train_left == 0) {
			rig->session_next = (rig->session_next + 1) % rig->setup.sessions;
			rig->train_left = rig->setup.train;
		}
		rig->train_left--;
		publish_put(rig, rig->session_next, rig->shard_next);
		rig->shard_next = (rig->shard_next + 1) % rig->setup.shards;
	}
}

static void report_put(struct weir_rig *rig, uint32_t group)
{
	const uint16_t *due = &rig->reports_due[group * rig->setup.shards];
	struct weir_frame_header *frame = weir_rig_frame_begin(rig, WEIR_KIND_REPORT, rig->setup.sessions + group);
	struct weir_report_entry *entry = (void *)(frame + 1);
	frame->topic = 0;
	for (uint32_t left = rig->report_count[group]; left && frame->count < REPORT_ENTRIES; left--) {
		uint16_t shard = due[left - 1];
		struct weir_rig_receiving *receiving = &rig->receiving[group * rig->setup.shards + shard];
		*entry++ = (struct weir_report_entry){
			.topic = TOPIC, .shard = shard, .stream = receiving->handle, .term = receiving->term,
			.group = group + 1, .received_to = receiving->received_to,
			.settled_to = receiving->is_hoarded ? 0 : receiving->received_to,
			.charged = receiving->charged, .limit = receiving->charged + CREDIT,
		};
		receiving->is_report_due = false;
		rig->report_count[group]--;
		frame->count++;
	}
	weir_rig_frame_end(rig, frame, frame->count * (uint32_t)sizeof(*entry));
}

void weir_rig_report(struct weir_rig *rig)
{
	for (uint32_t group = 0; group < rig->setup.groups; group++) {
		while (rig->report_count[group] && rig->arrival_count < WEIR_RIG_ARRIVALS)
			report_put(rig, group);
	}
}

static void report_due(struct weir_rig *rig, uint32_t group, uint16_t shard)
{
	struct weir_rig_receiving *receiving = &rig->receiving[group * rig->setup.shards + shard];
	if (receiving->is_report_due)
		return;
	receiving->is_report_due = true;
	rig->reports_due[group * rig->setup.shards + rig->report_count[group]++] = shard;
}

// ---- Frames out ----

static void delivery_look(struct weir_rig *rig, const struct weir_frame_header *frame, uint32_t group)
{
	struct weir_rig_receiving *receiving = &rig->receiving[group * rig->setup.shards + frame->shard];
	const struct weir_delivery *delivery = (const void *)(frame + 1);
	const uint8_t *at = (const uint8_t *)(delivery + 1);
	rig->frames_out++;
	if (frame->sequence != receiving->received_to) {
		rig->wrong += frame->count != 0;
		return;
	}
	uint64_t offset = frame->sequence;
	for (uint32_t i = 0; i < frame->count; i++) {
		const struct weir_run_header *run = (const void *)at;
		at += sizeof(*run);
		for (uint32_t k = 0; k < run->count; k++, at += rig->event_size, offset++) {
			uint64_t sequence = run->sequence + k;
			rig->wrong += memcmp(at + sizeof(struct weir_event_header), &sequence, 8) != 0;
		}
	}
	if (frame->count)
		receiving->charged = delivery->charge_from + weir_charge((uint32_t)sizeof(*frame) + frame->body_length);
	rig->delivered += offset - receiving->received_to;
	rig->wrong += offset != delivery->to;
	receiving->received_to = delivery->to;
	report_due(rig, group, frame->shard);
}

static void ack_look(struct weir_rig *rig, const struct weir_frame_header *frame, uint32_t session)
{
	const struct weir_ack_entry *entries = (const void *)(frame + 1);
	rig->acknowledgements += frame->count;
	for (uint32_t i = 0; i < frame->count; i++) {
		struct weir_rig_producing *producing = &rig->producing[session * rig->setup.shards + entries[i].shard];
		producing->acknowledged = (uint32_t)entries[i].next;
		if (entries[i].limit > producing->limit)
			producing->limit = entries[i].limit;
		rig->wrong += entries[i].flags & WEIR_ACK_NACK;
	}
}

static void opened_look(struct weir_rig *rig, const struct weir_frame_header *frame, uint32_t session)
{
	const struct weir_opened *opened = (const void *)(frame + 1);
	struct weir_rig_producing *producing =
		session < rig->setup.sessions ? &rig->producing[session * rig->setup.shards + frame->shard] : &rig->guest;
	*producing = (struct weir_rig_producing){
		.session = rig->sessions[session], .next = opened->next, .limit = opened->limit, .stream = frame->stream,
		.acknowledged = (uint32_t)opened->next,
	};
}

static void assign_look(struct weir_rig *rig, const struct weir_frame_header *frame, uint32_t group)
{
	struct weir_rig_receiving *receiving = &rig->receiving[group * rig->setup.shards + frame->shard];
	receiving->handle = frame->stream;
	receiving->term = ((const struct weir_assign *)(const void *)(frame + 1))->term;
	receiving->is_assigned = true;
	report_due(rig, group, frame->shard);
}

static void challenge_look(struct weir_rig *rig, const struct weir_challenge *challenge, uint32_t client)
{
	weir_rig_hello_put(rig, client, challenge->nonce, challenge->cookie);
}

// Guests know for themselves what they do.
static bool is_for_guest(const struct weir_rig *rig, uint32_t client, uint8_t kind)
{
	return client >= rig->setup.sessions + rig->setup.groups && kind != WEIR_KIND_CHALLENGE && kind != WEIR_KIND_WELCOME &&
	       kind != WEIR_KIND_OPENED;
}

static void frame_look(struct weir_rig *rig, const struct weir_frame_header *frame, uint32_t client)
{
	const void *body = frame + 1;
	uint32_t group = client - rig->setup.sessions;
	if (is_for_guest(rig, client, frame->kind))
		return;
	switch (frame->kind) {
	case WEIR_KIND_CHALLENGE:
		challenge_look(rig, body, client);
		break;
	case WEIR_KIND_WELCOME:
		rig->sessions[client] = ((const struct weir_welcome *)body)->session;
		break;
	case WEIR_KIND_OPENED:
		opened_look(rig, frame, client);
		break;
	case WEIR_KIND_ASSIGN:
		assign_look(rig, frame, group);
		break;
	case WEIR_KIND_ACK:
		ack_look(rig, frame, client);
		break;
	case WEIR_KIND_DELIVER:
		delivery_look(rig, frame, group);
		break;
	case WEIR_KIND_REFUSE:
	case WEIR_KIND_ERROR:
		rig->wrong++;
		break;
	default:
		break;
	}
}

void weir_rig_look(struct weir_rig *rig)
{
	for (uint32_t i = 0; i < rig->out_count; i++) {
		const struct weir_rig_slot *slot = &rig->out[i];
		const struct weir_frame_header *frame = (const void *)(slot->bytes + WEIR_RIG_FRAME_AT);
		if (weir_frame_check(frame, slot->size, false, rig->setup.is_link, NULL) != WEIR_R_NONE)
			rig->wrong++;
		else
			frame_look(rig, frame, slot->client);
	}
	// The next turn writes where this one wrote: a pool gives out first what came back last.
	rig->out_count = 0;
}

void weir_rig_receive(struct weir_rig *rig)
{
	uint32_t count = rig->arrival_count;
	rig->arrival_count = 0;
	weir_engine_receive(rig->engine, rig->arrivals, count, rig->now_ns);
}

void weir_rig_run(struct weir_rig *rig)
{
	weir_engine_run(rig->engine, rig->now_ns);
}

static void turn(struct weir_rig *rig)
{
	weir_rig_now(rig);
	weir_rig_receive(rig);
	weir_rig_run(rig);
	weir_rig_look(rig);
}

uint64_t weir_rig_drain(struct weir_rig *rig)
{
	const struct weir_rig_setup *setup = &rig->setup;
	// As long as something comes, and a while longer.
	for (uint32_t idle = 0; idle < 64 + setup->shards; idle++) {
		uint64_t before = rig->delivered + rig->acknowledgements;
		weir_rig_report(rig);
		turn(rig);
		if (rig->delivered + rig->acknowledgements != before)
			idle = 0;
	}
	uint64_t left = 0;
	for (uint32_t shard = 0; shard < setup->shards; shard++) {
		uint64_t sent = 0;
		for (uint32_t session = 0; session < setup->sessions; session++) {
			const struct weir_rig_producing *producing = &rig->producing[session * setup->shards + shard];
			left += (uint32_t)producing->next - producing->acknowledged;
			sent += producing->next;
		}
		for (uint32_t group = 0; group < setup->groups; group++)
			left += sent - rig->receiving[group * setup->shards + shard].received_to;
	}
	return left;
}

// ---- Setting up ----

static void message_put(struct weir_rig *rig, const struct weir_message *what)
{
	struct weir_message message = *what;
	message.from = WEIR_FROM_CONTROL;
	weir_engine_message(rig->engine, &message, rig->now_ns);
}

static void shard_add(struct weir_rig *rig, struct weir_slab *slab, uint16_t shard)
{
	struct weir_topic_spec topic = rig->topic;
	if (shard == 0 && rig->setup.first_log_bytes)
		topic.log_bytes = rig->setup.first_log_bytes;
	const struct weir_shard_config config = { .topic = TOPIC, .shard = shard, .spec = &topic, .node = -1,
						  .incarnation = 1000u + shard, .hugepages = WEIR_HUGEPAGES_OFF,
						  .row = &rig->shard_rows[shard], .slab = slab };
	struct weir_shard *made;
	int error = weir_shard_create(&made, &config);
	if (error)
		fail("shard %u: %s", shard, strerror(-error));
	message_put(rig, &(struct weir_message){ .kind = WEIR_MESSAGE_SHARD_ADOPT, .pointer = made });
	for (uint32_t group = 0; group < rig->setup.groups; group++) {
		struct weir_group_place place = { .spec = rig->groups[group],
						  .row = &rig->group_rows[group * rig->setup.shards + shard],
						  .delivery = &rig->deliveries[group * rig->setup.shards + shard] };
		message_put(rig, &(struct weir_message){ .kind = WEIR_MESSAGE_GROUP_CREATE, .topic = TOPIC, .group = group + 1,
							 .shard = shard, .pointer = &place });
	}
}

static void topic_add(struct weir_rig *rig)
{
	const struct weir_rig_setup *setup = &rig->setup;
	for (uint32_t group = 0; group < setup->groups; group++) {
		rig->groups[group] = (struct weir_group_spec){ .id = { group + 1 }, .kind = WEIR_GROUP_HOLD };
		snprintf(rig->groups[group].name, sizeof(rig->groups[group].name), "group%u", group);
	}
	rig->topic = (struct weir_topic_spec){ .id = { TOPIC }, .name = "positions", .shards = setup->shards,
					       .policy = WEIR_POLICY_BLOCK, .ack_min = WEIR_ACK_NONE, .event_max = 4096,
					       .log_bytes = setup->log_bytes,
					       .streams_max = setup->sessions + setup->guests + SPARE,
					       .owner = rig->owner, .groups = rig->groups, .group_count = setup->groups };
	rig->by_id[0] = UINT32_MAX;
	rig->snapshot = (struct weir_snapshot){ .revision = 1, .topics = &rig->topic, .topic_count = 1, .by_id = rig->by_id,
						.by_id_count = TOPIC + 1 };
	message_put(rig, &(struct weir_message){ .kind = WEIR_MESSAGE_SNAPSHOT, .pointer = &rig->snapshot });
	for (uint32_t group = 0; group < setup->groups; group++)
		message_put(rig, &(struct weir_message){ .kind = WEIR_MESSAGE_GROUP_SETUP, .topic = TOPIC, .group = group + 1,
							 .shard = (uint16_t)setup->shards, .pointer = &rig->groups[group] });
	// As the daemon does.
	struct weir_slab *slab = weir_slab_create(weir_shard_size(rig->topic.streams_max, false), setup->shards, -1);
	if (!slab)
		fail("%u shards: out of memory", setup->shards);
	for (uint32_t shard = 0; shard < setup->shards; shard++)
		shard_add(rig, slab, (uint16_t)shard);
	weir_slab_put(slab);
}

static void engine_start(struct weir_rig *rig)
{
	uint32_t sessions_max = 64;
	while (sessions_max < rig->clients + SPARE)
		sessions_max *= 2;
	const struct weir_engine_config config = {
		.workers = 1, .sessions_max = sessions_max, .shards_max = rig->setup.shards, .topics_max = 4,
		.groups_max = 2 * WEIR_RIG_GROUPS_MAX, .members_max = 4, .park_frames = 256,
		.behind_frames = WEIR_BEHIND_FRAMES, .reassembly_slots = 4,
		.reassembly_bytes = 1 << 16, .secret = { 1 }, .router = 2, .node = -1, .row = rig->worker_row,
		.limits = { .frame_size = WEIR_RIG_FRAME_SIZE, .window_frames = 1024, .ping_ms = 500, .lease_ms = 600000,
			    .dedup_window_ms = 600000 },
	};
	const struct weir_engine_io io = {
		.send_reserve = send_reserve, .send_commit = send_commit, .mesh_reserve = mesh_reserve,
		.mesh_commit = mesh_commit, .message_send = message_send, .context = rig,
	};
	int error = weir_engine_create(&rig->engine, &config, &io);
	if (error)
		fail("engine: %s", strerror(-error));
}

// Sessions by the same frames as any client's. A turn's challenges are answered in the next one.
static void clients_greet(struct weir_rig *rig)
{
	for (uint32_t i = 0; i < WEIR_RIG_ARRIVALS; i++)
		rig->arrival_paths[i] = (struct weir_path){ .family = AF_INET, .remote_port = 1000, .local_port = 9347 };
	for (uint32_t client = 0; client < rig->clients; client++) {
		weir_rig_hello_put(rig, client, 100u + client, 0);
		if (rig->arrival_count == HELLOS || client == rig->clients - 1) {
			turn(rig);
			turn(rig);
		}
	}
}

static void streams_open(struct weir_rig *rig)
{
	uint32_t count = rig->setup.sessions * rig->setup.shards;
	for (uint32_t i = 0; i < count; i++) {
		struct weir_frame_header *frame = weir_rig_frame_begin(rig, WEIR_KIND_OPEN, i / rig->setup.shards);
		frame->shard = (uint16_t)(i % rig->setup.shards);
		*(struct weir_open *)(frame + 1) = (struct weir_open){ .request = i, .level = WEIR_ACK_ROUTED };
		weir_rig_frame_end(rig, frame, sizeof(struct weir_open));
		if (rig->arrival_count == HELLOS || i == count - 1)
			turn(rig);
	}
	for (uint32_t i = 0; i < count; i++) {
		if (rig->producing[i].limit == 0)
			fail("session %u: its stream to shard %u is not open", i / rig->setup.shards, i % rig->setup.shards);
	}
}

static uint32_t assigned(const struct weir_rig *rig)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < rig->setup.groups * rig->setup.shards; i++)
		count += rig->receiving[i].is_assigned;
	return count;
}

static void groups_join(struct weir_rig *rig)
{
	for (uint32_t group = 0; group < rig->setup.groups; group++) {
		struct weir_frame_header *frame = weir_rig_frame_begin(rig, WEIR_KIND_JOIN, rig->setup.sessions + group);
		struct weir_join join = { .request = 1, .topic = "positions" };
		memcpy(join.group, rig->groups[group].name, sizeof(join.group));
		memcpy(frame + 1, &join, sizeof(join));
		frame->topic = 0;
		weir_rig_frame_end(rig, frame, sizeof(join));
	}
	uint32_t all = rig->setup.groups * rig->setup.shards;
	// What found no room to go out goes out again after a while.
	for (uint32_t i = 0; i < JOIN_TURNS && assigned(rig) < all; i++) {
		turn(rig);
		rig->now_ns += JOIN_TURN_NS;
		if (!rig->setup.is_clock_virtual)
			nanosleep(&(struct timespec){ .tv_nsec = JOIN_TURN_NS }, NULL);
	}
	if (assigned(rig) < all)
		fail("%u of %u places are assigned", assigned(rig), all);
	(void)weir_rig_drain(rig);
}

static void keys_choose(struct weir_rig *rig)
{
	uint32_t shards = rig->setup.shards;
	uint32_t *filled = take(shards, sizeof(*filled));
	uint32_t left = shards * WEIR_RIG_KEYS;
	for (uint64_t key = 1; left; key++) {
		uint32_t shard = weir_shard_of(key, shards);
		if (filled[shard] == WEIR_RIG_KEYS)
			continue;
		rig->keys[shard * WEIR_RIG_KEYS + filled[shard]++] = key;
		left--;
	}
	free(filled);
}

// Fills in what follows from the rest.
static void setup_complete(struct weir_rig *rig)
{
	struct weir_rig_setup *setup = &rig->setup;
	rig->event_size = weir_pad8((uint32_t)sizeof(struct weir_event_header) + setup->payload);
	uint32_t most = (WEIR_RIG_FRAME_SIZE - (uint32_t)WEIR_DELIVER_OVERHEAD) / rig->event_size;
	if (setup->frame_events == 0)
		setup->frame_events = most;
	if (setup->payload < 8 || setup->payload > 1024 || setup->frame_events > most)
		fail("payloads are 8 to 1024 bytes, frames hold 1 to %u events of %u bytes", most, setup->payload);
	if (setup->shards < 1 || setup->shards > WEIR_RIG_SHARDS_MAX || setup->sessions < 1 ||
	    setup->sessions > WEIR_RIG_SESSIONS_MAX || setup->sessions * setup->shards > WEIR_RIG_STREAMS_MAX)
		fail("1 to %u shards, 1 to %u sessions, at most %u streams", WEIR_RIG_SHARDS_MAX, WEIR_RIG_SESSIONS_MAX,
		     WEIR_RIG_STREAMS_MAX);
	if (setup->groups < 1 || setup->groups > WEIR_RIG_GROUPS_MAX || setup->train < 1 || setup->burst < 1 ||
	    setup->burst > WEIR_RIG_BURST_MAX)
		fail("1 to %u groups, trains of at least 1 frame, bursts of 1 to %u", WEIR_RIG_GROUPS_MAX, WEIR_RIG_BURST_MAX);
}

struct weir_rig *weir_rig_create(const struct weir_rig_setup *setup)
{
	struct weir_rig *rig = take(1, sizeof(*rig));
	rig->setup = *setup;
	setup_complete(rig);
	setup = &rig->setup;
	// A log is a descriptor.
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	rig->clients = setup->sessions + setup->groups + setup->guests;
	rig->worker_row = take(1, sizeof(*rig->worker_row));
	rig->shard_rows = take(setup->shards, sizeof(*rig->shard_rows));
	rig->group_rows = take(setup->groups * setup->shards, sizeof(*rig->group_rows));
	rig->deliveries = weir_memory_get(setup->groups * setup->shards * sizeof(*rig->deliveries), -1);
	if (!rig->deliveries)
		fail("no memory for what shards keep of groups");
	rig->groups = take(setup->groups, sizeof(*rig->groups));
	rig->owner = take(setup->shards, sizeof(*rig->owner));
	rig->sessions = take(rig->clients, sizeof(*rig->sessions));
	rig->producing = take(setup->sessions * setup->shards, sizeof(*rig->producing));
	rig->receiving = take(setup->groups * setup->shards, sizeof(*rig->receiving));
	rig->keys = take(setup->shards * WEIR_RIG_KEYS, sizeof(*rig->keys));
	rig->reports_due = take(setup->groups * setup->shards, sizeof(*rig->reports_due));
	weir_rig_now(rig);
	engine_start(rig);
	topic_add(rig);
	keys_choose(rig);
	clients_greet(rig);
	streams_open(rig);
	groups_join(rig);
	rig->delivered = rig->frames_out = 0;
	return rig;
}

void weir_rig_destroy(struct weir_rig *rig)
{
	weir_engine_destroy(rig->engine);
	free(rig->worker_row);
	free(rig->shard_rows);
	weir_memory_put(rig->deliveries, rig->setup.groups * rig->setup.shards * sizeof(*rig->deliveries));
	free(rig->group_rows);
	free(rig->groups);
	free(rig->owner);
	free(rig->sessions);
	free(rig->producing);
	free(rig->receiving);
	free(rig->keys);
	free(rig->reports_due);
	free(rig);
}
