// Rings between all pairs of workers and control, the senders' backlogs, and the waking of sleepers. Each function says in
// mesh.h which thread may call it; creation is control's. Control is one more party behind the last worker.
#include "dataplane/io/mesh.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "dataplane/core/memory.h"
#include "dataplane/io/ring.h"

#define RING_SIZE_MIN (64u << 10)
#define RING_SIZE_MAX (512u << 10)
#define BACKLOG_CHUNK 1024u // messages; one chunk per party is there from the start

struct waiting {
	struct waiting *next;
	struct weir_message message;
};

struct chunk {
	struct chunk *next;
	struct waiting waiting[BACKLOG_CHUNK];
};

// One sender's messages to one receiver that found the ring full.
struct backlog {
	struct waiting *first;
	struct waiting *last;
};

struct party {
	// Written by its own thread.
	struct backlog *backlogs; // [parties]
	bool *touched;            // [parties] was given something since the last flush
	struct waiting *free;
	struct chunk *chunks;
	uint32_t waiting;
	uint8_t kind;             // of the frame under way
	int fd;                   // eventfd, written once
	// Written by its own thread (1) and by whoever wakes it (0).
	_Alignas(WEIR_RING_LINE) _Atomic uint32_t is_dozing;
};

struct weir_mesh {
	uint16_t workers;
	uint16_t parties; // workers and control
	uint64_t ring_size;
	struct weir_frame_ring *frames;     // [workers * workers], from * workers + to
	struct weir_message_ring *messages; // [parties * parties], from * parties + to
	struct party *party;                // [parties]
};

static uint16_t party_of(const struct weir_mesh *mesh, uint16_t worker)
{
	assert(worker < mesh->workers || worker == WEIR_FROM_CONTROL);
	return worker == WEIR_FROM_CONTROL ? mesh->workers : worker;
}

static struct weir_frame_ring *frame_ring(struct weir_mesh *mesh, uint16_t from, uint16_t to)
{
	return &mesh->frames[(uint32_t)from * mesh->workers + to];
}

static struct weir_message_ring *message_ring(struct weir_mesh *mesh, uint16_t from, uint16_t to)
{
	return &mesh->messages[(uint32_t)from * mesh->parties + to];
}

// Largest power of two that keeps all rings within the budget.
static uint64_t ring_size(uint16_t workers)
{
	uint64_t size = RING_SIZE_MAX;

	while (size > RING_SIZE_MIN && size * workers * (workers - 1u) > WEIR_MESH_BUDGET)
		size /= 2;
	return size;
}

static int grow_backlog(struct party *party)
{
	struct chunk *chunk = calloc(1, sizeof(*chunk));

	if (!chunk)
		return -ENOMEM;
	chunk->next = party->chunks;
	party->chunks = chunk;
	for (uint32_t i = 0; i < BACKLOG_CHUNK; i++) {
		chunk->waiting[i].next = party->free;
		party->free = &chunk->waiting[i];
	}
	return 0;
}

static int init_party(struct weir_mesh *mesh, struct party *party)
{
	party->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (party->fd < 0)
		return -errno;
	party->backlogs = calloc(mesh->parties, sizeof(*party->backlogs));
	party->touched = calloc(mesh->parties, sizeof(*party->touched));
	if (!party->backlogs || !party->touched)
		return -ENOMEM;
	return grow_backlog(party);
}

static int init_frame_rings(struct weir_mesh *mesh, const int *node)
{
	mesh->ring_size = ring_size(mesh->workers);
	for (uint16_t from = 0; from < mesh->workers; from++) {
		for (uint16_t to = 0; to < mesh->workers; to++) {
			struct weir_frame_ring *ring = frame_ring(mesh, from, to);

			if (from == to)
				continue;
			// Near the reader: the writer's stores do not wait, the reader's loads do.
			ring->base = weir_memory_get(mesh->ring_size, node[to]);
			if (!ring->base)
				return -ENOMEM;
			ring->size = mesh->ring_size;
		}
	}
	return 0;
}

uint64_t weir_mesh_size(uint16_t workers)
{
	uint64_t parties = workers + 1u;

	return (uint64_t)workers * workers * (sizeof(struct weir_frame_ring) + ring_size(workers)) +
	       parties * parties * sizeof(struct weir_message_ring);
}

