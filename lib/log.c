// A ring of bytes under a lock that is never held over a write. The thread that writes blocks all signals, so that none is
// lost on it. At the end it may be stuck in a write: then the log is left to it, and goes when it comes back.
#include "lib/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct lib_log {
	const char *name;
	enum lib_log_style style;
	int fd;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed; // lines came, or the end
	pthread_cond_t ended;
	bool is_ending;
	bool is_over; // the thread has written all
	bool is_left; // nobody waits for the thread: it writes no more, and frees the log
	bool is_failing; // the last write was refused: nothing that is said about it would arrive either
	uint64_t dropped; // all
	uint64_t told;    // what the last line about it said
	uint64_t head, tail; // bytes ever put in, ever taken out
	char ring[LIB_LOG_BUFFER];
};

// ---- Lines ----

static size_t line_begin(char line[LIB_LOG_LINE_MAX], const struct lib_log *log, enum lib_log_level level)
{
	static const char *const LEVELS[] = { "info", "warning", "error" };
	const char *name = log ? log->name : program_invocation_short_name;
	struct timespec now;
	if (log && log->style == LIB_LOG_PLAIN)
		return (size_t)snprintf(line, LIB_LOG_LINE_MAX, "%.64s: ", name);
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (size_t)snprintf(line, LIB_LOG_LINE_MAX, "%.64s[%6lld.%06ld] %s: ", name, (long long)now.tv_sec,
				now.tv_nsec / 1000, LEVELS[level]);
}

static size_t line_end(char line[LIB_LOG_LINE_MAX], size_t used)
{
	if (used > LIB_LOG_LINE_MAX - 1)
		used = LIB_LOG_LINE_MAX - 1;
	line[used++] = '\n';
	return used;
}

static bool ring_put(struct lib_log *log, const char *line, size_t size)
{
	if (sizeof(log->ring) - (log->head - log->tail) < size)
		return false;
	for (size_t i = 0; i < size; i++)
		log->ring[(log->head + i) % sizeof(log->ring)] = line[i];
	log->head += size;
	return true;
}

// Says how many were dropped until here, unless it was said. false: it has no room.
static bool ring_put_dropped(struct lib_log *log)
{
	char line[LIB_LOG_LINE_MAX];
	if (log->dropped == log->told || log->is_failing)
		return true;
	size_t used = line_begin(line, log, LIB_LOG_WARNING);
	used += (size_t)snprintf(line + used, sizeof(line) - used,
				 "log: %llu lines were dropped until here: what they are written to took no more. "
				 "Fix: read it, or give it room", (unsigned long long)log->dropped);
	if (!ring_put(log, line, line_end(line, used)))
		return false;
	log->told = log->dropped;
	return true;
}

// ---- The thread ----

// false: the line is lost.
static bool write_all(int fd, const char *bytes, size_t size)
{
	while (size) {
		ssize_t written = write(fd, bytes, size);
		if (written >= 0) {
			bytes += written;
			size -= (size_t)written;
		} else if (errno == EAGAIN) {
			// Somebody who shares the descriptor made it so.
			poll(&(struct pollfd){ .fd = fd, .events = POLLOUT }, 1, -1);
		} else if (errno != EINTR) {
			return false;
		}
	}
	return true;
}

// Takes the first line. Its size, 0: there is none.
static size_t ring_take(struct lib_log *log, char line[LIB_LOG_LINE_MAX])
{
	size_t size = 0;
	while (log->tail + size < log->head) {
		line[size] = log->ring[(log->tail + size) % sizeof(log->ring)];
		if (line[size++] == '\n')
			break;
	}
	log->tail += size;
	return size;
}

static void log_free(struct lib_log *log)
{
	pthread_cond_destroy(&log->ended);
	pthread_cond_destroy(&log->changed);
	pthread_mutex_destroy(&log->lock);
	free(log);
}

static void *write_lines(void *context)
{
	struct lib_log *log = context;
	char line[LIB_LOG_LINE_MAX];
	pthread_mutex_lock(&log->lock);
	while (!log->is_left) {
		if (log->head == log->tail)
			ring_put_dropped(log);
		size_t size = ring_take(log, line);
		if (size == 0 && log->is_ending)
			break;
		if (size == 0) {
			pthread_cond_wait(&log->changed, &log->lock);
			continue;
		}
		pthread_mutex_unlock(&log->lock);
		bool is_written = write_all(log->fd, line, size);
		pthread_mutex_lock(&log->lock);
		log->is_failing = !is_written;
		log->dropped += !is_written;
	}
	bool is_left = log->is_left;
	log->is_over = true;
	pthread_cond_signal(&log->ended);
	pthread_mutex_unlock(&log->lock);
	if (is_left)
		log_free(log);
	return NULL;
}

