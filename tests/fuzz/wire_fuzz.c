// Feeds the checks of frames and events with mutated vectors, in exact allocations, so that the address sanitizer sees
// every byte read too far. Half of the mutants get a right checksum, else little would come past it. What a check lets
// pass must keep what wire/codec.h promises of it. Prints TAP. Runs for a tenth of WEIR_BUDGET_S, or 2 s.
#include <time.h>

#include "tests/vectors/load.h"
#include "wire/codec.h"
#include "wire/key.h"

#define SEEDS_MAX 256

struct fuzz {
	struct vector *seeds[SEEDS_MAX];
	uint32_t seed_count;
	uint64_t random;
	uint64_t passed[2]; // frames from the router, from a client
	uint64_t refused[WEIR_REASON_COUNT];
	uint64_t broken_promises;
};

static uint64_t pick(struct fuzz *fuzz, uint64_t below)
{
	fuzz->random += 0x9e3779b97f4a7c15ull;
	return weir_mix64(fuzz->random) % below;
}

static void keep_seed(const struct vector *vector, void *context)
{
	struct fuzz *fuzz = context;
	if (vector->size < sizeof(struct weir_frame_header) || fuzz->seed_count == SEEDS_MAX)
		return;
	fuzz->seeds[fuzz->seed_count] = malloc(sizeof(*vector));
	*fuzz->seeds[fuzz->seed_count++] = *vector;
}

// Lengths and counts that break careless arithmetic.
static const uint32_t NASTY[] = { 0, 1, 7, 8, 15, 16, 17, 24, 40, 48, 63, 64, 65, 255, 4095, 4096, 4097, 0x7fff, 0x8000, 0xfff8,
				  0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffff0, 0xfffffff8, 0xfffffffc, 0xffffffff };

static void mutate(struct fuzz *fuzz, uint8_t *bytes, uint32_t size)
{
	uint32_t changes = 1 + (uint32_t)pick(fuzz, 4);
	while (changes-- && size) {
		uint32_t width = 1u << pick(fuzz, 4);
		uint64_t value = NASTY[pick(fuzz, sizeof(NASTY) / sizeof(NASTY[0]))];
		uint32_t at = (uint32_t)pick(fuzz, size);
		switch (pick(fuzz, 4)) {
		case 0:
			bytes[at] ^= (uint8_t)(1 << pick(fuzz, 8));
			break;
		case 1:
			bytes[at] = (uint8_t)pick(fuzz, 256);
			break;
		case 2: // an aligned field
			at &= ~(width - 1);
			if (at + width <= size)
				memcpy(bytes + at, &value, width);
			break;
		default: // a piece of another frame
			;
			const struct vector *other = fuzz->seeds[pick(fuzz, fuzz->seed_count)];
			uint32_t length = (uint32_t)pick(fuzz, 64);
			if (at + length <= size && at + length <= other->size)
				memcpy(bytes + at, other->bytes + at, length);
		}
	}
}

// Right checksums for whatever lengths say now, as far as they can be followed.
static void reseal(uint8_t *bytes, uint32_t size)
{
	struct weir_frame_header *frame = (void *)bytes;
	frame->body_length = (uint16_t)(size - sizeof(*frame));
	if (frame->kind == WEIR_KIND_DELIVER && !(frame->flags & WEIR_FLAG_FRAGMENT)) {
		uint32_t at = sizeof(*frame) + sizeof(struct weir_delivery);
		if (at > size)
			return;
		for (uint32_t i = 0; i < frame->count; i++) {
			struct weir_run_header *run = (void *)(bytes + at);
			if (size - at < sizeof(*run) || run->length % 8 || run->length > size - at - sizeof(*run))
				return;
			run->crc = weir_crc32c(0, run + 1, run->length);
			at += (uint32_t)sizeof(*run) + run->length;
		}
	}
	frame->crc = weir_frame_crc(frame, NULL);
}

static bool events_promise_holds(const struct weir_frame_header *frame)
{
	const void *body = frame + 1;
	enum weir_reason reason = weir_events_check(body, frame->body_length, frame->count, WEIR_EVENT_LIMIT, 0, 1);
	return reason != WEIR_R_NONE || weir_events_size(body, frame->count) == frame->body_length;
}

