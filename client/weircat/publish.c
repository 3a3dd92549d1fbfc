// weircat publish: files or standard input, cut into lines or records, each an event. What is read is published before
// more is read; no credit stops the reading.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/weircat/weircat.h"
#include "lib/clock.h"

#define READ_SIZE (256u << 10)
#define RECORD_MAX (16u << 20) // the protocol's largest event
#define PIECE_MAX (32u << 10)  // first try of a line that is sent in pieces
#define STEP_MS 100            // between two looks whether a signal came

struct publisher {
	const struct cat_options *options;
	struct weir *weir;
	struct weir_producer *producer;
	uint64_t events;
	uint32_t piece_max;
	// Input: [at, end) of the buffer is not published yet.
	uint8_t *buffer;
	size_t capacity, at, end;
	int fd;
	bool is_cut; // a signal came before the end of the input
	bool is_regular;
	bool is_over;
	const char *file; // name for messages
	struct cat_watch watch;
	// Of the file: key and attributes of all its events.
	uint64_t file_key;
	uint8_t attributes[CAT_ATTRIBUTES_MAX];
	uint16_t attributes_size; // so that a mark has room behind them
	uint16_t event_attributes_size; // of the event that was made last
};

// ---- Events out ----

static bool is_done(struct publisher *publisher)
{
	const struct cat_options *options = publisher->options;
	if (options->count && publisher->events >= options->count)
		return true;
	publisher->is_cut = cat_stopped();
	return publisher->is_cut;
}

static void router_watch(struct publisher *publisher)
{
	struct weir_producer_counts counts;
	weir_producer_counts(publisher->producer, &counts);
	cat_watch(&publisher->watch, publisher->options, publisher->weir, counts.waiting);
}

// 0, CAT_FAILED, or -EMSGSIZE with nothing said. Waits for credit; a signal ends the wait unpublished.
static int topic_refused(const struct cat_options *options, unsigned reason)
{
	char what[80];
	snprintf(what, sizeof(what), "topic %s", options->topic);
	return cat_refused(options, what, reason);
}

static int event_publish(struct publisher *publisher, const struct weir_event *event)
{
	for (;;) {
		int error = weir_publish(publisher->producer, event);
		if (error == 0) {
			publisher->events++;
			return 0;
		}
		if (error == -EMSGSIZE)
			return error;
		if (error == -ENOENT)
			return cat_fail(publisher->options, "topic %s: removed from the router's topology",
					publisher->options->topic);
		if (error == -EPROTO) {
			struct weir_producer_counts counts;
			weir_producer_counts(publisher->producer, &counts);
			return topic_refused(publisher->options, counts.last_refusal);
		}
		if (error != -EAGAIN && error != -ENOTCONN)
			return cat_fail(publisher->options, "topic %s: %s", publisher->options->topic, strerror(-error));
		error = weir_poll(publisher->weir, 100);
		router_watch(publisher);
		if (error < 0 && error != -EINTR)
			return cat_fail(publisher->options, "%s: socket: %s", publisher->options->router, strerror(-error));
		publisher->is_cut = cat_stopped();
		if (publisher->is_cut)
			return CAT_FAILED;
	}
}

static bool is_separator(const uint8_t *at, size_t left, const char *separator, size_t size)
{
	if (size == 0)
		return *at == ' ' || *at == '\t';
	return left >= size && memcmp(at, separator, size) == 0;
}

static const uint8_t *field_of(const struct cat_options *options, const uint8_t *line, size_t size, size_t *field_size)
{
	const char *separator = options->key_separator;
	size_t separator_size = strlen(separator);
	size_t at = 0;
	for (unsigned long field = 1;; field++) {
		while (!separator_size && at < size && (line[at] == ' ' || line[at] == '\t'))
			at++;
		size_t end = at;
		while (end < size && !is_separator(line + end, size - end, separator, separator_size))
			end++;
		*field_size = end - at;
		if (field == options->key_field)
			return line + at;
		*field_size = 0;
		if (end == size)
			return line; // no such field: all of these in one place
		at = end + (separator_size ? separator_size : 1);
	}
}

