// See writer.h. A ring of batches: the main thread fills one, the writer writes it out, the main thread takes it back. Lines
// leave in pieces of at most OUT_SIZE, so that a slow reader is seen to go on.
#include "client/weircat/writer.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BATCHES 8u
#define BATCH_BYTES (1u << 20) // with larger events a batch takes fewer of them
#define OUT_SIZE 16384u

struct batch {
	struct weir_view views[CAT_WRITER_EVENTS]; // payload and attributes lie in `bytes`
	uint8_t *bytes;
	size_t capacity;
	int count;
	int taken;          // by the main thread
	atomic_int written; // by the writer
};

struct cat_writer {
	const struct cat_options *options;
	struct cat_keyfiles *keyfiles;
	FILE *out;
	int fd;
	pthread_t thread;
	pthread_mutex_t mutex; // of given, is_over and the waits
	pthread_cond_t changed;
	uint64_t given; // batches
	bool is_over;   // nothing more comes
	// The main thread's.
	uint64_t taken; // batches
	uint64_t events_given, events_taken;
	int most; // events of the next batch
	char buffer[OUT_SIZE]; // of `out`
	// The writer's, read by the main thread.
	atomic_uint_fast64_t progress;
	atomic_int status;
	// The main thread's, read by the writer: term by shard, 0: not ours.
	atomic_uint terms[CAT_SHARDS_MAX];
	struct batch batches[BATCHES];
};

// ---- The writer's thread ----

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

static void changed(struct cat_writer *writer)
{
	pthread_mutex_lock(&writer->mutex);
	pthread_cond_broadcast(&writer->changed);
	pthread_mutex_unlock(&writer->mutex);
}

// The way out of `out`. Whoever shares the descriptor may have made it non-blocking.
static ssize_t out_write(void *of, const char *bytes, size_t size)
{
	struct cat_writer *writer = of;
	size_t done = 0;
	while (done < size) {
		ssize_t wrote = write(writer->fd, bytes + done, size - done);
		if (wrote >= 0) {
			done += (size_t)wrote;
			atomic_fetch_add(&writer->progress, 1);
		} else if (errno == EAGAIN) {
			poll(&(struct pollfd){ .fd = writer->fd, .events = POLLOUT }, 1, -1);
		} else if (errno != EINTR) {
			return 0; // as fopencookie() wants to be told of errors
		}
	}
	return (ssize_t)done;
}

static int event_write(struct cat_writer *writer, const struct weir_view *view)
{
	size_t subject_size = 0;
	const char *subject = subject_of(view, &subject_size);
	if (writer->keyfiles) {
		int error = cat_keyfiles_write(writer->keyfiles, view, subject, subject_size);
		if (error)
			return cat_fail(writer->options, "%s: cannot write the file of key %llu: %s",
					writer->options->per_key, (unsigned long long)view->key, strerror(-error));
	}
	if (writer->options->is_json) {
		cat_json_write(writer->out, view, subject, subject_size);
	} else if (!writer->keyfiles && cat_mark_get(view) != CAT_MARK_FILE) {
		fwrite(view->payload, 1, view->payload_size, writer->out);
		if (cat_mark_get(view) != CAT_MARK_UNENDED)
			fputc('\n', writer->out);
	}
	return 0;
}

// What was handed out is on its way to the disk or the next program before it is settled.
static int events_flush(struct cat_writer *writer)
{
	int error = writer->keyfiles ? cat_keyfiles_flush(writer->keyfiles) : 0;
	if (error)
		return cat_fail(writer->options, "%s: cannot write: %s", writer->options->per_key, strerror(-error));
	if (fflush(writer->out) || ferror(writer->out))
		return cat_fail(writer->options, "standard output: cannot write: %s", strerror(errno));
	atomic_fetch_add(&writer->progress, 1);
	return 0;
}