static bool runs_promise_holds(const struct weir_frame_header *frame)
{
	const uint8_t *at = (const uint8_t *)(frame + 1) + sizeof(struct weir_delivery);
	const uint8_t *end = (const uint8_t *)(frame + 1) + frame->body_length;
	for (uint32_t i = 0; i < frame->count; i++) {
		const struct weir_run_header *run = (const void *)at;
		at += sizeof(*run);
		if (at > end || run->length > (size_t)(end - at))
			return false;
		if (weir_events_check(at, run->length, run->count, WEIR_EVENT_LIMIT, 0, 1) == WEIR_R_NONE &&
		    weir_events_size(at, run->count) != run->length)
			return false;
		at += run->length;
	}
	return at == end;
}

static void try_one(struct fuzz *fuzz)
{
	const struct vector *seed = fuzz->seeds[pick(fuzz, fuzz->seed_count)];
	uint32_t size = seed->size;
	if (pick(fuzz, 8) == 0)
		size = (uint32_t)pick(fuzz, size + 1);
	else if (pick(fuzz, 8) == 0)
		size += (uint32_t)pick(fuzz, 64);
	uint8_t *bytes = malloc(size ? size : 1);
	memcpy(bytes, seed->bytes, size < seed->size ? size : seed->size);
	if (size > seed->size)
		memset(bytes + seed->size, (int)pick(fuzz, 256), size - seed->size);
	mutate(fuzz, bytes, size);
	if (size >= sizeof(struct weir_frame_header) && pick(fuzz, 2))
		reseal(bytes, size);
	bool from_client = pick(fuzz, 8) ? seed->from_client : !seed->from_client;
	enum weir_reason reason = weir_frame_check(bytes, size, from_client, pick(fuzz, 4) == 0, NULL);
	fuzz->refused[reason]++;
	const struct weir_frame_header *frame = (const void *)bytes;
	if (reason == WEIR_R_NONE) {
		fuzz->passed[from_client]++;
		bool holds = size == sizeof(*frame) + frame->body_length;
		if (frame->kind == WEIR_KIND_PUBLISH && !(frame->flags & WEIR_FLAG_FRAGMENT))
			holds = holds && events_promise_holds(frame);
		else if (frame->kind == WEIR_KIND_DELIVER && !(frame->flags & WEIR_FLAG_FRAGMENT))
			holds = holds && runs_promise_holds(frame);
		fuzz->broken_promises += !holds;
	}
	free(bytes);
}

static double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	static struct fuzz fuzz;
	const char *budget = getenv("WEIR_BUDGET_S");
	fuzz.random = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL);
	uint64_t seed = fuzz.random;
	vectors_visit(VECTORS, keep_seed, &fuzz);
	uint64_t tries = 0;
	for (double end = seconds() + (budget ? atof(budget) / 10 : 2); seconds() < end; tries += 1000) {
		for (int i = 0; i < 1000; i++)
			try_one(&fuzz);
	}
	uint32_t silent = 0;
	static const enum weir_reason REACHED[] = { WEIR_R_SHORT, WEIR_R_MAGIC, WEIR_R_VERSION, WEIR_R_KIND, WEIR_R_LENGTH,
						    WEIR_R_COUNT, WEIR_R_FLAGS, WEIR_R_CRC };
	for (size_t i = 0; i < sizeof(REACHED) / sizeof(REACHED[0]); i++)
		silent += fuzz.refused[REACHED[i]] == 0;
	printf("1..3\n# seed %#llx, %llu frames\n", (unsigned long long)seed, (unsigned long long)tries);
	printf("%sok 1 - no check lets a frame pass that breaks its promise\n", fuzz.broken_promises ? "not " : "");
	printf("%sok 2 - every stateless reason was reached\n", silent ? "not " : "");
	printf("%sok 3 - mutants of both directions pass the checks\n", fuzz.passed[0] && fuzz.passed[1] ? "" : "not ");
	return fuzz.broken_promises || silent || !fuzz.passed[0] || !fuzz.passed[1];
}