// Key of a line's field, its text behind the attributes that all events of the file have. 0 or CAT_FAILED.
static int field_take(struct publisher *publisher, struct weir_event *event)
{
	const struct cat_options *options = publisher->options;
	struct weir_attribute text = { .id = WEIR_ATTRIBUTE_KEY };
	size_t size = 0;
	text.value = field_of(options, event->payload, event->payload_size, &size);
	text.size = (uint16_t)size;
	event->key = weir_key(text.value, size);
	if (!options->sends_key_text)
		return 0;
	if (size <= UINT16_MAX && weir_attribute_put(publisher->attributes, CAT_ATTRIBUTES_MAX - CAT_MARK_ROOM,
						     &event->attributes_size, &text) == 0)
		return 0;
	return cat_fail(options,
			"%s: event %llu: its key of %zu bytes has no room: other attributes take %u of %u bytes; shorten "
			"them or leave --key-text out",
			publisher->file, (unsigned long long)publisher->events + 1, size, publisher->attributes_size,
			CAT_ATTRIBUTES_MAX - CAT_MARK_ROOM);
}

// With the mark, which lies behind all other attributes. 0 or CAT_FAILED.
static int event_make(struct publisher *publisher, struct weir_event *event, enum cat_mark mark)
{
	const struct cat_options *options = publisher->options;
	int error = 0;
	event->type = options->type;
	event->attributes = publisher->attributes;
	event->attributes_size = publisher->attributes_size;
	switch (options->key) {
	case CAT_KEY_NONE:
		event->flags = WEIR_EVENT_KEYLESS;
		break;
	case CAT_KEY_FIELD:
		error = field_take(publisher, event);
		break;
	case CAT_KEY_FILE:
		event->key = publisher->file_key;
		break;
	case CAT_KEY_FIXED:
		event->key = weir_key(options->key_text, strlen(options->key_text));
		break;
	}
	if (mark && !error)
		cat_mark_put(publisher->attributes, sizeof(publisher->attributes), &event->attributes_size, mark);
	publisher->event_attributes_size = event->attributes_size;
	return error;
}

// One event. As event_publish().
static int bytes_publish(struct publisher *publisher, const uint8_t *bytes, size_t size, enum cat_mark mark)
{
	struct weir_event event = { .payload = bytes, .payload_size = (uint32_t)size };
	int error = event_make(publisher, &event, mark);
	return error ? error : event_publish(publisher, &event);
}

static int too_large(const struct publisher *publisher, size_t size)
{
	return cat_fail(publisher->options,
			"%s: event %llu of %zu bytes and %u of attributes: larger than topic %s allows; raise its event_max or "
			"cut the event",
			publisher->file, (unsigned long long)publisher->events + 1, size, publisher->event_attributes_size,
			publisher->options->topic);
}

// A line that is keyed by its file may come in pieces: whoever puts the file together again loses nothing.
static int pieces_publish(struct publisher *publisher, const uint8_t *line, size_t size, enum cat_mark mark)
{
	do {
		size_t piece = size < publisher->piece_max ? size : publisher->piece_max;
		int error = bytes_publish(publisher, line, piece, piece < size ? CAT_MARK_UNENDED : mark);
		if (error == -EMSGSIZE) {
			if (publisher->piece_max == 1)
				return too_large(publisher, piece);
			publisher->piece_max = (uint32_t)(piece / 2 ? piece / 2 : 1);
			continue;
		}
		if (error)
			return error;
		line += piece;
		size -= piece;
	} while (size);
	return 0;
}

static int line_publish(struct publisher *publisher, const uint8_t *line, size_t size, enum cat_mark mark)
{
	if (publisher->options->key == CAT_KEY_FILE && size > publisher->piece_max)
		return pieces_publish(publisher, line, size, mark);
	int error = bytes_publish(publisher, line, size, mark);
	if (error != -EMSGSIZE)
		return error;
	bool may_cut = publisher->options->key == CAT_KEY_FILE;
	return may_cut ? pieces_publish(publisher, line, size, mark) : too_large(publisher, size);
}

