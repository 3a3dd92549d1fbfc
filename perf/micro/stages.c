// See stages.h. A stage is a line of STAGES: what brings the rig to where the stage begins (not measured), and the stage.
// Under callgrind (--collect-atstart=no) each stage's count is one dump, named after it.
#include "perf/micro/stages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <valgrind/callgrind.h>

#include "dataplane/core/internal.h" // the two halves of a turn's end, one by one
#include "dataplane/core/log.h"
#include "dataplane/io/mesh.h"
#include "wire/codec.h"

struct stages {
	struct weir_rig *rig;
	struct weir_log *logs;      // [shards] of the stages append and cursor, filled by them alone
	struct weir_cursor *cursors; // [shards]
	struct weir_mesh *mesh;
	struct weir_shard *ready[WEIR_RIG_BURST_MAX]; // shards with something to deliver
	uint32_t ready_count;
	uint64_t wrong;
};

struct stage {
	const char *name;
	void (*prepare)(struct stages *stages);
	void (*run)(struct stages *stages);
};

static const struct weir_frame_header *frame_of(const struct weir_rig *rig, uint32_t i)
{
	return rig->arrivals[i].frame;
}

// ---- How far the rig goes before a stage ----

// Nothing is under way: all that was sent is delivered, acknowledged and reported.
static void settle(struct stages *stages)
{
	struct weir_rig *rig = stages->rig;
	weir_rig_look(rig);
	for (int i = 0; i < 3; i++) {
		weir_rig_now(rig);
		weir_rig_report(rig);
		weir_rig_receive(rig);
		weir_rig_run(rig);
		weir_rig_look(rig);
	}
}

static void to_frames(struct stages *stages)
{
	settle(stages);
	weir_rig_now(stages->rig);
	weir_rig_publish(stages->rig);
}

static void to_frames_and_reports(struct stages *stages)
{
	to_frames(stages);
	weir_rig_receive(stages->rig);
	weir_rig_run(stages->rig);
	weir_rig_look(stages->rig);
	weir_rig_now(stages->rig);
	weir_rig_publish(stages->rig);
	weir_rig_report(stages->rig);
}

static void to_received(struct stages *stages)
{
	to_frames(stages);
	weir_rig_receive(stages->rig);
}

static void to_acknowledged(struct stages *stages)
{
	struct weir_rig *rig = stages->rig;
	to_received(stages);
	weir_stream_flush(rig->engine, rig->now_ns);
	stages->ready_count = 0;
	for (uint32_t i = 0; i < rig->setup.shards && stages->ready_count < rig->setup.burst; i++) {
		struct weir_shard *shard = weir_engine_shard(rig->engine, 1, (uint16_t)i);
		if (shard->delivering)
			stages->ready[stages->ready_count++] = shard;
	}
}

static void deliver(struct stages *stages)
{
	for (uint32_t i = 0; i < stages->ready_count; i++)
		(void)weir_delivery_run(stages->ready[i], stages->rig->setup.burst, stages->rig->now_ns);
}

static void to_delivered(struct stages *stages)
{
	to_acknowledged(stages);
	deliver(stages);
}

static void to_reports(struct stages *stages)
{
	to_received(stages);
	weir_rig_run(stages->rig);
	weir_rig_look(stages->rig);
	weir_rig_now(stages->rig);
	weir_rig_report(stages->rig);
}

// ---- Stages ----

static void parse(struct stages *stages)
{
	const struct weir_rig *rig = stages->rig;
	for (uint32_t i = 0; i < rig->arrival_count; i++) {
		uint32_t body_crc;
		const struct weir_arrival *arrival = &rig->arrivals[i];
		stages->wrong += weir_frame_check(arrival->frame, arrival->size, true, arrival->trust_link, &body_crc) != 0;
	}
}

static void events(struct stages *stages)
{
	const struct weir_rig *rig = stages->rig;
	for (uint32_t i = 0; i < rig->arrival_count; i++) {
		const struct weir_frame_header *frame = frame_of(rig, i);
		stages->wrong += weir_events_check(frame + 1, frame->body_length, frame->count, rig->topic.event_max,
						   frame->shard, rig->setup.shards) != 0;
	}
}

static void append(struct stages *stages)
{
	const struct weir_rig *rig = stages->rig;
	for (uint32_t i = 0; i < rig->arrival_count; i++) {
		const struct weir_frame_header *frame = frame_of(rig, i);
		const struct weir_run_header run = { .producer = frame->session, .sequence = frame->sequence,
						     .length = frame->body_length, .count = frame->count };
		weir_log_append(&stages->logs[frame->shard], &run, frame + 1, rig->now_ns);
	}
}

static void to_appended(struct stages *stages)
{
	to_frames(stages);
	append(stages);
}

static void cursor(struct stages *stages)
{
	const struct weir_rig *rig = stages->rig;
	for (uint32_t i = 0; i < rig->arrival_count; i++) {
		struct weir_cursor *at = &stages->cursors[frame_of(rig, i)->shard];
		const struct weir_log *log = &stages->logs[frame_of(rig, i)->shard];
		if (at->position == log->head)
			continue;
		weir_cursor_advance(log, at, at->offset + weir_log_run(log, at->position)->count);
	}
}

static void receive(struct stages *stages)
{
	weir_rig_receive(stages->rig);
}

