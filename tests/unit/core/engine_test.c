// Claims about several engines together: frames cross the mesh, shards change their owner under traffic, nothing is lost.
// Three workers of one process; the rig hands out messages before frames, which is the harder order: what overtakes a
// shard on its way must wait for it.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/core/consumer.h"

static struct rig *rig;

static void setup(void)
{
	rig = rig_create(&(struct rig_options){ .workers = 3, .shards = 4, .has_group = true });
}

static void teardown(void)
{
	rig_run(rig);
	cr_expect(rig_balances(rig));
	rig_destroy(rig);
}

TestSuite(engine, .init = setup, .fini = teardown);

static void snapshot_publish(uint16_t shard, uint16_t owner)
{
	rig->owner[shard] = owner;
	rig->snapshot.revision++;
	const struct weir_message publish = { .kind = WEIR_MESSAGE_SNAPSHOT, .pointer = &rig->snapshot };
	for (uint16_t worker = 0; worker < rig->options.workers; worker++)
		rig_message(rig, worker, &publish);
}

static void forward_end(uint16_t worker, uint16_t shard)
{
	const struct weir_message end = {
		.kind = WEIR_MESSAGE_FORWARD_END, .topic = RIG_TOPIC, .shard = shard, .request = 78,
	};
	rig_message(rig, worker, &end);
}

Test(engine, a_session_reaches_every_shard_wherever_it_lives)
{
	struct rig_client client;
	rig_client_init(rig, &client, 0, 1);
	rig_connect(&client);
	for (uint16_t shard = 0; shard < 4; shard++) {
		cr_assert_not_null(rig_open(&client, shard, WEIR_ACK_ROUTED));
		rig_publish(&client, shard, 0, 18);
		rig_run(rig);
		cr_assert_eq(rig_ack(&client)->shard, shard);
		cr_assert_eq(rig_ack(&client)->next, 18);
		cr_assert_eq(rig_log_next(rig, shard, client.producer, 0), 18);
	}
	cr_assert_eq(rig->workers[1].sent_count, 0, "answered where it was opened");
}

Test(engine, a_full_mesh_refuses_by_name_and_the_repetition_gets_through)
{
	struct rig_client client;
	rig_client_init(rig, &client, 0, 1);
	rig_connect(&client);
	rig_open(&client, 1, WEIR_ACK_ROUTED);
	rig->workers[1].mesh_room = 2;
	for (uint64_t i = 0; i < 4; i++)
		rig_publish(&client, 1, i * 2, 2);
	rig_run(rig);
	cr_assert_eq(rig->workers[0].row.refused[WEIR_R_MESH_FULL], 2);
	rig_publish(&client, 1, 4, 2);
	rig_publish(&client, 1, 6, 2);
	rig_run(rig);
	cr_assert_eq(rig_ack(&client)->next, 8);
}

Test(engine, acknowledgements_wait_for_room_in_the_mesh)
{
	struct rig_client client;
	rig_client_init(rig, &client, 0, 1);
	rig_connect(&client);
	rig_open(&client, 1, WEIR_ACK_ROUTED);
	rig->workers[0].mesh_room = 0;
	rig_publish(&client, 1, 0, 9);
	rig_run(rig);
	cr_assert_null(rig_ack(&client));
	rig->workers[0].mesh_room = 16;
	rig_run(rig);
	cr_assert_eq(rig_ack(&client)->next, 9);
}

Test(engine, the_end_of_a_session_reaches_its_streams_on_other_workers)
{
	struct rig_client client;
	rig_client_init(rig, &client, 0, 1);
	client.epoch = 9;
	rig_connect(&client);
	rig_open(&client, 1, WEIR_ACK_ROUTED);
	rig_publish(&client, 1, 0, 9);
	rig_run(rig);
	cr_assert_eq(rig->shards[1]->streams[client.stream].state, WEIR_STREAM_OPEN);
	rig_control(&client, WEIR_KIND_BYE, 0, 0);
	rig_run(rig);
	cr_assert_eq(rig->shards[1]->streams[client.stream].state, WEIR_STREAM_DORMANT);
}

Test(engine, an_open_that_the_end_of_its_session_overtook_creates_nothing)
{
	struct rig_client client;
	rig_client_init(rig, &client, 0, 1);
	rig_connect(&client);
	struct weir_frame_header header = { .kind = WEIR_KIND_OPEN, .topic = RIG_TOPIC, .shard = 1 };
	const struct weir_open body = { .request = 1 };
	rig_send(&client, &header, &body, sizeof(body));
	rig_control(&client, WEIR_KIND_BYE, 0, 0);
	// The rig hands out messages before frames.
	rig_run(rig);
	cr_assert_eq(rig->shards[1]->streams_used, 0);
}

