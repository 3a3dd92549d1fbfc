// See rig.h. Ports are arrays of what was sent, each frame checked as a client would; the mesh and the command rings are
// queues per worker, in order; control's answers are kept.
// Test thread only.
#include "tests/unit/core/rig.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "wire/key.h"

#define MESH_SLOTS 512u
#define MESSAGES 1024u
#define ROUNDS 200
#define PAYLOAD 64u
#define EVENT_SIZE (sizeof(struct weir_event_header) + PAYLOAD)

static void *send_reserve(void *context, const struct weir_path *path, uint32_t size)
{
	struct rig_worker *worker = context;
	if (worker->is_port_blocked || worker->sent_count == RIG_SENT)
		return NULL;
	assert(size <= WEIR_FRAME_MAX);
	if (worker->frame_max && size > worker->frame_max)
		return WEIR_SEND_NEVER;
	struct rig_sent *sent = &worker->sent[worker->sent_count];
	sent->path = *path;
	memset(sent->bytes, 0xee, size);
	return sent->bytes;
}

static void send_commit(void *context, uint32_t size)
{
	struct rig_worker *worker = context;
	worker->sent[worker->sent_count].size = size;
	if (size == 0)
		return;
	// Whatever leaves must be well-formed for a client.
	enum weir_reason reason = weir_frame_check(worker->sent[worker->sent_count].bytes, size, false, false, NULL);
	assert(reason == WEIR_R_NONE);
	worker->sent_count++;
}

static void *mesh_reserve(void *context, uint16_t to, const struct weir_mesh_header *header, uint32_t size)
{
	struct rig_worker *worker = context;
	struct rig_worker *target = &worker->rig->workers[to];
	if (target->mesh_count >= target->mesh_room)
		return NULL;
	worker->reserved_worker = to;
	target->mesh[target->mesh_count].header = *header;
	return target->mesh[target->mesh_count].bytes;
}

static void mesh_commit(void *context, uint16_t to, uint32_t size)
{
	struct rig_worker *worker = context;
	struct rig_worker *target = &worker->rig->workers[to];
	assert(worker->reserved_worker == to);
	struct weir_mesh_header *header = &target->mesh[target->mesh_count].header;
	header->size = size;
	if (size || header->kind == WEIR_MESH_HANDOVER)
		target->mesh_count++;
}

static void message_send(void *context, uint16_t to, const struct weir_message *message)
{
	struct rig_worker *worker = context;
	struct rig *rig = worker->rig;
	if (to == WEIR_FROM_CONTROL) {
		rig->done[rig->done_count++ % RIG_DONE] = *message;
		return;
	}
	struct rig_worker *target = &rig->workers[to];
	assert(to != worker->number && target->message_count < MESSAGES);
	target->messages[target->message_count++] = *message;
}

static bool message_has_room(void *context, uint16_t to)
{
	const struct rig_worker *worker = context;
	return worker->rig->workers[to].message_count < MESSAGES / 2;
}

static const struct weir_lane_view *lane_find(void *context, uint64_t number)
{
	struct rig_worker *worker = context;
	struct rig_lane *lane = number <= RIG_LANES ? &worker->rig->lanes[number] : NULL;
	return lane && !lane->is_gone ? &lane->view : NULL;
}

static uint64_t wall_clock(void *context)
{
	const struct rig_worker *worker = context;
	return RIG_WALL_NS + worker->rig->now_ns;
}

static void lane_wake(void *context, uint64_t number)
{
	struct rig_worker *worker = context;
	assert(number > 0 && number <= RIG_LANES);
	worker->rig->lanes[number].wakes++;
}