static int batch_write(struct cat_writer *writer, struct batch *batch)
{
	for (int i = 0; i < batch->count; i++) {
		struct weir_view *view = &batch->views[i];
		int error = 0;
		if (atomic_load_explicit(&writer->terms[view->shard], memory_order_relaxed) == view->term)
			error = event_write(writer, view);
		else
			view->term = 0;
		bool is_last = i + 1 == batch->count;
		if (!error && (is_last || __fpending(writer->out) >= OUT_SIZE / 2)) {
			error = events_flush(writer);
			if (!error)
				atomic_store_explicit(&batch->written, i + 1, memory_order_release);
		}
		if (error)
			return error;
	}
	return 0;
}

// The next batch, NULL: nothing more comes.
static struct batch *batch_next(struct cat_writer *writer, uint64_t at)
{
	pthread_mutex_lock(&writer->mutex);
	while (writer->given == at && !writer->is_over)
		pthread_cond_wait(&writer->changed, &writer->mutex);
	bool is_there = writer->given != at;
	pthread_mutex_unlock(&writer->mutex);
	return is_there ? &writer->batches[at % BATCHES] : NULL;
}

static void *run(void *of)
{
	struct cat_writer *writer = of;
	int status = 0;
	for (uint64_t at = 0; !status; at++) {
		struct batch *batch = batch_next(writer, at);
		if (!batch)
			break;
		status = batch_write(writer, batch);
		atomic_store(&writer->status, status);
		changed(writer);
	}
	return NULL;
}

// ---- The main thread ----

// Signals are the main thread's: they end its waits.
static int thread_start(struct cat_writer *writer)
{
	sigset_t all;
	sigset_t before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int error = pthread_create(&writer->thread, NULL, run, writer);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -error;
}

static void writer_free(struct cat_writer *writer)
{
	for (uint32_t i = 0; i < BATCHES; i++)
		free(writer->batches[i].bytes);
	pthread_cond_destroy(&writer->changed);
	pthread_mutex_destroy(&writer->mutex);
	free(writer);
}