// ---- Input ----

// Waits until there is something to read, and keeps the session alive meanwhile.
static void input_wait(struct publisher *publisher)
{
	struct pollfd fds[2] = {
		{ .fd = publisher->fd, .events = POLLIN },
		{ .fd = weir_fd(publisher->weir), .events = POLLIN },
	};
	while (!cat_stopped() && !(fds[0].revents & (POLLIN | POLLHUP | POLLERR | POLLNVAL))) {
		weir_poll(publisher->weir, 0);
		router_watch(publisher);
		poll(fds, 2, -1);
	}
}

// Reads more behind what is there. 0 or CAT_FAILED; is_over says that nothing more comes.
static int input_more(struct publisher *publisher)
{
	if (publisher->at) {
		memmove(publisher->buffer, publisher->buffer + publisher->at, publisher->end - publisher->at);
		publisher->end -= publisher->at;
		publisher->at = 0;
	}
	if (publisher->capacity - publisher->end < READ_SIZE) {
		size_t capacity = publisher->capacity * 2;
		uint8_t *buffer = capacity > 4 * (size_t)RECORD_MAX ? NULL : realloc(publisher->buffer, capacity);
		if (!buffer)
			return cat_fail(publisher->options, "%s: a line or record of more than %zu bytes", publisher->file,
					publisher->end);
		publisher->buffer = buffer;
		publisher->capacity = capacity;
	}
	if (!publisher->is_regular)
		input_wait(publisher);
	if (cat_stopped())
		return 0;
	ssize_t size = read(publisher->fd, publisher->buffer + publisher->end, publisher->capacity - publisher->end);
	if (size < 0 && errno != EINTR)
		return cat_fail(publisher->options, "%s: cannot read: %s", publisher->file, strerror(errno));
	publisher->is_over = size == 0;
	publisher->end += size > 0 ? (size_t)size : 0;
	return 0;
}

static int lines_publish(struct publisher *publisher)
{
	size_t seen = 0; // bytes of the current line that hold no line end
	for (;;) {
		const uint8_t *line = publisher->buffer + publisher->at;
		size_t left = publisher->end - publisher->at;
		const uint8_t *end = memchr(line + seen, '\n', left - seen);
		if (is_done(publisher))
			return 0;
		int error = 0;
		if (end) {
			error = line_publish(publisher, line, (size_t)(end - line), CAT_MARK_NONE);
			publisher->at += (size_t)(end - line) + 1;
			seen = 0;
		} else if (publisher->is_over) {
			return left ? line_publish(publisher, line, left, CAT_MARK_UNENDED) : 0;
		} else if (publisher->options->key == CAT_KEY_FILE && left >= READ_SIZE) {
			// Pieces need not wait for the line's end: a line may be longer than memory.
			error = line_publish(publisher, line, left, CAT_MARK_UNENDED);
			publisher->at += left;
			seen = 0;
		} else {
			seen = left;
			error = input_more(publisher);
		}
		if (error)
			return error;
	}
}

static int records_publish(struct publisher *publisher)
{
	for (;;) {
		const uint8_t *at = publisher->buffer + publisher->at;
		size_t left = publisher->end - publisher->at;
		uint32_t size = 0;
		if (is_done(publisher))
			return 0;
		if (left >= sizeof(size))
			memcpy(&size, at, sizeof(size));
		if (size > RECORD_MAX)
			return too_large(publisher, size);
		int error = 0;
		if (left >= sizeof(size) && left - sizeof(size) >= size) {
			error = bytes_publish(publisher, at + sizeof(size), size, CAT_MARK_NONE);
			if (error == -EMSGSIZE)
				return too_large(publisher, size);
			publisher->at += sizeof(size) + size;
		} else if (publisher->is_over) {
			if (left == 0)
				return 0;
			return cat_fail(publisher->options, "%s: ends within a record: %zu bytes of %zu", publisher->file, left,
					sizeof(size) + size);
		} else {
			error = input_more(publisher);
		}
		if (error)
			return error;
	}
}

