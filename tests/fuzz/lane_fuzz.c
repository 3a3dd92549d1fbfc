// Clients that scribble over everything they may write, while the router's workers poll it, beside one that works: its verdict
// has to stay clean, the ledger explained, and nothing of the others may be left when they are gone. Clients are threads,
// each with a lane over a real socket; frames are random, or good ones with something wrong, or good ones whose bytes change
// after they were handed over. Under the address sanitizer every byte read too far ends it.
// Prints TAP. Runs for two thirds of WEIR_BUDGET_S, or 10 s; 10 minutes with WEIR_LONG=1; or so many seconds as its argument
// says. WEIR_SEED repeats a storm.
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>
#include <time.h>

#include "client/weir.h"
#include "control/daemon/answer.h"
#include "control/daemon/config.h"
#include "control/daemon/lanes.h"
#include "control/daemon/machine.h"
#include "control/daemon/listener.h"
#include "dataplane/io/lane.h"
#include "tests/support/raw_lane.h"
#include "wire/key.h"
#include "wire/reason.h"

#define HOSTILE 3u
#define KEYS 64u
#define OUTSTANDING 200u
#define LIVES_LEAST 20u    // of hostile clients in 10 s
#define EVENTS_LEAST 2000u // of the good client in 10 s

struct storm {
	struct weir_router *router;
	struct weir_reaper *reaper;
	struct weir_lanes *lanes;
	char counters[64];
	char path[64];
	struct weir_listener listener;
	uint64_t seed;
	uint64_t end_ms;
	atomic_bool is_over;
	_Atomic uint64_t lives;   // lanes that hostile clients had
	_Atomic uint64_t refused; // hellos
	_Atomic uint64_t writes;  // bytes scribbled
	_Atomic uint64_t sessions;
};

struct hostile {
	struct storm *storm;
	uint64_t random;
	struct raw_lane raw;
	int fd;
	uint64_t session;
	uint32_t topic;
	uint32_t stream;
	uint64_t next;
	uint64_t key; // of shard 0
	uint64_t incarnation;
	struct weir_report_entry report;
	bool is_gentle; // seldom tears everything down
};

struct good {
	struct storm *storm;
	uint64_t published, consumed, wrong, redelivered, sessions, events_other;
	int error;
};

static const char TOPOLOGY[] =
	"hugepages: off\nworkers: [{core: auto}, {core: auto}]\n"
	"ports: [{name: p, kind: kernel, address: 127.%d.%d.3, udp_port: 29347}]\n"
	"lanes: {per_worker: 8, per_user: 8}\n"
	"limits: {lease: 1m, sessions_per_worker: 4096}\n"
	"topics:\n"
	"  - {name: clean, shards: 2, log: 256KiB, event_max: 4KiB, groups: [{name: hold, kind: hold, progress_timeout: 0s}]}\n"
	"  - {name: noise, shards: 2, log: 64KiB, event_max: 4KiB, groups: [{name: hold, kind: hold, progress_timeout: 1s}]}\n";

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t pick(struct hostile *hostile, uint64_t below)
{
	hostile->random += 0x9e3779b97f4a7c15ull;
	return weir_mix64(hostile->random) % below;
}

static uint64_t any(struct hostile *hostile)
{
	hostile->random += 0x9e3779b97f4a7c15ull;
	return weir_mix64(hostile->random);
}

static int connect_to(const struct storm *storm)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval patience = { .tv_sec = 2 };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", storm->path);
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0) {
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		return fd;
	}
	close(fd);
	return -1;
}

// ---- A hostile client: first good enough to be let in ----

static void say(struct hostile *hostile, struct weir_frame_header header, const void *body, size_t length)
{
	header.session = hostile->session;
	raw_lane_send(&hostile->raw, header, body, (uint16_t)length);
}

// The next frame of that kind within a quarter of a second; NULL: none.
static const struct weir_frame_header *hear(struct hostile *hostile, enum weir_kind kind)
{
	uint32_t size;

	for (uint64_t until = now_ms() + 250; now_ms() < until;) {
		const struct weir_frame_header *frame = raw_lane_next(&hostile->raw, &size);

		if (frame && frame->kind == kind)
			return frame;
		if (!frame)
			usleep(100);
	}
	return NULL;
}