Test(engine, a_shard_moves_under_traffic_without_loss_or_duplicate)
{
	struct rig_client clients[3];
	uint64_t next[3] = { 0 };
	srand(5);
	for (uint16_t i = 0; i < 3; i++) {
		rig_client_init(rig, &clients[i], i, 1 + i);
		rig_connect(&clients[i]);
		cr_assert_not_null(rig_open(&clients[i], 1, WEIR_ACK_ROUTED));
	}
	// The group must not fill the log: this test is about order.
	for (uint16_t shard = 0; shard < 4; shard++)
		rig->shards[shard]->holders = 0;
	uint16_t owner = 1;
	for (int move = 0; move < 40; move++) {
		uint16_t to = (uint16_t)((owner + 1 + rand() % 2) % 3);
		for (int burst = 0; burst < 6; burst++) {
			for (int i = 0; i < 3; i++) {
				rig_publish(&clients[i], 1, next[i], 3);
				next[i] += 3;
			}
			if (burst == 2) {
				rig->done_count = 0;
				rig_move(rig, 1, to);
			}
			if (burst == 3) {
				rig_run(rig);
				cr_assert_eq(rig->done_count, 1);
				cr_assert_eq(rig->done[0].request, 77);
				cr_assert_eq(rig->done[0].worker, to);
			}
			if (burst == 4)
				snapshot_publish(1, to);
		}
		rig_run(rig);
		forward_end(owner, 1);
		rig_run(rig);
		owner = to;
		for (int i = 0; i < 3; i++)
			cr_assert_eq(rig_ack(&clients[i])->next, next[i], "move %d", move);
		rig_forget(rig);
	}
	cr_assert_eq(rig->shards[1]->row.duplicate, 0);
	cr_assert_eq(rig->shards[1]->row.accepted, 3 * 40 * 18);
	cr_assert_eq(rig->shards[1]->row.moves, 40);
	cr_assert_eq(rig->shard_rows[1].worker, owner);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(rig_log_next(rig, 1, clients[i].producer, 0), next[i]);
}

Test(engine, a_move_waits_for_room_in_the_mesh_and_the_owner_serves_meanwhile)
{
	struct rig_client client;
	rig_client_init(rig, &client, 1, 1);
	rig_connect(&client);
	rig_open(&client, 1, WEIR_ACK_ROUTED);
	rig->workers[2].mesh_room = 0;
	rig->done_count = 0;
	rig_move(rig, 1, 2);
	rig_run(rig);
	cr_assert_eq(rig->done_count, 0);
	rig_publish(&client, 1, 0, 9);
	rig_run(rig);
	cr_assert_eq(rig_ack(&client)->next, 9);
	rig->workers[2].mesh_room = 16;
	rig_run(rig);
	cr_assert_eq(rig->done_count, 1);
	cr_assert_eq(rig->shards[1]->engine, rig->workers[2].engine);
}

Test(engine, a_session_that_ends_while_its_shard_is_on_the_way_leaves_no_open_stream)
{
	struct rig_client client;
	rig_client_init(rig, &client, 0, 1);
	client.epoch = 9;
	rig_connect(&client);
	rig_open(&client, 1, WEIR_ACK_ROUTED);
	rig_publish(&client, 1, 0, 9);
	rig_run(rig);
	rig_move(rig, 1, 2);
	// In the ring to worker 2 now; the news of the session's end is handed out before.
	rig_control(&client, WEIR_KIND_BYE, 0, 0);
	rig_run(rig);
	cr_assert_eq(rig->shards[1]->streams[client.stream].state, WEIR_STREAM_DORMANT);
	cr_assert_eq(rig->shards[1]->engine, rig->workers[2].engine);
	snapshot_publish(1, 2);
	rig_advance_ms(rig, 60100);
	cr_assert_eq(rig->shards[1]->streams_used, 0, "its timer went with it");
}