static void text_put(struct publisher *publisher, unsigned id, const char *text)
{
	struct weir_attribute attribute = { .id = (uint16_t)id, .value = text, .size = (uint16_t)strlen(text) };
	weir_attribute_put(publisher->attributes, sizeof(publisher->attributes), &publisher->attributes_size, &attribute);
}

// What all events of the file have. That there is room for it the command line was asked (main.c).
static void attributes_begin(struct publisher *publisher)
{
	const struct cat_options *options = publisher->options;
	const char *key = options->key == CAT_KEY_FILE ? publisher->file : options->key_text;
	publisher->attributes_size = options->attributes.size;
	memcpy(publisher->attributes, options->attributes.bytes, options->attributes.size);
	if (options->key == CAT_KEY_FILE)
		text_put(publisher, WEIR_ATTRIBUTE_SUBJECT, publisher->file);
	if (options->sends_key_text && options->key != CAT_KEY_FIELD)
		text_put(publisher, WEIR_ATTRIBUTE_KEY, key);
}

// Key and attributes of a file; by key its begin is an event too, so that an empty file arrives.
static int file_begin(struct publisher *publisher)
{
	attributes_begin(publisher);
	if (publisher->options->key != CAT_KEY_FILE)
		return 0;
	publisher->file_key = weir_key(publisher->file, strlen(publisher->file));
	int error = bytes_publish(publisher, NULL, 0, CAT_MARK_FILE);
	return error == -EMSGSIZE ? too_large(publisher, 0) : error;
}

static int file_publish(struct publisher *publisher, const char *path)
{
	bool is_stdin = !path || strcmp(path, "-") == 0;
	struct stat status;
	publisher->file = is_stdin ? CAT_STANDARD_INPUT : path;
	publisher->fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	if (publisher->fd < 0)
		return cat_fail(publisher->options, "%s: cannot open: %s", path, strerror(errno));
	publisher->is_regular = fstat(publisher->fd, &status) == 0 && S_ISREG(status.st_mode);
	publisher->is_over = false;
	publisher->at = publisher->end = 0;
	int error = file_begin(publisher);
	if (!error)
		error = publisher->options->is_length_prefixed ? records_publish(publisher) : lines_publish(publisher);
	if (!is_stdin)
		close(publisher->fd);
	return error;
}

// ---- All of it ----

static int topic_wait(const struct publisher *publisher)
{
	const struct cat_options *options = publisher->options;
	struct weir_producer *producer = publisher->producer;
	uint64_t deadline_ns = lib_deadline_in_ms(options->wait_ms);
	struct weir_producer_counts counts;
	int error = -ETIMEDOUT;
	// In steps, because a signal does not end the wait.
	for (int left_ms = 1; left_ms && error == -ETIMEDOUT && !cat_stopped() && !cat_is_hopeless(publisher->weir);) {
		left_ms = lib_deadline_left_ms(deadline_ns);
		error = weir_producer_wait(producer, left_ms < STEP_MS ? left_ms : STEP_MS);
	}
	if (error == -ETIMEDOUT && cat_stopped())
		return CAT_FAILED;
	weir_producer_counts(producer, &counts);
	switch (error) {
	case 0:
		return 0;
	case -ENOENT:
		return cat_fail(options, "topic %s: not in the router's topology; add it and apply", options->topic);
	case -ETIMEDOUT:
		if (weir_producer_refusal(producer))
			return topic_refused(options, weir_producer_refusal(producer));
		return cat_no_answer(options, publisher->weir);
	case -EPROTO:
		return topic_refused(options, counts.last_refusal);
	default:
		return cat_fail(options, "%s: %s", options->router, strerror(-error));
	}
}