static bool begin_session(struct hostile *hostile)
{
	struct {
		struct weir_hello hello;
		uint8_t padding[512 - sizeof(struct weir_frame_header) - sizeof(struct weir_hello)];
	} body = { .hello = { .nonce = any(hostile), .producer = any(hostile) | 1, .frame_size = 512, .versions = { 1 } } };
	const struct weir_frame_header *frame;

	hostile->session = 0;
	say(hostile, (struct weir_frame_header){ .kind = WEIR_KIND_HELLO }, &body, sizeof(body));
	frame = hear(hostile, WEIR_KIND_CHALLENGE);
	if (!frame)
		return false;
	body.hello.cookie = ((const struct weir_challenge *)(const void *)(frame + 1))->cookie;
	say(hostile, (struct weir_frame_header){ .kind = WEIR_KIND_HELLO }, &body, sizeof(body));
	frame = hear(hostile, WEIR_KIND_WELCOME);
	if (!frame)
		return false;
	hostile->session = ((const struct weir_welcome *)(const void *)(frame + 1))->session;
	atomic_fetch_add(&hostile->storm->sessions, 1);
	return true;
}

static void begin_streams(struct hostile *hostile)
{
	struct weir_metadata_ask ask = { .request = 1, .topic = "noise" };
	struct weir_join join = { .request = 2, .topic = "noise", .group = "hold" };
	struct weir_open open = { .request = 3, .level = WEIR_ACK_ROUTED };
	const struct weir_frame_header *frame;

	say(hostile, (struct weir_frame_header){ .kind = WEIR_KIND_METADATA }, &ask, sizeof(ask));
	frame = hear(hostile, WEIR_KIND_TOPIC);
	if (!frame)
		return;
	hostile->topic = frame->topic;
	while (weir_shard_of(hostile->key, 2) != 0)
		hostile->key++;
	say(hostile, (struct weir_frame_header){ .kind = WEIR_KIND_OPEN, .topic = hostile->topic }, &open, sizeof(open));
	frame = hear(hostile, WEIR_KIND_OPENED);
	if (frame) {
		hostile->stream = frame->stream;
		hostile->next = ((const struct weir_opened *)(const void *)(frame + 1))->next;
	}
	say(hostile, (struct weir_frame_header){ .kind = WEIR_KIND_JOIN }, &join, sizeof(join));
	frame = hear(hostile, WEIR_KIND_ASSIGN);
	if (frame) {
		const struct weir_assign *assign = (const void *)(frame + 1);

		hostile->incarnation = assign->incarnation;
		hostile->report = (struct weir_report_entry){ .topic = hostile->topic, .shard = frame->shard,
							      .flags = WEIR_REPORT_IN_PLACE, .stream = frame->stream,
							      .term = assign->term, .limit = 0, .charged = 5,
							      .group = assign->group };
		say(hostile, (struct weir_frame_header){ .kind = WEIR_KIND_REPORT, .count = 1 }, &hostile->report,
		    sizeof(hostile->report));
	}
}

// ---- Then everything but good ----

static void scribble(struct hostile *hostile, uint64_t from, uint64_t size)
{
	uint64_t most = pick(hostile, 2000);

	for (uint64_t i = 0; i < most; i++) {
		uint64_t at = from + pick(hostile, size / 8) * 8;

		__atomic_store_n((uint64_t *)(void *)(hostile->raw.base + at), any(hostile), __ATOMIC_RELAXED);
	}
	atomic_fetch_add(&hostile->storm->writes, most * 8);
}

// Waits a moment for the router to take what was sent, and goes on from its word when ours was scribbled over.
static void make_room(struct hostile *hostile)
{
	uint64_t taken = __atomic_load_n(&hostile->raw.router->taken.value, __ATOMIC_ACQUIRE);

	if (hostile->raw.sent - taken > hostile->raw.hello.frames)
		hostile->raw.sent = taken;
	else if (hostile->raw.sent - taken == hostile->raw.hello.frames)
		usleep(50);
}