static void worker_create(struct rig *rig, uint16_t number)
{
	struct rig_worker *worker = &rig->workers[number];
	worker->rig = rig;
	worker->number = number;
	worker->sent = calloc(RIG_SENT, sizeof(*worker->sent));
	worker->mesh = calloc(MESH_SLOTS, sizeof(*worker->mesh));
	worker->mesh_room = MESH_SLOTS;
	worker->messages = calloc(MESSAGES, sizeof(*worker->messages));
	const struct weir_engine_config config = {
		.worker = number,
		.workers = rig->options.workers,
		.sessions_max = rig->options.sessions_max,
		.shards_max = RIG_SHARDS,
		.topics_max = 64,
		.groups_max = RIG_GROUPS,
		.members_max = 16,
		.park_frames = rig->options.park_frames,
		.behind_frames = rig->options.behind_frames,
		.reassembly_slots = rig->options.reassembly_slots,
		.reassembly_bytes = rig->options.event_max,
		.limits = {
			.frame_size = 1472, .window_frames = 1024, .ping_ms = 500, .lease_ms = 3000, .dedup_window_ms = 60000,
		},
		.secret = { 12345, number },
		.router = 0x1122334455667788ull,
		.offers = rig->options.offers,
		.row = &worker->row,
		.node = -1,
	};
	const struct weir_engine_io io = {
		.send_reserve = send_reserve,
		.send_commit = send_commit,
		.mesh_reserve = mesh_reserve,
		.mesh_commit = mesh_commit,
		.message_send = message_send,
		.message_has_room = message_has_room,
		.lane_find = lane_find,
		.lane_wake = lane_wake,
		.wall_clock = wall_clock,
		.context = worker,
	};
	int error = weir_engine_create(&worker->engine, &config, &io);
	assert(error == 0);
}

void rig_message(struct rig *rig, uint16_t worker, const struct weir_message *message)
{
	struct weir_message copy = *message;
	copy.from = WEIR_FROM_CONTROL;
	weir_engine_message(rig->workers[worker].engine, &copy, rig->now_ns);
}

void rig_group_name(char name[WEIR_NAME_SIZE], uint32_t group)
{
	memset(name, 0, WEIR_NAME_SIZE);
	if (group)
		snprintf(name, WEIR_NAME_SIZE, "map%u", group);
	else
		strcpy(name, "map");
}

static void group_create(struct rig *rig, uint32_t group)
{
	struct weir_group_spec *spec = &rig->groups[group];
	const struct weir_message setup = {
		.kind = WEIR_MESSAGE_GROUP_SETUP,
		.topic = RIG_TOPIC,
		.group = spec->id.value,
		.shard = (uint16_t)rig->options.shards,
		.request = 1,
		.value = rig->options.terms_base,
		.pointer = spec,
	};
	rig_message(rig, 0, &setup);
	for (uint16_t shard = 0; shard < rig->options.shards; shard++) {
		struct weir_group_place place = { .spec = *spec, .row = &rig->rows[group][shard],
						  .delivery = &rig->deliveries[group][shard] };
		const struct weir_message create = {
			.kind = WEIR_MESSAGE_GROUP_CREATE,
			.topic = RIG_TOPIC,
			.group = spec->id.value,
			.shard = shard,
			.request = 1,
			.pointer = &place,
		};
		rig_message(rig, rig->owner[shard], &create);
	}
}

static void topic_create(struct rig *rig)
{
	struct rig_options *options = &rig->options;
	for (uint32_t group = 0; group < options->groups; group++) {
		rig->groups[group] = (struct weir_group_spec){
			.id = { RIG_GROUP + group },
			.kind = options->group_kind,
			.quota_bytes = options->quota_bytes,
			.progress_timeout_ns = options->progress_timeout_ns,
		};
		rig_group_name(rig->groups[group].name, group);
	}
	rig->topic = (struct weir_topic_spec){
		.id = { RIG_TOPIC },
		.name = "positions",
		.shards = options->shards,
		.policy = options->policy,
		.ack_min = options->ack_min,
		.event_max = options->event_max,
		.log_bytes = options->log_bytes,
		.streams_max = options->streams_max,
		.owner = rig->owner,
		.groups = rig->groups,
		.group_count = options->groups,
	};
	for (uint32_t i = 0; i <= RIG_TOPIC; i++)
		rig->by_id[i] = i == RIG_TOPIC ? 0 : UINT32_MAX;
	rig->snapshot = (struct weir_snapshot){
		.revision = 1, .topics = &rig->topic, .topic_count = 1, .by_id = rig->by_id, .by_id_count = RIG_TOPIC + 1,
	};
	for (uint16_t shard = 0; shard < options->shards; shard++) {
		rig->owner[shard] = shard % options->workers;
		const struct weir_shard_config config = {
			.topic = RIG_TOPIC,
			.shard = shard,
			.spec = &rig->topic,
			.incarnation = 1000u + shard,
			.node = -1,
			.hugepages = WEIR_HUGEPAGES_OFF,
			.row = &rig->shard_rows[shard],
			.head = &rig->heads[shard],
		};
		int error = weir_shard_create(&rig->shards[shard], &config);
		assert(error == 0);
		const struct weir_message adopt = { .kind = WEIR_MESSAGE_SHARD_ADOPT, .pointer = rig->shards[shard] };
		rig_message(rig, rig->owner[shard], &adopt);
	}
	const struct weir_message publish = { .kind = WEIR_MESSAGE_SNAPSHOT, .pointer = &rig->snapshot };
	for (uint16_t worker = 0; worker < options->workers; worker++)
		rig_message(rig, worker, &publish);
	for (uint32_t group = 0; group < options->groups; group++)
		group_create(rig, group);
}

