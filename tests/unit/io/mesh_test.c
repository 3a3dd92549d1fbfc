// The rings between workers and control: order, fullness, wrapping, waking. The threaded tests are the ones that the
// thread sanitizer watches.
#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "dataplane/io/gate.h"
#include "dataplane/io/mesh.h"

static struct weir_mesh *make(uint16_t workers)
{
	struct weir_mesh *mesh = NULL;
	int node[WEIR_WORKERS_MAX];

	memset(node, -1, sizeof(node));
	cr_assert_eq(weir_mesh_create(&mesh, workers, node), 0);
	return mesh;
}

static bool put(struct weir_mesh *mesh, uint16_t from, uint16_t to, uint32_t value, uint32_t size)
{
	struct weir_mesh_header header = { .kind = WEIR_MESH_INGRESS, .from = from, .body_crc = value };
	uint8_t *frame = weir_mesh_reserve(mesh, from, to, &header, size);

	if (!frame)
		return false;
	memset(frame, (int)value & 0xff, size);
	cr_assert(weir_mesh_commit(mesh, from, to, size));
	return true;
}

static void check(const struct weir_mesh_header *header, uint32_t value, uint32_t size)
{
	const uint8_t *frame = (const uint8_t *)(header + 1);

	cr_assert_eq(header->body_crc, value);
	cr_assert_eq(header->size, size);
	for (uint32_t i = 0; i < size; i++)
		cr_assert_eq(frame[i], value & 0xff, "frame %u, byte %u", value, i);
}

Test(mesh, a_ring_holds_256_frames_of_the_default_size_and_then_refuses)
{
	struct weir_mesh *mesh = make(2);
	uint32_t held = 0;

	while (put(mesh, 0, 1, held, WEIR_FRAME_DEFAULT))
		held++;
	cr_expect_geq(held, WEIR_MESH_SLOTS);
	check(weir_mesh_peek(mesh, 0, 1), 0, WEIR_FRAME_DEFAULT);
	weir_mesh_release(mesh, 0, 1);
	cr_expect(put(mesh, 0, 1, held, WEIR_FRAME_DEFAULT), "room after one was taken");
	cr_expect_null(weir_mesh_peek(mesh, 1, 0), "the other direction is another ring");
	weir_mesh_destroy(mesh);
}

Test(mesh, frames_of_all_sizes_survive_the_end_of_the_ring)
{
	struct weir_mesh *mesh = make(2);
	uint32_t put_at = 0, taken = 0;

	while (taken < 20000) {
		for (uint32_t burst = put_at * 7 % 40; burst > 0; burst--)
			if (!put(mesh, 1, 0, put_at, 48 + put_at * 977 % (WEIR_FRAME_MAX - 47)))
				break;
			else
				put_at++;
		put_at += put(mesh, 1, 0, put_at, 48 + put_at * 977 % (WEIR_FRAME_MAX - 47));
		for (uint32_t burst = taken * 5 % 40 + 1; burst > 0 && taken < put_at; burst--, taken++) {
			check(weir_mesh_peek(mesh, 1, 0), taken, 48 + taken * 977 % (WEIR_FRAME_MAX - 47));
			weir_mesh_release(mesh, 1, 0);
		}
	}
	weir_mesh_destroy(mesh);
}

Test(mesh, a_reserved_frame_of_size_zero_was_never_there_but_a_handover_is)
{
	struct weir_mesh *mesh = make(2);
	struct weir_mesh_header header = { .kind = WEIR_MESH_INGRESS };

	cr_assert_not_null(weir_mesh_reserve(mesh, 0, 1, &header, 100));
	cr_expect_not(weir_mesh_commit(mesh, 0, 1, 0));
	cr_expect_null(weir_mesh_peek(mesh, 0, 1));
	header.kind = WEIR_MESH_HANDOVER;
	header.pointer = &header;
	cr_assert_not_null(weir_mesh_reserve(mesh, 0, 1, &header, 0));
	cr_expect(weir_mesh_commit(mesh, 0, 1, 0));
	cr_assert_not_null(weir_mesh_peek(mesh, 0, 1));
	cr_expect_eq(weir_mesh_peek(mesh, 0, 1)->pointer, &header);
	weir_mesh_destroy(mesh);
}

