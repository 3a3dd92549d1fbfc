// The machine side whole, in one process: real workers with real engines on real loopback sockets, spoken to by libweir,
// commanded through the gate. What belongs to control (topics, snapshots) is done here in its smallest form.
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "client/weir.h"
#include "dataplane/core/shard.h"
#include "dataplane/io/dataplane.h"
#include "wire/codec.h"

// Tests run side by side, each in its own process: each its own ports, below those the kernel hands out.
#define BASE ((uint16_t)(10000 + getpid() % 2200 * 10))
#define SHARDS 4u
#define TOPIC 1u
#define GROUP 1u

struct router {
	struct weir_dataplane *dataplane;
	char counters_path[64];
	uint64_t request;
	uint16_t workers;
	uint16_t owner[SHARDS];
	struct weir_group_spec group;
	struct weir_topic_spec topic;
	uint32_t by_id[TOPIC + 1];
	struct weir_snapshot snapshot;
	struct weir_group_place places[SHARDS];
	struct weir_delivery_stream deliveries[SHARDS];
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void rest(uint32_t milliseconds)
{
	struct timespec time = { .tv_sec = milliseconds / 1000, .tv_nsec = (long)(milliseconds % 1000) * 1000000 };

	nanosleep(&time, NULL);
}

static struct weir_message ask(struct router *router, uint16_t worker, struct weir_message command)
{
	struct weir_gate *gate = weir_dataplane_gate(router->dataplane);
	struct weir_message answer;

