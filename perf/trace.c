// Reads recorded traces, see perf/trace.h. The file is mapped and walked once; every length is checked against what is left.
// Startup only, one thread.
#include "perf/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "perf/payload.h"
#include "wire/frame.h"
#include "wire/key.h"
#include "wire/limits.h"

#define MEAN_GAP_DEFAULT_NS 1000000u // of a trace of one event

struct bytes {
	const uint8_t *at;
	size_t size;
};

static uint16_t big16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

// ---- Collecting ----

static int slots_grow(struct weir_trace *trace)
{
	uint32_t count = trace->slot_count ? trace->slot_count * 2 : 1024;
	uint32_t *slots = calloc(count, sizeof(*slots));
	uint64_t *keys = realloc(trace->keys, count / 2 * sizeof(*keys));
	if (keys)
		trace->keys = keys;
	if (!slots || !keys) {
		free(slots);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < trace->key_count; i++) {
		uint32_t slot = (uint32_t)weir_mix64(trace->keys[i]) & (count - 1);
		while (slots[slot])
			slot = (slot + 1) & (count - 1);
		slots[slot] = i + 1;
	}
	free(trace->slots);
	trace->slots = slots;
	trace->slot_count = count;
	return 0;
}

// Index of the key, by open addressing in a table that is at most half full.
static int key_index(struct weir_trace *trace, uint64_t key, uint32_t *index)
{
	if (trace->key_count * 2 >= trace->slot_count) {
		int result = slots_grow(trace);
		if (result)
			return result;
	}
	uint32_t slot = (uint32_t)weir_mix64(key) & (trace->slot_count - 1);
	while (trace->slots[slot] && trace->keys[trace->slots[slot] - 1] != key)
		slot = (slot + 1) & (trace->slot_count - 1);
	if (!trace->slots[slot]) {
		if (trace->key_count == WEIR_TRACE_KEYS_MAX)
			return -E2BIG;
		trace->keys[trace->key_count++] = key;
		trace->slots[slot] = trace->key_count;
	}
	*index = trace->slots[slot] - 1;
	return 0;
}

static int event_add(struct weir_trace *trace, uint64_t time_ns, uint64_t key, size_t size)
{
	struct weir_trace_event event = { .time_ns = time_ns };
	int result = key_index(trace, key, &event.key);
	if (result)
		return result;
	if (trace->count == WEIR_TRACE_EVENTS_MAX || size > WEIR_EVENT_LIMIT - sizeof(struct weir_event_header))
		return -E2BIG;
	if ((trace->count & (trace->count - 1)) == 0) {
		size_t room = trace->count ? (size_t)trace->count * 2 : 1;
		struct weir_trace_event *events = realloc(trace->events, room * sizeof(*events));
		if (!events)
			return -ENOMEM;
		trace->events = events;
	}
	event.size = size < WEIR_PAYLOAD_MIN ? WEIR_PAYLOAD_MIN : (uint32_t)size;
	trace->events[trace->count++] = event;
	return 0;
}

// ---- pcap ----

// Events of one publish frame. Frames sent by segmentation offload are captured as one large datagram: the next one follows.
static int frames_add(struct weir_trace *trace, struct bytes udp, uint64_t time_ns)
{
	uint32_t before = trace->count;
	while (udp.size >= sizeof(struct weir_frame_header)) {
		const struct weir_frame_header *frame = (const void *)udp.at;
		size_t length = sizeof(*frame) + frame->body_length;
		if (frame->magic != WEIR_MAGIC || frame->version != WEIR_VERSION || length > udp.size)
			break;
		struct bytes body = { udp.at + sizeof(*frame), frame->body_length };
		uint32_t count = frame->kind == WEIR_KIND_PUBLISH && !(frame->flags & WEIR_FLAG_FRAGMENT) ? frame->count : 0;
		while (count-- && body.size >= sizeof(struct weir_event_header)) {
			const struct weir_event_header *event = (const void *)body.at;
			size_t room = (event->length + 7ul) & ~7ul;
			size_t head = sizeof(*event) + event->attribute_words * 8u;
			if (event->length < head || room > body.size)
				break;
			int result = event_add(trace, time_ns, event->key, event->length - head);
			if (result)
				return result;
			body = (struct bytes){ body.at + room, body.size - room };
		}
		udp = (struct bytes){ udp.at + length, udp.size - length };
	}
	trace->skipped += trace->count == before;
	return 0;
}

