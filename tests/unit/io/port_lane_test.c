// The port of a worker's lanes against a client that does everything by hand: what is carried, what is refused, and what a
// client that lies can do to it, which is nothing. No thread: this test is worker and client in turns.
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "dataplane/io/lane.h"
#include "tests/support/raw_lane.h"
#include "wire/reason.h"

#define WORKERS 2u
#define PER_WORKER 2u
#define SHARDS 8u
#define ARENA (64u << 10)
#define FRAMES 64u
#define PORT_INDEX 3u

struct fixture {
	struct weir_lane_table *table;
	struct weir_port *ports[WORKERS];
	const struct weir_arrival *arrivals;
};

static void begin(struct fixture *fixture)
{
	struct weir_fault fault = { 0 };

	memset(fixture, 0, sizeof(*fixture));
	cr_assert_eq(weir_lane_table_create(&fixture->table, WORKERS, PER_WORKER, SHARDS, &fault), 0, "%s", fault.reason);
	for (uint16_t w = 0; w < WORKERS; w++)
		cr_assert_eq(weir_port_lane_open(&fixture->ports[w], fixture->table, w, PORT_INDEX, &fault), 0);
}

static void end(struct fixture *fixture)
{
	for (uint16_t w = 0; w < WORKERS; w++)
		fixture->ports[w]->ops->close(fixture->ports[w]);
	weir_lane_table_destroy(fixture->table);
}

static int create(struct fixture *fixture, struct raw_lane *raw, struct weir_lane **lane, struct weir_fault *fault)
{
	struct weir_lane_request request = { .hello = &raw->hello, .memory = raw->memory, .owner = { .pid = getpid() } };
	struct weir_lane_grant grant;
	int error = weir_lane_create(lane, fixture->table, &request, &grant, fault);

	if (error)
		return error;
	weir_lane_attach(fixture->table, *lane);
	cr_assert(raw_lane_map(raw, grant.router, grant.heads_memory, (*lane)->ring_size, grant.heads));
	cr_assert_eq(fcntl(grant.router, F_GET_SEALS) & RAW_LANE_SEALS, RAW_LANE_SEALS);
	cr_assert_eq(fcntl(grant.heads_memory, F_GET_SEALS) & RAW_LANE_SEALS, RAW_LANE_SEALS);
	close(grant.router);
	raw->bell = grant.bell;
	raw->worker_bell = dup((*lane)->bell);
	return 0;
}

static struct weir_lane *open_lane(struct fixture *fixture, struct raw_lane *raw)
{
	struct weir_fault fault = { 0 };
	struct weir_lane *lane = NULL;

	cr_assert(raw_lane_make(raw, 4, FRAMES, ARENA, 0));
	cr_assert(raw_lane_seal(raw, RAW_LANE_SEALS));
	cr_assert_eq(create(fixture, raw, &lane, &fault), 0, "%s", fault.reason);
	return lane;
}

static uint32_t receive(struct fixture *fixture, uint16_t worker)
{
	return fixture->ports[worker]->ops->receive(fixture->ports[worker], &fixture->arrivals);
}

static void receive_done(struct fixture *fixture, uint16_t worker)
{
	fixture->ports[worker]->ops->receive_done(fixture->ports[worker]);
}

static uint64_t dropped(const struct fixture *fixture, uint16_t worker)
{
	return weir_counted(&fixture->ports[worker]->statistics.dropped[WEIR_R_LENGTH]);
}

static void publish(struct raw_lane *raw, uint64_t sequence, uint16_t flags, const char *body)
{
	const struct weir_frame_header header = { .kind = WEIR_KIND_PUBLISH, .flags = flags, .count = 1, .sequence = sequence };

	raw_lane_send(raw, header, body, (uint16_t)strlen(body));
}

