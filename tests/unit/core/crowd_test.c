// Claims about many places at once: whoever ends, with all it holds, takes nothing along. A place is one (group, shard); there
// are more of them here than any queue of the core has room for.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dataplane/core/stream.h"
#include "tests/unit/core/rig.h"

#define SHARDS 256u
#define GROUPS 40u
#define PLACES (SHARDS * GROUPS)
#define MEMBERS 4u
#define ENTRIES 25u // of a report, in a frame of 1,472
#define LEASE_MS 3000u

static struct rig *rig;

struct member {
	struct rig_client client;
	struct weir_report_entry entries[ENTRIES]; // answers to be sent
	uint32_t count;
	bool is_silent;
};

static struct member members[MEMBERS];
static uint16_t numbers; // of addresses given out

static void begin(uint16_t workers)
{
	rig = rig_create(&(struct rig_options){
		.workers = workers, .shards = SHARDS, .groups = GROUPS, .log_bytes = 65536, .streams_max = 1,
	});
}

static void setup(void)
{
	begin(1);
}

static void setup_two_workers(void)
{
	begin(2);
}

static void teardown(void)
{
	rig_destroy(rig);
}

TestSuite(crowd, .fini = teardown, .timeout = 120);

static void reports_send(struct member *member)
{
	struct weir_frame_header header = { .kind = WEIR_KIND_REPORT, .count = (uint16_t)member->count };
	if (member->count)
		rig_send(&member->client, &header, member->entries, (uint16_t)(member->count * sizeof(member->entries[0])));
	member->count = 0;
}

static void assign(struct member *member, const struct weir_frame_header *frame)
{
	const struct weir_assign *body = (const void *)(frame + 1);
	member->entries[member->count++] = (struct weir_report_entry){
		.topic = frame->topic,
		.shard = frame->shard,
		.stream = frame->stream,
		.term = body->term,
		.received_to = body->from,
		.settled_to = body->from,
		.limit = 1u << 20,
		.group = body->group,
	};
	if (member->count == ENTRIES)
		reports_send(member);
}

static void revoke(struct member *member, const struct weir_frame_header *frame)
{
	struct weir_frame_header header = {
		.kind = WEIR_KIND_REVOKED, .topic = frame->topic, .shard = frame->shard, .stream = frame->stream,
	};
	rig_send(&member->client, &header, frame + 1, sizeof(struct weir_revoke));
}

// What was sent to members is answered. true: there was something.
static bool members_answer(void)
{
	bool is_news = false;
	for (uint32_t i = 0; i < MEMBERS; i++) {
		struct member *member = &members[i];
		struct rig_worker *worker = &rig->workers[member->client.worker];
		for (uint32_t k = 0; member->client.session && k < worker->sent_count; k++) {
			const struct weir_frame_header *frame = (const void *)worker->sent[k].bytes;
			if (member->is_silent || !weir_path_is_same_peer(&worker->sent[k].path, &member->client.path))
				continue;
			is_news |= frame->kind == WEIR_KIND_ASSIGN || frame->kind == WEIR_KIND_REVOKE;
			if (frame->kind == WEIR_KIND_ASSIGN)
				assign(member, frame);
			else if (frame->kind == WEIR_KIND_REVOKE)
				revoke(member, frame);
		}
		reports_send(member);
	}
	rig_forget(rig);
	return is_news;
}

static void run_ms(uint32_t ms)
{
	for (uint32_t i = 0; i < ms / 5; i++) {
		for (uint32_t k = 0; k < MEMBERS && i % 100 == 0; k++) {
			if (members[k].client.session && !members[k].is_silent)
				rig_control(&members[k].client, WEIR_KIND_PING, 0, 1);
		}
		rig_advance_ms(rig, 5);
		while (members_answer())
			rig_run(rig);
	}
}