// The payload of a UDP datagram in an IP packet; size 0: it is none.
static struct bytes udp_of(struct bytes ip)
{
	struct bytes none = { 0 };
	size_t head;
	if (ip.size >= 20 && ip.at[0] >> 4 == 4) {
		head = (ip.at[0] & 15u) * 4u;
		if (ip.at[9] != 17 || (big16(ip.at + 6) & 0x3fff)) // not UDP, or an IP fragment
			return none;
	} else if (ip.size >= 40 && ip.at[0] >> 4 == 6) {
		head = 40;
		if (ip.at[6] != 17)
			return none;
	} else {
		return none;
	}
	if (head < 20 || ip.size < head + 8)
		return none;
	uint32_t length = big16(ip.at + head + 4);
	size_t size = ip.size - head - 8;
	// A captured offload buffer may say 0; padding behind a short packet is not ours.
	if (length >= 8 && length - 8u < size)
		size = length - 8u;
	return (struct bytes){ ip.at + head + 8, size };
}

// The IP packet in a captured one; size 0: none, or a link type that is not known.
static struct bytes ip_of(struct bytes packet, uint32_t link)
{
	size_t head = 0;
	if (link == 1) { // Ethernet, with VLAN tags
		head = 14;
		while (packet.size >= head && head <= 22 && (big16(packet.at + head - 2) == 0x8100 ||
							     big16(packet.at + head - 2) == 0x88a8))
			head += 4;
	} else if (link == 0 || link == 108) { // BSD loopback
		head = 4;
	} else if (link == 113) { // Linux cooked
		head = 16;
	} else if (link == 276) { // Linux cooked, version 2
		head = 20;
	} else if (link != 12 && link != 101) { // raw IP
		return (struct bytes){ 0 };
	}
	return packet.size > head ? (struct bytes){ packet.at + head, packet.size - head } : (struct bytes){ 0 };
}

static uint32_t number32(const uint8_t *at, bool is_swapped)
{
	uint32_t value;
	memcpy(&value, at, 4);
	return is_swapped ? __builtin_bswap32(value) : value;
}

static int pcap_read(struct weir_trace *trace, struct bytes file, bool is_swapped, bool is_nano)
{
	if (file.size < 24)
		return -EINVAL;
	uint32_t link = number32(file.at + 20, is_swapped) & 0xffff;
	file = (struct bytes){ file.at + 24, file.size - 24 };
	int result = 0;
	while (file.size >= 16 && result == 0) {
		uint64_t seconds = number32(file.at, is_swapped);
		uint64_t parts = number32(file.at + 4, is_swapped);
		size_t captured = number32(file.at + 8, is_swapped);
		if (captured > file.size - 16)
			break; // cut off while it was written
		struct bytes packet = { file.at + 16, captured };
		result = frames_add(trace, udp_of(ip_of(packet, link)), seconds * 1000000000ull + parts * (is_nano ? 1 : 1000));
		file = (struct bytes){ packet.at + captured, file.size - 16 - captured };
	}
	return result;
}

// ---- JSON lines, records ----

// The number behind `name`, quotes and colon included. Text cannot hold the name unescaped, and all 64 bits are kept.
static bool member_number(struct bytes line, const char *name, uint64_t *value)
{
	char digits[24] = "";
	const uint8_t *at = memmem(line.at, line.size, name, strlen(name));
	if (!at)
		return false;
	at += strlen(name);
	const uint8_t *end = line.at + line.size;
	while (at < end && *at == ' ')
		at++;
	for (size_t i = 0; i + 1 < sizeof(digits) && at < end && *at >= '0' && *at <= '9'; i++)
		digits[i] = (char)*at++;
	*value = strtoull(digits, NULL, 10);
	return digits[0] != 0;
}

static int line_read(struct weir_trace *trace, struct bytes line)
{
	uint64_t time_ns;
	uint64_t key;
	json_t *object = json_loadb((const char *)line.at, line.size, JSON_DECODE_INT_AS_REAL, NULL);
	const json_t *payload = json_object_get(object, "payload");
	const json_t *base64 = json_object_get(object, "payload_base64");
	size_t size = base64 ? json_string_length(base64) / 4 * 3 : json_string_length(payload);
	int result = 0;
	if ((payload || base64) && member_number(line, "\"append_ns\":", &time_ns) && member_number(line, "\"key\":", &key))
		result = event_add(trace, time_ns, key, size);
	else
		trace->skipped++;
	json_decref(object);
	return result;
}