Test(port_lane, events_stay_where_they_lie_and_all_else_is_copied)
{
	struct fixture fixture;
	struct raw_lane raw;

	begin(&fixture);
	const struct weir_lane *lane = open_lane(&fixture, &raw);
	publish(&raw, 1, WEIR_FLAG_HEADER_ONLY, "in place");
	publish(&raw, 2, 0, "with a checksum over its body");
	publish(&raw, 3, WEIR_FLAG_HEADER_ONLY | WEIR_FLAG_FRAGMENT, "a piece");
	raw_lane_send(&raw, (struct weir_frame_header){ .kind = WEIR_KIND_PING, .sequence = 4 }, NULL, 0);
	cr_assert_eq(receive(&fixture, 0), 4);
	for (uint32_t i = 0; i < 4; i++) {
		const struct weir_arrival *arrival = &fixture.arrivals[i];
		const struct weir_frame_header *header = arrival->frame;

		cr_expect_eq(header->sequence, i + 1);
		cr_expect(arrival->trust_link);
		cr_expect_eq(arrival->path->family, AF_UNIX);
		cr_expect_eq(arrival->path->port, PORT_INDEX);
		cr_expect_eq(memcmp(arrival->path->remote_ip, &lane->number, sizeof(lane->number)), 0);
		cr_expect_eq(arrival->size, sizeof(*header) + header->body_length);
		cr_expect_eq(arrival->shared != NULL, i == 0);
	}
	cr_expect_eq(memcmp(fixture.arrivals[0].shared, "in place", 8), 0);
	cr_expect(fixture.arrivals[0].shared >= (const void *)lane->arena &&
		  (const uint8_t *)fixture.arrivals[0].shared < lane->arena + ARENA);
	// What the client does now comes too late for what was copied.
	memset(raw_lane_arena(&raw), 0xee, ARENA);
	cr_expect_eq(((const struct weir_frame_header *)fixture.arrivals[0].frame)->sequence, 1);
	cr_expect_eq(memcmp((const uint8_t *)fixture.arrivals[1].frame + 48, "with a checksum over its body", 29), 0);
	cr_expect_eq(memcmp(fixture.arrivals[0].shared, "\xee\xee", 2), 0);
	cr_expect_eq(raw.router->taken.value, 0, "frames were given back while they were still read");
	receive_done(&fixture, 0);
	cr_expect_eq(raw.router->taken.value, 4);
	cr_expect_eq(weir_counted(&lane->frames_in), 4);
	cr_expect_eq(receive(&fixture, 0), 0);
	raw_lane_unmap(&raw);
	end(&fixture);
}

Test(port_lane, descriptors_that_point_nowhere_are_dropped_by_name_and_never_followed)
{
	static const uint64_t BAD[] = {
		0, // no size
		47ull << 32,
		(uint64_t)(WEIR_LANE_TRAIN_MAX + 1) << 32,
		(uint64_t)UINT32_MAX << 32,
		48ull << 32 | ARENA / 64,
		49ull << 32 | (ARENA / 64 - 1) | 1ull << 31,
		128ull << 32 | (ARENA / 64 - 1),
		48ull << 32 | UINT32_MAX,
		UINT64_MAX,
	};
	uint64_t bad = sizeof(BAD) / sizeof(BAD[0]);
	struct fixture fixture;
	struct raw_lane raw;

	begin(&fixture);
	const struct weir_lane *lane = open_lane(&fixture, &raw);
	for (uint64_t i = 0; i < bad; i++)
		raw_lane_put(&raw, BAD[i]);
	cr_expect_eq(receive(&fixture, 0), 0);
	cr_expect_eq(dropped(&fixture, 0), bad);
	cr_expect_eq(weir_counted(&lane->dropped), bad);
	cr_expect_eq(raw.router->taken.value, bad, "the place of a bad descriptor was not given back");
	// The last byte of the arena may be used, and the one behind may not.
	((struct weir_frame_header *)(void *)(raw_lane_arena(&raw) + ARENA - 64))->body_length = 16;
	raw_lane_put(&raw, weir_lane_descriptor(ARENA - 64, 64));
	raw_lane_put(&raw, weir_lane_descriptor(ARENA - 64, 65));
	cr_expect_eq(receive(&fixture, 0), 1);
	receive_done(&fixture, 0);
	cr_expect_eq(dropped(&fixture, 0), bad + 1);
	raw_lane_unmap(&raw);
	end(&fixture);
}