	command.request = ++router->request;
	weir_gate_send(gate, worker, &command);
	for (;;) {
		while (!weir_gate_receive(gate, &answer))
			cr_assert(weir_gate_wait(gate, 5000), "worker %u does not answer", worker);
		if (answer.kind == WEIR_MESSAGE_DONE && answer.request == command.request)
			return answer;
	}
}

static struct weir_dataplane_config describe(struct router *router, const struct weir_dataplane_worker *workers,
					     const struct weir_port_config *port, enum weir_poll poll)
{
	snprintf(router->counters_path, sizeof(router->counters_path), "/tmp/weir-dataplane-test.%d", (int)getpid());
	return (struct weir_dataplane_config){
		.instance = "dataplane-test",
		.counters = { .path = router->counters_path, .shard_rows = SHARDS, .group_rows = SHARDS },
		.workers = workers,
		.worker_count = router->workers,
		.ports = port,
		.port_count = port->queues > 0,
		.engine = { .sessions_max = 64, .shards_max = 16, .topics_max = 16, .groups_max = 16, .members_max = 16,
			    .park_frames = 64, .reassembly_slots = 4, .reassembly_bytes = 65536, .secret = { 1 }, .router = 5,
			    .limits = { .frame_size = WEIR_FRAME_DEFAULT, .window_frames = 256, .ping_ms = 1000,
					.lease_ms = 5000, .dedup_window_ms = 1000 } },
		.poll = poll,
	};
}

static void boot(struct router *router, uint16_t workers, enum weir_poll poll)
{
	static const struct weir_dataplane_worker anywhere[2] = { { .core = -1, .node = -1 }, { .core = -1, .node = -1 } };
	static const uint16_t queues[2] = { 0, 1 };
	struct weir_port_config port = { .name = "front", .kind = WEIR_PORT_KERNEL, .address = "127.0.0.1", .udp_port = BASE,
					 .node = -1, .workers = queues, .queues = workers };
	struct weir_fault fault = { 0 };

	*router = (struct router){ .workers = workers };
	struct weir_dataplane_config config = describe(router, anywhere, &port, poll);
	cr_assert_eq(weir_dataplane_create(&router->dataplane, &config, &fault), 0, "%s: %s", fault.object, fault.reason);
	cr_assert_eq(weir_dataplane_start(router->dataplane, NULL, 0, NULL, &fault), 0);
}

// One topic, one group; the shards spread over the workers.
static void publish_topic(struct router *router)
{
	struct weir_counters *counters = weir_dataplane_counters(router->dataplane);

	router->group = (struct weir_group_spec){ .id = { GROUP }, .name = "map", .kind = WEIR_GROUP_HOLD };
	router->topic = (struct weir_topic_spec){ .id = { TOPIC }, .name = "positions", .shards = SHARDS,
						  .ack_min = WEIR_ACK_ROUTED, .event_max = 8192, .log_bytes = 1 << 20,
						  .streams_max = 64, .owner = router->owner, .groups = &router->group,
						  .group_count = 1 };
	router->by_id[0] = UINT32_MAX;
	router->snapshot = (struct weir_snapshot){ .revision = 1, .topics = &router->topic, .topic_count = 1,
						   .by_id = router->by_id, .by_id_count = TOPIC + 1 };
	for (uint16_t s = 0; s < SHARDS; s++) {
		struct weir_shard_config config = { .topic = TOPIC, .shard = s, .spec = &router->topic, .incarnation = 100 + s,
						    .node = -1, .row = weir_counters_shard_get(counters) };
		struct weir_shard *shard;

		router->owner[s] = s % router->workers;
		cr_assert_eq(weir_shard_create(&shard, &config), 0);
		cr_assert_eq(ask(router, router->owner[s],
				 (struct weir_message){
					 .kind = WEIR_MESSAGE_SHARD_ADOPT, .topic = TOPIC, .shard = s, .pointer = shard })
				     .result,
			     0);
	}
	cr_assert_eq(ask(router, 0, (struct weir_message){ .kind = WEIR_MESSAGE_GROUP_SETUP, .topic = TOPIC, .group = GROUP,
							   .shard = SHARDS, .pointer = &router->group }).result, 0);
	for (uint16_t s = 0; s < SHARDS; s++) {
		router->places[s] =
			(struct weir_group_place){ .spec = router->group, .row = weir_counters_group_get(counters),
						   .delivery = &router->deliveries[s] };
		cr_assert_eq(ask(router, router->owner[s],
				 (struct weir_message){ .kind = WEIR_MESSAGE_GROUP_CREATE,
							.topic = TOPIC,
							.group = GROUP,
							.shard = s,
							.pointer = &router->places[s] })
				     .result,
			     0);
	}
	for (uint16_t w = 0; w < router->workers; w++)
		cr_assert_eq(
			ask(router, w, (struct weir_message){ .kind = WEIR_MESSAGE_SNAPSHOT, .pointer = &router->snapshot })
				.result,
			0);
}

static void halt(struct router *router)
{
	for (uint16_t w = 0; w < router->workers; w++)
		cr_expect_eq(ask(router, w, (struct weir_message){ .kind = WEIR_MESSAGE_STOP }).result, 0);
	weir_dataplane_stop(router->dataplane);
	weir_dataplane_destroy(router->dataplane);
	cr_expect_neq(access(router->counters_path, F_OK), 0, "nothing is left behind");
}

static struct weir_worker_row read_worker(const struct router *router, uint16_t worker)
{
	struct weir_counters_view view;
	struct weir_worker_row row;