static int json_read(struct weir_trace *trace, struct bytes file)
{
	int result = 0;
	while (file.size && result == 0) {
		const uint8_t *end = memchr(file.at, '\n', file.size);
		size_t length = end ? (size_t)(end - file.at) : file.size;
		result = line_read(trace, (struct bytes){ file.at, length });
		length += end != NULL;
		file = (struct bytes){ file.at + length, file.size - length };
	}
	return result;
}

static int records_read(struct weir_trace *trace, struct bytes file)
{
	int result = 0;
	while (file.size >= 4 && result == 0) {
		uint32_t length = number32(file.at, false);
		uint64_t time_ns;
		uint64_t key;
		if (length < 16 || length > file.size - 4)
			return -EINVAL;
		memcpy(&time_ns, file.at + 4, 8);
		memcpy(&key, file.at + 12, 8);
		result = event_add(trace, time_ns, key, length - 16);
		file = (struct bytes){ file.at + 4 + length, file.size - 4 - length };
	}
	return result ? result : file.size ? -EINVAL : 0;
}

// ---- The whole ----

static int read_any(struct weir_trace *trace, struct bytes file)
{
	uint32_t magic = file.size >= 4 ? number32(file.at, false) : 0;
	switch (magic) {
	case 0xa1b2c3d4: return pcap_read(trace, file, false, false);
	case 0xd4c3b2a1: return pcap_read(trace, file, true, false);
	case 0xa1b23c4d: return pcap_read(trace, file, false, true);
	case 0x4d3cb2a1: return pcap_read(trace, file, true, true);
	default: break;
	}
	if (file.size && file.at[0] == '{')
		return json_read(trace, file);
	return records_read(trace, file);
}

static int event_compare(const void *a, const void *b)
{
	const struct weir_trace_event *left = a;
	const struct weir_trace_event *right = b;
	return left->time_ns < right->time_ns ? -1 : left->time_ns > right->time_ns;
}

// Times from 0, in order; a round ends a mean gap after the last event.
static int finish(struct weir_trace *trace)
{
	if (trace->count == 0)
		return -ENODATA;
	bool is_sorted = true;
	for (uint32_t i = 1; i < trace->count && is_sorted; i++)
		is_sorted = trace->events[i - 1].time_ns <= trace->events[i].time_ns;
	if (!is_sorted)
		qsort(trace->events, trace->count, sizeof(*trace->events), event_compare);
	uint64_t first = trace->events[0].time_ns;
	for (uint32_t i = 0; i < trace->count; i++)
		trace->events[i].time_ns -= first;
	uint64_t last = trace->events[trace->count - 1].time_ns;
	uint64_t gap = trace->count > 1 ? last / (trace->count - 1) : MEAN_GAP_DEFAULT_NS;
	trace->length_ns = last + (gap ? gap : 1);
	return 0;
}

static int map_file(const char *path, struct bytes *file)
{
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int result = fstat(fd, &status) ? -errno : status.st_size == 0 ? -ENODATA : 0;
	if (result == 0) {
		void *at = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (at == MAP_FAILED)
			result = -errno;
		else
			*file = (struct bytes){ at, (size_t)status.st_size };
	}
	close(fd);
	return result;
}

int weir_trace_load(struct weir_trace *trace, const char *path, struct weir_trouble *trouble)
{
	struct bytes file = { 0 };
	*trace = (struct weir_trace){ 0 };
	int result = map_file(path, &file);
	if (result == 0) {
		result = read_any(trace, file);
		munmap((void *)file.at, file.size);
	}
	if (result == 0)
		result = finish(trace);
	if (result == 0)
		return 0;
	weir_trace_fini(trace);
	char object[160];
	snprintf(object, sizeof(object), "trace %s", path);
	const char *reason = result == -ENODATA ? "there is no event of weir in it"
			     : result == -E2BIG ? "it has more than 67108864 events, 262144 keys, or an event over 16 MiB"
			     : result == -EINVAL ? "it is none of the known formats, or damaged"
						 : strerror(-result);
	weir_trouble_set(trouble, object, "replay it",
			 "record one with `tcpdump -w FILE udp port 9347` or `weircat subscribe --json`", "%s", reason);
	return result;
}

void weir_trace_fini(struct weir_trace *trace)
{
	free(trace->events);
	free(trace->keys);
	free(trace->slots);
	*trace = (struct weir_trace){ 0 };
}