Test(engine, parked_frames_of_a_moved_shard_go_back_to_their_pool_and_come_again)
{
	struct rig_client client;
	rig_client_init(rig, &client, 0, 1);
	rig_connect(&client);
	rig_open(&client, 1, WEIR_ACK_ROUTED);
	rig_publish(&client, 1, 4, 4);
	rig_run(rig);
	cr_assert_eq(rig->workers[1].row.parked_frames, 1);
	rig_move(rig, 1, 2);
	rig_run(rig);
	cr_assert_eq(rig->workers[1].row.parked_frames, 0);
	rig_publish(&client, 1, 0, 4);
	rig_publish(&client, 1, 4, 4);
	rig_run(rig);
	cr_assert_eq(rig_ack(&client)->next, 8);
	snapshot_publish(1, 2);
}

Test(engine, a_frame_that_comes_before_the_shard_is_refused_moving)
{
	struct rig_client client;
	rig_client_init(rig, &client, 0, 1);
	rig_connect(&client);
	rig_open(&client, 1, WEIR_ACK_ROUTED);
	snapshot_publish(1, 0);
	rig_publish(&client, 1, 0, 4);
	rig_run(rig);
	cr_assert_eq(rig_refusal(&client)->reason, WEIR_R_MOVING);
	cr_assert_eq(rig_refusal(&client)->count, 4);
	cr_assert_eq(rig->workers[0].row.refused[WEIR_R_MOVING], 1);
	snapshot_publish(1, 1);
}

static void join(struct rig_client *client)
{
	static uint64_t asked;
	struct weir_frame_header header = { .kind = WEIR_KIND_JOIN };
	const struct weir_join body = { .request = ++asked, .topic = "positions", .group = "map" };
	rig_send(client, &header, &body, sizeof(body));
	rig_run(client->rig);
}

static void report(struct rig_client *client, const struct weir_frame_header *assign, uint64_t to)
{
	const struct weir_assign *body = (const void *)(assign + 1);
	struct weir_frame_header header = { .kind = WEIR_KIND_REPORT, .count = 1 };
	const struct weir_report_entry entry = {
		.topic = assign->topic,
		.shard = assign->shard,
		.stream = assign->stream,
		.term = body->term,
		.received_to = to,
		.settled_to = to,
		.limit = 1u << 20,
		.charged = to ? 1u << 20 : 0,
		.group = RIG_GROUP,
	};
	rig_send(client, &header, &entry, sizeof(entry));
}

static uint32_t delivered(const struct rig_client *client, uint16_t shard)
{
	const struct rig_worker *worker = &client->rig->workers[client->worker];
	uint32_t events = 0;
	for (uint32_t i = 0; i < worker->sent_count; i++) {
		const struct weir_frame_header *frame = (const void *)worker->sent[i].bytes;
		if (frame->kind == WEIR_KIND_DELIVER && frame->shard == shard)
			events += (uint32_t)(((const struct weir_delivery *)(const void *)(frame + 1))->to - frame->sequence);
	}
	return events;
}

Test(engine, a_consumer_at_one_worker_gets_shards_of_all_of_them)
{
	struct rig_client producer;
	struct rig_client consumer;
	rig_client_init(rig, &producer, 0, 1);
	rig_client_init(rig, &consumer, 2, 2);
	rig_connect(&producer);
	rig_connect(&consumer);
	join(&consumer);
	cr_assert_eq(rig_count(&consumer, WEIR_KIND_JOINED), 1);
	cr_assert_eq(rig_count(&consumer, WEIR_KIND_ASSIGN), 4);
	struct weir_frame_header assigns[4];
	uint8_t bodies[4][sizeof(struct weir_assign)];
	const struct rig_worker *worker = &rig->workers[2];
	for (uint32_t i = 0; i < worker->sent_count; i++) {
		const struct weir_frame_header *frame = (const void *)worker->sent[i].bytes;
		if (frame->kind == WEIR_KIND_ASSIGN) {
			assigns[frame->shard] = *frame;
			memcpy(bodies[frame->shard], frame + 1, sizeof(bodies[0]));
		}
	}
	// One report frame with entries for shards of three workers.
	struct weir_report_entry entries[4];
	for (uint16_t shard = 0; shard < 4; shard++) {
		const struct weir_assign *assign = (const void *)bodies[shard];
		entries[shard] = (struct weir_report_entry){
			.topic = RIG_TOPIC,
			.shard = shard,
			.stream = assigns[shard].stream,
			.term = assign->term,
			.limit = 1u << 20,
			.group = RIG_GROUP,
		};
	}
	struct weir_frame_header header = { .kind = WEIR_KIND_REPORT, .count = 4 };
	rig_send(&consumer, &header, entries, sizeof(entries));
	rig_run(rig);
	for (uint16_t shard = 0; shard < 4; shard++) {
		rig_open(&producer, shard, WEIR_ACK_ROUTED);
		rig_publish(&producer, shard, 0, 10);
		rig_run(rig);
		cr_assert_eq(delivered(&consumer, shard), 10, "shard %u", shard);
	}
	// The group's member leaves, and comes again: asked once, answered each time.
	join(&consumer);
	cr_assert_eq(rig_count(&consumer, WEIR_KIND_JOINED), 2);
}