static void stats_write(const struct weir_producer_counts *counts, const struct weir_statistics *statistics)
{
	fprintf(stderr,
		"{\"published\":%llu,\"routed\":%llu,\"refused\":%llu,\"unknown\":%llu,\"waiting\":%llu,\"frames_sent\":%llu,"
		"\"frames_resent\":%llu,\"nacks\":%llu,\"timeouts\":%llu,\"round_trip_ns\":%llu,\"sessions\":%llu,"
		"\"frame_size\":%u,\"frame_steps\":%llu}\n",
		(unsigned long long)counts->published, (unsigned long long)counts->routed, (unsigned long long)counts->refused,
		(unsigned long long)counts->unknown, (unsigned long long)counts->waiting,
		(unsigned long long)statistics->frames_sent,
		(unsigned long long)statistics->frames_resent, (unsigned long long)statistics->nacks,
		(unsigned long long)statistics->timeouts, (unsigned long long)statistics->round_trip_ns,
		(unsigned long long)statistics->sessions, statistics->frame_size,
		(unsigned long long)statistics->frame_steps);
}

// Says what did not end as it should.
static int verdict(const struct publisher *publisher, const struct weir_producer_counts *counts)
{
	const struct cat_options *options = publisher->options;
	uint64_t unknown = counts->unknown + counts->waiting;
	if (publisher->is_cut)
		cat_fail(options, "%s: not read to its end, for %s came: %llu events are published, %llu of them acknowledged",
			 publisher->file, strsignal(cat_stopped()), (unsigned long long)counts->published,
			 (unsigned long long)counts->routed);
	if (counts->refused)
		cat_fail(options, "topic %s: %llu of %llu events refused: %s", options->topic,
			 (unsigned long long)counts->refused, (unsigned long long)counts->published,
			 weir_refusal_text(counts->last_refusal));
	else if (counts->last_refusal)
		topic_refused(options, counts->last_refusal);
	if (unknown)
		cat_fail(options, "topic %s: %llu of %llu events without acknowledgement: they may have been routed or not",
			 options->topic, (unsigned long long)unknown, (unsigned long long)counts->published);
	return publisher->is_cut || counts->refused || unknown ? CAT_FAILED : CAT_OK;
}

static int inputs_publish(struct publisher *publisher)
{
	const struct cat_options *options = publisher->options;
	if (options->file_count == 0)
		return file_publish(publisher, NULL);
	int status = 0;
	for (int i = 0; !status && i < options->file_count && !is_done(publisher); i++)
		status = file_publish(publisher, options->files[i]);
	return status;
}

// Waits for what is on its way, then says goodbye; both together take no longer than they may.
static int publisher_close(struct publisher *publisher, int wait_ms)
{
	const struct cat_options *options = publisher->options;
	struct weir_producer_counts counts;
	struct weir_statistics statistics;
	uint64_t deadline_ns = lib_deadline_in_ms(wait_ms);
	weir_flush(publisher->producer, wait_ms);
	router_watch(publisher);
	weir_producer_counts(publisher->producer, &counts);
	weir_statistics(publisher->weir, &statistics);
	if (options->has_stats)
		stats_write(&counts, &statistics);
	int judged = verdict(publisher, &counts);
	weir_close(publisher->weir, counts.waiting ? 0 : lib_deadline_left_ms(deadline_ns));
	return judged;
}

int cat_publish(const struct cat_options *options, struct weir *weir)
{
	struct publisher publisher = {
		.options = options,
		.weir = weir,
		.capacity = 2 * READ_SIZE,
		.piece_max = PIECE_MAX,
		.buffer = malloc(2 * READ_SIZE),
		.file = "input",
		.watch = { .meanwhile = "what is read waits here",
			   .doubtful = "not acknowledged; what the router has not is sent, where it can tell",
			   .is_total = true },
	};
	struct weir_producer_options producer = { .level = options->level };
	int error = publisher.buffer ? weir_producer_open(&publisher.producer, weir, options->topic, &producer) : -ENOMEM;
	if (error) {
		weir_close(weir, 0);
		free(publisher.buffer);
		return cat_fail(options, "topic %s: %s", options->topic, cat_name_error(error));
	}
	int status = topic_wait(&publisher);
	bool is_open = status == 0;
	if (is_open)
		status = inputs_publish(&publisher);
	// A router that did not answer is not waited for once more.
	int judged = publisher_close(&publisher, is_open ? options->wait_ms : 0);
	free(publisher.buffer);
	return status ? status : judged;
}