	cr_assert_eq(weir_counters_open(&view, router->counters_path), 0);
	cr_assert_eq(weir_row_read(&row, &view.workers[worker], sizeof(row)), 0);
	weir_counters_close(&view);
	return row;
}

// Publishes `count` numbered events to all shards, and consumes them in the same thread: each once, in order per key.
static void pump(uint16_t producer_port, uint16_t consumer_port, uint32_t count)
{
	char to_producer[64], to_consumer[64];
	struct weir *out, *in;
	struct weir_producer *producer;
	struct weir_consumer *consumer;
	static uint32_t last[64];
	struct weir_view views[256];
	uint32_t sent = 0, received = 0;
	uint64_t end_ns = now_ns() + 60000000000u;

	snprintf(to_producer, sizeof(to_producer), "udp://127.0.0.1:%u", producer_port);
	snprintf(to_consumer, sizeof(to_consumer), "udp://127.0.0.1:%u", consumer_port);
	cr_assert_eq(weir_open(&out, to_producer, NULL), 0);
	cr_assert_eq(weir_open(&in, to_consumer, NULL), 0);
	cr_assert_eq(weir_consumer_open(&consumer, in, "positions", "map", NULL), 0);
	cr_assert_eq(weir_consumer_wait(consumer, 5000), 0);
	cr_assert_eq(weir_producer_open(&producer, out, "positions", NULL), 0);
	cr_assert_eq(weir_producer_wait(producer, 5000), 0);
	memset(last, 0, sizeof(last));
	while (received < count) {
		int n;

		cr_assert_lt(now_ns(), end_ns, "%u of %u events came", received, count);
		for (uint32_t burst = 0; burst < 500 && sent < count; burst++, sent++) {
			uint32_t number = sent + 1;
			struct weir_event event = { .key = number % 64, .payload = &number, .payload_size = sizeof(number) };

			if (weir_publish(producer, &event) != 0)
				break;
		}
		weir_poll(out, 0);
		weir_poll(in, 0);
		while ((n = weir_consume(consumer, views, 256)) > 0) {
			for (int i = 0; i < n; i++) {
				uint32_t number;

				memcpy(&number, views[i].payload, sizeof(number));
				cr_assert_eq(views[i].key, number % 64);
				cr_assert_eq(number, last[views[i].key] ? last[views[i].key] + 64
						     : number % 64      ? number % 64
									: 64);
				last[views[i].key] = number;
				received++;
			}
		}
	}
	cr_expect_eq(weir_close(out, 2000), 0);
	cr_expect_eq(weir_close(in, 2000), 0);
}

Test(dataplane, events_go_from_libweir_through_a_worker_to_libweir)
{
	struct router router;

	boot(&router, 1, WEIR_POLL_MODE_ADAPTIVE);
	publish_topic(&router);
	pump(BASE, BASE, 50000);
	rest(150); // rows of an idle worker are fresh within its longest sleep
	struct weir_worker_row row = read_worker(&router, 0);
	uint64_t refused = 0;
	for (uint32_t i = 0; i < WEIR_REASON_COUNT; i++)
		refused += row.refused[i];
	cr_expect_eq(row.received, row.handed_on + refused);
	cr_expect_gt(row.sent, 0);
	cr_expect_eq(row.mesh_enqueued, 0);
	halt(&router);
}

Test(dataplane, events_cross_the_mesh_when_their_shard_lives_elsewhere)
{
	struct router router;

	boot(&router, 2, WEIR_POLL_MODE_ADAPTIVE);
	publish_topic(&router);
	pump(BASE, (uint16_t)(BASE + 1), 50000);
	rest(150);
	struct weir_worker_row first = read_worker(&router, 0);
	struct weir_worker_row second = read_worker(&router, 1);
	cr_expect_gt(first.mesh_enqueued, 0);
	cr_expect_gt(second.mesh_enqueued, 0);
	cr_expect_eq(first.mesh_enqueued + second.mesh_enqueued, first.mesh_dequeued + second.mesh_dequeued);
	halt(&router);
}

// ---- Idle ----

static uint64_t cpu_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

Test(dataplane, an_idle_worker_takes_less_than_a_tenth_of_a_core_and_says_so)
{
	struct router router;
	uint64_t begin_ns, used_ns;

	boot(&router, 1, WEIR_POLL_MODE_ADAPTIVE);
	publish_topic(&router);
	rest(50);
	struct weir_worker_row before = read_worker(&router, 0);
	begin_ns = now_ns();
	used_ns = cpu_ns();
	rest(1000);
	used_ns = cpu_ns() - used_ns;
	cr_expect_lt(used_ns * 10, now_ns() - begin_ns, "%llu ns of CPU in %llu ns", (unsigned long long)used_ns,
		     (unsigned long long)(now_ns() - begin_ns));
	struct weir_worker_row after = read_worker(&router, 0);
	cr_expect_gt(after.sleep_ns - before.sleep_ns, 800000000);
	cr_expect_lt(after.busy_ns - before.busy_ns, 100000000);
	struct weir_pulse pulse;
	weir_worker_look(weir_dataplane_worker(router.dataplane, 0), false, &pulse);
	cr_expect_eq(pulse.stage, WEIR_STAGE_SLEEP, "it is at: %s", weir_stage_name(pulse.stage));
	cr_expect_not(weir_pulse_is_stall(&pulse, now_ns()));
	halt(&router);
}

// A hello that claims a frame size and gets its challenge.
static int open_client(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(BASE), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval timeout = { .tv_sec = 5 };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	return fd;
}

static uint64_t time_of_answer(int fd, uint64_t nonce)
{
	_Alignas(8) uint8_t frame[WEIR_FRAME_DEFAULT] = { 0 };
	struct weir_frame_header *header = (void *)frame;
	struct weir_hello *hello = (void *)(header + 1);
	uint64_t begin_ns = now_ns();

	header->kind = WEIR_KIND_HELLO;
	*hello = (struct weir_hello){
		.nonce = nonce, .producer = nonce, .frame_size = sizeof(frame), .versions = { WEIR_VERSION }
	};
	weir_frame_seal(header, sizeof(frame) - sizeof(*header));
	cr_assert_eq(send(fd, frame, sizeof(frame), 0), (ssize_t)sizeof(frame));
	cr_assert_gt(recv(fd, frame, sizeof(frame), 0), 0, "no answer to a hello");
	return now_ns() - begin_ns;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

Test(dataplane, the_first_event_after_a_rest_is_found_within_1500_us)
{
	struct router router;
	uint64_t times[21];
	int fd;

	boot(&router, 1, WEIR_POLL_MODE_ADAPTIVE);
	publish_topic(&router);
	fd = open_client();
	for (uint32_t i = 0; i < 21; i++) {
		rest(30); // it sleeps by now
		times[i] = time_of_answer(fd, i + 1);
	}
	qsort(times, 21, sizeof(times[0]), compare);
	// The median: other programs may own the cores for a while.
	cr_expect_lt(times[10], 1500000, "half of the answers took %llu ns or more", (unsigned long long)times[10]);
	close(fd);
	halt(&router);
}

Test(dataplane, a_worker_that_always_polls_never_sleeps)
{
	struct router router;
	struct weir_pulse pulse;

	boot(&router, 1, WEIR_POLL_MODE_ALWAYS);
	rest(300);
	struct weir_worker_row row = read_worker(&router, 0);
	cr_expect_eq(row.sleep_ns, 0);
	cr_expect_gt(row.loops, 1000);
	weir_worker_look(weir_dataplane_worker(router.dataplane, 0), true, &pulse);
	cr_expect_gt(pulse.longest_ns, 0);
	halt(&router);
}

// ---- Half-way failures ----

static int count_descriptors(void)
{
	int count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += lseek(fd, 0, SEEK_CUR) >= 0 || errno != EBADF;
	return count;
}

Test(dataplane, a_start_that_fails_leaves_nothing_open)
{
	static const struct weir_dataplane_worker workers[2] = { { .core = -1, .node = -1 }, { .core = -1, .node = -1 } };
	static const uint16_t queues[2] = { 0, 1 };
	struct weir_port_config port = { .name = "front", .kind = WEIR_PORT_KERNEL, .address = "127.0.0.1", .udp_port = BASE,
					 .node = -1, .workers = queues, .queues = 2 };
	struct router router = { .workers = 2 };
	struct weir_dataplane_config config = describe(&router, workers, &port, WEIR_POLL_MODE_ADAPTIVE);
	struct sockaddr_in taken = { .sin_family = AF_INET,
				     .sin_port = htons(BASE + 1),
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct weir_fault fault = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	cr_assert_eq(bind(fd, (struct sockaddr *)&taken, sizeof(taken)), 0);
	int before = count_descriptors();
	cr_expect_eq(weir_dataplane_create(&router.dataplane, &config, &fault), -EADDRINUSE);
	cr_expect_eq(count_descriptors(), before);
	cr_expect_neq(access(router.counters_path, F_OK), 0);
	cr_expect(strstr(fault.object, "front") && strstr(fault.fix, "ss -ulnp"), "%s", fault.fix);
	config.worker_count = 1;
	cr_expect_eq(weir_dataplane_create(&router.dataplane, &config, &fault), -EINVAL,
		     "a port names a worker that is not there");
	close(fd);
}
