// A stranger and a broken client in one: sends random, truncated and mutated frames of every kind to a router, at speed,
// from one socket. Half of them carry a session that it opened properly, so that what lies behind the session check is
// reached too. It says, by wire/codec.h's own judgement, how many frames must be counted under which reason. One thread.
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "wire/codec.h"
#include "wire/key.h"

#define BATCH 64u
#define ROOM 1472u // UDP payload of an Ethernet frame: larger would be sent as IP fragments
#define SHARDS_MAX 16u

struct bad {
	struct sockaddr_in router;
	const char *topic_name, *group_name;
	uint64_t frames, rate, random;
	int socket;
	uint64_t session, nonce;
	uint32_t topic, shards, streams[SHARDS_MAX];
	uint64_t sent, sessions, answers, said; // said: well-formed frames of its own, beside the bad ones
	uint64_t expected[WEIR_REASON_ROOM];
	uint8_t buffers[BATCH][ROOM] __attribute__((aligned(8)));
};

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t next_random(struct bad *bad)
{
	bad->random += 0x9e3779b97f4a7c15ull;
	return weir_mix64(bad->random);
}

static uint32_t below(struct bad *bad, uint32_t limit)
{
	return (uint32_t)(next_random(bad) % limit);
}

static void fill_random(struct bad *bad, uint8_t *bytes, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)next_random(bad);
}

static void fill_name(char name[WEIR_NAME_SIZE], const char *text)
{
	memset(name, 0, WEIR_NAME_SIZE);
	memcpy(name, text, strnlen(text, WEIR_NAME_SIZE - 1));
}

static void *start(uint8_t *frame, uint8_t kind, uint64_t session)
{
	struct weir_frame_header *header = (void *)frame;
	*header = (struct weir_frame_header){ .kind = kind, .session = session };
	return header + 1;
}

static void say(struct bad *bad, uint8_t *frame, uint16_t body)
{
	weir_frame_seal((void *)frame, body);
	if (sendto(bad->socket, frame, sizeof(struct weir_frame_header) + body, 0, (void *)&bad->router,
		   sizeof(bad->router)) >= 0)
		bad->said++;
}

// Waits up to 200 ms for a frame of that kind. NULL: none came.
static const struct weir_frame_header *hear(struct bad *bad, uint8_t kind, uint8_t *frame)
{
	uint64_t deadline = now_ns() + 200000000u;
	while (now_ns() < deadline) {
		ssize_t size = recv(bad->socket, frame, ROOM, 0);
		const struct weir_frame_header *header = (const void *)frame;
		if (size >= (ssize_t)sizeof(*header) &&
		    weir_frame_check(frame, (size_t)size, false, false, NULL) == WEIR_R_NONE && header->kind == kind)
			return header;
	}
	return NULL;
}

static bool open_session(struct bad *bad)
{
	uint8_t frame[ROOM] __attribute__((aligned(8))) = { 0 };
	uint64_t cookie = 0;
	bad->nonce = next_random(bad);
	for (int round = 0; round < 20; round++) {
		memset(frame, 0, sizeof(frame));
		struct weir_hello *hello = start(frame, WEIR_KIND_HELLO, 0);
		*hello = (struct weir_hello){ .nonce = bad->nonce,
					      .cookie = cookie,
					      .producer = bad->nonce | 1,
					      .frame_size = ROOM,
					      .receive_buffer = 1 << 20,
					      .versions = { WEIR_VERSION },
					      .name = "badinput" };
		say(bad, frame, ROOM - sizeof(struct weir_frame_header));
		const struct weir_frame_header *header = hear(bad, cookie ? WEIR_KIND_WELCOME : WEIR_KIND_CHALLENGE, frame);
		if (!header) {
			cookie = 0;
			continue;
		}
		if (!cookie) {
			cookie = ((const struct weir_challenge *)(header + 1))->cookie;
			continue;
		}
		bad->session = ((const struct weir_welcome *)(header + 1))->session;
		bad->sessions++;
		return true;
	}
	return false;
}