Test(mesh, messages_are_never_refused_and_keep_their_order)
{
	struct weir_mesh *mesh = make(3);
	struct weir_message message = { 0 };
	const uint64_t count = 5000; // far more than a ring holds, more than a chunk of the backlog
	uint64_t heard = 0;

	for (uint64_t i = 0; i < count; i++) {
		message.value = i;
		weir_mesh_tell(mesh, 0, 2, &message);
	}
	message.value = 42;
	weir_mesh_tell(mesh, 0, 1, &message);
	cr_expect_not(weir_mesh_flush(mesh, 0), "a backlog remains");
	cr_assert(weir_mesh_hear(mesh, 0, 1, &message), "one slow receiver holds up nobody else");
	cr_expect_eq(message.value, 42);
	while (heard < count) {
		while (weir_mesh_hear(mesh, 0, 2, &message)) {
			cr_assert_eq(message.value, heard);
			cr_assert_eq(message.from, 0);
			heard++;
		}
		weir_mesh_flush(mesh, 0);
	}
	cr_expect(weir_mesh_flush(mesh, 0));
	cr_expect_not(weir_mesh_hear(mesh, 0, 2, &message));
	weir_mesh_destroy(mesh);
}

static bool is_readable(int fd)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };

	return poll(&wait, 1, 0) == 1;
}

Test(mesh, a_sleeper_is_rung_once_and_nobody_else_is)
{
	struct weir_mesh *mesh = make(2);

	cr_assert(weir_mesh_doze(mesh, 1));
	cr_assert(put(mesh, 0, 1, 1, 64));
	cr_expect_not(is_readable(weir_mesh_fd(mesh, 1)), "not before the end of the sender's turn");
	weir_mesh_flush(mesh, 0);
	cr_expect(is_readable(weir_mesh_fd(mesh, 1)));
	cr_expect_not(is_readable(weir_mesh_fd(mesh, 0)));
	weir_mesh_awake(mesh, 1);
	cr_expect_not(is_readable(weir_mesh_fd(mesh, 1)));
	cr_expect_not(weir_mesh_doze(mesh, 1), "something is in the ring: no sleep");
	weir_mesh_release(mesh, 0, 1);
	cr_assert(put(mesh, 0, 1, 2, 64));
	weir_mesh_flush(mesh, 0);
	cr_expect_not(is_readable(weir_mesh_fd(mesh, 1)), "who is awake is not rung");
	weir_mesh_destroy(mesh);
}

Test(mesh, a_bell_that_rings_after_the_sleeper_woke_ends_one_sleep_and_not_all)
{
	struct weir_mesh *mesh = make(2);

	// The waker's two steps with the sleeper's time-out between them: it clears the flag, the sleeper wakes, it rings.
	cr_assert(weir_mesh_doze(mesh, 1));
	weir_mesh_awake(mesh, 1);
	weir_mesh_wake(mesh, 1);
	cr_expect(is_readable(weir_mesh_fd(mesh, 1)));
	cr_assert(weir_mesh_doze(mesh, 1));
	weir_mesh_awake(mesh, 1);
	cr_expect_not(is_readable(weir_mesh_fd(mesh, 1)), "the late bell was heard, the next sleep is a sleep");
	weir_mesh_destroy(mesh);
}

// ---- Threads ----

#define PASSES 200000u

struct pair {
	struct weir_mesh *mesh;
	uint64_t wrong;
};