// A frame that its sender would like to see followed too far: good, then a few bytes changed, sealed before or after; handed
// over, and changed again while it may be read.
static void lie_in_a_frame(struct hostile *hostile)
{
	uint8_t body[400];
	uint16_t length = (uint16_t)(pick(hostile, sizeof(body) / 8) * 8);
	struct weir_frame_header header = { .kind = (uint8_t)(pick(hostile, 3) ? WEIR_KIND_PUBLISH : pick(hostile, 30)),
					    .flags = (uint16_t)(pick(hostile, 4) ? WEIR_FLAG_HEADER_ONLY : any(hostile)),
					    .count = (uint16_t)(pick(hostile, 4) ? 1 : any(hostile)),
					    .stream = hostile->stream, .topic = hostile->topic, .sequence = hostile->next };
	uint64_t at = hostile->raw.arena_at;

	if (pick(hostile, 10))
		make_room(hostile);
	// Its checksum would be taken by run headers that are no run headers.
	if (header.kind == WEIR_KIND_DELIVER)
		header.flags |= WEIR_FLAG_HEADER_ONLY;
	for (uint32_t i = 0; i < sizeof(body); i += 8)
		*(uint64_t *)(void *)(body + i) = pick(hostile, 2) ? any(hostile) : pick(hostile, 100);
	if (length >= 16 && pick(hostile, 4)) {
		struct weir_event_header event = { .length = pick(hostile, 6) ? length : (uint32_t)any(hostile),
						   .attribute_words = (uint8_t)(pick(hostile, 6) ? 0 : any(hostile)),
						   .key = pick(hostile, 6) ? hostile->key : any(hostile) };
		memcpy(body, &event, sizeof(event));
	}
	say(hostile, header, body, length);
	if (header.kind == WEIR_KIND_PUBLISH)
		hostile->next += pick(hostile, 20) ? 1 : pick(hostile, 4);
	for (uint64_t i = pick(hostile, 200); i > 0; i--)
		raw_lane_arena(&hostile->raw)[(at + pick(hostile, 464)) % hostile->raw.hello.arena_size] =
			(uint8_t)any(hostile);
}

// A train of good frames of one event each, from the arena's beginning; some of its bytes change, it may be said to be longer
// or shorter than it is, and goes on changing while it is taken apart.
static void lie_in_a_train(struct hostile *hostile)
{
	uint8_t *arena = raw_lane_arena(&hostile->raw);
	uint64_t most = 1 + pick(hostile, 30);
	uint32_t size = 0;

	make_room(hostile);
	for (uint64_t i = 0; i < most && size + 200 <= hostile->raw.hello.arena_size; i++) {
		struct weir_frame_header *frame = (void *)(arena + size);
		uint16_t length = (uint16_t)(16 + pick(hostile, 10) * 8);
		struct weir_event_header event = { .length = length, .key = hostile->key };

		*frame = (struct weir_frame_header){ .kind = WEIR_KIND_PUBLISH, .flags = WEIR_FLAG_HEADER_ONLY, .count = 1,
						     .session = hostile->session, .stream = hostile->stream,
						     .topic = hostile->topic, .sequence = hostile->next++ };
		memcpy(frame + 1, &event, sizeof(event));
		weir_frame_seal(frame, length);
		size += (uint32_t)sizeof(*frame) + length;
	}
	for (uint64_t i = pick(hostile, 3) ? 0 : pick(hostile, 10); i > 0; i--)
		arena[pick(hostile, size)] = (uint8_t)any(hostile);
	raw_lane_put(&hostile->raw, weir_lane_descriptor(0, pick(hostile, 8) ? size : (uint32_t)pick(hostile, 70000)));
	for (uint64_t i = pick(hostile, 2) ? 0 : pick(hostile, 300); i > 0; i--)
		arena[pick(hostile, size)] = (uint8_t)any(hostile);
}