static bool open_streams(struct bad *bad)
{
	uint8_t frame[ROOM] __attribute__((aligned(8)));
	for (int round = 0; round < 20 && !bad->shards; round++) {
		struct weir_metadata_ask *ask = start(frame, WEIR_KIND_METADATA, bad->session);
		*ask = (struct weir_metadata_ask){ .request = next_random(bad) };
		fill_name(ask->topic, bad->topic_name);
		say(bad, frame, sizeof(*ask));
		const struct weir_frame_header *header = hear(bad, WEIR_KIND_TOPIC, frame);
		if (header) {
			const struct weir_topic_info *info = (const void *)(header + 1);
			bad->topic = info->topic;
			bad->shards = info->shards < SHARDS_MAX ? info->shards : SHARDS_MAX;
		}
	}
	for (uint32_t shard = 0; shard < bad->shards; shard++) {
		struct weir_open *open = start(frame, WEIR_KIND_OPEN, bad->session);
		struct weir_frame_header *header = (void *)frame;
		header->topic = bad->topic;
		header->shard = (uint16_t)shard;
		*open = (struct weir_open){ .request = next_random(bad), .level = WEIR_ACK_ROUTED };
		say(bad, frame, sizeof(*open));
		const struct weir_frame_header *answer = hear(bad, WEIR_KIND_OPENED, frame);
		if (answer && answer->shard < SHARDS_MAX)
			bad->streams[answer->shard] = answer->stream;
	}
	return bad->shards > 0;
}

static uint16_t events(struct bad *bad, struct weir_frame_header *header, uint8_t *body)
{
	uint16_t size = 0;
	header->count = (uint16_t)(1 + below(bad, 16));
	for (uint32_t i = 0; i < header->count; i++) {
		struct weir_event_header *event = (void *)(body + size);
		*event = (struct weir_event_header){ .length = sizeof(*event) + below(bad, 65), .key = next_random(bad) };
		size = (uint16_t)(size + weir_pad8(event->length));
	}
	return size;
}

static uint16_t reports(struct bad *bad, struct weir_frame_header *header, struct weir_report_entry *entries)
{
	header->count = (uint16_t)(1 + below(bad, 8));
	for (uint32_t i = 0; i < header->count; i++) {
		entries[i] = (struct weir_report_entry){ .topic = bad->topic,
							 .shard = (uint16_t)below(bad, 5),
							 .stream = below(bad, 4),
							 .term = below(bad, 4),
							 .received_to = next_random(bad),
							 .settled_to = below(bad, 1000),
							 .limit = next_random(bad),
							 .group = below(bad, 4) };
	}
	return (uint16_t)(header->count * sizeof(*entries));
}

// Body of a well-formed frame of the kind, as far as this side knows how; returns its size.
static uint16_t body_of_kind(struct bad *bad, struct weir_frame_header *header)
{
	uint8_t *body = (uint8_t *)(header + 1);
	uint16_t size = 0;
	switch (header->kind) {
	case WEIR_KIND_HELLO:
		size = (uint16_t)(WEIR_FRAME_MIN + below(bad, 900) / 8 * 8 - sizeof(*header));
		*(struct weir_hello *)body = (struct weir_hello){ .nonce = next_random(bad),
								  .cookie = next_random(bad) & 3 ? 0 : next_random(bad),
								  .producer = next_random(bad),
								  .frame_size = size + sizeof(*header),
								  .versions = { WEIR_VERSION } };
		break;
	case WEIR_KIND_METADATA:
		size = sizeof(struct weir_metadata_ask);
		fill_name(((struct weir_metadata_ask *)body)->topic, bad->topic_name);
		break;
	case WEIR_KIND_OPEN:
		size = sizeof(struct weir_open);
		*(struct weir_open *)body =
			(struct weir_open){ .request = next_random(bad), .level = (uint8_t)below(bad, 3) };
		break;
	case WEIR_KIND_PUBLISH:
		size = events(bad, header, body);
		break;
	case WEIR_KIND_SKIP:
		size = sizeof(struct weir_skip);
		*(struct weir_skip *)body = (struct weir_skip){ .count = below(bad, 100), .reason = WEIR_R_ABANDONED };
		break;
	case WEIR_KIND_JOIN:
		size = sizeof(struct weir_join);
		fill_name(((struct weir_join *)body)->topic, bad->topic_name);
		fill_name(((struct weir_join *)body)->group, bad->group_name);
		break;
	case WEIR_KIND_REPORT:
		size = reports(bad, header, (void *)body);
		break;
	case WEIR_KIND_REVOKED:
		size = sizeof(struct weir_revoke);
		*(struct weir_revoke *)body = (struct weir_revoke){ .settled_to = next_random(bad),
								    .group = below(bad, 4),
								    .term = below(bad, 4) };
		break;
	case WEIR_KIND_LEAVE:
		size = sizeof(struct weir_leave);
		*(struct weir_leave *)body = (struct weir_leave){ .group = below(bad, 4) };
		break;
	case WEIR_KIND_CLOSE:
		size = sizeof(struct weir_close);
		*(struct weir_close *)body = (struct weir_close){ .request = below(bad, 8) };
		break;
	case WEIR_KIND_PING:
	case WEIR_KIND_BYE:
	case WEIR_KIND_PROBE:
		break;
	default: // of the other direction, or unknown: any bytes will do
		size = (uint16_t)(below(bad, 64) * 8);
		fill_random(bad, body, size);
	}
	return size;
}

