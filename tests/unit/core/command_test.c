// Claims about commands: each is answered once with its request and a result that says what was wrong, limits change live, and
// what a command takes away is told to whom it concerns. Three workers over the rig's queues.
// Control's part is played by the test.
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "tests/unit/core/rig.h"

static struct rig *rig;
static struct rig_client client;

static void setup(void)
{
	rig = rig_create(&(struct rig_options){ .workers = 3, .shards = 3, .has_group = true, .log_bytes = 65536 });
	rig_client_init(rig, &client, 0, 1);
	rig_connect(&client);
	rig->done_count = 0;
}

static void teardown(void)
{
	rig_run(rig);
	cr_expect(rig_balances(rig));
	rig_destroy(rig);
}

TestSuite(command, .init = setup, .fini = teardown);

// The result of one command, which must have been answered once.
static int32_t result_of(uint16_t worker, struct weir_message message)
{
	message.request = 4000 + rig->done_count;
	message.topic = message.topic ? message.topic : RIG_TOPIC;
	rig->done_count = 0;
	rig_message(rig, worker, &message);
	rig_run(rig);
	cr_assert_eq(rig->done_count, 1);
	cr_assert_eq(rig->done[0].request, message.request);
	cr_assert_eq(rig->done[0].kind, WEIR_MESSAGE_DONE);
	return rig->done[0].result;
}

Test(command, for_a_shard_that_is_not_here_says_so)
{
	cr_assert_eq(result_of(0, (struct weir_message){ .kind = WEIR_MESSAGE_SHARD_MOVE, .shard = 1, .worker = 2 }), -ENOENT);
	cr_assert_eq(result_of(0, (struct weir_message){ .kind = WEIR_MESSAGE_SHARD_REMOVE, .shard = 1 }), -ENOENT);
	cr_assert_eq(result_of(0, (struct weir_message){ .kind = WEIR_MESSAGE_GROUP_REMOVE, .shard = 1, .group = 5 }), -ENOENT);
	cr_assert_eq(result_of(0, (struct weir_message){ .kind = WEIR_MESSAGE_SHARD_MOVE, .worker = 9 }), -EINVAL);
	cr_assert_eq(result_of(0, (struct weir_message){ .kind = WEIR_MESSAGE_SHARD_MOVE, .worker = 0 }), 0, "it is there");
}

Test(command, the_same_shard_is_adopted_once)
{
	struct weir_message adopt = { .kind = WEIR_MESSAGE_SHARD_ADOPT, .pointer = rig->shards[0] };
	cr_assert_eq(result_of(0, adopt), -EEXIST);
}

Test(command, a_second_move_waits_for_the_first_and_a_removal_cancels_it)
{
	rig->workers[2].mesh_room = 0;
	struct weir_message first = { .kind = WEIR_MESSAGE_SHARD_MOVE, .topic = RIG_TOPIC, .worker = 2, .request = 1 };
	rig_message(rig, 0, &first);
	cr_assert_eq(result_of(0, (struct weir_message){ .kind = WEIR_MESSAGE_SHARD_MOVE, .worker = 1 }), -EBUSY);
	rig->done_count = 0;
	rig_message(rig, 0, &(struct weir_message){ .kind = WEIR_MESSAGE_SHARD_REMOVE, .topic = RIG_TOPIC, .request = 2 });
	cr_assert_eq(rig->done_count, 2);
	cr_assert_eq(rig->done[0].request, 1);
	cr_assert_eq(rig->done[0].result, -ECANCELED);
	cr_assert_eq(rig->done[1].request, 2);
	cr_assert_eq(rig->done[1].pointer, rig->shards[0]);
	rig->workers[2].mesh_room = 16;
	rig_run(rig);
	cr_assert_eq(rig->done_count, 2, "nothing of it is left");
	weir_shard_destroy(rig->shards[0]);
}

Test(command, removing_the_group_that_filled_the_log_frees_its_producers)
{
	rig_open(&client, 0, WEIR_ACK_ROUTED);
	uint64_t next = 0;
	while (rig_count(&client, WEIR_KIND_REFUSE) == 0) {
		rig_publish(&client, 0, next, 18);
		rig_run(rig);
		next += 18;
	}
	next -= 18;
	rig_forget(rig);
	cr_assert_eq(result_of(0, (struct weir_message){ .kind = WEIR_MESSAGE_GROUP_REMOVE, .group = RIG_GROUP }), 0);
	cr_assert_eq(rig_count(&client, WEIR_KIND_ACK), 1, "told that there is room");
	cr_assert_geq(rig_ack(&client)->limit, next + 18);
	cr_assert_eq(rig->group_rows[0].dropped[WEIR_R_TOPIC_REMOVED], next);
	rig_publish(&client, 0, next, 18);
	rig_run(rig);
	cr_assert_eq(rig_ack(&client)->next, next + 18);
}

Test(command, limits_change_live)
{
	struct weir_engine_limits limits = {
		.frame_size = 600, .window_frames = 7, .ping_ms = 100, .lease_ms = 1000, .dedup_window_ms = 2000,
	};
	cr_assert_eq(result_of(0, (struct weir_message){ .kind = WEIR_MESSAGE_LIMITS, .pointer = &limits }), 0);
	struct rig_client other;
	rig_client_init(rig, &other, 0, 2);
	rig_connect(&other);
	const struct weir_welcome *welcome = (const void *)(rig_last(&other, WEIR_KIND_WELCOME) + 1);
	cr_assert_eq(welcome->frame_size, 600);
	cr_assert_eq(welcome->window_frames, 7);
	cr_assert_eq(welcome->lease_ms, 1000);
	rig_advance_ms(rig, 1100);
	cr_assert_eq(weir_engine_row(rig->workers[0].engine)->sessions, 1, "the one of before was armed for longer");
	rig_advance_ms(rig, 2000);
	cr_assert_eq(weir_engine_row(rig->workers[0].engine)->sessions, 0);
}

Test(command, joining_what_does_not_exist_is_told_by_name)
{
	struct weir_frame_header header = { .kind = WEIR_KIND_JOIN };
	struct weir_join body = { .request = 8, .topic = "positions", .group = "nobody" };
	rig_send(&client, &header, &body, sizeof(body));
	const struct weir_error *error = (const void *)(rig_last(&client, WEIR_KIND_ERROR) + 1);
	cr_assert_eq(error->reason, WEIR_R_NO_GROUP);
	cr_assert_eq(error->request, 8);
	cr_assert_eq(error->kind, WEIR_KIND_JOIN);
	cr_assert_str_eq(error->name, "nobody");
	strcpy(body.topic, "nothing");
	body.request++;
	rig_send(&client, &header, &body, sizeof(body));
	error = (const void *)(rig_last(&client, WEIR_KIND_ERROR) + 1);
	cr_assert_eq(error->reason, WEIR_R_NO_TOPIC);
}

Test(command, time_that_passes_keeps_nobody_awake)
{
	struct weir_engine *engine = rig->workers[1].engine;
	weir_engine_count_time(engine, 10, 20, 30);
	cr_assert_gt(weir_engine_deadline(engine), rig->now_ns);
	rig_advance_ms(rig, 2);
	cr_assert_eq(rig->workers[1].row.busy_ns, 10);
	cr_assert_eq(rig->workers[1].row.sleep_ns, 30);
}