Test(port_lane, a_train_is_taken_apart_as_its_headers_say_and_no_further)
{
	struct fixture fixture;
	struct raw_lane raw;
	uint32_t at = 0, count = 0;
	uint64_t sequence = 0;

	begin(&fixture);
	open_lane(&fixture, &raw);
	// Frames of all lengths, more than one turn takes.
	while (count < 900) {
		struct weir_frame_header *frame = (void *)(raw_lane_arena(&raw) + at);

		*frame = (struct weir_frame_header){ .kind = WEIR_KIND_PUBLISH, .flags = WEIR_FLAG_HEADER_ONLY,
						     .sequence = count, .body_length = (uint16_t)(count % 21) };
		at += (uint32_t)(sizeof(*frame) + frame->body_length + 7u) & ~7u;
		count++;
		if (at > ARENA - 128)
			break;
	}
	raw_lane_put(&raw, weir_lane_descriptor(0, at));
	for (uint32_t got = receive(&fixture, 0); got > 0; got = receive(&fixture, 0)) {
		cr_expect_eq(raw.router->taken.value, 0);
		for (uint32_t i = 0; i < got; i++) {
			const struct weir_frame_header *frame = fixture.arrivals[i].frame;

			cr_assert_eq(frame->sequence, sequence);
			cr_assert_eq(fixture.arrivals[i].size, sizeof(*frame) + sequence % 21);
			sequence++;
		}
		receive_done(&fixture, 0);
	}
	cr_expect_eq(sequence, count);
	cr_expect_gt(count, WEIR_PORT_BURST);
	cr_expect_eq(raw.router->taken.value, 1);
	cr_expect_eq(dropped(&fixture, 0), 0);

	// The second frame says that it is longer than the train, or than any frame; the third is half a header.
	static const uint16_t WRONG[] = { 200, 60000 };
	for (uint32_t i = 0; i < 2; i++) {
		struct weir_frame_header *frame = (void *)raw_lane_arena(&raw);

		memset(frame, 0, ARENA);
		frame[1].body_length = WRONG[i];
		raw_lane_put(&raw, weir_lane_descriptor(0, i == 0 ? 48 * 2 + 199 : 62000));
		cr_expect_eq(receive(&fixture, 0), 1);
		receive_done(&fixture, 0);
		cr_expect_eq(dropped(&fixture, 0), i + 1);
	}
	memset(raw_lane_arena(&raw), 0, ARENA);
	raw_lane_put(&raw, weir_lane_descriptor(0, 48 * 2 + 24));
	cr_expect_eq(receive(&fixture, 0), 2);
	receive_done(&fixture, 0);
	cr_expect_eq(dropped(&fixture, 0), 3);
	raw_lane_unmap(&raw);
	end(&fixture);
}

Test(port_lane, a_client_that_lies_about_what_it_sent_costs_one_drop_and_a_bounded_turn)
{
	struct fixture fixture;
	struct raw_lane liar, honest;

	begin(&fixture);
	open_lane(&fixture, &liar);
	open_lane(&fixture, &honest); // worker 1
	raw_lane_page(&liar)->sent.value = UINT64_MAX / 2;
	cr_expect_eq(receive(&fixture, 0), 0);
	cr_expect_eq(dropped(&fixture, 0), 1);
	// From its word on it is served as before.
	liar.sent = UINT64_MAX / 2;
	publish(&liar, 7, WEIR_FLAG_HEADER_ONLY, "x");
	cr_assert_eq(receive(&fixture, 0), 1);
	receive_done(&fixture, 0);
	cr_expect_eq(liar.router->taken.value, UINT64_MAX / 2 + 1);
	publish(&honest, 1, WEIR_FLAG_HEADER_ONLY, "y");
	cr_expect_eq(receive(&fixture, 1), 1);
	receive_done(&fixture, 1);
	cr_expect_eq(dropped(&fixture, 1), 0);
	raw_lane_unmap(&liar);
	raw_lane_unmap(&honest);
	end(&fixture);
}

Test(port_lane, lanes_of_a_worker_take_turns)
{
	struct fixture fixture;
	struct raw_lane raw[4];
	struct weir_lane *lanes[4];
	uint32_t count;

	begin(&fixture);
	for (uint32_t i = 0; i < 4; i++)
		lanes[i] = open_lane(&fixture, &raw[i]);
	cr_assert_eq(lanes[0]->worker, 0);
	cr_assert_eq(lanes[1]->worker, 1, "a lane goes to the worker with the fewest");
	cr_assert_eq(lanes[2]->worker, 0);
	for (uint32_t i = 0; i < FRAMES; i++) {
		publish(&raw[0], 1000 + i, WEIR_FLAG_HEADER_ONLY, "of the first");
		publish(&raw[2], 2000 + i, WEIR_FLAG_HEADER_ONLY, "of the third");
	}
	count = receive(&fixture, 0);
	cr_expect_eq(count, 2 * FRAMES);
	uint64_t first = 1000, third = 2000;
	for (uint32_t i = 0; i < count; i++) {
		uint64_t sequence = ((const struct weir_frame_header *)fixture.arrivals[i].frame)->sequence;

		cr_expect_eq(sequence, sequence < 2000 ? first : third, "order within a lane");
		first += sequence < 2000;
		third += sequence >= 2000;
	}
	receive_done(&fixture, 0);
	for (uint32_t i = 0; i < 4; i++)
		raw_lane_unmap(&raw[i]);
	end(&fixture);
}