Test(engine, a_group_message_that_overtakes_its_shard_waits_for_it)
{
	struct rig_client consumer;
	rig_client_init(rig, &consumer, 2, 2);
	rig_connect(&consumer);
	rig_move(rig, 1, 2);
	// The coordinator at worker 0 still names worker 1 as the owner; 1 sends on to 2, whose messages come first.
	join(&consumer);
	cr_assert_eq(rig->shards[1]->engine, rig->workers[2].engine);
	cr_assert_eq(rig->shards[1]->deliveries[0]->member.id, consumer.session);
	cr_assert_eq(rig_count(&consumer, WEIR_KIND_ASSIGN), 4);
	snapshot_publish(1, 2);
	forward_end(1, 1);
}

Test(engine, the_end_of_a_member_frees_its_shards_for_the_next)
{
	struct rig_client one;
	struct rig_client two;
	rig_client_init(rig, &one, 1, 1);
	rig_client_init(rig, &two, 2, 2);
	rig_connect(&one);
	rig_connect(&two);
	join(&one);
	report(&one, rig_last(&one, WEIR_KIND_ASSIGN), 0);
	join(&two);
	rig_control(&one, WEIR_KIND_BYE, 0, 0);
	rig_run(rig);
	for (uint16_t shard = 0; shard < 4; shard++)
		cr_assert_eq(rig->shards[shard]->deliveries[0]->member.id, two.session);
	struct weir_frame_header header = { .kind = WEIR_KIND_LEAVE };
	const struct weir_leave leave = { .group = RIG_GROUP };
	rig_send(&two, &header, &leave, sizeof(leave));
	rig_advance_ms(rig, 2000);
	rig_control(&two, WEIR_KIND_PING, 0, 0);
	rig_advance_ms(rig, 2000);
	cr_assert_eq(rig_count(&two, WEIR_KIND_LEFT), 1, "after the lease at the latest");
	rig_send(&two, &header, &leave, sizeof(leave));
	cr_assert_eq(rig_count(&two, WEIR_KIND_LEFT), 2, "no member any more: answered at once");
}

// ---- One worker, many shards ----

#define MANY 40u
#define IN_A_TURN 16u // shards with few bytes

static struct rig_client source;
static struct consumer *sink;

static void setup_many(void)
{
	rig = rig_create(&(struct rig_options){ .workers = 1, .shards = MANY, .has_group = true });
	rig_client_init(rig, &source, 0, 1);
	rig_connect(&source);
	for (uint16_t shard = 0; shard < MANY; shard++)
		cr_assert_not_null(rig_open(&source, shard, WEIR_ACK_ROUTED));
	sink = consumer_create(rig, 0, 2, 1472);
	consumers_run(rig, &sink, 1);
	cr_assert_eq(consumer_held(sink), MANY);
	rig_forget(rig);
	sink->seen = 0;
}

static void teardown_many(void)
{
	consumers_run(rig, &sink, 1);
	consumer_settle_all(sink);
	for (uint16_t shard = 0; shard < MANY; shard++)
		cr_expect_eq(sink->shards[shard].received_to, rig->shards[shard]->log.head_offset);
	free(sink);
	teardown();
}

TestSuite(shards, .init = setup_many, .fini = teardown_many);

static void publish_one_each(uint16_t shards)
{
	for (uint16_t shard = 0; shard < shards; shard++)
		rig_publish(&source, shard, 0, 1);
}

static void turn_once(void)
{
	weir_engine_run(rig->workers[0].engine, rig->now_ns);
}

Test(shards, few_bytes_of_many_shards_wait_their_turn)
{
	publish_one_each(MANY);
	for (uint32_t sent = IN_A_TURN; sent < MANY; sent += IN_A_TURN) {
		turn_once();
		cr_assert_eq(rig_count(&sink->client, WEIR_KIND_DELIVER), sent);
	}
	turn_once();
	cr_assert_eq(rig_count(&sink->client, WEIR_KIND_DELIVER), MANY);
}

