// What one frame of each client kind can cost at worst, beside a usual publish: an engine with 1,024 shards, 16 groups, a log
// of 16 MiB on one shard, and numbers as a hostile client would choose them. A cost is receiving the frame and the turn behind
// it. Where that grows with what the same client made before (its streams, its parked frames, the entries of its report), it
// is told for each of these. For tools/bench micro --worst; one thread.
//
//   micro-worst [--rounds N] [--shards N] [--log-kib KIB]
//
// prints one JSON object: nanoseconds of every kind, median of its rounds; under callgrind each has a dump of its name.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <valgrind/callgrind.h>

#include "dataplane/core/internal.h"
#include "perf/micro/rig.h"

#define ROUNDS_MAX 64u
#define PARKED 199u        // frames of one stream that wait for what is missing
#define GROUP_ROUNDS 4u    // of rows that change a group: each has groups of its own
#define GUEST_SHARD 0u     // the one with the large log
#define UNDER_WAY 32u      // frames that the hoarding member has and did not report
#define QUIET_TURNS 4u
#define REPORT_MOST 26u    // entries of a frame

struct worst {
	struct weir_rig *rig;
	uint64_t nonce;
	uint64_t request;
	uint32_t round;
	uint64_t reported_to; // received by the member that hoards, as it said
	uint32_t left; // by LEAVE and BYE: the groups from the last one on
};

struct row {
	const char *name;
	void (*prepare)(struct worst *worst); // leaves the one frame among the arrivals
	uint32_t per;        // of what the client made itself; 0: the cost is the frame's
	const char *per_what;
	uint32_t rounds;     // 0: as many as asked for
};

static void turn(struct worst *worst)
{
	struct weir_rig *rig = worst->rig;
	weir_rig_report(rig);
	weir_rig_now(rig);
	weir_rig_receive(rig);
	weir_rig_run(rig);
	weir_rig_look(rig);
}

// All that came of the frame before has been said and delivered.
static void settle(struct worst *worst)
{
	const struct weir_rig *rig = worst->rig;
	uint64_t before = UINT64_MAX;
	for (uint32_t quiet = 0; quiet < QUIET_TURNS; quiet = before == rig->frames_out ? quiet + 1 : 0) {
		before = rig->frames_out;
		turn(worst);
	}
	worst->rig->arrival_count = 0;
}

static uint32_t guest(const struct worst *worst)
{
	return worst->rig->clients - 1;
}

static uint32_t consumer(const struct worst *worst, uint32_t group)
{
	return worst->rig->setup.sessions + group;
}

static void fixed_put(struct worst *worst, enum weir_kind kind, uint32_t client, const void *body, uint32_t length)
{
	struct weir_frame_header *frame = weir_rig_frame_begin(worst->rig, kind, client);
	frame->topic = 0;
	memcpy(frame + 1, body, length);
	weir_rig_frame_end(worst->rig, frame, length);
}

static void stream_put(struct worst *worst, enum weir_kind kind, uint64_t sequence, const void *body, uint32_t length)
{
	struct weir_frame_header *frame = weir_rig_frame_begin(worst->rig, kind, guest(worst));
	frame->shard = GUEST_SHARD;
	frame->stream = worst->rig->guest.stream;
	frame->sequence = sequence;
	memcpy(frame + 1, body, length);
	weir_rig_frame_end(worst->rig, frame, length);
}

static void open_put(struct worst *worst, uint32_t shard)
{
	struct weir_frame_header *frame = weir_rig_frame_begin(worst->rig, WEIR_KIND_OPEN, guest(worst));
	frame->shard = (uint16_t)shard;
	*(struct weir_open *)(frame + 1) = (struct weir_open){ .request = ++worst->request, .level = WEIR_ACK_ROUTED };
	weir_rig_frame_end(worst->rig, frame, sizeof(struct weir_open));
}

// ---- What each kind is sent into ----

static void hello_first(struct worst *worst)
{
	weir_rig_hello_put(worst->rig, guest(worst), ++worst->nonce, 0);
}

// Its cookie is proven; the session that the peer has ends.
static void hello_again(struct worst *worst)
{
	hello_first(worst);
	turn(worst);
}

static void hello_lane(struct worst *worst)
{
	worst->rig->arrival_paths[0].family = AF_UNIX;
	hello_again(worst);
}

static void greeted(struct worst *worst)
{
	hello_again(worst);
	settle(worst);
}