// ---- Out ----

static bool send_to(struct weir_port *port, const struct weir_path *path, const void *bytes, uint32_t size)
{
	uint8_t *frame = port->ops->send_reserve(port, path, size);

	if (!frame)
		return false;
	memcpy(frame, bytes, size);
	port->ops->send_commit(port, size);
	return true;
}

Test(port_lane, frames_of_all_sizes_cross_the_ring_in_order_and_whole)
{
	struct fixture fixture;
	struct raw_lane raw;
	uint8_t bytes[WEIR_FRAME_MAX];
	uint64_t carried = 0;

	begin(&fixture);
	const struct weir_lane *lane = open_lane(&fixture, &raw);
	for (uint32_t i = 0; carried < 4 * WEIR_LANE_RING_SIZE; i++) {
		uint32_t size = 48 + i * 37 % (WEIR_FRAME_MAX - 47);
		uint32_t got = 0;
		const void *frame;

		memset(bytes, (int)i, size);
		cr_assert(send_to(fixture.ports[0], &lane->path, bytes, size));
		cr_assert_null(raw_lane_next(&raw, &got), "a frame is seen before the turn's flush");
		cr_assert(fixture.ports[0]->ops->flush(fixture.ports[0]));
		frame = raw_lane_next(&raw, &got);
		cr_assert_not_null(frame);
		cr_assert_eq(got, size);
		cr_assert_eq(memcmp(frame, bytes, size), 0, "frame %u of %u bytes", i, size);
		carried += size;
	}
	cr_expect_null(fixture.ports[0]->ops->send_reserve(fixture.ports[0], &lane->path, WEIR_FRAME_MAX + 1));
	raw_lane_unmap(&raw);
	end(&fixture);
}

Test(port_lane, a_client_that_does_not_read_is_waited_for_shortly_and_then_loses_its_frames)
{
	struct fixture fixture;
	struct raw_lane raw;
	uint8_t bytes[1000] = { 0 };
	uint64_t sent = 0;
	uint32_t size;

	begin(&fixture);
	const struct weir_lane *lane = open_lane(&fixture, &raw);
	while (send_to(fixture.ports[0], &lane->path, bytes, sizeof(bytes)))
		sent++;
	cr_expect_eq(sent, WEIR_LANE_RING_SIZE / weir_lane_record_size(sizeof(bytes)));
	usleep(2000);
	cr_expect(send_to(fixture.ports[0], &lane->path, bytes, sizeof(bytes)), "a full ring holds up the others");
	cr_expect_eq(weir_counted(&lane->lost), 1);
	fixture.ports[0]->ops->flush(fixture.ports[0]);
	// A place it cannot have reached is not believed.
	raw_lane_page(&raw)->taken.value = lane->sent + 8;
	send_to(fixture.ports[0], &lane->path, bytes, sizeof(bytes));
	cr_expect_eq(weir_counted(&lane->lost), 2);
	while (raw_lane_next(&raw, &size))
		sent--;
	cr_expect_eq(sent, 0, "what was written before is there");
	cr_expect(send_to(fixture.ports[0], &lane->path, bytes, sizeof(bytes)));
	cr_expect_eq(weir_counted(&lane->lost), 2);
	raw_lane_unmap(&raw);
	end(&fixture);
}

Test(port_lane, what_a_lane_is_welcomed_as_is_known_to_control)
{
	struct fixture fixture;
	struct raw_lane raw;
	struct {
		struct weir_frame_header header;
		struct weir_welcome welcome;
	} frame = { .header = { .kind = WEIR_KIND_WELCOME }, .welcome = { .session = 0x1234, .worker = 1, .number = 17 } };

	begin(&fixture);
	const struct weir_lane *lane = open_lane(&fixture, &raw);
	cr_assert(send_to(fixture.ports[0], &lane->path, &frame, sizeof(frame)));
	cr_expect_eq(weir_counted(&lane->session), 1ull << 32 | 17, "its name, not its id");
	raw_lane_unmap(&raw);
	end(&fixture);
}

