// peer-load: gives one peer the job and prints what came of it, one JSON object. As fast as it goes: a window bounds what
// is under way. At a rate: open loop, every event has the time it should be sent at and its latency counts from there,
// whatever delayed the sender. A fifth of the time before is for warming up. One thread publishes and receives.
//
//   peer-load PEER ADDRESS [OPTION...]
#include "perf/peers/job.h"

#include <getopt.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "wire/key.h"

#define BURST 1024u             // events between two looks at what arrived
#define STALL_NS 300000000ull   // without progress: what is under way is given up, or the end
#define NAP_NS 20000ull

enum idling { IDLE_SPIN, IDLE_YIELD, IDLE_SLEEP };

struct run {
	struct job *job;
	const struct peer_ops *ops;
	struct peer *peer;
	enum idling idling;
	double seconds;
	uint64_t published;
	uint64_t forgiven;     // lost on the way, so not under way any more
	uint64_t start_ns;     // of the schedule
	uint64_t progress_ns;
	uint64_t progress;     // events received by then
	struct weir_histogram late; // of the generator itself
	uint8_t payload[JOB_PAYLOAD_MAX];
};

static const struct peer_ops *const peers[] = {
	&peer_weir, &peer_relay,
#ifdef WITH_NATS
	&peer_nats, &peer_jetstream,
#endif
#ifdef WITH_REDIS
	&peer_redis, &peer_redis_streams,
#endif
#ifdef WITH_ZMQ
	&peer_zmq,
#endif
#ifdef WITH_RABBIT
	&peer_rabbit,
#endif
};

void job_fail(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	fputs("peer-load: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	exit(1);
}

void job_address(const struct job *job, char host[64], uint16_t *port)
{
	const char *colon = strrchr(job->address, ':');
	int number = colon ? atoi(colon + 1) : 0;
	if (!colon || colon - job->address >= 64 || number < 1 || number > UINT16_MAX)
		job_fail("address %s: not HOST:PORT", job->address);
	snprintf(host, 64, "%.*s", (int)(colon - job->address), job->address);
	*port = (uint16_t)number;
}

// ---- Receiving ----

static void add(_Atomic uint64_t *counter, uint64_t more)
{
	// One writer: no need of an atomic addition.
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more, memory_order_relaxed);
}

void job_take_of(struct job *job, struct job_inlet *inlet, const void *payload, uint32_t size, uint64_t now_ns)
{
	struct job_head head;
	uint64_t last;
	if (size != job->payload_size) {
		add(&inlet->wrong, 1);
		return;
	}
	memcpy(&head, payload, sizeof(head));
	memcpy(&last, (const uint8_t *)payload + size - sizeof(last), sizeof(last));
	uint64_t next = atomic_load_explicit(&inlet->next, memory_order_relaxed);
	if (last != head.sequence || head.key != inlet->keys[head.sequence % JOB_KEYS]) {
		add(&inlet->wrong, 1);
		return;
	}
	if (head.sequence < next) {
		add(&inlet->repeated, 1);
		return;
	}
	if (head.sequence > next)
		add(&inlet->lost, head.sequence - next);
	atomic_store_explicit(&inlet->next, head.sequence + 1, memory_order_relaxed);
	if (now_ns && head.send_ns >= job->record_from_ns)
		weir_histogram_add(&inlet->latency, now_ns > head.send_ns ? now_ns - head.send_ns : 0, 1);
}

void job_take(struct job *job, uint32_t group, const void *payload, uint32_t size, uint64_t now_ns)
{
	struct job_head head = { 0 };
	if (size == job->payload_size)
		memcpy(&head, payload, sizeof(head));
	job_take_of(job, &job->inlets[group][weir_shard_of(head.key, JOB_SHARDS)], payload, size, now_ns);
}

// Of the slowest group.
static uint64_t received(const struct job *job)
{
	uint64_t least = UINT64_MAX;
	for (uint32_t group = 0; group < job->groups; group++) {
		uint64_t sum = 0;
		for (uint32_t shard = 0; shard < JOB_SHARDS; shard++)
			sum += atomic_load_explicit(&job->inlets[group][shard].next, memory_order_relaxed);
		least = sum < least ? sum : least;
	}
	return least;
}

struct sums {
	uint64_t events, wrong, repeated, lost;
};