static void member_begin(struct member *member)
{
	*member = (struct member){ 0 };
	numbers++;
	rig_client_init(rig, &member->client, numbers % rig->options.workers, numbers);
	rig_connect(&member->client);
	for (uint32_t group = 0; group < GROUPS; group++) {
		struct weir_frame_header header = { .kind = WEIR_KIND_JOIN };
		struct weir_join join = { .request = 1 + group, .topic = "positions" };
		rig_group_name(join.group, group);
		rig_send(&member->client, &header, &join, sizeof(join));
	}
}

// Places that a living member serves.
static uint32_t served(void)
{
	uint32_t count = 0;
	for (uint32_t shard = 0; shard < SHARDS; shard++) {
		for (uint32_t group = 0; group < GROUPS; group++) {
			const struct weir_delivery_stream *delivery = rig->shards[shard]->deliveries[group];
			for (uint32_t i = 0; i < MEMBERS; i++)
				count += delivery->state == WEIR_DELIVERY_ACTIVE && delivery->member.id &&
					 delivery->member.id == members[i].client.session && !members[i].is_silent;
		}
	}
	return count;
}

// In order, or by falling silent; an empty place instead is filled. The last one stays.
static void somebody_ends(uint32_t living)
{
	struct member *member = &members[(uint32_t)rand() % MEMBERS];
	if (member->is_silent)
		return;
	if (!member->client.session) {
		member_begin(member);
	} else if (living > 1 && rand() % 2) {
		member->is_silent = true;
	} else if (living > 1) {
		rig_control(&member->client, WEIR_KIND_BYE, 0, 0);
		member->client.session = 0;
	}
}

static void storm(void)
{
	srand(1);
	member_begin(&members[0]);
	run_ms(100);
	cr_assert_eq(served(), PLACES, "one holds all");
	member_begin(&members[1]);
	rig_control(&members[0].client, WEIR_KIND_BYE, 0, 0);
	members[0].client.session = 0;
	run_ms(LEASE_MS);
	cr_assert_eq(served(), PLACES, "%u of %u places are served after all of them changed hands", served(), PLACES);
	for (uint32_t round = 0; round < 12; round++) {
		uint32_t living = 0;
		for (uint32_t i = 0; i < MEMBERS; i++)
			living += members[i].client.session && !members[i].is_silent;
		somebody_ends(living);
		run_ms((uint32_t)rand() % 50);
		if (round % 3 != 2)
			continue;
		run_ms(2 * LEASE_MS);
		for (uint32_t i = 0; i < MEMBERS; i++) {
			if (members[i].is_silent)
				members[i] = (struct member){ 0 };
		}
		cr_assert_eq(served(), PLACES, "round %u: %u of %u places are served", round, served(), PLACES);
	}
}

Test(crowd, waits_for_shards_that_are_on_their_way, .init = setup_two_workers)
{
	for (uint32_t shard = 0; shard < SHARDS; shard++)
		rig->owner[shard] = (uint16_t)(1 - rig->owner[shard]);
	member_begin(&members[0]);
	run_ms(50);
	cr_assert_eq(served(), 0, "whom the snapshot names has none of them yet");
	for (uint32_t shard = 0; shard < SHARDS; shard++)
		rig->owner[shard] = (uint16_t)(1 - rig->owner[shard]);
	run_ms(500);
	cr_assert_eq(served(), PLACES, "%u of %u places are served", served(), PLACES);
}

Test(crowd, takes_nothing_along_whoever_ends, .init = setup)
{
	storm();
}

Test(crowd, takes_nothing_along_across_workers, .init = setup_two_workers)
{
	storm();
}

// ---- Shares ----

static void setup_shares(void)
{
	rig = rig_create(&(struct rig_options){
		.sessions_max = 128, .streams_max = 32, .has_group = true, .park_frames = 32, .reassembly_slots = 2,
	});
}

// All of one host, at different ports.
static void host_client(struct rig_client *client, uint16_t host, uint16_t port)
{
	rig_client_init(rig, client, 0, host);
	client->path.remote_port = port;
	client->nonce = (uint64_t)host << 16 | port;
	client->producer = (uint64_t)host << 16 | port | 1ull << 40;
}