static void lie_in_words(struct hostile *hostile)
{
	struct weir_lane_client *page = raw_lane_page(&hostile->raw);

	switch (pick(hostile, 5)) {
	case 0:
		page->taken.value = pick(hostile, 2) ? any(hostile) : pick(hostile, 1u << 20);
		break;
	case 1:
		page->asleep.value = pick(hostile, 3);
		break;
	case 2:
		hostile->raw.sent += pick(hostile, 2 * hostile->raw.hello.frames);
		page->sent.value = hostile->raw.sent;
		break;
	case 3:
		raw_lane_put(&hostile->raw, pick(hostile, 2) ? any(hostile) : any(hostile) & 0x3fff000003ffull);
		break;
	default:
		page->sent.value = any(hostile);
	}
}

static void lie_in_cursors(struct hostile *hostile)
{
	struct weir_lane_cursor *cursor = (void *)(hostile->raw.base + weir_lane_cursors_at());
	struct weir_report_entry report = hostile->report;

	if (hostile->raw.hello.cursors == 0)
		return;
	cursor->settled_to = pick(hostile, 2) ? any(hostile) : pick(hostile, 1000);
	cursor->tag = pick(hostile, 3) ? 5 : any(hostile);
	if (pick(hostile, 3))
		return;
	report.limit = pick(hostile, 2) ? any(hostile) : pick(hostile, 20);
	report.charged = any(hostile);
	report.flags = (uint16_t)(pick(hostile, 2) ? WEIR_REPORT_IN_PLACE : any(hostile));
	say(hostile, (struct weir_frame_header){ .kind = WEIR_KIND_REPORT, .count = 1 }, &report, sizeof(report));
}

static void lie_elsewhere(struct hostile *hostile)
{
	uint8_t bytes[64];
	struct weir_lane_ask ask = { .magic = WEIR_LANE_MAGIC, .incarnation = hostile->incarnation, .topic = hostile->topic,
				     .shard = (uint16_t)pick(hostile, 3) };
	struct weir_lane_log log;
	int fds[4];

	for (uint32_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)any(hostile);
	switch (pick(hostile, 40)) {
	case 0:
		begin_session(hostile);
		break;
	case 1:
		(void)!send(hostile->fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL); // ends it
		break;
	case 2:
	case 3:
		if (pick(hostile, 2))
			ask.incarnation = any(hostile);
		(void)!send(hostile->fd, &ask, sizeof(ask), MSG_DONTWAIT | MSG_NOSIGNAL);
		if (raw_lane_hear(hostile->fd, &log, sizeof(log), fds) == 1)
			close(fds[0]);
		break;
	default:
		(void)!write(hostile->raw.worker_bell, bytes, pick(hostile, sizeof(bytes)));
	}
}

// Learns from the answers where its stream stands, so that lies go on getting far.
static void listen_in(struct hostile *hostile)
{
	const struct weir_frame_header *frame;
	uint32_t size;

	while ((frame = raw_lane_next(&hostile->raw, &size)) != NULL) {
		const struct weir_ack_entry *entries = (const void *)(frame + 1);

		for (uint32_t i = 0; frame->kind == WEIR_KIND_ACK && i < frame->count; i++)
			hostile->next = entries[i].topic == hostile->topic ? entries[i].next : hostile->next;
	}
}

static void rage(struct hostile *hostile)
{
	uint64_t frames_at = weir_lane_descriptors_at(hostile->raw.hello.cursors);

	uint64_t until = now_ms() + 5 + pick(hostile, 300);

	while (now_ms() < until && !atomic_load(&hostile->storm->is_over)) {
		switch (pick(hostile, hostile->is_gentle ? 40 : 12)) {
		case 0:
			scribble(hostile, 0, hostile->raw.size);
			break;
		case 1:
			scribble(hostile, 0, frames_at);
			break;
		case 2:
			scribble(hostile, frames_at, hostile->raw.size - frames_at);
			break;
		case 3:
			lie_in_cursors(hostile);
			break;
		case 4:
			lie_in_words(hostile);
			break;
		case 5:
			lie_elsewhere(hostile);
			break;
		case 6:
			listen_in(hostile);
			break;
		case 7:
			lie_in_a_train(hostile);
			break;
		default:
			lie_in_a_frame(hostile);
			if (pick(hostile, 8) == 0)
				usleep(200); // for the answer
		}
	}
}