static struct sums sums_of(const struct job *job)
{
	struct sums sums = { 0 };
	for (uint32_t group = 0; group < job->groups; group++) {
		for (uint32_t shard = 0; shard < JOB_SHARDS; shard++) {
			const struct job_inlet *inlet = &job->inlets[group][shard];
			sums.events += atomic_load_explicit(&inlet->next, memory_order_relaxed);
			sums.wrong += atomic_load_explicit(&inlet->wrong, memory_order_relaxed);
			sums.repeated += atomic_load_explicit(&inlet->repeated, memory_order_relaxed);
			sums.lost += atomic_load_explicit(&inlet->lost, memory_order_relaxed);
			sums.events -= atomic_load_explicit(&inlet->lost, memory_order_relaxed);
		}
	}
	return sums;
}

// ---- Publishing ----

// Events that may be published before more is heard of those under way.
static uint64_t room(struct run *run)
{
	uint64_t done = received(run->job) + run->forgiven;
	if (run->job->guarantee != JOB_AT_MOST_ONCE && run->ops->confirmed) {
		uint64_t confirmed = run->ops->confirmed(run->peer);
		done = confirmed < done ? confirmed : done;
	}
	uint64_t under_way = run->published > done ? run->published - done : 0;
	return under_way < run->job->window ? run->job->window - under_way : 0;
}

static uint64_t intended_ns(const struct run *run, uint64_t number)
{
	return run->start_ns + (uint64_t)((double)number * 1e9 / run->job->rate);
}

static bool publish_one(struct run *run, uint64_t send_ns)
{
	struct job *job = run->job;
	uint32_t shard = (uint32_t)(run->published % JOB_SHARDS);
	uint64_t sequence = job->published[shard];
	struct job_head head = { sequence, job->keys[shard][sequence % JOB_KEYS], send_ns };
	memcpy(run->payload, &head, sizeof(head));
	memcpy(run->payload + job->payload_size - sizeof(sequence), &sequence, sizeof(sequence));
	if (!run->ops->publish(run->peer, shard, run->payload))
		return false;
	job->published[shard]++;
	run->published++;
	return true;
}

// What is due, at most one burst.
static bool publish_some(struct run *run, uint64_t now_ns)
{
	struct job *job = run->job;
	uint64_t most = room(run);
	most = most < BURST ? most : BURST;
	if (job->rate > 0) {
		uint64_t due = (uint64_t)((double)(now_ns - run->start_ns) * job->rate / 1e9) + 1;
		due = due > run->published ? due - run->published : 0;
		most = due < most ? due : most;
	}
	uint64_t i = 0;
	for (; i < most; i++) {
		uint64_t send_ns = job->rate > 0 ? intended_ns(run, run->published) : now_ns;
		if (!publish_one(run, send_ns))
			break;
		if (job->rate > 0 && send_ns >= job->record_from_ns)
			weir_histogram_add(&run->late, now_ns > send_ns ? now_ns - send_ns : 0, 1);
	}
	run->ops->flush(run->peer, job->rate > 0);
	return i > 0;
}

static void rest(const struct run *run)
{
	if (run->idling == IDLE_YIELD)
		sched_yield();
	else if (run->idling == IDLE_SLEEP)
		nanosleep(&(struct timespec){ .tv_nsec = NAP_NS }, NULL);
}

// Whether something arrived since long ago; otherwise, at most once, the window is opened for what is lost.
static bool has_progress(struct run *run, uint64_t now_ns)
{
	uint64_t events = received(run->job);
	if (events != run->progress) {
		run->progress = events;
		run->progress_ns = now_ns;
	}
	return now_ns < run->progress_ns + STALL_NS;
}

static void publish_until(struct run *run, uint64_t end_ns)
{
	for (uint64_t now_ns = job_now_ns(); now_ns < end_ns; now_ns = job_now_ns()) {
		bool is_busy = publish_some(run, now_ns);
		is_busy |= run->ops->receive(run->peer);
		if (is_busy)
			continue;
		if (!has_progress(run, now_ns) && run->job->guarantee == JOB_AT_MOST_ONCE && room(run) == 0) {
			run->forgiven = run->published - received(run->job);
			run->progress_ns = now_ns;
		}
		rest(run);
	}
}