static void *send_frames(void *argument)
{
	struct pair *pair = argument;

	for (uint32_t i = 0; i < PASSES;) {
		struct weir_mesh_header header = { .kind = WEIR_MESH_INGRESS, .body_crc = i };
		uint32_t size = 48 + i % 500;
		uint32_t *frame = weir_mesh_reserve(pair->mesh, 0, 1, &header, size);

		if (!frame) {
			weir_mesh_flush(pair->mesh, 0);
			sched_yield();
			continue;
		}
		frame[0] = i;
		frame[size / 4 - 1] = ~i;
		weir_mesh_commit(pair->mesh, 0, 1, size);
		if (++i % 16 == 0)
			weir_mesh_flush(pair->mesh, 0);
	}
	weir_mesh_flush(pair->mesh, 0);
	return NULL;
}

static void *receive_frames(void *argument)
{
	struct pair *pair = argument;

	for (uint32_t i = 0; i < PASSES;) {
		const struct weir_mesh_header *header = weir_mesh_peek(pair->mesh, 0, 1);

		if (!header) {
			struct pollfd wait = { .fd = weir_mesh_fd(pair->mesh, 1), .events = POLLIN };

			// A lost wake-up would show as this timeout.
			if (weir_mesh_doze(pair->mesh, 1)) {
				if (poll(&wait, 1, 10000) != 1)
					pair->wrong++;
				weir_mesh_awake(pair->mesh, 1);
			}
			continue;
		}
		const uint32_t *frame = (const uint32_t *)(const void *)(header + 1);
		if (header->body_crc != i || frame[0] != i || frame[header->size / 4 - 1] != ~i)
			pair->wrong++;
		weir_mesh_release(pair->mesh, 0, 1);
		i++;
	}
	return NULL;
}

Test(mesh, frames_cross_threads_whole_and_in_order_and_wake_the_receiver)
{
	struct pair pair = { .mesh = make(2) };
	pthread_t sender, receiver;

	pthread_create(&receiver, NULL, receive_frames, &pair);
	pthread_create(&sender, NULL, send_frames, &pair);
	pthread_join(sender, NULL);
	pthread_join(receiver, NULL);
	cr_expect_eq(pair.wrong, 0);
	weir_mesh_destroy(pair.mesh);
}

#define QUESTIONS 20000u

// A worker that answers every command, and sleeps in between.
static void *answer(void *argument)
{
	struct weir_mesh *mesh = argument;
	struct weir_message message;

	for (uint32_t i = 0; i < QUESTIONS;) {
		if (weir_mesh_hear(mesh, WEIR_FROM_CONTROL, 1, &message)) {
			message.kind = WEIR_MESSAGE_DONE;
			weir_mesh_tell(mesh, 1, WEIR_FROM_CONTROL, &message);
			i++;
		} else if (weir_mesh_flush(mesh, 1) && weir_mesh_doze(mesh, 1)) {
			struct pollfd wait = { .fd = weir_mesh_fd(mesh, 1), .events = POLLIN };

			poll(&wait, 1, 10000);
			weir_mesh_awake(mesh, 1);
		}
	}
	while (!weir_mesh_flush(mesh, 1))
		sched_yield();
	return NULL;
}

Test(gate, every_command_is_answered_in_order_while_both_sides_sleep)
{
	struct weir_mesh *mesh = make(2);
	struct weir_gate *gate = NULL;
	struct weir_message message;
	uint64_t sent = 0, heard = 0;
	pthread_t worker;

	cr_assert_eq(weir_gate_create(&gate, mesh, 2), 0);
	pthread_create(&worker, NULL, answer, mesh);
	while (heard < QUESTIONS) {
		for (uint32_t burst = 0; burst < 500 && sent < QUESTIONS; burst++) {
			message = (struct weir_message){ .kind = WEIR_MESSAGE_LIMITS, .request = sent++ };
			weir_gate_send(gate, 1, &message);
		}
		cr_assert(weir_gate_wait(gate, 10000), "an answer to %llu is missing", (unsigned long long)heard);
		while (weir_gate_receive(gate, &message)) {
			cr_assert_eq(message.request, heard);
			cr_assert_eq(message.from, 1);
			heard++;
		}
	}
	pthread_join(worker, NULL);
	cr_expect_not(weir_gate_wait(gate, 0));
	weir_gate_destroy(gate);
	weir_mesh_destroy(mesh);
}