static void acknowledge(struct stages *stages)
{
	weir_stream_flush(stages->rig->engine, stages->rig->now_ns);
}

static void turn_end(struct stages *stages)
{
	weir_rig_run(stages->rig);
}

static void whole(struct stages *stages)
{
	weir_rig_receive(stages->rig);
	weir_rig_run(stages->rig);
}

// Both sides on this thread: copied in by one worker, seen by the other.
static void mesh_hop(struct stages *stages)
{
	const struct weir_rig *rig = stages->rig;
	for (uint32_t i = 0; i < rig->arrival_count; i++) {
		const struct weir_mesh_header header = { .kind = WEIR_MESH_INGRESS, .from = 0 };
		uint32_t size = rig->arrivals[i].size;
		void *place = weir_mesh_reserve(stages->mesh, 0, 1, &header, size);
		if (!place) {
			stages->wrong++;
			continue;
		}
		memcpy(place, rig->arrivals[i].frame, size);
		(void)weir_mesh_commit(stages->mesh, 0, 1, size);
	}
	(void)weir_mesh_flush(stages->mesh, 0);
	for (uint32_t i = 0; i < rig->arrival_count; i++) {
		const struct weir_mesh_header *header = weir_mesh_peek(stages->mesh, 0, 1);
		stages->wrong += !header || header->size != rig->arrivals[i].size;
		weir_mesh_release(stages->mesh, 0, 1);
	}
}

// In the order of the path. `receive` is what a burst costs up to and with the append in the engine; tools/bench micro takes
// parse, events and append from it and calls the rest admit: session, dispatch, stream, accounts.
static const struct stage STAGES[] = {
	{ "parse", to_frames, parse },
	{ "events", to_frames, events },
	{ "append", to_frames, append },
	{ "receive", to_frames, receive },
	{ "acknowledge", to_received, acknowledge },
	{ "cursor", to_appended, cursor },
	{ "frame", to_acknowledged, deliver },
	{ "turn", to_delivered, turn_end },
	{ "report", to_reports, receive },
	{ "mesh", to_frames, mesh_hop },
	{ "whole", to_frames_and_reports, whole },
};
#define STAGE_COUNT (sizeof(STAGES) / sizeof(STAGES[0]))

static int compare(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a;
	uint64_t right = *(const uint64_t *)b;
	return left < right ? -1 : left > right;
}

// Median ns of a round.
static uint64_t measure(struct stages *stages, const struct stage *stage, uint64_t *ns, uint32_t rounds)
{
	for (uint32_t i = 0; i < rounds; i++) {
		stage->prepare(stages);
		uint64_t start = weir_rig_clock_ns();
		CALLGRIND_TOGGLE_COLLECT;
		stage->run(stages);
		CALLGRIND_TOGGLE_COLLECT;
		ns[i] = weir_rig_clock_ns() - start;
	}
	CALLGRIND_DUMP_STATS_AT(stage->name);
	qsort(ns, rounds, sizeof(*ns), compare);
	return ns[rounds / 2];
}

static bool begin(struct stages *stages)
{
	const struct weir_rig_setup *setup = &stages->rig->setup;
	static const int NODES[2] = { -1, -1 };
	stages->logs = calloc(setup->shards, sizeof(*stages->logs));
	stages->cursors = calloc(setup->shards, sizeof(*stages->cursors));
	if (!stages->logs || !stages->cursors || weir_mesh_create(&stages->mesh, 2, NODES) != 0)
		return false;
	for (uint32_t i = 0; i < setup->shards; i++) {
		if (weir_log_create(&stages->logs[i], setup->log_bytes, -1, WEIR_HUGEPAGES_OFF, 1 + i) != 0)
			return false;
	}
	return true;
}

static void end(struct stages *stages)
{
	for (uint32_t i = 0; i < stages->rig->setup.shards; i++)
		weir_log_destroy(&stages->logs[i]);
	weir_mesh_destroy(stages->mesh);
	free(stages->logs);
	free(stages->cursors);
}

bool weir_stages_run(struct weir_rig *rig, uint32_t rounds)
{
	struct stages stages = { .rig = rig };
	uint64_t *ns = calloc(rounds, sizeof(*ns));
	if (!ns || !begin(&stages)) {
		fputs("micro-core: logs or rings of the stages: out of memory\n", stderr);
		exit(1);
	}
	CALLGRIND_START_INSTRUMENTATION;
	printf("{\"rounds\":%u,\"frames\":%u,\"frame_events\":%u,\"stages\":{", rounds, rig->setup.burst,
	       rig->setup.frame_events);
	for (uint32_t i = 0; i < STAGE_COUNT; i++) {
		// What the stage before left does not belong to this one.
		for (uint32_t shard = 0; shard < rig->setup.shards; shard++)
			stages.cursors[shard] = weir_log_latest(&stages.logs[shard]);
		printf("%s\"%s\":%lu", i ? "," : "", STAGES[i].name, measure(&stages, &STAGES[i], ns, rounds));
		settle(&stages);
	}
	uint64_t left = weir_rig_drain(rig);
	stages.wrong += rig->wrong + left;
	printf("},\"wrong\":%lu}\n", stages.wrong);
	end(&stages);
	free(ns);
	return stages.wrong == 0;
}