static void ping(struct worst *worst)
{
	struct weir_frame_header *frame = weir_rig_frame_begin(worst->rig, WEIR_KIND_PING, consumer(worst, 0));
	frame->topic = 0;
	frame->flags = WEIR_FLAG_WORKING;
	weir_rig_frame_end(worst->rig, frame, 0);
}

static void metadata(struct worst *worst)
{
	const struct weir_metadata_ask ask = { .request = 1, .topic = "positions" };
	fixed_put(worst, WEIR_KIND_METADATA, 0, &ask, sizeof(ask));
}

static void open_first(struct worst *worst)
{
	greeted(worst);
	open_put(worst, GUEST_SHARD);
}

static void opened(struct worst *worst)
{
	open_first(worst);
	turn(worst);
	worst->rig->arrival_count = 0;
}

static void probe(struct worst *worst)
{
	opened(worst);
	stream_put(worst, WEIR_KIND_PROBE, worst->rig->guest.next + 1000, "", 0);
}

static void frames_park(struct worst *worst)
{
	struct weir_rig_producing ahead = worst->rig->guest;
	for (uint32_t i = 0; i < PARKED; i++) {
		ahead.next += worst->rig->setup.frame_events + (i == PARKED - 1);
		weir_rig_events_put(worst->rig, guest(worst), &ahead, GUEST_SHARD);
	}
	turn(worst);
	worst->rig->arrival_count = 0;
}

// Behind all but the last of those that wait.
static void publish_ahead(struct worst *worst)
{
	opened(worst);
	frames_park(worst);
	struct weir_rig_producing ahead = worst->rig->guest;
	ahead.next += (uint64_t)worst->rig->setup.frame_events * PARKED - 1;
	weir_rig_events_put(worst->rig, guest(worst), &ahead, GUEST_SHARD);
}

static void publish_missing(struct worst *worst)
{
	opened(worst);
	frames_park(worst);
	weir_rig_events_put(worst->rig, guest(worst), &worst->rig->guest, GUEST_SHARD);
}

static void skip(struct worst *worst)
{
	opened(worst);
	const struct weir_skip body = { .count = 1, .reason = WEIR_R_ABANDONED };
	stream_put(worst, WEIR_KIND_SKIP, worst->rig->guest.next, &body, sizeof(body));
}

static void close_opened(struct worst *worst)
{
	opened(worst);
	const struct weir_close body = { .request = worst->request };
	stream_put(worst, WEIR_KIND_CLOSE, worst->rig->guest.next, &body, sizeof(body));
}

static void bye(struct worst *worst)
{
	opened(worst);
	fixed_put(worst, WEIR_KIND_BYE, guest(worst), "", 0);
}

static void bye_streams(struct worst *worst)
{
	greeted(worst);
	for (uint32_t shard = 0; shard < worst->rig->setup.shards; shard++) {
		open_put(worst, shard);
		if (worst->rig->arrival_count == 64 || shard == worst->rig->setup.shards - 1)
			turn(worst);
	}
	settle(worst);
	fixed_put(worst, WEIR_KIND_BYE, guest(worst), "", 0);
}

static void frames_publish(struct weir_rig *rig, struct weir_rig_producing *producing)
{
	for (uint32_t i = 0; i < UNDER_WAY; i++, producing->next += rig->setup.frame_events)
		weir_rig_events_put(rig, 0, producing, GUEST_SHARD);
}

// The log of shard 0 is full of what group 0 received and did not settle, and some frames more are under way to it.
static void log_fill(struct worst *worst)
{
	struct weir_rig *rig = worst->rig;
	struct weir_rig_producing *producing = &rig->producing[0];
	struct weir_rig_receiving *hoarding = &rig->receiving[0];
	const struct weir_rig_setup *setup = &rig->setup;
	hoarding->is_hoarded = true;
	uint64_t events = setup->frame_events;
	while (producing->next + 2 * UNDER_WAY * events <= producing->limit) {
		frames_publish(rig, producing);
		settle(worst);
	}
	worst->reported_to = hoarding->received_to;
	frames_publish(rig, producing);
	weir_rig_now(rig);
	weir_rig_receive(rig);
	weir_rig_run(rig);
	weir_rig_look(rig);
	rig->report_count[0] = 0;
}