struct rig *rig_create(const struct rig_options *options)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	rig->options = *options;
	rig->options.workers += !options->workers;
	rig->options.groups += options->has_group && !options->groups;
	rig->options.shards += !options->shards;
	rig->options.sessions_max += options->sessions_max ? 0 : 64;
	rig->options.park_frames += options->park_frames ? 0 : 128;
	rig->options.reassembly_slots += options->reassembly_slots ? 0 : 2;
	rig->options.log_bytes += options->log_bytes ? 0 : 1u << 20;
	rig->options.event_max += options->event_max ? 0 : (uint32_t)(rig->options.log_bytes / 8);
	rig->options.streams_max += options->streams_max ? 0 : 16;
	rig->rows = aligned_alloc(64, RIG_GROUPS * sizeof(*rig->rows));
	rig->deliveries = aligned_alloc(64, RIG_GROUPS * sizeof(*rig->deliveries));
	memset(rig->rows, 0, RIG_GROUPS * sizeof(*rig->rows));
	rig->group_rows = rig->rows[0];
	rig->now_ns = 1000000000000ull;
	for (uint32_t i = 1; i <= RIG_LANES; i++)
		rig->lanes[i].view = (struct weir_lane_view){ rig->lanes[i].cursors, RIG_CURSORS };
	for (uint16_t worker = 0; worker < rig->options.workers; worker++)
		worker_create(rig, worker);
	topic_create(rig);
	rig_run(rig);
	return rig;
}

void rig_destroy(struct rig *rig)
{
	for (uint16_t number = 0; number < rig->options.workers; number++) {
		struct rig_worker *worker = &rig->workers[number];
		weir_engine_destroy(worker->engine);
		free(worker->sent);
		free(worker->mesh);
		free(worker->messages);
	}
	free(rig->deliveries);
	free(rig->rows);
	free(rig);
}

static bool worker_turn(struct rig *rig, struct rig_worker *worker)
{
	bool is_busy = worker->message_count || worker->mesh_count;
	uint32_t messages = worker->message_count;
	for (uint32_t i = 0; i < messages; i++)
		weir_engine_message(worker->engine, &worker->messages[i], rig->now_ns);
	worker->message_count -= messages;
	memmove(worker->messages, worker->messages + messages, worker->message_count * sizeof(*worker->messages));
	uint32_t taken = 0;
	uint32_t slots = worker->mesh_count;
	while (taken < slots) {
		struct rig_slot *slot = &worker->mesh[taken];
		if (!weir_engine_mesh(worker->engine, &slot->header, slot->bytes, rig->now_ns))
			break;
		taken++;
	}
	worker->mesh_count -= taken;
	memmove(worker->mesh, worker->mesh + taken, worker->mesh_count * sizeof(*worker->mesh));
	return weir_engine_run(worker->engine, rig->now_ns) || is_busy;
}

void rig_run(struct rig *rig)
{
	bool is_busy = true;
	for (int round = 0; round < ROUNDS && is_busy; round++) {
		is_busy = false;
		for (uint16_t worker = 0; worker < rig->options.workers; worker++)
			is_busy |= worker_turn(rig, &rig->workers[worker]);
	}
}

void rig_advance_ms(struct rig *rig, uint64_t ms)
{
	while (ms) {
		uint64_t step = ms < 50 ? ms : 50;
		rig->now_ns += step * 1000000;
		ms -= step;
		rig_run(rig);
	}
}

void rig_move(struct rig *rig, uint16_t shard, uint16_t to)
{
	const struct weir_message move = {
		.kind = WEIR_MESSAGE_SHARD_MOVE, .topic = RIG_TOPIC, .shard = shard, .worker = to, .request = 77,
	};
	rig_message(rig, rig->owner[shard], &move);
}

struct weir_path rig_path(uint16_t number)
{
	struct weir_path path = {
		.remote_ip = { 10, 0, (uint8_t)(number >> 8), (uint8_t)number },
		.local_ip = { 10, 1, 0, 1 },
		.remote_port = (uint16_t)(40000 + number),
		.local_port = 0x8324,
		.family = AF_INET,
	};
	return path;
}