int cat_writer_open(struct cat_writer **writer, const struct cat_options *options, struct cat_keyfiles *keyfiles, int fd)
{
	struct cat_writer *made = calloc(1, sizeof(*made));
	if (!made)
		return -ENOMEM;
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_mutex_init(&made->mutex, NULL);
	pthread_cond_init(&made->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	made->options = options;
	made->keyfiles = keyfiles;
	made->fd = fd;
	made->most = CAT_WRITER_EVENTS / 16;
	made->out = fopencookie(made, "w", (cookie_io_functions_t){ .write = out_write });
	int error = made->out ? 0 : -ENOMEM;
	if (!error) {
		setvbuf(made->out, made->buffer, _IOFBF, OUT_SIZE);
		__fsetlocking(made->out, FSETLOCKING_BYCALLER); // the writer's alone
		error = thread_start(made);
	}
	if (error) {
		if (made->out)
			fclose(made->out);
		writer_free(made);
		return error;
	}
	*writer = made;
	return 0;
}

int cat_writer_room(const struct cat_writer *writer)
{
	return writer->given - writer->taken < BATCHES ? writer->most : 0;
}

// Large events come in smaller batches; batches that were full and small grow again.
static int most_after(int most, int count, size_t bytes)
{
	if (bytes > BATCH_BYTES)
		return (int)((uint64_t)count * BATCH_BYTES / bytes) + 1;
	if (count < most)
		return most;
	return most < CAT_WRITER_EVENTS / 2 ? 2 * most : CAT_WRITER_EVENTS;
}

static const void *copy(uint8_t **to, const void *from, size_t size)
{
	uint8_t *at = *to;
	if (size)
		memcpy(at, from, size);
	*to = at + size;
	return at;
}

int cat_writer_give(struct cat_writer *writer, const struct weir_view *views, int count)
{
	struct batch *batch = &writer->batches[writer->given % BATCHES];
	size_t bytes = 0;
	for (int i = 0; i < count; i++)
		bytes += views[i].payload_size + views[i].attributes_size;
	if (bytes > batch->capacity || !batch->bytes || batch->capacity > 4 * (size_t)BATCH_BYTES) {
		free(batch->bytes);
		batch->capacity = bytes > 4096 ? bytes : 4096;
		batch->bytes = malloc(batch->capacity);
		if (!batch->bytes)
			return -ENOMEM;
	}
	uint8_t *to = batch->bytes;
	for (int i = 0; i < count; i++) {
		struct weir_view *view = &batch->views[i];
		*view = views[i];
		view->attributes = copy(&to, views[i].attributes, views[i].attributes_size);
		view->payload = copy(&to, views[i].payload, views[i].payload_size);
		// Handed out now: it is ours, whatever the last look at the assignments said.
		atomic_store_explicit(&writer->terms[view->shard], view->term, memory_order_relaxed);
	}
	batch->count = count;
	batch->taken = 0;
	atomic_store_explicit(&batch->written, 0, memory_order_relaxed);
	writer->events_given += (uint64_t)count;
	writer->most = most_after(writer->most, count, bytes);
	pthread_mutex_lock(&writer->mutex);
	writer->given++;
	pthread_cond_broadcast(&writer->changed);
	pthread_mutex_unlock(&writer->mutex);
	return 0;
}

int cat_writer_take(struct cat_writer *writer, const struct weir_view **views)
{
	while (writer->taken != writer->given) {
		struct batch *batch = &writer->batches[writer->taken % BATCHES];
		int written = atomic_load_explicit(&batch->written, memory_order_acquire);
		int count = written - batch->taken;
		*views = &batch->views[batch->taken];
		batch->taken = written;
		writer->events_taken += (uint64_t)count;
		if (count)
			return count;
		if (written < batch->count)
			return 0;
		writer->taken++;
	}
	return 0;
}

uint64_t cat_writer_outstanding(const struct cat_writer *writer)
{
	return writer->events_given - writer->events_taken;
}

uint64_t cat_writer_progress(const struct cat_writer *writer)
{
	return atomic_load(&writer->progress);
}

int cat_writer_status(const struct cat_writer *writer)
{
	return atomic_load(&writer->status);
}

void cat_writer_wait(struct cat_writer *writer, int timeout_ms)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += timeout_ms * 1000000l;
	until.tv_sec += until.tv_nsec / 1000000000l;
	until.tv_nsec %= 1000000000l;
	const struct batch *batch = &writer->batches[writer->taken % BATCHES];
	pthread_mutex_lock(&writer->mutex);
	if (writer->taken != writer->given && atomic_load(&batch->written) == batch->taken && !atomic_load(&writer->status))
		pthread_cond_timedwait(&writer->changed, &writer->mutex, &until);
	pthread_mutex_unlock(&writer->mutex);
}

void cat_writer_shards(struct cat_writer *writer, const struct weir_assignment *assignments, int count)
{
	uint32_t terms[CAT_SHARDS_MAX] = { 0 };
	for (int i = 0; i < count; i++)
		terms[assignments[i].shard] = assignments[i].term;
	for (uint32_t shard = 0; shard < CAT_SHARDS_MAX; shard++)
		atomic_store_explicit(&writer->terms[shard], terms[shard], memory_order_relaxed);
}

bool cat_writer_close(struct cat_writer *writer, int timeout_ms)
{
	struct timespec until;
	pthread_mutex_lock(&writer->mutex);
	writer->is_over = true;
	pthread_cond_broadcast(&writer->changed);
	pthread_mutex_unlock(&writer->mutex);
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timeout_ms / 1000;
	if (pthread_clockjoin_np(writer->thread, NULL, CLOCK_MONOTONIC, &until))
		return false;
	fclose(writer->out);
	writer_free(writer);
	return true;
}