// A gap, and behind it entry by entry a little more that arrived: each is a way back through the log.
static void report(struct worst *worst)
{
	struct weir_rig *rig = worst->rig;
	const struct weir_rig_receiving *hoarding = &rig->receiving[0];
	if (worst->round == 0)
		log_fill(worst);
	struct weir_frame_header *frame = weir_rig_frame_begin(rig, WEIR_KIND_REPORT, consumer(worst, 0));
	struct weir_report_entry *entries = (void *)(frame + 1);
	uint64_t from = worst->reported_to + (uint64_t)worst->round * REPORT_MOST;
	frame->topic = 0;
	frame->count = REPORT_MOST;
	for (uint32_t i = 0; i < REPORT_MOST; i++)
		entries[i] = (struct weir_report_entry){
			.topic = 1, .flags = WEIR_REPORT_GAP, .stream = hoarding->handle, .term = hoarding->term, .group = 1,
			.received_to = from + i, .charged = hoarding->charged, .limit = hoarding->charged,
		};
	weir_rig_frame_end(rig, frame, (uint32_t)(REPORT_MOST * sizeof(*entries)));
}

static void revoked(struct worst *worst)
{
	struct weir_frame_header *frame = weir_rig_frame_begin(worst->rig, WEIR_KIND_REVOKED, consumer(worst, 0));
	*(struct weir_revoke *)(frame + 1) = (struct weir_revoke){ .group = 1, .term = worst->rig->receiving[0].term };
	frame->stream = worst->rig->receiving[0].handle;
	weir_rig_frame_end(worst->rig, frame, sizeof(struct weir_revoke));
}

static void join(struct worst *worst)
{
	greeted(worst);
	struct weir_join body = { .request = 1, .member = 1, .topic = "positions" };
	memcpy(body.group, worst->rig->groups[worst->round].name, sizeof(body.group));
	fixed_put(worst, WEIR_KIND_JOIN, guest(worst), &body, sizeof(body));
}

static uint32_t last_group(struct worst *worst)
{
	return worst->rig->setup.groups - 1 - worst->left++;
}

// Of the one member that has all shards.
static void leave(struct worst *worst)
{
	uint32_t group = last_group(worst);
	const struct weir_leave body = { .request = 2, .group = group + 1 };
	fixed_put(worst, WEIR_KIND_LEAVE, consumer(worst, group), &body, sizeof(body));
}

static void bye_member(struct worst *worst)
{
	fixed_put(worst, WEIR_KIND_BYE, consumer(worst, last_group(worst)), "", 0);
}

static const struct row ROWS[] = {
	{ "hello", hello_first, 0, NULL, 0 },
	{ "hello_again", hello_again, 0, NULL, 0 },
	{ "hello_lane", hello_lane, 0, NULL, 0 },
	{ "ping", ping, 0, NULL, 0 },
	{ "metadata", metadata, 0, NULL, 0 },
	{ "open", open_first, 0, NULL, 0 },
	{ "probe", probe, 0, NULL, 0 },
	{ "publish_ahead", publish_ahead, 0, NULL, 0 },
	{ "publish_missing", publish_missing, PARKED, "parked frame", 0 },
	{ "skip", skip, 0, NULL, 0 },
	{ "close", close_opened, 0, NULL, 0 },
	{ "bye", bye, 0, NULL, 0 },
	{ "bye_streams", bye_streams, 0, "stream", 4 },
	{ "report", report, REPORT_MOST, "entry", 8 },
	{ "revoked", revoked, 0, NULL, 0 },
	{ "join", join, 0, NULL, GROUP_ROUNDS },
	{ "leave", leave, 0, NULL, GROUP_ROUNDS },
	{ "bye_member", bye_member, 0, NULL, GROUP_ROUNDS },
};

static int compare(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a;
	uint64_t right = *(const uint64_t *)b;
	return left < right ? -1 : left > right;
}

// What is among the arrivals, and the turn behind it. Nanoseconds.
static uint64_t timed(struct weir_rig *rig)
{
	weir_rig_now(rig);
	uint64_t start = weir_rig_clock_ns();
	CALLGRIND_TOGGLE_COLLECT;
	weir_rig_receive(rig);
	weir_rig_run(rig);
	CALLGRIND_TOGGLE_COLLECT;
	return weir_rig_clock_ns() - start;
}