static void live_once(struct hostile *hostile)
{
	struct weir_lane_welcome welcome;
	uint32_t frames = 1u << pick(hostile, 11);
	uint64_t arena = (1 + pick(hostile, 64)) * WEIR_LANE_PAGE;

	hostile->is_gentle = pick(hostile, 2);
	hostile->fd = connect_to(hostile->storm);
	if (hostile->fd < 0)
		return;
	if (!raw_lane_make(&hostile->raw, (uint32_t)pick(hostile, 20), frames, arena, 0)) {
		close(hostile->fd);
		return;
	}
	raw_lane_seal(&hostile->raw, pick(hostile, 20) ? RAW_LANE_SEALS : (int)pick(hostile, 32));
	if (pick(hostile, 10) == 0)
		((uint8_t *)&hostile->raw.hello)[pick(hostile, sizeof(hostile->raw.hello))] = (uint8_t)any(hostile);
	if (raw_lane_hello(&hostile->raw, hostile->fd, pick(hostile, 20) ? 1 : (uint32_t)pick(hostile, 253)) &&
	    raw_lane_welcome(&hostile->raw, hostile->fd, &welcome)) {
		atomic_fetch_add(&hostile->storm->lives, 1);
		if (pick(hostile, 4) && begin_session(hostile))
			begin_streams(hostile);
		rage(hostile);
	} else {
		atomic_fetch_add(&hostile->storm->refused, 1);
	}
	// The socket first or last: what is written after it was closed is written while the lane is taken apart.
	if (pick(hostile, 2))
		close(hostile->fd);
	else
		hostile->fd += 1 << 20;
	scribble(hostile, 0, hostile->raw.size);
	if (hostile->fd >= 1 << 20)
		close(hostile->fd - (1 << 20));
	raw_lane_unmap(&hostile->raw);
}

static void *hostile_run(void *context)
{
	struct hostile *hostile = context;

	while (!atomic_load(&hostile->storm->is_over)) {
		struct storm *storm = hostile->storm;
		uint64_t random = any(hostile);

		*hostile = (struct hostile){ .storm = storm, .random = random };
		live_once(hostile);
	}
	return NULL;
}

// ---- The good client ----

static void good_consume(struct good *good, struct weir_consumer *consumer, uint64_t *seen, uint64_t mark)
{
	struct weir_view views[64];
	int count = weir_consume(consumer, views, 64);

	for (int i = 0; i < count; i++) {
		uint64_t words[2];

		if (views[i].payload_size != sizeof(words)) {
			good->events_other++;
			continue;
		}
		memcpy(words, views[i].payload, sizeof(words));
		if (words[0] != mark) {
			good->events_other++;
			continue;
		}
		good->consumed++;
		good->redelivered += views[i].flags & WEIR_VIEW_REDELIVERED;
		good->wrong += views[i].key >= KEYS || words[1] != seen[views[i].key % KEYS]++;
	}
}

static int good_drive(struct good *good, struct weir *weir, struct weir_producer *producer, struct weir_consumer *consumer)
{
	uint64_t seen[KEYS] = { 0 }, sent[KEYS] = { 0 };
	uint64_t words[2] = { good->storm->seed | 1, 0 };
	struct weir_event event = { .payload = words, .payload_size = sizeof(words) };
	uint64_t until = 0;

	while (!until || (good->consumed < good->published && now_ms() < until)) {
		if (!until && atomic_load(&good->storm->is_over))
			until = now_ms() + 20000;
		while (!until && good->published - good->consumed < OUTSTANDING) {
			event.key = good->published % KEYS;
			words[1] = sent[event.key];
			if (weir_publish(producer, &event))
				break;
			sent[event.key]++;
			good->published++;
		}
		if (weir_poll(weir, 1) < 0)
			return -EIO;
		good_consume(good, consumer, seen, words[0]);
	}
	return 0;
}