// ---- Bells ----

static bool is_readable(int fd)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };

	return poll(&wait, 1, 0) == 1;
}

Test(port_lane, bells_ring_for_sleepers_only)
{
	struct fixture fixture;
	struct raw_lane raw;
	uint8_t bytes[64] = { 0 };
	char word[8];

	begin(&fixture);
	const struct weir_lane *lane = open_lane(&fixture, &raw);
	struct weir_port *port = fixture.ports[0];
	send_to(port, &lane->path, bytes, sizeof(bytes));
	port->ops->flush(port);
	cr_expect_not(is_readable(raw.bell), "a bell rang although nobody sleeps");
	raw_lane_page(&raw)->asleep.value = 1;
	port->ops->flush(port);
	cr_expect_not(is_readable(raw.bell), "a bell rang although nothing came");
	send_to(port, &lane->path, bytes, sizeof(bytes));
	port->ops->flush(port);
	cr_expect(is_readable(raw.bell));
	cr_expect_geq(recv(raw.bell, word, sizeof(word), MSG_DONTWAIT), 0);
	// A head that moved rings too, whoever's worker the lane is.
	weir_port_lane_wake(fixture.ports[1], lane->number);
	weir_port_lane_wake(fixture.ports[1], lane->number);
	fixture.ports[1]->ops->flush(fixture.ports[1]);
	cr_expect(is_readable(raw.bell));
	recv(raw.bell, word, sizeof(word), MSG_DONTWAIT);
	cr_expect_not(is_readable(raw.bell));

	cr_expect_eq(raw.heads[0].value, 0);
	weir_port_lane_doze(port);
	cr_expect_eq(raw.heads[0].value, 1);
	cr_expect_not(is_readable(port->fd));
	for (uint32_t i = 0; i < 40; i++)
		(void)!write(raw.worker_bell, &(uint64_t){ 1 }, sizeof(uint64_t));
	cr_expect(is_readable(port->fd));
	weir_port_lane_hush(port);
	cr_expect_not(is_readable(port->fd), "a bell that was heard rings on");
	weir_port_lane_awake(port);
	cr_expect_eq(raw.heads[0].value, 0);
	raw_lane_unmap(&raw);
	// Its end is closed: no word will come, and none is waited for.
	weir_port_lane_hush(port);
	cr_expect_not(is_readable(port->fd));
	end(&fixture);
}

// Descriptors that both sides hold share whether they wait: neither side may rely on it.
Test(port_lane, a_client_that_lets_its_bells_wait_and_fills_them_holds_up_nobody, .timeout = 20)
{
	struct fixture fixture;
	struct raw_lane raw;
	uint8_t bytes[64] = { 0 };
	char word[8];

	begin(&fixture);
	const struct weir_lane *lane = open_lane(&fixture, &raw);
	struct weir_port *port = fixture.ports[0];
	cr_assert_eq(write(raw.worker_bell, &(uint64_t){ UINT64_MAX - 1 }, sizeof(uint64_t)), (ssize_t)sizeof(uint64_t));
	cr_assert_eq(fcntl(raw.worker_bell, F_SETFL, 0), 0);
	cr_assert_eq(fcntl(raw.bell, F_SETFL, 0), 0);
	raw_lane_page(&raw)->asleep.value = 1;
	for (uint32_t i = 0; i < 1000; i++) {
		send_to(port, &lane->path, bytes, sizeof(bytes));
		port->ops->flush(port);
		weir_port_lane_hush(port);
	}
	cr_expect_not(is_readable(port->fd), "a bell that was heard rings on");
	cr_expect_gt(recv(raw.bell, word, sizeof(word), MSG_DONTWAIT), 0);
	// And nothing can be put where the router would find it.
	cr_expect_lt(send(raw.bell, word, 1, MSG_DONTWAIT | MSG_NOSIGNAL), 0);
	raw_lane_unmap(&raw);
	end(&fixture);
}

// ---- Coming and going ----