static uint16_t error_reason(const struct rig_client *client)
{
	const struct weir_frame_header *frame = rig_last(client, WEIR_KIND_ERROR);
	return frame ? ((const struct weir_error *)(const void *)(frame + 1))->reason : 0;
}

// false: refused `quota`.
static bool host_connect(struct rig_client *client)
{
	rig_hello(client, 0);
	const struct weir_frame_header *answer = rig_last(client, WEIR_KIND_CHALLENGE);
	rig_hello(client, ((const struct weir_challenge *)(const void *)(answer + 1))->cookie);
	answer = rig_last(client, WEIR_KIND_WELCOME);
	if (answer)
		client->session = ((const struct weir_welcome *)(const void *)(answer + 1))->session;
	else
		cr_assert_eq(error_reason(client), WEIR_R_QUOTA);
	rig_forget(rig);
	return answer != NULL;
}

Test(crowd, of_one_host_leaves_sessions_and_streams_and_members_to_others, .init = setup_shares)
{
	static struct rig_client greedy[128];
	uint32_t sessions = 0;
	uint32_t streams = 0;
	uint32_t joined = 0;
	for (uint16_t i = 0; i < 128; i++) {
		host_client(&greedy[sessions], 1, (uint16_t)(1000 + i));
		sessions += host_connect(&greedy[sessions]);
	}
	cr_expect_eq(sessions, 96, "three quarters: %u", sessions);
	for (uint32_t i = 0; i < sessions; i++) {
		streams += rig_open(&greedy[i], 0, WEIR_ACK_ROUTED) != NULL;
		struct weir_frame_header header = { .kind = WEIR_KIND_JOIN };
		struct weir_join join = { .request = 1, .topic = "positions", .group = "map" };
		rig_send(&greedy[i], &header, &join, sizeof(join));
		rig_run(rig);
		joined += rig_count(&greedy[i], WEIR_KIND_JOINED);
		if (!rig_count(&greedy[i], WEIR_KIND_JOINED))
			cr_assert_eq(error_reason(&greedy[i]), WEIR_R_QUOTA);
		rig_forget(rig);
	}
	cr_expect_eq(streams, 24, "%u streams", streams);
	cr_expect_eq(joined, 12, "%u of 16 members", joined);
	struct rig_client honest;
	host_client(&honest, 2, 5000);
	cr_assert(host_connect(&honest));
	cr_assert_not_null(rig_open(&honest, 0, WEIR_ACK_ROUTED));
	// What ends is free again.
	for (uint32_t i = 0; i < sessions; i++)
		rig_control(&greedy[i], WEIR_KIND_BYE, 0, 0);
	rig_run(rig);
	rig_forget(rig);
	host_client(&greedy[0], 1, 999);
	cr_assert(host_connect(&greedy[0]));
}

Test(crowd, of_frames_that_wait_for_ever_makes_place_for_those_that_came_now, .init = setup_shares)
{
	struct rig_client greedy;
	struct rig_client honest;
	host_client(&greedy, 1, 1000);
	host_client(&honest, 2, 1000);
	cr_assert(host_connect(&greedy));
	cr_assert(host_connect(&honest));
	rig_open(&greedy, 0, WEIR_ACK_ROUTED);
	rig_open(&honest, 0, WEIR_ACK_ROUTED);
	for (uint64_t i = 0; i < 40; i++)
		rig_publish(&greedy, 0, greedy.next + 2 + 2 * i, 1);
	rig_run(rig);
	cr_assert_eq(rig->workers[0].engine->park.used, 32);
	rig_advance_ms(rig, 900);
	rig_publish(&honest, 0, honest.next + 1, 1);
	rig_run(rig);
	cr_assert_eq(rig_refusal(&honest)->reason, WEIR_R_GAP);
	rig_advance_ms(rig, 200);
	for (uint64_t i = 1; i < 9; i++)
		rig_publish(&honest, 0, honest.next + i, 1);
	rig_publish(&honest, 0, honest.next, 1);
	rig_run(rig);
	cr_assert_eq(rig_ack(&honest)->next, honest.next + 9);
	cr_assert_eq(rig->workers[0].engine->park.used, 24);
	rig_publish(&greedy, 0, greedy.next, 2);
	rig_run(rig);
	rig_control(&greedy, WEIR_KIND_BYE, 0, 0);
	rig_run(rig);
	cr_assert_eq(rig->workers[0].engine->park.used, 0);
}

