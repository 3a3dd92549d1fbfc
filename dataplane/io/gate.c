// Control's end of the mesh: control is one more party there, with rings to and from every worker, and sleeps on its
// descriptor like they do. Control thread only.
#include "dataplane/io/gate.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>

#include "dataplane/io/mesh.h"

#define RETRY_MS 1 // a backlog is moved on this often while control waits

struct weir_gate {
	struct weir_mesh *mesh;
	uint16_t workers;
	uint16_t next;   // worker that is asked first
	bool is_dozing;  // workers were told to ring
};

int weir_gate_create(struct weir_gate **out, struct weir_mesh *mesh, uint16_t workers)
{
	struct weir_gate *gate = calloc(1, sizeof(*gate));

	if (!gate)
		return -ENOMEM;
	gate->mesh = mesh;
	gate->workers = workers;
	*out = gate;
	return 0;
}

void weir_gate_destroy(struct weir_gate *gate)
{
	free(gate);
}

uint16_t weir_gate_workers(const struct weir_gate *gate)
{
	return gate->workers;
}

void weir_gate_send(struct weir_gate *gate, uint16_t worker, const struct weir_message *message)
{
	weir_mesh_tell(gate->mesh, WEIR_FROM_CONTROL, worker, message);
	weir_mesh_flush(gate->mesh, WEIR_FROM_CONTROL);
}

static bool hear_any(struct weir_gate *gate, struct weir_message *message)
{
	for (uint16_t i = 0; i < gate->workers; i++) {
		uint16_t worker = (uint16_t)((gate->next + i) % gate->workers);

		if (weir_mesh_hear(gate->mesh, worker, WEIR_FROM_CONTROL, message)) {
			gate->next = (uint16_t)((worker + 1) % gate->workers);
			return true;
		}
	}
	return false;
}

bool weir_gate_receive(struct weir_gate *gate, struct weir_message *message)
{
	weir_mesh_flush(gate->mesh, WEIR_FROM_CONTROL);
	if (gate->is_dozing) {
		weir_mesh_awake(gate->mesh, WEIR_FROM_CONTROL);
		gate->is_dozing = false;
	}
	for (;;) {
		if (hear_any(gate, message))
			return true;
		// Nothing: from here on an answer rings, so that the descriptor can be waited for.
		if (weir_mesh_doze(gate->mesh, WEIR_FROM_CONTROL)) {
			gate->is_dozing = true;
			return false;
		}
	}
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool weir_gate_wait(struct weir_gate *gate, int timeout_ms)
{
	int64_t end = now_ms() + timeout_ms;

	for (;;) {
		struct pollfd wait = { .fd = weir_gate_fd(gate), .events = POLLIN };
		bool is_sent = weir_mesh_flush(gate->mesh, WEIR_FROM_CONTROL);
		int64_t left = timeout_ms < 0 ? INT64_MAX : end - now_ms();

		if (!gate->is_dozing) {
			if (!weir_mesh_doze(gate->mesh, WEIR_FROM_CONTROL))
				return true;
			gate->is_dozing = true;
		}
		if (left < 0)
			left = 0;
		if (!is_sent && left > RETRY_MS)
			left = RETRY_MS;
		if (poll(&wait, 1, left > INT32_MAX ? -1 : (int)left) > 0)
			return true;
		if (timeout_ms >= 0 && now_ms() >= end)
			return false;
	}
}

int weir_gate_fd(const struct weir_gate *gate)
{
	return weir_mesh_fd(gate->mesh, WEIR_FROM_CONTROL);
}