Test(shards, what_gathers_while_a_shard_waits_goes_in_one_frame)
{
	publish_one_each(MANY);
	turn_once();
	rig_publish(&source, MANY - 1, 1, 2);
	turn_once();
	turn_once();
	const struct weir_frame_header *last = rig_last(&sink->client, WEIR_KIND_DELIVER);
	cr_assert_eq(rig_count(&sink->client, WEIR_KIND_DELIVER), MANY);
	cr_assert_eq(last->shard, MANY - 1);
	cr_assert_eq(last->count, 2, "two runs");
}

Test(shards, a_frame_full_does_not_wait_behind_shards_with_few_bytes)
{
	publish_one_each(MANY - 1);
	rig_publish(&source, MANY - 1, 0, 14);
	turn_once();
	cr_assert_eq(rig_count(&sink->client, WEIR_KIND_DELIVER), IN_A_TURN + 1);
	cr_assert_eq(sink->shards[MANY - 1].received_to, 0);
	consumer_look(sink);
	cr_assert_eq(sink->shards[MANY - 1].received_to, 14);
}

Test(shards, one_that_fills_up_while_it_waits_waits_no_longer)
{
	publish_one_each(MANY);
	turn_once();
	rig_publish(&source, MANY - 1, 1, 13);
	turn_once();
	consumer_look(sink);
	cr_assert_eq(sink->shards[MANY - 1].received_to, 14);
	cr_assert_eq(sink->shards[MANY - 2].received_to, 0);
}

Test(shards, a_rest_behind_a_full_frame_goes_with_what_comes_next)
{
	rig_publish(&source, 3, 0, 17);
	rig_publish(&source, 3, 17, 2);
	turn_once();
	cr_assert_eq(rig_count(&sink->client, WEIR_KIND_DELIVER), 1);
	cr_assert_eq(rig_last(&sink->client, WEIR_KIND_DELIVER)->count, 1, "the second run does not fit");
	rig_publish(&source, 3, 19, 2);
	turn_once();
	cr_assert_eq(rig_count(&sink->client, WEIR_KIND_DELIVER), 2);
	cr_assert_eq(rig_last(&sink->client, WEIR_KIND_DELIVER)->count, 2, "two runs");
}

Test(shards, a_rest_behind_a_full_frame_waits_for_one_turn)
{
	rig_publish(&source, 3, 0, 17);
	rig_publish(&source, 3, 17, 2);
	turn_once();
	cr_assert_eq(rig_count(&sink->client, WEIR_KIND_DELIVER), 1);
	cr_assert_eq(weir_engine_deadline(rig->workers[0].engine), rig->now_ns, "and the worker does not sleep on it");
	turn_once();
	cr_assert_eq(rig_count(&sink->client, WEIR_KIND_DELIVER), 2);
}

Test(shards, a_report_does_not_send_few_bytes_before_their_turn)
{
	publish_one_each(MANY);
	for (uint16_t shard = 0; shard < MANY; shard++)
		consumer_report(sink, shard, 0);
	turn_once();
	cr_assert_eq(rig_count(&sink->client, WEIR_KIND_DELIVER), IN_A_TURN);
}

Test(shards, those_without_anybody_to_send_to_take_nobodys_turn)
{
	consumer_leave(sink);
	consumers_run(rig, &sink, 1);
	cr_assert_eq(consumer_held(sink), 0);
	publish_one_each(MANY);
	turn_once();
	for (uint16_t shard = 0; shard < MANY; shard++)
		cr_assert_eq(rig->shards[shard]->delivering, WEIR_DELIVERING_NOT, "shard %u", shard);
	// For the end, where everything is to arrive.
	consumer_join(sink);
}

Test(shards, one_that_moves_away_while_it_waits_is_in_no_list_any_more)
{
	publish_one_each(MANY);
	struct weir_shard *waiting = rig->shards[MANY / 2];
	cr_assert_eq(waiting->delivering, WEIR_DELIVERING_THIN);
	weir_engine_unmark_deliverable(rig->workers[0].engine, waiting);
	for (uint32_t sent = 0; sent < MANY; sent += IN_A_TURN)
		turn_once();
	cr_assert_eq(rig_count(&sink->client, WEIR_KIND_DELIVER), MANY - 1);
	weir_engine_mark_deliverable(rig->workers[0].engine, waiting);
	turn_once();
	cr_assert_eq(rig_count(&sink->client, WEIR_KIND_DELIVER), MANY);
}