// ---- For those who log ----

int lib_log_open(struct lib_log **out, const char *name, enum lib_log_style style, int fd)
{
	struct lib_log *log = calloc(1, sizeof(*log));
	pthread_condattr_t monotonic;
	sigset_t all, before;
	if (!log)
		return -ENOMEM;
	log->name = name;
	log->style = style;
	log->fd = fd;
	pthread_mutex_init(&log->lock, NULL);
	pthread_cond_init(&log->changed, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&log->ended, &monotonic);
	pthread_condattr_destroy(&monotonic);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int error = pthread_create(&log->thread, NULL, write_lines, log);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error) {
		free(log);
		return -error;
	}
	pthread_setname_np(log->thread, "log");
	*out = log;
	return 0;
}

void lib_log_vwrite(struct lib_log *log, enum lib_log_level level, const char *format, va_list arguments)
{
	char line[LIB_LOG_LINE_MAX];
	size_t used = line_begin(line, log, level);
	int more = vsnprintf(line + used, sizeof(line) - used, format, arguments);
	used = line_end(line, used + (more > 0 ? (size_t)more : 0));
	if (!log) {
		write_all(STDERR_FILENO, line, used);
		return;
	}
	pthread_mutex_lock(&log->lock);
	if (!ring_put_dropped(log) || !ring_put(log, line, used))
		log->dropped++;
	pthread_cond_signal(&log->changed);
	pthread_mutex_unlock(&log->lock);
}

void lib_log_write(struct lib_log *log, enum lib_log_level level, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	lib_log_vwrite(log, level, format, arguments);
	va_end(arguments);
}

struct stream {
	struct lib_log *log;
	enum lib_log_level level;
	const char *prefix;
	size_t used;
	char line[LIB_LOG_LINE_MAX];
};

// stdio has the stream's lock.
static ssize_t stream_write(void *context, const char *bytes, size_t size)
{
	struct stream *stream = context;
	for (size_t i = 0; i < size; i++) {
		if (bytes[i] != '\n' && stream->used < sizeof(stream->line))
			stream->line[stream->used++] = bytes[i];
		if (bytes[i] == '\n' && stream->used) {
			lib_log_write(stream->log, stream->level, "%s%.*s", stream->prefix, (int)stream->used, stream->line);
			stream->used = 0;
		}
	}
	return (ssize_t)size;
}

static int stream_close(void *context)
{
	stream_write(context, "\n", 1);
	free(context);
	return 0;
}

FILE *lib_log_stream(struct lib_log *log, enum lib_log_level level, const char *prefix)
{
	struct stream *stream = calloc(1, sizeof(*stream));
	FILE *file = NULL;
	if (stream) {
		*stream = (struct stream){ .log = log, .level = level, .prefix = prefix };
		file = fopencookie(stream, "w", (cookie_io_functions_t){ .write = stream_write, .close = stream_close });
	}
	if (file)
		setvbuf(file, NULL, _IOLBF, 0);
	else
		free(stream);
	return file;
}

uint64_t lib_log_dropped(struct lib_log *log)
{
	pthread_mutex_lock(&log->lock);
	uint64_t dropped = log->dropped;
	pthread_mutex_unlock(&log->lock);
	return dropped;
}

void lib_log_close(struct lib_log *log)
{
	struct timespec end;
	if (!log)
		return;
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_nsec += LIB_LOG_END_MS * 1000000L;
	end.tv_sec += end.tv_nsec / 1000000000;
	end.tv_nsec %= 1000000000;
	pthread_t thread = log->thread;
	pthread_mutex_lock(&log->lock);
	log->is_ending = true;
	pthread_cond_signal(&log->changed);
	while (!log->is_over && pthread_cond_timedwait(&log->ended, &log->lock, &end) == 0)
		;
	bool is_over = log->is_over;
	log->is_left = !is_over;
	pthread_mutex_unlock(&log->lock);
	if (is_over) {
		pthread_join(thread, NULL);
		log_free(log);
	} else {
		pthread_detach(thread);
	}
}
