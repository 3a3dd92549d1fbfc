// libweir over a real socket on loopback: bursts, the file descriptor, refusals, noise. The router here is a plain
// socket and wire/, and it answers when the test lets it.
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "client/weir.h"
#include "wire/codec.h"
#include "wire/key.h"

static int router;
static struct sockaddr_in client;
static char address[64];
static uint64_t frames[WEIR_KIND_LIMIT]; // received, by kind
static uint64_t events;                  // published in sequence
static struct weir *weir;

static void setup(void)
{
	struct sockaddr_in local = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t size = sizeof(local);
	router = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	cr_assert_eq(bind(router, (struct sockaddr *)&local, sizeof(local)), 0);
	cr_assert_eq(getsockname(router, (struct sockaddr *)&local, &size), 0);
	snprintf(address, sizeof(address), "udp://127.0.0.1:%u", ntohs(local.sin_port));
	cr_assert_eq(weir_open(&weir, address, NULL), 0);
}

static void teardown(void)
{
	weir_close(weir, 0);
	close(router);
}

TestSuite(udp, .init = setup, .fini = teardown, .timeout = 20);

static void answer(struct weir_frame_header header, const void *body, size_t size)
{
	uint8_t datagram[WEIR_FRAME_MAX] __attribute__((aligned(8)));
	struct weir_frame_header *frame = (void *)datagram;
	header.session = header.kind == WEIR_KIND_CHALLENGE ? 0 : 5;
	*frame = header;
	memcpy(frame + 1, body, size);
	weir_frame_seal(frame, (uint16_t)size);
	sendto(router, datagram, sizeof(header) + size, 0, (struct sockaddr *)&client, sizeof(client));
}

static void hello_answer(const struct weir_hello *hello)
{
	struct weir_challenge challenge = { .nonce = hello->nonce, .cookie = 7 };
	struct {
		struct weir_welcome welcome;
		uint8_t padding[1424 - sizeof(struct weir_welcome)];
	} body = { .welcome = { .nonce = hello->nonce,
				.session = 5,
				.frame_size = 1472,
				.window_frames = 64,
				.ping_ms = 1000,
				.deliver_overhead = WEIR_DELIVER_OVERHEAD,
				.lease_ms = 5000,
				.version = 1 } };
	if (hello->cookie != 7)
		answer((struct weir_frame_header){ .kind = WEIR_KIND_CHALLENGE }, &challenge, sizeof(challenge));
	else
		answer((struct weir_frame_header){ .kind = WEIR_KIND_WELCOME }, &body, sizeof(body));
}

static void topic_answer(const struct weir_metadata_ask *ask)
{
	struct {
		struct weir_topic_info info;
		uint8_t worker[1];
	} body = { .info = { .request = ask->request, .topic = 2, .shards = 1, .event_max = 4096, .ack_max = 1 } };
	memcpy(body.info.name, ask->topic, sizeof(ask->topic));
	answer((struct weir_frame_header){ .kind = WEIR_KIND_TOPIC, .topic = 2, .count = 1 }, &body, sizeof(body.info) + 1);
}

static void publish_answer(const struct weir_frame_header *frame)
{
	// Nothing is lost here; on a busy machine this router is late, and what it has comes again.
	cr_assert_leq(frame->sequence, events, "event %lu came instead of %lu", frame->sequence, events);
	if (frame->sequence == events)
		events += frame->count;
	struct weir_ack_entry entry = { .topic = 2, .stream = 1, .next = events, .have = events, .limit = UINT64_MAX };
	answer((struct weir_frame_header){ .kind = WEIR_KIND_ACK, .count = 1 }, &entry, sizeof(entry));
}

static void serve(void)
{
	uint8_t datagram[WEIR_FRAME_MAX] __attribute__((aligned(8)));
	const struct weir_frame_header *frame = (const void *)datagram;
	for (;;) {
		socklen_t from_size = sizeof(client);
		ssize_t size = recvfrom(router, datagram, sizeof(datagram), 0, (struct sockaddr *)&client, &from_size);
		if (size < 0)
			return;
		cr_assert_eq(weir_frame_check(datagram, (size_t)size, true, false, NULL), WEIR_R_NONE);
		frames[frame->kind]++;
		switch (frame->kind) {
		case WEIR_KIND_HELLO:
			hello_answer((const void *)(frame + 1));
			break;
		case WEIR_KIND_METADATA:
			topic_answer((const void *)(frame + 1));
			break;
		case WEIR_KIND_OPEN: {
			struct weir_opened opened = { .request = ((const struct weir_open *)(frame + 1))->request,
						      .limit = UINT64_MAX,
						      .level = 1 };
			answer((struct weir_frame_header){ .kind = WEIR_KIND_OPENED, .topic = 2, .stream = 1 }, &opened,
			       sizeof(opened));
			break;
		}
		case WEIR_KIND_PUBLISH:
			publish_answer(frame);
			break;
		}
	}
}

