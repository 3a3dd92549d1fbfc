// Traces: each format is written here as its tool would write it, and read back. A file of its own for each test; nothing
// here needs more than /tmp.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "perf/trace.h"
#include "wire/codec.h"
#include "wire/frame.h"

static char path[64];

static void end(void)
{
	unlink(path);
}

static FILE *begin(void)
{
	snprintf(path, sizeof(path), "/tmp/weir-trace-XXXXXX");
	int fd = mkstemp(path);
	cr_assert_geq(fd, 0);
	return fdopen(fd, "w");
}

static void load(struct weir_trace *trace)
{
	struct weir_trouble trouble = { 0 };
	cr_assert_eq(weir_trace_load(trace, path, &trouble), 0, "%s: %s", trouble.object, trouble.reason);
}

static void expect_refused(const char *word)
{
	struct weir_trace trace;
	struct weir_trouble trouble = { 0 };
	cr_assert_lt(weir_trace_load(&trace, path, &trouble), 0);
	cr_expect(strstr(trouble.reason, word), "%s", trouble.reason);
}

static void record(FILE *file, uint64_t time_ns, uint64_t key, uint32_t size)
{
	uint8_t payload[256] = { 0 };
	uint32_t length = 16 + size;
	fwrite(&length, 4, 1, file);
	fwrite(&time_ns, 8, 1, file);
	fwrite(&key, 8, 1, file);
	fwrite(payload, size, 1, file);
}

Test(trace, of_records_is_read_in_the_order_of_time, .fini = end)
{
	FILE *file = begin();
	record(file, 5000, 7, 100);
	record(file, 7000, 1ull << 63, 10);
	record(file, 6000, 7, 64);
	fclose(file);
	struct weir_trace trace;
	load(&trace);
	cr_assert_eq(trace.count, 3);
	cr_expect_eq(trace.key_count, 2);
	cr_expect_eq(trace.events[0].time_ns, 0);
	cr_expect_eq(trace.events[1].time_ns, 1000);
	cr_expect_eq(trace.events[1].size, 64);
	cr_expect_eq(trace.events[2].time_ns, 2000);
	cr_expect_eq(trace.events[2].size, 32, "too small to be accounted for: raised to 32");
	cr_expect_eq(trace.keys[trace.events[0].key], 7);
	cr_expect_eq(trace.keys[trace.events[2].key], 1ull << 63);
	cr_expect_eq(trace.length_ns, 3000, "the next round begins a mean gap later");
	weir_trace_fini(&trace);
}

Test(trace, of_weircats_lines_keeps_all_bits_of_keys, .fini = end)
{
	FILE *file = begin();
	fputs("{\"key\":18446744073709551615,\"shard\":1,\"append_ns\":1000,\"payload\":\"a \\\"key\\\":3 b\"}\n", file);
	fputs("not an event\n", file);
	fputs("{\"key\":5,\"append_ns\":3000,", file);
	fputs("\"payload_base64\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}\n", file);
	fclose(file);
	struct weir_trace trace;
	load(&trace);
	cr_assert_eq(trace.count, 2);
	cr_expect_eq(trace.skipped, 1);
	cr_expect_eq(trace.keys[trace.events[0].key], UINT64_MAX);
	cr_expect_eq(trace.keys[trace.events[1].key], 5);
	cr_expect_eq(trace.events[1].size, 42);
	cr_expect_eq(trace.events[1].time_ns, 2000);
	weir_trace_fini(&trace);
}

// A publish frame of two events, 64 and 8 bytes of payload; returns its size.
static uint32_t frame_write(uint8_t *at, uint64_t key)
{
	struct weir_frame_header *frame = (void *)at;
	struct weir_event_header *first = (void *)(frame + 1);
	struct weir_event_header *second = (void *)((uint8_t *)first + 80);
	*frame = (struct weir_frame_header){ .kind = WEIR_KIND_PUBLISH, .count = 2 };
	*first = (struct weir_event_header){ .length = 80, .key = key };
	*second = (struct weir_event_header){ .length = 16 + 8 + 6, .attribute_words = 1, .key = key + 1 };
	weir_frame_seal(frame, 80 + 32);
	return sizeof(*frame) + 80 + 32;
}

static void packet_write(FILE *file, uint32_t seconds, uint32_t micros, const uint8_t *udp, uint32_t size, bool is_tagged)
{
	uint8_t head[46] = { 0 };
	uint32_t link = is_tagged ? 18 : 14;
	uint32_t captured = link + 28 + size;
	head[12] = is_tagged ? 0x81 : 0x08;
	head[link - 2] = 0x08;
	head[link] = 0x45;
	head[link + 9] = 17;
	head[link + 24] = (uint8_t)((size + 8) >> 8);
	head[link + 25] = (uint8_t)(size + 8);
	uint32_t record_header[4] = { seconds, micros, captured, captured };
	fwrite(record_header, sizeof(record_header), 1, file);
	fwrite(head, link + 28, 1, file);
	fwrite(udp, size, 1, file);
}

static void capture_header(FILE *file)
{
	uint32_t header[6] = { 0xa1b2c3d4, 4 << 16 | 2, 0, 0, 65535, 1 };
	fwrite(header, sizeof(header), 1, file);
}

Test(trace, of_a_capture_is_the_events_of_its_publish_frames, .fini = end)
{
	uint8_t bytes[1024] = { 0 };
	FILE *file = begin();
	capture_header(file);
	uint32_t size = frame_write(bytes, 10);
	packet_write(file, 100, 0, bytes, size, false);
	packet_write(file, 100, 250, bytes, size, true);
	// Two frames that segmentation offload captured as one, then something that is none of weir's.
	uint32_t both = size + frame_write(bytes + size, 20);
	packet_write(file, 101, 0, bytes, both, false);
	packet_write(file, 102, 0, (const uint8_t *)"hello", 5, false);
	fclose(file);
	struct weir_trace trace;
	load(&trace);
	cr_assert_eq(trace.count, 8);
	cr_expect_eq(trace.skipped, 1);
	cr_expect_eq(trace.key_count, 4);
	cr_expect_eq(trace.events[0].size, 64);
	cr_expect_eq(trace.events[1].size, 32);
	cr_expect_eq(trace.events[2].time_ns, 250000);
	cr_expect_eq(trace.events[7].time_ns, 1000000000);
	cr_expect_eq(trace.keys[trace.events[7].key], 21);
	weir_trace_fini(&trace);
}

Test(trace, of_a_cut_off_capture_is_what_is_there, .fini = end)
{
	uint8_t bytes[1024] = { 0 };
	FILE *file = begin();
	capture_header(file);
	uint32_t size = frame_write(bytes, 10);
	packet_write(file, 100, 0, bytes, size, false);
	packet_write(file, 100, 250, bytes, size, false);
	fflush(file);
	cr_assert_eq(ftruncate(fileno(file), ftell(file) - 20), 0);
	fclose(file);
	struct weir_trace trace;
	load(&trace);
	cr_expect_eq(trace.count, 2);
	weir_trace_fini(&trace);
}

Test(trace, of_something_else_is_refused, .fini = end)
{
	FILE *file = begin();
	fputs("neither this nor that", file);
	fclose(file);
	expect_refused("none of the known formats");
}

Test(trace, without_an_event_is_refused, .fini = end)
{
	FILE *file = begin();
	capture_header(file);
	fclose(file);
	expect_refused("no event of weir");
}
