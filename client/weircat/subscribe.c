// weircat subscribe: a member of a group that has written what it is handed. Events are settled when they were written, so
// that what a killed one did not write comes to another member. The member itself never waits for the output.
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "client/weircat/writer.h"
#include "lib/clock.h"

#define PAUSE_MAX_MS 20      // between two looks at a writer that is behind
#define LOOK_NS 100000000ull // between two looks at the assignments meanwhile
#define STEP_MS 100          // between two looks whether a signal came
#define WORKING_NS 500000000ull    // between two words to the router that we are at work
#define PATIENCE_NS 600000000000ull // with an output that stands still
#define GRACE_MS 1000        // for an output that stands still, once somebody wants to go

struct subscriber {
	const struct cat_options *options;
	struct weir *weir;
	struct weir_consumer *consumer;
	struct cat_keyfiles *keyfiles; // NULL: to standard output
	struct cat_writer *writer;
	uint64_t events;
	uint64_t last_ns;   // when something came
	uint64_t progress;  // of the writer, as last seen
	uint64_t moved_ns;  // when it moved, or had nothing to write
	uint64_t looked_ns; // at the assignments
	uint64_t said_ns;   // that we are at work
	int pause_ms;
	struct cat_watch watch;
	bool has_ended; // its group, for now
};

// What was written is settled: the last one of each shard and term in a row says it for all before it. Terms that are over
// fence themselves.
static void written_settle(struct subscriber *subscriber)
{
	const struct weir_view *views = NULL;
	int count = 0;
	while ((count = cat_writer_take(subscriber->writer, &views)) > 0) {
		for (int i = 0; i < count; i++) {
			const struct weir_view *view = &views[i];
			bool is_last = i + 1 == count || view[1].shard != view->shard || view[1].term != view->term;
			if (is_last && view->term)
				weir_settle(subscriber->consumer, view);
		}
	}
}

// What has arrived, as far as the writer takes it. 0 or CAT_FAILED.
static int events_take(struct subscriber *subscriber)
{
	struct weir_view views[CAT_WRITER_EVENTS];
	for (;;) {
		uint64_t left = subscriber->options->count ? subscriber->options->count - subscriber->events : UINT64_MAX;
		int room = cat_writer_room(subscriber->writer);
		int most = left < (uint64_t)room ? (int)left : room;
		int count = most ? weir_consume(subscriber->consumer, views, most) : 0;
		if (count == 0)
			return 0;
		subscriber->events += (uint64_t)count;
		subscriber->last_ns = lib_clock_ns();
		if (cat_writer_give(subscriber->writer, views, count))
			return cat_fail(subscriber->options, "no memory for %d events that arrived", count);
	}
}

// Whoever is slow to write says so by what it passes over: shards that are others' by now.
static void shards_look(struct subscriber *subscriber)
{
	struct weir_assignment assignments[CAT_SHARDS_MAX];
	uint64_t now = lib_clock_ns();
	if (now - subscriber->looked_ns < LOOK_NS)
		return;
	subscriber->looked_ns = now;
	int count = weir_consumer_assignments(subscriber->consumer, assignments, CAT_SHARDS_MAX);
	cat_writer_shards(subscriber->writer, assignments, count);
}

static int wait_ms(const struct subscriber *subscriber)
{
	if (!subscriber->options->idle_ms)
		return 1000;
	uint64_t idle = (lib_clock_ns() - subscriber->last_ns) / 1000000;
	uint64_t most = (uint64_t)subscriber->options->idle_ms;
	return idle < most ? (int)(most - idle < 1000 ? most - idle : 1000) : 0;
}

// What befell the group is told once.
static void membership_tell(struct subscriber *subscriber)
{
	const struct cat_options *options = subscriber->options;
	enum weir_membership membership = weir_consumer_membership(subscriber->consumer);
	if (membership == WEIR_MEMBERSHIP_ENDED && !subscriber->has_ended) {
		subscriber->has_ended = true;
		cat_say(options, "group %s of topic %s ended; waiting for it", options->group, options->topic);
	} else if (membership == WEIR_MEMBERSHIP_MEMBER && subscriber->has_ended) {
		subscriber->has_ended = false;
		cat_say(options, "group %s of topic %s is there again", options->group, options->topic);
	}
}