// ---- The kernel, between the client and its socket ----

static uint32_t refusals;           // of messages with segments, to come
static int refusal;                 // their errno
static uint64_t calls_plain, calls_segmented, calls_refused; // sendmmsg() that began with such a message

// In the place of libc's.
int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags)
{
	bool is_segmented = messages[0].msg_hdr.msg_control;
	if (is_segmented && refusals) {
		refusals--;
		calls_refused++;
		errno = refusal;
		return -1;
	}
	calls_plain += !is_segmented;
	calls_segmented += is_segmented;
	return (int)syscall(SYS_sendmmsg, fd, messages, count, flags);
}

static void connect_all(struct weir_producer *producer)
{
	for (int i = 0; i < 500 && weir_producer_wait(producer, 5) == -ETIMEDOUT; i++)
		serve();
	cr_assert_eq(weir_producer_wait(producer, 0), 0);
}

Test(udp, addresses_are_taken_or_refused_by_their_form)
{
	static const struct {
		const char *address;
		int error;
	} ADDRESSES[] = {
		{ "udp://127.0.0.1", 0 },
		{ "udp://127.0.0.1:9", 0 },
		{ "udp://[::1]:9347", 0 },
		{ "udp://[::1]", 0 },
		{ "udp://localhost:1", 0 },
		{ "127.0.0.1:9347", -EINVAL },
		{ "tcp://127.0.0.1", -EINVAL },
		{ "udp://", -EINVAL },
		{ "udp://:9347", -EINVAL },
		{ "udp://127.0.0.1:", -EINVAL },
		{ "udp://127.0.0.1:0", -EINVAL },
		{ "udp://127.0.0.1:65536", -EINVAL },
		{ "udp://127.0.0.1:93x", -EINVAL },
		{ "udp://::1", -EINVAL },
		{ "udp://[::1", -EINVAL },
		{ "udp://[]", -EINVAL },
		{ "udp://[::1]9347", -EINVAL },
		{ "unix:", -EINVAL },
		{ "unix:relative/path", -EINVAL },
	};
	for (size_t i = 0; i < sizeof(ADDRESSES) / sizeof(ADDRESSES[0]); i++) {
		struct weir *other = NULL;
		int error = weir_open(&other, ADDRESSES[i].address, NULL);
		cr_expect_eq(error, ADDRESSES[i].error, "%s: %d", ADDRESSES[i].address, error);
		if (other)
			weir_close(other, 0);
	}
}

static void publish_many(struct weir_producer *producer, uint64_t count)
{
	uint8_t payload[64] = { 0 };
	uint64_t published = 0;
	struct weir_producer_counts before;
	weir_producer_counts(producer, &before);
	while (published < count) {
		struct weir_event event = { .key = published, .payload = payload, .payload_size = sizeof(payload) };
		int error = weir_publish(producer, &event);
		cr_assert(error == 0 || error == -EAGAIN);
		published += error == 0;
		if (published % (17 * 64) == 0 || error)
			serve();
		if (error)
			weir_poll(weir, 1);
	}
	for (int i = 0; i < 100 && weir_flush(producer, 10) == -ETIMEDOUT; i++)
		serve();
	struct weir_producer_counts counts;
	weir_producer_counts(producer, &counts);
	cr_assert_eq(counts.routed - before.routed, published);
	cr_assert_eq(events, counts.routed);
}

Test(udp, many_frames_arrive_whole_in_few_system_calls)
{
	struct weir_producer *producer = NULL;
	cr_assert_eq(weir_producer_open(&producer, weir, "positions", NULL), 0);
	connect_all(producer);
	struct weir_statistics before;
	weir_statistics(weir, &before);
	publish_many(producer, 17 * 2000);
	struct weir_statistics after;
	weir_statistics(weir, &after);
	uint64_t calls = after.system_calls - before.system_calls;
	uint64_t sent = after.frames_sent - before.frames_sent;
	cr_assert_lt(calls, sent / 2, "%lu calls for %lu frames", calls, sent);
}

