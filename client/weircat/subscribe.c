// weircat subscribe: a member of a group that writes what it is handed. Events are settled when they were written, so
// that what a killed one did not write comes to another member.
#include <errno.h>
#include <string.h>
#include <time.h>

#include "client/weircat/weircat.h"

#define BATCH 1024

struct subscriber {
	const struct cat_options *options;
	struct weir *weir;
	struct weir_consumer *consumer;
	struct cat_keyfiles *keyfiles; // NULL: to standard output
	uint64_t events;
	uint64_t last_ns; // when something came
};

static uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

// Value of the subject attribute, NULL: there is none. The attributes are a stranger's bytes.
static const char *subject_of(const struct weir_view *view, size_t *size)
{
	struct weir_attribute subject;
	*size = 0;
	if (weir_attribute_get(view->attributes, view->attributes_size, WEIR_ATTRIBUTE_SUBJECT, &subject))
		return NULL;
	*size = subject.size;
	return subject.value;
}

static int event_write(struct subscriber *subscriber, const struct weir_view *view)
{
	size_t subject_size = 0;
	const char *subject = subject_of(view, &subject_size);
	if (subscriber->keyfiles) {
		int error = cat_keyfiles_write(subscriber->keyfiles, view, subject, subject_size);
		if (error)
			return cat_fail(subscriber->options, "%s: cannot write the file of key %llu: %s",
					subscriber->options->per_key, (unsigned long long)view->key, strerror(-error));
	}
	if (subscriber->options->is_json) {
		cat_json_write(stdout, view, subject, subject_size);
	} else if (!subscriber->keyfiles && cat_mark_get(view) != CAT_MARK_FILE) {
		fwrite(view->payload, 1, view->payload_size, stdout);
		if (cat_mark_get(view) != CAT_MARK_UNENDED)
			fputc('\n', stdout);
	}
	return 0;
}

// What was handed out is on its way to the disk or the next program before it is settled.
static int batch_flush(struct subscriber *subscriber)
{
	int error = subscriber->keyfiles ? cat_keyfiles_flush(subscriber->keyfiles) : 0;
	if (error)
		return cat_fail(subscriber->options, "%s: cannot write: %s", subscriber->options->per_key, strerror(-error));
	if (fflush(stdout) || ferror(stdout))
		return cat_fail(subscriber->options, "standard output: cannot write: %s", strerror(errno));
	return 0;
}

// Everything that has arrived. 0 or CAT_FAILED.
static int batches_write(struct subscriber *subscriber)
{
	struct weir_view views[BATCH];
	for (;;) {
		uint64_t left = subscriber->options->count ? subscriber->options->count - subscriber->events : BATCH;
		int count = weir_consume(subscriber->consumer, views, left < BATCH ? (int)left : BATCH);
		for (int i = 0; i < count; i++) {
			int error = event_write(subscriber, &views[i]);
			if (error)
				return error;
		}
		if (count == 0)
			return 0;
		subscriber->events += (uint64_t)count;
		subscriber->last_ns = now_ns();
		int error = batch_flush(subscriber);
		if (error)
			return error;
	}
}

static int wait_ms(const struct subscriber *subscriber)
{
	if (!subscriber->options->idle_ms)
		return 1000;
	uint64_t idle = (now_ns() - subscriber->last_ns) / 1000000;
	uint64_t most = (uint64_t)subscriber->options->idle_ms;
	return idle < most ? (int)(most - idle < 1000 ? most - idle : 1000) : 0;
}

static bool is_over(const struct subscriber *subscriber)
{
	const struct cat_options *options = subscriber->options;
	if (cat_stopped() || (options->count && subscriber->events >= options->count))
		return true;
	return options->idle_ms && now_ns() - subscriber->last_ns >= (uint64_t)options->idle_ms * 1000000;
}

static int events_write(struct subscriber *subscriber)
{
	subscriber->last_ns = now_ns();
	while (!is_over(subscriber)) {
		int received = weir_poll(subscriber->weir, wait_ms(subscriber));
		if (received < 0 && received != -EINTR)
			return cat_fail(subscriber->options, "%s: socket: %s", subscriber->options->router,
					strerror(-received));
		int error = batches_write(subscriber);
		if (error)
			return error;
	}
	return 0;
}

static int join(struct subscriber *subscriber)
{
	const struct cat_options *options = subscriber->options;
	int error = weir_consumer_open(&subscriber->consumer, subscriber->weir, options->topic, options->group, NULL);
	if (error)
		return cat_fail(options, "topic %s, group %s: %s", options->topic, options->group, cat_name_error(error));
	error = weir_consumer_wait(subscriber->consumer, options->wait_ms);
	if (error == -ENOENT)
		return cat_fail(options, "topic %s, group %s: not in the router's topology; add them and apply", options->topic,
				options->group);
	if (error == -ETIMEDOUT)
		return cat_fail(options, "%s: no answer for %d ms; is the router running and reachable?", options->router,
				options->wait_ms);
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
		"{\"delivered\":%llu,\"redelivered\":%llu,\"settled\":%llu,\"gap_events\":%llu,\"frames_lost\":%llu,"
		"\"frames_received\":%llu,\"sessions\":%llu}\n",
		(unsigned long long)counts.delivered, (unsigned long long)counts.redelivered,
		(unsigned long long)counts.settled,
		(unsigned long long)counts.gap_events, (unsigned long long)counts.frames_lost,
		(unsigned long long)statistics.frames_received, (unsigned long long)statistics.sessions);
}

int cat_subscribe(const struct cat_options *options, struct weir *weir)
{
	struct subscriber subscriber = { .options = options, .weir = weir };
	int status = 0;
	if (options->per_key) {
		subscriber.keyfiles = cat_keyfiles_open(options->per_key);
		if (!subscriber.keyfiles)
			status = cat_fail(options, "%s: cannot use as a directory: %s", options->per_key, strerror(errno));
	}
	if (!status)
		status = join(&subscriber);
	if (!status)
		status = events_write(&subscriber);
	// The last batch was written: handing out nothing more settles it.
	if (subscriber.consumer && !status)
		weir_consume(subscriber.consumer, NULL, 0);
	if (options->has_stats)
		stats_write(&subscriber);
	if (subscriber.consumer) {
		int error = weir_consumer_close(subscriber.consumer, options->wait_ms);
		if (error && !status)
			status = cat_fail(options, "group %s: leaving it was not confirmed; its other members wait for the "
					  "lease", options->group);
	}
	weir_close(weir, status ? 0 : options->wait_ms);
	if (subscriber.keyfiles && cat_keyfiles_close(subscriber.keyfiles))
		status = cat_fail(options, "%s: cannot write", options->per_key);
	return status;
}
