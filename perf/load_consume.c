// weirload consume: a member of a group that keeps account of every event it was handed, at most as fast as told. Its
// account lies in a file that outlives it. One thread.
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/weir.h"
#include "lib/clock.h"
#include "lib/stop.h"
#include "perf/account.h"
#include "perf/load.h"
#include "perf/payload.h"

#define CLOSE_MS 3000
#define VIEWS 1024
#define SHARDS_MAX 4096

struct consuming {
	const struct load_options *options;
	struct weir *weir;
	struct weir_consumer *consumer;
	struct weir_account account;
	struct weir_view views[VIEWS];
	struct {
		uint64_t incarnation;
		uint32_t term;
	} assigned[SHARDS_MAX]; // by shard, as of the last view
	uint64_t start_ns;
	uint64_t end_ns;
	uint64_t paused_until_ns;
	uint64_t progress_ns;
	uint64_t progress_events;
	bool has_paused;
};

static void progress_print(struct consuming *c, uint64_t now_ns)
{
	struct weir_consumer_counts counts;
	const struct weir_account_header *header = c->account.header;
	if (!c->options->has_progress || now_ns < c->progress_ns + 1000000000ull)
		return;
	weir_consumer_counts(c->consumer, &counts);
	fprintf(stderr, "{\"role\":\"consumer\",\"group\":\"%s\",\"seconds\":%.3f,\"delivered\":%lu,\"redelivered\":%lu,"
		"\"shards\":%u,\"events_per_second\":%.0f,\"latency_ns\":{\"p50\":%lu,\"p99\":%lu}}\n",
		header->group, (double)(now_ns - c->start_ns) / 1e9, header->events,
		header->redelivered, counts.shards,
		(double)(header->events - c->progress_events) * 1e9 / (double)(now_ns - c->progress_ns),
		weir_histogram_percentile(&header->latency, 0.5),
		weir_histogram_percentile(&header->latency, 0.99));
	c->progress_ns = now_ns;
	c->progress_events = header->events;
}

// Which life of its log the shard's offsets belong to: asked once per term.
static uint64_t incarnation_of(struct consuming *c, const struct weir_view *view)
{
	uint32_t shard = view->shard % SHARDS_MAX;
	if (c->assigned[shard].term == view->term)
		return c->assigned[shard].incarnation;
	static struct weir_assignment assignments[SHARDS_MAX];
	int count = weir_consumer_assignments(c->consumer, assignments, SHARDS_MAX);
	for (int i = 0; i < count; i++) {
		if (assignments[i].shard == view->shard && assignments[i].term == view->term) {
			c->assigned[shard].incarnation = assignments[i].incarnation;
			c->assigned[shard].term = view->term;
		}
	}
	return c->assigned[shard].incarnation;
}

static int take(struct consuming *c, const struct weir_view *view, uint64_t now_ns)
{
	struct weir_payload payload;
	struct weir_account_header *header = c->account.header;
	if (!weir_payload_check(view->payload, view->payload_size, &payload) || weir_payload_key(&payload) != view->key) {
		header->damaged++;
		return 0;
	}
	struct weir_account_event event = {
		.incarnation = incarnation_of(c, view), .offset = view->offset, .sequence = payload.sequence,
		.shard = view->shard, .term = view->term, .producer = payload.producer, .key = payload.key,
		.is_marked = view->flags & WEIR_VIEW_REDELIVERED,
	};
	header->bytes += view->payload_size;
	weir_histogram_add(&header->latency, now_ns > payload.send_ns ? now_ns - payload.send_ns : 0, 1);
	return weir_account_add(&c->account, &event);
}

// How many events may be handed out now; 0: wait.
static int allowed(struct consuming *c, uint64_t now_ns)
{
	const struct load_options *options = c->options;
	uint64_t events = c->account.header->events;
	uint64_t most = VIEWS;
	if (now_ns < c->paused_until_ns)
		return 0;
	if (options->pause_after && !c->has_paused) {
		if (events >= options->pause_after) {
			c->has_paused = true;
			c->paused_until_ns = now_ns + options->pause_ms * 1000000ull;
			return 0;
		}
		most = options->pause_after - events < most ? options->pause_after - events : most;
	}
	if (options->rate > 0) {
		uint64_t due = (uint64_t)((double)(now_ns - c->start_ns) * options->rate / 1e9);
		uint64_t room = due > events ? due - events : 0;
		// What was not used of the past is not made up for in one go.
		uint64_t burst = (uint64_t)(options->rate / 100) + 1;
		room = room < burst ? room : burst;
		most = room < most ? room : most;
	}
	if (options->delay_us)
		most = most < 16 ? most : 16;
	if (options->exit_after && options->exit_after - events < most)
		most = options->exit_after - events;
	return (int)most;
}

// Settles the last view of each shard in the batch.
static int settle(struct consuming *c, int count)
{
	bool is_settled[SHARDS_MAX] = { false };
	for (int i = count - 1; i >= 0; i--) {
		uint32_t shard = c->views[i].shard % SHARDS_MAX;
		if (is_settled[shard])
			continue;
		is_settled[shard] = true;
		int result = weir_settle(c->consumer, &c->views[i]);
		if (result && result != -ESTALE)
			return load_fail("settle shard %u: %s", c->views[i].shard, strerror(-result));
	}
	return 0;
}