int weir_mesh_create(struct weir_mesh **out, uint16_t workers, const int *node)
{
	struct weir_mesh *mesh;
	int error = -ENOMEM;

	if (workers == 0 || workers > WEIR_WORKERS_MAX)
		return -EINVAL;
	mesh = calloc(1, sizeof(*mesh));
	if (!mesh)
		return -ENOMEM;
	mesh->workers = workers;
	mesh->parties = workers + 1;
	mesh->party = aligned_alloc(WEIR_RING_LINE, mesh->parties * sizeof(*mesh->party));
	if (!mesh->party)
		goto err_mesh;
	memset(mesh->party, 0, mesh->parties * sizeof(*mesh->party));
	for (uint16_t i = 0; i < mesh->parties; i++)
		mesh->party[i].fd = -1;
	mesh->frames = weir_memory_get(sizeof(*mesh->frames) * workers * workers, -1);
	mesh->messages = weir_memory_get(sizeof(*mesh->messages) * mesh->parties * mesh->parties, -1);
	if (!mesh->frames || !mesh->messages)
		goto err_parts;
	error = init_frame_rings(mesh, node);
	for (uint16_t i = 0; error == 0 && i < mesh->parties; i++)
		error = init_party(mesh, &mesh->party[i]);
	if (error)
		goto err_parts;
	*out = mesh;
	return 0;

err_parts:
	weir_mesh_destroy(mesh);
	return error;
err_mesh:
	free(mesh);
	return error;
}

void weir_mesh_destroy(struct weir_mesh *mesh)
{
	if (!mesh)
		return;
	for (uint16_t i = 0; i < mesh->parties; i++) {
		struct party *party = &mesh->party[i];

		for (struct chunk *chunk = party->chunks, *next; chunk; chunk = next) {
			next = chunk->next;
			free(chunk);
		}
		free(party->backlogs);
		free(party->touched);
		if (party->fd >= 0)
			close(party->fd);
	}
	if (mesh->frames)
		for (uint32_t i = 0; i < (uint32_t)mesh->workers * mesh->workers; i++)
			weir_memory_put(mesh->frames[i].base, mesh->ring_size);
	weir_memory_put(mesh->frames, sizeof(*mesh->frames) * mesh->workers * mesh->workers);
	weir_memory_put(mesh->messages, sizeof(*mesh->messages) * mesh->parties * mesh->parties);
	free(mesh->party);
	free(mesh);
}

void *weir_mesh_reserve(struct weir_mesh *mesh, uint16_t from, uint16_t to, const struct weir_mesh_header *header,
			uint32_t size)
{
	assert(from != to && to < mesh->workers && size <= WEIR_FRAME_MAX);
	mesh->party[from].kind = header->kind;
	return weir_frame_ring_reserve(frame_ring(mesh, from, to), header, size);
}

bool weir_mesh_commit(struct weir_mesh *mesh, uint16_t from, uint16_t to, uint32_t size)
{
	// A handover is its header alone.
	if (size == 0 && mesh->party[from].kind != WEIR_MESH_HANDOVER)
		return false;
	weir_frame_ring_commit(frame_ring(mesh, from, to), size);
	mesh->party[from].touched[to] = true;
	return true;
}

const struct weir_mesh_header *weir_mesh_peek(struct weir_mesh *mesh, uint16_t from, uint16_t to)
{
	return weir_frame_ring_peek(frame_ring(mesh, from, to));
}

void weir_mesh_release(struct weir_mesh *mesh, uint16_t from, uint16_t to)
{
	weir_frame_ring_release(frame_ring(mesh, from, to));
}

static void append_backlog(struct party *party, struct backlog *backlog, const struct weir_message *message)
{
	struct waiting *waiting;

	// By construction one chunk is plenty. Should it not be, memory is better than a lost decision.
	if (!party->free && grow_backlog(party) != 0)
		abort();
	waiting = party->free;
	party->free = waiting->next;
	waiting->message = *message;
	waiting->next = NULL;
	if (backlog->last)
		backlog->last->next = waiting;
	else
		backlog->first = waiting;
	backlog->last = waiting;
	party->waiting++;
}