Test(udp, a_refusal_of_segments_turns_them_off_for_a_while_only)
{
	struct weir_producer *producer = NULL;
	cr_assert_eq(weir_producer_open(&producer, weir, "positions", NULL), 0);
	connect_all(producer);
	static const int REFUSALS[] = { EIO, EINVAL };
	for (size_t i = 0; i < 2; i++) {
		refusal = REFUSALS[i];
		refusals = 1;
		calls_refused = calls_segmented = 0;
		for (int rounds = 0; !calls_refused && rounds < 50; rounds++)
			publish_many(producer, 17 * 64);
		cr_assert_eq(calls_refused, 1);
		uint64_t segmented = calls_segmented;
		calls_plain = 0;
		publish_many(producer, 17 * 64);
		cr_expect_eq(calls_segmented, segmented, "not at once");
		cr_expect_gt(calls_plain, 0);
		for (int rounds = 0; calls_segmented == segmented && rounds < 500; rounds++)
			publish_many(producer, 17 * 64);
		cr_expect_gt(calls_segmented, segmented, "and after a while again");
		cr_expect_geq(calls_plain, 255);
	}
}

Test(udp, file_descriptor_becomes_readable_for_datagrams_and_timers)
{
	struct weir_producer *producer = NULL;
	cr_assert_eq(weir_producer_open(&producer, weir, "positions", NULL), 0);
	connect_all(producer);
	serve();
	while (weir_poll(weir, 0) > 0)
		continue;
	struct pollfd fd = { .fd = weir_fd(weir), .events = POLLIN };
	cr_assert_eq(poll(&fd, 1, 0), 0);
	// A timer: the linger of a frame that is not full.
	cr_assert_eq(weir_publish(producer, &(struct weir_event){ .key = 1, .payload = "x", .payload_size = 1 }), 0);
	cr_assert_eq(poll(&fd, 1, 1000), 1);
	weir_poll(weir, 0);
	serve();
	cr_assert_eq(frames[WEIR_KIND_PUBLISH], 1);
	// A datagram: its acknowledgement.
	cr_assert_eq(poll(&fd, 1, 1000), 1);
	cr_assert_eq(weir_poll(weir, 0), 1);
	struct weir_producer_counts counts;
	weir_producer_counts(producer, &counts);
	cr_assert_eq(counts.routed, 1);
}

Test(udp, unreachable_router_is_no_error)
{
	struct weir *other = NULL;
	close(router);
	cr_assert_eq(weir_open(&other, address, NULL), 0);
	for (int i = 0; i < 20; i++)
		cr_assert_geq(weir_poll(other, 20), 0);
	struct weir_statistics statistics;
	weir_statistics(other, &statistics);
	cr_assert_geq(statistics.frames_sent, 2);
	cr_assert_lt(statistics.system_calls, 200, "it must not spin on the refusals: %lu calls", statistics.system_calls);
	cr_assert_eq(weir_state(other), WEIR_STATE_CONNECTING);
	weir_close(other, 0);
}

Test(udp, datagrams_from_others_and_of_any_size_are_survived)
{
	struct weir_producer *producer = NULL;
	cr_assert_eq(weir_producer_open(&producer, weir, "positions", NULL), 0);
	connect_all(producer);
	uint8_t noise[20000];
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)(i * 31);
	for (size_t size = 0; size < sizeof(noise); size = size * 2 + 1)
		sendto(router, noise, size, 0, (struct sockaddr *)&client, sizeof(client));
	int received = 0;
	for (int n = 0; (n = weir_poll(weir, 20)) > 0;)
		received += n;
	struct weir_statistics statistics;
	weir_statistics(weir, &statistics);
	cr_assert_eq(received, 15);
	cr_assert_eq(statistics.frames_bad, 15);
	cr_assert_eq(weir_state(weir), WEIR_STATE_READY);
}

Test(udp, close_says_bye_even_without_time_to_wait)
{
	struct weir *other = NULL;
	struct weir_producer *producer = NULL;
	cr_assert_eq(weir_open(&other, address, NULL), 0);
	cr_assert_eq(weir_producer_open(&producer, other, "positions", NULL), 0);
	connect_all(producer);
	cr_assert_eq(weir_close(other, 0), -ETIMEDOUT);
	serve();
	cr_assert_eq(frames[WEIR_KIND_BYE], 1);
}