// ---- Streams ----

#define SESSIONS 300u

static struct rig_client crowd[SESSIONS];

static void setup_streams(void)
{
	rig = rig_create(&(struct rig_options){
		.workers = 3, .shards = 3, .sessions_max = 1024, .streams_max = 1024, .log_bytes = 65536,
	});
}

static void all_connect(void)
{
	for (uint32_t i = 0; i < SESSIONS; i++) {
		rig_client_init(rig, &crowd[i], 0, ++numbers);
		rig_connect(&crowd[i]);
		rig_forget(rig);
	}
}

// All open a stream on another worker and are gone before it hears of them.
static void all_open_and_end(void)
{
	for (uint32_t i = 0; i < SESSIONS; i++) {
		struct weir_frame_header header = { .kind = WEIR_KIND_OPEN, .topic = RIG_TOPIC, .shard = 1 };
		const struct weir_open body = { .request = 1, .level = WEIR_ACK_ROUTED };
		rig_send(&crowd[i], &header, &body, sizeof(body));
		rig_control(&crowd[i], WEIR_KIND_BYE, 0, 0);
	}
}

Test(crowd, of_sessions_that_end_at_once_leaves_no_stream, .init = setup_streams)
{
	all_connect();
	all_open_and_end();
	rig_run(rig);
	rig_advance_ms(rig, 61000);
	cr_assert_eq(rig->shard_rows[1].streams, 0, "%lu streams of nobody", (unsigned long)rig->shard_rows[1].streams);
}

Test(crowd, of_sessions_that_end_while_their_shard_moves_leaves_no_stream, .init = setup_streams)
{
	all_connect();
	all_open_and_end();
	// The frames follow the shard, to the home of their sessions at last.
	rig_move(rig, 1, 2);
	weir_engine_run(rig->workers[1].engine, rig->now_ns);
	rig_run(rig);
	cr_assert_eq(rig->shards[1]->row.worker, 2);
	rig_advance_ms(rig, 61000);
	cr_assert_eq(rig->shard_rows[1].streams, 0, "%lu streams of nobody", (unsigned long)rig->shard_rows[1].streams);
	all_connect();
	all_open_and_end();
	rig->owner[1] = 2;
	rig_move(rig, 1, 0);
	rig_run(rig);
	rig_advance_ms(rig, 61000);
	cr_assert_eq(rig->shard_rows[1].streams, 0, "%lu streams of nobody", (unsigned long)rig->shard_rows[1].streams);
}

static uint64_t thread_ns(void)
{
	struct timespec used;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * 1000000000ull + (uint64_t)used.tv_nsec;
}

// As when the leases of all run out. The last comes first, which a walk through the queue finds last: that takes 260 ms of the
// processor, without it 0.05. The bound lies far from both.
Test(crowd, sixteen_thousand_waiters_end_in_linear_time)
{
	enum { WAITERS = 16384 };
	rig = rig_create(&(struct rig_options){ .streams_max = WAITERS });
	struct weir_shard *shard = rig->shards[0];
	for (uint32_t i = 0; i < WAITERS; i++)
		weir_credit_wait(shard, &shard->streams[i], 0);
	cr_assert_eq(shard->row.waiters, WAITERS);
	uint64_t since = thread_ns();
	for (uint32_t i = WAITERS; i > 0; i--)
		weir_credit_forget(shard, &shard->streams[i - 1]);
	uint64_t used = thread_ns() - since;
	cr_assert_eq(shard->row.waiters, 0);
	cr_assert_null(shard->waiters_first);
	cr_assert_null(shard->waiters_last);
	cr_assert_lt(used, 20000000ull, "%lu ns of the processor", used);
}