// A frame as a client may send it; returns its size.
static uint32_t whole_frame(struct bad *bad, uint8_t *bytes)
{
	memset(bytes, 0, ROOM);
	struct weir_frame_header *header = (void *)bytes;
	uint32_t dice = below(bad, 8), shard = below(bad, bad->shards);
	header->kind = (uint8_t)(dice ? 1 + below(bad, WEIR_KIND_LIMIT - 1) : below(bad, 256));
	if (dice >= 5)
		header->kind = WEIR_KIND_PUBLISH;
	// A goodbye in its own name would end the game.
	bool is_own = dice & 1 && header->kind != WEIR_KIND_BYE;
	header->session = is_own ? bad->session : below(bad, 2) ? next_random(bad) : 0;
	header->topic = bad->topic;
	header->shard = (uint16_t)shard;
	header->stream = bad->streams[shard];
	header->sequence = below(bad, 4) ? below(bad, 10000) : next_random(bad);
	uint16_t body = body_of_kind(bad, header);
	weir_frame_seal(header, body);
	return (uint32_t)sizeof(*header) + body;
}

// Puts a value that somebody forgot to think of into one field, aligned to its size.
static void mutate_field(struct bad *bad, uint8_t *bytes, uint32_t size)
{
	uint32_t width = 1u << below(bad, 4);
	uint32_t at = below(bad, size / width) * width;
	uint64_t old = 0, values[] = { 0, 1, ~0ull, next_random(bad), 0x7fffffffffffffffull, 1ull << below(bad, 64) };
	memcpy(&old, bytes + at, width);
	uint32_t pick = below(bad, 8);
	uint64_t value = pick < 6 ? values[pick] : pick == 6 ? old + 1 : old - 1;
	memcpy(bytes + at, &value, width);
}

// One bad frame; returns its size.
static uint32_t bad_frame(struct bad *bad, uint8_t *bytes)
{
	struct weir_frame_header *header = (void *)bytes;
	uint32_t size = whole_frame(bad, bytes), way = below(bad, 8);
	if (way == 0) {
		size = below(bad, ROOM + 1);
		fill_random(bad, bytes, size);
	} else if (way == 1) {
		size = sizeof(*header) + below(bad, ROOM - sizeof(*header));
		fill_random(bad, bytes + 3, size - 3);
	} else if (way == 2) {
		size = below(bad, size);
	} else if (way == 3) {
		uint32_t longer = size + below(bad, ROOM - size + 1);
		fill_random(bad, bytes + size, longer - size);
		size = longer;
	} else if (way == 4) {
		for (uint32_t flips = 1 + below(bad, 8); flips; flips--)
			bytes[below(bad, size)] ^= (uint8_t)(1u << below(bad, 8));
	} else if (way == 5) { // sizes that contradict each other, with a good sum
		header->count = (uint16_t)next_random(bad);
		if (header->kind != WEIR_KIND_DELIVER) // whose sum follows the runs that count announces
			header->crc = weir_frame_crc(header, NULL);
	} else { // the sum is good, a field is not: what only the checks behind it can find
		uint8_t kind = header->kind;
		uint16_t length = header->body_length;
		mutate_field(bad, bytes, size);
		if (header->body_length == length && (header->kind == kind || header->kind < WEIR_KIND_TOPIC) &&
		    header->kind != WEIR_KIND_DELIVER)
			header->crc = weir_frame_crc(header, NULL);
	}
	return size;
}

// Reads what came back; opens a new session when this one was ended.
static bool listen_back(struct bad *bad)
{
	uint8_t frame[ROOM] __attribute__((aligned(8)));
	bool is_alive = true;
	for (ssize_t size; (size = recv(bad->socket, frame, sizeof(frame), MSG_DONTWAIT)) >= 0;) {
		const struct weir_frame_header *header = (const void *)frame;
		bad->answers++;
		if (size >= (ssize_t)sizeof(*header) && header->session == bad->session &&
		    (header->kind == WEIR_KIND_BYE || header->kind == WEIR_KIND_ERROR) &&
		    weir_frame_check(frame, (size_t)size, false, false, NULL) == WEIR_R_NONE &&
		    (header->kind == WEIR_KIND_BYE ||
		     ((const struct weir_error *)(header + 1))->reason == WEIR_R_NO_SESSION))
			is_alive = false;
	}
	return is_alive || (open_session(bad) && open_streams(bad));
}