static void *good_run(void *context)
{
	struct good *good = context;
	struct weir *weir;
	struct weir_producer *producer;
	struct weir_consumer *consumer;
	struct weir_statistics statistics;
	char address[80];

	snprintf(address, sizeof(address), "unix:%s", good->storm->path);
	good->error = weir_open(&weir, address, &(struct weir_options){ .name = "good" });
	if (good->error)
		return NULL;
	good->error = weir_consumer_open(&consumer, weir, "clean", "hold", NULL);
	if (!good->error)
		good->error = weir_consumer_wait(consumer, 10000);
	if (!good->error)
		good->error = weir_producer_open(&producer, weir, "clean", NULL);
	if (!good->error)
		good->error = weir_producer_wait(producer, 10000);
	if (!good->error)
		good->error = good_drive(good, weir, producer, consumer);
	weir_statistics(weir, &statistics);
	good->sessions = statistics.sessions;
	if (weir_close(weir, 10000) && !good->error)
		good->error = -ETIMEDOUT;
	return NULL;
}

// ---- Router and verdict ----

static uint32_t descriptors_now(void)
{
	DIR *folder = opendir("/proc/self/fd");
	uint32_t count = 0;

	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

static uint32_t lanes_now(const struct storm *storm)
{
	const struct weir_lane_table *table = weir_dataplane_lanes(storm->router->dataplane);
	uint32_t count = 0;

	for (uint32_t i = 0; i < weir_lane_table_room(table); i++)
		count += weir_lane_table_at(table, i) != NULL;
	return count;
}

static int begin(struct storm *storm)
{
	struct weir_router_options options = { .counters_path = storm->counters };
	struct weir_trouble trouble;
	struct weir_topology *topology;
	struct weir_machine *machine;
	char text[1024];
	int err;

	snprintf(storm->counters, sizeof(storm->counters), "/tmp/weir-lane-fuzz-%d.counters", (int)getpid());
	snprintf(storm->path, sizeof(storm->path), "/tmp/weir-lane-fuzz-%d.sock", (int)getpid());
	snprintf(text, sizeof(text), TOPOLOGY, (getpid() >> 8 & 127) + 100, getpid() & 255);
	err = weir_config_parse(&topology, text, strlen(text), &trouble);
	if (!err)
		err = weir_machine_detect(&machine);
	if (!err)
		err = weir_router_start(&storm->router, machine, topology, &options, &trouble);
	if (!err)
		err = weir_reaper_create(&storm->reaper, &trouble);
	if (!err)
		err = weir_lanes_create(&storm->lanes, storm->router, storm->reaper, &trouble);
	if (!err) {
		err = weir_listener_open(&storm->listener, storm->path, 0600, 64, &trouble);
		if (!err)
			err = weir_lanes_listen(storm->lanes, storm->listener.fd);
	}
	if (err)
		printf("# cannot start: %s: %s: %s\n", trouble.object, trouble.action, trouble.reason);
	return err;
}

static void control(struct storm *storm, uint64_t until_ms)
{
	struct pollfd wait = { .fd = weir_lanes_fd(storm->lanes), .events = POLLIN };

	while (now_ms() < until_ms) {
		poll(&wait, 1, 2);
		weir_lanes_run(storm->lanes);
	}
}

// Clients end while control serves them.
static void wait_for(struct storm *storm, pthread_t *threads, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		while (pthread_tryjoin_np(threads[i], NULL) == EBUSY)
			control(storm, now_ms() + 5);
	}
}

static uint64_t unexplained(const struct storm *storm)
{
	json_t *ledger = weir_answer_ledger(storm->router);
	uint64_t count = (uint64_t)json_integer_value(json_object_get(ledger, "unexplained"));

	json_decref(ledger);
	return count;
}

// Events of the hostile clients' topic that were taken, and those that a shard refused by name.
static void count_noise(const struct storm *storm, uint64_t *accepted, uint64_t *refused)
{
	const struct weir_router_topic *topic = weir_router_find(storm->router, "noise");
	struct weir_shard_row row;

	for (uint32_t s = 0; s < topic->spec.shards; s++) {
		if (weir_row_read(&row, topic->rows[s], sizeof(row)) != 0)
			continue;
		*accepted += row.accepted;
		for (uint32_t reason = 0; reason < WEIR_REASON_COUNT; reason++)
			*refused += row.refused[reason];
	}
}