// Frames and events that were refused, by name, here and on the guests' shard: a row measures what is let in.
static uint64_t refused(struct weir_rig *rig)
{
	const struct weir_shard *shard = weir_engine_shard(rig->engine, 1, GUEST_SHARD);
	const struct weir_worker_row *row = weir_engine_row(rig->engine);
	uint64_t sum = 0;
	for (uint32_t i = 0; i < WEIR_REASON_COUNT; i++)
		sum += row->refused[i] + shard->row.refused[i];
	return sum;
}

static void row_measure(struct worst *worst, const struct row *row, uint32_t rounds)
{
	uint64_t ns[ROUNDS_MAX];
	if (row->rounds && row->rounds < rounds)
		rounds = row->rounds;
	settle(worst);
	for (worst->round = 0; worst->round < rounds; worst->round++) {
		row->prepare(worst);
		if (worst->rig->arrival_count != 1) {
			fprintf(stderr, "micro-worst: %s: %u frames instead of one\n", row->name, worst->rig->arrival_count);
			exit(1);
		}
		uint64_t before = refused(worst->rig);
		ns[worst->round] = timed(worst->rig);
		worst->rig->arrival_paths[0].family = AF_INET;
		if (refused(worst->rig) != before) {
			fprintf(stderr, "micro-worst: %s: its frame was refused\n", row->name);
			exit(1);
		}
		settle(worst);
	}
	CALLGRIND_DUMP_STATS_AT(row->name);
	qsort(ns, rounds, sizeof(*ns), compare);
	uint32_t per = row->per_what && row->per == 0 ? worst->rig->setup.shards : row->per ? row->per : 1;
	printf(",\"%s\":{\"rounds\":%u,\"ns\":%lu,\"per\":%u,\"of\":\"%s\"}", row->name, rounds, ns[rounds / 2], per,
	       row->per_what ? row->per_what : "frame");
}

// Full frames of events through four shards to one group, as in tools/bench micro: with their reports and acknowledgements.
static void usual_measure(const struct weir_rig_setup *like, uint32_t rounds)
{
	struct weir_rig_setup setup = *like;
	setup.shards = 4;
	setup.groups = 1;
	setup.guests = 0;
	setup.sessions = 1;
	setup.first_log_bytes = 0;
	setup.log_bytes = 1 << 20;
	struct weir_rig *rig = weir_rig_create(&setup);
	uint64_t ns[ROUNDS_MAX];
	uint32_t frames = 0;
	for (uint32_t i = 0; i < rounds; i++) {
		weir_rig_publish(rig);
		frames = rig->arrival_count;
		weir_rig_report(rig);
		ns[i] = timed(rig);
		weir_rig_look(rig);
	}
	CALLGRIND_DUMP_STATS_AT("usual");
	qsort(ns, rounds, sizeof(*ns), compare);
	printf("{\"usual\":{\"rounds\":%u,\"ns\":%lu,\"per\":%u,\"of\":\"frame\"}", rounds, ns[rounds / 2], frames);
	weir_rig_destroy(rig);
}

__attribute__((noreturn)) static void usage(void)
{
	fputs("usage: micro-worst [--rounds N] [--shards N] [--log-kib KIB]\n", stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option OPTIONS[] = {
		{ "rounds", required_argument, NULL, 'r' },
		{ "shards", required_argument, NULL, 's' },
		{ "log-kib", required_argument, NULL, 'l' },
		{ 0 },
	};
	struct weir_rig_setup setup = { .frame_events = 18, .payload = 64, .shards = 1024, .sessions = 2, .groups = 16,
					.train = 32, .burst = 128, .guests = 1, .log_bytes = 64 << 10,
					.first_log_bytes = 16 << 20, .is_clock_virtual = true };
	uint32_t rounds = 16;
	for (int option; (option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1;) {
		uint32_t number = optarg ? (uint32_t)strtoul(optarg, NULL, 0) : 0;
		switch (option) {
		case 'r': rounds = number; break;
		case 's': setup.shards = number; break;
		case 'l': setup.first_log_bytes = (uint64_t)number << 10; break;
		default: usage();
		}
	}
	if (optind != argc || rounds < 1 || rounds > ROUNDS_MAX || setup.shards < 2)
		usage();
	struct worst worst = { .rig = weir_rig_create(&setup), .nonce = 1 << 20 };
	CALLGRIND_START_INSTRUMENTATION;
	usual_measure(&setup, rounds);
	for (uint32_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++)
		row_measure(&worst, &ROWS[i], rounds);
	puts("}");
	weir_rig_destroy(worst.rig);
	return 0;
}