// Until everything is there and confirmed, or nothing comes any more. Returns how many stay unconfirmed.
static uint64_t drain(struct run *run)
{
	bool is_confirmed = run->job->guarantee != JOB_AT_MOST_ONCE && run->ops->confirmed;
	uint64_t patience = is_confirmed ? 30 : 3;
	run->progress_ns = job_now_ns();
	for (;;) {
		uint64_t unconfirmed = is_confirmed ? run->published - run->ops->confirmed(run->peer) : 0;
		if ((received(run->job) == run->published && unconfirmed == 0) ||
		    (!has_progress(run, job_now_ns()) && --patience == 0))
			return unconfirmed;
		run->ops->flush(run->peer, true);
		if (!run->ops->receive(run->peer))
			rest(run);
	}
}

// ---- The whole ----

static void print(const struct run *run, const struct sums *before, const struct sums *after, uint64_t took_ns)
{
	const struct job *job = run->job;
	static const char *const guarantees[] = { "at-most-once", "at-least-once", "durable" };
	static struct weir_histogram latency;
	for (uint32_t group = 0; group < job->groups; group++) {
		for (uint32_t shard = 0; shard < JOB_SHARDS; shard++)
			weir_histogram_merge(&latency, &job->inlets[group][shard].latency);
	}
	double deliveries = (double)(after->events - before->events) * 1e9 / (double)took_ns;
	printf("{\"peer\":\"%s\",\"guarantee\":\"%s\",\"payload\":%u,\"groups\":%u,\"rate\":%.0f,\"seconds\":%.3f,"
	       "\"events_per_second\":%.0f,\"deliveries_per_second\":%.0f", run->ops->name, guarantees[job->guarantee],
	       job->payload_size, job->groups, job->rate, (double)took_ns / 1e9, deliveries / job->groups, deliveries);
	if (job->rate > 0)
		printf(",\"latency_ns\":{\"p50\":%lu,\"p99\":%lu,\"p99_9\":%lu,\"max\":%lu},\"generator_late_ns\":{\"p99\":%lu,"
		       "\"max\":%lu}", weir_histogram_percentile(&latency, 0.5), weir_histogram_percentile(&latency, 0.99),
		       weir_histogram_percentile(&latency, 0.999), latency.max, weir_histogram_percentile(&run->late, 0.99),
		       run->late.max);
}

static int conclude(const struct run *run, uint64_t unconfirmed)
{
	const struct job *job = run->job;
	struct sums sums = sums_of(job);
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	uint64_t missing = run->published * job->groups - sums.events;
	printf(",\"published\":%lu,\"received\":%lu,\"missing\":%lu,\"wrong\":%lu,\"repeated\":%lu,\"unconfirmed\":%lu,"
	       "\"client_switched\":%ld}\n", run->published, sums.events, missing, sums.wrong, sums.repeated, unconfirmed,
	       usage.ru_nivcsw);
	bool is_lossy = job->guarantee != JOB_AT_MOST_ONCE && (missing || unconfirmed);
	bool is_repeated = job->guarantee == JOB_AT_MOST_ONCE && sums.repeated;
	if (is_lossy)
		fprintf(stderr, "peer-load: %s: %lu events are missing, %lu unconfirmed\n", run->ops->name, missing,
			unconfirmed);
	if (sums.wrong || is_repeated)
		fprintf(stderr, "peer-load: %s: %lu events are wrong, %lu came again or out of order\n", run->ops->name,
			sums.wrong, sums.repeated);
	return sums.wrong || is_repeated || is_lossy || sums.events == 0;
}

static int do_job(struct run *run)
{
	struct job *job = run->job;
	run->peer = run->ops->open(job);
	uint64_t length_ns = (uint64_t)(run->seconds * 1e9);
	run->start_ns = run->progress_ns = job_now_ns();
	uint64_t from_ns = job->record_from_ns = run->start_ns + length_ns / 5;
	publish_until(run, from_ns);
	struct sums before = sums_of(job);
	from_ns = job_now_ns();
	publish_until(run, from_ns + length_ns);
	struct sums after = sums_of(job);
	uint64_t took_ns = job_now_ns() - from_ns;
	uint64_t unconfirmed = drain(run);
	print(run, &before, &after, took_ns);
	int status = conclude(run, unconfirmed);
	run->ops->close(run->peer);
	return status;
}

