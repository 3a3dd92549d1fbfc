// How large frames may be on their way to the router. A path may carry less than it did when the session came up, and nobody
// says so: frames that are large vanish, frames that are small arrive (RFC 8899 calls it a black hole). Whoever sees that steps
// down, to the next of 1472, 1232, 512. Later a hello of the next larger size asks whether the path has grown: its welcome
// proves both ways (wire/PROTOCOL.md, section 6). Called by streams, session and core.
#include "client/state.h"

#define PROOF_FIRST_NS (10000 * MS)
#define PROOF_MOST_NS (600000 * MS)
#define CONFIRM_NS (15000 * MS) // of a size that nobody acknowledges
#define TRY_NS (1000 * MS)
#define TRIES_MAX 3u

static void proof_plan(struct path *path, uint64_t now_ns)
{
	path->trying = 0;
	if (path->size == path->most)
		path->wait_ns = path->is_unproven ? CONFIRM_NS : PROOF_MOST_NS;
	path->due_ns = now_ns + path->wait_ns;
}

void path_begin(struct weir_core *core, uint32_t hello_size, uint32_t agreed, uint64_t now_ns)
{
	// Less than the hello was is the router's limit, less than was wanted what the path carried.
	bool is_limited = agreed < hello_size;
	core->path = (struct path){
		.size = agreed & ~7u,
		.most = (is_limited ? agreed : core->session.steps[0]) & ~7u,
		.wait_ns = PROOF_FIRST_NS,
	};
	proof_plan(&core->path, now_ns);
}

bool path_can_step(const struct weir_core *core, uint32_t size)
{
	return !core->local && size > WEIR_FRAME_MIN;
}

// Sizes between those that are stepped down to.
static uint32_t larger(const struct path *path)
{
	static const uint32_t STEPS[] = { WEIR_FRAME_TUNNEL, WEIR_FRAME_DEFAULT };
	for (uint32_t i = 0; i < sizeof(STEPS) / sizeof(STEPS[0]); i++) {
		if (STEPS[i] > path->size && STEPS[i] < path->most)
			return STEPS[i];
	}
	return path->most;
}

static void size_set(struct weir_core *core, uint32_t size, uint64_t now_ns)
{
	struct session *session = &core->session;
	core->path.size = size;
	// The next session begins where this one ends.
	while (session->step + 1 < session->step_count && session->steps[session->step] > size)
		session->step++;
	while (session->step && session->steps[session->step - 1] <= size)
		session->step--;
	core_due(core, now_ns);
}

void path_step(struct weir_core *core, uint32_t size, uint64_t now_ns)
{
	struct path *path = &core->path;
	core->statistics.frame_steps++;
	path->wait_ns = PROOF_FIRST_NS;
	path->is_unproven = false;
	size_set(core, weir_frame_step((uint32_t)min_u64(size, path->size)), now_ns);
	proof_plan(path, now_ns);
	window_restart(&core->window);
}

void path_too_large(struct weir_core *core, uint32_t size, uint64_t now_ns)
{
	struct path *path = &core->path;
	if (path->trying && size == path->trying && size > path->size) {
		path->tries = TRIES_MAX;
		return;
	}
	if (size <= path->size && path_can_step(core, size))
		path_step(core, size, now_ns);
}

void path_carried(struct weir_core *core, uint32_t size, uint64_t now_ns)
{
	if (size > weir_frame_step(core->path.size))
		core->path.large_ns = now_ns;
	if (size > WEIR_FRAME_MIN)
		core->path.small_ns = now_ns;
}

bool path_has_carried(const struct weir_core *core, uint32_t size, uint64_t since_ns)
{
	const struct path *path = &core->path;
	return (size > weir_frame_step(path->size) ? path->large_ns : path->small_ns) >= since_ns;
}

void path_unproven(struct weir_core *core, uint32_t size)
{
	struct path *path = &core->path;
	if (path->is_unproven || !path_can_step(core, size))
		return;
	path->is_unproven = true;
	if (path->trying == 0)
		path->due_ns = min_u64(path->due_ns, core->now_ns + CONFIRM_NS);
}

void path_proven(struct weir_core *core, uint32_t size, uint64_t now_ns)
{
	struct path *path = &core->path;
	size &= ~7u;
	if (path->trying && size < path->trying)
		path->most = (uint32_t)max_u64(size, path->size); // the router wants no more
	if (size < path->size || size > path->most || (size == path->size && !path->trying))
		return;
	bool is_news = size > path->size;
	path->is_unproven = false;
	path->wait_ns = PROOF_FIRST_NS;
	core->session.frame_size = (uint32_t)max_u64(core->session.frame_size, size);
	if (is_news)
		size_set(core, size, now_ns);
	proof_plan(path, now_ns);
	if (is_news && size < path->most)
		path->due_ns = now_ns; // and on
}

static void try_end(struct weir_core *core, uint64_t now_ns)
{
	struct path *path = &core->path;
	// Frames of this size are sent all the time, nobody would say that they are lost, and the router answers what is small.
	if (path->trying == path->size && path->is_unproven && core->session.heard_ns > path->tried_ns &&
	    path_can_step(core, path->size)) {
		path_step(core, path->size, now_ns);
		return;
	}
	path->wait_ns = min_u64(2 * path->wait_ns, PROOF_MOST_NS);
	proof_plan(path, now_ns);
}

void path_poll(struct weir_core *core, uint64_t now_ns)
{
	struct path *path = &core->path;
	if (core->local)
		return;
	if (now_ns >= path->due_ns && path->trying && path->tries >= TRIES_MAX)
		try_end(core, now_ns);
	if (now_ns >= path->due_ns) {
		if (path->trying == 0) {
			path->trying = path->size < path->most ? larger(path) : path->size;
			path->tries = 0;
			path->tried_ns = now_ns;
		}
		path->tries++;
		path->due_ns = now_ns + TRY_NS;
		session_prove(core);
	}
	core_due(core, path->due_ns);
}