Test(port_lane, a_lane_that_is_gone_is_found_by_nobody_and_its_place_gets_a_new_number)
{
	struct fixture fixture;
	struct raw_lane raw, next;
	uint8_t bytes[64] = { 0 };

	begin(&fixture);
	struct weir_lane *lane = open_lane(&fixture, &raw);
	uint64_t number = lane->number;
	struct weir_path path = lane->path;
	struct weir_port *port = fixture.ports[0];

	cr_expect_neq(number, 0);
	cr_expect_eq(weir_port_lane_find(port, number)->cursor_count, 4);
	cr_expect_eq(weir_port_lane_find(port, number)->cursors, (const void *)((const uint8_t *)lane->client + 4096));
	publish(&raw, 1, WEIR_FLAG_HEADER_ONLY, "too late");
	send_to(port, &path, bytes, sizeof(bytes)); // not flushed
	weir_port_lane_wake(port, number);
	weir_lane_detach(fixture.table, lane);
	for (uint16_t w = 0; w < WORKERS; w++)
		weir_port_lane_gone(fixture.ports[w], number);
	weir_lane_destroy(fixture.table, lane);
	cr_expect_null(weir_port_lane_find(port, number));
	cr_expect_eq(receive(&fixture, 0), 0);
	cr_expect(port->ops->flush(port));
	cr_expect(send_to(port, &path, bytes, sizeof(bytes)), "frames to nobody wait for ever");
	weir_port_lane_wake(port, number);
	cr_expect(port->ops->flush(port));
	lane = open_lane(&fixture, &next);
	cr_expect_eq(lane->slot, 0);
	cr_expect_neq(lane->number, number);
	cr_expect_null(weir_port_lane_find(port, number));
	raw_lane_unmap(&raw);
	raw_lane_unmap(&next);
	end(&fixture);
}

Test(port_lane, a_full_table_is_a_refusal_that_says_what_to_do)
{
	struct fixture fixture;
	struct raw_lane raw[WORKERS * PER_WORKER + 1];
	struct weir_fault fault = { 0 };
	struct weir_lane *lane;

	begin(&fixture);
	for (uint32_t i = 0; i < WORKERS * PER_WORKER; i++)
		open_lane(&fixture, &raw[i]);
	cr_assert(raw_lane_make(&raw[WORKERS * PER_WORKER], 0, FRAMES, ARENA, 0));
	cr_assert(raw_lane_seal(&raw[WORKERS * PER_WORKER], RAW_LANE_SEALS));
	cr_expect_eq(create(&fixture, &raw[WORKERS * PER_WORKER], &lane, &fault), -ENOSPC);
	cr_expect_not_null(strstr(fault.reason, "taken"));
	cr_expect_not_null(strstr(fault.fix, "per_worker"));
	for (uint32_t i = 0; i <= WORKERS * PER_WORKER; i++)
		raw_lane_unmap(&raw[i]);
	end(&fixture);
}

// ---- What a client may offer ----

static void refused(struct fixture *fixture, struct raw_lane *raw, const char *why)
{
	struct weir_fault fault = { 0 };
	struct weir_lane *lane;

	cr_expect_eq(create(fixture, raw, &lane, &fault), -EPROTO, "taken, expected: %s", why);
	cr_expect_not_null(strstr(fault.reason, why), "\"%s\" lacks \"%s\"", fault.reason, why);
}

Test(port_lane, a_hello_is_checked_in_every_field)
{
	struct fixture fixture;
	struct raw_lane raw;

	begin(&fixture);
	cr_assert(raw_lane_make(&raw, 4, FRAMES, ARENA, 0));
	cr_assert(raw_lane_seal(&raw, RAW_LANE_SEALS));
	const struct weir_lane_hello good = raw.hello;
	raw.hello.magic++;
	refused(&fixture, &raw, "WEIRLANE");
	raw.hello = good;
	raw.hello.version = 2;
	refused(&fixture, &raw, "version");
	raw.hello = good;
	raw.hello.cursors = WEIR_LANE_READERS_MAX + 1;
	refused(&fixture, &raw, "cursors");
	raw.hello = good;
	for (uint32_t frames = 0; frames < 4; frames++) {
		raw.hello.frames = (const uint32_t[]){ 0, 63, 2 * WEIR_LANE_FRAMES_MAX, UINT32_MAX }[frames];
		refused(&fixture, &raw, "frames");
	}
	raw.hello = good;
	for (uint32_t size = 0; size < 4; size++) {
		raw.hello.arena_size =
			(const uint64_t[]){ 0, ARENA + 1, WEIR_LANE_ARENA_MAX + 4096ull, UINT64_MAX - 4095 }[size];
		refused(&fixture, &raw, "arena_size");
	}
	raw.hello = good;
	raw.hello.arena_size = ARENA + 4096;
	refused(&fixture, &raw, "size is not");
	raw.hello.arena_size = ARENA - 4096;
	refused(&fixture, &raw, "size is not");
	raw.hello = good;
	raw.hello.cursors = WEIR_LANE_READERS_MAX;
	refused(&fixture, &raw, "size is not");
	raw.hello = good;
	memset(raw.hello.name, 0x07, sizeof(raw.hello.name));
	struct weir_fault fault = { 0 };
	struct weir_lane *lane;
	cr_assert_eq(create(&fixture, &raw, &lane, &fault), 0, "%s", fault.reason);
	cr_expect_eq(strspn(lane->name, "?"), WEIR_NAME_SIZE - 1, "a name brings control characters along");
	raw_lane_unmap(&raw);
	end(&fixture);
}