static void keys_choose(struct job *job)
{
	uint32_t chosen[JOB_SHARDS] = { 0 };
	for (uint64_t key = 1, full = 0; full < JOB_SHARDS; key++) {
		uint32_t shard = weir_shard_of(key, JOB_SHARDS);
		if (chosen[shard] == JOB_KEYS)
			continue;
		job->keys[shard][chosen[shard]++] = key;
		full += chosen[shard] == JOB_KEYS;
	}
	for (uint32_t group = 0; group < JOB_GROUPS_MAX; group++) {
		for (uint32_t shard = 0; shard < JOB_SHARDS; shard++)
			job->inlets[group][shard].keys = job->keys[shard];
	}
}

static int usage(void)
{
	fputs("usage: peer-load PEER ADDRESS [OPTION...]\n"
	      "  --guarantee at-most-once|at-least-once|durable  (at-most-once)\n"
	      "  --payload BYTES (64)  --groups N (1)  --rate EVENTS/S (0: as fast as it goes)  --seconds S (2)\n"
	      "  --window EVENTS (16384)  --frame-size BYTES (1472)  --idle spin|yield|sleep (spin)\n"
	      "  PEER ADDRESS:", stderr);
	for (size_t i = 0; i < sizeof(peers) / sizeof(peers[0]); i++)
		fprintf(stderr, " %s", peers[i]->name);
	fputs("\n  an address is udp://HOST:PORT or unix:PATH for weir, HOST:PORT for the others\n", stderr);
	return 2;
}

// Position of a word in a list that ends with NULL, or -1.
static int word_of(const char *word, const char *const *words)
{
	for (int i = 0; words[i]; i++) {
		if (strcmp(word, words[i]) == 0)
			return i;
	}
	return -1;
}

static bool option_take(struct run *run, int name, const char *value)
{
	static const char *const guarantees[] = { "at-most-once", "at-least-once", "durable", NULL };
	static const char *const idlings[] = { "spin", "yield", "sleep", NULL };
	struct job *job = run->job;
	int chosen = 0;
	switch (name) {
	case 'g':
		chosen = word_of(value, guarantees);
		job->guarantee = (enum job_guarantee)chosen;
		return chosen >= 0;
	case 'i':
		chosen = word_of(value, idlings);
		run->idling = (enum idling)chosen;
		return chosen >= 0;
	case 'p':
		job->payload_size = (uint32_t)atoi(value);
		return job->payload_size >= JOB_PAYLOAD_MIN && job->payload_size <= JOB_PAYLOAD_MAX;
	case 'n':
		job->groups = (uint32_t)atoi(value);
		return job->groups >= 1 && job->groups <= JOB_GROUPS_MAX;
	case 'r':
		job->rate = atof(value);
		return job->rate >= 0;
	case 's':
		run->seconds = atof(value);
		return run->seconds > 0;
	case 'w':
		job->window = (uint32_t)atoi(value);
		return job->window > 0;
	case 'f':
		job->frame_size = (uint32_t)atoi(value);
		return job->frame_size > 0;
	default:
		return false;
	}
}

int main(int argc, char **argv)
{
	static struct job job = { .groups = 1, .payload_size = 64, .frame_size = 1472, .window = 16384 };
	static struct run run = { .job = &job, .seconds = 2 };
	static const struct option options[] = {
		{ "guarantee", 1, NULL, 'g' }, { "payload", 1, NULL, 'p' }, { "groups", 1, NULL, 'n' },
		{ "rate", 1, NULL, 'r' }, { "seconds", 1, NULL, 's' }, { "window", 1, NULL, 'w' },
		{ "frame-size", 1, NULL, 'f' }, { "idle", 1, NULL, 'i' }, { NULL, 0, NULL, 0 },
	};
	for (int name; (name = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (!option_take(&run, name, optarg))
			return usage();
	}
	if (argc - optind != 2)
		return usage();
	for (size_t i = 0; i < sizeof(peers) / sizeof(peers[0]); i++) {
		if (strcmp(argv[optind], peers[i]->name) == 0)
			run.ops = peers[i];
	}
	if (!run.ops)
		job_fail("no peer %s in this build: see --help, and tools/packages-peers for their libraries", argv[optind]);
	job.address = argv[optind + 1];
	prctl(PR_SET_TIMERSLACK, 1); // naps as short as asked for
	keys_choose(&job);
	return do_job(&run);
}