static int consume_some(struct consuming *c, int most)
{
	const struct load_options *options = c->options;
	struct weir_account_header *header = c->account.header;
	int count = weir_consume(c->consumer, c->views, most);
	if (count <= 0)
		return 0;
	uint64_t now_ns = lib_clock_ns();
	if (header->first_ns == 0)
		header->first_ns = now_ns;
	for (int i = 0; i < count; i++) {
		if (options->delay_us)
			usleep(options->delay_us);
		if (take(c, &c->views[i], now_ns))
			return load_fail("state: more shards, producers, keys or gaps than its account can hold");
	}
	header->last_ns = now_ns;
	if (options->exit_after && header->events >= options->exit_after)
		kill(getpid(), SIGKILL);
	return options->settle_by_hand ? settle(c, count) : 0;
}

// Until the end was asked for, or something is wrong. Returns the exit status.
static int run(struct consuming *c)
{
	const struct load_options *options = c->options;
	const struct weir_account_header *header = c->account.header;
	c->start_ns = c->progress_ns = lib_clock_ns();
	c->end_ns = options->seconds > 0 ? c->start_ns + (uint64_t)(options->seconds * 1e9) : UINT64_MAX;
	int status = 0;
	while (status == 0 && !lib_stop_signal()) {
		uint64_t now_ns = lib_clock_ns();
		progress_print(c, now_ns);
		if (now_ns >= c->end_ns || (options->events && header->events >= options->events))
			break;
		int most = allowed(c, now_ns);
		uint64_t before = header->events;
		if (most)
			status = consume_some(c, most);
		bool is_throttled = !most || options->rate > 0;
		int wait_ms = header->events != before ? 0 : is_throttled ? 1 : 100;
		int result = weir_poll(c->weir, wait_ms);
		if (result < 0 && result != -EINTR)
			status = load_fail("receive: %s", strerror(-result));
		if (is_throttled && wait_ms)
			usleep(500);
	}
	// Settles what was handed out last; hands out nothing more.
	if (!options->settle_by_hand)
		weir_consume(c->consumer, c->views, 0);
	return status;
}

static void result_print(const struct consuming *c)
{
	const struct weir_account_header *header = c->account.header;
	struct weir_consumer_counts counts;
	struct weir_statistics statistics;
	weir_consumer_counts(c->consumer, &counts);
	weir_statistics(c->weir, &statistics);
	double seconds = (double)(header->last_ns - header->first_ns) / 1e9;
	double rate = seconds > 0 ? (double)header->events / seconds : 0;
	if (!c->options->is_json) {
		printf("delivered %lu (%lu with the redelivered mark), damaged %lu: %.0f events/s\n",
		       header->events, header->redelivered,
		       header->damaged, rate);
		return;
	}
	printf("{\"role\":\"consumer\",\"topic\":\"%s\",\"group\":\"%s\",\"delivered\":%lu,\"redelivered\":%lu,\"damaged\":%lu,"
	       "\"settled\":%lu,\"gap_events\":%lu,\"frames_lost\":%lu,\"shards\":%u,\"seconds\":%.6f,"
	       "\"events_per_second\":%.0f,",
	       header->topic, header->group, header->events, header->redelivered,
	       header->damaged, counts.settled, counts.gap_events,
	       counts.frames_lost, counts.shards, seconds, rate);
	printf("\"latency_ns\":{\"p50\":%lu,\"p99\":%lu,\"p99_9\":%lu,\"max\":%lu},\"frames_received\":%lu,"
	       "\"frames_bad\":%lu,\"sessions\":%lu,\"system_calls\":%lu}\n",
	       weir_histogram_percentile(&header->latency, 0.5),
	       weir_histogram_percentile(&header->latency, 0.99),
	       weir_histogram_percentile(&header->latency, 0.999), header->latency.max,
	       statistics.frames_received, statistics.frames_bad,
	       statistics.sessions, statistics.system_calls);
}

int load_consume(const struct load_options *options)
{
	static struct consuming c;
	c.options = options;
	int status = 1;
	int close_ms = 0; // a router that did not answer is not waited for once more
	int result = weir_account_create(&c.account, options->state, options->topic, options->group);
	if (result)
		return load_fail("state file %s: %s", options->state, strerror(-result));
	struct weir_options client = { .name = options->name, .frame_size = options->frame_size };
	result = weir_open(&c.weir, options->router, &client);
	if (result) {
		load_fail("router %s: %s", options->router, strerror(-result));
		goto err_account;
	}
	struct weir_consumer_options consumer = { .settle_by_hand = options->settle_by_hand };
	result = weir_consumer_open(&c.consumer, c.weir, options->topic, options->group, &consumer);
	if (result == 0)
		result = weir_consumer_wait(c.consumer, (int)options->timeout_s * 1000);
	if (result) {
		const char *why = result == -ENOENT ? "no such topic or group" : strerror(-result);
		load_fail("group %s of topic %s at %s: %s", options->group, options->topic, options->router,
			  result == -ETIMEDOUT ? "no answer" : why);
		goto err_close;
	}
	status = run(&c);
	result_print(&c);
	c.account.header->is_complete = 1;
	close_ms = CLOSE_MS;
err_close:
	result = weir_close(c.weir, close_ms);
	if (status == 0 && result)
		status = load_fail("close: %s", strerror(-result));
err_account:
	weir_account_close(&c.account);
	return status;
}