// What was handed out is being written, and the output takes its time: no reason to give the shards to others, until it has
// taken nothing for so long that nobody seems to be there.
static void say_working(struct subscriber *subscriber)
{
	uint64_t now = lib_clock_ns();
	if (now - subscriber->said_ns < WORKING_NS || now - subscriber->moved_ns >= PATIENCE_NS)
		return;
	subscriber->said_ns = now;
	weir_keepalive(subscriber->weir);
}

// Receives and sends, waiting for something to do. While the writer has something to tell it is looked after; where it is
// full, what arrives is no reason to wake up.
static int drive(struct subscriber *subscriber)
{
	struct cat_writer *writer = subscriber->writer;
	bool is_behind = cat_writer_outstanding(writer) > 0;
	uint64_t progress = cat_writer_progress(writer);
	if (!is_behind || progress != subscriber->progress) {
		subscriber->progress = progress;
		subscriber->moved_ns = lib_clock_ns();
		subscriber->pause_ms = 1;
	}
	int timeout_ms = is_behind ? subscriber->pause_ms : wait_ms(subscriber);
	if (is_behind) {
		subscriber->pause_ms = subscriber->pause_ms < PAUSE_MAX_MS / 2 ? 2 * subscriber->pause_ms : PAUSE_MAX_MS;
		shards_look(subscriber);
		say_working(subscriber);
	}
	if (cat_writer_room(writer) == 0) {
		cat_writer_wait(writer, timeout_ms);
		subscriber->last_ns = lib_clock_ns(); // more may be there
		timeout_ms = 0;
	}
	int received = weir_poll(subscriber->weir, timeout_ms);
	if (received < 0 && received != -EINTR)
		return cat_fail(subscriber->options, "%s: socket: %s", subscriber->options->router, strerror(-received));
	struct weir_consumer_counts counts;
	weir_consumer_counts(subscriber->consumer, &counts);
	cat_watch(&subscriber->watch, subscriber->options, subscriber->weir, counts.unsettled);
	membership_tell(subscriber);
	written_settle(subscriber);
	return cat_writer_status(writer);
}

static bool is_over(const struct subscriber *subscriber)
{
	const struct cat_options *options = subscriber->options;
	if (cat_stopped() || (options->count && subscriber->events >= options->count))
		return true;
	return options->idle_ms && lib_clock_ns() - subscriber->last_ns >= (uint64_t)options->idle_ms * 1000000;
}

static int standstill(const struct subscriber *subscriber)
{
	const struct cat_options *options = subscriber->options;
	return cat_fail(options, "%s takes nothing: %llu events that arrived were not written; not settled, they come again",
			options->per_key ? options->per_key : "standard output",
			(unsigned long long)cat_writer_outstanding(subscriber->writer));
}

// What was handed out is written before the end, unless the output stands still and somebody wants to go.
static int written_wait(struct subscriber *subscriber)
{
	int error = 0;
	uint64_t asked_ns = lib_clock_ns();
	while (!error && cat_writer_outstanding(subscriber->writer)) {
		uint64_t since_ns = subscriber->moved_ns > asked_ns ? subscriber->moved_ns : asked_ns;
		if (!cat_stopped())
			asked_ns = lib_clock_ns();
		else if (lib_clock_ns() - since_ns >= GRACE_MS * 1000000ull)
			return standstill(subscriber);
		error = drive(subscriber);
	}
	return error;
}

static int events_write(struct subscriber *subscriber)
{
	int error = 0;
	subscriber->last_ns = lib_clock_ns();
	while (!error && !is_over(subscriber)) {
		error = drive(subscriber);
		if (!error)
			error = events_take(subscriber);
	}
	return error ? error : written_wait(subscriber);
}