void rig_client_init(struct rig *rig, struct rig_client *client, uint16_t worker, uint16_t number)
{
	*client = (struct rig_client){
		.rig = rig,
		.worker = worker,
		.path = rig_path(number),
		.nonce = weir_mix64(number + 1000u),
		.producer = weir_mix64(number + 5000u),
		.frame_size = 1472,
	};
}

void rig_arrive(struct rig *rig, uint16_t worker, const struct weir_path *path, const void *frame, uint32_t size)
{
	const struct weir_arrival arrival = { .frame = frame, .path = path, .size = size };
	if (!rig->is_gathering) {
		weir_engine_receive(rig->workers[worker].engine, &arrival, 1, rig->now_ns);
		return;
	}
	assert(rig->burst_count < RIG_BURST);
	// Exactly as large as it is: who reads behind it is found out.
	void *copy = memcpy(malloc(size + (size == 0)), frame, size);
	rig->burst[rig->burst_count] = arrival;
	rig->burst[rig->burst_count++].frame = copy;
}

void rig_burst_gather(struct rig *rig)
{
	rig->is_gathering = true;
}

void rig_burst_arrive(struct rig *rig, uint16_t worker)
{
	weir_engine_receive(rig->workers[worker].engine, rig->burst, rig->burst_count, rig->now_ns);
	for (uint32_t i = 0; i < rig->burst_count; i++)
		free((void *)(uintptr_t)rig->burst[i].frame);
	rig->burst_count = 0;
	rig->is_gathering = false;
}

void rig_send(struct rig_client *client, struct weir_frame_header *header, const void *body, uint16_t length)
{
	_Alignas(8) uint8_t bytes[WEIR_FRAME_MAX];
	struct weir_frame_header *frame = (void *)bytes;
	*frame = *header;
	frame->session = client->session;
	memcpy(frame + 1, body, length);
	weir_frame_seal(frame, length);
	if (client->path.family != AF_UNIX) {
		rig_arrive(client->rig, client->worker, &client->path, bytes, (uint32_t)sizeof(*frame) + length);
		return;
	}
	// As the lane's port does it: of a publish that is no fragment the body stays where it is.
	bool is_split = client->is_shared && frame->kind == WEIR_KIND_PUBLISH && !(frame->flags & WEIR_FLAG_FRAGMENT);
	const struct weir_frame_header alone = *frame;
	const struct weir_arrival arrival = {
		.frame = is_split ? &alone : frame,
		.path = &client->path,
		.size = (uint32_t)sizeof(*frame) + length,
		.trust_link = true,
		.shared = is_split ? frame + 1 : NULL,
	};
	weir_engine_receive(client->rig->workers[client->worker].engine, &arrival, 1, client->rig->now_ns);
}

void rig_lane_use(struct rig_client *client, uint64_t lane)
{
	client->path = (struct weir_path){ .family = AF_UNIX, .port = 9 };
	memcpy(client->path.remote_ip, &lane, sizeof(lane));
	client->is_shared = true;
}

void rig_lane_gone(struct rig *rig, uint64_t lane)
{
	struct weir_path path = { .family = AF_UNIX, .port = 9 };
	memcpy(path.remote_ip, &lane, sizeof(lane));
	const struct weir_message gone = { .kind = WEIR_MESSAGE_LANE_GONE, .value = lane, .pointer = &path };
	rig->lanes[lane].is_gone = true;
	for (uint16_t worker = 0; worker < rig->options.workers; worker++)
		rig_message(rig, worker, &gone);
	// From here on its memory is not there any more.
	rig->lanes[lane].view = (struct weir_lane_view){ 0 };
}

void rig_hello(struct rig_client *client, uint64_t cookie)
{
	_Alignas(8) uint8_t body[WEIR_FRAME_MAX] = { 0 };
	const struct weir_hello hello = {
		.nonce = client->nonce,
		.cookie = cookie,
		.producer = client->producer,
		.epoch = client->epoch,
		.frame_size = client->frame_size,
		.versions = { WEIR_VERSION },
	};
	memcpy(body, &hello, sizeof(hello));
	if (client->has_options)
		weir_option_put(body + sizeof(hello), WEIR_OPTION_KNOWS, &client->knows, sizeof(client->knows));
	struct weir_frame_header header = { .kind = WEIR_KIND_HELLO };
	rig_send(client, &header, body, (uint16_t)(client->frame_size - sizeof(header)));
}