static bool storm(struct bad *bad)
{
	struct mmsghdr messages[BATCH] = { 0 };
	struct iovec parts[BATCH];
	uint64_t began = now_ns();
	while (bad->sent < bad->frames) {
		uint32_t count = bad->frames - bad->sent < BATCH ? (uint32_t)(bad->frames - bad->sent) : BATCH;
		for (uint32_t i = 0; i < count; i++) {
			uint32_t size = bad_frame(bad, bad->buffers[i]);
			parts[i] = (struct iovec){ bad->buffers[i], size };
			messages[i].msg_hdr = (struct msghdr){ .msg_name = &bad->router,
							       .msg_namelen = sizeof(bad->router),
							       .msg_iov = &parts[i],
							       .msg_iovlen = 1 };
		}
		int done = sendmmsg(bad->socket, messages, count, 0);
		if (done < 0 && errno != ENOBUFS && errno != EAGAIN && errno != ECONNREFUSED)
			return false;
		for (int i = 0; i < done; i++)
			bad->expected[weir_frame_check(bad->buffers[i], parts[i].iov_len, true, false, NULL)]++;
		bad->sent += done > 0 ? (uint64_t)done : 0;
		if (!listen_back(bad))
			return false;
		uint64_t due = began + (uint64_t)((double)bad->sent * 1e9 / (double)bad->rate), now = now_ns();
		if (due > now + 200000) {
			struct timespec pause = { .tv_nsec = (long)(due - now) % 1000000000 };
			nanosleep(&pause, NULL);
		}
	}
	return true;
}

static int parse(struct bad *bad, int argc, char **argv)
{
	static const struct option options[] = { { "router", 1, NULL, 'r' }, { "frames", 1, NULL, 'n' },
						 { "rate", 1, NULL, 'R' },   { "seed", 1, NULL, 's' },
						 { "topic", 1, NULL, 't' },  { "group", 1, NULL, 'g' },
						 { NULL, 0, NULL, 0 } };
	*bad = (struct bad){ .frames = 1000000,
			     .rate = 200000,
			     .random = 1,
			     .topic_name = "target",
			     .group_name = "all",
			     .router = { .sin_family = AF_INET, .sin_port = htons(WEIR_PORT_BASE) } };
	bool has_router = false;
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		char *colon = optarg ? strrchr(optarg, ':') : NULL;
		switch (c) {
		case 'r':
			if (colon) {
				*colon = 0;
				bad->router.sin_port = htons((uint16_t)atoi(colon + 1));
			}
			has_router = inet_pton(AF_INET, optarg, &bad->router.sin_addr) == 1;
			break;
		case 'n':
			bad->frames = strtoull(optarg, NULL, 10);
			break;
		case 'R':
			bad->rate = strtoull(optarg, NULL, 10);
			break;
		case 's':
			bad->random = strtoull(optarg, NULL, 10);
			break;
		case 't':
			bad->topic_name = optarg;
			break;
		case 'g':
			bad->group_name = optarg;
			break;
		default:
			return -EINVAL;
		}
	}
	return has_router && bad->frames && bad->rate ? 0 : -EINVAL;
}

int main(int argc, char **argv)
{
	static struct bad bad;
	if (parse(&bad, argc, argv) < 0) {
		fprintf(stderr, "usage: badinput --router IPV4[:PORT] [--topic NAME] [--group NAME] [--frames N] [--rate "
				"PER_SECOND] [--seed N]\n");
		return 2;
	}
	bad.socket = socket(AF_INET, SOCK_DGRAM, 0);
	struct timeval patience = { .tv_usec = 50000 };
	if (bad.socket < 0 || setsockopt(bad.socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0) {
		perror("badinput: socket");
		return 1;
	}
	if (!open_session(&bad) || !open_streams(&bad)) {
		fprintf(stderr, "badinput: the router gave no session, or has no topic %s\n", bad.topic_name);
		return 1;
	}
	if (!storm(&bad)) {
		fprintf(stderr, "badinput: stopped after %" PRIu64 " frames: %s\n", bad.sent, strerror(errno));
		return 1;
	}
	printf("{\"sent\": %" PRIu64 ", \"said\": %" PRIu64 ", \"sessions\": %" PRIu64 ", \"answers\": %" PRIu64
	       ", \"expected\": {",
	       bad.sent, bad.said, bad.sessions, bad.answers);
	const char *comma = "";
	for (unsigned reason = 0; reason < WEIR_REASON_COUNT; reason++) {
		if (!bad.expected[reason])
			continue;
		printf("%s\"%s\": %" PRIu64, comma, weir_reason_name(reason), bad.expected[reason]);
		comma = ", ";
	}
	printf("}}\n");
	return 0;
}