Test(port_lane, memory_that_could_shrink_or_be_written_by_others_is_refused)
{
	static const int SEALS[] = { F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_FUTURE_WRITE, F_SEAL_SEAL };
	struct fixture fixture;
	struct raw_lane raw;

	begin(&fixture);
	for (uint32_t i = 0; i < 4; i++) {
		cr_assert(raw_lane_make(&raw, 4, FRAMES, ARENA, 0));
		cr_assert(raw_lane_seal(&raw, RAW_LANE_SEALS & ~SEALS[i]));
		refused(&fixture, &raw, "seals");
		raw_lane_unmap(&raw);
	}
	cr_assert(raw_lane_make(&raw, 4, FRAMES, ARENA, 0));
	cr_assert_eq(fallocate(raw.memory, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096), 0);
	cr_assert(raw_lane_seal(&raw, RAW_LANE_SEALS));
	refused(&fixture, &raw, "holes");
	int memory = raw.memory;
	int ends[2];
	cr_assert_eq(pipe(ends), 0);
	raw.memory = ends[0];
	refused(&fixture, &raw, "memfd");
	raw.memory = open("/dev/zero", O_RDWR);
	refused(&fixture, &raw, "memfd");
	close(raw.memory);
	close(ends[0]);
	close(ends[1]);
	raw.memory = memory;
	raw_lane_unmap(&raw);
	end(&fixture);
}

Test(port_lane, a_clients_pages_may_be_huge)
{
	struct fixture fixture;
	struct raw_lane raw;
	struct weir_fault fault = { 0 };
	struct weir_lane *lane;

	// Where none is free the same has to hold for ordinary ones.
	if (!raw_lane_make(&raw, 4, FRAMES, ARENA, MFD_HUGETLB))
		cr_assert(raw_lane_make(&raw, 4, FRAMES, ARENA, 0));
	begin(&fixture);
	cr_assert(raw_lane_seal(&raw, RAW_LANE_SEALS));
	cr_assert_eq(create(&fixture, &raw, &lane, &fault), 0, "%s", fault.reason);
	publish(&raw, 5, WEIR_FLAG_HEADER_ONLY, "huge");
	cr_assert_eq(receive(&fixture, 0), 1);
	cr_expect_eq(memcmp(fixture.arrivals[0].shared, "huge", 4), 0);
	receive_done(&fixture, 0);
	raw_lane_unmap(&raw);
	end(&fixture);
}

Test(port_lane, heads_are_lines_that_come_back)
{
	struct fixture fixture;
	struct raw_lane raw;
	struct weir_lane_head *heads[SHARDS];

	begin(&fixture);
	open_lane(&fixture, &raw);
	for (uint32_t i = 0; i < SHARDS; i++) {
		heads[i] = weir_lane_head_get(fixture.table, 100 + i);
		cr_assert_not_null(heads[i]);
		cr_expect_eq(weir_lane_head_line(fixture.table, heads[i]), WEIR_LANE_WORKER_LINES + i);
	}
	cr_expect_null(weir_lane_head_get(fixture.table, 1));
	const struct weir_lane_head *seen = (const void *)&raw.heads[WEIR_LANE_WORKER_LINES + 5];
	cr_expect_eq(seen->incarnation, 105);
	heads[5]->head = 77;
	weir_lane_head_put(fixture.table, heads[5]);
	cr_expect_eq(seen->incarnation, 0);
	cr_expect_eq(weir_lane_head_get(fixture.table, 200), heads[5]);
	cr_expect_eq(seen->incarnation, 200);
	cr_expect_eq(seen->head, 0);
	raw_lane_unmap(&raw);
	end(&fixture);
}