static bool say_verdict(struct storm *storm, const struct good *good, uint64_t seconds, uint32_t before, uint32_t after)
{
	uint64_t accepted = 0, refused = 0;

	count_noise(storm, &accepted, &refused);
	const struct {
		bool is_fine;
		const char *claim;
	} claims[] = {
		{ good->error == 0 && good->published == good->consumed && good->wrong == 0 && good->redelivered == 0 &&
			  good->sessions == 1,
		  "the good client's events arrive once, in order, in one session" },
		{ good->published * 10 >= EVENTS_LEAST * seconds, "the good client makes progress" },
		{ atomic_load(&storm->lives) * 10 >= LIVES_LEAST * seconds && atomic_load(&storm->sessions) > 0 &&
			  atomic_load(&storm->refused) > 0 && accepted > 0 && refused > 0,
		  "hostile clients and their events are let in and refused, often" },
		{ unexplained(storm) == 0, "the ledger explains every event" },
		{ lanes_now(storm) == 0 && before == after, "nothing of them is left" },
	};
	bool is_fine = true;

	for (uint32_t i = 0; i < sizeof(claims) / sizeof(*claims); i++) {
		printf("%s %u - %s\n", claims[i].is_fine ? "ok" : "not ok", i + 1, claims[i].claim);
		is_fine &= claims[i].is_fine;
	}
	printf("# good: published %llu, consumed %llu, wrong %llu, redelivered %llu, sessions %llu, error %d\n",
	       (unsigned long long)good->published, (unsigned long long)good->consumed, (unsigned long long)good->wrong,
	       (unsigned long long)good->redelivered, (unsigned long long)good->sessions, good->error);
	printf("# hostile: %llu lanes, %llu sessions, %llu refused, %llu MB scribbled; of their events %llu were taken, "
	       "%llu refused, %llu came to the good client\n",
	       (unsigned long long)atomic_load(&storm->lives), (unsigned long long)atomic_load(&storm->sessions),
	       (unsigned long long)atomic_load(&storm->refused), (unsigned long long)(atomic_load(&storm->writes) >> 20),
	       (unsigned long long)accepted, (unsigned long long)refused, (unsigned long long)good->events_other);
	printf("# left: %u lanes; descriptors %u before, %u after\n", lanes_now(storm), before, after);
	return is_fine;
}

int main(int count, char **words)
{
	const char *budget = getenv("WEIR_BUDGET_S");
	const char *seed = getenv("WEIR_SEED");
	uint64_t seconds = getenv("WEIR_LONG") ? 600 : budget && atoi(budget) >= 15 ? (uint64_t)atoi(budget) * 2 / 3 : 10;
	uint64_t asked = count > 1 ? strtoull(words[1], NULL, 10) : 0;
	static struct storm storm;
	static struct hostile hostile[HOSTILE];
	struct good good = { .storm = &storm };
	pthread_t good_thread, hostile_threads[HOSTILE];
	uint32_t before;
	bool is_fine;

	seconds = asked ? asked : seconds;
	storm.seed = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
	printf("1..5\n# seed %llu, %llu s\n", (unsigned long long)storm.seed, (unsigned long long)seconds);
	if (begin(&storm))
		return 1;
	before = descriptors_now();
	pthread_create(&good_thread, NULL, good_run, &good);
	for (uint32_t i = 0; i < HOSTILE; i++) {
		hostile[i] = (struct hostile){ .storm = &storm, .random = storm.seed + i };
		pthread_create(&hostile_threads[i], NULL, hostile_run, &hostile[i]);
	}
	control(&storm, now_ms() + seconds * 1000);
	atomic_store(&storm.is_over, true);
	wait_for(&storm, hostile_threads, HOSTILE);
	wait_for(&storm, &good_thread, 1);
	control(&storm, now_ms() + 300);
	is_fine = say_verdict(&storm, &good, seconds, before, descriptors_now());
	weir_router_stop(storm.router);
	weir_lanes_destroy(storm.lanes);
	weir_reaper_destroy(storm.reaper);
	weir_listener_close(&storm.listener);
	return !is_fine;
}