void weir_mesh_tell(struct weir_mesh *mesh, uint16_t from, uint16_t to, const struct weir_message *message)
{
	uint16_t sender = party_of(mesh, from);
	uint16_t receiver = party_of(mesh, to);
	struct party *party = &mesh->party[sender];
	struct backlog *backlog = &party->backlogs[receiver];
	struct weir_message copy = *message;

	copy.from = from;
	if (backlog->first || !weir_message_ring_put(message_ring(mesh, sender, receiver), &copy))
		append_backlog(party, backlog, &copy);
	party->touched[receiver] = true;
}

bool weir_mesh_may_tell(struct weir_mesh *mesh, uint16_t from, uint16_t to)
{
	uint16_t sender = party_of(mesh, from);
	uint16_t receiver = party_of(mesh, to);

	return !mesh->party[sender].backlogs[receiver].first &&
	       weir_message_ring_has_room(message_ring(mesh, sender, receiver));
}

bool weir_mesh_hear(struct weir_mesh *mesh, uint16_t from, uint16_t to, struct weir_message *message)
{
	return weir_message_ring_get(message_ring(mesh, party_of(mesh, from), party_of(mesh, to)), message);
}

static void move_backlog(struct weir_mesh *mesh, uint16_t sender, uint16_t receiver)
{
	struct party *party = &mesh->party[sender];
	struct backlog *backlog = &party->backlogs[receiver];

	while (backlog->first && weir_message_ring_put(message_ring(mesh, sender, receiver), &backlog->first->message)) {
		struct waiting *waiting = backlog->first;

		backlog->first = waiting->next;
		if (!backlog->first)
			backlog->last = NULL;
		waiting->next = party->free;
		party->free = waiting;
		party->waiting--;
		party->touched[receiver] = true;
	}
}

static void ring_bell(const struct party *party)
{
	uint64_t one = 1;

	// Can only fail when the counter is full, and then it is readable, which is all that matters.
	if (write(party->fd, &one, sizeof(one)) < 0)
		return;
}

bool weir_mesh_flush(struct weir_mesh *mesh, uint16_t from)
{
	uint16_t sender = party_of(mesh, from);
	struct party *party = &mesh->party[sender];

	for (uint16_t to = 0; to < mesh->parties; to++) {
		if (party->backlogs[to].first)
			move_backlog(mesh, sender, to);
		if (!party->touched[to])
			continue;
		party->touched[to] = false;
		// Pairs with the exchange in weir_mesh_doze(): one of the two comes first. Either the sleeper's flag is seen
		// here, or what was put into the rings before is seen there.
		if (atomic_exchange_explicit(&mesh->party[to].is_dozing, 0, memory_order_acq_rel))
			ring_bell(&mesh->party[to]);
	}
	return party->waiting == 0;
}

static bool has_input(struct weir_mesh *mesh, uint16_t to)
{
	for (uint16_t from = 0; from < mesh->parties; from++) {
		if (!weir_message_ring_is_empty(message_ring(mesh, from, to)))
			return true;
		if (from < mesh->workers && to < mesh->workers && from != to &&
		    !weir_frame_ring_is_empty(frame_ring(mesh, from, to)))
			return true;
	}
	return false;
}

bool weir_mesh_doze(struct weir_mesh *mesh, uint16_t worker)
{
	uint16_t to = party_of(mesh, worker);

	atomic_exchange_explicit(&mesh->party[to].is_dozing, 1, memory_order_acq_rel);
	if (!has_input(mesh, to))
		return true;
	weir_mesh_awake(mesh, worker);
	return false;
}

void weir_mesh_awake(struct weir_mesh *mesh, uint16_t worker)
{
	struct party *party = &mesh->party[party_of(mesh, worker)];
	uint64_t bells;

	atomic_exchange_explicit(&party->is_dozing, 0, memory_order_acq_rel);
	// Always: whoever cleared the flag may ring only after this, and that late bell, left unread, would end every later
	// sleep at once. It is read by the next one.
	if (read(party->fd, &bells, sizeof(bells)) < 0)
		return;
}

int weir_mesh_fd(const struct weir_mesh *mesh, uint16_t worker)
{
	return mesh->party[party_of(mesh, worker)].fd;
}

void weir_mesh_wake(struct weir_mesh *mesh, uint16_t worker)
{
	struct party *party = &mesh->party[party_of(mesh, worker)];

	atomic_exchange_explicit(&party->is_dozing, 0, memory_order_acq_rel);
	ring_bell(party);
}