static int join(struct subscriber *subscriber)
{
	const struct cat_options *options = subscriber->options;
	const struct weir_consumer_options by_hand = { .settle_by_hand = true };
	int error = weir_consumer_open(&subscriber->consumer, subscriber->weir, options->topic, options->group, &by_hand);
	if (error)
		return cat_fail(options, "topic %s, group %s: %s", options->topic, options->group, cat_name_error(error));
	uint64_t deadline_ns = lib_deadline_in_ms(options->wait_ms);
	error = -ETIMEDOUT;
	// In steps, because a signal does not end the wait.
	for (int left_ms = 1; left_ms && error == -ETIMEDOUT && !cat_stopped() && !cat_is_hopeless(subscriber->weir);) {
		left_ms = lib_deadline_left_ms(deadline_ns);
		error = weir_consumer_wait(subscriber->consumer, left_ms < STEP_MS ? left_ms : STEP_MS);
	}
	if (error == -ETIMEDOUT && cat_stopped())
		return CAT_FAILED;
	if (error == -ENOENT)
		return cat_fail(options, "topic %s, group %s: not in the router's topology; add them and apply", options->topic,
				options->group);
	char what[160];
	snprintf(what, sizeof(what), "topic %s, group %s", options->topic, options->group);
	if (error == -ETIMEDOUT && weir_consumer_refusal(subscriber->consumer))
		return cat_refused(options, what, weir_consumer_refusal(subscriber->consumer));
	if (error == -ETIMEDOUT)
		return cat_no_answer(options, subscriber->weir);
	return error ? cat_fail(options, "%s: %s", options->router, strerror(-error)) : 0;
}

static void stats_write(const struct subscriber *subscriber)
{
	struct weir_consumer_counts counts = { 0 };
	struct weir_statistics statistics;
	if (subscriber->consumer)
		weir_consumer_counts(subscriber->consumer, &counts);
	weir_statistics(subscriber->weir, &statistics);
	fprintf(stderr,
		"{\"delivered\":%llu,\"redelivered\":%llu,\"passed_over\":%llu,\"settled\":%llu,"
		"\"gap_events\":%llu,\"frames_lost\":%llu,\"frames_received\":%llu,\"sessions\":%llu}\n",
		(unsigned long long)counts.delivered, (unsigned long long)counts.redelivered,
		(unsigned long long)counts.passed_over, (unsigned long long)counts.settled,
		(unsigned long long)counts.gap_events, (unsigned long long)counts.frames_lost,
		(unsigned long long)statistics.frames_received, (unsigned long long)statistics.sessions);
}

static int output_open(struct subscriber *subscriber)
{
	const struct cat_options *options = subscriber->options;
	if (options->per_key) {
		subscriber->keyfiles = cat_keyfiles_open(options->per_key);
		if (!subscriber->keyfiles)
			return cat_fail(options, "%s: cannot use as a directory: %s", options->per_key, strerror(errno));
	}
	int error = cat_writer_open(&subscriber->writer, options, subscriber->keyfiles, STDOUT_FILENO);
	return error ? cat_fail(options, "cannot start the thread that writes: %s", strerror(-error)) : 0;
}

// A thread that stands in a write cannot be waited for, and what it holds cannot be freed: the process ends without either.
static int output_close(struct subscriber *subscriber, int status)
{
	if (subscriber->writer && !cat_writer_close(subscriber->writer, GRACE_MS)) {
		cat_say_end();
		_exit(cat_stopped() ? 128 + cat_stopped() : status ? status : CAT_FAILED);
	}
	if (subscriber->keyfiles && cat_keyfiles_close(subscriber->keyfiles))
		return cat_fail(subscriber->options, "%s: cannot write", subscriber->options->per_key);
	return status;
}

int cat_subscribe(const struct cat_options *options, struct weir *weir)
{
	struct subscriber subscriber = {
		.options = options,
		.weir = weir,
		.watch = { .meanwhile = "its other members get the group's shards after the lease",
			   .doubtful = "handed out, not known to be settled; some may come again, marked redelivered" },
	};
	int status = output_open(&subscriber);
	if (!status)
		status = join(&subscriber);
	if (!status)
		status = events_write(&subscriber);
	if (options->has_stats)
		stats_write(&subscriber);
	if (subscriber.consumer) {
		int error = weir_consumer_close(subscriber.consumer, options->wait_ms);
		if (error && !status)
			status = cat_fail(options, "group %s: leaving it was not confirmed; its other members wait for the "
					  "lease", options->group);
	}
	weir_close(weir, status ? 0 : options->wait_ms);
	return output_close(&subscriber, status);
}