void rig_connect(struct rig_client *client)
{
	client->session = 0;
	rig_hello(client, 0);
	const struct weir_frame_header *answer = rig_last(client, WEIR_KIND_CHALLENGE);
	assert(answer);
	rig_hello(client, ((const struct weir_challenge *)(const void *)(answer + 1))->cookie);
	answer = rig_last(client, WEIR_KIND_WELCOME);
	assert(answer);
	client->session = ((const struct weir_welcome *)(const void *)(answer + 1))->session;
	rig_run(client->rig);
}

const struct weir_opened *rig_open(struct rig_client *client, uint16_t shard, uint8_t level)
{
	uint32_t before = rig_count(client, WEIR_KIND_OPENED);
	struct weir_frame_header header = { .kind = WEIR_KIND_OPEN, .topic = RIG_TOPIC, .shard = shard };
	const struct weir_open body = { .request = ++client->opened, .epoch = client->epoch, .level = level };
	rig_send(client, &header, &body, sizeof(body));
	rig_run(client->rig);
	if (rig_count(client, WEIR_KIND_OPENED) == before)
		return NULL;
	const struct weir_frame_header *answer = rig_last(client, WEIR_KIND_OPENED);
	const struct weir_opened *opened = (const void *)(answer + 1);
	client->stream = answer->stream;
	client->next = opened->next;
	client->limit = opened->limit;
	return opened;
}

uint64_t rig_key(const struct rig *rig, uint16_t shard)
{
	uint64_t key = 1;
	while (weir_shard_of(key, rig->options.shards) != shard)
		key++;
	return key;
}

void rig_publish(struct rig_client *client, uint16_t shard, uint64_t sequence, uint16_t count)
{
	_Alignas(8) uint8_t body[WEIR_FRAME_MAX];
	assert(count * EVENT_SIZE <= client->frame_size);
	for (uint16_t i = 0; i < count; i++) {
		const struct weir_event_header event = { .length = EVENT_SIZE, .key = rig_key(client->rig, shard) };
		uint64_t payload[PAYLOAD / 8] = { sequence + i };
		memcpy(body + i * EVENT_SIZE, &event, sizeof(event));
		memcpy(body + i * EVENT_SIZE + sizeof(event), payload, PAYLOAD);
	}
	struct weir_frame_header header = {
		.kind = WEIR_KIND_PUBLISH,
		.flags = (uint16_t)(client->flags | (client->is_shared ? WEIR_FLAG_HEADER_ONLY : 0)),
		.topic = RIG_TOPIC,
		.shard = shard,
		.stream = client->stream,
		.sequence = sequence,
		.count = count,
	};
	rig_send(client, &header, body, (uint16_t)(count * EVENT_SIZE));
}

void rig_control(struct rig_client *client, enum weir_kind kind, uint16_t shard, uint64_t sequence)
{
	struct weir_frame_header header = {
		.kind = (uint8_t)kind, .topic = RIG_TOPIC, .shard = shard, .stream = client->stream, .sequence = sequence,
	};
	const struct weir_close close = { .request = client->opened };
	rig_send(client, &header, &close, kind == WEIR_KIND_CLOSE ? sizeof(close) : 0);
}

void rig_skip(struct rig_client *client, uint16_t shard, uint64_t sequence, uint64_t count, uint16_t reason)
{
	struct weir_frame_header header = {
		.kind = WEIR_KIND_SKIP, .topic = RIG_TOPIC, .shard = shard, .stream = client->stream, .sequence = sequence,
	};
	const struct weir_skip body = { .count = count, .reason = reason };
	rig_send(client, &header, &body, sizeof(body));
}

void rig_fragment(struct rig_client *client, uint64_t sequence, const uint8_t *event, uint32_t offset, uint32_t length)
{
	_Alignas(8) uint8_t body[WEIR_FRAME_MAX];
	const struct weir_fragment fragment = {
		.total = ((const struct weir_event_header *)(const void *)event)->length, .offset = offset,
	};
	memcpy(body, &fragment, sizeof(fragment));
	memcpy(body + sizeof(fragment), event + offset, length);
	struct weir_frame_header header = {
		.kind = WEIR_KIND_PUBLISH,
		.flags = WEIR_FLAG_FRAGMENT,
		.topic = RIG_TOPIC,
		.stream = client->stream,
		.sequence = sequence,
		.count = 1,
	};
	rig_send(client, &header, body, (uint16_t)(sizeof(fragment) + length));
}

static bool is_for(const struct rig_client *client, const struct rig_sent *sent, enum weir_kind kind)
{
	const struct weir_frame_header *frame = (const void *)sent->bytes;
	return frame->kind == kind && weir_path_is_same_peer(&sent->path, &client->path);
}

const struct weir_frame_header *rig_last(const struct rig_client *client, enum weir_kind kind)
{
	const struct rig_worker *worker = &client->rig->workers[client->worker];
	for (uint32_t i = worker->sent_count; i > 0; i--) {
		if (is_for(client, &worker->sent[i - 1], kind))
			return (const void *)worker->sent[i - 1].bytes;
	}
	return NULL;
}

uint32_t rig_count(const struct rig_client *client, enum weir_kind kind)
{
	const struct rig_worker *worker = &client->rig->workers[client->worker];
	uint32_t count = 0;
	for (uint32_t i = 0; i < worker->sent_count; i++)
		count += is_for(client, &worker->sent[i], kind);
	return count;
}

const struct weir_ack_entry *rig_ack(const struct rig_client *client)
{
	const struct weir_frame_header *frame = rig_last(client, WEIR_KIND_ACK);
	return frame ? (const struct weir_ack_entry *)(const void *)(frame + 1) + frame->count - 1 : NULL;
}

const struct weir_refuse_entry *rig_refusal(const struct rig_client *client)
{
	const struct weir_frame_header *frame = rig_last(client, WEIR_KIND_REFUSE);
	return frame ? (const struct weir_refuse_entry *)(const void *)(frame + 1) + frame->count - 1 : NULL;
}

void rig_forget(struct rig *rig)
{
	for (uint16_t worker = 0; worker < rig->options.workers; worker++)
		rig->workers[worker].sent_count = 0;
}

static uint64_t sum(const uint64_t reasons[WEIR_REASON_ROOM])
{
	uint64_t total = 0;
	for (int i = 0; i < (int)WEIR_REASON_ROOM; i++)
		total += reasons[i];
	return total;
}

static bool has_word(const void *row, uint32_t size, uint64_t word)
{
	const uint64_t *words = row;
	for (uint32_t i = 0; i < size / sizeof(*words); i++) {
		if (words[i] == word)
			return true;
	}
	return false;
}

// Every user of the machine reads rows: no word of them may be what proves a session.
static bool rows_tell(const struct rig *rig, uint64_t secret)
{
	bool is_told = has_word(rig->shard_rows, sizeof(rig->shard_rows), secret) ||
		       has_word(rig->group_rows, sizeof(rig->group_rows), secret);
	for (uint16_t worker = 0; worker < rig->options.workers; worker++)
		is_told |= has_word(&rig->workers[worker].row, sizeof(struct weir_worker_row), secret);
	return is_told;
}

static bool rows_tell_a_secret(const struct rig *rig)
{
	for (uint16_t worker = 0; worker < rig->options.workers; worker++) {
		const struct weir_sessions *sessions = &rig->workers[worker].engine->sessions;
		for (uint32_t slot = 0; slot <= sessions->mask; slot++) {
			const struct weir_session *session = &sessions->slots[slot];
			// Tests choose small nonces, which any counter may have.
			if (session->ref.id && (rows_tell(rig, session->ref.id) ||
						(session->nonce > UINT32_MAX && rows_tell(rig, session->nonce))))
				return true;
		}
	}
	return false;
}

bool rig_balances(struct rig *rig)
{
	if (rows_tell_a_secret(rig))
		return false;
	for (uint16_t worker = 0; worker < rig->options.workers; worker++) {
		const struct weir_worker_row *row = &rig->workers[worker].row;
		if (row->received != row->handed_on + sum(row->refused))
			return false;
	}
	for (uint32_t shard = 0; shard < rig->options.shards; shard++) {
		const struct weir_shard_row *row = &rig->shard_rows[shard];
		if (row->offered != row->accepted + row->duplicate + sum(row->refused) + sum(row->skipped))
			return false;
		if (row->accepted != row->head_offset)
			return false;
	}
	return true;
}

uint64_t rig_log_next(struct rig *rig, uint16_t shard, uint64_t producer, uint64_t first)
{
	const struct weir_log *log = &rig->shards[shard]->log;
	for (uint64_t at = log->tail; at != log->head;) {
		const struct weir_run_header *run = weir_log_run(log, at);
		if (run->producer == producer) {
			if (run->sequence != first)
				return first;
			assert(run->flags & WEIR_RUN_UNCHECKED || weir_crc32c(0, run + 1, run->length) == run->crc);
			first += run->count;
		}
		at += weir_log_run_size(run->length);
	}
	return first;
}
